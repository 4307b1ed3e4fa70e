/* SPDX-License-Identifier: Apache-2.0 */
/* The validation job: loads one challenge, lets its method try, writes what came of it. A try that could not reach its
 * target is repeated within validation.retry_window; what was tried is kept with the challenge. */
#include <stdlib.h>
#include "base/log.h"
#include "jobs/job_runner.h"
#include "jobs/validate.h"
#include "schema/statements.h"
#include "store/store_account.h"
#include "store/store_order.h"

#define TRIED_MOST 20

struct validate_state {
    iov_t authz_id, type, account_id;
    struct ident ident;
    int64_t waited_ms;
    iov_t tried;  /* JSON text for the row */
    iov_t error;  /* problem text for challenge */
    iov_t order_error;
    struct validation *v;
};

struct try {
    struct validation v;
    struct job_run *run;
    struct netset *deny;
};

static void try_free(struct task *t)
{
    struct try *y = CONTAINER_OF(t, struct try, v.task);
    json_decref(y->v.tried);
    netset_free(y->deny);
    task_dispose(t);
    task_unref(&y->run->task);
    free(y);
}

/* ---- outcomes ---- */

static struct store_actor actor_of(struct job_run *r)
{
    const struct validate_state *s = r->state;
    return (struct store_actor){store_gateway(), iov_of(r->job.id), s->account_id};
}

static void ok_build(struct job_run *r, struct db_unit *u)
{
    const struct validate_state *s = r->state;
    struct store_actor a = actor_of(r);
    q_validate_ok(u, s->authz_id, s->type, s->tried, r->settings->times.authz_valid_ms / 1000);
    q_orders_count_down(u, s->authz_id);
    q_event_claimed(u, a.gateway, a.request_id, a.account_id, IOV("authz"), s->authz_id, IOV("valid"), s->type);
}

static void wake_all(struct job_run *r, struct db_unit *u, unsigned orders)
{
    const struct validate_state *s = r->state;
    store_wake(s->authz_id);
    for (unsigned i = 0; i < db_rows(u, orders); i++)
        store_wake(db_get(u, orders, i, 0));
}

static void ok_done(struct job_run *r, struct db_unit *u, bool ours)
{
    const struct validate_state *s = r->state;
    if (!ours)
        return;
    log_info("authz.valid", KV_IOV("authz", s->authz_id), KV_IOV("name", s->ident.value), KV_IOV("method", s->type));
    wake_all(r, u, 2);
}

static void fail_build(struct job_run *r, struct db_unit *u)
{
    const struct validate_state *s = r->state;
    struct store_actor a = actor_of(r);
    q_validate_failed(u, s->authz_id, s->type, s->tried, s->error);
    q_orders_fail_authz(u, s->authz_id, s->order_error);
    q_event_claimed(u, a.gateway, a.request_id, a.account_id, IOV("authz"), s->authz_id, IOV("invalid"), s->error);
}

static void fail_done(struct job_run *r, struct db_unit *u, bool ours)
{
    const struct validate_state *s = r->state;
    if (!ours)
        return;
    log_info("authz.invalid", KV_IOV("authz", s->authz_id), KV_IOV("name", s->ident.value), KV_IOV("method", s->type),
             KV_IOV("error", s->error));
    wake_all(r, u, 2);
}

static void again_build(struct job_run *r, struct db_unit *u)
{
    const struct validate_state *s = r->state;
    q_validate_tried(u, s->authz_id, s->type, s->tried);
}

/* The tries so far and the new ones as one array; the oldest leave first. */
static iov_t tried_text(struct job_run *r, iov_t before, json_t *now)
{
    struct err e;
    iov_t wrapped = iov_printf(&r->task.pool, "{\"v\":%.*s}", before.base ? (int)before.len : 2,
                               before.base ? before.base : "[]");
    json_t *all = json_parse_object(wrapped, 1 << 20, &e);
    json_t *list = all != NULL ? json_object_get(all, "v") : NULL;
    if (!json_is_array(list)) {
        json_decref(all);
        return json_to_iov(&r->task.pool, now);
    }
    json_array_extend(list, now);
    while (json_array_size(list) > TRIED_MOST)
        json_array_remove(list, 0);
    iov_t text = json_to_iov(&r->task.pool, list);
    json_decref(all);
    return text;
}

static void on_answer(struct validation *v, bool ok, const struct err *e)
{
    struct try *y = CONTAINER_OF(v, struct try, v);
    struct job_run *r = y->run;
    struct validate_state *s = r->state;
    pool_t *pool = &r->task.pool;
    struct job_step step = {.fence = JOB_END, .build = ok_build, .done = ok_done};
    s->tried = tried_text(r, s->tried, v->tried);
    if (!ok) {
        struct problem_doc doc = {.err = *e};
        struct subproblem sub = {.ident = s->ident, .err = *e};
        s->error = problem_text(pool, &doc);
        doc.subs = &sub;
        doc.n_subs = 1;
        s->order_error = problem_text(pool, &doc);
        int64_t wait = job_backoff_ms(r->job.tries, 4000);
        if (v->transient && s->waited_ms + wait < r->settings->validation.retry_window_ms)
            step = (struct job_step){.fence = JOB_LATER, .in_ms = wait, .error = s->error, .build = again_build};
        else
            step = (struct job_step){.fence = JOB_END, .build = fail_build, .done = fail_done};
    }
    task_cancel(&v->task); /* whatever it has still under way ends quietly */
    task_unref(&v->task);
    job_commit(r, &step);
}

/* A method never fails its task itself; what it calls may (out of workers, a loop that ends). */
static void on_try_failed(struct task *t, const struct err *e)
{
    struct try *y = CONTAINER_OF(t, struct try, v.task);
    y->v.transient = true;
    on_answer(&y->v, false, e);
}

/* ---- one try ---- */

static struct netset *deny_set(const struct settings_validation *cfg, struct err *e)
{
    return netset_parse_except(cfg->deny.v, cfg->deny.n, cfg->allow.v, cfg->allow.n, e);
}

static const struct validate_method *method_of(iov_t type)
{
    for (size_t i = 0; i < CHALLENGE_TYPES; i++) {
        if (iov_is(type, validate_methods[i].name) && validate_methods[i].run != NULL)
            return &validate_methods[i];
    }
    return NULL;
}

static void try_start(struct job_run *r, iov_t token, iov_t thumbprint)
{
    struct validate_state *s = r->state;
    struct try *y = base_zalloc(sizeof(*y));
    task_init(&y->v.task, r->task.loop, r->job.id, on_try_failed, try_free);
    task_ref(&r->task);
    y->run = r;
    pool_t *pool = &y->v.task.pool;
    y->v.settings = r->settings;
    y->v.ident = (struct ident){s->ident.type, iov_dup(pool, s->ident.value)};
    y->v.token = iov_dup(pool, token);
    y->v.key_authorization = iov_printf(pool, "%.*s.%.*s", (int)token.len, token.base, (int)thumbprint.len, thumbprint.base);
    y->v.tried = json_array();
    y->v.answered = on_answer;
    struct err e = ERR_INIT;
    const struct validate_method *m = method_of(s->type);
    y->deny = deny_set(&r->settings->validation, &e);
    y->v.deny = y->deny;
    if (m == NULL || (y->deny == NULL && r->settings->validation.deny.n > 0)) {
        if (m == NULL)
            err_set(&e, ACME_SERVER_INTERNAL, "this gateway cannot validate %.*s", (int)s->type.len, s->type.base);
        on_answer(&y->v, false, &e);
        return;
    }
    m->run(&y->v);
}

static void on_loaded(struct task *t, struct db_unit *u)
{
    struct job_run *r = JOB_OF(t);
    struct validate_state *s = r->state;
    if (db_rows(u, 0) == 0 || !iov_is(db_get(u, 0, 0, COL_validate_load_c_status), "processing") ||
        !iov_is(db_get(u, 0, 0, COL_validate_load_authz_status), "pending") ||
        !iov_is(db_get(u, 0, 0, COL_validate_load_account_status), "valid")) {
        job_commit(r, &(struct job_step){.fence = JOB_END}); /* settled or withdrawn meanwhile */
        return;
    }
    s->ident = store_ident_of(db_get(u, 0, 0, COL_validate_load_ident));
    s->account_id = db_get(u, 0, 0, COL_validate_load_account_id);
    s->waited_ms = db_get_int(u, 0, 0, COL_validate_load_waited_ms);
    s->tried = db_get(u, 0, 0, COL_validate_load_tried);
    r->lock_key = store_lock_key(s->account_id, db_get(u, 0, 0, COL_validate_load_order_id));
    try_start(r, db_get(u, 0, 0, COL_validate_load_token), db_get(u, 0, 0, COL_validate_load_thumbprint));
}

void job_validate_start(struct job_run *r)
{
    struct validate_state *s = POOL_NEW(&r->task.pool, struct validate_state, 1);
    r->state = s;
    const char *slash = strchr(r->job.ref, '/');
    if (slash == NULL) {
        job_commit(r, &(struct job_step){.fence = JOB_LATER, .parked = true, .error = IOV("malformed reference")});
        return;
    }
    s->authz_id = iov_dup(&r->task.pool, (iov_t){r->job.ref, (size_t)(slash - r->job.ref)});
    s->type = iov_dup(&r->task.pool, iov_of(slash + 1));
    struct db_unit *u = db_unit_new(&r->task);
    q_validate_load(u, s->authz_id, s->type);
    db_run(u, on_loaded);
}

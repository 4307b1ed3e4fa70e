/* SPDX-License-Identifier: Apache-2.0 */
/* The issuance job (design.md 3.4): looks at the row, decides, commits the attempt, calls the driver. Nothing is ever
 * submitted afresh as if nothing had been: an attempt without an outcome was cut off, and is resolved first. */
#include <stdlib.h>
#include "base/log.h"
#include "jobs/issuing.h"
#include "schema/statements.h"
#include "store/store_account.h"
#include "store/store_order.h"

#define GUARD_MORE_MS 1000   /* a driver's own time-out comes first */
#define UNCONFIGURED_MS 30000

static void call_free(struct task *t)
{
    struct issue *i = CONTAINER_OF(t, struct issue, task);
    task_dispose(t);
    free(CONTAINER_OF(i, struct issue_call, issue));
}

/* Lets go of the call; its driver may still hold a reference and answer into the void. */
static void call_leave(struct issuing *s)
{
    loop_timer_stop(&s->guard);
    struct issue_call *c = CONTAINER_OF(s->issue, struct issue_call, issue);
    s->issue = NULL;
    c->of = NULL;
    task_cancel(&c->issue.task);
    task_unref(&c->issue.task);
}

static void on_answered(struct issue *i)
{
    struct issue_call *c = CONTAINER_OF(i, struct issue_call, issue);
    struct issuing *s = c->of;
    if (s == NULL)
        return;
    issue_outcome_answer(s, i->answer); /* copies what it keeps */
    call_leave(s);
}

/* A task failure inside a driver: it left before anything was known to be sent, or not; unknown is the safe reading. */
static void on_call_failed(struct task *t, const struct err *e)
{
    struct issue_call *c = CONTAINER_OF(CONTAINER_OF(t, struct issue, task), struct issue_call, issue);
    struct issuing *s = c->of;
    if (s == NULL)
        return;
    issue_outcome_unknown(s, e);
    call_leave(s);
}

static void on_guard(struct loop_timer *t)
{
    struct issuing *s = CONTAINER_OF(t, struct issuing, guard);
    struct err e = ERR_INIT;
    err_set(&e, ACME_UNAVAILABLE, "the CA behind backend %s did not answer in time", backend_common(s->backend)->name);
    call_leave(s);
    issue_outcome_unknown(s, &e);
}

static void split_names(pool_t *pool, const struct iovs *names, struct iovs *dns, struct iovs *ips)
{
    for (size_t i = 0; i < names->n; i++) {
        struct ident id = store_ident_of(names->v[i]);
        iovs_add(pool, id.type == IDENT_IP ? ips : dns, iov_dup(pool, id.value));
    }
}

static struct issue *issue_make(struct issuing *s)
{
    struct issue_call *c = base_zalloc(sizeof(*c));
    struct issue *i = &c->issue;
    char id[24] = "";
    memcpy(id, s->id.base, s->id.len < sizeof(id) ? s->id.len : sizeof(id) - 1);
    task_init(&i->task, s->run->task.loop, id, on_call_failed, call_free);
    pool_t *pool = &i->task.pool;
    const struct settings_profile *p = settings_profile(s->run->settings, s->profile);
    c->of = s;
    i->backend = s->backend;
    i->csr_der = iov_dup(pool, s->csr);
    split_names(pool, &s->names, &i->dns, &i->ips);
    i->profile = iov_cstr(pool, s->profile);
    i->not_before = s->not_before;
    i->not_after = s->not_after;
    i->lifetime_s = p != NULL ? p->lifetime_ms / 1000 : 0;
    i->prepared = s->prepared.base != NULL ? iov_dup(pool, s->prepared) : IOV_NULL;
    i->cookie = s->cookie.base != NULL ? iov_dup(pool, s->cookie) : IOV_NULL;
    i->answered = on_answered;
    return i;
}

/* ---- the attempt, committed; then the call ---- */

static void attempt_build(struct job_run *r, struct db_unit *u)
{
    struct issuing *s = r->state;
    const struct backend_common *b = backend_common(s->backend);
    if (s->built++ > 0) /* a commit whose answer was lost may have stored this attempt: nothing was called for it */
        q_attempt_cut_off(u, s->id);
    s->stmt_attempt = q_attempt_begin(u, s->id, iov_of(s->op), iov_of(b->name), store_gateway(), s->prepared, b->timeout_ms);
    q_event_add(u, store_gateway(), iov_of(r->job.id), s->account_id, IOV("issuance"), s->id, iov_of(s->op),
                iov_of(b->name));
}

static void attempt_done(struct job_run *r, struct db_unit *u, bool ours)
{
    struct issuing *s = r->state;
    if (!ours || db_rows(u, s->stmt_attempt) == 0) {
        call_leave(s);
        if (!ours)
            job_drop(r);
        else /* the account was deactivated meanwhile: nothing is to be issued */
            job_commit(r, &(struct job_step){.fence = JOB_END});
        return;
    }
    s->attempt_n = db_get_int(u, s->stmt_attempt, 0, 0);
    const struct backend_common *b = backend_common(s->backend);
    struct issue *i = s->issue;
    i->attempt = (unsigned)s->attempt_n;
    s->called_ms = loop_now_ms(r->task.loop);
    i->deadline_ms = (int64_t)s->called_ms + b->timeout_ms;
    log_info("issuance.call", KV_IOV("issuance", s->id), KV_STR("backend", b->name), KV_STR("op", s->op),
             KV_INT("attempt", s->attempt_n));
    loop_timer_start(r->task.loop, &s->guard, (uint64_t)(b->timeout_ms + GUARD_MORE_MS), on_guard);
    const struct backend_driver *d = backend_driver(s->backend);
    if (strcmp(s->op, "poll") == 0)
        d->poll(i);
    else
        d->submit(i);
}

static void call(struct issuing *s, const char *op)
{
    const struct backend_driver *d = backend_driver(s->backend);
    s->op = op;
    s->issue = issue_make(s);
    struct err e = ERR_INIT;
    if (strcmp(op, "submit") == 0 && s->prepared.base == NULL && d->prepare != NULL) {
        iov_t prepared = IOV_NULL;
        if (!d->prepare(s->issue, &prepared, &e)) {
            call_leave(s);
            issue_outcome_refuse(s, &e);
            return;
        }
        s->prepared = iov_dup(&s->run->task.pool, prepared);
        s->issue->prepared = prepared;
    }
    job_commit(s->run, &(struct job_step){.fence = JOB_KEEP, .build = attempt_build, .done = attempt_done});
}

/* ---- what to do ---- */

static void cut_off_build(struct job_run *r, struct db_unit *u)
{
    struct issuing *s = r->state;
    q_attempt_cut_off(u, s->id);
    q_event_add(u, store_gateway(), iov_of(r->job.id), s->account_id, IOV("issuance"), s->id, IOV("cut-off"),
                s->backend_name);
}

static void cut_off_done(struct job_run *r, struct db_unit *u, bool ours)
{
    struct issuing *s = r->state;
    (void)u;
    if (!ours) {
        job_drop(r);
        return;
    }
    struct err e = ERR_INIT;
    err_set(&e, ACME_UNAVAILABLE, "a call to backend %s was cut off; what the CA did is being found out",
            backend_common(s->backend)->name);
    issue_outcome_unknown(s, &e);
}

static void decide(struct issuing *s)
{
    struct job_run *r = s->run;
    const struct backend_driver *d = s->backend != NULL ? backend_driver(s->backend) : NULL;
    if (!s->live) {
        job_commit(r, &(struct job_step){.fence = JOB_END});
    } else if (d == NULL) {
        log_error("issuance.no_backend", KV_IOV("issuance", s->id), KV_IOV("backend", s->backend_name),
                  KV_STR("fix", "configure this backend again; issuances are pinned to it"));
        job_commit(r, &(struct job_step){.fence = JOB_LATER, .in_ms = UNCONFIGURED_MS,
                                         .error = IOV("the backend is not configured")});
    } else if (s->cut_off) {
        job_commit(r, &(struct job_step){.fence = JOB_KEEP, .build = cut_off_build, .done = cut_off_done});
    } else if (iov_is(s->state, "waiting") && d->poll != NULL) {
        call(s, "poll");
    } else if (!s->eligible) {
        struct err e = ERR_INIT;
        err_set(&e, ACME_UNAUTHORIZED, "not issued: %.*s", (int)s->why.len, s->why.base);
        issue_outcome_refuse(s, &e);
    } else {
        call(s, "submit");
    }
}

static void decode(struct issuing *s, struct db_unit *u)
{
    s->account_id = db_get(u, 0, 0, COL_issuance_load_account_id);
    s->directory = db_get(u, 0, 0, COL_issuance_load_directory);
    s->profile = db_get(u, 0, 0, COL_issuance_load_profile);
    s->csr = db_get_bytea(u, 0, 0, COL_issuance_load_csr);
    s->csr_sha256 = db_get_bytea(u, 0, 0, COL_issuance_load_csr_sha256);
    s->spki_sha256 = db_get_bytea(u, 0, 0, COL_issuance_load_spki_sha256);
    s->names = db_get_texts(u, 0, 0, COL_issuance_load_names);
    s->not_before = db_get_int(u, 0, 0, COL_issuance_load_not_before);
    s->not_after = db_get_int(u, 0, 0, COL_issuance_load_not_after);
    s->state = db_get(u, 0, 0, COL_issuance_load_state);
    s->backends = db_get_texts(u, 0, 0, COL_issuance_load_backends);
    s->backend_name = db_get(u, 0, 0, COL_issuance_load_backend);
    s->prepared = db_get_bytea(u, 0, 0, COL_issuance_load_prepared);
    s->cookie = db_get_bytea(u, 0, 0, COL_issuance_load_cookie);
    s->attempts = db_get_int(u, 0, 0, COL_issuance_load_attempts);
    s->live = db_get_bool(u, 0, 0, COL_issuance_load_live);
    s->eligible = db_get_bool(u, 0, 0, COL_issuance_load_eligible);
    s->why = db_get(u, 0, 0, COL_issuance_load_why);
    s->cut_off = !db_is_null(u, 0, 0, COL_issuance_load_open_op);
    s->age_s = db_get_int(u, 0, 0, COL_issuance_load_age_s);
    s->run->lock_key = store_lock_key(s->account_id, s->id);
}

static void on_loaded(struct task *t, struct db_unit *u)
{
    struct job_run *r = JOB_OF(t);
    struct issuing *s = r->state;
    if (db_rows(u, 0) == 0) {
        job_commit(r, &(struct job_step){.fence = JOB_END});
        return;
    }
    decode(s, u);
    s->backend = backends_find(jobs_env.backends, iov_cstr(&t->pool, s->backend_name));
    decide(s);
}

static void leave(struct job_run *r)
{
    struct issuing *s = r->state;
    if (s->issue != NULL)
        call_leave(s);
}

void job_issue_start(struct job_run *r)
{
    struct issuing *s = POOL_NEW(&r->task.pool, struct issuing, 1);
    r->state = s;
    r->leave = leave;
    s->run = r;
    s->id = iov_dup(&r->task.pool, iov_of(r->job.ref));
    struct db_unit *u = db_unit_new(&r->task);
    q_issuance_load(u, s->id);
    db_run(u, on_loaded);
}

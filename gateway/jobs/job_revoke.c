/* SPDX-License-Identifier: Apache-2.0 */
/* The revocation job: tells the CA that issued (or the backend its revoke_via names), then writes it down; the backend's
 * CRL is due in the same transaction. */
#include <stdlib.h>
#include "acme/problem.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/pki.h"
#include "jobs/job_runner.h"
#include "schema/statements.h"

#define BACKOFF_MOST_MS 300000
#define GUARD_MORE_MS 1000 /* a driver's own time-out comes first */
#define WHY_MOST 1000

struct revoking {
    iov_t id, account_id, backend, serial, error, crl_job;
};
struct revoke_call {
    struct revoke revoke;
    struct job_run *run;
    struct loop_timer guard; /* gives up a driver that does not answer */
};

static void call_free(struct task *t)
{
    struct revoke_call *c = CONTAINER_OF(CONTAINER_OF(t, struct revoke, task), struct revoke_call, revoke);
    task_dispose(t);
    task_unref(&c->run->task);
    free(c);
}

static void done_build(struct job_run *r, struct db_unit *u)
{
    struct revoking *s = r->state;
    q_revoke_done(u, s->id, s->crl_job, store_gateway());
    q_event_add(u, store_gateway(), iov_of(r->job.id), s->account_id, IOV("certificate"), s->id, IOV("revoked"), s->serial);
}

static void done_done(struct job_run *r, struct db_unit *u, bool ours)
{
    struct revoking *s = r->state;
    if (!ours)
        return;
    log_info("certificate.revoked", KV_IOV("certificate", s->id), KV_IOV("serial", s->serial), KV_IOV("backend", s->backend));
    store_wake(s->id);
    if (db_rows(u, 1) > 0 && db_get_bool(u, 1, 0, COL_revoke_done_crl_job))
        store_job_born(r->task.loop, s->crl_job, "crl", s->backend);
}

static void refused_build(struct job_run *r, struct db_unit *u)
{
    struct revoking *s = r->state;
    q_revoke_refused(u, s->id, s->error);
    q_event_add(u, store_gateway(), iov_of(r->job.id), s->account_id, IOV("certificate"), s->id, IOV("revoke refused"),
                s->error);
}

static void refused_done(struct job_run *r, struct db_unit *u, bool ours)
{
    struct revoking *s = r->state;
    (void)u;
    if (!ours)
        return;
    log_error("certificate.not_revoked", KV_IOV("certificate", s->id), KV_IOV("serial", s->serial),
              KV_IOV("backend", s->backend), KV_IOV("reason", s->error),
              KV_STR("fix", "revoke it at the CA; set revoke_via for backends that cannot"));
    store_wake(s->id);
}

static void later(struct job_run *r, const char *why)
{
    job_commit(r, &(struct job_step){.fence = JOB_LATER, .in_ms = job_backoff_ms(r->job.tries, BACKOFF_MOST_MS),
                                     .error = iov_printable(&r->task.pool, iov_of(why), WHY_MOST)});
}

static void refuse(struct job_run *r, const char *why)
{
    struct revoking *s = r->state;
    s->error = iov_printable(&r->task.pool, iov_of(why), WHY_MOST);
    job_commit(r, &(struct job_step){.fence = JOB_END, .build = refused_build, .done = refused_done});
}

/* Its driver may still hold a reference and answer into the void. */
static void call_leave(struct revoke_call *c)
{
    loop_timer_stop(&c->guard);
    task_cancel(&c->revoke.task);
    task_unref(&c->revoke.task);
}

static void on_guard(struct loop_timer *t)
{
    struct revoke_call *c = CONTAINER_OF(t, struct revoke_call, guard);
    later(c->run, "the CA did not answer in time");
    call_leave(c);
}

static void on_answered(struct revoke *v)
{
    struct revoke_call *c = CONTAINER_OF(v, struct revoke_call, revoke);
    struct job_run *r = c->run;
    if (v->result == REVOKE_DONE)
        job_commit(r, &(struct job_step){.fence = JOB_END, .build = done_build, .done = done_done});
    else if (v->result == REVOKE_RETRY)
        later(r, v->err.detail);
    else
        refuse(r, v->err.detail);
    call_leave(c);
}

static void on_call_failed(struct task *t, const struct err *e)
{
    struct revoke_call *c = CONTAINER_OF(CONTAINER_OF(t, struct revoke, task), struct revoke_call, revoke);
    later(c->run, e->detail);
    call_leave(c);
}

static struct backend *revoker_of(struct backend *b)
{
    const char *via = backend_common(b)->revoke_via;
    return via != NULL ? backends_find(jobs_env.backends, via) : b;
}

static void on_loaded(struct task *t, struct db_unit *u)
{
    struct job_run *r = JOB_OF(t);
    struct revoking *s = r->state;
    if (db_rows(u, 0) == 0 || !iov_is(db_get(u, 0, 0, COL_revoke_load_revoke_state), "pending")) {
        job_commit(r, &(struct job_step){.fence = JOB_END});
        return;
    }
    s->backend = db_get(u, 0, 0, COL_revoke_load_backend);
    s->serial = db_get(u, 0, 0, COL_revoke_load_serial);
    s->account_id = db_get(u, 0, 0, COL_revoke_load_account_id);
    s->crl_job = pki_random_id(&t->pool);
    struct backend *b = backends_find(jobs_env.backends, iov_cstr(&t->pool, s->backend));
    struct backend *by = b != NULL ? revoker_of(b) : NULL;
    if (b == NULL) {
        later(r, "the backend that issued is not configured");
        return;
    }
    if (by == NULL || backend_driver(by)->revoke == NULL) {
        refuse(r, "the CA that issued offers no revocation; its operator must do it");
        return;
    }
    struct revoke_call *c = base_zalloc(sizeof(*c));
    struct revoke *v = &c->revoke;
    task_init(&v->task, t->loop, r->job.id, on_call_failed, call_free);
    task_ref(t);
    c->run = r;
    v->backend = by;
    v->cert_der = iov_dup(&v->task.pool, db_get_bytea(u, 0, 0, COL_revoke_load_der));
    v->serial = iov_dup(&v->task.pool, s->serial);
    v->reason = (int)db_get_int(u, 0, 0, COL_revoke_load_reason);
    v->revoked_at = clock_unix_s();
    v->answered = on_answered;
    loop_timer_start(t->loop, &c->guard, (uint64_t)(backend_common(by)->timeout_ms + GUARD_MORE_MS), on_guard);
    backend_driver(by)->revoke(v);
}

void job_revoke_start(struct job_run *r)
{
    struct revoking *s = POOL_NEW(&r->task.pool, struct revoking, 1);
    r->state = s;
    s->id = iov_dup(&r->task.pool, iov_of(r->job.ref));
    struct db_unit *u = db_unit_new(&r->task);
    q_revoke_load(u, s->id);
    db_run(u, on_loaded);
}

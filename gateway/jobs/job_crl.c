/* SPDX-License-Identifier: Apache-2.0 */
/* Signs a backend's CRL from the ledger's revocations. Made after every revocation and when a reader finds it near its
 * end; `covers` counts the revocations it was made from, so that a reader can tell whether it is complete. */
#include <stdlib.h>
#include "base/log.h"
#include "io/pki.h"
#include "io/worker.h"
#include "jobs/job_runner.h"
#include "schema/statements.h"

#define CRL_LIFETIME_S (7 * 86400)
#define BACKDATE_S 300 /* clocks of those who check it may be behind */
#define BACKOFF_MOST_MS 60000

struct crl_state {
    struct backend *backend;
    int64_t covers;
    struct backend_crl crl;
    iov_t der;
};

struct crl_job {
    struct worker_job job;
    pool_t pool;
    struct backend *backend;
    struct backend_crl crl;
    struct backend_crl_entry *entries;
    iov_t der;
    bool ok;
    struct err err;
};

static void crl_build(struct job_run *r, struct db_unit *u)
{
    const struct crl_state *s = r->state;
    q_crl_store(u, iov_of(r->job.ref), s->crl.number, s->crl.this_update, s->crl.next_update, s->covers, s->der);
}

static void crl_done(struct job_run *r, struct db_unit *u, bool ours)
{
    const struct crl_state *s = r->state;
    (void)u;
    if (!ours)
        return;
    log_info("crl.signed", KV_STR("backend", r->job.ref), KV_INT("number", s->crl.number), KV_INT("entries", s->crl.n));
    store_wake(iov_of(r->job.ref));
}

static void sign_run(struct worker_job *j)
{
    struct crl_job *c = CONTAINER_OF(j, struct crl_job, job);
    c->ok = backend_driver(c->backend)->sign_crl(c->backend, &c->pool, &c->crl, &c->der, &c->err);
}

static void sign_done(struct worker_job *j, struct task *t)
{
    struct crl_job *c = CONTAINER_OF(j, struct crl_job, job);
    if (t != NULL) {
        struct job_run *r = JOB_OF(t);
        struct crl_state *s = r->state;
        if (c->ok) {
            s->der = iov_dup(&t->pool, c->der);
            s->crl = c->crl;
            s->crl.entries = NULL;
            job_commit(r, &(struct job_step){.fence = JOB_END, .build = crl_build, .done = crl_done});
        } else {
            log_error("crl.failed", KV_STR("backend", r->job.ref), KV_STR("reason", c->err.detail), KV_STR("cause", c->err.cause));
            job_commit(r, &(struct job_step){.fence = JOB_LATER, .in_ms = job_backoff_ms(r->job.tries, BACKOFF_MOST_MS),
                                             .error = iov_printable(&t->pool, iov_of(c->err.detail), 1000)});
        }
    }
    h2o_mem_clear_pool(&c->pool);
    free(c);
}

static void entries_copy(struct crl_job *c, struct db_unit *u)
{
    unsigned rows = db_rows(u, 0);
    c->entries = POOL_NEW(&c->pool, struct backend_crl_entry, rows);
    for (unsigned i = 0; i < rows; i++) {
        if (db_is_null(u, 0, i, COL_crl_entries_serial))
            continue; /* the row that carries the counts alone */
        struct backend_crl_entry *e = &c->entries[c->crl.n++];
        e->serial = iov_dup(&c->pool, db_get(u, 0, i, COL_crl_entries_serial));
        e->revoked_at = db_get_int(u, 0, i, COL_crl_entries_revoked_at);
        e->reason = (int)db_get_int(u, 0, i, COL_crl_entries_reason);
    }
    c->crl.entries = c->entries;
}

static void on_loaded(struct task *t, struct db_unit *u)
{
    struct job_run *r = JOB_OF(t);
    struct crl_state *s = r->state;
    int64_t now = db_get_int(u, 0, 0, COL_crl_entries_db_now);
    struct crl_job *c = base_zalloc(sizeof(*c));
    h2o_mem_init_pool(&c->pool);
    c->job.run = sign_run;
    c->job.done = sign_done;
    c->backend = s->backend;
    c->crl.number = db_get_int(u, 0, 0, COL_crl_entries_number) + 1;
    c->crl.this_update = now - BACKDATE_S;
    c->crl.next_update = now + CRL_LIFETIME_S;
    s->covers = db_get_int(u, 0, 0, COL_crl_entries_covers);
    entries_copy(c, u);
    if (!worker_submit(t, &c->job)) {
        sign_run(&c->job);
        sign_done(&c->job, t);
    }
}

void job_crl_start(struct job_run *r)
{
    struct crl_state *s = POOL_NEW(&r->task.pool, struct crl_state, 1);
    r->state = s;
    s->backend = backends_find(jobs_env.backends, r->job.ref);
    if (s->backend == NULL || backend_driver(s->backend)->sign_crl == NULL) {
        job_commit(r, &(struct job_step){.fence = JOB_END}); /* gone, or its CA makes its own */
        return;
    }
    struct db_unit *u = db_unit_new(&r->task);
    q_crl_entries(u, iov_of(r->job.ref));
    db_run(u, on_loaded);
}

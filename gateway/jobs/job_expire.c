/* SPDX-License-Identifier: Apache-2.0 */
/* Housekeeping, one recurring job for all gateways: authorizations and orders that ran out, nonces whose hour is over
 * (their partitions are truncated, nothing is deleted row by row), gateways long gone. */
#include "base/clock.h"
#include "base/log.h"
#include "jobs/job_runner.h"
#include "schema/statements.h"

#define EVERY_MS 30000
#define AGAIN_MS 100  /* a full batch: there is more */
#define BATCH 500

struct expire_state {
    int64_t slot;
    bool used;
};

static void on_swept(struct task *t, struct db_unit *u)
{
    struct job_run *r = JOB_OF(t);
    unsigned n = 0;
    for (unsigned stmt = 0; stmt < 2; stmt++) {
        n = db_rows(u, stmt) > n ? db_rows(u, stmt) : n;
        for (unsigned i = 0; i < db_rows(u, stmt); i++)
            store_wake(db_get(u, stmt, i, 0));
    }
    job_commit(r, &(struct job_step){.fence = JOB_LATER, .in_ms = n >= BATCH ? AGAIN_MS : EVERY_MS});
}

static void sweep(struct job_run *r)
{
    const struct expire_state *s = r->state;
    struct db_unit *u = db_unit_new(&r->task);
    q_expire_authz(u);
    q_expire_orders(u);
    q_expire_gateways(u);
    if (s->used) {
        static unsigned (*const clear[4])(struct db_unit *) = {q_nonce_clear_0, q_nonce_clear_1, q_nonce_clear_2,
                                                               q_nonce_clear_3};
        clear[s->slot](u);
    }
    db_run(u, on_swept);
}

static void on_looked(struct task *t, struct db_unit *u)
{
    struct job_run *r = JOB_OF(t);
    struct expire_state *s = r->state;
    s->used = db_get_bool(u, 0, 0, 0);
    sweep(r);
}

void job_expire_start(struct job_run *r)
{
    struct expire_state *s = POOL_NEW(&r->task.pool, struct expire_state, 1);
    r->state = s;
    /* Nonces live an hour at most, so this hour's slot and the last one's are in use; the one before is left alone for
     * gateways whose clocks are behind. */
    s->slot = (clock_unix_s() / 3600 + 1) % 4;
    struct db_unit *u = db_unit_new(&r->task);
    q_nonce_slot_used(u, s->slot);
    db_run(u, on_looked);
}

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
    int64_t slot[2];
    bool used[2];
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
    for (int i = 0; i < 2; i++) {
        if (!s->used[i])
            continue;
        static unsigned (*const clear[4])(struct db_unit *) = {q_nonce_clear_0, q_nonce_clear_1, q_nonce_clear_2,
                                                               q_nonce_clear_3};
        clear[s->slot[i]](u);
    }
    job_load(r, u, on_swept);
}

static void on_looked(struct task *t, struct db_unit *u)
{
    struct job_run *r = JOB_OF(t);
    struct expire_state *s = r->state;
    for (unsigned i = 0; i < 2; i++)
        s->used[i] = db_get_bool(u, i, 0, 0);
    sweep(r);
}

void job_expire_start(struct job_run *r)
{
    struct expire_state *s = POOL_NEW(&r->task.pool, struct expire_state, 1);
    r->state = s;
    int64_t hour = clock_unix_s() / 3600;
    struct db_unit *u = db_unit_new(&r->task);
    for (int i = 0; i < 2; i++) { /* nonces live an hour at most: this hour's and the last one's slots are in use */
        s->slot[i] = (hour + 1 + i) % 4;
        q_nonce_slot_used(u, s->slot[i]);
    }
    job_load(r, u, on_looked);
}

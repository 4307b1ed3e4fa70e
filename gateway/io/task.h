/* SPDX-License-Identifier: Apache-2.0 */
/* The unit of asynchronous work: one ACME request, one job run, one driver call. It owns a pool, lives as long as
 * someone holds a reference, belongs to one loop. Every operation (db, fetch, dns, worker) takes a reference when it
 * starts and drops it after its one callback. A callback never runs inside the call that registered it; after
 * task_cancel() or task_fail() no continuation runs any more, pending operations finish quietly. */
#ifndef PORTICO_TASK_H
#define PORTICO_TASK_H

#include "base/err.h"
#include "io/loop.h"

struct task {
    struct loop *loop;
    pool_t pool;
    unsigned refs;
    bool over;                                            /* cancelled or failed: no continuation runs */
    void (*on_fail)(struct task *t, const struct err *e); /* once, on the loop; may reply, then lets go */
    void (*on_free)(struct task *t);                      /* last reference gone: frees the embedding object (its
                                                           * pool is cleared by task_unref after this returns only
                                                           * if on_free is NULL; else call task_dispose first) */
    char id[24];                                          /* request or job id: log lines, problem instance, events */
};

/* Starts with one reference, the creator's. id is copied (cut at 23 bytes). */
void task_init(struct task *t, struct loop *l, const char *id, void (*on_fail)(struct task *, const struct err *),
               void (*on_free)(struct task *));
void task_ref(struct task *t);
void task_unref(struct task *t);
/* No continuation and no failure hook after this. Keeps references as they are. */
void task_cancel(struct task *t);
/* Calls on_fail once unless the task is over; afterwards it is over. */
void task_fail(struct task *t, const struct err *e);
/* Clears the pool; for on_free. */
void task_dispose(struct task *t);

#endif

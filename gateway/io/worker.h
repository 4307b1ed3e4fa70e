/* SPDX-License-Identifier: Apache-2.0 */
/* CPU threads for what must not run on a loop: CSR work, ES384/512, signing, anything that decodes a public
 * key. */
#ifndef PORTICO_WORKER_H
#define PORTICO_WORKER_H

#include "io/task.h"

/* Heap block that carries copies of its inputs; nothing reachable from it may be in a pool of the loop. */
struct worker_job {
    struct loop_msg msg;     /* private */
    struct worker_job *next; /* private */
    struct task *task;       /* private */
    /* Worker thread: reads and writes *j, nothing else. Left out when the task was over before a thread took
     * the job. */
    void (*run)(struct worker_job *j);
    /* Loop thread: t is NULL when the task is over; frees *j. */
    void (*done)(struct worker_job *j, struct task *t);
};

/* One pool per process. queue_max bounds what waits. */
void worker_start(unsigned threads, size_t queue_max);
/* Runs what is queued and waits for it; afterwards worker_submit() refuses. The loops must turn once more, so
 * that every job comes home and nothing leaks. */
void worker_stop(void);
/* Takes a reference on t. False (and nothing taken, j still the caller's) when the queue is full: answer 503
 * with Retry-After. */
bool worker_submit(struct task *t, struct worker_job *j) MUST_CHECK;
size_t worker_queued(void);

#endif

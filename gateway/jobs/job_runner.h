/* SPDX-License-Identifier: Apache-2.0 */
/* Runs jobs: owns those born here, takes over those of dead gateways, backs off, fences. A kind is a file job_NAME.c and
 * a line in job_kind.def; its start function must be able to begin again from the rows alone. Each run lives on one
 * loop. */
#ifndef PORTICO_JOB_RUNNER_H
#define PORTICO_JOB_RUNNER_H

#include "backends/backend.h"
#include "io/db.h"
#include "policy/settings.h"
#include "store/store_job.h"

struct job_kind;

struct job_run {
    struct task task;
    struct store_job job;
    const struct job_kind *kind;
    struct settings *settings;   /* the snapshot it began with */
    uint64_t lock_key;           /* of its commits, once the kind knows it: store_lock_key */
    struct job_run *next, **prev; /* private: queue of its kind, or list of sleepers */
    struct loop_timer timer;     /* private: next run, or repeat of a commit */
    struct job_commit *commit;   /* private: the one under way */
    void *state;                 /* the kind's, in task.pool */
    void (*leave)(struct job_run *r); /* the kind's, before the run is freed: lets go of calls under way; may be NULL */
};

struct job_kind {
    const char *name;
    unsigned parallel;                  /* runs at once per loop; 0: no limit */
    void (*start)(struct job_run *r);   /* ends in job_commit with END or LATER, or job_drop. Reads go through db_run:
                                         * when the database fails one, the job runs again a little later */
};
extern const struct job_kind job_kinds[];
#define JOB_KIND(name, parallel) void job_##name##_start(struct job_run *r);
#include "jobs/job_kind.def"
#undef JOB_KIND

enum job_fence { JOB_KEEP, JOB_END, JOB_LATER };
/* One durable step: a unit that begins with the fence. It is repeated until the database took it, for what it carries
 * (a CA's answer) may exist nowhere else. */
struct job_step {
    enum job_fence fence;
    int64_t in_ms;       /* LATER: when to run again */
    iov_t error;         /* LATER: kept with the job; IOV_NULL: none */
    bool parked;         /* LATER: not before an operator says so */
    void (*build)(struct job_run *r, struct db_unit *u); /* adds statements after the fence; may be NULL; may run again */
    /* After the commit. ours false: the job was taken away or ended; nothing of the unit happened. With END and LATER the
     * run is over when this returns; may be NULL. */
    void (*done)(struct job_run *r, struct db_unit *u, bool ours);
};
/* Copies step. Statement 0 of the unit is the fence. */
void job_commit(struct job_run *r, const struct job_step *step);
/* The run is over without a word to the database (it is not ours any more). */
void job_drop(struct job_run *r);
/* 1 s, 2 s, 4 s, ... up to most_ms, each plus or minus a quarter. */
int64_t job_backoff_ms(int64_t tries, int64_t most_ms);
#define JOB_OF(taskp) CONTAINER_OF((taskp), struct job_run, task)

/* What kinds need of the process; set before the loops run. */
struct jobs_env {
    struct backends *backends;
};
extern struct jobs_env jobs_env;

/* On each loop's thread, after db_start. Loop 0 also beats the heart. */
void job_runner_start(struct loop *l);
/* Stops taking and starting; runs in flight go on until job_runner_busy() is 0 or the drain ends. */
void job_runner_drain(struct loop *l);
unsigned job_runner_busy(struct loop *l);
/* Before db_stop: nothing begins or is repeated after this; what db_stop fails ends quietly, its rows are the next
 * gateway's. Then, after a last turn of the loop, free. */
void job_runner_stop(struct loop *l);
void job_runner_free(struct loop *l);

struct job_stats {
    uint64_t started, done, taken_over, fenced, commit_repeats;
};
struct job_stats job_runner_stats(void);

#endif

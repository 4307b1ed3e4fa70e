/* SPDX-License-Identifier: Apache-2.0 */
/* Job rows, and the two in-process signals between those who make jobs (http) and those who run them (jobs): a job was
 * born here, an object moved. */
#ifndef PORTICO_STORE_JOB_H
#define PORTICO_STORE_JOB_H

#include "io/db.h"

struct store_job {
    char id[24], kind[16], ref[96];
    int64_t claim, tries;
};

/* This process's row in `gateway`: set once at start, before the loops run. */
void store_gateway_set(iov_t id, iov_t name, iov_t version);
iov_t store_gateway(void);
/* The heartbeat: prolongs the lease, and makes the row again if it was removed. Adds gateway_beat. */
unsigned store_gateway_beat(struct db_unit *u, int64_t lease_ms);

/* Set once by jobs/ before the loops run. Called on the loop that committed the job; it must start it there. */
extern void (*store_job_born_hook)(struct loop *l, const struct store_job *job);
/* After a commit that made the job (claim 1). */
void store_job_born(struct loop *l, iov_t id, const char *kind, iov_t ref);

/* One row of job_take. */
struct store_job store_job_decode(const struct db_unit *u, unsigned stmt, unsigned row);

/* ---- waiting for an object to move ----
 * A parked request waits for its order, challenge or certificate. Whoever commits an outcome in this process wakes it at
 * once (any thread); outcomes of other gateways are found by a poll of all waited-for objects in one statement. */
struct store_wait {
    struct store_wait *next; /* private */
    struct loop *loop;       /* private */
    iov_t id;                /* borrowed until the end of the wait */
    iov_t seen;              /* the state it is in, of an order, authorization or revocation: looked at in the database
                              * every 100 ms too, for the job may run elsewhere. IOV_NULL: woken only from here */
    struct loop_timer timer; /* private */
    void (*done)(struct store_wait *w, bool woken); /* once, on the loop; woken false: time is up */
};
void store_wait_start(struct loop *l, struct store_wait *w, uint64_t timeout_ms);
void store_wait_stop(struct store_wait *w); /* no callback follows; idle ones are fine */
/* Any thread: wakes every waiter for this id on every loop. */
void store_wake(iov_t id);
/* Each loop registers at start and leaves at its end. */
void store_wait_loop_start(struct loop *l);
void store_wait_loop_stop(struct loop *l);

/* ---- what backends are like lately, for Retry-After ---- */
/* A completed issuance at a backend took ms; any thread. */
void store_latency_note(const char *backend, int64_t ms);
/* Whole seconds, 1..60, that a client should wait before it asks again. */
unsigned store_latency_retry_after(iov_t backend);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* One event loop per thread (h2o's evloop), with what every adapter needs of it: monotonic timers on an own
 * heap (h2o's follow the wall clock), watches on foreign descriptors, messages from other threads. Everything
 * of a loop is touched by its thread only, loop_post() excepted. */
#ifndef PORTICO_LOOP_H
#define PORTICO_LOOP_H

#include "base/base.h"

struct loop;
struct db;
struct fetch;
struct dns;

/* Services of a loop: set once by their adapters' _start functions, NULL before. */
struct loop_services {
    struct db *db;
    struct fetch *fetch;
    struct dns *dns;
    void *serve; /* io/serve's own */
    void *app;   /* the program's per-loop state */
};

/* Heap object; index 0.. names it in logs. Must be created on the thread that will run it.
 * Ignores SIGPIPE for the process. */
struct loop *loop_new(unsigned index);
/* Runs until loop_stop(); returns on the loop's thread. */
void loop_run(struct loop *l);
/* One turn that waits at most max_wait_ms: for shutdown sequences and tests. */
void loop_turn(struct loop *l, int max_wait_ms);
/* Any thread. */
void loop_stop(struct loop *l);
/* On its thread, after all that uses it: what was posted and has not run yet runs now. */
void loop_free(struct loop *l);
unsigned loop_index(const struct loop *l);
struct loop_services *loop_svc(struct loop *l);
/* The h2o_evloop_t, for io/serve only. */
void *loop_evloop(struct loop *l);
/* Monotonic milliseconds, read at the call. */
uint64_t loop_now_ms(const struct loop *l);
/* Monotonic milliseconds when the loop last went to wait or came back (it beats at least once a second while
 * nothing hangs); any thread: for the watchdog. */
uint64_t loop_heartbeat_ms(const struct loop *l);

/* Embedded in its owner; zero-initialised is idle. One shot. */
struct loop_timer {
    struct loop *loop; /* NULL: idle */
    uint64_t at_ms;
    size_t slot;
    void (*fire)(struct loop_timer *t);
};
/* Starting a running timer moves it. fire runs on the loop, the timer already idle. */
void loop_timer_start(struct loop *l, struct loop_timer *t, uint64_t in_ms,
                      void (*fire)(struct loop_timer *t));
void loop_timer_stop(struct loop_timer *t);

/* Watches a descriptor that somebody else owns (libpq's, curl's, unbound's): duplicates it, so that each side
 * closes its own. events/revents are a mask of LOOP_READ and LOOP_WRITE; level-triggered. Heap object; NULL
 * (logged) when the process has no descriptor left. */
enum { LOOP_READ = 1, LOOP_WRITE = 2 };
struct loop_watch;
typedef void loop_watch_cb(void *arg, int revents);
struct loop_watch *loop_watch_new(struct loop *l, int fd, int events, loop_watch_cb *cb, void *arg);
void loop_watch_set(struct loop_watch *w, int events);
/* Both may be called from inside the callback; none follows loop_watch_free(). NULL is fine. */
void loop_watch_free(struct loop_watch *w);

/* A message to a loop: embedded in a heap object that the receiver frees. Any thread may post; run() is
 * called once on l's thread, never from inside loop_post(), also when posted by l itself ("next turn"). */
struct loop_msg {
    struct loop_msg *next;
    void (*run)(struct loop_msg *m);
};
void loop_post(struct loop *l, struct loop_msg *m);

#endif

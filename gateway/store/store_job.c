/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that are born, requests that wait for an outcome, and how long outcomes take lately. The only state is per
 * process and forgettable: the rows tell the truth. */
#include "store/store_job.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "schema/statements.h"

#define WAIT_POLL_MS 100
#define LOOPS_MAX 256
#define BACKENDS_MAX 256

void (*store_job_born_hook)(struct loop *l, const struct store_job *job);

static void copy_text(char *to, size_t size, iov_t from)
{
    size_t n = from.len < size ? from.len : size - 1;
    if (n > 0)
        memcpy(to, from.base, n);
    to[n] = '\0';
}

static char gateway_id[24], gateway_name[256], gateway_version[64];

void store_gateway_set(iov_t id, iov_t name, iov_t version)
{
    copy_text(gateway_id, sizeof(gateway_id), id);
    copy_text(gateway_name, sizeof(gateway_name), name);
    copy_text(gateway_version, sizeof(gateway_version), version);
}

unsigned store_gateway_beat(struct db_unit *u, int64_t lease_ms)
{
    return q_gateway_beat(u, iov_of(gateway_id), iov_of(gateway_name), iov_of(gateway_version), lease_ms);
}

iov_t store_gateway(void)
{
    return iov_of(gateway_id);
}

void store_job_born(struct loop *l, iov_t id, const char *kind, iov_t ref)
{
    struct store_job job = {.claim = 1};
    copy_text(job.id, sizeof(job.id), id);
    copy_text(job.kind, sizeof(job.kind), iov_of(kind));
    copy_text(job.ref, sizeof(job.ref), ref);
    if (store_job_born_hook != NULL)
        store_job_born_hook(l, &job);
}

struct store_job store_job_decode(const struct db_unit *u, unsigned stmt, unsigned row)
{
    struct store_job job = {.claim = db_get_int(u, stmt, row, COL_job_take_claim),
                            .tries = db_get_int(u, stmt, row, COL_job_take_tries)};
    copy_text(job.id, sizeof(job.id), db_get(u, stmt, row, COL_job_take_id));
    copy_text(job.kind, sizeof(job.kind), db_get(u, stmt, row, COL_job_take_kind));
    copy_text(job.ref, sizeof(job.ref), db_get(u, stmt, row, COL_job_take_ref));
    return job;
}

/* ---- waiting ---- */

struct waiters {
    struct loop *loop;
    struct store_wait *head;
    atomic_uint count;         /* read by wakers on other threads: nobody waits, nothing to post */
    struct loop_timer poll;
    bool polling;              /* a look is under way */
};
static struct waiters waiters[LOOPS_MAX]; /* by loop index; each touched by its loop only, `count` excepted */
static atomic_uint waiters_n;             /* highest index + 1 */

struct wake_msg {
    struct loop_msg msg;
    struct waiters *of;
    char id[32];
};

static void wait_unlink(struct waiters *ws, struct store_wait *w)
{
    for (struct store_wait **p = &ws->head; *p != NULL; p = &(*p)->next) {
        if (*p == w) {
            *p = w->next;
            atomic_fetch_sub(&ws->count, 1);
            break;
        }
    }
    loop_timer_stop(&w->timer);
    w->loop = NULL;
}

static void wait_finish(struct waiters *ws, struct store_wait *w, bool woken)
{
    wait_unlink(ws, w);
    w->done(w, woken);
}

static void wake_here(struct waiters *ws, iov_t id)
{
    for (bool again = true; again;) { /* done() may start or stop other waits */
        again = false;
        for (struct store_wait *w = ws->head; w != NULL; w = w->next) {
            if (iov_eq(w->id, id)) {
                wait_finish(ws, w, true);
                again = true;
                break;
            }
        }
    }
}

static void wake_run(struct loop_msg *m)
{
    struct wake_msg *wm = CONTAINER_OF(m, struct wake_msg, msg);
    wake_here(wm->of, iov_of(wm->id));
    free(wm);
}

void store_wake(iov_t id)
{
    unsigned n = atomic_load(&waiters_n);
    for (unsigned i = 0; i < n; i++) {
        if (waiters[i].loop == NULL || atomic_load(&waiters[i].count) == 0)
            continue;
        struct wake_msg *wm = base_zalloc(sizeof(*wm));
        wm->msg.run = wake_run;
        wm->of = &waiters[i];
        copy_text(wm->id, sizeof(wm->id), id);
        loop_post(waiters[i].loop, &wm->msg);
    }
}

static void on_timeout(struct loop_timer *timer)
{
    struct store_wait *w = CONTAINER_OF(timer, struct store_wait, timer);
    wait_finish(&waiters[loop_index(w->loop)], w, false);
}

/* The look at the rows of all waited-for objects; its task lives for one statement. */
struct look {
    struct task task;
    struct waiters *of;
};

static void look_arm(struct waiters *ws);

static void look_over(struct look *k)
{
    k->of->polling = false;
    look_arm(k->of);
    task_unref(&k->task);
}

static void look_free(struct task *t)
{
    task_dispose(t);
    free(CONTAINER_OF(t, struct look, task));
}

static void look_failed(struct task *t, const struct err *e)
{
    (void)e; /* the database is away: the waiters' own time-outs answer */
    look_over(CONTAINER_OF(t, struct look, task));
}

static void look_seen(struct task *t, struct db_unit *u)
{
    struct look *k = CONTAINER_OF(t, struct look, task);
    for (unsigned i = 0; i < db_rows(u, 0); i++)
        wake_here(k->of, db_get(u, 0, i, COL_objects_look_id));
    look_over(k);
}

static void look_start(struct loop_timer *timer)
{
    struct waiters *ws = CONTAINER_OF(timer, struct waiters, poll);
    struct look *k = base_zalloc(sizeof(*k));
    k->of = ws;
    task_init(&k->task, ws->loop, "waiters", look_failed, look_free);
    struct iovs ids = {0}, seen = {0};
    for (struct store_wait *w = ws->head; w != NULL; w = w->next) {
        if (w->seen.base == NULL)
            continue;
        iovs_add(&k->task.pool, &ids, iov_dup(&k->task.pool, w->id));
        iovs_add(&k->task.pool, &seen, iov_dup(&k->task.pool, w->seen));
    }
    if (ids.n == 0) {
        task_unref(&k->task);
        return;
    }
    ws->polling = true;
    struct db_unit *u = db_unit_new(&k->task);
    q_objects_look(u, ids, seen);
    db_run(u, look_seen);
}

static void look_arm(struct waiters *ws)
{
    if (ws->head != NULL && !ws->polling && ws->poll.loop == NULL && ws->loop != NULL)
        loop_timer_start(ws->loop, &ws->poll, WAIT_POLL_MS, look_start);
}

void store_wait_start(struct loop *l, struct store_wait *w, uint64_t timeout_ms)
{
    struct waiters *ws = &waiters[loop_index(l)];
    w->loop = l;
    w->next = ws->head;
    ws->head = w;
    atomic_fetch_add(&ws->count, 1);
    loop_timer_start(l, &w->timer, timeout_ms, on_timeout);
    look_arm(ws);
}

void store_wait_stop(struct store_wait *w)
{
    if (w->loop != NULL)
        wait_unlink(&waiters[loop_index(w->loop)], w);
}

void store_wait_loop_start(struct loop *l)
{
    unsigned i = loop_index(l), n = atomic_load(&waiters_n);
    if (i >= LOOPS_MAX)
        abort(); /* settings cap threads far below */
    waiters[i].loop = l;
    while (n < i + 1 && !atomic_compare_exchange_weak(&waiters_n, &n, i + 1))
        ;
}

void store_wait_loop_stop(struct loop *l)
{
    struct waiters *ws = &waiters[loop_index(l)];
    loop_timer_stop(&ws->poll);
    while (ws->head != NULL)
        wait_finish(ws, ws->head, false);
}

/* ---- latencies ---- */

static struct {
    pthread_mutex_t lock;
    struct {
        char name[64];
        double ms; /* moving average, one eighth per sample */
    } v[BACKENDS_MAX];
    size_t n;
} latency = {.lock = PTHREAD_MUTEX_INITIALIZER};

void store_latency_note(const char *backend, int64_t ms)
{
    pthread_mutex_lock(&latency.lock);
    size_t i = 0;
    while (i < latency.n && strcmp(latency.v[i].name, backend) != 0)
        i++;
    if (i == latency.n && latency.n < BACKENDS_MAX) {
        copy_text(latency.v[i].name, sizeof(latency.v[i].name), iov_of(backend));
        latency.v[i].ms = (double)ms;
        latency.n++;
    } else if (i < latency.n) {
        latency.v[i].ms += ((double)ms - latency.v[i].ms) / 8;
    }
    pthread_mutex_unlock(&latency.lock);
}

unsigned store_latency_retry_after(iov_t backend)
{
    double ms = 0;
    pthread_mutex_lock(&latency.lock);
    for (size_t i = 0; i < latency.n; i++) {
        if (iov_is(backend, latency.v[i].name))
            ms = latency.v[i].ms;
    }
    pthread_mutex_unlock(&latency.lock);
    double s = (ms + 999) / 1000;
    return s < 1 ? 1 : s > 60 ? 60 : (unsigned)s;
}

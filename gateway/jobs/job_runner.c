/* SPDX-License-Identifier: Apache-2.0 */
/* The runner of a loop: a table of runs, a queue per kind, timers that take over what dead gateways left. */
#include "jobs/job_runner.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "acme/problem.h"
#include "base/log.h"
#include "io/pki.h"
#include "schema/statements.h"

#define TAKE_EVERY_MS 500
#define TAKE_MOST 32
#define OVERDUE_MOST 1000 /* those that run for long stand at the head of the list */
#define OVERDUE_EVERY_MS 5000
#define COMMIT_REPEAT_MS 300 /* doubled up to seven times while a statement is refused */
#define RELOAD_MS 1000

const struct job_kind job_kinds[] = {
#define JOB_KIND(name, parallel) {#name, parallel, job_##name##_start},
#include "jobs/job_kind.def"
#undef JOB_KIND
};
#define N_KINDS COUNTOF(job_kinds)

struct jobs_env jobs_env;

struct queue {
    struct job_run *head, **tail;
    unsigned active;
};
struct runner {
    struct loop *loop;
    struct queue queues[N_KINDS];
    unsigned runs; /* active and asleep */
    unsigned busy; /* active */
    struct job_run *asleep;
    bool draining;
    bool stopped; /* the database connection goes: nothing is repeated any more */
    struct loop_timer take, overdue, beat;
};
#define LOOPS_MAX 256
static struct runner *runners[LOOPS_MAX];

static struct {
    atomic_ullong started, done, taken_over, fenced, commit_repeats;
} stats;

struct job_stats job_runner_stats(void)
{
    return (struct job_stats){.started = atomic_load(&stats.started), .done = atomic_load(&stats.done),
                              .taken_over = atomic_load(&stats.taken_over), .fenced = atomic_load(&stats.fenced),
                              .commit_repeats = atomic_load(&stats.commit_repeats)};
}

/* ---- which jobs this process has in memory: a job is run once, whichever loop finds it ---- */

#define KNOWN_BUCKETS 1024
static struct {
    pthread_mutex_t lock;
    struct known {
        struct known *next;
        char id[24];
    } *bucket[KNOWN_BUCKETS];
} known = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct known **known_find(const char *id)
{
    struct known **p = &known.bucket[db_key(iov_of(id)) % KNOWN_BUCKETS];
    while (*p != NULL && strcmp((*p)->id, id) != 0)
        p = &(*p)->next;
    return p;
}

static bool known_add(const char *id)
{
    pthread_mutex_lock(&known.lock);
    struct known **p = known_find(id);
    bool fresh = *p == NULL;
    if (fresh) {
        *p = base_zalloc(sizeof(**p));
        memcpy((*p)->id, id, sizeof((*p)->id));
    }
    pthread_mutex_unlock(&known.lock);
    return fresh;
}

static void known_remove(const char *id)
{
    pthread_mutex_lock(&known.lock);
    struct known **p = known_find(id), *k = *p;
    if (k != NULL)
        *p = k->next;
    pthread_mutex_unlock(&known.lock);
    free(k);
}

/* ---- runs ---- */

static struct runner *runner_of(struct job_run *r)
{
    return runners[loop_index(r->task.loop)];
}

static struct queue *queue_of(struct job_run *r)
{
    return &runner_of(r)->queues[r->kind - job_kinds];
}

static void run_begin(struct job_run *r)
{
    queue_of(r)->active++;
    runner_of(r)->busy++;
    atomic_fetch_add(&stats.started, 1);
    r->kind->start(r);
}

static void queue_pump(struct queue *q, unsigned parallel)
{
    while (q->head != NULL && (parallel == 0 || q->active < parallel)) {
        struct job_run *r = q->head;
        if ((q->head = r->next) == NULL)
            q->tail = &q->head;
        r->next = NULL;
        run_begin(r);
    }
}

static void enqueue(struct job_run *r)
{
    struct queue *q = queue_of(r);
    *q->tail = r;
    q->tail = &r->next;
    queue_pump(q, r->kind->parallel);
}

static void run_free(struct task *t)
{
    struct job_run *r = JOB_OF(t);
    if (r->leave != NULL)
        r->leave(r);
    settings_unref(r->settings);
    task_dispose(t);
    free(r);
}

static void run_failed(struct task *t, const struct err *e);

static struct job_run *run_new(struct loop *l, const struct store_job *job, const struct job_kind *kind)
{
    struct job_run *r = base_zalloc(sizeof(*r));
    task_init(&r->task, l, job->id, run_failed, run_free);
    r->job = *job;
    r->kind = kind;
    r->settings = settings_current();
    return r;
}

static void run_leave_active(struct job_run *r)
{
    struct queue *q = queue_of(r);
    q->active--;
    runner_of(r)->busy--;
    queue_pump(q, r->kind->parallel);
}

static void run_over(struct job_run *r)
{
    loop_timer_stop(&r->timer);
    known_remove(r->job.id);
    runner_of(r)->runs--;
    atomic_fetch_add(&stats.done, 1);
    run_leave_active(r);
    task_cancel(&r->task);
    task_unref(&r->task);
}

static void asleep_unlink(struct job_run *r)
{
    *r->prev = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
    r->next = NULL;
}

/* A run that is neither queued nor active nor asleep any more, without a word to the database. */
static void run_forget(struct job_run *r)
{
    runner_of(r)->runs--;
    known_remove(r->job.id);
    task_unref(&r->task);
}

/* A fresh run object for every start: nothing of the last one lingers in its pool. */
static void on_due(struct loop_timer *t)
{
    struct job_run *old = CONTAINER_OF(t, struct job_run, timer);
    struct runner *rn = runner_of(old);
    asleep_unlink(old);
    if (rn->draining) {
        run_forget(old);
        return;
    }
    enqueue(run_new(old->task.loop, &old->job, old->kind));
    task_unref(&old->task);
}

static void run_sleep(struct job_run *r, int64_t in_ms)
{
    run_leave_active(r);
    struct runner *rn = runner_of(r);
    r->job.tries++;
    task_cancel(&r->task);
    if ((r->next = rn->asleep) != NULL)
        r->next->prev = &r->next;
    rn->asleep = r;
    r->prev = &rn->asleep;
    loop_timer_start(r->task.loop, &r->timer, in_ms > 0 ? (uint64_t)in_ms : 0, on_due);
}

/* Something the kind did not expect (the database away during a read): the rows are untouched, so start over. */
static void run_failed(struct task *t, const struct err *e)
{
    struct job_run *r = JOB_OF(t);
    log_warn("job.repeat", KV_STR("job", r->job.id), KV_STR("kind", r->kind->name), KV_STR("ref", r->job.ref),
             KV_STR("reason", e->cause[0] != '\0' ? e->cause : e->detail));
    if (runner_of(r)->stopped)
        run_over(r);
    else
        run_sleep(r, RELOAD_MS);
}

void job_drop(struct job_run *r)
{
    atomic_fetch_add(&stats.fenced, 1);
    log_info("job.fenced", KV_STR("job", r->job.id), KV_STR("kind", r->kind->name), KV_STR("ref", r->job.ref));
    run_over(r);
}

int64_t job_backoff_ms(int64_t tries, int64_t most_ms)
{
    int64_t ms = tries > 20 ? most_ms : (int64_t)1000 << (tries < 0 ? 0 : tries);
    if (ms > most_ms)
        ms = most_ms;
    uint16_t noise;
    pki_random(&noise, sizeof(noise));
    return ms * 3 / 4 + ms / 2 * noise / 65536;
}

/* ---- durable steps ---- */

struct job_commit {
    struct job_step step;
    unsigned refusals; /* by a database that is there: waiting alone does not help */
};

static void commit_send(struct job_run *r);

static void on_commit_repeat(struct loop_timer *t)
{
    commit_send(CONTAINER_OF(t, struct job_run, timer));
}

static void commit_failed(struct task *t, struct db_unit *u, const struct err *e, bool sent)
{
    struct job_run *r = JOB_OF(t);
    (void)u;
    if (runner_of(r)->stopped) { /* the row tells the next owner where to go on */
        run_over(r);
        return;
    }
    atomic_fetch_add(&stats.commit_repeats, 1);
    log_warn("job.commit_repeat", KV_STR("job", r->job.id), KV_STR("kind", r->kind->name),
             KV_STR("sent", sent ? "yes" : "no"), KV_STR("reason", e->cause[0] != '\0' ? e->cause : e->detail));
    unsigned slower = e->code == ACME_UNAVAILABLE ? 0 : r->commit->refusals++;
    loop_timer_start(r->task.loop, &r->timer, COMMIT_REPEAT_MS << (slower < 7 ? slower : 7), on_commit_repeat);
}

static void commit_done(struct task *t, struct db_unit *u)
{
    struct job_run *r = JOB_OF(t);
    struct job_step step = r->commit->step;
    bool ours = db_get_bool(u, 0, 0, 0);
    r->commit = NULL;
    if (step.done != NULL)
        step.done(r, u, ours);
    if (step.fence == JOB_KEEP)
        return;
    if (!ours)
        job_drop(r);
    else if (step.fence == JOB_END || step.parked)
        run_over(r);
    else
        run_sleep(r, step.in_ms);
}

static void commit_send(struct job_run *r)
{
    struct db_unit *u = db_unit_new(&r->task);
    const struct job_step *s = &r->commit->step;
    iov_t id = iov_of(r->job.id);
    db_unit_lock_key(u, r->lock_key);
    if (s->fence == JOB_END)
        q_job_end(u, id, store_gateway(), r->job.claim);
    else if (s->fence == JOB_LATER)
        q_job_later(u, id, store_gateway(), r->job.claim, s->in_ms, s->error, s->parked);
    else
        q_job_fence(u, id, store_gateway(), r->job.claim);
    if (s->build != NULL)
        s->build(r, u);
    db_unit_on_error(u, commit_failed);
    db_run(u, commit_done);
}

void job_commit(struct job_run *r, const struct job_step *step)
{
    r->commit = POOL_NEW(&r->task.pool, struct job_commit, 1);
    r->commit->step = *step;
    commit_send(r);
}

/* ---- where jobs come from ---- */

static void adopt(struct runner *rn, const struct store_job *job)
{
    const struct job_kind *kind = NULL;
    for (size_t i = 0; i < N_KINDS; i++) {
        if (strcmp(job_kinds[i].name, job->kind) == 0)
            kind = &job_kinds[i];
    }
    if (kind == NULL) { /* a newer gateway's kind; its row stays for one that knows it */
        log_warn("job.unknown_kind", KV_STR("job", job->id), KV_STR("kind", job->kind));
        return;
    }
    if (rn->draining || !known_add(job->id))
        return;
    rn->runs++;
    enqueue(run_new(rn->loop, job, kind));
}

static void on_born(struct loop *l, const struct store_job *job)
{
    adopt(runners[loop_index(l)], job);
}

/* A look into the job table; its task lives for one statement. */
struct scan {
    struct task task;
    struct runner *runner;
    bool taking;
};

static void scan_free(struct task *t)
{
    task_dispose(t);
    free(CONTAINER_OF(t, struct scan, task));
}

static void on_take(struct loop_timer *t);
static void on_overdue(struct loop_timer *t);

static void scan_over(struct scan *s)
{
    if (!s->runner->draining) {
        if (s->taking)
            loop_timer_start(s->runner->loop, &s->runner->take, TAKE_EVERY_MS, on_take);
        else
            loop_timer_start(s->runner->loop, &s->runner->overdue, OVERDUE_EVERY_MS, on_overdue);
    }
    task_unref(&s->task);
}

static void scan_failed(struct task *t, const struct err *e)
{
    (void)e; /* io/db has logged it; the timer asks again */
    scan_over(CONTAINER_OF(t, struct scan, task));
}

static void scan_done(struct task *t, struct db_unit *u)
{
    struct scan *s = CONTAINER_OF(t, struct scan, task);
    for (unsigned i = 0; i < db_rows(u, 0); i++) {
        struct store_job job = store_job_decode(u, 0, i);
        if (s->taking) {
            atomic_fetch_add(&stats.taken_over, 1);
            log_info("job.taken", KV_STR("job", job.id), KV_STR("kind", job.kind), KV_STR("ref", job.ref));
        }
        adopt(s->runner, &job);
    }
    scan_over(s);
}

static void scan_start(struct runner *rn, bool taking)
{
    struct scan *s = base_zalloc(sizeof(*s));
    s->runner = rn;
    s->taking = taking;
    task_init(&s->task, rn->loop, "runner", scan_failed, scan_free);
    struct db_unit *u = db_unit_new(&s->task);
    if (taking)
        q_job_take(u, store_gateway(), TAKE_MOST);
    else
        q_job_overdue(u, store_gateway(), OVERDUE_MOST);
    db_run(u, scan_done);
}

static void on_take(struct loop_timer *t)
{
    scan_start(CONTAINER_OF(t, struct runner, take), true);
}

static void on_overdue(struct loop_timer *t)
{
    scan_start(CONTAINER_OF(t, struct runner, overdue), false);
}

/* ---- the heart ---- */

static void on_beat(struct loop_timer *t);

static void beat_over(struct scan *s)
{
    int64_t lease = 5000;
    struct settings *set = settings_current();
    lease = set->times.lease_ms;
    settings_unref(set);
    if (!s->runner->stopped)
        loop_timer_start(s->runner->loop, &s->runner->beat, (uint64_t)lease / 4, on_beat);
    task_unref(&s->task);
}

static void beat_failed(struct task *t, const struct err *e)
{
    (void)e;
    beat_over(CONTAINER_OF(t, struct scan, task));
}

static void beat_done(struct task *t, struct db_unit *u)
{
    if (db_get_bool(u, 0, 0, COL_gateway_beat_made))
        log_warn("gateway.row_made_again", KV_IOV("gateway", store_gateway()), KV_STR("reason", "it was removed as long dead"));
    beat_over(CONTAINER_OF(t, struct scan, task));
}

static void on_beat(struct loop_timer *t)
{
    struct runner *rn = CONTAINER_OF(t, struct runner, beat);
    struct scan *s = base_zalloc(sizeof(*s));
    s->runner = rn;
    task_init(&s->task, rn->loop, "heart", beat_failed, scan_free);
    struct settings *set = settings_current();
    struct db_unit *u = db_unit_new(&s->task);
    store_gateway_beat(u, set->times.lease_ms);
    settings_unref(set);
    db_run(u, beat_done);
}

void job_runner_start(struct loop *l)
{
    struct runner *rn = base_zalloc(sizeof(*rn));
    rn->loop = l;
    for (size_t i = 0; i < N_KINDS; i++)
        rn->queues[i].tail = &rn->queues[i].head;
    runners[loop_index(l)] = rn;
    store_job_born_hook = on_born;
    loop_timer_start(l, &rn->take, TAKE_EVERY_MS, on_take);
    if (loop_index(l) == 0) {
        loop_timer_start(l, &rn->overdue, OVERDUE_EVERY_MS, on_overdue);
        loop_timer_start(l, &rn->beat, 0, on_beat);
    }
}

void job_runner_drain(struct loop *l)
{
    struct runner *rn = runners[loop_index(l)];
    rn->draining = true;
    loop_timer_stop(&rn->take);
    loop_timer_stop(&rn->overdue);
    for (size_t i = 0; i < N_KINDS; i++) { /* what has not begun is the next gateway's */
        struct queue *q = &rn->queues[i];
        for (struct job_run *r; (r = q->head) != NULL;) {
            q->head = r->next;
            run_forget(r);
        }
        q->tail = &q->head;
    }
}

unsigned job_runner_busy(struct loop *l)
{
    return runners[loop_index(l)]->busy;
}

void job_runner_stop(struct loop *l)
{
    struct runner *rn = runners[loop_index(l)];
    rn->draining = rn->stopped = true;
    loop_timer_stop(&rn->beat);
    loop_timer_stop(&rn->take);
    loop_timer_stop(&rn->overdue);
    while (rn->asleep != NULL) { /* their rows are the next gateway's */
        struct job_run *r = rn->asleep;
        asleep_unlink(r);
        loop_timer_stop(&r->timer);
        run_forget(r);
    }
}

void job_runner_free(struct loop *l)
{
    free(runners[loop_index(l)]);
    runners[loop_index(l)] = NULL;
}

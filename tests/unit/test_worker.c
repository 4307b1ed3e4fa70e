/* SPDX-License-Identifier: Apache-2.0 */
/* io/worker with real threads and loops: jobs come home to their own loop, a full queue refuses, what nobody
 * waits for is skipped and freed, a stop loses nothing. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "io/worker.h"

enum { THREADS = 2, QUEUE = 8 };

/* Holds workers until it is opened. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    unsigned waiting;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void gate_pass(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.waiting++;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.open)
        pthread_cond_wait(&gate.changed, &gate.lock);
    gate.waiting--;
    pthread_mutex_unlock(&gate.lock);
}

static void gate_wait_for(unsigned n)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.waiting < n)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static void gate_set(bool open)
{
    pthread_mutex_lock(&gate.lock);
    gate.open = open;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

/* A task that counts what comes home; lives on the stack of its loop's thread. */
struct owner {
    struct task task;
    pthread_t thread;
    unsigned sent, home, with_task, ran;
    uint64_t sum;
    bool freed;
};

struct job {
    struct worker_job job;
    struct owner *owner; /* for done() only */
    bool hold, ran;
    uint64_t n, square;
    pthread_t on;
};

static void owner_freed(struct task *t)
{
    CONTAINER_OF(t, struct owner, task)->freed = true;
    task_dispose(t);
}

static void owner_init(struct owner *o, struct loop *l)
{
    memset(o, 0, sizeof(*o));
    o->thread = pthread_self();
    task_init(&o->task, l, "test", NULL, owner_freed);
}

static void job_run(struct worker_job *w)
{
    struct job *j = CONTAINER_OF(w, struct job, job);
    if (j->hold)
        gate_pass();
    j->on = pthread_self();
    j->ran = true;
    j->square = j->n * j->n;
}

static void job_done(struct worker_job *w, struct task *t)
{
    struct job *j = CONTAINER_OF(w, struct job, job);
    struct owner *o = j->owner;
    assert_true(pthread_equal(pthread_self(), o->thread));
    assert_false(o->freed); /* the job holds its task */
    if (j->ran)
        assert_false(pthread_equal(j->on, o->thread));
    if (t != NULL)
        assert_ptr_equal(t, &o->task);
    o->home++;
    o->with_task += t != NULL;
    o->ran += j->ran;
    o->sum += j->square;
    free(j);
}

static bool submit(struct owner *o, uint64_t n, bool hold)
{
    struct job *j = base_zalloc(sizeof(*j));
    *j = (struct job){.job = {.run = job_run, .done = job_done}, .owner = o, .n = n, .hold = hold};
    bool taken = worker_submit(&o->task, &j->job);
    if (!taken)
        free(j);
    o->sent += taken;
    return taken;
}

static void turn_until_home(struct loop *l, const struct owner *o)
{
    while (o->home < o->sent)
        loop_turn(l, 1000);
}

/* ---- the tests ---- */

enum { LOOPS = 3, EACH = 2000 };

static void *many_jobs(void *arg UNUSED)
{
    struct loop *l = loop_new(0);
    struct owner o;
    owner_init(&o, l);
    uint64_t want = 0;
    for (uint64_t i = 0; i < EACH; i++) {
        while (!submit(&o, i, false)) /* full: as a client that comes again */
            loop_turn(l, 1);
        want += i * i;
        loop_turn(l, 0);
    }
    turn_until_home(l, &o);
    task_unref(&o.task);
    bool ok = o.freed && o.sum == want && o.with_task == EACH && o.ran == EACH;
    loop_free(l);
    return (void *)(uintptr_t)ok;
}

static void jobs_of_several_loops_come_home(void **state UNUSED)
{
    worker_start(THREADS, QUEUE);
    pthread_t t[LOOPS];
    for (size_t i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, many_jobs, NULL), 0);
    for (size_t i = 0; i < LOOPS; i++) {
        void *ok;
        pthread_join(t[i], &ok);
        assert_non_null(ok);
    }
    worker_stop();
}

static void a_full_queue_refuses(void **state UNUSED)
{
    struct loop *l = loop_new(0);
    struct owner o;
    owner_init(&o, l);
    gate_set(false);
    worker_start(THREADS, QUEUE);
    for (unsigned i = 0; i < THREADS; i++)
        assert_true(submit(&o, 1, true));
    gate_wait_for(THREADS);
    for (unsigned i = 0; i < QUEUE; i++)
        assert_true(submit(&o, 1, false));
    assert_int_equal(worker_queued(), QUEUE);
    assert_false(submit(&o, 1, false));
    assert_int_equal(o.task.refs, 1 + THREADS + QUEUE); /* the refused one holds nothing */
    gate_set(true);
    turn_until_home(l, &o);
    assert_int_equal(o.sum, THREADS + QUEUE);
    assert_int_equal(worker_queued(), 0);
    worker_stop();
    assert_false(submit(&o, 1, false)); /* stopped: refuses too */
    task_unref(&o.task);
    assert_true(o.freed);
    loop_free(l);
}

static void jobs_of_a_cancelled_task_are_skipped_and_freed(void **state UNUSED)
{
    struct loop *l = loop_new(0);
    struct owner o;
    owner_init(&o, l);
    gate_set(false);
    worker_start(1, QUEUE);
    assert_true(submit(&o, 1, true));
    gate_wait_for(1);
    for (unsigned i = 1; i < QUEUE; i++)
        assert_true(submit(&o, 1, false));
    task_cancel(&o.task);
    task_unref(&o.task); /* its creator is gone, too: the jobs keep it alive until they are home */
    assert_false(o.freed);
    gate_set(true);
    turn_until_home(l, &o);
    assert_int_equal(o.with_task, 0);
    assert_int_equal(o.ran, 1); /* the one that was under way */
    assert_true(o.freed);
    worker_stop();
    loop_free(l);
}

static void a_stop_hands_back_what_is_queued(void **state UNUSED)
{
    struct loop *l = loop_new(0);
    struct owner o;
    owner_init(&o, l);
    for (int round = 0; round < 3; round++) { /* the pool can start again */
        gate_set(true);
        worker_start(THREADS, QUEUE);
        for (unsigned i = 0; i < QUEUE; i++)
            assert_true(submit(&o, 2, false));
        worker_stop();
        turn_until_home(l, &o);
    }
    assert_int_equal(o.sum, 3 * QUEUE * 4);
    task_unref(&o.task);
    loop_free(l);
}

int main(void)
{
    alarm(120);
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_of_several_loops_come_home),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(jobs_of_a_cancelled_task_are_skipped_and_freed),
        cmocka_unit_test(a_stop_hands_back_what_is_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of CPU threads: one bounded queue under one lock, results go home as loop messages. The only locks
 * of the program beside io/loop's inbox. */
#include "io/worker.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct worker_job *head, **tail;
    size_t queued, queue_max;
    bool running;
    pthread_t *threads;
    unsigned n_threads;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* Loop thread. */
static void go_home(struct loop_msg *m)
{
    struct worker_job *j = CONTAINER_OF(m, struct worker_job, msg);
    struct task *t = j->task;
    j->done(j, t->over ? NULL : t); /* frees j */
    task_unref(t);
}

/* NULL: the pool stops and nothing is left. */
static struct worker_job *take(void)
{
    pthread_mutex_lock(&pool.lock);
    while (pool.head == NULL && pool.running)
        pthread_cond_wait(&pool.wake, &pool.lock);
    struct worker_job *j = pool.head;
    if (j != NULL) {
        pool.head = j->next;
        if (pool.head == NULL)
            pool.tail = &pool.head;
        pool.queued--;
    }
    pthread_mutex_unlock(&pool.lock);
    return j;
}

static void *work(void *arg)
{
    char name[16];
    snprintf(name, sizeof(name), "worker-%u", (unsigned)(uintptr_t)arg);
    pthread_setname_np(pthread_self(), name);
    struct worker_job *j;
    while ((j = take()) != NULL) {
        struct loop *home = j->task->loop;
        /* Nobody waits for a task that is over: its job only goes home to be freed. Not exact and need not
         * be, so a relaxed look at what the loop writes is enough. */
        if (!__atomic_load_n(&j->task->over, __ATOMIC_RELAXED))
            j->run(j);
        loop_post(home, &j->msg); /* j is the loop's from here on */
    }
    return NULL;
}

void worker_start(unsigned threads, size_t queue_max)
{
    assert(!pool.running && threads != 0);
    pool.head = NULL;
    pool.tail = &pool.head;
    pool.queued = 0;
    pool.queue_max = queue_max;
    pool.running = true;
    pool.n_threads = threads;
    pool.threads = base_zalloc(threads * sizeof(*pool.threads));
    /* Signals belong to the program's own threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < threads; i++) {
        int rc = pthread_create(&pool.threads[i], NULL, work, (void *)(uintptr_t)i);
        if (rc == 0)
            continue;
        log_error("worker.start", KV_INT("thread", i), KV_STR("reason", strerror(rc)));
        abort();
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void worker_stop(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.running = false;
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    for (unsigned i = 0; i < pool.n_threads; i++)
        pthread_join(pool.threads[i], NULL);
    free(pool.threads);
    pool.threads = NULL;
    pool.n_threads = 0;
}

bool worker_submit(struct task *t, struct worker_job *j)
{
    pthread_mutex_lock(&pool.lock);
    bool taken = pool.running && pool.queued < pool.queue_max;
    if (taken) {
        /* Before a worker can see it. */
        task_ref(t);
        j->task = t;
        j->next = NULL;
        j->msg.run = go_home;
        *pool.tail = j;
        pool.tail = &j->next;
        pool.queued++;
        pthread_cond_signal(&pool.wake);
    }
    pthread_mutex_unlock(&pool.lock);
    return taken;
}

size_t worker_queued(void)
{
    pthread_mutex_lock(&pool.lock);
    size_t n = pool.queued;
    pthread_mutex_unlock(&pool.lock);
    return n;
}

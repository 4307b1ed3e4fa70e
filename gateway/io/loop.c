/* SPDX-License-Identifier: Apache-2.0 */
/* h2o's event loop with monotonic timers, watches and messages. The evloop only waits: its max_wait comes
 * from the timer heap, and posted messages run after it returns, so no callback runs inside the call that
 * registered it. */
#include "io/loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <h2o/multithread.h>
#include <h2o/socket.h>
#include "base/clock.h"
#include "base/log.h"

#define TURN_MAX_MS 1000 /* the heartbeat beats at least this often */
#define FREE_ROUNDS 64   /* messages that beget messages while a loop is freed */

struct loop {
    unsigned index;
    pthread_t thread;
    h2o_evloop_t *ev;
    h2o_multithread_queue_t *queue; /* only for its wake-up */
    h2o_multithread_receiver_t receiver;
    struct loop_services svc;
    struct {
        struct loop_timer **v;
        size_t n, cap;
    } heap;
    struct {
        pthread_mutex_t lock;
        struct loop_msg *head, **tail;
    } inbox;
    atomic_bool stop;
    atomic_uint_fast64_t heartbeat_ms;
};

static void on_queue(h2o_multithread_receiver_t *r UNUSED, h2o_linklist_t *messages)
{
    assert(h2o_linklist_is_empty(messages)); /* loop_post() uses the queue to wake the loop, not to carry */
}

struct loop *loop_new(unsigned index)
{
    /* h2o writes with writev(); a peer that is gone must be an error, not the end of the process. */
    signal(SIGPIPE, SIG_IGN);
    struct loop *l = base_zalloc(sizeof(*l));
    l->index = index;
    l->thread = pthread_self();
    l->ev = h2o_evloop_create();
    l->queue = h2o_multithread_create_queue(l->ev);
    h2o_multithread_register_receiver(l->queue, &l->receiver, on_queue);
    pthread_mutex_init(&l->inbox.lock, NULL);
    l->inbox.tail = &l->inbox.head;
    atomic_init(&l->stop, false);
    atomic_init(&l->heartbeat_ms, clock_mono_ms());
    return l;
}

unsigned loop_index(const struct loop *l)
{
    return l->index;
}

struct loop_services *loop_svc(struct loop *l)
{
    return &l->svc;
}

void *loop_evloop(struct loop *l)
{
    return l->ev;
}

uint64_t loop_now_ms(const struct loop *l UNUSED)
{
    return clock_mono_ms();
}

uint64_t loop_heartbeat_ms(const struct loop *l)
{
    return atomic_load_explicit(&((struct loop *)l)->heartbeat_ms, memory_order_relaxed);
}

/* ---- timers: a binary min-heap; a timer's slot is its index ---- */

static void heap_put(struct loop *l, size_t slot, struct loop_timer *t)
{
    l->heap.v[slot] = t;
    t->slot = slot;
}

static void heap_up(struct loop *l, size_t slot)
{
    struct loop_timer *t = l->heap.v[slot];
    while (slot > 0 && l->heap.v[(slot - 1) / 2]->at_ms > t->at_ms) {
        heap_put(l, slot, l->heap.v[(slot - 1) / 2]);
        slot = (slot - 1) / 2;
    }
    heap_put(l, slot, t);
}

static void heap_down(struct loop *l, size_t slot)
{
    struct loop_timer *t = l->heap.v[slot];
    for (;;) {
        size_t child = 2 * slot + 1;
        if (child >= l->heap.n)
            break;
        if (child + 1 < l->heap.n && l->heap.v[child + 1]->at_ms < l->heap.v[child]->at_ms)
            child++;
        if (l->heap.v[child]->at_ms >= t->at_ms)
            break;
        heap_put(l, slot, l->heap.v[child]);
        slot = child;
    }
    heap_put(l, slot, t);
}

void loop_timer_stop(struct loop_timer *t)
{
    struct loop *l = t->loop;
    if (l == NULL)
        return;
    size_t slot = t->slot;
    struct loop_timer *last = l->heap.v[--l->heap.n];
    t->loop = NULL;
    if (last == t)
        return;
    heap_put(l, slot, last);
    heap_up(l, slot);
    heap_down(l, last->slot);
}

void loop_timer_start(struct loop *l, struct loop_timer *t, uint64_t in_ms,
                      void (*fire)(struct loop_timer *t))
{
    loop_timer_stop(t);
    uint64_t now = clock_mono_ms();
    t->at_ms = in_ms < UINT64_MAX - now ? now + in_ms : UINT64_MAX;
    t->fire = fire;
    t->loop = l;
    if (l->heap.n == l->heap.cap) {
        l->heap.cap = l->heap.cap != 0 ? 2 * l->heap.cap : 64;
        l->heap.v = h2o_mem_realloc(l->heap.v, l->heap.cap * sizeof(*l->heap.v));
    }
    heap_put(l, l->heap.n++, t);
    heap_up(l, t->slot);
}

static void run_timers(struct loop *l)
{
    uint64_t now = clock_mono_ms();
    /* Bounded: a timer that restarts itself with 0 ms must not keep messages and sockets waiting. */
    for (size_t left = l->heap.n; left != 0 && l->heap.n != 0 && l->heap.v[0]->at_ms <= now; left--) {
        struct loop_timer *t = l->heap.v[0];
        loop_timer_stop(t);
        t->fire(t);
    }
}

/* ---- messages ---- */

void loop_post(struct loop *l, struct loop_msg *m)
{
    m->next = NULL;
    pthread_mutex_lock(&l->inbox.lock);
    bool was_empty = l->inbox.head == NULL;
    *l->inbox.tail = m;
    l->inbox.tail = &m->next;
    /* Under the lock, so that the loop cannot have run m and been freed before it is woken. Its own thread
     * need not be: it looks into the inbox before it waits. */
    if (was_empty && !pthread_equal(pthread_self(), l->thread))
        h2o_multithread_send_message(&l->receiver, NULL);
    pthread_mutex_unlock(&l->inbox.lock);
}

static bool inbox_is_empty(struct loop *l)
{
    pthread_mutex_lock(&l->inbox.lock);
    bool empty = l->inbox.head == NULL;
    pthread_mutex_unlock(&l->inbox.lock);
    return empty;
}

static void run_messages(struct loop *l)
{
    pthread_mutex_lock(&l->inbox.lock);
    struct loop_msg *m = l->inbox.head;
    l->inbox.head = NULL;
    l->inbox.tail = &l->inbox.head;
    pthread_mutex_unlock(&l->inbox.lock);
    while (m != NULL) {
        struct loop_msg *next = m->next; /* run() frees m */
        m->run(m);
        m = next;
    }
}

/* ---- turning ---- */

static void beat(struct loop *l)
{
    atomic_store_explicit(&l->heartbeat_ms, clock_mono_ms(), memory_order_relaxed);
}

static int turn_wait_ms(struct loop *l, int max_wait_ms)
{
    /* A callback that h2o has queued (a write that is done at once, say) by a timer or message of the last
     * turn: h2o runs it after the wait. */
    if (!inbox_is_empty(l) || l->ev->_pending_as_client != NULL || l->ev->_pending_as_server != NULL)
        return 0;
    int wait_ms = max_wait_ms < TURN_MAX_MS ? max_wait_ms : TURN_MAX_MS;
    if (l->heap.n == 0)
        return wait_ms;
    uint64_t at = l->heap.v[0]->at_ms, now = clock_mono_ms();
    if (at <= now)
        return 0;
    return at - now < (uint64_t)wait_ms ? (int)(at - now) : wait_ms;
}

void loop_turn(struct loop *l, int max_wait_ms)
{
    assert(pthread_equal(pthread_self(), l->thread));
    int wait_ms = turn_wait_ms(l, max_wait_ms > 0 ? max_wait_ms : 0);
    beat(l);
    errno = 0;
    if (h2o_evloop_run(l->ev, wait_ms) != 0 && errno != EINTR) {
        /* epoll itself failed: h2o has lost track of its sockets. Nothing is lost by ending here, all state
         * is in the database. */
        log_error("loop.failed", KV_INT("loop", l->index), KV_STR("reason", strerror(errno)));
        abort();
    }
    beat(l);
    run_timers(l);
    run_messages(l);
}

void loop_run(struct loop *l)
{
    while (!atomic_exchange(&l->stop, false))
        loop_turn(l, TURN_MAX_MS);
}

void loop_stop(struct loop *l)
{
    /* Under the lock for the same reason as in loop_post(). */
    pthread_mutex_lock(&l->inbox.lock);
    atomic_store(&l->stop, true);
    h2o_multithread_send_message(&l->receiver, NULL);
    pthread_mutex_unlock(&l->inbox.lock);
}

void loop_free(struct loop *l)
{
    for (int i = 0; i < FREE_ROUNDS && !inbox_is_empty(l); i++)
        run_messages(l);
    h2o_multithread_unregister_receiver(l->queue, &l->receiver);
    h2o_multithread_destroy_queue(l->queue);
    h2o_evloop_run(l->ev, 0);  /* frees what is closed */
    h2o_evloop_destroy(l->ev); /* this h2o leaves the queue's struct and the epoll descriptor behind */
    pthread_mutex_destroy(&l->inbox.lock);
    free(l->heap.v);
    free(l);
}

/* ---- watches ---- */

struct loop_watch {
    h2o_socket_t *sock; /* wraps a duplicate of the descriptor; closed with the watch */
    int events;
    bool write_armed;
    loop_watch_cb *cb;
    void *arg;
};

static void on_readable(h2o_socket_t *sock, const char *err UNUSED)
{
    struct loop_watch *w = sock->data;
    w->cb(w->arg, LOOP_READ); /* w may be gone after this */
}

static void on_writable(h2o_socket_t *sock, const char *err UNUSED)
{
    struct loop_watch *w = sock->data;
    if ((w->events & LOOP_WRITE) == 0) {
        w->write_armed = false;
        return;
    }
    /* h2o's write watch is one-shot and cannot be taken back: armed again first, because the callback may
     * free w. */
    h2o_socket_notify_write(sock, on_writable);
    w->cb(w->arg, LOOP_WRITE);
}

struct loop_watch *loop_watch_new(struct loop *l, int fd, int events, loop_watch_cb *cb, void *arg)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own == -1) {
        log_error("loop.watch", KV_INT("loop", l->index), KV_INT("fd", fd),
                  KV_STR("reason", strerror(errno)));
        return NULL;
    }
    struct loop_watch *w = base_zalloc(sizeof(*w));
    w->cb = cb;
    w->arg = arg;
    w->sock = h2o_evloop_socket_create(l->ev, own, H2O_SOCKET_FLAG_DONT_READ);
    w->sock->data = w;
    loop_watch_set(w, events);
    return w;
}

void loop_watch_set(struct loop_watch *w, int events)
{
    if (w == NULL)
        return;
    if ((events & LOOP_READ) != 0 && (w->events & LOOP_READ) == 0)
        h2o_socket_read_start(w->sock, on_readable);
    else if ((events & LOOP_READ) == 0 && (w->events & LOOP_READ) != 0)
        h2o_socket_read_stop(w->sock);
    w->events = events;
    if ((events & LOOP_WRITE) != 0 && !w->write_armed) {
        w->write_armed = true;
        h2o_socket_notify_write(w->sock, on_writable);
    }
}

void loop_watch_free(struct loop_watch *w)
{
    if (w == NULL)
        return;
    h2o_socket_close(w->sock);
    free(w);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* io/loop with real descriptors and threads: timers, watches, messages; and io/task. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "io/loop.h"
#include "io/task.h"

static struct loop *the_loop;

static int set_up(void **state UNUSED)
{
    the_loop = loop_new(7);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    loop_free(the_loop);
    return 0;
}

/* Turns until *done; a test that hangs is ended by the harness, not by a guess here. */
static void turn_until(const bool *done)
{
    while (!*done)
        loop_turn(the_loop, 1000);
}

static unsigned count_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    return n;
}

/* ---- timers ---- */

struct tick {
    struct loop_timer timer;
    unsigned fired;
    uint64_t fired_at_ms, due_ms;
    bool done;
};

static uint64_t last_due_ms;

static void on_tick(struct loop_timer *t)
{
    struct tick *k = CONTAINER_OF(t, struct tick, timer);
    assert_null(t->loop); /* idle already: it may be started again here */
    k->fired++;
    k->fired_at_ms = clock_mono_ms();
    assert_true(k->fired_at_ms >= k->due_ms);
    assert_true(k->due_ms >= last_due_ms);
    last_due_ms = k->due_ms;
    k->done = true;
}

static void start(struct tick *k, uint64_t in_ms)
{
    loop_timer_start(the_loop, &k->timer, in_ms, on_tick);
    k->due_ms = k->timer.at_ms;
}

static void timers_fire_in_order_and_not_early(void **state UNUSED)
{
    enum { N = 500 };
    static struct tick k[N];
    struct tick end = {0};
    last_due_ms = 0;
    unsigned seed = 42;
    for (size_t i = 0; i < N; i++)
        start(&k[i], (uint64_t)rand_r(&seed) % 60);
    /* Stopped, moved and started again in every state of the heap. */
    for (size_t i = 0; i < N; i++) {
        if (i % 3 == 0)
            loop_timer_stop(&k[i].timer);
        else if (i % 3 == 1)
            start(&k[i], (uint64_t)rand_r(&seed) % 60);
        if (i % 6 == 0)
            start(&k[i], (uint64_t)rand_r(&seed) % 60);
    }
    start(&end, 100);
    turn_until(&end.done);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(k[i].fired, i % 3 == 0 && i % 6 != 0 ? 0 : 1);
    for (size_t i = 0; i < N; i++)
        loop_timer_stop(&k[i].timer); /* idle: nothing happens */
}

static void a_timer_far_away_neither_fires_nor_overflows(void **state UNUSED)
{
    struct tick far = {0}, near = {0};
    last_due_ms = 0;
    start(&far, UINT64_MAX);
    start(&near, 1);
    turn_until(&near.done);
    assert_int_equal(far.fired, 0);
    loop_timer_stop(&far.timer);
    assert_null(far.timer.loop);
}

static bool posted_ran;
static void note_posted(struct loop_msg *m)
{
    posted_ran = true;
    free(m);
}

static unsigned restarts;
static void restart(struct loop_timer *t)
{
    if (++restarts < 1000)
        loop_timer_start(the_loop, t, 0, restart);
}

static void a_timer_that_restarts_itself_starves_nobody(void **state UNUSED)
{
    struct loop_timer t = {0};
    restarts = 0;
    posted_ran = false;
    loop_timer_start(the_loop, &t, 0, restart);
    struct loop_msg *m = base_zalloc(sizeof(*m));
    m->run = note_posted;
    loop_post(the_loop, m);
    loop_turn(the_loop, 0);
    assert_true(posted_ran);
    assert_true(restarts <= 1);
    loop_timer_stop(&t);
}

static void the_heartbeat_moves(void **state UNUSED)
{
    struct tick k = {0};
    last_due_ms = 0;
    uint64_t before = loop_heartbeat_ms(the_loop);
    start(&k, 20);
    turn_until(&k.done);
    assert_true(loop_heartbeat_ms(the_loop) >= before + 20);
    assert_true(loop_now_ms(the_loop) >= loop_heartbeat_ms(the_loop));
    assert_int_equal(loop_index(the_loop), 7);
}

/* ---- watches ---- */

struct seen {
    struct loop_watch *w;
    int fd, events;
    unsigned reads, writes;
    bool done;
    enum { KEEP, STOP_READING, FREE } then;
};

static void on_ready(void *arg, int revents)
{
    struct seen *s = arg;
    s->reads += (revents & LOOP_READ) != 0;
    s->writes += (revents & LOOP_WRITE) != 0;
    s->done = true;
    if (s->then == STOP_READING)
        loop_watch_set(s->w, 0);
    if (s->then == FREE) {
        loop_watch_free(s->w);
        s->w = NULL;
    }
}

static void spin(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++)
        loop_turn(the_loop, 0);
}

static void a_watch_is_level_triggered_and_follows_interest(void **state UNUSED)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct seen s = {.then = KEEP};
    s.w = loop_watch_new(the_loop, fds[0], LOOP_READ, on_ready, &s);
    assert_non_null(s.w);
    spin(3);
    assert_int_equal(s.reads, 0);

    assert_int_equal(write(fds[1], "x", 1), 1);
    turn_until(&s.done);
    spin(3);
    assert_int_equal(s.reads, 4); /* unread: said again every turn, and never taken from the owner */
    char c;
    assert_int_equal(read(fds[0], &c, 1), 1);
    spin(3);
    assert_int_equal(s.reads, 4);

    loop_watch_set(s.w, LOOP_READ | LOOP_WRITE);
    spin(5);
    assert_true(s.writes >= 4); /* level-triggered, too */
    unsigned writes = s.writes;
    loop_watch_set(s.w, LOOP_READ);
    spin(5);
    assert_int_equal(s.writes, writes);
    loop_watch_set(s.w, LOOP_WRITE);
    loop_watch_set(s.w, 0);
    loop_watch_set(s.w, LOOP_WRITE);
    spin(5);
    assert_true(s.writes > writes);
    writes = s.writes;

    loop_watch_set(s.w, 0);
    spin(2);
    assert_int_equal(write(fds[1], "y", 1), 1);
    spin(3);
    assert_int_equal(s.reads, 4);
    assert_int_equal(s.writes, writes);
    loop_watch_free(s.w);
    close(fds[0]);
    close(fds[1]);
    spin(2);
}

static void a_watch_may_end_inside_its_callback(void **state UNUSED)
{
    static const int events[] = {LOOP_READ, LOOP_WRITE, LOOP_READ | LOOP_WRITE};
    unsigned before = count_fds();
    for (size_t i = 0; i < COUNTOF(events); i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        assert_int_equal(write(fds[1], "x", 1), 1);
        struct seen s = {.then = FREE};
        s.w = loop_watch_new(the_loop, fds[0], events[i], on_ready, &s);
        turn_until(&s.done);
        spin(3);
        assert_int_equal(s.reads + s.writes, 1);
        close(fds[0]);
        close(fds[1]);
    }
    loop_watch_free(NULL);
    loop_watch_set(NULL, LOOP_READ);
    assert_int_equal(count_fds(), before);
}

static void two_watches_share_a_descriptor_and_survive_its_owner(void **state UNUSED)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct seen r = {.then = STOP_READING}, w = {.then = KEEP};
    r.w = loop_watch_new(the_loop, fds[0], LOOP_READ, on_ready, &r);
    w.w = loop_watch_new(the_loop, fds[0], LOOP_WRITE, on_ready, &w);
    close(fds[0]); /* what libcurl and libpq do when they like */
    turn_until(&w.done);
    assert_int_equal(r.reads, 0);
    close(fds[1]);
    turn_until(&r.done); /* the end of the stream is readable */
    spin(3);
    assert_int_equal(r.reads, 1);
    loop_watch_free(r.w);
    loop_watch_free(w.w);
}

/* ---- messages ---- */

struct number {
    struct loop_msg msg;
    unsigned thread, n;
};
enum { THREADS = 4, EACH = 5000 };
static unsigned next_of[THREADS], received;
static bool all_received;

static void on_number(struct loop_msg *m)
{
    struct number *n = CONTAINER_OF(m, struct number, msg);
    assert_int_equal(n->n, next_of[n->thread]++); /* in the order of each sender */
    all_received = ++received == THREADS * EACH;
    free(n);
}

static void *post_numbers(void *arg)
{
    for (unsigned i = 0; i < EACH; i++) {
        struct number *n = base_zalloc(sizeof(*n));
        n->msg.run = on_number;
        n->thread = (unsigned)(uintptr_t)arg;
        n->n = i;
        loop_post(the_loop, &n->msg);
    }
    return NULL;
}

static void messages_of_other_threads_arrive_once_in_order(void **state UNUSED)
{
    pthread_t t[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, post_numbers, (void *)i), 0);
    turn_until(&all_received);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(received, THREADS * EACH);
}

struct chain {
    struct loop_msg msg;
    unsigned *depth;
};
static unsigned inside;

static void post_chain(unsigned *depth);
static void on_chain(struct loop_msg *m)
{
    struct chain *c = CONTAINER_OF(m, struct chain, msg);
    assert_int_equal(inside++, 0); /* never inside loop_post() */
    if (++*c->depth < 3)
        post_chain(c->depth);
    inside--;
    free(c);
}

static void post_chain(unsigned *depth)
{
    struct chain *c = base_zalloc(sizeof(*c));
    c->msg.run = on_chain;
    c->depth = depth;
    loop_post(the_loop, &c->msg);
}

static void a_message_to_oneself_runs_next_turn(void **state UNUSED)
{
    unsigned depth = 0;
    post_chain(&depth);
    assert_int_equal(depth, 0);
    for (unsigned i = 1; i <= 3; i++) {
        loop_turn(the_loop, 60000); /* does not wait while something is posted */
        assert_int_equal(depth, i);
    }
    post_chain(&depth); /* left to loop_free(), which must not leak it */
}

static void *stop_it(void *arg)
{
    loop_stop(arg);
    return NULL;
}

static void run_ends_at_stop_from_any_thread(void **state UNUSED)
{
    loop_stop(the_loop); /* before the run: not lost */
    loop_run(the_loop);
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, stop_it, the_loop), 0);
        loop_run(the_loop);
        pthread_join(t, NULL);
    }
}

/* ---- tasks ---- */

static unsigned failed, freed;
static void on_fail(struct task *t, const struct err *e)
{
    failed++;
    assert_true(t->over);
    assert_string_equal(e->detail, "no");
    task_unref(t); /* lets go of the only reference */
    assert_int_equal(freed, 0);
}

static void on_free(struct task *t)
{
    freed++;
    task_dispose(t);
}

static void a_task_fails_once_and_is_freed_by_its_last_holder(void **state UNUSED)
{
    struct task t;
    struct err e = ERR_INIT;
    failed = freed = 0;
    task_init(&t, the_loop, "a-request-id-of-more-than-23-bytes", on_fail, on_free);
    assert_string_equal(t.id, "a-request-id-of-more-th");
    assert_int_equal(*POOL_NEW(&t.pool, int, 1), 0);
    task_fail(&t, (err_set(&e, 1, "no"), &e));
    assert_int_equal(failed, 1);
    assert_int_equal(freed, 1);
}

static void a_cancelled_task_does_not_fail(void **state UNUSED)
{
    struct task t;
    struct err e = ERR_INIT;
    failed = freed = 0;
    task_init(&t, the_loop, NULL, on_fail, on_free);
    task_ref(&t);
    task_cancel(&t);
    task_fail(&t, &e);
    task_unref(&t);
    assert_int_equal(freed, 0);
    task_unref(&t);
    assert_int_equal(failed, 0);
    assert_int_equal(freed, 1);

    task_init(&t, the_loop, "x", NULL, NULL); /* no hooks: its pool is cleared by the last unref */
    assert_non_null(POOL_NEW(&t.pool, char, 100000));
    task_fail(&t, &e);
    assert_true(t.over);
    task_unref(&t);
}

int main(void)
{
    alarm(120);
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_fire_in_order_and_not_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_timer_far_away_neither_fires_nor_overflows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_timer_that_restarts_itself_starves_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_heartbeat_moves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_watch_is_level_triggered_and_follows_interest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_watch_may_end_inside_its_callback, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_watches_share_a_descriptor_and_survive_its_owner, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(messages_of_other_threads_arrive_once_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_message_to_oneself_runs_next_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_ends_at_stop_from_any_thread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_task_fails_once_and_is_freed_by_its_last_holder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cancelled_task_does_not_fail, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* store: identifiers as rows keep them, lock keys, waiting for an object to move, what backends are like lately. */
#include "unit.h"
#include <pthread.h>
#include "store/store_account.h"
#include "store/store_job.h"
#include "store/store_order.h"

static pool_t pool;

static int setup(void **state)
{
    (void)state;
    h2o_mem_init_pool(&pool);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    h2o_mem_clear_pool(&pool);
    return 0;
}

/* ---- identifiers ---- */

static void test_identifiers_as_text(void **state)
{
    (void)state;
    static const struct {
        enum ident_type type;
        const char *value, *full, *base;
    } rows[] = {
        {IDENT_DNS, "a.example", "dns:a.example", "dns:a.example"},
        {IDENT_DNS, "*.a.example", "dns:*.a.example", "dns:a.example"},
        {IDENT_IP, "192.0.2.1", "ip:192.0.2.1", "ip:192.0.2.1"},
        {IDENT_IP, "2001:db8::1", "ip:2001:db8::1", "ip:2001:db8::1"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct ident id = {rows[i].type, iov_of(rows[i].value)};
        iov_t full = store_ident_text(&pool, &id, STORE_IDENT_FULL);
        assert_true(iov_is(full, rows[i].full));
        assert_true(iov_is(store_ident_text(&pool, &id, STORE_IDENT_BASE), rows[i].base));
        struct ident back = store_ident_of(full);
        assert_int_equal(back.type, rows[i].type);
        assert_true(iov_is(back.value, rows[i].value));
    }
    assert_int_equal(store_ident_of(IOV("")).value.len, 0);
    assert_int_equal(store_ident_of(IOV("dn")).value.len, 0);
}

/* Every gateway sorts by these: units of one account stand together, those of one order in it. */
static void test_lock_keys(void **state)
{
    (void)state;
    iov_t a = IOV("account-a"), b = IOV("account-b"), o = IOV("order-1"), p = IOV("order-2");
    uint64_t a0 = store_lock_key(a, IOV_NULL), b0 = store_lock_key(b, IOV_NULL);
    assert_true(a0 != b0 && store_lock_key(a, o) != store_lock_key(a, p));
    assert_true(store_lock_key(a, o) == store_lock_key(a, o));
    assert_true(store_lock_key(a, o) >> 32 == a0 >> 32 && store_lock_key(a, p) >> 32 == a0 >> 32);
    assert_true((store_lock_key(a, o) < b0) == (a0 < b0));
}

/* ---- waiting ---- */

struct waiter {
    struct store_wait wait;
    struct waiter *starts; /* on its end: another wait */
    struct waiter *stops;
    unsigned ends;
    bool woken;
};
static struct loop *loop;

static void on_end(struct store_wait *w, bool woken)
{
    struct waiter *x = CONTAINER_OF(w, struct waiter, wait);
    x->ends++;
    x->woken = woken;
    if (x->starts != NULL)
        store_wait_start(loop, &x->starts->wait, 10000);
    if (x->stops != NULL)
        store_wait_stop(&x->stops->wait);
}

static struct waiter waiter(const char *id)
{
    return (struct waiter){.wait = {.id = iov_of(id), .done = on_end}};
}

static int setup_loop(void **state)
{
    setup(state);
    loop = loop_new(0);
    store_wait_loop_start(loop);
    return 0;
}

static int teardown_loop(void **state)
{
    store_wait_loop_stop(loop);
    loop_free(loop);
    return teardown(state);
}

static void turn_until(const struct waiter *w, unsigned ends)
{
    while (w->ends < ends)
        loop_turn(loop, 100);
}

static void test_a_wake_ends_all_that_wait_for_the_object(void **state)
{
    (void)state;
    struct waiter a = waiter("order-1"), b = waiter("order-1"), c = waiter("order-2");
    store_wait_start(loop, &a.wait, 10000);
    store_wait_start(loop, &b.wait, 10000);
    store_wait_start(loop, &c.wait, 10000);
    store_wake(IOV("order-1"));
    assert_int_equal(a.ends, 0); /* not inside the call that wakes */
    turn_until(&a, 1);
    turn_until(&b, 1);
    assert_true(a.woken && b.woken && c.ends == 0);
    store_wait_stop(&c.wait);
    store_wait_stop(&c.wait);
    store_wake(IOV("order-2"));
    loop_turn(loop, 0);
    assert_int_equal(c.ends, 0);
}

static void test_time_is_up(void **state)
{
    (void)state;
    struct waiter a = waiter("order-1");
    store_wait_start(loop, &a.wait, 5);
    turn_until(&a, 1);
    assert_false(a.woken);
    store_wait_start(loop, &a.wait, 10000); /* the same again */
    store_wake(IOV("order-1"));
    turn_until(&a, 2);
    assert_true(a.woken);
}

/* What happens at an end may change the list that is being gone through. */
static void test_ends_that_start_and_stop_others(void **state)
{
    (void)state;
    struct waiter a = waiter("order-1"), b = waiter("order-1"), c = waiter("order-2"), d = waiter("order-1");
    a.starts = &c;
    a.stops = &b;
    b.stops = &a;
    store_wait_start(loop, &a.wait, 10000);
    store_wait_start(loop, &b.wait, 10000);
    store_wait_start(loop, &d.wait, 10000);
    store_wake(IOV("order-1"));
    turn_until(&d, 1);
    assert_int_equal(a.ends + b.ends, 1);
    if (a.ends == 1)
        store_wait_stop(&c.wait);
}

static void *wake_from_elsewhere(void *arg)
{
    store_wake(iov_of(arg));
    return NULL;
}

static void test_any_thread_wakes(void **state)
{
    (void)state;
    struct waiter a = waiter("order-1");
    pthread_t thread;
    store_wait_start(loop, &a.wait, 10000);
    assert_int_equal(pthread_create(&thread, NULL, wake_from_elsewhere, "order-1"), 0);
    turn_until(&a, 1);
    assert_true(a.woken);
    pthread_join(thread, NULL);
}

/* ---- latencies ---- */

static void test_retry_after_follows_the_backend(void **state)
{
    (void)state;
    assert_int_equal(store_latency_retry_after(IOV("nobody")), 1);
    store_latency_note("slow", 9000);
    assert_int_equal(store_latency_retry_after(IOV("slow")), 9);
    assert_int_equal(store_latency_retry_after(IOV("nobody")), 1);
    for (int i = 0; i < 60; i++)
        store_latency_note("slow", 100);
    assert_int_equal(store_latency_retry_after(IOV("slow")), 1);
    for (int i = 0; i < 60; i++)
        store_latency_note("slow", 3600000);
    assert_int_equal(store_latency_retry_after(IOV("slow")), 60);
}

/* ---- this gateway ---- */

static void on_born(struct loop *l, const struct store_job *job)
{
    (void)l;
    assert_string_equal(job->id, "job-1");
    assert_string_equal(job->kind, "validate");
    assert_string_equal(job->ref, "authz/http-01");
    assert_int_equal(job->claim, 1);
    assert_int_equal(job->tries, 0);
}

static void test_jobs_are_born_where_they_were_committed(void **state)
{
    (void)state;
    store_gateway_set(IOV("gateway-id"), IOV("name"), IOV("1.0"));
    assert_true(iov_is(store_gateway(), "gateway-id"));
    store_job_born(NULL, IOV("job-1"), "validate", IOV("authz/http-01")); /* nobody runs jobs here: not an error */
    store_job_born_hook = on_born;
    store_job_born(NULL, IOV("job-1"), "validate", IOV("authz/http-01"));
    store_job_born_hook = NULL;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_LOOP(f) cmocka_unit_test_setup_teardown(f, setup_loop, teardown_loop)
    const struct CMUnitTest tests[] = {
        TEST(test_identifiers_as_text),
        TEST(test_lock_keys),
        TEST_LOOP(test_a_wake_ends_all_that_wait_for_the_object),
        TEST_LOOP(test_time_is_up),
        TEST_LOOP(test_ends_that_start_and_stop_others),
        TEST_LOOP(test_any_thread_wakes),
        TEST(test_retry_after_follows_the_backend),
        TEST(test_jobs_are_born_where_they_were_committed),
    };
#undef TEST
#undef TEST_LOOP
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}

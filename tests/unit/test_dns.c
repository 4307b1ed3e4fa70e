/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups through a real name server on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "io/dns.h"
#include "stub_dns.h"
#include "stub_dnssec.h"

static struct loop *loop;
static struct stub_dns server;

struct result {
    struct task task;
    struct dns_reply r;
    unsigned called, failed;
    bool gone, again;
};

static void on_fail(struct task *t, const struct err *e)
{
    (void)e;
    CONTAINER_OF(t, struct result, task)->failed++;
}

static void on_free(struct task *t)
{
    CONTAINER_OF(t, struct result, task)->gone = true;
}

static void on_reply(struct task *t, void *arg, const struct dns_reply *r)
{
    struct result *res = CONTAINER_OF(t, struct result, task);
    assert_ptr_equal(arg, res);
    res->r = *r;
    res->called++;
    if (res->again) { /* a continuation may look up the next name */
        res->again = false;
        dns_lookup(t, "second.test", DNS_A, on_reply, res);
    }
}

static void start(struct result *res, const char *name, enum dns_type type)
{
    memset(res, 0, sizeof(*res));
    task_init(&res->task, loop, "test", on_fail, on_free);
    dns_lookup(&res->task, name, type, on_reply, res);
    assert_int_equal(res->called, 0);
}

static void turn_until(const unsigned *n, unsigned want)
{
    uint64_t end = clock_mono_ms() + 20000;
    while (*n < want) {
        assert_true(clock_mono_ms() < end);
        loop_turn(loop, 100);
    }
}

static void drop(struct result *res)
{
    task_unref(&res->task);
    assert_true(res->gone);
    task_dispose(&res->task);
}

static void run(struct result *res, const char *name, enum dns_type type)
{
    start(res, name, type);
    turn_until(&res->called, 1);
}

static bool begin(const char *resolver, int64_t timeout_ms, enum dnssec_mode dnssec, struct err *e)
{
    struct dns_config cfg = {
        .resolvers = &resolver, .n_resolvers = 1, .timeout_ms = timeout_ms, .dnssec = dnssec};
    return dns_start(loop, &cfg, e);
}

static int setup(void **state)
{
    (void)state;
    struct err e;
    stub_dns_start(&server);
    loop = loop_new(0);
    assert_true(begin(server.address, 5000, DNSSEC_OFF, &e));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dns_stop(loop);
    loop_turn(loop, 0);
    loop_free(loop);
    stub_dns_stop(&server);
    return 0;
}

static void expect(const char *name, enum dns_type type, int result, size_t records)
{
    struct result res;
    run(&res, name, type);
    if ((int)res.r.result != result || res.r.records.n != records)
        fail_msg("%s type %d: result %d with %zu records: %s", name, type, res.r.result, res.r.records.n,
                 res.r.why);
    assert_non_null(strstr(res.r.why, server.address)); /* says who was asked */
    assert_string_equal(res.r.asked, server.address);
    drop(&res);
}

static void test_kinds(void **state)
{
    (void)state;
    stub_dns_a(&server, "a.test", "192.0.2.1");
    stub_dns_a(&server, "a.test", "192.0.2.2");
    stub_dns_a(&server, "a.test", "2001:db8::1");
    stub_dns_txt(&server, "t.test", "one");
    stub_dns_txt(&server, "t.test", "two");
    stub_dns_raw(&server, "c.test", 257, "\0\5issueca.example", 17);
    stub_dns_fault(&server, "refused.test", 5);
    stub_dns_fault(&server, "servfail.test", 2);
    static const struct {
        const char *name;
        enum dns_type type;
        int result;
        size_t n;
    } cases[] = {
        {"a.test", DNS_A, DNS_OK, 2},
        {"A.Test", DNS_A, DNS_OK, 2},
        {"a.test.", DNS_A, DNS_OK, 2},
        {"a.test", DNS_AAAA, DNS_OK, 1},
        {"a.test", DNS_TXT, DNS_NODATA, 0},
        {"t.test", DNS_TXT, DNS_OK, 2},
        {"c.test", DNS_CAA, DNS_OK, 1},
        {"no.test", DNS_A, DNS_NXDOMAIN, 0},
        {"no.corp", DNS_A, DNS_NXDOMAIN, 0},
        {"servfail.test", DNS_A, DNS_SERVFAIL, 0},
        {"refused.test", DNS_A, DNS_SERVFAIL, 0},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++)
        expect(cases[i].name, cases[i].type, cases[i].result, cases[i].n);
    struct result res;
    run(&res, "a.test", DNS_AAAA);
    assert_int_equal(res.r.records.v[0].len, 16);
    drop(&res);
    run(&res, "c.test", DNS_CAA);
    assert_memory_equal(res.r.records.v[0].base, "\0\5issueca.example", 17);
    drop(&res);
}

/* Internal zones that libunbound would answer by itself. */
static void test_internal_zones(void **state)
{
    (void)state;
    static const char *const names[] = {"a.test",
                                        "b.invalid",
                                        "c.home.arpa",
                                        "1.0.0.10.in-addr.arpa",
                                        "d.local",
                                        "1.0.20.172.in-addr.arpa",
                                        "1.0.168.192.in-addr.arpa",
                                        "e.onion.corp",
                                        "_acme-challenge.f.localhost",
                                        "g",
                                        "host.internal",
                                        "h.example",
                                        "i.lan"};
    for (size_t i = 0; i < COUNTOF(names); i++) {
        stub_dns_txt(&server, names[i], "here");
        expect(names[i], DNS_TXT, DNS_OK, 1);
    }
}

static void test_localhost(void **state)
{
    (void)state;
    static const char *const names[] = {"localhost", "LOCALHOST", "a.localhost", "a.b.localhost."};
    struct result res;
    for (size_t i = 0; i < COUNTOF(names); i++) {
        run(&res, names[i], DNS_A);
        assert_int_equal(res.r.result, DNS_OK);
        assert_memory_equal(res.r.records.v[0].base, "\x7f\0\0\1", 4);
        drop(&res);
        run(&res, names[i], DNS_AAAA);
        assert_int_equal(res.r.result, DNS_OK);
        assert_memory_equal(res.r.records.v[0].base, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
        drop(&res);
        run(&res, names[i], DNS_CAA);
        assert_int_equal(res.r.result, DNS_NODATA);
        drop(&res);
    }
    assert_int_equal(server.udp_queries, 0);
    expect("notlocalhost", DNS_A, DNS_NXDOMAIN, 0);
    expect("localhost.test", DNS_A, DNS_NXDOMAIN, 0);
    expect("a.localhost", DNS_TXT, DNS_NXDOMAIN, 0);
}

static void test_txt_strings(void **state)
{
    (void)state;
    char text[701];
    memset(text, 'x', 700);
    text[700] = '\0';
    stub_dns_txt(&server, "long.test", text);
    stub_dns_txt(&server, "empty.test", "");
    stub_dns_raw(&server, "broken.test", DNS_TXT, "\5abc", 4);
    stub_dns_raw(&server, "broken.test", DNS_TXT, "\3abc\0\2de", 8);
    struct result res;
    run(&res, "long.test", DNS_TXT);
    assert_int_equal(res.r.result, DNS_OK);
    assert_true(iov_is(res.r.records.v[0], text));
    drop(&res);
    run(&res, "empty.test", DNS_TXT);
    assert_int_equal(res.r.result, DNS_OK);
    assert_int_equal(res.r.records.v[0].len, 0);
    drop(&res);
    run(&res, "broken.test", DNS_TXT);
    for (size_t i = 0; i < res.r.records.n; i++)
        assert_true(iov_is(res.r.records.v[i], "abcde"));
    drop(&res);
    pool_t pool;
    h2o_mem_init_pool(&pool);
    iov_t out;
    assert_false(dns_txt_join(&pool, (iov_t){"\5abc", 4}, &out));
    assert_false(dns_txt_join(&pool, (iov_t){"", 0}, &out));
    assert_true(dns_txt_join(&pool, (iov_t){"\3abc\0\2de", 8}, &out));
    assert_true(iov_is(out, "abcde"));
    h2o_mem_clear_pool(&pool);
}

static void test_cname(void **state)
{
    (void)state;
    stub_dns_cname(&server, "_acme-challenge.www.test", "x.acme-dns.test");
    stub_dns_cname(&server, "x.acme-dns.test", "y.acme-dns.test");
    stub_dns_txt(&server, "y.acme-dns.test", "found");
    stub_dns_cname(&server, "loop1.test", "loop2.test");
    stub_dns_cname(&server, "loop2.test", "loop1.test");
    struct result res;
    run(&res, "_acme-challenge.www.test", DNS_TXT);
    assert_int_equal(res.r.result, DNS_OK);
    assert_int_equal(res.r.records.n, 1);
    assert_true(iov_is(res.r.records.v[0], "found"));
    assert_true(iov_starts(res.r.canonical, "y.acme-dns.test"));
    drop(&res);
    run(&res, "loop1.test", DNS_TXT);
    assert_int_not_equal(res.r.result, DNS_OK);
    drop(&res);
    run(&res, "y.acme-dns.test", DNS_TXT);
    assert_null(res.r.canonical.base);
    drop(&res);
}

static void test_tcp_when_truncated(void **state)
{
    (void)state;
    stub_dns_txt(&server, "big.test", "over tcp");
    stub_dns_fault(&server, "big.test", -2);
    expect("big.test", DNS_TXT, DNS_OK, 1);
    assert_true(server.tcp_queries > 0);
}

/* What was true a moment ago does not count: the client has just set its record. */
static void test_nothing_is_cached(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        char text[16];
        snprintf(text, sizeof(text), "value-%u", i);
        stub_dns_clear(&server, "n.test");
        stub_dns_clear(&server, "alias.test");
        expect("n.test", DNS_TXT, DNS_NXDOMAIN, 0);
        expect("alias.test", DNS_TXT, DNS_NXDOMAIN, 0);
        stub_dns_txt(&server, "n.test", text);
        stub_dns_cname(&server, "alias.test", i % 2 ? "n.test" : "o.test");
        if (i == 0)
            stub_dns_txt(&server, "o.test", "other");
        struct result res;
        run(&res, "n.test", DNS_TXT);
        assert_int_equal(res.r.result, DNS_OK);
        assert_true(iov_is(res.r.records.v[0], text));
        drop(&res);
        run(&res, "alias.test", DNS_TXT);
        if (res.r.result != DNS_OK)
            fail_msg("round %u: %d %s, canonical %s", i, res.r.result, res.r.why, res.r.canonical.base);
        if (!iov_is(res.r.records.v[0], i % 2 ? text : "other"))
            fail_msg("round %u: alias gave %s", i, res.r.records.v[0].base);
        drop(&res);
    }
}

static void test_timeout(void **state)
{
    (void)state;
    struct err e;
    stub_dns_fault(&server, "silent.test", -1);
    assert_true(begin(server.address, 300, DNSSEC_OFF, &e));
    uint64_t before = clock_mono_ms();
    expect("silent.test", DNS_A, DNS_TIMEOUT, 0);
    assert_true(clock_mono_ms() - before >= 290);
    struct result res;
    memset(&res, 0, sizeof(res));
    task_init(&res.task, loop, "test", on_fail, on_free);
    dns_lookup_within(&res.task, "silent.test", DNS_A, 50, on_reply, &res);
    turn_until(&res.called, 1);
    assert_int_equal(res.r.result, DNS_TIMEOUT);
    assert_non_null(strstr(res.r.why, "50 ms"));
    drop(&res);
    /* And the server is not held against its other names. */
    stub_dns_a(&server, "fine.test", "192.0.2.1");
    expect("fine.test", DNS_A, DNS_OK, 1);
}

static void test_dead_resolver_comes_back(void **state)
{
    (void)state;
    struct err e;
    stub_dns_a(&server, "a.test", "192.0.2.1");
    char two[64];
    snprintf(two, sizeof(two), "127.0.0.1:%u", 9u);
    const char *const both[] = {two, server.address};
    struct dns_config cfg = {.resolvers = both, .n_resolvers = 2, .timeout_ms = 10000};
    assert_true(dns_start(loop, &cfg, &e));
    assert_non_null(strstr(dns_resolvers(loop), ", "));
    struct result res;
    run(&res, "a.test", DNS_A);
    if (res.r.result != DNS_OK)
        fail_msg("with one of two resolvers dead: %s", res.r.why);
    drop(&res);
}

static void test_continuation_looks_up(void **state)
{
    (void)state;
    stub_dns_a(&server, "second.test", "192.0.2.9");
    struct result res;
    start(&res, "first.test", DNS_A);
    res.again = true;
    turn_until(&res.called, 2);
    assert_int_equal(res.r.result, DNS_OK);
    drop(&res);
    start(&res, "localhost", DNS_A);
    res.again = true;
    turn_until(&res.called, 2);
    assert_int_equal(res.r.result, DNS_OK);
    drop(&res);
}

static void test_parallel(void **state)
{
    (void)state;
    static struct result res[200];
    static char names[200][32];
    for (unsigned i = 0; i < COUNTOF(res); i++) {
        snprintf(names[i], sizeof(names[i]), "n%u.parallel.test", i);
        start(&res[i], names[i], DNS_A);
    }
    for (unsigned i = 0; i < COUNTOF(res); i++) {
        turn_until(&res[i].called, 1);
        assert_int_equal(res[i].r.result, DNS_NXDOMAIN);
        assert_int_equal(res[i].called, 1);
        drop(&res[i]);
    }
}

static void test_impossible_names(void **state)
{
    (void)state;
    char label[70], name[300];
    memset(label, 'a', 64);
    snprintf(label + 64, 6, ".test");
    memset(name, 0, sizeof(name));
    for (unsigned i = 0; i < 256; i++)
        name[i] = i % 2 ? '.' : 'a';
    const char *const names[] = {"", ".", "a..test", ".test", label, name, "a\\.test", "a\\046test"};
    for (size_t i = 0; i < COUNTOF(names); i++) {
        struct result res;
        run(&res, names[i], DNS_A);
        if (res.r.result == DNS_OK || res.r.result == DNS_TIMEOUT)
            fail_msg("\"%s\": %d", names[i], res.r.result);
        drop(&res);
    }
    assert_int_equal(server.udp_queries, 0);
}

static void test_config(void **state)
{
    (void)state;
    static const struct {
        const char *in, *shown;
    } cases[] = {
        {"192.0.2.53", "192.0.2.53:53"},
        {"192.0.2.53:5353", "192.0.2.53:5353"},
        {"2001:db8::53", "[2001:db8::53]:53"},
        {"[2001:db8::53]", "[2001:db8::53]:53"},
        {"[2001:db8::53]:5", "[2001:db8::53]:5"},
        {"", NULL},
        {"dns.example", NULL},
        {"192.0.2.53:", NULL},
        {"192.0.2.53:0", NULL},
        {"192.0.2.53:65536", NULL},
        {"[2001:db8::53", NULL},
        {"[2001:db8::53]5", NULL},
        {"192.0.2.53:53x", NULL},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct err e = ERR_INIT;
        bool ok = begin(cases[i].in, 1000, DNSSEC_OFF, &e);
        if (ok != (cases[i].shown != NULL) || (ok && strcmp(dns_resolvers(loop), cases[i].shown) != 0))
            fail_msg("\"%s\": %s", cases[i].in, ok ? dns_resolvers(loop) : e.detail);
    }
    struct err e;
    struct dns_config cfg = {.timeout_ms = 1000};
    assert_true(dns_start(loop, &cfg, &e)); /* /etc/resolv.conf */
    assert_true(strlen(dns_resolvers(loop)) > 0);
    cfg.dnssec = DNSSEC_REQUIRE;
    cfg.trust_anchor = "/nonexistent/root.key";
    assert_false(dns_start(loop, &cfg, &e));
    assert_non_null(strstr(e.detail, "/nonexistent/root.key"));
}

static void *start_and_stop(void *arg)
{
    unsigned *started = arg;
    struct loop *own = loop_new(1);
    for (int i = 0; i < 20; i++) {
        struct dns_config cfg = {.resolvers = (const char *const[]){server.address}, .n_resolvers = 1, .timeout_ms = 1000};
        struct err e;
        *started += dns_start(own, &cfg, &e);
        dns_stop(own);
        loop_turn(own, 0);
    }
    loop_free(own);
    return NULL;
}

/* As the loops of a gateway do; libunbound's reader of configurations crashed in that. */
static void test_threads_start_together(void **state)
{
    (void)state;
    pthread_t threads[4];
    unsigned started[4] = {0};
    for (size_t i = 0; i < COUNTOF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, start_and_stop, &started[i]), 0);
    for (size_t i = 0; i < COUNTOF(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(started[i], 20);
    }
}

/* A reload: the look-up under way ends with the old resolver, the next one goes to the new. */
static void test_replaced_while_asking(void **state)
{
    (void)state;
    struct stub_dns second;
    struct result old, new;
    struct err e;
    stub_dns_start(&second);
    stub_dns_a(&second, "a.test", "192.0.2.2");
    stub_dns_fault(&server, "slow.test", -1);
    assert_true(begin(server.address, 400, DNSSEC_OFF, &e));
    start(&old, "slow.test", DNS_A);
    assert_true(begin(second.address, 5000, DNSSEC_OFF, &e));
    run(&new, "a.test", DNS_A);
    assert_int_equal(new.r.result, DNS_OK);
    assert_string_equal(new.r.asked, second.address);
    drop(&new);
    turn_until(&old.called, 1);
    assert_int_equal(old.r.result, DNS_TIMEOUT);
    assert_string_equal(old.r.asked, server.address);
    drop(&old);
    dns_stop(loop);
    stub_dns_stop(&second);
}

static void test_cancel_and_stop(void **state)
{
    (void)state;
    struct result cancelled, left;
    start(&cancelled, "a.test", DNS_A);
    task_cancel(&cancelled.task);
    task_unref(&cancelled.task);
    uint64_t end = clock_mono_ms() + 20000;
    while (!cancelled.gone && clock_mono_ms() < end)
        loop_turn(loop, 100);
    assert_true(cancelled.gone);
    assert_int_equal(cancelled.called + cancelled.failed, 0);
    task_dispose(&cancelled.task);
    stub_dns_fault(&server, "silent.test", -1);
    start(&left, "silent.test", DNS_A);
    dns_stop(loop);
    assert_int_equal(left.failed, 1);
    assert_int_equal(left.called, 0);
    drop(&left);
    run(&left, "a.test", DNS_A); /* nobody there any more, and it says so */
    assert_int_equal(left.r.result, DNS_SERVFAIL);
    drop(&left);
}

/* The stub signs nothing, so what the mode demands decides. */
static void test_dnssec_modes(void **state)
{
    (void)state;
    struct err e;
    stub_dns_a(&server, "a.test", "192.0.2.1");
    stub_dns_a(&server, "www.dnssec-must-fail.com", "192.0.2.1");
    assert_true(begin(server.address, 5000, DNSSEC_IF_SIGNED, &e));
    expect("a.test", DNS_A, DNS_OK, 1); /* an internal name, which the root cannot vouch for */
    expect("www.dnssec-must-fail.com", DNS_A, DNS_BOGUS, 0);
    assert_true(begin(server.address, 5000, DNSSEC_REQUIRE, &e));
    expect("a.test", DNS_A, DNS_BOGUS, 0);
}

static void expect_secure(const char *name, enum dns_type type, int result, bool secure)
{
    struct result res;
    run(&res, name, type);
    if ((int)res.r.result != result || res.r.secure != secure)
        fail_msg("%s: result %d, secure %d: %s", name, res.r.result, res.r.secure, res.r.why);
    drop(&res);
}

/* A zone that is really signed: its answers are secure, and what is not signed in it is refused. */
static void test_signed_zone(void **state)
{
    (void)state;
    char anchor[] = "/tmp/portico-anchor-XXXXXX";
    int fd = mkstemp(anchor);
    assert_true(fd >= 0);
    close(fd);
    struct stub_zone zone;
    stub_zone_make(&zone, &server, "signed.test", anchor);
    stub_dns_txt(&server, "ok.signed.test", "good");
    stub_zone_sign(&zone, "ok.signed.test", DNS_TXT);
    stub_dns_txt(&server, "forged.signed.test", "good");
    stub_zone_sign(&zone, "forged.signed.test", DNS_TXT);
    server.records[server.n_records - 2].rdata[1] ^= 1;
    stub_dns_txt(&server, "stripped.signed.test", "good");
    stub_dns_txt(&server, "plain.test", "unsigned");
    struct err e;
    const char *resolver = server.address;
    struct dns_config cfg = {
        .resolvers = &resolver, .n_resolvers = 1, .timeout_ms = 5000, .trust_anchor = anchor};
    static const struct {
        enum dnssec_mode mode;
        int forged, plain;
        bool secure;
    } modes[] = {{DNSSEC_IF_SIGNED, DNS_BOGUS, DNS_OK, true},
                 {DNSSEC_REQUIRE, DNS_BOGUS, DNS_BOGUS, true},
                 {DNSSEC_OFF, DNS_OK, DNS_OK, false}};
    for (size_t i = 0; i < COUNTOF(modes); i++) {
        cfg.dnssec = modes[i].mode;
        assert_true(dns_start(loop, &cfg, &e));
        expect_secure("ok.signed.test", DNS_TXT, DNS_OK, modes[i].secure);
        expect_secure("forged.signed.test", DNS_TXT, modes[i].forged, false);
        expect_secure("stripped.signed.test", DNS_TXT, modes[i].forged, false);
        expect_secure("plain.test", DNS_TXT, modes[i].plain, false);
    }
    stub_zone_free(&zone);
    unlink(anchor);
}

int main(void)
{
#define WITH_LOOP(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_LOOP(test_kinds),
        WITH_LOOP(test_internal_zones),
        WITH_LOOP(test_localhost),
        WITH_LOOP(test_txt_strings),
        WITH_LOOP(test_cname),
        WITH_LOOP(test_tcp_when_truncated),
        WITH_LOOP(test_nothing_is_cached),
        WITH_LOOP(test_timeout),
        WITH_LOOP(test_dead_resolver_comes_back),
        WITH_LOOP(test_continuation_looks_up),
        WITH_LOOP(test_parallel),
        WITH_LOOP(test_impossible_names),
        WITH_LOOP(test_config),
        WITH_LOOP(test_threads_start_together),
        WITH_LOOP(test_replaced_while_asking),
        WITH_LOOP(test_cancel_and_stop),
        WITH_LOOP(test_dnssec_modes),
        WITH_LOOP(test_signed_zone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

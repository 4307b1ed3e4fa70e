/* SPDX-License-Identifier: Apache-2.0 */
/* Transfers against real servers on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "io/fetch.h"
#include "stub_http.h"
#include "stub_tls.h"

static struct loop *loop;

struct result {
    struct task task;
    struct fetch_reply r;
    unsigned called, failed;
    bool gone;
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

static void on_reply(struct task *t, void *arg, const struct fetch_reply *r)
{
    struct result *res = CONTAINER_OF(t, struct result, task);
    assert_ptr_equal(arg, res);
    res->r = *r;
    res->called++;
}

static void start(struct result *res, const struct fetch_request *q)
{
    memset(res, 0, sizeof(*res));
    task_init(&res->task, loop, "test", on_fail, on_free);
    fetch_run(&res->task, q, on_reply, res);
    assert_int_equal(res->called, 0); /* never inside the call */
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

static void run(struct result *res, const struct fetch_request *q)
{
    start(res, q);
    turn_until(&res->called, 1);
    assert_int_equal(res->called, 1);
}

static struct fetch_request get(const char *url)
{
    return (struct fetch_request){.method = "GET",
                                  .url = url,
                                  .connect_timeout_ms = 2000,
                                  .timeout_ms = 5000,
                                  .body_max = 4096,
                                  .tls_verify = true};
}

static void url_of(char out[256], const struct stub_http *s, const char *path)
{
    snprintf(out, 256, "%s%s", s->url, path);
}

static struct netset *nets(const char *cidr)
{
    struct err e;
    struct netset *s = netset_parse(&cidr, 1, &e);
    assert_non_null(s);
    return s;
}

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

static bool flood(struct stub_conn *c)
{
    bool go = stub_http_printf(c, HEAD);
    for (int i = 0; go && i < 100000; i++)
        go = stub_http_printf(c, "X-Header-%d: %0500d\r\n", i, i);
    return false;
}

static bool long_header(struct stub_conn *c)
{
    static char line[300000];
    memset(line, 'x', sizeof(line));
    return stub_http_printf(c, HEAD "X-Long: ") && stub_http_write(c, line, sizeof(line)) &&
           stub_http_printf(c, "\r\nContent-Length: 0\r\n\r\n") && false;
}

static bool interim(struct stub_conn *c)
{
    bool go = true;
    while (go)
        go = stub_http_printf(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    return false;
}

static bool drip(struct stub_conn *c)
{
    stub_http_printf(c, HEAD "Content-Length: 10\r\n\r\nabc");
    stub_http_hang(c);
    return false;
}

static bool endless(struct stub_conn *c)
{
    char block[1000];
    memset(block, 'a', sizeof(block));
    bool go = stub_http_printf(c, HEAD "\r\n");
    while (go)
        go = stub_http_write(c, block, sizeof(block));
    return false;
}

static bool digest(struct stub_conn *c)
{
    if (strstr(c->request, "Authorization: Digest ") != NULL)
        return stub_http_printf(c, HEAD "Content-Length: 2\r\n\r\nin");
    return stub_http_printf(
        c, "HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n1\", qop=\"auth\", "
           "algorithm=SHA-256\r\nContent-Length: 3\r\n\r\nout");
}

static bool serve(struct stub_conn *c, void *arg)
{
    (void)arg;
    if (strcmp(c->path, "/hello") == 0)
        return stub_http_printf(c,
                                HEAD "Retry-After: 7\r\nLocation: /else\r\nContent-Length: 5\r\n\r\nhello");
    if (strcmp(c->path, "/echo") == 0)
        return stub_http_printf(c, HEAD "Content-Length: %zu\r\n\r\n", c->request_len) &&
               stub_http_write(c, c->request, c->request_len);
    if (strcmp(c->path, "/redirect") == 0)
        return stub_http_printf(
            c, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    if (strcmp(c->path, "/cookie") == 0)
        return stub_http_printf(c, HEAD "Set-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n");
    if (strcmp(c->path, "/break") == 0)
        return false;
    if (strcmp(c->path, "/once-then-break") == 0)
        return c->nth == 1 && stub_http_printf(c, HEAD "Content-Length: 2\r\n\r\nok");
    if (strcmp(c->path, "/garbage") == 0)
        return stub_http_printf(c, "\x16\x03\x01 no HTTP at all\r\n\r\n") && false;
    if (strcmp(c->path, "/short") == 0)
        return stub_http_printf(c, HEAD "Content-Length: 10\r\n\r\nabc") && false;
    if (strcmp(c->path, "/digest") == 0)
        return digest(c);
    if (strcmp(c->path, "/flood") == 0)
        return flood(c);
    if (strcmp(c->path, "/long-header") == 0)
        return long_header(c);
    if (strcmp(c->path, "/interim") == 0)
        return interim(c);
    if (strcmp(c->path, "/drip") == 0)
        return drip(c);
    if (strcmp(c->path, "/endless") == 0)
        return endless(c);
    stub_http_hang(c);
    return false;
}

static int setup(void **state)
{
    struct stub_http *s = calloc(1, sizeof(*s));
    setenv("http_proxy", "http://127.0.0.1:9", 1); /* the environment must not matter */
    setenv("https_proxy", "http://127.0.0.1:9", 1);
    loop = loop_new(0);
    fetch_start(loop);
    assert_true(stub_http_start(s, "127.0.0.1", 0, NULL, serve, NULL));
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct stub_http *s = *state;
    fetch_stop(loop);
    loop_turn(loop, 0);
    loop_free(loop);
    stub_http_stop(s);
    free(s);
    return 0;
}

static void test_get(void **state)
{
    struct stub_http *s = *state;
    struct result res;
    char url[256];
    url_of(url, s, "/hello");
    struct fetch_request q = get(url);
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_OK);
    assert_string_equal(res.r.why, "");
    assert_int_equal(res.r.status, 200);
    assert_true(iov_is(res.r.body, "hello"));
    assert_true(iov_is(res.r.content_type, "text/plain"));
    assert_true(iov_is(res.r.retry_after, "7"));
    assert_true(iov_is(res.r.location, "/else"));
    assert_true(iov_is(res.r.peer, "127.0.0.1"));
    assert_int_equal(res.r.peer_port, s->port);
    assert_true(res.r.sent);
    drop(&res);
}

static void test_post(void **state)
{
    struct stub_http *s = *state;
    struct result res;
    char url[256], text[] = "body";
    url_of(url, s, "/echo");
    const char *const headers[] = {"Content-Type: application/x", "X-More: yes"};
    struct fetch_request q = get(url);
    q.method = "POST";
    q.body = (iov_t){text, 4};
    q.headers = headers;
    q.n_headers = 2;
    q.userpwd = NULL;
    start(&res, &q);
    memset(text, 'x', 4); /* copied */
    turn_until(&res.called, 1);
    assert_int_equal(res.r.result, FETCH_OK);
    assert_true(iov_starts(res.r.body, "POST /echo HTTP/1.1\r\n"));
    assert_true(iov_ends(res.r.body, "\r\n\r\nbody"));
    char *all = iov_cstr(&res.task.pool, res.r.body);
    assert_non_null(strstr(all, "\r\nContent-Type: application/x\r\n"));
    assert_non_null(strstr(all, "\r\nX-More: yes\r\n"));
    assert_non_null(strstr(all, "\r\nUser-Agent: portico\r\n"));
    assert_null(strstr(all, "Expect"));
    drop(&res);
}

static void test_redirect_is_reported(void **state)
{
    struct result res;
    char url[256];
    url_of(url, *state, "/redirect");
    struct fetch_request q = get(url);
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_OK);
    assert_int_equal(res.r.status, 302);
    assert_true(iov_is(res.r.location, "http://127.0.0.1:1/"));
    drop(&res);
}

static void test_no_cookies(void **state)
{
    struct result res;
    char url[256];
    url_of(url, *state, "/cookie");
    struct fetch_request q = get(url);
    run(&res, &q);
    drop(&res);
    url_of(url, *state, "/echo");
    run(&res, &q);
    assert_null(strstr(iov_cstr(&res.task.pool, res.r.body), "Cookie"));
    drop(&res);
}

/* Kept connections are used again, fresh ones never and by nobody. */
static void test_reuse(void **state)
{
    struct stub_http *s = *state;
    struct result res;
    char url[256];
    url_of(url, s, "/hello");
    struct fetch_request q = get(url), fresh = q;
    fresh.fresh = true;
    struct netset *other = nets("10.0.0.0/8");
    const struct {
        const struct fetch_request *q;
        unsigned connections;
    } steps[] = {{&q, 1}, {&q, 1}, {&fresh, 2}, {&fresh, 3}, {&q, 3}};
    for (size_t i = 0; i < COUNTOF(steps); i++) {
        run(&res, steps[i].q);
        assert_int_equal(res.r.result, FETCH_OK);
        assert_int_equal(s->connections, steps[i].connections);
        drop(&res);
    }
    q.deny = other; /* a kept connection was opened under other rules */
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_OK);
    assert_int_equal(s->connections, 4);
    drop(&res);
    netset_free(other);
}

/* A name is pinned per request: neither an earlier pin nor a kept connection to another address serves it. */
static void test_pinned(void **state)
{
    struct stub_http *s = *state, other;
    struct result res;
    char url[256];
    if (!stub_http_start(&other, "127.0.0.2", s->port, NULL, serve, NULL))
        fail_msg("port %u is taken on 127.0.0.2", s->port);
    snprintf(url, sizeof(url), "http://www.example:%u/echo", s->port);
    struct fetch_request q = get(url);
    q.connect_to = "127.0.0.1";
    run(&res, &q);
    assert_true(iov_is(res.r.peer, "127.0.0.1"));
    char host[64];
    snprintf(host, sizeof(host), "\r\nHost: www.example:%u\r\n", s->port);
    assert_non_null(strstr(iov_cstr(&res.task.pool, res.r.body), host));
    drop(&res);
    q.connect_to = "127.0.0.2";
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_OK);
    assert_true(iov_is(res.r.peer, "127.0.0.2"));
    drop(&res);
    assert_int_equal(other.connections, 1);
    stub_http_stop(&other);
}

static void test_pinned_v6(void **state)
{
    (void)state;
    struct stub_http six;
    struct result res;
    char url[256];
    if (!stub_http_start(&six, "::1", 0, NULL, serve, NULL))
        skip();
    snprintf(url, sizeof(url), "http://www.example:%u/hello", six.port);
    struct fetch_request q = get(url);
    q.connect_to = "::1";
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_OK);
    assert_true(iov_is(res.r.peer, "::1"));
    drop(&res);
    url_of(url, &six, "/hello");
    q.connect_to = NULL;
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_OK);
    drop(&res);
    stub_http_stop(&six);
}

static void test_denied(void **state)
{
    struct stub_http *s = *state;
    struct result res;
    char url[256];
    struct netset *deny = nets("127.0.0.0/8");
    static const char *const hosts[] = {"127.0.0.1", "localhost", "2130706433", "0x7f.1"};
    for (size_t i = 0; i < COUNTOF(hosts); i++) { /* whatever spelling, it is the address that counts */
        snprintf(url, sizeof(url), "http://%s:%u/hello", hosts[i], s->port);
        struct fetch_request q = get(url);
        q.deny = deny;
        run(&res, &q);
        if (res.r.result != FETCH_DENIED)
            fail_msg("%s: %d %s", hosts[i], res.r.result, res.r.why);
        assert_string_equal(res.r.denied_by, "127.0.0.0/8");
        assert_null(res.r.peer.base);
        assert_false(res.r.sent);
        drop(&res);
    }
    assert_int_equal(s->connections, 0);
    snprintf(url, sizeof(url), "http://[::ffff:127.0.0.1]:%u/hello", s->port);
    struct fetch_request q = get(url);
    q.deny = deny;
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_DENIED);
    drop(&res);
    netset_free(deny);
}

static void test_limits(void **state)
{
    static const struct {
        const char *path;
        size_t body_max;
        bool keep;
        int result;
        bool answered;
    } cases[] = {
        {"/endless", 4096, false, FETCH_TOO_LARGE, true},
        {"/endless", 4096, true, FETCH_OK, true},
        {"/hello", 5, false, FETCH_OK, true},
        {"/hello", 4, false, FETCH_TOO_LARGE, true},
        {"/hello", 4, true, FETCH_OK, true},
        {"/flood", 4096, false, FETCH_TOO_LARGE, true},
        {"/flood", 4096, true, FETCH_TOO_LARGE, true},
        {"/interim", 4096, false, FETCH_TOO_LARGE, true},
        {"/garbage", 4096, false, FETCH_PROTOCOL, false},
        {"/short", 4096, false, FETCH_PROTOCOL, true},
        {"/break", 4096, false, FETCH_CONNECT, false},
    };
    struct result res;
    char url[256];
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        url_of(url, *state, cases[i].path);
        struct fetch_request q = get(url);
        q.fresh = true;
        q.body_max = cases[i].body_max;
        q.keep_body_on_limit = cases[i].keep;
        run(&res, &q);
        if ((int)res.r.result != cases[i].result || (res.r.status == 0) == cases[i].answered)
            fail_msg("%s: result %d, status %d, %s", cases[i].path, res.r.result, res.r.status, res.r.why);
        assert_true(res.r.body.len <= cases[i].body_max);
        assert_true((res.r.result == FETCH_OK) == (res.r.why[0] == '\0'));
        assert_true(res.r.sent);
        drop(&res);
    }
    url_of(url, *state, "/long-header");
    struct fetch_request q = get(url);
    run(&res, &q);
    assert_int_not_equal(res.r.result, FETCH_OK);
    drop(&res);
}

static void test_timeouts(void **state)
{
    struct result res;
    char url[256];
    static const char *const paths[] = {"/hang", "/drip"};
    for (size_t i = 0; i < COUNTOF(paths); i++) {
        url_of(url, *state, paths[i]);
        struct fetch_request q = get(url);
        q.timeout_ms = 300;
        uint64_t before = clock_mono_ms();
        run(&res, &q);
        assert_int_equal(res.r.result, FETCH_TIMEOUT);
        assert_true(clock_mono_ms() - before >= 290);
        assert_true(res.r.sent);
        assert_true(iov_is(res.r.peer, "127.0.0.1"));
        assert_non_null(strstr(res.r.why, "300 ms"));
        drop(&res);
    }
}

/* A listener whose backlog is full swallows connection attempts, as a packet filter does. */
static void test_connect_timeout(void **state)
{
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0), fill[4];
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 0), 0);
    getsockname(fd, (struct sockaddr *)&a, &len);
    for (size_t i = 0; i < COUNTOF(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (struct sockaddr *)&a, len);
    }
    struct result res;
    char url[256];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(a.sin_port));
    struct fetch_request q = get(url);
    q.connect_timeout_ms = 300;
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_TIMEOUT);
    assert_string_equal(res.r.why, "no connection within 300 ms");
    assert_false(res.r.sent);
    assert_null(res.r.peer.base);
    drop(&res);
    for (size_t i = 0; i < COUNTOF(fill); i++)
        close(fill[i]);
    close(fd);
}

static void test_refused_connection(void **state)
{
    struct result res;
    char url[256];
    struct stub_http gone;
    (void)state;
    assert_true(stub_http_start(&gone, "127.0.0.1", 0, NULL, serve, NULL));
    stub_http_stop(&gone);
    url_of(url, &gone, "/");
    struct fetch_request q = get(url);
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_CONNECT);
    assert_string_equal(res.r.why, "Connection refused");
    assert_false(res.r.sent);
    drop(&res);
}

static void test_bad_urls(void **state)
{
    (void)state;
    static const char *const bad[] = {"file:///etc/passwd",
                                      "ftp://127.0.0.1/",
                                      "gopher://127.0.0.1/",
                                      "http://",
                                      "http://u:p@127.0.0.1/",
                                      "dict://127.0.0.1/",
                                      "",
                                      "http://127.0.0.1:99999/"};
    struct result res;
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct fetch_request q = get(bad[i]);
        run(&res, &q);
        if (res.r.result != FETCH_PROTOCOL || res.r.why[0] == '\0')
            fail_msg("%s: %d %s", bad[i], res.r.result, res.r.why);
        drop(&res);
    }
}

static void test_auth(void **state)
{
    struct stub_http *s = *state;
    struct result res;
    char url[256];
    url_of(url, s, "/digest");
    struct fetch_request q = get(url);
    q.method = "POST";
    q.body = IOV("csr");
    q.userpwd = "gw:secret";
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_OK);
    assert_true(iov_is(res.r.body, "in")); /* and not the body of the 401 before it */
    drop(&res);
}

/* libcurl would silently send again what it sent on a kept connection that then broke. Never with a POST. */
static void test_post_is_sent_once(void **state)
{
    struct stub_http *s = *state;
    struct result res;
    char url[256];
    url_of(url, s, "/once-then-break");
    struct fetch_request q = get(url);
    q.method = "POST";
    q.body = IOV("csr");
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_OK);
    drop(&res);
    run(&res, &q);
    assert_int_equal(res.r.result, FETCH_CONNECT);
    assert_true(res.r.sent);
    assert_int_equal(s->requests, 2);
    drop(&res);
}

static void test_tls(void **state)
{
    (void)state;
    struct stub_tls ca, other, id, client;
    stub_tls_make(&ca, "test CA", NULL, NULL);
    stub_tls_make(&other, "other CA", NULL, NULL);
    stub_tls_make(&id, "server", "DNS:tls.example,IP:127.0.0.1", &ca);
    stub_tls_make(&client, "client", NULL, &ca);
    SSL_CTX *ctx = stub_tls_server(&id, NULL);
    struct stub_http s;
    assert_true(stub_http_start(&s, "127.0.0.1", 0, ctx, serve, NULL));
    struct result res;
    char url[256], named[256], wrong[256];
    url_of(url, &s, "/hello");
    snprintf(named, sizeof(named), "https://tls.example:%u/hello", s.port);
    snprintf(wrong, sizeof(wrong), "https://wrong.example:%u/hello", s.port);
    const iov_t right_ca = iov_of(ca.cert_pem), wrong_ca = iov_of(other.cert_pem);
    const struct {
        const char *url;
        iov_t ca;
        bool verify;
        int result;
    } cases[] = {
        {url, right_ca, true, FETCH_OK},
        {named, right_ca, true, FETCH_OK},
        {wrong, right_ca, true, FETCH_TLS},
        {url, wrong_ca, true, FETCH_TLS},
        {url, IOV_NULL, true, FETCH_TLS},
        {wrong, IOV_NULL, false, FETCH_OK},
        {url, right_ca, true, FETCH_OK},
        {url, wrong_ca, true, FETCH_TLS}, /* not on the kept connection either */
        {url, IOV("nonsense"), true, FETCH_TLS},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct fetch_request q = get(cases[i].url);
        q.connect_to = "127.0.0.1";
        q.tls_ca_pem = cases[i].ca;
        q.tls_verify = cases[i].verify;
        run(&res, &q);
        if ((int)res.r.result != cases[i].result)
            fail_msg("case %zu: %d %s", i, res.r.result, res.r.why);
        if (res.r.result == FETCH_TLS && cases[i].ca.len != 8) {
            assert_false(res.r.sent);
            assert_true(iov_is(res.r.peer, "127.0.0.1"));
            assert_true(res.r.why[0] != '\0');
        }
        drop(&res);
    }
    stub_http_stop(&s);
    SSL_CTX_free(ctx);

    ctx = stub_tls_server(&id, &ca);
    assert_true(stub_http_start(&s, "127.0.0.1", 0, ctx, serve, NULL));
    url_of(url, &s, "/hello");
    struct fetch_request q = get(url);
    q.tls_ca_pem = right_ca;
    q.tls_cert_pem = iov_of(client.cert_pem);
    q.tls_key_pem = iov_of(client.key_pem);
    run(&res, &q);
    if (res.r.result != FETCH_OK)
        fail_msg("client certificate: %s", res.r.why);
    drop(&res);
    q.tls_cert_pem = q.tls_key_pem = IOV_NULL; /* and not over the connection that the certificate opened */
    run(&res, &q);
    assert_int_not_equal(res.r.result, FETCH_OK);
    drop(&res);
    stub_http_stop(&s);
    SSL_CTX_free(ctx);
    stub_tls_free(&ca);
    stub_tls_free(&other);
    stub_tls_free(&id);
    stub_tls_free(&client);
}

static void test_parallel(void **state)
{
    char url[256];
    url_of(url, *state, "/hello");
    static struct result res[30];
    struct fetch_request q = get(url);
    for (size_t i = 0; i < COUNTOF(res); i++)
        start(&res[i], &q);
    for (size_t i = 0; i < COUNTOF(res); i++) {
        turn_until(&res[i].called, 1);
        assert_int_equal(res[i].r.result, FETCH_OK);
        drop(&res[i]);
    }
}

/* A task that is over hears nothing; one that a stopping loop leaves behind fails. */
static void test_cancel_and_stop(void **state)
{
    struct result cancelled, left;
    char url[256];
    url_of(url, *state, "/hello");
    struct fetch_request q = get(url);
    start(&cancelled, &q);
    task_cancel(&cancelled.task);
    task_unref(&cancelled.task);
    uint64_t end = clock_mono_ms() + 20000;
    while (!cancelled.gone && clock_mono_ms() < end)
        loop_turn(loop, 100);
    assert_true(cancelled.gone);
    assert_int_equal(cancelled.called + cancelled.failed, 0);
    task_dispose(&cancelled.task);
    url_of(url, *state, "/hang");
    start(&left, &q);
    fetch_stop(loop);
    assert_int_equal(left.failed, 1);
    assert_int_equal(left.called, 0);
    drop(&left);
    fetch_stop(loop); /* twice is harmless */
}

/* ---- URLs ---- */

static const struct {
    const char *base, *text, *want;
    unsigned port;
} urls[] = {
    {NULL, "http://a.example/x", "http://a.example/x", 80},
    {NULL, "HTTPS://A.Example/x?y#z", "https://A.Example/x?y", 443},
    {NULL, "http://a.example", "http://a.example/", 80},
    {NULL, "http://a.example:8080/", "http://a.example:8080/", 8080},
    {NULL, "http://[2001:DB8::1]:81/", "http://[2001:DB8::1]:81/", 81},
    {NULL, "http://0x7f000001/", "http://127.0.0.1/", 80},
    {NULL, "http://%333/", "http://0.0.0.33/", 80}, /* looks like a name until it is decoded */
    {NULL, "http://a.example/a b", "http://a.example/a%20b", 80},
    {"http://a.example/x/y", "/z", "http://a.example/z", 80},
    {"http://a.example/x/y", "z", "http://a.example/x/z", 80},
    {"http://a.example/x/y", "//b.example/z", "http://b.example/z", 80},
    {"http://a.example/x/y", "https://b.example:5001/", "https://b.example:5001/", 5001},
    {"http://a.example:5002/x/y", "?q", "http://a.example:5002/x/y?q", 5002},
    {NULL, "ftp://a.example/", NULL, 0},
    {NULL, "file:///etc/passwd", NULL, 0},
    {NULL, "javascript:alert(1)", NULL, 0},
    {NULL, "/relative", NULL, 0},
    {NULL, "http://u@a.example/", NULL, 0},
    {NULL, "http://u:p@a.example/", NULL, 0},
    {NULL, "http://:p@a.example/", NULL, 0},
    {NULL, "http://a.example:0/", NULL, 0},
    {NULL, "http://a.example:65536/", NULL, 0},
    {NULL, "http://a.example:x/", NULL, 0},
    {NULL, "http://[fe80::1%25eth0]/", NULL, 0},
    {NULL, "http://a..example/", NULL, 0},
    {NULL, "http://m\xc3\xbcller.example/", NULL, 0},
    {NULL, "http://a%00.example/", NULL, 0},
    {NULL, "http://a%2fb.example/", NULL, 0},
    {NULL, "http://a.example\r\nX: y/", NULL, 0},
    {NULL, "", NULL, 0},
    {"http://a.example/x", "ftp://b.example/", NULL, 0},
    {"http://a.example/x", "http://u@b.example/", NULL, 0},
    {"http://a.example/x", "//u@b.example/", NULL, 0},
};

static void test_urls(void **state)
{
    (void)state;
    pool_t pool;
    h2o_mem_init_pool(&pool);
    for (size_t i = 0; i < COUNTOF(urls); i++) {
        struct fetch_url u;
        struct err e = ERR_INIT;
        bool ok = fetch_url_parse(&pool, iov_of(urls[i].base), iov_of(urls[i].text), &u, &e);
        if (ok != (urls[i].want != NULL))
            fail_msg("\"%s\": %s", urls[i].text, ok ? u.text.base : e.detail);
        if (ok && (!iov_is(u.text, urls[i].want) || u.port != urls[i].port))
            fail_msg("\"%s\" gave %s port %u", urls[i].text, u.text.base, u.port);
        assert_true(ok || e.detail[0] != '\0');
    }
    struct fetch_url u;
    struct err e;
    assert_false(fetch_url_parse(&pool, IOV_NULL, IOV("http://a.example/\0x"), &u, &e));
    assert_true(fetch_url_parse(&pool, IOV_NULL, IOV("http://[::1]/"), &u, &e));
    assert_int_equal(u.address_len, 16);
    assert_true(iov_is(u.host, "::1"));
    h2o_mem_clear_pool(&pool);
}

int main(void)
{
#define WITH_LOOP(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_LOOP(test_get),
        WITH_LOOP(test_post),
        WITH_LOOP(test_redirect_is_reported),
        WITH_LOOP(test_no_cookies),
        WITH_LOOP(test_reuse),
        WITH_LOOP(test_pinned),
        WITH_LOOP(test_pinned_v6),
        WITH_LOOP(test_denied),
        WITH_LOOP(test_limits),
        WITH_LOOP(test_timeouts),
        WITH_LOOP(test_connect_timeout),
        WITH_LOOP(test_refused_connection),
        WITH_LOOP(test_bad_urls),
        WITH_LOOP(test_auth),
        WITH_LOOP(test_post_is_sent_once),
        WITH_LOOP(test_tls),
        WITH_LOOP(test_parallel),
        WITH_LOOP(test_cancel_and_stop),
        cmocka_unit_test(test_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

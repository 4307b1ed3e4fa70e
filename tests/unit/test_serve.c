/* SPDX-License-Identifier: Apache-2.0 */
/* io/serve over real sockets: what handlers see, what clients get, listeners, limits, TLS, drain and stop.
 * What hostile clients do is in test_serve_abuse.c. */
#include "serve_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/x509.h>
#include "io/serve_internal.h"

static struct server server;

static int plain_up(void **state UNUSED)
{
    server_init(&server);
    server_start(&server);
    return 0;
}

static int drain_down(void **state UNUSED)
{
    server_stop(&server, SERVER_DRAIN);
    return 0;
}

/* ---- requests and replies ---- */

static void a_request_is_seen_as_it_was_sent(void **state UNUSED)
{
    static const struct {
        const char *request, *want;
    } cases[] = {
        {"GET /echo HTTP/1.1\r\nHost: h:1\r\nX-Test: v\r\n\r\n",
         "method=GET\npath=/"
         "echo\nquery=(none)\nauthority=h:1\npeer=127.0.0.1\ntls=0\nlistener=0\nx-test=v\nx-none=(none)"
         "\nbody="},
        {"POST /echo?a=%41&b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nx-test: 2\r\n\r\nabcde",
         "method=POST\npath=/"
         "echo\nquery=a=%41&b\nauthority=h\npeer=127.0.0.1\ntls=0\nlistener=0\nx-test=2\nx-none=(none)\n"
         "body=abcde"},
        {"POST /echo? HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
         "method=POST\npath=/"
         "echo\nquery=\nauthority=h\npeer=127.0.0.1\ntls=0\nlistener=0\nx-test=\nx-none=(none)\nbody=abcde"},
        {"GET /%65cho HTTP/1.1\r\nHost: h\r\n\r\n",
         "method=GET\npath=/"
         "echo\nquery=(none)\nauthority=h\npeer=127.0.0.1\ntls=0\nlistener=0\nx-test=\nx-none=(none)\nbody="},
        {"GET /x/../%2e/./echo HTTP/1.1\r\nHost: h\r\n\r\n",
         "method=GET\npath=/"
         "echo\nquery=(none)\nauthority=h\npeer=127.0.0.1\ntls=0\nlistener=0\nx-test=\nx-none=(none)\nbody="},
        {"GET http://other:81/echo?q HTTP/1.1\r\nHost: h\r\n\r\n",
         "method=GET\npath=/"
         "echo\nquery=q\nauthority=other:81\npeer=127.0.0.1\ntls=0\nlistener=0\nx-test=\nx-none=(none)"
         "\nbody="},
        {"GET HTTPS://o/x/%2e./echo HTTP/1.1\r\nHost: h\r\n\r\n",
         "method=GET\npath=/"
         "echo\nquery=(none)\nauthority=o\npeer=127.0.0.1\ntls=0\nlistener=0\nx-test=\nx-none=(none)\nbody="},
        {"\r\nGET /echo HTTP/1.1\r\nhost:\r\n\r\n",
         "method=GET\npath=/"
         "echo\nquery=(none)\nauthority=\npeer=127.0.0.1\ntls=0\nlistener=0\nx-test=\nx-none=(none)\nbody="},
    };
    struct client *c = client_tcp(server_port(&server));
    for (size_t i = 0; i < COUNTOF(cases); i++) { /* all on one connection */
        struct reply r;
        client_expect(c, cases[i].request, 200, &r);
        assert_string_equal(r.body, cases[i].want);
    }
    client_free(c);
}

static void http_1_0_needs_no_host(void **state UNUSED)
{
    struct client *c = client_tcp(server_port(&server));
    struct reply r;
    client_expect(c, "GET /echo HTTP/1.0\r\n\r\n", 200, &r);
    assert_non_null(strstr(r.body, "authority=(none)\n"));
    assert_true(client_closed(c));
    client_free(c);
}

static void every_kind_of_reply_keeps_the_connection(void **state UNUSED)
{
    struct client *c = client_tcp(server_port(&server));
    struct reply r;
    for (int i = 0; i < 3; i++) {
        client_expect(c, "POST /created HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 201, &r);
        assert_string_equal(r.body, "created");
        assert_true(head_has(&r, "Content-Length: 7\r\n"));
        assert_true(head_has(&r, "Replay-Nonce: abc\r\n"));
        assert_true(head_has(&r, "Date: "));
        assert_true(strncmp(r.head, "HTTP/1.1 201 Created\r\n", 22) == 0);
        assert_false(head_has(&r, "Server:"));
        client_expect(c, "GET /none HTTP/1.1\r\nHost: h\r\n\r\n", 204, &r);
        assert_false(head_has(&r, "Content-Length:"));
        assert_false(head_has(&r, "Transfer-Encoding:"));
        client_expect(c, "HEAD /head HTTP/1.1\r\nHost: h\r\n\r\n", 200, &r);
        assert_false(head_has(&r, "Content-Length:"));
        client_expect(c, "HEAD /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, &r);
        assert_true(head_has(&r, "Content-Length: 7\r\n")); /* told, not sent */
        client_expect(c, "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", 404, &r);
        client_expect(c, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n", 200, &r);
        assert_string_equal(r.body, "later");
    }
    client_free(c);
}

static void pipelined_requests_are_answered_in_order(void **state UNUSED)
{
    struct client *c = client_tcp(server_port(&server));
    struct reply r;
    for (int i = 0; i < 20; i++)
        client_puts(c, i % 2 ? "GET /later HTTP/1.1\r\nHost: h\r\n\r\n"
                             : "POST /created HTTP/1.1\r\nHost: h\r\n"
                               "Content-Length: 3\r\n\r\nabc");
    for (int i = 0; i < 20; i++) {
        assert_true(client_reply(c, &r, false));
        assert_string_equal(r.body, i % 2 ? "later" : "created");
    }
    client_free(c);
}

static void a_header_value_cannot_make_a_header(void **state UNUSED)
{
    struct client *c = client_tcp(server_port(&server));
    struct reply r;
    client_expect(c, "GET /split HTTP/1.1\r\nHost: h\r\n\r\n", 200, &r);
    assert_false(head_has(&r, "X-Injected"));
    assert_false(head_has(&r, "X-Bad"));
    assert_true(head_has(&r, "X-Good: c\r\n"));
    client_free(c);
}

static void a_long_body_arrives_whole(void **state UNUSED)
{
    struct client *c = client_tcp(server_port(&server));
    client_expect(c, "GET /long HTTP/1.1\r\nHost: h\r\n\r\n", 200, NULL);
    client_expect(c, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    client_free(c);
}

/* A reply from a timer or message, after the loop's wait: what h2o does next must not wait for the next
 * event. */
static void close_after_a_late_reply_is_prompt(void **state UNUSED)
{
    uint64_t before = fixture_now_ms();
    for (int i = 0; i < 5; i++) {
        struct client *c = client_tcp(server_port(&server));
        client_expect(c, "GET /later HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200, NULL);
        assert_true(client_closed(c));
        client_free(c);
    }
    assert_true(fixture_now_ms() - before < 2500); /* five whole turns of an idle loop would be 5000 */
}

static void expect_continue_is_answered(void **state UNUSED)
{
    struct client *c = client_tcp(server_port(&server));
    struct reply r;
    client_expect(c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
                  100, NULL);
    client_expect(c, "abc", 200, &r);
    assert_non_null(strstr(r.body, "body=abc"));
    client_free(c);
}

static void gone_is_told_once_for_every_request(void **state UNUSED)
{
    struct client *c = client_tcp(server_port(&server));
    for (int i = 0; i < 5; i++)
        client_expect(c, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n", 200, NULL);
    client_free(c);
    WAIT_UNTIL(server_connections(&server) == 0);
    assert_int_equal(server.gone, 5);
}

/* ---- limits ---- */

static void an_oversized_body_is_a_problem_document(void **state UNUSED)
{
    static const char *const requests[] = {
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
    };
    for (size_t i = 0; i < COUNTOF(requests); i++) {
        struct client *c = client_tcp(server_port(&server));
        struct reply r;
        client_expect(c, requests[i], i == 0 ? 413 : 400, &r);
        assert_true(head_has(&r, "Content-Type: application/problem+json\r\n"));
        assert_non_null(strstr(r.body, i == 0 ? "\"status\":413" : "\"status\":400"));
        assert_true(head_has(&r, "Connection: close\r\n"));
        assert_true(client_closed(c));
        client_free(c);
    }
    char *big = base_zalloc(65536);
    memset(big, 'a', 65536);
    struct client *c = client_tcp(server_port(&server));
    struct reply r;
    client_puts(c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n"); /* just fits */
    client_send(c, big, 65536);
    assert_true(client_reply(c, &r, false));
    assert_int_equal(r.status, 200);
    client_puts(c, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n");
    client_send(c, big, 65536);
    assert_true(client_reply(c, &r, false));
    assert_int_equal(r.status, 413);
    client_free(c);
    free(big);
    expect_alive(&server);
}

/* The client is still sending when it is refused: a reset would end it before it looks for an answer. */
static void a_refusal_is_read_by_a_client_that_still_sends(void **state UNUSED)
{
    static const char request[] = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n";
    enum { MUCH = 4000000 };
    char *big = base_zalloc(MUCH);
    memset(big, 'a', MUCH);
    for (int i = 0; i < 20; i++) {
        struct client *c = client_tcp(server_port(&server));
        struct reply r;
        client_puts(c, request);
        for (size_t sent = 0; sent < MUCH;) { /* all is taken: many clients look for an answer only then */
            ssize_t n = send(c->fd, big + sent, MUCH - sent, MSG_NOSIGNAL);
            assert_true(n > 0);
            sent += (size_t)n;
        }
        assert_true(client_reply(c, &r, false));
        assert_int_equal(r.status, 413);
        assert_true(client_closed(c));
        client_free(c);
    }
    free(big);
    WAIT_UNTIL(server_connections(&server) == 0); /* they count until they are gone */
    struct client *silent = client_tcp(server_port(&server));
    client_expect(silent, request, 413, NULL);
    WAIT_UNTIL(server_connections(&server) == 0); /* one that neither sends nor closes */
    client_free(silent);
}

static void a_stop_does_not_wait_for_what_lingers(void **state UNUSED)
{
    server_init(&server);
    server_start(&server);
    struct client *c = client_tcp(server_port(&server));
    client_expect(c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n", 413, NULL);
    uint64_t before = fixture_now_ms();
    server_stop(&server, SERVER_STOP);
    assert_true(fixture_now_ms() - before < 1500);
    client_free(c);
}

static void connections_per_process_wait_their_turn(void **state UNUSED)
{
    server_init(&server);
    server.cfg.connections_max = 3;
    server.n_loops = 2;
    server_start(&server);
    struct client *c[6];
    for (size_t i = 0; i < COUNTOF(c); i++) {
        c[i] = client_tcp(server_port(&server));
        client_puts(c[i], "GET /created HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    struct reply r;
    for (size_t i = 0; i < COUNTOF(c); i++) { /* in the order of the kernel's queue */
        if (i >= 3)
            client_free(c[i - 3]);
        assert_true(client_reply(c[i], &r, false));
        assert_true(server_connections(&server) <= 3);
    }
    for (size_t i = 3; i < COUNTOF(c); i++)
        client_free(c[i]);
    server_stop(&server, SERVER_DRAIN);
}

static void connections_per_address_are_refused(void **state UNUSED)
{
    server_init(&server);
    server.cfg.connections_per_ip = 2;
    server.n_loops = 2;
    server_start(&server);
    for (int round = 0; round < 3; round++) {
        struct client *a = client_tcp(server_port(&server)), *b = client_tcp(server_port(&server));
        client_expect(a, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
        client_expect(b, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
        struct client *x = client_tcp(server_port(&server));
        assert_true(client_closed(x));
        client_expect(a, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
        client_free(a);
        client_free(b);
        client_free(x);
        WAIT_UNTIL(server_connections(&server) == 0);
    }
    server_stop(&server, SERVER_DRAIN);
}

static void descriptors_run_out_and_come_back(void **state UNUSED)
{
    struct rlimit before, small;
    struct client *c = client_tcp(server_port(&server));
    client_expect(c, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* this test's own, while there are some */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    small = before;
    small.rlim_cur = (rlim_t)fd + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)server_port(&server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    for (int i = 0; i < 3; i++) /* those that are connected are served meanwhile */
        client_expect(c, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n", 200, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    struct client late = {.fd = fd};
    client_expect(&late, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    close(fd);
    client_free(c);
}

static void slow_and_silent_clients_are_closed(void **state UNUSED)
{
    server_init(&server);
    server.cfg.request_timeout_ms = 200;
    server_start(&server);
    static const char *const parts[] = {
        "",
        "GET /ec",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    };
    struct client *c[COUNTOF(parts)], *keep = client_tcp(server_port(&server));
    client_expect(keep, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    for (size_t i = 0; i < COUNTOF(parts); i++) {
        c[i] = client_tcp(server_port(&server));
        client_puts(c[i], parts[i]);
    }
    for (size_t i = 0; i < COUNTOF(parts); i++) {
        assert_true(client_closed(c[i]));
        client_free(c[i]);
    }
    assert_true(client_closed(keep)); /* idle */
    client_free(keep);
    /* Asks for much and reads nothing. */
    struct client *lazy = client_tcp(server_port(&server));
    client_puts(lazy, "GET /long HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_UNTIL(server_connections(&server) == 1);
    WAIT_UNTIL(server_connections(&server) == 0);
    client_free(lazy);
    server_stop(&server, SERVER_DRAIN);
}

/* ---- listeners ---- */

static struct serve *open_one(const char *address, unsigned port, struct err *e)
{
    struct serve_listener l = {.address = address, .port = port};
    struct serve_config cfg = {
        .listeners = &l, .n_listeners = 1, .body_max = 1, .connections_max = 1, .request_timeout_ms = 1};
    return serve_open(&cfg, e);
}

static void expect_no_listener(const char *address, unsigned port, const char *want_a, const char *want_b)
{
    struct err e = ERR_INIT;
    assert_null(open_one(address, port, &e));
    if (strstr(e.detail, want_a) == NULL || strstr(e.detail, want_b) == NULL)
        fail_msg("%s", e.detail);
}

static void a_port_in_use_is_named_with_what_to_do(void **state UNUSED)
{
    char where[64];
    snprintf(where, sizeof(where), "127.0.0.1:%u", server_port(&server));
    expect_no_listener("127.0.0.1", server_port(&server), where, "in use");
    expect_no_listener("192.0.2.1", 1, "192.0.2.1:1", "no interface");
    expect_no_listener("localhost", 1, "localhost", "numeric");
    expect_no_listener("127.0.0.1", 65536, "65536", "65535");
    expect_alive(&server);
}

static void v4_and_v6_share_a_port(void **state UNUSED)
{
    server_init(&server);
    server.listener[0].address = "0.0.0.0";
    server_start(&server);
    struct err e = ERR_INIT;
    struct serve *six = open_one("::", server_port(&server), &e);
    if (six == NULL)
        fail_msg("%s", e.detail);
    assert_int_equal(serve_bound_port(six, 0), server_port(&server));
    serve_free(six);
    expect_alive(&server);
    server_stop(&server, SERVER_DRAIN);
}

static void several_listeners_are_told_apart(void **state UNUSED)
{
    server_init(&server);
    server.cfg.n_listeners = 2;
    server.listener[1].address = "::1";
    server_start(&server);
    struct client *c = client_at("::1", serve_bound_port(server.serve, 1));
    assert_non_null(c);
    struct reply r;
    client_expect(c, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n", 200, &r);
    assert_non_null(strstr(r.body, "peer=::1\n"));
    assert_non_null(strstr(r.body, "listener=1\n"));
    client_free(c);
    server_stop(&server, SERVER_DRAIN);
}

static void listening_sockets_are_closed_on_exec(void **state UNUSED)
{
    unsigned sockets = 0;
    for (int fd = 3; fd < 200; fd++) {
        int listening;
        socklen_t len = sizeof(listening);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) != 0 || !listening)
            continue;
        sockets++;
        assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    }
    assert_int_equal(sockets, 2); /* the process's and the loop's */
}

static void unix_sockets(void **state UNUSED)
{
    char dir[] = "/tmp/portico-serve-XXXXXX", path[64], address[80];
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    snprintf(address, sizeof(address), "unix:%s", path);

    /* What a killed daemon leaves is replaced. */
    struct err e = ERR_INIT;
    struct serve_listening stale = {.address = address, .unix_path = path, .fd = -1};
    assert_true(serve_listen_open(&stale, &e));
    close(stale.fd);
    assert_int_equal(lstat(path, &st), 0);

    mode_t mask = umask(077);
    server_init(&server);
    server.cfg.n_listeners = 2;
    server.listener[1].address = address;
    server_start(&server);
    umask(mask);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    struct client *c = client_unix(path);
    assert_non_null(c);
    struct reply r;
    client_expect(c, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n", 200, &r);
    assert_non_null(strstr(r.body, "peer=unix\n"));
    client_free(c);
    expect_no_listener(address, 0, path, "another process listens there");
    server_stop(&server, SERVER_DRAIN);
    assert_int_equal(lstat(path, &st), -1); /* gone with its server */

    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    expect_no_listener(address, 0, path, "not a socket");
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
    expect_no_listener(address, 0, path, "No such file");
}

/* ---- drain and stop ---- */

static void a_drain_lets_requests_finish_and_closes_the_rest(void **state UNUSED)
{
    server_init(&server);
    server.n_loops = 2;
    server_start(&server);
    unsigned port = server_port(&server);
    struct client *idle = client_tcp(port), *fresh = client_tcp(port), *half = client_tcp(port),
                  *busy = client_tcp(port);
    struct reply r;
    client_expect(idle, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    client_puts(half, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na");
    client_puts(busy, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_UNTIL(server.hanging == 1 && server_connections(&server) == 4);
    server_drain(&server);
    assert_true(client_closed(idle));
    assert_true(client_closed(fresh));
    WAIT_UNTIL(nobody_listens(port));
    client_expect(half, "bc", 200, &r);
    assert_true(head_has(&r, "Connection: close\r\n"));
    assert_true(client_closed(half));
    WAIT_UNTIL(server_connections(&server) == 1);
    assert_int_equal(server.hanging, 1);
    server_stop(&server, SERVER_STOP); /* the drain's time is over */
    assert_true(client_reply(busy, &r, false));
    assert_int_equal(r.status, 503);
    assert_true(client_closed(busy));
    assert_int_equal(server.gone, 1);
    client_free(idle);
    client_free(fresh);
    client_free(half);
    client_free(busy);
}

static void a_stop_without_a_drain_loses_nothing(void **state UNUSED)
{
    struct client *c[8];
    struct reply r;
    server_init(&server);
    server.n_loops = 3;
    server_start(&server);
    for (size_t i = 0; i < COUNTOF(c); i++) {
        c[i] = client_tcp(server_port(&server));
        client_puts(c[i], "GET /hang HTTP/1.1\r\nHost: h\r\n\r\nGET /created HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    WAIT_UNTIL(server.hanging == COUNTOF(c));
    server_stop(&server, SERVER_STOP);
    assert_int_equal(server.gone, COUNTOF(c));
    for (size_t i = 0; i < COUNTOF(c); i++) {
        assert_true(client_reply(c[i], &r, false));
        assert_int_equal(r.status, 503);
        assert_true(client_closed(c[i]));
        client_free(c[i]);
    }
}

/* ---- TLS ---- */

static struct cert cert_a, cert_b;
static struct serve_tls *tls;
static SSL_CTX *client_ctx;

static int tls_up(void **state UNUSED)
{
    struct err e = ERR_INIT;
    cert_make(&cert_a, "a");
    cert_make(&cert_b, "b");
    tls = serve_tls_new(text_iov(cert_a.chain), text_iov(cert_a.key), &e);
    if (tls == NULL)
        fail_msg("%s (%s)", e.detail, e.cause);
    client_ctx = SSL_CTX_new(TLS_client_method());
    server_init(&server);
    server.cfg.n_listeners = 2;
    server.listener[1] = server.listener[0];
    server.listener[1].tls = tls;
    server.n_loops = 2;
    server_start(&server);
    return 0;
}

static int tls_down(void **state UNUSED)
{
    server_stop(&server, SERVER_DRAIN);
    serve_tls_free(tls);
    SSL_CTX_free(client_ctx);
    cert_free(&cert_a);
    cert_free(&cert_b);
    return 0;
}

static struct client *secure(const char *alpn)
{
    return client_tls(client_ctx, serve_bound_port(server.serve, 1), alpn);
}

static const char *name_seen(struct client *c)
{
    static char name[64];
    X509 *x = SSL_get1_peer_certificate(c->ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof(name));
    X509_free(x);
    return name;
}

static void tls_speaks_1_2_and_1_3_and_http_1_1(void **state UNUSED)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < COUNTOF(versions); i++) {
        SSL_CTX_set_min_proto_version(client_ctx, versions[i]);
        SSL_CTX_set_max_proto_version(client_ctx, versions[i]);
        struct client *c = secure("\x02h2\x08http/1.1");
        assert_non_null(c);
        assert_int_equal(SSL_version(c->ssl), versions[i]);
        const unsigned char *alpn;
        unsigned alpn_len;
        SSL_get0_alpn_selected(c->ssl, &alpn, &alpn_len);
        assert_int_equal(alpn_len, 8);
        assert_memory_equal(alpn, "http/1.1", 8);
        struct reply r;
        client_expect(c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 200, &r);
        assert_non_null(strstr(r.body, "tls=1\n"));
        assert_non_null(strstr(r.body, "body=abc"));
        client_expect(c, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n", 200, NULL);
        client_expect(c, "GET /long HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200, NULL);
        assert_true(client_closed(c));
        client_free(c);
    }
    assert_null(secure("\x02h2")); /* off by default, and the client is told so */
    struct client *c = secure(NULL);
    client_expect(c, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    client_free(c);
    SSL_CTX_set_min_proto_version(client_ctx, 0);
    SSL_CTX_set_max_proto_version(client_ctx, TLS1_1_VERSION);
    SSL_CTX_set_security_level(client_ctx, 0);
    assert_null(secure(NULL));
}

static void a_replaced_certificate_is_seen_by_new_connections(void **state UNUSED)
{
    struct err e = ERR_INIT;
    struct client *old = secure(NULL), *silent = client_tcp(serve_bound_port(server.serve, 1));
    assert_string_equal(name_seen(old), "a");
    WAIT_UNTIL(server_connections(&server) == 2);
    assert_true(serve_tls_replace(tls, text_iov(cert_b.chain), text_iov(cert_b.key), &e));
    struct client *new = secure(NULL);
    assert_string_equal(name_seen(new), "b");
    client_expect(old, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    client_expect(new, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    /* One that had not begun its handshake has the certificate of its accept; it is still there. */
    silent->ssl = SSL_new(client_ctx);
    SSL_set_fd(silent->ssl, silent->fd);
    assert_int_equal(SSL_connect(silent->ssl), 1);
    assert_string_equal(name_seen(silent), "a");
    /* A pair that does not fit changes nothing. */
    assert_false(serve_tls_replace(tls, text_iov(cert_a.chain), text_iov(cert_b.key), &e));
    assert_non_null(strstr(e.detail, "do not fit"));
    struct client *third = secure(NULL);
    assert_string_equal(name_seen(third), "b");
    client_free(old);
    client_free(silent);
    client_free(new);
    client_free(third);
}

static atomic_bool replacing;
static void *replace_all_the_time(void *arg UNUSED)
{
    struct err e = ERR_INIT;
    for (unsigned i = 0; atomic_load(&replacing); i++) {
        const struct cert *c = i % 2 ? &cert_a : &cert_b;
        if (!serve_tls_replace(tls, text_iov(c->chain), text_iov(c->key), &e))
            abort();
    }
    return NULL;
}

static void certificates_are_replaced_while_connections_go_on(void **state UNUSED)
{
    pthread_t t;
    atomic_store(&replacing, true);
    assert_int_equal(pthread_create(&t, NULL, replace_all_the_time, NULL), 0);
    for (int i = 0; i < 100; i++) {
        struct client *c = secure(NULL);
        assert_non_null(c);
        client_expect(c, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
        client_free(c);
    }
    atomic_store(&replacing, false);
    pthread_join(t, NULL);
}

static void sessions_are_resumed(void **state UNUSED)
{
    struct client *c = secure(NULL);
    client_expect(c, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    SSL_SESSION *session = SSL_get1_session(c->ssl);
    SSL_shutdown(c->ssl); /* without it OpenSSL drops the session */
    client_free(c);
    c = client_tcp(serve_bound_port(server.serve, 1));
    c->ssl = SSL_new(client_ctx);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_session(c->ssl, session);
    assert_int_equal(SSL_connect(c->ssl), 1);
    assert_true(SSL_session_reused(c->ssl));
    client_expect(c, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    client_free(c);
    SSL_SESSION_free(session);
}

static void bad_certificates_are_refused_with_a_reason(void **state UNUSED)
{
    const struct {
        const char *chain, *key, *want;
    } cases[] = {
        {"", cert_a.key, "not PEM"},
        {"hello", cert_a.key, "not PEM"},
        {cert_a.key, cert_a.key, "not PEM"},
        {cert_a.chain, "", "PEM private key"},
        {cert_a.chain, cert_a.chain, "PEM private key"},
        {cert_a.chain, cert_b.key, "do not fit"},
        {cert_a.chain, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
         "unencrypted"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct err e = ERR_INIT;
        assert_null(serve_tls_new(text_iov(cases[i].chain), text_iov(cases[i].key), &e));
        if (strstr(e.detail, cases[i].want) == NULL)
            fail_msg("%s", e.detail);
    }
    char broken[8192];
    struct err e = ERR_INIT;
    snprintf(broken, sizeof(broken), "%s-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
             cert_a.chain);
    assert_null(serve_tls_new(text_iov(broken), text_iov(cert_a.key), &e));
    assert_non_null(strstr(e.detail, "broken"));
    char two[8192]; /* a chain is sent whole */
    snprintf(two, sizeof(two), "%s%s", cert_a.chain, cert_b.chain);
    assert_true(serve_tls_replace(tls, text_iov(two), text_iov(cert_a.key), &e));
    struct client *c = secure(NULL);
    assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(c->ssl)), 2);
    client_free(c);
}

int main(void)
{
    alarm(300);
#define PLAIN(test) cmocka_unit_test_setup_teardown(test, plain_up, drain_down)
#define SECURE(test) cmocka_unit_test_setup_teardown(test, tls_up, tls_down)
    static const struct CMUnitTest tests[] = {
        PLAIN(a_request_is_seen_as_it_was_sent),
        PLAIN(http_1_0_needs_no_host),
        PLAIN(every_kind_of_reply_keeps_the_connection),
        PLAIN(pipelined_requests_are_answered_in_order),
        PLAIN(a_header_value_cannot_make_a_header),
        PLAIN(a_long_body_arrives_whole),
        PLAIN(close_after_a_late_reply_is_prompt),
        PLAIN(expect_continue_is_answered),
        PLAIN(gone_is_told_once_for_every_request),
        PLAIN(an_oversized_body_is_a_problem_document),
        PLAIN(a_refusal_is_read_by_a_client_that_still_sends),
        cmocka_unit_test(a_stop_does_not_wait_for_what_lingers),
        cmocka_unit_test(connections_per_process_wait_their_turn),
        cmocka_unit_test(connections_per_address_are_refused),
        PLAIN(descriptors_run_out_and_come_back),
        cmocka_unit_test(slow_and_silent_clients_are_closed),
        PLAIN(a_port_in_use_is_named_with_what_to_do),
        cmocka_unit_test(v4_and_v6_share_a_port),
        cmocka_unit_test(several_listeners_are_told_apart),
        PLAIN(listening_sockets_are_closed_on_exec),
        cmocka_unit_test(unix_sockets),
        cmocka_unit_test(a_drain_lets_requests_finish_and_closes_the_rest),
        cmocka_unit_test(a_stop_without_a_drain_loses_nothing),
        SECURE(tls_speaks_1_2_and_1_3_and_http_1_1),
        SECURE(a_replaced_certificate_is_seen_by_new_connections),
        SECURE(certificates_are_replaced_while_connections_go_on),
        SECURE(sessions_are_resumed),
        SECURE(bad_certificates_are_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

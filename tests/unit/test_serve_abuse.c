/* SPDX-License-Identifier: Apache-2.0 */
/* What hostile clients send to io/serve: malformed heads, ambiguous lengths, floods of HTTP/2 frames, mutated
 * requests. The server answers or closes, and goes on working; under the sanitizers this is also a memory
 * test. */
#include "serve_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct server server;
static struct cert cert;
static struct serve_tls *tls;
static SSL_CTX *client_ctx;

/* Plain, and TLS with HTTP/2. */
static int up(void **state UNUSED)
{
    struct err e = ERR_INIT;
    cert_make(&cert, "h");
    tls = serve_tls_new(text_iov(cert.chain), text_iov(cert.key), &e);
    assert_non_null(tls);
    client_ctx = SSL_CTX_new(TLS_client_method());
    server_init(&server);
    server.cfg.n_listeners = 2;
    server.cfg.http2 = true;
    server.cfg.request_timeout_ms = 1000;
    server.listener[1] = server.listener[0];
    server.listener[1].tls = tls;
    server_start(&server);
    return 0;
}

static int down(void **state UNUSED)
{
    server_stop(&server, SERVER_DRAIN);
    serve_tls_free(tls);
    SSL_CTX_free(client_ctx);
    cert_free(&cert);
    return 0;
}

/* ---- HTTP/1 ---- */

/* Sends everything, says that it is everything, reads the status of the first answer: 0 if there is none. */
static int status_of(const char *bytes, size_t len)
{
    struct client *c = client_tcp(server_port(&server));
    client_send(c, bytes, len);
    shutdown(c->fd, SHUT_WR);
    int status = 0;
    while (c->len < sizeof(c->in) && client_fill(c))
        ;
    if (c->len > 12)
        (void)!sscanf(c->in, "HTTP/1.1 %3d", &status);
    client_free(c);
    return status;
}

static void what_could_be_read_in_two_ways_is_refused(void **state UNUSED)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n",
         400},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0\r\n\r\n",
         400},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\na", 400},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length : 1\r\n\r\na", 400},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
        {"GET /echo HTTP/1.1\r\n\r\n", 400},
        {"GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET /echo HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET /echo HTTP/1.1\r\nHost: a\r\nX: 1\r\n  2\r\n\r\n", 400},
        {"GET /echo HTTP/1.1\r\nHost: a\r\nX: 1\r\n\tContent-Length: 2\r\n\r\n", 400},
        {"GET echo HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET http:///echo HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET http://user@h/echo HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET ftp://h/echo HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /%00echo HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /a%0d%0aX:%20y HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\na", 417},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
        {"GET /created HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
         "h2c\r\nHTTP2-Settings: AAAA\r\n\r\n",
         201},
        {"G\x01T / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET / HTTP/9.9\r\nHost: h\r\n\r\n", 400},
        {"GET /\r\n\r\n", 400},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400}, /* TLS on the plain port */
        {"GET /echo HTTP/1.1\r\nHost: h\r\n: nameless\r\n\r\n", 400},
        {"GET /echo HTTP/1.1\r\nHost: h\r\nX: a\x01b\r\n\r\n", 400},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        unsigned before = server.handled;
        int status = status_of(cases[i].request, strlen(cases[i].request));
        if (status != cases[i].status)
            fail_msg("%d, not %d, to: %s", status, cases[i].status, cases[i].request);
        if (status >= 400) /* no handler ever saw it */
            assert_int_equal(server.handled, before);
    }
    expect_alive(&server);
}

static void what_follows_an_ambiguous_request_is_not_read(void **state UNUSED)
{
    struct client *c = client_tcp(server_port(&server));
    struct reply r;
    client_expect(
        c,
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        "GET /created HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n",
        400, &r);
    assert_true(head_has(&r, "Content-Type: application/problem+json\r\n"));
    assert_true(head_has(&r, "Connection: close\r\n"));
    assert_non_null(strstr(r.body, "\"detail\":\"the length of the body must be given once"));
    assert_false(client_reply(c, &r, false));
    client_free(c);
    assert_int_equal(server.handled, 0);
}

static void headers_without_end(void **state UNUSED)
{
    static char bytes[700000];
    for (unsigned n = 98; n <= 300; n += n < 102 ? 1 : 99) { /* around the limit of 100 */
        size_t len = (size_t)snprintf(bytes, sizeof(bytes), "GET /created HTTP/1.1\r\nHost: h\r\n");
        for (unsigned i = 1; i < n; i++)
            len += (size_t)snprintf(bytes + len, sizeof(bytes) - len, "X-%u: y\r\n", i);
        len += (size_t)snprintf(bytes + len, sizeof(bytes) - len, "\r\n");
        assert_int_equal(status_of(bytes, len), n <= 100 ? 201 : 400);
    }
    size_t head = (size_t)snprintf(bytes, sizeof(bytes), "GET /created HTTP/1.1\r\nHost: h\r\nX: ");
    memset(bytes + head, 'a', sizeof(bytes) - head); /* more than h2o takes, and no end */
    int status = status_of(bytes, sizeof(bytes));
    assert_true(status == 400 || status == 0); /* 0: the reset overtook the answer */
    memset(bytes, 'A', sizeof(bytes));
    status = status_of(bytes, sizeof(bytes));
    assert_true(status == 400 || status == 0);
    memcpy(bytes, "GET /", 5);
    status = status_of(bytes, sizeof(bytes));
    assert_true(status == 400 || status == 0);
    expect_alive(&server);
}

/* Valid requests with a few bytes changed, cut, repeated or inserted. Anything may be answered; the server
 * must live. */
static void mutated_requests(void **state UNUSED)
{
    static const char *const seeds[] = {
        "GET /echo?x=%41 HTTP/1.1\r\nHost: h\r\nX-Test: v\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcdeGET /created HTTP/1.1\r\nHost: "
        "h\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: "
        "X\r\n\r\n3;e=f\r\nabc\r\n0\r\nX: y\r\n\r\n",
        "GET http://h:80/a/../%2e%2e/echo?q HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "POST /later HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
        "HEAD /created HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    };
    static const char bits[] = "\r\n\0 :/?%\t;,0159afAF-\x7f\xff.";
    unsigned seed = 20260131;
    for (int i = 0; i < 3000; i++) {
        char bytes[1024];
        const char *from = seeds[(size_t)rand_r(&seed) % COUNTOF(seeds)];
        size_t len = strlen(from);
        memcpy(bytes, from, len);
        for (int k = rand_r(&seed) % 6; k >= 0; k--) {
            size_t at = (size_t)rand_r(&seed) % len, n = 1 + (size_t)rand_r(&seed) % 8;
            switch (rand_r(&seed) % 4) {
            case 0:
                bytes[at] = bits[(size_t)rand_r(&seed) % (sizeof(bits) - 1)];
                break;
            case 1: /* insert */
                memmove(bytes + at + 1, bytes + at, len - at);
                bytes[at] = (char)rand_r(&seed);
                len++;
                break;
            case 2: /* repeat a piece */
                n = n < len - at ? n : len - at;
                memmove(bytes + at + n, bytes + at, len - at);
                len += n;
                break;
            default: /* cut */
                n = n < len - at ? n : len - at - 1;
                memmove(bytes + at, bytes + at + n, len - at - n);
                len -= n;
            }
        }
        status_of(bytes, len);
    }
    expect_alive(&server);
}

/* ---- HTTP/2: frames by hand ---- */

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, CONTINUATION = 9 };
enum { END_STREAM = 1, END_HEADERS = 4 };

struct frame {
    int type, flags;
    uint32_t stream;
    const char *payload;
    size_t len;
};

static size_t put_frame(char *to, struct frame f)
{
    const uint8_t head[9] = {(uint8_t)(f.len >> 16),    (uint8_t)(f.len >> 8),    (uint8_t)f.len,
                             (uint8_t)f.type,           (uint8_t)f.flags,         (uint8_t)(f.stream >> 24),
                             (uint8_t)(f.stream >> 16), (uint8_t)(f.stream >> 8), (uint8_t)f.stream};
    memcpy(to, head, sizeof(head));
    if (f.len != 0)
        memcpy(to + sizeof(head), f.payload, f.len);
    return sizeof(head) + f.len;
}

static void send_frame(struct client *c, struct frame f)
{
    char bytes[512];
    assert_true(f.len + 9 <= sizeof(bytes));
    client_send(c, bytes, put_frame(bytes, f));
}

/* HPACK: method by its index in the static table (GET 2, POST 3), https, then path and authority as literals.
 * */
static size_t put_head(char *to, bool post, const char *path)
{
    size_t n = 0, len = strlen(path);
    to[n++] = (char)(0x80 | (post ? 3 : 2));
    to[n++] = (char)0x87;
    to[n++] = 0x04;
    to[n++] = (char)len;
    memcpy(to + n, path, len);
    n += len;
    memcpy(to + n, "\x01\x01h", 3);
    return n + 3;
}

static void send_request(struct client *c, uint32_t stream, const char *path, int flags)
{
    char head[128];
    send_frame(c,
               (struct frame){HEADERS, flags, stream, head, put_head(head, (flags & END_STREAM) == 0, path)});
}

static struct client *h2_client(void)
{
    struct client *c = client_tls(client_ctx, serve_bound_port(server.serve, 1), "\x02h2");
    assert_non_null(c);
    client_puts(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    send_frame(c, (struct frame){.type = SETTINGS});
    return c;
}

/* Reads frames until one of a type on a stream; false when the connection ends first. */
static bool h2_await(struct client *c, int type, uint32_t stream, struct frame *out)
{
    for (;;) {
        while (c->len < 9) {
            if (!client_fill(c))
                return false;
        }
        const uint8_t *h = (const uint8_t *)c->in;
        size_t len = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
        uint32_t on = ((uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8]) & 0x7fffffff;
        bool found = h[3] == type && on == stream;
        while (c->len < 9 + len) {
            if (!client_fill(c))
                return false;
        }
        static char payload[sizeof(c->in)];
        memcpy(payload, c->in + 9, len);
        if (out != NULL)
            *out = (struct frame){h[3], h[4], on, payload, len};
        c->len -= 9 + len;
        memmove(c->in, c->in + 9 + len, c->len);
        if (found)
            return true;
    }
}

static void expect_h2_works(void)
{
    struct client *c = h2_client();
    struct frame f;
    send_request(c, 1, "/echo?q", END_HEADERS | END_STREAM);
    assert_true(h2_await(c, HEADERS, 1, NULL));
    assert_true(h2_await(c, DATA, 1, &f));
    assert_non_null(memmem(f.payload, f.len, "path=/echo\nquery=q\nauthority=h\n", 30));
    send_request(c, 3, "/echo", END_HEADERS);
    send_frame(c, (struct frame){DATA, END_STREAM, 3, "abc", 3});
    assert_true(h2_await(c, DATA, 3, &f));
    assert_non_null(memmem(f.payload, f.len, "body=abc", 8));
    client_free(c);
}

static void http2_works_where_it_is_switched_on(void **state UNUSED)
{
    expect_h2_works();
    struct client *c = client_tls(client_ctx, serve_bound_port(server.serve, 1), "\x08http/1.1");
    client_expect(c, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    client_free(c);
}

/* CVE-2023-44487. */
static void rapid_reset_ends_the_connection(void **state UNUSED)
{
    struct client *c = h2_client();
    for (uint32_t i = 0; i < 20000; i++) {
        send_request(c, 2 * i + 1, "/hang", END_HEADERS | END_STREAM);
        send_frame(c, (struct frame){RST_STREAM, 0, 2 * i + 1, "\0\0\0\x08", 4});
    }
    assert_true(client_closed(c));
    client_free(c);
    WAIT_UNTIL(server.hanging == 0);
    assert_true(server.handled >= 100); /* it was the guard */
    assert_true(server.handled < 200); /* however much was read at once */
    assert_int_equal(server.gone, server.handled);
    expect_h2_works();
}

static void a_client_that_gives_up_is_noticed(void **state UNUSED)
{
    struct client *c = h2_client();
    send_request(c, 1, "/hang", END_HEADERS | END_STREAM);
    WAIT_UNTIL(server.hanging == 1);
    send_frame(c, (struct frame){RST_STREAM, 0, 1, "\0\0\0\x08", 4});
    WAIT_UNTIL(server.gone == 1);
    send_request(c, 3, "/hang", END_HEADERS | END_STREAM);
    WAIT_UNTIL(server.hanging == 1);
    client_free(c);
    WAIT_UNTIL(server.gone == 2);
}

static void a_body_of_one_byte_now_and_then_ends_the_connection(void **state UNUSED)
{
    struct client *c = h2_client();
    send_request(c, 1, "/echo", END_HEADERS);
    assert_true(h2_await(c, SETTINGS, 0, NULL));
    uint64_t until = fixture_now_ms() + 20000;
    WAIT_UNTIL(server_connections(&server) == 1);
    while (server_connections(&server) == 1) { /* h2o's time-out begins anew with each of these */
        assert_true(fixture_now_ms() < until);
        send_frame(c, (struct frame){DATA, 0, 1, "x", 1});
        fixture_yield();
    }
    client_free(c);
    assert_int_equal(server.handled, 0);
}

static void an_oversized_body_is_reset(void **state UNUSED)
{
    static char chunk[400];
    struct client *c = h2_client();
    send_request(c, 1, "/echo", END_HEADERS);
    for (int i = 0; i < 170; i++)
        send_frame(c, (struct frame){DATA, 0, 1, chunk, sizeof(chunk)});
    assert_true(h2_await(c, RST_STREAM, 1, NULL));
    client_free(c);
    assert_int_equal(server.handled, 0);
    expect_h2_works();
}

static void too_many_headers_in_http2(void **state UNUSED)
{
    char head[512];
    size_t n = put_head(head, false, "/created");
    for (int i = 0; i < 110; i++) { /* "accept: " from the static table with an empty value */
        memcpy(head + n, "\x0f\x04\x00", 3);
        n += 3;
    }
    struct client *c = h2_client();
    send_frame(c, (struct frame){HEADERS, END_HEADERS | END_STREAM, 1, head, n});
    struct frame f;
    assert_true(h2_await(c, DATA, 1, &f));
    assert_non_null(memmem(f.payload, f.len, "\"status\":431", 12));
    client_free(c);
    assert_int_equal(server.handled, 0);
}

/* With h2o's own graceful shutdown this makes the loop spin for ever: an open head, GOAWAY, CONTINUATION. */
static void a_drain_survives_an_open_head(void **state UNUSED)
{
    struct client *c = h2_client(), *open = h2_client();
    char head[128];
    size_t n = put_head(head, false, "/created");
    send_request(c, 1, "/hang", END_HEADERS | END_STREAM);
    send_request(open, 1, "/hang", END_HEADERS | END_STREAM);
    WAIT_UNTIL(server.hanging == 2);
    send_frame(open, (struct frame){HEADERS, END_STREAM, 3, head, n});
    server_drain(&server);
    WAIT_UNTIL(nobody_listens(server_port(&server)));
    send_frame(open, (struct frame){CONTINUATION, END_HEADERS, 3, NULL, 0});
    assert_true(h2_await(open, HEADERS, 3, NULL)); /* the loop still turns */
    client_free(c);
    client_free(open);
    WAIT_UNTIL(server.hanging == 0);
}

/* h2o prints a line per unknown frame; porticod points its stderr elsewhere for that reason. */
static int quiet_begin(void)
{
    int kept = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_true(kept != -1 && dup2(null, STDERR_FILENO) != -1);
    close(null);
    return kept;
}

static void quiet_end(int kept)
{
    WAIT_UNTIL(server_connections(&server) == 0);
    dup2(kept, STDERR_FILENO);
    close(kept);
}

/* Floods that cost h2o nothing but time; afterwards the server is as it was. */
static void floods_of_tiny_frames(void **state UNUSED)
{
    static const struct frame floods[] = {
        {PING, 0, 0, "12345678", 8},
        {SETTINGS, 0, 0, NULL, 0},
        {0x77, 0, 0, "x", 1},
        {DATA, 0, 1, NULL, 0},
        {RST_STREAM, 0, 1, "\0\0\0\0", 4},
        {GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8},
        {CONTINUATION, 0, 1, NULL, 0},
    };
    int kept = quiet_begin();
    for (size_t i = 0; i < COUNTOF(floods); i++) {
        struct client *c = h2_client();
        send_request(c, 1, "/echo", END_HEADERS);
        for (int k = 0; k < 2000; k++)
            send_frame(c, floods[i]);
        client_free(c);
    }
    quiet_end(kept);
    expect_h2_works();
}

static void mutated_frames(void **state UNUSED)
{
    unsigned seed = 7;
    int kept = quiet_begin();
    for (int i = 0; i < 150; i++) {
        struct client *c = h2_client();
        for (uint32_t k = 0; k < 20; k++) {
            char bytes[256], head[128];
            size_t len = put_frame(bytes, (struct frame){HEADERS, END_HEADERS | (rand_r(&seed) % 2),
                                                         2 * k + 1, head, put_head(head, false, "/echo")});
            len += put_frame(bytes + len, (struct frame){DATA, rand_r(&seed) % 2, 2 * k + 1, "abc", 3});
            for (int m = rand_r(&seed) % 3; m > 0; m--)
                bytes[(size_t)rand_r(&seed) % len] = (char)rand_r(&seed);
            client_send(c, bytes, len);
        }
        client_free(c);
    }
    quiet_end(kept);
    expect_h2_works();
}

static void broken_handshakes(void **state UNUSED)
{
    unsigned seed = 99;
    for (int i = 0; i < 300; i++) {
        struct client *c = client_tcp(serve_bound_port(server.serve, 1));
        char bytes[300] = "\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03";
        for (size_t k = 11; k < sizeof(bytes); k++)
            bytes[k] = (char)rand_r(&seed);
        for (int m = rand_r(&seed) % 4; m > 0; m--)
            bytes[(size_t)rand_r(&seed) % 16] = (char)rand_r(&seed);
        client_send(c, bytes, 1 + (size_t)rand_r(&seed) % sizeof(bytes));
        shutdown(c->fd, SHUT_WR);
        assert_true(client_closed(c));
        client_free(c);
    }
    struct client *plain = client_tcp(serve_bound_port(server.serve, 1));
    client_puts(plain, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(client_closed(plain));
    client_free(plain);
    expect_h2_works();
}

int main(void)
{
    alarm(300);
#define ABUSE(test) cmocka_unit_test_setup_teardown(test, up, down)
    static const struct CMUnitTest tests[] = {
        ABUSE(what_could_be_read_in_two_ways_is_refused),
        ABUSE(what_follows_an_ambiguous_request_is_not_read),
        ABUSE(headers_without_end),
        ABUSE(mutated_requests),
        ABUSE(http2_works_where_it_is_switched_on),
        ABUSE(rapid_reset_ends_the_connection),
        ABUSE(a_client_that_gives_up_is_noticed),
        ABUSE(a_body_of_one_byte_now_and_then_ends_the_connection),
        ABUSE(an_oversized_body_is_reset),
        ABUSE(too_many_headers_in_http2),
        ABUSE(a_drain_survives_an_open_head),
        ABUSE(floods_of_tiny_frames),
        ABUSE(mutated_frames),
        ABUSE(broken_handshakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

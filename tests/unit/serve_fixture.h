/* SPDX-License-Identifier: Apache-2.0 */
/* A real server of io/serve on loop threads, and a small client that writes whatever bytes a test wants, in
 * the clear or in TLS. For test_serve*.c. */
#ifndef PORTICO_TESTS_SERVE_FIXTURE_H
#define PORTICO_TESTS_SERVE_FIXTURE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <openssl/ssl.h>
#include <cmocka.h>
#include "io/serve.h"

enum { LOOPS_MAX = 3 };

/* ---- the server ---- */
struct server {
    struct serve_listener listener[3];
    struct serve_config cfg; /* .listeners is set by server_start() */
    unsigned n_loops;        /* 0: 1 */
    struct serve *serve;
    pthread_t thread[LOOPS_MAX];
    struct loop *loop[LOOPS_MAX];
    pthread_barrier_t barrier;
    /* what the handler saw */
    atomic_uint handled, gone, hanging;
};
/* One plain listener on 127.0.0.1 port 0 and easy limits. */
void server_init(struct server *s);
void server_start(struct server *s);
/* Drains every loop and waits until none has connections (or not: stops at once), then frees everything. */
enum server_end { SERVER_DRAIN, SERVER_STOP };
void server_stop(struct server *s, enum server_end how);
unsigned server_port(const struct server *s);
/* Begins the drain and returns. */
void server_drain(struct server *s);
unsigned server_connections(struct server *s);
/* Waits for a condition that threads bring about; fails the test when it does not come. */
#define WAIT_UNTIL(cond)                                                                                     \
    do {                                                                                                     \
        uint64_t until_ = fixture_now_ms() + 20000;                                                          \
        while (!(cond)) {                                                                                    \
            assert_true(fixture_now_ms() < until_);                                                          \
            fixture_yield();                                                                                 \
        }                                                                                                    \
    } while (0)
uint64_t fixture_now_ms(void);
void fixture_yield(void);

/* What the handler answers:
 *   /echo     200: one line per field of the request, then its body
 *   /later    200 from a timer, after this request's turn
 *   /created  201    /none  204    /head  200, head_only
 *   /long     200 with 3 MB
 *   /split    200 with a header value that has a line end in it
 *   /hang     nothing: until the request goes away
 *   anything else: 404 */

/* ---- the client ---- */
struct client {
    int fd;
    SSL *ssl;
    char in[70000];
    size_t len;
};
struct reply {
    int status;
    char head[8192];
    char body[8192]; /* cut */
    size_t body_len;
};
struct client *client_tcp(unsigned port);
struct client *client_at(const char *address, unsigned port);
struct client *client_unix(const char *path);
/* NULL when the handshake fails. alpn in wire format or NULL. */
struct client *client_tls(SSL_CTX *ctx, unsigned port, const char *alpn);
void client_send(struct client *c, const char *bytes, size_t len);
void client_puts(struct client *c, const char *text);
/* More bytes; false at the end of the stream. */
bool client_fill(struct client *c);
/* False when the connection ended before a whole reply. */
bool client_reply(struct client *c, struct reply *r, bool to_head) MUST_CHECK;
/* Sends, expects a status, leaves the connection open. */
void client_expect(struct client *c, const char *request, int status, struct reply *r);
/* Reads to the end. */
bool client_closed(struct client *c);
void client_free(struct client *c);
bool nobody_listens(unsigned port);
bool head_has(const struct reply *r, const char *line_start);
/* On a connection of its own: the server still works. */
void expect_alive(const struct server *s);

/* ---- certificates ---- */
struct cert {
    char *chain, *key; /* PEM */
};
void cert_make(struct cert *c, const char *common_name);
void cert_free(struct cert *c);
iov_t text_iov(const char *text);

#endif

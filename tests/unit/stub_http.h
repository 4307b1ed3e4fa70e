/* SPDX-License-Identifier: Apache-2.0 */
/* A web server for tests: a thread per connection on a loopback address, whose answers a test writes byte by
 * byte. */
#ifndef PORTICO_STUB_HTTP_H
#define PORTICO_STUB_HTTP_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define STUB_HTTP_CONNECTIONS 64

struct stub_http;
struct stub_conn {
    struct stub_http *server;
    int fd;
    SSL *ssl;
    pthread_t thread;
    char request[65536];
    size_t request_len;      /* head and body */
    const char *path;        /* of the request, NUL-terminated copy */
    char path_buf[4096];
    unsigned nth;            /* request on this connection, from 1 */
};

/* Answers one request; false closes the connection. */
typedef bool stub_http_serve(struct stub_conn *c, void *arg);

struct stub_http {
    int fd;
    unsigned port;
    char url[64];            /* "http://127.0.0.1:PORT" */
    SSL_CTX *tls;
    stub_http_serve *serve;
    void *arg;
    atomic_uint connections, requests;
    atomic_bool stopping;
    pthread_t thread;
    struct stub_conn *conns[STUB_HTTP_CONNECTIONS];
};

/* address "127.0.0.1" or "::1"; port 0: any. tls NULL: plain; else it stays the caller's. False: the port is
 * taken. */
bool stub_http_start(struct stub_http *s, const char *address, unsigned port, SSL_CTX *tls,
                     stub_http_serve *serve, void *arg);
void stub_http_stop(struct stub_http *s);
/* False when the client has gone. */
bool stub_http_write(struct stub_conn *c, const void *data, size_t len);
bool stub_http_printf(struct stub_conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Returns when the client closes or the server stops. */
void stub_http_hang(struct stub_conn *c);

#endif

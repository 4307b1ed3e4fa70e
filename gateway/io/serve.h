/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP(S) server: nothing outside io/serve sees h2o's requests. Listeners are opened once per address
 * without SO_REUSEPORT and dup'd per loop; TLS 1.2/1.3 with a certificate that can be replaced while running;
 * the limits that libh2o lacks. */
#ifndef PORTICO_SERVE_H
#define PORTICO_SERVE_H

#include "base/err.h"
#include "io/loop.h"

struct serve_req {
    struct loop *loop;
    pool_t *pool; /* the request's own; gone when the request is */
    iov_t method; /* upper case as sent */
    /* Percent-decoded, dot segments removed, no control characters, never empty; scheme and authority of an
     * absolute-form target stripped. */
    iov_t path;
    iov_t query;     /* without '?'; IOV_NULL if none */
    iov_t authority; /* Host or :authority */
    iov_t body;      /* whole; empty if none */
    iov_t peer;      /* numeric address of the connection's other end */
    unsigned peer_port;
    bool tls;
    unsigned listener; /* index into serve_config.listeners */
    void *private_;
};

struct serve_header {
    const char *name; /* canonical case, e.g. "Replay-Nonce" */
    iov_t value;      /* borrowed until serve_reply returns (it copies) */
};
struct serve_reply {
    int status;
    const struct serve_header *headers;
    size_t n_headers;
    iov_t body; /* borrowed until serve_reply returns */
    /* No body and no length: 204 and answers to HEAD. (A HEAD is never sent a body; without head_only it is
     * told its length.) */
    bool head_only;
};

/* Runs on the loop for every request. It must lead to exactly one serve_reply on the same loop thread, now or
 * later; if the connection dies first, the gone callback runs and nothing may be sent. */
typedef void serve_handler(struct serve_req *r);
iov_t serve_header_get(const struct serve_req *r, const char *lower_name); /* first one; IOV_NULL if absent */
/* cb(arg) when the request goes away, answered or not. At most one. */
void serve_on_gone(struct serve_req *r, void (*cb)(void *arg), void *arg);
void serve_reply(struct serve_req *r, const struct serve_reply *reply);

struct serve_tls; /* certificate and key in use; shared by loops */
/* PEM chain and PEM key (wiped by the caller). NULL and e when they do not fit together. */
struct serve_tls *serve_tls_new(iov_t chain_pem, iov_t key_pem, struct err *e) MUST_CHECK;
/* Replaces what new handshakes use; any thread. */
bool serve_tls_replace(struct serve_tls *t, iov_t chain_pem, iov_t key_pem, struct err *e) MUST_CHECK;
void serve_tls_free(struct serve_tls *t);

struct serve_listener {
    const char *address; /* numeric, or "unix:PATH" */
    unsigned port;
    struct serve_tls *tls; /* NULL: plain HTTP */
    serve_handler *handler;
};
struct serve_config {
    struct serve_listener *listeners;
    size_t n_listeners;
    size_t body_max;             /* transport limit: larger bodies get 413 and a closed connection */
    unsigned connections_max;    /* per process */
    unsigned connections_per_ip; /* 0: no limit */
    int64_t request_timeout_ms;  /* header and body, also keep-alive idle time */
    bool http2;                  /* off by default */
};
/* Binds and listens (blocking, before the loops). "address:port in use" and the like in e. */
struct serve *serve_open(const struct serve_config *cfg, struct err *e) MUST_CHECK;
/* The port of a listener, also when 0 was asked for. */
unsigned serve_bound_port(const struct serve *s, size_t listener);
/* On each loop's thread. */
void serve_start(struct serve *s, struct loop *l);
/* On each loop's thread: stops accepting, closes idle connections, lets requests in flight finish. */
void serve_drain(struct serve *s, struct loop *l);
/* Connections still open on this loop; any thread while the loop lives. */
unsigned serve_connections(struct serve *s, struct loop *l);
/* After the drain (or without one), on each loop's thread, not from inside a callback: answers 503 to what is
 * still waiting, closes every connection, turns the loop until they are gone. */
void serve_stop(struct serve *s, struct loop *l);
void serve_free(struct serve *s);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Outgoing HTTP(S) on libcurl's multi interface, one per loop. No redirect is followed here: the caller resolves,
 * checks and re-issues. The address actually connected to is checked against a deny list in the open-socket callback. */
#ifndef PORTICO_FETCH_H
#define PORTICO_FETCH_H

#include "io/task.h"

/* A set of networks ("127.0.0.0/8", "fe80::/10"), immutable after parsing, shared by threads. IPv4-mapped, NAT64
 * (64:ff9b::/96) and 6to4 addresses are looked at by the IPv4 address inside them too. */
struct netset;
struct netset *netset_parse(const char *const *cidrs, size_t n, struct err *e) MUST_CHECK;
void netset_free(struct netset *s);
/* address: 4 or 16 bytes. */
bool netset_has(const struct netset *s, const uint8_t *address, size_t len);

struct fetch_request {
    const char *method; /* "GET", "POST" */
    const char *url;
    const char *connect_to;      /* numeric address that the URL's host is pinned to; NULL: resolve with the system */
    const struct netset *deny;   /* NULL: anything goes */
    const char *const *headers;  /* "Name: value" lines */
    size_t n_headers;
    iov_t body;                  /* POST; copied */
    int64_t connect_timeout_ms, timeout_ms;
    size_t body_max;             /* more is an error */
    bool tls_verify;             /* false for http-01 redirects to https */
    iov_t tls_ca_pem;            /* trust anchors; base NULL: the system's */
    iov_t tls_cert_pem, tls_key_pem; /* client certificate; base NULL: none */
    const char *userpwd;         /* HTTP Basic/Digest; NULL: none */
    const char *proxy;           /* NULL: none */
    bool keep_body_on_limit;     /* hitting body_max ends the transfer as success with the first body_max bytes */
};
struct fetch_reply {
    int status;          /* 0: no HTTP answer */
    iov_t body;          /* what came, cut at body_max; in the task's pool */
    iov_t content_type, location, retry_after; /* IOV_NULL if absent */
    iov_t peer;          /* numeric address connected to, IOV_NULL if never connected */
    unsigned peer_port;
    enum { FETCH_OK, FETCH_CONNECT, FETCH_TIMEOUT, FETCH_TLS, FETCH_DENIED, FETCH_TOO_LARGE, FETCH_PROTOCOL } result;
    bool sent;           /* bytes of the request may have reached the peer */
    const char *why;     /* readable reason, "" when FETCH_OK; in the task's pool */
};
typedef void fetch_cb(struct task *t, void *arg, const struct fetch_reply *r);

void fetch_start(struct loop *l);
void fetch_stop(struct loop *l);
/* cb runs once with every kind of result (a failed transfer is a result, not a task failure). */
void fetch_run(struct task *t, const struct fetch_request *q, fetch_cb *cb, void *arg);

#endif

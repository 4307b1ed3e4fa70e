/* SPDX-License-Identifier: Apache-2.0 */
/* Outgoing HTTP(S) on libcurl's multi interface, one per loop. No redirect is followed here: the caller
 * resolves, checks and re-issues. The address actually connected to is checked against a deny list in the
 * open-socket callback. */
#ifndef PORTICO_FETCH_H
#define PORTICO_FETCH_H

#include "io/netset.h"
#include "io/task.h"

/* Texts are copied, deny is borrowed until the callback. A POST is sent at most once: libcurl's own repeat on
 * a kept connection that turns out to be dead is stopped and reported as sent. */
struct fetch_request {
    const char *method; /* "GET", "POST" */
    const char *url;
    const char *connect_to;      /* numeric address that the host is pinned to; NULL: the system resolves */
    const struct netset *deny;   /* NULL: anything goes */
    const char *const *headers;  /* "Name: value" lines */
    size_t n_headers;
    iov_t body;                  /* POST; copied */
    int64_t connect_timeout_ms, timeout_ms;
    size_t body_max;             /* more is an error */
    bool fresh;                  /* a connection of its own, closed afterwards; implied by deny */
    bool tls_verify;             /* false for http-01 redirects to https */
    iov_t tls_ca_pem;            /* trust anchors; base NULL: the system's */
    iov_t tls_cert_pem, tls_key_pem; /* client certificate; base NULL: none */
    const char *userpwd;         /* HTTP Basic/Digest; NULL: none */
    const char *proxy;           /* NULL: none, the environment's neither */
    bool keep_body_on_limit;     /* reaching body_max ends the transfer as success with what came */
};
struct fetch_reply {
    int status;          /* 0: no HTTP answer */
    iov_t body;          /* what came, cut at body_max; in the task's pool */
    iov_t content_type, location, retry_after; /* IOV_NULL if absent */
    iov_t peer;          /* numeric address connected to, IOV_NULL if never connected */
    unsigned peer_port;
    enum {
        FETCH_OK, FETCH_CONNECT, FETCH_TIMEOUT, FETCH_TLS, FETCH_DENIED, FETCH_TOO_LARGE, FETCH_PROTOCOL
    } result;
    bool sent;           /* bytes of the request may have reached the peer */
    const char *why;     /* readable reason, "" when FETCH_OK; in the task's pool */
    const char *denied_by; /* FETCH_DENIED: the network of deny that holds the address; in the task's pool */
};
typedef void fetch_cb(struct task *t, void *arg, const struct fetch_reply *r);

void fetch_start(struct loop *l);
/* Tasks with a transfer under way fail. Not from inside a fetch_cb; run the loop one more turn before freeing
 * it. */
void fetch_stop(struct loop *l);
/* cb runs once with every kind of result (a failed transfer is a result, not a task failure). */
void fetch_run(struct task *t, const struct fetch_request *q, fetch_cb *cb, void *arg);

/* A URL as libcurl itself will read it, so that what was checked is what is connected to. */
struct fetch_url {
    iov_t text;          /* normalized, without fragment; NUL-terminated like the others */
    iov_t host;          /* lower case; an IPv6 address without brackets */
    bool https;
    unsigned port;
    uint8_t address[16]; /* when the host is numeric */
    size_t address_len;  /* 0, 4 or 16 */
};
/* base IOV_NULL: text is absolute; else text is a reference that is resolved against base (RFC 3986 section
 * 5). http and https only; user names, zone ids and hosts that are neither numeric nor LDH names are refused.
 * e->code stays 0. */
bool fetch_url_parse(pool_t *pool, iov_t base, iov_t text, struct fetch_url *out, struct err *e) MUST_CHECK;

#endif

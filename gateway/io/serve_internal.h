/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of io/serve share. serve.c: opening, starting, draining, stopping. serve_listen.c: sockets.
 * serve_conn.c: connections and their limits. serve_ip.c: connections per address. serve_linger.c: closing
 * after a refusal. serve_req.c: requests and replies. serve_head.c: what a request's head may look like.
 * serve_tls.c: certificates. */
#ifndef PORTICO_SERVE_INTERNAL_H
#define PORTICO_SERVE_INTERNAL_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <h2o.h>
#include "io/serve.h"

/* A listening socket, opened once for the process. */
struct serve_listening {
    char *address; /* as configured */
    unsigned port;
    struct serve_tls *tls;
    serve_handler *handler;
    int fd;          /* -1 once a loop drains; the loops' duplicates close on their own */
    char *unix_path; /* NULL: TCP */
    dev_t dev;       /* of the socket file, so that only our own is removed */
    ino_t ino;
};

struct serve {
    h2o_globalconf_t conf; /* read-only once loops run */
    struct serve_listening *listeners;
    size_t n_listeners;
    struct serve_config limits; /* .listeners is not kept */
    atomic_uint connections;
    struct serve_ip *ips; /* NULL: no limit per address */
    atomic_bool draining;
};

/* A loop's duplicate of a listening socket. */
struct serve_door {
    struct serve_loop *owner;
    unsigned listener;
    h2o_socket_t *sock; /* NULL: closed */
    h2o_accept_ctx_t accept;
};

/* Everything of a loop; touched on its thread only, n_connections excepted. */
struct serve_loop {
    struct serve *serve;
    struct loop *loop;
    h2o_context_t ctx;
    struct serve_door *doors;
    h2o_linklist_t connections; /* of struct serve_conn */
    h2o_linklist_t requests;    /* that the handlers have: struct serve_held */
    atomic_uint n_connections;
    struct loop_timer sweep;  /* while there are connections */
    struct loop_timer resume; /* while the doors are shut for a moment */
    bool shut, draining, stopping;
    bool replying; /* a reply of serve_reply() is being built, not one of h2o's own */
    uint64_t said_full_ms, said_crowded_ms;
    unsigned crowded; /* refused per address since that was last logged */
};

/* The key that connections are counted by: an IPv4 address, the first half of an IPv6 address (what one
 * customer gets at least). */
struct serve_ip_key {
    uint8_t bytes[9]; /* 4 or 6, then the address; zero-padded. 0: not counted (UNIX sockets) */
};

/* Lives as long as its socket, and while it lingers. */
struct serve_conn {
    h2o_linklist_t link;
    struct serve_loop *owner;
    h2o_socket_t *sock; /* NULL: closed, lingers */
    /* A reference: the handshake begins after accept, the certificate may be replaced meanwhile. */
    SSL_CTX *tls;
    unsigned listener;
    struct serve_ip_key key;
    char peer[INET6_ADDRSTRLEN];
    unsigned peer_port;
    uint64_t since_ms;
    unsigned active;  /* requests not yet gone */
    unsigned total;   /* requests so far */
    unsigned dropped; /* requests that the client gave up before they were answered */
    bool reading;     /* scratch of serve_conn_close_idle() */
    struct {
        bool held;
        int fd; /* if held: a duplicate of the socket's */
        size_t left;
        struct loop_watch *watch;
        struct loop_timer end;
    } linger;
};

/* ---- serve_listen.c ---- */
bool serve_listen_open(struct serve_listening *l, struct err *e) MUST_CHECK;
void serve_listen_close(struct serve_listening *l);

/* ---- serve_ip.c: any thread ---- */
struct serve_ip *serve_ip_new(unsigned max);
void serve_ip_free(struct serve_ip *t);
/* False when that address has its share already. */
bool serve_ip_enter(struct serve_ip *t, const struct serve_ip_key *key) MUST_CHECK;
void serve_ip_leave(struct serve_ip *t, const struct serve_ip_key *key);

/* ---- serve_conn.c ---- */
bool serve_conn_doors_open(struct serve_loop *sl);
/* Takes what has connected already, then closes. */
void serve_conn_doors_close(struct serve_loop *sl);
/* Ends connections on which nothing is under way. */
void serve_conn_close_idle(struct serve_loop *sl);
void serve_conn_cut(struct serve_conn *c);
/* Gives up its places in the counts and frees it. */
void serve_conn_forget(struct serve_conn *c);

/* ---- serve_linger.c ---- */
/* A body was refused unread: when the socket is closed, the connection lingers. */
void serve_linger_hold(struct serve_conn *c);
/* The socket is closed. False: nothing was held, forget the connection. */
bool serve_linger_begin(struct serve_conn *c) MUST_CHECK;
void serve_linger_cut(struct serve_conn *c);

/* ---- serve_req.c ---- */
/* Installs the handler and the filter that turns h2o's own errors into problem documents. */
void serve_req_install(h2o_globalconf_t *conf, h2o_hostconf_t *host);
/* Cuts connections whose request arrives, or whose answer leaves, too slowly for longer than the time-out. */
void serve_req_cut_slow(struct serve_loop *sl);
/* Answers 503 to all that is waiting. */
void serve_req_give_up(struct serve_loop *sl);

/* ---- serve_head.c ---- */
/* bytes begin with the head of an HTTP/1 request that h2o has accepted. NULL, or why it is refused. */
const char *serve_head_fault(iov_t bytes, bool http_1_0);
/* Origin-form: authority is IOV_NULL, path the target. Absolute-form: both, the path perhaps empty or without
 * the first '/'. False for anything else. */
bool serve_head_target(iov_t target, iov_t *authority_out, iov_t *path_out) MUST_CHECK;

/* ---- serve_tls.c ---- */
/* Before the loops: what ALPN offers with this certificate, now and after replacements. */
void serve_tls_offer_http2(struct serve_tls *t);
/* A reference on what new handshakes use. */
SSL_CTX *serve_tls_ctx(struct serve_tls *t);

#endif

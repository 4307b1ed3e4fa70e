/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: accepted a few at a time, counted per process and per address, ended when nothing is under
 * way. h2o has no limits of its own here, and its listeners would spin when the process runs out of
 * descriptors. */
#include "io/serve_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"

#define ACCEPTS_PER_TURN 8   /* a TLS handshake takes 0.5 ms of the loop */
#define ACCEPTS_AT_CLOSE 256 /* of what waits when a loop stops accepting */
#define SHUT_MS 50           /* how long a full house keeps its doors shut before it looks again */
#define SAY_EVERY_MS 10000
#define STUCK_MS 30000 /* without an acknowledgement of what was sent */
#define SWEEP_MS 1000
#define NEWCOMER_MS 1000 /* a connection without a request yet is given this long before it counts as idle */

/* ---- sweeping: every second while there are connections ---- */

static void on_sweep(struct loop_timer *t)
{
    struct serve_loop *sl = CONTAINER_OF(t, struct serve_loop, sweep);
    if (h2o_linklist_is_empty(&sl->connections))
        return;
    serve_req_cut_slow(sl);
    if (sl->draining)
        serve_conn_close_idle(sl);
    loop_timer_start(sl->loop, t, sl->draining ? SWEEP_MS / 10 : SWEEP_MS, on_sweep);
}

void serve_conn_cut(struct serve_conn *c)
{
    if (c->sock != NULL)
        shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR); /* h2o sees an end of file and closes */
    else
        serve_linger_cut(c);
}

static int mark_reading(h2o_req_t *req, void *arg UNUSED)
{
    struct serve_conn *c = req->conn->callbacks->get_socket(req->conn)->on_close.data;
    if (req->version >= 0x200 || req->timestamps.request_begin_at.tv_sec != 0)
        c->reading = true;
    return 0;
}

/* HTTP/2's own shutdown (GOAWAY) is not used: with it this h2o can spin forever (a CONTINUATION after the
 * GOAWAY). */
void serve_conn_close_idle(struct serve_loop *sl)
{
    uint64_t now = loop_now_ms(sl->loop);
    for (h2o_linklist_t *n = sl->connections.next; n != &sl->connections; n = n->next)
        CONTAINER_OF(n, struct serve_conn, link)->reading = false;
    sl->serve->conf.http1.callbacks.foreach_request(&sl->ctx, mark_reading, NULL);
    sl->serve->conf.http2.callbacks.foreach_request(&sl->ctx, mark_reading, NULL);
    for (h2o_linklist_t *n = sl->connections.next; n != &sl->connections; n = n->next) {
        struct serve_conn *c = CONTAINER_OF(n, struct serve_conn, link);
        if (c->sock != NULL && !c->reading && c->active == 0 &&
            (c->total != 0 || now - c->since_ms >= NEWCOMER_MS))
            shutdown(h2o_socket_get_fd(c->sock), SHUT_RD); /* what was written still goes out */
    }
}

/* ---- doors ---- */

static void on_accept(h2o_socket_t *sock, const char *err);

static void on_resume(struct loop_timer *t)
{
    struct serve_loop *sl = CONTAINER_OF(t, struct serve_loop, resume);
    sl->shut = false;
    for (size_t i = 0; i < sl->serve->n_listeners; i++) {
        if (sl->doors[i].sock != NULL)
            h2o_socket_read_start(sl->doors[i].sock, on_accept);
    }
}

/* Those who come meanwhile wait in the kernel's queue. */
static void shut_for_a_moment(struct serve_loop *sl)
{
    if (sl->shut)
        return;
    sl->shut = true;
    for (size_t i = 0; i < sl->serve->n_listeners; i++) {
        if (sl->doors[i].sock != NULL)
            h2o_socket_read_stop(sl->doors[i].sock);
    }
    loop_timer_start(sl->loop, &sl->resume, SHUT_MS, on_resume);
}

/* At most one line per SAY_EVERY_MS, so that a flood does not flood the log. */
static bool may_say(struct serve_loop *sl, uint64_t *said_ms)
{
    uint64_t now = loop_now_ms(sl->loop);
    if (*said_ms != 0 && now - *said_ms < SAY_EVERY_MS)
        return false;
    *said_ms = now;
    return true;
}

static void full(struct serve_loop *sl, const char *reason, const char *fix)
{
    shut_for_a_moment(sl);
    if (may_say(sl, &sl->said_full_ms))
        log_warn("serve.full", KV_INT("loop", loop_index(sl->loop)),
                 KV_INT("connections", sl->serve->connections), KV_STR("reason", reason), KV_STR("fix", fix));
}

static void crowded(struct serve_loop *sl, const char *peer)
{
    sl->crowded++;
    if (!may_say(sl, &sl->said_crowded_ms))
        return;
    log_info("serve.crowded", KV_STR("peer", peer), KV_INT("limit", sl->serve->limits.connections_per_ip),
             KV_INT("refused", sl->crowded));
    sl->crowded = 0;
}

/* ---- a connection ---- */

void serve_conn_forget(struct serve_conn *c)
{
    struct serve_loop *sl = c->owner;
    h2o_linklist_unlink(&c->link);
    SSL_CTX_free(c->tls);
    if (c->key.bytes[0] != 0)
        serve_ip_leave(sl->serve->ips, &c->key);
    atomic_fetch_sub(&sl->serve->connections, 1);
    atomic_fetch_sub(&sl->n_connections, 1);
    free(c);
}

static void on_close(void *arg)
{
    struct serve_conn *c = arg;
    c->sock = NULL;
    if (!serve_linger_begin(c))
        serve_conn_forget(c);
}

/* False when the peer has gone already. */
static bool know_peer(struct serve_conn *c)
{
    struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
    const struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
    const struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;
    if (h2o_socket_getpeername(c->sock, (struct sockaddr *)&ss) == 0)
        return false;
    switch (ss.ss_family) {
    case AF_INET:
        c->key.bytes[0] = 4;
        memcpy(c->key.bytes + 1, &v4->sin_addr, 4);
        c->peer_port = ntohs(v4->sin_port);
        return inet_ntop(AF_INET, &v4->sin_addr, c->peer, sizeof(c->peer)) != NULL;
    case AF_INET6:
        c->key.bytes[0] = 6;
        memcpy(c->key.bytes + 1, &v6->sin6_addr, 8);
        c->peer_port = ntohs(v6->sin6_port);
        return inet_ntop(AF_INET6, &v6->sin6_addr, c->peer, sizeof(c->peer)) != NULL;
    default:
        snprintf(c->peer, sizeof(c->peer), "unix");
        return true;
    }
}

/* False: closed again. The place in the process's count is the caller's then. */
static bool admit(struct serve_door *door, h2o_socket_t *sock)
{
    struct serve_loop *sl = door->owner;
    struct serve *s = sl->serve;
    struct serve_conn *c = base_zalloc(sizeof(*c));
    *c = (struct serve_conn){
        .owner = sl, .sock = sock, .listener = door->listener, .since_ms = loop_now_ms(sl->loop)};
    bool known = know_peer(c);
    if (s->ips == NULL)
        c->key.bytes[0] = 0;
    bool ok = known && (c->key.bytes[0] == 0 || serve_ip_enter(s->ips, &c->key));
    if (!ok) {
        if (known)
            crowded(sl, c->peer);
        free(c);
        h2o_socket_close(sock);
        return false;
    }
    /* A peer that stops to acknowledge must not hold its connection for the kernel's quarter of an hour. */
    int stuck_ms = STUCK_MS;
    setsockopt(h2o_socket_get_fd(sock), IPPROTO_TCP, TCP_USER_TIMEOUT, &stuck_ms, sizeof(stuck_ms));
    sock->on_close.cb = on_close;
    sock->on_close.data = c;
    h2o_linklist_insert(&sl->connections, &c->link);
    atomic_fetch_add(&sl->n_connections, 1);
    if (sl->sweep.loop == NULL)
        loop_timer_start(sl->loop, &sl->sweep, SWEEP_MS, on_sweep);
    struct serve_tls *tls = s->listeners[door->listener].tls;
    if (tls != NULL)
        c->tls = serve_tls_ctx(tls);
    door->accept.ssl_ctx = c->tls;
    h2o_accept(&door->accept, sock); /* c may be gone after this */
    return true;
}

/* False: enough for this turn. */
static bool accept_one(struct serve_door *door)
{
    struct serve_loop *sl = door->owner;
    struct serve *s = sl->serve;
    if (atomic_fetch_add(&s->connections, 1) >= s->limits.connections_max) {
        atomic_fetch_sub(&s->connections, 1);
        full(sl, "as many connections as are allowed", "raise limits.connections if this is real load");
        return false;
    }
    h2o_socket_t *sock = h2o_evloop_socket_accept(door->sock);
    int error = errno;
    if (sock != NULL) {
        if (!admit(door, sock))
            atomic_fetch_sub(&s->connections, 1);
        return true;
    }
    atomic_fetch_sub(&s->connections, 1);
    switch (error) {
    case EAGAIN:
        return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        full(sl, strerror(error), "raise the limit of open files (systemd: LimitNOFILE=)");
        return false;
    case EINVAL: /* no longer listens */
    case EBADF:
        h2o_socket_read_stop(door->sock);
        return false;
    default: /* the error of a connection that is dead already: accept(2) says to treat it like EAGAIN */
        return true;
    }
}

static void on_accept(h2o_socket_t *sock, const char *err UNUSED)
{
    struct serve_door *door = sock->data;
    for (int i = 0; i < ACCEPTS_PER_TURN && accept_one(door); i++)
        ;
}

bool serve_conn_doors_open(struct serve_loop *sl)
{
    struct serve *s = sl->serve;
    sl->doors = base_zalloc(s->n_listeners * sizeof(*sl->doors));
    for (size_t i = 0; i < s->n_listeners; i++) {
        struct serve_door *d = &sl->doors[i];
        d->owner = sl;
        d->listener = (unsigned)i;
        d->accept.ctx = &sl->ctx;
        d->accept.hosts = s->conf.hosts;
        int fd = fcntl(s->listeners[i].fd, F_DUPFD_CLOEXEC, 0);
        if (fd == -1)
            return false;
        d->sock = h2o_evloop_socket_create(loop_evloop(sl->loop), fd, H2O_SOCKET_FLAG_DONT_READ);
        d->sock->data = d;
        h2o_socket_read_start(d->sock, on_accept);
    }
    return true;
}

void serve_conn_doors_close(struct serve_loop *sl)
{
    loop_timer_stop(&sl->resume);
    for (size_t i = 0; i < sl->serve->n_listeners; i++) {
        struct serve_door *d = &sl->doors[i];
        if (d->sock == NULL)
            continue;
        for (int k = 0; k < ACCEPTS_AT_CLOSE && accept_one(d); k++)
            ;
        h2o_socket_close(d->sock);
        d->sock = NULL;
    }
    loop_timer_stop(&sl->resume);
}

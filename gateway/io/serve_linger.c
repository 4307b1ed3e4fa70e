/* SPDX-License-Identifier: Apache-2.0 */
/* h2o closes as soon as it has refused a body. With unread bytes in the socket that is a reset, which
 * overtakes the refusal on its way: the client sees "connection reset", not why. So a duplicate of the socket
 * is kept for a moment, what still arrives is thrown away, and the connection counts until then. */
#include "io/serve_internal.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_MS 2000
#define LINGER_MAX (8 * 1024 * 1024) /* bytes; whoever sends more than this is not listening */

void serve_linger_hold(struct serve_conn *c)
{
    if (!c->linger.held)
        c->linger.fd = fcntl(h2o_socket_get_fd(c->sock), F_DUPFD_CLOEXEC, 0);
    c->linger.held = c->linger.fd != -1; /* no descriptor left: the reset it is */
}

static void end(struct serve_conn *c)
{
    loop_timer_stop(&c->linger.end);
    loop_watch_free(c->linger.watch);
    close(c->linger.fd);
    serve_conn_forget(c);
}

static void on_end(struct loop_timer *t)
{
    end(CONTAINER_OF(t, struct serve_conn, linger.end));
}

static void on_bytes(void *arg, int revents UNUSED)
{
    struct serve_conn *c = arg;
    char waste[16384];
    ssize_t n = recv(c->linger.fd, waste, sizeof(waste), MSG_DONTWAIT);
    if (n > 0 && (size_t)n < c->linger.left)
        c->linger.left -= (size_t)n;
    else /* the end, an error, or enough */
        end(c);
}

bool serve_linger_begin(struct serve_conn *c)
{
    if (!c->linger.held)
        return false;
    c->linger.left = LINGER_MAX;
    shutdown(c->linger.fd, SHUT_WR); /* after what h2o has written */
    loop_timer_start(c->owner->loop, &c->linger.end, LINGER_MS, on_end);
    c->linger.watch = loop_watch_new(c->owner->loop, c->linger.fd, LOOP_READ, on_bytes, c);
    return true;
}

void serve_linger_cut(struct serve_conn *c)
{
    loop_timer_start(c->owner->loop, &c->linger.end, 0,
                     on_end); /* not here: the caller walks the list that c is in */
}

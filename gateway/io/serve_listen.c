/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets, TCP and UNIX. Opened without SO_REUSEPORT, so that a second daemon fails instead of
 * taking half of the connections; an error names the address and what to do about it. */
#include "io/serve_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel caps it at net.core.somaxconn */
#define UNIX_MODE 0660

/* "[::1]:443" for messages. */
struct where {
    char text[INET6_ADDRSTRLEN + 16];
};

static struct where where_of(const struct serve_listening *l)
{
    struct where w;
    snprintf(w.text, sizeof(w.text), strchr(l->address, ':') != NULL ? "[%s]:%u" : "%s:%u", l->address,
             l->port);
    return w;
}

static bool bind_error(const struct serve_listening *l, int error, struct err *e)
{
    struct where w = where_of(l);
    switch (error) {
    case EADDRINUSE:
        return err_set(e, 0,
                       "cannot listen on %s: the port is in use, perhaps by another porticod; stop what uses "
                       "it (ss -ltnp shows it) or configure another port",
                       w.text);
    case EACCES:
        return err_set(e, 0,
                       "cannot listen on %s: not permitted; ports below 1024 need root or "
                       "CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=), or configure another port",
                       w.text);
    case EADDRNOTAVAIL:
        return err_set(e, 0,
                       "cannot listen on %s: no interface of this machine has the address; 0.0.0.0 and :: "
                       "stand for all of them",
                       w.text);
    default:
        return err_set(e, 0, "cannot listen on %s: %s", w.text, strerror(error));
    }
}

static bool tcp_address(const struct serve_listening *l, struct sockaddr_storage *ss, socklen_t *len_out,
                        struct err *e)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ss;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ss;
    memset(ss, 0, sizeof(*ss));
    if (l->port > UINT16_MAX)
        return err_set(e, 0, "cannot listen on port %u: ports go up to 65535", l->port);
    if (inet_pton(AF_INET, l->address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)l->port);
        *len_out = sizeof(*v4);
        return true;
    }
    if (inet_pton(AF_INET6, l->address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)l->port);
        *len_out = sizeof(*v6);
        return true;
    }
    return err_set(e, 0,
                   "cannot listen on \"%.200s\": it must be a numeric address such as 0.0.0.0, :: or "
                   "127.0.0.1, or unix:PATH",
                   l->address);
}

static bool tcp_open(struct serve_listening *l, struct err *e)
{
    struct sockaddr_storage ss;
    socklen_t len;
    int on = 1;
    if (!tcp_address(l, &ss, &len, e))
        return false;
    l->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd == -1)
        return bind_error(l, errno, e);
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (ss.ss_family == AF_INET6) /* so that 0.0.0.0 and :: can both be configured */
        setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(l->fd, (struct sockaddr *)&ss, len) != 0 || listen(l->fd, BACKLOG) != 0)
        return bind_error(l, errno, e);
    if (l->port == 0 && getsockname(l->fd, (struct sockaddr *)&ss, &len) == 0)
        l->port = (unsigned)h2o_socket_getport((struct sockaddr *)&ss);
    return true;
}

/* ---- UNIX sockets ---- */

/* A socket file that nobody listens behind is what a killed daemon leaves: it is replaced. Anything else is
 * not ours. */
static bool clear_stale(const char *path, const struct sockaddr_un *sun, struct err *e)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT || err_set(e, 0, "cannot listen on unix:%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, 0,
                       "cannot listen on unix:%s: a file that is not a socket is in the way; move it or "
                       "configure another path",
                       path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool alive = fd != -1 &&
                 (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 || errno != ECONNREFUSED);
    int error = errno;
    if (fd != -1)
        close(fd);
    if (fd == -1)
        return err_set(e, 0, "cannot listen on unix:%s: %s", path, strerror(error));
    if (alive)
        return err_set(e, 0,
                       "cannot listen on unix:%s: another process listens there, perhaps another porticod; "
                       "stop it or configure another path",
                       path);
    if (unlink(path) != 0 && errno != ENOENT)
        return err_set(e, 0, "cannot listen on unix:%s: the stale socket cannot be removed: %s", path,
                       strerror(errno));
    return true;
}

static bool unix_open(struct serve_listening *l, struct err *e)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct stat st;
    const char *path = l->unix_path;
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(sun.sun_path))
        return err_set(e, 0, "cannot listen on unix:%.200s: a socket path has 1 to %zu bytes", path,
                       sizeof(sun.sun_path) - 1);
    memcpy(sun.sun_path, path, len + 1);
    if (!clear_stale(path, &sun, e))
        return false;
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode that the file is born with is at most this, whatever the umask; chmod then adds what a umask
     * took. */
    bool bound = l->fd != -1 && fchmod(l->fd, UNIX_MODE) == 0 &&
                 bind(l->fd, (struct sockaddr *)&sun, sizeof(sun)) == 0;
    if (!bound || chmod(path, UNIX_MODE) != 0 || listen(l->fd, BACKLOG) != 0 || lstat(path, &st) != 0) {
        err_set(e, 0, "cannot listen on unix:%s: %s", path, strerror(errno));
        if (bound)
            unlink(path);
        return false;
    }
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    return true;
}

bool serve_listen_open(struct serve_listening *l, struct err *e)
{
    bool ok = l->unix_path != NULL ? unix_open(l, e) : tcp_open(l, e);
    if (!ok && l->fd != -1) {
        close(l->fd);
        l->fd = -1;
    }
    return ok;
}

void serve_listen_close(struct serve_listening *l)
{
    struct stat st;
    /* A successor may have replaced the file already. */
    if (l->unix_path != NULL && l->ino != 0 && lstat(l->unix_path, &st) == 0 && st.st_dev == l->dev &&
        st.st_ino == l->ino)
        unlink(l->unix_path);
    l->ino = 0;
    if (l->fd != -1)
        close(l->fd);
    l->fd = -1;
}

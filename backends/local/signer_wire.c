/* SPDX-License-Identifier: Apache-2.0 */
/* Whole frames over a stream socket, with one time-out for each. Used by both ends. */
#include "backends/local/signer_wire.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"

struct transfer {
    int fd, timeout_ms;
    uint64_t began_ms;
};

static struct transfer begin(int fd, int timeout_ms)
{
    return (struct transfer){fd, timeout_ms, clock_mono_ms()};
}

static enum wire_result wait_for(const struct transfer *t, short events)
{
    for (;;) {
        int left = -1;
        if (t->timeout_ms >= 0) {
            uint64_t spent = clock_mono_ms() - t->began_ms;
            left = spent < (uint64_t)t->timeout_ms ? t->timeout_ms - (int)spent : 0;
        }
        struct pollfd p = {.fd = t->fd, .events = events};
        int n = poll(&p, 1, left);
        if (n > 0)
            return WIRE_OK;
        if (n == 0)
            return WIRE_TIMEOUT;
        if (errno != EINTR)
            return WIRE_BROKEN;
    }
}

static enum wire_result send_all(const struct transfer *t, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = send(t->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            p += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            enum wire_result r = wait_for(t, POLLOUT);
            if (r != WIRE_OK)
                return r;
        } else if (errno != EINTR) {
            return errno == EPIPE || errno == ECONNRESET ? WIRE_END : WIRE_BROKEN;
        }
    }
    return WIRE_OK;
}

/* END only before the first byte. */
static enum wire_result receive_all(const struct transfer *t, char *p, size_t len)
{
    size_t got = 0;
    while (got < len) {
        ssize_t n = recv(t->fd, p + got, len - got, MSG_DONTWAIT);
        if (n > 0) {
            got += (size_t)n;
        } else if (n == 0) {
            return got == 0 ? WIRE_END : WIRE_BROKEN;
        } else if (errno == EAGAIN) {
            enum wire_result r = wait_for(t, POLLIN);
            if (r != WIRE_OK)
                return r;
        } else if (errno != EINTR) {
            return errno == ECONNRESET ? WIRE_END : WIRE_BROKEN;
        }
    }
    return WIRE_OK;
}

enum wire_result signer_wire_send(int fd, iov_t payload, int timeout_ms)
{
    struct transfer t = begin(fd, timeout_ms);
    if (payload.len > SIGNER_FRAME_MAX)
        return WIRE_BROKEN;
    char head[4] = {(char)(payload.len >> 24), (char)(payload.len >> 16), (char)(payload.len >> 8),
                    (char)payload.len};
    enum wire_result r = send_all(&t, head, sizeof(head));
    return r == WIRE_OK ? send_all(&t, payload.base, payload.len) : r;
}

enum wire_result signer_wire_receive(int fd, size_t max, int timeout_ms, pool_t *pool, iov_t *out)
{
    struct transfer t = begin(fd, timeout_ms);
    uint8_t head[4];
    enum wire_result r = receive_all(&t, (char *)head, sizeof(head));
    if (r != WIRE_OK)
        return r;
    size_t len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    if (len == 0 || len > max)
        return WIRE_BROKEN;
    *out = (iov_t){POOL_NEW(pool, char, len), len};
    r = receive_all(&t, out->base, len);
    return r == WIRE_END ? WIRE_BROKEN : r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "stub_http.h"
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

bool stub_http_write(struct stub_conn *c, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = c->ssl != NULL ? SSL_write(c->ssl, p, (int)len) : send(c->fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

bool stub_http_printf(struct stub_conn *c, const char *fmt, ...)
{
    char buf[8192];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    assert(n >= 0 && (size_t)n < sizeof(buf));
    return stub_http_write(c, buf, (size_t)n);
}

static ssize_t conn_read(struct stub_conn *c, char *buf, size_t len)
{
    return c->ssl != NULL ? SSL_read(c->ssl, buf, (int)len) : recv(c->fd, buf, len, 0);
}

void stub_http_hang(struct stub_conn *c)
{
    char buf[256];
    while (conn_read(c, buf, sizeof(buf)) > 0)
        ;
}

/* Head and, where Content-Length says so, body. */
static bool read_request(struct stub_conn *c)
{
    size_t want = 0;
    c->request_len = 0;
    for (;;) {
        ssize_t n = conn_read(c, c->request + c->request_len, sizeof(c->request) - 1 - c->request_len);
        if (n <= 0)
            return false;
        c->request_len += (size_t)n;
        c->request[c->request_len] = '\0';
        const char *end = strstr(c->request, "\r\n\r\n");
        const char *length = strcasestr(c->request, "\r\nContent-Length:");
        if (want == 0 && end != NULL)
            want = (size_t)(end + 4 - c->request) +
                   (length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0);
        if (want != 0 && c->request_len >= want)
            return true;
    }
}

static void *conn_main(void *arg)
{
    struct stub_conn *c = arg;
    bool go = true;
    if (c->server->tls != NULL) {
        c->ssl = SSL_new(c->server->tls);
        SSL_set_fd(c->ssl, c->fd);
        go = SSL_accept(c->ssl) == 1;
    }
    while (go && read_request(c)) {
        atomic_fetch_add(&c->server->requests, 1);
        c->nth++;
        const char *space = strchr(c->request, ' ');
        snprintf(c->path_buf, sizeof(c->path_buf), "%.*s", space ? (int)strcspn(space + 1, " \r\n") : 0,
                 space ? space + 1 : "");
        c->path = c->path_buf;
        go = c->server->serve(c, c->server->arg);
    }
    if (c->ssl != NULL)
        SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_RDWR); /* closed when the server stops: the number must not be reused before */
    return NULL;
}

static void *accept_main(void *arg)
{
    struct stub_http *s = arg;
    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0 || atomic_load(&s->stopping)) {
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        unsigned n = atomic_load(&s->connections);
        assert(n < STUB_HTTP_CONNECTIONS);
        struct stub_conn *c = calloc(1, sizeof(*c));
        c->server = s;
        c->fd = fd;
        s->conns[n] = c;
        atomic_store(&s->connections, n + 1);
        pthread_create(&c->thread, NULL, conn_main, c);
    }
}

bool stub_http_start(struct stub_http *s, const char *address, unsigned port, SSL_CTX *tls,
                     stub_http_serve *serve, void *arg)
{
    memset(s, 0, sizeof(*s));
    s->tls = tls;
    s->serve = serve;
    s->arg = arg;
    bool v6 = strchr(address, ':') != NULL;
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    inet_pton(AF_INET, address, &a4.sin_addr);
    inet_pton(AF_INET6, address, &a6.sin6_addr);
    s->fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (v6)
        setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(s->fd, v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4, v6 ? sizeof(a6) : sizeof(a4)) !=
            0 ||
        listen(s->fd, 64) != 0) {
        close(s->fd);
        return false;
    }
    socklen_t len = v6 ? sizeof(a6) : sizeof(a4);
    getsockname(s->fd, v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4, &len);
    s->port = ntohs(v6 ? a6.sin6_port : a4.sin_port);
    snprintf(s->url, sizeof(s->url), v6 ? "%s://[%s]:%u" : "%s://%s:%u", tls ? "https" : "http", address,
             s->port);
    pthread_create(&s->thread, NULL, accept_main, s);
    return true;
}

void stub_http_stop(struct stub_http *s)
{
    atomic_store(&s->stopping, true);
    shutdown(s->fd, SHUT_RDWR); /* wakes accept() */
    pthread_join(s->thread, NULL);
    close(s->fd);
    for (unsigned i = 0; i < atomic_load(&s->connections); i++) {
        struct stub_conn *c = s->conns[i];
        shutdown(c->fd, SHUT_RDWR);
        pthread_join(c->thread, NULL);
        SSL_free(c->ssl);
        close(c->fd);
        free(c);
    }
}

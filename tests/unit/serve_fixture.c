/* SPDX-License-Identifier: Apache-2.0 */
/* See serve_fixture.h. */
#include "serve_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "base/clock.h"

static struct server *the_server; /* of the running test */

uint64_t fixture_now_ms(void)
{
    return clock_mono_ms();
}

void fixture_yield(void)
{
    poll(NULL, 0, 1);
}

/* ---- the handler ---- */

static void answer(struct serve_req *r, int status, iov_t body)
{
    const struct serve_header h[] = {{"Content-Type", IOV("text/plain")}, {"Replay-Nonce", IOV("abc")}};
    struct serve_reply reply = {.status = status, .headers = h, .n_headers = COUNTOF(h), .body = body};
    serve_reply(r, &reply);
}

static void echo(struct serve_req *r)
{
    struct sbuf b;
    iov_t x = serve_header_get(r, "x-test"), none = serve_header_get(r, "x-none");
    sbuf_init(&b, r->pool);
    sbuf_printf(&b, "method=%.*s\npath=%.*s\n", (int)r->method.len, r->method.base, (int)r->path.len,
                r->path.base);
    sbuf_printf(&b, "query=%.*s%s\n", (int)r->query.len, r->query.base != NULL ? r->query.base : "",
                r->query.base != NULL ? "" : "(none)");
    sbuf_printf(&b, "authority=%.*s%s\n", (int)r->authority.len,
                r->authority.base != NULL ? r->authority.base : "",
                r->authority.base != NULL ? "" : "(none)");
    sbuf_printf(&b, "peer=%.*s\ntls=%d\nlistener=%u\n", (int)r->peer.len, r->peer.base, r->tls, r->listener);
    sbuf_printf(&b, "x-test=%.*s\nx-none=%s\nbody=", (int)x.len, x.base != NULL ? x.base : "",
                none.base != NULL ? "?" : "(none)");
    sbuf_add(&b, r->body);
    answer(r, 200, b.text);
}

struct later {
    struct loop_timer timer;
    struct serve_req *req;
};

static void on_later(struct loop_timer *t)
{
    struct later *l = CONTAINER_OF(t, struct later, timer);
    if (l->req != NULL)
        answer(l->req, 200, IOV("later"));
}

static void on_later_gone(void *arg)
{
    struct later *l = arg;
    loop_timer_stop(&l->timer);
    atomic_fetch_add(&the_server->gone, 1);
    free(l);
}

static void later(struct serve_req *r)
{
    struct later *l = base_zalloc(sizeof(*l));
    l->req = r;
    serve_on_gone(r, on_later_gone, l);
    loop_timer_start(r->loop, &l->timer, 5, on_later);
}

static void on_hang_gone(void *arg UNUSED)
{
    atomic_fetch_sub(&the_server->hanging, 1);
    atomic_fetch_add(&the_server->gone, 1);
}

static void hang(struct serve_req *r)
{
    serve_on_gone(r, on_hang_gone, NULL);
    atomic_fetch_add(&the_server->hanging, 1);
}

static void long_body(struct serve_req *r)
{
    size_t len = 3000000;
    char *bytes = pool_zalloc(r->pool, len);
    memset(bytes, 'x', len);
    answer(r, 200, (iov_t){bytes, len});
}

static void split(struct serve_req *r)
{
    const struct serve_header h[] = {{"X-Bad", IOV("a\r\nX-Injected: b")}, {"X-Good", IOV("c")}};
    struct serve_reply reply = {.status = 200, .headers = h, .n_headers = COUNTOF(h), .body = IOV("split")};
    serve_reply(r, &reply);
}

static void bodyless(struct serve_req *r, int status)
{
    struct serve_reply reply = {.status = status, .head_only = true};
    serve_reply(r, &reply);
}

static void handler(struct serve_req *r)
{
    atomic_fetch_add(&the_server->handled, 1);
    if (iov_is(r->path, "/echo"))
        echo(r);
    else if (iov_is(r->path, "/later"))
        later(r);
    else if (iov_is(r->path, "/created"))
        answer(r, 201, IOV("created"));
    else if (iov_is(r->path, "/none"))
        bodyless(r, 204);
    else if (iov_is(r->path, "/head"))
        bodyless(r, 200);
    else if (iov_is(r->path, "/long"))
        long_body(r);
    else if (iov_is(r->path, "/split"))
        split(r);
    else if (iov_is(r->path, "/hang"))
        hang(r);
    else
        answer(r, 404, IOV("nothing here"));
}

/* ---- the server ---- */

void server_init(struct server *s)
{
    memset(s, 0, sizeof(*s));
    s->listener[0] = (struct serve_listener){.address = "127.0.0.1", .handler = handler};
    s->cfg = (struct serve_config){
        .n_listeners = 1, .body_max = 65536, .connections_max = 500, .request_timeout_ms = 10000};
}

struct seat {
    struct server *server;
    unsigned index;
};

static void *loop_main(void *arg)
{
    struct seat seat = *(struct seat *)arg;
    struct server *s = seat.server;
    free(arg);
    struct loop *l = loop_new(seat.index);
    s->loop[seat.index] = l;
    serve_start(s->serve, l);
    pthread_barrier_wait(&s->barrier);
    loop_run(l);
    serve_stop(s->serve, l);
    if (serve_connections(s->serve, l) != 0)
        abort();                       /* not cmocka's assert: this is another thread */
    pthread_barrier_wait(&s->barrier); /* nobody asks this loop for anything any more */
    loop_free(l);
    return NULL;
}

void server_start(struct server *s)
{
    struct err e = ERR_INIT;
    the_server = s;
    s->n_loops = s->n_loops != 0 ? s->n_loops : 1;
    s->cfg.listeners = s->listener;
    for (size_t i = 0; i < s->cfg.n_listeners; i++)
        s->listener[i].handler = handler;
    s->serve = serve_open(&s->cfg, &e);
    if (s->serve == NULL)
        fail_msg("%s", e.detail);
    pthread_barrier_init(&s->barrier, NULL, s->n_loops + 1);
    for (unsigned i = 0; i < s->n_loops; i++) {
        struct seat *seat = base_zalloc(sizeof(*seat));
        *seat = (struct seat){s, i};
        assert_int_equal(pthread_create(&s->thread[i], NULL, loop_main, seat), 0);
    }
    pthread_barrier_wait(&s->barrier);
}

unsigned server_port(const struct server *s)
{
    return serve_bound_port(s->serve, 0);
}

struct drain_msg {
    struct loop_msg msg;
    struct serve *serve;
    struct loop *loop;
};

static void drain_run(struct loop_msg *m)
{
    struct drain_msg *d = CONTAINER_OF(m, struct drain_msg, msg);
    serve_drain(d->serve, d->loop);
    free(d);
}

void server_drain(struct server *s)
{
    for (unsigned i = 0; i < s->n_loops; i++) {
        struct drain_msg *d = base_zalloc(sizeof(*d));
        *d = (struct drain_msg){.msg.run = drain_run, .serve = s->serve, .loop = s->loop[i]};
        loop_post(s->loop[i], &d->msg);
    }
}

unsigned server_connections(struct server *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->n_loops; i++)
        n += serve_connections(s->serve, s->loop[i]);
    return n;
}

void server_stop(struct server *s, enum server_end how)
{
    if (how == SERVER_DRAIN) {
        server_drain(s);
        WAIT_UNTIL(server_connections(s) == 0);
    }
    for (unsigned i = 0; i < s->n_loops; i++)
        loop_stop(s->loop[i]);
    pthread_barrier_wait(&s->barrier);
    for (unsigned i = 0; i < s->n_loops; i++)
        pthread_join(s->thread[i], NULL);
    assert_int_equal(s->hanging, 0);
    pthread_barrier_destroy(&s->barrier);
    serve_free(s->serve);
    s->serve = NULL;
}

/* ---- the client ---- */

static struct client *client_on(int fd)
{
    struct client *c = base_zalloc(sizeof(*c));
    struct timeval limit = {.tv_sec = 20}; /* a test that waits longer has failed */
    c->fd = fd;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    return c;
}

struct client *client_at(const char *address, unsigned port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    assert_true(is_v4 || inet_pton(AF_INET6, address, &v6.sin6_addr) == 1);
    int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd != -1);
    const struct sockaddr *sa = is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    if (connect(fd, sa, is_v4 ? sizeof(v4) : sizeof(v6)) == 0)
        return client_on(fd);
    close(fd);
    return NULL;
}

struct client *client_tcp(unsigned port)
{
    struct client *c = client_at("127.0.0.1", port);
    assert_non_null(c);
    return c;
}

struct client *client_unix(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    memcpy(sun.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
        return client_on(fd);
    close(fd);
    return NULL;
}

struct client *client_tls(SSL_CTX *ctx, unsigned port, const char *alpn)
{
    struct client *c = client_tcp(port);
    c->ssl = SSL_new(ctx);
    SSL_set_fd(c->ssl, c->fd);
    if (alpn != NULL)
        assert_int_equal(SSL_set_alpn_protos(c->ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn)), 0);
    if (SSL_connect(c->ssl) == 1)
        return c;
    client_free(c);
    return NULL;
}

void client_send(struct client *c, const char *bytes, size_t len)
{
    while (len != 0) {
        ssize_t n = c->ssl != NULL ? SSL_write(c->ssl, bytes, (int)len)
                                   : send(c->fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the server may close at any time; what it answered is read next */
        bytes += n;
        len -= (size_t)n;
    }
}

void client_puts(struct client *c, const char *text)
{
    client_send(c, text, strlen(text));
}

bool client_fill(struct client *c)
{
    size_t room = sizeof(c->in) - c->len;
    assert_true(room != 0);
    ssize_t n = c->ssl != NULL ? SSL_read(c->ssl, c->in + c->len, (int)room)
                               : recv(c->fd, c->in + c->len, room, 0);
    if (n < 0 && c->ssl == NULL)
        assert_true(errno != EAGAIN); /* SO_RCVTIMEO */
    c->len += n > 0 ? (size_t)n : 0;
    return n > 0;
}

static void consume(struct client *c, size_t n)
{
    c->len -= n;
    memmove(c->in, c->in + n, c->len);
}

bool client_reply(struct client *c, struct reply *r, bool to_head)
{
    char *end;
    memset(r, 0, sizeof(*r));
    while ((end = memmem(c->in, c->len, "\r\n\r\n", 4)) == NULL) {
        if (!client_fill(c))
            return false;
    }
    size_t head = (size_t)(end - c->in) + 4;
    assert_true(head < sizeof(r->head));
    memcpy(r->head, c->in, head);
    consume(c, head);
    assert_int_equal(sscanf(r->head, "HTTP/1.1 %d", &r->status), 1);
    const char *length = strstr(r->head, "Content-Length: ");
    size_t left = length != NULL && !to_head ? strtoul(length + strlen("Content-Length: "), NULL, 10) : 0;
    while (left != 0) {
        if (c->len == 0 && !client_fill(c))
            return false;
        size_t n = c->len < left ? c->len : left;
        size_t keep = sizeof(r->body) - 1 - r->body_len < n ? sizeof(r->body) - 1 - r->body_len : n;
        memcpy(r->body + r->body_len, c->in, keep);
        r->body_len += keep;
        consume(c, n);
        left -= n;
    }
    return true;
}

void client_expect(struct client *c, const char *request, int status, struct reply *r)
{
    struct reply own;
    r = r != NULL ? r : &own;
    client_puts(c, request);
    if (!client_reply(c, r, strncmp(request, "HEAD", 4) == 0))
        fail_msg("no reply to: %s", request);
    if (r->status != status)
        fail_msg("%d, not %d, to: %s\n%s%s", r->status, status, request, r->head, r->body);
}

bool client_closed(struct client *c)
{
    do {
        c->len = 0;
    } while (client_fill(c));
    return true;
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    SSL_free(c->ssl);
    close(c->fd);
    free(c);
}

bool nobody_listens(unsigned port)
{
    struct client *c = client_at("127.0.0.1", port);
    client_free(c);
    return c == NULL;
}

bool head_has(const struct reply *r, const char *line_start)
{
    size_t len = strlen(line_start);
    for (const char *p = r->head; (p = strstr(p, "\r\n")) != NULL;) {
        p += 2;
        if (strncasecmp(p, line_start, len) == 0)
            return true;
    }
    return false;
}

void expect_alive(const struct server *s)
{
    struct client *c = client_tcp(server_port(s));
    client_expect(c, "GET /created HTTP/1.1\r\nHost: h\r\n\r\n", 201, NULL);
    client_free(c);
}

/* ---- certificates ---- */

static char *pem_of(BIO *bio)
{
    char *bytes;
    long len = BIO_get_mem_data(bio, &bytes);
    char *text = base_zalloc((size_t)len + 1);
    memcpy(text, bytes, (size_t)len);
    BIO_free(bio);
    return text;
}

void cert_make(struct cert *c, const char *common_name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    BIO *chain_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(chain_bio, x);
    PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL);
    c->chain = pem_of(chain_bio);
    c->key = pem_of(key_bio);
    X509_free(x);
    EVP_PKEY_free(key);
}

void cert_free(struct cert *c)
{
    free(c->chain);
    free(c->key);
}

iov_t text_iov(const char *text)
{
    return iov_of(text);
}

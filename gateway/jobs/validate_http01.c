/* SPDX-License-Identifier: Apache-2.0 */
/* http-01 (RFC 8555 8.3, RFC 8738): fetches the key authorization from the identifier's web server. Names are
 * resolved by our own resolver, hop by hop, and each connection is pinned to one of the addresses found: IPv6
 * first, the next one only when a server gave no answer at all. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include "io/dns.h"
#include "jobs/validate.h"

#define REDIRECTS_MAX 10
#define BODY_MAX (64 * 1024)
#define ADDRESSES_MAX 4 /* per family: a name with a hundred addresses must not make us a scanner */
#define SHOWN 64        /* bytes of an answer in a detail */
#define URL_SHOWN 300

struct question {
    struct validation *v;
    struct dns_reply reply;
};

struct http01 {
    int64_t deadline_ms;
    unsigned redirects;
    struct fetch_url url; /* of this hop */
    struct question aaaa, a;
    unsigned unanswered;
    const char *addresses[2 * ADDRESSES_MAX];
    size_t n_addresses, next;
    const char *resolver; /* NULL: the host was numeric */
    struct sbuf failures; /* of this hop, one per address */
};

static void hop(struct validation *v);

static int64_t left_ms(const struct validation *v)
{
    const struct http01 *h = v->method_state;
    return h->deadline_ms - (int64_t)loop_now_ms(v->task.loop);
}

/* "http://a.example/x" or, later, "http://b.example/y (after 1 redirect)". */
static const char *where(struct validation *v)
{
    struct http01 *h = v->method_state;
    const char *url = iov_printable(&v->task.pool, h->url.text, URL_SHOWN).base;
    if (h->redirects == 0)
        return url;
    const char *plural = h->redirects == 1 ? "" : "s";
    return iov_printf(&v->task.pool, "%s (after %u redirect%s)", url, h->redirects, plural).base;
}

/* ---- decisions without I/O ---- */

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static iov_t without_trailing_space(iov_t s)
{
    while (s.len > 0 && strchr(" \t\r\n\v\f", s.base[s.len - 1]) != NULL && s.base[s.len - 1] != '\0')
        s.len--;
    return s;
}

static bool has_token_of(iov_t body, iov_t key_authorization)
{
    const char *dot = memchr(key_authorization.base, '.', key_authorization.len);
    size_t len = dot != NULL ? (size_t)(dot - key_authorization.base) + 1 : 0;
    return len > 0 && body.len > len && memcmp(body.base, key_authorization.base, len) == 0;
}

bool validate_http01_judge(pool_t *pool, iov_t key_authorization, int status, iov_t body, struct err *e)
{
    iov_t start = iov_printable(pool, body, SHOWN);
    const char *shown =
        body.len == 0 ? "an empty body" : iov_printf(pool, "a body that starts \"%s\"", start.base).base;
    if (status != 200)
        return err_set(e, ACME_INCORRECT_RESPONSE,
                       "status %d and %s; wanted are status 200 and the key authorization", status, shown);
    if (body.len >= BODY_MAX)
        return err_set(e, ACME_INCORRECT_RESPONSE,
                       "status 200 and %s, of %d bytes or more; wanted is the key authorization alone", shown,
                       BODY_MAX);
    iov_t text = without_trailing_space(body);
    if (iov_eq(text, key_authorization))
        return true;
    if (has_token_of(text, key_authorization))
        return err_set(e, ACME_INCORRECT_RESPONSE,
                       "status 200 and %s: the token is right, but what follows is not the "
                       "thumbprint of this account's key",
                       shown);
    return err_set(e, ACME_INCORRECT_RESPONSE,
                   "status 200 and %s; wanted is the key authorization, the token, a dot "
                   "and the thumbprint of this account's key",
                   shown);
}

bool validate_http01_redirect(pool_t *pool, const struct settings_validation *cfg, iov_t from, iov_t location,
                              struct fetch_url *out, struct err *e)
{
    const char *shown = iov_printable(pool, location, URL_SHOWN).base;
    struct err inner;
    if (!fetch_url_parse(pool, from, location, out, &inner))
        return err_set(e, ACME_INCORRECT_RESPONSE, "a redirect to \"%s\", which is not followed: %s", shown,
                       inner.detail);
    if (out->port == 80 || out->port == 443 || out->port == cfg->http_port || out->port == cfg->tls_port)
        return true;
    return err_set(e, ACME_INCORRECT_RESPONSE,
                   "a redirect to \"%s\", which is not followed: its port %u is none of 80, "
                   "443 and the configured validation ports",
                   shown, out->port);
}

/* ---- failures ---- */

static const char *resolved_by(struct validation *v)
{
    struct http01 *h = v->method_state;
    return h->resolver == NULL ? "" : iov_printf(&v->task.pool, ", resolver %s", h->resolver).base;
}

/* The server answered, and the answer is not good enough. */
static void refuse(struct validation *v, const struct fetch_reply *r, json_t *entry, const struct err *why)
{
    struct err e;
    err_set(&e, ACME_INCORRECT_RESPONSE, "http-01 for %s: %s answered (from %s port %u%s) %s",
            v->ident.value.base, where(v), r->peer.base != NULL ? r->peer.base : "?", r->peer_port,
            resolved_by(v), why->detail);
    validation_tried_put(entry, "error", iov_of(why->detail));
    validation_failed(v, &e);
}

static void out_of_time(struct validation *v)
{
    struct http01 *h = v->method_state;
    struct err e;
    v->transient = true;
    err_set(&e, ACME_CONNECTION,
            "http-01 for %s: %s: not finished within the %lld ms of validation.timeout%s%s",
            v->ident.value.base, where(v), (long long)v->settings->validation.timeout_ms,
            h->failures.text.len > 0 ? "; " : "", h->failures.text.len > 0 ? h->failures.text.base : "");
    validation_failed(v, &e);
}

static const char *reason(struct validation *v, const struct fetch_reply *r)
{
    if (r->result != FETCH_DENIED)
        return r->why;
    struct sbuf b;
    sbuf_init(&b, &v->task.pool);
    sbuf_printf(&b, "not connected to, because validation.deny has %s; ", r->denied_by);
    sbuf_puts(&b, "an operator who wants it lists the address or its network in validation.allow");
    return b.text.base;
}

static int code_of(const struct fetch_reply *r)
{
    if (r->result == FETCH_TLS)
        return ACME_TLS;
    return r->result == FETCH_PROTOCOL || r->result == FETCH_TOO_LARGE ? ACME_INCORRECT_RESPONSE
                                                                       : ACME_CONNECTION;
}

/* ---- 4: what came back ---- */

static void follow(struct validation *v, const struct fetch_reply *r, json_t *entry)
{
    struct http01 *h = v->method_state;
    struct err e;
    struct fetch_url to;
    validation_tried_put(entry, "location", r->location);
    if (h->redirects == REDIRECTS_MAX) {
        err_set(&e, ACME_INCORRECT_RESPONSE, "status %d, one redirect more than the %d that are followed",
                r->status, REDIRECTS_MAX);
        refuse(v, r, entry, &e);
        return;
    }
    const struct settings_validation *cfg = &v->settings->validation;
    if (!validate_http01_redirect(&v->task.pool, cfg, h->url.text, r->location, &to, &e)) {
        refuse(v, r, entry, &e);
        return;
    }
    h->redirects++;
    h->url = to;
    hop(v);
}

static void on_failed(struct validation *v, const struct fetch_reply *r, json_t *entry);

static void on_reply(struct task *t, void *arg, const struct fetch_reply *r)
{
    struct validation *v = arg;
    struct http01 *h = v->method_state;
    struct err e;
    json_t *entry = validation_tried(v, "url", iov_printable(&t->pool, h->url.text, URL_SHOWN));
    validation_tried_put(entry, "address", iov_of(h->addresses[h->next - 1]));
    json_object_set_new(entry, "port", json_integer(h->url.port));
    validation_tried_put(entry, "resolver", iov_of(h->resolver));
    if (r->status != 0)
        json_object_set_new(entry, "status", json_integer(r->status));
    if (r->result != FETCH_OK) {
        on_failed(v, r, entry);
        return;
    }
    if (is_redirect(r->status) && r->location.base != NULL) {
        follow(v, r, entry);
        return;
    }
    if (!validate_http01_judge(&t->pool, v->key_authorization, r->status, r->body, &e)) {
        refuse(v, r, entry, &e);
        return;
    }
    validation_ok(v);
}

/* ---- 3: one address after the other ---- */

static void try_next(struct validation *v)
{
    struct http01 *h = v->method_state;
    int64_t left = left_ms(v);
    if (left <= 0) {
        out_of_time(v);
        return;
    }
    /* A fair share, so that an address which swallows packets leaves time for the next. */
    int64_t share = left / (int64_t)(h->n_addresses - h->next) + 1;
    int64_t connect = v->settings->validation.connect_timeout_ms;
    struct fetch_request q = {
        .method = "GET",
        .url = h->url.text.base,
        .connect_to = h->addresses[h->next++],
        .deny = v->deny,
        .connect_timeout_ms = connect < share ? connect : share,
        .timeout_ms = share,
        .body_max = BODY_MAX,
        .keep_body_on_limit = true,
        .fresh = true,
    };
    fetch_run(&v->task, &q, on_reply, v);
}

static void on_failed(struct validation *v, const struct fetch_reply *r, json_t *entry)
{
    struct http01 *h = v->method_state;
    const char *why = reason(v, r);
    validation_tried_put(entry, "error", iov_of(why));
    if (r->result == FETCH_CONNECT || r->result == FETCH_TIMEOUT)
        v->transient = true;
    sbuf_printf(&h->failures, "%s%s port %u: %s", h->failures.text.len > 0 ? "; " : "",
                h->addresses[h->next - 1], h->url.port, why);
    if (h->next < h->n_addresses) {
        try_next(v);
        return;
    }
    struct err e;
    err_set(&e, code_of(r), "http-01 for %s: %s cannot be fetched%s: %s", v->ident.value.base, where(v),
            resolved_by(v), h->failures.text.base);
    validation_failed(v, &e);
}

/* ---- 2: addresses ---- */

static void add_address(struct http01 *h, pool_t *pool, int family, iov_t bytes)
{
    char text[INET6_ADDRSTRLEN];
    if (inet_ntop(family, bytes.base, text, sizeof(text)) != NULL)
        h->addresses[h->n_addresses++] = iov_dup(pool, iov_of(text)).base;
}

static void add_addresses(struct http01 *h, pool_t *pool, int family, const struct iovs *records)
{
    for (size_t i = 0; i < records->n && i < ADDRESSES_MAX; i++)
        add_address(h, pool, family, records->v[i]);
}

static bool worth_another_try(const struct dns_reply *r)
{
    return r->result == DNS_SERVFAIL || r->result == DNS_TIMEOUT;
}

static void no_address(struct validation *v)
{
    struct http01 *h = v->method_state;
    pool_t *pool = &v->task.pool;
    struct err e;
    const struct {
        const char *type;
        const struct dns_reply *r;
    } both[] = {{"AAAA", &h->aaaa.reply}, {"A", &h->a.reply}};
    for (size_t i = 0; i < COUNTOF(both); i++) {
        iov_t record = iov_printf(pool, "%s %s", h->url.host.base, both[i].type);
        json_t *entry = validation_tried(v, "record", record);
        validation_tried_put(entry, "resolver", iov_of(h->resolver));
        validation_tried_put(entry, "error", iov_of(both[i].r->why));
    }
    v->transient = worth_another_try(&h->aaaa.reply) || worth_another_try(&h->a.reply);
    err_set(&e, ACME_DNS, "http-01 for %s: no address for %s, needed for %s; AAAA: %s; A: %s",
            v->ident.value.base, h->url.host.base, where(v), h->aaaa.reply.why, h->a.reply.why);
    validation_failed(v, &e);
}

static void on_address(struct task *t, void *arg, const struct dns_reply *r)
{
    struct question *q = arg;
    struct validation *v = q->v;
    struct http01 *h = v->method_state;
    q->reply = *r;
    h->resolver = r->asked;
    if (--h->unanswered > 0)
        return;
    add_addresses(h, &t->pool, AF_INET6, &h->aaaa.reply.records);
    add_addresses(h, &t->pool, AF_INET, &h->a.reply.records);
    if (h->n_addresses > 0)
        try_next(v);
    else
        no_address(v);
}

static void hop(struct validation *v)
{
    struct http01 *h = v->method_state;
    pool_t *pool = &v->task.pool;
    h->n_addresses = h->next = 0;
    h->resolver = NULL;
    v->transient = false;
    sbuf_init(&h->failures, pool);
    if (h->url.address_len > 0) {
        add_address(h, pool, h->url.address_len == 4 ? AF_INET : AF_INET6,
                    (iov_t){(char *)h->url.address, h->url.address_len});
        try_next(v);
        return;
    }
    h->unanswered = 2;
    h->aaaa.v = h->a.v = v;
    dns_lookup_within(&v->task, h->url.host.base, DNS_AAAA, left_ms(v), on_address, &h->aaaa);
    dns_lookup_within(&v->task, h->url.host.base, DNS_A, left_ms(v), on_address, &h->a);
}

/* ---- 1: the first URL ---- */

void validate_http01_run(struct validation *v)
{
    pool_t *pool = &v->task.pool;
    struct http01 *h = POOL_NEW(pool, struct http01, 1);
    v->method_state = h;
    v->ident.value = iov_dup(pool, v->ident.value); /* NUL-terminated for the messages */
    h->deadline_ms = (int64_t)loop_now_ms(v->task.loop) + v->settings->validation.timeout_ms;
    struct sbuf url;
    sbuf_init(&url, pool);
    bool v6 = v->ident.type == IDENT_IP && memchr(v->ident.value.base, ':', v->ident.value.len) != NULL;
    sbuf_printf(&url, v6 ? "http://[%s]" : "http://%s", v->ident.value.base);
    if (v->settings->validation.http_port != 80)
        sbuf_printf(&url, ":%d", (int)v->settings->validation.http_port);
    sbuf_puts(&url, "/.well-known/acme-challenge/");
    sbuf_add(&url, v->token);
    struct err inner, e;
    if (fetch_url_parse(pool, IOV_NULL, url.text, &h->url, &inner)) {
        hop(v);
        return;
    }
    err_set(&e, ACME_CONNECTION, "http-01 for %s: no URL can be made of it: %s", v->ident.value.base,
            inner.detail);
    validation_failed(v, &e);
}

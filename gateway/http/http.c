/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the endpoint of a path, answers what has none, starts the gate for POSTs. */
#include "http/http.h"
#include <stdlib.h>
#include "http/call.h"
#include "http/plain.h"

#define ENDPOINT(name, pattern, methods, key, payload, fn) call_fn fn;
#include "http/endpoint.def"
#undef ENDPOINT
static const struct endpoint endpoints[] = {
#define ENDPOINT(name, pattern, methods, key, payload, fn) {name, pattern, methods, key, payload, fn},
#include "http/endpoint.def"
#undef ENDPOINT
};

struct http_env http_env;

void http_loop_start(struct loop *l)
{
    struct http_loop *h = base_zalloc(sizeof(*h));
    h->accounts = account_cache_new();
    loop_svc(l)->app = h;
}

void http_loop_stop(struct loop *l)
{
    struct http_loop *h = loop_svc(l)->app;
    account_cache_free(h->accounts);
    free(h);
    loop_svc(l)->app = NULL;
}

static unsigned method_of(iov_t m)
{
    return iov_is(m, "GET") ? METHOD_GET : iov_is(m, "HEAD") ? METHOD_HEAD : iov_is(m, "POST") ? METHOD_POST : 0;
}

/* Segment by segment; '*' takes one non-empty segment. */
static bool matches(const char *pattern, iov_t rest, iov_t param[2])
{
    size_t at = 0, n = 0;
    for (const char *p = pattern;; p++) {
        if (*p == '*') {
            size_t from = at;
            while (at < rest.len && rest.base[at] != '/')
                at++;
            if (at == from)
                return false;
            param[n++] = (iov_t){rest.base + from, at - from};
        } else if (*p == '\0') {
            return at == rest.len;
        } else if (at >= rest.len || rest.base[at++] != *p) {
            return false;
        }
    }
}

/* The public URL that the client used, when it is one of the configured; the first one otherwise. Host chooses among
 * them, it never makes one. A proxy that is trusted may choose by X-Forwarded-Host. */
static const char *public_url(const struct call *c)
{
    const struct conf_list *urls = &c->settings->public_url;
    iov_t host = c->req->authority;
    for (size_t i = 0; i < c->settings->trusted_proxies.n; i++) {
        struct ident peer = {IDENT_IP, c->peer};
        iov_t forwarded = serve_header_get(c->req, "x-forwarded-host");
        if (forwarded.base != NULL && ident_matches(&peer, c->settings->trusted_proxies.v[i]))
            host = forwarded;
    }
    for (size_t i = 0; i < urls->n; i++) {
        const char *authority = strstr(urls->v[i], "://") + 3;
        if (iov_ieq(host, iov_of(authority)))
            return urls->v[i];
    }
    return urls->v[0];
}

static void method_not_allowed(struct call *c, unsigned methods)
{
    struct sbuf allow;
    sbuf_init(&allow, &c->task.pool);
    sbuf_puts(&allow, methods & METHOD_GET ? "GET, HEAD" : "POST");
    call_header(c, "Allow", allow.text);
    call_refuse(c, ACME_METHOD_NOT_ALLOWED, "%s",
                methods & METHOD_POST ? "this resource is read and changed by POST only (POST-as-GET, RFC 8555 6.3)" : "");
}

static void route_acme(struct call *c)
{
    const size_t prefix = sizeof("/acme/") - 1;
    iov_t rest = {c->path.base + prefix, c->path.len - prefix};
    const char *slash = memchr(rest.base, '/', rest.len);
    iov_t name = {rest.base, slash != NULL ? (size_t)(slash - rest.base) : rest.len};
    c->directory = settings_directory(c->settings, name);
    if (c->directory == NULL || slash == NULL) {
        c->directory = NULL;
        call_refuse(c, ACME_NOT_FOUND, "there is no such directory here");
        return;
    }
    c->urls.base = iov_printf(&c->task.pool, "%s/acme/%s", public_url(c), c->directory->name);
    rest = (iov_t){(char *)slash + 1, rest.len - name.len - 1};
    for (size_t i = 0; i < COUNTOF(endpoints); i++) {
        if (!matches(endpoints[i].pattern, rest, c->param))
            continue;
        c->endpoint = &endpoints[i];
        if ((endpoints[i].methods & method_of(c->method)) == 0)
            method_not_allowed(c, endpoints[i].methods);
        else if (endpoints[i].key == KEY_NONE)
            endpoints[i].run(c);
        else
            gate_start(c);
        return;
    }
    call_refuse(c, ACME_NOT_FOUND, "there is nothing at this URL");
}

static struct call *begin(struct serve_req *r)
{
    struct call *c = base_zalloc(sizeof(*c));
    c->settings = settings_current();
    call_begin(c, r);
    call_loop(c)->requests++;
    return c;
}

void http_handle(struct serve_req *r)
{
    struct call *c = begin(r);
    task_ref(&c->task); /* an answer may end the request before we return */
    if (iov_starts(c->path, "/acme/"))
        route_acme(c);
    else if (!plain_route(c, PLAIN_PUBLIC))
        call_refuse(c, ACME_NOT_FOUND, "there is nothing at this URL; ACME begins at %s/acme/%s/directory",
                    c->settings->public_url.v[0], c->settings->directories[0].name);
    task_unref(&c->task);
}

void http_handle_admin(struct serve_req *r)
{
    struct call *c = begin(r);
    task_ref(&c->task);
    if (!plain_route(c, PLAIN_ADMIN))
        call_refuse(c, ACME_NOT_FOUND, "this listener serves /health/live, /health/ready and /metrics");
    task_unref(&c->task);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and replies: the view of h2o_req_t that handlers get, what is refused before they see it, and
 * problem documents in place of h2o's own errors. */
#include "io/serve_internal.h"

#include <assert.h>
#include <stdio.h>
#include "base/log.h"

#define HEADERS_MAX 100 /* what h2o allows in HTTP/1; in HTTP/2 it has no limit */
#define DROPS_MAX 100 /* HTTP/2 rapid reset (CVE-2023-44487): this many requests given up end a connection */

/* A request that a handler has; shared with the request's pool, gone with it. */
struct serve_held {
    struct serve_req pub;
    h2o_req_t *req;
    struct serve_conn *conn;
    h2o_linklist_t link;
    uint64_t answered_ms; /* 0: not yet */
    void (*gone)(void *arg);
    void *gone_arg;
};

static struct serve_loop *loop_of(const h2o_req_t *req)
{
    return CONTAINER_OF(req->conn->ctx, struct serve_loop, ctx);
}

static struct serve_conn *conn_of(const h2o_req_t *req)
{
    return req->conn->callbacks->get_socket(req->conn)->on_close.data;
}

static struct serve_held *held_of(const struct serve_req *r)
{
    return r->private_;
}

static void on_dispose(void *arg)
{
    struct serve_held *h = arg;
    struct serve_conn *c = h->conn;
    h2o_linklist_unlink(&h->link);
    c->active--;
    if (h->answered_ms == 0 && ++c->dropped == DROPS_MAX)
        serve_conn_cut(c);
    if (h->gone != NULL)
        h->gone(h->gone_arg);
}

/* ---- replies ---- */

static const struct {
    int status;
    const char *text;
} reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
};

static const char *reason_of(int status)
{
    for (size_t i = 0; i < COUNTOF(reasons); i++) {
        if (reasons[i].status == status)
            return reasons[i].text;
    }
    return status < 400 ? "OK" : "Error";
}

/* A value with a line end in it would be read as headers of its own making. */
static bool value_is_clean(iov_t v)
{
    for (size_t i = 0; i < v.len; i++) {
        if ((unsigned char)v.base[i] < ' ' && v.base[i] != '\t')
            return false;
    }
    return true;
}

static void add_headers(h2o_req_t *req, const struct serve_reply *reply)
{
    for (size_t i = 0; i < reply->n_headers; i++) {
        const struct serve_header *h = &reply->headers[i];
        if (!value_is_clean(h->value)) {
            log_error("serve.header", KV_STR("name", h->name), KV_IOV("value", h->value),
                      KV_STR("fix", "left out: it has control characters"));
            continue;
        }
        /* HTTP/2 sends the name in lower case, HTTP/1 as it is written. */
        iov_t name = iov_dup(&req->pool, iov_of(h->name)), value = iov_dup(&req->pool, h->value);
        h2o_strtolower(name.base, name.len);
        h2o_add_header_by_str(&req->pool, &req->res.headers, name.base, name.len, 1, h->name, value.base,
                              value.len);
    }
}

void serve_reply(struct serve_req *r, const struct serve_reply *reply)
{
    static h2o_generator_t generator; /* nothing to proceed with, nothing to stop */
    struct serve_held *h = held_of(r);
    h2o_req_t *req = h->req;
    struct serve_loop *sl = loop_of(req);
    if (h->answered_ms != 0) { /* by serve_req_give_up() */
        assert(sl->stopping);
        return;
    }
    h->answered_ms = loop_now_ms(sl->loop);
    req->res.status = reply->status;
    req->res.reason = reason_of(reply->status);
    add_headers(req, reply);
    bool bodyless = reply->head_only || reply->status == 204 || reply->status == 304;
    /* Without a length h2o closes the connection for any status but 200 (and 204, 304, HEAD). */
    req->res.content_length = bodyless ? SIZE_MAX : reply->body.len;
    if (sl->draining)
        req->http1_is_persistent = 0;
    iov_t body = IOV_NULL;
    if (!bodyless && !iov_is(req->input.method, "HEAD") && reply->body.len != 0)
        body = iov_dup(&req->pool, reply->body);
    sl->replying = true;
    h2o_start_response(req, &generator);
    sl->replying = false;
    h2o_send(req, &body, body.len != 0, H2O_SEND_STATE_FINAL); /* h may be gone after this */
}

/* RFC 9457; detail is one of our own texts, so nothing needs escaping. */
static iov_t problem(pool_t *pool, int status, const char *detail)
{
    return iov_printf(pool, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}",
                      reason_of(status), status, detail);
}

static void refuse(struct serve_held *h, int status, const char *detail)
{
    static const struct serve_header headers[] = {{"Content-Type", {H2O_STRLIT("application/problem+json")}},
                                                  {"Cache-Control", {H2O_STRLIT("no-store")}}};
    struct serve_reply reply = {.status = status,
                                .headers = headers,
                                .n_headers = COUNTOF(headers),
                                .body = problem(&h->req->pool, status, detail)};
    h->req->http1_is_persistent = 0; /* where this request ends may be a matter of opinion */
    serve_reply(&h->pub, &reply);
}

/* ---- h2o's own errors ---- */

struct restated {
    h2o_ostream_t super;
    iov_t body;
};

static void send_restated(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bufs, size_t n UNUSED,
                          h2o_send_state_t state)
{
    struct restated *r = (struct restated *)self;
    bool with_body = bufs != NULL && r->body.len != 0; /* none for HEAD */
    iov_t body = r->body;
    r->body.len = 0;
    h2o_ostream_send_next(self, req, &body, with_body, state);
}

static const char *detail_of(const h2o_req_t *req)
{
    switch (req->res.status) {
    case 413:
        return "the request body is larger than this server takes";
    case 417:
        return "the only expectation that is understood is 100-continue";
    default:
        return "the request is not HTTP as RFC 9112 describes it: its transfer encoding, its length or a "
               "header is malformed";
    }
}

static void on_setup_ostream(h2o_filter_t *self UNUSED, h2o_req_t *req, h2o_ostream_t **slot)
{
    if (!loop_of(req)->replying && req->res.status >= 400) {
        struct restated *r = (struct restated *)h2o_add_ostream(req, sizeof(*r), slot);
        r->super.do_send = send_restated;
        r->body = problem(&req->pool, req->res.status, detail_of(req));
        req->res.reason = reason_of(req->res.status);
        req->res.content_length = r->body.len;
        h2o_set_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE,
                       H2O_STRLIT("application/problem+json"), 1);
        slot = &r->super.next;
        if (req->res.status == 413)
            serve_linger_hold(conn_of(req));
    }
    h2o_setup_next_ostream(req, slot);
}

/* ---- requests ---- */

/* In HTTP/1 the head still lies at the front of the input buffer. */
static const char *head_fault(const h2o_req_t *req, const struct serve_conn *c)
{
    if (req->version >= 0x200)
        return NULL;
    return serve_head_fault((iov_t){c->sock->input->bytes, c->sock->input->size}, req->version < 0x101);
}

static bool path_is_clean(iov_t path)
{
    for (size_t i = 0; i < path.len; i++) {
        if ((unsigned char)path.base[i] < ' ' || path.base[i] == 0x7f)
            return false;
    }
    return true;
}

/* The authority of an absolute-form target replaces Host (RFC 9112 3.2.2). h2o does not split one. */
static bool read_target(struct serve_req *r, h2o_req_t *req)
{
    iov_t target = req->input.path, authority, raw;
    size_t query_at = req->query_at, *indexes;
    if (!serve_head_target(target, &authority, &raw))
        return false;
    r->path = req->path_normalized;
    r->authority = req->input.authority;
    if (r->authority.base ==
        req->hostconf->authority.hostport.base) /* h2o puts its own where there is none */
        r->authority = IOV_NULL;
    if (authority.base != NULL) {
        r->authority = authority;
        if (raw.len == 0 || raw.base[0] != '/')
            raw = iov_printf(&req->pool, "/%.*s", (int)raw.len, raw.base);
        r->path = h2o_url_normalize_path(&req->pool, raw.base, raw.len, &query_at, &indexes);
    }
    if (query_at != SIZE_MAX)
        r->query = (iov_t){raw.base + query_at + 1, raw.len - query_at - 1};
    return path_is_clean(r->path);
}

static void process(struct serve_held *h)
{
    h2o_req_t *req = h->req;
    struct serve_conn *c = h->conn;
    const char *fault = head_fault(req, c);
    if (c->owner->stopping)
        refuse(h, 503, "the server is stopping; send the request again");
    else if (fault != NULL)
        refuse(h, 400, fault);
    else if (req->headers.size > HEADERS_MAX)
        refuse(h, 431, "the request has more than 100 headers");
    else if (!read_target(&h->pub, req))
        refuse(h, 400, "the request target must be a path that begins with / or an http or https URL");
    else
        c->owner->serve->listeners[c->listener].handler(&h->pub);
}

static int on_req(h2o_handler_t *self UNUSED, h2o_req_t *req)
{
    struct serve_conn *c = conn_of(req);
    struct serve_held *h = h2o_mem_alloc_shared(&req->pool, sizeof(*h), on_dispose);
    memset(h, 0, sizeof(*h));
    h->req = req;
    h->conn = c;
    h->pub = (struct serve_req){
        .loop = c->owner->loop,
        .pool = &req->pool,
        .method = req->input.method,
        .body = req->entity.base != NULL ? req->entity : IOV(""),
        .peer = iov_of(c->peer),
        .peer_port = c->peer_port,
        .tls = c->tls != NULL,
        .listener = c->listener,
        .private_ = h,
    };
    h2o_linklist_insert(&c->owner->requests, &h->link);
    c->active++;
    c->total++;
    if (c->dropped < DROPS_MAX) /* what was read together with the last straw gets no handler; the cut ends it */
        process(h);
    return 0;
}

iov_t serve_header_get(const struct serve_req *r, const char *lower_name)
{
    const h2o_headers_t *headers = &held_of(r)->req->headers;
    iov_t name = iov_of(lower_name);
    ssize_t i = h2o_find_header_by_str(headers, name.base, name.len, -1);
    return i != -1 ? headers->entries[i].value : IOV_NULL;
}

void serve_on_gone(struct serve_req *r, void (*cb)(void *arg), void *arg)
{
    struct serve_held *h = held_of(r);
    assert(h->gone == NULL);
    h->gone = cb;
    h->gone_arg = arg;
}

void serve_req_install(h2o_globalconf_t *conf UNUSED, h2o_hostconf_t *host)
{
    h2o_pathconf_t *root = h2o_config_register_path(host, "/", 0);
    h2o_create_handler(root, sizeof(h2o_handler_t))->on_req = on_req;
    h2o_create_filter(root, sizeof(h2o_filter_t))->on_setup_ostream = on_setup_ostream;
    /* What h2o refuses before it knows the path. */
    h2o_create_filter(&host->fallback_path, sizeof(h2o_filter_t))->on_setup_ostream = on_setup_ostream;
}

/* ---- slow ones ---- */

struct slow {
    struct timeval now;
    int64_t limit_ms;
};

/* HTTP/2: h2o's own time-out begins anew with every frame. HTTP/1 has one that works. */
static int cut_slow_body(h2o_req_t *req, void *arg)
{
    const struct slow *s = arg;
    const struct timeval *t = &req->timestamps.request_begin_at;
    int64_t age_ms = (int64_t)(s->now.tv_sec - t->tv_sec) * 1000 + (s->now.tv_usec - t->tv_usec) / 1000;
    if (req->pathconf == NULL && t->tv_sec != 0 && age_ms > s->limit_ms)
        serve_conn_cut(conn_of(req));
    return 0;
}

void serve_req_cut_slow(struct serve_loop *sl)
{
    const struct serve *s = sl->serve;
    uint64_t now = loop_now_ms(sl->loop), limit = (uint64_t)s->limits.request_timeout_ms;
    for (h2o_linklist_t *n = sl->requests.next; n != &sl->requests; n = n->next) {
        const struct serve_held *h = CONTAINER_OF(n, struct serve_held, link);
        if (h->answered_ms != 0 && now - h->answered_ms > limit) /* does not read what it asked for */
            serve_conn_cut(h->conn);
    }
    struct slow slow = {*h2o_get_timestamp(&sl->ctx, NULL, NULL), (int64_t)limit};
    if (s->limits.http2)
        s->conf.http2.callbacks.foreach_request(&sl->ctx, cut_slow_body, &slow);
}

void serve_req_give_up(struct serve_loop *sl)
{
    h2o_linklist_t *next;
    for (h2o_linklist_t *n = sl->requests.next; n != &sl->requests; n = next) {
        struct serve_held *h = CONTAINER_OF(n, struct serve_held, link);
        next = n->next;
        if (h->answered_ms == 0)
            refuse(h, 503, "the server is stopping; send the request again");
    }
}

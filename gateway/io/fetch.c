/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl's multi_socket interface on a loop's watches and timers. libcurl asks for both through callbacks in
 * which it must not be called again, so finished transfers are collected only after it has returned to us. */
#include "io/fetch.h"
#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#define KEPT_CONNECTIONS 64L
#define KEPT_IDLE_S 60L         /* CAs and proxies commonly close idle connections after a minute or more */
#define HEADERS_MAX (64 * 1024) /* of one transfer, interim answers included */

struct fetch {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer;
    struct transfer *transfers;
    struct sock *socks;
};

/* A descriptor of libcurl's that it wants watched. */
struct sock {
    struct fetch *f;
    curl_socket_t fd;
    struct loop_watch *watch;
    struct sock *next, **prev;
};

struct transfer {
    struct fetch *f;
    struct task *task;
    fetch_cb *cb;
    void *arg;
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    struct transfer *next, **prev;
    const struct netset *deny;
    const char *denied_by;
    bool once;           /* must not be sent a second time */
    bool sent, answered; /* a request went out; bytes of an answer to the latest one came */
    bool repeat_stopped, headers_full, body_full, keep_body;
    size_t body_max, header_bytes;
    int64_t timeout_ms, connect_timeout_ms;
    struct sbuf body;
    char error[CURL_ERROR_SIZE];
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_init(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
}

/* ---- what libcurl tells about a transfer ---- */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *x = arg;
    size_t len = size * n, room = x->body_max - x->body.text.len;
    x->answered = true;
    sbuf_add(&x->body, (iov_t){data, len < room ? len : room});
    if (len <= room && !(x->keep_body && len == room))
        return len;
    x->body_full = true;
    return 0; /* ends the transfer */
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *x = arg;
    (void)data;
    x->answered = true;
    x->header_bytes += size * n;
    x->headers_full = x->header_bytes > HEADERS_MAX;
    return x->headers_full ? 0 : size * n;
}

static bool allowed(struct transfer *x, const uint8_t *address, size_t len)
{
    const char *rule = netset_rule(x->deny, address, len);
    if (rule == NULL)
        return true;
    x->denied_by = iov_dup(&x->task->pool, iov_of(rule)).base;
    return false;
}

/* The last look before a packet leaves: whatever was resolved, by whom ever, this is where it goes. */
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct transfer *x = arg;
    bool ok = purpose == CURLSOCKTYPE_IPCXN;
    const void *address = &a->addr;
    const struct sockaddr_in *v4 = address;
    const struct sockaddr_in6 *v6 = address;
    if (ok && a->family == AF_INET)
        ok = allowed(x, (const uint8_t *)&v4->sin_addr, 4);
    else if (ok && a->family == AF_INET6)
        ok = allowed(x, (const uint8_t *)&v6->sin6_addr, 16);
    else
        ok = false;
    return ok ? socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol) : CURL_SOCKET_BAD;
}

/* Before each request on a connection. A second one without an answer to the first is libcurl's silent
 * repeat after a kept connection broke: the peer may have acted on the first. (After a 401 the second one
 * is meant.) */
static int on_request(void *arg, char *peer, char *local, int peer_port, int local_port)
{
    struct transfer *x = arg;
    (void)peer, (void)local, (void)peer_port, (void)local_port;
    if (x->once && x->sent && !x->answered) {
        x->repeat_stopped = true;
        return CURL_PREREQFUNC_ABORT;
    }
    x->sent = true;
    x->answered = false;
    return CURL_PREREQFUNC_OK;
}

/* ---- setting up ---- */

static void set_blob(CURL *c, CURLoption option, iov_t bytes)
{
    struct curl_blob blob = {.data = bytes.base, .len = bytes.len, .flags = CURL_BLOB_COPY};
    curl_easy_setopt(c, option, &blob);
}

static void setup_tls(CURL *c, const struct fetch_request *q, bool fresh)
{
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, q->tls_verify ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, q->tls_verify ? 2L : 0L);
    curl_easy_setopt(c, CURLOPT_SSL_SESSIONID_CACHE, fresh ? 0L : 1L);
    if (q->tls_verify)
        curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    else /* whoever does not look at the certificate need not mind an old key either */
        curl_easy_setopt(c, CURLOPT_SSL_CIPHER_LIST, "DEFAULT@SECLEVEL=0");
    if (q->tls_ca_pem.base != NULL) {
        set_blob(c, CURLOPT_CAINFO_BLOB, q->tls_ca_pem);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL); /* Debian's default directory would be trusted besides */
    }
    if (q->tls_cert_pem.base != NULL) {
        curl_easy_setopt(c, CURLOPT_SSLCERTTYPE, "PEM");
        set_blob(c, CURLOPT_SSLCERT_BLOB, q->tls_cert_pem);
    }
    if (q->tls_key_pem.base != NULL) {
        curl_easy_setopt(c, CURLOPT_SSLKEYTYPE, "PEM");
        set_blob(c, CURLOPT_SSLKEY_BLOB, q->tls_key_pem);
    }
}

static void setup_connection(struct transfer *x, const struct fetch_request *q)
{
    CURL *c = x->easy;
    bool fresh = q->fresh || q->deny != NULL; /* a kept connection was opened under another request's rules */
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, x);
    curl_easy_setopt(c, CURLOPT_PROXY, q->proxy != NULL ? q->proxy : "");
    curl_easy_setopt(c, CURLOPT_NOPROXY, "");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)q->connect_timeout_ms);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)q->timeout_ms);
    curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_FORBID_REUSE, fresh ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, KEPT_IDLE_S);
    if (q->connect_to != NULL) {
        /* Not CURLOPT_RESOLVE: its entries stay in the DNS cache that all transfers share. */
        const char *form = strchr(q->connect_to, ':') != NULL ? "::[%s]:" : "::%s:";
        char line[INET6_ADDRSTRLEN + 8];
        snprintf(line, sizeof(line), form, q->connect_to);
        x->connect_to = curl_slist_append(NULL, line);
        curl_easy_setopt(c, CURLOPT_CONNECT_TO, x->connect_to);
    }
    setup_tls(c, q, fresh);
}

static void setup_request(struct transfer *x, const struct fetch_request *q)
{
    CURL *c = x->easy;
    x->once = strcmp(q->method, "GET") != 0;
    if (strcmp(q->method, "POST") == 0)
        curl_easy_setopt(c, CURLOPT_POST, 1L);
    else if (x->once)
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
    if (q->body.base != NULL || strcmp(q->method, "POST") == 0) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.len);
        curl_easy_setopt(c, CURLOPT_COPYPOSTFIELDS, q->body.base != NULL ? q->body.base : "");
    }
    for (size_t i = 0; i < q->n_headers; i++)
        x->headers = curl_slist_append(x->headers, q->headers[i]);
    /* No 100-continue: libcurl would wait a second for the interim answer. */
    x->headers = curl_slist_append(x->headers, "Expect:");
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, x->headers);
    if (q->userpwd != NULL) {
        curl_easy_setopt(c, CURLOPT_USERPWD, q->userpwd);
        curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)(CURLAUTH_BASIC | CURLAUTH_DIGEST));
    }
}

static void setup(struct transfer *x, const struct fetch_request *q)
{
    CURL *c = x->easy;
    curl_easy_setopt(c, CURLOPT_PRIVATE, x);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, x->error);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "portico");
    curl_easy_setopt(c, CURLOPT_URL, q->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, on_request);
    curl_easy_setopt(c, CURLOPT_PREREQDATA, x);
    setup_connection(x, q);
    setup_request(x, q);
}

void fetch_run(struct task *t, const struct fetch_request *q, fetch_cb *cb, void *arg)
{
    struct fetch *f = loop_svc(t->loop)->fetch;
    struct transfer *x = base_zalloc(sizeof(*x));
    x->f = f;
    x->task = t;
    x->cb = cb;
    x->arg = arg;
    x->deny = q->deny;
    x->body_max = q->body_max;
    x->keep_body = q->keep_body_on_limit;
    x->timeout_ms = q->timeout_ms;
    x->connect_timeout_ms = q->connect_timeout_ms;
    sbuf_init(&x->body, &t->pool);
    x->easy = curl_easy_init();
    if (x->easy == NULL)
        abort();
    setup(x, q);
    task_ref(t);
    x->next = f->transfers;
    x->prev = &f->transfers;
    if (x->next != NULL)
        x->next->prev = &x->next;
    f->transfers = x;
    /* Starts a timer of 0 ms: nothing happens before the next turn, a malformed URL included. */
    if (curl_multi_add_handle(f->multi, x->easy) != CURLM_OK)
        abort();
}

/* ---- results ---- */

static void transfer_free(struct transfer *x)
{
    *x->prev = x->next;
    if (x->next != NULL)
        x->next->prev = x->prev;
    curl_multi_remove_handle(x->f->multi, x->easy);
    curl_easy_cleanup(x->easy);
    curl_slist_free_all(x->headers);
    curl_slist_free_all(x->connect_to);
    task_unref(x->task);
    free(x);
}

static int result_of(const struct transfer *x, CURLcode rc)
{
    if (x->denied_by != NULL && rc != CURLE_OK)
        return FETCH_DENIED;
    if (x->headers_full)
        return FETCH_TOO_LARGE;
    if (x->body_full)
        return x->keep_body ? FETCH_OK : FETCH_TOO_LARGE;
    switch (rc) {
    case CURLE_OK:
        return FETCH_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return FETCH_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
        return FETCH_TLS;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_ABORTED_BY_CALLBACK: /* a repeat that was stopped */
        return FETCH_CONNECT;
    default:
        return FETCH_PROTOCOL;
    }
}

/* errno of the failed connect() as text; libcurl 7.88 leaves it out of its own message. */
static const char *os_reason(const struct transfer *x)
{
    long code = 0;
    curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &code);
    return code != 0 ? strerrordesc_np((int)code) : NULL;
}

static const char *why_of(const struct transfer *x, CURLcode rc, int result, bool connected)
{
    pool_t *pool = &x->task->pool;
    const char *os = os_reason(x);
    if (result == FETCH_OK)
        return "";
    if (result == FETCH_DENIED)
        return iov_printf(pool, "connections to %s are denied", x->denied_by).base;
    if (x->headers_full)
        return iov_printf(pool, "the answer has more than %d bytes of headers", HEADERS_MAX).base;
    if (x->body_full)
        return iov_printf(pool, "the answer is larger than %zu bytes", x->body_max).base;
    if (x->repeat_stopped)
        return "the connection closed after the request was sent and before any answer";
    int64_t connect_ms = x->connect_timeout_ms < x->timeout_ms ? x->connect_timeout_ms : x->timeout_ms;
    if (result == FETCH_TIMEOUT && !connected)
        return iov_printf(pool, "no connection within %lld ms", (long long)connect_ms).base;
    if (result == FETCH_TIMEOUT && !x->sent)
        return iov_printf(pool, "connected, but no TLS handshake within %lld ms", (long long)connect_ms).base;
    if (result == FETCH_TIMEOUT)
        return iov_printf(pool, "connected, but no whole answer in %lld ms", (long long)x->timeout_ms).base;
    if (rc == CURLE_COULDNT_CONNECT && os != NULL)
        return os;
    const char *text = x->error[0] != '\0' ? x->error : curl_easy_strerror(rc);
    return iov_printable(pool, iov_of(text), 300).base;
}

static iov_t header(const struct transfer *x, const char *name)
{
    struct curl_header *h;
    if (curl_easy_header(x->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return IOV_NULL;
    return iov_dup(&x->task->pool, iov_of(h->value));
}

static void reply_fill(const struct transfer *x, CURLcode rc, struct fetch_reply *r)
{
    long status = 0, port = 0;
    char *peer = NULL;
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(x->easy, CURLINFO_PRIMARY_IP, &peer);
    curl_easy_getinfo(x->easy, CURLINFO_PRIMARY_PORT, &port);
    bool connected = peer != NULL && peer[0] != '\0'; /* libcurl knows the peer once TCP stands */
    *r = (struct fetch_reply){.status = (int)status, .body = x->body.text, .sent = x->sent};
    r->content_type = header(x, "Content-Type");
    r->location = header(x, "Location");
    r->retry_after = header(x, "Retry-After");
    if (connected) {
        r->peer = iov_dup(&x->task->pool, iov_of(peer));
        r->peer_port = (unsigned)port;
    }
    r->result = result_of(x, rc);
    r->why = why_of(x, rc, r->result, connected);
    r->denied_by = r->result == FETCH_DENIED ? x->denied_by : NULL;
}

/* Only called when libcurl is not on the stack: a callback may start the next transfer. */
static void collect(struct fetch *f)
{
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(f->multi, &left)) != NULL) {
        struct transfer *x = NULL;
        struct fetch_reply r;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &x);
        reply_fill(x, msg->data.result, &r);
        if (!x->task->over)
            x->cb(x->task, x->arg, &r);
        transfer_free(x);
    }
}

/* ---- libcurl on the loop ---- */

static void on_timer(struct loop_timer *t)
{
    struct fetch *f = CONTAINER_OF(t, struct fetch, timer);
    int running;
    curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(f);
}

static int on_timer_wanted(CURLM *multi, long in_ms, void *arg)
{
    struct fetch *f = arg;
    (void)multi;
    if (in_ms < 0)
        loop_timer_stop(&f->timer);
    else
        loop_timer_start(f->loop, &f->timer, (uint64_t)in_ms, on_timer);
    return 0;
}

static void on_ready(void *arg, int revents)
{
    struct sock *s = arg;
    struct fetch *f = s->f; /* s may be freed by libcurl's next word */
    int running, mask = 0;
    if (revents & LOOP_READ)
        mask |= CURL_CSELECT_IN;
    if (revents & LOOP_WRITE)
        mask |= CURL_CSELECT_OUT;
    curl_multi_socket_action(f->multi, s->fd, mask, &running);
    collect(f);
}

static void sock_free(struct sock *s)
{
    *s->prev = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    loop_watch_free(s->watch);
    free(s);
}

static int on_watch_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
    struct fetch *f = arg;
    struct sock *s = assigned;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL)
            sock_free(s);
        return 0;
    }
    int events = (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);
    if (s != NULL) {
        loop_watch_set(s->watch, events);
        return 0;
    }
    s = base_zalloc(sizeof(*s));
    s->f = f;
    s->fd = fd;
    s->watch = loop_watch_new(f->loop, fd, events, on_ready, s);
    s->next = f->socks;
    s->prev = &f->socks;
    if (s->next != NULL)
        s->next->prev = &s->next;
    f->socks = s;
    curl_multi_assign(f->multi, fd, s);
    return 0;
}

void fetch_start(struct loop *l)
{
    pthread_once(&curl_once, curl_init);
    struct fetch *f = base_zalloc(sizeof(*f));
    f->loop = l;
    f->multi = curl_multi_init();
    if (f->multi == NULL)
        abort();
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_watch_wanted);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS);
    loop_svc(l)->fetch = f;
}

void fetch_stop(struct loop *l)
{
    struct fetch *f = loop_svc(l)->fetch;
    if (f == NULL)
        return;
    struct err e;
    err_internal(&e, "the loop ends with an outgoing request under way");
    while (f->transfers != NULL) {
        struct transfer *x = f->transfers;
        task_ref(x->task);
        struct task *t = x->task;
        transfer_free(x);
        task_fail(t, &e);
        task_unref(t);
    }
    loop_svc(l)->fetch = NULL;
    curl_multi_cleanup(f->multi);
    while (f->socks != NULL)
        sock_free(f->socks);
    loop_timer_stop(&f->timer);
    free(f);
}

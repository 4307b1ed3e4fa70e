/* SPDX-License-Identifier: Apache-2.0 */
/* libunbound with one helper thread per context; its descriptor is watched by the loop. Answers are copied in
 * its callback and delivered after ub_process() has returned, so a continuation may look up the next name. */
#include "io/dns.h"
#include <stdlib.h>
#include <strings.h>
#include <unbound.h>
#include "io/dns_setup.h"

#define CLASS_IN 1

struct lookup {
    struct dns *dns;
    struct task *task;
    dns_cb *cb;
    void *arg;
    char *name;
    enum dns_type type;
    int64_t timeout_ms;
    int id; /* libunbound's, while it works */
    struct dns_reply reply;
    struct loop_timer timer;
    struct loop_msg msg;         /* answers that need no query */
    struct lookup *next, **prev; /* under way, or done and waiting for delivery */
};

struct dns {
    struct loop *loop;
    struct ub_ctx *ctx;
    struct loop_watch *watch;
    char *resolvers; /* readable */
    enum dnssec_mode dnssec;
    int64_t timeout_ms;
    struct lookup *pending, *done;
    struct dns *older; /* replaced by a reload, still waiting for answers */
    bool delivering;
};

static void link_to(struct lookup **head, struct lookup *q)
{
    q->next = *head;
    q->prev = head;
    if (q->next != NULL)
        q->next->prev = &q->next;
    *head = q;
}

static void unlink_from(struct lookup *q)
{
    *q->prev = q->next;
    if (q->next != NULL)
        q->next->prev = q->prev;
}

static void lookup_free(struct lookup *q)
{
    loop_timer_stop(&q->timer);
    task_unref(q->task);
    free(q->name);
    free(q);
}

/* ---- a context's end ---- */

static void dns_free(struct dns *d)
{
    loop_watch_free(d->watch);
    ub_ctx_delete(d->ctx);
    free(d->resolvers);
    free(d);
}

static bool idle(const struct dns *d)
{
    return d->pending == NULL && d->done == NULL && !d->delivering;
}

/* Frees replaced contexts that have given their last answer. */
static void reap(struct loop *l)
{
    struct dns *d = loop_svc(l)->dns;
    struct dns **at = d != NULL ? &d->older : NULL;
    while (at != NULL && *at != NULL) {
        struct dns *old = *at;
        if (!idle(old)) {
            at = &old->older;
            continue;
        }
        *at = old->older;
        dns_free(old);
    }
}

/* ---- answers ---- */

static const char *rcode_name(int rcode)
{
    static const char *const names[] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
    return rcode >= 0 && (size_t)rcode < COUNTOF(names) ? names[rcode] : "an unknown rcode";
}

static void answer_set(struct lookup *q, int result, const char *what)
{
    q->reply.result = result;
    q->reply.asked = iov_dup(&q->task->pool, iov_of(q->dns->resolvers)).base;
    q->reply.why = iov_printf(&q->task->pool, "%s (asked %s)", what, q->reply.asked).base;
}

bool dns_txt_join(pool_t *pool, iov_t rdata, iov_t *out)
{
    struct sbuf b;
    sbuf_init(&b, pool);
    size_t at = 0;
    while (at < rdata.len) {
        size_t len = (uint8_t)rdata.base[at++];
        if (len > rdata.len - at)
            return false;
        sbuf_add(&b, (iov_t){rdata.base + at, len});
        at += len;
    }
    *out = b.text.base != NULL ? b.text : IOV("");
    return rdata.len > 0;
}

static void record_add(struct lookup *q, iov_t rdata)
{
    pool_t *pool = &q->task->pool;
    iov_t record;
    if (q->type == DNS_TXT ? !dns_txt_join(pool, rdata, &record)
                           : (q->type == DNS_A && rdata.len != 4) || (q->type == DNS_AAAA && rdata.len != 16))
        return; /* not what the type promises: as good as absent */
    iovs_add(pool, &q->reply.records, q->type == DNS_TXT ? record : iov_dup(pool, rdata));
}

static void answer_read(struct lookup *q, const struct ub_result *r)
{
    pool_t *pool = &q->task->pool;
    if (r->bogus) {
        const char *why = r->why_bogus != NULL ? r->why_bogus : "no reason given";
        why = iov_printable(pool, iov_of(why), 300).base;
        answer_set(q, DNS_BOGUS, iov_printf(pool, "DNSSEC validation failed: %s", why).base);
        return;
    }
    q->reply.secure = r->secure;
    if (r->canonname != NULL && strcasecmp(r->canonname, q->name) != 0)
        q->reply.canonical = iov_printable(pool, iov_of(r->canonname), 255);
    if (r->rcode != 0 && !r->nxdomain) {
        answer_set(q, DNS_SERVFAIL, rcode_name(r->rcode));
        return;
    }
    if (q->dns->dnssec == DNSSEC_REQUIRE && !r->secure) {
        answer_set(q, DNS_BOGUS, "the answer is not signed, and validation.dnssec is \"require\"");
        return;
    }
    for (size_t i = 0; r->havedata && r->data[i] != NULL; i++)
        record_add(q, (iov_t){r->data[i], (size_t)r->len[i]});
    if (q->reply.records.n > 0)
        answer_set(q, DNS_OK, "NOERROR");
    else if (r->nxdomain)
        answer_set(q, DNS_NXDOMAIN, "NXDOMAIN");
    else
        answer_set(q, DNS_NODATA, "no such record");
}

static void on_answer(void *arg, int rc, struct ub_result *r)
{
    struct lookup *q = arg;
    loop_timer_stop(&q->timer);
    unlink_from(q);
    link_to(&q->dns->done, q);
    if (rc != 0 || r == NULL)
        answer_set(q, DNS_SERVFAIL, ub_strerror(rc));
    else
        answer_read(q, r);
    ub_resolve_free(r);
}

static void deliver(struct lookup *q)
{
    if (!q->task->over)
        q->cb(q->task, q->arg, &q->reply);
    lookup_free(q);
}

static void deliver_all(struct dns *d)
{
    struct loop *l = d->loop;
    d->delivering = true;
    while (d->done != NULL) {
        struct lookup *q = d->done;
        unlink_from(q);
        deliver(q);
    }
    d->delivering = false;
    reap(l);
}

static void on_ready(void *arg, int revents)
{
    struct dns *d = arg;
    (void)revents;
    ub_process(d->ctx);
    deliver_all(d);
}

static void on_timeout(struct loop_timer *t)
{
    struct lookup *q = CONTAINER_OF(t, struct lookup, timer);
    struct dns *d = q->dns;
    ub_cancel(d->ctx, q->id);
    unlink_from(q);
    link_to(&d->done, q);
    answer_set(q, DNS_TIMEOUT,
               iov_printf(&q->task->pool, "no answer within %lld ms", (long long)q->timeout_ms).base);
    deliver_all(d);
}

/* ---- asking ---- */

static bool is_localhost(const char *name)
{
    size_t len = strlen(name), suffix = sizeof("localhost") - 1;
    if (len > 0 && name[len - 1] == '.')
        len--;
    return len >= suffix && strncasecmp(name + len - suffix, "localhost", suffix) == 0 &&
           (len == suffix || name[len - suffix - 1] == '.');
}

static bool can_exist(const char *name)
{
    size_t label = 0, i;
    for (i = 0; name[i] != '\0' && i < 255; i++) {
        if (name[i] == '\\' || (name[i] == '.' && label == 0)) /* libunbound would read an escape */
            return false;
        label = name[i] == '.' ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    return name[i] == '\0' && (i < 254 || (i == 254 && label == 0)) && i > 0;
}

static void on_local(struct loop_msg *m)
{
    deliver(CONTAINER_OF(m, struct lookup, msg));
}

static void answer_here(struct lookup *q, int result, const char *why)
{
    q->reply.result = result;
    q->reply.why = why;
    q->reply.asked = "none (.localhost is loopback)";
    q->msg.run = on_local;
    loop_post(q->task->loop, &q->msg);
}

static bool answered_here(struct lookup *q)
{
    static const uint8_t v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
    pool_t *pool = &q->task->pool;
    if (q->dns == NULL) {
        answer_here(q, DNS_SERVFAIL, "no resolver is running");
        return true;
    }
    if (!can_exist(q->name)) {
        answer_here(q, DNS_NXDOMAIN, "no such name can exist: labels have 1 to 63 bytes, a name at most 253");
        return true;
    }
    if (!is_localhost(q->name) || (q->type != DNS_A && q->type != DNS_AAAA && q->type != DNS_CAA))
        return false;
    if (q->type == DNS_A)
        iovs_add(pool, &q->reply.records, iov_dup(pool, (iov_t){(char *)v4, sizeof(v4)}));
    if (q->type == DNS_AAAA)
        iovs_add(pool, &q->reply.records, iov_dup(pool, (iov_t){(char *)v6, sizeof(v6)}));
    answer_here(q, q->type == DNS_CAA ? DNS_NODATA : DNS_OK, ".localhost is loopback (RFC 6761)");
    return true;
}

void dns_lookup_within(struct task *t, const char *name, enum dns_type type, int64_t timeout_ms, dns_cb *cb,
                       void *arg)
{
    struct dns *d = loop_svc(t->loop)->dns;
    struct lookup *q = base_zalloc(sizeof(*q));
    q->dns = d;
    q->task = t;
    q->cb = cb;
    q->arg = arg;
    q->type = type;
    q->name = strdup(name);
    if (q->name == NULL)
        abort();
    task_ref(t);
    if (answered_here(q))
        return;
    int rc = ub_resolve_async(d->ctx, q->name, (int)type, CLASS_IN, q, on_answer, &q->id);
    if (rc != 0) {
        answer_here(q, DNS_SERVFAIL, iov_printf(&t->pool, "libunbound: %s", ub_strerror(rc)).base);
        return;
    }
    link_to(&d->pending, q);
    q->timeout_ms = timeout_ms < d->timeout_ms ? timeout_ms : d->timeout_ms;
    if (q->timeout_ms < 1)
        q->timeout_ms = 1;
    loop_timer_start(d->loop, &q->timer, (uint64_t)q->timeout_ms, on_timeout);
}

void dns_lookup(struct task *t, const char *name, enum dns_type type, dns_cb *cb, void *arg)
{
    dns_lookup_within(t, name, type, INT64_MAX, cb, arg);
}

/* ---- start and stop ---- */

const char *dns_resolvers(const struct loop *l)
{
    const struct dns *d = loop_svc((struct loop *)l)->dns;
    return d != NULL ? d->resolvers : "no resolver";
}

bool dns_start(struct loop *l, const struct dns_config *cfg, struct err *e)
{
    char *resolvers = NULL;
    struct ub_ctx *ctx = dns_setup(cfg, &resolvers, e);
    if (ctx == NULL)
        return false;
    struct dns *d = base_zalloc(sizeof(*d));
    d->loop = l;
    d->ctx = ctx;
    d->resolvers = resolvers;
    d->dnssec = cfg->dnssec;
    d->timeout_ms = cfg->timeout_ms;
    d->watch = loop_watch_new(l, ub_fd(ctx), LOOP_READ, on_ready, d);
    d->older = loop_svc(l)->dns;
    loop_svc(l)->dns = d;
    reap(l);
    return true;
}

static void fail_all(struct dns *d, struct lookup **head, const struct err *e)
{
    while (*head != NULL) {
        struct lookup *q = *head;
        struct task *t = q->task;
        if (head == &d->pending)
            ub_cancel(d->ctx, q->id);
        unlink_from(q);
        task_ref(t);
        lookup_free(q);
        task_fail(t, e);
        task_unref(t);
    }
}

void dns_stop(struct loop *l)
{
    struct err e;
    err_internal(&e, "the loop ends with a DNS look-up under way");
    struct dns *d = loop_svc(l)->dns;
    for (struct dns *i = d; i != NULL; i = i->older) {
        fail_all(i, &i->pending, &e);
        fail_all(i, &i->done, &e);
    }
    loop_svc(l)->dns = NULL;
    while (d != NULL) {
        struct dns *older = d->older;
        dns_free(d);
        d = older;
    }
}

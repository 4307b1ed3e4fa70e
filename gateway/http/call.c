/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a call: begun by http.c, passed by gate.c, run by an endpoint, ended by exactly one answer here. */
#include "http/call.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "http/nonce.h"
#include "schema/statements.h"

struct http_loop *call_loop(const struct call *c)
{
    return loop_svc(c->task.loop)->app;
}

static void call_free(struct task *t)
{
    struct call *c = CALL_OF(t);
    store_wait_stop(&c->wait);
    if (c->has_jws)
        jws_dispose(&c->jws);
    json_decref(c->payload);
    pki_key_unref(c->key);
    settings_unref(c->settings);
    task_dispose(t);
    free(c);
}

static void on_gone(void *arg)
{
    struct call *c = arg;
    c->req = NULL;
    task_unref(&c->task); /* the request's reference */
}

/* The database failed, or a queue is full: nobody else answers. */
static void on_failed(struct task *t, const struct err *e)
{
    struct call *c = CALL_OF(t);
    struct problem_doc doc = {.err = *e};
    c->verified = false; /* no second try at the database for the nonce */
    call_problem(c, &doc);
}

void call_begin(struct call *c, struct serve_req *r)
{
    iov_t id;
    task_init(&c->task, r->loop, "", on_failed, call_free);
    id = pki_random_id(&c->task.pool);
    memcpy(c->task.id, id.base, id.len < sizeof(c->task.id) ? id.len : sizeof(c->task.id) - 1);
    c->req = r;
    c->method = iov_dup(&c->task.pool, r->method);
    c->path = iov_dup(&c->task.pool, r->path);
    c->body = r->body;
    c->peer = iov_dup(&c->task.pool, r->peer);
    c->began_ms = clock_mono_ms();
    serve_on_gone(r, on_gone, c);
}

struct store_actor call_actor(const struct call *c)
{
    return (struct store_actor){store_gateway(), iov_of(c->task.id), c->account.id};
}

/* ---- answers ---- */

void call_header(struct call *c, const char *name, iov_t value)
{
    assert(c->n_headers < COUNTOF(c->header));
    c->header[c->n_headers].name = name;
    c->header[c->n_headers++].value = iov_dup(&c->task.pool, value);
}

void call_location(struct call *c, iov_t url)
{
    call_header(c, "Location", url);
}

void call_link_index(struct call *c)
{
    if (c->directory != NULL)
        call_header(c, "Link", iov_printf(&c->task.pool, "<%.*s/directory>;rel=\"index\"", (int)c->urls.base.len,
                                          c->urls.base.base));
}

void call_retry_after(struct call *c, unsigned seconds)
{
    call_header(c, "Retry-After", iov_printf(&c->task.pool, "%u", seconds));
}

static void log_call(const struct call *c, int status)
{
    log_info("request", KV_STR("id", c->task.id), KV_IOV("peer", c->peer), KV_IOV("method", c->method), KV_IOV("path", c->path),
             KV_INT("status", status), KV_INT("ms", clock_mono_ms() - c->began_ms), KV_IOV("account", c->account.id));
}

static void answer(struct call *c, int status, const char *type, iov_t body)
{
    struct serve_header h[COUNTOF(c->header) + 6];
    size_t n = 0;
    struct serve_req *r = c->req;
    log_call(c, status);
    if (r == NULL)
        return;
    bool post = iov_is(c->method, "POST");
    if (type != NULL)
        h[n++] = (struct serve_header){"Content-Type", iov_of(type)};
    if (c->directory != NULL && (post || iov_is(c->method, "HEAD") || status == 204))
        h[n++] = (struct serve_header){"Replay-Nonce", nonce_make(&c->task.pool, clock_unix_s())};
    if (c->directory != NULL && (post || status == 204 || iov_is(c->method, "HEAD")))
        h[n++] = (struct serve_header){"Cache-Control", IOV("no-store")};
    h[n++] = (struct serve_header){"X-Content-Type-Options", IOV("nosniff")};
    for (size_t i = 0; i < c->n_headers; i++)
        h[n++] = (struct serve_header){c->header[i].name, c->header[i].value};
    struct serve_reply reply = {.status = status, .headers = h, .n_headers = n, .body = body,
                                .head_only = status == 204 || iov_is(c->method, "HEAD")};
    serve_reply(r, &reply);
}

void call_json(struct call *c, int status, json_t *body)
{
    iov_t text = json_to_iov(&c->task.pool, body);
    json_decref(body);
    call_bytes(c, status, "application/json", text);
}

void call_bytes(struct call *c, int status, const char *type, iov_t body)
{
    if (c->endpoint == NULL || strcmp(c->endpoint->name, "directory") != 0)
        call_link_index(c);
    answer(c, status, type, body);
}

void call_empty(struct call *c, int status)
{
    call_bytes(c, status, NULL, IOV(""));
}

/* ---- refusals ---- */

static void problem_answer(struct call *c, const struct problem_doc *doc)
{
    struct problem_doc d = *doc;
    d.instance = iov_of(c->task.id);
    call_loop(c)->problems++;
    int status = problem_status(d.err.code);
    if (status >= 500) /* 503: it passes, the client comes again */
        LOG_AT(status == 503 ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "request.failed", KV_STR("id", c->task.id),
               KV_IOV("path", c->path), KV_STR("detail", d.err.detail), KV_STR("cause", d.err.cause));
    else
        log_info("request.refused", KV_STR("id", c->task.id), KV_STR("problem", problem_type(d.err.code)),
                 KV_STR("detail", d.err.detail), KV_STR("cause", d.err.cause));
    if (d.err.retry_after_s > 0)
        call_retry_after(c, d.err.retry_after_s);
    json_t *body = problem_json(&d);
    iov_t text = json_to_iov(&c->task.pool, body);
    json_decref(body);
    call_bytes(c, status, "application/problem+json", text);
}

struct refusal {
    struct problem_doc doc;
    bool spends; /* no unit of the call has spent the nonce yet */
};

static void on_refusal_written(struct task *t, struct db_unit *u)
{
    struct call *c = CALL_OF(t);
    struct refusal *f = c->state;
    if (f->spends && !db_get_bool(u, 0, 0, 0)) {
        struct problem_doc bad = {.err = {.code = ACME_BAD_NONCE}};
        problem_answer(c, &bad);
        return;
    }
    problem_answer(c, &f->doc);
}

/* A refused request spends its nonce too, and leaves a trace; what a stranger sends (no good signature) does neither,
 * nor does a replay. */
void call_problem(struct call *c, const struct problem_doc *doc)
{
    if (!c->verified || doc->err.code == ACME_BAD_NONCE) {
        problem_answer(c, doc);
        return;
    }
    struct refusal *f = POOL_NEW(&c->task.pool, struct refusal, 1);
    f->doc = *doc;
    f->spends = c->pass.tag.base == NULL;
    c->state = f;
    struct db_unit *u = db_unit_new(&c->task);
    if (f->spends) {
        struct store_pass p = c->pass;
        p.account_id = IOV_NULL; /* the nonce alone */
        store_gate(u, &p);
        c->pass.tag = p.tag;
    }
    iov_t detail = problem_text(&c->task.pool, doc);
    q_event_refused(u, store_gateway(), iov_of(c->task.id), c->account.id, IOV("request"),
                    c->param[0].base != NULL ? c->param[0] : iov_of(c->endpoint->name), detail);
    db_run(u, on_refusal_written);
}

void call_error(struct call *c, const struct err *e)
{
    struct problem_doc doc = {.err = *e, .list_algorithms = e->code == ACME_BAD_SIGNATURE_ALGORITHM};
    call_problem(c, &doc);
}

void call_refuse(struct call *c, int code, const char *fmt, ...)
{
    struct err e = ERR_INIT;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e.detail, sizeof(e.detail), fmt, ap);
    va_end(ap);
    e.code = code;
    call_error(c, &e);
}

/* ---- units ---- */

struct db_unit *call_unit(struct call *c)
{
    struct db_unit *u = db_unit_new(&c->task);
    store_gate(u, &c->pass);
    return u;
}

static void on_unit(struct task *t, struct db_unit *u)
{
    struct call *c = CALL_OF(t);
    c->gate = store_gate_result(u, 0, &c->pass);
    if (c->gate.ok) {
        if (c->gate.eab_policy.base != NULL)
            c->eab_policy = c->gate.eab_policy;
        c->then(c, u);
        return;
    }
    if (!c->gate.nonce_ok) {
        call_refuse(c, ACME_BAD_NONCE, "%s", "");
        return;
    }
    account_cache_drop(call_loop(c)->accounts, c->account.id);
    if (!c->gate.known)
        call_refuse(c, ACME_ACCOUNT_DOES_NOT_EXIST, "%s", "");
    else if (c->gate.status != ST_VALID)
        call_refuse(c, ACME_UNAUTHORIZED, "the account is %s", acme_status_name(c->gate.status));
    else if (c->gate_reruns++ == 0)
        gate_again(c); /* its key was changed elsewhere: verify against the new one */
    else
        call_refuse(c, ACME_UNAUTHORIZED, "the account's key has changed");
}

void call_run(struct call *c, struct db_unit *u, call_unit_fn *then)
{
    c->then = then;
    db_run(u, on_unit);
}

uint64_t call_prefer_wait_ms(const struct call *c)
{
    if (c->req == NULL)
        return 0;
    iov_t v = serve_header_get(c->req, "prefer");
    for (size_t i = 0; i + 5 < v.len; i++) {
        if (memcmp(v.base + i, "wait=", 5) != 0)
            continue;
        size_t end = i + 5;
        uint64_t s = 0;
        while (end < v.len && v.base[end] >= '0' && v.base[end] <= '9' && s < 100000)
            s = s * 10 + (uint64_t)(v.base[end++] - '0');
        uint64_t most = (uint64_t)c->settings->times.poll_wait_max_ms;
        return s * 1000 < most ? s * 1000 : most;
    }
    return 0;
}

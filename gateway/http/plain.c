/* SPDX-License-Identifier: Apache-2.0 */
/* Health for load balancers, metrics for Prometheus, CRLs for relying parties. */
#include "http/plain.h"
#include "http/http.h"
#include "io/pki.h"
#include "schema/statements.h"

static void live(struct call *c)
{
    call_json(c, 200, json_pack("{s:s}", "status", "live"));
}

static void ready(struct call *c)
{
    const char *why = "";
    bool ok = http_env.ready(c->task.loop, &why);
    call_json(c, ok ? 200 : 503, ok ? json_pack("{s:s}", "status", "ready") : json_pack("{s:s,s:s}", "status", "not ready", "reason", why));
}

static void metrics(struct call *c)
{
    struct sbuf b;
    sbuf_init(&b, &c->task.pool);
    http_env.metrics(&b);
    call_bytes(c, 200, "text/plain; version=0.0.4", b.text);
}

/* ---- CRLs ---- */

struct crl_state {
    iov_t backend, job_id;
    bool waited;
};

static void crl_look(struct call *c);

static void on_crl_wait(struct store_wait *w, bool woken)
{
    struct call *c = CONTAINER_OF(w, struct call, wait);
    (void)woken; /* whatever is there now is the best there is */
    task_ref(&c->task);
    crl_look(c);
    task_unref(&c->task);
}

static void on_crl_wanted(struct task *t, struct db_unit *u)
{
    struct call *c = CALL_OF(t);
    struct crl_state *s = c->state;
    if (db_rows(u, 0) > 0)
        store_job_born(t->loop, s->job_id, "crl", s->backend);
    c->wait.id = s->backend;
    c->wait.done = on_crl_wait;
    store_wait_start(t->loop, &c->wait, (uint64_t)c->settings->times.finalize_wait_ms);
}

static void on_crl(struct task *t, struct db_unit *u)
{
    struct call *c = CALL_OF(t);
    struct crl_state *s = c->state;
    bool have = db_rows(u, 0) > 0;
    if (have && (s->waited || db_get_bool(u, 0, 0, COL_crl_read_fresh))) {
        call_header(c, "Cache-Control", IOV("max-age=60"));
        call_bytes(c, 200, "application/pkix-crl", db_get_bytea(u, 0, 0, COL_crl_read_der));
        return;
    }
    if (s->waited) {
        call_retry_after(c, 2);
        call_refuse(c, ACME_UNAVAILABLE, "the CRL is being made; ask again");
        return;
    }
    s->waited = true;
    s->job_id = pki_random_id(&t->pool);
    struct db_unit *w = db_unit_new(t);
    q_crl_want(w, s->backend, s->job_id, store_gateway());
    db_run(w, on_crl_wanted);
}

static void crl_look(struct call *c)
{
    struct crl_state *s = c->state;
    struct db_unit *u = db_unit_new(&c->task);
    q_crl_read(u, s->backend);
    db_run(u, on_crl);
}

static bool crl(struct call *c)
{
    iov_t name = {c->path.base + 5, c->path.len - 5}; /* "/crl/" */
    if (!iov_ends(name, ".crl"))
        return false;
    name.len -= 4;
    struct crl_state *s = POOL_NEW(&c->task.pool, struct crl_state, 1);
    s->backend = iov_dup(&c->task.pool, name);
    c->state = s;
    if (memchr(name.base, '\0', name.len) != NULL || !http_env.has_crl(s->backend.base))
        return false;
    crl_look(c);
    return true;
}

bool plain_route(struct call *c, enum plain_side side)
{
    bool known = true;
    if (!iov_is(c->method, "GET") && !iov_is(c->method, "HEAD"))
        return false;
    if (iov_is(c->path, "/health/live"))
        live(c);
    else if (iov_is(c->path, "/health/ready"))
        ready(c);
    else if (iov_is(c->path, "/metrics") && side == PLAIN_ADMIN)
        metrics(c);
    else if (iov_starts(c->path, "/crl/") && side == PLAIN_PUBLIC)
        known = crl(c);
    else
        known = false;
    return known;
}

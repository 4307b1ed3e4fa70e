/* SPDX-License-Identifier: Apache-2.0 */
/* new-authz (RFC 8555 7.4.1, with "expires" as in design.md section 4), authz (7.5, 7.5.2) and challenge (7.5.1). */
#include "base/clock.h"
#include "base/log.h"
#include "http/endpoints.h"
#include "policy/policy.h"
#include "schema/statements.h"

static void answer_authz(struct call *c, int status, const struct acme_authz *a)
{
    call_location(c, acme_url_authz(&c->task.pool, &c->urls, a->id));
    if (a->status == ST_PENDING)
        call_retry_after(c, 1);
    call_json(c, status, acme_authz_json(&c->task.pool, &c->urls, a, clock_unix_s()));
}

/* ---- new-authz ---- */

struct new_authz {
    struct store_new_authz store;
    unsigned claim, read;
};

static void on_new_authz(struct call *c, struct db_unit *u)
{
    struct new_authz *n = c->state;
    struct acme_authz a;
    if (!ep_owned(c, store_authz_decode(&c->task, u, n->read, &a), a.account_id, "authorization"))
        return;
    answer_authz(c, db_get_bool(u, n->claim, 0, COL_authz_claim_found) ? 200 : 201, &a);
}

static bool want_parse(struct call *c, struct new_authz *n, struct err *e)
{
    iov_t text = json_get_iov(c->payload, "expires");
    int64_t def = c->settings->authz_expires_default_ms;
    if (json_object_get(c->payload, "expires") == NULL) {
        n->store.want = def < 0 ? 0 : clock_unix_s() + def / 1000;
        return true;
    }
    if (text.base == NULL || !clock_parse_rfc3339(text, &n->store.want) || n->store.want <= 0)
        return err_set(e, ACME_MALFORMED, "\"expires\" must be a time like 2030-01-31T12:00:00Z (RFC 3339)");
    return true;
}

static bool new_authz_parse(struct call *c, struct new_authz *n, struct problem_doc *doc)
{
    const struct settings_profile *p = c->directory->profile[0];
    struct policy_eab eab = {0};
    struct err *e = &doc->err;
    if (c->payload == NULL)
        return err_set(e, ACME_MALFORMED, "the payload of new-authz is a JSON object with \"identifier\"");
    if (!ident_parse(&c->task.pool, json_object_get(c->payload, "identifier"), &n->store.ident, e))
        return false;
    if (ident_is_wildcard(&n->store.ident))
        return err_set(e, ACME_MALFORMED, "wildcards cannot be authorized ahead of an order (RFC 8555 7.4.1)");
    if (c->directory->eab == EAB_REQUIRED && c->account.eab_kid.base == NULL)
        return err_set(e, ACME_EXTERNAL_ACCOUNT_REQUIRED, "this account has no external account binding");
    if (c->eab_policy.base != NULL && !policy_eab_parse(&c->task.pool, c->eab_policy, &eab, e))
        return false;
    if (!policy_names(&c->task.pool, p, c->eab_policy.base != NULL ? &eab : NULL, &n->store.ident, 1, doc))
        return false;
    n->store.types = n->store.methods = ep_challenge_types(c, p);
    if (!ep_provable(&n->store.types, &n->store.ident))
        return err_set(e, ACME_REJECTED_IDENTIFIER, "no challenge allowed here can prove this identifier");
    return want_parse(c, n, e);
}

void ep_new_authz(struct call *c)
{
    struct new_authz *n = POOL_NEW(&c->task.pool, struct new_authz, 1);
    struct problem_doc doc = {0};
    if (!new_authz_parse(c, n, &doc)) {
        call_problem(c, &doc);
        return;
    }
    n->store.id = pki_random_id(&c->task.pool);
    n->store.account_id = c->account.id;
    n->store.directory = iov_of(c->directory->name);
    n->store.ttl_s = c->settings->times.authz_pending_ms / 1000;
    n->store.random = ep_random_ids(c, n->store.types.n);
    c->state = n;
    struct db_unit *u = call_unit(c);
    struct store_actor actor = call_actor(c);
    n->read = store_authz_new(u, &c->task, &n->store, &actor, &n->claim);
    call_run(c, u, on_new_authz);
}

/* ---- authz ---- */

static void authz_read(struct call *c);

static void on_authz_wait(struct store_wait *w, bool woken)
{
    struct call *c = CONTAINER_OF(w, struct call, wait);
    (void)woken;
    authz_read(c);
}

static void on_authz(struct call *c, struct db_unit *u)
{
    struct acme_authz a;
    if (!ep_owned(c, store_authz_decode(&c->task, u, 1, &a), a.account_id, "authorization"))
        return;
    uint64_t wait_ms = c->state == NULL ? call_prefer_wait_ms(c) : 0;
    if (wait_ms > 0 && a.status == ST_PENDING) {
        c->state = c; /* waited once */
        c->wait.id = a.id;
        c->wait.seen = iov_of(acme_status_name(a.status));
        c->wait.done = on_authz_wait;
        store_wait_start(c->task.loop, &c->wait, wait_ms);
        return;
    }
    answer_authz(c, 200, &a);
}

static void authz_read(struct call *c)
{
    struct db_unit *u = call_unit(c);
    store_authz_read(u, c->param[0]);
    call_run(c, u, on_authz);
}

static void on_deactivated(struct call *c, struct db_unit *u)
{
    struct acme_authz a;
    if (!ep_owned(c, store_authz_decode(&c->task, u, 4, &a), a.account_id, "authorization"))
        return;
    if (a.status != ST_DEACTIVATED) {
        call_refuse(c, ACME_MALFORMED, "the authorization is %s; only a pending or valid one can be deactivated",
                    acme_status_name(a.status));
        return;
    }
    log_info("authz.deactivated", KV_IOV("authz", a.id), KV_IOV("account", a.account_id));
    answer_authz(c, 200, &a);
}

void ep_authz(struct call *c)
{
    if (c->payload == NULL) {
        authz_read(c);
        return;
    }
    if (!iov_is(json_get_iov(c->payload, "status"), "deactivated")) {
        call_refuse(c, ACME_MALFORMED, "an authorization is read with an empty payload or deactivated with "
                                       "{\"status\": \"deactivated\"}");
        return;
    }
    struct problem_doc doc = {.err = {.code = ACME_UNAUTHORIZED, .detail = "an authorization of the order was deactivated"}};
    iov_t id = c->param[0];
    struct db_unit *u = call_unit(c);
    q_authz_deactivate(u, id, c->account.id);
    q_authz_drop_orders(u, id, problem_text(&c->task.pool, &doc));
    q_event_claimed(u, store_gateway(), iov_of(c->task.id), c->account.id, IOV("authz"), id, IOV("deactivated"), IOV_NULL);
    store_authz_read(u, id);
    call_run(c, u, on_deactivated);
}

/* ---- challenge ---- */

struct respond {
    iov_t job_id;
    unsigned read;
};

static void on_challenge(struct call *c, struct db_unit *u)
{
    const struct respond *r = c->state;
    const struct acme_challenge *ch = NULL;
    struct acme_authz a;
    if (!ep_owned(c, store_authz_decode(&c->task, u, r->read, &a), a.account_id, "challenge"))
        return;
    for (size_t i = 0; i < a.n_challenges; i++) {
        if (iov_eq(a.challenges[i].type, c->param[1]))
            ch = &a.challenges[i];
    }
    if (ch == NULL) {
        call_refuse(c, ACME_NOT_FOUND, "the authorization has no such challenge");
        return;
    }
    if (r->read > 1 && db_get_bool(u, 1, 0, COL_challenge_respond_responded))
        store_job_born(c->task.loop, r->job_id, "validate",
                       iov_printf(&c->task.pool, "%.*s/%.*s", (int)a.id.len, a.id.base, (int)ch->type.len, ch->type.base));
    iov_t up = acme_url_authz(&c->task.pool, &c->urls, a.id);
    call_header(c, "Link", iov_printf(&c->task.pool, "<%.*s>;rel=\"up\"", (int)up.len, up.base));
    if (ch->status == ST_PROCESSING)
        call_retry_after(c, 1);
    call_json(c, 200, acme_challenge_json(&c->task.pool, &c->urls, a.id, ch));
}

void ep_challenge(struct call *c)
{
    struct respond *r = POOL_NEW(&c->task.pool, struct respond, 1);
    struct db_unit *u = call_unit(c);
    c->state = r;
    r->job_id = pki_random_id(&c->task.pool);
    if (c->payload != NULL) {
        q_challenge_respond(u, c->param[0], c->param[1], c->account.id, r->job_id, store_gateway());
        q_event_claimed(u, store_gateway(), iov_of(c->task.id), c->account.id, IOV("authz"), c->param[0], IOV("responded"),
                        c->param[1]);
    }
    r->read = store_authz_read(u, c->param[0]);
    call_run(c, u, on_challenge);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* new-order and order (RFC 8555 7.4). */
#include "base/clock.h"
#include "base/log.h"
#include "http/endpoints.h"
#include "http/http.h"
#include "policy/policy.h"

bool ep_owned(struct call *c, bool exists, iov_t owner, const char *what)
{
    if (!exists)
        call_refuse(c, ACME_NOT_FOUND, "there is no such %s", what);
    else if (!iov_eq(owner, c->account.id))
        call_refuse(c, ACME_UNAUTHORIZED, "this %s is another account's", what);
    else
        return true;
    return false;
}

struct iovs ep_challenge_types(struct call *c, const struct settings_profile *p)
{
    struct iovs types = {0};
    for (unsigned i = 0; i < CHALLENGE_TYPES; i++) {
        if (p->challenge_mask & http_env.challenge_mask & 1u << i)
            iovs_add(&c->task.pool, &types, iov_of(challenge_names[i]));
    }
    return types;
}

struct iovs ep_random_ids(struct call *c, size_t n)
{
    struct iovs ids = {0};
    for (size_t i = 0; i < n; i++)
        iovs_add(&c->task.pool, &ids, pki_random_id(&c->task.pool));
    return ids;
}

bool ep_provable(const struct iovs *types, const struct ident *id)
{
    bool dns = iovs_has(types, IOV("dns-01"));
    if (ident_is_wildcard(id))
        return dns;
    return id->type == IDENT_DNS ? types->n > 0 : types->n > (dns ? 1 : 0);
}

void ep_answer_order(struct call *c, int status, const struct acme_order *o, iov_t backend)
{
    call_location(c, acme_url_order(&c->task.pool, &c->urls, o->id));
    if (o->status == ST_PROCESSING)
        call_retry_after(c, o->retry_after_s ? o->retry_after_s : store_latency_retry_after(backend));
    else if (o->status == ST_PENDING)
        call_retry_after(c, 1);
    call_json(c, status, acme_order_json(&c->task.pool, &c->urls, o));
}

/* ---- new-order ---- */

struct new_order {
    struct store_new_order store;
    const struct settings_profile *profile;
    unsigned read;
};

/* What the client asked for, as far as it can be shown. */
static void describe(pool_t *pool, const json_t *asked, struct subproblem *out)
{
    iov_t type = json_get_iov(asked, "type"), value = json_get_iov(asked, "value");
    out->ident.type = iov_is(type, "ip") ? IDENT_IP : IDENT_DNS;
    out->ident.value = value.base != NULL ? iov_printable(pool, value, 300) : IOV("");
    if (type.base != NULL && !iov_is(type, "dns") && !iov_is(type, "ip"))
        out->other_type = iov_printable(pool, type, 100);
}

static bool idents_parse(struct call *c, struct new_order *n, struct problem_doc *doc)
{
    pool_t *pool = &c->task.pool;
    struct acme_order *o = &n->store.order;
    const json_t *list = json_object_get(c->payload, "identifiers");
    size_t count = json_array_size(list), bad = 0;
    if (count == 0)
        return err_set(&doc->err, ACME_MALFORMED, "\"identifiers\" must be an array with at least one identifier");
    if (count > (size_t)n->profile->names_max)
        return err_set(&doc->err, ACME_MALFORMED, "%zu identifiers; profile %s allows %lld in one order", count, n->profile->name,
                       (long long)n->profile->names_max);
    struct subproblem *subs = POOL_NEW(pool, struct subproblem, count);
    o->idents = POOL_NEW(pool, struct ident, count);
    for (size_t i = 0; i < count; i++) {
        struct ident id = {0};
        if (!ident_parse(pool, json_array_get(list, i), &id, &subs[bad].err)) {
            describe(pool, json_array_get(list, i), &subs[bad]);
            bad++;
            continue;
        }
        bool seen = false;
        for (size_t k = 0; k < o->n_idents; k++)
            seen = seen || ident_eq(&o->idents[k], &id);
        if (!seen)
            o->idents[o->n_idents++] = id;
    }
    if (bad == 0)
        return true;
    doc->subs = subs;
    doc->n_subs = bad;
    if (bad == 1)
        doc->err = subs[0].err;
    else
        err_set(&doc->err, ACME_COMPOUND, "%zu of %zu identifiers cannot be used; see subproblems", bad, count);
    return false;
}

static bool provable(struct call *c, struct new_order *n, struct problem_doc *doc)
{
    const struct acme_order *o = &n->store.order;
    struct subproblem *subs = POOL_NEW(&c->task.pool, struct subproblem, o->n_idents);
    for (size_t i = 0; i < o->n_idents; i++) {
        if (ep_provable(&n->store.types, &o->idents[i]))
            continue;
        struct subproblem *s = &subs[doc->n_subs++];
        s->ident = o->idents[i];
        err_set(&s->err, ACME_REJECTED_IDENTIFIER, "profile %s allows no challenge that can prove %.*s", n->profile->name,
                (int)o->idents[i].value.len, o->idents[i].value.base);
    }
    doc->subs = subs;
    if (doc->n_subs > 0)
        doc->err = subs[0].err;
    return doc->n_subs == 0;
}

static bool time_member(const struct call *c, const char *key, int64_t *out, struct err *e)
{
    const json_t *v = json_object_get(c->payload, key);
    if (v == NULL || json_is_null(v))
        return true;
    if (!json_is_string(v) || !clock_parse_rfc3339(json_get_iov(c->payload, key), out) || *out <= 0)
        return err_set(e, ACME_MALFORMED, "\"%s\" must be a time like 2030-01-31T12:00:00Z (RFC 3339)", key);
    return true;
}

static bool profile_choose(struct call *c, struct new_order *n, struct err *e)
{
    iov_t name = json_get_iov(c->payload, "profile");
    n->profile = name.base == NULL ? c->directory->profile[0] : settings_directory_profile(c->directory, name);
    if (n->profile != NULL)
        return true;
    iov_t shown = iov_printable(&c->task.pool, name, 100);
    return err_set(e, ACME_INVALID_PROFILE, "directory %s has no profile \"%.*s\"; see meta.profiles", c->directory->name,
                   (int)shown.len, shown.base);
}

static bool eab_allows(struct call *c, const struct new_order *n, struct problem_doc *doc)
{
    struct policy_eab eab = {0};
    if (c->directory->eab == EAB_REQUIRED && c->account.eab_kid.base == NULL)
        return err_set(&doc->err, ACME_EXTERNAL_ACCOUNT_REQUIRED, "this account has no external account binding");
    if (c->eab_policy.base != NULL && !policy_eab_parse(&c->task.pool, c->eab_policy, &eab, &doc->err))
        return false;
    if (eab.limited_profiles && !iovs_has(&eab.profiles, iov_of(n->profile->name)))
        return err_set(&doc->err, ACME_UNAUTHORIZED, "the external account binding key does not allow profile %s",
                       n->profile->name);
    return policy_names(&c->task.pool, n->profile, c->eab_policy.base != NULL ? &eab : NULL, n->store.order.idents,
                        n->store.order.n_idents, doc);
}

static bool route_choose(struct call *c, struct new_order *n, struct err *e)
{
    const struct acme_order *o = &n->store.order;
    struct policy_route_query q = {.directory = c->directory->name, .profile = n->profile->name, .idents = o->idents,
                                   .n_idents = o->n_idents, .eab_kid = c->account.eab_kid, .account_id = c->account.id};
    const struct settings_route *r = policy_route(c->settings, &q, e);
    if (r == NULL)
        return false;
    for (size_t i = 0; i < r->backends.n; i++)
        iovs_add(&c->task.pool, &n->store.backends, iov_of(r->backends.v[i]));
    n->store.route = iov_of(r->where);
    return true;
}

static bool new_order_parse(struct call *c, struct new_order *n, struct problem_doc *doc)
{
    struct acme_order *o = &n->store.order;
    struct err *e = &doc->err;
    if (c->payload == NULL)
        return err_set(e, ACME_MALFORMED, "the payload of new-order is a JSON object with \"identifiers\"");
    if (!profile_choose(c, n, e) || !idents_parse(c, n, doc) || !eab_allows(c, n, doc))
        return false;
    n->store.types = n->store.methods = ep_challenge_types(c, n->profile);
    if (!provable(c, n, doc) || !time_member(c, "notBefore", &o->not_before, e) ||
        !time_member(c, "notAfter", &o->not_after, e) ||
        !policy_validity(n->profile, clock_unix_s(), &o->not_before, &o->not_after, e) || !route_choose(c, n, e))
        return false;
    o->replaces = json_get_iov(c->payload, "replaces");
    if (o->replaces.len > 200)
        return err_set(e, ACME_MALFORMED, "\"replaces\" is not a certificate identifier (RFC 9773 4.1)");
    return true;
}

static void on_new_order(struct call *c, struct db_unit *u)
{
    struct new_order *n = c->state;
    struct acme_order o;
    if (!store_order_decode(&c->task, u, n->read, &o)) {
        if (!c->gate.eab_ok)
            call_refuse(c, ACME_UNAUTHORIZED, "the external account binding key \"%.*s\" is disabled or expired",
                        (int)c->gate.eab_kid.len, c->gate.eab_kid.base);
        else
            call_refuse(c, ACME_SERVER_INTERNAL, "%s", "");
        return;
    }
    log_info("order.new", KV_IOV("order", o.id), KV_IOV("account", o.account_id), KV_INT("names", o.n_idents),
             KV_STR("status", acme_status_name(o.status)), KV_IOV("profile", o.profile));
    ep_answer_order(c, 201, &o, n->store.backends.v[0]);
}

void ep_new_order(struct call *c)
{
    struct new_order *n = POOL_NEW(&c->task.pool, struct new_order, 1);
    struct problem_doc doc = {0};
    if (!new_order_parse(c, n, &doc)) {
        call_problem(c, &doc);
        return;
    }
    struct acme_order *o = &n->store.order;
    o->id = pki_random_id(&c->task.pool);
    o->account_id = c->account.id;
    o->directory = iov_of(c->directory->name);
    o->profile = iov_of(n->profile->name);
    n->store.names = policy_ident_names(&c->task.pool, o->idents, o->n_idents);
    n->store.order_ttl_s = c->settings->times.order_ms / 1000;
    n->store.authz_ttl_s = c->settings->times.authz_pending_ms / 1000;
    n->store.reuse_pending = c->settings->reuse_pending_orders && o->not_before == 0 && o->not_after == 0 &&
                             o->replaces.base == NULL;
    n->store.random = ep_random_ids(c, store_order_random(o->n_idents, n->store.types.n));
    c->state = n;
    struct db_unit *u = call_unit(c);
    struct store_actor actor = call_actor(c);
    n->read = store_order_new(u, &c->task, &n->store, &actor);
    call_run(c, u, on_new_order);
}

/* ---- order ---- */

static void order_read(struct call *c);

static void on_order_wait(struct store_wait *w, bool woken)
{
    struct call *c = CONTAINER_OF(w, struct call, wait);
    (void)woken;
    order_read(c);
}

static void on_order(struct call *c, struct db_unit *u)
{
    struct acme_order o;
    bool exists = store_order_decode(&c->task, u, 1, &o);
    if (!ep_owned(c, exists, o.account_id, "order"))
        return;
    uint64_t wait_ms = c->state == NULL ? call_prefer_wait_ms(c) : 0;
    if (wait_ms > 0 && (o.status == ST_PROCESSING || o.status == ST_PENDING)) {
        c->state = c; /* waited once */
        c->wait.id = o.id;
        c->wait.seen = iov_of(acme_status_name(o.status));
        c->wait.done = on_order_wait;
        store_wait_start(c->task.loop, &c->wait, wait_ms);
        return;
    }
    ep_answer_order(c, 200, &o, store_order_backend(u, 1));
}

static void order_read(struct call *c)
{
    struct db_unit *u = call_unit(c);
    store_order_read(u, c->param[0]);
    call_run(c, u, on_order);
}

void ep_order(struct call *c)
{
    order_read(c);
}

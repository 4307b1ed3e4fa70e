/* SPDX-License-Identifier: Apache-2.0 */
/* key-change (RFC 8555 7.3.5): an inner JWS signed with the new key inside an outer one signed with the old. */
#include "base/log.h"
#include "http/endpoints.h"
#include "http/key.h"
#include "schema/statements.h"

struct key_change {
    struct jws inner;
    bool has_inner;
    struct pki_key *key;
    iov_t thumbprint;
};

static void drop(struct call *c)
{
    struct key_change *k = c->state;
    if (k->has_inner)
        jws_dispose(&k->inner);
    k->has_inner = false;
    pki_key_unref(k->key);
    k->key = NULL;
}

static void fail(struct call *c, const struct err *e)
{
    drop(c);
    call_error(c, e);
}

static void on_changed(struct call *c, struct db_unit *u)
{
    struct acme_account a;
    bool claimed = db_get_bool(u, 1, 0, COL_account_key_change_claimed);
    bool found = store_account_decode(u, 4, &a);
    if (claimed && found) {
        account_cache_drop(call_loop(c)->accounts, a.id);
        log_info("account.key_change", KV_IOV("account", a.id), KV_INT("generation", a.key_gen));
        ep_answer_account(c, 200, &a);
    } else if (db_get_bool(u, 1, 0, COL_account_key_change_blocked)) {
        call_refuse(c, ACME_BAD_PUBLIC_KEY, "this key was reported as compromised");
    } else if (found) {
        call_location(c, acme_url_account(&c->task.pool, &c->urls, a.id));
        call_refuse(c, ACME_CONFLICT, "the new key belongs to an account already; see Location");
    } else {
        account_cache_drop(call_loop(c)->accounts, c->account.id);
        call_refuse(c, ACME_UNAUTHORIZED, "the account's key was changed by another request at the same moment");
    }
}

static void change(struct call *c)
{
    struct key_change *k = c->state;
    pool_t *pool = &c->task.pool;
    struct db_unit *u = call_unit(c);
    iov_t dir = iov_of(c->directory->name), spki = pki_sha256_iov(pool, pki_key_spki(pool, k->key));
    q_account_key_change(u, dir, c->account.id, c->account.thumbprint, k->thumbprint, spki);
    q_account_set_key(u, c->account.id, k->inner.jwk.canonical, k->thumbprint);
    q_event_claimed(u, store_gateway(), iov_of(c->task.id), c->account.id, IOV("account"), c->account.id, IOV("key changed"),
                    k->thumbprint);
    q_account_by_key(u, dir, k->thumbprint);
    drop(c);
    call_run(c, u, on_changed);
}

/* The inner payload: {"account": kid, "oldKey": jwk of the account as it is. */
static bool payload_ok(struct call *c, const struct jws *inner, struct err *e)
{
    struct jwk old;
    json_t *p = json_parse_object(inner->payload, 65536, e);
    bool ok = false;
    if (p == NULL)
        e->code = ACME_MALFORMED;
    else if (!iov_eq(json_get_iov(p, "account"), c->jws.kid))
        err_set(e, ACME_MALFORMED, "the inner payload's account is not the kid of the outer JWS");
    else if (!json_is_object(json_object_get(p, "oldKey")))
        err_set(e, ACME_MALFORMED, "the inner payload has no oldKey");
    else if (jwk_parse(&c->task.pool, json_object_get(p, "oldKey"), &old, e))
        ok = iov_eq(old.canonical, c->account.jwk) || err_set(e, ACME_MALFORMED, "oldKey is not the account's present key");
    json_decref(p);
    return ok;
}

static void on_inner_verified(struct task *t, bool ok, const struct err *why)
{
    struct call *c = CALL_OF(t);
    struct key_change *k = c->state;
    struct err e = ERR_INIT;
    if (!ok) {
        err_set(&e, ACME_MALFORMED, "the inner JWS's signature does not verify with its jwk, the new key");
        err_cause(&e, "%s", why->cause);
        fail(c, &e);
    } else if (!payload_ok(c, &k->inner, &e)) {
        fail(c, &e);
    } else {
        change(c);
    }
}

void ep_key_change(struct call *c)
{
    struct key_change *k = POOL_NEW(&c->task.pool, struct key_change, 1);
    struct err e = ERR_INIT;
    c->state = k;
    if (c->payload == NULL) {
        call_refuse(c, ACME_MALFORMED, "the payload of key-change is a JWS signed with the new key");
        return;
    }
    if (!jws_from_json(&c->task.pool, c->payload, JWS_KEY_CHANGE, &k->inner, &e)) {
        call_error(c, &e);
        return;
    }
    k->has_inner = true;
    if (!iov_eq(k->inner.url, c->jws.url)) {
        err_set(&e, ACME_MALFORMED, "the inner JWS's url is not that of the outer one");
        fail(c, &e);
        return;
    }
    k->key = key_of_jwk(&k->inner.jwk, &e);
    if (k->key == NULL) {
        fail(c, &e);
        return;
    }
    k->thumbprint = key_thumbprint(&c->task.pool, &k->inner.jwk);
    if (!key_alg_fits(k->key, k->inner.alg, &e) || !key_verify(&c->task, k->key, &k->inner, on_inner_verified, &e))
        fail(c, &e);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* revoke-cert (RFC 8555 7.6): by the account that owns the certificate, by one that holds authorizations for all its
 * names, or by the certificate's own key. 200 only once the CA has done it. Who proves to hold the key and says that it
 * is compromised is believed, even after another revocation, and the key is blocked. */
#include "base/b64.h"
#include "base/log.h"
#include "http/endpoints.h"
#include "schema/statements.h"

struct revoke_call {
    iov_t der_sha256, spki_sha256, job_id, certificate_id;
    int64_t reason;
    bool by_key;
};
enum { REV_FIND = 1, REV_CLAIM, REV_EVENT };

#define REASON_KEY_COMPROMISE 1
static const int64_t reasons_allowed[] = {0, 1, 3, 4, 5, 9};

static void on_state(struct task *t, struct db_unit *u)
{
    struct call *c = CALL_OF(t);
    iov_t state = db_rows(u, 0) > 0 ? db_get(u, 0, 0, COL_revoke_state_revoke_state) : IOV_NULL;
    if (iov_is(state, "done")) {
        call_empty(c, 200);
    } else if (iov_is(state, "refused")) {
        iov_t why = db_get(u, 0, 0, COL_revoke_state_revoke_error);
        call_refuse(c, ACME_SERVER_INTERNAL, "the certificate is not revoked: %.*s", (int)why.len, why.base);
    } else {
        struct err e = ERR_INIT;
        err_set(&e, ACME_UNAVAILABLE, "the CA has not confirmed the revocation yet; it is being repeated until it does");
        e.retry_after_s = 5;
        call_error(c, &e);
    }
}

static void on_wait(struct store_wait *w, bool woken)
{
    struct call *c = CONTAINER_OF(w, struct call, wait);
    const struct revoke_call *r = c->state;
    (void)woken;
    struct db_unit *u = db_unit_new(&c->task);
    q_revoke_state(u, r->certificate_id);
    db_run(u, on_state);
}

static void wait_for(struct call *c)
{
    struct revoke_call *r = c->state;
    c->wait.id = r->certificate_id;
    c->wait.seen = IOV("pending");
    c->wait.done = on_wait;
    store_wait_start(c->task.loop, &c->wait, (uint64_t)c->settings->times.finalize_wait_ms);
}

static void on_revoke(struct call *c, struct db_unit *u)
{
    struct revoke_call *r = c->state;
    if (db_rows(u, REV_FIND) == 0) {
        call_refuse(c, ACME_NOT_FOUND, "this certificate was not issued by directory %s", c->directory->name);
        return;
    }
    iov_t state = db_get(u, REV_FIND, 0, COL_revoke_find_revoke_state);
    bool allowed = r->by_key ? iov_eq(db_get_bytea(u, REV_FIND, 0, COL_revoke_find_spki_sha256), r->spki_sha256)
                             : db_get_bool(u, REV_FIND, 0, COL_revoke_find_allowed);
    r->certificate_id = db_get(u, REV_FIND, 0, COL_revoke_find_id);
    if (!allowed) {
        call_refuse(c, ACME_UNAUTHORIZED, r->by_key ? "the JWS is not signed with the certificate's key"
                                                    : "the account neither owns the certificate nor holds valid "
                                                      "authorizations for all its names");
    } else if (db_rows(u, REV_CLAIM) == 0 && iov_is(state, "done")) {
        call_refuse(c, ACME_ALREADY_REVOKED, "%s", "");
    } else {
        if (db_rows(u, REV_CLAIM) > 0 && db_get_bool(u, REV_CLAIM, 0, COL_revoke_claim_born))
            store_job_born(c->task.loop, r->job_id, "revoke", r->certificate_id);
        wait_for(c);
    }
}

static bool reason_parse(struct call *c, struct revoke_call *r, struct err *e)
{
    const json_t *v = json_object_get(c->payload, "reason");
    if (v == NULL)
        return true;
    r->reason = json_integer_value(v);
    for (size_t i = 0; json_is_integer(v) && i < COUNTOF(reasons_allowed); i++) {
        if (r->reason == reasons_allowed[i])
            return true;
    }
    return err_set(e, ACME_BAD_REVOCATION_REASON,
                   "allowed reasons: 0 unspecified, 1 keyCompromise, 3 affiliationChanged, 4 superseded, "
                   "5 cessationOfOperation, 9 privilegeWithdrawn (RFC 5280 5.3.1)");
}

void ep_revoke(struct call *c)
{
    struct revoke_call *r = POOL_NEW(&c->task.pool, struct revoke_call, 1);
    pool_t *pool = &c->task.pool;
    struct err e = ERR_INIT;
    iov_t text = json_get_iov(c->payload, "certificate"), der;
    if (text.base == NULL || !b64_decode(pool, text, &der)) {
        call_refuse(c, ACME_MALFORMED, "\"certificate\" must be the certificate's DER in base64url without padding");
        return;
    }
    if (!reason_parse(c, r, &e)) {
        call_error(c, &e);
        return;
    }
    c->state = r;
    r->by_key = c->jws.has_jwk;
    r->der_sha256 = pki_sha256_iov(pool, der);
    r->spki_sha256 = r->by_key ? pki_sha256_iov(pool, pki_key_spki(pool, c->key)) : IOV_NULL;
    r->job_id = pki_random_id(pool);
    iov_t dir = iov_of(c->directory->name), by = r->by_key ? IOV("certificate key") : c->account.id;
    struct db_unit *u = call_unit(c);
    q_revoke_find(u, r->der_sha256, c->account.id, dir);
    q_revoke_claim(u, r->der_sha256, dir, c->account.id, r->spki_sha256, r->reason, r->job_id, store_gateway());
    q_event_claimed(u, store_gateway(), iov_of(c->task.id), c->account.id, IOV("certificate"), iov_hex(pool, r->der_sha256),
                    IOV("revoke asked"), by);
    if (r->by_key && r->reason == REASON_KEY_COMPROMISE)
        q_block_key(u, r->der_sha256, dir, r->spki_sha256, IOV("keyCompromise"));
    call_run(c, u, on_revoke);
}

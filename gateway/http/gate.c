/* SPDX-License-Identifier: Apache-2.0 */
/* What every ACME POST passes (RFC 8555 section 6): content type, size, JWS, url, nonce, jwk or kid, the account's key,
 * the signature, the payload. The nonce is spent by the endpoint's own unit, after the signature was verified: a stranger
 * must not be able to spend a client's nonce. */
#include "base/clock.h"
#include "http/call.h"
#include "http/key.h"
#include "http/nonce.h"
#include "schema/statements.h"

static bool content_type_ok(const struct call *c)
{
    iov_t v = serve_header_get(c->req, "content-type");
    static const char want[] = "application/jose+json";
    size_t n = sizeof(want) - 1;
    if (v.base == NULL || v.len < n || !iov_ieq((iov_t){v.base, n}, iov_of(want)))
        return false;
    return v.len == n || v.base[n] == ';' || v.base[n] == ' ';
}

/* RFC 8555 6.4: the url in the JWS is the URL the request was sent to. Any configured public URL may stand before the
 * path; what Host or X-Forwarded-* say does not matter. */
static bool url_ok(struct call *c)
{
    iov_t url = c->jws.url, rest = c->path, query = c->req->query;
    if (query.base != NULL)
        rest = iov_printf(&c->task.pool, "%.*s?%.*s", (int)rest.len, rest.base, (int)query.len, query.base);
    for (size_t i = 0; i < c->settings->public_url.n; i++) {
        size_t n = strlen(c->settings->public_url.v[i]);
        if (url.len == n + rest.len && memcmp(url.base, c->settings->public_url.v[i], n) == 0 &&
            memcmp(url.base + n, rest.base, rest.len) == 0)
            return true;
    }
    return false;
}

/* The account id in a kid, if it is one of this directory. */
static bool kid_account(struct call *c, iov_t kid, iov_t *id_out)
{
    for (size_t i = 0; i < c->settings->public_url.n; i++) {
        iov_t want = iov_printf(&c->task.pool, "%s/acme/%s/account/", c->settings->public_url.v[i], c->directory->name);
        if (kid.len > want.len && memcmp(kid.base, want.base, want.len) == 0) {
            *id_out = (iov_t){kid.base + want.len, kid.len - want.len};
            return id_out->len <= 64 && memchr(id_out->base, '/', id_out->len) == NULL;
        }
    }
    return false;
}

/* ---- after the signature ---- */

static bool payload_parse(struct call *c, struct err *e)
{
    if (c->jws.payload.len == 0) {
        if (c->endpoint->takes_payload && c->endpoint->key != KEY_KID)
            return err_set(e, ACME_MALFORMED, "this resource wants a JSON object as payload");
        return true;
    }
    if (!c->endpoint->takes_payload)
        return err_set(e, ACME_MALFORMED, "this resource is read with POST-as-GET: an empty payload (RFC 8555 6.3)");
    c->payload = json_parse_object(c->jws.payload, (size_t)c->settings->limits.body_max, e);
    if (c->payload == NULL)
        e->code = ACME_MALFORMED;
    return c->payload != NULL;
}

static void resolve_kid(struct call *c);

/* A signature that does not fit a remembered key may fit the account's new one, when that was changed at another gateway
 * or loop: looks once into the database. */
static bool look_again(struct call *c)
{
    if (!c->key_cached)
        return false;
    account_cache_drop(call_loop(c)->accounts, c->account.id);
    resolve_kid(c);
    return true;
}

static void on_verified(struct task *t, bool ok, const struct err *why)
{
    struct call *c = CALL_OF(t);
    struct err e = ERR_INIT;
    if (!ok && look_again(c))
        return;
    if (!ok) {
        err_set(&e, ACME_MALFORMED, "the JWS signature does not verify with the %s key",
                c->jws.has_jwk ? "embedded" : "account's");
        err_cause(&e, "%s", why->cause);
        call_error(c, &e);
        return;
    }
    bool again = c->verified;
    c->verified = true;
    if (!again && !payload_parse(c, &e)) {
        call_error(c, &e);
        return;
    }
    c->endpoint->run(c);
}

static void verify(struct call *c)
{
    struct err e = ERR_INIT;
    if (!key_alg_fits(c->key, c->jws.alg, &e)) {
        if (!look_again(c))
            call_error(c, &e);
    } else if (!key_verify(&c->task, c->key, &c->jws, on_verified, &e)) {
        call_error(c, &e);
    }
}

/* ---- the key ---- */

static void use_account(struct call *c, const struct account_entry *a)
{
    pool_t *pool = &c->task.pool;
    c->account = a->account;
    iov_t *text[] = {&c->account.id, &c->account.directory, &c->account.thumbprint, &c->account.jwk, &c->account.eab_kid,
                     &c->account.eab_json};
    for (size_t i = 0; i < COUNTOF(text); i++) {
        if (text[i]->base != NULL)
            *text[i] = iov_dup(pool, *text[i]);
    }
    c->account.contacts = (struct iovs){0};
    for (size_t i = 0; i < a->account.contacts.n; i++)
        iovs_add(pool, &c->account.contacts, iov_dup(pool, a->account.contacts.v[i]));
    c->eab_policy = a->eab_policy.base != NULL ? iov_dup(pool, a->eab_policy) : IOV_NULL;
    pki_key_unref(c->key);
    c->key = pki_key_ref(a->key);
    c->pass.account_id = c->account.id;
    c->pass.key_gen = c->account.key_gen;
    verify(c);
}

static struct pki_key *stored_key(struct call *c, iov_t text, struct err *e)
{
    struct jwk jwk;
    json_t *obj = json_parse_object(text, 65536, e);
    struct pki_key *k = obj != NULL && jwk_parse(&c->task.pool, obj, &jwk, e) ? key_of_jwk(&jwk, e) : NULL;
    json_decref(obj);
    return k;
}

static void on_account(struct task *t, struct db_unit *u)
{
    struct call *c = CALL_OF(t);
    struct account_entry a = {0};
    struct err e = ERR_INIT;
    if (!store_account_decode(u, 0, &a.account) || !iov_is(a.account.directory, c->directory->name)) {
        call_refuse(c, ACME_ACCOUNT_DOES_NOT_EXIST, "no account has this kid in directory %s", c->directory->name);
        return;
    }
    if (a.account.status != ST_VALID) {
        call_refuse(c, ACME_UNAUTHORIZED, "the account is %s", acme_status_name(a.account.status));
        return;
    }
    a.eab_policy = store_account_eab_policy(u, 0);
    a.key = stored_key(c, a.account.jwk, &e);
    if (a.key == NULL) {
        call_error(c, &e);
        return;
    }
    account_cache_put(call_loop(c)->accounts, &a);
    pki_key_unref(a.key);
    use_account(c, account_cache_get(call_loop(c)->accounts, a.account.id));
}

static void resolve_kid(struct call *c)
{
    iov_t id;
    if (!kid_account(c, c->jws.kid, &id)) {
        call_refuse(c, ACME_ACCOUNT_DOES_NOT_EXIST, "the kid is not the URL of an account of directory %s",
                    c->directory->name);
        return;
    }
    const struct account_entry *a = account_cache_get(call_loop(c)->accounts, id);
    c->key_cached = a != NULL && iov_is(a->account.directory, c->directory->name);
    if (c->key_cached) {
        use_account(c, a);
        return;
    }
    struct db_unit *u = db_unit_new(&c->task);
    q_account_load(u, id);
    db_run(u, on_account);
}

static void resolve_jwk(struct call *c)
{
    struct err e = ERR_INIT;
    c->jwk = c->jws.jwk;
    c->key = key_of_jwk(&c->jwk, &e);
    if (c->key == NULL) {
        call_error(c, &e);
        return;
    }
    c->thumbprint = key_thumbprint(&c->task.pool, &c->jwk);
    verify(c);
}

void gate_again(struct call *c)
{
    resolve_kid(c);
}

/* ---- before anything is looked up ---- */

static bool key_rule_ok(const struct call *c, struct err *e)
{
    if (c->endpoint->key == KEY_JWK && !c->jws.has_jwk)
        return err_set(e, ACME_MALFORMED, "requests to %s are signed with a jwk, not a kid", c->endpoint->name);
    if (c->endpoint->key == KEY_KID && c->jws.has_jwk)
        return err_set(e, ACME_MALFORMED, "requests to %s are signed with a kid, not a jwk", c->endpoint->name);
    return true;
}

static bool nonce_ok(struct call *c, struct err *e)
{
    if (c->jws.nonce.base == NULL)
        return err_set(e, ACME_BAD_NONCE, "the JWS has no nonce");
    c->pass.nonce = c->jws.nonce;
    if (!nonce_check(&c->task.pool, c->jws.nonce, clock_unix_s(), c->settings->times.nonce_ms / 1000, &c->pass.slot))
        return err_set(e, ACME_BAD_NONCE, "the nonce is not of this server, or too old; repeat with the one in Replay-Nonce");
    return true;
}

void gate_start(struct call *c)
{
    struct err e = ERR_INIT;
    if (!content_type_ok(c)) {
        call_refuse(c, ACME_UNSUPPORTED_MEDIA_TYPE, "%s", "");
        return;
    }
    if (c->body.len > (size_t)c->settings->limits.body_max) {
        call_refuse(c, ACME_TOO_LARGE, "the request has %zu bytes; the limit is %lld", c->body.len,
                    (long long)c->settings->limits.body_max);
        return;
    }
    if (!jws_parse(&c->task.pool, c->body, JWS_REQUEST, &c->jws, &e)) {
        call_error(c, &e);
        return;
    }
    c->has_jws = true;
    if (!url_ok(c)) {
        iov_t shown = iov_printable(&c->task.pool, c->jws.url, 200);
        call_refuse(c, ACME_UNAUTHORIZED, "the JWS url \"%.*s\" is not the URL of this request, %s%.*s", (int)shown.len,
                    shown.base, c->settings->public_url.v[0], (int)c->path.len, c->path.base);
        return;
    }
    if (!key_rule_ok(c, &e) || !nonce_ok(c, &e)) {
        call_error(c, &e);
        return;
    }
    if (c->jws.has_jwk)
        resolve_jwk(c);
    else
        resolve_kid(c);
}

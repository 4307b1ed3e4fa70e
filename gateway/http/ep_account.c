/* SPDX-License-Identifier: Apache-2.0 */
/* new-account (RFC 8555 7.3), the account itself (7.3.2, 7.3.6) and its orders list (7.1.2.1). */
#include "base/b64.h"
#include "base/log.h"
#include "http/endpoints.h"
#include "http/key.h"
#include "policy/policy.h"
#include "schema/statements.h"

json_t *ep_member(const json_t *payload, const char *key)
{
    json_t *v = json_object_get(payload, key);
    return json_is_null(v) ? NULL : v;
}

bool ep_true(const json_t *payload, const char *key)
{
    return json_is_true(json_object_get(payload, key));
}

void ep_answer_account(struct call *c, int status, const struct acme_account *a)
{
    call_location(c, acme_url_account(&c->task.pool, &c->urls, a->id));
    call_json(c, status, acme_account_json(&c->task.pool, &c->urls, a));
}

/* ---- new-account ---- */

struct new_account {
    struct iovs contacts;
    bool only_existing, agreed;
    struct err refusal; /* why no new account can be made; code 0 with empty detail: it can */
    bool refused;
    iov_t id, eab_kid, eab_json;
    struct jws eab;
    bool has_eab;
};

static void refuse_new(struct new_account *n, const struct err *e)
{
    if (!n->refused)
        n->refusal = *e;
    n->refused = true;
}

/* RFC 8555 7.3.3: the terms to agree to are linked. */
static void refuse(struct call *c, const struct new_account *n)
{
    if (n->refusal.code == ACME_USER_ACTION_REQUIRED)
        call_header(c, "Link", iov_printf(&c->task.pool, "<%s>;rel=\"terms-of-service\"", c->directory->terms));
    call_error(c, &n->refusal);
}

static void on_made(struct call *c, struct db_unit *u)
{
    struct new_account *n = c->state;
    struct acme_account a;
    bool claimed = db_get_bool(u, 1, 0, COL_account_claim_claimed);
    if (!store_account_decode(u, 4, &a)) {
        if (n->only_existing)
            call_refuse(c, ACME_ACCOUNT_DOES_NOT_EXIST, "this key has no account in directory %s", c->directory->name);
        else if (n->refused)
            refuse(c, n);
        else if (db_get_bool(u, 1, 0, COL_account_claim_blocked))
            call_refuse(c, ACME_BAD_PUBLIC_KEY, "this key was reported as compromised");
        else
            call_refuse(c, ACME_UNAUTHORIZED, "the external account binding key is disabled or expired");
        return;
    }
    if (a.status != ST_VALID) {
        call_refuse(c, ACME_UNAUTHORIZED, "the account of this key is %s", acme_status_name(a.status));
        return;
    }
    if (claimed)
        log_info("account.new", KV_IOV("account", a.id), KV_STR("directory", c->directory->name), KV_IOV("eab", a.eab_kid));
    ep_answer_account(c, claimed ? 201 : 200, &a);
}

static void make(struct call *c)
{
    struct new_account *n = c->state;
    pool_t *pool = &c->task.pool;
    struct db_unit *u = call_unit(c);
    iov_t dir = iov_of(c->directory->name), spki = pki_sha256_iov(pool, pki_key_spki(pool, c->key));
    n->id = pki_random_id(pool);
    q_account_claim(u, dir, c->thumbprint, n->id, !n->refused && !n->only_existing, n->eab_kid, spki);
    q_account_insert(u, n->id, dir, c->jwk.canonical, c->thumbprint, n->contacts, n->agreed, n->eab_kid, n->eab_json, c->peer);
    q_event_claimed(u, store_gateway(), iov_of(c->task.id), n->id, IOV("account"), n->id, IOV("new"), n->eab_kid);
    q_account_by_key(u, dir, c->thumbprint);
    call_run(c, u, on_made);
}

static int hash_bits(enum jws_alg a)
{
    return a == JWS_HS256 ? 256 : a == JWS_HS384 ? 384 : 512;
}

static bool eab_verify(struct call *c, struct new_account *n, iov_t key, struct err *e)
{
    uint8_t mac[64];
    struct jwk jwk;
    size_t len = pki_hmac(hash_bits(n->eab.alg), key, n->eab.signing_input, mac);
    if (!pki_equal((iov_t){(char *)mac, len}, n->eab.signature))
        return err_set(e, ACME_UNAUTHORIZED, "the externalAccountBinding's MAC does not verify with the key of this kid");
    json_t *obj = json_parse_object(n->eab.payload, 65536, e);
    bool same = obj != NULL && jwk_parse(&c->task.pool, obj, &jwk, e) && iov_eq(jwk.canonical, c->jwk.canonical);
    json_decref(obj);
    return same || err_set(e, ACME_MALFORMED, "the externalAccountBinding's payload is not the account key");
}

static void on_eab(struct task *t, struct db_unit *u)
{
    struct call *c = CALL_OF(t);
    struct new_account *n = c->state;
    struct err e = ERR_INIT;
    iov_t shown = iov_printable(&t->pool, n->eab.kid, 100);
    if (db_rows(u, 0) == 0)
        err_set(&e, ACME_UNAUTHORIZED, "no external account binding key has kid \"%.*s\"", (int)shown.len, shown.base);
    else if (!db_get_bool(u, 0, 0, COL_eab_find_ok))
        err_set(&e, ACME_UNAUTHORIZED, "the external account binding key \"%.*s\" is disabled, expired or of another directory",
                (int)shown.len, shown.base);
    else if (eab_verify(c, n, db_get_bytea(u, 0, 0, COL_eab_find_hmac_key), &e))
        n->eab_kid = db_get(u, 0, 0, COL_eab_find_kid);
    if (n->eab_kid.base == NULL)
        refuse_new(n, &e);
    jws_dispose(&n->eab);
    n->has_eab = false;
    make(c);
}

/* A binding that is not good keeps a new account from being made; an account that exists is returned all the same. */
static void eab_start(struct call *c, const json_t *eab)
{
    struct new_account *n = c->state;
    struct err e = ERR_INIT;
    if (!jws_from_json(&c->task.pool, eab, JWS_EAB, &n->eab, &e)) {
        refuse_new(n, &e);
        make(c);
        return;
    }
    if (!iov_eq(n->eab.url, c->jws.url)) {
        err_set(&e, ACME_MALFORMED, "the externalAccountBinding's url is not that of this request");
        refuse_new(n, &e);
        jws_dispose(&n->eab);
        make(c);
        return;
    }
    n->eab_json = json_to_iov(&c->task.pool, eab);
    struct db_unit *u = db_unit_new(&c->task);
    q_eab_find(u, n->eab.kid, iov_of(c->directory->name));
    db_run(u, on_eab);
}

void ep_new_account(struct call *c)
{
    struct new_account *n = POOL_NEW(&c->task.pool, struct new_account, 1);
    const struct settings_directory *d = c->directory;
    struct err e = ERR_INIT;
    c->state = n;
    n->only_existing = ep_true(c->payload, "onlyReturnExisting");
    n->agreed = ep_true(c->payload, "termsOfServiceAgreed");
    json_t *contact = ep_member(c->payload, "contact");
    if (contact != NULL && !policy_contacts(&c->task.pool, contact, (size_t)c->settings->limits.contacts_max, &n->contacts, &e))
        refuse_new(n, &e);
    if (d->terms != NULL && d->terms_required && !n->agreed) {
        err_set(&e, ACME_USER_ACTION_REQUIRED, "agree to the terms of service: %s", d->terms);
        refuse_new(n, &e);
    }
    json_t *eab = ep_member(c->payload, "externalAccountBinding");
    if (eab != NULL && d->eab != EAB_OFF && !n->only_existing) {
        eab_start(c, eab);
        return;
    }
    if (d->eab == EAB_REQUIRED) {
        err_set(&e, ACME_EXTERNAL_ACCOUNT_REQUIRED, "%s", "");
        refuse_new(n, &e);
    }
    make(c);
}

/* ---- the account ---- */

static void on_account_read(struct call *c, struct db_unit *u)
{
    struct acme_account a;
    unsigned last = *(unsigned *)c->state;
    if (!store_account_decode(u, last, &a)) {
        call_refuse(c, ACME_ACCOUNT_DOES_NOT_EXIST, "%s", "");
        return;
    }
    if (last > 1) /* something was changed: what this loop remembers is old */
        account_cache_drop(call_loop(c)->accounts, a.id);
    ep_answer_account(c, 200, &a);
}

static void deactivate(struct call *c, struct db_unit *u)
{
    iov_t id = c->account.id;
    struct problem_doc doc = {.err = {.code = ACME_UNAUTHORIZED, .detail = "the account was deactivated"}};
    iov_t error = problem_text(&c->task.pool, &doc);
    q_account_deactivate(u, id);
    q_account_drop_authz(u, id);
    q_account_drop_issuances(u, id, error);
    q_account_drop_jobs(u, id);
    q_account_drop_orders(u, id, error);
    q_event_claimed(u, store_gateway(), iov_of(c->task.id), id, IOV("account"), id, IOV("deactivated"), IOV_NULL);
}

/* Only "deactivated" means something; a client that sends the status it knows changes nothing. */
static bool status_ok(struct call *c, bool *deactivate_out)
{
    const json_t *status = json_object_get(c->payload, "status");
    iov_t v = json_get_iov(c->payload, "status");
    *deactivate_out = iov_is(v, "deactivated");
    return status == NULL || *deactivate_out || iov_is(v, acme_status_name(c->account.status));
}

void ep_account(struct call *c)
{
    struct err e = ERR_INIT;
    struct iovs contacts = {0};
    bool drop = false;
    if (!iov_eq(c->param[0], c->account.id)) {
        call_refuse(c, ACME_UNAUTHORIZED, "this is another account's URL");
        return;
    }
    json_t *contact = ep_member(c->payload, "contact");
    if (contact != NULL && !policy_contacts(&c->task.pool, contact, (size_t)c->settings->limits.contacts_max, &contacts, &e)) {
        call_error(c, &e);
        return;
    }
    if (!status_ok(c, &drop)) {
        call_refuse(c, ACME_MALFORMED, "the only status that can be asked for is \"deactivated\"");
        return;
    }
    struct db_unit *u = call_unit(c);
    bool agree = ep_true(c->payload, "termsOfServiceAgreed");
    if (drop) {
        deactivate(c, u);
    } else if (contact != NULL || agree) {
        q_account_update(u, c->account.id, contact != NULL, contacts, agree);
        q_event_add(u, store_gateway(), iov_of(c->task.id), c->account.id, IOV("account"), c->account.id, IOV("updated"), IOV_NULL);
    }
    unsigned *last = POOL_NEW(&c->task.pool, unsigned, 1);
    *last = q_account_read(u, c->account.id);
    c->state = last;
    call_run(c, u, on_account_read);
}

/* ---- orders list ---- */

static void on_orders(struct call *c, struct db_unit *u)
{
    unsigned rows = db_rows(u, 1), page = (unsigned)c->settings->limits.orders_per_page;
    json_t *list = json_array();
    for (unsigned i = 0; i < rows && i < page; i++)
        json_array_append_new(list, json_str(acme_url_order(&c->task.pool, &c->urls, db_get(u, 1, i, 0))));
    if (rows > page) {
        iov_t url = acme_url_orders(&c->task.pool, &c->urls, c->account.id), last = db_get(u, 1, page - 1, 0);
        call_header(c, "Link", iov_printf(&c->task.pool, "<%.*s?cursor=%.*s>;rel=\"next\"", (int)url.len, url.base,
                                          (int)last.len, last.base));
    }
    call_json(c, 200, json_pack("{s:o}", "orders", list));
}

static iov_t cursor_of(const struct call *c)
{
    static const char key[] = "cursor=";
    iov_t q = c->req != NULL ? c->req->query : IOV_NULL;
    if (q.base == NULL || !iov_starts(q, key))
        return IOV_NULL;
    return (iov_t){q.base + sizeof(key) - 1, q.len - (sizeof(key) - 1)};
}

void ep_orders(struct call *c)
{
    if (!iov_eq(c->param[0], c->account.id)) {
        call_refuse(c, ACME_UNAUTHORIZED, "this URL is another account's");
        return;
    }
    struct db_unit *u = call_unit(c);
    iov_t cursor = cursor_of(c);
    q_account_orders(u, c->account.id, cursor.base != NULL ? iov_dup(&c->task.pool, cursor) : IOV_NULL,
                     c->settings->limits.orders_per_page);
    call_run(c, u, on_orders);
}

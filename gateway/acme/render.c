/* SPDX-License-Identifier: Apache-2.0 */
/* JSON bodies of the objects of RFC 8555 section 7.1: pure functions of the structs. */
#include "acme/objects.h"

#include "acme/problem.h"
#include "base/clock.h"

/* Text that Portico stored itself: problems, a client's EAB. */
enum { STORED_MAX_BYTES = 1 << 20 };

static void put_iov(json_t *obj, const char *key, iov_t value)
{
    if (value.base != NULL)
        json_object_set_new(obj, key, json_str(value));
}

static void put_time(json_t *obj, const char *key, pool_t *pool, int64_t unix_s)
{
    if (unix_s != 0)
        json_object_set_new(obj, key, json_str(clock_rfc3339(pool, unix_s)));
}

static void put_status(json_t *obj, enum acme_status status)
{
    json_object_set_new(obj, "status", json_string(acme_status_name(status)));
}

/* A stored problem. One that cannot be read is shown as a fault of ours rather than left out: the client must not take
 * the object for one without an error. */
static void put_error(json_t *obj, iov_t text)
{
    if (text.base == NULL)
        return;
    struct err why = ERR_INIT;
    json_t *problem = json_parse_object(text, STORED_MAX_BYTES, &why);
    if (problem == NULL)
        problem = problem_json(&(struct problem_doc){.err = {.detail = "the stored error cannot be read"}});
    json_object_set_new(obj, "error", problem);
}

json_t *acme_account_json(pool_t *pool, const struct acme_urls *u, const struct acme_account *a)
{
    json_t *obj = json_object(), *contacts = json_array();
    put_status(obj, a->status);
    for (size_t i = 0; i < a->contacts.n; i++)
        json_array_append_new(contacts, json_str(a->contacts.v[i]));
    json_object_set_new(obj, "contact", contacts);
    if (a->terms_agreed)
        json_object_set_new(obj, "termsOfServiceAgreed", json_true());
    put_iov(obj, "orders", acme_url_orders(pool, u, a->id));
    struct err why = ERR_INIT;
    json_t *binding = a->eab_json.base == NULL ? NULL
                                               : json_parse_object(a->eab_json, STORED_MAX_BYTES, &why);
    if (binding != NULL)
        json_object_set_new(obj, "externalAccountBinding", binding);
    return obj;
}

static json_t *identifier_list(const struct ident *idents, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, ident_json(&idents[i]));
    return list;
}

json_t *acme_order_json(pool_t *pool, const struct acme_urls *u, const struct acme_order *o)
{
    json_t *obj = json_object(), *authzs = json_array();
    put_status(obj, o->status);
    put_time(obj, "expires", pool, o->expires_at);
    json_object_set_new(obj, "identifiers", identifier_list(o->idents, o->n_idents));
    put_iov(obj, "profile", o->profile);
    put_time(obj, "notBefore", pool, o->not_before);
    put_time(obj, "notAfter", pool, o->not_after);
    put_error(obj, o->error);
    for (size_t i = 0; i < o->authz_ids.n; i++)
        json_array_append_new(authzs, json_str(acme_url_authz(pool, u, o->authz_ids.v[i])));
    json_object_set_new(obj, "authorizations", authzs);
    put_iov(obj, "finalize", acme_url_finalize(pool, u, o->id));
    if (o->certificate_id.base != NULL)
        put_iov(obj, "certificate", acme_url_cert(pool, u, o->certificate_id, 0));
    put_iov(obj, "replaces", o->replaces);
    return obj;
}

json_t *acme_challenge_json(pool_t *pool, const struct acme_urls *u, iov_t authz_id,
                            const struct acme_challenge *c)
{
    json_t *obj = json_object();
    put_iov(obj, "type", c->type);
    put_iov(obj, "url", acme_url_challenge(pool, u, authz_id, c->type));
    put_status(obj, c->status);
    put_iov(obj, "token", c->token);
    put_time(obj, "validated", pool, c->validated_at);
    put_error(obj, c->error);
    return obj;
}

static enum acme_status authz_status(const struct acme_authz *a, int64_t now)
{
    bool can_expire = a->status == ST_PENDING || a->status == ST_VALID;
    return can_expire && a->expires_at != 0 && a->expires_at <= now ? ST_EXPIRED : a->status;
}

/* The challenges a client is shown: all, or those of one status when there are any. */
static json_t *challenge_list(pool_t *pool, const struct acme_urls *u, const struct acme_authz *a,
                              enum acme_status only)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_challenges; i++)
        if (only == ST_COUNT || a->challenges[i].status == only)
            json_array_append_new(list, acme_challenge_json(pool, u, a->id, &a->challenges[i]));
    if (json_array_size(list) != 0 || only == ST_COUNT)
        return list;
    json_decref(list);
    return challenge_list(pool, u, a, ST_COUNT);
}

json_t *acme_authz_json(pool_t *pool, const struct acme_urls *u, const struct acme_authz *a, int64_t now)
{
    json_t *obj = json_object();
    json_object_set_new(obj, "identifier", ident_json(&a->ident));
    put_status(obj, authz_status(a, now));
    put_time(obj, "expires", pool, a->expires_at);
    enum acme_status only = a->status == ST_PENDING   ? ST_COUNT
                            : a->status == ST_INVALID ? ST_INVALID
                                                      : ST_VALID;
    json_object_set_new(obj, "challenges", challenge_list(pool, u, a, only));
    if (a->wildcard)
        json_object_set_new(obj, "wildcard", json_true());
    return obj;
}

static void put_resource(json_t *obj, pool_t *pool, const struct acme_urls *u, const char *key,
                         const char *path)
{
    put_iov(obj, key, iov_printf(pool, "%.*s/%s", (int)u->base.len, u->base.base, path));
}

static json_t *directory_meta(const struct acme_directory *d)
{
    json_t *meta = json_object();
    put_iov(meta, "termsOfService", iov_of(d->terms));
    put_iov(meta, "website", iov_of(d->website));
    if (d->n_caa != 0) {
        json_t *caa = json_array();
        for (size_t i = 0; i < d->n_caa; i++)
            json_array_append_new(caa, json_str(iov_of(d->caa[i])));
        json_object_set_new(meta, "caaIdentities", caa);
    }
    json_object_set_new(meta, "externalAccountRequired", json_boolean(d->external_account_required));
    if (d->n_profiles != 0) {
        json_t *profiles = json_object();
        for (size_t i = 0; i < d->n_profiles; i++) {
            const char *text = d->profiles[i].description;
            json_object_set_new(profiles, d->profiles[i].name,
                                json_str(text == NULL ? IOV("") : iov_of(text)));
        }
        json_object_set_new(meta, "profiles", profiles);
    }
    if (d->idempotent_authz)
        json_object_set_new(meta, "newAuthzExpires", json_true());
    return meta;
}

json_t *acme_directory_json(pool_t *pool, const struct acme_urls *u, const struct acme_directory *d)
{
    json_t *obj = json_object();
    put_resource(obj, pool, u, "newNonce", "new-nonce");
    put_resource(obj, pool, u, "newAccount", "new-account");
    put_resource(obj, pool, u, "newOrder", "new-order");
    put_resource(obj, pool, u, "newAuthz", "new-authz");
    put_resource(obj, pool, u, "revokeCert", "revoke-cert");
    put_resource(obj, pool, u, "keyChange", "key-change");
    json_object_set_new(obj, "meta", directory_meta(d));
    return obj;
}

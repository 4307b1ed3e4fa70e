/* SPDX-License-Identifier: Apache-2.0 */
/* The objects of RFC 8555 section 7.1 as plain structs, their states with the edges between them (state.def), and
 * their JSON bodies. Memory belongs to the pool of whoever filled them. */
#ifndef PORTICO_OBJECTS_H
#define PORTICO_OBJECTS_H

#include "acme/ident.h"

enum acme_status {
    ST_PENDING, ST_READY, ST_PROCESSING, ST_VALID, ST_INVALID, ST_DEACTIVATED, ST_EXPIRED, ST_REVOKED, ST_COUNT
};
const char *acme_status_name(enum acme_status s);
bool acme_status_parse(iov_t text, enum acme_status *out) MUST_CHECK;

/* The edge tables (state.def). True when event leads from `from` somewhere; *to_out is where. */
enum acme_object { OBJ_ACCOUNT, OBJ_ORDER, OBJ_AUTHZ, OBJ_CHALLENGE };
enum acme_event {
    EV_AUTHORIZED, EV_FAILED, EV_FINALIZE, EV_ISSUED, EV_DEACTIVATE, EV_EXPIRE, EV_REVOKE, EV_RESPOND, EV_COUNT
};
bool acme_edge(enum acme_object o, enum acme_status from, enum acme_event ev, enum acme_status *to_out);

struct acme_account {
    iov_t id, directory, thumbprint, jwk;
    enum acme_status status;
    int64_t key_gen;
    struct iovs contacts;
    bool terms_agreed;
    iov_t eab_kid, eab_json; /* the binding as the client sent it; IOV_NULL if none */
};

struct acme_challenge {
    iov_t type, token;
    enum acme_status status;
    int64_t validated_at;  /* 0: not */
    iov_t error;           /* problem text; IOV_NULL if none */
    iov_t tried;           /* JSON array text; IOV_NULL if none */
};

struct acme_authz {
    iov_t id, account_id, directory;
    struct ident ident;    /* base name */
    bool wildcard;
    enum acme_status status;
    int64_t expires_at;
    struct acme_challenge *challenges;
    size_t n_challenges;
};

struct acme_order {
    iov_t id, account_id, directory, profile;
    enum acme_status status;
    int64_t expires_at, created_at;
    int64_t not_before, not_after; /* requested; 0: absent */
    struct ident *idents;
    size_t n_idents;
    struct iovs authz_ids;
    iov_t error;           /* problem text; IOV_NULL if none */
    iov_t certificate_id;  /* IOV_NULL until valid */
    iov_t csr_sha256;      /* IOV_NULL before finalize */
    iov_t replaces;        /* IOV_NULL if none */
    unsigned retry_after_s; /* hint learnt from the backend; 0: none */
};

/* URLs are base + path: base is public_url + "/acme/" + directory, no trailing slash. All in pool. */
struct acme_urls {
    iov_t base;
};
iov_t acme_url_account(pool_t *pool, const struct acme_urls *u, iov_t id);    /* base/account/ID */
iov_t acme_url_orders(pool_t *pool, const struct acme_urls *u, iov_t account_id); /* base/account/ID/orders */
iov_t acme_url_order(pool_t *pool, const struct acme_urls *u, iov_t id);      /* base/order/ID */
iov_t acme_url_finalize(pool_t *pool, const struct acme_urls *u, iov_t id);   /* base/order/ID/finalize */
iov_t acme_url_authz(pool_t *pool, const struct acme_urls *u, iov_t id);      /* base/authz/ID */
iov_t acme_url_challenge(pool_t *pool, const struct acme_urls *u, iov_t authz_id, iov_t type); /* base/challenge/AUTHZ/TYPE */
iov_t acme_url_cert(pool_t *pool, const struct acme_urls *u, iov_t id, unsigned chain); /* base/cert/ID, base/cert/ID/1.. */

/* New references. */
json_t *acme_account_json(pool_t *pool, const struct acme_urls *u, const struct acme_account *a);
json_t *acme_order_json(pool_t *pool, const struct acme_urls *u, const struct acme_order *o);
/* In a valid authorization only the challenge that proved it is shown; in an invalid one only the failed one
 * (RFC 8555 7.1.4); one whose expiry has passed is shown as expired. now: unix seconds. */
json_t *acme_authz_json(pool_t *pool, const struct acme_urls *u, const struct acme_authz *a, int64_t now);
json_t *acme_challenge_json(pool_t *pool, const struct acme_urls *u, iov_t authz_id, const struct acme_challenge *c);

/* The directory object with its meta (RFC 8555 7.1.1, draft-ietf-acme-profiles): newNonce, newAccount, newOrder,
 * newAuthz, revokeCert, keyChange; base/new-nonce, base/new-account, ... */
struct acme_directory {
    const char *terms, *website;          /* NULL: absent */
    const char *const *caa; size_t n_caa;
    bool external_account_required;
    const struct acme_profile_text { const char *name, *description; } *profiles; size_t n_profiles;
    bool idempotent_authz;                /* newAuthz understands "expires" */
};
json_t *acme_directory_json(pool_t *pool, const struct acme_urls *u, const struct acme_directory *d);

#endif

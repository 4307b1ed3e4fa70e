/* SPDX-License-Identifier: Apache-2.0 */
/* Orders, authorizations and challenges as rows. Builders add statements to a unit; decoders fill structs in the unit's
 * task pool. Loop thread. */
#ifndef PORTICO_STORE_ORDER_H
#define PORTICO_STORE_ORDER_H

#include "acme/objects.h"
#include "io/db.h"

/* Who acts, for the audit trail. */
struct store_actor {
    iov_t gateway, request_id, account_id;
};

/* "dns:NAME" / "ip:ADDRESS", as rows keep identifiers; the base name when base is set. */
enum store_ident_form { STORE_IDENT_FULL, STORE_IDENT_BASE };
iov_t store_ident_text(pool_t *pool, const struct ident *id, enum store_ident_form form);
/* Back again; what a row holds was checked when it was written. */
struct ident store_ident_of(iov_t text);

struct store_new_order {
    struct acme_order order;     /* id, account_id, directory, profile, idents, not_before, not_after, replaces */
    struct iovs names;           /* sorted texts of idents */
    struct iovs backends;        /* the route */
    iov_t route;                 /* why */
    struct iovs types;           /* challenge types offered, in order; wildcards get dns-01 alone */
    struct iovs methods;         /* challenge types whose proof is accepted */
    int64_t order_ttl_s, authz_ttl_s;
    bool reuse_pending;
    struct iovs random;          /* store_order_random() random ids: those and the tokens of the authorizations */
};
size_t store_order_random(size_t n_idents, size_t n_types);
/* Adds every statement of newOrder; returns the index of the order_read. */
unsigned store_order_new(struct db_unit *u, struct task *t, const struct store_new_order *n, const struct store_actor *a);

unsigned store_order_read(struct db_unit *u, iov_t id);
/* False: no such row (or the gate did not pass). */
bool store_order_decode(struct task *t, const struct db_unit *u, unsigned stmt, struct acme_order *out);
/* The issuance an order waits for, IOV_NULL if none; and the first backend of its route. */
iov_t store_order_issuance(const struct db_unit *u, unsigned stmt);
iov_t store_order_backend(const struct db_unit *u, unsigned stmt);

struct store_new_authz {
    iov_t id, account_id, directory;
    struct ident ident;
    struct iovs types, methods;
    int64_t want;   /* unix seconds that a valid one must last; 0: always a new one */
    int64_t ttl_s;
    struct iovs random; /* one random id per type: the tokens */
};
/* Adds newAuthz; *claim_out is the index of its claim (found?), the result that of the authz_read. */
unsigned store_authz_new(struct db_unit *u, struct task *t, const struct store_new_authz *n, const struct store_actor *a,
                         unsigned *claim_out);
unsigned store_authz_read(struct db_unit *u, iov_t id);
bool store_authz_decode(struct task *t, const struct db_unit *u, unsigned stmt, struct acme_authz *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Accounts, EAB keys and the gate statements that begin every ACME unit. Builders add statements to a unit and return
 * their index; decoders fill structs whose memory is the unit's task pool. Loop thread. */
#ifndef PORTICO_STORE_ACCOUNT_H
#define PORTICO_STORE_ACCOUNT_H

#include "acme/objects.h"
#include "io/db.h"

/* What a request was verified with. */
struct store_pass {
    iov_t nonce, tag; /* tag: IOV_NULL before the first unit; then every later unit of the request passes it on */
    int64_t slot;
    iov_t account_id; /* IOV_NULL: signed with a jwk */
    int64_t key_gen;
};
/* First statement of a request's unit: spends the nonce (or shows that it is ours already) and checks the account. Sets
 * p->tag. */
unsigned store_gate(struct db_unit *u, struct store_pass *p);
/* For db_unit_lock_key: units of one account stand together in a batch, and in it those of one order; object may be
 * IOV_NULL. Without it batches that lock two orders crosswise would wait for each other. */
uint64_t store_lock_key(iov_t account_id, iov_t object_id);

struct store_gate_result {
    bool ok;        /* the unit's other statements ran */
    bool nonce_ok;  /* false: badNonce */
    bool known;     /* the account exists */
    enum acme_status status;
    int64_t key_gen;
    iov_t eab_kid, eab_policy;
    bool eab_ok;    /* no EAB key, or one that is good now */
};
struct store_gate_result store_gate_result(const struct db_unit *u, unsigned stmt, const struct store_pass *p);

/* From account_load, account_by_key and account_read alike. False: no row. eab_policy_out may be NULL. */
bool store_account_decode(const struct db_unit *u, unsigned stmt, struct acme_account *out);
/* Of account_load only. */
iov_t store_account_eab_policy(const struct db_unit *u, unsigned stmt);

#endif

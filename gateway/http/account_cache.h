/* SPDX-License-Identifier: Apache-2.0 */
/* Account keys of one loop: what a kid resolves to without asking the database. Only valid accounts are kept, and every
 * unit checks status and key generation again, so a stale entry costs a second look, never a wrong answer. */
#ifndef PORTICO_ACCOUNT_CACHE_H
#define PORTICO_ACCOUNT_CACHE_H

#include "acme/objects.h"
#include "io/pki.h"

struct account_cache;
struct account_entry {
    struct acme_account account;
    struct pki_key *key;
    iov_t eab_policy;
};

struct account_cache *account_cache_new(void);
void account_cache_free(struct account_cache *c);
/* NULL when absent; good until the next put or drop. */
const struct account_entry *account_cache_get(struct account_cache *c, iov_t id);
/* Copies; takes its own reference on the key. */
void account_cache_put(struct account_cache *c, const struct account_entry *e);
void account_cache_drop(struct account_cache *c, iov_t id);

#endif

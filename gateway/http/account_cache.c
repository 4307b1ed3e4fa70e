/* SPDX-License-Identifier: Apache-2.0 */
/* Direct-mapped: a newcomer evicts whoever sits in its place. Nothing to tune, bounded, O(1). */
#include "http/account_cache.h"
#include <stdlib.h>

#define PLACES 8192

struct place {
    pool_t pool; /* owns the entry's bytes; in use when key is set */
    struct account_entry entry;
};
struct account_cache {
    struct place *place[PLACES];
};

static struct place **place_of(struct account_cache *c, iov_t id)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < id.len; i++)
        h = (h ^ (uint8_t)id.base[i]) * 1099511628211u;
    return &c->place[h % PLACES];
}

static void place_clear(struct place **p)
{
    if (*p == NULL)
        return;
    pki_key_unref((*p)->entry.key);
    h2o_mem_clear_pool(&(*p)->pool);
    free(*p);
    *p = NULL;
}

struct account_cache *account_cache_new(void)
{
    return base_zalloc(sizeof(struct account_cache));
}

void account_cache_free(struct account_cache *c)
{
    for (size_t i = 0; i < PLACES; i++)
        place_clear(&c->place[i]);
    free(c);
}

const struct account_entry *account_cache_get(struct account_cache *c, iov_t id)
{
    struct place **p = place_of(c, id);
    return *p != NULL && iov_eq((*p)->entry.account.id, id) ? &(*p)->entry : NULL;
}

static iov_t keep(pool_t *pool, iov_t s)
{
    return s.base != NULL ? iov_dup(pool, s) : IOV_NULL;
}

void account_cache_put(struct account_cache *c, const struct account_entry *e)
{
    struct place **at = place_of(c, e->account.id), *p = base_zalloc(sizeof(*p));
    h2o_mem_init_pool(&p->pool);
    p->entry = *e;
    struct acme_account *a = &p->entry.account;
    iov_t *text[] = {&a->id, &a->directory, &a->thumbprint, &a->jwk, &a->eab_kid, &a->eab_json, &p->entry.eab_policy};
    for (size_t i = 0; i < COUNTOF(text); i++)
        *text[i] = keep(&p->pool, *text[i]);
    a->contacts = (struct iovs){0};
    for (size_t i = 0; i < e->account.contacts.n; i++)
        iovs_add(&p->pool, &a->contacts, iov_dup(&p->pool, e->account.contacts.v[i]));
    p->entry.key = pki_key_ref(e->key);
    place_clear(at);
    *at = p;
}

void account_cache_drop(struct account_cache *c, iov_t id)
{
    struct place **p = place_of(c, id);
    if (*p != NULL && iov_eq((*p)->entry.account.id, id))
        place_clear(p);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Connections per address over all loops: a chained hash table under a lock that is taken once per connection
 * and once per close. It holds no more entries than there are connections. */
#include "io/serve_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define SLOTS 4096

struct entry {
    struct entry *next;
    struct serve_ip_key key;
    unsigned n;
};

struct serve_ip {
    pthread_mutex_t lock;
    unsigned max;
    uint64_t seed; /* clients must not choose who shares a chain with whom */
    struct entry *slot[SLOTS];
};

struct serve_ip *serve_ip_new(unsigned max)
{
    struct serve_ip *t = base_zalloc(sizeof(*t));
    pthread_mutex_init(&t->lock, NULL);
    t->max = max;
    /* Without entropy (a kernel that just booted) chains are merely predictable. */
    (void)!getrandom(&t->seed, sizeof(t->seed), GRND_NONBLOCK);
    return t;
}

void serve_ip_free(struct serve_ip *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < SLOTS; i++) {
        while (t->slot[i] != NULL) {
            struct entry *e = t->slot[i];
            t->slot[i] = e->next;
            free(e);
        }
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static struct entry **find(struct serve_ip *t, const struct serve_ip_key *key)
{
    uint64_t h = t->seed;
    for (size_t i = 0; i < sizeof(key->bytes); i++) {
        h = (h ^ key->bytes[i]) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    struct entry **e = &t->slot[h % SLOTS];
    while (*e != NULL && memcmp(&(*e)->key, key, sizeof(*key)) != 0)
        e = &(*e)->next;
    return e;
}

bool serve_ip_enter(struct serve_ip *t, const struct serve_ip_key *key)
{
    pthread_mutex_lock(&t->lock);
    struct entry **at = find(t, key);
    bool ok = *at == NULL || (*at)->n < t->max;
    if (*at == NULL) {
        *at = base_zalloc(sizeof(**at));
        (*at)->key = *key;
    }
    if (ok)
        (*at)->n++;
    pthread_mutex_unlock(&t->lock);
    return ok;
}

void serve_ip_leave(struct serve_ip *t, const struct serve_ip_key *key)
{
    pthread_mutex_lock(&t->lock);
    struct entry **at = find(t, key), *e = *at;
    if (e != NULL && --e->n == 0) {
        *at = e->next;
        free(e);
    }
    pthread_mutex_unlock(&t->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What every file may use: attributes, array sizes, and h2o's pools and byte strings, which are Portico's
 * own. A pool belongs to one thread at a time; out of memory is fatal, so nothing here is ever
 * NULL-checked. */
#ifndef PORTICO_BASE_H
#define PORTICO_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <h2o/memory.h>
#include <h2o/string_.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_FMT(fmt, first) __attribute__((format(printf, fmt, first)))
#define UNUSED __attribute__((unused))
#define COUNTOF(a) (sizeof(a) / sizeof(*(a)))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* A byte string: not NUL-terminated unless the name says _cstr. An absent one has base == NULL; an empty one
 * has len == 0 and a non-NULL base. */
typedef h2o_iovec_t iov_t;
typedef h2o_mem_pool_t pool_t;

#define IOV(literal) ((iov_t){(char *)("" literal ""), sizeof(literal) - 1})
#define IOV_NULL ((iov_t){NULL, 0})

/* n zeroed objects of a type, owned by the pool. */
#define POOL_NEW(pool, type, n) ((type *)pool_zalloc((pool), sizeof(type) * (size_t)(n)))

/* Zeroed bytes owned by the pool. Never NULL. */
void *pool_zalloc(pool_t *pool, size_t bytes);
/* A heap block; aborts when there is no memory. Release with free(). */
void *base_zalloc(size_t bytes);

/* Views a C string (NULL gives IOV_NULL); owns nothing. */
iov_t iov_of(const char *cstr);
bool iov_eq(iov_t a, iov_t b);
bool iov_is(iov_t a, const char *cstr);
/* ASCII case folded. */
bool iov_ieq(iov_t a, iov_t b);
bool iov_starts(iov_t s, const char *prefix);
bool iov_ends(iov_t s, const char *suffix);
/* Copies into the pool and adds a NUL beyond len, so that .base also serves as a C string. */
iov_t iov_dup(pool_t *pool, iov_t s);
/* The same as a C string for library borders. A NUL inside s is the caller's to refuse first. */
char *iov_cstr(pool_t *pool, iov_t s);
/* printf into the pool; NUL-terminated beyond len. */
iov_t iov_printf(pool_t *pool, const char *fmt, ...) PRINTF_FMT(2, 3);
/* Lower-case hexadecimal. */
iov_t iov_hex(pool_t *pool, iov_t bytes);
/* At most max bytes of s made printable: other bytes become '?' and a cut is shown by "...". For details and
 * logs. */
iov_t iov_printable(pool_t *pool, iov_t s, size_t max);
/* Decimal, digits only, no sign, no overflow. */
bool iov_to_u64(iov_t s, uint64_t *out) MUST_CHECK;

/* A growing list of byte strings in a pool. */
struct iovs {
    iov_t *v;
    size_t n, cap;
};
void iovs_add(pool_t *pool, struct iovs *list, iov_t s);
bool iovs_has(const struct iovs *list, iov_t s);
/* memcmp order, shorter first among equals. */
void iovs_sort(struct iovs *list);

/* Numbers that somebody else owns. */
struct ints {
    const int64_t *v;
    size_t n;
};

/* A growing text buffer in a pool: write freely, read .text at the end (NUL beyond len). */
struct sbuf {
    pool_t *pool;
    iov_t text;
    size_t cap;
};
void sbuf_init(struct sbuf *b, pool_t *pool);
void sbuf_add(struct sbuf *b, iov_t s);
void sbuf_puts(struct sbuf *b, const char *cstr);
void sbuf_printf(struct sbuf *b, const char *fmt, ...) PRINTF_FMT(2, 3);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Byte strings, lists of them and text buffers in h2o's pools. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ROOM_MIN 64

void *pool_zalloc(pool_t *pool, size_t bytes)
{
    return memset(h2o_mem_alloc_pool(pool, bytes ? bytes : 1), 0, bytes);
}

void *base_zalloc(size_t bytes)
{
    return memset(h2o_mem_alloc(bytes ? bytes : 1), 0, bytes);
}

/* ---- byte strings ---- */

iov_t iov_of(const char *cstr)
{
    return cstr == NULL ? IOV_NULL : (iov_t){(char *)cstr, strlen(cstr)};
}

bool iov_eq(iov_t a, iov_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

bool iov_is(iov_t a, const char *cstr)
{
    return iov_eq(a, iov_of(cstr));
}

static char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool iov_ieq(iov_t a, iov_t b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower(a.base[i]) != ascii_lower(b.base[i]))
            return false;
    }
    return true;
}

bool iov_starts(iov_t s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.len >= n && (n == 0 || memcmp(s.base, prefix, n) == 0);
}

bool iov_ends(iov_t s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.len >= n && (n == 0 || memcmp(s.base + s.len - n, suffix, n) == 0);
}

iov_t iov_dup(pool_t *pool, iov_t s)
{
    if (s.base == NULL)
        return IOV_NULL;
    char *copy = h2o_mem_alloc_pool(pool, s.len + 1);
    memcpy(copy, s.base, s.len);
    copy[s.len] = '\0';
    return (iov_t){copy, s.len};
}

char *iov_cstr(pool_t *pool, iov_t s)
{
    return iov_dup(pool, s).base;
}

static iov_t vprintf_pool(pool_t *pool, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (len < 0) { /* a broken format or more than INT_MAX bytes: a bug of the caller */
        fprintf(stderr, "iov_printf: cannot format \"%s\"\n", fmt);
        abort();
    }
    char *text = h2o_mem_alloc_pool(pool, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    return (iov_t){text, (size_t)len};
}

iov_t iov_printf(pool_t *pool, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    iov_t text = vprintf_pool(pool, fmt, args);
    va_end(args);
    return text;
}

iov_t iov_hex(pool_t *pool, iov_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *text = h2o_mem_alloc_pool(pool, bytes.len * 2 + 1);
    for (size_t i = 0; i < bytes.len; i++) {
        text[2 * i] = digits[(unsigned char)bytes.base[i] >> 4];
        text[2 * i + 1] = digits[(unsigned char)bytes.base[i] & 15];
    }
    text[bytes.len * 2] = '\0';
    return (iov_t){text, bytes.len * 2};
}

iov_t iov_printable(pool_t *pool, iov_t s, size_t max)
{
    bool cut = s.len > max;
    size_t n = cut ? max : s.len;
    char *text = h2o_mem_alloc_pool(pool, n + sizeof("..."));
    for (size_t i = 0; i < n; i++)
        text[i] = s.base[i] >= 0x20 && s.base[i] < 0x7f ? s.base[i] : '?';
    memcpy(text + n, "...", sizeof("..."));
    if (!cut)
        text[n] = '\0';
    return (iov_t){text, cut ? n + 3 : n};
}

bool iov_to_u64(iov_t s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.base[i] < '0' || s.base[i] > '9')
            return false;
        unsigned digit = (unsigned)(s.base[i] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* ---- lists ---- */

void iovs_add(pool_t *pool, struct iovs *list, iov_t s)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 8;
        iov_t *grown = h2o_mem_alloc_pool(pool, cap * sizeof(*grown));
        if (list->n > 0)
            memcpy(grown, list->v, list->n * sizeof(*grown));
        list->v = grown;
        list->cap = cap;
    }
    list->v[list->n++] = s;
}

bool iovs_has(const struct iovs *list, iov_t s)
{
    for (size_t i = 0; i < list->n; i++) {
        if (iov_eq(list->v[i], s))
            return true;
    }
    return false;
}

static int compare(const void *a_, const void *b_)
{
    const iov_t *a = a_, *b = b_;
    size_t n = a->len < b->len ? a->len : b->len;
    int order = n == 0 ? 0 : memcmp(a->base, b->base, n);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

void iovs_sort(struct iovs *list)
{
    if (list->n > 1)
        qsort(list->v, list->n, sizeof(*list->v), compare);
}

/* ---- text buffers ---- */

void sbuf_init(struct sbuf *b, pool_t *pool)
{
    *b = (struct sbuf){.pool = pool, .text = {h2o_mem_alloc_pool(pool, ROOM_MIN), 0}, .cap = ROOM_MIN};
    b->text.base[0] = '\0';
}

void sbuf_add(struct sbuf *b, iov_t s)
{
    size_t need = b->text.len + s.len + 1;
    if (need > b->cap) {
        size_t cap = need > b->cap * 2 ? need : b->cap * 2;
        char *grown = h2o_mem_alloc_pool(b->pool, cap);
        memcpy(grown, b->text.base, b->text.len);
        b->text.base = grown;
        b->cap = cap;
    }
    if (s.len > 0)
        memcpy(b->text.base + b->text.len, s.base, s.len);
    b->text.len += s.len;
    b->text.base[b->text.len] = '\0';
}

void sbuf_puts(struct sbuf *b, const char *cstr)
{
    sbuf_add(b, iov_of(cstr));
}

void sbuf_printf(struct sbuf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    size_t room = b->cap - b->text.len;
    int len = vsnprintf(b->text.base + b->text.len, room, fmt, args);
    if (len >= 0 && (size_t)len < room)
        b->text.len += (size_t)len;
    else
        sbuf_add(b, vprintf_pool(b->pool, fmt, again));
    va_end(again);
    va_end(args);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Strict DER reader and writer. Lengths are checked against what is left before anything is read, and nothing
 * recurses: depth is the caller's code. */
#include "base/der.h"

#include <assert.h>
#include <time.h>

struct der der_of(iov_t bytes)
{
    /* NULL + 0 is undefined in C. */
    const uint8_t *p = (const uint8_t *)(bytes.base != NULL ? bytes.base : "");
    return (struct der){p, p + bytes.len};
}

bool der_done(const struct der *d)
{
    return d->p == d->end;
}

uint8_t der_peek(const struct der *d)
{
    return d->p == d->end ? 0 : *d->p;
}

/* X.690 8.1.3 and 10.1: definite, in the fewest bytes. */
static bool read_length(const uint8_t **pp, const uint8_t *end, size_t *len_out)
{
    const uint8_t *p = *pp;
    if (p == end)
        return false;
    size_t len = *p++;
    if (len >= 0x80) {
        size_t n = len & 0x7f;
        if (n == 0 || n > 4 || (size_t)(end - p) < n || *p == 0)
            return false;
        for (len = 0; n > 0; n--)
            len = len << 8 | *p++;
        if (len < 0x80)
            return false;
    }
    if ((size_t)(end - p) < len)
        return false;
    *pp = p;
    *len_out = len;
    return true;
}

bool der_next(struct der *d, struct der_item *out)
{
    const uint8_t *p = d->p;
    if (p == d->end || (*p & 0x1f) == 0x1f)
        return false;
    out->tag = *p++;
    size_t len;
    if (!read_length(&p, d->end, &len))
        return false;
    out->value = (iov_t){(char *)p, len};
    out->whole = (iov_t){(char *)d->p, (size_t)(p - d->p) + len};
    d->p = p + len;
    return true;
}

bool der_want(struct der *d, uint8_t tag, struct der_item *out)
{
    return der_peek(d) == tag && der_next(d, out);
}

bool der_enter(struct der *d, uint8_t tag, struct der *inner)
{
    struct der_item item;
    if (!der_want(d, tag, &item))
        return false;
    *inner = der_of(item.value);
    return true;
}

bool der_only(iov_t bytes, uint8_t tag, struct der *inner)
{
    struct der d = der_of(bytes);
    return bytes.base != NULL && der_enter(&d, tag, inner) && der_done(&d);
}

bool der_uint(struct der *d, iov_t *magnitude_out)
{
    struct der at = *d;
    struct der_item item;
    if (!der_want(&at, DER_INTEGER, &item) || item.value.len == 0)
        return false;
    const uint8_t *p = (const uint8_t *)item.value.base;
    if ((p[0] & 0x80) != 0 || (p[0] == 0 && item.value.len > 1 && (p[1] & 0x80) == 0))
        return false;
    *magnitude_out = item.value;
    if (p[0] == 0 && item.value.len > 1)
        *magnitude_out = (iov_t){item.value.base + 1, item.value.len - 1};
    *d = at;
    return true;
}

bool der_u64(struct der *d, uint64_t *out)
{
    struct der at = *d;
    iov_t m;
    if (!der_uint(&at, &m) || m.len > 8)
        return false;
    *out = 0;
    for (size_t i = 0; i < m.len; i++)
        *out = *out << 8 | (uint8_t)m.base[i];
    *d = at;
    return true;
}

bool der_boolean(struct der *d, bool *out)
{
    struct der at = *d;
    struct der_item item;
    if (!der_want(&at, DER_BOOLEAN, &item) || item.value.len != 1)
        return false;
    uint8_t b = (uint8_t)item.value.base[0];
    if (b != 0 && b != 0xff)
        return false;
    *out = b != 0;
    *d = at;
    return true;
}

bool der_bits(struct der *d, iov_t *out)
{
    struct der at = *d;
    struct der_item item;
    if (!der_want(&at, DER_BIT_STRING, &item) || item.value.len == 0 || item.value.base[0] != 0)
        return false;
    *out = (iov_t){item.value.base + 1, item.value.len - 1};
    *d = at;
    return true;
}

static bool two_digits(const char *p, int *out)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return false;
    *out = (p[0] - '0') * 10 + (p[1] - '0');
    return true;
}

bool der_time(struct der *d, int64_t *unix_s_out)
{
    struct der at = *d;
    struct der_item item;
    if (!der_next(&at, &item) || (item.tag != DER_UTC_TIME && item.tag != DER_GENERALIZED_TIME))
        return false;
    const char *p = item.value.base;
    int century = -1, f[6];
    if (item.value.len != (item.tag == DER_UTC_TIME ? 13 : 15) || p[item.value.len - 1] != 'Z')
        return false;
    if (item.tag == DER_GENERALIZED_TIME) {
        if (!two_digits(p, &century))
            return false;
        p += 2;
    }
    for (size_t i = 0; i < 6; i++) {
        if (!two_digits(p + 2 * i, &f[i]))
            return false;
    }
    if (century < 0)
        century = f[0] >= 50 ? 19 : 20;
    struct tm tm = {.tm_year = century * 100 + f[0] - 1900,
                    .tm_mon = f[1] - 1,
                    .tm_mday = f[2],
                    .tm_hour = f[3],
                    .tm_min = f[4],
                    .tm_sec = f[5]};
    struct tm want = tm;
    time_t t = timegm(&tm); /* normalizes, so that the 31st of June shows */
    if (tm.tm_mon != want.tm_mon || tm.tm_mday != want.tm_mday || tm.tm_hour != want.tm_hour ||
        tm.tm_min != want.tm_min || tm.tm_sec != want.tm_sec)
        return false;
    *unix_s_out = t;
    *d = at;
    return true;
}

bool der_extension(struct der *d, struct der_ext *out)
{
    struct der at = *d, in;
    struct der_item ext, item;
    if (!der_want(&at, DER_SEQUENCE, &ext))
        return false;
    in = der_of(ext.value);
    if (!der_want(&in, DER_OID, &item))
        return false;
    *out = (struct der_ext){.oid = item.value, .whole = ext.whole};
    if (der_peek(&in) == DER_BOOLEAN && !der_boolean(&in, &out->critical))
        return false;
    if (!der_want(&in, DER_OCTET_STRING, &item) || !der_done(&in))
        return false;
    out->value = item.value;
    *d = at;
    return true;
}

iov_t der_oid_text(pool_t *pool, iov_t oid)
{
    struct sbuf text;
    sbuf_init(&text, pool);
    uint64_t arc = 0;
    bool first = true, inside = false;
    for (size_t i = 0; i < oid.len; i++) {
        uint8_t b = (uint8_t)oid.base[i];
        if ((!inside && b == 0x80) || arc >> 56 != 0)
            return IOV_NULL;
        arc = arc << 7 | (b & 0x7f);
        inside = (b & 0x80) != 0;
        if (inside)
            continue;
        if (first) {
            unsigned top = arc < 80 ? (unsigned)arc / 40 : 2;
            sbuf_printf(&text, "%u.%llu", top, (unsigned long long)(arc - 40 * top));
        } else {
            sbuf_printf(&text, ".%llu", (unsigned long long)arc);
        }
        first = false;
        arc = 0;
    }
    return first || inside ? IOV_NULL : text.text;
}

static void put_arc(struct sbuf *out, uint64_t arc)
{
    uint8_t bytes[10];
    size_t n = sizeof(bytes);
    bytes[--n] = arc & 0x7f;
    while ((arc >>= 7) != 0)
        bytes[--n] = 0x80 | (arc & 0x7f);
    sbuf_add(out, (iov_t){(char *)bytes + n, sizeof(bytes) - n});
}

bool der_oid_parse(pool_t *pool, const char *dotted, iov_t *oid_out)
{
    struct sbuf out;
    sbuf_init(&out, pool);
    uint64_t top = 0;
    unsigned n = 0;
    for (const char *p = dotted;; n++) {
        size_t len = strcspn(p, ".");
        uint64_t arc;
        if (len == 0 || !iov_to_u64((iov_t){(char *)p, len}, &arc) || arc >> 48 != 0 ||
            (len > 1 && p[0] == '0'))
            return false;
        if (n == 0)
            top = arc;
        else if (n == 1 && (top > 2 || (top < 2 && arc > 39)))
            return false;
        else
            put_arc(&out, n == 1 ? top * 40 + arc : arc);
        p += len;
        if (*p++ == '\0')
            break;
    }
    *oid_out = out.text;
    return n >= 1;
}

void der_writer_init(struct der_writer *w, pool_t *pool)
{
    sbuf_init(&w->out, pool);
    w->depth = 0;
}

/* Returns how many bytes of head it filled. */
static size_t put_head(uint8_t head[6], uint8_t tag, size_t len)
{
    size_t n = 0;
    head[n++] = tag;
    if (len < 0x80) {
        head[n++] = (uint8_t)len;
        return n;
    }
    assert(len <= UINT32_MAX);
    unsigned bytes = len > 0xffffff ? 4 : len > 0xffff ? 3 : len > 0xff ? 2 : 1;
    head[n++] = (uint8_t)(0x80 | bytes);
    while (bytes-- > 0)
        head[n++] = (uint8_t)(len >> (8 * bytes));
    return n;
}

void der_open(struct der_writer *w, uint8_t tag)
{
    assert(w->depth < COUNTOF(w->mark));
    w->mark[w->depth++] = w->out.text.len;
    sbuf_add(&w->out, (iov_t){(char *)&tag, 1});
}

void der_open_bits(struct der_writer *w)
{
    der_open(w, DER_BIT_STRING);
    sbuf_add(&w->out, (iov_t){(char[]){0}, 1});
}

void der_close(struct der_writer *w)
{
    assert(w->depth > 0);
    size_t at = w->mark[--w->depth], len = w->out.text.len - at - 1;
    uint8_t head[6];
    size_t n = put_head(head, (uint8_t)w->out.text.base[at], len);
    sbuf_add(&w->out,
             (iov_t){(char *)head, n - 1}); /* makes room; the contents then move up behind the head */
    memmove(w->out.text.base + at + n, w->out.text.base + at + 1, len);
    memcpy(w->out.text.base + at, head, n);
}

void der_put(struct der_writer *w, uint8_t tag, iov_t value)
{
    uint8_t head[6];
    size_t n = put_head(head, tag, value.len);
    sbuf_add(&w->out, (iov_t){(char *)head, n});
    sbuf_add(&w->out, value);
}

void der_put_raw(struct der_writer *w, iov_t whole_items)
{
    sbuf_add(&w->out, whole_items);
}

void der_put_uint(struct der_writer *w, iov_t magnitude)
{
    while (magnitude.len > 0 && magnitude.base[0] == 0) {
        magnitude.base++;
        magnitude.len--;
    }
    bool pad = magnitude.len == 0 || (magnitude.base[0] & 0x80) != 0;
    uint8_t head[6];
    size_t n = put_head(head, DER_INTEGER, magnitude.len + pad);
    sbuf_add(&w->out, (iov_t){(char *)head, n});
    if (pad)
        sbuf_add(&w->out, (iov_t){(char[]){0}, 1});
    sbuf_add(&w->out, magnitude);
}

void der_put_u64(struct der_writer *w, uint64_t value)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(value >> (56 - 8 * i));
    der_put_uint(w, (iov_t){(char *)bytes, sizeof(bytes)});
}

void der_put_true(struct der_writer *w)
{
    der_put(w, DER_BOOLEAN, IOV("\xff"));
}

void der_put_bits(struct der_writer *w, iov_t bytes)
{
    der_open_bits(w);
    sbuf_add(&w->out, bytes);
    der_close(w);
}

void der_put_time(struct der_writer *w, int64_t unix_s)
{
    time_t t = unix_s;
    struct tm tm;
    gmtime_r(&t, &tm);
    char text[32];
    bool utc = tm.tm_year >= 50 && tm.tm_year < 150;
    size_t n = strftime(text, sizeof(text), utc ? "%y%m%d%H%M%SZ" : "%Y%m%d%H%M%SZ", &tm);
    der_put(w, utc ? DER_UTC_TIME : DER_GENERALIZED_TIME, (iov_t){text, n});
}

iov_t der_finish(struct der_writer *w)
{
    assert(w->depth == 0);
    return w->out.text;
}

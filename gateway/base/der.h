/* SPDX-License-Identifier: Apache-2.0 */
/* DER (X.690) as certificates use it: a strict reader of views and a writer into a pool. Definite minimal
 * lengths, one-byte tags; whatever is not DER is refused, so that one value has one spelling. Pure. */
#ifndef PORTICO_DER_H
#define PORTICO_DER_H

#include "base/base.h"

enum der_tag {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_NULL = 0x05,
    DER_OID = 0x06,
    DER_ENUMERATED = 0x0a,
    DER_UTF8_STRING = 0x0c,
    DER_IA5_STRING = 0x16,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31
};
#define DER_CONTEXT(n) (0x80 | (n))      /* [n] IMPLICIT of a primitive */
#define DER_CONTEXT_CONS(n) (0xa0 | (n)) /* [n] of a constructed value */

/* What is left to read; a view. */
struct der {
    const uint8_t *p, *end;
};
struct der_item {
    uint8_t tag;
    iov_t value; /* contents */
    iov_t whole; /* with tag and length */
};
struct der der_of(iov_t bytes);
bool der_done(const struct der *d);
/* The tag that comes next; 0 at the end. */
uint8_t der_peek(const struct der *d);
/* False, and d unchanged, at the end or at anything that is not DER. */
bool der_next(struct der *d, struct der_item *out) MUST_CHECK;
/* The same, for one tag only. */
bool der_want(struct der *d, uint8_t tag, struct der_item *out) MUST_CHECK;
/* The contents of the next item, which must have that tag. */
bool der_enter(struct der *d, uint8_t tag, struct der *inner) MUST_CHECK;
/* The whole of bytes is one item of that tag. */
bool der_only(iov_t bytes, uint8_t tag, struct der *inner) MUST_CHECK;

/* An INTEGER that is minimal and not negative: its magnitude without the sign byte (zero: one zero byte). */
bool der_uint(struct der *d, iov_t *magnitude_out) MUST_CHECK;
bool der_u64(struct der *d, uint64_t *out) MUST_CHECK;
bool der_boolean(struct der *d, bool *out) MUST_CHECK;
/* A BIT STRING of whole bytes. */
bool der_bits(struct der *d, iov_t *out) MUST_CHECK;
/* UTCTime or GeneralizedTime in the forms of RFC 5280 4.1.2.5. */
bool der_time(struct der *d, int64_t *unix_s_out) MUST_CHECK;
/* An extension of RFC 5280 4.1; value is the contents of its OCTET STRING. An explicit FALSE is let pass. */
struct der_ext {
    iov_t oid; /* contents of the OBJECT IDENTIFIER */
    bool critical;
    iov_t value, whole;
};
bool der_extension(struct der *d, struct der_ext *out) MUST_CHECK;

/* Contents of an OBJECT IDENTIFIER as "2.5.29.17" (IOV_NULL when malformed), and back (false on bad
 * syntax). */
iov_t der_oid_text(pool_t *pool, iov_t oid);
bool der_oid_parse(pool_t *pool, const char *dotted, iov_t *oid_out) MUST_CHECK;

/* Writes into a pool. Constructed values are opened and closed. */
struct der_writer {
    struct sbuf out;
    size_t mark[16];
    unsigned depth;
};
void der_writer_init(struct der_writer *w, pool_t *pool);
void der_open(struct der_writer *w, uint8_t tag);
void der_close(struct der_writer *w);
/* A BIT STRING or OCTET STRING that wraps what follows until der_close. */
void der_open_bits(struct der_writer *w);
void der_put(struct der_writer *w, uint8_t tag, iov_t value);
void der_put_raw(struct der_writer *w, iov_t whole_items);
/* Unsigned, big-endian, leading zeros allowed. */
void der_put_uint(struct der_writer *w, iov_t magnitude);
void der_put_u64(struct der_writer *w, uint64_t value);
void der_put_true(struct der_writer *w);
void der_put_bits(struct der_writer *w, iov_t bytes);
/* UTCTime before 2050, GeneralizedTime from then on (RFC 5280 4.1.2.5). */
void der_put_time(struct der_writer *w, int64_t unix_s);
/* Everything written; all that was opened must be closed. */
iov_t der_finish(struct der_writer *w);

#endif

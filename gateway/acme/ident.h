/* SPDX-License-Identifier: Apache-2.0 */
/* Identifiers: dns (wildcards included) and ip (RFC 8738). Pure. */
#ifndef PORTICO_IDENT_H
#define PORTICO_IDENT_H

#include "base/json.h"

enum ident_type { IDENT_DNS, IDENT_IP };
struct ident {
    enum ident_type type;
    iov_t value;   /* as in an order: lower case A-labels, "*.x" for a wildcard; canonical IP text (RFC 5952) */
};
const char *ident_type_name(enum ident_type t);
/* {"type","value"} -> normalized, in pool. Errors: unsupportedIdentifier, malformed, rejectedIdentifier (U-labels, bad
 * A-labels, over-long labels, a wildcard that is not the whole first label, an IP in a dns identifier, scope ids). */
bool ident_parse(pool_t *pool, const json_t *obj, struct ident *out, struct err *e) MUST_CHECK;
bool ident_normalize(pool_t *pool, enum ident_type type, iov_t raw, struct ident *out, struct err *e) MUST_CHECK;
bool ident_is_wildcard(const struct ident *id);
/* The name an authorization is for: without "*." . */
iov_t ident_base(const struct ident *id);
/* 4 or 16 bytes of an ip identifier. Returns the length. */
size_t ident_ip_bytes(const struct ident *id, uint8_t out[16]);
json_t *ident_json(const struct ident *id); /* new reference */
bool ident_eq(const struct ident *a, const struct ident *b);
/* Does a pattern of a configuration match? Names: exact, "*.suffix" (any depth below it), ".suffix" (it and any depth
 * below), "*" (every name). Addresses: exact or CIDR. A wildcard matches when its base does, or the same text. */
bool ident_matches(const struct ident *id, const char *pattern);
/* False for a pattern that can never match anything: a typing error in a configuration. */
bool ident_pattern_valid(pool_t *pool, const char *pattern);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A set of networks ("127.0.0.0/8", "fe80::/10", "192.0.2.7"), immutable after parsing, shared by threads.
 * Addresses of IPv6 that carry one of IPv4 (mapped, compatible, NAT64 64:ff9b::/96, 6to4) are looked at by
 * the IPv4 address inside them too, so that no second spelling leads around a rule. */
#ifndef PORTICO_NETSET_H
#define PORTICO_NETSET_H

#include "base/err.h"

struct netset;

/* NULL and e (code 0) on a text that is no network. Heap object. */
struct netset *netset_parse(const char *const *cidrs, size_t n, struct err *e) MUST_CHECK;
/* The networks minus those of except: an address in both is not in the set, however narrow either rule is. */
struct netset *netset_parse_except(const char *const *cidrs, size_t n, const char *const *except,
                                   size_t n_except, struct err *e) MUST_CHECK;
void netset_free(struct netset *s); /* NULL is fine */
/* address: 4 or 16 bytes in network order. s NULL: an empty set. */
bool netset_has(const struct netset *s, const uint8_t *address, size_t len);
/* The network that holds the address, as it was written; NULL: none. Lives as long as s. */
const char *netset_rule(const struct netset *s, const uint8_t *address, size_t len);

#endif

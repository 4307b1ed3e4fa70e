/* SPDX-License-Identifier: Apache-2.0 */
/* Replay nonces (RFC 8555 6.5): 43 characters that authenticate themselves: time of issue, random bytes, MAC under a
 * key that all gateways of one database share. Spending one is a row (schema/queries/gate.sql). */
#ifndef PORTICO_NONCE_H
#define PORTICO_NONCE_H

#include "base/base.h"

/* key: 32 bytes, copied. Once, before the loops run. */
void nonce_set_key(iov_t key);
iov_t nonce_make(pool_t *pool, int64_t now_s);
/* Is it ours, and not older than ttl_s? slot_out: the partition that remembers it when spent. */
bool nonce_check(pool_t *pool, iov_t nonce, int64_t now_s, int64_t ttl_s, int64_t *slot_out) MUST_CHECK;

#endif

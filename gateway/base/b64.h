/* SPDX-License-Identifier: Apache-2.0 */
/* base64url without padding (RFC 7515 section 2, RFC 4648 section 5). Non-canonical tails are refused, so one
 * byte string has one spelling. */
#ifndef PORTICO_B64_H
#define PORTICO_B64_H

#include "base/base.h"

iov_t b64_encode(pool_t *pool, iov_t bytes);
/* False on a character outside the alphabet ('=' included), an impossible length or non-zero trailing
 * bits. */
bool b64_decode(pool_t *pool, iov_t text, iov_t *out) MUST_CHECK;
/* Standard base64 with padding in one line (PEM bodies, EST). Decoding skips white space. */
iov_t b64_std_encode(pool_t *pool, iov_t bytes);
bool b64_std_decode(pool_t *pool, iov_t text, iov_t *out) MUST_CHECK;

#endif

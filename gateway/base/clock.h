/* SPDX-License-Identifier: Apache-2.0 */
/* Time: seconds since 1970 for what goes on the wire or into certificates, monotonic milliseconds for
 * waiting. */
#ifndef PORTICO_CLOCK_H
#define PORTICO_CLOCK_H

#include "base/base.h"

int64_t clock_unix_s(void);
int64_t clock_unix_ms(void);
uint64_t clock_mono_ms(void);
/* RFC 3339 in UTC, whole seconds: 2026-01-31T00:00:00Z. */
iov_t clock_rfc3339(pool_t *pool, int64_t unix_s);
/* Accepts any offset and fractions of a second (cut off); false on anything else RFC 3339 section 5.6
 * refuses. */
bool clock_parse_rfc3339(iov_t text, int64_t *unix_s_out) MUST_CHECK;

#endif

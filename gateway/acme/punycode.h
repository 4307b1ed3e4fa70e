/* SPDX-License-Identifier: Apache-2.0 */
/* Punycode (RFC 3492) as A-labels use it: lower-case ASCII to code points and back. Pure. */
#ifndef PORTICO_PUNYCODE_H
#define PORTICO_PUNYCODE_H

#include "base/base.h"

#define PUNYCODE_MAX 63 /* no label, and so neither form of it, is longer */

/* What follows "xn--" to code points. False on bad digits, overflow, code points beyond Unicode or more than
 * PUNYCODE_MAX of them. */
bool punycode_decode(iov_t in, uint32_t out[PUNYCODE_MAX], size_t *n_out) MUST_CHECK;
/* The reverse. False when the result is longer than PUNYCODE_MAX. */
bool punycode_encode(const uint32_t *in, size_t n, char out[PUNYCODE_MAX], size_t *n_out) MUST_CHECK;
/* NULL when a lower-case label that begins with "xn--" is a proper A-label as far as that can be told without Unicode
 * tables: it decodes, the result is not plain ASCII, holds no code points that never are part of a name, and encodes
 * to the same again. Else what is wrong, to stand after the quoted name. */
const char *punycode_label_fault(iov_t label);

#endif

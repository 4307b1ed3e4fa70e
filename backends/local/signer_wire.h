/* SPDX-License-Identifier: Apache-2.0 */
/* Frames between the gateway and its signer: a length of four bytes, most significant first, then one msgpack map.
 * The conversation: "open", a "profile" each, "start" (answered); then requests "cert" and "crl", each answered. */
#ifndef PORTICO_SIGNER_WIRE_H
#define PORTICO_SIGNER_WIRE_H

#include "base/base.h"

#define SIGNER_VERSION 1
#define SIGNER_FRAME_MAX (64 << 20) /* a CRL of a million entries */
#define SIGNER_REPLY_MAX 8192
#define SIGNER_TBS_MAX (128 << 10)

enum wire_result { WIRE_OK, WIRE_END, WIRE_BROKEN, WIRE_TIMEOUT };
/* timeout_ms for the whole frame; -1: none. END: the peer closed between frames. */
enum wire_result signer_wire_send(int fd, iov_t payload, int timeout_ms) MUST_CHECK;
enum wire_result signer_wire_receive(int fd, size_t max, int timeout_ms, pool_t *pool, iov_t *out) MUST_CHECK;

#endif

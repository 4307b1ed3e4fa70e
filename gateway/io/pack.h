/* SPDX-License-Identifier: Apache-2.0 */
/* msgpack-c: maps with short string keys for job payloads, driver cookies and the signer's socket. Decoding is strict:
 * one map, bounded depth and size, no trailing bytes. */
#ifndef PORTICO_PACK_H
#define PORTICO_PACK_H

#include "base/err.h"

struct pack;
/* Writes a map of exactly n pairs. Heap object. */
struct pack *pack_new(unsigned n_pairs);
void pack_str(struct pack *p, const char *key, iov_t value);
void pack_bin(struct pack *p, const char *key, iov_t value);
void pack_int(struct pack *p, const char *key, int64_t value);
void pack_bool(struct pack *p, const char *key, bool value);
void pack_strs(struct pack *p, const char *key, const struct iovs *list);
/* Bytes into pool; frees p. Asserts that n pairs were written. */
iov_t pack_finish(struct pack *p, pool_t *pool);

struct unpack;
/* NULL and e unless bytes is one whole map. Heap object; views live until unpack_free, bytes must too. */
struct unpack *unpack_new(iov_t bytes, struct err *e) MUST_CHECK;
void unpack_free(struct unpack *u);
iov_t unpack_bytes(const struct unpack *u, const char *key); /* str or bin; IOV_NULL if absent or of another type */
bool unpack_int(const struct unpack *u, const char *key, int64_t *out);
bool unpack_bool(const struct unpack *u, const char *key);   /* absent: false */
struct iovs unpack_strs(const struct unpack *u, pool_t *pool, const char *key);

#endif

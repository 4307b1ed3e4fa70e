/* SPDX-License-Identifier: Apache-2.0 */
/* From JWS terms to OpenSSL's: keys, algorithms, and a verification that runs on the loop or on a worker. */
#ifndef PORTICO_KEY_H
#define PORTICO_KEY_H

#include "acme/jws.h"
#include "io/pki.h"
#include "io/task.h"

/* The key of a JWK, checked (badPublicKey). The caller unrefs it. */
struct pki_key *key_of_jwk(const struct jwk *jwk, struct err *e) MUST_CHECK;
iov_t key_thumbprint(pool_t *pool, const struct jwk *jwk); /* RFC 7638, base64url */
/* Does the algorithm fit the key? badSignatureAlgorithm. */
bool key_alg_fits(const struct pki_key *k, enum jws_alg alg, struct err *e) MUST_CHECK;

typedef void key_verified_cb(struct task *t, bool ok, const struct err *e);
/* cb runs once: at once for cheap algorithms, else on a later turn. False and e (503) when the worker queue is full. */
bool key_verify(struct task *t, struct pki_key *k, const struct jws *j, key_verified_cb *cb, struct err *e) MUST_CHECK;

#endif

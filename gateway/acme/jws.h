/* SPDX-License-Identifier: Apache-2.0 */
/* Flattened JWS (RFC 7515 7.2.2 as RFC 8555 6.2 restricts it) and JWK (RFC 7517, thumbprint RFC 7638): members and
 * rules, no crypto, no I/O. */
#ifndef PORTICO_JWS_H
#define PORTICO_JWS_H

#include "base/json.h"

enum jws_alg { JWS_ES256, JWS_ES384, JWS_ES512, JWS_RS256, JWS_PS256, JWS_EDDSA, JWS_HS256, JWS_HS384, JWS_HS512, JWS_ALG_COUNT };
const char *jws_alg_name(enum jws_alg a);
/* The asymmetric names, for badSignatureAlgorithm's "algorithms". NULL-terminated. */
extern const char *const jws_algorithms[];

enum jwk_kty { JWK_EC, JWK_RSA, JWK_OKP };
struct jwk {
    enum jwk_kty kty;
    enum { JWK_CRV_NONE, JWK_P256, JWK_P384, JWK_P521, JWK_ED25519 } crv;
    iov_t x, y;      /* EC, OKP: decoded, of the curve's exact length */
    iov_t n, e;      /* RSA: decoded, no leading zero byte */
    iov_t canonical; /* the JSON of RFC 7638 section 3: what the thumbprint hashes and what is stored */
};
/* Refuses private members, unknown kty/crv, wrong lengths, RSA outside 2048..8192 bits: badPublicKey. */
bool jwk_parse(pool_t *pool, const json_t *obj, struct jwk *out, struct err *e) MUST_CHECK;

struct jws {
    iov_t protected_b64, payload_b64; /* views into the body's copy in pool */
    iov_t signing_input;              /* protected.payload */
    iov_t signature;                  /* decoded */
    iov_t payload;                    /* decoded; empty = POST-as-GET */
    enum jws_alg alg;
    iov_t url, nonce, kid;            /* IOV_NULL if absent */
    bool has_jwk;
    struct jwk jwk;
    json_t *header;                   /* parsed protected header; jws_dispose */
};
enum jws_kind { JWS_REQUEST,      /* outer request: url, nonce; exactly one of jwk and kid; asymmetric alg */
                JWS_KEY_CHANGE,   /* inner of keyChange: jwk, url, no nonce; asymmetric alg */
                JWS_EAB };        /* externalAccountBinding: kid, url, no nonce, no jwk; HS256/384/512 */
/* Structure and header rules of the kind: malformed, badSignatureAlgorithm, badPublicKey. Members beyond protected,
 * payload, signature: an unprotected "header" or "signatures" is refused (RFC 8555 6.2), others ignored. "crit" and
 * "b64" are refused. alg must fit the jwk's type when there is one. On failure nothing is left to dispose. */
bool jws_parse(pool_t *pool, iov_t body, enum jws_kind kind, struct jws *out, struct err *e) MUST_CHECK;
bool jws_from_json(pool_t *pool, const json_t *obj, enum jws_kind kind, struct jws *out, struct err *e) MUST_CHECK;
void jws_dispose(struct jws *j);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL: signatures of JWS, CSRs, certificates, digests, random bytes. Pure and thread-safe unless a line says
 * otherwise; no I/O. */
#ifndef PORTICO_PKI_H
#define PORTICO_PKI_H

#include "base/err.h"

/* ---- digests, MACs, random ---- */
void pki_sha256(iov_t in, uint8_t out[32]);
iov_t pki_sha256_iov(pool_t *pool, iov_t in);
/* hash_bits 256, 384 or 512; out holds up to 64 bytes; returns the length. */
size_t pki_hmac(int hash_bits, iov_t key, iov_t in, uint8_t *out);
void pki_random(void *buf, size_t n); /* aborts when the generator fails */
void pki_random_arg(void *buf, size_t n); /* such that its base64url does not begin with "-" */
bool pki_equal(iov_t a, iov_t b);     /* constant time for equal lengths */
void pki_wipe(void *buf, size_t n);
/* 128 random bits as 22 characters of base64url, the first no "-": every id of Portico. */
iov_t pki_random_id(pool_t *pool);

/* ---- public keys ---- */
enum pki_alg { PKI_ES256, PKI_ES384, PKI_ES512, PKI_RS256, PKI_PS256, PKI_EDDSA };
struct pki_key; /* a public (or private) key; counted, shareable between threads */
enum pki_key_type { PKI_KEY_RSA, PKI_KEY_EC_P256, PKI_KEY_EC_P384, PKI_KEY_EC_P521, PKI_KEY_ED25519, PKI_KEY_OTHER };
/* From raw JWK numbers (big-endian). A point off the curve, a wrong length or an even RSA exponent is refused. */
struct pki_key *pki_key_from_ec(enum pki_key_type curve, iov_t x, iov_t y, struct err *e) MUST_CHECK;
struct pki_key *pki_key_from_rsa(iov_t n, iov_t e_, struct err *e) MUST_CHECK;
struct pki_key *pki_key_from_ed25519(iov_t x, struct err *e) MUST_CHECK;
/* Only the one canonical encoding is taken. Fast for the named types, 0.2 ms for PKI_KEY_OTHER. */
struct pki_key *pki_key_from_spki(iov_t der, struct err *e) MUST_CHECK;
struct pki_key *pki_key_ref(struct pki_key *k);
void pki_key_unref(struct pki_key *k); /* NULL is fine */
enum pki_key_type pki_key_type(const struct pki_key *k);
unsigned pki_key_bits(const struct pki_key *k);
/* DER SubjectPublicKeyInfo; SHA-256 of it identifies a key everywhere. */
iov_t pki_key_spki(pool_t *pool, const struct pki_key *k);
/* JWS signature (raw r||s for ES*). False with e->cause when it does not verify or does not fit the key. */
bool pki_verify(const struct pki_key *k, enum pki_alg alg, iov_t input, iov_t sig, struct err *e) MUST_CHECK;
/* True when verification is cheap enough for a loop thread: ES256, RS256/PS256 up to 4096 bits, EdDSA. */
bool pki_verify_is_fast(const struct pki_key *k, enum pki_alg alg);
/* Key checks shared by account keys and CSRs: the type, and for RSA the size, an odd exponent > 2^16, no small factor,
 * not of a generator known to be weak. 0.1 ms for RSA. */
bool pki_key_acceptable(const struct pki_key *k, struct err *e) MUST_CHECK;

/* ---- CSRs (RFC 2986) ---- */
struct pki_csr {
    iov_t der;
    struct pki_key *key;
    iov_t spki, spki_sha256;
    struct iovs dns;  /* SAN dNSName, lower case */
    struct iovs ips;  /* SAN iPAddress as text, canonical (RFC 5952 for IPv6) */
    iov_t cn;         /* lower case, an address in canonical form; IOV_NULL if none */
    bool cn_many;     /* more than one CN */
    bool other_san;   /* a SAN of another kind: its name in other_san_kind */
    const char *other_san_kind;
    struct iovs subject_other; /* readable "O=Example" parts besides CN */
    iov_t subject_der;
    struct iovs extensions; /* OIDs or short names of requested extensions other than SAN */
    bool must_staple;   /* TLS feature extension */
    bool wants_ca;      /* basicConstraints CA:TRUE */
};
/* Parses and checks the self-signature. csr_out->key is the caller's to unref; the rest is in pool. Any version field
 * is read. Worker thread recommended (0.3 ms). Errors: badCSR texts, code left 0. */
bool pki_csr_parse(pool_t *pool, iov_t der, struct pki_csr *csr_out, struct err *e) MUST_CHECK;
/* Its parts as views, structure only: for what was checked before. */
struct pki_csr_parts {
    iov_t info, subject, spki, attributes; /* whole items, attributes: contents */
    iov_t alg, signature;
};
bool pki_csr_split(iov_t der, struct pki_csr_parts *out, struct err *e) MUST_CHECK;
/* A new P-256 key (PKCS#8 PEM, the caller wipes it) and a CSR for these names, at least one. */
bool pki_make_key_and_csr(pool_t *pool, const struct iovs *dns, const struct iovs *ips, iov_t *key_pem_out,
                          iov_t *csr_der_out, struct err *e) MUST_CHECK;

/* ---- certificates ---- */
struct pki_cert {
    iov_t der, spki, spki_sha256;
    iov_t serial;      /* upper-case hex, no leading zeros beyond a byte */
    int64_t not_before, not_after; /* not_after inclusive second as in the certificate */
    struct iovs dns, ips;
    iov_t cn, issuer, subject; /* readable RFC 2253 */
    iov_t issuer_der, subject_der;
    iov_t aki, ski;    /* raw key identifiers; IOV_NULL if none */
    bool is_ca;
    bool self_signed;  /* as names and key identifiers say; the signature is not looked at */
};
bool pki_cert_parse(pool_t *pool, iov_t der, struct pki_cert *out, struct err *e) MUST_CHECK;
/* PEM bundle -> DER of its certificates, other blocks left out. False when there is none or one does not decode. */
bool pki_pem_to_ders(pool_t *pool, iov_t pem, struct iovs *ders_out, struct err *e) MUST_CHECK;
iov_t pki_der_to_pem(pool_t *pool, const char *label, iov_t der);
/* Each certificate is signed by the next (names and signature), the last by one of trust or itself in trust; all are
 * valid at now (unix seconds), all but the first are CAs. trust empty or NULL: only that. */
bool pki_chain_check(const struct iovs *chain_ders, const struct iovs *trust_ders, int64_t now, struct err *e) MUST_CHECK;

#endif

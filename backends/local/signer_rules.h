/* SPDX-License-Identifier: Apache-2.0 */
/* What a CA of ours may sign, written down once: the driver makes certificates after these rules, the signer refuses
 * whatever does not keep them. Pure. */
#ifndef PORTICO_SIGNER_RULES_H
#define PORTICO_SIGNER_RULES_H

#include "base/err.h"

/* Contents of OBJECT IDENTIFIERs. */
#define OID_EXT_SKI "\x55\x1d\x0e"
#define OID_EXT_KEY_USAGE "\x55\x1d\x0f"
#define OID_EXT_SAN "\x55\x1d\x11"
#define OID_EXT_BASIC_CONSTRAINTS "\x55\x1d\x13"
#define OID_EXT_CRL_NUMBER "\x55\x1d\x14"
#define OID_EXT_CRL_REASON "\x55\x1d\x15"
#define OID_EXT_CRL_URLS "\x55\x1d\x1f"
#define OID_EXT_POLICIES "\x55\x1d\x20"
#define OID_EXT_AKI "\x55\x1d\x23"
#define OID_EXT_EKU "\x55\x1d\x25"
#define OID_EXT_AIA "\x2b\x06\x01\x05\x05\x07\x01\x01"

/* How a CA key signs. */
struct signer_alg {
    iov_t identifier; /* whole AlgorithmIdentifier; static */
    int hash_bits;    /* 0: the key type hashes itself */
};
/* By the issuer's SubjectPublicKeyInfo: RSA of 2048 to 4096 bits, P-256, P-384, Ed25519. */
bool signer_alg_of(iov_t ca_spki, struct signer_alg *out, struct err *e) MUST_CHECK;

/* RFC 7093 method 1: the first 20 bytes of SHA-256 over the key's bits. False when spki does not decode. */
bool signer_key_id(iov_t spki, uint8_t id_out[20]) MUST_CHECK;

/* The authorityKeyIdentifier extension of what a CA signs: its certificate's subjectKeyIdentifier, or what it would be. */
struct pki_cert;
bool signer_rules_aki(pool_t *pool, const struct pki_cert *ca, iov_t *whole_out) MUST_CHECK;

struct signer_profile {
    const char *name;
    int64_t max_lifetime_s; /* from notBefore to notAfter, backdating included */
    struct iovs extensions; /* whole extensions that may stand in a certificate, byte for byte */
};
struct signer_rules {
    iov_t subject, spki;    /* the CA's */
    struct signer_alg alg;
    int64_t not_after;      /* the CA's own */
    iov_t aki;              /* its authorityKeyIdentifier extension, whole */
    const struct signer_profile *profiles;
    size_t n_profiles;
};

/* A TBSCertificate: version 3, a positive serial, our algorithm and name, a validity within the profile and the CA's
 * own, a key that is not the CA's, at least one dNSName or iPAddress; beyond subjectAltName and subjectKeyIdentifier
 * only the profile's own extensions, which never say CA:TRUE. */
bool signer_rules_cert(const struct signer_rules *r, iov_t profile, iov_t tbs, struct err *e) MUST_CHECK;
/* A TBSCertList of this CA, version 2, with authorityKeyIdentifier and a CRL number, entries with at most a reason. */
bool signer_rules_crl(const struct signer_rules *r, iov_t tbs, struct err *e) MUST_CHECK;
/* May this extension be part of a profile at all? Refuses what would make a client a CA or an OCSP responder. */
bool signer_rules_extension(iov_t whole, struct err *e) MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the pki_*.c files share; nobody else includes it. */
#ifndef PORTICO_PKI_INTERNAL_H
#define PORTICO_PKI_INTERNAL_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdatomic.h>

#include "base/der.h"
#include "io/pki.h"

struct pki_key {
    atomic_uint refs;
    EVP_PKEY *pkey;
    enum pki_key_type type;
    unsigned bits;
    bool slow_exponent; /* RSA exponent beyond 64 bits: verification is no longer cheap */
    uint8_t *spki;      /* canonical DER */
    size_t spki_len;
};

/* detail as given, code 0; OpenSSL's error queue goes to the cause and is emptied. Returns false. */
bool pki_fail(struct err *e, const char *fmt, ...) PRINTF_FMT(2, 3);
/* The same as an internal error: fmt is the log's part. */
bool pki_fail_internal(struct err *e, const char *fmt, ...) PRINTF_FMT(2, 3);

/* SHA-256, -384, -512, fetched once: implicit fetching takes a lock on every use. */
const EVP_MD *pki_md(int bits);

/* A key from the parts that a checked SubjectPublicKeyInfo holds; takes pkey over (NULL fails with OpenSSL's words). */
struct pki_key *pki_key_new(EVP_PKEY *pkey, enum pki_key_type type, iov_t spki, struct err *e);

/* One signature as X.509 structures carry it: alg is the whole AlgorithmIdentifier. SHA-1 and older are refused. */
bool pki_verify_x509(const struct pki_key *k, iov_t alg, iov_t input, iov_t sig, struct err *e) MUST_CHECK;

/* ---- names ---- */
struct pki_san {
    struct iovs dns, ips;
    const char *other_kind; /* of the first GeneralName of another kind; NULL if none */
};
/* The value of a subjectAltName extension. At most PKI_NAMES_MAX names; repeated ones are listed once. */
#define PKI_NAMES_MAX 1000
bool pki_san_parse(pool_t *pool, iov_t value, struct pki_san *out, struct err *e) MUST_CHECK;
struct pki_subject {
    iov_t cn; /* the first one: lower case, an address canonical; IOV_NULL if none */
    unsigned n_cn;
    struct iovs other; /* "O=Example" */
};
bool pki_subject_parse(pool_t *pool, iov_t name_der, struct pki_subject *out, struct err *e) MUST_CHECK;
/* RFC 2253 text of a Name. */
bool pki_name_text(pool_t *pool, iov_t name_der, iov_t *out, struct err *e) MUST_CHECK;
/* Short name of an extension ("keyUsage") or its dotted OID. */
iov_t pki_oid_name(pool_t *pool, iov_t oid);
/* basicConstraints; path_len -1 when absent. */
bool pki_basic_constraints(iov_t value, bool *is_ca_out, int64_t *path_len_out) MUST_CHECK;

/* Contents of OBJECT IDENTIFIERs. */
#define OID_IS(iov, bytes) iov_eq(iov, IOV(bytes))
#define OID_COMMON_NAME "\x55\x04\x03"
#define OID_SKI "\x55\x1d\x0e"
#define OID_SAN "\x55\x1d\x11"
#define OID_BASIC_CONSTRAINTS "\x55\x1d\x13"
#define OID_AKI "\x55\x1d\x23"
#define OID_TLS_FEATURE "\x2b\x06\x01\x05\x05\x07\x01\x18"
#define OID_EXTENSION_REQUEST "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e"
#define OID_MS_EXTENSION_REQUEST "\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x0e"
#define OID_RSA "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
#define OID_RSA_PSS "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
#define OID_MGF1 "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
#define OID_EC "\x2a\x86\x48\xce\x3d\x02\x01"
#define OID_P256 "\x2a\x86\x48\xce\x3d\x03\x01\x07"
#define OID_P384 "\x2b\x81\x04\x00\x22"
#define OID_P521 "\x2b\x81\x04\x00\x23"
#define OID_ED25519 "\x2b\x65\x70"
#define OID_ED448 "\x2b\x65\x71"

#endif

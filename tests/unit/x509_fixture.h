/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, CSRs and certificates for tests, right and wrong ones, made with OpenSSL itself so that it is the other
 * opinion. Included by one test program each. */
#ifndef PORTICO_TEST_X509_FIXTURE_H
#define PORTICO_TEST_X509_FIXTURE_H

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/der.h"
#include "io/pki.h"

static EVP_PKEY *fix_key(const char *type) UNUSED;
static EVP_PKEY *fix_key(const char *type)
{
    EVP_PKEY *key = strncmp(type, "rsa", 3) == 0   ? EVP_RSA_gen((unsigned)strtoul(type + 3, NULL, 10))
                    : strcmp(type, "ed25519") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                    : strcmp(type, "ed448") == 0   ? EVP_PKEY_Q_keygen(NULL, NULL, "ED448")
                                                   : EVP_EC_gen(type);
    assert_non_null(key);
    return key;
}

static iov_t fix_spki(pool_t *pool, EVP_PKEY *key) UNUSED;
static iov_t fix_spki(pool_t *pool, EVP_PKEY *key)
{
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    assert_true(len > 0);
    iov_t copy = iov_dup(pool, (iov_t){(char *)der, (size_t)len});
    OPENSSL_free(der);
    return copy;
}

/* md NULL: Ed25519 and Ed448. */
static iov_t fix_sign(pool_t *pool, EVP_PKEY *key, const EVP_MD *md, bool pss, iov_t input) UNUSED;
static iov_t fix_sign(pool_t *pool, EVP_PKEY *key, const EVP_MD *md, bool pss, iov_t input)
{
    uint8_t sig[1024];
    size_t len = sizeof(sig);
    EVP_PKEY_CTX *pctx;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, &pctx, md, NULL, key), 1);
    if (pss) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST), 1);
    }
    assert_int_equal(EVP_DigestSign(ctx, sig, &len, (const uint8_t *)input.base, input.len), 1);
    EVP_MD_CTX_free(ctx);
    return iov_dup(pool, (iov_t){(char *)sig, len});
}

/* A CSR by OpenSSL: subject "/CN=a/O=b" or NULL, extensions in openssl.cnf syntax as pairs, NULL at the end. */
static iov_t fix_csr(pool_t *pool, EVP_PKEY *key, const EVP_MD *md, const char *const *subject,
                     const char *const *exts) UNUSED;
static iov_t fix_csr(pool_t *pool, EVP_PKEY *key, const EVP_MD *md, const char *const *subject,
                     const char *const *exts)
{
    X509_REQ *req = X509_REQ_new();
    X509_NAME *name = X509_NAME_new();
    for (; subject != NULL && subject[0] != NULL; subject += 2)
        assert_int_equal(X509_NAME_add_entry_by_txt(name, subject[0], MBSTRING_UTF8,
                                                    (const uint8_t *)subject[1], -1, -1, 0),
                         1);
    X509_REQ_set_subject_name(req, name);
    X509_REQ_set_pubkey(req, key);
    STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
    for (; exts != NULL && exts[0] != NULL; exts += 2) {
        X509_EXTENSION *ext = X509V3_EXT_conf(NULL, NULL, exts[0], exts[1]);
        assert_non_null(ext);
        sk_X509_EXTENSION_push(list, ext);
    }
    if (sk_X509_EXTENSION_num(list) > 0)
        X509_REQ_add_extensions(req, list);
    assert_true(X509_REQ_sign(req, key, md) > 0);
    uint8_t *der = NULL;
    int len = i2d_X509_REQ(req, &der);
    iov_t copy = iov_dup(pool, (iov_t){(char *)der, (size_t)len});
    OPENSSL_free(der);
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    X509_NAME_free(name);
    X509_REQ_free(req);
    return copy;
}

/* A CSR by hand: attributes as raw DER (contents of [0]), subject as a whole Name, an RSA or P-256 key, SHA-256. */
static iov_t fix_csr_raw(pool_t *pool, EVP_PKEY *key, iov_t subject, iov_t attributes) UNUSED;
static iov_t fix_csr_raw(pool_t *pool, EVP_PKEY *key, iov_t subject, iov_t attributes)
{
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_put_u64(&w, 2); /* some clients believe this is a certificate's version */
    der_put_raw(&w, subject);
    der_put_raw(&w, fix_spki(pool, key));
    der_put(&w, DER_CONTEXT_CONS(0), attributes);
    der_close(&w);
    iov_t info = der_finish(&w);
    bool rsa = EVP_PKEY_is_a(key, "RSA") == 1;
    iov_t sig = fix_sign(pool, key, EVP_sha256(), false, info);
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_put_raw(&w, info);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID,
            rsa ? IOV("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b") : IOV("\x2a\x86\x48\xce\x3d\x04\x03\x02"));
    if (rsa)
        der_put(&w, DER_NULL, IOV(""));
    der_close(&w);
    der_put_bits(&w, sig);
    der_close(&w);
    return der_finish(&w);
}

/* One extensionRequest attribute with one extension of raw value. */
static iov_t fix_ext_attribute(pool_t *pool, iov_t oid, iov_t value) UNUSED;
static iov_t fix_ext_attribute(pool_t *pool, iov_t oid, iov_t value)
{
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, IOV("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e"));
    der_open(&w, DER_SET);
    der_open(&w, DER_SEQUENCE);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, oid);
    der_put(&w, DER_OCTET_STRING, value);
    while (w.depth > 0)
        der_close(&w);
    return der_finish(&w);
}

struct fix_cert {
    const char *subject, *issuer; /* CNs */
    EVP_PKEY *key, *issuer_key;
    int64_t from, to;        /* unix seconds */
    const char *const *exts; /* pairs, NULL at the end */
    unsigned serial;         /* 0: 1 */
};
static iov_t fix_cert(pool_t *pool, const struct fix_cert *c) UNUSED;
static iov_t fix_cert(pool_t *pool, const struct fix_cert *c)
{
    X509 *cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), c->serial != 0 ? c->serial : 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const uint8_t *)c->subject,
                               -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(cert), "CN", MBSTRING_UTF8, (const uint8_t *)c->issuer,
                               -1, -1, 0);
    ASN1_TIME_set(X509_getm_notBefore(cert), c->from);
    ASN1_TIME_set(X509_getm_notAfter(cert), c->to);
    X509_set_pubkey(cert, c->key);
    for (const char *const *ext = c->exts; ext != NULL && ext[0] != NULL; ext += 2) {
        X509_EXTENSION *x = X509V3_EXT_conf(NULL, NULL, ext[0], ext[1]);
        assert_non_null(x);
        X509_add_ext(cert, x, -1);
        X509_EXTENSION_free(x);
    }
    bool ed = EVP_PKEY_is_a(c->issuer_key, "ED25519") == 1;
    assert_true(X509_sign(cert, c->issuer_key, ed ? NULL : EVP_sha256()) > 0);
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);
    iov_t copy = iov_dup(pool, (iov_t){(char *)der, (size_t)len});
    OPENSSL_free(der);
    X509_free(cert);
    return copy;
}

#endif

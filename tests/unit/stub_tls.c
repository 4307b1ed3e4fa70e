/* SPDX-License-Identifier: Apache-2.0 */
#include "stub_tls.h"
#include <assert.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

static char *bio_text(BIO *b)
{
    char *data;
    long n = BIO_get_mem_data(b, &data);
    char *copy = strndup(data, (size_t)n);
    BIO_free(b);
    return copy;
}

static void add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert(ext != NULL);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
}

void stub_tls_make(struct stub_tls *t, const char *cn, const char *san, const struct stub_tls *issuer)
{
    t->key = EVP_EC_gen("P-256");
    t->cert = X509_new();
    assert(t->key != NULL && t->cert != NULL);
    unsigned char serial[8];
    RAND_bytes(serial, sizeof(serial));
    serial[0] &= 0x7f;
    BIGNUM *bn = BN_bin2bn(serial, sizeof(serial), NULL);
    BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(t->cert));
    BN_free(bn);
    X509_set_version(t->cert, 2);
    X509_gmtime_adj(X509_getm_notBefore(t->cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(t->cert), 3600);
    X509_set_pubkey(t->cert, t->key);
    X509_NAME *name = X509_get_subject_name(t->cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(t->cert, issuer != NULL ? X509_get_subject_name(issuer->cert) : name);
    if (issuer == NULL)
        add_extension(t->cert, NID_basic_constraints, "critical,CA:TRUE");
    if (san != NULL)
        add_extension(t->cert, NID_subject_alt_name, san);
    assert(X509_sign(t->cert, issuer != NULL ? issuer->key : t->key, EVP_sha256()) > 0);
    BIO *b = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(b, t->cert);
    t->cert_pem = bio_text(b);
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(b, t->key, NULL, NULL, 0, NULL, NULL);
    t->key_pem = bio_text(b);
}

void stub_tls_free(struct stub_tls *t)
{
    EVP_PKEY_free(t->key);
    X509_free(t->cert);
    free(t->cert_pem);
    free(t->key_pem);
}

SSL_CTX *stub_tls_server(const struct stub_tls *id, const struct stub_tls *client_ca)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(ctx, id->cert);
    SSL_CTX_use_PrivateKey(ctx, id->key);
    if (client_ca != NULL) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), client_ca->cert);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"stub", 4);
    }
    return ctx;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A fresh P-256 key and a CSR for it: the gateway's own TLS certificate comes from one of its back ends like any
 * other. */
#include "io/pki_internal.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>

static bool key_pem(pool_t *pool, EVP_PKEY *key, iov_t *out, struct err *e)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text;
    bool ok = bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
    if (ok) {
        long len = BIO_get_mem_data(bio, &text);
        *out = iov_dup(pool, (iov_t){text, (size_t)len});
    } else {
        pki_fail_internal(e, "writing a key");
    }
    BIO_free(bio);
    return ok;
}

static bool put_names(struct der_writer *w, pool_t *pool, const struct iovs *dns, const struct iovs *ips,
                      struct err *e)
{
    uint8_t ip[16];
    for (size_t i = 0; i < dns->n; i++)
        der_put(w, DER_CONTEXT(2), dns->v[i]);
    for (size_t i = 0; i < ips->n; i++) {
        const char *text = iov_cstr(pool, ips->v[i]);
        size_t len = inet_pton(AF_INET, text, ip) == 1 ? 4 : inet_pton(AF_INET6, text, ip) == 1 ? 16 : 0;
        if (len == 0)
            return err_set(e, 0, "\"%s\" is not an IP address", text);
        der_put(w, DER_CONTEXT(7), (iov_t){(char *)ip, len});
    }
    return true;
}

static bool request_info(pool_t *pool, iov_t spki, const struct iovs *dns, const struct iovs *ips, iov_t *out,
                         struct err *e)
{
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_put_u64(&w, 0);
    der_put(&w, DER_SEQUENCE, IOV("")); /* no subject: the names are in subjectAltName */
    der_put_raw(&w, spki);
    der_open(&w, DER_CONTEXT_CONS(0));
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, IOV(OID_EXTENSION_REQUEST));
    der_open(&w, DER_SET);
    der_open(&w, DER_SEQUENCE);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, IOV(OID_SAN));
    der_open(&w, DER_OCTET_STRING);
    der_open(&w, DER_SEQUENCE);
    if (!put_names(&w, pool, dns, ips, e))
        return false;
    while (w.depth > 0)
        der_close(&w);
    *out = der_finish(&w);
    return true;
}

static bool sign(pool_t *pool, EVP_PKEY *key, iov_t info, iov_t *sig_out, struct err *e)
{
    uint8_t sig[128];
    size_t len = sizeof(sig);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, pki_md(256), NULL, key) == 1 &&
              EVP_DigestSign(ctx, sig, &len, (const uint8_t *)info.base, info.len) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok)
        return pki_fail_internal(e, "signing a CSR");
    *sig_out = iov_dup(pool, (iov_t){(char *)sig, len});
    return true;
}

static bool key_spki(pool_t *pool, EVP_PKEY *key, iov_t *out, struct err *e)
{
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    if (len <= 0)
        return pki_fail_internal(e, "writing a public key");
    *out = iov_dup(pool, (iov_t){(char *)der, (size_t)len});
    OPENSSL_free(der);
    return true;
}

bool pki_make_key_and_csr(pool_t *pool, const struct iovs *dns, const struct iovs *ips, iov_t *key_pem_out,
                          iov_t *csr_der_out, struct err *e)
{
    if (dns->n + ips->n == 0)
        return err_set(e, 0, "a CSR needs at least one name");
    iov_t spki, info, sig;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL)
        return pki_fail_internal(e, "making a key");
    bool ok = key_spki(pool, key, &spki, e) && request_info(pool, spki, dns, ips, &info, e) &&
              sign(pool, key, info, &sig, e) && key_pem(pool, key, key_pem_out, e);
    EVP_PKEY_free(key);
    if (!ok)
        return false;
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_put_raw(&w, info);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, IOV("\x2a\x86\x48\xce\x3d\x04\x03\x02")); /* ecdsa-with-SHA256 */
    der_close(&w);
    der_put_bits(&w, sig);
    der_close(&w);
    *csr_der_out = der_finish(&w);
    return true;
}

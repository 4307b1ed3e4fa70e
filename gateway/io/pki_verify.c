/* SPDX-License-Identifier: Apache-2.0 */
/* Verification of signatures: JWS (RFC 7518, raw r||s) and X.509 structures (AlgorithmIdentifier). */
#include "io/pki_internal.h"

#include <openssl/rsa.h>

#define JWS_RSA_BITS_MIN 2048
#define JWS_RSA_BITS_MAX 8192
#define FAST_RSA_BITS_MAX 4096

struct scheme {
    const EVP_MD *md; /* NULL: the key type hashes itself */
    bool pss;
};

static bool verify(const struct pki_key *k, const struct scheme *s, iov_t input, iov_t sig, struct err *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx; /* ctx's own */
    bool ok = false;
    if (ctx == NULL || EVP_DigestVerifyInit(ctx, &pctx, s->md, NULL, k->pkey) != 1) {
        pki_fail(e, "the signature cannot be checked with this key");
        goto done;
    }
    if (s->pss && (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) != 1 ||
                   EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) != 1)) {
        pki_fail(e, "the signature cannot be checked with this key");
        goto done;
    }
    ok = EVP_DigestVerify(ctx, (const uint8_t *)sig.base, sig.len, (const uint8_t *)input.base, input.len) ==
         1;
    if (!ok)
        pki_fail(e, "the signature does not verify");
done:
    EVP_MD_CTX_free(ctx);
    return ok;
}

/* ---- JWS ---- */

static const struct jws_alg_row {
    const char *name;
    int hash_bits;
    enum pki_key_type key;
    size_t half; /* bytes of r and of s */
    bool pss;
} jws_algs[] = {
    [PKI_ES256] = {"ES256", 256, PKI_KEY_EC_P256, 32, false},
    [PKI_ES384] = {"ES384", 384, PKI_KEY_EC_P384, 48, false},
    [PKI_ES512] = {"ES512", 512, PKI_KEY_EC_P521, 66, false},
    [PKI_RS256] = {"RS256", 256, PKI_KEY_RSA, 0, false},
    [PKI_PS256] = {"PS256", 256, PKI_KEY_RSA, 0, true},
    [PKI_EDDSA] = {"EdDSA", 0, PKI_KEY_ED25519, 0, false},
};

static iov_t ecdsa_der(pool_t *pool, iov_t raw, size_t half)
{
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_put_uint(&w, (iov_t){raw.base, half});
    der_put_uint(&w, (iov_t){raw.base + half, half});
    der_close(&w);
    return der_finish(&w);
}

bool pki_verify(const struct pki_key *k, enum pki_alg alg, iov_t input, iov_t sig, struct err *e)
{
    const struct jws_alg_row *row = &jws_algs[alg];
    if (k->type != row->key)
        return pki_fail(e, "%s does not fit the type of the key", row->name);
    if (row->key == PKI_KEY_RSA && (k->bits < JWS_RSA_BITS_MIN || k->bits > JWS_RSA_BITS_MAX))
        return pki_fail(e, "%s wants an RSA key of %d to %d bits, not %u", row->name, JWS_RSA_BITS_MIN,
                        JWS_RSA_BITS_MAX, k->bits);
    size_t want = row->half != 0 ? 2 * row->half : row->key == PKI_KEY_ED25519 ? 64 : (k->bits + 7) / 8;
    if (sig.len != want)
        return pki_fail(e, "a signature of %s with this key has %zu bytes, not %zu", row->name, want,
                        sig.len);
    struct scheme s = {row->hash_bits != 0 ? pki_md(row->hash_bits) : NULL, row->pss};
    if (row->half == 0)
        return verify(k, &s, input, sig, e);
    pool_t pool;
    h2o_mem_init_pool(&pool);
    bool ok = verify(k, &s, input, ecdsa_der(&pool, sig, row->half), e);
    h2o_mem_clear_pool(&pool);
    return ok;
}

bool pki_verify_is_fast(const struct pki_key *k, enum pki_alg alg)
{
    if (k->type == PKI_KEY_RSA)
        return k->bits <= FAST_RSA_BITS_MAX && !k->slow_exponent;
    return alg == PKI_ES256 || alg == PKI_EDDSA;
}

/* ---- X.509 ---- */

static const struct x509_alg {
    iov_t oid;
    int hash_bits;
    bool rsa;
} x509_algs[] = {
#define ALG(bytes, bits, is_rsa)                                                                             \
    {                                                                                                        \
        {(char *)(bytes), sizeof(bytes) - 1}, bits, is_rsa                                                   \
    }
    ALG("\x2a\x86\x48\xce\x3d\x04\x03\x02", 256, false), /* ecdsa-with-SHA256 */
    ALG("\x2a\x86\x48\xce\x3d\x04\x03\x03", 384, false),
    ALG("\x2a\x86\x48\xce\x3d\x04\x03\x04", 512, false),
    ALG("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", 256, true), /* sha256WithRSAEncryption */
    ALG("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c", 384, true),
    ALG("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d", 512, true),
#undef ALG
};

/* SHA-2 as an AlgorithmIdentifier, with or without NULL parameters: 256, 384, 512, or 0. */
static int sha2_bits(struct der *d)
{
    struct der alg;
    struct der_item oid, null;
    if (!der_enter(d, DER_SEQUENCE, &alg) || !der_want(&alg, DER_OID, &oid))
        return 0;
    if (!der_done(&alg) && (!der_want(&alg, DER_NULL, &null) || !der_done(&alg)))
        return 0;
    if (oid.value.len != 9 || memcmp(oid.value.base, "\x60\x86\x48\x01\x65\x03\x04\x02", 8) != 0)
        return 0;
    switch (oid.value.base[8]) {
    case 1:
        return 256;
    case 2:
        return 384;
    case 3:
        return 512;
    default:
        return 0;
    }
}

/* RSASSA-PSS-params (RFC 4055 3.1) with one SHA-2 hash throughout and a salt of its length, as everybody uses it. */
static bool pss_params(struct der *alg, int *bits_out)
{
    struct der params, hash, mgf, in, salt;
    struct der_item oid;
    uint64_t salt_len;
    if (!der_enter(alg, DER_SEQUENCE, &params) || !der_enter(&params, DER_CONTEXT_CONS(0), &hash))
        return false;
    int bits = sha2_bits(&hash);
    if (bits == 0 || !der_done(&hash) || !der_enter(&params, DER_CONTEXT_CONS(1), &mgf) ||
        !der_enter(&mgf, DER_SEQUENCE, &in) || !der_want(&in, DER_OID, &oid) ||
        !OID_IS(oid.value, OID_MGF1) || sha2_bits(&in) != bits || !der_done(&in) || !der_done(&mgf))
        return false;
    if (!der_enter(&params, DER_CONTEXT_CONS(2), &salt) || !der_u64(&salt, &salt_len) || !der_done(&salt) ||
        salt_len != (uint64_t)bits / 8 || !der_done(&params) || !der_done(alg))
        return false;
    *bits_out = bits;
    return true;
}

static bool key_is_ec(const struct pki_key *k)
{
    return EVP_PKEY_is_a(k->pkey, "EC") == 1;
}

static bool key_is_rsa(const struct pki_key *k)
{
    return EVP_PKEY_is_a(k->pkey, "RSA") == 1 || EVP_PKEY_is_a(k->pkey, "RSA-PSS") == 1;
}

/* Which scheme the AlgorithmIdentifier names; false when it is unknown or not the key's. */
static bool x509_scheme(const struct pki_key *k, struct der alg, iov_t oid, struct scheme *out)
{
    struct der_item null;
    for (size_t i = 0; i < COUNTOF(x509_algs); i++) {
        const struct x509_alg *a = &x509_algs[i];
        if (!iov_eq(oid, a->oid))
            continue;
        /* RFC 4055 wants NULL parameters with RSA, RFC 5758 none with ECDSA; some senders mix them up. */
        if (!der_done(&alg) && (!der_want(&alg, DER_NULL, &null) || !der_done(&alg)))
            return false;
        *out = (struct scheme){pki_md(a->hash_bits), false};
        return a->rsa ? EVP_PKEY_is_a(k->pkey, "RSA") == 1 : key_is_ec(k);
    }
    if (OID_IS(oid, OID_RSA_PSS)) {
        int bits;
        if (!key_is_rsa(k) || !pss_params(&alg, &bits))
            return false;
        *out = (struct scheme){pki_md(bits), true};
        return true;
    }
    *out = (struct scheme){NULL, false};
    return der_done(&alg) && ((OID_IS(oid, OID_ED25519) && k->type == PKI_KEY_ED25519) ||
                              (OID_IS(oid, OID_ED448) && EVP_PKEY_is_a(k->pkey, "ED448") == 1));
}

bool pki_verify_x509(const struct pki_key *k, iov_t alg, iov_t input, iov_t sig, struct err *e)
{
    struct der in;
    struct der_item oid;
    struct scheme s;
    if (!der_only(alg, DER_SEQUENCE, &in) || !der_want(&in, DER_OID, &oid))
        return pki_fail(e, "the signature algorithm does not decode");
    if (!x509_scheme(k, in, oid.value, &s)) {
        pool_t pool;
        h2o_mem_init_pool(&pool);
        pki_fail(e,
                 "the signature algorithm %.*s is not supported with this type of key; use SHA-256 or better",
                 (int)pki_oid_name(&pool, oid.value).len, pki_oid_name(&pool, oid.value).base);
        h2o_mem_clear_pool(&pool);
        return false;
    }
    return verify(k, &s, input, sig, e);
}

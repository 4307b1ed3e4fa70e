/* SPDX-License-Identifier: Apache-2.0 */
/* Public keys: from JWK numbers and from SubjectPublicKeyInfo. The common types are decoded here and handed to
 * EVP_PKEY_fromdata: OpenSSL 3.0's own decoders cost five times as much and fight over locks. Every key has exactly one
 * SPKI encoding, whose hash identifies it; other spellings of the same key are refused. */
#include "io/pki_internal.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <stdlib.h>

#define RSA_BITS_MAX 8192
#define RSA_EXPONENT_BITS_MAX 256 /* FIPS 186-5 5.4 */

static const struct curve {
    enum pki_key_type type;
    const char *group;
    size_t bytes;
    unsigned bits;
    iov_t oid;
} curves[] = {
    {PKI_KEY_EC_P256, "P-256", 32, 256, {(char *)OID_P256, sizeof(OID_P256) - 1}},
    {PKI_KEY_EC_P384, "P-384", 48, 384, {(char *)OID_P384, sizeof(OID_P384) - 1}},
    {PKI_KEY_EC_P521, "P-521", 66, 521, {(char *)OID_P521, sizeof(OID_P521) - 1}},
};

static const struct curve *curve_of(enum pki_key_type type)
{
    for (size_t i = 0; i < COUNTOF(curves); i++) {
        if (curves[i].type == type)
            return &curves[i];
    }
    return NULL;
}

struct pki_key *pki_key_new(EVP_PKEY *pkey, enum pki_key_type type, iov_t spki, struct err *e)
{
    if (pkey == NULL) {
        pki_fail(e, "the public key is not valid");
        return NULL;
    }
    struct pki_key *k = base_zalloc(sizeof(*k));
    atomic_init(&k->refs, 1);
    k->pkey = pkey;
    k->type = type;
    k->bits = (unsigned)EVP_PKEY_get_bits(pkey);
    k->spki = base_zalloc(spki.len);
    memcpy(k->spki, spki.base, spki.len);
    k->spki_len = spki.len;
    return k;
}

/* NULL when OpenSSL refuses, among others a point that is not on its curve. */
static EVP_PKEY *from_params(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static iov_t spki_ec(pool_t *pool, const struct curve *c, iov_t point)
{
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, IOV(OID_EC));
    der_put(&w, DER_OID, c->oid);
    der_close(&w);
    der_put_bits(&w, point);
    der_close(&w);
    return der_finish(&w);
}

struct pki_key *pki_key_from_ec(enum pki_key_type type, iov_t x, iov_t y, struct err *e)
{
    const struct curve *c = curve_of(type);
    if (c == NULL || x.len != c->bytes || y.len != c->bytes) {
        pki_fail(e, "the EC key's coordinates do not have the length of their curve");
        return NULL;
    }
    char point[1 + 2 * 66] = {4}; /* uncompressed */
    memcpy(point + 1, x.base, x.len);
    memcpy(point + 1 + x.len, y.base, y.len);
    iov_t whole = {point, 1 + 2 * c->bytes};
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)c->group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, whole.len),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *pkey = from_params("EC", params);
    if (pkey == NULL) {
        pki_fail(e, "the EC public key is not a point of curve %s", c->group);
        return NULL;
    }
    pool_t pool;
    h2o_mem_init_pool(&pool);
    struct pki_key *k = pki_key_new(pkey, type, spki_ec(&pool, c, whole), e);
    h2o_mem_clear_pool(&pool);
    return k;
}

static iov_t spki_rsa(pool_t *pool, iov_t n, iov_t exponent)
{
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, IOV(OID_RSA));
    der_put(&w, DER_NULL, IOV(""));
    der_close(&w);
    der_open_bits(&w);
    der_open(&w, DER_SEQUENCE);
    der_put_uint(&w, n);
    der_put_uint(&w, exponent);
    der_close(&w);
    der_close(&w);
    der_close(&w);
    return der_finish(&w);
}

static EVP_PKEY *rsa_from_bn(const BIGNUM *n, const BIGNUM *exponent)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (bld != NULL && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, exponent) == 1 &&
        (params = OSSL_PARAM_BLD_to_param(bld)) != NULL)
        pkey = from_params("RSA", params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    return pkey;
}

static struct pki_key *rsa_new(const BIGNUM *n, const BIGNUM *exponent, struct err *e)
{
    if (BN_num_bits(n) < 512 || BN_num_bits(n) > RSA_BITS_MAX || !BN_is_odd(n)) {
        pki_fail(e, "the RSA modulus (%d bits) is not an odd number of at most %d bits", BN_num_bits(n),
                 RSA_BITS_MAX);
        return NULL;
    }
    if (!BN_is_odd(exponent) || BN_is_one(exponent) || BN_num_bits(exponent) > RSA_EXPONENT_BITS_MAX) {
        pki_fail(e, "the RSA exponent is not an odd number above 1 of at most %d bits",
                 RSA_EXPONENT_BITS_MAX);
        return NULL;
    }
    uint8_t n_bytes[RSA_BITS_MAX / 8], e_bytes[RSA_EXPONENT_BITS_MAX / 8];
    iov_t n_iov = {(char *)n_bytes, (size_t)BN_bn2bin(n, n_bytes)};
    iov_t e_iov = {(char *)e_bytes, (size_t)BN_bn2bin(exponent, e_bytes)};
    pool_t pool;
    h2o_mem_init_pool(&pool);
    struct pki_key *k = pki_key_new(rsa_from_bn(n, exponent), PKI_KEY_RSA, spki_rsa(&pool, n_iov, e_iov), e);
    h2o_mem_clear_pool(&pool);
    if (k != NULL)
        k->slow_exponent = BN_num_bits(exponent) > 64;
    return k;
}

struct pki_key *pki_key_from_rsa(iov_t n, iov_t e_, struct err *e)
{
    struct pki_key *k = NULL;
    /* Twice the limit leaves room for leading zeros; far more is not worth a conversion. */
    if (n.len > 2 * RSA_BITS_MAX / 8 || e_.len > 2 * RSA_EXPONENT_BITS_MAX / 8) {
        pki_fail(e, "the RSA modulus is longer than %d bits or the exponent longer than %d", RSA_BITS_MAX,
                 RSA_EXPONENT_BITS_MAX);
        return NULL;
    }
    BIGNUM *bn_n = BN_bin2bn((const uint8_t *)n.base, (int)n.len, NULL);
    BIGNUM *bn_e = BN_bin2bn((const uint8_t *)e_.base, (int)e_.len, NULL);
    if (bn_n == NULL || bn_e == NULL)
        pki_fail_internal(e, "RSA key");
    else
        k = rsa_new(bn_n, bn_e, e);
    BN_free(bn_n);
    BN_free(bn_e);
    return k;
}

/* Points of order 1, 2, 4 and 8 in every encoding that a decoder takes: anybody can make signatures that verify under
 * them. The sign bit is left out of the comparison. */
static bool ed25519_small_order(iov_t x)
{
    static const uint8_t points[][32] = {
        {0x01},
        {0x00},
        {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
         0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
        {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
         0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
    };
    uint8_t y[32];
    memcpy(y, x.base, sizeof(y));
    y[31] &= 0x7f;
    for (size_t i = 0; i < COUNTOF(points); i++) {
        if (memcmp(y, points[i], sizeof(y)) == 0)
            return true;
    }
    /* p-1 (order 2), p and p+1 (0 and 1 not reduced): 0xec..0xee, thirty times 0xff, 0x7f */
    if (y[0] < 0xec || y[0] > 0xee || y[31] != 0x7f)
        return false;
    for (size_t i = 1; i < 31; i++) {
        if (y[i] != 0xff)
            return false;
    }
    return true;
}

struct pki_key *pki_key_from_ed25519(iov_t x, struct err *e)
{
    if (x.len != 32) {
        pki_fail(e, "an Ed25519 public key has 32 bytes, not %zu", x.len);
        return NULL;
    }
    if (ed25519_small_order(x)) {
        pki_fail(e, "the Ed25519 public key is a point of small order, under which anybody can sign");
        return NULL;
    }
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, (const uint8_t *)x.base, x.len);
    pool_t pool;
    h2o_mem_init_pool(&pool);
    struct der_writer w;
    der_writer_init(&w, &pool);
    der_open(&w, DER_SEQUENCE);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, IOV(OID_ED25519));
    der_close(&w);
    der_put_bits(&w, x);
    der_close(&w);
    struct pki_key *k = pki_key_new(pkey, PKI_KEY_ED25519, der_finish(&w), e);
    h2o_mem_clear_pool(&pool);
    return k;
}

/* A SubjectPublicKeyInfo taken apart. */
struct spki {
    iov_t oid, bits;
    struct der params;
};

static bool spki_split(iov_t der, struct spki *out)
{
    struct der spki, alg;
    struct der_item item;
    if (!der_only(der, DER_SEQUENCE, &spki) || !der_enter(&spki, DER_SEQUENCE, &alg) ||
        !der_want(&alg, DER_OID, &item) || !der_bits(&spki, &out->bits) || !der_done(&spki))
        return false;
    out->oid = item.value;
    out->params = alg;
    return true;
}

static struct pki_key *other_key(iov_t der, struct err *e)
{
    const uint8_t *p = (const uint8_t *)der.base, *end = p + der.len;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long)der.len);
    if (pkey == NULL || p != end) {
        EVP_PKEY_free(pkey);
        pki_fail(e, "the public key does not decode");
        return NULL;
    }
    return pki_key_new(pkey, PKI_KEY_OTHER, der, e);
}

static struct pki_key *ec_from_spki(iov_t der, struct spki *s, struct err *e)
{
    struct der_item curve;
    if (!der_want(&s->params, DER_OID, &curve)) {
        pki_fail(e, "the EC key does not name its curve; explicit parameters are not accepted");
        return NULL;
    }
    for (size_t i = 0; i < COUNTOF(curves); i++) {
        const struct curve *c = &curves[i];
        if (!iov_eq(curve.value, c->oid))
            continue;
        if (s->bits.len != 1 + 2 * c->bytes || s->bits.base[0] != 4) {
            pki_fail(e, "the EC public key is not an uncompressed point of curve %s", c->group);
            return NULL;
        }
        return pki_key_from_ec(c->type, (iov_t){s->bits.base + 1, c->bytes},
                               (iov_t){s->bits.base + 1 + c->bytes, c->bytes}, e);
    }
    return other_key(der, e);
}

static struct pki_key *rsa_from_spki(struct spki *s, struct err *e)
{
    struct der seq;
    iov_t n, exponent;
    if (!der_only(s->bits, DER_SEQUENCE, &seq) || !der_uint(&seq, &n) || !der_uint(&seq, &exponent) ||
        !der_done(&seq)) {
        pki_fail(e, "the RSA public key does not decode");
        return NULL;
    }
    return pki_key_from_rsa(n, exponent, e);
}

struct pki_key *pki_key_from_spki(iov_t der, struct err *e)
{
    struct spki s;
    struct pki_key *k;
    if (!spki_split(der, &s)) {
        pki_fail(e, "the public key is not a DER SubjectPublicKeyInfo");
        return NULL;
    }
    if (OID_IS(s.oid, OID_EC)) {
        k = ec_from_spki(der, &s, e);
    } else if (OID_IS(s.oid, OID_RSA)) {
        k = rsa_from_spki(&s, e);
    } else if (OID_IS(s.oid, OID_ED25519)) {
        k = pki_key_from_ed25519(s.bits, e);
    } else if (OID_IS(s.oid, OID_ED448) || OID_IS(s.oid, OID_RSA_PSS)) {
        k = other_key(der, e);
    } else {
        pki_fail(e, "the public key is of a type that is not supported; use RSA, EC (P-256, P-384, P-521) or "
                    "Ed25519");
        return NULL;
    }
    if (k != NULL && (k->spki_len != der.len || memcmp(k->spki, der.base, der.len) != 0)) {
        pki_key_unref(k);
        pki_fail(e, "the public key is not in its canonical encoding (RFC 3279, 5480, 8410)");
        return NULL;
    }
    return k;
}

struct pki_key *pki_key_ref(struct pki_key *k)
{
    atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void pki_key_unref(struct pki_key *k)
{
    if (k == NULL || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
        return;
    EVP_PKEY_free(k->pkey);
    free(k->spki);
    free(k);
}

enum pki_key_type pki_key_type(const struct pki_key *k)
{
    return k->type;
}

unsigned pki_key_bits(const struct pki_key *k)
{
    return k->bits;
}

iov_t pki_key_spki(pool_t *pool, const struct pki_key *k)
{
    return iov_dup(pool, (iov_t){(char *)k->spki, k->spki_len});
}

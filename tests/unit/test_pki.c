/* SPDX-License-Identifier: Apache-2.0 */
/* Digests, keys and signatures: the published examples, and every way in which a key or a signature can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <pthread.h>
#include <stdio.h>

#include "base/b64.h"
#include "x509_fixture.h"

static pool_t pool;

static int setup(void **state)
{
    (void)state;
    h2o_mem_init_pool(&pool);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    h2o_mem_clear_pool(&pool);
    return 0;
}

static iov_t b64(const char *text)
{
    iov_t out;
    assert_true(b64_decode(&pool, iov_of(text), &out));
    return out;
}

/* ---- digests ---- */

static void test_digests(void **state)
{
    (void)state;
    uint8_t out[64];
    pki_sha256(IOV("abc"), out);
    assert_true(iov_is(iov_hex(&pool, (iov_t){(char *)out, 32}),
                       "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    /* RFC 4231, test case 2 */
    assert_int_equal(pki_hmac(256, IOV("Jefe"), IOV("what do ya want for nothing?"), out), 32);
    assert_true(iov_is(iov_hex(&pool, (iov_t){(char *)out, 32}),
                       "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    assert_int_equal(pki_hmac(384, IOV("Jefe"), IOV("what do ya want for nothing?"), out), 48);
    assert_int_equal((uint8_t)out[0], 0xaf);
    assert_int_equal(pki_hmac(512, IOV("Jefe"), IOV("what do ya want for nothing?"), out), 64);
    assert_int_equal((uint8_t)out[0], 0x16);
    assert_int_equal(pki_hmac(256, IOV(""), IOV(""), out), 32);
    assert_true(pki_equal(IOV("same"), IOV("same")));
    assert_false(pki_equal(IOV("same"), IOV("sane")));
    assert_false(pki_equal(IOV("same"), IOV("sam")));
    iov_t a = pki_random_id(&pool), b = pki_random_id(&pool);
    assert_int_equal(a.len, 22);
    assert_false(iov_eq(a, b));
    for (int i = 0; i < 2000; i++) /* one in 64 would, and a command line would take it for an option */
        assert_true(pki_random_id(&pool).base[0] != '-');
}

/* ---- keys ---- */

static void refused(struct pki_key *k, const struct err *e, const char *word)
{
    assert_null(k);
    if (strstr(e->detail, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e->detail, word);
}

static void test_spki_round_trip(void **state)
{
    (void)state;
    static const struct {
        const char *make;
        enum pki_key_type type;
        unsigned bits;
        bool acceptable;
    } cases[] = {
        {"P-256", PKI_KEY_EC_P256, 256, true},    {"P-384", PKI_KEY_EC_P384, 384, true},
        {"P-521", PKI_KEY_EC_P521, 521, true},    {"rsa2048", PKI_KEY_RSA, 2048, true},
        {"rsa1024", PKI_KEY_RSA, 1024, false},    {"ed25519", PKI_KEY_ED25519, 256, true},
        {"secp256k1", PKI_KEY_OTHER, 256, false}, {"ed448", PKI_KEY_OTHER, 456, false},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct err e = ERR_INIT;
        EVP_PKEY *made = fix_key(cases[i].make);
        iov_t spki = fix_spki(&pool, made);
        struct pki_key *k = pki_key_from_spki(spki, &e);
        if (k == NULL)
            fail_msg("%s: %s", cases[i].make, e.detail);
        assert_int_equal(pki_key_type(k), cases[i].type);
        assert_int_equal(pki_key_bits(k), cases[i].bits);
        assert_true(iov_eq(pki_key_spki(&pool, k), spki));
        assert_int_equal(pki_key_acceptable(k, &e), cases[i].acceptable);
        pki_key_unref(pki_key_ref(k));
        pki_key_unref(k);
        /* every proper prefix, and a byte too many */
        for (size_t cut = 0; cut < spki.len; cut++)
            refused(pki_key_from_spki((iov_t){spki.base, cut}, &e), &e, "");
        iov_t longer = iov_dup(&pool, spki); /* its NUL is the byte too many */
        longer.len++;
        refused(pki_key_from_spki(longer, &e), &e, "");
        EVP_PKEY_free(made);
    }
    pki_key_unref(NULL);
}

static void test_ec_points(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    iov_t x = b64("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    iov_t y = b64("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    struct pki_key *k = pki_key_from_ec(PKI_KEY_EC_P256, x, y, &e);
    assert_non_null(k);
    pki_key_unref(k);
    iov_t off = iov_dup(&pool, y);
    off.base[31] ^= 1;
    refused(pki_key_from_ec(PKI_KEY_EC_P256, x, off, &e), &e, "not a point");
    iov_t zero = {POOL_NEW(&pool, char, 32), 32};
    refused(pki_key_from_ec(PKI_KEY_EC_P256, zero, zero, &e), &e, "not a point");
    /* x + p is the same point, spelled differently */
    iov_t p_plus = iov_dup(&pool, x);
    memset(p_plus.base, 0xff, 32);
    refused(pki_key_from_ec(PKI_KEY_EC_P256, p_plus, y, &e), &e, "not a point");
    refused(pki_key_from_ec(PKI_KEY_EC_P256, (iov_t){x.base, 31}, y, &e), &e, "length");
    refused(pki_key_from_ec(PKI_KEY_EC_P384, x, y, &e), &e, "length");
    refused(pki_key_from_ec(PKI_KEY_RSA, x, y, &e), &e, "length");
}

static void test_spki_other_spellings(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    EVP_PKEY *made = fix_key("P-256");
    EVP_PKEY_set_utf8_string_param(made, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed");
    refused(pki_key_from_spki(fix_spki(&pool, made), &e), &e, "uncompressed");
    EVP_PKEY_free(made);
    made = fix_key("P-256");
    EVP_PKEY_set_utf8_string_param(made, OSSL_PKEY_PARAM_EC_ENCODING, "explicit");
    refused(pki_key_from_spki(fix_spki(&pool, made), &e), &e, "explicit");
    EVP_PKEY_free(made);
    /* rsaEncryption without its NULL */
    made = fix_key("rsa2048");
    iov_t spki = fix_spki(&pool, made);
    struct der outer, alg;
    struct der_item key;
    assert_true(der_only(spki, DER_SEQUENCE, &outer) && der_enter(&outer, DER_SEQUENCE, &alg));
    assert_true(der_want(&outer, DER_BIT_STRING, &key));
    struct der_writer w;
    der_writer_init(&w, &pool);
    der_open(&w, DER_SEQUENCE);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, IOV("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"));
    der_close(&w);
    der_put_raw(&w, key.whole);
    der_close(&w);
    refused(pki_key_from_spki(der_finish(&w), &e), &e, "canonical");
    EVP_PKEY_free(made);
}

static iov_t rsa_n(EVP_PKEY *key)
{
    BIGNUM *n = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
    iov_t out = {POOL_NEW(&pool, char, BN_num_bytes(n)), (size_t)BN_num_bytes(n)};
    BN_bn2bin(n, (uint8_t *)out.base);
    BN_free(n);
    return out;
}

static void weak(iov_t n, iov_t exponent, const char *word)
{
    struct err e = ERR_INIT;
    struct pki_key *k = pki_key_from_rsa(n, exponent, &e);
    if (k != NULL) {
        assert_false(pki_key_acceptable(k, &e));
        pki_key_unref(k);
    }
    if (strstr(e.detail, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.detail, word);
}

static iov_t multiple_of(iov_t n, unsigned factor)
{
    BIGNUM *bn = BN_bin2bn((uint8_t *)n.base, (int)n.len, NULL);
    BN_sub_word(bn, BN_mod_word(bn, factor));
    if (!BN_is_odd(bn))
        BN_sub_word(bn, factor);
    iov_t out = iov_dup(&pool, n);
    BN_bn2bin(bn, (uint8_t *)out.base);
    BN_free(bn);
    return out;
}

/* 65537^5 modulo the product of the first 39 primes, lifted to 2048 bits: what the defective generator makes. */
static iov_t roca_modulus(void)
{
    BIGNUM *m = BN_new(), *g = BN_new(), *n = BN_new(), *five = BN_new();
    BN_CTX *ctx = BN_CTX_new();
    BN_one(m);
    for (unsigned p = 2, found = 0; found < 39; p++) {
        bool prime = true;
        for (unsigned d = 2; d * d <= p; d++)
            prime = prime && p % d != 0;
        if (prime) {
            BN_mul_word(m, p);
            found++;
        }
    }
    BN_set_word(g, 65537);
    BN_set_word(five, 5);
    BN_mod_exp(n, g, five, m, ctx);
    BIGNUM *k = BN_new();
    BN_one(k);
    BN_lshift(k, k, 2047 - BN_num_bits(m) + 1);
    BN_mul(k, k, m, ctx);
    BN_add(n, n, k);
    iov_t out = {POOL_NEW(&pool, char, BN_num_bytes(n)), (size_t)BN_num_bytes(n)};
    BN_bn2bin(n, (uint8_t *)out.base);
    BN_free(m);
    BN_free(g);
    BN_free(n);
    BN_free(k);
    BN_free(five);
    BN_CTX_free(ctx);
    return out;
}

static void test_weak_rsa(void **state)
{
    (void)state;
    EVP_PKEY *made = fix_key("rsa2048");
    iov_t n = rsa_n(made), f4 = IOV("\x01\x00\x01");
    weak(n, IOV("\x03"), "above 2^16");
    weak(n, IOV("\xff\xff"), "above 2^16");
    weak(n, IOV("\x01"), "exponent");
    weak(n, IOV("\x01\x00\x00"), "exponent");
    weak(n, IOV(""), "exponent");
    weak(n, n, "exponent");
    iov_t even = iov_dup(&pool, n);
    even.base[even.len - 1] &= (char)0xfe;
    weak(even, f4, "odd");
    weak((iov_t){n.base, 255}, f4, "");
    weak(IOV(""), f4, "modulus");
    iov_t huge = {POOL_NEW(&pool, char, 70000), 70000};
    memset(huge.base, 0xff, huge.len);
    weak(huge, f4, "8192");
    weak((iov_t){huge.base, 1025}, f4, "8192");
    weak(multiple_of(n, 3), f4, "divisible by 3");
    weak(multiple_of(n, 751), f4, "divisible by");
    weak(roca_modulus(), f4, "CVE-2017-15361");
    /* leading zeros are only a spelling */
    struct err e = ERR_INIT;
    iov_t padded = {POOL_NEW(&pool, char, 300), 300};
    memcpy(padded.base + 44, n.base, 256);
    struct pki_key *k = pki_key_from_rsa(padded, f4, &e);
    assert_non_null(k);
    assert_true(iov_eq(pki_key_spki(&pool, k), fix_spki(&pool, made)));
    pki_key_unref(k);
    EVP_PKEY_free(made);
}

static void test_ed25519_small_order(void **state)
{
    (void)state;
    static const char *const points[] = {
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    };
    struct err e = ERR_INIT;
    for (size_t i = 0; i < COUNTOF(points); i++) {
        char x[32];
        for (size_t b = 0; b < sizeof(x); b++) {
            unsigned byte;
            assert_int_equal(sscanf(points[i] + 2 * b, "%2x", &byte), 1);
            x[b] = (char)byte;
        }
        refused(pki_key_from_ed25519((iov_t){x, 32}, &e), &e, "small order");
    }
    refused(pki_key_from_ed25519(IOV("short"), &e), &e, "32 bytes");
}

/* ---- signatures ---- */

static void test_published_signatures(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    /* RFC 7515 A.3 */
    struct pki_key *k = pki_key_from_ec(PKI_KEY_EC_P256, b64("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
                                        b64("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"), &e);
    iov_t sig = b64("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    assert_true(pki_verify(k, PKI_ES256,
                           IOV("eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQo"
                               "gImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"),
                           sig, &e));
    pki_key_unref(k);
    /* RFC 8037 A.4 */
    k = pki_key_from_ed25519(b64("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"), &e);
    sig = b64("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
    assert_true(
        pki_verify(k, PKI_EDDSA, IOV("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"), sig, &e));
    pki_key_unref(k);
}

static iov_t raw_sig(iov_t der, size_t half)
{
    const uint8_t *p = (const uint8_t *)der.base;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der.len);
    assert_non_null(sig);
    iov_t out = {POOL_NEW(&pool, char, 2 * half), 2 * half};
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), (uint8_t *)out.base, (int)half);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), (uint8_t *)out.base + half, (int)half);
    ECDSA_SIG_free(sig);
    return out;
}

static void test_every_algorithm(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        enum pki_alg alg;
        int bits;
        size_t half;
        bool pss, fast;
    } cases[] = {
        {"P-256", PKI_ES256, 256, 32, false, true},  {"P-384", PKI_ES384, 384, 48, false, false},
        {"P-521", PKI_ES512, 512, 66, false, false}, {"rsa2048", PKI_RS256, 256, 0, false, true},
        {"rsa2049", PKI_RS256, 256, 0, false, true}, {"rsa2048", PKI_PS256, 256, 0, true, true},
        {"ed25519", PKI_EDDSA, 0, 0, false, true},
    };
    iov_t input = IOV("header.payload");
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct err e = ERR_INIT;
        EVP_PKEY *made = fix_key(cases[i].key);
        const EVP_MD *md = cases[i].bits == 0     ? NULL
                           : cases[i].bits == 256 ? EVP_sha256()
                           : cases[i].bits == 384 ? EVP_sha384()
                                                  : EVP_sha512();
        iov_t der = fix_sign(&pool, made, md, cases[i].pss, input);
        iov_t sig = cases[i].half != 0 ? raw_sig(der, cases[i].half) : der;
        struct pki_key *k = pki_key_from_spki(fix_spki(&pool, made), &e);
        assert_non_null(k);
        assert_true(pki_verify(k, cases[i].alg, input, sig, &e));
        assert_int_equal(pki_verify_is_fast(k, cases[i].alg), cases[i].fast);
        assert_false(pki_verify(k, cases[i].alg, IOV("header.payloaD"), sig, &e));
        for (size_t at = 0; at < sig.len; at += 7) {
            iov_t bad = iov_dup(&pool, sig);
            bad.base[at] ^= 0x10;
            assert_false(pki_verify(k, cases[i].alg, input, bad, &e));
        }
        assert_false(pki_verify(k, cases[i].alg, input, (iov_t){sig.base, sig.len - 1}, &e));
        iov_t longer = iov_dup(&pool, sig);
        longer.len++;
        assert_false(pki_verify(k, cases[i].alg, input, longer, &e));
        assert_non_null(strstr(e.detail, "bytes"));
        if (cases[i].half != 0) { /* DER is not JWS; neither is all zero */
            assert_false(pki_verify(k, cases[i].alg, input, der, &e));
            assert_false(
                pki_verify(k, cases[i].alg, input, (iov_t){POOL_NEW(&pool, char, sig.len), sig.len}, &e));
        }
        for (size_t other = 0; other < COUNTOF(cases); other++) {
            if (cases[other].alg != cases[i].alg)
                assert_false(pki_verify(k, cases[other].alg, input, sig, &e));
        }
        pki_key_unref(k);
        EVP_PKEY_free(made);
    }
}

static void test_small_rsa_cannot_sign_jws(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    EVP_PKEY *made = fix_key("rsa1024");
    struct pki_key *k = pki_key_from_spki(fix_spki(&pool, made), &e);
    assert_false(
        pki_verify(k, PKI_RS256, IOV("x"), fix_sign(&pool, made, EVP_sha256(), false, IOV("x")), &e));
    assert_non_null(strstr(e.detail, "2048"));
    pki_key_unref(k);
    EVP_PKEY_free(made);
}

static void *hammer(void *arg)
{
    struct err e = ERR_INIT;
    for (int i = 0; i < 200; i++) {
        struct pki_key *k = pki_key_from_spki(*(iov_t *)arg, &e);
        assert_non_null(k);
        assert_false(pki_verify(k, PKI_ES256, IOV("x"), IOV("short"), &e));
        pki_key_unref(k);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    EVP_PKEY *made = fix_key("P-256");
    iov_t spki = fix_spki(&pool, made);
    pthread_t threads[4];
    for (size_t i = 0; i < COUNTOF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &spki), 0);
    for (size_t i = 0; i < COUNTOF(threads); i++)
        pthread_join(threads[i], NULL);
    EVP_PKEY_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_spki_round_trip),
        cmocka_unit_test(test_ec_points),
        cmocka_unit_test(test_spki_other_spellings),
        cmocka_unit_test(test_weak_rsa),
        cmocka_unit_test(test_ed25519_small_order),
        cmocka_unit_test(test_published_signatures),
        cmocka_unit_test(test_every_algorithm),
        cmocka_unit_test(test_small_rsa_cannot_sign_jws),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

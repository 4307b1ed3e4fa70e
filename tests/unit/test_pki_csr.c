/* SPDX-License-Identifier: Apache-2.0 */
/* CSRs as clients make them, and as those make them who want a certificate for something else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "x509_fixture.h"

static pool_t pool;
static EVP_PKEY *p256;

static int setup(void **state)
{
    (void)state;
    h2o_mem_init_pool(&pool);
    p256 = fix_key("P-256");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    EVP_PKEY_free(p256);
    h2o_mem_clear_pool(&pool);
    return 0;
}

static struct pki_csr parsed(iov_t der)
{
    struct pki_csr csr;
    struct err e = ERR_INIT;
    if (!pki_csr_parse(&pool, der, &csr, &e))
        fail_msg("%s (%s)", e.detail, e.cause);
    assert_non_null(csr.key);
    pki_key_unref(csr.key);
    return csr;
}

static void refused(iov_t der, const char *word)
{
    struct pki_csr csr;
    struct err e = ERR_INIT;
    if (pki_csr_parse(&pool, der, &csr, &e))
        fail_msg("accepted, instead of \"%s\"", word);
    assert_null(csr.key);
    assert_int_equal(e.code, 0);
    if (strstr(e.detail, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.detail, word);
}

static const char *const san[] = {"subjectAltName",
                                  "DNS:A.Example,DNS:*.b.example,IP:192.0.2.1,IP:2001:DB8:0:0::1,"
                                  "DNS:a.example",
                                  NULL};

static void test_names(void **state)
{
    (void)state;
    static const char *const subject[] = {"CN", "A.Example", "O", "Corp \xc3\xa9", "C", "DE", NULL};
    struct pki_csr csr = parsed(fix_csr(&pool, p256, EVP_sha256(), subject, san));
    assert_int_equal(csr.dns.n, 2);
    assert_string_equal(csr.dns.v[0].base, "a.example");
    assert_string_equal(csr.dns.v[1].base, "*.b.example");
    assert_int_equal(csr.ips.n, 2);
    assert_string_equal(csr.ips.v[0].base, "192.0.2.1");
    assert_string_equal(csr.ips.v[1].base, "2001:db8::1");
    assert_string_equal(csr.cn.base, "a.example");
    assert_false(csr.cn_many || csr.other_san || csr.must_staple || csr.wants_ca);
    assert_int_equal(csr.subject_other.n, 2);
    assert_true(iov_starts(csr.subject_other.v[0], "O=Corp "));
    assert_string_equal(csr.subject_other.v[1].base, "C=DE");
    assert_int_equal(csr.extensions.n, 0);
    assert_true(iov_eq(csr.spki, fix_spki(&pool, p256)));
    assert_true(iov_eq(csr.spki_sha256, pki_sha256_iov(&pool, csr.spki)));
}

static void test_subjects(void **state)
{
    (void)state;
    static const char *const many[] = {"CN", "a.example", "CN", "b.example", NULL};
    assert_true(parsed(fix_csr(&pool, p256, EVP_sha256(), many, san)).cn_many);
    struct pki_csr csr = parsed(fix_csr(&pool, p256, EVP_sha256(), NULL, san));
    assert_null(csr.cn.base);
    static const char *const ip[] = {"CN", "2001:DB8::0:1", NULL};
    assert_string_equal(parsed(fix_csr(&pool, p256, EVP_sha256(), ip, san)).cn.base, "2001:db8::1");
    csr = parsed(fix_csr(&pool, p256, EVP_sha256(), NULL, NULL)); /* no names at all: policy's business */
    assert_int_equal(csr.dns.n + csr.ips.n, 0);
}

static void test_extensions(void **state)
{
    (void)state;
    static const char *const exts[] = {"subjectAltName",
                                       "DNS:a.example,email:x@a.example,URI:http://a.example/",
                                       "keyUsage",
                                       "digitalSignature",
                                       "tlsfeature",
                                       "status_request",
                                       "basicConstraints",
                                       "CA:TRUE",
                                       "1.2.3.4",
                                       "DER:0500",
                                       NULL};
    struct pki_csr csr = parsed(fix_csr(&pool, p256, EVP_sha256(), NULL, exts));
    assert_true(csr.other_san && csr.must_staple && csr.wants_ca);
    assert_string_equal(csr.other_san_kind, "rfc822Name");
    assert_int_equal(csr.dns.n, 1);
    static const char *const want[] = {"keyUsage", "tlsfeature", "basicConstraints", "1.2.3.4"};
    assert_int_equal(csr.extensions.n, COUNTOF(want));
    for (size_t i = 0; i < COUNTOF(want); i++)
        assert_string_equal(csr.extensions.v[i].base, want[i]);
    static const char *const end_entity[] = {"basicConstraints", "CA:FALSE", NULL};
    assert_false(parsed(fix_csr(&pool, p256, EVP_sha256(), NULL, end_entity)).wants_ca);
}

static void test_other_names_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *san, *kind;
    } cases[] = {
        {"email:a@b.example", "rfc822Name"},
        {"URI:https://b.example/", "URI"},
        {"RID:1.2.3.4", "registeredID"},
        {"otherName:1.2.3.4;UTF8:x", "otherName"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        const char *const exts[] = {"subjectAltName", cases[i].san, NULL};
        assert_string_equal(parsed(fix_csr(&pool, p256, EVP_sha256(), NULL, exts)).other_san_kind,
                            cases[i].kind);
    }
}

static void test_key_types(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        const EVP_MD *(*md)(void);
        enum pki_key_type type;
    } cases[] = {
        {"P-256", EVP_sha256, PKI_KEY_EC_P256}, {"P-256", EVP_sha512, PKI_KEY_EC_P256},
        {"P-384", EVP_sha384, PKI_KEY_EC_P384}, {"P-521", EVP_sha512, PKI_KEY_EC_P521},
        {"rsa2048", EVP_sha256, PKI_KEY_RSA},   {"rsa3072", EVP_sha384, PKI_KEY_RSA},
        {"rsa1024", EVP_sha512, PKI_KEY_RSA},   {"ed25519", NULL, PKI_KEY_ED25519},
        {"ed448", NULL, PKI_KEY_OTHER},         {"secp256k1", EVP_sha256, PKI_KEY_OTHER},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        EVP_PKEY *key = fix_key(cases[i].key);
        iov_t der = fix_csr(&pool, key, cases[i].md != NULL ? cases[i].md() : NULL, NULL, san);
        struct pki_csr csr;
        struct err e = ERR_INIT;
        assert_true(pki_csr_parse(&pool, der, &csr, &e));
        assert_int_equal(pki_key_type(csr.key), cases[i].type);
        pki_key_unref(csr.key);
        EVP_PKEY_free(key);
    }
    refused(fix_csr(&pool, p256, EVP_sha1(), NULL, san), "not supported");
}

static iov_t pss_csr(const EVP_MD *md, int salt)
{
    EVP_PKEY *key = fix_key("rsa2048");
    X509_REQ *req = X509_REQ_new();
    X509_REQ_set_pubkey(req, key);
    EVP_PKEY_CTX *pctx;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestSignInit(ctx, &pctx, md, NULL, key);
    EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
    EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, salt);
    assert_true(X509_REQ_sign_ctx(req, ctx) > 0);
    uint8_t *der = NULL;
    int len = i2d_X509_REQ(req, &der);
    iov_t copy = iov_dup(&pool, (iov_t){(char *)der, (size_t)len});
    OPENSSL_free(der);
    EVP_MD_CTX_free(ctx);
    X509_REQ_free(req);
    EVP_PKEY_free(key);
    return copy;
}

static void test_pss_signatures(void **state)
{
    (void)state;
    parsed(pss_csr(EVP_sha256(), RSA_PSS_SALTLEN_DIGEST));
    parsed(pss_csr(EVP_sha512(), RSA_PSS_SALTLEN_DIGEST));
    refused(pss_csr(EVP_sha1(), RSA_PSS_SALTLEN_DIGEST), "not supported");
    refused(pss_csr(EVP_sha256(), 20), "not supported");
}

static void test_broken(void **state)
{
    (void)state;
    iov_t der = fix_csr(&pool, p256, EVP_sha256(), NULL, san);
    for (size_t cut = 0; cut < der.len; cut++)
        refused((iov_t){der.base, cut}, "");
    iov_t longer = iov_dup(&pool, der);
    longer.len++;
    refused(longer, "bytes follow");
    refused(IOV_NULL, "");
    unsigned taken = 0;
    for (size_t at = 0; at < der.len; at++) {
        struct pki_csr csr;
        struct err e = ERR_INIT;
        iov_t bad = iov_dup(&pool, der);
        bad.base[at] ^= 0x04;
        taken += pki_csr_parse(&pool, bad, &csr, &e);
        pki_key_unref(csr.key);
    }
    assert_int_equal(taken, 0); /* every byte is signed, or part of the structure around */
    iov_t huge = {POOL_NEW(&pool, char, 300 * 1024), 300 * 1024};
    refused(huge, "bytes");
}

static iov_t san_attribute(iov_t names)
{
    struct der_writer w;
    der_writer_init(&w, &pool);
    der_put(&w, DER_SEQUENCE, names);
    return fix_ext_attribute(&pool, IOV("\x55\x1d\x11"), der_finish(&w));
}

static void test_hostile_names(void **state)
{
    (void)state;
    iov_t none = IOV("\x30\x00");
    static const struct {
        iov_t names;
        const char *word;
    } cases[] = {
#define IN(s) {(char *)(s), sizeof(s) - 1}
        {IN("\x82\x0bgood.ex\0bad"), "characters"},
        {IN("\x82\x08spa ce.x"), "characters"},
        {IN("\x82\x03\xc3\xa4x"), "characters"},
        {IN("\x82\x00"), "0 bytes"},
        {IN("\x87\x03\x7f\x00\x01"), "3 bytes"},
        {IN("\x87\x08\x7f\x00\x00\x01\xff\x00\x00\x00"), "8 bytes"},
        {IN(""), "not a sequence"},
        {IN("\xa2\x03\x16\x01x"), "does not decode"}, /* dNSName is primitive */
        {IN("\x89\x01x"), "does not decode"},         /* there is no [9] */
        {IN("\x16\x01x"), "does not decode"},
        {IN("\x82\x05x"), "does not decode"},
#undef IN
    };
    for (size_t i = 0; i < COUNTOF(cases); i++)
        refused(fix_csr_raw(&pool, p256, none, san_attribute(cases[i].names)), cases[i].word);
    struct pki_csr csr = parsed(fix_csr_raw(&pool, p256, none,
                                            san_attribute(IOV("\x82\x03"
                                                              "a.b\x82\x03"
                                                              "A.B"))));
    assert_int_equal(csr.dns.n, 1);

    struct der_writer w;
    der_writer_init(&w, &pool);
    for (int i = 0; i < 1001; i++)
        der_put(&w, DER_CONTEXT(2), iov_printf(&pool, "n%d.example", i));
    refused(fix_csr_raw(&pool, p256, none, san_attribute(der_finish(&w))), "more than 1000");
}

static void test_hostile_requests(void **state)
{
    (void)state;
    iov_t none = IOV("\x30\x00"), one = san_attribute(IOV("\x82\x03"
                                                          "a.b"));
    /* names in two lists: whoever reads only the first sees fewer */
    struct sbuf both;
    sbuf_init(&both, &pool);
    sbuf_add(&both, one);
    sbuf_add(&both, san_attribute(IOV("\x82\x03"
                                      "c.d")));
    refused(fix_csr_raw(&pool, p256, none, both.text), "twice");
    refused(fix_csr_raw(&pool, p256, none, IOV("\x30\x01")), "attribute");
    refused(fix_csr_raw(&pool, p256, none, IOV("\x05\x00")), "attribute");
    refused(fix_csr_raw(&pool, p256, IOV("\x30\x02\x05\x00"), one), "distinguished name");
    /* CN = "a\0b" as UTF8String */
    refused(fix_csr_raw(&pool, p256,
                        IOV("\x30\x0e\x31\x0c\x30\x0a\x06\x03\x55\x04\x03\x0c\x03"
                            "a\0b"),
                        one),
            "NUL");
    /* an attribute that asks for nothing */
    parsed(fix_csr_raw(&pool, p256, none,
                       IOV("\x30\x15\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07\x31\x08\x0c\x06secret")));
    /* another key's signature */
    EVP_PKEY *other = fix_key("P-256");
    iov_t a = fix_csr_raw(&pool, p256, none, one), b = fix_csr_raw(&pool, other, none, one);
    struct der outer;
    struct der_item info, alg, sig;
    assert_true(der_only(a, DER_SEQUENCE, &outer) && der_next(&outer, &info));
    assert_true(der_only(b, DER_SEQUENCE, &outer) && der_next(&outer, &alg) && der_next(&outer, &alg) &&
                der_next(&outer, &sig));
    struct der_writer w;
    der_writer_init(&w, &pool);
    der_open(&w, DER_SEQUENCE);
    der_put_raw(&w, info.whole);
    der_put_raw(&w, alg.whole);
    der_put_raw(&w, sig.whole);
    der_close(&w);
    refused(der_finish(&w), "does not verify");
    EVP_PKEY_free(other);
}

static void test_made_csr_is_good(void **state)
{
    (void)state;
    struct iovs dns = {0}, ips = {0};
    struct err e = ERR_INIT;
    iov_t pem, der;
    assert_false(pki_make_key_and_csr(&pool, &dns, &ips, &pem, &der, &e));
    iovs_add(&pool, &dns, IOV("gw.example"));
    iovs_add(&pool, &ips, IOV("::1"));
    iovs_add(&pool, &ips, IOV("127.0.0.1"));
    assert_true(pki_make_key_and_csr(&pool, &dns, &ips, &pem, &der, &e));
    assert_true(iov_starts(pem, "-----BEGIN PRIVATE KEY-----\n"));
    struct pki_csr csr = parsed(der);
    assert_int_equal(csr.dns.n, 1);
    assert_int_equal(csr.ips.n, 2);
    assert_string_equal(csr.ips.v[0].base, "::1");
    iovs_add(&pool, &ips, IOV("localhost"));
    assert_false(pki_make_key_and_csr(&pool, &dns, &ips, &pem, &der, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_subjects),
        cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_other_names_are_named),
        cmocka_unit_test(test_key_types),
        cmocka_unit_test(test_pss_signatures),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_hostile_names),
        cmocka_unit_test(test_hostile_requests),
        cmocka_unit_test(test_made_csr_is_good),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

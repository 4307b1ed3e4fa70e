/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates, PEM bundles, and which chains hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "x509_fixture.h"

#define DAY 86400
#define NOW 1800000000 /* 2027-01-15 08:00:00 UTC */

static pool_t pool;
static EVP_PKEY *root_key, *ca_key, *leaf_key, *other_key;
static iov_t root, ca, leaf;

static const char *const ca_exts[] = {"basicConstraints", "critical,CA:TRUE", "keyUsage",
                                      "critical,keyCertSign", NULL};
static const char *const leaf_exts[] = {"subjectAltName", "DNS:A.example,IP:10.0.0.1", NULL};

static iov_t make(const char *subject, EVP_PKEY *key, const char *issuer, EVP_PKEY *issuer_key,
                  const char *const *exts)
{
    struct fix_cert c = {.subject = subject,
                         .issuer = issuer,
                         .key = key,
                         .issuer_key = issuer_key,
                         .from = NOW - DAY,
                         .to = NOW + DAY,
                         .exts = exts};
    return fix_cert(&pool, &c);
}

static int setup(void **state)
{
    (void)state;
    h2o_mem_init_pool(&pool);
    root_key = fix_key("P-256");
    ca_key = fix_key("rsa2048");
    leaf_key = fix_key("P-256");
    other_key = fix_key("ed25519");
    root = make("root", root_key, "root", root_key, ca_exts);
    ca = make("ca", ca_key, "root", root_key, ca_exts);
    leaf = make("leaf", leaf_key, "ca", ca_key, leaf_exts);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(leaf_key);
    EVP_PKEY_free(other_key);
    h2o_mem_clear_pool(&pool);
    return 0;
}

static void test_parse(void **state)
{
    (void)state;
    static const char *const exts[] = {"subjectAltName",
                                       "DNS:A.example,IP:2001:db8::,email:x@y.example",
                                       "subjectKeyIdentifier",
                                       "0102AB",
                                       "basicConstraints",
                                       "CA:FALSE",
                                       NULL};
    struct fix_cert c = {.subject = "A.example",
                         .issuer = "ca",
                         .key = leaf_key,
                         .issuer_key = ca_key,
                         .from = NOW,
                         .to = 2600000000,
                         .exts = exts,
                         .serial = 0xabc};
    struct pki_cert cert;
    struct err e = ERR_INIT;
    iov_t der = fix_cert(&pool, &c);
    assert_true(pki_cert_parse(&pool, der, &cert, &e));
    assert_string_equal(cert.serial.base, "0ABC");
    assert_true(cert.not_before == NOW && cert.not_after == 2600000000);
    assert_string_equal(cert.dns.v[0].base, "a.example");
    assert_string_equal(cert.ips.v[0].base, "2001:db8::");
    assert_string_equal(cert.cn.base, "a.example");
    assert_string_equal(cert.issuer.base, "CN=ca");
    assert_string_equal(cert.subject.base, "CN=A.example");
    assert_true(iov_eq(cert.ski, IOV("\x01\x02\xab")));
    assert_null(cert.aki.base);
    assert_false(cert.is_ca);
    assert_true(iov_eq(cert.spki, fix_spki(&pool, leaf_key)));
    assert_true(pki_cert_parse(&pool, ca, &cert, &e) && cert.is_ca);
    for (size_t cut = 0; cut < der.len; cut++)
        assert_false(pki_cert_parse(&pool, (iov_t){der.base, cut}, &cert, &e));
    iov_t longer = iov_dup(&pool, der);
    longer.len++;
    assert_false(pki_cert_parse(&pool, longer, &cert, &e));
}

static void test_pem(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct iovs ders;
    struct sbuf bundle;
    sbuf_init(&bundle, &pool);
    sbuf_puts(&bundle, "Subject: leaf\n");
    sbuf_add(&bundle, pki_der_to_pem(&pool, "CERTIFICATE", leaf));
    sbuf_add(&bundle, pki_der_to_pem(&pool, "PRIVATE KEY", IOV("\x30\x00")));
    sbuf_puts(&bundle, "\r\n# a comment\n");
    sbuf_add(&bundle, pki_der_to_pem(&pool, "CERTIFICATE", ca));
    assert_true(pki_pem_to_ders(&pool, bundle.text, &ders, &e));
    assert_int_equal(ders.n, 2);
    assert_true(iov_eq(ders.v[0], leaf) && iov_eq(ders.v[1], ca));

    assert_false(pki_pem_to_ders(&pool, IOV(""), &ders, &e));
    assert_false(pki_pem_to_ders(&pool, IOV("no PEM\n"), &ders, &e));
    assert_false(pki_pem_to_ders(&pool, pki_der_to_pem(&pool, "PRIVATE KEY", IOV("\x30\x00")), &ders, &e));
    assert_false(pki_pem_to_ders(&pool, pki_der_to_pem(&pool, "CERTIFICATE", IOV("\x30\x05x")), &ders, &e));
    iov_t one = pki_der_to_pem(&pool, "CERTIFICATE", leaf);
    assert_false(pki_pem_to_ders(&pool, (iov_t){one.base, one.len - 30}, &ders, &e)); /* cut short */
    iov_t bad = iov_dup(&pool, bundle.text);
    memcpy(strstr(bad.base, "# a comment") + 50, "####", 4);
    assert_false(pki_pem_to_ders(&pool, bad, &ders, &e));
    assert_non_null(strstr(e.detail, "block"));
}

static struct iovs list(size_t n, const iov_t *items)
{
    struct iovs l = {0};
    for (size_t i = 0; i < n; i++)
        iovs_add(&pool, &l, items[i]);
    return l;
}
#define LIST(...) list(sizeof((iov_t[]){__VA_ARGS__}) / sizeof(iov_t), (iov_t[]){__VA_ARGS__})

static void holds(struct iovs chain, struct iovs trust)
{
    struct err e = ERR_INIT;
    if (!pki_chain_check(&chain, &trust, NOW, &e))
        fail_msg("%s (%s)", e.detail, e.cause);
}

static void breaks(struct iovs chain, struct iovs trust, int64_t now, const char *word)
{
    struct err e = ERR_INIT;
    assert_false(pki_chain_check(&chain, &trust, now, &e));
    if (strstr(e.detail, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.detail, word);
}

static void test_good_chains(void **state)
{
    (void)state;
    struct iovs none = {0};
    holds(LIST(leaf, ca), LIST(root));
    holds(LIST(leaf, ca), LIST(root)); /* again, from the cache */
    holds(LIST(leaf, ca, root), LIST(root));
    holds(LIST(leaf, ca), LIST(ca)); /* an anchor that is not self-signed */
    holds(LIST(leaf), LIST(ca));
    holds(LIST(leaf, ca), LIST(make("x", other_key, "x", other_key, ca_exts), root));
    holds(LIST(leaf, ca), none);
    holds(LIST(leaf), none);
    holds(LIST(root), LIST(root));
}

static void test_broken_chains(void **state)
{
    (void)state;
    struct iovs none = {0}, many = {0};
    iov_t stranger = make("root", other_key, "root", other_key, ca_exts);
    breaks(none, none, NOW, "0 certificates");
    for (int i = 0; i < 17; i++)
        iovs_add(&pool, &many, leaf);
    breaks(many, none, NOW, "17 certificates");
    breaks(LIST(leaf, ca), LIST(stranger), NOW, "certificate 2");
    breaks(LIST(leaf), LIST(root), NOW, "certificate 1");
    breaks(LIST(leaf, root), LIST(root, ca), NOW, "issuer");
    breaks(LIST(leaf, root, ca), LIST(root), NOW, "issuer"); /* in the wrong order */
    breaks(LIST(ca, leaf), none, NOW, "issuer");
    breaks(LIST(leaf, IOV("\x30\x00")), LIST(root), NOW, "decode");
    breaks(LIST(IOV("junk"), ca), none, NOW, "decode");
    breaks(LIST(leaf, ca), LIST(IOV("junk")), NOW, "decode");
    /* the right names, the wrong key */
    iov_t forged = make("leaf", leaf_key, "ca", other_key, leaf_exts);
    breaks(LIST(forged, ca), LIST(root), NOW, "certificate 1");
    breaks(LIST(forged, ca), none, NOW, "certificate 1");
    breaks(LIST(leaf, ca), LIST(root), NOW + 2 * DAY, "expired");
    breaks(LIST(leaf, ca), none, NOW + 2 * DAY, "expired");
    breaks(LIST(leaf, ca), none, NOW - 2 * DAY, "not valid yet");
}

static void test_issuers_must_be_cas(void **state)
{
    (void)state;
    struct iovs none = {0};
    static const char *const not_ca[] = {"basicConstraints", "CA:FALSE", NULL};
    static const char *const no_sign[] = {"basicConstraints", "CA:TRUE", "keyUsage", "digitalSignature",
                                          NULL};
    static const char *const path0[] = {"basicConstraints", "CA:TRUE,pathlen:0", NULL};
    static const char *const names[] = {"basicConstraints", "CA:TRUE", "nameConstraints",
                                        "critical,permitted;DNS:corp.example", NULL};
    iov_t bad = make("ca", ca_key, "root", root_key, not_ca);
    breaks(LIST(leaf, bad), LIST(root), NOW, "certificate 2");
    breaks(LIST(leaf, bad), none, NOW, "not a CA");
    bad = make("ca", ca_key, "root", root_key, no_sign);
    breaks(LIST(leaf, bad), LIST(root), NOW, "certificate");
    breaks(LIST(leaf, bad), none, NOW, "certificate");
    bad = make("root", root_key, "root", root_key, path0);
    iov_t ca2 = make("ca2", other_key, "ca", ca_key, ca_exts);
    iov_t leaf2 = make("leaf", leaf_key, "ca2", other_key, leaf_exts);
    breaks(LIST(leaf2, ca2, ca, bad), LIST(bad), NOW, "path length");
    holds(LIST(leaf2, ca2, ca), LIST(root));
    bad = make("ca", ca_key, "root", root_key, names);
    breaks(LIST(leaf, bad), LIST(root), NOW, "permitted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_pem),
        cmocka_unit_test(test_good_chains),
        cmocka_unit_test(test_broken_chains),
        cmocka_unit_test(test_issuers_must_be_cas),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Policy: names, validity, CSRs, certificates, routes, contacts and EAB policies, against real keys, CSRs and
 * certificates. */
#include "policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "x509_fixture.h"

#define HOUR INT64_C(3600)
#define DAY (24 * HOUR)
#define NOW INT64_C(1767225600) /* 2026-01-01T00:00:00Z */

static pool_t pool;
static EVP_PKEY *p256, *p384, *rsa2048, *ed25519, *ca_key;

static int set_up(void **state UNUSED)
{
    h2o_mem_init_pool(&pool);
    p256 = fix_key("P-256");
    p384 = fix_key("P-384");
    rsa2048 = fix_key("rsa2048");
    ed25519 = fix_key("ed25519");
    ca_key = fix_key("P-256");
    return 0;
}

static int tear_down(void **state UNUSED)
{
    EVP_PKEY_free(p256);
    EVP_PKEY_free(p384);
    EVP_PKEY_free(rsa2048);
    EVP_PKEY_free(ed25519);
    EVP_PKEY_free(ca_key);
    h2o_mem_clear_pool(&pool);
    return 0;
}

static struct conf_list list_of(const char *a, const char *b)
{
    struct conf_list list = {POOL_NEW(&pool, const char *, 2), 0};
    if (a != NULL)
        list.v[list.n++] = a;
    if (b != NULL)
        list.v[list.n++] = b;
    return list;
}

static struct settings_profile open_profile(void)
{
    return (struct settings_profile){.name = "server",
                                     .lifetime_ms = 90 * DAY * 1000,
                                     .wildcards = true,
                                     .ips = true,
                                     .key_type_mask = (1u << PKI_KEY_OTHER) - 1,
                                     .rsa_min_bits = 2048,
                                     .names_max = 100};
}

static struct ident dns(const char *name)
{
    struct ident id;
    struct err e = ERR_INIT;
    assert_true(ident_normalize(&pool, IDENT_DNS, iov_of(name), &id, &e));
    return id;
}

static struct ident ip(const char *name)
{
    struct ident id;
    struct err e = ERR_INIT;
    assert_true(ident_normalize(&pool, IDENT_IP, iov_of(name), &id, &e));
    return id;
}

static void says(const struct err *e, int code, const char *because)
{
    if (e->code != code || strstr(e->detail, because) == NULL)
        fail_msg("%s: \"%s\" does not say \"%s\"", problem_name(e->code), e->detail, because);
}

/* ---- EAB policies ---- */

static void eab_policies_are_read_strictly(void **state UNUSED)
{
    struct policy_eab eab;
    struct err e = ERR_INIT;
    assert_true(policy_eab_parse(&pool, IOV_NULL, &eab, &e));
    assert_false(eab.limited_names || eab.limited_profiles);
    assert_true(policy_eab_parse(&pool, IOV("{}"), &eab, &e));
    assert_false(eab.limited_names || eab.limited_profiles);
    assert_true(policy_eab_parse(&pool, IOV("{\"names\":[\"*.a.example\",\"10.0.0.0/8\"],\"profiles\":[]}"),
                                 &eab, &e));
    assert_true(eab.limited_names && eab.limited_profiles);
    assert_int_equal(eab.names.n, 2);
    assert_int_equal(eab.profiles.n, 0);

    static const struct {
        const char *json, *because;
    } bad[] = {
        {"", "JSON"},
        {"[]", "EAB policy"},
        {"{\"name\":[\"a.example\"]}", "\"name\""},
        {"{\"names\":\"a.example\"}", "list of strings"},
        {"{\"names\":[1]}", "list of strings"},
        {"{\"names\":[\"\"]}", "list of strings"},
        {"{\"names\":null}", "list of strings"},
        {"{\"names\":[\"a_b.example\"]}", "not a pattern"},
        {"{\"names\":[\"10.0.0.0/40\"]}", "not a pattern"},
        {"{\"profiles\":{}}", "list of strings"},
    };
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        assert_false(policy_eab_parse(&pool, iov_of(bad[i].json), &eab, &e));
        says(&e, ACME_SERVER_INTERNAL, bad[i].because);
    }
}

/* ---- names ---- */

static bool names_ok(const struct settings_profile *p, const char *eab_json, struct ident id,
                     struct problem_doc *doc)
{
    struct policy_eab eab;
    struct err e = ERR_INIT;
    assert_true(policy_eab_parse(&pool, iov_of(eab_json), &eab, &e));
    return policy_names(&pool, p, &eab, &id, 1, doc);
}

static void names_are_held_against_profile_and_eab(void **state UNUSED)
{
    struct settings_profile open = open_profile(), narrow = open_profile(), bare = open_profile();
    narrow.names = list_of("*.corp.example", "10.0.0.0/8");
    bare.wildcards = bare.ips = false;
    const struct {
        const struct settings_profile *p;
        const char *eab;
        struct ident id;
        const char *because; /* NULL: allowed */
    } rows[] = {
        {&open, NULL, dns("anything.example"), NULL},
        {&open, NULL, dns("*.anything.example"), NULL},
        {&open, NULL, ip("192.0.2.1"), NULL},
        {&narrow, NULL, dns("a.corp.example"), NULL},
        {&narrow, NULL, dns("c.b.a.corp.example"), NULL},
        {&narrow, NULL, dns("*.a.corp.example"), NULL},
        {&narrow, NULL, dns("*.corp.example"), NULL},
        {&narrow, NULL, dns("corp.example"), "*.corp.example, 10.0.0.0/8"},
        {&narrow, NULL, dns("a.evilcorp.example"), "does not allow \"a.evilcorp.example\""},
        {&narrow, NULL, dns("*.example"), "does not allow \"*.example\""},
        {&narrow, NULL, ip("10.9.9.9"), NULL},
        {&narrow, NULL, ip("11.9.9.9"), "does not allow"},
        {&bare, NULL, dns("a.example"), NULL},
        {&bare, NULL, dns("*.a.example"), "no wildcards"},
        {&bare, NULL, ip("192.0.2.1"), "no IP addresses"},
        {&open, "{\"names\":[\"a.example\"]}", dns("a.example"), NULL},
        {&open, "{\"names\":[\"a.example\"]}", dns("b.a.example"), "external account key"},
        {&open, "{\"names\":[]}", dns("a.example"), "it allows: none"},
        {&open, "{\"profiles\":[\"server\"]}", dns("a.example"), NULL},
        {&narrow, "{\"names\":[\"*.b.example\"]}", dns("a.b.example"), "profile"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct problem_doc doc;
        bool ok = names_ok(rows[i].p, rows[i].eab, rows[i].id, &doc);
        if (ok != (rows[i].because == NULL))
            fail_msg("row %zu: %s", i, doc.err.detail);
        if (ok)
            continue;
        says(&doc.err, ACME_REJECTED_IDENTIFIER, rows[i].because);
        assert_int_equal(doc.n_subs, 1);
        assert_true(ident_eq(&doc.subs[0].ident, &rows[i].id));
    }
    struct problem_doc doc;
    assert_true(policy_names(&pool, &open, NULL, &rows[0].id, 1, &doc));
}

static void several_refusals_make_a_compound(void **state UNUSED)
{
    struct settings_profile p = open_profile();
    p.wildcards = false;
    p.names = list_of("*.example", NULL);
    struct ident ids[] = {dns("*.a.example"), dns("good.example"), dns("other.test"), ip("192.0.2.1")};
    struct problem_doc doc;
    assert_false(policy_names(&pool, &p, NULL, ids, COUNTOF(ids), &doc));
    says(&doc.err, ACME_COMPOUND, "3 of the order's 4");
    assert_int_equal(doc.n_subs, 3);
    assert_true(ident_eq(&doc.subs[1].ident, &ids[2]));
    says(&doc.subs[1].err, ACME_REJECTED_IDENTIFIER, "other.test");
}

static void whole_orders_are_held_against_their_limits(void **state UNUSED)
{
    struct settings_profile p = open_profile();
    p.names_max = 2;
    struct ident ids[] = {dns("a.example"), dns("b.example"), dns("c.example")};
    struct problem_doc doc;
    assert_true(policy_names(&pool, &p, NULL, ids, 2, &doc));
    assert_false(policy_names(&pool, &p, NULL, ids, 3, &doc));
    says(&doc.err, ACME_REJECTED_IDENTIFIER, "3 identifiers");
    assert_false(names_ok(&p, "{\"profiles\":[\"x\",\"y\"]}", ids[0], &doc));
    says(&doc.err, ACME_INVALID_PROFILE, "x, y");
    assert_int_equal(doc.n_subs, 0);
}

/* ---- validity ---- */

static void validity_is_permitted_refused_or_clamped(void **state UNUSED)
{
    static const struct {
        bool clamp;
        int64_t from, to, want_from, want_to; /* relative to NOW; INT64_MIN: absent */
        const char *because;
    } rows[] = {
        {false, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, NULL},
        {false, 0, 90 * DAY, 0, 90 * DAY, NULL},
        {false, INT64_MIN, 7 * DAY, 0, 7 * DAY, NULL},
        {false, DAY, INT64_MIN, DAY, 90 * DAY, NULL},
        {false, -HOUR, 90 * DAY, -HOUR, 90 * DAY, NULL},
        {false, -HOUR - 1, 90 * DAY, 0, 0, "from 2025-12-31T23:00:00Z to 2026-04-01T00:00:00Z"},
        {false, 0, 90 * DAY + 1, 0, 0, "notAfter"},
        {false, INT64_MIN, 365 * DAY, 0, 0, "2026-04-01T00:00:00Z"},
        {false, 90 * DAY, INT64_MIN, 0, 0, "notBefore"},
        {false, 10 * DAY, 5 * DAY, 0, 0, "not later than"},
        {false, 10 * DAY, 10 * DAY, 0, 0, "not later than"},
        {false, -HOUR, -1, 0, 0, "notAfter"},
        {false, -HOUR, 0, 0, 0, "notAfter"},
        {true, -DAY, 365 * DAY, -HOUR, 90 * DAY, NULL},
        {true, INT64_MIN, 365 * DAY, 0, 90 * DAY, NULL},
        {true, DAY, 2 * DAY, DAY, 2 * DAY, NULL},
        {true, -10 * DAY, -5 * DAY, 0, 0, "notAfter"},
        {true, 365 * DAY, 400 * DAY, 0, 0, "notBefore"},
        {true, 10 * DAY, 5 * DAY, 0, 0, "not later than"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct settings_profile p = open_profile();
        p.validity = rows[i].clamp;
        int64_t from = rows[i].from == INT64_MIN ? 0 : NOW + rows[i].from;
        int64_t to = rows[i].to == INT64_MIN ? 0 : NOW + rows[i].to;
        struct err e = ERR_INIT;
        bool ok = policy_validity(&p, NOW, &from, &to, &e);
        if (ok != (rows[i].because == NULL))
            fail_msg("row %zu: %s", i, e.detail);
        if (ok) {
            assert_int_equal(from, rows[i].want_from == INT64_MIN ? 0 : NOW + rows[i].want_from);
            assert_int_equal(to, rows[i].want_to == INT64_MIN ? 0 : NOW + rows[i].want_to);
        } else {
            says(&e, ACME_MALFORMED, rows[i].because);
        }
    }
}

/* ---- CSRs ---- */

static bool csr_ok(const struct settings_profile *p, EVP_PKEY *key, const char *cn, const char *const *exts,
                   struct iovs *names, struct err *e)
{
    const char *subject[] = {"O", "Example", cn != NULL ? "CN" : NULL, cn, NULL};
    struct pki_csr csr;
    iov_t der = fix_csr(&pool, key, key == ed25519 ? NULL : EVP_sha256(), subject, exts);
    if (!pki_csr_parse(&pool, der, &csr, e))
        fail_msg("%s", e->detail);
    bool ok = policy_csr(p, &csr, e);
    *names = policy_csr_names(&pool, &csr);
    pki_key_unref(csr.key);
    return ok;
}

static void keys_are_held_against_the_profile(void **state UNUSED)
{
    struct settings_profile open = open_profile(), big = open_profile(), ec = open_profile();
    big.rsa_min_bits = 3072;
    ec.key_type_mask = 1u << PKI_KEY_EC_P256 | 1u << PKI_KEY_ED25519;
    EVP_PKEY *rsa1024 = fix_key("rsa1024");
    const struct {
        const struct settings_profile *p;
        EVP_PKEY *key;
        const char *because;
    } rows[] = {
        {&open, p256, NULL},
        {&open, p384, NULL},
        {&open, rsa2048, NULL},
        {&open, ed25519, NULL},
        {&ec, p256, NULL},
        {&ec, ed25519, NULL},
        {&big, p256, NULL},
        {&open, rsa1024, "1024"},
        {&big, rsa2048, "2048 bits; profile \"server\" wants at least 3072"},
        {&ec, rsa2048, "is of RSA; profile \"server\" accepts: P-256, Ed25519"},
        {&ec, p384, "is of P-384"},
    };
    static const char *const san[] = {"subjectAltName", "DNS:a.example", NULL};
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct err e = ERR_INIT;
        struct iovs names;
        bool ok = csr_ok(rows[i].p, rows[i].key, NULL, san, &names, &e);
        if (ok != (rows[i].because == NULL))
            fail_msg("row %zu: %s", i, e.detail);
        if (!ok)
            says(&e, ACME_BAD_CSR, rows[i].because);
    }
    EVP_PKEY_free(rsa1024);
}

static void csr_contents_are_checked(void **state UNUSED)
{
#define SAN "subjectAltName", "DNS:A.example,DNS:b.example,IP:2001:DB8:0:0::1"
    static const struct {
        const char *cn, *exts[6];
        const char *because;
    } rows[] = {
        {NULL, {SAN}, NULL},
        {"b.example", {SAN}, NULL},
        {"B.Example", {SAN}, NULL},
        {"2001:db8::1", {SAN}, NULL},
        {"c.example", {SAN}, "\"c.example\" is not among"},
        {"192.0.2.1", {SAN}, "not among"},
        {"Web server 12", {SAN}, "neither a DNS name nor an IP address"},
        {"a.example", {NULL}, NULL},
        {NULL, {NULL}, "names nothing"},
        {"Web server 12", {NULL}, "neither a DNS name nor an IP address"},
        {NULL, {SAN, "keyUsage", "digitalSignature"}, NULL},
        {NULL, {SAN, "extendedKeyUsage", "serverAuth,clientAuth"}, NULL},
        {NULL, {SAN, "basicConstraints", "CA:FALSE"}, NULL},
        {NULL, {SAN, "subjectKeyIdentifier", "01:02:03"}, NULL},
        {NULL, {SAN, "1.3.6.1.4.1.311.20.2", "ASN1:BMPSTRING:WebServer"}, NULL},
        {NULL, {SAN, "1.3.6.1.4.1.311.21.7", "DER:30:00"}, NULL},
        {NULL, {SAN, "1.2.840.113549.1.9.15", "DER:30:00"}, NULL},
        {NULL, {SAN, "basicConstraints", "CA:TRUE"}, "CA certificate"},
        {NULL, {SAN, "tlsfeature", "status_request"}, "must-staple"},
        {NULL, {SAN, "tlsfeature", "DER:30:03:02:01:09"}, "extension tlsfeature"},
        {NULL, {SAN, "nameConstraints", "permitted;DNS:a.example"}, "nameConstraints"},
        {NULL, {SAN, "certificatePolicies", "DER:30:06:30:04:06:02:2a:03"}, "certificatePolicies"},
        {NULL, {SAN, "1.2.3.4.5", "DER:05:00"}, "1.2.3.4.5"},
        {NULL, {"subjectAltName", "DNS:a.example,email:x@a.example"}, "subjectAltName of type"},
        {NULL, {"subjectAltName", "URI:https://a.example/"}, "subjectAltName of type"},
    };
    struct settings_profile p = open_profile();
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct err e = ERR_INIT;
        struct iovs names;
        bool ok = csr_ok(&p, p256, rows[i].cn, rows[i].exts, &names, &e);
        if (ok != (rows[i].because == NULL))
            fail_msg("row %zu: %s", i, e.detail);
        if (!ok)
            says(&e, ACME_BAD_CSR, rows[i].because);
    }
#undef SAN
}

static void two_common_names_are_refused(void **state UNUSED)
{
    static const char *const subject[] = {"CN", "a.example", "CN", "b.example", NULL};
    static const char *const exts[] = {"subjectAltName", "DNS:a.example,DNS:b.example", NULL};
    struct settings_profile p = open_profile();
    struct pki_csr csr;
    struct err e = ERR_INIT;
    assert_true(pki_csr_parse(&pool, fix_csr(&pool, p256, EVP_sha256(), subject, exts), &csr, &e));
    assert_false(policy_csr(&p, &csr, &e));
    says(&e, ACME_BAD_CSR, "more than one common name");
    pki_key_unref(csr.key);
}

static void names_of_csr_and_order_are_compared_as_sets(void **state UNUSED)
{
    struct settings_profile p = open_profile();
    struct err e = ERR_INIT;
    struct iovs names;
    static const char *const exts[] = {
        "subjectAltName", "DNS:*.B.example,DNS:a.example,IP:2001:DB8:0::1,DNS:a.example,IP:10.0.0.1", NULL};
    assert_true(csr_ok(&p, p256, "a.example", exts, &names, &e));
    struct ident ids[] = {dns("a.example"), dns("*.b.example"), ip("10.0.0.1"), ip("2001:db8::1")};
    struct iovs order = policy_ident_names(&pool, ids, COUNTOF(ids));
    assert_int_equal(order.n, 4);
    assert_string_equal(order.v[0].base, "dns:*.b.example");
    assert_string_equal(order.v[3].base, "ip:2001:db8::1");
    assert_int_equal(names.n, 4);
    for (size_t i = 0; i < order.n; i++)
        assert_true(iov_eq(order.v[i], names.v[i]));
    assert_false(policy_names_differ(&pool, &order, &names, &e));

    struct ident fewer[] = {dns("a.example"), dns("c.example"), ip("10.0.0.1"), ip("2001:db8::1")};
    order = policy_ident_names(&pool, fewer, COUNTOF(fewer));
    assert_true(policy_names_differ(&pool, &order, &names, &e));
    says(&e, ACME_BAD_CSR, "missing in the CSR: dns:c.example; not in the order: dns:*.b.example");

    static const char *const none[] = {NULL};
    assert_true(csr_ok(&p, p256, "A.example", none, &names, &e));
    assert_int_equal(names.n, 1);
    assert_string_equal(names.v[0].base, "dns:a.example");
}

static void long_differences_are_cut(void **state UNUSED)
{
    struct iovs order = {0}, csr = {0};
    for (unsigned i = 0; i < 500; i++)
        iovs_add(&pool, &order, iov_printf(&pool, "dns:host%03u.example", i));
    struct err e = ERR_INIT;
    assert_true(policy_names_differ(&pool, &order, &csr, &e));
    says(&e, ACME_BAD_CSR, "and 490 more");
}

/* ---- certificates ---- */

struct made {
    struct iovs chain, trust, names;
    iov_t spki_sha256;
};

static const char *const ca_exts[] = {"basicConstraints", "critical,CA:TRUE", "keyUsage", "keyCertSign",
                                      NULL};

static struct made make(const char *cn, const char *san, int64_t from, int64_t to)
{
    const char *exts[] = {"subjectAltName", san, NULL};
    struct made m = {0};
    struct fix_cert leaf = {cn, "CA", p256, ca_key, NOW + from, NOW + to, exts, 7};
    struct fix_cert root = {"CA", "CA", ca_key, ca_key, NOW - 1000 * DAY, NOW + 1000 * DAY, ca_exts, 1};
    iovs_add(&pool, &m.chain, fix_cert(&pool, &leaf));
    iovs_add(&pool, &m.trust, fix_cert(&pool, &root));
    struct ident ids[] = {dns("a.example"), dns("b.example")};
    m.names = policy_ident_names(&pool, ids, 2);
    m.spki_sha256 = pki_sha256_iov(&pool, fix_spki(&pool, p256));
    return m;
}

static bool check(const struct made *m, struct policy_asked asked, struct err *e)
{
    struct pki_cert cert;
    asked.spki_sha256 = m->spki_sha256;
    asked.names = &m->names;
    asked.trust = &m->trust;
    asked.now = NOW;
    asked.lifetime_s = 90 * DAY;
    return policy_certificate(&pool, &asked, &m->chain, &cert, e);
}

static void certificates_are_held_against_what_was_asked(void **state UNUSED)
{
#define BOTH "DNS:a.example,DNS:B.example"
    static const struct {
        const char *cn, *san;
        int64_t from, to, asked_from, asked_to;
        const char *because;
    } rows[] = {
        {"a.example", BOTH, -HOUR, 90 * DAY, 0, 0, NULL},
        {"Corporate web", BOTH, 0, 90 * DAY, 0, 0, NULL},
        {"portico", BOTH, 0, 90 * DAY, 0, 0, NULL},
        {"a.example", BOTH, -10 * DAY, 70 * DAY, 0, 0, NULL}, /* came late */
        {"a.example", BOTH, 60, 30 * DAY, 0, 0, NULL},        /* a CA whose clock is ahead */
        {"a.example", BOTH, DAY, 7 * DAY, DAY, 7 * DAY, NULL},
        {"a.example", BOTH, DAY - HOUR, 5 * DAY, DAY, 7 * DAY, NULL},
        {"a.example", "DNS:a.example", 0, 90 * DAY, 0, 0, "without the name dns:b.example"},
        {"a.example", BOTH ",DNS:c.example", 0, 90 * DAY, 0, 0, "dns:c.example, which was not asked for"},
        {"a.example", BOTH ",IP:10.0.0.1", 0, 90 * DAY, 0, 0, "ip:10.0.0.1, which was not asked for"},
        {"evil.example", BOTH, 0, 90 * DAY, 0, 0, "common name \"evil.example\""},
        {"10.0.0.1", BOTH, 0, 90 * DAY, 0, 0, "common name \"10.0.0.1\""},
        {"a.example", BOTH, -90 * DAY, -1, 0, 0, "expired"},
        {"a.example", BOTH, HOUR, 90 * DAY, 0, 0, "begins too late"},
        {"a.example", BOTH, -HOUR, 90 * DAY + 1, 0, 0, "longer than the profile allows"},
        {"a.example", BOTH, 0, 8 * DAY, 0, 7 * DAY, "ends after what was asked for"},
        {"a.example", BOTH, 0, 7 * DAY, DAY, 7 * DAY, "begins before what was asked for"},
        {"a.example", BOTH, 2 * DAY, 7 * DAY, DAY, 7 * DAY, "begins too late"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct made m = make(rows[i].cn, rows[i].san, rows[i].from, rows[i].to);
        struct err e = ERR_INIT;
        struct policy_asked asked = {.not_before = rows[i].asked_from == 0 ? 0 : NOW + rows[i].asked_from,
                                     .not_after = rows[i].asked_to == 0 ? 0 : NOW + rows[i].asked_to};
        bool ok = check(&m, asked, &e);
        if (ok != (rows[i].because == NULL))
            fail_msg("row %zu: %s (%s)", i, e.detail, e.cause);
        if (!ok)
            says(&e, ACME_SERVER_INTERNAL, rows[i].because);
    }
#undef BOTH
}

static void keys_and_chains_of_certificates_are_checked(void **state UNUSED)
{
    const char *san = "DNS:a.example,DNS:b.example";
    struct policy_asked asked = {0};
    struct err e = ERR_INIT;
    struct made m = make("a.example", san, 0, DAY);
    m.spki_sha256 = pki_sha256_iov(&pool, fix_spki(&pool, p384));
    assert_false(check(&m, asked, &e));
    says(&e, ACME_SERVER_INTERNAL, "another key");

    m = make("a.example", san, 0, DAY);
    struct fix_cert stranger = {"CA", "CA", p384, p384, NOW - DAY, NOW + DAY, ca_exts, 1};
    m.trust.n = 0;
    assert_true(check(&m, asked, &e)); /* no trust configured: the links alone */
    iovs_add(&pool, &m.trust, fix_cert(&pool, &stranger));
    assert_false(check(&m, asked, &e));
    says(&e, ACME_SERVER_INTERNAL, "chain that does not hold");

    m = make("a.example", san, 0, DAY);
    m.trust.n = 0;
    iovs_add(&pool, &m.chain, fix_cert(&pool, &stranger));
    assert_false(check(&m, asked, &e));
    says(&e, ACME_SERVER_INTERNAL, "chain that does not hold");

    m.chain.n = 0;
    assert_false(check(&m, asked, &e));
    says(&e, ACME_SERVER_INTERNAL, "no certificate");
    iovs_add(&pool, &m.chain, IOV("\x30\x03\x02\x01\x01"));
    assert_false(check(&m, asked, &e));
    says(&e, ACME_SERVER_INTERNAL, "cannot be read");

    m = make("a.example", san, 0, DAY);
    const char *exts[] = {"subjectAltName", san, "basicConstraints", "critical,CA:TRUE", NULL};
    struct fix_cert ca = {"a.example", "CA", p256, ca_key, NOW, NOW + DAY, exts, 9};
    m.chain.n = 0;
    iovs_add(&pool, &m.chain, fix_cert(&pool, &ca));
    assert_false(check(&m, asked, &e));
    says(&e, ACME_SERVER_INTERNAL, "CA certificate");
}

/* ---- routes ---- */

static void the_first_route_that_matches_is_taken(void **state UNUSED)
{
    struct settings_route routes[] = {
        {.match = {.profile = "merkle"}},
        {.match = {.names = list_of("*.corp.example", "10.0.0.0/8")}},
        {.match = {.eab = list_of("kid-1", "kid-2")}},
        {.match = {.directory = "lab", .account = list_of("A1", NULL)}},
        {.match = {.key_types = list_of("rsa", NULL)}},
        {.match = {.directory = "default"}},
    };
    struct settings s = {.routes = routes, .n_routes = COUNTOF(routes)};
    struct ident corp[] = {dns("a.corp.example"), dns("*.b.corp.example"), ip("10.1.1.1")};
    struct ident mixed[] = {dns("a.corp.example"), dns("a.example")};
    const struct {
        struct policy_route_query q;
        int want; /* -1: none */
    } rows[] = {
        {{.directory = "default", .profile = "merkle", .idents = corp, .n_idents = 3}, 0},
        {{.directory = "default", .profile = "server", .idents = corp, .n_idents = 3}, 1},
        {{.directory = "default", .profile = "server", .idents = mixed, .n_idents = 2}, 5},
        {{.directory = "default",
          .profile = "server",
          .idents = mixed,
          .n_idents = 2,
          .eab_kid = IOV("kid-2")},
         2},
        {{.directory = "default",
          .profile = "server",
          .idents = mixed,
          .n_idents = 2,
          .eab_kid = IOV("kid-3")},
         5},
        {{.directory = "lab", .profile = "server", .idents = mixed, .n_idents = 2, .account_id = IOV("A1")},
         3},
        {{.directory = "lab", .profile = "server", .idents = mixed, .n_idents = 2, .account_id = IOV("A2")},
         -1},
        {{.directory = "lab", .profile = "server", .idents = mixed, .n_idents = 2}, -1},
        {{.directory = "lab", .profile = "server", .idents = mixed, .n_idents = 2, .key_type = "rsa"}, 4},
        {{.directory = "lab", .profile = "server", .idents = mixed, .n_idents = 2, .key_type = "p256"}, -1},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct err e = ERR_INIT;
        const struct settings_route *r = policy_route(&s, &rows[i].q, &e);
        if ((r == NULL ? -1 : (int)(r - routes)) != rows[i].want)
            fail_msg("row %zu: route %d", i, r == NULL ? -1 : (int)(r - routes));
        if (r == NULL)
            says(&e, ACME_REJECTED_IDENTIFIER, "directory \"lab\", profile \"server\"");
    }
}

/* ---- contacts ---- */

static bool contacts_ok(const char *json, size_t max, struct iovs *out, struct err *e)
{
    struct err why = ERR_INIT;
    json_t *obj = json_parse_object(iov_printf(&pool, "{\"contact\":%s}", json), 65536, &why);
    if (obj == NULL)
        fail_msg("%s: %s", json, why.detail);
    bool ok = policy_contacts(&pool, json_object_get(obj, "contact"), max, out, e);
    json_decref(obj);
    return ok;
}

static void contacts_are_plain_mail_addresses(void **state UNUSED)
{
    static const struct {
        const char *json;
        int code; /* -1: fine */
        const char *because;
    } rows[] = {
        {"[]", -1, NULL},
        {"null", -1, NULL},
        {"[\"mailto:admin@example.org\"]", -1, NULL},
        {"[\"MAILTO:Admin.Team+acme@Example.org\"]", -1, NULL},
        {"[\"mailto:a%22b%20c@example.org\",\"mailto:root@localhost\"]", -1, NULL},
        {"[\"mailto:a@xn--bcher-kva.example\"]", -1, NULL},
        {"\"mailto:a@example.org\"", ACME_MALFORMED, "array of strings"},
        {"{}", ACME_MALFORMED, "array of strings"},
        {"[1]", ACME_MALFORMED, "array of strings"},
        {"[\"tel:+123\"]", ACME_UNSUPPORTED_CONTACT, "not a mailto"},
        {"[\"https://example.org/\"]", ACME_UNSUPPORTED_CONTACT, "not a mailto"},
        {"[\"admin@example.org\"]", ACME_INVALID_CONTACT, "not a URL"},
        {"[\"\"]", ACME_INVALID_CONTACT, "not a URL"},
        {"[\":x\"]", ACME_INVALID_CONTACT, "not a URL"},
        {"[\"mailto:\"]", ACME_INVALID_CONTACT, "\"@\""},
        {"[\"mailto:a\"]", ACME_INVALID_CONTACT, "\"@\""},
        {"[\"mailto:@example.org\"]", ACME_INVALID_CONTACT, "\"@\""},
        {"[\"mailto:a@\"]", ACME_INVALID_CONTACT, "domain"},
        {"[\"mailto:a@b_c.example\"]", ACME_INVALID_CONTACT, "domain"},
        {"[\"mailto:a@*.example\"]", ACME_INVALID_CONTACT, "domain"},
        {"[\"mailto:a@[192.0.2.1]\"]", ACME_INVALID_CONTACT, "domain"},
        {"[\"mailto:a@b@example.org\"]", ACME_INVALID_CONTACT, "domain"},
        {"[\"mailto:a@example.org?subject=x\"]", ACME_INVALID_CONTACT, "header fields"},
        {"[\"mailto:a@example.org,b@example.org\"]", ACME_INVALID_CONTACT, "more than one"},
        {"[\"mailto:a b@example.org\"]", ACME_INVALID_CONTACT, "character"},
        {"[\"mailto:\\u00fc@example.org\"]", ACME_INVALID_CONTACT, "character"},
        {"[\"mailto:a%zz@example.org\"]", ACME_INVALID_CONTACT, "hexadecimal"},
        {"[\"mailto:a%4@example.org\"]", ACME_INVALID_CONTACT, "hexadecimal"},
        {"[\"mailto:a%0d%0ab@example.org\"]", ACME_INVALID_CONTACT, "control"},
        {"[\"mailto:a%7F@example.org\"]", ACME_INVALID_CONTACT, "control"},
        {"[\"mailto:.a@example.org\"]", ACME_INVALID_CONTACT, "dot"},
        {"[\"mailto:a..b@example.org\"]", ACME_INVALID_CONTACT, "two dots"},
        {"[\"mailto:a@example.org\",\"mailto:b@example.org\",\"mailto:c@example.org\"]", ACME_INVALID_CONTACT,
         "at most 2"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct iovs out;
        struct err e = ERR_INIT;
        bool ok = contacts_ok(rows[i].json, 2, &out, &e);
        if (ok != (rows[i].code == -1))
            fail_msg("%s: %s", rows[i].json, e.detail);
        if (!ok)
            says(&e, rows[i].code, rows[i].because);
    }
    struct iovs out;
    struct err e = ERR_INIT;
    assert_true(policy_contacts(&pool, NULL, 2, &out, &e));
    assert_int_equal(out.n, 0);
    assert_true(contacts_ok("[\"mailto:a@example.org\",\"mailto:a@example.org\"]", 2, &out, &e));
    assert_int_equal(out.n, 1);
    assert_true(iov_is(out.v[0], "mailto:a@example.org"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eab_policies_are_read_strictly),
        cmocka_unit_test(names_are_held_against_profile_and_eab),
        cmocka_unit_test(several_refusals_make_a_compound),
        cmocka_unit_test(whole_orders_are_held_against_their_limits),
        cmocka_unit_test(validity_is_permitted_refused_or_clamped),
        cmocka_unit_test(keys_are_held_against_the_profile),
        cmocka_unit_test(csr_contents_are_checked),
        cmocka_unit_test(two_common_names_are_refused),
        cmocka_unit_test(names_of_csr_and_order_are_compared_as_sets),
        cmocka_unit_test(long_differences_are_cut),
        cmocka_unit_test(certificates_are_held_against_what_was_asked),
        cmocka_unit_test(keys_and_chains_of_certificates_are_checked),
        cmocka_unit_test(the_first_route_that_matches_is_taken),
        cmocka_unit_test(contacts_are_plain_mail_addresses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

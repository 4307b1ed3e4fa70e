/* SPDX-License-Identifier: Apache-2.0 */
/* The in-house CA through the driver contract: loop, workers and signer process are the real ones, openssl looks at what
 * comes out. The program is its own signer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <signal.h>

#include <openssl/pem.h>

#include "backends/local/local.h"
#include "backends/local/signer.h"
#include "base/clock.h"
#include "base/der.h"
#include "io/loop.h"
#include "io/pki.h"
#include "io/worker.h"
#include "local_fixture.h"
#include "x509_fixture.h"

#define HOUSE                                                                                                \
    "  - {name: house, driver: local, ca: {certificate: @/ca/issuing.pem, key: @/ca/issuing.key, root: "     \
    "@/ca/root.pem}"

static pool_t pool;
static struct loop *loop;
static struct backends *bs;
static iov_t csr; /* for www.example, *.www.example, 192.0.2.7, 2001:db8::7 */
static struct iovs dns, ips;

static struct backend *opened(const char *text)
{
    struct err e;
    backends_close(bs);
    bs = fix_open(text, &e);
    if (bs == NULL)
        fail_msg("%s (%s)", e.detail, e.cause);
    return backends_at(bs, 0);
}

/* ---- issuing ---- */

static unsigned answers;

static void on_answered(struct issue *i)
{
    (void)i;
    answers++;
}

static void on_free(struct task *t)
{
    task_dispose(t);
    free(CONTAINER_OF(t, struct issue, task));
}

static struct issue *issue_new(struct backend *b, const char *profile)
{
    struct issue *i = base_zalloc(sizeof(*i));
    task_init(&i->task, loop, "AAAAAAAAAAAAAAAAAAAAAA", NULL, on_free);
    i->backend = b;
    i->csr_der = csr;
    i->dns = dns;
    i->ips = ips;
    i->profile = profile;
    i->lifetime_s = 90 * 86400;
    i->answered = on_answered;
    return i;
}

static void prepared(struct issue *i)
{
    struct err e = ERR_INIT;
    if (!backend_driver(i->backend)->prepare(i, &i->prepared, &e))
        fail_msg("%s", e.detail);
}

static void submitted(struct issue *i)
{
    i->answer = NULL;
    answers = 0;
    backend_driver(i->backend)->submit(i);
    assert_int_equal(answers, 0);
    for (uint64_t began = clock_mono_ms(); answers == 0 && clock_mono_ms() - began < 20000;)
        loop_turn(loop, 100);
    assert_int_equal(answers, 1);
}

static struct issue *issued(struct backend *b, const char *profile)
{
    struct issue *i = issue_new(b, profile);
    prepared(i);
    submitted(i);
    if (i->answer->result != ISSUE_DONE)
        fail_msg("%s: %s", issue_result_names[i->answer->result], i->answer->err.detail);
    fix_write("leaf.pem", pki_der_to_pem(&pool, "CERTIFICATE", i->answer->chain.v[0]));
    struct sbuf rest;
    sbuf_init(&rest, &pool);
    for (size_t n = 1; n < i->answer->chain.n; n++)
        sbuf_add(&rest, pki_der_to_pem(&pool, "CERTIFICATE", i->answer->chain.v[n]));
    fix_write("rest.pem", rest.text);
    return i;
}

static void shows(const char *const *want, bool wanted)
{
    for (; *want != NULL; want++) {
        if ((strstr(fix_output, *want) != NULL) != wanted)
            fail_msg("%s \"%s\" in %s", wanted ? "no" : "unwanted", *want, fix_output);
    }
}
#define SHOWS(...) shows((const char *const[]){__VA_ARGS__, NULL}, true)
#define LACKS(...) shows((const char *const[]){__VA_ARGS__, NULL}, false)

/* ---- what comes out ---- */

static void test_every_issuer_key(void **state)
{
    (void)state;
    static const char *const types[] = {"p256", "p384", "rsa2048", "ed25519"};
    for (size_t n = 0; n < COUNTOF(types); n++) {
        char text[512], sub[32];
        snprintf(sub, sizeof(sub), "ca-%s", types[n]);
        fix_init_ca(sub, types[n]);
        snprintf(text, sizeof(text),
                 "  - {name: house, driver: local, ca: {certificate: @/%s/issuing.pem, key: "
                 "@/%s/issuing.key, root: @/%s/root.pem}}\n",
                 sub, sub, sub);
        struct backend *b = opened(text);
        struct issue *i = issued(b, "server");
        assert_int_equal(i->answer->chain.n, 2);
        assert_int_equal(i->answer->alternates.n, 0);
        struct err e = ERR_INIT;
        if (!pki_chain_check(&i->answer->chain, backend_trust(b), clock_unix_s(), &e))
            fail_msg("%s: %s", types[n], e.detail);
        fix_ok(
            "openssl verify -x509_strict -purpose sslserver -verify_hostname www.example -CAfile %s/root.pem "
            "-untrusted rest.pem leaf.pem",
            sub);
        fix_ok("openssl verify -x509_strict -verify_ip 2001:db8::7 -CAfile %s/root.pem -untrusted rest.pem "
               "leaf.pem",
               sub);
        task_unref(&i->task);
    }
}

static void test_contents(void **state)
{
    (void)state;
    struct backend *b = opened(HOUSE "}\n");
    int64_t before = clock_unix_s();
    struct issue *i = issued(b, "server");
    struct pki_cert cert;
    struct err e = ERR_INIT;
    assert_true(pki_cert_parse(&pool, i->answer->chain.v[0], &cert, &e));
    assert_int_equal(cert.serial.len, 32);
    assert_true(cert.serial.base[0] < '8');
    assert_true(cert.not_before >= before - 300 && cert.not_before <= clock_unix_s());
    assert_true(cert.not_after >= before + 90 * 86400 - 1 &&
                cert.not_after <= clock_unix_s() + 90 * 86400 - 1);
    assert_int_equal(cert.dns.n, 2);
    assert_int_equal(cert.ips.n, 2);
    assert_false(cert.is_ca);
    fix_ok("openssl x509 -in leaf.pem -noout -text");
    SHOWS("Version: 3", "Subject: CN = www.example\n", "CA:FALSE", "X509v3 Basic Constraints: critical",
          "X509v3 Key Usage: critical\n                Digital Signature\n",
          "TLS Web Server Authentication, TLS Web Client Authentication", "X509v3 Authority Key Identifier",
          "X509v3 Subject Key Identifier",
          "DNS:www.example, DNS:*.www.example, IP Address:192.0.2.7, IP Address:2001:DB8");
    LACKS("X509v3 Subject Alternative Name: critical", "Policies", "CRL Distribution",
          "Authority Information Access");
    fix_ok(
        "openssl req -in csr.pem -noout -pubkey > a && openssl x509 -in leaf.pem -noout -pubkey | cmp - a");
    task_unref(&i->task);
}

static void test_profile_contents(void **state)
{
    (void)state;
    struct backend *b = opened(HOUSE
                               ", profiles: [{name: rich, subject: drop, eku: [server_auth, 1.2.3.4], "
                               "policies: [1.2.3.5, 2.23.140.1.2.1], "
                               "aia_ocsp: 'http://ocsp.example/', aia_issuers: ['http://ca.example/ca.cer'], "
                               "crl: ['http://crl.example/a.crl', 'http://crl.example/b.crl'], key_usage: "
                               "[digital_signature, key_agreement], "
                               "backdate: 0, max_lifetime: 1h, basic_constraints: false}, "
                               "{name: bare, eku: [], subject: keep}]}\n");
    struct issue *i = issued(b, "rich");
    fix_ok("openssl x509 -in leaf.pem -noout -text");
    SHOWS("Subject: \n", "X509v3 Subject Alternative Name: critical",
          "TLS Web Server Authentication, 1.2.3.4", "Policy: 1.2.3.5", "Policy: 2.23.140.1.2.1",
          "OCSP - URI:http://ocsp.example/", "CA Issuers - URI:http://ca.example/ca.cer",
          "URI:http://crl.example/a.crl", "URI:http://crl.example/b.crl",
          "Digital Signature, Key Agreement\n");
    LACKS("Basic Constraints");
    fix_ok("openssl verify -x509_strict -CAfile ca/root.pem -untrusted rest.pem leaf.pem");
    fix_ok(
        "! openssl x509 -in leaf.pem -noout -checkend 3601"); /* 90 days were asked for: the signer's ceiling holds */
    task_unref(&i->task);
    i = issued(b, "bare");
    fix_ok("openssl x509 -in leaf.pem -noout -text");
    SHOWS("Subject: CN = www.example, O = Example\n"); /* as in the CSR */
    LACKS("Extended Key Usage");
    task_unref(&i->task);
    i = issued(b, "another"); /* not listed: all defaults */
    fix_ok("openssl x509 -in leaf.pem -noout -text");
    SHOWS("TLS Web Server Authentication, TLS Web Client Authentication", "Subject: CN = www.example\n",
          "CA:FALSE");
    task_unref(&i->task);
}

static void test_rsa_key_usage_and_long_names(void **state)
{
    (void)state;
    struct backend *b = opened(HOUSE "}\n");
    fix_ok("openssl req -new -newkey rsa:2048 -nodes -keyout rsa.key -subj / -outform DER -out rsa.csr "
           "2>/dev/null; "
           "openssl req -inform DER -in rsa.csr -out rsa.pem");
    char path[256], der[4096];
    snprintf(path, sizeof(path), "%s/rsa.csr", fix_dir);
    FILE *f = fopen(path, "r");
    iov_t rsa = {der, fread(der, 1, sizeof(der), f)};
    fclose(f);
    struct issue *i = issue_new(b, "server");
    i->csr_der = rsa;
    i->dns = (struct iovs){0};
    i->ips = (struct iovs){0};
    iovs_add(&i->task.pool, &i->dns,
             IOV("a-name-of-more-than-sixty-four-bytes-that-no-common-name-can-hold.long.example"));
    prepared(i);
    submitted(i);
    assert_int_equal(i->answer->result, ISSUE_DONE);
    fix_write("leaf.pem", pki_der_to_pem(&pool, "CERTIFICATE", i->answer->chain.v[0]));
    fix_ok("openssl x509 -in leaf.pem -noout -text");
    SHOWS("Digital Signature, Key Encipherment\n", "Subject: \n",
          "X509v3 Subject Alternative Name: critical");
    task_unref(&i->task);
    i = issue_new(b, "server");
    i->dns = (struct iovs){0};
    prepared(i);
    submitted(i);
    fix_write("leaf.pem", pki_der_to_pem(&pool, "CERTIFICATE", i->answer->chain.v[0]));
    fix_ok("openssl x509 -in leaf.pem -noout -subject");
    SHOWS("CN = 192.0.2.7");
    task_unref(&i->task);
}

/* ---- idempotency, validity ---- */

static iov_t tbs_of(iov_t cert)
{
    struct der in;
    struct der_item tbs;
    assert_true(der_only(cert, DER_SEQUENCE, &in) && der_want(&in, DER_SEQUENCE, &tbs));
    return tbs.whole;
}

static void test_repeated_submit_signs_the_same(void **state)
{
    (void)state;
    struct backend *b = opened(HOUSE "}\n");
    assert_true(backend_driver(b)->submit_is_idempotent);
    struct issue *i = issued(b, "server");
    iov_t first = tbs_of(i->answer->chain.v[0]);
    submitted(i);
    assert_true(iov_eq(tbs_of(i->answer->chain.v[0]), first));
    /* after a restart, and in another process */
    iov_t kept = iov_dup(&pool, i->prepared);
    first = iov_dup(&pool, first);
    task_unref(&i->task);
    b = opened(HOUSE "}\n");
    i = issue_new(b, "server");
    i->prepared = kept;
    submitted(i);
    assert_true(iov_eq(tbs_of(i->answer->chain.v[0]), first));
    /* another intent is another certificate */
    prepared(i);
    submitted(i);
    assert_false(iov_eq(tbs_of(i->answer->chain.v[0]), first));
    task_unref(&i->task);
}

static void test_validity(void **state)
{
    (void)state;
    struct backend *b = opened(HOUSE ", profiles: [{name: default, max_lifetime: 100d}]}\n");
    struct err e = ERR_INIT;
    int64_t now = clock_unix_s();
    struct pki_cert cert;
    struct issue *i = issue_new(b, "server");
    i->not_before = now + 3600;
    i->not_after = now + 7200;
    prepared(i);
    submitted(i);
    assert_true(pki_cert_parse(&pool, i->answer->chain.v[0], &cert, &e));
    assert_true(cert.not_before == now + 3600 && cert.not_after == now + 7200);
    i->not_after = 0;
    prepared(i);
    submitted(i);
    assert_true(pki_cert_parse(&pool, i->answer->chain.v[0], &cert, &e));
    assert_true(cert.not_after == now + 3600 + 90 * 86400 - 1);
    i->not_after = now + 200 * 86400; /* asked for by name, and not allowed */
    assert_false(backend_driver(b)->prepare(i, &i->prepared, &e));
    assert_non_null(strstr(e.detail, "max_lifetime"));
    i->not_before = i->not_after = 0;
    i->lifetime_s = 40 * 365 * INT64_C(86400);
    prepared(i);
    submitted(i);
    assert_true(pki_cert_parse(&pool, i->answer->chain.v[0], &cert, &e));
    assert_true(cert.not_after - cert.not_before + 1 == 100 * 86400 + 300);
    task_unref(&i->task);

    b = opened(HOUSE ", profiles: [{name: default, max_lifetime: 36500d}]}\n");
    i = issue_new(b, "server");
    i->not_before = now - 1000; /* the CA is younger */
    i->lifetime_s = 40 * 365 * INT64_C(86400);
    prepared(i);
    submitted(i);
    struct pki_cert ca;
    assert_true(pki_cert_parse(&pool, i->answer->chain.v[0], &cert, &e));
    assert_true(pki_cert_parse(&pool, i->answer->chain.v[1], &ca, &e));
    assert_true(cert.not_after == ca.not_after &&
                cert.not_before == ca.not_before); /* never beyond the CA's own */
    i->not_before = ca.not_after + 10;
    assert_false(backend_driver(b)->prepare(i, &i->prepared, &e));
    assert_non_null(strstr(e.detail, "ends on"));
    task_unref(&i->task);
}

static void test_foreign_prepared_bytes_are_refused(void **state)
{
    (void)state;
    struct backend *b = opened(HOUSE "}\n");
    struct issue *i = issue_new(b, "server");
    i->prepared = IOV("\x81\xa1"
                      "a\x01");
    submitted(i);
    assert_int_equal(i->answer->result, ISSUE_REFUSE);
    i->prepared = IOV("junk");
    submitted(i);
    assert_int_equal(i->answer->result, ISSUE_REFUSE);
    /* a validity that the profile does not allow any more */
    prepared(i);
    iov_t kept = iov_dup(&pool, i->prepared);
    task_unref(&i->task);
    b = opened(HOUSE ", profiles: [{name: server, max_lifetime: 1d}]}\n");
    i = issue_new(b, "server");
    i->prepared = kept;
    submitted(i);
    assert_int_equal(i->answer->result, ISSUE_REFUSE);
    assert_non_null(strstr(i->answer->err.detail, "longer than profile server allows"));
    i->csr_der = IOV("junk");
    submitted(i);
    assert_int_equal(i->answer->result, ISSUE_REFUSE);
    task_unref(&i->task);
}

/* ---- the signer's life ---- */

static void test_a_dead_signer_is_replaced(void **state)
{
    (void)state;
    struct backend *b = opened(HOUSE "}\n");
    const struct local *l = backend_state(b);
    int first = signer_pid(l->signer);
    assert_int_equal(kill(first, SIGTERM), 0); /* ignored: it ends with its socket */
    task_unref(&issued(b, "server")->task);
    assert_int_equal(signer_pid(l->signer), first);
    assert_int_equal(kill(first, SIGKILL), 0);
    struct issue *i = issue_new(b, "server");
    prepared(i);
    submitted(i);
    assert_int_equal(i->answer->result, ISSUE_RETRY); /* certainly not issued */
    assert_int_equal(signer_pid(l->signer), -1);
    uint64_t began = clock_mono_ms();
    do {
        submitted(i);
    } while (i->answer->result == ISSUE_RETRY && clock_mono_ms() - began < 20000);
    assert_int_equal(i->answer->result, ISSUE_DONE);
    assert_true(signer_pid(l->signer) > 0 && signer_pid(l->signer) != first);
    /* stopped, it does not answer, is given up and replaced */
    int second = signer_pid(l->signer);
    assert_int_equal(kill(second, SIGSTOP), 0);
    submitted(i);
    assert_int_equal(i->answer->result, ISSUE_RETRY);
    assert_non_null(strstr(i->answer->err.detail, "lost"));
    assert_int_equal(kill(second, 0), -1);
    task_unref(&i->task);
}

static void test_over_tasks_hear_nothing(void **state)
{
    (void)state;
    struct backend *b = opened(HOUSE "}\n");
    struct issue *i = issue_new(b, "server");
    prepared(i);
    answers = 0;
    backend_driver(b)->submit(i);
    task_cancel(&i->task);
    task_unref(&i->task);
    task_unref(&issued(b, "server")->task); /* that one is through by then */
    assert_int_equal(answers, 1);
}

/* ---- chains ---- */

static void test_alternates(void **state)
{
    (void)state;
    /* the issuing CA cross-signed by another root, and the root cross-signed too */
    fix_init_ca("other", "p256");
    fix_ok(
        "openssl x509 -x509toreq -in ca/issuing.pem -signkey ca/issuing.key -out x.csr 2>/dev/null; "
        "printf "
        "'basicConstraints=critical,CA:TRUE\\nsubjectKeyIdentifier=%%s\\nauthorityKeyIdentifier="
        "keyid\\nkeyUsage=critical,keyCertSign,cRLSign\\n' "
        "$(openssl x509 -in ca/issuing.pem -noout -ext subjectKeyIdentifier | tail -1 | tr -d ' :') > x.ext; "
        "openssl x509 -req -in x.csr -CA other/root.pem -CAkey other/root.key -days 100 -extfile x.ext -out "
        "cross1.pem; "
        "openssl x509 -x509toreq -in ca/root.pem -signkey ca/root.key -out r.csr 2>/dev/null; "
        "printf "
        "'basicConstraints=critical,CA:TRUE\\nsubjectKeyIdentifier=%%s\\nauthorityKeyIdentifier="
        "keyid\\nkeyUsage=critical,keyCertSign,cRLSign\\n' "
        "$(openssl x509 -in ca/root.pem -noout -ext subjectKeyIdentifier | tail -1 | tr -d ' :') > r.ext; "
        "openssl x509 -req -in r.csr -CA other/root.pem -CAkey other/root.key -days 100 -extfile r.ext -out "
        "cross2.pem");
    struct backend *b = opened(HOUSE ", alternates: [@/cross1.pem, @/cross2.pem]}\n");
    struct issue *i = issued(b, "server");
    assert_int_equal(i->answer->alternates.n, 2);
    for (size_t n = 0; n < 2; n++) {
        struct iovs *chain = &i->answer->alternates.chains[n];
        assert_int_equal(chain->n, n + 1);
        struct sbuf pem;
        sbuf_init(&pem, &pool);
        for (size_t k = 0; k < chain->n; k++)
            sbuf_add(&pem, pki_der_to_pem(&pool, "CERTIFICATE", chain->v[k]));
        fix_write("alternate.pem", pem.text);
        fix_ok("openssl verify -x509_strict -CAfile other/root.pem -untrusted alternate.pem leaf.pem");
    }
    task_unref(&i->task);
    struct err e;
    backends_close(bs);
    bs = fix_open(HOUSE ", alternates: [@/other/issuing.pem]}\n", &e);
    assert_null(bs);
    assert_non_null(strstr(e.detail, "other/issuing.pem"));
}

static void test_ca_chain(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct iovs ders = {0};
    struct backend *b = opened(HOUSE "}\n");
    assert_true(backend_driver(b)->ca_chain(b, &pool, &ders, &e));
    assert_int_equal(ders.n, 2);
    assert_int_equal(backend_trust(b)->n, 1);
    assert_true(iov_eq(backend_trust(b)->v[0], ders.v[1]));
    /* without a root: the issuing certificate is the anchor */
    b = opened(
        "  - {name: house, driver: local, ca: {certificate: @/ca/issuing.pem, key: @/ca/issuing.key}}\n");
    assert_true(iov_eq(backend_trust(b)->v[0], ders.v[0]));
    /* chain.pem has the root in it, which is not handed out */
    b = opened("  - {name: house, driver: local, ca: {certificate: @/ca/chain.pem, key: @/ca/issuing.key, "
               "chain: @/ca/chain.pem}}\n");
    struct issue *i = issued(b, "server");
    assert_int_equal(i->answer->chain.n, 2);
    task_unref(&i->task);
    /* a self-signed CA issues by itself: the leaf stands alone */
    b = opened("  - {name: house, driver: local, ca: {certificate: @/ca/root.pem, key: @/ca/root.key}}\n");
    i = issued(b, "server");
    assert_int_equal(i->answer->chain.n, 1);
    fix_ok("openssl verify -x509_strict -CAfile ca/root.pem leaf.pem");
    task_unref(&i->task);
}

/* ---- revocation ---- */

static void test_crl(void **state)
{
    (void)state;
    struct backend *b = opened(HOUSE "}\n");
    struct issue *i = issued(b, "server");
    struct pki_cert cert;
    struct err e = ERR_INIT;
    assert_true(pki_cert_parse(&pool, i->answer->chain.v[0], &cert, &e));
    int64_t now = clock_unix_s();
    struct backend_crl_entry entries[] = {
        {.serial = IOV("00FF"), .revoked_at = now - 100, .reason = 0},
        {.serial = IOV("01A0"), .revoked_at = now - 50, .reason = 1},
        {.serial = cert.serial, .revoked_at = now - 10, .reason = 4},
    };
    struct backend_crl crl = {.number = 70000,
                              .this_update = now - 5,
                              .next_update = now + 86400,
                              .entries = entries,
                              .n = COUNTOF(entries)};
    iov_t der;
    if (!backend_driver(b)->sign_crl(b, &pool, &crl, &der, &e))
        fail_msg("%s", e.detail);
    fix_write("a.crl", pki_der_to_pem(&pool, "X509 CRL", der));
    fix_ok("openssl crl -in a.crl -CAfile ca/issuing.pem -noout -text");
    SHOWS("verify OK", "Version 2", "CRL Number", "70000", "Authority Key Identifier", "Serial Number: FF",
          "Serial Number: 01A0", "Key Compromise", "Superseded");
    LACKS("Unspecified");
    fix_ok("cat ca/root.pem ca/issuing.pem > both.pem; ! openssl verify -crl_check -CRLfile a.crl -CAfile "
           "both.pem leaf.pem");
    SHOWS("certificate revoked");
    /* empty, before anything was revoked */
    crl.n = 0;
    crl.number = 0;
    assert_true(backend_driver(b)->sign_crl(b, &pool, &crl, &der, &e));
    fix_write("b.crl", pki_der_to_pem(&pool, "X509 CRL", der));
    fix_ok("openssl verify -crl_check -CRLfile b.crl -CAfile both.pem leaf.pem");
    /* refused by the signer, or before it */
    crl.next_update = crl.this_update;
    assert_false(backend_driver(b)->sign_crl(b, &pool, &crl, &der, &e));
    entries[0].serial = IOV("no hex");
    crl.next_update = now + 1;
    crl.n = 1;
    assert_false(backend_driver(b)->sign_crl(b, &pool, &crl, &der, &e));
    assert_non_null(strstr(e.detail, "no hex"));
    task_unref(&i->task);
}

static void test_large_crl(void **state)
{
    (void)state;
    struct backend *b = opened(HOUSE "}\n");
    size_t n = 50000;
    struct backend_crl_entry *entries = POOL_NEW(&pool, struct backend_crl_entry, n);
    for (size_t i = 0; i < n; i++)
        entries[i] = (struct backend_crl_entry){iov_printf(&pool, "01%030zX", i), clock_unix_s(), 1};
    struct backend_crl crl = {.number = 1,
                              .this_update = clock_unix_s(),
                              .next_update = clock_unix_s() + 86400,
                              .entries = entries,
                              .n = n};
    iov_t der;
    struct err e = ERR_INIT;
    if (!backend_driver(b)->sign_crl(b, &pool, &crl, &der, &e))
        fail_msg("%s", e.detail);
    fix_write("large.crl", pki_der_to_pem(&pool, "X509 CRL", der));
    fix_ok("openssl crl -in large.crl -CAfile ca/issuing.pem -noout");
    SHOWS("verify OK");
}

static void on_revoke_free(struct task *t)
{
    task_dispose(t);
    free(CONTAINER_OF(t, struct revoke, task));
}

static void on_revoked(struct revoke *r)
{
    (void)r;
    answers++;
}

static void test_revoke(void **state)
{
    (void)state;
    struct revoke *r = base_zalloc(sizeof(*r));
    task_init(&r->task, loop, "r", NULL, on_revoke_free);
    r->backend = opened(HOUSE "}\n");
    r->answered = on_revoked;
    answers = 0;
    backend_driver(r->backend)->revoke(r);
    for (int n = 0; n < 100 && answers == 0; n++)
        loop_turn(loop, 10);
    assert_int_equal(r->result, REVOKE_DONE);
    task_unref(&r->task);
}

/* ---- configuration ---- */

static void test_keys_with_passphrase(void **state)
{
    (void)state;
    fix_ok("openssl pkcs8 -topk8 -v2 aes256 -passout pass:sesame -in ca/issuing.key -out enc.key; printf "
           "'sesame\\n' > pass; "
           "openssl pkey -in ca/issuing.key -traditional -aes256 -passout pass:sesame -out old.key");
    static const char *const good[] = {
        "@/enc.key, passphrase: sesame", "@/enc.key, passphrase: 'file:@/pass'",
        "@/enc.key, passphrase: 'env:PORTICO_TEST_PASS'", "@/old.key, passphrase: sesame",
        "@/ca/issuing.key, passphrase: needless"};
    setenv("PORTICO_TEST_PASS", "sesame", 1);
    for (size_t n = 0; n < COUNTOF(good); n++) {
        char text[512];
        snprintf(text, sizeof(text),
                 "  - {name: house, driver: local, ca: {certificate: @/ca/issuing.pem, key: %s}}\n", good[n]);
        task_unref(&issued(opened(text), "server")->task);
    }
    static const struct {
        const char *key, *word;
    } bad[] = {
        {"@/enc.key, passphrase: wrong", "that this passphrase opens"},
        {"@/enc.key", "opens without a passphrase"},
        {"@/ca/root.key", "not the one of the CA certificate"},
        {"@/ca/issuing.pem", "not a PEM private key"},
    };
    for (size_t n = 0; n < COUNTOF(bad); n++) {
        char text[512];
        struct err e;
        snprintf(text, sizeof(text),
                 "  - {name: house, driver: local, ca: {certificate: @/ca/issuing.pem, key: %s}}\n",
                 bad[n].key);
        backends_close(bs);
        bs = fix_open(text, &e);
        if (bs != NULL || strstr(e.detail, bad[n].word) == NULL || strstr(e.detail, "test.yaml:2") == NULL)
            fail_msg("%s: \"%s\"", bad[n].key, e.detail);
        assert_null(strstr(e.detail, "sesame"));
    }
}

static void test_refused_configurations(void **state)
{
    (void)state;
    fix_ok("openssl ecparam -name secp256k1 -genkey -noout -out k1.key; "
           "openssl req -x509 -key k1.key -subj /CN=k1 -days 10 -addext keyUsage=keyCertSign -out k1.pem; "
           "openssl req -x509 -newkey rsa:1024 -nodes -keyout small.key -subj /CN=small -days 10 -out "
           "small.pem 2>/dev/null; "
           "openssl req -x509 -key ca/issuing.key -subj /CN=leaf -days 10 -addext "
           "basicConstraints=critical,CA:FALSE -out notca.pem; "
           "openssl req -x509 -key ca/issuing.key -subj /CN=nosign -days 10 -addext keyUsage=cRLSign -out "
           "nosign.pem; "
           "printf junk > junk.pem");
    static const char *const ca_exts[] = {"basicConstraints", "critical,CA:TRUE", NULL};
    EVP_PKEY *key = fix_key("P-256");
    struct fix_cert c = {.subject = "new",
                         .issuer = "new",
                         .key = key,
                         .issuer_key = key,
                         .from = 3000000000,
                         .to = 3100000000,
                         .exts = ca_exts};
    fix_write("future.pem", pki_der_to_pem(&pool, "CERTIFICATE", fix_cert(&pool, &c)));
    EVP_PKEY_free(key);
    static const struct {
        const char *rest, *word;
    } cases[] = {
        {"}", "certificate"},
        {"ca: {certificate: @/k1.pem, key: @/k1.key}}", "RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519"},
        {"ca: {certificate: @/small.pem, key: @/small.key}}", "RSA of 2048"},
        {"ca: {certificate: @/notca.pem, key: @/ca/issuing.key}}", "not a CA certificate"},
        {"ca: {certificate: @/nosign.pem, key: @/ca/issuing.key}}", "not a CA certificate"},
        {"ca: {certificate: @/future.pem, key: @/ca/issuing.key}}", "not valid before"},
        {"ca: {certificate: @/junk.pem, key: @/ca/issuing.key}}", "junk.pem: there is no PEM certificate"},
        {"ca: {certificate: @/ca/issuing.pem, key: @/nothing.key}}", "nothing.key"},
        {"ca: {certificate: @/ca/issuing.pem, key: @/ca/issuing.key, root: @/ca/issuing.pem}, signer_user: "
         "nobody-of-this-name}",
         "no user \"nobody-of-this-name\""},
        {"ca: {certificate: @/ca/issuing.pem, key: @/ca/issuing.key, root: @/ca-p384/root.pem}}",
         "do not fit together"},
#define CA "ca: {certificate: @/ca/issuing.pem, key: @/ca/issuing.key}, "
        {CA "profiles: [{name: a, key_usage: [sign]}]}", "there is no \"sign\""},
        {CA "profiles: [{name: a, key_usage: [key_cert_sign]}]}", "for CAs"},
        {CA "profiles: [{name: a, eku: [ocsp_signing]}]}", "OCSP signing"},
        {CA "profiles: [{name: a, eku: [1.3.6.1.5.5.7.3.9]}]}", "OCSP signing"},
        {CA "profiles: [{name: a, eku: [server]}]}", "\"server\" is neither"},
        {CA "profiles: [{name: a, policies: [x]}]}", "\"x\" is no OID"},
        {CA "profiles: [{name: a, crl: [crl.example]}]}", "no http, https or ldap URL"},
        {CA "profiles: [{name: a}, {name: a}]}", "already"},
        {CA "profiles: [{subject: cn}]}", "name"},
        {CA "profiles: []}", "list of mappings"},
        {CA "alternates: [@/ca/root.pem]}", "not self-signed"},
#undef CA
    };
    for (size_t n = 0; n < COUNTOF(cases); n++) {
        char text[1024];
        struct err e;
        snprintf(text, sizeof(text), "  - {name: house, driver: local, %s\n", cases[n].rest);
        backends_close(bs);
        bs = fix_open(text, &e);
        if (bs != NULL || strstr(e.detail, cases[n].word) == NULL || strstr(e.detail, "test.yaml:2") == NULL)
            fail_msg("%s: \"%s\"", cases[n].rest, bs != NULL ? "accepted" : e.detail);
    }
}

static EVP_PKEY *key_file(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", fix_dir, name);
    FILE *f = fopen(path, "r");
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(key);
    return key;
}

/* A restart must not fail because a certificate has run out meanwhile; what depends on it does. */
static void test_expired(void **state)
{
    (void)state;
    static const char *const exts[] = {"basicConstraints", "critical,CA:TRUE", "keyUsage",
                                       "keyCertSign,cRLSign", NULL};
    EVP_PKEY *key = key_file("ca/issuing.key"), *other = fix_key("P-256");
    struct fix_cert c = {.subject = "old",
                         .issuer = "old",
                         .key = key,
                         .issuer_key = key,
                         .from = 1000000000,
                         .to = 1100000000,
                         .exts = exts};
    fix_write("expired.pem", pki_der_to_pem(&pool, "CERTIFICATE", fix_cert(&pool, &c)));
    struct backend *b = opened(
        "  - {name: house, driver: local, ca: {certificate: @/expired.pem, key: @/ca/issuing.key}}\n");
    struct issue *i = issue_new(b, "server");
    struct err e = ERR_INIT;
    assert_false(backend_driver(b)->prepare(i, &i->prepared, &e));
    assert_non_null(strstr(e.detail, "2004-11-09"));
    struct backend_crl crl = {
        .number = 1, .this_update = clock_unix_s(), .next_update = clock_unix_s() + 86400};
    iov_t der;
    assert_true(backend_driver(b)->sign_crl(b, &pool, &crl, &der, &e));
    task_unref(&i->task);
    c.subject = "Test Issuing CA";
    c.issuer_key = other;
    fix_write("cross.pem", pki_der_to_pem(&pool, "CERTIFICATE", fix_cert(&pool, &c)));
    b = opened(HOUSE ", alternates: @/cross.pem}\n");
    i = issued(b, "server");
    assert_int_equal(i->answer->alternates.n, 0);
    task_unref(&i->task);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

static int setup(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    fix_begin();
    h2o_mem_init_pool(&pool);
    worker_start(2, 100);
    loop = loop_new(0);
    fix_init_ca("ca", "p256");
    fix_ok("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key "
           "-subj /CN=www.example/O=Example -addext subjectAltName=DNS:www.example -out csr.pem 2>/dev/null; "
           "openssl req -in csr.pem -outform DER -out csr.der");
    char path[256], der[4096];
    snprintf(path, sizeof(path), "%s/csr.der", fix_dir);
    FILE *f = fopen(path, "r");
    csr = iov_dup(&pool, (iov_t){der, fread(der, 1, sizeof(der), f)});
    fclose(f);
    struct pki_csr_parts parts;
    assert_true(pki_csr_split(csr, &parts, &e));
    iovs_add(&pool, &dns, IOV("www.example"));
    iovs_add(&pool, &dns, IOV("*.www.example"));
    iovs_add(&pool, &ips, IOV("192.0.2.7"));
    iovs_add(&pool, &ips, IOV("2001:db8::7"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    backends_close(bs);
    worker_stop();
    loop_turn(loop, 0);
    loop_free(loop);
    h2o_mem_clear_pool(&pool);
    fix_end();
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--signer") == 0)
        return signer_main(3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_issuer_key),
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_profile_contents),
        cmocka_unit_test(test_rsa_key_usage_and_long_names),
        cmocka_unit_test(test_repeated_submit_signs_the_same),
        cmocka_unit_test(test_validity),
        cmocka_unit_test(test_foreign_prepared_bytes_are_refused),
        cmocka_unit_test(test_a_dead_signer_is_replaced),
        cmocka_unit_test(test_over_tasks_hear_nothing),
        cmocka_unit_test(test_alternates),
        cmocka_unit_test(test_ca_chain),
        cmocka_unit_test(test_crl),
        cmocka_unit_test(test_large_crl),
        cmocka_unit_test(test_revoke),
        cmocka_unit_test(test_keys_with_passphrase),
        cmocka_unit_test(test_refused_configurations),
        cmocka_unit_test(test_expired),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

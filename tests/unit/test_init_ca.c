/* SPDX-License-Identifier: Apache-2.0 */
/* porticod --init-ca: what it makes holds up under openssl's strictest eyes, and it never overwrites anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "local_fixture.h"

static void test_every_key_type(void **state)
{
    (void)state;
    static const struct {
        const char *type, *algorithm;
    } types[] = {
        {"p256", "ecdsa-with-SHA256"},
        {"p384", "ecdsa-with-SHA384"},
        {"rsa2048", "sha256WithRSAEncryption"},
        {"rsa4096", "sha256WithRSAEncryption"},
        {"ed25519", "ED25519"},
        {NULL, "ecdsa-with-SHA256"},
    };
    for (size_t i = 0; i < COUNTOF(types); i++) {
        const char *dir = types[i].type != NULL ? types[i].type : "default";
        fix_init_ca(dir, types[i].type);
        fix_ok("openssl verify -x509_strict -check_ss_sig -CAfile %s/root.pem %s/root.pem %s/issuing.pem",
               dir, dir, dir);
        fix_ok("openssl x509 -in %s/issuing.pem -noout -text", dir);
        static const char *const want[] = {"Version: 3",
                                           "CN = Test Root CA",
                                           "CN = Test Issuing CA",
                                           "CA:TRUE, pathlen:0",
                                           "Certificate Sign, CRL Sign",
                                           "X509v3 Basic Constraints: critical",
                                           "X509v3 Key Usage: critical"};
        for (size_t k = 0; k < COUNTOF(want); k++) {
            if (strstr(fix_output, want[k]) == NULL)
                fail_msg("%s: no %s in %s", dir, want[k], fix_output);
        }
        assert_non_null(strstr(fix_output, types[i].algorithm));
        /* keys belong to the certificates, and to nobody else */
        fix_ok("for c in root issuing; do test \"$(openssl pkey -in %s/$c.key -pubout)\" = "
               "\"$(openssl x509 -in %s/$c.pem -noout -pubkey)\" && test $(stat -c %%a:%%u %s/$c.key) = "
               "600:$(id -u) || exit 1; done",
               dir, dir, dir);
        fix_ok("cat %s/issuing.pem %s/root.pem | cmp - %s/chain.pem", dir, dir, dir);
        fix_ok("openssl x509 -in %s/issuing.pem -noout -checkend $((9*365*86400)) && "
               "! openssl x509 -in %s/issuing.pem -noout -checkend $((11*365*86400))",
               dir, dir);
        fix_ok("openssl x509 -in %s/root.pem -noout -checkend $((19*365*86400))", dir);
        fix_ok("test $(ls -A %s | wc -l) = 5", dir); /* nothing temporary is left */
    }
}

static bool init(const char *sub, const char *name, const char *type, struct err *e)
{
    char path[256];
    struct local_init opts = {.name = name, .key_type = type};
    *e = ERR_INIT;
    snprintf(path, sizeof(path), "%s/%s", fix_dir, sub);
    return local_init_ca(path, &opts, e);
}

static void test_overwrites_nothing(void **state)
{
    (void)state;
    struct err e;
    fix_init_ca("once", NULL);
    fix_ok("cp -a once copy");
    assert_false(init("once", NULL, NULL, &e));
    assert_non_null(strstr(e.detail, "root.pem is there already"));
    fix_ok("diff -r once copy");
    /* one single file, even a dangling link, is enough */
    fix_ok("mkdir some && ln -s nowhere some/chain.pem");
    assert_false(init("some", NULL, NULL, &e));
    assert_non_null(strstr(e.detail, "chain.pem"));
    fix_ok("test \"$(ls -A some)\" = chain.pem");
    /* into a folder with other things in it */
    fix_ok("mkdir other && touch other/notes");
    assert_true(init("other", NULL, NULL, &e));
    fix_ok("test -f other/notes && test -f other/root.pem");
}

static void test_refuses(void **state)
{
    (void)state;
    struct err e;
    assert_false(init("x", NULL, "rsa1024", &e));
    assert_non_null(strstr(e.detail, "\"rsa1024\"; write p256"));
    assert_false(init("x", "", NULL, &e));
    assert_false(init("x", "a\nb", NULL, &e));
    assert_false(init("x",
                      "no\xff"
                      "text",
                      NULL, &e));
    assert_false(init("x", "a name that is far too long to be the name of a CA, really", NULL, &e));
    fix_ok("test ! -e x"); /* a folder made on the way goes again */
    assert_false(init("no/such/folder", NULL, NULL, &e));
    assert_non_null(strstr(e.detail, "no/such/folder"));
    fix_ok("touch file");
    assert_false(init("file", NULL, NULL, &e));
    assert_true(init("utf8",
                     "B\xc3\xa4"
                     "cker",
                     NULL, &e));
    fix_ok(
        "openssl x509 -in utf8/root.pem -noout -subject -nameopt utf8,sep_comma_plus | grep -q 'CN=B\xc3\xa4"
        "cker Root CA'");
}

static int setup(void **state)
{
    (void)state;
    fix_begin();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fix_end();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_key_type),
        cmocka_unit_test(test_overwrites_nothing),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The signer alone: what it refuses to sign, and how the process behaves towards a peer that is not what it should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>

#include "backends/local/signer.h"
#include "backends/local/signer_client.h"
#include "backends/local/signer_wire.h"
#include "base/clock.h"
#include "io/pack.h"
#include "local_fixture.h"
#include "x509_fixture.h"

static pool_t pool;
static struct signer_rules rules;
static struct signer_profile profile;
static iov_t ca_der, spki, key_usage;

/* ---- TBS to order ---- */

enum { EXT_AKI, EXT_SKI, EXT_SAN, EXT_USAGE, EXT_MORE, EXTS };
struct order {
    unsigned version;
    iov_t serial, alg, issuer, spki;
    int64_t from, to;
    iov_t exts[EXTS];
    iov_t before_exts; /* between key and extensions */
    bool no_exts;
};

static iov_t ext(iov_t oid, bool critical, iov_t value)
{
    struct der_writer w;
    der_writer_init(&w, &pool);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, oid);
    if (critical)
        der_put_true(&w);
    der_put(&w, DER_OCTET_STRING, value);
    der_close(&w);
    return der_finish(&w);
}

static iov_t ski_ext(iov_t of)
{
    uint8_t id[20];
    struct der_writer w;
    assert_true(signer_key_id(of, id));
    der_writer_init(&w, &pool);
    der_put(&w, DER_OCTET_STRING, (iov_t){(char *)id, 20});
    return ext(IOV(OID_EXT_SKI), false, der_finish(&w));
}

static struct order good_order(void)
{
    return (struct order){
        .version = 2,
        .serial = IOV("\x01\x02"),
        .alg = rules.alg.identifier,
        .issuer = rules.subject,
        .spki = spki,
        .from = 1900000000,
        .to = 1900000000 + 86399,
        .exts = {rules.aki, ski_ext(spki),
                 ext(IOV(OID_EXT_SAN), false,
                     IOV("\x30\x05\x82\x03"
                         "a.b")),
                 key_usage, IOV("")},
        .before_exts = IOV(""),
    };
}

static iov_t tbs(const struct order *o)
{
    struct der_writer w;
    der_writer_init(&w, &pool);
    der_open(&w, DER_SEQUENCE);
    der_open(&w, DER_CONTEXT_CONS(0));
    der_put_u64(&w, o->version);
    der_close(&w);
    der_put(&w, DER_INTEGER, o->serial);
    der_put_raw(&w, o->alg);
    der_put_raw(&w, o->issuer);
    der_open(&w, DER_SEQUENCE);
    der_put_time(&w, o->from);
    der_put_time(&w, o->to);
    der_close(&w);
    der_put(&w, DER_SEQUENCE, IOV(""));
    der_put_raw(&w, o->spki);
    der_put_raw(&w, o->before_exts);
    if (!o->no_exts) {
        der_open(&w, DER_CONTEXT_CONS(3));
        der_open(&w, DER_SEQUENCE);
        for (size_t i = 0; i < EXTS; i++)
            der_put_raw(&w, o->exts[i]);
        der_close(&w);
        der_close(&w);
    }
    der_close(&w);
    return der_finish(&w);
}

static void refused(struct order o, const char *word)
{
    struct err e = ERR_INIT;
    if (signer_rules_cert(&rules, IOV("server"), tbs(&o), &e))
        fail_msg("signed, instead of \"%s\"", word);
    if (strstr(e.detail, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.detail, word);
}
#define REFUSED(word, ...)                                                                                   \
    do {                                                                                                     \
        struct order o = good_order();                                                                       \
        __VA_ARGS__;                                                                                         \
        refused(o, word);                                                                                    \
    } while (0)

static void test_rules(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct order good = good_order();
    iov_t whole = tbs(&good), other_name = IOV("\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01x");
    if (!signer_rules_cert(&rules, IOV("server"), whole, &e))
        fail_msg("%s", e.detail);
    assert_false(signer_rules_cert(&rules, IOV("client"), whole, &e));
    for (size_t cut = 0; cut < whole.len; cut++)
        assert_false(signer_rules_cert(&rules, IOV("server"), (iov_t){whole.base, cut}, &e));
    iov_t longer = iov_dup(&pool, whole);
    longer.len++;
    assert_false(signer_rules_cert(&rules, IOV("server"), longer, &e));

    REFUSED("version 3", o.version = 0);
    REFUSED("version 3", o.version = 1);
    REFUSED("positive", o.serial = IOV("\x00"));
    REFUSED("positive", o.serial = IOV("\xff\x01"));
    REFUSED("positive", o.serial = IOV(""));
    REFUSED("positive", o.serial = IOV("\x01"
                                       "12345678901234567890"));
    REFUSED("algorithm", o.alg = IOV("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"));
    REFUSED("issuer", o.issuer = other_name);
    REFUSED("longer than", o.to = o.from + 86400);
    REFUSED("validity", o.to = o.from - 1);
    REFUSED("beyond the CA", o.from = rules.not_after - 10; o.to = rules.not_after + 1);
    REFUSED("CA's own", o.spki = rules.spki; o.exts[EXT_SKI] = ski_ext(rules.spki));
    REFUSED("subjectKeyIdentifier", o.exts[EXT_SKI] = ski_ext(rules.spki));
    REFUSED("subjectAltName", o.exts[EXT_SAN] = IOV(""));
    REFUSED("subjectAltName", o.exts[EXT_SAN] = ext(IOV(OID_EXT_SAN), false, IOV("\x30\x00")));
    REFUSED("subjectAltName", o.exts[EXT_SAN] = ext(IOV(OID_EXT_SAN), false,
                                                    IOV("\x30\x05\x81\x03"
                                                        "a@b")));
    REFUSED("subjectAltName", o.exts[EXT_SAN] = ext(IOV(OID_EXT_SAN), false,
                                                    IOV("\x30\x05\x87\x03"
                                                        "abc")));
    REFUSED("extensions", o.no_exts = true);
    REFUSED("extensions", o.before_exts = IOV("\x81\x02\x00\x01"));
    /* what would make a client a CA, or more than its profile says */
    REFUSED("no such extension",
            o.exts[EXT_MORE] = ext(IOV(OID_EXT_BASIC_CONSTRAINTS), true, IOV("\x30\x03\x01\x01\xff")));
    REFUSED("no such extension",
            o.exts[EXT_USAGE] = ext(IOV(OID_EXT_KEY_USAGE), true, IOV("\x03\x02\x02\x04")));
    REFUSED("no such extension",
            o.exts[EXT_USAGE] = ext(IOV(OID_EXT_KEY_USAGE), false, IOV("\x03\x02\x07\x80")));
    REFUSED("no such extension", o.exts[EXT_AKI] = ext(IOV(OID_EXT_AKI), false, IOV("\x30\x03\x80\x01x")));
    REFUSED("no such extension", o.exts[EXT_MORE] = ext(IOV("\x2a\x03"), false, IOV("x")));
    REFUSED("twice", o.exts[EXT_MORE] = key_usage);
    REFUSED("twice", o.exts[EXT_MORE] = o.exts[EXT_SAN]);
}

static iov_t crl_tbs(iov_t aki, iov_t alg, int64_t from, int64_t to, iov_t revoked)
{
    struct der_writer w;
    der_writer_init(&w, &pool);
    der_open(&w, DER_SEQUENCE);
    der_put_u64(&w, 1);
    der_put_raw(&w, alg);
    der_put_raw(&w, rules.subject);
    der_put_time(&w, from);
    der_put_time(&w, to);
    der_put_raw(&w, revoked);
    der_open(&w, DER_CONTEXT_CONS(0));
    der_open(&w, DER_SEQUENCE);
    der_put_raw(&w, aki);
    der_put_raw(&w, ext(IOV(OID_EXT_CRL_NUMBER), false, IOV("\x02\x01\x05")));
    der_close(&w);
    der_close(&w);
    der_close(&w);
    return der_finish(&w);
}

static void test_crl_rules(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    iov_t entry = IOV("\x30\x14\x30\x12\x02\x01\x05\x17\x0d"
                      "260101000000Z");
    iov_t alg = rules.alg.identifier, other = ext(IOV(OID_EXT_AKI), false, IOV("\x30\x03\x80\x01x"));
    if (!signer_rules_crl(&rules, crl_tbs(rules.aki, alg, 1, 2, entry), &e))
        fail_msg("%s", e.detail);
    assert_true(signer_rules_crl(&rules, crl_tbs(rules.aki, alg, 1, 2, IOV("")), &e));
    assert_false(signer_rules_crl(&rules, crl_tbs(other, alg, 1, 2, entry), &e));
    assert_false(signer_rules_crl(&rules, crl_tbs(rules.aki, IOV("\x30\x00"), 1, 2, entry), &e));
    assert_false(signer_rules_crl(&rules, crl_tbs(rules.aki, alg, 2, 2, entry), &e));
    assert_false(signer_rules_crl(&rules, crl_tbs(rules.aki, alg, 1, 2, IOV("\x30\x02\x05\x00")), &e));
    /* one is not taken for the other */
    struct order o = good_order();
    assert_false(signer_rules_crl(&rules, tbs(&o), &e));
    assert_false(signer_rules_cert(&rules, IOV("server"), crl_tbs(rules.aki, alg, 1, 2, entry), &e));
}

/* ---- the process ---- */

static struct signer *opened(void)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/ca/issuing.key", fix_dir);
    struct signer_setup setup = {
        .backend = "house", .ca_der = ca_der, .key_path = path, .profiles = &profile, .n_profiles = 1};
    struct err e = ERR_INIT;
    struct signer *s = signer_open(&setup, &e);
    if (s == NULL)
        fail_msg("%s (%s)", e.detail, e.cause);
    return s;
}

static void test_signs_and_refuses(void **state)
{
    (void)state;
    struct signer *s = opened();
    struct err e = ERR_INIT;
    struct order o = good_order();
    iov_t signature;
    assert_int_equal(signer_sign(s, "server", tbs(&o), &pool, &signature, &e), SIGNER_SIGNED);
    const uint8_t *p = (const uint8_t *)rules.spki.base;
    EVP_PKEY *ca_key = d2i_PUBKEY(NULL, &p, (long)rules.spki.len);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    iov_t signed_bytes = tbs(&o);
    EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, ca_key);
    assert_int_equal(EVP_DigestVerify(ctx, (uint8_t *)signature.base, signature.len,
                                      (uint8_t *)signed_bytes.base, signed_bytes.len),
                     1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(ca_key);
    int pid = signer_pid(s);
    o.exts[EXT_MORE] = ext(IOV(OID_EXT_BASIC_CONSTRAINTS), true, IOV("\x30\x03\x01\x01\xff"));
    assert_int_equal(signer_sign(s, "server", tbs(&o), &pool, &signature, &e), SIGNER_REFUSED);
    assert_non_null(strstr(e.detail, "no such extension"));
    assert_int_equal(signer_sign(s, "server", IOV("junk"), &pool, &signature, &e), SIGNER_REFUSED);
    assert_int_equal(signer_sign(s, NULL, IOV("junk"), &pool, &signature, &e), SIGNER_REFUSED);
    assert_int_equal(signer_sign(s, "nobody", tbs(&o), &pool, &signature, &e), SIGNER_REFUSED);
    iov_t huge = {POOL_NEW(&pool, char, 200 << 10), 200 << 10};
    assert_int_equal(signer_sign(s, "server", huge, &pool, &signature, &e), SIGNER_REFUSED);
    assert_int_equal(signer_pid(s), pid);
    signer_close(s);
    assert_int_equal(kill(pid, 0), -1); /* ended and reaped */
}

static void test_is_on_its_own(void **state)
{
    (void)state;
    struct signer *s = opened();
    int pid = signer_pid(s);
    fix_ok("grep -q 'NoNewPrivs:.1' /proc/%d/status && grep -q 'Max core file size  *0  *0' /proc/%d/limits",
           pid, pid);
    if (geteuid() == 0) {
        /* somebody else's process, and /proc does not let that somebody in */
        fix_ok("test $(awk '/^Uid:/ {print $2 $3 $4}' /proc/%d/status) = $(id -u nobody)$(id -u nobody)$(id "
               "-u nobody)",
               pid);
        fix_ok("test -z \"$(awk '/^Groups:/ {print $2}' /proc/%d/status)\" && test $(stat -c %%u "
               "/proc/%d/mem) = 0",
               pid, pid);
    }
    fix_ok("test \"$(ls /proc/%d/fd | tr '\\n' ' ')\" = '0 1 2 3 '",
           pid); /* nothing of ours but its socket */
    fix_ok("! tr '\\0' '\\n' < /proc/%d/environ | grep -q ^HOME=", pid);
    signer_close(s);
}

/* A signer spoken to by hand. */
static int spawned(pid_t *pid)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, pair[1], 3);
    char *argv[] = {(char *)"signer", (char *)"--signer", NULL};
    assert_int_equal(posix_spawn(pid, "/proc/self/exe", &fa, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&fa);
    close(pair[1]);
    return pair[0];
}

static int exit_code(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static iov_t message(const char *op, bool with_tbs)
{
    struct pack *p = pack_new(with_tbs ? 2 : 1);
    pack_str(p, "op", iov_of(op));
    if (with_tbs)
        pack_bin(p, "tbs", IOV("x"));
    return pack_finish(p, &pool);
}

static iov_t opening(const char *key)
{
    struct pack *p = pack_new(7);
    pack_str(p, "op", IOV("open"));
    pack_int(p, "version", SIGNER_VERSION);
    pack_bin(p, "certificate", ca_der);
    pack_str(p, "key", iov_printf(&pool, "%s/%s", fix_dir, key));
    pack_bin(p, "passphrase", IOV(""));
    pack_int(p, "uid", -1);
    pack_int(p, "gid", -1);
    return pack_finish(p, &pool);
}

static void send_ok(int fd, iov_t frame)
{
    assert_int_equal(signer_wire_send(fd, frame, 5000), WIRE_OK);
}

static void test_anything_unexpected_ends_it(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        size_t len;
    } frames[] = {{"\0\0\0\0", 4},
                  {"\0\0\0\1\x81", 5},
                  {"\x7f\xff\xff\xff", 4},
                  {"\0\0\0\5hello", 9},
                  {"\0\0\0\2\x81\xa1", 6}};
    pid_t pid;
    int fd = spawned(&pid);
    close(fd);
    assert_int_equal(exit_code(pid), 0); /* the end of the socket is the end */
    for (size_t i = 0; i < COUNTOF(frames); i++) {
        fd = spawned(&pid);
        assert_int_equal(send(fd, frames[i].raw, frames[i].len, 0), frames[i].len);
        assert_int_equal(exit_code(pid), 3);
        close(fd);
    }
    static const char *const first[] = {"start", "profile", "cert", "nonsense"};
    for (size_t i = 0; i < COUNTOF(first); i++) { /* before it is open */
        fd = spawned(&pid);
        send_ok(fd, message(first[i], false));
        assert_int_equal(exit_code(pid), 3);
        close(fd);
    }
    static const char *const later[] = {"open", "cert", "profile"};
    for (size_t i = 0; i < COUNTOF(later); i++) { /* without what belongs to them */
        fd = spawned(&pid);
        send_ok(fd, opening("ca/issuing.key"));
        send_ok(fd, message(later[i], false));
        assert_int_equal(exit_code(pid), 3);
        close(fd);
    }
    static const char *const running[] = {"open", "cert", "nonsense"};
    for (size_t i = 0; i < COUNTOF(running); i++) {
        iov_t reply;
        fd = spawned(&pid);
        send_ok(fd, opening("ca/issuing.key"));
        send_ok(fd, message("start", false));
        assert_int_equal(signer_wire_receive(fd, 1000, 10000, &pool, &reply), WIRE_OK);
        send_ok(fd, message(running[i], true)); /* "cert" lacks its profile */
        assert_int_equal(exit_code(pid), 3);
        close(fd);
    }
    /* half a frame, then the end */
    fd = spawned(&pid);
    assert_int_equal(send(fd, "\0\0\0\x10half", 8, 0), 8);
    close(fd);
    assert_int_equal(exit_code(pid), 3);
}

static void test_says_why_it_does_not_start(void **state)
{
    (void)state;
    pid_t pid;
    iov_t reply;
    struct err e = ERR_INIT;
    int fd = spawned(&pid);
    send_ok(fd, opening("ca/root.key"));
    send_ok(fd, message("start", false));
    assert_int_equal(signer_wire_receive(fd, 1000, 10000, &pool, &reply), WIRE_OK);
    struct unpack *u = unpack_new(reply, &e);
    assert_false(unpack_bool(u, "ok"));
    assert_non_null(strstr(iov_cstr(&pool, unpack_bytes(u, "error")), "not the one of the CA certificate"));
    unpack_free(u);
    assert_int_equal(exit_code(pid), 1);
    close(fd);
    /* started by hand */
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", 1, 0);
    posix_spawn_file_actions_addopen(&fa, 3, "/dev/null", 2, 0);
    char *argv[] = {(char *)"signer", (char *)"--signer", NULL};
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &fa, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&fa);
    assert_int_equal(exit_code(pid), 2);
}

static void test_frames_time_out(void **state)
{
    (void)state;
    int pair[2];
    iov_t out;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(signer_wire_receive(pair[0], 100, 20, &pool, &out), WIRE_TIMEOUT);
    assert_int_equal(send(pair[1], "\0\0\0\4xy", 6, 0), 6);
    assert_int_equal(signer_wire_receive(pair[0], 100, 20, &pool, &out), WIRE_TIMEOUT);
    iov_t large = {POOL_NEW(&pool, char, 4 << 20), 4 << 20};
    assert_int_equal(signer_wire_send(pair[1], large, 20), WIRE_TIMEOUT); /* nobody reads */
    close(pair[0]);
    assert_int_equal(signer_wire_send(pair[1], IOV("x"), 20), WIRE_END);
    close(pair[1]);
}

/* ---- set-up ---- */

static int setup(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct iovs ders;
    struct pki_cert cert;
    char path[256];
    fix_begin();
    h2o_mem_init_pool(&pool);
    fix_init_ca("ca", "p256");
    snprintf(path, sizeof(path), "%s/ca/issuing.pem", fix_dir);
    assert_true(backend_read_certs(&pool, path, &ders, &e));
    ca_der = ders.v[0];
    assert_true(pki_cert_parse(&pool, ca_der, &cert, &e) && signer_alg_of(cert.spki, &rules.alg, &e));
    EVP_PKEY *key = fix_key("P-256");
    spki = fix_spki(&pool, key);
    EVP_PKEY_free(key);
    rules.subject = cert.subject_der;
    rules.spki = cert.spki;
    rules.not_after = cert.not_after;
    rules.profiles = &profile;
    rules.n_profiles = 1;
    assert_true(signer_rules_aki(&pool, &cert, &rules.aki));
    key_usage = ext(IOV(OID_EXT_KEY_USAGE), true, IOV("\x03\x02\x07\x80"));
    profile = (struct signer_profile){.name = "server", .max_lifetime_s = 86400};
    iovs_add(&pool, &profile.extensions, rules.aki);
    iovs_add(&pool, &profile.extensions, key_usage);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    h2o_mem_clear_pool(&pool);
    fix_end();
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--signer") == 0)
        return signer_main(3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_crl_rules),
        cmocka_unit_test(test_signs_and_refuses),
        cmocka_unit_test(test_is_on_its_own),
        cmocka_unit_test(test_anything_unexpected_ends_it),
        cmocka_unit_test(test_says_why_it_does_not_start),
        cmocka_unit_test(test_frames_time_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The process that holds the key. In this order: cannot be inspected, reads the key file, gives up its rights, decodes
 * the key, signs. Its peer is trusted with nothing but the start: a message that is not exactly what is expected ends
 * the process, a TBS outside the rules is refused. It has no log and no stderr to speak of: whatever is to be said is
 * said in the answer. */
#include "backends/local/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/local/signer_rules.h"
#include "backends/local/signer_wire.h"
#include "io/pack.h"
#include "io/pki.h"

#define KEY_FILE_MAX 65536
#define SECURE_HEAP (256 << 10)
#define PROFILES_MAX 256
enum { EXIT_END = 0, EXIT_START = 1, EXIT_USAGE = 2, EXIT_PROTOCOL = 3 };

struct keeper {
    int fd;
    pool_t pool; /* for its whole life */
    struct signer_rules rules;
    struct signer_profile profiles[PROFILES_MAX];
    EVP_PKEY *key;
    X509 *cert;
    /* until the key is loaded */
    iov_t passphrase, pem;
    const char *key_path;
    int64_t uid, gid;
};

/* _exit: no destructor, leak check or stream of the program we come from has business here. */
static _Noreturn void end(int code)
{
    _exit(code);
}

static void reply(struct keeper *k, struct pack *p, pool_t *pool)
{
    if (signer_wire_send(k->fd, pack_finish(p, pool), -1) != WIRE_OK)
        end(EXIT_END); /* nobody is there any more */
}

static void reply_error(struct keeper *k, pool_t *pool, const struct err *e)
{
    struct pack *p = pack_new(2);
    pack_bool(p, "ok", false);
    pack_str(p, "error",
             e->cause[0] != '\0' ? iov_printf(pool, "%s (%s)", e->detail, e->cause) : iov_of(e->detail));
    reply(k, p, pool);
}

/* ---- the start ---- */

static void guard_process(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    /* It ends with its socket: the gateway still signs while it drains after a signal to the whole group. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    /* Locked, out of core dumps, wiped: where OpenSSL puts the numbers of private keys. Without the right to lock
     * memory it still is apart from everything else. */
    CRYPTO_secure_malloc_init(SECURE_HEAP, 32);
}

static bool take_open(struct keeper *k, const struct unpack *u)
{
    int64_t version;
    iov_t cert = unpack_bytes(u, "certificate"), key = unpack_bytes(u, "key"),
          pass = unpack_bytes(u, "passphrase");
    if (!unpack_int(u, "version", &version) || version != SIGNER_VERSION || cert.base == NULL ||
        key.base == NULL || pass.base == NULL || !unpack_int(u, "uid", &k->uid) ||
        !unpack_int(u, "gid", &k->gid))
        return false;
    const uint8_t *p = (const uint8_t *)cert.base;
    k->cert = d2i_X509(NULL, &p, (long)cert.len);
    k->key_path = iov_cstr(&k->pool, key);
    k->passphrase = (iov_t){CRYPTO_secure_zalloc(pass.len + 1, __FILE__, __LINE__), pass.len};
    if (k->cert == NULL || k->passphrase.base == NULL)
        return false;
    memcpy(k->passphrase.base, pass.base, pass.len);
    return true;
}

static bool take_profile(struct keeper *k, const struct unpack *u)
{
    struct err e = ERR_INIT;
    iov_t name = unpack_bytes(u, "name");
    struct signer_profile *p = &k->profiles[k->rules.n_profiles];
    if (k->rules.n_profiles == PROFILES_MAX || name.base == NULL ||
        !unpack_int(u, "max_lifetime", &p->max_lifetime_s))
        return false;
    p->name = iov_cstr(&k->pool, name);
    struct iovs exts = unpack_strs(u, &k->pool, "extensions");
    for (size_t i = 0; i < exts.n; i++) {
        if (!signer_rules_extension(exts.v[i], &e))
            return false;
        iovs_add(&k->pool, &p->extensions, iov_dup(&k->pool, exts.v[i]));
    }
    k->rules.profiles = k->profiles;
    k->rules.n_profiles++;
    return true;
}

/* "open", then "profile"s, then "start". Ends the process on anything else. */
static void take_setup(struct keeper *k)
{
    for (bool started = false; !started;) {
        pool_t pool;
        iov_t frame;
        struct err e = ERR_INIT;
        h2o_mem_init_pool(&pool);
        enum wire_result r = signer_wire_receive(k->fd, 1 << 20, -1, &pool, &frame);
        if (r != WIRE_OK)
            end(r == WIRE_END ? EXIT_END : EXIT_PROTOCOL);
        struct unpack *u = unpack_new(frame, &e);
        if (u == NULL)
            end(EXIT_PROTOCOL);
        iov_t op = unpack_bytes(u, "op");
        bool first = k->cert == NULL;
        bool good = first                   ? iov_is(op, "open") && take_open(k, u)
                    : iov_is(op, "profile") ? take_profile(k, u)
                                            : (started = iov_is(op, "start"));
        if (!good)
            end(EXIT_PROTOCOL);
        unpack_free(u);
        pki_wipe(frame.base, frame.len);
        h2o_mem_clear_pool(&pool);
    }
}

/* ---- the key ---- */

static bool read_key_file(struct keeper *k, struct err *e)
{
    struct stat st;
    int fd = open(k->key_path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set(e, 0, "the key file %s: %s", k->key_path, strerror(errno));
    bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= KEY_FILE_MAX;
    if (!ok) {
        err_set(e, 0, "the key file %s is not a file of 1 to %d bytes", k->key_path, KEY_FILE_MAX);
        goto done;
    }
    k->pem = (iov_t){CRYPTO_secure_zalloc((size_t)st.st_size, __FILE__, __LINE__), 0};
    for (ssize_t n = 1;
         k->pem.base != NULL && n > 0 && k->pem.len<(size_t)st.st_size; k->pem.len += n> 0 ? (size_t)n : 0)
        n = read(fd, k->pem.base + k->pem.len, (size_t)st.st_size - k->pem.len);
    ok = k->pem.len == (size_t)st.st_size || err_set(e, 0, "the key file %s cannot be read", k->key_path);
done:
    close(fd);
    return ok;
}

static bool drop_rights(const struct keeper *k, struct err *e)
{
    if (k->uid >= 0 &&
        (setgroups(0, NULL) != 0 || setresgid((gid_t)k->gid, (gid_t)k->gid, (gid_t)k->gid) != 0 ||
         setresuid((uid_t)k->uid, (uid_t)k->uid, (uid_t)k->uid) != 0))
        return err_set(e, 0, "cannot become user %lld: %s", (long long)k->uid, strerror(errno));
    if (k->uid > 0 && setuid(0) == 0)
        return err_set(e, 0, "the rights of root came back after they were given up");
    prctl(PR_SET_DUMPABLE, 0); /* a change of user may have set it again */
    return true;
}

static int passphrase_cb(char *buf, int size, int writing, void *arg)
{
    const iov_t *pass = arg;
    (void)writing;
    if (pass->len == 0 || pass->len > (size_t)size)
        return -1;
    memcpy(buf, pass->base, pass->len);
    return (int)pass->len;
}

static bool decode_key(struct keeper *k, struct err *e)
{
    BIO *bio = BIO_new_mem_buf(k->pem.base, (int)k->pem.len);
    if (bio != NULL)
        k->key = PEM_read_bio_PrivateKey(bio, NULL, passphrase_cb, &k->passphrase);
    BIO_free(bio);
    bool encrypted = memmem(k->pem.base, k->pem.len, "ENCRYPTED", 9) != NULL, given = k->passphrase.len > 0;
    CRYPTO_secure_clear_free(k->pem.base, k->pem.len, __FILE__, __LINE__);
    CRYPTO_secure_clear_free(k->passphrase.base, k->passphrase.len, __FILE__, __LINE__);
    k->pem = k->passphrase = IOV_NULL;
    ERR_clear_error();
    if (k->key == NULL)
        return err_set(e, 0, "%s is not a PEM private key%s", k->key_path,
                       !encrypted ? ""
                       : given    ? " that this passphrase opens"
                                  : " that opens without a passphrase");
    if (X509_check_private_key(k->cert, k->key) != 1) {
        ERR_clear_error();
        return err_set(e, 0, "the key in %s is not the one of the CA certificate", k->key_path);
    }
    return true;
}

static bool make_rules(struct keeper *k, struct err *e)
{
    uint8_t *der = NULL;
    struct pki_cert cert;
    int len = i2d_X509(k->cert, &der);
    iov_t whole = len > 0 ? iov_dup(&k->pool, (iov_t){(char *)der, (size_t)len}) : IOV("");
    OPENSSL_free(der);
    if (!pki_cert_parse(&k->pool, whole, &cert, e) || !signer_alg_of(cert.spki, &k->rules.alg, e))
        return false;
    k->rules.subject = cert.subject_der;
    k->rules.spki = cert.spki;
    k->rules.not_after = cert.not_after;
    return signer_rules_aki(&k->pool, &cert, &k->rules.aki) ||
           err_set(e, 0, "the CA certificate's key does not decode");
}

/* ---- signing ---- */

static bool sign(const struct keeper *k, pool_t *pool, iov_t tbs, iov_t *out, struct err *e)
{
    size_t len = (size_t)EVP_PKEY_get_size(k->key);
    const EVP_MD *md = k->rules.alg.hash_bits == 0     ? NULL
                       : k->rules.alg.hash_bits == 384 ? EVP_sha384()
                                                       : EVP_sha256();
    *out = (iov_t){POOL_NEW(pool, char, len), 0};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, md, NULL, k->key) == 1 &&
              EVP_DigestSign(ctx, (uint8_t *)out->base, &len, (const uint8_t *)tbs.base, tbs.len) == 1;
    EVP_MD_CTX_free(ctx);
    out->len = len;
    if (ok)
        return true;
    char text[200];
    ERR_error_string_n(ERR_peek_error(), text, sizeof(text));
    ERR_clear_error();
    return err_set(e, 0, "signing fails: %s", text);
}

static void answer(struct keeper *k, pool_t *pool, iov_t frame)
{
    struct err e = ERR_INIT;
    iov_t signature;
    struct unpack *u = unpack_new(frame, &e);
    if (u == NULL)
        end(EXIT_PROTOCOL);
    iov_t op = unpack_bytes(u, "op"), profile = unpack_bytes(u, "profile"), tbs = unpack_bytes(u, "tbs");
    bool cert = iov_is(op, "cert");
    if (tbs.base == NULL || (cert ? profile.base == NULL || tbs.len > SIGNER_TBS_MAX : !iov_is(op, "crl")))
        end(EXIT_PROTOCOL);
    bool good = cert ? signer_rules_cert(&k->rules, profile, tbs, &e) : signer_rules_crl(&k->rules, tbs, &e);
    if (good && sign(k, pool, tbs, &signature, &e)) {
        struct pack *p = pack_new(2);
        pack_bool(p, "ok", true);
        pack_bin(p, "signature", signature);
        reply(k, p, pool);
    } else {
        reply_error(k, pool, &e);
    }
    unpack_free(u);
}

static _Noreturn void serve(struct keeper *k)
{
    for (;;) {
        pool_t pool;
        iov_t frame;
        h2o_mem_init_pool(&pool);
        enum wire_result r = signer_wire_receive(k->fd, SIGNER_FRAME_MAX, -1, &pool, &frame);
        if (r != WIRE_OK)
            end(r == WIRE_END ? EXIT_END : EXIT_PROTOCOL);
        answer(k, &pool, frame);
        h2o_mem_clear_pool(&pool);
    }
}

int signer_main(int fd)
{
    static struct keeper keeper;
    struct keeper *k = &keeper;
    struct err e = ERR_INIT;
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        fprintf(stderr, "porticod: --signer is for porticod itself, which starts its signer with a socket\n");
        return EXIT_USAGE;
    }
    guard_process();
    k->fd = fd;
    h2o_mem_init_pool(&k->pool);
    take_setup(k);
    bool ok = read_key_file(k, &e) && drop_rights(k, &e) && decode_key(k, &e) && make_rules(k, &e);
    if (!ok) {
        reply_error(k, &k->pool, &e);
        end(EXIT_START);
    }
    struct pack *p = pack_new(1);
    pack_bool(p, "ok", true);
    reply(k, p, &k->pool);
    serve(k);
}

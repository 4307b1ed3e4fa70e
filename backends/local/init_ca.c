/* SPDX-License-Identifier: Apache-2.0 */
/* A root and an issuing CA in a folder. Everything is made and checked in memory, written beside its place, and then
 * linked to its name, which cannot replace a file that is there. */
#include "backends/local/init_ca.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/local/signer_rules.h"
#include "base/clock.h"
#include "base/der.h"
#include "io/pki.h"

#define YEAR_S INT64_C(31557600)
#define BACKDATE_S 300
#define NAME_BYTES_MAX 50 /* with " Issuing CA" within the 64 of a CN */

enum { ROOT_PEM, ROOT_KEY, ISSUING_PEM, ISSUING_KEY, CHAIN_PEM, FILES };
static const struct {
    const char *name;
    mode_t mode;
} files[FILES] = {
    [ROOT_PEM] = {"root.pem", 0644},       [ROOT_KEY] = {"root.key", 0600},
    [ISSUING_PEM] = {"issuing.pem", 0644}, [ISSUING_KEY] = {"issuing.key", 0600},
    [CHAIN_PEM] = {"chain.pem", 0644},
};

/* ---- certificates ---- */

struct ca {
    EVP_PKEY *key;
    iov_t spki, name, cert;
    uint8_t key_id[20];
};

static bool failed(struct err *e, const char *what)
{
    char text[200];
    ERR_error_string_n(ERR_peek_error(), text, sizeof(text));
    ERR_clear_error();
    err_set(e, 0, "%s failed", what);
    return err_cause(e, "%s", text);
}

static EVP_PKEY *key_make(const char *type)
{
    if (strcmp(type, "p256") == 0 || strcmp(type, "p384") == 0)
        return EVP_EC_gen(strcmp(type, "p256") == 0 ? "P-256" : "P-384");
    if (strcmp(type, "ed25519") == 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return EVP_RSA_gen(strcmp(type, "rsa2048") == 0 ? 2048u : 4096u);
}

static bool ca_begin(struct ca *ca, pool_t *pool, const char *type, iov_t cn, struct err *e)
{
    uint8_t *der = NULL;
    ca->key = key_make(type);
    int len = ca->key != NULL ? i2d_PUBKEY(ca->key, &der) : 0;
    if (len <= 0)
        return failed(e, "making a key");
    ca->spki = iov_dup(pool, (iov_t){(char *)der, (size_t)len});
    OPENSSL_free(der);
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_open(&w, DER_SET);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, IOV("\x55\x04\x03"));
    der_put(&w, DER_UTF8_STRING, cn);
    while (w.depth > 0)
        der_close(&w);
    ca->name = der_finish(&w);
    return signer_key_id(ca->spki, ca->key_id) || err_set(e, 0, "the key does not decode");
}

static void put_ext(struct der_writer *w, iov_t oid, bool critical, iov_t value)
{
    der_open(w, DER_SEQUENCE);
    der_put(w, DER_OID, oid);
    if (critical)
        der_put_true(w);
    der_put(w, DER_OCTET_STRING, value);
    der_close(w);
}

static void put_exts(struct der_writer *w, const struct ca *ca, const struct ca *issuer)
{
    struct der_writer id;
    der_writer_init(&id, w->out.pool);
    der_put(&id, DER_OCTET_STRING, (iov_t){(char *)ca->key_id, sizeof(ca->key_id)});
    der_open(w, DER_CONTEXT_CONS(3));
    der_open(w, DER_SEQUENCE);
    /* CA:TRUE; what the root signs may issue, but make no further CAs */
    put_ext(w, IOV(OID_EXT_BASIC_CONSTRAINTS), true,
            ca == issuer ? IOV("\x30\x03\x01\x01\xff") : IOV("\x30\x06\x01\x01\xff\x02\x01\x00"));
    put_ext(w, IOV(OID_EXT_KEY_USAGE), true, IOV("\x03\x02\x01\x06")); /* keyCertSign, cRLSign */
    put_ext(w, IOV(OID_EXT_SKI), false, der_finish(&id));
    der_writer_init(&id, w->out.pool);
    der_open(&id, DER_SEQUENCE);
    der_put(&id, DER_CONTEXT(0), (iov_t){(char *)issuer->key_id, sizeof(issuer->key_id)});
    der_close(&id);
    put_ext(w, IOV(OID_EXT_AKI), false, der_finish(&id));
    der_close(w);
    der_close(w);
}

static bool sign(pool_t *pool, EVP_PKEY *key, const struct signer_alg *alg, iov_t tbs, iov_t *out,
                 struct err *e)
{
    size_t len = (size_t)EVP_PKEY_get_size(key);
    const EVP_MD *md = alg->hash_bits == 0 ? NULL : alg->hash_bits == 384 ? EVP_sha384() : EVP_sha256();
    *out = (iov_t){POOL_NEW(pool, char, len), 0};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1 &&
              EVP_DigestSign(ctx, (uint8_t *)out->base, &len, (const uint8_t *)tbs.base, tbs.len) == 1;
    EVP_MD_CTX_free(ctx);
    out->len = len;
    return ok || failed(e, "signing");
}

static bool ca_certify(struct ca *ca, pool_t *pool, const struct ca *issuer, int64_t years, struct err *e)
{
    struct signer_alg alg;
    uint8_t serial[16];
    int64_t now = clock_unix_s();
    iov_t signature;
    if (!signer_alg_of(issuer->spki, &alg, e))
        return false;
    pki_random(serial, sizeof(serial));
    serial[0] = (serial[0] & 0x7f) | 0x40; /* positive, never zero */
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_open(&w, DER_CONTEXT_CONS(0));
    der_put_u64(&w, 2); /* version 3 */
    der_close(&w);
    der_put_uint(&w, (iov_t){(char *)serial, sizeof(serial)});
    der_put_raw(&w, alg.identifier);
    der_put_raw(&w, issuer->name);
    der_open(&w, DER_SEQUENCE);
    der_put_time(&w, now - BACKDATE_S);
    der_put_time(&w, now + years * YEAR_S - 1);
    der_close(&w);
    der_put_raw(&w, ca->name);
    der_put_raw(&w, ca->spki);
    put_exts(&w, ca, issuer);
    der_close(&w);
    iov_t tbs = der_finish(&w);
    if (!sign(pool, issuer->key, &alg, tbs, &signature, e))
        return false;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_put_raw(&w, tbs);
    der_put_raw(&w, alg.identifier);
    der_put_bits(&w, signature);
    der_close(&w);
    ca->cert = der_finish(&w);
    return true;
}

static bool key_pem(pool_t *pool, EVP_PKEY *key, iov_t *out, struct err *e)
{
    char *text;
    BIO *bio = BIO_new(BIO_s_secmem());
    bool ok = bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
    if (ok) {
        long len = BIO_get_mem_data(bio, &text);
        *out = iov_dup(pool, (iov_t){text, (size_t)len});
    }
    BIO_free(bio);
    return ok || failed(e, "writing a key");
}

/* As a client would see them: a name that is no text, for one, shows here. */
static bool check(pool_t *pool, const struct ca *root, const struct ca *issuing, struct err *e)
{
    struct pki_cert parsed;
    struct iovs chain = {0}, trust = {0};
    iovs_add(pool, &chain, issuing->cert);
    iovs_add(pool, &trust, root->cert);
    return pki_cert_parse(pool, issuing->cert, &parsed, e) &&
           pki_chain_check(&chain, &trust, clock_unix_s(), e);
}

static bool make_all(pool_t *pool, struct ca *root, struct ca *issuing, const struct local_init *opts,
                     iov_t out[FILES], struct err *e)
{
    const char *name = opts->name != NULL ? opts->name : "Portico";
    const char *type = opts->key_type != NULL ? opts->key_type : "p256";
    if (!ca_begin(root, pool, type, iov_printf(pool, "%s Root CA", name), e) ||
        !ca_begin(issuing, pool, type, iov_printf(pool, "%s Issuing CA", name), e) ||
        !ca_certify(root, pool, root, 20, e) || !ca_certify(issuing, pool, root, 10, e) ||
        !check(pool, root, issuing, e) || !key_pem(pool, root->key, &out[ROOT_KEY], e) ||
        !key_pem(pool, issuing->key, &out[ISSUING_KEY], e))
        return false;
    out[ROOT_PEM] = pki_der_to_pem(pool, "CERTIFICATE", root->cert);
    out[ISSUING_PEM] = pki_der_to_pem(pool, "CERTIFICATE", issuing->cert);
    out[CHAIN_PEM] = iov_printf(pool, "%s%s", out[ISSUING_PEM].base, out[ROOT_PEM].base);
    return true;
}

/* ---- files ---- */

struct folder {
    int fd;
    const char *path;
    bool made; /* by us: goes again on failure */
    char temp[FILES][64];
    unsigned linked;
};

static bool file_failed(struct err *e, const struct folder *f, const char *name)
{
    return err_set(e, 0, "%s/%s: %s", f->path, name, strerror(errno));
}

static bool write_all(int fd, iov_t bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.base, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes.base += n;
        bytes.len -= (size_t)n;
    }
    return true;
}

static bool write_temp(struct folder *f, int i, iov_t bytes, struct err *e)
{
    snprintf(f->temp[i], sizeof(f->temp[i]), ".%s.%ld", files[i].name, (long)getpid());
    int fd = openat(f->fd, f->temp[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                    files[i].mode & 0600);
    if (fd < 0) {
        f->temp[i][0] = '\0';
        return file_failed(e, f, files[i].name);
    }
    bool ok = write_all(fd, bytes) && fchmod(fd, files[i].mode) == 0 && fsync(fd) == 0;
    if (!ok)
        file_failed(e, f, files[i].name);
    close(fd);
    return ok;
}

static bool folder_open(struct folder *f, struct err *e)
{
    f->made = mkdir(f->path, 0755) == 0;
    if (!f->made && errno != EEXIST)
        return err_set(e, 0, "%s: %s", f->path, strerror(errno));
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->fd < 0)
        return err_set(e, 0, "%s: %s", f->path, strerror(errno));
    for (int i = 0; i < FILES; i++) {
        if (faccessat(f->fd, files[i].name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return err_set(e, 0, "%s/%s is there already; nothing was changed", f->path, files[i].name);
    }
    return true;
}

static bool folder_fill(struct folder *f, const iov_t content[FILES], struct err *e)
{
    for (int i = 0; i < FILES; i++) {
        if (!write_temp(f, i, content[i], e))
            return false;
    }
    for (; f->linked < FILES; f->linked++) {
        if (linkat(f->fd, f->temp[f->linked], f->fd, files[f->linked].name, 0) != 0)
            return file_failed(e, f, files[f->linked].name);
    }
    return fsync(f->fd) == 0 || err_set(e, 0, "%s: %s", f->path, strerror(errno));
}

static void folder_close(struct folder *f, bool keep)
{
    for (int i = 0; f->fd >= 0 && i < FILES; i++) {
        if (f->temp[i][0] != '\0')
            unlinkat(f->fd, f->temp[i], 0);
    }
    for (unsigned i = 0; !keep && i < f->linked; i++)
        unlinkat(f->fd, files[i].name, 0);
    if (f->fd >= 0)
        close(f->fd);
    if (!keep && f->made)
        rmdir(f->path);
}

static bool opts_ok(const struct local_init *opts, struct err *e)
{
    static const char *const types[] = {"p256", "p384", "rsa2048", "rsa4096", "ed25519"};
    bool known = opts->key_type == NULL;
    for (size_t i = 0; i < COUNTOF(types); i++)
        known = known || strcmp(opts->key_type, types[i]) == 0;
    if (!known)
        return err_set(e, 0, "there is no key type \"%s\"; write p256, p384, rsa2048, rsa4096 or ed25519",
                       opts->key_type);
    const char *name = opts->name != NULL ? opts->name : "Portico";
    bool printable = name[0] != '\0' && strlen(name) <= NAME_BYTES_MAX;
    for (const char *c = name; *c != '\0'; c++)
        printable = printable && (unsigned char)*c >= ' ' && *c != 0x7f;
    return printable || err_set(e, 0, "the name of a CA is 1 to %d bytes of text", NAME_BYTES_MAX);
}

bool local_init_ca(const char *dir, const struct local_init *opts, struct err *e)
{
    struct ca root = {0}, issuing = {0};
    struct folder f = {.fd = -1, .path = dir};
    iov_t content[FILES] = {{0}};
    pool_t pool;
    h2o_mem_init_pool(&pool);
    bool ok = opts_ok(opts, e) && folder_open(&f, e) && make_all(&pool, &root, &issuing, opts, content, e) &&
              folder_fill(&f, content, e);
    folder_close(&f, ok);
    for (int i = 0; i < FILES; i++)
        pki_wipe(content[i].base, content[i].len);
    EVP_PKEY_free(root.key);
    EVP_PKEY_free(issuing.key);
    h2o_mem_clear_pool(&pool);
    return ok;
}

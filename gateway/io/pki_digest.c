/* SPDX-License-Identifier: Apache-2.0 */
/* Digests, MACs and random bytes, and how OpenSSL's errors become ours. */
#include "io/pki_internal.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/b64.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256, *sha384, *sha512;
static EVP_MAC *hmac;

static void fetch_all(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha384 = EVP_MD_fetch(NULL, "SHA384", NULL);
    sha512 = EVP_MD_fetch(NULL, "SHA512", NULL);
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (sha256 == NULL || sha384 == NULL || sha512 == NULL || hmac == NULL) {
        fputs("OpenSSL has no SHA-2 or HMAC: its configuration disables the default provider\n", stderr);
        abort();
    }
}

const EVP_MD *pki_md(int bits)
{
    pthread_once(&once, fetch_all);
    return bits == 512 ? sha512 : bits == 384 ? sha384 : sha256;
}

/* The oldest entry is the most specific one; the queue is per thread and must not outlive the call. */
static void take_queue(struct err *e)
{
    unsigned long code = ERR_peek_error();
    if (code != 0) {
        char text[256];
        ERR_error_string_n(code, text, sizeof(text));
        err_cause(e, "%s", text);
    }
    ERR_clear_error();
}

bool pki_fail(struct err *e, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    err_set(e, 0, "%s", text);
    take_queue(e);
    return false;
}

bool pki_fail_internal(struct err *e, const char *fmt, ...)
{
    char text[256], reason[200] = "no OpenSSL error";
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    unsigned long code = ERR_peek_error();
    if (code != 0)
        ERR_error_string_n(code, reason, sizeof(reason));
    ERR_clear_error();
    return err_internal(e, "%s: %s", text, reason);
}

void pki_sha256(iov_t in, uint8_t out[32])
{
    if (EVP_Digest(in.base, in.len, out, NULL, pki_md(256), NULL) != 1)
        abort(); /* only out of memory */
}

iov_t pki_sha256_iov(pool_t *pool, iov_t in)
{
    uint8_t digest[32];
    pki_sha256(in, digest);
    return iov_dup(pool, (iov_t){(char *)digest, sizeof(digest)});
}

size_t pki_hmac(int hash_bits, iov_t key, iov_t in, uint8_t *out)
{
    const EVP_MD *md = pki_md(hash_bits);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)EVP_MD_get0_name(md), 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac);
    size_t len = 0;
    const uint8_t *bytes = (const uint8_t *)(key.len > 0 ? key.base : "");
    if (ctx == NULL || EVP_MAC_init(ctx, bytes, key.len, params) != 1 ||
        EVP_MAC_update(ctx, (const uint8_t *)in.base, in.len) != 1 || EVP_MAC_final(ctx, out, &len, 64) != 1)
        abort(); /* only out of memory */
    EVP_MAC_CTX_free(ctx);
    return len;
}

void pki_random(void *buf, size_t n)
{
    uint8_t *p = buf;
    while (n > 0) {
        int part = n > 1 << 20 ? 1 << 20 : (int)n;
        if (RAND_bytes(p, part) != 1) {
            fputs("the random generator fails\n", stderr);
            abort();
        }
        p += part;
        n -= (size_t)part;
    }
}

bool pki_equal(iov_t a, iov_t b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.base, b.base, a.len) == 0);
}

void pki_wipe(void *buf, size_t n)
{
    if (buf != NULL)
        OPENSSL_cleanse(buf, n);
}

/* Six bits of 62 are the "-" of base64url, with which command lines take a value for an option. */
void pki_random_arg(void *buf, size_t n)
{
    do
        pki_random(buf, n);
    while (*(uint8_t *)buf >> 2 == 62);
}

iov_t pki_random_id(pool_t *pool)
{
    char bytes[16];
    pki_random_arg(bytes, sizeof(bytes));
    return b64_encode(pool, (iov_t){bytes, sizeof(bytes)});
}

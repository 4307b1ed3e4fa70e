/* SPDX-License-Identifier: Apache-2.0 */
/* Does a chain hold? OpenSSL's path validation (validity, basicConstraints, key usage, name constraints, path length)
 * decides about trust; the links are looked at one by one besides, because a client is served exactly this order.
 * Issuers are the same few certificates every time and decoding one costs 0.2 ms, so they are kept decoded. */
#include "io/pki_internal.h"

#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <time.h>

#define CHAIN_MAX 16

/* ---- decoded certificates ---- */

static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint8_t sha256[32];
    X509 *cert;
} cache[256]; /* by the first byte of the hash; a newcomer replaces */

static X509 *decode(iov_t der, struct err *e)
{
    const uint8_t *p = (const uint8_t *)der.base, *end = p + der.len;
    X509 *cert = d2i_X509(NULL, &p, (long)der.len);
    if (cert == NULL || p != end) {
        X509_free(cert);
        pki_fail(e, "a certificate of the chain does not decode");
        return NULL;
    }
    return cert;
}

static X509 *decode_cached(iov_t der, struct err *e)
{
    uint8_t hash[32];
    pki_sha256(der, hash);
    pthread_mutex_lock(&cache_lock);
    X509 *cert = memcmp(cache[hash[0]].sha256, hash, sizeof(hash)) == 0 ? cache[hash[0]].cert : NULL;
    if (cert != NULL)
        X509_up_ref(cert);
    pthread_mutex_unlock(&cache_lock);
    if (cert != NULL)
        return cert;
    cert = decode(der, e);
    if (cert == NULL)
        return NULL;
    X509_up_ref(cert);
    pthread_mutex_lock(&cache_lock);
    X509 *old = cache[hash[0]].cert;
    memcpy(cache[hash[0]].sha256, hash, sizeof(hash));
    cache[hash[0]].cert = cert;
    pthread_mutex_unlock(&cache_lock);
    X509_free(old);
    return cert;
}

static STACK_OF(X509) * decode_all(const struct iovs *ders, size_t first, struct err *e)
{
    STACK_OF(X509) *certs = sk_X509_new_null();
    for (size_t i = first; certs != NULL && i < ders->n; i++) {
        X509 *cert = decode_cached(ders->v[i], e);
        if (cert == NULL || sk_X509_push(certs, cert) == 0) {
            X509_free(cert);
            sk_X509_pop_free(certs, X509_free);
            return NULL;
        }
    }
    return certs;
}

/* ---- checks ---- */

static bool refuse(struct err *e, X509 *cert, size_t depth, const char *why)
{
    char subject[256];
    X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof(subject));
    return pki_fail(e, "certificate %zu of the chain (%s): %s", depth + 1,
                    subject[0] != '\0' ? subject : "empty subject", why);
}

static bool valid_at(X509 *cert, size_t depth, int64_t now, struct err *e)
{
    time_t t = now;
    if (X509_cmp_time(X509_get0_notBefore(cert), &t) >= 0)
        return refuse(e, cert, depth, "not valid yet");
    if (X509_cmp_time(X509_get0_notAfter(cert), &t) <= 0)
        return refuse(e, cert, depth, "expired");
    return true;
}

static bool link_holds(X509 *subject, X509 *issuer, size_t depth, bool verified, struct err *e)
{
    int why = X509_check_issued(issuer, subject);
    if (why != X509_V_OK)
        return refuse(e, subject, depth, X509_verify_cert_error_string(why));
    if (X509_check_ca(issuer) != 1)
        return refuse(e, issuer, depth + 1, "not a CA certificate");
    if (!verified && X509_verify(subject, X509_get0_pubkey(issuer)) != 1)
        return refuse(e, subject, depth, "not signed by the next one");
    return true;
}

/* The path that OpenSSL built, where it went through trust; NULL where trust was not asked for. */
static bool same(const STACK_OF(X509) * path, size_t i, const X509 *cert)
{
    return path != NULL && (int)i < sk_X509_num(path) && X509_cmp(sk_X509_value(path, (int)i), cert) == 0;
}

static bool links_hold(X509 *leaf, STACK_OF(X509) * issuers, STACK_OF(X509) * path, int64_t now,
                       struct err *e)
{
    X509 *subject = leaf;
    if (!valid_at(leaf, 0, now, e))
        return false;
    for (size_t i = 0; i < (size_t)sk_X509_num(issuers); i++) {
        X509 *issuer = sk_X509_value(issuers, (int)i);
        bool verified = same(path, i, subject) && same(path, i + 1, issuer);
        if (!valid_at(issuer, i + 1, now, e) || !link_holds(subject, issuer, i, verified, e))
            return false;
        subject = issuer;
    }
    return true;
}

static bool path_builds(X509_STORE_CTX *ctx, X509 *leaf, STACK_OF(X509) * issuers, STACK_OF(X509) * trust,
                        int64_t now, struct err *e)
{
    if (X509_STORE_CTX_init(ctx, NULL, leaf, issuers) != 1)
        return pki_fail_internal(e, "X509_STORE_CTX_init");
    X509_STORE_CTX_set0_trusted_stack(ctx, trust);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN); /* an anchor need not be self-signed */
    X509_VERIFY_PARAM_set_time(param, now);
    X509_VERIFY_PARAM_set_depth(param, CHAIN_MAX);
    if (X509_verify_cert(ctx) == 1)
        return true;
    X509 *at = X509_STORE_CTX_get_current_cert(ctx);
    int depth = X509_STORE_CTX_get_error_depth(ctx);
    return refuse(e, at != NULL ? at : leaf, depth > 0 ? (size_t)depth : 0,
                  X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
}

bool pki_chain_check(const struct iovs *chain_ders, const struct iovs *trust_ders, int64_t now, struct err *e)
{
    if (chain_ders->n == 0 || chain_ders->n > CHAIN_MAX)
        return err_set(e, 0, "a chain of %zu certificates; 1 to %d are accepted", chain_ders->n, CHAIN_MAX);
    bool ok = false, with_trust = trust_ders != NULL && trust_ders->n > 0;
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *issuers = decode_all(chain_ders, 1, e);
    STACK_OF(X509) *trust = with_trust ? decode_all(trust_ders, 0, e) : NULL;
    X509 *leaf = decode(chain_ders->v[0], e);
    if (leaf == NULL || issuers == NULL || (with_trust && trust == NULL))
        goto done;
    if (ctx == NULL) {
        pki_fail_internal(e, "X509_STORE_CTX_new");
        goto done;
    }
    ok = (!with_trust || path_builds(ctx, leaf, issuers, trust, now, e)) &&
         links_hold(leaf, issuers, with_trust ? X509_STORE_CTX_get0_chain(ctx) : NULL, now, e);
done:
    X509_STORE_CTX_free(ctx);
    X509_free(leaf);
    sk_X509_pop_free(issuers, X509_free);
    sk_X509_pop_free(trust, X509_free);
    return ok;
}

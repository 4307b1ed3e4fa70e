/* SPDX-License-Identifier: Apache-2.0 */
/* ES256, RS256 up to 4096 bits and Ed25519 are verified on the loop (under 0.2 ms); the rest goes to a worker. */
#include "http/key.h"
#include <stdlib.h>
#include "acme/problem.h"
#include "base/b64.h"
#include "io/worker.h"

struct pki_key *key_of_jwk(const struct jwk *jwk, struct err *e)
{
    static const enum pki_key_type curves[] = {[JWK_P256] = PKI_KEY_EC_P256, [JWK_P384] = PKI_KEY_EC_P384,
                                               [JWK_P521] = PKI_KEY_EC_P521};
    struct pki_key *k = jwk->kty == JWK_EC    ? pki_key_from_ec(curves[jwk->crv], jwk->x, jwk->y, e)
                        : jwk->kty == JWK_RSA ? pki_key_from_rsa(jwk->n, jwk->e, e)
                                              : pki_key_from_ed25519(jwk->x, e);
    if (k != NULL && !pki_key_acceptable(k, e)) {
        pki_key_unref(k);
        k = NULL;
    }
    if (k == NULL)
        e->code = ACME_BAD_PUBLIC_KEY;
    return k;
}

iov_t key_thumbprint(pool_t *pool, const struct jwk *jwk)
{
    return b64_encode(pool, pki_sha256_iov(pool, jwk->canonical));
}

bool key_alg_fits(const struct pki_key *k, enum jws_alg alg, struct err *e)
{
    static const enum pki_key_type want[] = {
        [JWS_ES256] = PKI_KEY_EC_P256, [JWS_ES384] = PKI_KEY_EC_P384, [JWS_ES512] = PKI_KEY_EC_P521,
        [JWS_RS256] = PKI_KEY_RSA, [JWS_PS256] = PKI_KEY_RSA, [JWS_EDDSA] = PKI_KEY_ED25519,
    };
    if (alg <= JWS_EDDSA && want[alg] == pki_key_type(k))
        return true;
    return err_set(e, ACME_BAD_SIGNATURE_ALGORITHM, "algorithm %s does not fit the account's key", jws_alg_name(alg));
}

static enum pki_alg pki_alg_of(enum jws_alg a)
{
    static const enum pki_alg map[] = {[JWS_ES256] = PKI_ES256, [JWS_ES384] = PKI_ES384, [JWS_ES512] = PKI_ES512,
                                       [JWS_RS256] = PKI_RS256, [JWS_PS256] = PKI_PS256, [JWS_EDDSA] = PKI_EDDSA};
    return map[a];
}

struct verify_job {
    struct worker_job job;
    struct pki_key *key;
    enum pki_alg alg;
    pool_t pool;
    iov_t input, sig;
    key_verified_cb *cb;
    bool ok;
    struct err err;
};

static void verify_run(struct worker_job *j)
{
    struct verify_job *v = CONTAINER_OF(j, struct verify_job, job);
    v->ok = pki_verify(v->key, v->alg, v->input, v->sig, &v->err);
}

static void verify_free(struct verify_job *v)
{
    pki_key_unref(v->key);
    h2o_mem_clear_pool(&v->pool);
    free(v);
}

static void verify_done(struct worker_job *j, struct task *t)
{
    struct verify_job *v = CONTAINER_OF(j, struct verify_job, job);
    if (t != NULL)
        v->cb(t, v->ok, &v->err);
    verify_free(v);
}

bool key_verify(struct task *t, struct pki_key *k, const struct jws *j, key_verified_cb *cb, struct err *e)
{
    enum pki_alg alg = pki_alg_of(j->alg);
    if (pki_verify_is_fast(k, alg)) {
        struct err why = ERR_INIT;
        bool ok = pki_verify(k, alg, j->signing_input, j->signature, &why);
        cb(t, ok, &why);
        return true;
    }
    struct verify_job *v = base_zalloc(sizeof(*v));
    h2o_mem_init_pool(&v->pool);
    v->job.run = verify_run;
    v->job.done = verify_done;
    v->key = pki_key_ref(k);
    v->alg = alg;
    v->input = iov_dup(&v->pool, j->signing_input);
    v->sig = iov_dup(&v->pool, j->signature);
    v->cb = cb;
    if (worker_submit(t, &v->job))
        return true;
    verify_free(v);
    err_set(e, ACME_UNAVAILABLE, "the gateway is busy; repeat the request");
    e->retry_after_s = 1;
    return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The in-house CA as a driver. prepare fixes serial and validity, so that a repeated submit asks for the signature of
 * the same TBSCertificate; nothing leaves before the answer is stored, so submit may simply be repeated. */
#include "backends/local/local.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/pack.h"
#include "io/pki.h"
#include "io/worker.h"

static const struct conf_key local_keys[] = {
    CONF_NODE(struct local_conf, ca, "ca", CONF_REQUIRED, "certificate, key, passphrase, chain, root"),
    CONF_FILES(struct local_conf, alternates, "alternates", NULL,
               "PEM files of cross-certificates: alternate chains"),
    CONF_NODE(struct local_conf, profiles, "profiles", NULL, "certificate contents by ACME profile"),
    CONF_STR(struct local_conf, signer_user, "signer_user", NULL,
             "user to run the signer as, when started as root; default: signer.user, else nobody"),
    CONF_END,
};

/* ---- open and close ---- */

static void local_free(struct local *l)
{
    signer_close(l->signer);
    h2o_mem_clear_pool(&l->pool);
    free(l);
}

static bool local_open(struct backend *b, struct err *e)
{
    const struct local_conf *c = backend_conf(b);
    struct signer_setup setup = {.backend = backend_common(b)->name, .user = c->signer_user};
    struct err why = ERR_INIT;
    struct local *l = base_zalloc(sizeof(*l));
    h2o_mem_init_pool(&l->pool);
    if (!local_ca_load(l, b, &setup.key_path, &setup.passphrase, e) || !local_profiles_load(l, b, e))
        goto failed;
    setup.ca_der = l->der;
    setup.profiles = l->rules.profiles;
    setup.n_profiles = l->rules.n_profiles;
    l->signer = signer_open(&setup, &why);
    if (l->signer == NULL) {
        backend_error(b, e, "%s", why.detail);
        goto failed;
    }
    backend_set_state(b, l);
    return true;
failed:
    local_free(l);
    return false;
}

static void local_close(struct backend *b)
{
    local_free(backend_state(b));
    backend_set_state(b, NULL);
}

/* ---- prepare ---- */

struct prepared {
    iov_t serial;
    int64_t not_before, not_after;
};

static bool prepared_read(pool_t *pool, iov_t bytes, struct prepared *out, struct err *e)
{
    struct unpack *u = unpack_new(bytes, e);
    if (u == NULL)
        return false;
    iov_t serial = unpack_bytes(u, "serial");
    bool ok = serial.base != NULL && unpack_int(u, "not_before", &out->not_before) &&
              unpack_int(u, "not_after", &out->not_after);
    if (ok)
        out->serial = iov_dup(pool, serial);
    unpack_free(u);
    return ok || err_set(e, 0, "what was prepared for this issuance is not the in-house CA's");
}

/* What was asked for, else what the profile says, within what the CA itself has left. */
static bool validity(const struct local *l, struct issue *i, const struct local_profile *p,
                     struct prepared *out, struct err *e)
{
    int64_t now = clock_unix_s(), from = i->not_before != 0 ? i->not_before : now;
    out->not_before = i->not_before != 0 ? i->not_before : now - p->backdate_ms / 1000;
    out->not_after = i->not_after != 0 ? i->not_after
                                       : from + i->lifetime_s - 1; /* both ends are part of it */
    if (out->not_before < l->not_before)
        out->not_before = l->not_before;
    if (out->not_after > l->rules.not_after)
        out->not_after = l->rules.not_after;
    if (out->not_after <= now || out->not_after <= out->not_before)
        return err_set(e, 0, "no validity is left: the CA's own certificate ends on %s",
                       clock_rfc3339(&i->task.pool, l->rules.not_after).base);
    int64_t most = p->limits->max_lifetime_s;
    if (out->not_after - out->not_before + 1 <= most)
        return true;
    if (i->not_after != 0)
        return err_set(e, 0,
                       "the in-house CA issues for at most %lld seconds (max_lifetime of its profile %s)",
                       (long long)most, p->name);
    out->not_after = out->not_before + most - 1;
    return true;
}

static bool local_prepare(struct issue *i, iov_t *prepared_out, struct err *e)
{
    const struct local *l = backend_state(i->backend);
    struct prepared v;
    uint8_t serial[16];
    if (!validity(l, i, local_profile_find(l, i->profile), &v, e))
        return false;
    do {
        pki_random(serial, sizeof(serial));
        serial[0] &= 0x7f;    /* positive without a sign byte */
    } while (serial[0] == 0); /* always 16 bytes, never zero */
    struct pack *p = pack_new(3);
    pack_bin(p, "serial", (iov_t){(char *)serial, sizeof(serial)});
    pack_int(p, "not_before", v.not_before);
    pack_int(p, "not_after", v.not_after);
    *prepared_out = pack_finish(p, &i->task.pool);
    return true;
}

/* ---- submit ---- */

struct sign_job {
    struct worker_job job;
    const struct local *ca;
    const char *profile;
    enum signer_result result;
    struct err err;
    iov_t cert; /* heap */
    size_t tbs_len;
    char tbs[];
};

static void sign_run(struct worker_job *j)
{
    struct sign_job *s = CONTAINER_OF(j, struct sign_job, job);
    pool_t pool;
    iov_t signature, tbs = {s->tbs, s->tbs_len};
    h2o_mem_init_pool(&pool);
    s->result = signer_sign(s->ca->signer, s->profile, tbs, &pool, &signature, &s->err);
    if (s->result == SIGNER_SIGNED) {
        iov_t cert = local_tbs_signed(s->ca, &pool, tbs, signature);
        s->cert = (iov_t){base_zalloc(cert.len), cert.len};
        memcpy(s->cert.base, cert.base, cert.len);
    }
    h2o_mem_clear_pool(&pool);
}

static void answer_signed(struct issue *i, const struct local *l, iov_t cert)
{
    struct iovs chain = {0};
    iovs_add(&i->task.pool, &chain, cert);
    for (size_t n = 0; n < l->chain.n; n++)
        iovs_add(&i->task.pool, &chain, l->chain.v[n]);
    for (size_t n = 0; n < l->n_alternates; n++)
        issue_done_alternate(i, &l->alternates[n]);
    issue_done(i, &chain);
}

static void answer_refused(struct issue *i, const struct err *why)
{
    struct err e = ERR_INIT;
    log_error("signer.refused", KV_STR("issuance", i->task.id),
              KV_STR("backend", backend_common(i->backend)->name), KV_STR("reason", why->detail));
    err_set(&e, 0, "the in-house CA's signer refuses this certificate: %s", why->detail);
    issue_refuse(i, &e);
}

static void sign_done(struct worker_job *j, struct task *t)
{
    struct sign_job *s = CONTAINER_OF(j, struct sign_job, job);
    struct issue *i = t != NULL ? CONTAINER_OF(t, struct issue, task) : NULL;
    if (i != NULL && s->result == SIGNER_SIGNED)
        answer_signed(i, s->ca, s->cert);
    else if (i != NULL && s->result == SIGNER_REFUSED)
        answer_refused(i, &s->err);
    else if (i != NULL)
        issue_retry(i, &s->err);
    free(s->cert.base);
    free(s);
}

static void local_submit(struct issue *i)
{
    const struct local *l = backend_state(i->backend);
    struct err e = ERR_INIT;
    struct prepared v;
    iov_t tbs;
    if (!prepared_read(&i->task.pool, i->prepared, &v, &e)) {
        issue_refuse(i, &e);
        return;
    }
    struct local_leaf leaf = {.profile = local_profile_find(l, i->profile),
                              .serial = v.serial,
                              .not_before = v.not_before,
                              .not_after = v.not_after,
                              .csr_der = i->csr_der,
                              .dns = &i->dns,
                              .ips = &i->ips};
    if (!local_tbs_cert(l, &i->task.pool, &leaf, &tbs, &e)) {
        issue_refuse(i, &e);
        return;
    }
    struct sign_job *s = base_zalloc(sizeof(*s) + tbs.len);
    s->job.run = sign_run;
    s->job.done = sign_done;
    s->ca = l;
    s->profile = leaf.profile->name;
    s->tbs_len = tbs.len;
    memcpy(s->tbs, tbs.base, tbs.len);
    if (worker_submit(&i->task, &s->job))
        return;
    free(s);
    err_set(&e, 0, "all worker threads are busy");
    issue_retry(i, &e);
}

/* ---- the rest ---- */

/* The gateway's record is the revocation; the next CRL is made from it. */
static void local_revoke(struct revoke *r)
{
    revoke_done(r);
}

static bool local_ca_chain(struct backend *b, pool_t *pool, struct iovs *ders_out, struct err *e)
{
    const struct local *l = backend_state(b);
    (void)e;
    for (size_t i = 0; i < l->known.n; i++)
        iovs_add(pool, ders_out, iov_dup(pool, l->known.v[i]));
    return true;
}

static bool local_sign_crl(struct backend *b, pool_t *pool, const struct backend_crl *crl, iov_t *der_out,
                           struct err *e)
{
    const struct local *l = backend_state(b);
    iov_t tbs, signature;
    if (!l->may_sign_crls)
        return err_set(e, 0, "the CA certificate of backend %s has no keyUsage cRLSign",
                       backend_common(b)->name);
    if (!local_tbs_crl(l, pool, crl, &tbs, e) ||
        signer_sign(l->signer, NULL, tbs, pool, &signature, e) != SIGNER_SIGNED)
        return false;
    *der_out = local_tbs_signed(l, pool, tbs, signature);
    return true;
}

const struct backend_driver backend_local = {
    .name = "local",
    .keys = local_keys,
    .conf_size = sizeof(struct local_conf),
    .open = local_open,
    .close = local_close,
    .prepare = local_prepare,
    .submit = local_submit,
    .submit_is_idempotent = true,
    .revoke = local_revoke,
    .ca_chain = local_ca_chain,
    .sign_crl = local_sign_crl,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* finalize (RFC 8555 7.4): the CSR is parsed and judged on a worker, for every profile of the directory, so that one unit
 * can claim the order, join a seen CSR or commit the intent. A CA that is fast is waited for; the answer is `processing`
 * otherwise. A repeated finalize with the same CSR is answered with the order as it is. */
#include <stdlib.h>
#include "base/b64.h"
#include "base/log.h"
#include "http/endpoints.h"
#include "io/worker.h"
#include "policy/policy.h"
#include "schema/statements.h"

struct finalize {
    iov_t csr, csr_sha256, spki_sha256, issuance_id, job_id, backend;
    struct iovs names, ok_profiles;
    int64_t *window;
    struct ints windows;
    struct err *profile_err; /* beside directory->profile */
};

/* Statements of the unit, after the gate. */
enum { FIN_CLAIM = 1, FIN_JOIN, FIN_INTENT, FIN_EVENT, FIN_READ, FIN_WHY };

/* ---- judging the CSR ---- */

struct csr_job {
    struct worker_job job;
    pool_t pool;
    struct settings *settings;
    const struct settings_directory *directory;
    iov_t der, account_spki;
    struct pki_csr csr;
    struct err *profile_err;
    bool ok;
    struct err err;
};

static void csr_run(struct worker_job *j)
{
    struct csr_job *k = CONTAINER_OF(j, struct csr_job, job);
    k->ok = pki_csr_parse(&k->pool, k->der, &k->csr, &k->err);
    if (!k->ok)
        return;
    if (iov_eq(k->csr.spki, k->account_spki)) {
        k->ok = err_set(&k->err, ACME_BAD_CSR, "the CSR's key is the account key; a certificate needs one of its own");
        return;
    }
    k->profile_err = POOL_NEW(&k->pool, struct err, k->directory->n_profiles);
    for (size_t i = 0; i < k->directory->n_profiles; i++) {
        struct err *e = &k->profile_err[i];
        if (policy_csr(k->directory->profile[i], &k->csr, e))
            e->code = -1; /* acceptable */
    }
}

static void csr_free(struct csr_job *k)
{
    pki_key_unref(k->csr.key);
    settings_unref(k->settings);
    h2o_mem_clear_pool(&k->pool);
    free(k);
}

/* ---- the answer ---- */

static void finalize_read(struct call *c);

static void on_wait(struct store_wait *w, bool woken)
{
    struct call *c = CONTAINER_OF(w, struct call, wait);
    (void)woken;
    finalize_read(c);
}

static void wait_for(struct call *c, const struct acme_order *o)
{
    c->wait.id = o->id;
    c->wait.seen = iov_of(acme_status_name(o->status));
    c->wait.done = on_wait;
    uint64_t ms = (uint64_t)c->settings->times.finalize_wait_ms, wish = call_prefer_wait_ms(c);
    store_wait_start(c->task.loop, &c->wait, wish > ms ? wish : ms);
}

static void on_read_again(struct call *c, struct db_unit *u)
{
    struct acme_order o;
    if (ep_owned(c, store_order_decode(&c->task, u, 1, &o), o.account_id, "order"))
        ep_answer_order(c, 200, &o, store_order_backend(u, 1));
}

static void finalize_read(struct call *c)
{
    struct db_unit *u = call_unit(c);
    store_order_read(u, c->param[0]);
    call_run(c, u, on_read_again);
}

/* A ready order that was not claimed: something about the CSR or the authorizations is wrong; say what. */
static void refuse_ready(struct call *c, struct db_unit *u)
{
    const struct finalize *f = c->state;
    struct err e = ERR_INIT;
    struct iovs names = db_get_texts(u, FIN_WHY, 0, COL_order_why_not_names);
    struct iovs bad = db_get_texts(u, FIN_WHY, 0, COL_order_why_not_bad_authz);
    iov_t profile = db_get(u, FIN_WHY, 0, COL_order_why_not_profile);
    if (!c->gate.eab_ok) {
        call_refuse(c, ACME_UNAUTHORIZED, "the external account binding key \"%.*s\" is disabled or expired",
                    (int)c->gate.eab_kid.len, c->gate.eab_kid.base);
        return;
    }
    if (db_get_bool(u, FIN_WHY, 0, COL_order_why_not_blocked)) {
        call_refuse(c, ACME_BAD_CSR, "the CSR's key was reported as compromised");
        return;
    }
    if (policy_names_differ(&c->task.pool, &names, &f->names, &e)) {
        call_error(c, &e);
        return;
    }
    for (size_t i = 0; i < c->directory->n_profiles; i++) {
        if (iov_is(profile, c->directory->profile[i]->name) && f->profile_err[i].code != -1) {
            call_error(c, &f->profile_err[i]);
            return;
        }
    }
    if (settings_directory_profile(c->directory, profile) == NULL)
        call_refuse(c, ACME_INVALID_PROFILE, "profile %.*s is not offered any more; make a new order", (int)profile.len, profile.base);
    else if (bad.n > 0)
        call_refuse(c, ACME_ORDER_NOT_READY, "the authorization for %.*s is not valid any more", (int)bad.v[0].len, bad.v[0].base);
    else
        call_refuse(c, ACME_ORDER_NOT_READY, "the order changed meanwhile; read it again");
}

static void not_claimed(struct call *c, struct db_unit *u, const struct acme_order *o)
{
    const struct finalize *f = c->state;
    bool same = o->csr_sha256.base != NULL && iov_eq(o->csr_sha256, f->csr_sha256);
    if (same && o->status == ST_PROCESSING)
        wait_for(c, o);
    else if (same)
        ep_answer_order(c, 200, o, store_order_backend(u, FIN_READ));
    else if (o->csr_sha256.base != NULL)
        call_refuse(c, ACME_ORDER_NOT_READY, "the order was finalized with another CSR and is %s", acme_status_name(o->status));
    else if (o->status == ST_READY)
        refuse_ready(c, u);
    else
        call_refuse(c, ACME_ORDER_NOT_READY, "the order is %s, not ready", acme_status_name(o->status));
}

static void on_finalized(struct call *c, struct db_unit *u)
{
    struct finalize *f = c->state;
    struct acme_order o;
    if (!ep_owned(c, store_order_decode(&c->task, u, FIN_READ, &o), o.account_id, "order"))
        return;
    if (!db_get_bool(u, FIN_CLAIM, 0, COL_order_finalize_claimed)) {
        not_claimed(c, u, &o);
        return;
    }
    bool joined = db_rows(u, FIN_JOIN) > 0;
    log_info("order.finalize", KV_IOV("order", o.id), KV_IOV("issuance", store_order_issuance(u, FIN_READ)),
             KV_STR("joined", joined ? "yes" : "no"));
    if (db_rows(u, FIN_INTENT) > 0)
        store_job_born(c->task.loop, f->job_id, "issue", f->issuance_id);
    if (o.status == ST_PROCESSING)
        wait_for(c, &o);
    else
        ep_answer_order(c, 200, &o, store_order_backend(u, FIN_READ));
}

/* ---- the unit ---- */

static void claim(struct call *c)
{
    struct finalize *f = c->state;
    pool_t *pool = &c->task.pool;
    iov_t id = c->param[0];
    f->issuance_id = pki_random_id(pool);
    f->job_id = pki_random_id(pool);
    struct db_unit *u = call_unit(c);
    db_unit_lock_key(u, store_lock_key(c->account.id, id));
    q_order_finalize(u, id, c->account.id, f->names, f->csr_sha256, f->spki_sha256, f->ok_profiles);
    q_order_join(u, id, f->csr_sha256, f->ok_profiles, f->windows);
    q_issuance_insert(u, f->issuance_id, id, f->csr, f->csr_sha256, f->spki_sha256, f->ok_profiles, f->windows, f->job_id,
                      store_gateway());
    q_event_claimed(u, store_gateway(), iov_of(c->task.id), c->account.id, IOV("order"), id, IOV("finalize"),
                    iov_hex(pool, f->csr_sha256));
    store_order_read(u, id);
    q_order_why_not(u, id, f->spki_sha256);
    call_run(c, u, on_finalized);
}

static void on_csr(struct worker_job *j, struct task *t)
{
    struct csr_job *k = CONTAINER_OF(j, struct csr_job, job);
    if (t == NULL) {
        csr_free(k);
        return;
    }
    struct call *c = CALL_OF(t);
    struct finalize *f = c->state;
    pool_t *pool = &c->task.pool;
    if (!k->ok) {
        k->err.code = ACME_BAD_CSR;
        call_error(c, &k->err);
        csr_free(k);
        return;
    }
    size_t n = c->directory->n_profiles;
    f->csr_sha256 = pki_sha256_iov(pool, f->csr);
    f->spki_sha256 = iov_dup(pool, k->csr.spki_sha256);
    struct iovs names = policy_csr_names(&k->pool, &k->csr);
    for (size_t i = 0; i < names.n; i++)
        iovs_add(pool, &f->names, iov_dup(pool, names.v[i]));
    f->profile_err = POOL_NEW(pool, struct err, n);
    f->window = POOL_NEW(pool, int64_t, n);
    for (size_t i = 0; i < n; i++) {
        f->profile_err[i] = k->profile_err[i];
        if (k->profile_err[i].code != -1)
            continue;
        f->window[f->ok_profiles.n] = c->directory->profile[i]->join_window_s;
        iovs_add(pool, &f->ok_profiles, iov_of(c->directory->profile[i]->name));
    }
    f->windows = (struct ints){f->window, f->ok_profiles.n};
    csr_free(k);
    claim(c);
}

void ep_finalize(struct call *c)
{
    if (c->state != NULL) { /* verified a second time, after a key change elsewhere */
        claim(c);
        return;
    }
    struct finalize *f = POOL_NEW(&c->task.pool, struct finalize, 1);
    iov_t text = json_get_iov(c->payload, "csr");
    if (text.base == NULL || !b64_decode(&c->task.pool, text, &f->csr)) {
        call_refuse(c, ACME_MALFORMED, "\"csr\" must be the CSR's DER in base64url without padding (RFC 8555 7.4)");
        return;
    }
    c->state = f;
    struct csr_job *k = base_zalloc(sizeof(*k));
    h2o_mem_init_pool(&k->pool);
    k->job.run = csr_run;
    k->job.done = on_csr;
    k->settings = settings_ref(c->settings);
    k->directory = c->directory;
    k->der = iov_dup(&k->pool, f->csr);
    k->account_spki = pki_key_spki(&k->pool, c->key);
    if (!worker_submit(&c->task, &k->job)) {
        csr_free(k);
        call_retry_after(c, 1);
        call_refuse(c, ACME_UNAVAILABLE, "the gateway is busy; repeat the request");
    }
}

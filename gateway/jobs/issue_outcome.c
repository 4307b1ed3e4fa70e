/* SPDX-License-Identifier: Apache-2.0 */
/* The five answers of a CA as rows. A certificate is checked before any order turns valid; whatever is written goes in
 * one transaction that begins with the job's fence. */
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "io/worker.h"
#include "jobs/issuing.h"
#include "schema/statements.h"

#define BACKOFF_MOST_MS 300000
#define DETAIL_MOST 4000

static void event(struct job_run *r, struct db_unit *u, const char *what, iov_t detail)
{
    struct issuing *s = r->state;
    q_event_add(u, store_gateway(), iov_of(r->job.id), s->account_id, IOV("issuance"), s->id, iov_of(what), detail);
}

static void attempt_end(struct issuing *s, struct db_unit *u, const char *outcome)
{
    if (s->attempt_n > 0)
        q_attempt_end(u, s->id, s->attempt_n, iov_of(outcome), s->detail);
}

/* What a client and the ledger are told; the log's part stays in the log and the attempt row. */
static void say(struct issuing *s, const struct err *e)
{
    pool_t *pool = &s->run->task.pool;
    s->err = *e;
    struct problem_doc doc = {.err = *e};
    s->error_text = problem_text(pool, &doc);
    iov_t detail = iov_printf(pool, "%s%s%s", e->detail, e->cause[0] != '\0' ? "; " : "", e->cause);
    s->detail = iov_printable(pool, detail, DETAIL_MOST); /* a CA's words need not be UTF-8; the database wants it */
}

/* ---- refuse ---- */

static void refuse_build(struct job_run *r, struct db_unit *u)
{
    struct issuing *s = r->state;
    q_issuance_lock(u, s->id);
    attempt_end(s, u, "refuse");
    q_issuance_refused(u, s->id, s->error_text);
    s->stmt_orders = q_orders_refused(u, s->id, s->error_text);
    event(r, u, "refused", s->error_text);
}

static void wake_orders(struct db_unit *u, unsigned stmt)
{
    for (unsigned i = 0; i < db_rows(u, stmt); i++)
        store_wake(db_get(u, stmt, i, 0));
}

static void refuse_done(struct job_run *r, struct db_unit *u, bool ours)
{
    struct issuing *s = r->state;
    if (!ours)
        return;
    log_info("issuance.refused", KV_IOV("issuance", s->id), KV_IOV("backend", s->backend_name), KV_IOV("reason", s->detail));
    wake_orders(u, s->stmt_orders);
}

void issue_outcome_refuse(struct issuing *s, const struct err *e)
{
    say(s, e);
    job_commit(s->run, &(struct job_step){.fence = JOB_END, .build = refuse_build, .done = refuse_done});
}

/* ---- done ---- */

/* Parsing and checking a chain is worker's work; the job carries copies. */
struct check {
    struct worker_job job;
    pool_t pool;
    struct iovs chain, trust, names;
    struct policy_asked asked;
    uint8_t spki[32];
    struct pki_cert cert;
    bool ok;
    struct err err;
};

static void check_run(struct worker_job *j)
{
    struct check *c = CONTAINER_OF(j, struct check, job);
    c->ok = policy_certificate(&c->pool, &c->asked, &c->chain, &c->cert, &c->err);
}

/* Of the statements that may end the issuance each does something only if those before did not: a new certificate, one
 * that was handed out before, a refusal. */
static void done_build(struct job_run *r, struct db_unit *u)
{
    struct issuing *s = r->state;
    pool_t *pool = &r->task.pool;
    iov_t leaf = s->chain.v[0], sha256 = pki_sha256_iov(pool, leaf);
    q_issuance_lock(u, s->id);
    attempt_end(s, u, "done");
    s->stmt_certificate =
        q_certificate_insert(u, s->certificate_id, s->id, iov_of(backend_common(s->backend)->name), s->cert.serial, sha256,
                             s->cert.not_before, s->cert.not_after, leaf, s->chains_pem);
    s->stmt_orders = q_orders_issued(u, s->id, s->certificate_id);
    s->revoke_job = pki_random_id(pool);
    s->stmt_unwanted = q_certificate_unwanted(u, s->certificate_id, s->id, s->revoke_job, store_gateway());
    q_event_claimed(u, store_gateway(), iov_of(r->job.id), s->account_id, IOV("issuance"), s->id, IOV("issued"),
                    s->cert.serial);
    q_event_claimed(u, store_gateway(), iov_of(r->job.id), s->account_id, IOV("certificate"), s->certificate_id,
                    IOV("issued"), s->cert.serial);
    q_event_unclaimed(u, store_gateway(), iov_of(r->job.id), s->account_id, IOV("issuance"), s->id,
                      IOV("answered with a certificate seen before"), s->cert.serial);
    s->stmt_adopted = q_certificate_adopt(u, s->id, sha256);
    q_issuance_refused(u, s->id, s->error_text);
    s->stmt_refused = q_orders_refused(u, s->id, s->error_text);
}

static void done_done(struct job_run *r, struct db_unit *u, bool ours)
{
    struct issuing *s = r->state;
    if (!ours)
        return;
    const char *backend = backend_common(s->backend)->name;
    bool unwanted = db_rows(u, s->stmt_unwanted) > 0;
    log_info("issuance.done", KV_IOV("issuance", s->id), KV_STR("backend", backend), KV_IOV("certificate", s->certificate_id),
             KV_IOV("serial", s->cert.serial), KV_STR("unwanted", unwanted ? "yes" : "no"));
    store_latency_note(backend, (int64_t)(loop_now_ms(r->task.loop) - s->called_ms) + s->age_s * 1000);
    wake_orders(u, s->stmt_orders);
    wake_orders(u, s->stmt_adopted);
    wake_orders(u, s->stmt_refused);
    if (db_rows(u, s->stmt_certificate) == 0)
        log_warn("issuance.seen_certificate", KV_IOV("issuance", s->id), KV_STR("backend", backend),
                 KV_IOV("serial", s->cert.serial), KV_INT("orders", db_rows(u, s->stmt_adopted)),
                 KV_STR("reason", "the CA handed out a certificate that it had issued before"));
    if (unwanted)
        store_job_born(r->task.loop, s->revoke_job, "revoke", s->certificate_id);
}

static iov_t chain_pem(pool_t *pool, iov_t leaf, const struct iovs *issuers, size_t from)
{
    struct sbuf b;
    sbuf_init(&b, pool);
    sbuf_add(&b, pki_der_to_pem(pool, "CERTIFICATE", leaf));
    for (size_t i = from; i < issuers->n; i++)
        sbuf_add(&b, pki_der_to_pem(pool, "CERTIFICATE", issuers->v[i]));
    return b.text;
}

static void unfit(struct issuing *s, const struct err *e)
{
    struct err told = ERR_INIT;
    err_set(&told, ACME_SERVER_INTERNAL, "the CA returned a certificate that is not what was asked for: %s", e->detail);
    err_cause(&told, "%s; certificate %.*s", e->cause, (int)s->cert.serial.len, s->cert.serial.base ? s->cert.serial.base : "");
    log_error("issuance.unfit", KV_IOV("issuance", s->id), KV_STR("backend", backend_common(s->backend)->name),
              KV_IOV("serial", s->cert.serial), KV_STR("reason", e->detail),
              KV_STR("fix", "compare the CA's profile with the gateway's; revoke that certificate at the CA"));
    issue_outcome_refuse(s, &told);
}

static void check_done(struct worker_job *j, struct task *t)
{
    struct check *c = CONTAINER_OF(j, struct check, job);
    if (t != NULL) {
        struct issuing *s = JOB_OF(t)->state;
        s->cert = c->cert;
        s->cert.serial = c->cert.serial.base != NULL ? iov_dup(&t->pool, c->cert.serial) : IOV_NULL;
        if (c->ok)
            job_commit(s->run, &(struct job_step){.fence = JOB_END, .build = done_build, .done = done_done});
        else
            unfit(s, &c->err);
    }
    h2o_mem_clear_pool(&c->pool);
    free(c);
}

static struct iovs copy_list(pool_t *pool, const struct iovs *from)
{
    struct iovs to = {0};
    for (size_t i = 0; from != NULL && i < from->n; i++)
        iovs_add(pool, &to, iov_dup(pool, from->v[i]));
    return to;
}

static void check_start(struct issuing *s)
{
    struct check *c = base_zalloc(sizeof(*c));
    h2o_mem_init_pool(&c->pool);
    c->job.run = check_run;
    c->job.done = check_done;
    c->chain = copy_list(&c->pool, &s->chain);
    c->trust = copy_list(&c->pool, backend_trust(s->backend));
    c->names = copy_list(&c->pool, &s->names);
    iovs_sort(&c->names); /* policy compares sorted lists */
    const struct settings_profile *p = settings_profile(s->run->settings, s->profile);
    c->asked = (struct policy_asked){.spki_sha256 = iov_dup(&c->pool, s->spki_sha256), .names = &c->names,
                                     .not_before = s->not_before, .not_after = s->not_after,
                                     .lifetime_s = p != NULL ? p->lifetime_ms / 1000 : 0, .now = clock_unix_s(),
                                     .trust = &c->trust};
    if (!worker_submit(&s->run->task, &c->job)) { /* all threads are behind: this one waits its turn here */
        check_run(&c->job);
        check_done(&c->job, &s->run->task);
    }
}

static void answer_done(struct issuing *s, const struct issue_answer *a)
{
    pool_t *pool = &s->run->task.pool;
    struct err seen = ERR_INIT;
    err_set(&seen, ACME_SERVER_INTERNAL, "the CA handed out a certificate that is revoked or another account's");
    say(s, &seen); /* written only if that is so */
    s->chain = copy_list(pool, &a->chain);
    s->certificate_id = pki_random_id(pool);
    s->detail = IOV_NULL;
    iovs_add(pool, &s->chains_pem, chain_pem(pool, s->chain.v[0], &s->chain, 1));
    for (size_t i = 0; i < a->alternates.n; i++)
        iovs_add(pool, &s->chains_pem, chain_pem(pool, s->chain.v[0], &a->alternates.chains[i], 0));
    check_start(s);
}

/* ---- wait, retry, unknown: the same issuance again, later ---- */

static void later_build(struct job_run *r, struct db_unit *u)
{
    struct issuing *s = r->state;
    attempt_end(s, u, issue_result_names[s->result]);
    q_issuance_later(u, s->id, s->next_state, s->next_backend, s->next_prepared, s->next_cookie, s->error_text);
    if (s->result == ISSUE_WAIT)
        q_orders_hint(u, s->id, s->wait_s);
    event(r, u, issue_result_names[s->result], s->detail);
}

static void later_done(struct job_run *r, struct db_unit *u, bool ours)
{
    struct issuing *s = r->state;
    (void)u;
    if (ours)
        log_info("issuance.later", KV_IOV("issuance", s->id), KV_STR("answer", issue_result_names[s->result]),
                 KV_IOV("state", s->next_state), KV_IOV("next", s->next_backend), KV_IOV("reason", s->detail));
}

static void later(struct issuing *s, int64_t in_ms, bool parked)
{
    job_commit(s->run, &(struct job_step){.fence = JOB_LATER, .in_ms = in_ms, .error = s->error_text, .parked = parked,
                                          .build = later_build, .done = later_done});
}

static void answer_wait(struct issuing *s, const struct issue_answer *a)
{
    s->wait_s = a->wait_s > 0 ? a->wait_s : 1;
    s->next_state = IOV("waiting");
    s->next_cookie = iov_dup(&s->run->task.pool, a->cookie);
    later(s, s->wait_s * 1000, false);
}

/* Certainly not issued: the route's next backend at once, after the last one a pause and the first again. */
static void answer_retry(struct issuing *s, const struct err *e)
{
    size_t at = 0;
    say(s, e);
    while (at < s->backends.n && !iov_eq(s->backends.v[at], s->backend_name))
        at++;
    bool last = at + 1 >= s->backends.n;
    s->next_state = IOV("retry");
    if (s->backends.n > 1) {
        s->next_backend = s->backends.v[last ? 0 : at + 1];
        s->next_prepared = IOV_NULL; /* it was fixed for the other backend */
    }
    int64_t wait = last ? job_backoff_ms(s->run->job.tries / (int64_t)(s->backends.n ? s->backends.n : 1), BACKOFF_MOST_MS) : 0;
    if (e->retry_after_s * 1000LL > wait && last)
        wait = e->retry_after_s * 1000LL;
    later(s, wait, false);
}

void issue_outcome_unknown(struct issuing *s, const struct err *e)
{
    const struct backend_driver *d = backend_driver(s->backend);
    const struct backend_common *b = backend_common(s->backend);
    s->result = ISSUE_UNKNOWN;
    s->next_backend = s->backend_name;
    s->next_prepared = s->prepared;
    s->next_cookie = s->cookie;
    say(s, e);
    if (d->submit_is_idempotent || (d->poll == NULL && b->on_unknown == ON_UNKNOWN_RESUBMIT)) {
        s->next_state = IOV("retry");
        later(s, s->run->job.tries == 0 ? 0 : job_backoff_ms(s->run->job.tries, BACKOFF_MOST_MS), false);
    } else if (d->poll != NULL) {
        s->next_state = IOV("waiting");
        later(s, job_backoff_ms(s->run->job.tries, BACKOFF_MOST_MS) / 2, false);
    } else {
        s->next_state = IOV("held");
        log_error("issuance.held", KV_IOV("issuance", s->id), KV_STR("backend", b->name), KV_IOV("reason", s->detail),
                  KV_STR("fix", "ask the CA whether it issued; then porticoctl issuance show"));
        later(s, 0, true);
    }
}

void issue_outcome_answer(struct issuing *s, const struct issue_answer *a)
{
    s->result = a->result;
    s->next_backend = s->backend_name;
    s->next_prepared = s->prepared;
    s->next_cookie = IOV_NULL;
    switch (a->result) {
    case ISSUE_DONE:
        answer_done(s, a);
        break;
    case ISSUE_WAIT:
        answer_wait(s, a);
        break;
    case ISSUE_REFUSE:
        issue_outcome_refuse(s, &a->err);
        break;
    case ISSUE_RETRY:
        answer_retry(s, &a->err);
        break;
    case ISSUE_UNKNOWN:
        issue_outcome_unknown(s, &a->err);
        break;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One run of an issuance job: shared by job_issue.c (load, decide, call the driver) and issue_outcome.c (what became of
 * the call, written down). */
#ifndef PORTICO_ISSUING_H
#define PORTICO_ISSUING_H

#include "acme/problem.h"
#include "io/pki.h"
#include "jobs/job_runner.h"
#include "policy/policy.h"

struct issuing {
    struct job_run *run;
    /* from the row */
    iov_t id, account_id, directory, profile, csr, csr_sha256, spki_sha256, prepared, cookie, state, why;
    struct iovs names, backends;
    iov_t backend_name;
    int64_t not_before, not_after, attempts, age_s;
    bool live, eligible, cut_off;
    /* the call under way */
    struct backend *backend;
    const char *op;          /* "submit" or "poll" */
    int64_t attempt_n;       /* of the committed attempt row; 0: none */
    unsigned built, stmt_attempt; /* how often the unit that commits it was made; its statement there */
    struct issue *issue;     /* NULL: none */
    struct loop_timer guard; /* gives up a driver that does not answer */
    uint64_t called_ms;
    /* what is to be written */
    enum issue_result result;
    struct err err;
    iov_t error_text, detail;
    int64_t wait_s;
    iov_t next_state, next_backend, next_prepared, next_cookie;
    struct pki_cert cert;
    struct iovs chain;       /* DER, leaf first */
    struct iovs chains_pem;
    iov_t certificate_id, revoke_job;
    unsigned stmt_certificate, stmt_adopted, stmt_orders, stmt_unwanted, stmt_refused; /* of the unit that ends it */
};

/* The issue a driver works on: its own task, so that a driver that never answers can be left behind. */
struct issue_call {
    struct issue issue;
    struct issuing *of; /* NULL: left behind */
};

/* Ends an issuance that was certainly not issued: orders become invalid with err. */
void issue_outcome_refuse(struct issuing *s, const struct err *e);
/* A call ended; s->issue->answer holds the answer. */
void issue_outcome_answer(struct issuing *s, const struct issue_answer *a);
/* A call ended, or was cut off, without anybody knowing what the CA did. */
void issue_outcome_unknown(struct issuing *s, const struct err *e);

#endif

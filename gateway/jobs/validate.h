/* SPDX-License-Identifier: Apache-2.0 */
/* One try of one challenge (RFC 8555 section 8). A method is a file validate_NAME.c and a line in
 * validate.def; it resolves, connects, compares and answers once. Retries, states and rows are the job's
 * (job_validate.c). */
#ifndef PORTICO_VALIDATE_H
#define PORTICO_VALIDATE_H

#include "acme/problem.h"
#include "io/fetch.h"
#include "io/task.h"
#include "policy/settings.h"

struct validation {
    struct task task;
    const struct settings *settings;
    const struct netset *deny;   /* validation.deny minus validation.allow; NULL: nothing denied */
    struct ident ident;          /* without "*." */
    iov_t token;
    iov_t key_authorization;     /* token.thumbprint */
    json_t *tried;               /* array the method appends to: {"url"|"record","address","port","resolver",
                                  * "status","location","error"} per thing looked at; kept with the row */
    void *method_state;          /* in task.pool */
    bool transient;              /* set before a failure that another try may mend */
    void (*answered)(struct validation *v, bool ok, const struct err *e);
    struct validation_answer {   /* private */
        struct loop_msg msg;
        bool given, ok;
        struct err err;
    } answer;
};

struct validate_method {
    const char *name;            /* "http-01" */
    bool wildcard, ip;           /* can prove these */
    void (*run)(struct validation *v);
};
/* Indexed by enum challenge_type; run is NULL for one that is not built in. */
extern const struct validate_method validate_methods[];

/* The answer of a try, exactly one; the continuation runs on a later turn unless the task is over. */
void validation_ok(struct validation *v);
/* e->code: connection, dns, incorrectResponse, tls, serverInternal. transient: worth another try (no
 * connection, a time-out, SERVFAIL), said in v->transient. */
void validation_failed(struct validation *v, const struct err *e);

/* ---- for the methods ---- */
/* Starts an entry of v->tried, which owns it; a string member that is absent (IOV_NULL) is left out. */
json_t *validation_tried(struct validation *v, const char *kind, iov_t what);
void validation_tried_put(json_t *entry, const char *key, iov_t value);

void validate_http01_run(struct validation *v);
void validate_dns01_run(struct validation *v);

/* ---- their decisions without I/O, for tests and fuzzing ---- */
/* RFC 8555 8.3: status 200 and the key authorization, white space after it ignored. e: incorrectResponse, the
 * detail goes on from "URL answered ". */
bool validate_http01_judge(pool_t *pool, iov_t key_authorization, int status, iov_t body,
                           struct err *e) MUST_CHECK;
/* Where a redirect leads: http or https, port 80, 443 or a configured one. e: incorrectResponse. */
bool validate_http01_redirect(pool_t *pool, const struct settings_validation *cfg, iov_t from, iov_t location,
                              struct fetch_url *out, struct err *e) MUST_CHECK;
/* RFC 8555 8.4: what the TXT record must hold. */
iov_t validate_dns01_value(pool_t *pool, iov_t key_authorization);

#endif

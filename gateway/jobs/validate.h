/* SPDX-License-Identifier: Apache-2.0 */
/* One try of one challenge (RFC 8555 section 8). A method is a file validate_NAME.c and a line in validate.def; it
 * resolves, connects, compares and answers once. Retries, states and rows are the job's (job_validate.c). */
#ifndef PORTICO_VALIDATE_H
#define PORTICO_VALIDATE_H

#include "acme/problem.h"
#include "io/fetch.h"
#include "io/task.h"
#include "policy/settings.h"

struct validation {
    struct task task;
    const struct settings *settings;
    const struct netset *deny;   /* validation.deny minus allow, parsed once; NULL: nothing denied */
    struct ident ident;          /* without "*." */
    iov_t token;
    iov_t key_authorization;     /* token.thumbprint */
    json_t *tried;               /* array the method appends to: {"url"|"record","address","port","resolver","status",
                                  * "error"} per thing looked at; kept with the challenge */
    void *method_state;          /* in task.pool */
    void (*answered)(struct validation *v, bool ok, const struct err *e);
};

struct validate_method {
    const char *name;            /* "http-01" */
    bool wildcard, ip;           /* can prove these */
    void (*run)(struct validation *v);
};
/* Indexed by enum challenge_type; run is NULL for one that is not built in. */
extern const struct validate_method validate_methods[];

/* The answer of a try; the continuation runs on a later turn. */
void validation_ok(struct validation *v);
/* e->code: connection, dns, incorrectResponse, tls, unauthorized, serverInternal. transient: worth another try (no
 * connection, a time-out, SERVFAIL), said in v->transient. */
void validation_failed(struct validation *v, const struct err *e);

#endif

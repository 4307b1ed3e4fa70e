/* SPDX-License-Identifier: Apache-2.0 */
/* Problem documents (RFC 7807) with the types of RFC 8555 section 6.7: one table, problem.def. struct err's code is an
 * enum problem. */
#ifndef PORTICO_PROBLEM_H
#define PORTICO_PROBLEM_H

#include "acme/ident.h"
#include "base/json.h"

enum problem {
#define PROBLEM(id, name, status, text) ACME_##id,
#include "acme/problem.def"
#undef PROBLEM
    ACME_PROBLEM_COUNT
};

/* One subproblem (RFC 8555 section 6.7.1). */
struct subproblem {
    struct ident ident;
    iov_t other_type; /* of an identifier that is neither dns nor ip, as the client named it; IOV_NULL: ident's */
    struct err err;
};
struct problem_doc {
    struct err err;
    const struct subproblem *subs;
    size_t n_subs;
    iov_t instance;         /* request id; IOV_NULL: none */
    bool list_algorithms;   /* badSignatureAlgorithm: adds "algorithms" */
};
int problem_status(int code);
const char *problem_name(int code);  /* "badCSR"; NULL for types outside the registry */
/* Full type: urn:ietf:params:acme:error:NAME or about:blank. */
const char *problem_type(int code);
/* A new reference. */
json_t *problem_json(const struct problem_doc *doc);
/* The stored form of an error on an order or challenge: {"type","detail"[,"subproblems"]} as compact text. */
iov_t problem_text(pool_t *pool, const struct problem_doc *doc);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoint functions of endpoint.def, and the answers that several of them share. */
#ifndef PORTICO_ENDPOINTS_H
#define PORTICO_ENDPOINTS_H

#include "http/call.h"
#include "io/pki.h"

#define ENDPOINT(name, pattern, methods, key, payload, fn) call_fn fn;
#include "http/endpoint.def"
#undef ENDPOINT

/* 200 or 201 with the account object. */
void ep_answer_account(struct call *c, int status, const struct acme_account *a);
/* The order object with Location and, while it is pending or processing, Retry-After. */
void ep_answer_order(struct call *c, int status, const struct acme_order *o, iov_t backend);
/* True when the row exists and is the caller's; else the call is answered: 404, or unauthorized for another account's. */
bool ep_owned(struct call *c, bool exists, iov_t owner, const char *what) MUST_CHECK;
/* The profile's challenge types that this gateway can validate, as names. */
struct iovs ep_challenge_types(struct call *c, const struct settings_profile *p);
/* Can one of the types prove this identifier? */
bool ep_provable(const struct iovs *types, const struct ident *id);
/* n random ids (22 characters each): for rows that are made. */
struct iovs ep_random_ids(struct call *c, size_t n);
/* A member; NULL when absent or null. */
json_t *ep_member(const json_t *payload, const char *key);
/* A boolean member; absent or of another type: false. */
bool ep_true(const json_t *payload, const char *key);

#endif

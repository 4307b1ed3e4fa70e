/* SPDX-License-Identifier: Apache-2.0 */
/* One request: what came, what the gate found out, and the ways to answer. A call is a task that outlives the
 * connection: when the client leaves, its work is finished all the same and the answer dropped. */
#ifndef PORTICO_CALL_H
#define PORTICO_CALL_H

#include "acme/jws.h"
#include "acme/problem.h"
#include "http/account_cache.h"
#include "io/serve.h"
#include "policy/settings.h"
#include "store/store_account.h"
#include "store/store_job.h"
#include "store/store_order.h"

struct call;
typedef void call_fn(struct call *c);
typedef void call_unit_fn(struct call *c, struct db_unit *u);

enum key_rule { KEY_NONE, KEY_JWK, KEY_KID, KEY_EITHER };
enum method { METHOD_GET = 1, METHOD_HEAD = 2, METHOD_POST = 4 };

/* A resource: one line of endpoint.def. */
struct endpoint {
    const char *name;
    const char *pattern; /* below /acme/DIRECTORY/; '*' stands for one segment */
    unsigned methods;
    enum key_rule key;
    bool takes_payload;  /* false: POST-as-GET only (RFC 8555 6.3) */
    call_fn *run;
};

struct call {
    struct task task;
    struct serve_req *req;              /* NULL: the client has gone, or was answered */
    struct settings *settings;
    const struct endpoint *endpoint;
    const struct settings_directory *directory;
    struct acme_urls urls;
    iov_t param[2];                     /* what the '*' matched */
    iov_t method, path, body, peer;     /* copies: the request may go first */
    /* set by the gate */
    struct jws jws;
    bool has_jws;
    bool verified;                      /* the signature is good: refusals spend the nonce and are recorded */
    json_t *payload;                    /* NULL: empty payload */
    struct pki_key *key;                /* what verified it */
    bool key_cached;                    /* it may have been changed elsewhere since */
    struct jwk jwk;                     /* KEY_JWK */
    iov_t thumbprint;
    struct acme_account account;        /* KEY_KID */
    iov_t eab_policy;
    struct store_pass pass;
    struct store_gate_result gate;      /* of the last unit */
    unsigned gate_reruns;
    call_unit_fn *then;                 /* private */
    /* for the endpoint */
    struct store_wait wait;
    void *state;
    struct { const char *name; iov_t value; } header[12];
    size_t n_headers;
    uint64_t began_ms;
};
#define CALL_OF(taskp) CONTAINER_OF((taskp), struct call, task)

/* ---- units ---- */
/* A unit whose statement 0 is the gate. */
struct db_unit *call_unit(struct call *c);
/* Runs it; then(c, u) follows only if the gate passed. Otherwise the call is answered (badNonce, unauthorized), or, if the
 * account has changed at another gateway, the request is verified again and the endpoint started afresh, once. */
void call_run(struct call *c, struct db_unit *u, call_unit_fn *then);
struct store_actor call_actor(const struct call *c);

/* ---- answers: each ends the call ---- */
void call_header(struct call *c, const char *name, iov_t value); /* copied */
/* body is consumed (decref). */
void call_json(struct call *c, int status, json_t *body);
void call_bytes(struct call *c, int status, const char *type, iov_t body);
void call_empty(struct call *c, int status);
/* A problem. After verification the nonce is spent and the refusal recorded first. */
void call_problem(struct call *c, const struct problem_doc *doc);
void call_error(struct call *c, const struct err *e);
void call_refuse(struct call *c, int code, const char *fmt, ...) PRINTF_FMT(3, 4);

void call_link_index(struct call *c);
void call_location(struct call *c, iov_t url);
void call_retry_after(struct call *c, unsigned seconds);
/* Prefer: wait=N (RFC 7240), cut at times.poll_wait_max; 0: none. Milliseconds. */
uint64_t call_prefer_wait_ms(const struct call *c);

/* ---- start ---- */
/* per-loop state behind loop_svc()->app */
struct http_loop {
    struct account_cache *accounts;
    uint64_t requests, problems;
};
struct http_loop *call_loop(const struct call *c);
/* gate.c: content type, JWS, url, nonce, key, signature, payload; then endpoint->run. */
void gate_start(struct call *c);
/* From the account's key on: it was changed at another gateway. */
void gate_again(struct call *c);
/* Ties a new call to its request. */
void call_begin(struct call *c, struct serve_req *r);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The driver contract: the only header a driver needs beside io/{fetch,worker,pki,pack,loop}.h and base. A driver knows
 * no ACME, no SQL, no threads of its own. Every call ends in exactly one of five answers, at once or later, on the loop
 * it was called on:
 *   done    the chain, leaf first
 *   wait    ask me again in N seconds, with this cookie
 *   refuse  final: the order becomes invalid with the CA's reason
 *   retry   certainly not issued: try again, or the route's next backend
 *   unknown cannot tell (anything after the first byte of a submission left): poll finds out, or on_unknown decides
 * The caller commits an attempt row before each submit or poll, and its deadline ends before the gateway's lease. */
#ifndef PORTICO_BACKEND_H
#define PORTICO_BACKEND_H

#include "base/conf.h"
#include "io/task.h"

struct backend;
struct backend_crl;

/* What is to be issued. Lives in its task; driver calls read it and never change it. */
struct issue {
    struct task task;        /* loop, pool, id = the issuance id (22 characters, stable over every try) */
    struct backend *backend;
    iov_t csr_der;           /* checked already: signature, key, names */
    struct iovs dns, ips;    /* validated identifiers; wildcards as "*.example" */
    const char *profile;     /* ACME profile name; its certificate contents are the driver's config */
    int64_t not_before, not_after; /* requested, unix seconds; 0: the profile decides */
    int64_t lifetime_s;      /* of the profile */
    iov_t prepared;          /* what prepare fixed, committed; IOV_NULL in prepare itself */
    iov_t cookie;            /* of the last wait; IOV_NULL if none */
    int64_t deadline_ms;     /* loop_now_ms() at which the caller gives this call up */
    unsigned attempt;        /* 1.. over all calls of this issuance */
    void *driver_state;      /* the driver's own, in task.pool */
    void (*answered)(struct issue *i); /* private: the job runner's continuation */
    struct issue_answer *answer;       /* private */
};

enum issue_result { ISSUE_DONE, ISSUE_WAIT, ISSUE_REFUSE, ISSUE_RETRY, ISSUE_UNKNOWN };
extern const char *const issue_result_names[];

struct issue_answer {
    enum issue_result result;
    struct iovs chain;      /* DONE: DER, leaf first, without the root */
    struct { struct iovs *chains; size_t n; } alternates; /* DONE: other chains for the same leaf (each without leaf) */
    unsigned wait_s;        /* WAIT */
    iov_t cookie;           /* WAIT */
    struct err err;         /* REFUSE, RETRY, UNKNOWN */
};

/* The five answers. Exactly one per call; a second one is an assertion failure. Bytes are copied. They may be called
 * inside submit/poll: the continuation still runs on a later turn. */
void issue_done(struct issue *i, const struct iovs *chain_ders);
void issue_done_alternate(struct issue *i, const struct iovs *issuers_ders); /* before issue_done, for each */
void issue_wait(struct issue *i, unsigned seconds, iov_t cookie);
void issue_refuse(struct issue *i, const struct err *e);
void issue_retry(struct issue *i, const struct err *e);
void issue_unknown(struct issue *i, const struct err *e);

/* A revocation to carry out. One of: revoke_done, revoke_retry, revoke_refuse. */
struct revoke {
    struct task task;
    struct backend *backend;
    iov_t cert_der, serial;  /* serial: upper-case hex */
    int reason;              /* RFC 5280 5.3.1 */
    int64_t revoked_at;      /* unix seconds */
    void (*answered)(struct revoke *r);
    enum { REVOKE_DONE, REVOKE_RETRY, REVOKE_REFUSE } result;
    struct err err;
    bool given;              /* private */
};
void revoke_done(struct revoke *r);
void revoke_retry(struct revoke *r, const struct err *e);
void revoke_refuse(struct revoke *r, const struct err *e);

/* A driver: one const object per driver, named backend_NAME, one line in registry.def. */
struct backend_driver {
    const char *name;
    const struct conf_key *keys; /* the driver's own rows; name/driver/timeout/on_unknown/... are the registry's */
    size_t conf_size;
    /* Checks the configuration and acquires state (threads not yet running). False: e says file:line and the fix. */
    bool (*open)(struct backend *b, struct err *e);
    void (*close)(struct backend *b);
    /* Fixes what must not change between tries: returns bytes in i->task.pool (serial, validity, transaction id).
     * Synchronous, no I/O. NULL slot: nothing to fix. */
    bool (*prepare)(struct issue *i, iov_t *prepared_out, struct err *e);
    void (*submit)(struct issue *i); /* mandatory */
    void (*poll)(struct issue *i);   /* after wait; or, with no cookie, to find out about a lost call. NULL: cannot */
    bool submit_is_idempotent;       /* submit with the same prepared bytes may simply be repeated after a lost call */
    void (*revoke)(struct revoke *r); /* NULL: cannot */
    /* CA certificates for clients and for checks: DER list, issuing CA first; in pool. NULL: unknown. */
    bool (*ca_chain)(struct backend *b, pool_t *pool, struct iovs *ders_out, struct err *e);
    /* Optional: a CRL signer. entries are sorted by serial. Worker thread; DER into pool. */
    bool (*sign_crl)(struct backend *b, pool_t *pool, const struct backend_crl *crl, iov_t *der_out, struct err *e);
};

struct backend_crl {
    int64_t number, this_update, next_update;
    const struct backend_crl_entry { iov_t serial; int64_t revoked_at; int reason; } *entries;
    size_t n;
};

enum on_unknown { ON_UNKNOWN_HOLD, ON_UNKNOWN_RESUBMIT };
/* What every backend has, whatever its driver. */
struct backend_common {
    const char *name, *driver;
    int64_t timeout_ms;
    int on_unknown;
    const char *revoke_via;  /* another backend that can revoke; "operator": listed for a person; NULL: itself */
    const char *trust;       /* PEM file of roots that what it issues must chain to; NULL: what ca_chain says */
};

/* All configured backends. Opened before the loops start (drivers may spawn a process), read-only afterwards. */
struct backends;
struct backends *backends_open(struct conf *c, const struct conf_node *seq, struct err *e) MUST_CHECK;
void backends_close(struct backends *bs);
struct backend *backends_find(const struct backends *bs, const char *name);
size_t backends_count(const struct backends *bs);
struct backend *backends_at(const struct backends *bs, size_t i);
const struct backend_common *backend_common(const struct backend *b);
const struct backend_driver *backend_driver(const struct backend *b);
void *backend_conf(const struct backend *b);   /* the driver's struct, filled from its rows */
void *backend_state(const struct backend *b);  /* what open set */
void backend_set_state(struct backend *b, void *state);
/* Trust anchors (DER) that this backend's certificates must chain to; empty: unknown. */
const struct iovs *backend_trust(const struct backend *b);

/* For a driver's open: where its section stands, for rows of its own in nested mappings. */
struct conf *backend_source(const struct backend *b);
const struct conf_node *backend_node(const struct backend *b);
/* "file:line: backend "name": ..." about the section as a whole. Returns false. */
bool backend_error(const struct backend *b, struct err *e, const char *fmt, ...) PRINTF_FMT(3, 4);
/* The certificates of a PEM file as DER in pool, at least one. Blocking: for open only. */
bool backend_read_certs(pool_t *pool, const char *path, struct iovs *ders_out, struct err *e) MUST_CHECK;

#endif

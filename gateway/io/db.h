/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL through libpq's pipeline mode, with group commit. A unit is the statements of one request or job step;
 * all units that wait when the connection becomes free go into one pipeline sync = one transaction = one commit.
 * Contract (design.md section 5):
 *  - Statements of a unit run in order, each with a fresh snapshot (READ COMMITTED), inside the batch's transaction.
 *    They cannot branch in C; they branch in SQL: statement `gate` (or a claim) sets the transaction-local settings
 *    portico.pass / portico.claim to 'y' or 'n', later statements ask the SQL functions pass() / claimed().
 *  - No callback before the sync: what a callback sees is durable.
 *  - First statement of a batch: nonce_spend with every unit's nonce, sorted, ON CONFLICT DO NOTHING. A nonce row
 *    carries its unit's tag; a unit finds out in its gate statement whether the nonce is its own.
 *  - Units are sorted by lock_key inside a batch. lock_timeout 500 ms.
 *  - After an error that the server reported the members are re-run one by one on the spare connection; a unit that
 *    fails alone fails its task: serverInternal (503 with Retry-After for 55P03, 40P01, 40001, 57xxx, 53xxx, 08xxx).
 *  - After a lost connection units whose batch was sent fail with 503 "uncertain", never re-run; units that were not
 *    sent wait for the reconnect up to their deadline (5 s). */
#ifndef PORTICO_DB_H
#define PORTICO_DB_H

#include "io/task.h"

/* One statement of schema/queries, generated at build time (schema/statements.h: enum stmt, db_stmts[]). */
struct db_stmt {
    const char *name; /* also the prepared statement's name */
    const char *sql;  /* $1..$n */
    unsigned n_params;
    const char *const *param_types; /* PostgreSQL type names, for error messages and checks */
    const unsigned *param_oids;     /* for PQsendPrepare; 0 = let the server infer */
    const char *file;               /* where it was written, "orders.sql:12" */
};

struct db_config {
    const char *url;             /* libpq connection string, several hosts allowed */
    const struct db_stmt *stmts; /* table and size: prepared on each connection */
    size_t n_stmts;
    int nonce_stmt;              /* index of nonce_spend: params (text[] nonces, bytea[]-as-text[] tags, int[] slots); -1: none */
    unsigned batch_max;          /* units per sync; 0: 64 */
    int code_unavailable;          /* err.code of what may be repeated (503, Retry-After); 0: serverInternal */
    unsigned lock_timeout_ms;      /* 0: 500 */
    unsigned statement_timeout_ms; /* 0: 10000; a server silent for 5 s longer counts as lost */
    unsigned wait_ms;              /* how long a unit waits to be sent; 0: 5000 */
};

/* Opens the loop's two connections in the background (libpq's connect on a short-lived thread, so that neither name
 * look-up nor a silent host holds up the loop) and sets loop_svc(l)->db. cfg must outlive it. */
void db_start(struct loop *l, const struct db_config *cfg);
/* Fails what waits, closes. Turn the loop once afterwards. */
void db_stop(struct loop *l);
/* Units are being run: one of the two connections is enough. Any thread. */
bool db_is_up(const struct db *db);

struct db_stats {
    uint64_t units;       /* finished: stored */
    uint64_t statements;  /* sent for units, the batches' nonce_spend included */
    uint64_t batches;     /* of units that waited */
    uint64_t syncs;       /* round trips: batches and re-runs */
    uint64_t commits;     /* syncs that the server committed; units / commits is what group commit is worth */
    uint64_t reruns;      /* units queued for the spare connection */
    uint64_t reconnects;  /* connections that came back */
    uint64_t errors;      /* units that failed */
    uint64_t uncertain;   /* of these: sent, answer lost */
    uint64_t connections; /* usable at the moment: 0 to 2 */
};
/* Counters of one loop's db; read from any thread (may be slightly stale). */
struct db_stats db_get_stats(const struct db *db);

/* A parameter; bytes are borrowed until the unit's callback. Text must be UTF-8 without NUL: a unit that breaks this
 * fails alone, before anything is sent. */
struct db_param {
    enum { DB_P_NULL, DB_P_TEXT, DB_P_INT, DB_P_BOOL, DB_P_BYTEA, DB_P_TEXT_ARRAY, DB_P_INT_ARRAY } type;
    union {
        iov_t s;
        int64_t n;
        bool b;
        struct { const iov_t *v; size_t n; } texts; /* an element with base NULL is SQL NULL */
        struct { const int64_t *v; size_t n; } ints;
    } v;
};
#define DB_NULL ((struct db_param){.type = DB_P_NULL})
#define DB_TEXT(x) db_text(x)                                              /* an IOV_NULL becomes NULL */
#define DB_INT(x) ((struct db_param){.type = DB_P_INT, .v.n = (x)})
#define DB_BOOL(x) ((struct db_param){.type = DB_P_BOOL, .v.b = (x)})
#define DB_BYTEA(x) db_bytea(x)                                            /* an IOV_NULL becomes NULL */
#define DB_TEXTS(vec, cnt) ((struct db_param){.type = DB_P_TEXT_ARRAY, .v.texts = {(vec), (cnt)}})
#define DB_INTS(vec, cnt) ((struct db_param){.type = DB_P_INT_ARRAY, .v.ints = {(vec), (cnt)}})
struct db_param db_text(iov_t s);
struct db_param db_bytea(iov_t s);

struct db_unit;
typedef void db_cb(struct task *t, struct db_unit *u);

/* A unit in t's pool. */
struct db_unit *db_unit_new(struct task *t);
/* Order inside the batch (see above); units that lock rows of one account pass the same key: db_key(account id). */
void db_unit_lock_key(struct db_unit *u, uint64_t key);
uint64_t db_key(iov_t id);
/* The nonce this unit spends (verified already); slot as in the nonce. The tag is made here. */
void db_unit_nonce(struct db_unit *u, iov_t nonce, int64_t slot);
/* The tag of the unit's nonce (16 random bytes in hex), for the gate statement's parameter; IOV_NULL without nonce. */
iov_t db_unit_tag(const struct db_unit *u);
/* A second unit of the same request keeps the tag instead of spending again. */
void db_unit_inherit_nonce(struct db_unit *u, iov_t nonce, iov_t tag);
/* Appends a statement; params are copied shallowly. Returns its index in the unit. */
unsigned db_add(struct db_unit *u, int stmt, const struct db_param *params, unsigned n);
#define DB_ADD(u, stmt, ...)                                                                                           \
    db_add((u), (stmt), (const struct db_param[]){__VA_ARGS__}, sizeof((const struct db_param[]){__VA_ARGS__}) / sizeof(struct db_param))
/* Queues the unit. Takes a reference on its task. cb runs once, unless the task is over; on error task_fail. */
void db_run(struct db_unit *u, db_cb *cb);
/* For callers with an answer of their own to a failure (the job runner): on_error instead of task_fail. sent tells
 * whether the statements may have been executed ("uncertain"). */
typedef void db_error_cb(struct task *t, struct db_unit *u, const struct err *e, bool sent);
void db_unit_on_error(struct db_unit *u, db_error_cb *cb);

/* Results, valid in the callback and as long as the task's pool (copied there). stmt = index from db_add. A row that is
 * not there reads as NULL. */
unsigned db_rows(const struct db_unit *u, unsigned stmt);
unsigned db_affected(const struct db_unit *u, unsigned stmt);
bool db_is_null(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col);
iov_t db_get(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col);       /* text; IOV_NULL for NULL */
int64_t db_get_int(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col); /* 0 for NULL */
bool db_get_bool(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col);
iov_t db_get_bytea(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col); /* decoded into the pool */
/* text[] -> list in the task's pool. */
struct iovs db_get_texts(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col);

/* A blocking connection for start-up and porticoctl: migrations and one-off statements, never on a loop. */
struct db_sync;
struct db_sync *db_sync_open(const char *url, struct err *e) MUST_CHECK;
void db_sync_close(struct db_sync *s);
/* Several statements without parameters (a migration file). */
bool db_sync_exec(struct db_sync *s, const char *sql, struct err *e) MUST_CHECK;
/* One statement; result in pool as rows of text. */
struct db_query {
    const char *sql;
    const struct db_param *params;
    unsigned n;
};
struct db_table {
    unsigned rows, cols;
    const char **names; /* column names */
    iov_t *cells;       /* rows * cols */
};
bool db_sync_run(struct db_sync *s, pool_t *pool, const struct db_query *q, struct db_table *out,
                 struct err *e) MUST_CHECK;
#define db_sync_query(s, pool, sql, params, n, out, e)                                                                 \
    db_sync_run((s), (pool), &(const struct db_query){(sql), (params), (n)}, (out), (e))

#endif

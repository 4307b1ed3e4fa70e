/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of io/db share: db.c (units, queues), db_conn.c (connections), db_batch.c (group commit),
 * db_value.c (parameters and results), db_url.c (connection options), db_sync.c (the blocking connection). */
#ifndef PORTICO_DB_INTERNAL_H
#define PORTICO_DB_INTERNAL_H

#include <libpq-fe.h>
#include "io/db.h"

enum {
    DB_TRIES = 3, /* re-runs of a unit that failed alone on a lock conflict */
    DB_REASON_BYTES = 400
};

/* ---- values ---- */

struct db_result {
    unsigned rows, cols, affected;
    iov_t *cells; /* rows * cols, in the task's pool */
};

/* Parameters as libpq wants them. Reused from statement to statement: libpq copies them when it sends. */
struct db_args {
    const char **values;
    int *lengths, *formats;
    size_t *at; /* where a value begins in text */
    unsigned n, cap;
    char *text;
    size_t len, text_cap;
};
void db_args_set(struct db_args *a, const struct db_param *params, unsigned n);
void db_args_dispose(struct db_args *a);
/* Text without NUL, well-formed UTF-8, also inside arrays: what the server would refuse. */
bool db_param_is_sendable(const struct db_param *p);
void db_result_copy(pool_t *pool, struct db_result *out, const PGresult *res);
/* The strict inverse of PostgreSQL's array_out for one dimension. */
bool db_texts_parse(pool_t *pool, iov_t array, struct iovs *out) MUST_CHECK;

/* ---- units and queues ---- */

struct db_item {
    int stmt;
    unsigned n_params;
    const struct db_param *params;
    struct db_result result;
};

struct db_unit {
    struct task *task;
    struct db_unit *next;
    struct db_item *items;
    unsigned n, cap;
    bool spends, queued;
    iov_t nonce, tag;
    int64_t slot;
    uint64_t lock_key, seq;
    uint64_t deadline_ms;   /* to be sent by then */
    uint64_t not_before_ms; /* for a re-run */
    unsigned tries;
    const struct db_stmt *unsendable; /* of its first text that the server would refuse */
    db_cb *cb;
    db_error_cb *on_error;
};

struct db_units {
    struct db_unit *head, **tail;
};
void db_units_init(struct db_units *q);
void db_units_push(struct db_units *q, struct db_unit *u);
struct db_unit *db_units_pop(struct db_units *q);

/* ---- batches ---- */

/* The first error of a batch. */
struct db_fault {
    bool set;
    bool outdated; /* the connection is to blame: what it prepared, or its server, has changed */
    char sqlstate[6];
    const char *statement, *file;
    char message[DB_REASON_BYTES];
};

struct db_batch {
    struct db_unit **units;
    unsigned n;
    unsigned unit, item; /* whose result comes next */
    bool spending;       /* the next result is nonce_spend's */
    bool synced;         /* from here on the server may commit */
    struct db_fault fault;
};

/* ---- connections ---- */

enum db_conn_state {
    DB_CONN_DOWN,    /* waiting to try again */
    DB_CONN_OPENING, /* libpq connects on a thread */
    DB_CONN_SETUP,   /* settings and prepared statements are on their way */
    DB_CONN_IDLE,
    DB_CONN_BUSY /* a batch is on its way */
};

struct db_conn {
    struct db *db;
    const char *name; /* for the log */
    enum db_conn_state state;
    PGconn *pg;
    struct loop_watch *watch;
    struct loop_timer timer; /* DOWN: the next try; SETUP, BUSY: the server is silent */
    struct loop_timer drain; /* BUSY over TLS: see db_conn.c */
    struct db_opening *opening;
    unsigned failures; /* tries in a row that did not lead to IDLE */
    unsigned setup_at;
    unsigned nulls;
    bool encrypted, lost, recycle;
    struct db_fault setup_fault;
    struct db_batch batch;
    char hint[DB_REASON_BYTES];   /* what the server said before it closed */
    char reason[DB_REASON_BYTES]; /* of the last loss that was logged */
};

struct db {
    struct loop *loop;
    const struct db_config *cfg;
    unsigned batch_max, lock_timeout_ms, statement_timeout_ms, wait_ms;
    struct db_conn main, spare;
    struct db_units waiting; /* in order of arrival */
    struct db_units again;   /* for the spare connection, one by one */
    struct loop_timer pump;
    struct db_args args;
    iov_t *nonces, *tags; /* room for one batch's nonce_spend */
    int64_t *slots;
    struct db_unit **spenders;
    uint64_t seq, random;
    bool stopping;
    struct db_stats stats; /* atomic */
};

/* Sends what can be sent, soon: after the sockets of this turn were read. */
void db_kick(struct db *db);
uint64_t db_random(struct db *db, uint64_t below);
void db_count(uint64_t *counter, uint64_t n);
/* Ends a unit; it may be gone after that. */
void db_unit_done(struct db *db, struct db_unit *u);
void db_unit_fail(struct db *db, struct db_unit *u, const struct err *e, bool sent);
/* A failure that the client may answer by repeating its request. reason is for the log. */
void db_err_unavailable(const struct db *db, struct err *e, const char *detail, const char *reason);
/* Queues for the spare connection. */
void db_unit_again(struct db *db, struct db_unit *u, uint64_t in_ms);

void db_conn_init(struct db_conn *c, struct db *db, const char *name);
void db_conn_open(struct db_conn *c);
/* Starts waiting for the server: silence is a loss. */
void db_conn_await(struct db_conn *c);
void db_conn_flush(struct db_conn *c);
/* Closes; what was sent fails as uncertain; the next try follows by itself. */
void db_conn_lost(struct db_conn *c, const char *reason);
/* Closes when idle and opens anew: prepared statements or server are outdated. */
void db_conn_recycle(struct db_conn *c);
/* Closes for good. */
void db_conn_stop(struct db_conn *c);
/* Idle or busy. */
bool db_conn_is_usable(const struct db_conn *c);
/* SETUP or BUSY -> IDLE. */
void db_conn_idle(struct db_conn *c);

/* Both send on an idle connection: everything that waits, or the next unit of db->again. */
void db_batch_send(struct db_conn *c);
void db_batch_send_again(struct db_conn *c);
/* What comes back: a statement's result, its end, the end of the batch. */
void db_batch_result(struct db_conn *c, const PGresult *res);
void db_batch_next(struct db_conn *c);
void db_batch_synced(struct db_conn *c);
/* The connection is gone (c is in its new state already). */
void db_batch_lost(struct db_conn *c, const char *reason);
void db_fault_set(struct db_fault *f, const struct db_stmt *s, const PGresult *res);

/* ---- connection options ---- */

/* libpq's blocking connect with Portico's defaults. NULL and a reason on failure. */
PGconn *db_url_connect(const char *url, const char *application, char reason[DB_REASON_BYTES]);
/* What every session is set to. READ COMMITTED is what the statements are written for. */
#define DB_SETTINGS                                                                                          \
    "SELECT set_config('client_min_messages', 'warning', false), set_config('timezone', 'UTC', false),"      \
    " set_config('bytea_output', 'hex', false),"                                                             \
    " set_config('default_transaction_isolation', 'read committed', false)"
/* One line out of a libpq message. */
void db_reason_set(char reason[DB_REASON_BYTES], const char *message);

#endif

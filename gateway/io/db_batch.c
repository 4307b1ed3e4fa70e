/* SPDX-License-Identifier: Apache-2.0 */
/* Group commit: the units that wait become one pipeline with one sync, that is one transaction and one
 * commit. Nobody hears of a result before the sync; after an error that the server reported each member
 * runs again alone. */
#include "io/db_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"

#define AGAIN_JITTER_MS 10 /* doubled with every try */

/* ---- sending ---- */

static int by_lock_key(const void *a, const void *b)
{
    const struct db_unit *x = *(struct db_unit *const *)a, *y = *(struct db_unit *const *)b;
    if (x->lock_key != y->lock_key)
        return x->lock_key < y->lock_key ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* The order in which every gateway spends, so that no two batches wait for each other crosswise. */
static int by_nonce(const void *a, const void *b)
{
    iov_t x = (*(struct db_unit *const *)a)->nonce, y = (*(struct db_unit *const *)b)->nonce;
    int cmp = memcmp(x.base, y.base, x.len < y.len ? x.len : y.len);
    return cmp != 0 ? cmp : x.len < y.len ? -1 : x.len > y.len;
}

static bool send_statement(struct db_conn *c, int stmt, const struct db_param *params, unsigned n)
{
    struct db_args *a = &c->db->args;
    db_args_set(a, params, n);
    db_count(&c->db->stats.statements, 1);
    const char *name = c->db->cfg->stmts[stmt].name;
    return PQsendQueryPrepared(c->pg, name, (int)n, a->values, a->lengths, a->formats, 0) == 1;
}

static bool send_nonces(struct db_conn *c)
{
    struct db *db = c->db;
    struct db_batch *b = &c->batch;
    size_t n = 0;
    for (unsigned i = 0; i < b->n; i++) {
        if (b->units[i]->spends)
            db->spenders[n++] = b->units[i];
    }
    b->spending = n != 0;
    if (n == 0)
        return true;
    qsort(db->spenders, n, sizeof(struct db_unit *), by_nonce);
    for (size_t i = 0; i < n; i++) {
        db->nonces[i] = db->spenders[i]->nonce;
        db->tags[i] = db->spenders[i]->tag;
        db->slots[i] = db->spenders[i]->slot;
    }
    const struct db_param params[] = {DB_TEXTS(db->nonces, n), DB_TEXTS(db->tags, n), DB_INTS(db->slots, n)};
    return send_statement(c, db->cfg->nonce_stmt, params, COUNTOF(params));
}

static bool send_units(struct db_conn *c)
{
    bool ok = send_nonces(c);
    for (unsigned i = 0; ok && i < c->batch.n; i++) {
        const struct db_unit *u = c->batch.units[i];
        for (unsigned k = 0; ok && k < u->n; k++)
            ok = send_statement(c, u->items[k].stmt, u->items[k].params, u->items[k].n_params);
    }
    return ok;
}

/* The first statement of a unit, or the end. */
static void skip_empty_units(struct db_batch *b)
{
    while (b->unit < b->n && b->item == b->units[b->unit]->n) {
        b->unit++;
        b->item = 0;
    }
}

static void batch_send(struct db_conn *c)
{
    struct db_batch *b = &c->batch;
    b->unit = b->item = 0;
    b->synced = false;
    b->fault = (struct db_fault){0};
    c->nulls = 0;
    c->state = DB_CONN_BUSY;
    skip_empty_units(b);
    bool ok = send_units(c);
    b->synced = ok; /* even if the next line fails: the sync may be in the kernel's hands */
    if (!ok || PQpipelineSync(c->pg) != 1) {
        db_conn_lost(c, PQerrorMessage(c->pg));
        return;
    }
    db_count(&c->db->stats.syncs, 1);
    db_conn_await(c);
    db_conn_flush(c);
}

void db_batch_send(struct db_conn *c)
{
    struct db *db = c->db;
    struct db_batch *b = &c->batch;
    b->n = 0;
    for (struct db_unit *u; b->n < db->batch_max && (u = db->waiting.head) != NULL;) {
        if (u->unsendable != NULL) { /* the pump fails it */
            db_kick(db);
            break;
        }
        db_units_pop(&db->waiting);
        if (u->task->over)
            task_unref(u->task);
        else
            b->units[b->n++] = u;
    }
    if (b->n == 0)
        return;
    qsort(b->units, b->n, sizeof(struct db_unit *), by_lock_key);
    db_count(&db->stats.batches, 1);
    batch_send(c);
}

void db_batch_send_again(struct db_conn *c)
{
    struct db *db = c->db;
    uint64_t now = loop_now_ms(db->loop);
    struct db_units rest;
    db_units_init(&rest);
    c->batch.n = 0;
    for (struct db_unit *u; (u = db_units_pop(&db->again)) != NULL;) {
        if (c->batch.n == 0 && u->not_before_ms <= now)
            c->batch.units[c->batch.n++] = u;
        else
            db_units_push(&rest, u);
    }
    for (struct db_unit *u; (u = db_units_pop(&rest)) != NULL;)
        db_units_push(&db->again, u);
    if (c->batch.n != 0)
        batch_send(c);
}

/* ---- what comes back ---- */

static const char *field(const PGresult *res, int code)
{
    const char *s = PQresultErrorField(res, code);
    return s != NULL ? s : "";
}

void db_fault_set(struct db_fault *f, const struct db_stmt *s, const PGresult *res)
{
    const char *state = field(res, PG_DIAG_SQLSTATE), *constraint = field(res, PG_DIAG_CONSTRAINT_NAME);
    *f = (struct db_fault){
        .set = true, .statement = s != NULL ? s->name : NULL, .file = s != NULL ? s->file : NULL};
    /* libpq's own errors have none. */
    snprintf(f->sqlstate, sizeof(f->sqlstate), "%s", state[0] != '\0' ? state : "08006");
    db_reason_set(f->message, field(res, PG_DIAG_MESSAGE_PRIMARY));
    if (f->message[0] == '\0')
        db_reason_set(f->message, PQresultErrorMessage(res));
    size_t len = strlen(f->message);
    if (constraint[0] != '\0')
        snprintf(f->message + len, sizeof(f->message) - len, " (constraint %s)", constraint);
    /* A plan whose result type changed with the schema, statements that a pooler lost, a primary that is
     * one no more. */
    f->outdated = strcmp(state, "26000") == 0 || strcmp(state, "25006") == 0 ||
                  (strcmp(state, "0A000") == 0 &&
                   strcmp(field(res, PG_DIAG_SOURCE_FUNCTION), "RevalidateCachedQuery") == 0);
}

void db_batch_result(struct db_conn *c, const PGresult *res)
{
    struct db_batch *b = &c->batch;
    ExecStatusType status = PQresultStatus(res);
    struct db_unit *u = !b->spending && b->unit < b->n ? b->units[b->unit] : NULL;
    if (status == PGRES_FATAL_ERROR && !b->fault.set) {
        const struct db_config *cfg = c->db->cfg;
        if (b->spending)
            db_fault_set(&b->fault, &cfg->stmts[cfg->nonce_stmt], res);
        else
            db_fault_set(&b->fault, u != NULL ? &cfg->stmts[u->items[b->item].stmt] : NULL, res);
    } else if ((status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) && u != NULL && !u->task->over) {
        db_result_copy(&u->task->pool, &u->items[b->item].result, res);
    }
}

void db_batch_next(struct db_conn *c)
{
    struct db_batch *b = &c->batch;
    if (b->spending)
        b->spending = false;
    else if (b->unit < b->n)
        b->item++;
    skip_empty_units(b);
}

/* ---- the end of a batch ---- */

static bool is_in(const char *sqlstate, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strncmp(sqlstate, *list, strlen(*list)) == 0)
            return true;
    }
    return false;
}

static const char *const lock_conflicts[] = {"55P03", "40P01", "40001", NULL};
static const char *const temporary[] = {"57", "53", "08", NULL};

static const char *fault_statement(const struct db_fault *f)
{
    return f->statement != NULL ? f->statement : "commit";
}

static void unit_refused(struct db *db, struct db_unit *u, const struct db_fault *f)
{
    bool conflict = is_in(f->sqlstate, lock_conflicts);
    if (u->task->over) {
        task_unref(u->task);
        return;
    }
    if ((conflict || f->outdated) && u->tries < DB_TRIES) {
        uint64_t jitter = AGAIN_JITTER_MS << u->tries++;
        db_unit_again(db, u, f->outdated ? 0 : 1 + db_random(db, jitter));
        return;
    }
    struct err e = ERR_INIT;
    const char *statement = fault_statement(f), *file = f->file != NULL ? f->file : "";
    bool passing = conflict || f->outdated || is_in(f->sqlstate, temporary);
    if (passing)
        db_err_unavailable(db, &e, "the database could not serve this at the moment; repeat the request", "");
    else
        err_internal(&e, "%s", "");
    err_cause(&e, "statement %s (%s): %s %s", statement, file, f->sqlstate, f->message);
    LOG_AT(passing ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "db.statement_failed", KV_STR("id", u->task->id),
           KV_STR("statement", statement), KV_STR("file", file), KV_STR("sqlstate", f->sqlstate),
           KV_STR("message", f->message));
    db_unit_fail(db, u, &e, false);
}

/* Nothing of the batch is stored. */
static void batch_refused(struct db_conn *c)
{
    struct db *db = c->db;
    struct db_batch *b = &c->batch;
    unsigned n = b->n;
    b->n = 0;
    if (n == 1) {
        unit_refused(db, b->units[0], &b->fault);
        return;
    }
    log_info("db.rerun", KV_INT("units", n),
             KV_STR("statement", fault_statement(&b->fault)), KV_STR("sqlstate", b->fault.sqlstate),
             KV_STR("message", b->fault.message));
    for (unsigned i = 0; i < n; i++) {
        if (b->units[i]->task->over)
            task_unref(b->units[i]->task);
        else
            db_unit_again(db, b->units[i], 0);
    }
}

void db_batch_synced(struct db_conn *c)
{
    struct db *db = c->db;
    struct db_batch *b = &c->batch;
    db_conn_idle(c);
    bool outdated = b->fault.set && b->fault.outdated, recycle = c->recycle;
    c->recycle = false;
    if (b->fault.set) {
        batch_refused(c);
    } else {
        unsigned n = b->n;
        b->n = 0;
        db_count(&db->stats.commits, 1);
        for (unsigned i = 0; i < n; i++)
            db_unit_done(db, b->units[i]);
    }
    if (outdated)
        db_conn_recycle(c == &db->main ? &db->spare : &db->main);
    if (outdated || recycle)
        db_conn_recycle(c);
}

static const char uncertain[] = "the connection to the database was lost before it answered: this may have taken"
                                " effect or not; look, then repeat the request";

void db_batch_lost(struct db_conn *c, const char *reason)
{
    struct db *db = c->db;
    struct db_batch *b = &c->batch;
    unsigned n = b->n;
    struct err e = ERR_INIT;
    b->n = 0;
    if (b->synced)
        db_err_unavailable(db, &e, uncertain, reason);
    else
        db_err_unavailable(db, &e, "the database cannot take this at the moment; repeat the request", reason);
    for (unsigned i = 0; i < n; i++) {
        struct db_unit *u = b->units[i];
        /* Without a sync nothing is ever committed, so this is no repetition. */
        if (!b->synced && !db->stopping && u->tries < DB_TRIES) {
            u->tries++;
            db_unit_again(db, u, 0);
        } else {
            db_unit_fail(db, u, &e, b->synced);
        }
    }
    b->synced = false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking connection of start-up and porticoctl. Its errors are for an operator, so they carry the
 * server's own words. */
#include "io/db_internal.h"

#include <stdlib.h>
#include "base/log.h"

struct db_sync {
    PGconn *pg;
    struct db_args args;
};

static void on_notice(void *arg UNUSED, const PGresult *res)
{
    const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    log_warn("db.notice", KV_STR("message", message != NULL ? message : ""));
}

/* False unless res is a success. Consumes res. */
static bool check(const struct db_sync *s, PGresult *res, struct err *e)
{
    ExecStatusType status = PQresultStatus(res);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY) {
        PQclear(res);
        return true;
    }
    char reason[DB_REASON_BYTES];
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE), *message = PQresultErrorMessage(res);
    db_reason_set(reason, message != NULL && message[0] != '\0' ? message : PQerrorMessage(s->pg));
    if (reason[0] == '\0')
        db_reason_set(reason, "the statement wants to copy data");
    err_set(e, 0, "database: %s%s%s%s", reason, state != NULL ? " [" : "", state != NULL ? state : "",
            state != NULL ? "]" : "");
    PQclear(res);
    return false;
}

struct db_sync *db_sync_open(const char *url, struct err *e)
{
    char reason[DB_REASON_BYTES];
    PGconn *pg = db_url_connect(url, "portico", reason);
    if (pg == NULL) {
        err_set(e, 0, "cannot connect to the database: %s", reason);
        return NULL;
    }
    struct db_sync *s = base_zalloc(sizeof(*s));
    s->pg = pg;
    PQsetNoticeReceiver(pg, on_notice, NULL);
    if (db_sync_exec(s, DB_SETTINGS, e))
        return s;
    db_sync_close(s);
    return NULL;
}

void db_sync_close(struct db_sync *s)
{
    if (s == NULL)
        return;
    PQfinish(s->pg);
    db_args_dispose(&s->args);
    free(s);
}

bool db_sync_exec(struct db_sync *s, const char *sql, struct err *e)
{
    return check(s, PQexec(s->pg, sql), e);
}

static void table_names(pool_t *pool, struct db_table *out, const PGresult *res)
{
    out->names = POOL_NEW(pool, const char *, out->cols);
    for (unsigned i = 0; i < out->cols; i++)
        out->names[i] = iov_dup(pool, iov_of(PQfname(res, (int)i))).base;
}

bool db_sync_run(struct db_sync *s, pool_t *pool, const struct db_query *q, struct db_table *out,
                 struct err *e)
{
    *out = (struct db_table){0};
    for (unsigned i = 0; i < q->n; i++) {
        if (!db_param_is_sendable(&q->params[i]))
            return err_set(e, 0, "parameter %u is not UTF-8 or contains NUL", i + 1);
    }
    struct db_args *a = &s->args;
    db_args_set(a, q->params, q->n);
    PGresult *res = PQexecParams(s->pg, q->sql, (int)q->n, NULL, a->values, a->lengths, a->formats, 0);
    if (PQresultStatus(res) == PGRES_TUPLES_OK) {
        struct db_result r;
        db_result_copy(pool, &r, res);
        out->rows = r.rows;
        out->cols = r.cols;
        out->cells = r.cells;
        table_names(pool, out, res);
    }
    return check(s, res, e);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One connection's life: down -> opening (libpq's connect, on a thread) -> setup (settings and prepared
 * statements, one pipeline) -> idle <-> busy (db_batch.c); every failure leads to down, from where a
 * back-off leads on. */
#include "io/db_internal.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 2000
#define DRAIN_MS 20
#define SILENCE_MS 5000 /* on top of what a statement may take */

/* ---- opening: on a thread, because libpq resolves names in the calling one ---- */

struct db_opening {
    struct loop_msg msg;
    struct loop *loop;
    pthread_mutex_t lock;
    struct db_conn *conn; /* NULL: nobody waits any more */
    char *url;
    PGconn *pg;
    char reason[DB_REASON_BYTES];
};

static void opening_free(struct db_opening *o)
{
    PQfinish(o->pg);
    pthread_mutex_destroy(&o->lock);
    free(o->url);
    free(o);
}

static void setup_start(struct db_conn *c, PGconn *pg);

static void on_opened(struct loop_msg *m)
{
    struct db_opening *o = CONTAINER_OF(m, struct db_opening, msg);
    pthread_mutex_lock(&o->lock); /* until the thread has let go of it */
    struct db_conn *c = o->conn;
    pthread_mutex_unlock(&o->lock);
    if (c != NULL) {
        PGconn *pg = o->pg;
        o->pg = NULL;
        c->opening = NULL;
        if (pg != NULL)
            setup_start(c, pg);
        else
            db_conn_lost(c, o->reason);
    }
    opening_free(o);
}

static void *opening_run(void *arg)
{
    struct db_opening *o = arg;
    o->pg = db_url_connect(o->url, "portico", o->reason);
    pthread_mutex_lock(&o->lock);
    bool wanted = o->conn != NULL;
    if (wanted)
        loop_post(o->loop, &o->msg); /* under the lock: a loop that no longer waits may be gone */
    pthread_mutex_unlock(&o->lock);
    if (!wanted)
        opening_free(o);
    return NULL;
}

/* Signals are the main thread's business. */
static bool start_thread(void *(*run)(void *), void *arg)
{
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t id;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&id, &attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return rc == 0;
}

void db_conn_open(struct db_conn *c)
{
    struct db_opening *o = base_zalloc(sizeof(*o));
    pthread_mutex_init(&o->lock, NULL);
    o->msg.run = on_opened;
    o->loop = c->db->loop;
    o->conn = c;
    o->url = h2o_strdup(NULL, c->db->cfg->url, SIZE_MAX).base;
    c->opening = o;
    c->state = DB_CONN_OPENING;
    if (start_thread(opening_run, o))
        return;
    c->opening = NULL;
    opening_free(o);
    db_conn_lost(c, "cannot start a thread to connect");
}

/* ---- losing ---- */

static void on_backoff(struct loop_timer *t)
{
    db_conn_open(CONTAINER_OF(t, struct db_conn, timer));
}

/* 100 ms, 200 ms, ... 2 s, a quarter more or less. */
static uint64_t backoff_ms(struct db_conn *c)
{
    uint64_t ms = BACKOFF_FIRST_MS;
    for (unsigned i = 0; i < c->failures && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    ms = ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
    return ms * 3 / 4 + db_random(c->db, ms / 2 + 1);
}

bool db_conn_is_usable(const struct db_conn *c)
{
    return c->state == DB_CONN_IDLE || c->state == DB_CONN_BUSY;
}

static void count_usable(struct db *db)
{
    uint64_t n = (uint64_t)db_conn_is_usable(&db->main) + db_conn_is_usable(&db->spare);
    __atomic_store_n(&db->stats.connections, n, __ATOMIC_RELAXED);
}

static void conn_close(struct db_conn *c)
{
    loop_timer_stop(&c->timer);
    loop_timer_stop(&c->drain);
    loop_watch_free(c->watch);
    c->watch = NULL;
    PQfinish(c->pg);
    c->pg = NULL;
    c->state = DB_CONN_DOWN;
    count_usable(c->db);
}

/* Once per change: a database that is away for an hour is two lines, not ten thousand. */
static void log_lost(struct db_conn *c, enum db_conn_state was, const char *reason)
{
    if (c->lost && strcmp(c->reason, reason) == 0)
        return;
    bool established = was == DB_CONN_IDLE || was == DB_CONN_BUSY;
    const char *stage = established ? "established" : was == DB_CONN_SETUP ? "setup" : "connect";
    LOG_AT(established ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "db.lost", KV_INT("loop", loop_index(c->db->loop)),
           KV_STR("connection", c->name), KV_STR("stage", stage),
           KV_INT("sent", was == DB_CONN_BUSY ? c->batch.n : 0), KV_STR("reason", reason));
    c->lost = true;
    db_reason_set(c->reason, reason);
}

void db_conn_lost(struct db_conn *c, const char *why)
{
    enum db_conn_state was = c->state;
    char reason[DB_REASON_BYTES];
    /* What the server said beats what libpq makes of the closed socket. */
    if (c->hint[0] != '\0')
        why = c->hint;
    else if (was == DB_CONN_BUSY && c->batch.fault.set)
        why = c->batch.fault.message;
    else if (was == DB_CONN_SETUP && c->setup_fault.set && c->setup_fault.statement == NULL)
        why = c->setup_fault.message;
    db_reason_set(reason, why); /* a copy: why may belong to the connection */
    c->hint[0] = '\0';
    conn_close(c);
    log_lost(c, was, reason);
    loop_timer_start(c->db->loop, &c->timer, backoff_ms(c), on_backoff);
    c->failures++;
    db_batch_lost(c, reason);
}

void db_conn_recycle(struct db_conn *c)
{
    if (c->state == DB_CONN_IDLE)
        db_conn_lost(c, "prepared statements or server are outdated");
    else if (c->state == DB_CONN_BUSY)
        c->recycle = true;
}

void db_conn_stop(struct db_conn *c)
{
    if (c->opening != NULL) {
        pthread_mutex_lock(&c->opening->lock);
        c->opening->conn = NULL;
        pthread_mutex_unlock(&c->opening->lock);
        c->opening = NULL;
    }
    conn_close(c);
    db_batch_lost(c, "shutdown");
    free(c->batch.units);
    c->batch.units = NULL;
}

/* ---- reading and writing ---- */

static void on_silence(struct loop_timer *t)
{
    db_conn_lost(CONTAINER_OF(t, struct db_conn, timer), "the server is silent");
}

void db_conn_await(struct db_conn *c)
{
    uint64_t statement_ms = c->state == DB_CONN_BUSY ? c->db->statement_timeout_ms : 0;
    loop_timer_start(c->db->loop, &c->timer, statement_ms + SILENCE_MS, on_silence);
}

static bool is_waiting(const struct db_conn *c)
{
    return c->state == DB_CONN_SETUP || c->state == DB_CONN_BUSY;
}

static void setup_result(struct db_conn *c, const PGresult *res);
static void setup_synced(struct db_conn *c);

static void on_result(struct db_conn *c, PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    bool known = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_FATAL_ERROR ||
                 status == PGRES_PIPELINE_ABORTED;
    if (status == PGRES_PIPELINE_SYNC && c->state == DB_CONN_SETUP)
        setup_synced(c);
    else if (status == PGRES_PIPELINE_SYNC)
        db_batch_synced(c);
    else if (!known)
        db_conn_lost(c, "an answer that no statement asks for");
    else if (c->state == DB_CONN_SETUP)
        setup_result(c, res);
    else
        db_batch_result(c, res);
}

/* Result, NULL, result, NULL, ..., sync. A NULL ends a statement; two in a row mean that libpq expects
 * nothing more. */
static void drain_results(struct db_conn *c)
{
    while (is_waiting(c) && !PQisBusy(c->pg)) {
        PGresult *res = PQgetResult(c->pg);
        if (res != NULL) {
            c->nulls = 0;
            on_result(c, res);
            PQclear(res);
        } else if (++c->nulls == 2) {
            bool closed = PQstatus(c->pg) == CONNECTION_BAD;
            db_conn_lost(c, closed ? PQerrorMessage(c->pg) : "answers without an end");
        } else if (c->state == DB_CONN_SETUP) {
            c->setup_at++;
        } else {
            db_batch_next(c);
        }
    }
}

static void conn_read(struct db_conn *c);

static void on_drain(struct loop_timer *t)
{
    conn_read(CONTAINER_OF(t, struct db_conn, drain));
}

/* libpq may leave the rest of a TLS record in OpenSSL's buffer, where no poll sees it (it reads into at
 * least 8 kB, a record holds up to 16): so it is asked twice, and again after a while. */
static void conn_read(struct db_conn *c)
{
    bool ok = true;
    for (int i = 0; ok && i < (c->encrypted ? 2 : 1) && (i == 0 || is_waiting(c)); i++) {
        ok = PQconsumeInput(c->pg) == 1;
        drain_results(c); /* also what came before the end */
    }
    if (c->pg == NULL)
        return;
    if (!is_waiting(c))
        (void)PQisBusy(c->pg); /* parses what comes unasked: settings, a farewell */
    if (!ok) {
        db_conn_lost(c, PQerrorMessage(c->pg));
        return;
    }
    if (is_waiting(c)) {
        db_conn_await(c);
        if (c->encrypted)
            loop_timer_start(c->db->loop, &c->drain, DRAIN_MS, on_drain);
        db_conn_flush(c); /* the server may have waited for us to read */
    }
}

static void on_event(void *arg, int revents)
{
    struct db_conn *c = arg;
    if (revents & LOOP_READ)
        conn_read(c);
    else if (revents & LOOP_WRITE)
        db_conn_flush(c);
}

void db_conn_flush(struct db_conn *c)
{
    int rc = PQflush(c->pg);
    if (rc < 0)
        db_conn_lost(c, PQerrorMessage(c->pg));
    else
        loop_watch_set(c->watch, rc == 1 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

/* ---- setup ---- */

static void on_notice(void *arg, const PGresult *res)
{
    struct db_conn *c = arg;
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    if (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        db_reason_set(c->hint, message); /* between two batches; the end of the connection follows */
    else
        log_warn("db.notice", KV_STR("connection", c->name),
                 KV_STR("message", message != NULL ? message : ""));
}

/* By SELECT and not as start-up options, which pgbouncer refuses. */
static int send_settings(const struct db_conn *c)
{
    char lock[24], statement[24];
    snprintf(lock, sizeof(lock), "%ums", c->db->lock_timeout_ms);
    snprintf(statement, sizeof(statement), "%ums", c->db->statement_timeout_ms);
    const char *values[] = {lock, statement};
    static const char sql[] = DB_SETTINGS ", set_config('lock_timeout', $1, false),"
                                          " set_config('statement_timeout', $2, false)";
    return PQsendQueryParams(c->pg, sql, COUNTOF(values), NULL, values, NULL, NULL, 0);
}

#define SETUP_BEFORE_PREPARE 2

static bool send_setup(struct db_conn *c)
{
    const struct db_config *cfg = c->db->cfg;
    bool ok = PQsetnonblocking(c->pg, 1) == 0 && PQenterPipelineMode(c->pg) == 1 && send_settings(c) == 1;
    /* A pooler may hand over a server connection that somebody else has prepared statements on. */
    ok = ok && PQsendQueryParams(c->pg, "DEALLOCATE ALL", 0, NULL, NULL, NULL, NULL, 0) == 1;
    for (size_t i = 0; ok && i < cfg->n_stmts; i++) {
        const struct db_stmt *s = &cfg->stmts[i];
        const unsigned *oids = s->n_params != 0 ? s->param_oids : NULL;
        ok = PQsendPrepare(c->pg, s->name, s->sql, (int)s->n_params, oids) == 1;
    }
    return ok && PQpipelineSync(c->pg) == 1;
}

static void setup_start(struct db_conn *c, PGconn *pg)
{
    c->pg = pg;
    c->state = DB_CONN_SETUP;
    c->setup_at = 0;
    c->nulls = 0;
    c->recycle = false;
    c->hint[0] = '\0';
    c->setup_fault = (struct db_fault){0};
    c->encrypted = PQsslInUse(pg) || PQgssEncInUse(pg);
    PQsetNoticeReceiver(pg, on_notice, c);
    c->watch = loop_watch_new(c->db->loop, PQsocket(pg), LOOP_READ, on_event, c);
    if (c->watch == NULL) {
        db_conn_lost(c, "no file descriptor left");
    } else if (!send_setup(c)) {
        db_conn_lost(c, PQerrorMessage(pg));
    } else {
        db_conn_await(c);
        db_conn_flush(c);
    }
}

static void setup_result(struct db_conn *c, const PGresult *res)
{
    if (PQresultStatus(res) != PGRES_FATAL_ERROR || c->setup_fault.set)
        return;
    size_t i = c->setup_at - SETUP_BEFORE_PREPARE;
    bool prepare = c->setup_at >= SETUP_BEFORE_PREPARE && i < c->db->cfg->n_stmts;
    db_fault_set(&c->setup_fault, prepare ? &c->db->cfg->stmts[i] : NULL, res);
}

static void setup_synced(struct db_conn *c)
{
    const struct db_fault *f = &c->setup_fault;
    if (f->set) {
        char reason[2 * DB_REASON_BYTES];
        if (f->statement != NULL)
            snprintf(reason, sizeof(reason), "statement %s (%s) does not fit the database's schema: %s",
                     f->statement, f->file, f->message);
        else
            snprintf(reason, sizeof(reason), "%s", f->message);
        db_conn_lost(c, reason);
        return;
    }
    if (c->lost)
        db_count(&c->db->stats.reconnects, 1);
    log_info("db.up", KV_INT("loop", loop_index(c->db->loop)), KV_STR("connection", c->name),
             KV_STR("host", PQhost(c->pg)), KV_INT("backend", PQbackendPID(c->pg)));
    c->lost = false;
    c->failures = 0;
    db_conn_idle(c);
    count_usable(c->db);
}

void db_conn_idle(struct db_conn *c)
{
    c->state = DB_CONN_IDLE;
    loop_timer_stop(&c->timer);
    loop_timer_stop(&c->drain);
    db_kick(c->db);
}

void db_conn_init(struct db_conn *c, struct db *db, const char *name)
{
    c->db = db;
    c->name = name;
    c->batch.units = base_zalloc(db->batch_max * sizeof(struct db_unit *));
}

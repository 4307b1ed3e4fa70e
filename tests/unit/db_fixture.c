/* SPDX-License-Identifier: Apache-2.0 */
/* See db_fixture.h. */
#include "db_fixture.h"

#include <stdio.h>

/* ---- statements and tables ---- */

#define STMT(index, n, text)                                                                                 \
    [index] = {.name = #index, .sql = text, .n_params = n, .param_oids = no_oids, .file = "test.sql:" #index}
static const unsigned no_oids[8];
static const struct db_stmt stmts[STMT_COUNT] = {
    STMT(NONCE_SPEND, 3,
         "INSERT INTO nonce_spent (slot, nonce, tag) SELECT s, n, t FROM unnest($1::text[], $2::text[], "
         "$3::int8[])"
         " AS x (n, t, s) ORDER BY n ON CONFLICT DO NOTHING"),
    STMT(GATE, 3,
         "SELECT EXISTS (SELECT 1 FROM nonce_spent WHERE slot = $1 AND nonce = $2 AND tag = $3) AS ok"),
    STMT(INS, 2, "INSERT INTO t (who, n) VALUES ($1, $2) RETURNING n, who"),
    STMT(COUNT, 1, "SELECT count(*) FROM t WHERE who = $1"),
    STMT(DIV, 1, "SELECT 1 / $1::int8"),
    STMT(SLEEP, 1, "SELECT pg_sleep($1::float8)"),
    STMT(ECHO, 5, "SELECT $1::text, $2::bytea, $3::text[], $4::int8, $5::bool"),
    STMT(BUMP, 1, "UPDATE counter SET n = n + 1 WHERE id = $1 RETURNING n"),
    STMT(SHAPE, 0, "SELECT * FROM shape"),
    STMT(DEFERRED, 1, "INSERT INTO deferred VALUES ($1)"),
    STMT(MANY, 2, "SELECT i, repeat('x', $2::int) FROM generate_series(1, $1::int) i"),
    STMT(INTS, 1, "SELECT sum(x), count(*) FROM unnest($1::int8[]) x"),
};

static const char tables[] =
    "CREATE TABLE t (who text, n int8);"
    "CREATE TABLE nonce_spent (slot int8, nonce text, tag text, PRIMARY KEY (slot, nonce));"
    "CREATE TABLE counter (id int8 PRIMARY KEY, n int8 NOT NULL);"
    "CREATE TABLE shape (a int);"
    "CREATE TABLE deferred (a int8 PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);";

/* ---- one unit and what became of it ---- */

static void op_free(struct task *t)
{
    task_dispose(t);
    CONTAINER_OF(t, struct op, task)->freed = true;
}

static void op_fail(struct task *t, const struct err *e)
{
    struct op *op = CONTAINER_OF(t, struct op, task);
    assert_false(op->done || op->failed);
    op->failed = true;
    op->err = *e;
}

static void op_error(struct task *t, struct db_unit *u, const struct err *e, bool sent)
{
    struct op *op = CONTAINER_OF(t, struct op, task);
    assert_ptr_equal(u, op->unit);
    op->sent = sent;
    op->own_error = true;
    op_fail(t, e);
}

void op_init(struct op *op, struct loop *l)
{
    memset(op, 0, sizeof(*op));
    task_init(&op->task, l, "test-op", op_fail, op_free);
    op->unit = db_unit_new(&op->task);
    db_unit_on_error(op->unit, op_error);
}

static void op_done(struct task *t, struct db_unit *u)
{
    struct op *op = CONTAINER_OF(t, struct op, task);
    assert_ptr_equal(u, op->unit);
    assert_false(op->done || op->failed);
    op->done = true;
    if (op->then != NULL)
        op->then(op);
}

void op_run(struct op *op)
{
    db_run(op->unit, op_done);
    assert_false(op->done || op->failed); /* never inside the call */
}

void op_end(struct op *op)
{
    task_unref(&op->task);
    assert_true(op->freed);
}

void op_insert(struct op *op, struct loop *l, const char *who, int64_t n)
{
    op_init(op, l);
    DB_ADD(op->unit, INS, DB_TEXT(iov_of(who)), DB_INT(n));
    op_run(op);
}

bool op_over(const struct op *op)
{
    return op->done || op->failed;
}

/* ---- the world around ---- */

static struct db_sync *admin;
static char pg_sh[4096];

struct db_config db_fixture_config = {
    .stmts = stmts,
    .n_stmts = STMT_COUNT,
    .nonce_stmt = NONCE_SPEND,
    .code_unavailable = CODE_UNAVAILABLE,
};

void sql(const char *text)
{
    struct err e = ERR_INIT;
    if (!db_sync_exec(admin, text, &e))
        fail_msg("%s: %s", text, e.detail);
}

int64_t sql_int(const char *text)
{
    struct err e = ERR_INIT;
    struct db_table out;
    pool_t pool;
    h2o_mem_init_pool(&pool);
    if (!db_sync_query(admin, &pool, text, NULL, 0, &out, &e))
        fail_msg("%s: %s", text, e.detail);
    assert_true(out.rows == 1 && out.cols == 1);
    int64_t n = out.cells[0].base != NULL ? strtoll(out.cells[0].base, NULL, 10) : -1;
    h2o_mem_clear_pool(&pool);
    return n;
}

void pg_ctl(const char *args)
{
    char cmd[sizeof(pg_sh) + 256];
    snprintf(cmd, sizeof(cmd), "sh '%s' ctl %s", pg_sh, args);
    assert_int_equal(system(cmd), 0);
}

void admin_open(void)
{
    struct err e = ERR_INIT;
    admin = db_sync_open(getenv("PG_URL"), &e);
    if (admin == NULL)
        fail_msg("%s", e.detail);
}

void admin_close(void)
{
    db_sync_close(admin);
    admin = NULL;
}

struct db_sync *admin_session(void)
{
    return admin;
}

struct loop *start(const struct db_config *cfg)
{
    struct loop *l = loop_new(0);
    db_start(l, cfg);
    UNTIL(l, db_get_stats(loop_svc(l)->db).connections == 2);
    return l;
}

void stop(struct loop *l)
{
    db_stop(l);
    loop_turn(l, 0);
    loop_free(l);
}

int db_fixture_fresh(void **state UNUSED)
{
    sql("TRUNCATE t, nonce_spent, counter, deferred");
    sql("INSERT INTO counter SELECT i, 0 FROM generate_series(0, 99) i");
    return 0;
}

int db_fixture_setup(void **state UNUSED)
{
    log_init(STDERR_FILENO, getenv("TEST_LOG") != NULL ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    db_fixture_config.url = getenv("PG_URL");
    admin_open();
    sql(tables);
    return 0;
}

int db_fixture_teardown(void **state UNUSED)
{
    admin_close();
    return 0;
}

void db_fixture_enter(char **argv)
{
    const char *srcdir = getenv("srcdir");
    snprintf(pg_sh, sizeof(pg_sh), "%s/tests/unit/pg.sh", srcdir != NULL ? srcdir : ".");
    if (getenv("PG_URL") != NULL)
        return;
    execl("/bin/sh", "sh", pg_sh, "run", argv[0], (char *)NULL);
    perror(pg_sh);
    exit(1);
}

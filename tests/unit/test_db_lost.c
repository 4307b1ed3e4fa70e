/* SPDX-License-Identifier: Apache-2.0 */
/* io/db when the database goes away: terminated sessions, restarts under load, time-outs, older schemas,
 * several hosts. */
#include "db_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

static int count_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

/* The log, for a while, in a buffer. */
static int log_pipe[2];
static char log_text[8192];

static void log_capture(void)
{
    assert_int_equal(pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK), 0);
    log_init(log_pipe[1], LOG_LEVEL_INFO);
    log_text[0] = '\0';
}

/* Lines so far; their text is in log_text. */
static int log_lines(void)
{
    size_t len = strlen(log_text);
    ssize_t n = read(log_pipe[0], log_text + len, sizeof(log_text) - 1 - len);
    log_text[len + (n > 0 ? (size_t)n : 0)] = '\0';
    int lines = 0;
    for (const char *p = log_text; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    return lines;
}

static void log_release(void)
{
    log_init(STDERR_FILENO, LOG_LEVEL_ERROR);
    close(log_pipe[0]);
    close(log_pipe[1]);
}

static void an_older_schema_is_named_and_waited_for(void **state UNUSED)
{
    sql("DROP TABLE shape");
    struct loop *l = loop_new(0);
    log_capture();
    db_start(l, &db_fixture_config);
    UNTIL(l, log_lines() >= 2);
    for (int i = 0; i < 20; i++)
        loop_turn(l, 20); /* further tries, which are silent */
    assert_false(db_is_up(loop_svc(l)->db));
    assert_int_equal(log_lines(), 2); /* once per connection */
    log_release();
    assert_non_null(strstr(log_text, "test.sql:SHAPE"));
    assert_non_null(strstr(log_text, "relation"));
    sql("CREATE TABLE shape (a int)");
    UNTIL(l, db_is_up(loop_svc(l)->db));
    stop(l);
}

/* ---- connections that go ---- */

#define TERMINATE                                                                                            \
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'portico' AND"   \
    " pid <> pg_backend_pid()"

static void what_was_sent_is_uncertain_what_was_not_is_sent_later(void **state UNUSED)
{
    struct loop *l = start(&db_fixture_config);
    int fds = count_fds();
    struct op flying, hook, waiting;
    op_init(&flying, l);
    DB_ADD(flying.unit, INS, DB_TEXT(IOV("flying")), DB_INT(1));
    DB_ADD(flying.unit, SLEEP, DB_TEXT(IOV("30")));
    op_run(&flying);
    op_init(&hook, l); /* in the same batch, without a handler of its own */
    db_unit_on_error(hook.unit, NULL);
    DB_ADD(hook.unit, COUNT, DB_TEXT(IOV("x")));
    op_run(&hook);
    UNTIL(l, sql_int("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == 1);
    op_insert(&waiting, l, "waiting", 1);
    sql(TERMINATE);
    UNTIL(l, op_over(&flying) && op_over(&hook) && op_over(&waiting));
    assert_true(flying.failed && flying.sent && flying.own_error);
    assert_int_equal(flying.err.code, CODE_UNAVAILABLE);
    assert_int_equal(flying.err.retry_after_s, 1);
    assert_non_null(strstr(flying.err.cause, "administrator"));
    assert_true(hook.failed && !hook.own_error);
    assert_true(waiting.done);
    assert_int_equal(sql_int("SELECT count(*) FROM t WHERE who = 'flying'"), 0);
    struct db_stats s = db_get_stats(loop_svc(l)->db);
    assert_int_equal(s.uncertain, 2);
    assert_int_equal(s.reruns, 0);
    UNTIL(l, db_get_stats(loop_svc(l)->db).reconnects == 2);
    assert_int_equal(count_fds(), fds);
    op_end(&flying);
    op_end(&hook);
    op_end(&waiting);
    stop(l);
}

static void a_silent_server_counts_as_lost(void **state UNUSED)
{
    struct db_config cfg = db_fixture_config;
    cfg.statement_timeout_ms = 100;
    struct loop *l = start(&cfg);
    struct op flying, later;
    op_init(&flying, l);
    DB_ADD(flying.unit, BUMP, DB_INT(1));
    sql("BEGIN; UPDATE counter SET n = n WHERE id = 1");
    op_run(&flying);
    static const char waiting[] =
        "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    pid_t backend = 0;
    UNTIL(l, (backend = (pid_t)sql_int(waiting)) != 0);
    assert_int_equal(kill(backend, SIGSTOP), 0);
    UNTIL(l, op_over(&flying));
    assert_true(flying.failed && flying.sent);
    assert_non_null(strstr(flying.err.cause, "silent"));
    op_insert(&later, l, "later", 1);
    UNTIL(l, op_over(&later));
    assert_true(later.done);
    assert_int_equal(kill(backend, SIGCONT), 0);
    sql("ROLLBACK");
    op_end(&flying);
    op_end(&later);
    stop(l);
}

/* Load: every slot always has an insert under way; the outcome of each is remembered. */
enum { SLOTS = 24, MAX_OPS = 200000 };
enum outcome { PENDING, STORED, FAILED_UNSENT, FAILED_SENT };
static struct {
    struct loop *loop;
    struct op op[SLOTS];
    int64_t id[SLOTS];
    unsigned char outcome[MAX_OPS];
    int64_t next;
    unsigned stored;
} load;

/* Ends what is over and starts the next in its place. */
static void load_step(bool more)
{
    for (int i = 0; i < SLOTS; i++) {
        struct op *op = &load.op[i];
        if (load.id[i] >= 0 && op_over(op)) {
            load.outcome[load.id[i]] = op->done ? STORED : op->sent ? FAILED_SENT : FAILED_UNSENT;
            load.stored += op->done;
            load.id[i] = -1;
            op_end(op);
        }
        if (load.id[i] < 0 && more && load.next < MAX_OPS) {
            load.id[i] = load.next++;
            op_insert(op, load.loop, "load", load.id[i]);
        }
    }
    loop_turn(load.loop, 5);
}

static void load_until_stored(unsigned n)
{
    uint64_t until = clock_mono_ms() + PATIENCE_MS;
    for (n += load.stored; load.stored < n;) {
        assert_true(clock_mono_ms() < until);
        load_step(true);
    }
}

static bool load_is_over(void)
{
    for (int i = 0; i < SLOTS; i++) {
        if (load.id[i] >= 0)
            return false;
    }
    return true;
}

static void load_check(unsigned counts[4])
{
    pool_t pool;
    struct err e = ERR_INIT;
    struct db_table rows;
    h2o_mem_init_pool(&pool);
    assert_true(db_sync_query(admin_session(), &pool, "SELECT n FROM t WHERE who = 'load' ORDER BY n", NULL,
                              0, &rows, &e));
    unsigned char *there = base_zalloc(MAX_OPS);
    for (unsigned i = 0; i < rows.rows; i++) {
        int64_t n = strtoll(rows.cells[i].base, NULL, 10);
        assert_int_equal(there[n], 0); /* nothing twice */
        there[n] = 1;
    }
    for (int64_t i = 0; i < load.next; i++) {
        counts[load.outcome[i]]++;
        assert_int_not_equal(load.outcome[i], PENDING);
        if (load.outcome[i] == STORED)
            assert_true(there[i]);
        else if (load.outcome[i] == FAILED_UNSENT)
            assert_false(there[i]);
    }
    free(there);
    h2o_mem_clear_pool(&pool);
}

static void *restart_thread(void *arg)
{
    pg_ctl(arg);
    return NULL;
}

/* pg_ctl runs beside the load. */
static void restart_under_load(const char *args)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, restart_thread, (void *)args), 0);
    while (pthread_tryjoin_np(thread, NULL) != 0)
        load_step(true);
}

static void a_restart_under_load_loses_nothing(void **state UNUSED)
{
    memset(&load, 0, sizeof(load));
    memset(load.id, 0xff, sizeof(load.id));
    load.loop = start(&db_fixture_config);
    load_until_stored(500);
    int fds = count_fds();
    admin_close();
    static const char *const how[] = {"-m immediate -w restart", "-m fast -w restart",
                                      "-m immediate -w restart"};
    for (size_t i = 0; i < COUNTOF(how); i++) {
        restart_under_load(how[i]);
        load_until_stored(500);
        UNTIL(load.loop, db_get_stats(loop_svc(load.loop)->db).reconnects >= 2 * (i + 1));
    }
    while (!load_is_over())
        load_step(false);
    admin_open();
    assert_int_equal(count_fds(), fds);
    unsigned counts[4] = {0};
    load_check(counts);
    struct db_stats s = db_get_stats(loop_svc(load.loop)->db);
    assert_int_equal(s.uncertain, counts[FAILED_SENT]);
    print_message("restarts: %u stored, %u failed unsent, %u uncertain\n", counts[STORED],
                  counts[FAILED_UNSENT], counts[FAILED_SENT]);
    stop(load.loop);
}

static void a_database_that_is_away_is_503_in_time(void **state UNUSED)
{
    struct db_config cfg = db_fixture_config;
    cfg.wait_ms = 300;
    struct loop *l = start(&cfg);
    struct op op;
    admin_close();
    pg_ctl("-m fast -w stop");
    UNTIL(l, !db_is_up(loop_svc(l)->db));
    uint64_t from = clock_mono_ms();
    op_insert(&op, l, "away", 1);
    UNTIL(l, op_over(&op));
    assert_true(op.failed && !op.sent);
    assert_int_equal(op.err.code, CODE_UNAVAILABLE);
    assert_true(clock_mono_ms() - from >= 290);
    op_end(&op);
    pg_ctl("-w start >/dev/null");
    UNTIL(l, db_is_up(loop_svc(l)->db));
    op_insert(&op, l, "back", 1);
    UNTIL(l, op_over(&op));
    assert_true(op.done);
    op_end(&op);
    stop(l);
    admin_open();
}

static void one_connection_is_enough(void **state UNUSED)
{
    char url[1024];
    sql("DROP ROLE IF EXISTS narrow");
    sql("CREATE ROLE narrow LOGIN CONNECTION LIMIT 1; GRANT ALL ON ALL TABLES IN SCHEMA public TO narrow");
    snprintf(url, sizeof(url), "%s&user=narrow", getenv("PG_URL"));
    struct db_config cfg = db_fixture_config;
    cfg.url = url;
    struct loop *l = loop_new(0);
    log_init(STDERR_FILENO, -1);
    db_start(l, &cfg);
    UNTIL(l, db_is_up(loop_svc(l)->db));
    struct op op;
    op_insert(&op, l, "narrow", 1);
    UNTIL(l, op_over(&op));
    assert_true(op.done);
    op_end(&op);
    stop(l);
    log_init(STDERR_FILENO, LOG_LEVEL_ERROR);
    sql("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM narrow");
}

static void of_several_hosts_the_one_that_takes_writes_is_used(void **state UNUSED)
{
    char url[1024];
    snprintf(url, sizeof(url), "host=/nonexistent,%s/sock port=%s,%s user=portico dbname=portico",
             getenv("PG_DIR"), getenv("PG_PORT"), getenv("PG_PORT"));
    struct db_config cfg = db_fixture_config;
    cfg.url = url;
    sql("ALTER ROLE portico SET default_transaction_read_only = on");
    struct loop *l = loop_new(0);
    log_capture();
    db_start(l, &cfg);
    UNTIL(l, log_lines() >= 2);
    assert_false(db_is_up(loop_svc(l)->db));
    log_release();
    assert_non_null(strstr(log_text, "read-only"));
    sql("ALTER ROLE portico RESET default_transaction_read_only");
    UNTIL(l, db_is_up(loop_svc(l)->db));
    struct op op;
    op_insert(&op, l, "hosts", 1);
    UNTIL(l, op_over(&op));
    assert_true(op.done);
    op_end(&op);
    stop(l);
}

/* ---- a figure, for the reader ---- */

static void throughput(void **state UNUSED)
{
    memset(&load, 0, sizeof(load));
    memset(load.id, 0xff, sizeof(load.id));
    load.loop = start(&db_fixture_config);
    uint64_t from = clock_mono_ms();
    load_until_stored(5000);
    uint64_t took = clock_mono_ms() - from;
    while (!load_is_over())
        load_step(false);
    struct db_stats s = db_get_stats(loop_svc(load.loop)->db);
    print_message("throughput: %u inserts of %d clients in %" PRIu64 " ms, %.1f per commit\n", load.stored,
                  SLOTS, took, (double)s.units / (double)s.commits);
    stop(load.loop);
}

int main(int argc UNUSED, char **argv)
{
    db_fixture_enter(argv);
#define TEST(f) cmocka_unit_test_setup(f, db_fixture_fresh)
    const struct CMUnitTest tests[] = {
        TEST(an_older_schema_is_named_and_waited_for),
        TEST(what_was_sent_is_uncertain_what_was_not_is_sent_later),
        TEST(a_silent_server_counts_as_lost),
        TEST(a_restart_under_load_loses_nothing),
        TEST(a_database_that_is_away_is_503_in_time),
        TEST(one_connection_is_enough),
        TEST(of_several_hosts_the_one_that_takes_writes_is_used),
        TEST(throughput),
    };
    return cmocka_run_group_tests(tests, db_fixture_setup, db_fixture_teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* io/db on a real PostgreSQL: group commit, re-runs after an error, nonces at two gateways, values. */
#include "db_fixture.h"

#include <pthread.h>
#include <stdio.h>

/* ---- group commit ---- */

static void units_that_wait_share_a_commit(void **state UNUSED)
{
    struct loop *l = start(&db_fixture_config);
    enum { N = 200 };
    static struct op ops[N];
    for (int i = 0; i < N; i++)
        op_insert(&ops[i], l, "group", i);
    for (int i = 0; i < N; i++) {
        UNTIL(l, op_over(&ops[i]));
        assert_true(ops[i].done);
        assert_int_equal(db_get_int(ops[i].unit, 0, 0, 0), i);
        assert_int_equal(db_affected(ops[i].unit, 0), 1);
        op_end(&ops[i]);
    }
    struct db_stats s = db_get_stats(loop_svc(l)->db);
    assert_int_equal(s.units, N);
    assert_int_equal(s.statements, N);
    assert_int_equal(s.batches, (N + 63) / 64);
    assert_int_equal(s.syncs, s.batches);
    assert_int_equal(s.commits, s.batches);
    assert_int_equal(sql_int("SELECT count(*) FROM t"), N);
    assert_int_equal(sql_int("SELECT count(DISTINCT xmin::text) FROM t"), (int64_t)s.batches);
    stop(l);
}

static bool seen_by_another_session;

static void look_from_outside(struct op *op UNUSED)
{
    seen_by_another_session = sql_int("SELECT count(*) FROM t WHERE who = 'durable'") == 1;
}

static void a_callback_sees_what_is_committed(void **state UNUSED)
{
    struct loop *l = start(&db_fixture_config);
    struct op op;
    seen_by_another_session = false;
    op_init(&op, l);
    op.then = look_from_outside;
    DB_ADD(op.unit, INS, DB_TEXT(IOV("durable")), DB_INT(1));
    op_run(&op);
    UNTIL(l, op_over(&op));
    assert_true(seen_by_another_session);
    op_end(&op);
    stop(l);
}

static void statements_keep_their_order_and_see_those_before(void **state UNUSED)
{
    struct loop *l = start(&db_fixture_config);
    struct op ops[40];
    for (int i = 0; i < 40; i++) {
        op_init(&ops[i], l);
        db_unit_lock_key(ops[i].unit, (uint64_t)(40 - i)); /* the batch runs them backwards */
        assert_int_equal(DB_ADD(ops[i].unit, COUNT, DB_TEXT(IOV("seq"))), 0);
        assert_int_equal(DB_ADD(ops[i].unit, INS, DB_TEXT(IOV("seq")), DB_INT(i)), 1);
        assert_int_equal(DB_ADD(ops[i].unit, COUNT, DB_TEXT(IOV("seq"))), 2);
        op_run(&ops[i]);
    }
    for (int i = 0; i < 40; i++) {
        UNTIL(l, op_over(&ops[i]));
        assert_int_equal(db_get_int(ops[i].unit, 0, 0, 0), 39 - i);
        assert_int_equal(db_get_int(ops[i].unit, 1, 0, 0), i);
        assert_int_equal(db_get_int(ops[i].unit, 2, 0, 0), 40 - i);
        op_end(&ops[i]);
    }
    assert_int_equal(db_get_stats(loop_svc(l)->db).batches, 1);
    stop(l);
}

static void a_unit_without_statements_ends_too(void **state UNUSED)
{
    struct loop *l = start(&db_fixture_config);
    struct op ops[3];
    for (int i = 0; i < 3; i++) {
        op_init(&ops[i], l);
        if (i == 1)
            DB_ADD(ops[i].unit, COUNT, DB_TEXT(IOV("x")));
        op_run(&ops[i]);
    }
    for (int i = 0; i < 3; i++) {
        UNTIL(l, op_over(&ops[i]));
        assert_true(ops[i].done);
        op_end(&ops[i]);
    }
    stop(l);
}

/* ---- errors ---- */

static void one_bad_member_does_not_spoil_the_others(void **state UNUSED)
{
    struct loop *l = start(&db_fixture_config);
    struct op ops[11];
    for (int i = 0; i < 10; i++) {
        op_init(&ops[i], l);
        DB_ADD(ops[i].unit, INS, DB_TEXT(IOV("member")), DB_INT(i));
        DB_ADD(ops[i].unit, DIV, DB_INT(i == 4 ? 0 : 1));
        DB_ADD(ops[i].unit, COUNT, DB_TEXT(IOV("member")));
        op_run(&ops[i]);
    }
    UNTIL(l, db_get_stats(loop_svc(l)->db).reruns > 0);
    op_insert(&ops[10], l, "meanwhile", 1); /* goes through the main connection */
    for (int i = 0; i < 11; i++) {
        UNTIL(l, op_over(&ops[i]));
        assert_int_equal(ops[i].failed, i == 4);
        if (i < 4)
            assert_int_equal(db_get_int(ops[i].unit, 2, 0, 0), i + 1); /* results of the re-run, in order */
    }
    assert_int_equal(ops[4].err.code, 0);
    assert_false(ops[4].sent);
    assert_non_null(strstr(ops[4].err.cause, "DIV"));
    assert_non_null(strstr(ops[4].err.cause, "test.sql:DIV"));
    assert_non_null(strstr(ops[4].err.cause, "22012"));
    assert_null(strstr(ops[4].err.detail, "DIV"));
    assert_int_equal(sql_int("SELECT count(*) FROM t WHERE who = 'member'"), 9);
    struct db_stats s = db_get_stats(loop_svc(l)->db);
    assert_int_equal(s.reruns, 10);
    assert_int_equal(s.batches, 2);
    assert_int_equal(s.errors, 1);
    assert_int_equal(s.commits, 10);
    for (int i = 0; i < 11; i++)
        op_end(&ops[i]);
    stop(l);
}

static void text_that_the_server_would_refuse_fails_alone(void **state UNUSED)
{
    static const char *const bad[] = {"\xff", "a\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"};
    struct loop *l = start(&db_fixture_config);
    struct op good, nul, ops[COUNTOF(bad)], array;
    op_init(&nul, l);
    DB_ADD(nul.unit, INS, DB_TEXT(((iov_t){(char *)"a\0b", 3})), DB_INT(1));
    op_run(&nul);
    for (size_t i = 0; i < COUNTOF(bad); i++)
        op_insert(&ops[i], l, bad[i], 1);
    op_insert(&good, l, "\xf4\x8f\xbf\xbf\xed\x9f\xbf\xc2\x80", 1);
    op_init(&array, l);
    iov_t texts[] = {IOV("ok"), iov_of("\x80")};
    DB_ADD(array.unit, ECHO, DB_NULL, DB_NULL, DB_TEXTS(texts, 2), DB_NULL, DB_NULL);
    op_run(&array);
    UNTIL(l, op_over(&good) && op_over(&array));
    assert_true(good.done);
    assert_true(nul.failed && array.failed);
    assert_non_null(strstr(nul.err.cause, "INS"));
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        assert_true(ops[i].failed && !ops[i].sent);
        op_end(&ops[i]);
    }
    assert_int_equal(db_get_stats(loop_svc(l)->db).reruns, 0);
    op_end(&good);
    op_end(&nul);
    op_end(&array);
    stop(l);
}

static void an_error_at_commit_is_reported(void **state UNUSED)
{
    struct loop *l = start(&db_fixture_config);
    struct op ops[3];
    for (int i = 0; i < 3; i++) {
        op_init(&ops[i], l);
        DB_ADD(ops[i].unit, DEFERRED, DB_INT(i));
        if (i == 1)
            DB_ADD(ops[i].unit, DEFERRED, DB_INT(i));
        op_run(&ops[i]);
    }
    for (int i = 0; i < 3; i++) {
        UNTIL(l, op_over(&ops[i]));
        assert_int_equal(ops[i].failed, i == 1);
    }
    assert_non_null(strstr(ops[1].err.cause, "commit"));
    assert_non_null(strstr(ops[1].err.cause, "23505"));
    assert_int_equal(sql_int("SELECT count(*) FROM deferred"), 2);
    for (int i = 0; i < 3; i++)
        op_end(&ops[i]);
    stop(l);
}

static void a_held_lock_is_waited_for_then_unavailable(void **state UNUSED)
{
    struct db_config cfg = db_fixture_config;
    cfg.lock_timeout_ms = 50;
    struct loop *l = start(&cfg);
    struct op ops[3];
    sql("BEGIN; UPDATE counter SET n = 5 WHERE id = 1");
    for (int i = 0; i < 3; i++) {
        op_init(&ops[i], l);
        DB_ADD(ops[i].unit, BUMP, DB_INT(i));
        op_run(&ops[i]);
    }
    for (int i = 0; i < 3; i++)
        UNTIL(l, op_over(&ops[i]));
    assert_true(ops[0].done && ops[1].failed && ops[2].done);
    assert_int_equal(ops[1].err.code, CODE_UNAVAILABLE);
    assert_int_equal(ops[1].err.retry_after_s, 1);
    assert_non_null(strstr(ops[1].err.cause, "55P03"));
    assert_int_equal(db_get_stats(loop_svc(l)->db).reruns, 3 + 3); /* each once, then three tries */
    sql("ROLLBACK");
    for (int i = 0; i < 3; i++)
        op_end(&ops[i]);

    /* Released after the first refusal: nobody notices. */
    sql("BEGIN; UPDATE counter SET n = 5 WHERE id = 1");
    op_init(&ops[0], l);
    DB_ADD(ops[0].unit, BUMP, DB_INT(1));
    op_run(&ops[0]);
    UNTIL(l, db_get_stats(loop_svc(l)->db).reruns > 6);
    sql("ROLLBACK");
    UNTIL(l, op_over(&ops[0]));
    assert_true(ops[0].done);
    assert_int_equal(db_get_int(ops[0].unit, 0, 0, 0), 1);
    op_end(&ops[0]);
    stop(l);
}

static void a_statement_that_takes_too_long_is_unavailable(void **state UNUSED)
{
    struct db_config cfg = db_fixture_config;
    cfg.statement_timeout_ms = 100;
    struct loop *l = start(&cfg);
    struct op op;
    op_init(&op, l);
    DB_ADD(op.unit, SLEEP, DB_TEXT(IOV("30")));
    op_run(&op);
    UNTIL(l, op_over(&op));
    assert_true(op.failed && !op.sent);
    assert_int_equal(op.err.code, CODE_UNAVAILABLE);
    assert_non_null(strstr(op.err.cause, "57014"));
    op_end(&op);
    stop(l);
}

static void a_changed_schema_is_prepared_anew(void **state UNUSED)
{
    sql("DROP TABLE shape; CREATE TABLE shape (a int)");
    struct loop *l = start(&db_fixture_config);
    struct op ops[8];
    for (int i = 0; i < 8; i++) {
        op_init(&ops[i], l);
        db_add(ops[i].unit, SHAPE, NULL, 0);
        op_run(&ops[i]);
        if (i == 3) {
            UNTIL(l, op_over(&ops[3]));
            sql("ALTER TABLE shape ADD COLUMN b int; INSERT INTO shape VALUES (1, 2)");
        }
    }
    for (int i = 0; i < 8; i++) {
        UNTIL(l, op_over(&ops[i]));
        assert_true(ops[i].done);
    }
    assert_int_equal(db_rows(ops[0].unit, 0), 0);
    assert_int_equal(db_get_int(ops[7].unit, 0, 0, 1), 2);
    for (int i = 0; i < 8; i++)
        op_end(&ops[i]);
    sql("DROP TABLE shape; CREATE TABLE shape (a int)");
    stop(l);
}

/* ---- nonces ---- */

static void gate_seen(struct op *op)
{
    op->won = db_get_bool(op->unit, 0, 0, 0);
}

static void op_spend(struct op *op, struct loop *l, iov_t nonce, int64_t slot)
{
    op_init(op, l);
    op->then = gate_seen;
    db_unit_nonce(op->unit, nonce, slot);
    assert_int_equal(db_unit_tag(op->unit).len, 32);
    DB_ADD(op->unit, GATE, DB_INT(slot), DB_TEXT(nonce), DB_TEXT(db_unit_tag(op->unit)));
    op_run(op);
}

static void a_nonce_twice_in_a_batch_is_good_once(void **state UNUSED)
{
    struct loop *l = start(&db_fixture_config);
    struct op ops[4], again;
    for (int i = 0; i < 4; i++)
        op_spend(&ops[i], l, IOV("twice"), 2);
    int won = 0, winner = -1;
    for (int i = 0; i < 4; i++) {
        UNTIL(l, op_over(&ops[i]));
        assert_true(ops[i].done);
        won += ops[i].won;
        winner = ops[i].won ? i : winner;
    }
    assert_int_equal(won, 1);
    assert_int_equal(db_get_stats(loop_svc(l)->db).batches, 1);

    /* A second unit of the winning request keeps the tag. */
    op_init(&again, l);
    again.then = gate_seen;
    iov_t tag = db_unit_tag(ops[winner].unit);
    db_unit_inherit_nonce(again.unit, IOV("twice"), tag);
    DB_ADD(again.unit, GATE, DB_INT(2), DB_TEXT(IOV("twice")), DB_TEXT(tag));
    op_run(&again);
    UNTIL(l, op_over(&again));
    assert_true(again.won);
    op_end(&again);
    op_spend(&again, l, IOV("twice"), 2);
    UNTIL(l, op_over(&again));
    assert_true(again.done && !again.won);
    op_end(&again);
    for (int i = 0; i < 4; i++)
        op_end(&ops[i]);
    stop(l);
}

/* Two gateways: each spends the same nonces, in opposite orders, while both also lock the same rows
 * crosswise. */
enum { ROUNDS = 40, NONCES = 24 };
struct gateway {
    bool backwards;
    pthread_barrier_t *barrier;
    bool won[ROUNDS][NONCES];
    struct db_stats stats;
    unsigned failed;
};

static void *gateway_run(void *arg)
{
    struct gateway *g = arg;
    struct loop *l = loop_new(g->backwards);
    db_start(l, &db_fixture_config);
    while (!db_is_up(loop_svc(l)->db))
        loop_turn(l, 20);
    static _Thread_local struct op ops[NONCES];
    static _Thread_local char names[NONCES][32];
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(g->barrier);
        for (int k = 0; k < NONCES; k++) {
            int i = g->backwards ? NONCES - 1 - k : k;
            iov_t nonce = {names[i], (size_t)snprintf(names[i], sizeof(names[i]), "nonce-%d-%d", round, i)};
            op_init(&ops[i], l);
            ops[i].then = gate_seen;
            db_unit_nonce(ops[i].unit, nonce, i % 4);
            DB_ADD(ops[i].unit, GATE, DB_INT(i % 4), DB_TEXT(nonce), DB_TEXT(db_unit_tag(ops[i].unit)));
            DB_ADD(ops[i].unit, BUMP, DB_INT(i));
            db_unit_lock_key(ops[i].unit, db_key(nonce));
            op_run(&ops[i]);
            if (k % 8 == 7)
                loop_turn(l, 0); /* several batches */
        }
        for (int i = 0; i < NONCES; i++) {
            while (!op_over(&ops[i]))
                loop_turn(l, 20);
            g->failed += ops[i].failed;
            g->won[round][i] = ops[i].won;
            task_unref(&ops[i].task);
        }
    }
    g->stats = db_get_stats(loop_svc(l)->db);
    stop(l);
    return NULL;
}

static void a_nonce_is_good_once_at_two_gateways(void **state UNUSED)
{
    static struct gateway g[2];
    pthread_barrier_t barrier;
    pthread_t threads[2];
    pthread_barrier_init(&barrier, NULL, 2);
    for (int i = 0; i < 2; i++) {
        g[i] = (struct gateway){.backwards = i == 1, .barrier = &barrier};
        assert_int_equal(pthread_create(&threads[i], NULL, gateway_run, &g[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < NONCES; i++)
            assert_int_equal(g[0].won[round][i] + g[1].won[round][i], 1);
    }
    assert_int_equal(g[0].failed + g[1].failed, 0);
    assert_true(g[0].stats.batches < ROUNDS * NONCES && g[1].stats.batches < ROUNDS * NONCES);
    assert_int_equal(sql_int("SELECT sum(n) FROM counter"), 2 * ROUNDS * NONCES);
}

/* Two gateways whose units lock the same two rows in opposite orders. */
enum { CROSSINGS = 30 };
struct crossing {
    bool backwards;
    pthread_barrier_t *barrier;
    unsigned done, other;
};

static void *crossing_run(void *arg)
{
    struct crossing *x = arg;
    struct db_config cfg = db_fixture_config;
    cfg.lock_timeout_ms = 20;
    struct loop *l = loop_new(x->backwards);
    db_start(l, &cfg);
    while (!db_is_up(loop_svc(l)->db))
        loop_turn(l, 20);
    for (int round = 0; round < CROSSINGS; round++) {
        struct op op;
        pthread_barrier_wait(x->barrier);
        op_init(&op, l);
        DB_ADD(op.unit, BUMP, DB_INT(x->backwards ? 2 : 1));
        DB_ADD(op.unit, SLEEP, DB_TEXT(IOV("0.002")));
        DB_ADD(op.unit, BUMP, DB_INT(x->backwards ? 1 : 2));
        op_run(&op);
        while (!op_over(&op))
            loop_turn(l, 20);
        x->done += op.done;
        x->other += op.failed && op.err.code != CODE_UNAVAILABLE;
        task_unref(&op.task);
    }
    stop(l);
    return NULL;
}

static void crosswise_locks_come_apart(void **state UNUSED)
{
    struct crossing x[2];
    pthread_barrier_t barrier;
    pthread_t threads[2];
    pthread_barrier_init(&barrier, NULL, 2);
    for (int i = 0; i < 2; i++) {
        x[i] = (struct crossing){.backwards = i == 1, .barrier = &barrier};
        assert_int_equal(pthread_create(&threads[i], NULL, crossing_run, &x[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    assert_int_equal(x[0].other + x[1].other, 0);
    assert_true(x[0].done + x[1].done >= CROSSINGS); /* no livelock */
    assert_int_equal(sql_int("SELECT n FROM counter WHERE id = 1"), x[0].done + x[1].done);
    assert_int_equal(sql_int("SELECT n FROM counter WHERE id = 2"), x[0].done + x[1].done);
    print_message("crosswise locks: %u of %d units came through\n", x[0].done + x[1].done, 2 * CROSSINGS);
}

/* ---- tasks that end early ---- */

static void nobody_hears_of_a_cancelled_task(void **state UNUSED)
{
    struct loop *l = start(&db_fixture_config);
    struct op unsent, sent, marker;
    op_init(&sent, l);
    DB_ADD(sent.unit, INS, DB_TEXT(IOV("sent")), DB_INT(1));
    DB_ADD(sent.unit, SLEEP, DB_TEXT(IOV("0.05")));
    op_run(&sent);
    loop_turn(l, 0);
    assert_int_equal(db_get_stats(loop_svc(l)->db).batches, 1);
    task_cancel(&sent.task);
    op_insert(&unsent, l, "unsent", 1);
    task_cancel(&unsent.task);
    task_unref(&sent.task);
    task_unref(&unsent.task);
    assert_false(sent.freed || unsent.freed); /* db holds a reference */
    op_insert(&marker, l, "marker", 1);
    UNTIL(l, op_over(&marker));
    assert_true(sent.freed);
    assert_true(unsent.freed);
    assert_false(op_over(&sent) || op_over(&unsent));
    assert_int_equal(sql_int("SELECT count(*) FROM t WHERE who = 'sent'"), 1);
    assert_int_equal(sql_int("SELECT count(*) FROM t WHERE who = 'unsent'"), 0);
    op_end(&marker);
    stop(l);
}

static void stopping_answers_everybody(void **state UNUSED)
{
    struct loop *l = start(&db_fixture_config);
    struct op flying, waiting, late;
    op_init(&flying, l);
    DB_ADD(flying.unit, SLEEP, DB_TEXT(IOV("30")));
    op_run(&flying);
    loop_turn(l, 0);
    op_insert(&waiting, l, "waiting", 1);
    db_stop(l);
    assert_true(flying.failed && flying.sent);
    assert_true(waiting.failed && !waiting.sent);
    assert_null(loop_svc(l)->db);
    op_insert(&late, l, "late", 1);
    loop_turn(l, 0);
    assert_true(late.failed && !late.sent);
    loop_free(l);
    op_end(&flying);
    op_end(&waiting);
    op_end(&late);

    /* Before it ever connected. */
    l = loop_new(0);
    db_start(l, &db_fixture_config);
    stop(l);
}

/* ---- values ---- */

static void values_come_back_as_they_went(void **state UNUSED)
{
    static const char *const hostile[] = {
        "",
        "NULL",
        "null",
        "a,b",
        "{}",
        "{\"a\"}",
        "\"",
        "\\",
        "\\\\\"",
        "'; DROP TABLE t; --",
        " leading",
        "trailing ",
        "tab\tnewline\nreturn\r",
        "\x01\x7f",
        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91",
        "$1",
        "\\x41",
        "%s%n",
    };
    iov_t texts[COUNTOF(hostile) + 1];
    for (size_t i = 0; i < COUNTOF(hostile); i++)
        texts[i] = iov_of(hostile[i]);
    texts[COUNTOF(hostile)] = IOV_NULL;
    char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    struct loop *l = start(&db_fixture_config);
    struct op ops[COUNTOF(hostile)], all, nulls, empty, ints;
    for (size_t i = 0; i < COUNTOF(hostile); i++) {
        op_init(&ops[i], l);
        DB_ADD(ops[i].unit, ECHO, DB_TEXT(texts[i]), DB_BYTEA(texts[i]), DB_TEXTS(&texts[i], 1),
               DB_INT((int64_t)i - 3), DB_BOOL(i % 2));
        op_run(&ops[i]);
    }
    op_init(&all, l);
    char many[70000]; /* more than libpq's and our first buffers */
    memset(many, 'm', sizeof(many));
    DB_ADD(all.unit, ECHO, DB_TEXT(((iov_t){many, sizeof(many)})), DB_BYTEA(((iov_t){bytes, 256})),
           DB_TEXTS(texts, COUNTOF(texts)), DB_INT(INT64_MIN), DB_BOOL(true));
    op_run(&all);
    op_init(&nulls, l);
    DB_ADD(nulls.unit, ECHO, DB_TEXT(IOV_NULL), DB_BYTEA(IOV_NULL), DB_NULL, DB_NULL, DB_NULL);
    op_run(&nulls);
    op_init(&empty, l);
    DB_ADD(empty.unit, ECHO, DB_TEXT(IOV("")), DB_BYTEA(IOV("")), DB_TEXTS(texts, 0), DB_INT(INT64_MAX),
           DB_BOOL(false));
    op_run(&empty);
    op_init(&ints, l);
    int64_t numbers[] = {INT64_MIN, -1, 0, INT64_MAX};
    DB_ADD(ints.unit, INTS, DB_INTS(numbers, 4));
    DB_ADD(ints.unit, INTS, DB_INTS(numbers, 0));
    op_run(&ints);
    UNTIL(l, op_over(&ints));

    for (size_t i = 0; i < COUNTOF(hostile); i++) {
        assert_true(ops[i].done);
        assert_true(iov_eq(db_get(ops[i].unit, 0, 0, 0), texts[i]));
        assert_true(iov_eq(db_get_bytea(ops[i].unit, 0, 0, 1), texts[i]));
        struct iovs one = db_get_texts(ops[i].unit, 0, 0, 2);
        assert_int_equal(one.n, 1);
        assert_true(iov_eq(one.v[0], texts[i]));
        assert_int_equal(db_get_int(ops[i].unit, 0, 0, 3), (int64_t)i - 3);
        assert_int_equal(db_get_bool(ops[i].unit, 0, 0, 4), i % 2);
        op_end(&ops[i]);
    }
    assert_int_equal(db_get(all.unit, 0, 0, 0).len, sizeof(many));
    assert_true(iov_eq(db_get_bytea(all.unit, 0, 0, 1), (iov_t){bytes, 256}));
    struct iovs list = db_get_texts(all.unit, 0, 0, 2);
    assert_int_equal(list.n, COUNTOF(texts));
    for (size_t i = 0; i < COUNTOF(hostile); i++)
        assert_true(iov_eq(list.v[i], texts[i]));
    assert_null(list.v[COUNTOF(hostile)].base);
    assert_true(db_get_int(all.unit, 0, 0, 3) == INT64_MIN);
    for (unsigned col = 0; col < 5; col++)
        assert_true(db_is_null(nulls.unit, 0, 0, col));
    assert_null(db_get_bytea(nulls.unit, 0, 0, 1).base);
    assert_int_equal(db_get_texts(nulls.unit, 0, 0, 2).n, 0);
    assert_int_equal(db_get_int(nulls.unit, 0, 0, 3), 0);
    assert_false(db_get_bool(nulls.unit, 0, 0, 4));
    assert_true(db_is_null(nulls.unit, 0, 7, 0)); /* no such row */
    assert_non_null(db_get(empty.unit, 0, 0, 0).base);
    assert_non_null(db_get_bytea(empty.unit, 0, 0, 1).base);
    assert_int_equal(db_get_bytea(empty.unit, 0, 0, 1).len, 0);
    assert_int_equal(db_get_texts(empty.unit, 0, 0, 2).n, 0);
    assert_true(db_get_int(empty.unit, 0, 0, 3) == INT64_MAX);
    assert_int_equal(db_get_int(ints.unit, 0, 0, 0), -2);
    assert_int_equal(db_get_int(ints.unit, 0, 0, 1), 4);
    assert_true(db_is_null(ints.unit, 1, 0, 0));
    op_end(&all);
    op_end(&nulls);
    op_end(&empty);
    op_end(&ints);
    stop(l);
}

static void large_answers_come_through_tls(void **state UNUSED)
{
    struct db_config cfg = db_fixture_config;
    cfg.url = getenv("PG_TCP_URL");
    struct loop *l = start(&cfg);
    for (int round = 0; round < 20; round++) {
        struct op op;
        op_init(&op, l);
        DB_ADD(op.unit, MANY, DB_TEXT(IOV("300")), DB_TEXT(iov_of(round % 2 ? "3001" : "77")));
        op_run(&op);
        UNTIL(l, op_over(&op));
        assert_true(op.done);
        assert_int_equal(db_rows(op.unit, 0), 300);
        assert_int_equal(db_get(op.unit, 0, 299, 1).len, round % 2 ? 3001 : 77);
        op_end(&op);
    }
    stop(l);
}

/* ---- the blocking connection ---- */

static void the_blocking_connection_says_what_is_wrong(void **state UNUSED)
{
    struct err e = ERR_INIT;
    assert_null(db_sync_open("postgresql:///portico?host=/nonexistent", &e));
    assert_non_null(strstr(e.detail, "/nonexistent"));
    assert_null(db_sync_open("postgresql://u:sesame@h:port/x?y", &e));
    assert_null(strstr(e.detail, "sesame"));
    assert_false(db_sync_exec(
        admin_session(), "CREATE TABLE sync_a (a int); SELECT nonsense; CREATE TABLE sync_b (a int)", &e));
    assert_non_null(strstr(e.detail, "nonsense"));
    assert_non_null(strstr(e.detail, "42703"));
    assert_int_equal(sql_int("SELECT count(*) FROM pg_class WHERE relname LIKE 'sync\\__'"), 0);
    assert_false(db_sync_exec(admin_session(), "COPY t FROM STDIN", &e));

    pool_t pool;
    struct db_table out;
    h2o_mem_init_pool(&pool);
    struct db_param params[] = {DB_TEXT(IOV("it's")), DB_NULL, DB_BYTEA(IOV("\x01"))};
    assert_true(db_sync_query(admin_session(), &pool, "SELECT $1::text AS a, $2::text AS b, $3::bytea AS c",
                              params, 3, &out, &e));
    assert_int_equal(out.rows, 1);
    assert_int_equal(out.cols, 3);
    assert_string_equal(out.names[2], "c");
    assert_true(iov_is(out.cells[0], "it's"));
    assert_null(out.cells[1].base);
    assert_true(iov_is(out.cells[2], "\\x01"));
    assert_true(db_sync_query(admin_session(), &pool, "DELETE FROM t WHERE false", NULL, 0, &out, &e));
    assert_int_equal(out.rows, 0);
    params[0] = DB_TEXT(IOV("\xff"));
    assert_false(
        db_sync_query(admin_session(), &pool, "SELECT $1::text, $2::text, $3::bytea", params, 3, &out, &e));
    h2o_mem_clear_pool(&pool);
}

int main(int argc UNUSED, char **argv)
{
    db_fixture_enter(argv);
#define TEST(f) cmocka_unit_test_setup(f, db_fixture_fresh)
    const struct CMUnitTest tests[] = {
        TEST(units_that_wait_share_a_commit),
        TEST(a_callback_sees_what_is_committed),
        TEST(statements_keep_their_order_and_see_those_before),
        TEST(a_unit_without_statements_ends_too),
        TEST(one_bad_member_does_not_spoil_the_others),
        TEST(text_that_the_server_would_refuse_fails_alone),
        TEST(an_error_at_commit_is_reported),
        TEST(a_held_lock_is_waited_for_then_unavailable),
        TEST(a_statement_that_takes_too_long_is_unavailable),
        TEST(a_changed_schema_is_prepared_anew),
        TEST(a_nonce_twice_in_a_batch_is_good_once),
        TEST(a_nonce_is_good_once_at_two_gateways),
        TEST(crosswise_locks_come_apart),
        TEST(nobody_hears_of_a_cancelled_task),
        TEST(stopping_answers_everybody),
        TEST(values_come_back_as_they_went),
        TEST(large_answers_come_through_tls),
        TEST(the_blocking_connection_says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, db_fixture_setup, db_fixture_teardown);
}

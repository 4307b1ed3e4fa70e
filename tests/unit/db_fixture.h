/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of io/db share: a few statements and tables, a unit with what became of it, a loop that
 * is connected to the PostgreSQL which pg.sh started. */
#ifndef PORTICO_DB_FIXTURE_H
#define PORTICO_DB_FIXTURE_H

#include <stdlib.h>
#include <unistd.h>
#include "unit.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/db.h"

#define PATIENCE_MS 60000 /* for conditions that come within milliseconds on an idle machine */

enum { CODE_UNAVAILABLE = 77 };

enum { NONCE_SPEND, GATE, INS, COUNT, DIV, SLEEP, ECHO, BUMP, SHAPE, DEFERRED, MANY, INTS, STMT_COUNT };

/* ---- one unit and what became of it ---- */

struct op {
    struct task task;
    struct db_unit *unit;
    void (*then)(struct op *op);
    bool done, failed, sent, freed, won, own_error;
    struct err err;
};

void op_init(struct op *op, struct loop *l);
void op_run(struct op *op);
/* The usual unit of these tests: one row of t. */
void op_insert(struct op *op, struct loop *l, const char *who, int64_t n);
bool op_over(const struct op *op);
/* Lets go of it; nobody else may hold it. */
void op_end(struct op *op);

/* Turns the loop until the expression holds. */
#define UNTIL(l, cond)                                                                                       \
    do {                                                                                                     \
        uint64_t until_ = clock_mono_ms() + PATIENCE_MS;                                                     \
        while (!(cond)) {                                                                                    \
            if (clock_mono_ms() > until_)                                                                    \
                fail_msg("never came true: %s", #cond);                                                      \
            loop_turn((l), 20);                                                                              \
        }                                                                                                    \
    } while (0)

/* ---- the world around ---- */

extern struct db_config db_fixture_config;
void sql(const char *text);
int64_t sql_int(const char *text);
/* The session behind sql(): closed and opened around a restart; rows for what sql_int() cannot say. */
struct db_sync *admin_session(void);
void admin_open(void);
void admin_close(void);
/* pg_ctl on the cluster. */
void pg_ctl(const char *args);

/* A loop with both connections up. */
struct loop *start(const struct db_config *cfg);
void stop(struct loop *l);

/* Runs the program once more under pg.sh unless that was done; before anything else in main(). */
void db_fixture_enter(char **argv);
int db_fixture_setup(void **state);
int db_fixture_teardown(void **state);
/* Before each test: empty tables, counters 0 to 99. */
int db_fixture_fresh(void **state);

#endif

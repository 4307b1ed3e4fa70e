/* SPDX-License-Identifier: Apache-2.0 */
/* Units and their queues: what waits, what is run again, what fails; start, stop and counters of a loop's
 * database. */
#include "io/db_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

static void random_bytes(void *to, size_t n)
{
    if (getrandom(to, n, 0) != (ssize_t)n)
        abort(); /* the kernel's generator is not initialised or not there */
}

/* Jitter, not secrets. */
uint64_t db_random(struct db *db, uint64_t below)
{
    db->random ^= db->random << 13;
    db->random ^= db->random >> 7;
    db->random ^= db->random << 17;
    return db->random % below;
}

void db_count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* ---- queues ---- */

void db_units_init(struct db_units *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

void db_units_push(struct db_units *q, struct db_unit *u)
{
    u->next = NULL;
    *q->tail = u;
    q->tail = &u->next;
}

struct db_unit *db_units_pop(struct db_units *q)
{
    struct db_unit *u = q->head;
    if (u != NULL && (q->head = u->next) == NULL)
        q->tail = &q->head;
    return u;
}

/* ---- a unit's end ---- */

void db_unit_done(struct db *db, struct db_unit *u)
{
    struct task *t = u->task;
    db_count(&db->stats.units, 1);
    if (!t->over && u->cb != NULL)
        u->cb(t, u);
    task_unref(t);
}

static void unit_fail(struct db_unit *u, const struct err *e, bool sent)
{
    struct task *t = u->task;
    if (!t->over && u->on_error != NULL)
        u->on_error(t, u, e, sent);
    else
        task_fail(t, e);
    task_unref(t);
}

void db_unit_fail(struct db *db, struct db_unit *u, const struct err *e, bool sent)
{
    db_count(&db->stats.errors, 1);
    if (sent)
        db_count(&db->stats.uncertain, 1);
    unit_fail(u, e, sent);
}

void db_err_unavailable(const struct db *db, struct err *e, const char *detail, const char *reason)
{
    err_set(e, db->cfg->code_unavailable, "%s", detail);
    err_cause(e, "%s", reason);
    e->retry_after_s = 1;
}

static void fail_late(struct db *db, struct db_unit *u)
{
    struct err e = ERR_INIT;
    db_err_unavailable(db, &e, "the database does not answer at the moment; repeat the request",
                       db->main.lost ? db->main.reason : "waited too long for its turn");
    db_unit_fail(db, u, &e, false);
}

static void fail_unsendable(struct db *db, struct db_unit *u)
{
    struct err e = ERR_INIT;
    err_internal(&e, "statement %s (%s): a text parameter is not UTF-8 or contains NUL", u->unsendable->name,
                 u->unsendable->file);
    db_unit_fail(db, u, &e, false);
}

/* ---- the pump ---- */

/* Takes what must not be sent out of the head of db->waiting; whatever stands behind it came later. Units
 * from seq on are left alone: a failure hook may have queued them just now. */
static bool unfit_waiting(struct db *db, uint64_t now, uint64_t seq)
{
    struct db_unit *u = db->waiting.head;
    if (u == NULL || u->seq >= seq || (!u->task->over && u->unsendable == NULL && u->deadline_ms > now))
        return false;
    db_units_pop(&db->waiting);
    if (u->task->over)
        task_unref(u->task);
    else if (u->unsendable != NULL)
        fail_unsendable(db, u);
    else
        fail_late(db, u);
    return true;
}

static void unfit_again(struct db *db, uint64_t now)
{
    struct db_units all = db->again, unfit;
    if (all.head == NULL)
        return;
    db_units_init(&db->again);
    db_units_init(&unfit);
    for (struct db_unit *u = all.head, *next; u != NULL; u = next) {
        next = u->next;
        db_units_push(u->task->over || u->deadline_ms <= now ? &unfit : &db->again, u);
    }
    for (struct db_unit *u; (u = db_units_pop(&unfit)) != NULL;) {
        if (u->task->over)
            task_unref(u->task);
        else
            fail_late(db, u);
    }
}

static void pump(struct loop_timer *t);

/* Wakes up for the next deadline or re-run. */
static void pump_arm(struct db *db)
{
    uint64_t now = loop_now_ms(db->loop), at = UINT64_MAX;
    if (db->waiting.head != NULL)
        at = db->waiting.head->deadline_ms;
    for (const struct db_unit *u = db->again.head; u != NULL; u = u->next) {
        uint64_t next = db->spare.state == DB_CONN_IDLE ? u->not_before_ms : u->deadline_ms;
        at = next < at ? next : at;
    }
    if (at != UINT64_MAX && (db->pump.loop == NULL || db->pump.at_ms > at))
        loop_timer_start(db->loop, &db->pump, at > now ? at - now : 0, pump);
}

static void pump(struct loop_timer *t)
{
    struct db *db = CONTAINER_OF(t, struct db, pump);
    uint64_t now = loop_now_ms(db->loop), seq = db->seq;
    while (unfit_waiting(db, now, seq))
        ;
    unfit_again(db, now);
    if (db->main.state == DB_CONN_IDLE)
        db_batch_send(&db->main);
    if (db->spare.state == DB_CONN_IDLE)
        db_batch_send_again(&db->spare);
    if (!db_conn_is_usable(&db->main) && db->spare.state == DB_CONN_IDLE)
        db_batch_send(&db->spare);
    pump_arm(db);
}

void db_kick(struct db *db)
{
    if (!db->stopping)
        loop_timer_start(db->loop, &db->pump, 0, pump);
}

void db_unit_again(struct db *db, struct db_unit *u, uint64_t in_ms)
{
    uint64_t now = loop_now_ms(db->loop);
    u->not_before_ms = now + in_ms;
    u->deadline_ms = now + in_ms + db->wait_ms;
    db_count(&db->stats.reruns, 1);
    db_units_push(&db->again, u);
}

/* ---- units ---- */

struct db_unit *db_unit_new(struct task *t)
{
    struct db_unit *u = POOL_NEW(&t->pool, struct db_unit, 1);
    u->task = t;
    return u;
}

void db_unit_lock_key(struct db_unit *u, uint64_t key)
{
    u->lock_key = key;
}

/* FNV-1a, so that every gateway sorts alike. */
uint64_t db_key(iov_t id)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < id.len; i++)
        h = (h ^ (unsigned char)id.base[i]) * 0x100000001b3;
    return h;
}

void db_unit_nonce(struct db_unit *u, iov_t nonce, int64_t slot)
{
    char bytes[16];
    random_bytes(bytes, sizeof(bytes));
    u->nonce = nonce;
    u->slot = slot;
    u->tag = iov_hex(&u->task->pool, (iov_t){bytes, sizeof(bytes)});
    u->spends = true;
}

iov_t db_unit_tag(const struct db_unit *u)
{
    return u->tag;
}

void db_unit_inherit_nonce(struct db_unit *u, iov_t nonce, iov_t tag)
{
    u->nonce = nonce;
    u->tag = tag;
    u->spends = false;
}

unsigned db_add(struct db_unit *u, int stmt, const struct db_param *params, unsigned n)
{
    assert(!u->queued);
    pool_t *pool = &u->task->pool;
    if (u->n == u->cap) {
        struct db_item *old = u->items;
        u->cap = u->cap != 0 ? 2 * u->cap : 4;
        u->items = POOL_NEW(pool, struct db_item, u->cap);
        if (u->n != 0)
            memcpy(u->items, old, u->n * sizeof(*old));
    }
    struct db_param *own = n != 0 ? POOL_NEW(pool, struct db_param, n) : NULL;
    if (n != 0)
        memcpy(own, params, n * sizeof(*own));
    u->items[u->n] = (struct db_item){.stmt = stmt, .params = own, .n_params = n};
    return u->n++;
}

void db_unit_on_error(struct db_unit *u, db_error_cb *cb)
{
    u->on_error = cb;
}

static const struct db_stmt *find_unsendable(const struct db *db, const struct db_unit *u)
{
    struct db_param nonce = db_text(u->nonce);
    if (u->spends && !db_param_is_sendable(&nonce))
        return &db->cfg->stmts[db->cfg->nonce_stmt];
    for (unsigned i = 0; i < u->n; i++) {
        const struct db_item *item = &u->items[i];
        assert(item->stmt >= 0 && (size_t)item->stmt < db->cfg->n_stmts);
        assert(item->n_params == db->cfg->stmts[item->stmt].n_params);
        for (unsigned k = 0; k < item->n_params; k++) {
            if (!db_param_is_sendable(&item->params[k]))
                return &db->cfg->stmts[item->stmt];
        }
    }
    return NULL;
}

/* A unit that comes while the database is being stopped, or after. */
struct refusal {
    struct loop_msg msg;
    struct db_unit *unit;
    int code;
};

static void on_refusal(struct loop_msg *m)
{
    struct refusal *r = CONTAINER_OF(m, struct refusal, msg);
    struct err e = ERR_INIT;
    err_set(&e, r->code, "the server is shutting down; repeat the request");
    e.retry_after_s = 1;
    unit_fail(r->unit, &e, false);
    free(r);
}

static void refuse(const struct db *db, struct db_unit *u)
{
    struct refusal *r = base_zalloc(sizeof(*r));
    r->msg.run = on_refusal;
    r->unit = u;
    r->code = db != NULL ? db->cfg->code_unavailable : 0;
    loop_post(u->task->loop, &r->msg);
}

void db_run(struct db_unit *u, db_cb *cb)
{
    assert(!u->queued);
    struct db *db = loop_svc(u->task->loop)->db;
    u->queued = true;
    u->cb = cb;
    task_ref(u->task);
    if (db == NULL || db->stopping) {
        refuse(db, u);
        return;
    }
    assert(!u->spends || db->cfg->nonce_stmt >= 0);
    u->unsendable = find_unsendable(db, u);
    u->seq = db->seq++;
    u->deadline_ms = loop_now_ms(db->loop) + db->wait_ms;
    db_units_push(&db->waiting, u);
    db_kick(db);
}

/* ---- start and stop ---- */

void db_start(struct loop *l, const struct db_config *cfg)
{
    struct db *db = base_zalloc(sizeof(*db));
    db->loop = l;
    db->cfg = cfg;
    db->batch_max = cfg->batch_max != 0 ? cfg->batch_max : 64;
    db->lock_timeout_ms = cfg->lock_timeout_ms != 0 ? cfg->lock_timeout_ms : 500;
    db->statement_timeout_ms = cfg->statement_timeout_ms != 0 ? cfg->statement_timeout_ms : 10000;
    db->wait_ms = cfg->wait_ms != 0 ? cfg->wait_ms : 5000;
    db_units_init(&db->waiting);
    db_units_init(&db->again);
    db->nonces = base_zalloc(db->batch_max * sizeof(*db->nonces));
    db->tags = base_zalloc(db->batch_max * sizeof(*db->tags));
    db->slots = base_zalloc(db->batch_max * sizeof(*db->slots));
    db->spenders = base_zalloc(db->batch_max * sizeof(struct db_unit *));
    random_bytes(&db->random, sizeof(db->random));
    db->random |= 1; /* a xorshift must not start at 0 */
    db_conn_init(&db->main, db, "main");
    db_conn_init(&db->spare, db, "spare");
    loop_svc(l)->db = db;
    db_conn_open(&db->main);
    db_conn_open(&db->spare);
}

static void fail_stopping(struct db *db, struct db_units *q)
{
    struct err e = ERR_INIT;
    db_err_unavailable(db, &e, "the server is shutting down; repeat the request", "shutdown");
    for (struct db_unit *u; (u = db_units_pop(q)) != NULL;)
        db_unit_fail(db, u, &e, false);
}

void db_stop(struct loop *l)
{
    struct db *db = loop_svc(l)->db;
    if (db == NULL)
        return;
    db->stopping = true;
    loop_timer_stop(&db->pump);
    db_conn_stop(&db->main);
    db_conn_stop(&db->spare);
    fail_stopping(db, &db->waiting);
    fail_stopping(db, &db->again);
    loop_svc(l)->db = NULL;
    db_args_dispose(&db->args);
    free(db->nonces);
    free(db->tags);
    free(db->slots);
    free(db->spenders);
    free(db);
}

bool db_is_up(const struct db *db)
{
    return db != NULL && __atomic_load_n(&db->stats.connections, __ATOMIC_RELAXED) != 0;
}

struct db_stats db_get_stats(const struct db *db)
{
    struct db_stats out = {0};
    if (db == NULL)
        return out;
    const uint64_t *from = (const uint64_t *)&db->stats;
    uint64_t *to = (uint64_t *)&out;
    for (size_t i = 0; i < sizeof(out) / sizeof(*to); i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    return out;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Forward-only migrations (schema/README.md). The statements here are about the version table itself, which exists before
 * any migration; everything else is in schema/. */
#include "store/migrate.h"
#include "base/log.h"
#include "schema/schema.h"
#include "schema/version.h"

static bool run(struct db_sync *db, const char *sql, struct err *e)
{
    return db_sync_exec(db, sql, e);
}

static bool version_of(struct db_sync *db, int64_t *version_out, int64_t *needs_out, struct err *e)
{
    struct db_table t;
    pool_t pool;
    h2o_mem_init_pool(&pool);
    bool ok = db_sync_query(db, &pool, schema_version_read, NULL, 0, &t, e);
    uint64_t version = 0, needs = 0;
    if (ok && t.rows == 1 && (!iov_to_u64(t.cells[0], &version) || !iov_to_u64(t.cells[1], &needs)))
        ok = err_internal(e, "table schema_version holds something unreadable");
    h2o_mem_clear_pool(&pool);
    *version_out = (int64_t)version;
    *needs_out = (int64_t)needs;
    return ok;
}

static bool apply_one(struct db_sync *db, const struct schema_migration *m, struct err *e)
{
    struct err ignored;
    pool_t pool;
    h2o_mem_init_pool(&pool);
    struct db_param p[] = {DB_INT(m->number), DB_TEXT(iov_of(m->name))};
    struct db_table t;
    bool ok = run(db, "BEGIN", e) && run(db, m->sql, e) &&
              db_sync_query(db, &pool, schema_version_add, p, COUNTOF(p), &t, e) && run(db, "COMMIT", e);
    if (!ok && !run(db, "ROLLBACK", &ignored))
        log_warn("migrate.rollback", KV_STR("reason", ignored.cause)); /* the connection's end rolls back as well */
    h2o_mem_clear_pool(&pool);
    return ok;
}

bool migrate_apply(struct db_sync *db, unsigned *applied_out, struct err *e)
{
    int64_t version, needs;
    *applied_out = 0;
    if (!run(db, schema_version_lock, e) || !run(db, schema_version_make, e) || !version_of(db, &version, &needs, e))
        return false;
    for (size_t i = 0; i < schema_n_migrations; i++) {
        if (schema_migrations[i].number <= version)
            continue;
        if (!apply_one(db, &schema_migrations[i], e))
            return false;
        log_info("migrate.applied", KV_STR("migration", schema_migrations[i].name));
        (*applied_out)++;
    }
    return run(db, schema_version_unlock, e);
}

bool migrate_check(struct db_sync *db, struct err *e)
{
    int64_t version, needs, ours = schema_migrations[schema_n_migrations - 1].number;
    if (!run(db, schema_version_make, e) || !version_of(db, &version, &needs, e))
        return false;
    if (version < ours)
        return err_set(e, 0, "the database's schema is at %lld, this program wants %lld: run porticod --migrate first",
                       (long long)version, (long long)ours);
    if (needs > ours)
        return err_set(e, 0, "the database's schema needs a program that knows migration %lld; this one ends at %lld: "
                             "install a newer portico", (long long)needs, (long long)ours);
    return true;
}

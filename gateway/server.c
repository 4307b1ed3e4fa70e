/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up order: settings, workers, backends (their signer is spawned before there are threads that matter), database
 * check and this gateway's row, HTTPS certificates, listening sockets, loops. Shut-down: drain, hand the jobs back, end. */
#include "server.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "backends/local/signer_client.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/http.h"
#include "http/nonce.h"
#include "io/dns.h"
#include "io/fetch.h"
#include "io/pki.h"
#include "io/worker.h"
#include "jobs/job_runner.h"
#include "jobs/validate.h"
#include "schema/statements.h"
#include "server_loops.h"
#include "server_tls.h"
#include "store/migrate.h"

struct settings *server_settings(const struct server_options *o, struct err *e)
{
    struct conf *c = conf_load(o->config, o->overrides, o->n_overrides, e);
    return c != NULL ? settings_load(c, e) : NULL;
}

static bool fail(const struct err *e)
{
    log_error("gateway.start_failed", KV_STR("reason", e->detail), KV_STR("cause", e->cause));
    fprintf(stderr, "porticod: %s%s%s\n", e->detail, e->cause[0] ? ": " : "", e->cause);
    return false;
}

/* ---- the database, once, blocking ---- */

static bool query(struct db_sync *db, pool_t *pool, int stmt, const struct db_param *p, struct db_table *t, struct err *e)
{
    return db_sync_query(db, pool, db_stmts[stmt].sql, p, db_stmts[stmt].n_params, t, e);
}

/* bytea as text: \x and hexadecimal digits. */
static bool unhex(iov_t text, uint8_t *out, size_t n)
{
    if (text.len != 2 + 2 * n || !iov_starts(text, "\\x"))
        return false;
    for (size_t i = 0; i < n; i++) {
        char digits[3] = {text.base[2 + 2 * i], text.base[3 + 2 * i], '\0'};
        char *end;
        out[i] = (uint8_t)strtoul(digits, &end, 16);
        if (*end != '\0')
            return false;
    }
    return true;
}

static bool hello(struct db_sync *db, pool_t *pool, const struct settings *s, const char *name, struct err *e)
{
    struct db_table t;
    uint8_t key[32];
    iov_t id = pki_random_id(pool), job = pki_random_id(pool);
    struct db_param secret[] = {DB_TEXT(IOV("nonce"))};
    struct db_param row[] = {DB_TEXT(id), DB_TEXT(iov_of(name)), DB_TEXT(IOV(PACKAGE_VERSION)), DB_INT(s->times.lease_ms)};
    struct db_param expire[] = {DB_TEXT(job), DB_TEXT(IOV("expire")), DB_TEXT(IOV("all")), DB_TEXT(id)};
    if (!query(db, pool, STMT_secret_read, secret, &t, e))
        return false;
    if (t.rows != 1 || !unhex(t.cells[0], key, sizeof(key)))
        return err_set(e, 0, "table secret holds no nonce key of 32 bytes: was the database restored without it?");
    nonce_set_key((iov_t){(char *)key, sizeof(key)});
    pki_wipe(key, sizeof(key));
    store_gateway_set(id, iov_of(name), IOV(PACKAGE_VERSION));
    return query(db, pool, STMT_gateway_hello, row, &t, e) && query(db, pool, STMT_job_ensure, expire, &t, e);
}

static bool database_start(const struct settings *s, const char *name, struct err *e)
{
    pool_t pool;
    struct db_sync *db = db_sync_open(s->database_url, e);
    if (db == NULL)
        return false;
    h2o_mem_init_pool(&pool);
    bool ok = migrate_check(db, e) && hello(db, &pool, s, name, e);
    h2o_mem_clear_pool(&pool);
    db_sync_close(db);
    return ok;
}

/* What is left is anybody's at once. A database that is away finds out by the lease. */
static void database_bye(const struct settings *s)
{
    struct err e = ERR_INIT;
    pool_t pool;
    struct db_table t;
    struct db_param id[] = {DB_TEXT(store_gateway())};
    struct db_sync *db = db_sync_open(s->database_url, &e);
    h2o_mem_init_pool(&pool);
    if (db == NULL || !query(db, &pool, STMT_gateway_bye, id, &t, &e))
        log_warn("gateway.bye_failed", KV_STR("reason", e.detail), KV_STR("cause", e.cause));
    h2o_mem_clear_pool(&pool);
    db_sync_close(db);
}

/* ---- what health and metrics ask ---- */

static bool has_crl(const char *backend)
{
    struct backend *b = backends_find(jobs_env.backends, backend);
    return b != NULL && backend_driver(b)->sign_crl != NULL;
}

static unsigned built_in_challenges(void)
{
    unsigned mask = 0;
    for (unsigned i = 0; i < CHALLENGE_TYPES; i++)
        mask |= validate_methods[i].run != NULL ? 1u << i : 0;
    return mask;
}

/* ---- reload ---- */

static void reload(const struct server_options *o, struct server_tls *tls)
{
    struct err e = ERR_INIT;
    struct settings *now = settings_current(), *next = server_settings(o, &e);
    const char *restart = next != NULL ? settings_needs_restart(now, next) : NULL;
    if (next == NULL) {
        log_error("reload.refused", KV_STR("reason", e.detail), KV_STR("fix", "the running configuration stays in force"));
    } else if (restart != NULL) {
        log_error("reload.refused", KV_STR("key", restart), KV_STR("fix", "restart to change this; nothing was changed"));
        settings_unref(next);
    } else if (!server_tls_reload(tls, next, &e)) {
        log_error("reload.refused", KV_STR("reason", e.detail), KV_STR("fix", "the running configuration stays in force"));
        settings_unref(next);
    } else {
        next->generation = now->generation + 1;
        log_set_level((enum log_level)next->log_level);
        log_info("reload.done", KV_INT("generation", next->generation));
        settings_publish(next);
        server_loops_reload_dns();
    }
    settings_unref(now);
}

/* ---- run ---- */

static bool pid_write(const char *path, struct err *e)
{
    if (path == NULL)
        return true;
    FILE *f = fopen(path, "we");
    if (f == NULL)
        return err_set(e, 0, "cannot write the pid file %s: %m", path);
    bool ok = fprintf(f, "%ld\n", (long)getpid()) > 0;
    return fclose(f) == 0 && ok ? true : err_set(e, 0, "cannot write the pid file %s: %m", path);
}

static void signals_block(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void serve_until_told(const struct server_options *o, struct server_tls *tls, const sigset_t *set)
{
    for (;;) {
        struct timespec second = {1, 0};
        int sig = sigtimedwait(set, NULL, &second);
        if (sig == SIGHUP)
            reload(o, tls);
        else if (sig > 0)
            return;
        server_loops_watch();
    }
}

static bool start(const struct server_options *o, struct settings *s, struct server_tls **tls_out, struct err *e)
{
    char host[256] = "gateway";
    const char *name = o->name;
    if (name == NULL && gethostname(host, sizeof(host) - 1) == 0)
        name = host;
    worker_start(s->workers > 0 ? (unsigned)s->workers : (unsigned)sysconf(_SC_NPROCESSORS_ONLN), 4096);
    signer_set_user(s->signer_user);
    jobs_env.backends = backends_open(s->conf, s->backends, e);
    if (jobs_env.backends == NULL || !server_routes_ok(s, e) || !database_start(s, name != NULL ? name : host, e))
        return false;
    http_env.has_crl = has_crl;
    http_env.challenge_mask = built_in_challenges();
    *tls_out = server_tls_start(s, e);
    return *tls_out != NULL && server_loops_start(s, *tls_out, e) && pid_write(o->pid_file, e);
}

/* This h2o prints a line to stderr for every HTTP/2 frame type it does not know: a client could fill a disk. The log
 * keeps a descriptor of its own. */
static void stderr_quiet(void)
{
    log_info("gateway.stderr", KV_STR("closed", "http2 is on"));
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDERR_FILENO);
        close(null);
    }
}

int server_run(const struct server_options *o)
{
    struct err e = ERR_INIT;
    sigset_t set;
    struct server_tls *tls = NULL;
    signals_block(&set);
    struct settings *s = server_settings(o, &e);
    if (s == NULL)
        return fail(&e), 1;
    log_set_level((enum log_level)s->log_level);
    settings_publish(settings_ref(s));
    if (s->limits.http2)
        stderr_quiet();
    if (!start(o, s, &tls, &e)) {
        fail(&e);
        _exit(1); /* threads may run already; nothing is half-written */
    }
    log_info("gateway.ready", KV_IOV("gateway", store_gateway()), KV_STR("version", PACKAGE_VERSION), KV_INT("pid", getpid()),
             KV_INT("loops", server_loops_count()));
    serve_until_told(o, tls, &set);
    log_info("gateway.draining", KV_INT("limit_ms", s->times.drain_ms));
    server_loops_stop(s->times.drain_ms);
    database_bye(s);
    server_tls_free(tls);
    worker_stop();
    backends_close(jobs_env.backends);
    if (o->pid_file != NULL)
        unlink(o->pid_file);
    log_info("gateway.ended", KV_IOV("gateway", store_gateway()));
    settings_publish(NULL);
    settings_unref(s);
    return 0;
}

bool server_check(const struct server_options *o)
{
    struct err e = ERR_INIT;
    struct settings *s = server_settings(o, &e);
    if (s == NULL)
        return fail(&e);
    jobs_env.backends = backends_open(s->conf, s->backends, &e); /* certificates, keys and passphrases too */
    bool ok = jobs_env.backends != NULL && server_routes_ok(s, &e);
    backends_close(jobs_env.backends);
    if (!ok) {
        settings_unref(s);
        return fail(&e);
    }
    printf("%s: the configuration is good\n", o->config);
    for (size_t i = 0; i < s->n_listen; i++)
        printf("  listens on %s port %lld%s%s\n", s->listen[i].address, (long long)s->listen[i].port,
               s->listen[i].tls ? ", HTTPS" : ", plain HTTP", s->listen[i].kind ? ", health and metrics only" : "");
    for (size_t i = 0; i < s->n_directories; i++)
        printf("  serves %s/acme/%s/directory, default profile %s\n", s->public_url.v[0], s->directories[i].name,
               s->directories[i].profile[0]->name);
    for (size_t i = 0; i < s->n_routes; i++) {
        printf("  route %s:", s->routes[i].where);
        for (size_t k = 0; k < s->routes[i].backends.n; k++)
            printf(" %s", s->routes[i].backends.v[k]);
        printf("\n");
    }
    settings_unref(s);
    return true;
}

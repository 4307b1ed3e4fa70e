/* SPDX-License-Identifier: Apache-2.0 */
/* One thread per loop: created on its thread, a barrier before serving, a bounded drain at the end. */
#include "server_loops.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "acme/problem.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/http.h"
#include "io/dns.h"
#include "io/fetch.h"
#include "io/serve.h"
#include "io/worker.h"
#include "jobs/job_runner.h"
#include "schema/statements.h"

#define STALLED_MS 5000
#define DRAIN_LOOK_MS 20
#define STOP_GRACE_MS 2000

struct thread {
    pthread_t id;
    unsigned index;
    struct loop *loop;
    bool ok;
    struct err err;
    bool stalled_reported;
    struct loop_timer drain;
    uint64_t drain_until_ms;
    atomic_bool ended;
};
static struct {
    struct thread *v;
    unsigned n;
    pthread_barrier_t barrier, end;
    struct serve *serve;
    struct settings *settings;
    struct server_tls *tls;
    struct db_config db;
    atomic_bool draining;
} loops;

bool server_routes_ok(const struct settings *s, struct err *e)
{
    for (size_t i = 0; i < s->n_routes; i++) {
        for (size_t k = 0; k < s->routes[i].backends.n; k++) {
            if (backends_find(jobs_env.backends, s->routes[i].backends.v[k]) == NULL)
                return err_set(e, 0, "%s: no backend is named %s", s->routes[i].where, s->routes[i].backends.v[k]);
        }
    }
    return true;
}

static struct dns_config dns_config(const struct settings *s)
{
    return (struct dns_config){.resolvers = s->validation.resolver.v, .n_resolvers = s->validation.resolver.n,
                               .dnssec = (enum dnssec_mode)s->validation.dnssec, .timeout_ms = s->validation.timeout_ms};
}

/* ---- a thread ---- */

static void on_drain(struct loop_timer *timer)
{
    struct thread *t = CONTAINER_OF(timer, struct thread, drain);
    struct loop *l = t->loop;
    if ((serve_connections(loops.serve, l) > 0 || job_runner_busy(l) > 0) && loop_now_ms(l) < t->drain_until_ms)
        loop_timer_start(l, &t->drain, DRAIN_LOOK_MS, on_drain);
    else
        loop_stop(l);
}

struct drain_msg {
    struct loop_msg msg;
    struct thread *thread;
    uint64_t limit_ms;
};

static void drain_run(struct loop_msg *m)
{
    struct drain_msg *d = CONTAINER_OF(m, struct drain_msg, msg);
    struct thread *t = d->thread;
    t->drain_until_ms = loop_now_ms(t->loop) + d->limit_ms;
    serve_drain(loops.serve, t->loop);
    job_runner_drain(t->loop);
    loop_timer_start(t->loop, &t->drain, 0, on_drain);
    free(d);
}

static void thread_start(struct thread *t)
{
    struct dns_config dns = dns_config(loops.settings);
    t->loop = loop_new(t->index);
    db_start(t->loop, &loops.db);
    fetch_start(t->loop);
    store_wait_loop_start(t->loop);
    http_loop_start(t->loop);
    t->ok = dns_start(t->loop, &dns, &t->err);
}

static void thread_stop(struct thread *t)
{
    struct loop *l = t->loop;
    if (t->ok) {
        serve_stop(loops.serve, l);
        job_runner_stop(l);
        store_wait_loop_stop(l);
        dns_stop(l);
    }
    fetch_stop(l);
    db_stop(l);
    for (int i = 0; i < 5; i++) /* what was posted last */
        loop_turn(l, 0);
    if (t->ok)
        job_runner_free(l);
    http_loop_stop(l);
    loop_free(l);
    atomic_store(&t->ended, true);
}

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    char name[16];
    snprintf(name, sizeof(name), "loop-%u", t->index);
    pthread_setname_np(pthread_self(), name);
    thread_start(t);
    pthread_barrier_wait(&loops.barrier); /* every loop exists: messages may go anywhere from here on */
    pthread_barrier_wait(&loops.barrier); /* the main thread has looked whether all are well */
    if (t->ok) {
        job_runner_start(t->loop);
        if (t->index == 0)
            server_tls_adopt(loops.tls, t->loop);
        serve_start(loops.serve, t->loop);
        loop_run(t->loop);
        pthread_barrier_wait(&loops.end); /* nobody looks at another loop (metrics, wake-ups) after this */
        if (t->index == 0)
            server_tls_release(loops.tls);
    }
    thread_stop(t);
    return NULL;
}

/* ---- health and metrics ---- */

static bool ready(struct loop *l, const char **why)
{
    *why = atomic_load(&loops.draining) ? "draining" : "the database is away";
    return !atomic_load(&loops.draining) && db_is_up(loop_svc(l)->db);
}

static void metric(struct sbuf *b, const char *name, const char *type, uint64_t value)
{
    sbuf_printf(b, "# TYPE portico_%s %s\nportico_%s %llu\n", name, type, name, (unsigned long long)value);
}

static void metrics(struct sbuf *b)
{
    struct db_stats sum = {0};
    struct job_stats j = job_runner_stats();
    uint64_t connections = 0;
    for (unsigned i = 0; i < loops.n; i++) {
        struct db_stats d = db_get_stats(loop_svc(loops.v[i].loop)->db);
        sum.units += d.units;
        sum.statements += d.statements;
        sum.batches += d.batches;
        sum.reruns += d.reruns;
        sum.reconnects += d.reconnects;
        sum.errors += d.errors;
        connections += serve_connections(loops.serve, loops.v[i].loop);
    }
    metric(b, "db_units_total", "counter", sum.units);
    metric(b, "db_statements_total", "counter", sum.statements);
    metric(b, "db_batches_total", "counter", sum.batches);
    metric(b, "db_reruns_total", "counter", sum.reruns);
    metric(b, "db_reconnects_total", "counter", sum.reconnects);
    metric(b, "db_errors_total", "counter", sum.errors);
    metric(b, "jobs_started_total", "counter", j.started);
    metric(b, "jobs_done_total", "counter", j.done);
    metric(b, "jobs_taken_over_total", "counter", j.taken_over);
    metric(b, "jobs_fenced_total", "counter", j.fenced);
    metric(b, "job_commit_repeats_total", "counter", j.commit_repeats);
    metric(b, "connections", "gauge", connections);
    metric(b, "worker_queue", "gauge", worker_queued());
}

/* ---- start, watch, stop ---- */

static bool listeners_open(struct settings *s, struct server_tls *tls, struct err *e)
{
    size_t n = s->n_listen + (s->admin_socket != NULL);
    struct serve_listener *v = base_zalloc(n * sizeof(*v));
    for (size_t i = 0; i < s->n_listen; i++)
        v[i] = (struct serve_listener){.address = s->listen[i].address, .port = (unsigned)s->listen[i].port,
                                       .tls = server_tls_of(tls, i),
                                       .handler = s->listen[i].kind ? http_handle_admin : http_handle};
    char path[256];
    if (s->admin_socket != NULL) {
        snprintf(path, sizeof(path), "unix:%s", s->admin_socket);
        v[n - 1] = (struct serve_listener){.address = path, .handler = http_handle_admin};
    }
    struct serve_config cfg = {.listeners = v, .n_listeners = n, .body_max = 2 * (size_t)s->limits.body_max,
                               .connections_max = (unsigned)s->limits.connections,
                               .connections_per_ip = (unsigned)s->limits.connections_per_ip,
                               .request_timeout_ms = s->limits.request_timeout_ms, .http2 = s->limits.http2};
    loops.serve = serve_open(&cfg, e);
    free(v);
    return loops.serve != NULL;
}

bool server_loops_start(struct settings *s, struct server_tls *tls, struct err *e)
{
    loops.n = s->threads > 0 ? (unsigned)s->threads : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    loops.v = base_zalloc(loops.n * sizeof(*loops.v));
    loops.settings = s;
    loops.tls = tls;
    loops.db = (struct db_config){.url = s->database_url, .stmts = db_stmts, .n_stmts = STMT_COUNT,
                                  .nonce_stmt = STMT_nonce_spend, .code_unavailable = ACME_UNAVAILABLE};
    http_env.ready = ready;
    http_env.metrics = metrics;
    if (!listeners_open(s, tls, e))
        return false;
    pthread_barrier_init(&loops.barrier, NULL, loops.n + 1);
    pthread_barrier_init(&loops.end, NULL, loops.n);
    for (unsigned i = 0; i < loops.n; i++) {
        loops.v[i].index = i;
        if (pthread_create(&loops.v[i].id, NULL, thread_main, &loops.v[i]) != 0)
            return err_set(e, 0, "cannot start a thread: the process limit is reached");
    }
    pthread_barrier_wait(&loops.barrier);
    bool ok = true;
    for (unsigned i = 0; i < loops.n && ok; i++) {
        ok = loops.v[i].ok;
        *e = loops.v[i].err;
    }
    if (ok)
        pthread_barrier_wait(&loops.barrier);
    return ok;
}

unsigned server_loops_count(void)
{
    return loops.n;
}

void server_loops_watch(void)
{
    uint64_t now = clock_mono_ms();
    for (unsigned i = 0; i < loops.n; i++) {
        struct thread *t = &loops.v[i];
        uint64_t beat = loop_heartbeat_ms(t->loop);
        bool stalled = now > beat + STALLED_MS;
        if (stalled && !t->stalled_reported)
            log_error("loop.stalled", KV_INT("loop", i), KV_INT("ms", now - beat),
                      KV_STR("fix", "the machine is overloaded or suspended, or this is a bug: a stack trace helps (gdb -p)"));
        t->stalled_reported = stalled;
    }
}

struct dns_msg {
    struct loop_msg msg;
    struct loop *loop;
};

static void dns_run(struct loop_msg *m)
{
    struct dns_msg *d = CONTAINER_OF(m, struct dns_msg, msg);
    struct settings *s = settings_current();
    struct dns_config cfg = dns_config(s);
    struct err e = ERR_INIT;
    if (!dns_start(d->loop, &cfg, &e))
        log_error("reload.resolver", KV_STR("reason", e.detail), KV_STR("fix", "the old resolvers stay in use"));
    settings_unref(s);
    free(d);
}

void server_loops_reload_dns(void)
{
    for (unsigned i = 0; i < loops.n; i++) {
        struct dns_msg *d = base_zalloc(sizeof(*d));
        d->msg.run = dns_run;
        d->loop = loops.v[i].loop;
        loop_post(d->loop, &d->msg);
    }
}

void server_loops_stop(int64_t drain_ms)
{
    atomic_store(&loops.draining, true);
    for (unsigned i = 0; i < loops.n; i++) {
        struct drain_msg *d = base_zalloc(sizeof(*d));
        d->msg.run = drain_run;
        d->thread = &loops.v[i];
        d->limit_ms = (uint64_t)drain_ms;
        loop_post(loops.v[i].loop, &d->msg);
    }
    uint64_t hard = clock_mono_ms() + (uint64_t)drain_ms + STOP_GRACE_MS;
    for (unsigned i = 0; i < loops.n; i++) {
        while (!atomic_load(&loops.v[i].ended) && clock_mono_ms() < hard)
            usleep(5000);
        if (!atomic_load(&loops.v[i].ended)) {
            log_error("loop.hung", KV_INT("loop", i), KV_STR("fix", "ended hard; its jobs are taken over"));
            _exit(1);
        }
        pthread_join(loops.v[i].id, NULL);
    }
    pthread_barrier_destroy(&loops.barrier);
    pthread_barrier_destroy(&loops.end);
    serve_free(loops.serve);
    free(loops.v);
    loops.n = 0;
}

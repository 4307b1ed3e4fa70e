/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of listeners. Before the serving loops exist a loop of the main thread's own asks the backend. */
#include "server_tls.h"
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "io/pki.h"
#include "jobs/job_runner.h"

#define START_MS 15000
#define LIFETIME_S (30 * 86400)
#define FILE_MAX (1 << 20)

struct listener_tls {
    struct serve_tls *tls;
    struct self_cert *self; /* NULL: files */
    bool failed;
    struct err err;
};
struct server_tls {
    struct listener_tls *v;
    size_t n;
};

/* A whole file in the pool; keys are wiped by the caller. */
static bool file_read(pool_t *pool, const char *path, iov_t *out, struct err *e)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return err_set(e, 0, "cannot read %s: %m", path);
    char *buf = pool_zalloc(pool, FILE_MAX);
    size_t n = fread(buf, 1, FILE_MAX, f);
    bool bad = ferror(f) != 0 || n == FILE_MAX;
    fclose(f);
    *out = (iov_t){buf, n};
    return !bad || err_set(e, 0, "cannot read %s: it is unreadable or over 1 MiB", path);
}

/* Into *tls: made if NULL, replaced otherwise. */
static bool from_files(struct serve_tls **tls, const struct settings_listen *cfg, struct err *e)
{
    pool_t pool;
    iov_t cert, key = IOV_NULL;
    h2o_mem_init_pool(&pool);
    bool ok = file_read(&pool, cfg->tls_certificate, &cert, e) && file_read(&pool, cfg->tls_key, &key, e);
    if (ok && *tls == NULL)
        ok = (*tls = serve_tls_new(cert, key, e)) != NULL;
    else if (ok)
        ok = serve_tls_replace(*tls, cert, key, e);
    if (key.base != NULL)
        pki_wipe(key.base, key.len);
    h2o_mem_clear_pool(&pool);
    return ok;
}

static void on_got(void *arg, iov_t chain, iov_t key)
{
    struct listener_tls *l = arg;
    if (l->tls == NULL)
        l->failed = (l->tls = serve_tls_new(chain, key, &l->err)) == NULL;
    else if (!serve_tls_replace(l->tls, chain, key, &l->err))
        log_error("gateway.certificate_unusable", KV_STR("reason", l->err.detail), KV_STR("cause", l->err.cause),
                  KV_STR("fix", "the certificate before it stays in use until it ends"));
}

static void on_lost(void *arg, const struct err *e)
{
    struct listener_tls *l = arg;
    l->failed = true;
    l->err = *e;
}

static void add_name(pool_t *pool, struct self_cert_ask *ask, iov_t name)
{
    struct ident id;
    struct err e;
    if (ident_normalize(pool, IDENT_IP, name, &id, &e))
        iovs_add(pool, &ask->ips, id.value);
    else
        iovs_add(pool, &ask->dns, name);
}

/* The host part of a public URL, brackets of an IPv6 address removed. */
static iov_t host_of(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    if (*host == '[')
        return (iov_t){(char *)host + 1, strcspn(host + 1, "]")};
    return (iov_t){(char *)host, strcspn(host, ":/")};
}

static void names_of(pool_t *pool, const struct settings *s, const struct settings_listen *cfg, struct self_cert_ask *ask)
{
    for (size_t i = 0; i < cfg->tls_names.n; i++)
        add_name(pool, ask, iov_of(cfg->tls_names.v[i]));
    for (size_t i = 0; cfg->tls_names.n == 0 && i < s->public_url.n; i++) {
        iov_t host = host_of(s->public_url.v[i]);
        if (!iovs_has(&ask->dns, host) && !iovs_has(&ask->ips, host))
            add_name(pool, ask, host);
    }
}

static bool from_backend(struct listener_tls *l, const struct settings *s, const struct settings_listen *cfg, struct loop *loop,
                         struct err *e)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    struct self_cert_ask ask = {.backend = backends_find(jobs_env.backends, cfg->tls_issuer), .lifetime_s = LIFETIME_S,
                                .got = on_got, .lost = on_lost, .arg = l};
    names_of(&pool, s, cfg, &ask);
    l->self = self_cert_start(loop, &ask);
    uint64_t until = clock_mono_ms() + START_MS;
    while (l->tls == NULL && !l->failed && clock_mono_ms() < until)
        loop_turn(loop, 100);
    h2o_mem_clear_pool(&pool);
    if (l->tls != NULL)
        return true;
    if (!l->failed)
        return err_set(e, 0, "backend %s gave no certificate for HTTPS within %d s", cfg->tls_issuer, START_MS / 1000);
    *e = l->err;
    return false;
}

struct server_tls *server_tls_start(const struct settings *s, struct err *e)
{
    struct server_tls *t = base_zalloc(sizeof(*t));
    struct loop *loop = loop_new(0);
    bool ok = true;
    t->n = s->n_listen;
    t->v = base_zalloc((t->n ? t->n : 1) * sizeof(*t->v));
    for (size_t i = 0; i < t->n && ok; i++) {
        if (s->listen[i].tls)
            ok = s->listen[i].tls_issuer != NULL ? from_backend(&t->v[i], s, &s->listen[i], loop, e)
                                                 : from_files(&t->v[i].tls, &s->listen[i], e);
    }
    for (size_t i = 0; i < t->n; i++) {
        if (t->v[i].self != NULL)
            self_cert_move(t->v[i].self, NULL);
    }
    for (int i = 0; i < 3; i++)
        loop_turn(loop, 0);
    loop_free(loop);
    if (ok)
        return t;
    server_tls_free(t);
    return NULL;
}

struct serve_tls *server_tls_of(struct server_tls *t, size_t listener)
{
    return t->v[listener].tls;
}

void server_tls_adopt(struct server_tls *t, struct loop *l)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->v[i].self != NULL)
            self_cert_move(t->v[i].self, l);
    }
}

void server_tls_release(struct server_tls *t)
{
    server_tls_adopt(t, NULL);
}

static bool is_from_files(const struct listener_tls *l)
{
    return l->tls != NULL && l->self == NULL;
}

/* All or nothing: every pair of files is tried before the first is put in place. */
bool server_tls_reload(struct server_tls *t, const struct settings *next, struct err *e)
{
    bool ok = true;
    for (size_t i = 0; i < t->n && i < next->n_listen && ok; i++) {
        struct serve_tls *probe = NULL;
        ok = !is_from_files(&t->v[i]) || from_files(&probe, &next->listen[i], e);
        serve_tls_free(probe);
    }
    for (size_t i = 0; i < t->n && i < next->n_listen && ok; i++)
        ok = !is_from_files(&t->v[i]) || from_files(&t->v[i].tls, &next->listen[i], e);
    return ok;
}

void server_tls_free(struct server_tls *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n; i++) {
        self_cert_free(t->v[i].self);
        serve_tls_free(t->v[i].tls);
    }
    free(t->v);
    free(t);
}

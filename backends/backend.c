/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: reads the configured backends against the common rows and those of their drivers, and opens them. */
#include "backends/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "io/pki.h"

#ifndef BACKEND_REGISTRY
#define BACKEND_REGISTRY "backends/registry.def" /* the registry's unit test has another */
#endif

#define DRIVER(name) extern const struct backend_driver backend_##name;
#include BACKEND_REGISTRY
#undef DRIVER

static const struct backend_driver *const drivers[] = {
#define DRIVER(name) &backend_##name,
#include BACKEND_REGISTRY
#undef DRIVER
};

#define NAME_MAX_LEN 63
#define OPERATOR "operator" /* revoke_via: a person does it */
#define CERT_FILE_MAX (16 << 20)

struct backend {
    const struct backend_driver *driver;
    struct backend_common *common;
    void *conf, *state;
    const struct conf_node *node;
    struct conf *source;
    struct iovs trust;
    bool opened;
};

struct backends {
    pool_t pool;
    struct backend *v;
    size_t n;
};

static const char *const on_unknown_names[] = {"hold", "resubmit", NULL};
static const struct conf_key common_keys[] = {
    CONF_STR(struct backend_common, name, "name", CONF_REQUIRED, "how routes, logs and porticoctl call it"),
    CONF_STR(struct backend_common, driver, "driver", CONF_REQUIRED, "which driver talks to the CA"),
    CONF_DURATION(struct backend_common, timeout_ms, "timeout", "10s", 100, 300000, "for one call to the CA"),
    CONF_ENUM(struct backend_common, on_unknown, "on_unknown", "hold", on_unknown_names,
              "when it cannot be told whether a lost call issued: hold for an operator, or resubmit"),
    CONF_STR(struct backend_common, revoke_via, "revoke_via", NULL,
             "backend that revokes what this one issued, or operator"),
    CONF_FILE(struct backend_common, trust, "trust", NULL, "PEM roots that what it issues must chain to"),
    CONF_END,
};

/* ---- reading ---- */

static const struct backend_driver *driver_find(const char *name)
{
    for (size_t i = 0; i < COUNTOF(drivers); i++) {
        if (strcmp(drivers[i]->name, name) == 0)
            return drivers[i];
    }
    return NULL;
}

static bool driver_choose(struct backends *bs, struct backend *b, struct err *e)
{
    const struct conf_node *node = conf_get(b->node, "driver");
    const char *name = conf_text(node);
    if (name == NULL)
        return conf_error(node != NULL ? node : b->node, e, "a backend needs driver: NAME");
    b->driver = driver_find(name);
    if (b->driver != NULL)
        return true;
    struct sbuf known;
    sbuf_init(&known, &bs->pool);
    for (size_t i = 0; i < COUNTOF(drivers); i++)
        sbuf_printf(&known, "%s%s", i > 0 ? ", " : "", drivers[i]->name);
    return conf_error(node, e, "there is no driver \"%s\"; there are: %s", name, known.text.base);
}

static bool name_is_good(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len <= NAME_MAX_LEN && strcmp(name, OPERATOR) != 0 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

static size_t count_keys(const struct conf_key *keys)
{
    size_t n = 0;
    while (keys != NULL && keys[n].name != NULL)
        n++;
    return n;
}

/* Common rows and the driver's are one mapping in the file, so they are read as one table into one block. */
static bool rows_read(struct backends *bs, struct backend *b, struct err *e)
{
    size_t at = (sizeof(struct backend_common) + 15) & ~(size_t)15;
    size_t n_common = COUNTOF(common_keys) - 1, n_own = count_keys(b->driver->keys);
    char *block = pool_zalloc(&bs->pool, at + b->driver->conf_size);
    struct conf_key *keys = POOL_NEW(&bs->pool, struct conf_key, n_common + n_own + 1);
    memcpy(keys, common_keys, n_common * sizeof(*keys));
    for (size_t i = 0; i < n_own; i++) {
        keys[n_common + i] = b->driver->keys[i];
        keys[n_common + i].offset += at;
    }
    b->common = (struct backend_common *)block;
    b->conf = block + at;
    if (!conf_read(b->source, b->node, keys, block, e))
        return false;
    if (!name_is_good(b->common->name))
        return conf_error(conf_get(b->node, "name"), e,
                          "a backend's name is 1 to %d letters, digits, '-', '_' and '.', and not \"%s\"",
                          NAME_MAX_LEN, OPERATOR);
    return true;
}

static bool read_all(struct backends *bs, struct conf *c, const struct conf_node *seq, struct err *e)
{
    size_t n = seq == NULL ? 0 : conf_count(seq);
    bs->v = POOL_NEW(&bs->pool, struct backend, n);
    for (bs->n = 0; bs->n < n; bs->n++) {
        struct backend *b = &bs->v[bs->n];
        b->node = conf_item(seq, bs->n);
        b->source = c;
        if (!driver_choose(bs, b, e) || !rows_read(bs, b, e))
            return false;
        const struct backend *same = backends_find(bs, b->common->name);
        if (same != NULL)
            return conf_error(b->node, e, "there is a backend \"%s\" already, at %s", b->common->name,
                              conf_where(same->node));
    }
    return true;
}

static bool revoke_via_ok(const struct backends *bs, const struct backend *b, struct err *e)
{
    const char *via = b->common->revoke_via;
    if (via == NULL || strcmp(via, OPERATOR) == 0)
        return true;
    const struct conf_node *at = conf_get(b->node, "revoke_via");
    const struct backend *other = backends_find(bs, via);
    if (other == NULL)
        return conf_error(at, e, "there is no backend \"%s\" (nor is it \"%s\")", via, OPERATOR);
    if (other->driver->revoke == NULL)
        return conf_error(at, e, "backend \"%s\" cannot revoke: its driver is %s", via, other->driver->name);
    return true;
}

/* ---- opening ---- */

/* Without a trust file what the driver knows of its CA: its self-signed certificates, else the top of its chain. */
static bool trust_from_chain(struct backends *bs, struct backend *b, struct err *e)
{
    struct iovs ders = {0};
    struct err why = ERR_INIT;
    if (b->driver->ca_chain == NULL)
        return true;
    if (!b->driver->ca_chain(b, &bs->pool, &ders, &why))
        return backend_error(b, e, "its CA certificates: %s", why.detail);
    for (size_t i = 0; i < ders.n; i++) {
        struct pki_cert cert;
        if (!pki_cert_parse(&bs->pool, ders.v[i], &cert, &why))
            return backend_error(b, e, "its CA certificates: %s", why.detail);
        if (cert.self_signed)
            iovs_add(&bs->pool, &b->trust, ders.v[i]);
    }
    if (b->trust.n == 0 && ders.n > 0)
        iovs_add(&bs->pool, &b->trust, ders.v[ders.n - 1]);
    return true;
}

static bool trust_load(struct backends *bs, struct backend *b, struct err *e)
{
    struct err why = ERR_INIT;
    if (b->common->trust == NULL)
        return trust_from_chain(bs, b, e);
    if (!backend_read_certs(&bs->pool, b->common->trust, &b->trust, &why))
        return conf_error(conf_get(b->node, "trust"), e, "%s", why.detail);
    return true;
}

static bool open_all(struct backends *bs, struct err *e)
{
    for (size_t i = 0; i < bs->n; i++) {
        struct backend *b = &bs->v[i];
        if (!revoke_via_ok(bs, b, e))
            return false;
        if (b->driver->open != NULL && !b->driver->open(b, e))
            return false;
        b->opened = true;
        if (!trust_load(bs, b, e))
            return false;
        log_debug("backend.open", KV_STR("backend", b->common->name), KV_STR("driver", b->driver->name),
                  KV_INT("anchors", b->trust.n));
    }
    return true;
}

struct backends *backends_open(struct conf *c, const struct conf_node *seq, struct err *e)
{
    struct backends *bs = base_zalloc(sizeof(*bs));
    h2o_mem_init_pool(&bs->pool);
    if (read_all(bs, c, seq, e) && open_all(bs, e))
        return bs;
    backends_close(bs);
    return NULL;
}

void backends_close(struct backends *bs)
{
    if (bs == NULL)
        return;
    for (size_t i = bs->n; i-- > 0;) {
        if (bs->v[i].opened && bs->v[i].driver->close != NULL)
            bs->v[i].driver->close(&bs->v[i]);
    }
    h2o_mem_clear_pool(&bs->pool);
    free(bs);
}

/* ---- looking ---- */

struct backend *backends_find(const struct backends *bs, const char *name)
{
    for (size_t i = 0; name != NULL && i < bs->n; i++) {
        if (strcmp(bs->v[i].common->name, name) == 0)
            return &bs->v[i];
    }
    return NULL;
}

size_t backends_count(const struct backends *bs)
{
    return bs->n;
}

struct backend *backends_at(const struct backends *bs, size_t i)
{
    return &bs->v[i];
}

const struct backend_common *backend_common(const struct backend *b)
{
    return b->common;
}

const struct backend_driver *backend_driver(const struct backend *b)
{
    return b->driver;
}

void *backend_conf(const struct backend *b)
{
    return b->conf;
}

void *backend_state(const struct backend *b)
{
    return b->state;
}

void backend_set_state(struct backend *b, void *state)
{
    b->state = state;
}

const struct iovs *backend_trust(const struct backend *b)
{
    return &b->trust;
}

/* ---- for a driver's open ---- */

struct conf *backend_source(const struct backend *b)
{
    return b->source;
}

const struct conf_node *backend_node(const struct backend *b)
{
    return b->node;
}

bool backend_error(const struct backend *b, struct err *e, const char *fmt, ...)
{
    char text[sizeof(e->detail)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return conf_error(b->node, e, "backend \"%s\": %s", b->common->name, text);
}

static bool read_file(pool_t *pool, const char *path, iov_t *out, struct err *e)
{
    struct stat st;
    bool ok = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        err_set(e, 0, "%s: %s", path, strerror(errno));
        goto done;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > CERT_FILE_MAX) {
        err_set(e, 0, "%s is not a file of certificates", path);
        goto done;
    }
    *out = (iov_t){POOL_NEW(pool, char, st.st_size + 1), 0};
    for (ssize_t n = 1; n > 0 && out->len<(size_t)st.st_size; out->len += n> 0 ? (size_t)n : 0)
        n = read(fd, out->base + out->len, (size_t)st.st_size - out->len);
    ok = out->len == (size_t)st.st_size || err_set(e, 0, "%s cannot be read", path);
done:
    if (fd >= 0)
        close(fd);
    return ok;
}

bool backend_read_certs(pool_t *pool, const char *path, struct iovs *ders_out, struct err *e)
{
    iov_t pem;
    struct err why = ERR_INIT;
    if (!read_file(pool, path, &pem, e))
        return false;
    return pki_pem_to_ders(pool, pem, ders_out, &why) || err_set(e, 0, "%s: %s", path, why.detail);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* libunbound's options. As a library it comes with a cache and with answers of its own for internal zones,
 * neither of which a validating gateway may have. */
#include "io/dns_setup.h"
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unbound.h>
#include <unistd.h>

#define RESOLV_CONF "/etc/resolv.conf"
#define ROOT_ANCHOR "/usr/share/dns/root.key"
#define RESOLVERS_MAX 16

static const struct { const char *name, *value; } options[] = {
    {"use-syslog:", "no"},
    {"do-not-query-localhost:", "no"},
    {"cache-max-ttl:", "0"}, /* see no_cache() */
    {"cache-max-negative-ttl:", "0"},
    {"aggressive-nsec:", "no"},
    {"infra-host-ttl:", "2"}, /* a forwarder that was down is asked again this soon */
    {"infra-keep-probing:", "yes"},
    {"qname-minimisation:", "no"}, /* the forwarder's business */
    {"msg-cache-size:", "1m"},
    {"rrset-cache-size:", "1m"},
    {"outgoing-range:", "256"}, /* the library's 16 would be filled by one dead name server */
    {"num-queries-per-thread:", "1024"},
    {"outgoing-num-tcp:", "32"},
};

/* Zones that libunbound answers by itself (RFC 6303, RFC 6761, RFC 8375); an internal resolver may well hold
 * them. */
static const char *const own_zones[] = {
    "test.", "localhost.", "home.arpa.", "invalid.", "resolver.arpa.", "service.arpa.", "127.in-addr.arpa.",
    "10.in-addr.arpa.", "168.192.in-addr.arpa.", "254.169.in-addr.arpa.", "d.f.ip6.arpa.", "8.e.f.ip6.arpa.",
    "9.e.f.ip6.arpa.", "a.e.f.ip6.arpa.", "b.e.f.ip6.arpa.",
};
/* Never delegated in the public root (RFC 6761, RFC 6762 appendix G, RFC 8375, ICANN's "internal"), so the
 * root's signatures would disprove them. "if-signed" takes what the internal resolver says of them. */
static const char *const unsigned_zones[] = {
    "test.", "localhost.", "home.arpa.", "invalid.", "example.", "local.", "internal.", "intranet.",
    "private.", "corp.", "home.", "lan.", "10.in-addr.arpa.", "168.192.in-addr.arpa.",
};

static bool checked(int rc, const char *what, struct err *e)
{
    if (rc == 0)
        return true;
    err_set(e, 0, "the DNS resolver does not start: %s", ub_strerror(rc));
    return err_cause(e, "libunbound: %s", what);
}

/* ---- forwarders ---- */

/* A client that has just set its record must be believed at once. A TTL of 0 is not enough: answers still
 * serve the rest of their second, and negative ones without an SOA five more. Only forward-no-cache helps,
 * and only a file can say it; the addresses that ub_ctx_set_fwd() adds later join this zone. */
static bool no_cache(struct ub_ctx *ctx, struct err *e)
{
    static const char text[] = "forward-zone:\n name: \".\"\n forward-no-cache: yes\n";
    char path[32];
    int fd = memfd_create("portico-dns", MFD_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1;
    if (!ok)
        err_internal(e, "memfd_create: %s", strerrordesc_np(errno));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ok = ok && checked(ub_ctx_config(ctx, path), path, e);
    if (fd >= 0)
        close(fd);
    return ok;
}

struct forwarders {
    struct ub_ctx *ctx;
    char text[RESOLVERS_MAX * 64];
    size_t len;
    unsigned n;
};

static bool forwarder_add(struct forwarders *f, const char *host, unsigned port, struct err *e)
{
    char addr[80];
    if (f->n == RESOLVERS_MAX)
        return err_set(e, 0, "more than %d DNS resolvers", RESOLVERS_MAX);
    snprintf(addr, sizeof(addr), "%s@%u", host, port);
    if (!checked(ub_ctx_set_fwd(f->ctx, addr), addr, e))
        return false;
    const char *form = strchr(host, ':') != NULL ? "%s[%s]:%u" : "%s%s:%u", *comma = f->n > 0 ? ", " : "";
    f->len += (size_t)snprintf(f->text + f->len, sizeof(f->text) - f->len, form, comma, host, port);
    f->n++;
    return true;
}

/* The host part into out without brackets; rest is what follows it ("" or ":PORT"). */
static bool split(const char *text, char *out, size_t size, const char **rest)
{
    bool bracketed = text[0] == '[';
    const char *start = bracketed ? text + 1 : text;
    const char *colon = strchr(start, ':');
    const char *end = start + strlen(start);
    if (bracketed)
        end = strchr(start, ']');
    else if (colon != NULL && strchr(colon + 1, ':') == NULL)
        end = colon;
    if (end == NULL || (size_t)(end - start) >= size)
        return false;
    memcpy(out, start, (size_t)(end - start));
    out[end - start] = '\0';
    *rest = bracketed ? end + 1 : end;
    return true;
}

static bool configured_add(struct forwarders *f, const char *text, struct err *e)
{
    char host[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    const char *rest;
    uint64_t port = 53;
    bool ok = split(text, host, sizeof(host), &rest) &&
              (inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1) &&
              (rest[0] == '\0' || (rest[0] == ':' && iov_to_u64(iov_of(rest + 1), &port)));
    if (!ok || port == 0 || port > 65535)
        return err_set(e, 0, "\"%.80s\" is no DNS resolver; write ADDR, ADDR:PORT or [V6]:PORT", text);
    return forwarder_add(f, host, (unsigned)port, e);
}

/* The nameserver lines; like libc, the local host when there is none. */
static bool resolv_conf_add(struct forwarders *f, struct err *e)
{
    char line[512], host[64];
    bool ok = true;
    FILE *in = fopen(RESOLV_CONF, "re");
    if (in == NULL && errno != ENOENT)
        return err_set(e, 0, "cannot read " RESOLV_CONF ": %s", strerrordesc_np(errno));
    while (ok && in != NULL && f->n < RESOLVERS_MAX && fgets(line, sizeof(line), in) != NULL) {
        if (sscanf(line, " nameserver %63s", host) == 1)
            ok = forwarder_add(f, host, 53, e);
    }
    if (in != NULL)
        fclose(in);
    return ok && (f->n > 0 || forwarder_add(f, "127.0.0.1", 53, e));
}

static bool set_forwarders(struct forwarders *f, const struct dns_config *cfg, struct err *e)
{
    if (cfg->n_resolvers == 0)
        return resolv_conf_add(f, e);
    for (size_t i = 0; i < cfg->n_resolvers; i++) {
        if (!configured_add(f, cfg->resolvers[i], e))
            return false;
    }
    return true;
}

/* ---- options ---- */

static bool set_dnssec(struct ub_ctx *ctx, const struct dns_config *cfg, struct err *e)
{
    if (cfg->dnssec == DNSSEC_OFF)
        return checked(ub_ctx_set_option(ctx, "module-config:", "iterator"), "module-config", e);
    const char *anchor = cfg->trust_anchor != NULL ? cfg->trust_anchor : ROOT_ANCHOR;
    if (access(anchor, R_OK) != 0)
        return err_set(e, 0,
                       "cannot read the DNSSEC trust anchor %s: %s; install the package dns-root-data, or set "
                       "validation.dnssec: off",
                       anchor, strerrordesc_np(errno));
    for (size_t i = 0; cfg->dnssec == DNSSEC_IF_SIGNED && i < COUNTOF(unsigned_zones); i++) {
        if (!checked(ub_ctx_set_option(ctx, "domain-insecure:", unsigned_zones[i]), unsigned_zones[i], e))
            return false;
    }
    return checked(ub_ctx_set_option(ctx, "module-config:", "validator iterator"), "module-config", e) &&
           checked(ub_ctx_add_ta_file(ctx, anchor), anchor, e);
}

/* Last of all: ub_ctx_zone_add() ends the time in which options can be set. */
static bool open_zones(struct ub_ctx *ctx, struct err *e)
{
    char zone[32];
    for (size_t i = 0; i < COUNTOF(own_zones); i++) {
        if (!checked(ub_ctx_zone_add(ctx, own_zones[i], "nodefault"), own_zones[i], e))
            return false;
    }
    for (unsigned i = 16; i < 32; i++) {
        snprintf(zone, sizeof(zone), "%u.172.in-addr.arpa.", i);
        if (!checked(ub_ctx_zone_add(ctx, zone, "nodefault"), zone, e))
            return false;
    }
    return true;
}

static struct ub_ctx *new_context(const struct dns_config *cfg, char **resolvers_out, struct err *e)
{
    struct ub_ctx *ctx = ub_ctx_create();
    if (ctx == NULL)
        abort();
    struct forwarders f = {.ctx = ctx};
    ub_ctx_debugout(ctx, NULL); /* it prints to stderr else */
    bool ok = checked(ub_ctx_async(ctx, 1), "async", e);
    for (size_t i = 0; ok && i < COUNTOF(options); i++)
        ok = checked(ub_ctx_set_option(ctx, options[i].name, options[i].value), options[i].name, e);
    ok = ok && set_dnssec(ctx, cfg, e) && no_cache(ctx, e) && set_forwarders(&f, cfg, e);
    ok = ok && open_zones(ctx, e);
    if (!ok) {
        ub_ctx_delete(ctx);
        return NULL;
    }
    *resolvers_out = strdup(f.text);
    if (*resolvers_out == NULL)
        abort();
    return ctx;
}

struct ub_ctx *dns_setup(const struct dns_config *cfg, char **resolvers_out, struct err *e)
{
    /* libunbound reads a configuration file into global variables, and all loops start at once. */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    struct ub_ctx *ctx = new_context(cfg, resolvers_out, e);
    pthread_mutex_unlock(&lock);
    return ctx;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the configuration file and the snapshot they fill. What each value means alone is said here; whether the
 * values fit together is settings_check.c. A snapshot is immutable once loaded and shared by counting references. */
#include "policy/settings.h"

#include <sched.h>
#include <stdlib.h>

#include "io/pki.h"
#include "policy/settings_check.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define YEAR (365 * DAY)

const char *const challenge_names[] = {"http-01", "dns-01", "tls-alpn-01", NULL};

static const char *const kind_names[] = {"acme", "admin", NULL};
static const char *const validity_names[] = {"refuse", "clamp", NULL};
static const char *const eab_names[] = {"off", "optional", "required", NULL};
static const char *const dnssec_names[] = {"off", "if-signed", "require", NULL};
static const char *const level_names[] = {"error", "warn", "info", "debug", NULL};
static const char *const key_type_names[] = {
    [PKI_KEY_RSA] = "rsa",       [PKI_KEY_EC_P256] = "p256",    [PKI_KEY_EC_P384] = "p384",
    [PKI_KEY_EC_P521] = "p521", [PKI_KEY_ED25519] = "ed25519", [PKI_KEY_OTHER] = NULL,
};

/* The file's top level; what is not a section goes straight into the snapshot. */
struct root {
    const struct conf_node *include, *listen, *database, *signer, *log, *admin, *idempotent, *backends, *profiles;
    const struct conf_node *directories, *routes, *validation, *limits, *times;
    struct conf_list public_url, trusted_proxies;
    int64_t threads, workers;
};

static const struct conf_key root_keys[] = {
    CONF_NODE(struct root, include, "include", NULL, "fragments to merge (globs); done while loading"),
    CONF_NODE(struct root, listen, "listen", CONF_REQUIRED, "where to listen: a list of addresses"),
    CONF_LIST(struct root, public_url, "public_url", CONF_REQUIRED, "start of every URL handed out; more are accepted"),
    CONF_LIST(struct root, trusted_proxies, "trusted_proxies", NULL, "networks whose X-Forwarded-* headers count"),
    CONF_NODE(struct root, database, "database", CONF_REQUIRED, "PostgreSQL"),
    CONF_INT(struct root, threads, "threads", "0", 0, 256, "event loops; 0: one per core"),
    CONF_INT(struct root, workers, "workers", "0", 0, 256, "threads for slow cryptography; 0: one per core"),
    CONF_NODE(struct root, signer, "signer", NULL, "the process that holds the in-house CA's keys"),
    CONF_NODE(struct root, log, "log", NULL, "logging"),
    CONF_NODE(struct root, admin, "admin", NULL, "the operator's interface"),
    CONF_NODE(struct root, idempotent, "idempotent", NULL, "reuse of authorizations and pending orders"),
    CONF_NODE(struct root, backends, "backends", CONF_REQUIRED, "the certification authorities"),
    CONF_NODE(struct root, profiles, "profiles", CONF_REQUIRED, "what kinds of certificates there are"),
    CONF_NODE(struct root, directories, "directories", CONF_REQUIRED, "ACME directories: /acme/NAME/directory"),
    CONF_NODE(struct root, routes, "routes", CONF_REQUIRED, "which back end serves what; the first match wins"),
    CONF_NODE(struct root, validation, "validation", NULL, "how challenges are checked"),
    CONF_NODE(struct root, limits, "limits", NULL, "bounds on clients"),
    CONF_NODE(struct root, times, "times", NULL, "lifetimes and waits"),
    CONF_END,
};

static const struct conf_key listen_keys[] = {
    CONF_STR(struct settings_listen, name, "name", NULL, "for overrides: -o listen.NAME.port=14001"),
    CONF_STR(struct settings_listen, address, "address", CONF_REQUIRED, "numeric address, or unix:/PATH"),
    CONF_INT(struct settings_listen, port, "port", NULL, 1, 65535, "TCP port; none with unix:/PATH"),
    CONF_ENUM(struct settings_listen, kind, "kind", "acme", kind_names, "acme, or admin: health and metrics only"),
    CONF_NODE(struct settings_listen, tls_node, "tls", NULL, "HTTPS; without it plain HTTP"),
    CONF_END,
};

static const struct conf_key tls_keys[] = {
    CONF_STR(struct settings_listen, tls_issuer, "issuer", NULL, "back end that issues and renews the certificate"),
    CONF_FILE(struct settings_listen, tls_certificate, "certificate", NULL, "PEM file: certificate, then its issuers"),
    CONF_FILE(struct settings_listen, tls_key, "key", NULL, "PEM file: private key"),
    CONF_LIST(struct settings_listen, tls_names, "names", NULL, "names to issue for; default: hosts of public_url"),
    CONF_END,
};

static const struct conf_key profile_keys[] = {
    CONF_STR(struct settings_profile, name, "name", CONF_REQUIRED, "how orders and directories name it"),
    CONF_STR(struct settings_profile, description, "description", "", "shown to clients in the directory"),
    CONF_DURATION(struct settings_profile, lifetime_ms, "lifetime", "90d", MINUTE, 100 * YEAR, "validity asked of the CA"),
    CONF_LIST(struct settings_profile, challenges, "challenges", "http-01, dns-01, tls-alpn-01", "methods offered"),
    CONF_STR(struct settings_profile, join_window, "join_window", "1h",
             "how long a CSR seen again gets the same certificate: a duration, until-renewal, or 0 for never"),
    CONF_ENUM(struct settings_profile, validity, "validity", "refuse", validity_names,
              "a requested notBefore/notAfter outside the range: refuse, or clamp silently"),
    CONF_BOOL(struct settings_profile, wildcards, "wildcards", "true", "wildcard names may be ordered"),
    CONF_BOOL(struct settings_profile, ips, "ips", "true", "IP addresses may be ordered"),
    CONF_LIST(struct settings_profile, names, "names", NULL, "patterns of names that may be ordered; none: every name"),
    CONF_LIST(struct settings_profile, key_types, "key_types", NULL, "rsa p256 p384 p521 ed25519; none: all"),
    CONF_INT(struct settings_profile, rsa_min_bits, "rsa_min_bits", "2048", 2048, 8192, "smallest RSA key in a CSR"),
    CONF_INT(struct settings_profile, names_max, "names_max", "100", 1, 1000, "names in one order"),
    CONF_END,
};

static const struct conf_key directory_keys[] = {
    CONF_STR(struct settings_directory, name, "name", CONF_REQUIRED, "stands in its URLs: /acme/NAME/directory"),
    CONF_ENUM(struct settings_directory, eab, "eab", "off", eab_names, "external account binding"),
    CONF_LIST(struct settings_directory, profiles, "profiles", CONF_REQUIRED, "profiles offered; the first is the default"),
    CONF_STR(struct settings_directory, terms, "terms", NULL, "URL of the terms of service"),
    CONF_BOOL(struct settings_directory, terms_required, "terms_required", "true",
              "new accounts must agree to terms, where there are any"),
    CONF_STR(struct settings_directory, website, "website", NULL, "URL of a page about this CA"),
    CONF_LIST(struct settings_directory, caa, "caa", NULL, "domain names by which CAA records name this CA"),
    CONF_END,
};

static const struct conf_key route_keys[] = {
    CONF_NODE(struct settings_route, match_node, "match", NULL, "all of these must match; none: everything"),
    CONF_LIST(struct settings_route, backends, "backends", CONF_REQUIRED, "names of back ends, in order of fail-over"),
    CONF_END,
};

static const struct conf_key match_keys[] = {
    CONF_STR(struct settings_route, match.directory, "directory", NULL, "name of a directory"),
    CONF_STR(struct settings_route, match.profile, "profile", NULL, "name of a profile"),
    CONF_LIST(struct settings_route, match.names, "names", NULL, "patterns; every name of an order must match one"),
    CONF_LIST(struct settings_route, match.eab, "eab", NULL, "kids of EAB keys"),
    CONF_LIST(struct settings_route, match.key_types, "key_types", NULL, "rsa p256 p384 p521 ed25519"),
    CONF_LIST(struct settings_route, match.account, "account", NULL, "account ids"),
    CONF_END,
};

static const struct conf_key validation_keys[] = {
    CONF_INT(struct settings_validation, http_port, "http_port", "80", 1, 65535, "port of http-01"),
    CONF_INT(struct settings_validation, tls_port, "tls_port", "443", 1, 65535, "port of tls-alpn-01"),
    CONF_DURATION(struct settings_validation, timeout_ms, "timeout", "10s", 100, 5 * MINUTE, "for one try"),
    CONF_DURATION(struct settings_validation, connect_timeout_ms, "connect_timeout", "4s", 100, 5 * MINUTE,
                  "for one connection"),
    CONF_DURATION(struct settings_validation, retry_window_ms, "retry_window", "15s", 0, HOUR,
                  "a try that could not reach its target is repeated within this time"),
    CONF_INT(struct settings_validation, parallel, "parallel", "64", 1, 10000, "validations at once per event loop"),
    CONF_LIST(struct settings_validation, resolver, "resolver", NULL,
              "DNS servers: ADDR, ADDR:PORT, [V6]:PORT; none: /etc/resolv.conf"),
    CONF_LIST(struct settings_validation, deny, "deny",
              "127.0.0.0/8, ::1/128, 169.254.0.0/16, fe80::/10, 224.0.0.0/4, ff00::/8, 0.0.0.0/8, ::/128, "
              "255.255.255.255/32",
              "networks that validation never connects to"),
    CONF_LIST(struct settings_validation, allow, "allow", NULL, "networks taken out of deny"),
    CONF_ENUM(struct settings_validation, dnssec, "dnssec", "if-signed", dnssec_names, "off, if-signed or require"),
    CONF_END,
};

static const struct conf_key limits_keys[] = {
    CONF_SIZE(struct settings_limits, body_max, "body_max", "64KiB", 4096, 1 << 20, "bytes of one request body"),
    CONF_INT(struct settings_limits, connections, "connections", "10000", 1, 1000000, "open connections"),
    CONF_INT(struct settings_limits, connections_per_ip, "connections_per_ip", "0", 0, 1000000,
             "open connections of one address; 0: no limit"),
    CONF_DURATION(struct settings_limits, request_timeout_ms, "request_timeout", "30s", SECOND, 10 * MINUTE,
                  "for header and body to arrive; also idle time of a kept connection"),
    CONF_INT(struct settings_limits, orders_per_page, "orders_per_page", "100", 1, 1000, "in an orders list"),
    CONF_INT(struct settings_limits, contacts_max, "contacts_max", "10", 0, 100, "contacts of one account"),
    CONF_BOOL(struct settings_limits, http2, "http2", "false", "offer HTTP/2 as well; see portico.yaml(5) before you do"),
    CONF_END,
};

static const struct conf_key times_keys[] = {
    CONF_DURATION(struct settings_times, order_ms, "order", "7d", MINUTE, YEAR, "an order expires after"),
    CONF_DURATION(struct settings_times, authz_pending_ms, "authz_pending", "7d", MINUTE, YEAR,
                  "a pending authorization expires after"),
    CONF_DURATION(struct settings_times, authz_valid_ms, "authz_valid", "30d", MINUTE, 2 * YEAR,
                  "a valid authorization is reused for"),
    CONF_DURATION(struct settings_times, nonce_ms, "nonce", "1h", 10 * SECOND, HOUR, "a nonce is good for"),
    CONF_DURATION(struct settings_times, finalize_wait_ms, "finalize_wait", "2s", 0, MINUTE,
                  "finalize waits this long for a fast CA before it answers processing"),
    CONF_DURATION(struct settings_times, poll_wait_max_ms, "poll_wait_max", "30s", 0, 10 * MINUTE,
                  "longest Prefer: wait=N that is honoured"),
    CONF_DURATION(struct settings_times, drain_ms, "drain", "10s", 0, 10 * MINUTE, "for requests in flight at the end"),
    CONF_DURATION(struct settings_times, lease_ms, "lease", "5s", SECOND, MINUTE,
                  "a gateway silent for this long loses its jobs to the others"),
    CONF_END,
};

struct idempotent {
    const char *authz_expires_default;
    bool reuse_pending_orders;
};
static const struct conf_key idempotent_keys[] = {
    CONF_STR(struct idempotent, authz_expires_default, "authz_expires_default", "5m",
             "newAuthz without expires reuses an authorization that lasts this long; always-new: never"),
    CONF_BOOL(struct idempotent, reuse_pending_orders, "reuse_pending_orders", "false",
              "newOrder for the same names returns the pending order"),
    CONF_END,
};

struct database { struct conf_secret url; };
static const struct conf_key database_keys[] = {
    CONF_SECRET(struct database, url, "url", CONF_REQUIRED, "libpq URL; file:PATH and env:NAME keep it elsewhere"),
    CONF_END,
};
static const struct conf_key signer_keys[] = {
    CONF_STR(struct settings, signer_user, "user", NULL, "user to run the signer as, when started as root"),
    CONF_END,
};
static const struct conf_key log_keys[] = {
    CONF_ENUM(struct settings, log_level, "level", "info", level_names, "error, warn, info or debug"),
    CONF_END,
};
static const struct conf_key admin_keys[] = {
    CONF_STR(struct settings, admin_socket, "socket", NULL, "path of the socket that porticoctl talks to"),
    CONF_END,
};

/* A few keys take a word or a duration. Their rows are strings; when it is not the word, the mapping is looked at once
 * more with that row turned into a duration, so that there is one syntax of durations and one wording of its errors. */
struct one_duration {
    const struct conf_node *others;
    int64_t ms;
};
static bool read_duration(struct conf *c, const struct conf_node *map, const struct conf_key *keys, const char *key,
                          int64_t *ms_out, struct err *e)
{
    struct conf_key rows[COUNTOF(profile_keys)] = {CONF_END};
    for (size_t i = 0; keys[i].name != NULL && i < COUNTOF(rows) - 1; i++) {
        if (strcmp(keys[i].name, key) == 0)
            rows[i] = (struct conf_key)CONF_DURATION(struct one_duration, ms, key, keys[i].def, 0, 10 * YEAR, "");
        else
            rows[i] = (struct conf_key)CONF_NODE(struct one_duration, others, keys[i].name, NULL, "");
    }
    struct one_duration found = {0};
    if (!conf_read(c, map, rows, &found, e))
        return false;
    *ms_out = found.ms;
    return true;
}

/* Sets a bit for each name of list; names ends with NULL. */
static bool read_mask(const struct conf_node *map, const char *key, const struct conf_list *list,
                      const char *const *names, unsigned *mask_out, struct err *e)
{
    *mask_out = 0;
    for (size_t i = 0; i < list->n; i++) {
        size_t bit = 0;
        while (names[bit] != NULL && strcmp(names[bit], list->v[i]) != 0)
            bit++;
        if (names[bit] == NULL)
            return settings_check_unknown(settings_check_at(map, key, i), list->v[i], names, e);
        *mask_out |= 1u << bit;
    }
    return true;
}

static bool read_listen(struct settings *s, const struct conf_node *map, void *item, struct err *e)
{
    struct settings_listen *l = item;
    if (!conf_read(s->conf, map, listen_keys, l, e))
        return false;
    l->tls = l->tls_node != NULL;
    return !l->tls || conf_read(s->conf, l->tls_node, tls_keys, l, e);
}

static bool read_profile(struct settings *s, const struct conf_node *map, void *item, struct err *e)
{
    struct settings_profile *p = item;
    if (!conf_read(s->conf, map, profile_keys, p, e) ||
        !read_mask(map, "challenges", &p->challenges, challenge_names, &p->challenge_mask, e) ||
        !read_mask(map, "key_types", &p->key_types, key_type_names, &p->key_type_mask, e))
        return false;
    if (p->key_types.n == 0)
        p->key_type_mask = (1u << PKI_KEY_OTHER) - 1;
    if (strcmp(p->join_window, "until-renewal") == 0) {
        p->join_window_s = -1;
        return true;
    }
    int64_t ms;
    if (!read_duration(s->conf, map, profile_keys, "join_window", &ms, e))
        return false;
    p->join_window_s = (ms + SECOND - 1) / SECOND;
    return true;
}

static bool read_directory(struct settings *s, const struct conf_node *map, void *item, struct err *e)
{
    struct settings_directory *d = item;
    if (!conf_read(s->conf, map, directory_keys, d, e))
        return false;
    d->terms_required = d->terms_required && d->terms != NULL;
    d->n_profiles = d->profiles.n;
    d->profile = base_zalloc((d->n_profiles + 1) * sizeof(*d->profile));
    for (size_t i = 0; i < d->n_profiles; i++) {
        const char *name = d->profiles.v[i];
        d->profile[i] = settings_profile(s, iov_of(name));
        if (d->profile[i] == NULL)
            return conf_error(settings_check_at(map, "profiles", i), e,
                              "directory \"%s\" offers profile \"%s\", which profiles does not define", d->name, name);
    }
    return true;
}

static bool read_route(struct settings *s, const struct conf_node *map, void *item, struct err *e)
{
    struct settings_route *r = item;
    r->where = conf_where(map);
    if (!conf_read(s->conf, map, route_keys, r, e))
        return false;
    if (r->match_node == NULL)
        return true;
    unsigned mask;
    return conf_read(s->conf, r->match_node, match_keys, r, e) &&
           read_mask(r->match_node, "key_types", &r->match.key_types, key_type_names, &mask, e);
}

struct item_type {
    const char *key;
    size_t size;
    bool (*read)(struct settings *s, const struct conf_node *map, void *item, struct err *e);
};
static const struct item_type listen_type = {"listen", sizeof(struct settings_listen), read_listen};
static const struct item_type profile_type = {"profiles", sizeof(struct settings_profile), read_profile};
static const struct item_type directory_type = {"directories", sizeof(struct settings_directory), read_directory};
static const struct item_type route_type = {"routes", sizeof(struct settings_route), read_route};

static void *new_items(const struct conf_node *seq, const struct item_type *type, struct err *e)
{
    if (conf_count(seq) > 0)
        return base_zalloc(conf_count(seq) * type->size);
    conf_error(seq, e, "%s has no items; it is a list of at least one", type->key);
    return NULL;
}

/* *n_out counts the items begun, so that after a failure settings_unref releases what they hold. */
static bool read_items(struct settings *s, const struct conf_node *seq, const struct item_type *type, void *items,
                       size_t *n_out, struct err *e)
{
    for (size_t i = 0; items != NULL && i < conf_count(seq); i++) {
        *n_out = i + 1;
        if (!type->read(s, conf_item(seq, i), (char *)items + i * type->size, e))
            return false;
    }
    return items != NULL;
}

/* Profiles come before directories, which point at them. */
static bool read_lists(struct settings *s, const struct root *r, struct err *e)
{
    return read_items(s, r->listen, &listen_type, s->listen = new_items(r->listen, &listen_type, e), &s->n_listen, e) &&
           read_items(s, r->profiles, &profile_type, s->profiles = new_items(r->profiles, &profile_type, e),
                      &s->n_profiles, e) &&
           read_items(s, r->directories, &directory_type,
                      s->directories = new_items(r->directories, &directory_type, e), &s->n_directories, e) &&
           read_items(s, r->routes, &route_type, s->routes = new_items(r->routes, &route_type, e), &s->n_routes, e);
}

static bool read_idempotent(struct settings *s, const struct conf_node *map, struct err *e)
{
    struct idempotent i = {0};
    if (!conf_read(s->conf, map, idempotent_keys, &i, e))
        return false;
    s->reuse_pending_orders = i.reuse_pending_orders;
    s->authz_expires_default_ms = -1;
    return strcmp(i.authz_expires_default, "always-new") == 0 ||
           read_duration(s->conf, map, idempotent_keys, "authz_expires_default", &s->authz_expires_default_ms, e);
}

static bool read_sections(struct settings *s, const struct root *r, struct err *e)
{
    struct database db = {0};
    if (!conf_read(s->conf, r->database, database_keys, &db, e))
        return false;
    s->database_url = db.url.text;
    if (!conf_read(s->conf, r->validation, validation_keys, &s->validation, e))
        return false;
    /* Whoever shortens the time-out alone means the connection's too. */
    if (r->validation != NULL && conf_get(r->validation, "connect_timeout") == NULL &&
        s->validation.connect_timeout_ms > s->validation.timeout_ms)
        s->validation.connect_timeout_ms = s->validation.timeout_ms;
    return conf_read(s->conf, r->signer, signer_keys, s, e) && conf_read(s->conf, r->log, log_keys, s, e) &&
           conf_read(s->conf, r->admin, admin_keys, s, e) && read_idempotent(s, r->idempotent, e) &&
           conf_read(s->conf, r->limits, limits_keys, &s->limits, e) &&
           conf_read(s->conf, r->times, times_keys, &s->times, e);
}

/* The cores this process may run on, which in a container are fewer than the machine's. */
static int64_t cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? n : 1;
}

static bool read_root(struct settings *s, struct err *e)
{
    struct root r = {0};
    if (!conf_read(s->conf, conf_root(s->conf), root_keys, &r, e))
        return false;
    s->public_url = r.public_url;
    s->trusted_proxies = r.trusted_proxies;
    s->threads = r.threads != 0 ? r.threads : cores();
    s->workers = r.workers != 0 ? r.workers : cores();
    s->backends = r.backends;
    return read_sections(s, &r, e) && read_lists(s, &r, e);
}

struct settings *settings_load(struct conf *c, struct err *e)
{
    static uint64_t generations;
    struct settings *s = base_zalloc(sizeof(*s));
    s->refs = 1;
    s->conf = c;
    s->generation = __atomic_add_fetch(&generations, 1, __ATOMIC_RELAXED);
    if (read_root(s, e) && settings_check(s, e))
        return s;
    settings_unref(s);
    return NULL;
}

struct settings *settings_ref(struct settings *s)
{
    __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void settings_unref(struct settings *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    for (size_t i = 0; i < s->n_directories; i++)
        free(s->directories[i].profile);
    free(s->listen);
    free(s->profiles);
    free(s->directories);
    free(s->routes);
    conf_free(s->conf);
    free(s);
}

const struct settings_directory *settings_directory(const struct settings *s, iov_t name)
{
    for (size_t i = 0; i < s->n_directories; i++) {
        if (iov_is(name, s->directories[i].name))
            return &s->directories[i];
    }
    return NULL;
}

const struct settings_profile *settings_profile(const struct settings *s, iov_t name)
{
    for (size_t i = 0; i < s->n_profiles; i++) {
        if (iov_is(name, s->profiles[i].name))
            return &s->profiles[i];
    }
    return NULL;
}

const struct settings_profile *settings_directory_profile(const struct settings_directory *d, iov_t name)
{
    for (size_t i = 0; i < d->n_profiles; i++) {
        if (iov_is(name, d->profile[i]->name))
            return d->profile[i];
    }
    return NULL;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_list(const struct conf_list *a, const struct conf_list *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->v[i], b->v[i]) == 0;
    return same;
}

/* Sockets are opened once, with or without TLS; certificates from files are read anew, issued ones renew themselves. */
static bool same_listen(const struct settings *a, const struct settings *b)
{
    bool same = a->n_listen == b->n_listen;
    for (size_t i = 0; same && i < a->n_listen; i++) {
        const struct settings_listen *x = &a->listen[i], *y = &b->listen[i];
        same = strcmp(x->address, y->address) == 0 && x->port == y->port && x->kind == y->kind && x->tls == y->tls &&
               same_text(x->tls_issuer, y->tls_issuer) && same_list(&x->tls_names, &y->tls_names);
    }
    return same;
}

const char *settings_needs_restart(const struct settings *running, const struct settings *next)
{
    const struct settings *a = running, *b = next;
    const struct { const char *key; bool same; } keys[] = {
        {"listen", same_listen(a, b)},
        {"database.url", same_text(a->database_url, b->database_url)},
        {"limits.http2", a->limits.http2 == b->limits.http2},
        {"threads", a->threads == b->threads},
        {"workers", a->workers == b->workers},
        {"signer.user", same_text(a->signer_user, b->signer_user)},
        {"admin.socket", same_text(a->admin_socket, b->admin_socket)},
        {"limits.body_max", a->limits.body_max == b->limits.body_max},
        {"limits.connections", a->limits.connections == b->limits.connections},
        {"limits.connections_per_ip", a->limits.connections_per_ip == b->limits.connections_per_ip},
        {"limits.request_timeout", a->limits.request_timeout_ms == b->limits.request_timeout_ms},
        {"backends", conf_same(a->backends, b->backends)},
        {"times.lease", a->times.lease_ms == b->times.lease_ms},
    };
    for (size_t i = 0; i < COUNTOF(keys); i++) {
        if (!keys[i].same)
            return keys[i].key;
    }
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: what the defaults are, what is refused with which words, what a reload may not change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "io/pki.h"
#include "policy/settings.h"

/* A whole configuration in parts, so that a case replaces one of them. */
enum part { LISTEN, URL, DB, BACKENDS, PROFILES, DIRECTORIES, ROUTES, MORE, PARTS };
static const char *const good[PARTS] = {
    [LISTEN] = "listen: [{address: 127.0.0.1, port: 14000, tls: {issuer: house}}]\n",
    [URL] = "public_url: https://acme.corp.example\n",
    [DB] = "database: {url: 'postgresql:///portico'}\n",
    [BACKENDS] = ("backends:\n  - {name: house, driver: local, ca: {certificate: a, key: b}}\n"
                  "  - {name: corp, driver: est, url: 'https://est.example'}\n"),
    [PROFILES] = ("profiles:\n  - {name: server}\n  - {name: short, lifetime: 6d, join_window: until-renewal}\n"),
    [DIRECTORIES] = "directories: [{name: default, profiles: [server, short]}]\n",
    [ROUTES] = "routes:\n  - {match: {profile: short}, backends: [corp, house]}\n  - {backends: [house]}\n",
    [MORE] = "",
};

static struct settings *load(enum part replaced, const char *with, struct err *e)
{
    char text[8192];
    size_t used = 0;
    for (int i = 0; i < PARTS; i++) {
        int n = snprintf(text + used, sizeof(text) - used, "%s\n", i == (int)replaced ? with : good[i]);
        assert_true(n >= 0 && (size_t)n < sizeof(text) - used);
        used += (size_t)n;
    }
    struct conf *c = conf_parse((iov_t){text, used}, "test.yaml", e);
    return c != NULL ? settings_load(c, e) : NULL;
}

static struct settings *loaded(enum part replaced, const char *with)
{
    struct err e = ERR_INIT;
    struct settings *s = load(replaced, with, &e);
    if (s == NULL)
        fail_msg("refused: %s", e.detail);
    return s;
}

static void test_defaults(void **state UNUSED)
{
    struct settings *s = loaded(MORE, "");
    assert_true(s->threads >= 1 && s->workers >= 1);
    assert_string_equal(s->public_url.v[0], "https://acme.corp.example");
    assert_string_equal(s->database_url, "postgresql:///portico");
    assert_int_equal(s->log_level, LOG_LEVEL_INFO);
    assert_null(s->admin_socket);
    assert_int_equal(s->n_listen, 1);
    assert_true(s->listen[0].tls);
    assert_string_equal(s->listen[0].tls_issuer, "house");
    assert_int_equal(s->listen[0].port, 14000);
    assert_int_equal(s->times.order_ms, 7 * 86400000LL);
    assert_int_equal(s->times.authz_pending_ms, 7 * 86400000LL);
    assert_int_equal(s->times.authz_valid_ms, 30 * 86400000LL);
    assert_int_equal(s->times.nonce_ms, 3600000);
    assert_int_equal(s->times.finalize_wait_ms, 2000);
    assert_int_equal(s->times.poll_wait_max_ms, 30000);
    assert_int_equal(s->times.drain_ms, 10000);
    assert_int_equal(s->times.lease_ms, 5000);
    assert_int_equal(s->validation.http_port, 80);
    assert_int_equal(s->validation.tls_port, 443);
    assert_int_equal(s->validation.timeout_ms, 10000);
    assert_int_equal(s->validation.connect_timeout_ms, 4000);
    assert_int_equal(s->validation.retry_window_ms, 15000);
    assert_int_equal(s->validation.parallel, 64);
    assert_int_equal(s->validation.deny.n, 9);
    assert_string_equal(s->validation.deny.v[0], "127.0.0.0/8");
    assert_int_equal(s->limits.body_max, 65536);
    assert_int_equal(s->limits.connections, 10000);
    assert_int_equal(s->limits.connections_per_ip, 0);
    assert_int_equal(s->limits.request_timeout_ms, 30000);
    assert_int_equal(s->limits.orders_per_page, 100);
    assert_int_equal(s->limits.contacts_max, 10);
    assert_int_equal(s->authz_expires_default_ms, 300000);
    assert_false(s->reuse_pending_orders);
    settings_unref(s);
}

static void test_profiles(void **state UNUSED)
{
    struct settings *s = loaded(PROFILES, "profiles:\n"
                                          "  - {name: server}\n"
                                          "  - {name: short, lifetime: 6d, join_window: until-renewal, ips: false,\n"
                                          "     challenges: [dns-01], key_types: [p256, ed25519], validity: clamp}\n"
                                          "  - {name: never, join_window: 0, wildcards: false}\n"
                                          "  - {name: day, join_window: 24h, names: ['*.corp.example', 10.0.0.0/8]}\n");
    const struct settings_profile *p = settings_profile(s, IOV("server"));
    assert_int_equal(p->lifetime_ms, 90 * 86400000LL);
    assert_int_equal(p->challenge_mask, 1u << CHALLENGE_HTTP01 | 1u << CHALLENGE_DNS01 | 1u << CHALLENGE_TLSALPN01);
    assert_int_equal(p->join_window_s, 3600);
    assert_int_equal(p->key_type_mask, (1u << PKI_KEY_OTHER) - 1);
    assert_true(p->wildcards && p->ips && p->validity == 0);
    assert_int_equal(p->rsa_min_bits, 2048);
    assert_int_equal(p->names_max, 100);
    p = settings_profile(s, IOV("short"));
    assert_int_equal(p->join_window_s, -1);
    assert_int_equal(p->challenge_mask, 1u << CHALLENGE_DNS01);
    assert_int_equal(p->key_type_mask, 1u << PKI_KEY_EC_P256 | 1u << PKI_KEY_ED25519);
    assert_true(p->validity == 1 && !p->ips);
    assert_int_equal(settings_profile(s, IOV("never"))->join_window_s, 0);
    assert_int_equal(settings_profile(s, IOV("day"))->join_window_s, 86400);
    assert_null(settings_profile(s, IOV("serve")));

    const struct settings_directory *d = settings_directory(s, IOV("default"));
    assert_non_null(d);
    assert_null(settings_directory(s, IOV("other")));
    assert_ptr_equal(settings_directory_profile(d, IOV("short")), settings_profile(s, IOV("short")));
    assert_null(settings_directory_profile(d, IOV("never")));
    assert_int_equal(d->eab, EAB_OFF);
    settings_unref(s);
}

static void test_sections(void **state UNUSED)
{
    struct settings *s = loaded(MORE, "threads: 3\nworkers: 1\nlog: {level: debug}\nadmin: {socket: /run/a.sock}\n"
                                      "trusted_proxies: [10.0.0.0/8, '::1']\n"
                                      "idempotent: {authz_expires_default: always-new, reuse_pending_orders: true}\n"
                                      "validation: {http_port: 5002, resolver: ['127.0.0.1:5353', '[::1]:53', '::1'],\n"
                                      "             deny: [], timeout: 3s, dnssec: off}\n");
    assert_int_equal(s->threads, 3);
    assert_int_equal(s->workers, 1);
    assert_int_equal(s->log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(s->admin_socket, "/run/a.sock");
    assert_int_equal(s->trusted_proxies.n, 2);
    assert_int_equal(s->authz_expires_default_ms, -1);
    assert_true(s->reuse_pending_orders);
    assert_int_equal(s->validation.resolver.n, 3);
    assert_int_equal(s->validation.deny.n, 0);
    assert_int_equal(s->validation.connect_timeout_ms, 3000); /* never longer than the whole */
    assert_int_equal(s->validation.dnssec, 0);
    settings_unref(s);

    s = loaded(MORE, "idempotent: {authz_expires_default: 2h}\n");
    assert_int_equal(s->authz_expires_default_ms, 7200000);
    settings_unref(s);
}

static void test_routes(void **state UNUSED)
{
    struct settings *s = loaded(ROUTES, "routes:\n"
                                        "  - match: {directory: default, profile: short, names: ['*.corp.example', .x],\n"
                                        "            eab: [kid1], key_types: [rsa], account: abc}\n"
                                        "    backends: [corp, house]\n"
                                        "  - {backends: house}\n");
    assert_int_equal(s->n_routes, 2);
    const struct settings_route *r = &s->routes[0];
    assert_string_equal(r->match.directory, "default");
    assert_string_equal(r->match.profile, "short");
    assert_int_equal(r->match.names.n, 2);
    assert_string_equal(r->match.eab.v[0], "kid1");
    assert_string_equal(r->match.account.v[0], "abc");
    assert_int_equal(r->backends.n, 2);
    assert_non_null(strstr(r->where, "test.yaml:"));
    assert_int_equal(s->routes[1].backends.n, 1);
    assert_null(s->routes[1].match.directory);
    settings_unref(s);
}

#define DIR_OF(rest) "directories: [{name: default, profiles: [server, short], " rest "}]\n"
static const struct {
    enum part part;
    const char *with, *says;
} bad[] = {
    {LISTEN, "", "listen"},
    {LISTEN, "listen: []\n", "at least one"},
    {LISTEN, "listen: [{port: 1}]\n", "address"},
    {LISTEN, "listen: [{address: 127.0.0.1}]\n", "needs a port"},
    {LISTEN, "listen: [{address: localhost, port: 1}]\n", "not numeric"},
    {LISTEN, "listen: [{address: 127.0.0.1, port: 65536}]\n", "port"},
    {LISTEN, "listen: [{address: 'unix:run/x', port: 1}]\n", "unix:/PATH"},
    {LISTEN, "listen: [{address: 'unix:/run/x', port: 1}]\n", "no port"},
    {LISTEN, "listen: [{address: '::', port: 1}, {address: '::', port: 1}]\n", "already"},
    {LISTEN, "listen: [{name: a, address: '::', port: 1}, {name: a, address: '::', port: 2}]\n", "unique"},
    {LISTEN, "listen: [{address: '::', port: 1, kind: admin}]\n", "serves ACME"},
    {LISTEN, "listen: [{address: '::', port: 1, tls: {}}]\n", "neither issuer nor certificate"},
    {LISTEN, "listen: [{address: '::', port: 1, tls: {issuer: nobody}}]\n", "is no back end"},
    {LISTEN, "listen: [{address: '::', port: 1, tls: {issuer: house, key: /etc/passwd}}]\n", "keep either"},
    {LISTEN, "listen: [{address: '::', port: 1, tls: {key: /etc/passwd}}]\n", "tls has no certificate"},
    {LISTEN, "listen: [{address: '::', port: 1, tls: {key: /etc/passwd, certificate: /nonexistent}}]\n", "/nonexistent"},
    {LISTEN, "listen: [{address: '::', port: 1, tls: {issuer: house, names: [A.b]}}]\n", "lower case"},
    {LISTEN, "listen: [{address: '::', port: 1, colour: red}]\n", "colour"},
    {URL, "", "public_url"},
    {URL, "public_url: []\n", "public_url"},
    {URL, "public_url: https://acme.example/\n", "without path"},
    {URL, "public_url: https://acme.example/acme\n", "without path"},
    {URL, "public_url: ftp://acme.example\n", "https://HOST"},
    {URL, "public_url: https://ACME.example\n", "lower case"},
    {URL, "public_url: https://user@acme.example\n", "https://HOST"},
    {URL, "public_url: https://acme.example:0\n", "https://HOST"},
    {URL, "public_url: https://acme.example:123456\n", "https://HOST"},
    {URL, "public_url: 'https://[::1'\n", "https://HOST"},
    {URL, "public_url: 'https://'\n", "https://HOST"},
    {URL, "public_url: [https://a.example, https://a.example]\n", "twice"},
    {DB, "", "database"},
    {DB, "database: {}\n", "url"},
    {DB, "database: {url: portico}\n", "postgresql://"},
    {BACKENDS, "backends: []\n", "at least one"},
    {BACKENDS, "backends: [{driver: local}]\n", "no name"},
    {BACKENDS, "backends: [{name: house, driver: local}, {name: house, driver: est}]\n", "unique"},
    {BACKENDS, "backends: [{name: house, driver: local}]\n", "\"corp\""},
    {PROFILES, "profiles: []\n", "at least one"},
    {PROFILES, "profiles: [{name: server}, {name: short}, {name: short}]\n", "unique"},
    {PROFILES, "profiles: [{name: server}, {name: short}, {name: 'a b'}]\n", "a b"},
    {PROFILES, "profiles: [{name: server}, {name: short, challenges: [http-02]}]\n", "tls-alpn-01"},
    {PROFILES, "profiles: [{name: server}, {name: short, challenges: []}]\n", "no challenge"},
    {PROFILES, "profiles: [{name: server}, {name: short, challenges: [http-01, http-01]}]\n", "twice"},
    {PROFILES, "profiles: [{name: server}, {name: short, challenges: [http-01], wildcards: true}]\n", "dns-01"},
    {PROFILES, "profiles: [{name: server}, {name: short, key_types: [dsa]}]\n", "ed25519"},
    {PROFILES, "profiles: [{name: server}, {name: short, join_window: soon}]\n", "join_window"},
    {PROFILES, "profiles: [{name: server}, {name: short, join_window: 10}]\n", "join_window"},
    {PROFILES, "profiles: [{name: server}, {name: short, lifetime: 90}]\n", "lifetime"},
    {PROFILES, "profiles: [{name: server}, {name: short, names: ['*']}]\n", "leave the key out"},
    {PROFILES, "profiles: [{name: server}, {name: short, names: [a_b.example]}]\n", "a_b.example"},
    {PROFILES, "profiles: [{name: server}, {name: short, names: [10.0.0.0/33]}]\n", "10.0.0.0/33"},
    {PROFILES, "profiles: [{name: server}, {name: short, rsa_min_bits: 1024}]\n", "rsa_min_bits"},
    {DIRECTORIES, "directories: []\n", "at least one"},
    {DIRECTORIES, "directories: [{name: default, profiles: [nothing]}]\n", "\"nothing\""},
    {DIRECTORIES, "directories: [{name: default, profiles: []}]\n", "offers no profile"},
    {DIRECTORIES, "directories: [{name: default, profiles: [server, server]}]\n", "twice"},
    {DIRECTORIES, "directories: [{name: a/b, profiles: [server]}]\n", "a/b"},
    {DIRECTORIES, "directories: [{name: a, profiles: [server]}, {name: a, profiles: [short]}]\n", "unique"},
    {DIRECTORIES, DIR_OF("terms: nowhere"), "no URL"},
    {DIRECTORIES, DIR_OF("website: 'https://x y'"), "no URL"},
    {DIRECTORIES, DIR_OF("caa: ['https://ca.example']"), "domain name"},
    {DIRECTORIES, DIR_OF("eab: maybe"), "maybe"},
    {ROUTES, "routes: []\n", "at least one"},
    {ROUTES, "routes: [{backends: []}]\n", "no back ends"},
    {ROUTES, "routes: [{backends: [nobody]}]\n", "\"nobody\""},
    {ROUTES, "routes: [{backends: [house, house]}]\n", "twice"},
    {ROUTES, "routes: [{match: {profile: nothing}, backends: [house]}]\n", "no profile is named"},
    {ROUTES, "routes: [{match: {directory: nothing}, backends: [house]}]\n", "no directory is named"},
    {ROUTES, "routes: [{match: {colour: red}, backends: [house]}]\n", "colour"},
    {ROUTES, "routes: [{match: {names: [A.example]}, backends: [house]}]\n", "A.example"},
    {ROUTES, "routes: [{match: {key_types: [dsa]}, backends: [house]}]\n", "dsa"},
    {MORE, "threads: -1\n", "threads"},
    {MORE, "colour: red\n", "colour"},
    {MORE, "trusted_proxies: [proxy.example]\n", "trusted_proxies"},
    {MORE, "signer: {user: no-such-user-here}\n", "no user"},
    {MORE, "admin: {socket: run/admin.sock}\n", "absolute path"},
    {MORE, "validation: {resolver: [ns.example]}\n", "numeric address"},
    {MORE, "validation: {resolver: ['127.0.0.1:99999']}\n", "numeric address"},
    {MORE, "validation: {resolver: ['[127.0.0.1]:53']}\n", "numeric address"},
    {MORE, "validation: {deny: [10/8]}\n", "deny"},
    {MORE, "validation: {allow: [everything]}\n", "allow"},
    {MORE, "validation: {timeout: 3s, connect_timeout: 4s}\n", "shorter"},
    {MORE, "validation: {dnssec: maybe}\n", "if-signed"},
    {MORE, "limits: {body_max: 64}\n", "body_max"},
    {MORE, "limits: {body_max: 1KiB}\n", "body_max"},
    {MORE, "times: {lease: 0}\n", "lease"},
    {MORE, "times: {drain: 10}\n", "drain"},
    {MORE, "idempotent: {authz_expires_default: never}\n", "authz_expires_default"},
};

static void test_refusals(void **state UNUSED)
{
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct err e = ERR_INIT;
        struct settings *s = load(bad[i].part, bad[i].with, &e);
        if (s != NULL)
            fail_msg("accepted: %s", bad[i].with);
        if (strstr(e.detail, bad[i].says) == NULL || strncmp(e.detail, "test.yaml:", 10) != 0)
            fail_msg("%s -> %s; wanted \"%s\"", bad[i].with, e.detail, bad[i].says);
    }
}

static void test_refusal_names_the_line(void **state UNUSED)
{
    struct err e = ERR_INIT;
    assert_null(load(ROUTES, "routes:\n  - backends:\n      - house\n      - nobody\n", &e));
    /* Parts end with an empty line: listen 1, url 3, database 5, backends 7, profiles 11, directories 15, routes 17. */
    assert_non_null(strstr(e.detail, "test.yaml:20: "));
}

static void test_accepted_urls(void **state UNUSED)
{
    struct settings *s = loaded(URL, "public_url: ['https://a-1.example:8443', 'http://localhost', 'https://[::1]:1',\n"
                                     "             'https://192.0.2.1']\n");
    assert_int_equal(s->public_url.n, 4);
    settings_unref(s);
}

static void test_needs_restart(void **state UNUSED)
{
    static const struct { enum part part; const char *with, *key; } changes[] = {
        {LISTEN, "listen: [{address: 127.0.0.1, port: 14001, tls: {issuer: house}}]\n", "listen"},
        {LISTEN, "listen: [{address: 127.0.0.1, port: 14000}]\n", "listen"},
        {DB, "database: {url: 'postgresql:///other'}\n", "database.url"},
        {MORE, "threads: 200\n", "threads"},
        {MORE, "workers: 200\n", "workers"},
        {MORE, "admin: {socket: /run/a}\n", "admin.socket"},
        {MORE, "signer: {user: root}\n", "signer.user"},
        {MORE, "limits: {connections: 5}\n", "limits.connections"},
        {LISTEN, "listen: [{address: 127.0.0.1, port: 14000, tls: {issuer: corp}}]\n", "listen"},
        {LISTEN, "listen: [{address: 127.0.0.1, port: 14000, tls: {issuer: house, names: [x]}}]\n", "listen"},
        {LISTEN, "listen: [{name: renamed, address: 127.0.0.1, port: 14000, tls: {issuer: house}}]\n", NULL},
        {BACKENDS, "backends:\n  - {name: house, driver: local, ca: {certificate: a, key: c}}\n"
                   "  - {name: corp, driver: est, url: 'https://est.example'}\n", "backends"},
        {MORE, "times: {order: 1d, nonce: 30m}\nlog: {level: debug}\n"
               "validation: {http_port: 81, resolver: 127.0.0.1}\n", NULL},
        {PROFILES, "profiles: [{name: server, lifetime: 1d}, {name: short}]\n", NULL},
        {URL, "public_url: https://other.example\n", NULL},
    };
    struct settings *running = loaded(MORE, "");
    for (size_t i = 0; i < COUNTOF(changes); i++) {
        struct settings *next = loaded(changes[i].part, changes[i].with);
        const char *key = settings_needs_restart(running, next);
        if (changes[i].key == NULL)
            assert_null(key);
        else
            assert_string_equal(key, changes[i].key);
        assert_true(next->generation > running->generation);
        settings_unref(next);
    }
    settings_unref(running);
}

static void *take_and_drop(void *arg)
{
    for (int i = 0; i < 10000; i++)
        settings_unref(settings_ref(arg));
    return NULL;
}

static void test_shared_by_threads(void **state UNUSED)
{
    struct settings *s = loaded(MORE, "");
    pthread_t threads[4];
    for (size_t i = 0; i < COUNTOF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_drop, s), 0);
    for (size_t i = 0; i < COUNTOF(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(s->refs, 1);
    settings_unref(s);
    settings_unref(NULL);
}

/* The overrides of the command line, a list item by its name included. */
static void test_override(void **state UNUSED)
{
    char path[] = "/tmp/test_settings.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (int i = 0; i < PARTS; i++)
        assert_int_equal(write(fd, good[i], strlen(good[i])), (ssize_t)strlen(good[i]));
    close(fd);
    const char *const overrides[] = {"validation.http_port=5002", "profiles.server.join_window=0",
                                     "public_url=['https://b.example', 'https://a.example']"};
    struct err e = ERR_INIT;
    struct conf *c = conf_load(path, overrides, COUNTOF(overrides), &e);
    unlink(path);
    if (c == NULL)
        fail_msg("%s", e.detail);
    struct settings *s = settings_load(c, &e);
    if (s == NULL)
        fail_msg("%s", e.detail);
    assert_int_equal(s->validation.http_port, 5002);
    assert_int_equal(s->profiles[0].join_window_s, 0);
    assert_string_equal(s->public_url.v[0], "https://b.example");
    settings_unref(s);
}

/* The example shows the defaults: it must load as it stands and say what the gateway would do without it. */
static void test_example(void **state UNUSED)
{
    char path[4096];
    const char *srcdir = getenv("srcdir");
    snprintf(path, sizeof(path), "%s/deploy/portico.yaml.example", srcdir != NULL ? srcdir : ".");
    struct err e = ERR_INIT;
    struct conf *c = conf_load(path, NULL, 0, &e);
    struct settings *s = c != NULL ? settings_load(c, &e) : NULL;
    if (s == NULL)
        fail_msg("%s", e.detail);
    struct settings *d = loaded(MORE, "");
    assert_memory_equal(&s->times, &d->times, sizeof(s->times));
    assert_memory_equal(&s->limits, &d->limits, sizeof(s->limits));
    assert_int_equal(s->authz_expires_default_ms, d->authz_expires_default_ms);
    assert_int_equal(s->log_level, d->log_level);
    const struct settings_validation *v = &s->validation, *w = &d->validation;
    assert_int_equal(v->http_port, w->http_port);
    assert_int_equal(v->tls_port, w->tls_port);
    assert_int_equal(v->timeout_ms, w->timeout_ms);
    assert_int_equal(v->connect_timeout_ms, w->connect_timeout_ms);
    assert_int_equal(v->retry_window_ms, w->retry_window_ms);
    assert_int_equal(v->parallel, w->parallel);
    assert_int_equal(v->dnssec, w->dnssec);
    assert_int_equal(v->resolver.n, w->resolver.n);
    assert_int_equal(v->deny.n, w->deny.n);
    for (size_t i = 0; i < v->deny.n; i++)
        assert_string_equal(v->deny.v[i], w->deny.v[i]);
    const struct settings_profile *p = &s->profiles[0], *q = &d->profiles[0];
    assert_int_equal(p->lifetime_ms, q->lifetime_ms);
    assert_int_equal(p->challenge_mask, q->challenge_mask);
    assert_int_equal(p->key_type_mask, q->key_type_mask);
    assert_int_equal(p->join_window_s, q->join_window_s);
    assert_int_equal(p->rsa_min_bits, q->rsa_min_bits);
    assert_int_equal(p->names_max, q->names_max);
    assert_true(p->wildcards == q->wildcards && p->ips == q->ips && p->validity == q->validity);
    settings_unref(s);
    settings_unref(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refusal_names_the_line),
        cmocka_unit_test(test_accepted_urls),
        cmocka_unit_test(test_needs_restart),
        cmocka_unit_test(test_shared_by_threads),
        cmocka_unit_test(test_override),
        cmocka_unit_test(test_example),
    };
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_init(null, LOG_LEVEL_ERROR); /* the warnings of the doubtful ones are not this test's output */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

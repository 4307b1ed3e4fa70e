/* SPDX-License-Identifier: Apache-2.0 */
/* Checks on a configuration beyond the type of each key: syntax of URLs, addresses, networks, names and patterns;
 * references between sections; contradictions. Runs once per load, on one thread. */
#include "policy/settings_check.h"

#include <arpa/inet.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/un.h>

#include "base/log.h"

const struct conf_node *settings_check_at(const struct conf_node *map, const char *key, size_t i)
{
    const struct conf_node *list = conf_get(map, key);
    if (list == NULL)
        return map;
    return i < conf_count(list) ? conf_item(list, i) : list;
}

bool settings_check_unknown(const struct conf_node *at, const char *what, const char *const *names, struct err *e)
{
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; names[i] != NULL && used < sizeof(known); i++) {
        int n = snprintf(known + used, sizeof(known) - used, "%s%s", i > 0 ? ", " : "", names[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    return conf_error(at, e, "\"%s\" is not known; choose from %s", what, known);
}

/* ---- syntax ---- */

/* Length of the address (4, 16), 0 if text is none. */
static size_t address_len(const char *text, uint8_t out[16])
{
    if (inet_pton(AF_INET, text, out) == 1)
        return 4;
    return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static bool is_port(iov_t text)
{
    uint64_t port;
    return text.len <= 5 && iov_to_u64(text, &port) && port >= 1 && port <= 65535;
}

/* Copies a part of a text; false when it does not fit, as no address or name does. */
static bool part(char *out, size_t size, const char *from, size_t len)
{
    if (len == 0 || len >= size)
        return false;
    memcpy(out, from, len);
    out[len] = '\0';
    return true;
}

/* "10.0.0.0/8", "fe80::/10", or one address. */
static bool is_network(const char *text)
{
    char address[64];
    uint8_t bytes[16];
    const char *slash = strchr(text, '/');
    if (slash == NULL)
        return address_len(text, bytes) != 0;
    uint64_t bits;
    return part(address, sizeof(address), text, (size_t)(slash - text)) && iov_to_u64(iov_of(slash + 1), &bits) &&
           bits <= address_len(address, bytes) * 8 && address_len(address, bytes) != 0;
}

/* Splits "HOST", "HOST:PORT", "[V6]" or "[V6]:PORT"; *bracketed_out tells which. A bare V6 address has no port. */
static bool split_host_port(const char *text, char *host, size_t size, iov_t *port_out, bool *bracketed_out)
{
    const char *end, *rest;
    *port_out = IOV_NULL;
    *bracketed_out = text[0] == '[';
    if (*bracketed_out) {
        text++;
        end = strchr(text, ']');
        if (end == NULL)
            return false;
        rest = end + 1;
    } else {
        end = rest = strchr(text, ':') != NULL ? strchr(text, ':') : text + strlen(text);
        if (*end == ':' && strchr(end + 1, ':') != NULL) /* two colons without brackets: V6 without a port */
            end = rest = text + strlen(text);
    }
    if (*rest == ':')
        *port_out = iov_of(rest + 1);
    else if (*rest != '\0')
        return false;
    return part(host, size, text, (size_t)(end - text));
}

static bool is_resolver(const char *text)
{
    char host[64];
    uint8_t bytes[16];
    iov_t port;
    bool bracketed;
    if (!split_host_port(text, host, sizeof(host), &port, &bracketed))
        return false;
    size_t len = address_len(host, bytes);
    return len != 0 && bracketed <= (len == 16) && (port.base == NULL || is_port(port));
}

/* A host name in lower case as DNS has them; a single label is fine, underscores are not. */
static bool is_host(const char *text)
{
    size_t len = strlen(text), label = 0;
    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i <= len; i++) {
        char ch = text[i];
        if (ch == '.' || ch == '\0') {
            if (label == 0 || label > 63 || text[i - 1] == '-')
                return false;
            label = 0;
        } else {
            bool alnum = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9');
            if (!alnum && (ch != '-' || label == 0))
                return false;
            label++;
        }
    }
    return true;
}

/* What ident_matches understands: a name, "*.suffix", ".suffix", an address, a network. */
static bool is_pattern(const char *text)
{
    if (is_network(text))
        return true;
    if (text[0] == '*' && text[1] == '.')
        text++;
    return is_host(text[0] == '.' ? text + 1 : text);
}

/* scheme://host[:port] and nothing more, because paths are appended to it and texts are compared. */
static bool is_base_url(const char *text)
{
    char host[256];
    uint8_t bytes[16];
    iov_t port;
    bool bracketed;
    size_t scheme = strncmp(text, "https://", 8) == 0 ? 8 : strncmp(text, "http://", 7) == 0 ? 7 : 0;
    if (scheme == 0 || !split_host_port(text + scheme, host, sizeof(host), &port, &bracketed))
        return false;
    if (port.base != NULL && !is_port(port))
        return false;
    return bracketed ? inet_pton(AF_INET6, host, bytes) == 1 : is_host(host);
}

static bool is_web_url(const char *text)
{
    size_t scheme = strncmp(text, "https://", 8) == 0 ? 8 : strncmp(text, "http://", 7) == 0 ? 7 : 0;
    if (scheme == 0 || text[scheme] == '\0' || text[scheme] == '/')
        return false;
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f || strchr("\"<>\\^`{|}", *p) != NULL)
            return false;
    }
    return true;
}

/* Names of profiles, directories, listeners and back ends: they stand in URLs, overrides and logs. */
static bool is_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    return len >= 1 && len <= 64 && text[len] == '\0' && text[0] != '-';
}

static bool check_name(const struct conf_node *map, const char *name, struct err *e)
{
    return is_name(name) || conf_error(settings_check_at(map, "name", 0), e,
                                       "name \"%s\" is not one; use 1 to 64 letters, digits, - and _", name);
}

/* Every item of a list of texts. right: what would be right. */
struct list_rule {
    const char *key;
    bool (*is)(const char *text);
    const char *right;
};
static bool check_list(const struct conf_node *map, const struct conf_list *list, const struct list_rule *rule,
                       struct err *e)
{
    for (size_t i = 0; i < list->n; i++) {
        if (!rule->is(list->v[i]))
            return conf_error(settings_check_at(map, rule->key, i), e, "%s: \"%s\" is not valid; %s", rule->key,
                              list->v[i], rule->right);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(list->v[i], list->v[j]) == 0)
                return conf_error(settings_check_at(map, rule->key, i), e, "%s: \"%s\" is listed twice; once is enough",
                                  rule->key, list->v[i]);
        }
    }
    return true;
}

static bool is_anything(const char *text)
{
    return text[0] != '\0';
}

static bool is_ident(const char *text)
{
    uint8_t bytes[16];
    return address_len(text, bytes) != 0 || is_host(text);
}

#define RIGHT_NETWORK "write a network like 10.0.0.0/8 or fe80::/10, or one address"
#define RIGHT_PATTERN                                                                                                  \
    "write a name in lower case, *.suffix, .suffix, an address or a network (to allow everything leave the key out)"
static const struct list_rule public_url_rule = {
    "public_url", is_base_url, "write https://HOST or https://HOST:PORT, host in lower case, without path or final /"};
static const struct list_rule proxies_rule = {"trusted_proxies", is_network, RIGHT_NETWORK};
static const struct list_rule deny_rule = {"deny", is_network, RIGHT_NETWORK};
static const struct list_rule allow_rule = {"allow", is_network, RIGHT_NETWORK};
static const struct list_rule resolver_rule = {
    "resolver", is_resolver, "write a numeric address: 192.0.2.53, 192.0.2.53:5353, 2001:db8::53 or [2001:db8::53]:5353"};
static const struct list_rule tls_names_rule = {"names", is_ident, "write a host name in lower case or an address"};
static const struct list_rule patterns_rule = {"names", is_pattern, RIGHT_PATTERN};
static const struct list_rule caa_rule = {"caa", is_host, "write a domain name in lower case"};
static const struct list_rule challenges_rule = {"challenges", is_anything, "leave it out"};
static const struct list_rule profiles_rule = {"profiles", is_name, "write the name of a profile"};
static const struct list_rule backends_rule = {"backends", is_name, "write the name of a back end"};
static const struct list_rule eab_rule = {"eab", is_anything, "write the kid of an EAB key"};
static const struct list_rule account_rule = {"account", is_anything, "write the id of an account"};

/* ---- sections ---- */

static const struct conf_node *item_of(const struct settings *s, const char *section, size_t i)
{
    return settings_check_at(conf_root(s->conf), section, i);
}

/* Does backends define name? Their other keys belong to the drivers. */
static bool has_backend(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < conf_count(s->backends); i++) {
        const char *other = conf_text(conf_get(conf_item(s->backends, i), "name"));
        if (other != NULL && strcmp(other, name) == 0)
            return true;
    }
    return false;
}

static bool check_tls(const struct settings *s, const struct settings_listen *l, struct err *e)
{
    const struct conf_node *n = l->tls_node;
    bool files = l->tls_certificate != NULL || l->tls_key != NULL;
    if (l->tls_issuer == NULL && !files)
        return conf_error(n, e, "tls has neither issuer nor certificate and key; name a back end as issuer, or two files");
    if (l->tls_issuer != NULL && files)
        return conf_error(n, e, "tls has issuer and files; keep either issuer, or certificate and key");
    if (files && (l->tls_certificate == NULL || l->tls_key == NULL))
        return conf_error(n, e, "tls has no %s; certificate and key belong together",
                          l->tls_key == NULL ? "key" : "certificate");
    if (files && l->tls_names.n > 0)
        return conf_error(settings_check_at(n, "names", 0), e, "tls.names goes with issuer only; remove it");
    if (l->tls_issuer != NULL && !has_backend(s, l->tls_issuer))
        return conf_error(settings_check_at(n, "issuer", 0), e,
                          "tls.issuer \"%s\" is no back end; name one of those in backends", l->tls_issuer);
    return check_list(n, &l->tls_names, &tls_names_rule, e);
}

static bool check_address(const struct conf_node *map, const struct settings_listen *l, struct err *e)
{
    uint8_t bytes[16];
    const struct conf_node *at = settings_check_at(map, "address", 0);
    if (strncmp(l->address, "unix:", 5) == 0) {
        if (l->address[5] != '/' || strlen(l->address + 5) >= sizeof(((struct sockaddr_un *)0)->sun_path))
            return conf_error(at, e, "address \"%s\" has no usable path; write unix:/PATH of at most 107 bytes",
                              l->address);
        return l->port == 0 ||
               conf_error(settings_check_at(map, "port", 0), e, "a unix: address has no port; remove it");
    }
    if (address_len(l->address, bytes) == 0)
        return conf_error(at, e, "address \"%s\" is not numeric; write 0.0.0.0, ::, another address of this machine, "
                          "or unix:/PATH", l->address);
    return l->port != 0 || conf_error(map, e, "a listener at %s needs a port; add port: 443", l->address);
}

static bool check_listen(const struct settings *s, struct err *e)
{
    bool acme = false;
    for (size_t i = 0; i < s->n_listen; i++) {
        const struct settings_listen *l = &s->listen[i];
        const struct conf_node *map = item_of(s, "listen", i);
        if ((l->name != NULL && !check_name(map, l->name, e)) || !check_address(map, l, e) ||
            (l->tls && !check_tls(s, l, e)))
            return false;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(l->address, s->listen[j].address) == 0 && l->port == s->listen[j].port)
                return conf_error(map, e, "another listener has this address and port already; change one of them");
            if (l->name != NULL && s->listen[j].name != NULL && strcmp(l->name, s->listen[j].name) == 0)
                return conf_error(map, e, "another listener is named \"%s\" already; names are unique", l->name);
        }
        acme = acme || l->kind == 0;
    }
    return acme || conf_error(conf_get(conf_root(s->conf), "listen"), e,
                              "no listener serves ACME; give one kind: acme (the default)");
}

static bool check_profiles(const struct settings *s, struct err *e)
{
    for (size_t i = 0; i < s->n_profiles; i++) {
        const struct settings_profile *p = &s->profiles[i];
        const struct conf_node *map = item_of(s, "profiles", i);
        if (!check_name(map, p->name, e) || !check_list(map, &p->names, &patterns_rule, e) ||
            !check_list(map, &p->challenges, &challenges_rule, e))
            return false;
        if (p->challenge_mask == 0)
            return conf_error(settings_check_at(map, "challenges", 0), e,
                              "profile \"%s\" allows no challenge; list http-01, dns-01 or tls-alpn-01", p->name);
        if (p->wildcards && (p->challenge_mask & 1u << CHALLENGE_DNS01) == 0 && conf_get(map, "wildcards") != NULL)
            return conf_error(settings_check_at(map, "wildcards", 0), e,
                              "profile \"%s\" allows wildcards without dns-01, which alone can prove them; add dns-01 "
                              "to challenges, or say wildcards: false", p->name);
        if (settings_profile(s, iov_of(p->name)) != p)
            return conf_error(map, e, "another profile is named \"%s\" already; names are unique", p->name);
    }
    return true;
}

static bool check_web_url(const struct conf_node *map, const char *key, const char *url, struct err *e)
{
    return url == NULL || is_web_url(url) ||
           conf_error(settings_check_at(map, key, 0), e, "%s \"%s\" is no URL; write https://...", key, url);
}

static bool check_directories(const struct settings *s, struct err *e)
{
    for (size_t i = 0; i < s->n_directories; i++) {
        const struct settings_directory *d = &s->directories[i];
        const struct conf_node *map = item_of(s, "directories", i);
        if (!check_name(map, d->name, e) || !check_list(map, &d->profiles, &profiles_rule, e) ||
            !check_web_url(map, "terms", d->terms, e) || !check_web_url(map, "website", d->website, e) ||
            !check_list(map, &d->caa, &caa_rule, e))
            return false;
        if (d->n_profiles == 0)
            return conf_error(map, e, "directory \"%s\" offers no profile; list at least one in profiles", d->name);
        if (settings_directory(s, iov_of(d->name)) != d)
            return conf_error(map, e, "another directory is named \"%s\" already; names are unique", d->name);
    }
    return true;
}

static bool check_backends(const struct settings *s, struct err *e)
{
    if (conf_count(s->backends) == 0)
        return conf_error(s->backends, e, "backends has no items; it is a list of at least one");
    for (size_t i = 0; i < conf_count(s->backends); i++) {
        const struct conf_node *map = conf_item(s->backends, i);
        const char *name = conf_text(conf_get(map, "name"));
        if (name == NULL)
            return conf_error(map, e, "a back end has no name; add name: and a word");
        if (!check_name(map, name, e))
            return false;
        for (size_t j = 0; j < i; j++) {
            if (iov_is(iov_of(conf_text(conf_get(conf_item(s->backends, j), "name"))), name))
                return conf_error(map, e, "another back end is named \"%s\" already; names are unique", name);
        }
    }
    return true;
}

static bool check_match(const struct settings *s, const struct settings_route *r, struct err *e)
{
    const struct conf_node *map = r->match_node;
    if (r->match.directory != NULL && settings_directory(s, iov_of(r->match.directory)) == NULL)
        return conf_error(settings_check_at(map, "directory", 0), e,
                          "no directory is named \"%s\"; name one of those in directories", r->match.directory);
    if (r->match.profile != NULL && settings_profile(s, iov_of(r->match.profile)) == NULL)
        return conf_error(settings_check_at(map, "profile", 0), e,
                          "no profile is named \"%s\"; name one of those in profiles", r->match.profile);
    return check_list(map, &r->match.names, &patterns_rule, e) && check_list(map, &r->match.eab, &eab_rule, e) &&
           check_list(map, &r->match.account, &account_rule, e);
}

/* Does this route take every order? An empty match is none. */
static bool takes_all(const struct settings_route *r)
{
    return r->match.directory == NULL && r->match.profile == NULL && r->match.names.n == 0 && r->match.eab.n == 0 &&
           r->match.key_types.n == 0 && r->match.account.n == 0;
}

static bool check_routes(const struct settings *s, struct err *e)
{
    for (size_t i = 0; i < s->n_routes; i++) {
        const struct settings_route *r = &s->routes[i];
        const struct conf_node *map = item_of(s, "routes", i);
        if (!check_list(map, &r->backends, &backends_rule, e) || (r->match_node != NULL && !check_match(s, r, e)))
            return false;
        if (r->backends.n == 0)
            return conf_error(map, e, "the route has no back ends; list at least one in backends");
        for (size_t j = 0; j < r->backends.n; j++) {
            if (!has_backend(s, r->backends.v[j]))
                return conf_error(settings_check_at(map, "backends", j), e,
                                  "no back end is named \"%s\"; name one of those in backends", r->backends.v[j]);
        }
    }
    return true;
}

static bool check_validation(const struct settings *s, struct err *e)
{
    const struct settings_validation *v = &s->validation;
    const struct conf_node *root = conf_root(s->conf), *map = conf_get(root, "validation");
    if (map == NULL) /* the defaults are right */
        return true;
    if (v->connect_timeout_ms > v->timeout_ms)
        return conf_error(settings_check_at(map, "connect_timeout", 0), e,
                          "connect_timeout is longer than timeout; make it shorter");
    return check_list(map, &v->resolver, &resolver_rule, e) && check_list(map, &v->deny, &deny_rule, e) &&
           check_list(map, &v->allow, &allow_rule, e);
}

static bool check_database(const struct settings *s, struct err *e)
{
    const char *url = s->database_url;
    if (strncmp(url, "postgresql://", 13) == 0 || strncmp(url, "postgres://", 11) == 0 || strchr(url, '=') != NULL)
        return true;
    /* Not quoted: it may be a password that was meant to be a file: reference. */
    return conf_error(settings_check_at(conf_get(conf_root(s->conf), "database"), "url", 0), e,
                      "database.url is no libpq URL; write postgresql://USER@HOST:PORT/DATABASE or "
                      "postgresql:///DATABASE?host=/SOCKET/DIRECTORY");
}

static bool check_process(const struct settings *s, struct err *e)
{
    const struct conf_node *root = conf_root(s->conf);
    if (s->signer_user != NULL && getpwnam(s->signer_user) == NULL)
        return conf_error(settings_check_at(conf_get(root, "signer"), "user", 0), e,
                          "this system has no user \"%s\"; create it or name another", s->signer_user);
    if (s->admin_socket != NULL && (s->admin_socket[0] != '/' ||
                                    strlen(s->admin_socket) >= sizeof(((struct sockaddr_un *)0)->sun_path)))
        return conf_error(settings_check_at(conf_get(root, "admin"), "socket", 0), e,
                          "admin.socket \"%s\" is not usable; write an absolute path of at most 107 bytes",
                          s->admin_socket);
    return true;
}

/* ---- warnings ---- */

static void warn(const struct conf_node *at, const char *what)
{
    log_warn("config.doubtful", KV_STR("at", conf_where(at)), KV_STR("reason", what));
}

static bool is_offered(const struct settings *s, const struct settings_profile *p)
{
    for (size_t i = 0; i < s->n_directories; i++) {
        if (settings_directory_profile(&s->directories[i], iov_of(p->name)) != NULL)
            return true;
    }
    return false;
}

static void warn_routes(const struct settings *s)
{
    for (size_t i = 0; i < s->n_routes; i++) {
        if (!takes_all(&s->routes[i]))
            continue;
        if (i + 1 < s->n_routes)
            warn(item_of(s, "routes", i + 1), "the route before this one takes every order; put it last");
        return;
    }
    warn(item_of(s, "routes", s->n_routes - 1), "no route is without match; orders that match none are refused");
}

static void warn_doubtful(const struct settings *s)
{
    warn_routes(s);
    for (size_t i = 0; i < s->n_profiles; i++) {
        if (!is_offered(s, &s->profiles[i]))
            warn(item_of(s, "profiles", i), "no directory offers this profile");
    }
    if (strncmp(s->public_url.v[0], "http://", 7) == 0)
        warn(item_of(s, "public_url", 0), "RFC 8555 wants https; clients refuse http unless a proxy adds TLS");
}

bool settings_check(const struct settings *s, struct err *e)
{
    const struct conf_node *root = conf_root(s->conf);
    if (s->public_url.n == 0)
        return conf_error(root, e, "public_url is empty; write the URL that clients use, https://HOST or https://HOST:PORT");
    bool ok = check_list(root, &s->public_url, &public_url_rule, e) &&
              check_list(root, &s->trusted_proxies, &proxies_rule, e) && check_database(s, e) &&
              check_process(s, e) && check_backends(s, e) && check_listen(s, e) && check_profiles(s, e) &&
              check_directories(s, e) && check_routes(s, e) && check_validation(s, e);
    if (ok)
        warn_doubtful(s);
    return ok;
}

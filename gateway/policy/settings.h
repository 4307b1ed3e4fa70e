/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's configuration as typed, checked, immutable structs. One snapshot is shared by all threads; a reload
 * makes a new one, and whoever works holds a reference to the one he began with. */
#ifndef PORTICO_SETTINGS_H
#define PORTICO_SETTINGS_H

#include "acme/ident.h"
#include "base/conf.h"

struct settings_listen {
    const char *name;        /* for overrides: -o listen.NAME.port=14001; NULL: none */
    const char *address;
    int64_t port;
    const struct conf_node *tls_node;
    int kind;                /* 0: acme, 1: admin (health and metrics only) */
    bool tls;                /* HTTPS */
    const char *tls_issuer;  /* backend that makes the certificate; NULL: files */
    const char *tls_certificate, *tls_key; /* PEM files */
    struct conf_list tls_names; /* names for an issued certificate; empty: the hosts of public_url */
};

/* Challenge methods a profile allows, as bits of enum challenge_type. */
enum challenge_type { CHALLENGE_HTTP01, CHALLENGE_DNS01, CHALLENGE_TLSALPN01, CHALLENGE_TYPES };
extern const char *const challenge_names[]; /* "http-01", ...; NULL-terminated */

struct settings_profile {
    const char *name, *description;
    int64_t lifetime_ms;
    struct conf_list challenges;
    unsigned challenge_mask;
    const char *join_window;    /* duration, "until-renewal" or "0" */
    int64_t join_window_s;      /* -1: until renewal */
    int validity;               /* requested notBefore/notAfter: 0 refuse outside the permitted range, 1 clamp */
    bool wildcards, ips;        /* allowed at all */
    struct conf_list names;     /* patterns of allowed identifiers; empty: every one */
    struct conf_list key_types; /* rsa, p256, p384, p521, ed25519; empty: all */
    unsigned key_type_mask;     /* bits of enum pki_key_type */
    int64_t rsa_min_bits;
    int64_t names_max;
};

enum eab_mode { EAB_OFF, EAB_OPTIONAL, EAB_REQUIRED };
struct settings_directory {
    const char *name;
    int eab;
    struct conf_list profiles; /* names; the first is the default */
    const struct settings_profile **profile;
    size_t n_profiles;
    const char *terms, *website;
    struct conf_list caa;
    bool terms_required;
};

struct settings_route {
    const struct conf_node *match_node;
    struct { const char *directory, *profile; struct conf_list names, eab, key_types, account; } match;
    struct conf_list backends; /* fail-over order */
    const char *where;         /* file:line, for route explain */
};

struct settings_validation {
    int64_t http_port, tls_port, timeout_ms, connect_timeout_ms;
    struct conf_list resolver, deny, allow; /* allow: networks taken out of deny */
    int dnssec;
    int64_t retry_window_ms;   /* a try that could not reach its target is repeated within this time */
    int64_t parallel;          /* validations at once per loop */
};

struct settings_limits {
    int64_t body_max, connections, connections_per_ip, request_timeout_ms, orders_per_page, contacts_max;
    bool http2; /* offered beside HTTP/1.1; off by default: this h2o has no fix for its known floods */
};

struct settings_times {
    int64_t order_ms, authz_pending_ms, authz_valid_ms, nonce_ms, finalize_wait_ms, poll_wait_max_ms, drain_ms, lease_ms;
};

struct settings {
    unsigned refs; /* private */
    struct conf *conf;
    struct conf_list public_url;  /* the first one stands in URLs; all are accepted in a JWS url */
    struct conf_list trusted_proxies;
    const char *database_url;
    int64_t threads, workers;
    const char *signer_user;
    int log_level;
    const char *admin_socket;
    int64_t authz_expires_default_ms; /* newAuthz without "expires": look for one that lasts this long; -1: always new */
    bool reuse_pending_orders;
    struct settings_listen *listen; size_t n_listen;
    struct settings_profile *profiles; size_t n_profiles;
    struct settings_directory *directories; size_t n_directories;
    struct settings_route *routes; size_t n_routes;
    const struct conf_node *backends; /* read by backends_open */
    struct settings_validation validation;
    struct settings_limits limits;
    struct settings_times times;
    uint64_t generation;
};

/* Reads and checks everything (cross references, URL syntax, ranges). NULL and e ("file:line: ...") on any error. The
 * result owns c; on failure c is freed too. */
struct settings *settings_load(struct conf *c, struct err *e) MUST_CHECK;
struct settings *settings_ref(struct settings *s); /* any thread */
void settings_unref(struct settings *s);           /* any thread; NULL is fine */
/* The snapshot in force: publish replaces it (consuming the caller's reference), current returns a new reference. Any
 * thread. */
void settings_publish(struct settings *s);
struct settings *settings_current(void);
const struct settings_directory *settings_directory(const struct settings *s, iov_t name);
const struct settings_profile *settings_profile(const struct settings *s, iov_t name);
/* NULL when the directory does not offer it. */
const struct settings_profile *settings_directory_profile(const struct settings_directory *d, iov_t name);
/* What a reload may not change: NULL, or the name of the first such key that differs. */
const char *settings_needs_restart(const struct settings *running, const struct settings *next);

#endif

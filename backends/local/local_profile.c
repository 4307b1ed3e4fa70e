/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in a certificate, by ACME profile: rows of the configuration become DER extensions once, at start. */
#include "backends/local/local.h"

#define DAY_MS INT64_C(86400000)

static const char *const subjects[] = {
    [LOCAL_SUBJECT_CN] = "cn", [LOCAL_SUBJECT_KEEP] = "keep", [LOCAL_SUBJECT_DROP] = "drop", NULL};
static const struct conf_key profile_keys[] = {
    CONF_STR(struct local_profile, name, "name", CONF_REQUIRED,
             "an ACME profile, or default for all that are not listed"),
    CONF_DURATION(struct local_profile, max_lifetime_ms, "max_lifetime", "398d", 60000, 100 * 366 * DAY_MS,
                  "the longest life the signer lets pass; the ACME profile says how long it is to be"),
    CONF_DURATION(struct local_profile, backdate_ms, "backdate", "5m", 0, 3600000,
                  "how far notBefore lies in the past, for clocks that are behind; at most 1h"),
    CONF_LIST(struct local_profile, key_usage, "key_usage", NULL,
              "digital_signature, key_encipherment, ...; default by the type of the key"),
    CONF_LIST(struct local_profile, eku, "eku", "server_auth, client_auth",
              "extended key usages, by name or OID"),
    CONF_LIST(struct local_profile, policies, "policies", NULL, "OIDs of certificate policies"),
    CONF_LIST(struct local_profile, aia_ocsp, "aia_ocsp", NULL, "URLs of an OCSP responder"),
    CONF_LIST(struct local_profile, aia_issuers, "aia_issuers", NULL, "URLs of the issuing certificate"),
    CONF_LIST(struct local_profile, crl, "crl", NULL, "URLs of the CRL"),
    CONF_ENUM(struct local_profile, subject, "subject", "cn", subjects,
              "cn: the first name that fits; keep: the CSR's; drop: empty"),
    CONF_BOOL(struct local_profile, basic_constraints, "basic_constraints", "true", "say that it is no CA"),
    CONF_END,
};

/* ---- extensions ---- */

void local_ext_open(struct der_writer *w, iov_t oid, bool critical)
{
    der_open(w, DER_SEQUENCE);
    der_put(w, DER_OID, oid);
    if (critical)
        der_put_true(w);
    der_open(w, DER_OCTET_STRING);
}

void local_ext_close(struct der_writer *w)
{
    der_close(w);
    der_close(w);
}

static const char *const usage_names[] = {"digital_signature", "content_commitment", "key_encipherment",
                                          "data_encipherment", "key_agreement",      "key_cert_sign",
                                          "crl_sign",          "encipher_only",      "decipher_only"};

/* Bit n of bits is bit n of KeyUsage (RFC 5280 4.2.1.3). */
static iov_t usage_ext(pool_t *pool, unsigned bits)
{
    uint8_t value[3] = {0};
    unsigned last = 0;
    for (unsigned n = 0; n < COUNTOF(usage_names); n++) {
        if ((bits & 1u << n) == 0)
            continue;
        value[1 + n / 8] |= (uint8_t)(0x80 >> n % 8);
        last = n;
    }
    value[0] = (uint8_t)(7 - last % 8); /* unused bits */
    struct der_writer w;
    der_writer_init(&w, pool);
    local_ext_open(&w, IOV(OID_EXT_KEY_USAGE), true);
    der_put(&w, DER_BIT_STRING, (iov_t){(char *)value, 2 + last / 8});
    local_ext_close(&w);
    return der_finish(&w);
}

#define USAGE_SIGNATURE (1u << 0)
#define USAGE_KEY_ENCIPHERMENT (1u << 2)

static bool usages_make(struct local_profile *p, pool_t *pool, struct err *e)
{
    unsigned bits = 0;
    for (size_t i = 0; i < p->key_usage.n; i++) {
        unsigned n = 0;
        while (n < COUNTOF(usage_names) && strcmp(p->key_usage.v[i], usage_names[n]) != 0)
            n++;
        if (n == COUNTOF(usage_names))
            return err_set(
                e, 0,
                "key_usage: there is no \"%s\"; write digital_signature, content_commitment, "
                "key_encipherment, data_encipherment, key_agreement, encipher_only or decipher_only",
                p->key_usage.v[i]);
        bits |= 1u << n;
    }
    /* RSA key transport is what TLS 1.2 clients may still look for; other keys cannot do it. */
    p->usage_rsa = usage_ext(pool, bits != 0 ? bits : USAGE_SIGNATURE | USAGE_KEY_ENCIPHERMENT);
    p->usage_other = usage_ext(pool, bits != 0 ? bits : USAGE_SIGNATURE);
    return true;
}

static bool put_eku(struct der_writer *w, const struct local_profile *p, struct err *e)
{
    static const struct {
        const char *name, *oid;
    } known[] = {
        {"server_auth", "1.3.6.1.5.5.7.3.1"},   {"client_auth", "1.3.6.1.5.5.7.3.2"},
        {"code_signing", "1.3.6.1.5.5.7.3.3"},  {"email_protection", "1.3.6.1.5.5.7.3.4"},
        {"time_stamping", "1.3.6.1.5.5.7.3.8"}, {"ocsp_signing", "1.3.6.1.5.5.7.3.9"},
    };
    if (p->eku.n == 0)
        return true;
    local_ext_open(w, IOV(OID_EXT_EKU), false);
    der_open(w, DER_SEQUENCE);
    for (size_t i = 0; i < p->eku.n; i++) {
        const char *dotted = p->eku.v[i];
        for (size_t k = 0; k < COUNTOF(known); k++) {
            if (strcmp(dotted, known[k].name) == 0)
                dotted = known[k].oid;
        }
        iov_t oid;
        if (!der_oid_parse(w->out.pool, dotted, &oid))
            return err_set(e, 0,
                           "eku: \"%s\" is neither server_auth, client_auth, code_signing, email_protection, "
                           "time_stamping nor an OID",
                           p->eku.v[i]);
        der_put(w, DER_OID, oid);
    }
    der_close(w);
    local_ext_close(w);
    return true;
}

static bool put_policies(struct der_writer *w, const struct local_profile *p, struct err *e)
{
    if (p->policies.n == 0)
        return true;
    local_ext_open(w, IOV(OID_EXT_POLICIES), false);
    der_open(w, DER_SEQUENCE);
    for (size_t i = 0; i < p->policies.n; i++) {
        iov_t oid;
        if (!der_oid_parse(w->out.pool, p->policies.v[i], &oid))
            return err_set(e, 0, "policies: \"%s\" is no OID", p->policies.v[i]);
        der_open(w, DER_SEQUENCE);
        der_put(w, DER_OID, oid);
        der_close(w);
    }
    der_close(w);
    local_ext_close(w);
    return true;
}

/* uniformResourceIdentifier is an IA5String. */
static bool urls_ok(const char *key, const struct conf_list *urls, struct err *e)
{
    for (size_t i = 0; i < urls->n; i++) {
        const char *url = urls->v[i];
        bool good = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0 ||
                    strncmp(url, "ldap://", 7) == 0;
        for (const char *c = url; *c != '\0'; c++)
            good = good && *c > ' ' && *c < 0x7f;
        if (!good)
            return err_set(e, 0, "%s: \"%s\" is no http, https or ldap URL in ASCII", key, url);
    }
    return true;
}

static void put_access(struct der_writer *w, iov_t method, const struct conf_list *urls)
{
    for (size_t i = 0; i < urls->n; i++) {
        der_open(w, DER_SEQUENCE);
        der_put(w, DER_OID, method);
        der_put(w, DER_CONTEXT(6), iov_of(urls->v[i]));
        der_close(w);
    }
}

static bool put_urls(struct der_writer *w, const struct local_profile *p, struct err *e)
{
    if (!urls_ok("aia_ocsp", &p->aia_ocsp, e) || !urls_ok("aia_issuers", &p->aia_issuers, e) ||
        !urls_ok("crl", &p->crl, e))
        return false;
    if (p->aia_ocsp.n + p->aia_issuers.n > 0) {
        local_ext_open(w, IOV(OID_EXT_AIA), false);
        der_open(w, DER_SEQUENCE);
        put_access(w, IOV("\x2b\x06\x01\x05\x05\x07\x30\x01"), &p->aia_ocsp);
        put_access(w, IOV("\x2b\x06\x01\x05\x05\x07\x30\x02"), &p->aia_issuers);
        der_close(w);
        local_ext_close(w);
    }
    if (p->crl.n > 0) { /* one distribution point, all URLs are the same CRL */
        local_ext_open(w, IOV(OID_EXT_CRL_URLS), false);
        der_open(w, DER_SEQUENCE);
        der_open(w, DER_SEQUENCE);
        der_open(w, DER_CONTEXT_CONS(0));
        der_open(w, DER_CONTEXT_CONS(0));
        for (size_t i = 0; i < p->crl.n; i++)
            der_put(w, DER_CONTEXT(6), iov_of(p->crl.v[i]));
        for (int i = 0; i < 4; i++)
            der_close(w);
        local_ext_close(w);
    }
    return true;
}

static bool fixed_make(struct local_profile *p, const struct local *l, pool_t *pool, struct err *e)
{
    struct der_writer w;
    der_writer_init(&w, pool);
    der_put_raw(&w, l->rules.aki);
    if (p->basic_constraints) {
        local_ext_open(&w, IOV(OID_EXT_BASIC_CONSTRAINTS), true);
        der_put(&w, DER_SEQUENCE, IOV(""));
        local_ext_close(&w);
    }
    if (!put_eku(&w, p, e) || !put_policies(&w, p, e) || !put_urls(&w, p, e))
        return false;
    p->fixed = der_finish(&w);
    return true;
}

/* What the signer is told: every extension a certificate of this profile may have. */
static bool limits_make(struct local_profile *p, struct signer_profile *limits, pool_t *pool, struct err *e)
{
    struct der d = der_of(p->fixed);
    struct der_item item;
    *limits = (struct signer_profile){.name = p->name};
    limits->max_lifetime_s = (p->max_lifetime_ms + p->backdate_ms) / 1000;
    while (der_next(&d, &item))
        iovs_add(pool, &limits->extensions, item.whole);
    iovs_add(pool, &limits->extensions, p->usage_rsa);
    if (!iov_eq(p->usage_rsa, p->usage_other))
        iovs_add(pool, &limits->extensions, p->usage_other);
    for (size_t i = 0; i < limits->extensions.n; i++) {
        if (!signer_rules_extension(limits->extensions.v[i], e))
            return false;
    }
    p->limits = limits;
    return true;
}

/* ---- reading ---- */

static const struct local_profile *exactly(const struct local *l, const char *name)
{
    for (size_t i = 0; i < l->n_profiles; i++) {
        if (strcmp(l->profiles[i].name, name) == 0)
            return &l->profiles[i];
    }
    return NULL;
}

static bool profile_make(struct local *l, struct local_profile *p, struct signer_profile *limits,
                         struct err *e)
{
    return usages_make(p, &l->pool, e) && fixed_make(p, l, &l->pool, e) &&
           limits_make(p, limits, &l->pool, e);
}

static bool profile_read(struct local *l, struct backend *b, const struct conf_node *node,
                         struct signer_profile *limits, struct err *e)
{
    struct err why = ERR_INIT;
    struct local_profile *p = &l->profiles[l->n_profiles];
    if (!conf_read(backend_source(b), node, profile_keys, p, e))
        return false;
    if (exactly(l, p->name) != NULL)
        return conf_error(node, e, "there is a profile \"%s\" already", p->name);
    if (!profile_make(l, p, &limits[l->n_profiles], &why))
        return conf_error(node, e, "profile %s: %s", p->name, why.detail);
    l->n_profiles++;
    return true;
}

/* All defaults, for whom nothing is configured. */
static bool default_add(struct local *l, struct backend *b, struct signer_profile *limits, struct err *e)
{
    static struct conf_key keys[COUNTOF(profile_keys)];
    struct local_profile *p = &l->profiles[l->n_profiles];
    memcpy(keys, profile_keys, sizeof(keys));
    keys[0].def = "default";
    if (!conf_read(backend_source(b), NULL, keys, p, e) || !profile_make(l, p, &limits[l->n_profiles], e))
        return false;
    l->n_profiles++;
    return true;
}

bool local_profiles_load(struct local *l, struct backend *b, struct err *e)
{
    const struct local_conf *c = backend_conf(b);
    size_t n = c->profiles != NULL ? conf_count(c->profiles) : 0;
    if (c->profiles != NULL && n == 0)
        return conf_error(c->profiles, e, "profiles: write a list of mappings, or leave it out");
    struct signer_profile *limits = POOL_NEW(&l->pool, struct signer_profile, n + 1);
    l->profiles = POOL_NEW(&l->pool, struct local_profile, n + 1);
    for (size_t i = 0; i < n; i++) {
        if (!profile_read(l, b, conf_item(c->profiles, i), limits, e))
            return false;
    }
    if (exactly(l, "default") == NULL && !default_add(l, b, limits, e))
        return false;
    l->rules.profiles = limits;
    l->rules.n_profiles = l->n_profiles;
    return true;
}

const struct local_profile *local_profile_find(const struct local *l, const char *name)
{
    const struct local_profile *p = exactly(l, name);
    return p != NULL ? p : exactly(l, "default");
}

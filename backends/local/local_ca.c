/* SPDX-License-Identifier: Apache-2.0 */
/* The certificates around the CA's key: the issuing one, those above it, the root, cross-certificates. Whatever does not
 * fit together is found here, at start, and not by the first client. */
#include <openssl/x509v3.h>

#include "backends/local/local.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/pki.h"

#define EXPIRY_WARNING_S (30 * 86400)

struct ca_conf {
    const char *certificate, *key, *chain, *root;
    struct conf_secret passphrase;
};
static const struct conf_key ca_keys[] = {
    CONF_FILE(struct ca_conf, certificate, "certificate", CONF_REQUIRED, "PEM of the issuing certificate"),
    CONF_FILE(struct ca_conf, key, "key", CONF_REQUIRED,
              "PEM of its private key; only the signer process keeps it"),
    CONF_SECRET(struct ca_conf, passphrase, "passphrase", NULL, "opens the key; file:PATH or env:NAME"),
    CONF_FILE(struct ca_conf, chain, "chain", NULL,
              "PEM of the certificates above the issuing one, without the root"),
    CONF_FILE(struct ca_conf, root, "root", NULL,
              "PEM of the root, for those who ask for the CA's certificates"),
    CONF_END,
};

/* What a file names without what is there already and, unless asked for, without self-signed certificates: clients have
 * their own idea of the root. */
static bool add_file(struct local *l, const char *path, bool with_roots, struct iovs *list, struct err *e)
{
    struct iovs ders;
    struct pki_cert cert;
    if (!backend_read_certs(&l->pool, path, &ders, e))
        return false;
    for (size_t i = 0; i < ders.n; i++) {
        if (!pki_cert_parse(&l->pool, ders.v[i], &cert, e))
            return false;
        if (!iovs_has(list, ders.v[i]) && (with_roots || !cert.self_signed))
            iovs_add(&l->pool, list, ders.v[i]);
    }
    return true;
}

/* Key usage as OpenSSL reads it: all bits when there is no such extension. */
static bool usage_ok(struct local *l, const char *path, struct err *e)
{
    const uint8_t *p = (const uint8_t *)l->der.base;
    X509 *x = d2i_X509(NULL, &p, (long)l->der.len);
    bool is_ca = x != NULL && X509_check_ca(x) == 1;
    uint32_t usage = x != NULL ? X509_get_key_usage(x) : 0;
    X509_free(x);
    l->may_sign_crls = (usage & KU_CRL_SIGN) != 0;
    if (!is_ca || (usage & KU_KEY_CERT_SIGN) == 0)
        return err_set(e, 0,
                       "%s: not a CA certificate: it needs basicConstraints CA:TRUE and, if it has keyUsage, "
                       "keyCertSign",
                       path);
    return true;
}

/* A CA that has run out does not keep the gateway from starting: there may be other backends, and its CRL. */
static bool in_force(struct local *l, const char *backend, const char *path, const struct pki_cert *ca,
                     struct err *e)
{
    int64_t now = clock_unix_s();
    iov_t end = clock_rfc3339(&l->pool, ca->not_after);
    if (now < ca->not_before)
        return err_set(e, 0, "%s: not valid before %s; is the clock right?", path,
                       clock_rfc3339(&l->pool, ca->not_before).base);
    if (now > ca->not_after)
        log_error("ca.expired", KV_STR("backend", backend), KV_STR("certificate", path), KV_IOV("at", end),
                  KV_STR("fix", "renew it; until then nothing is issued"));
    else if (now + EXPIRY_WARNING_S > ca->not_after)
        log_warn("ca.expires", KV_STR("backend", backend), KV_STR("certificate", path), KV_IOV("at", end),
                 KV_STR("fix", "renew it; certificates that are issued do not outlive it"));
    return true;
}

/* Do they fit together, now or, when one has expired, when all were in force? */
static bool fit(struct local *l, const struct iovs *chain, const struct iovs *roots, bool *expired_out,
                struct err *e)
{
    int64_t now = clock_unix_s(), earliest = now;
    const struct iovs *lists[] = {chain, roots};
    *expired_out = false;
    if (pki_chain_check(chain, roots, now, e))
        return true;
    for (size_t n = 0; n < 2; n++) {
        for (size_t i = 0; i < lists[n]->n; i++) {
            struct pki_cert cert;
            struct err ignored;
            if (pki_cert_parse(&l->pool, lists[n]->v[i], &cert, &ignored) && cert.not_after < earliest)
                earliest = cert.not_after;
        }
    }
    *expired_out = earliest < now && pki_chain_check(chain, roots, earliest - 1, e);
    return *expired_out;
}

static bool issuing_load(struct local *l, const char *backend, const char *path, struct err *e)
{
    struct iovs ders;
    struct pki_cert ca;
    struct err why = ERR_INIT;
    if (!backend_read_certs(&l->pool, path, &ders, e))
        return false;
    l->der = ders.v[0];
    if (!pki_cert_parse(&l->pool, l->der, &ca, &why) || !signer_alg_of(ca.spki, &l->rules.alg, &why))
        return err_set(e, 0, "%s: %s", path, why.detail);
    if (!usage_ok(l, path, e) || !in_force(l, backend, path, &ca, e))
        return false;
    l->rules.subject = ca.subject_der;
    l->rules.spki = ca.spki;
    l->rules.not_after = ca.not_after;
    l->not_before = ca.not_before;
    l->self_signed = ca.self_signed;
    if (!signer_rules_aki(&l->pool, &ca, &l->rules.aki))
        return err_set(e, 0, "%s: its key does not decode", path);
    if (!l->self_signed)
        iovs_add(&l->pool, &l->chain, l->der);
    for (size_t i = 1; i < ders.n; i++) { /* a file that holds its chain too */
        if (!pki_cert_parse(&l->pool, ders.v[i], &ca, e))
            return false;
        if (!ca.self_signed)
            iovs_add(&l->pool, &l->chain, ders.v[i]);
    }
    return true;
}

static bool chain_load(struct local *l, const struct ca_conf *c, struct err *e)
{
    struct err why = ERR_INIT;
    struct iovs roots = {0}, whole = {0};
    bool expired;
    if (c->chain != NULL && !add_file(l, c->chain, false, &l->chain, e))
        return false;
    if (c->root != NULL && !add_file(l, c->root, true, &roots, e))
        return false;
    iovs_add(&l->pool, &whole, l->der);
    for (size_t i = l->self_signed ? 0 : 1; i < l->chain.n; i++)
        iovs_add(&l->pool, &whole, l->chain.v[i]);
    if (!fit(l, &whole, &roots, &expired, &why))
        return err_set(e, 0, "certificate, chain and root do not fit together: %s", why.detail);
    if (expired)
        log_error(
            "ca.chain_expired", KV_STR("certificate", c->certificate),
            KV_STR("fix", "certificate, chain or root have expired: clients will refuse what is issued"));
    l->known = whole;
    for (size_t i = 0; i < roots.n; i++) {
        if (!iovs_has(&l->known, roots.v[i]))
            iovs_add(&l->pool, &l->known, roots.v[i]);
    }
    return true;
}

/* A cross-certificate of the issuing CA begins a chain of its own; one of a CA above continues the usual chain. */
static bool alternate_load(struct local *l, const char *path, struct err *e)
{
    struct err why = ERR_INIT;
    struct iovs file = {0}, *list = &l->alternates[l->n_alternates];
    *list = (struct iovs){0};
    struct pki_cert first;
    const struct iovs none = {0};
    bool expired;
    if (!add_file(l, path, false, &file, e))
        return false;
    if (file.n == 0 || !pki_cert_parse(&l->pool, file.v[0], &first, e))
        return err_set(e, 0, "%s: a cross-certificate is not self-signed", path);
    if (!iov_eq(first.subject_der, l->rules.subject) || !iov_eq(first.spki, l->rules.spki)) {
        for (size_t i = 0; i < l->chain.n; i++)
            iovs_add(&l->pool, list, l->chain.v[i]);
    }
    for (size_t i = 0; i < file.n; i++)
        iovs_add(&l->pool, list, file.v[i]);
    if (!fit(l, list, &none, &expired, &why))
        return err_set(e, 0, "%s: no chain for what this CA issues: %s", path, why.detail);
    if (expired)
        log_warn("ca.alternate_expired", KV_STR("certificate", path),
                 KV_STR("fix", "this chain is not offered any more"));
    else
        l->n_alternates++;
    return true;
}

bool local_ca_load(struct local *l, struct backend *b, const char **key_path_out,
                   struct conf_secret *passphrase_out, struct err *e)
{
    const struct local_conf *conf = backend_conf(b);
    struct ca_conf c;
    struct err why = ERR_INIT;
    if (!conf_read(backend_source(b), conf->ca, ca_keys, &c, e))
        return false;
    if (!issuing_load(l, backend_common(b)->name, c.certificate, &why) || !chain_load(l, &c, &why))
        return conf_error(conf->ca, e, "%s", why.detail);
    l->alternates = POOL_NEW(&l->pool, struct iovs, conf->alternates.n);
    for (size_t i = 0; i < conf->alternates.n; i++) {
        if (!alternate_load(l, conf->alternates.v[i], &why))
            return conf_error(conf_get(backend_node(b), "alternates"), e, "%s", why.detail);
    }
    *key_path_out = c.key;
    *passphrase_out = c.passphrase;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Validity that a client asks for, and the check of what a CA returned: a gateway hands out nothing that it has not
 * looked at itself. */
#include "policy/policy.h"

#include "base/clock.h"

enum {
    BACKDATE_S = 3600, /* CAs backdate for clients whose clocks are behind */
    SKEW_S = 300,      /* a CA's clock may be ahead of ours */
    NAME_SHOWN = 120,
};

static bool out_of_range(const struct settings_profile *p, const char *what, int64_t earliest, int64_t latest,
                         struct err *e)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    err_set(e, ACME_MALFORMED, "%s is outside of what profile \"%s\" permits: from %s to %s", what, p->name,
            clock_rfc3339(&pool, earliest).base, clock_rfc3339(&pool, latest).base);
    h2o_mem_clear_pool(&pool);
    return false;
}

bool policy_validity(const struct settings_profile *p, int64_t now, int64_t *not_before, int64_t *not_after,
                     struct err *e)
{
    if (*not_before == 0 && *not_after == 0)
        return true;
    /* Whatever is asked for lies in the span a certificate could have that is issued now: a start in the future makes it
     * shorter, so that nothing outlives what the profile allows today. */
    int64_t earliest = now - BACKDATE_S, latest = now + p->lifetime_ms / 1000;
    bool clamp = p->validity == 1;
    int64_t from = *not_before == 0 ? now : *not_before, to = *not_after == 0 ? latest : *not_after;
    if (clamp && from < earliest)
        from = earliest;
    if (clamp && to > latest)
        to = latest;
    if (from < earliest || from >= latest)
        return out_of_range(p, "notBefore", earliest, latest, e);
    if (to > latest || to <= now)
        return out_of_range(p, "notAfter", now, latest, e);
    if (to <= from)
        return err_set(e, ACME_MALFORMED, "notAfter is not later than notBefore");
    *not_before = from;
    *not_after = to;
    return true;
}

/* ---- what a CA returned ---- */

struct check {
    pool_t *pool;
    const struct policy_asked *asked;
    const struct pki_cert *cert;
    struct err *e;
};

static struct iovs cert_names(pool_t *pool, const struct pki_cert *cert)
{
    return policy_csr_names(pool, &(struct pki_csr){.dns = cert->dns, .ips = cert->ips});
}

static bool check_names(const struct check *c)
{
    struct iovs names = cert_names(c->pool, c->cert);
    for (size_t i = 0; i < c->asked->names->n; i++)
        if (!iovs_has(&names, c->asked->names->v[i]))
            return err_set(c->e, ACME_SERVER_INTERNAL, "the CA returned a certificate without the name %s",
                           iov_printable(c->pool, c->asked->names->v[i], NAME_SHOWN).base);
    for (size_t i = 0; i < names.n; i++)
        if (!iovs_has(c->asked->names, names.v[i]))
            return err_set(c->e, ACME_SERVER_INTERNAL,
                           "the CA returned a certificate with the name %s, which was not asked for",
                           iov_printable(c->pool, names.v[i], NAME_SHOWN).base);
    return true;
}

/* A common name may be a label of the CA's own, but one that reads as a host name must be one that was asked for:
 * there is software that still trusts it. */
static bool check_cn(const struct check *c)
{
    iov_t cn = c->cert->cn;
    struct err ignored = ERR_INIT;
    struct ident id;
    if (cn.base == NULL || memchr(cn.base, '.', cn.len) == NULL || cn.base[cn.len - 1] == '.')
        return true;
    if (!ident_normalize(c->pool, IDENT_IP, cn, &id, &ignored) &&
        !ident_normalize(c->pool, IDENT_DNS, cn, &id, &ignored))
        return true;
    struct iovs as_list = policy_ident_names(c->pool, &id, 1);
    if (iovs_has(c->asked->names, as_list.v[0]))
        return true;
    return err_set(c->e, ACME_SERVER_INTERNAL,
                   "the CA returned a certificate with the common name \"%s\", which was not asked for",
                   iov_printable(c->pool, cn, NAME_SHOWN).base);
}

static bool check_validity(const struct check *c)
{
    const struct policy_asked *a = c->asked;
    int64_t from = c->cert->not_before, to = c->cert->not_after;
    int64_t start = a->not_before > a->now ? a->not_before : a->now;
    const char *why = NULL;
    if (to <= a->now)
        why = "it has expired";
    else if (from > start + SKEW_S)
        why = "its validity begins too late";
    else if (a->not_before != 0 && from < a->not_before - BACKDATE_S)
        why = "its validity begins before what was asked for";
    else if (a->not_after != 0 && to > a->not_after)
        why = "its validity ends after what was asked for";
    else if (a->lifetime_s > 0 && to - from > a->lifetime_s + BACKDATE_S)
        why = "it lives longer than the profile allows";
    if (why == NULL)
        return true;
    return err_set(c->e, ACME_SERVER_INTERNAL, "the CA returned a certificate valid from %s to %s: %s",
                   clock_rfc3339(c->pool, from).base, clock_rfc3339(c->pool, to).base, why);
}

static bool check_chain(const struct check *c, const struct iovs *chain_ders)
{
    static const struct iovs nothing;
    struct err why = ERR_INIT;
    /* A validity that begins in the future was allowed above: the chain must hold from then on. */
    int64_t at = c->cert->not_before > c->asked->now ? c->cert->not_before : c->asked->now;
    if (pki_chain_check(chain_ders, c->asked->trust == NULL ? &nothing : c->asked->trust, at, &why))
        return true;
    err_set(c->e, ACME_SERVER_INTERNAL, "the CA returned a chain that does not hold: %s", why.detail);
    return err_cause(c->e, "%s", why.cause);
}

bool policy_certificate(pool_t *pool, const struct policy_asked *asked, const struct iovs *chain_ders,
                        struct pki_cert *cert_out, struct err *e)
{
    const struct check c = {pool, asked, cert_out, e};
    struct err why = ERR_INIT;
    if (chain_ders->n == 0)
        return err_set(e, ACME_SERVER_INTERNAL, "the CA returned no certificate");
    if (!pki_cert_parse(pool, chain_ders->v[0], cert_out, &why)) {
        err_set(e, ACME_SERVER_INTERNAL, "the CA returned a certificate that cannot be read: %s", why.detail);
        return err_cause(e, "%s", why.cause);
    }
    if (!iov_eq(cert_out->spki_sha256, asked->spki_sha256))
        return err_set(e, ACME_SERVER_INTERNAL,
                       "the CA returned a certificate for another key than the CSR's");
    if (cert_out->is_ca)
        return err_set(e, ACME_SERVER_INTERNAL, "the CA returned a CA certificate");
    return check_names(&c) && check_cn(&c) && check_validity(&c) && check_chain(&c, chain_ders);
}

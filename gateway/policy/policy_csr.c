/* SPDX-License-Identifier: Apache-2.0 */
/* CSRs: what a profile allows in one, and whether it asks for the order's names. RFC 8555 section 7.4 wants whatever
 * the CA will not do refused, so an extension that has no effect here is only let through when clients send it as a
 * matter of course. */
#include "policy/policy.h"

enum { NAME_SHOWN = 120, NAMES_SHOWN = 10 };

static const struct {
    enum pki_key_type type;
    const char *name;
} key_types[] = {
    {PKI_KEY_RSA, "RSA"},       {PKI_KEY_EC_P256, "P-256"},   {PKI_KEY_EC_P384, "P-384"},
    {PKI_KEY_EC_P521, "P-521"}, {PKI_KEY_ED25519, "Ed25519"},
};

static const char *key_type_name(enum pki_key_type type)
{
    for (size_t i = 0; i < COUNTOF(key_types); i++)
        if (key_types[i].type == type)
            return key_types[i].name;
    return "another type";
}

static bool key_allowed(pool_t *pool, const struct settings_profile *p, const struct pki_key *key,
                        struct err *e)
{
    enum pki_key_type type = pki_key_type(key);
    if (type == PKI_KEY_OTHER || (p->key_type_mask & 1u << type) == 0) {
        struct sbuf b;
        sbuf_init(&b, pool);
        for (size_t i = 0; i < COUNTOF(key_types); i++)
            if ((p->key_type_mask & 1u << key_types[i].type) != 0)
                sbuf_printf(&b, "%s%s", b.text.len == 0 ? "" : ", ", key_types[i].name);
        return err_set(e, ACME_BAD_CSR, "the CSR's key is of %s; profile \"%s\" accepts: %.*s",
                       key_type_name(type), p->name, (int)b.text.len, b.text.base);
    }
    if (type == PKI_KEY_RSA && pki_key_bits(key) < (uint64_t)p->rsa_min_bits)
        return err_set(e, ACME_BAD_CSR, "the CSR's RSA key has %u bits; profile \"%s\" wants at least %lld",
                       pki_key_bits(key), p->name, (long long)p->rsa_min_bits);
    struct err why = ERR_INIT;
    if (pki_key_acceptable(key, &why))
        return true;
    err_set(e, ACME_BAD_CSR, "the CSR's key is not acceptable: %s", why.detail);
    return err_cause(e, "%s", why.cause);
}

static bool extensions_allowed(pool_t *pool, const struct pki_csr *csr, struct err *e)
{
    /* What common clients ask for: the profile decides about these, so they change nothing. The Microsoft ones are the
     * template names, the application policies and the S/MIME capabilities that certreq adds. */
    static const char *const ignored[] = {
        "keyUsage",
        "2.5.29.15",
        "extendedKeyUsage",
        "2.5.29.37",
        "basicConstraints",
        "2.5.29.19",
        "subjectKeyIdentifier",
        "2.5.29.14",
        "1.3.6.1.4.1.311.20.2",
        "1.3.6.1.4.1.311.21.7",
        "1.3.6.1.4.1.311.21.10",
        "SMIME-CAPS",
        "1.2.840.113549.1.9.15",
    };
    if (csr->must_staple)
        return err_set(e, ACME_BAD_CSR,
                       "the CSR asks for the TLS feature extension (must-staple), which is not "
                       "supported; remove it");
    if (csr->wants_ca)
        return err_set(e, ACME_BAD_CSR, "the CSR asks for a CA certificate (basicConstraints CA:TRUE)");
    for (size_t i = 0; i < csr->extensions.n; i++) {
        size_t k = 0;
        while (k < COUNTOF(ignored) && !iov_ieq(csr->extensions.v[i], iov_of(ignored[k])))
            k++;
        if (k == COUNTOF(ignored))
            return err_set(e, ACME_BAD_CSR,
                           "the CSR asks for extension %s, which is not supported; remove it",
                           iov_printable(pool, csr->extensions.v[i], NAME_SHOWN).base);
    }
    return true;
}

/* The CN as an identifier text; false when it is neither a name nor an address. */
static bool cn_ident(pool_t *pool, iov_t cn, struct ident *out)
{
    struct err ignored = ERR_INIT;
    return ident_normalize(pool, IDENT_IP, cn, out, &ignored) ||
           ident_normalize(pool, IDENT_DNS, cn, out, &ignored);
}

static bool cn_allowed(pool_t *pool, const struct pki_csr *csr, struct err *e)
{
    if (csr->cn_many)
        return err_set(e, ACME_BAD_CSR, "the CSR's subject has more than one common name");
    bool no_san = csr->dns.n == 0 && csr->ips.n == 0;
    if (csr->cn.base == NULL)
        return !no_san || err_set(e, ACME_BAD_CSR,
                                  "the CSR names nothing: it has neither a subjectAltName nor a common "
                                  "name");
    struct ident id;
    const char *cn = iov_printable(pool, csr->cn, NAME_SHOWN).base;
    if (!cn_ident(pool, csr->cn, &id))
        return err_set(e, ACME_BAD_CSR,
                       "the CSR's common name \"%s\" is neither a DNS name nor an IP address", cn);
    const struct iovs *among = id.type == IDENT_IP ? &csr->ips : &csr->dns;
    for (size_t i = 0; i < among->n; i++)
        if (iov_ieq(among->v[i], id.value))
            return true;
    /* RFC 8555 7.4: a name may stand in the common name alone. */
    return no_san ||
           err_set(e, ACME_BAD_CSR, "the CSR's common name \"%s\" is not among its subjectAltNames", cn);
}

bool policy_csr(const struct settings_profile *p, const struct pki_csr *csr, struct err *e)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    bool ok = key_allowed(&pool, p, csr->key, e) && extensions_allowed(&pool, csr, e);
    if (ok && csr->other_san)
        ok = err_set(e, ACME_BAD_CSR,
                     "the CSR has a subjectAltName of type %s; only DNS names and IP addresses are "
                     "supported",
                     csr->other_san_kind == NULL ? "unknown" : csr->other_san_kind);
    ok = ok && cn_allowed(&pool, csr, e);
    h2o_mem_clear_pool(&pool);
    return ok;
}

/* ---- lists of names ---- */

static void add_name(pool_t *pool, struct iovs *list, const char *type, iov_t value)
{
    iov_t text = iov_printf(pool, "%s:%.*s", type, (int)value.len, value.base);
    iovs_add(pool, list, text);
}

static struct iovs sorted(struct iovs list)
{
    iovs_sort(&list);
    size_t kept = 0;
    for (size_t i = 0; i < list.n; i++)
        if (kept == 0 || !iov_eq(list.v[kept - 1], list.v[i]))
            list.v[kept++] = list.v[i];
    list.n = kept;
    return list;
}

struct iovs policy_csr_names(pool_t *pool, const struct pki_csr *csr)
{
    struct iovs list = {0};
    struct ident id;
    for (size_t i = 0; i < csr->dns.n; i++)
        add_name(pool, &list, "dns", csr->dns.v[i]);
    for (size_t i = 0; i < csr->ips.n; i++)
        add_name(pool, &list, "ip", csr->ips.v[i]);
    if (list.n == 0 && csr->cn.base != NULL && cn_ident(pool, csr->cn, &id))
        add_name(pool, &list, ident_type_name(id.type), id.value);
    return sorted(list);
}

struct iovs policy_ident_names(pool_t *pool, const struct ident *idents, size_t n)
{
    struct iovs list = {0};
    for (size_t i = 0; i < n; i++)
        add_name(pool, &list, ident_type_name(idents[i].type), idents[i].value);
    return sorted(list);
}

/* Appends what a has and b has not; returns how many. Both are sorted, but the lists are short. */
static size_t append_missing(pool_t *pool, struct sbuf *out, const char *title, const struct iovs *a,
                             const struct iovs *b)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        if (iovs_has(b, a->v[i]))
            continue;
        if (n++ == 0)
            sbuf_printf(out, "; %s:", title);
        if (n <= NAMES_SHOWN)
            sbuf_printf(out, " %s", iov_printable(pool, a->v[i], NAME_SHOWN).base);
    }
    if (n > NAMES_SHOWN)
        sbuf_printf(out, " and %zu more", n - NAMES_SHOWN);
    return n;
}

bool policy_names_differ(pool_t *pool, const struct iovs *order, const struct iovs *csr, struct err *e)
{
    struct sbuf b;
    sbuf_init(&b, pool);
    size_t n = append_missing(pool, &b, "missing in the CSR", order, csr);
    n += append_missing(pool, &b, "not in the order", csr, order);
    if (n != 0)
        err_set(e, ACME_BAD_CSR, "the CSR's names are not those of the order%.*s", (int)b.text.len,
                b.text.base);
    return n != 0;
}

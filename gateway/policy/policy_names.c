/* SPDX-License-Identifier: Apache-2.0 */
/* Which identifiers an account may order: what the profile allows and what the account's EAB key allows, one answer
 * per identifier. */
#include "policy/policy.h"

enum { PATTERNS_SHOWN = 6, NAME_SHOWN = 120 };

static bool refuse(struct problem_doc *out, int code, iov_t text)
{
    return err_set(&out->err, code, "%s", text.base);
}

/* "a, b and 3 more" of an operator's list. */
static iov_t shown(pool_t *pool, const char *const *v, size_t n)
{
    struct sbuf b;
    sbuf_init(&b, pool);
    for (size_t i = 0; i < n && i < PATTERNS_SHOWN; i++)
        sbuf_printf(&b, "%s%s", i == 0 ? "" : ", ", iov_printable(pool, iov_of(v[i]), NAME_SHOWN).base);
    if (n > PATTERNS_SHOWN)
        sbuf_printf(&b, " and %zu more", n - PATTERNS_SHOWN);
    if (n == 0)
        sbuf_puts(&b, "none");
    return b.text;
}

static const char **cstrs(pool_t *pool, const struct iovs *list)
{
    const char **v = POOL_NEW(pool, const char *, list->n + 1);
    for (size_t i = 0; i < list->n; i++)
        v[i] = list->v[i].base;
    return v;
}

static bool matches_any(const struct ident *id, const char *const *patterns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ident_matches(id, patterns[i]))
            return true;
    return false;
}

struct rules {
    pool_t *pool;
    const struct settings_profile *profile;
    const char *const *eab_names; /* NULL: no limit */
    size_t n_eab_names;
};

static bool name_allowed(const struct rules *r, const struct ident *id, struct err *e)
{
    const struct settings_profile *p = r->profile;
    const char *name = iov_printable(r->pool, id->value, NAME_SHOWN).base;
    if (id->type == IDENT_IP && !p->ips)
        return err_set(e, ACME_REJECTED_IDENTIFIER, "profile \"%s\" allows no IP addresses: \"%s\"", p->name,
                       name);
    if (ident_is_wildcard(id) && !p->wildcards)
        return err_set(e, ACME_REJECTED_IDENTIFIER, "profile \"%s\" allows no wildcards: \"%s\"", p->name,
                       name);
    if (p->names.n != 0 && !matches_any(id, p->names.v, p->names.n))
        return err_set(e, ACME_REJECTED_IDENTIFIER, "profile \"%s\" does not allow \"%s\"; it allows: %s",
                       p->name, name, shown(r->pool, p->names.v, p->names.n).base);
    if (r->eab_names != NULL && !matches_any(id, r->eab_names, r->n_eab_names))
        return err_set(e, ACME_REJECTED_IDENTIFIER,
                       "the external account key of this account does not allow \"%s\"; it allows: %s", name,
                       shown(r->pool, r->eab_names, r->n_eab_names).base);
    return true;
}

static bool order_allowed(pool_t *pool, const struct settings_profile *p, const struct policy_eab *eab,
                          size_t n, struct problem_doc *out)
{
    if (eab != NULL && eab->limited_profiles && !iovs_has(&eab->profiles, iov_of(p->name))) {
        iov_t list = shown(pool, cstrs(pool, &eab->profiles), eab->profiles.n);
        return refuse(out, ACME_INVALID_PROFILE,
                      iov_printf(pool,
                                 "the external account key of this account does not allow profile \"%s\"; it "
                                 "allows: %s",
                                 p->name, list.base));
    }
    if (p->names_max > 0 && n > (size_t)p->names_max)
        return refuse(out, ACME_REJECTED_IDENTIFIER,
                      iov_printf(pool,
                                 "the order has %zu identifiers; profile \"%s\" allows %lld in one order", n,
                                 p->name, (long long)p->names_max));
    return true;
}

bool policy_names(pool_t *pool, const struct settings_profile *p, const struct policy_eab *eab,
                  const struct ident *idents, size_t n, struct problem_doc *out)
{
    *out = (struct problem_doc){0};
    if (!order_allowed(pool, p, eab, n, out))
        return false;
    struct rules rules = {.pool = pool, .profile = p};
    if (eab != NULL && eab->limited_names) {
        rules.eab_names = cstrs(pool, &eab->names);
        rules.n_eab_names = eab->names.n;
    }
    struct subproblem *subs = NULL;
    size_t n_subs = 0;
    for (size_t i = 0; i < n; i++) {
        struct err err = ERR_INIT;
        if (name_allowed(&rules, &idents[i], &err))
            continue;
        if (subs == NULL)
            subs = POOL_NEW(pool, struct subproblem, n - i);
        subs[n_subs++] = (struct subproblem){.ident = idents[i], .err = err};
    }
    out->subs = subs;
    out->n_subs = n_subs;
    if (n_subs == 1)
        out->err = subs[0].err;
    else if (n_subs > 1)
        err_set(&out->err, ACME_COMPOUND,
                "%zu of the order's %zu identifiers are not allowed; see subproblems", n_subs, n);
    return n_subs == 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which back ends serve an order: the first route all of whose conditions hold. */
#include "policy/policy.h"

enum { NAME_SHOWN = 120 };

static bool list_has(const struct conf_list *list, iov_t value)
{
    for (size_t i = 0; i < list->n && value.base != NULL; i++)
        if (iov_is(value, list->v[i]))
            return true;
    return false;
}

static bool all_names_match(const struct conf_list *patterns, const struct ident *idents, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < patterns->n && !ident_matches(&idents[i], patterns->v[k]))
            k++;
        if (k == patterns->n)
            return false;
    }
    return true;
}

/* A condition that is not set holds. */
static bool text_holds(const char *want, const char *value)
{
    return want == NULL || (value != NULL && strcmp(want, value) == 0);
}

static bool list_holds(const struct conf_list *list, iov_t value)
{
    return list->n == 0 || list_has(list, value);
}

static bool route_matches(const struct settings_route *r, const struct policy_route_query *q)
{
    return text_holds(r->match.directory, q->directory) && text_holds(r->match.profile, q->profile) &&
           list_holds(&r->match.eab, q->eab_kid) && list_holds(&r->match.account, q->account_id) &&
           list_holds(&r->match.key_types, iov_of(q->key_type)) &&
           (r->match.names.n == 0 || all_names_match(&r->match.names, q->idents, q->n_idents));
}

const struct settings_route *policy_route(const struct settings *s, const struct policy_route_query *q,
                                          struct err *e)
{
    for (size_t i = 0; i < s->n_routes; i++)
        if (route_matches(&s->routes[i], q))
            return &s->routes[i];
    pool_t pool;
    h2o_mem_init_pool(&pool);
    const char *first = q->n_idents == 0 ? "" : iov_printable(&pool, q->idents[0].value, NAME_SHOWN).base;
    err_set(e, ACME_REJECTED_IDENTIFIER,
            "no CA of this gateway serves this order (directory \"%s\", profile \"%s\", %zu identifiers from "
            "\"%s\" on): "
            "none of its %zu routes matches",
            q->directory == NULL ? "" : q->directory, q->profile == NULL ? "" : q->profile, q->n_idents,
            first, s->n_routes);
    h2o_mem_clear_pool(&pool);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The policy that an operator tied to an EAB key. Read strictly: a member that is not understood might have been meant
 * to forbid something. It was checked when it was stored, so that a bad one is no fault of a client's. */
#include "policy/policy.h"

enum { POLICY_MAX_BYTES = 1 << 16 };

static bool read_list(pool_t *pool, const char *name, const json_t *value, struct iovs *out, struct err *e)
{
    if (!json_is_array(value))
        return err_set(e, ACME_SERVER_INTERNAL, "EAB policy: \"%s\" must be a list of strings", name);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_string(item) || json_string_length(item) == 0)
            return err_set(e, ACME_SERVER_INTERNAL, "EAB policy: \"%s\" must be a list of strings", name);
        iovs_add(pool, out,
                 iov_dup(pool, (iov_t){(char *)json_string_value(item), json_string_length(item)}));
    }
    return true;
}

static bool read_names(pool_t *pool, const json_t *value, struct iovs *out, struct err *e)
{
    if (!read_list(pool, "names", value, out, e))
        return false;
    for (size_t i = 0; i < out->n; i++)
        if (!ident_pattern_valid(pool, out->v[i].base))
            return err_set(
                e, ACME_SERVER_INTERNAL,
                "EAB policy: \"%s\" is not a pattern of names (a.example, *.example, .example, 10.0.0.0/8)",
                iov_printable(pool, out->v[i], 80).base);
    return true;
}

bool policy_eab_parse(pool_t *pool, iov_t json, struct policy_eab *out, struct err *e)
{
    *out = (struct policy_eab){0};
    if (json.base == NULL)
        return true;
    struct err why = ERR_INIT;
    json_t *obj = json_parse_object(json, POLICY_MAX_BYTES, &why), *value;
    if (obj == NULL)
        return err_set(e, ACME_SERVER_INTERNAL, "EAB policy: %s", why.detail);
    bool ok = true;
    const char *key;
    json_object_foreach(obj, key, value)
    {
        if (strcmp(key, "names") == 0)
            ok = (out->limited_names = true) && read_names(pool, value, &out->names, e);
        else if (strcmp(key, "profiles") == 0)
            ok = (out->limited_profiles = true) && read_list(pool, key, value, &out->profiles, e);
        else
            ok = err_set(e, ACME_SERVER_INTERNAL,
                         "EAB policy: unknown member \"%s\"; there are \"names\" and \"profiles\"",
                         iov_printable(pool, iov_of(key), 80).base);
        if (!ok)
            break;
    }
    json_decref(obj);
    return ok;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* States of ACME objects, the edges between them, and the URLs of the objects. */
#include "acme/objects.h"

static const char *const status_names[ST_COUNT] = {
    [ST_PENDING] = "pending", [ST_READY] = "ready",     [ST_PROCESSING] = "processing",
    [ST_VALID] = "valid",     [ST_INVALID] = "invalid", [ST_DEACTIVATED] = "deactivated",
    [ST_EXPIRED] = "expired", [ST_REVOKED] = "revoked",
};

const char *acme_status_name(enum acme_status s)
{
    return s < ST_COUNT ? status_names[s] : "";
}

bool acme_status_parse(iov_t text, enum acme_status *out)
{
    for (size_t i = 0; i < ST_COUNT; i++)
        if (iov_is(text, status_names[i])) {
            *out = (enum acme_status)i;
            return true;
        }
    return false;
}

bool acme_edge(enum acme_object o, enum acme_status from, enum acme_event ev, enum acme_status *to_out)
{
    static const struct {
        enum acme_object object;
        enum acme_status from;
        enum acme_event event;
        enum acme_status to;
    } edges[] = {
#define EDGE(object, from, event, to) {OBJ_##object, ST_##from, EV_##event, ST_##to},
#include "acme/state.def"
#undef EDGE
    };
    for (size_t i = 0; i < COUNTOF(edges); i++)
        if (edges[i].object == o && edges[i].from == from && edges[i].event == ev) {
            *to_out = edges[i].to;
            return true;
        }
    return false;
}

/* base + "/kind/" + id + tail */
static iov_t object_url(pool_t *pool, const struct acme_urls *u, const char *kind, iov_t id, const char *tail)
{
    return iov_printf(pool, "%.*s/%s/%.*s%s", (int)u->base.len, u->base.base, kind, (int)id.len, id.base,
                      tail);
}

iov_t acme_url_account(pool_t *pool, const struct acme_urls *u, iov_t id)
{
    return object_url(pool, u, "account", id, "");
}

iov_t acme_url_orders(pool_t *pool, const struct acme_urls *u, iov_t account_id)
{
    return object_url(pool, u, "account", account_id, "/orders");
}

iov_t acme_url_order(pool_t *pool, const struct acme_urls *u, iov_t id)
{
    return object_url(pool, u, "order", id, "");
}

iov_t acme_url_finalize(pool_t *pool, const struct acme_urls *u, iov_t id)
{
    return object_url(pool, u, "order", id, "/finalize");
}

iov_t acme_url_authz(pool_t *pool, const struct acme_urls *u, iov_t id)
{
    return object_url(pool, u, "authz", id, "");
}

iov_t acme_url_challenge(pool_t *pool, const struct acme_urls *u, iov_t authz_id, iov_t type)
{
    return iov_printf(pool, "%.*s/challenge/%.*s/%.*s", (int)u->base.len, u->base.base, (int)authz_id.len,
                      authz_id.base, (int)type.len, type.base);
}

iov_t acme_url_cert(pool_t *pool, const struct acme_urls *u, iov_t id, unsigned chain)
{
    if (chain == 0)
        return object_url(pool, u, "cert", id, "");
    return iov_printf(pool, "%.*s/cert/%.*s/%u", (int)u->base.len, u->base.base, (int)id.len, id.base, chain);
}

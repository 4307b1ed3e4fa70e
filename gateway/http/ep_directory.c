/* SPDX-License-Identifier: Apache-2.0 */
/* directory (RFC 8555 7.1.1) and new-nonce (7.2). */
#include "http/call.h"
#include "http/endpoints.h"

void ep_directory(struct call *c)
{
    const struct settings_directory *d = c->directory;
    pool_t *pool = &c->task.pool;
    struct acme_directory out = {.terms = d->terms, .website = d->website, .caa = d->caa.v, .n_caa = d->caa.n,
                                 .external_account_required = d->eab == EAB_REQUIRED, .idempotent_authz = true};
    struct acme_profile_text *p = POOL_NEW(pool, struct acme_profile_text, d->n_profiles);
    for (size_t i = 0; i < d->n_profiles; i++)
        p[i] = (struct acme_profile_text){d->profile[i]->name, d->profile[i]->description};
    out.profiles = p;
    out.n_profiles = d->n_profiles;
    call_json(c, 200, acme_directory_json(pool, &c->urls, &out));
}

void ep_nonce(struct call *c)
{
    call_empty(c, iov_is(c->method, "HEAD") ? 200 : 204);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* dns-01 (RFC 8555 8.4): one of the TXT records at _acme-challenge.NAME holds the digest of the key
 * authorization. */
#include "base/b64.h"
#include "io/dns.h"
#include "io/pki.h"
#include "jobs/validate.h"

#define SHOWN 64 /* bytes of a foreign record in a detail */

struct dns01 {
    iov_t record;
};

iov_t validate_dns01_value(pool_t *pool, iov_t key_authorization)
{
    return b64_encode(pool, pki_sha256_iov(pool, key_authorization));
}

static const char *through(struct validation *v, const struct dns_reply *r)
{
    if (r->canonical.base == NULL)
        return "";
    return iov_printf(&v->task.pool, " (through CNAME to %s)", r->canonical.base).base;
}

static json_t *tried(struct validation *v, const struct dns_reply *r)
{
    struct dns01 *d = v->method_state;
    json_t *entry = validation_tried(v, "record", iov_printf(&v->task.pool, "%s TXT", d->record.base));
    validation_tried_put(entry, "resolver", iov_of(r->asked));
    return entry;
}

static void fail(struct validation *v, const struct dns_reply *r, const struct err *e)
{
    validation_tried_put(tried(v, r), "error", iov_of(e->detail));
    validation_failed(v, e);
}

static void no_answer(struct validation *v, const struct dns_reply *r)
{
    struct dns01 *d = v->method_state;
    struct err e;
    const char *what = "";
    switch (r->result) {
    case DNS_NXDOMAIN:
        what = "the name does not exist: ";
        break;
    case DNS_NODATA:
        what = "the name exists but has no TXT record: ";
        break;
    case DNS_TIMEOUT:
    case DNS_SERVFAIL:
        what = "the look-up failed: ";
        v->transient = true;
        break;
    default:
        break;
    }
    err_set(&e, ACME_DNS,
            "dns-01 for %s: TXT %s%s: %s%s; it must hold the base64url SHA-256 of the key authorization",
            ident_base(&v->ident).base, d->record.base, through(v, r), what, r->why);
    fail(v, r, &e);
}

static void no_match(struct validation *v, const struct dns_reply *r)
{
    struct dns01 *d = v->method_state;
    struct err e;
    err_set(&e, ACME_INCORRECT_RESPONSE,
            "dns-01 for %s: TXT %s%s has %zu record%s, none of which is the base64url SHA-256 of this "
            "account's key "
            "authorization; the first is \"%s\": %s",
            ident_base(&v->ident).base, d->record.base, through(v, r), r->records.n,
            r->records.n == 1 ? "" : "s", iov_printable(&v->task.pool, r->records.v[0], SHOWN).base, r->why);
    fail(v, r, &e);
}

static void on_txt(struct task *t, void *arg, const struct dns_reply *r)
{
    struct validation *v = arg;
    if (r->result != DNS_OK) {
        no_answer(v, r);
        return;
    }
    if (!iovs_has(&r->records, validate_dns01_value(&t->pool, v->key_authorization))) {
        no_match(v, r);
        return;
    }
    tried(v, r);
    validation_ok(v);
}

void validate_dns01_run(struct validation *v)
{
    struct dns01 *d = POOL_NEW(&v->task.pool, struct dns01, 1);
    iov_t name = iov_dup(&v->task.pool, ident_base(&v->ident));
    v->method_state = d;
    v->ident.value = name; /* NUL-terminated for the messages */
    d->record = iov_printf(&v->task.pool, "_acme-challenge.%s", name.base);
    if (v->ident.type != IDENT_DNS) {
        struct err e;
        err_set(&e, ACME_INCORRECT_RESPONSE, "dns-01 cannot prove the address %s (RFC 8738 section 7)",
                name.base);
        validation_failed(v, &e);
        return;
    }
    dns_lookup_within(&v->task, d->record.base, DNS_TXT, v->settings->validation.timeout_ms, on_txt, v);
}

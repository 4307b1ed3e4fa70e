/* SPDX-License-Identifier: Apache-2.0 */
/* certificate (RFC 8555 7.4.2): the PEM chain, alternates by Link, the leaf alone as DER on request. */
#include "base/log.h"
#include "http/endpoints.h"
#include "schema/statements.h"

static const char pem_type[] = "application/pem-certificate-chain", der_type[] = "application/pkix-cert";

/* ";q=0" or ";q=0.000": not wanted (RFC 9110 12.4.2). */
static bool refused(iov_t params)
{
    for (size_t i = 0; i + 2 < params.len; i++) {
        if ((params.base[i] != 'q' && params.base[i] != 'Q') || params.base[i + 1] != '=' || params.base[i + 2] != '0')
            continue;
        size_t k = i + 3;
        while (k < params.len && (params.base[k] == '.' || params.base[k] == '0'))
            k++;
        return k == params.len || params.base[k] == ' ' || params.base[k] == ';';
    }
    return false;
}

/* The first of our types that the Accept header lists and does not refuse (other quality values are not weighed). */
static const char *accepted(const struct call *c)
{
    iov_t v = c->req != NULL ? serve_header_get(c->req, "accept") : IOV_NULL;
    if (v.base == NULL || v.len == 0)
        return pem_type;
    for (size_t at = 0; at < v.len;) {
        size_t end = at;
        while (end < v.len && v.base[end] != ',')
            end++;
        size_t from = at, to = from;
        while (from < end && v.base[from] == ' ')
            from++;
        to = from;
        while (to < end && v.base[to] != ';' && v.base[to] != ' ')
            to++;
        iov_t item = {v.base + from, to - from};
        at = end + 1;
        if (refused((iov_t){v.base + to, end - to}))
            continue;
        if (iov_ieq(item, iov_of(pem_type)) || iov_is(item, "*/*") || iov_is(item, "application/*"))
            return pem_type;
        if (iov_ieq(item, iov_of(der_type)))
            return der_type;
    }
    return NULL;
}

static bool chain_index(const struct call *c, uint64_t *out)
{
    *out = 0;
    return c->param[1].base == NULL || (c->param[1].len <= 4 && iov_to_u64(c->param[1], out));
}

static void links(struct call *c, uint64_t chain, int64_t n_chains)
{
    for (int64_t i = 0; i < n_chains && i < 8; i++) {
        if ((uint64_t)i == chain)
            continue;
        iov_t url = acme_url_cert(&c->task.pool, &c->urls, c->param[0], (unsigned)i);
        call_header(c, "Link", iov_printf(&c->task.pool, "<%.*s>;rel=\"alternate\"", (int)url.len, url.base));
    }
}

static void answer_der(struct call *c, iov_t pem, uint64_t chain)
{
    struct iovs ders = {0};
    struct err e = ERR_INIT;
    if (!pki_pem_to_ders(&c->task.pool, pem, &ders, &e)) {
        call_error(c, &e);
        return;
    }
    iov_t up = acme_url_cert(&c->task.pool, &c->urls, c->param[0], (unsigned)chain);
    call_header(c, "Link", iov_printf(&c->task.pool, "<%.*s>;rel=\"up\"", (int)up.len, up.base));
    call_bytes(c, 200, der_type, ders.v[0]);
}

static void on_certificate(struct call *c, struct db_unit *u)
{
    uint64_t chain;
    bool exists = db_rows(u, 1) > 0 && chain_index(c, &chain) && !db_is_null(u, 1, 0, COL_certificate_read_pem);
    iov_t owner = exists ? db_get(u, 1, 0, COL_certificate_read_account_id) : IOV_NULL;
    if (!ep_owned(c, exists, owner, "certificate"))
        return;
    const char *type = accepted(c);
    iov_t pem = db_get(u, 1, 0, COL_certificate_read_pem);
    if (type == NULL) {
        call_refuse(c, ACME_NOT_ACCEPTABLE, "certificates are served as %s or %s", pem_type, der_type);
    } else if (type == der_type) {
        answer_der(c, pem, chain);
    } else {
        links(c, chain, db_get_int(u, 1, 0, COL_certificate_read_n_chains));
        call_bytes(c, 200, pem_type, pem);
    }
}

void ep_certificate(struct call *c)
{
    uint64_t chain;
    if (!chain_index(c, &chain)) {
        call_refuse(c, ACME_NOT_FOUND, "there is no such chain");
        return;
    }
    struct db_unit *u = call_unit(c);
    q_certificate_read(u, c->param[0], (int64_t)chain);
    call_run(c, u, on_certificate);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* URLs read with libcurl's own parser: a second opinion on where a URL leads would be a way around the
 * checks. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include "io/fetch.h"

#define URL_MAX 2048

/* A part of the URL in the pool; IOV_NULL when it has none. */
static iov_t part(pool_t *pool, CURLU *u, CURLUPart what, unsigned flags)
{
    char *text = NULL;
    if (curl_url_get(u, what, &text, flags) != CURLUE_OK)
        return IOV_NULL;
    iov_t copy = iov_dup(pool, iov_of(text));
    curl_free(text);
    return copy;
}

static bool is_ldh(iov_t host)
{
    size_t label = 0;
    if (host.len > 0 && host.base[host.len - 1] == '.')
        host.len--;
    if (host.len == 0 || host.len > 253)
        return false;
    for (size_t i = 0; i < host.len; i++) {
        char ch = host.base[i];
        if (ch == '.' ? label == 0 : ++label > 63)
            return false;
        if (ch == '.')
            label = 0;
        else if (!(ch >= 'a' && ch <= 'z') && !(ch >= '0' && ch <= '9') && ch != '-' && ch != '_')
            return false;
    }
    return label > 0;
}

static bool read_host(CURLU *u, pool_t *pool, struct fetch_url *out, struct err *e)
{
    iov_t host = part(pool, u, CURLUPART_HOST, 0);
    if (host.base == NULL)
        return err_set(e, 0, "the URL has no host");
    if (part(pool, u, CURLUPART_ZONEID, 0).base != NULL)
        return err_set(e, 0, "the URL's address has a zone id");
    if (host.len > 2 && host.base[0] == '[' && host.base[host.len - 1] == ']')
        host = iov_dup(pool, (iov_t){host.base + 1, host.len - 2});
    for (size_t i = 0; i < host.len; i++) {
        if (host.base[i] >= 'A' && host.base[i] <= 'Z')
            host.base[i] |= 0x20;
    }
    out->host = host;
    out->address_len = inet_pton(AF_INET, host.base, out->address) == 1 ? 4 : 0;
    if (out->address_len == 0 && inet_pton(AF_INET6, host.base, out->address) == 1)
        out->address_len = 16;
    if (out->address_len == 0 && !is_ldh(host))
        return err_set(e, 0, "\"%s\" is neither a host name nor an address",
                       iov_printable(pool, host, 80).base);
    return true;
}

static bool read_parts(CURLU *u, pool_t *pool, struct fetch_url *out, struct err *e)
{
    iov_t scheme = part(pool, u, CURLUPART_SCHEME, 0);
    if (!iov_is(scheme, "http") && !iov_is(scheme, "https"))
        return err_set(e, 0, "the URL is neither http nor https");
    out->https = iov_is(scheme, "https");
    if (part(pool, u, CURLUPART_USER, 0).base != NULL || part(pool, u, CURLUPART_PASSWORD, 0).base != NULL)
        return err_set(e, 0, "the URL carries a user name or password");
    uint64_t port;
    if (!iov_to_u64(part(pool, u, CURLUPART_PORT, CURLU_DEFAULT_PORT), &port) || port == 0 || port > 65535)
        return err_set(e, 0, "the URL has no usable port");
    out->port = (unsigned)port;
    if (!read_host(u, pool, out, e))
        return false;
    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
    out->text = part(pool, u, CURLUPART_URL, 0);
    return out->text.base != NULL || err_set(e, 0, "the URL cannot be written down again");
}

static bool parse(pool_t *pool, iov_t base, iov_t text, struct fetch_url *out, struct err *e)
{
    CURLU *u = curl_url();
    if (u == NULL)
        abort();
    /* What libcurl's own redirects use: servers do send spaces and raw UTF-8 in Location. */
    const unsigned flags = CURLU_URLENCODE | CURLU_ALLOW_SPACE | CURLU_DISALLOW_USER;
    CURLUcode rc = CURLUE_OK;
    if (base.base != NULL)
        rc = curl_url_set(u, CURLUPART_URL, iov_cstr(pool, base), CURLU_DISALLOW_USER);
    if (rc == CURLUE_OK)
        rc = curl_url_set(u, CURLUPART_URL, iov_cstr(pool, text), flags);
    bool ok = rc == CURLUE_OK ? read_parts(u, pool, out, e) : err_set(e, 0, "%s", curl_url_strerror(rc));
    curl_url_cleanup(u);
    return ok;
}

bool fetch_url_parse(pool_t *pool, iov_t base, iov_t text, struct fetch_url *out, struct err *e)
{
    struct fetch_url first = {.text = IOV_NULL};
    *out = first;
    if (text.base == NULL || text.len == 0 || text.len > URL_MAX || memchr(text.base, '\0', text.len) != NULL)
        return err_set(e, 0, "the URL is empty, longer than %d bytes or contains a zero byte", URL_MAX);
    /* Once more from what was written down, as the transfer will: "http://%333/" is the name "33" at first
     * sight and the address 0.0.0.33 at the second. */
    return parse(pool, base, text, &first, e) && parse(pool, IOV_NULL, first.text, out, e);
}

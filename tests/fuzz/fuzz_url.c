/* SPDX-License-Identifier: Apache-2.0 */
/* A Location header from a stranger's web server. What passes must be http(s) to a plain host, and must read
 * the same when it is parsed once more: libcurl will do just that. */
#include <assert.h>

#include "jobs/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(pool_t *pool, iov_t base, iov_t text)
{
    struct fetch_url u, again;
    struct err e = ERR_INIT;
    if (!fetch_url_parse(pool, base, text, &u, &e)) {
        assert(e.detail[0] != '\0');
        return;
    }
    assert(iov_starts(u.text, u.https ? "https://" : "http://"));
    assert(u.host.len > 0 && u.port > 0 && u.port < 65536);
    assert(u.address_len == 0 || u.address_len == 4 || u.address_len == 16);
    for (size_t i = 0; i < u.text.len; i++)
        assert((uint8_t)u.text.base[i] > ' ');
    for (size_t i = 0; i < u.host.len; i++)
        assert(strchr("/?#@\\%[]", u.host.base[i]) == NULL);
    if (!fetch_url_parse(pool, IOV_NULL, u.text, &again, &e)) /* encoding may have made it too long */
        return;
    assert(iov_eq(u.host, again.host) && u.port == again.port && u.https == again.https);
    assert(u.address_len == again.address_len && memcmp(u.address, again.address, u.address_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct settings_validation cfg = {.http_port = 5002, .tls_port = 5001};
    pool_t pool;
    h2o_mem_init_pool(&pool);
    iov_t text = {(char *)data, size}, base = IOV("http://www.example:5002/.well-known/acme-challenge/token");
    check(&pool, IOV_NULL, text);
    check(&pool, base, text);
    struct fetch_url to;
    struct err e = ERR_INIT;
    if (validate_http01_redirect(&pool, &cfg, base, text, &to, &e))
        assert(to.port == 80 || to.port == 443 || to.port == 5001 || to.port == 5002);
    else
        assert(e.code == ACME_INCORRECT_RESPONSE && e.detail[0] != '\0');
    h2o_mem_clear_pool(&pool);
    return 0;
}

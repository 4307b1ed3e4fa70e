/* SPDX-License-Identifier: Apache-2.0 */
/* What a stranger's web server answers to http-01. Two bytes are the status, the rest is the body. */
#include <assert.h>

#include "jobs/validate.h"

#define KEYAUTH "token.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool right(const uint8_t *body, size_t len)
{
    const size_t n = sizeof(KEYAUTH) - 1;
    if (len < n || len >= 65536 || memcmp(body, KEYAUTH, n) != 0)
        return false;
    for (size_t i = n; i < len; i++) {
        if (body[i] != ' ' && (body[i] < '\t' || body[i] > '\r'))
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    pool_t pool;
    h2o_mem_init_pool(&pool);
    struct err e = ERR_INIT;
    int status = data[0] == 0 ? 200 : data[0] << 8 | data[1];
    iov_t body = {(char *)data + 2, size - 2};
    bool ok = validate_http01_judge(&pool, IOV(KEYAUTH), status, body, &e);
    assert(ok == (status == 200 && right(data + 2, size - 2)));
    assert(ok || e.code == ACME_INCORRECT_RESPONSE);
    for (const char *p = e.detail; !ok && *p != '\0'; p++)
        assert(*p >= ' ' && *p < 0x7f); /* goes into logs and terminals */
    h2o_mem_clear_pool(&pool);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as base64 text: what is accepted must encode to the same text again. */
#include <stdlib.h>

#include "base/b64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static iov_t without_space(pool_t *pool, iov_t text)
{
    iov_t out = iov_dup(pool, text);
    out.len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (strchr(" \t\r\n", text.base[i]) == NULL)
            out.base[out.len++] = text.base[i];
    }
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    iov_t text = {(char *)data, size}, bytes;
    if (b64_decode(&pool, text, &bytes))
        check(iov_eq(b64_encode(&pool, bytes), text));
    if (size > 0 && b64_std_decode(&pool, text, &bytes))
        check(iov_eq(b64_std_encode(&pool, bytes), without_space(&pool, text)));
    check(b64_decode(&pool, b64_encode(&pool, text), &bytes) && iov_eq(bytes, text));
    check(b64_std_decode(&pool, b64_std_encode(&pool, text), &bytes) && iov_eq(bytes, text));
    h2o_mem_clear_pool(&pool);
    return 0;
}

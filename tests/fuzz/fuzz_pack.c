/* SPDX-License-Identifier: Apache-2.0 */
/* msgpack from a plug-in, a cookie or the other end of a socket. */
#include <assert.h>

#include "io/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"op", "tbs", "ok", "serial", "names", "a", ""};
    pool_t pool;
    h2o_mem_init_pool(&pool);
    struct err e = ERR_INIT;
    struct unpack *u = unpack_new((iov_t){(char *)data, size}, &e);
    assert(u != NULL || e.detail[0] != '\0');
    for (size_t i = 0; u != NULL && i < COUNTOF(keys); i++) {
        int64_t n;
        iov_t bytes = unpack_bytes(u, keys[i]);
        assert(bytes.len <= size);
        (void)!unpack_int(u, keys[i], &n);
        (void)!unpack_bool(u, keys[i]);
        struct iovs list = unpack_strs(u, &pool, keys[i]);
        for (size_t k = 0; k < list.n; k++)
            assert(list.v[k].base != NULL && list.v[k].len <= size);
        iov_dup(&pool, bytes);
    }
    unpack_free(u);
    h2o_mem_clear_pool(&pool);
    return 0;
}

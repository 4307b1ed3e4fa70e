/* SPDX-License-Identifier: Apache-2.0 */
/* RDATA of a TXT record from a stranger's name server. */
#include <assert.h>

#include "io/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    iov_t out;
    if (dns_txt_join(&pool, (iov_t){(char *)data, size}, &out)) {
        size_t strings = 0, at = 0;
        for (; at < size; strings++)
            at += 1u + data[at];
        assert(at == size && strings > 0 && out.base != NULL && out.len == size - strings);
        iov_dup(&pool, out);
    }
    h2o_mem_clear_pool(&pool);
    return 0;
}

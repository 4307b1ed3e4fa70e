/* SPDX-License-Identifier: Apache-2.0 */
/* CSRs from strangers: whatever the bytes, a verdict, and what is accepted is consistent with itself. */
#include <assert.h>

#include "io/pki.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    struct err e = ERR_INIT;
    struct pki_csr csr;
    struct pki_csr_parts parts;
    iov_t der = {(char *)data, size};
    if (pki_csr_parse(&pool, der, &csr, &e)) {
        assert(pki_csr_split(der, &parts, &e));
        assert(iov_eq(parts.spki, csr.spki) && iov_eq(pki_key_spki(&pool, csr.key), csr.spki));
        for (size_t i = 0; i < csr.dns.n; i++)
            assert(csr.dns.v[i].len > 0 && memchr(csr.dns.v[i].base, 0, csr.dns.v[i].len) == NULL);
        (void)!pki_key_acceptable(csr.key, &e);
        pki_key_unref(csr.key);
    } else {
        assert(e.detail[0] != '\0' && csr.key == NULL);
    }
    struct pki_key *k = pki_key_from_spki(der, &e);
    assert(k == NULL || iov_eq(pki_key_spki(&pool, k), der));
    pki_key_unref(k);
    h2o_mem_clear_pool(&pool);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a CA may send: PEM bundles, certificates, chains. The input is PEM, or DER certificates one after the other. */
#include <assert.h>

#include "base/der.h"
#include "io/pki.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void split(pool_t *pool, iov_t bytes, struct iovs *out)
{
    struct der d = der_of(bytes);
    struct der_item item;
    while (out->n < 17 && der_next(&d, &item))
        iovs_add(pool, out, item.whole);
    iovs_add(pool, out, (iov_t){(char *)d.p, (size_t)(d.end - d.p)});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    struct err e = ERR_INIT;
    struct iovs ders = {0}, none = {0};
    struct pki_cert cert;
    iov_t bytes = {(char *)data, size};
    if (size > 0 && data[0] == '-') {
        if (!pki_pem_to_ders(&pool, bytes, &ders, &e))
            assert(e.detail[0] != '\0');
    } else {
        split(&pool, bytes, &ders);
    }
    for (size_t i = 0; i < ders.n && i < 20; i++) {
        if (pki_cert_parse(&pool, ders.v[i], &cert, &e))
            assert(cert.serial.len >= 2 && iov_eq(cert.der, ders.v[i]));
    }
    struct iovs last = {0};
    if (ders.n > 1)
        iovs_add(&pool, &last, ders.v[--ders.n]);
    (void)!pki_chain_check(&ders, &last, 1800000000, &e);
    (void)!pki_chain_check(&ders, &none, 1800000000, &e);
    h2o_mem_clear_pool(&pool);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the signer is asked to sign: whatever the bytes, it says no to all but its CA's own certificates and CRLs. The
 * rules' CA is the smallest that makes the corpus acceptable. */
#include <assert.h>

#include "backends/local/signer_rules.h"
#include "base/der.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AKI "\x30\x0e\x06\x03\x55\x1d\x23\x04\x07\x30\x05\x80\x03key"
#define USAGE "\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x07\x80"
#define VIEW(literal)                                                                                        \
    {                                                                                                        \
        (char *)(literal), sizeof(literal) - 1                                                               \
    }

/* Looks once more, in another way: nothing but AKI, key usage, SKI and SAN, so no CA:TRUE. */
static void only_known_extensions(iov_t tbs)
{
    struct der in, exts;
    struct der_item item = {0};
    struct der_ext ext;
    assert(der_only(tbs, DER_SEQUENCE, &in));
    while (!der_done(&in))
        assert(der_next(&in, &item));
    assert(item.tag == DER_CONTEXT_CONS(3) && der_only(item.value, DER_SEQUENCE, &exts));
    while (!der_done(&exts)) {
        assert(der_extension(&exts, &ext));
        assert(iov_is(ext.whole, AKI) || iov_is(ext.whole, USAGE) || iov_is(ext.oid, OID_EXT_SKI) ||
               iov_is(ext.oid, OID_EXT_SAN));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static iov_t exts[] = {VIEW(AKI), VIEW(USAGE)};
    static const struct signer_profile profile = {
        .name = "p", .max_lifetime_s = 86400, .extensions = {.v = exts, .n = COUNTOF(exts)}};
    static const struct signer_rules rules = {
        .subject = VIEW("\x30\x0d\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02"
                        "CA"),
        .spki = VIEW("\x30\x00"),
        .alg = {VIEW("\x30\x05\x06\x03\x2b\x65\x70"), 0},
        .not_after = 2000000000,
        .aki = VIEW(AKI),
        .profiles = &profile,
        .n_profiles = 1,
    };
    struct err e = ERR_INIT;
    iov_t tbs = {(char *)data, size};
    bool cert = signer_rules_cert(&rules, IOV("p"), tbs, &e), crl = signer_rules_crl(&rules, tbs, &e);
    assert(!cert || !crl);
    if (cert)
        only_known_extensions(tbs);
    (void)!signer_rules_extension(tbs, &e);
    return 0;
}

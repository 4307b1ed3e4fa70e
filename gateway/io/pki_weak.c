/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that nobody should use: sizes, exponents, small factors, and the RSA keys of CVE-2017-15361. */
#include "io/pki_internal.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define SMALL_PRIMES_BELOW 752u /* what CAs of the web PKI divide by */
#define ROCA_PRIMES_MAX 167u    /* the first 39 primes divide M of every affected key size */

static bool is_prime(unsigned n)
{
    for (unsigned d = 3; d * d <= n; d += 2) {
        if (n % d == 0)
            return false;
    }
    return true;
}

/* Affected keys have primes k*M + (65537^a mod M), M a product of the first primes: their modulus is a power of 65537
 * modulo each of those. By chance that happens to one key in 2^27 or fewer. */
static bool is_power_of_65537(unsigned residue, unsigned p)
{
    unsigned x = 1;
    do {
        if (x == residue)
            return true;
        x = x * (65537u % p) % p;
    } while (x != 1);
    return false;
}

static bool rsa_modulus_ok(const BIGNUM *n, struct err *e)
{
    bool roca = true;
    for (unsigned p = 3; p < SMALL_PRIMES_BELOW; p += 2) {
        if (!is_prime(p))
            continue;
        BN_ULONG residue = BN_mod_word(n, p);
        if (residue == 0)
            return pki_fail(e, "the RSA modulus is divisible by %u", p);
        if (p <= ROCA_PRIMES_MAX && roca)
            roca = is_power_of_65537((unsigned)residue, p);
    }
    if (roca)
        return pki_fail(e, "the RSA key comes from a defective generator (CVE-2017-15361)");
    return true;
}

static bool rsa_ok(const struct pki_key *k, struct err *e)
{
    if (k->bits < RSA_BITS_MIN || k->bits > RSA_BITS_MAX)
        return pki_fail(e, "the RSA key has %u bits; %d to %d are accepted", k->bits, RSA_BITS_MIN,
                        RSA_BITS_MAX);
    BIGNUM *n = NULL, *exponent = NULL;
    bool ok = false;
    if (EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
        EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_RSA_E, &exponent) != 1)
        pki_fail_internal(e, "RSA key");
    else if (!BN_is_odd(n))
        pki_fail(e, "the RSA modulus is even");
    else if (!BN_is_odd(exponent) || BN_num_bits(exponent) < 17)
        pki_fail(e, "the RSA exponent is not an odd number above 2^16; use 65537");
    else
        ok = rsa_modulus_ok(n, e);
    BN_free(n);
    BN_free(exponent);
    return ok;
}

bool pki_key_acceptable(const struct pki_key *k, struct err *e)
{
    switch (k->type) {
    case PKI_KEY_RSA:
        return rsa_ok(k, e);
    case PKI_KEY_EC_P256:
    case PKI_KEY_EC_P384:
    case PKI_KEY_EC_P521:
    case PKI_KEY_ED25519:
        return true; /* on its curve: checked when the key was made */
    case PKI_KEY_OTHER:
        break;
    }
    return pki_fail(e, "keys of this type are not accepted; use RSA, EC (P-256, P-384, P-521) or Ed25519");
}

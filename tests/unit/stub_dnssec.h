/* SPDX-License-Identifier: Apache-2.0 */
/* Signs records of a stub_dns zone with ECDSA P-256 (RFC 6605). */
#ifndef PORTICO_STUB_DNSSEC_H
#define PORTICO_STUB_DNSSEC_H

#include <openssl/evp.h>
#include "stub_dns.h"

struct stub_zone {
    struct stub_dns *server;
    char name[256];
    EVP_PKEY *key;
    uint8_t dnskey[68];
};

/* Makes a key, publishes it as the zone's signed DNSKEY, and writes it as a trust anchor to path. */
void stub_zone_make(struct stub_zone *z, struct stub_dns *s, const char *name, const char *anchor_path);
/* Adds an RRSIG over the one record of that name and type. */
void stub_zone_sign(struct stub_zone *z, const char *name, unsigned type);
void stub_zone_free(struct stub_zone *z);

#endif

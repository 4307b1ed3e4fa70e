/* SPDX-License-Identifier: Apache-2.0 */
#include "stub_dnssec.h"
#include <assert.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { TYPE_RRSIG = 46, TYPE_DNSKEY = 48, ALGORITHM = 13 };

struct out {
    uint8_t data[8192];
    size_t len;
};

static void put(struct out *o, const void *data, size_t len)
{
    assert(o->len + len <= sizeof(o->data));
    memcpy(o->data + o->len, data, len);
    o->len += len;
}

static void put_number(struct out *o, uint32_t v, unsigned bytes)
{
    while (bytes-- > 0) {
        uint8_t b = (uint8_t)(v >> (8 * bytes));
        put(o, &b, 1);
    }
}

static void put_wire_name(struct out *o, const char *name)
{
    uint8_t wire[256];
    put(o, wire, stub_dns_wire_name(wire, name));
}

static unsigned labels_of(const char *name)
{
    unsigned n = 1;
    for (; *name != '\0'; name++)
        n += *name == '.';
    return n;
}

/* RFC 4034 appendix B. */
static uint16_t key_tag(const uint8_t *rdata, size_t len)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += i & 1 ? rdata[i] : (uint32_t)rdata[i] << 8;
    return (uint16_t)(sum + (sum >> 16));
}

static void sign_raw(EVP_PKEY *key, const struct out *in, uint8_t out[64])
{
    uint8_t der[128];
    const uint8_t *p = der;
    size_t len = sizeof(der);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    assert(EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) == 1);
    assert(EVP_DigestSign(md, der, &len, in->data, in->len) == 1);
    EVP_MD_CTX_free(md);
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)len);
    assert(sig != NULL);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32);
    ECDSA_SIG_free(sig);
}

/* RFC 4034 3.1.8.1: the RRSIG's own data without the signature, then the record in canonical form. */
void stub_zone_sign(struct stub_zone *z, const char *name, unsigned type)
{
    const struct stub_dns_record *r = NULL;
    for (size_t i = 0; i < z->server->n_records; i++) {
        if (z->server->records[i].type == type && strcasecmp(z->server->records[i].name, name) == 0)
            r = &z->server->records[i];
    }
    assert(r != NULL);
    struct out rrsig = {.len = 0}, signed_data;
    uint32_t now = (uint32_t)time(NULL);
    put_number(&rrsig, type, 2);
    put_number(&rrsig, ALGORITHM, 1);
    put_number(&rrsig, labels_of(name), 1);
    put_number(&rrsig, 3600, 4);
    put_number(&rrsig, now + 86400, 4);
    put_number(&rrsig, now - 3600, 4);
    put_number(&rrsig, key_tag(z->dnskey, sizeof(z->dnskey)), 2);
    put_wire_name(&rrsig, z->name);
    signed_data = rrsig;
    put_wire_name(&signed_data, name);
    put_number(&signed_data, type, 2);
    put_number(&signed_data, 1, 2);
    put_number(&signed_data, 3600, 4);
    put_number(&signed_data, (uint32_t)r->len, 2);
    put(&signed_data, r->rdata, r->len);
    uint8_t signature[64];
    sign_raw(z->key, &signed_data, signature);
    put(&rrsig, signature, sizeof(signature));
    stub_dns_raw(z->server, name, TYPE_RRSIG, rrsig.data, rrsig.len);
}

void stub_zone_make(struct stub_zone *z, struct stub_dns *s, const char *name, const char *anchor_path)
{
    uint8_t point[65], text[128];
    size_t len = 0;
    memset(z, 0, sizeof(*z));
    z->server = s;
    snprintf(z->name, sizeof(z->name), "%s", name);
    z->key = EVP_EC_gen("P-256");
    assert(z->key != NULL);
    assert(EVP_PKEY_get_octet_string_param(z->key, "pub", point, sizeof(point), &len) == 1 && len == 65);
    memcpy(z->dnskey, "\1\1\3\x0d", 4); /* zone key, secure entry point; protocol 3; ECDSA P-256 */
    memcpy(z->dnskey + 4, point + 1, 64);
    stub_dns_raw(s, name, TYPE_DNSKEY, z->dnskey, sizeof(z->dnskey));
    stub_zone_sign(z, name, TYPE_DNSKEY);
    EVP_EncodeBlock(text, z->dnskey + 4, 64);
    FILE *f = fopen(anchor_path, "w");
    assert(f != NULL);
    fprintf(f, "%s. IN DNSKEY 257 3 13 %s\n", name, (const char *)text);
    fclose(f);
}

void stub_zone_free(struct stub_zone *z)
{
    EVP_PKEY_free(z->key);
}

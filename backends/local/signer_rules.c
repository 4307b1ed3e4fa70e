/* SPDX-License-Identifier: Apache-2.0 */
/* What a CA of ours may sign. The signer trusts nothing that reaches it but its CA's certificate and the profiles it was
 * started with. */
#include "backends/local/signer_rules.h"

#include "base/der.h"
#include "io/pki.h"

#define OID_IS(iov, bytes) iov_eq(iov, IOV(bytes))

/* ---- the CA's key ---- */

#define ALG(bytes) ((iov_t){(char *)(bytes), sizeof(bytes) - 1})

bool signer_alg_of(iov_t ca_spki, struct signer_alg *out, struct err *e)
{
    struct pki_key *k = pki_key_from_spki(ca_spki, e);
    if (k == NULL)
        return false;
    enum pki_key_type type = pki_key_type(k);
    unsigned bits = pki_key_bits(k);
    pki_key_unref(k);
    *out = (struct signer_alg){0};
    if (type == PKI_KEY_RSA && bits >= 2048 && bits <= 4096)
        *out = (struct signer_alg){ALG("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"), 256};
    else if (type == PKI_KEY_EC_P256)
        *out = (struct signer_alg){ALG("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"), 256};
    else if (type == PKI_KEY_EC_P384)
        *out = (struct signer_alg){ALG("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"), 384};
    else if (type == PKI_KEY_ED25519)
        *out = (struct signer_alg){ALG("\x30\x05\x06\x03\x2b\x65\x70"), 0};
    else
        return err_set(e, 0, "a CA key is RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519");
    return true;
}

bool signer_key_id(iov_t spki, uint8_t id_out[20])
{
    struct der in;
    struct der_item alg;
    iov_t bits;
    uint8_t digest[32];
    if (!der_only(spki, DER_SEQUENCE, &in) || !der_want(&in, DER_SEQUENCE, &alg) || !der_bits(&in, &bits))
        return false;
    pki_sha256(bits, digest);
    memcpy(id_out, digest, 20);
    return true;
}

bool signer_rules_aki(pool_t *pool, const struct pki_cert *ca, iov_t *whole_out)
{
    uint8_t made[20];
    iov_t id = ca->ski;
    if (id.base == NULL) {
        if (!signer_key_id(ca->spki, made))
            return false;
        id = (iov_t){(char *)made, sizeof(made)};
    }
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_OID, IOV(OID_EXT_AKI));
    der_open(&w, DER_OCTET_STRING);
    der_open(&w, DER_SEQUENCE);
    der_put(&w, DER_CONTEXT(0), id);
    while (w.depth > 0)
        der_close(&w);
    *whole_out = der_finish(&w);
    return true;
}

/* ---- extensions ---- */

static bool eku_ok(iov_t value, struct err *e)
{
    struct der in;
    struct der_item purpose;
    if (!der_only(value, DER_SEQUENCE, &in))
        return err_set(e, 0, "extKeyUsage does not decode");
    while (!der_done(&in)) {
        if (!der_want(&in, DER_OID, &purpose))
            return err_set(e, 0, "extKeyUsage does not decode");
        if (OID_IS(purpose.value, "\x2b\x06\x01\x05\x05\x07\x03\x09"))
            return err_set(e, 0, "OCSP signing would let a client answer in the CA's name");
    }
    return true;
}

/* keyCertSign and cRLSign are bits 5 and 6 (RFC 5280 4.2.1.3). */
static bool key_usage_ok(iov_t value, struct err *e)
{
    struct der in = der_of(value);
    struct der_item bits;
    if (!der_want(&in, DER_BIT_STRING, &bits) || !der_done(&in) || bits.value.len < 2)
        return err_set(e, 0, "keyUsage does not decode");
    return (bits.value.base[1] & 0x06) == 0 ||
           err_set(e, 0, "keyCertSign and cRLSign are for CAs, not for their clients");
}

bool signer_rules_extension(iov_t whole, struct err *e)
{
    struct der d = der_of(whole);
    struct der_ext ext;
    if (!der_extension(&d, &ext) || !der_done(&d))
        return err_set(e, 0, "an extension does not decode");
    if (OID_IS(ext.oid, OID_EXT_KEY_USAGE))
        return key_usage_ok(ext.value, e);
    if (OID_IS(ext.oid, OID_EXT_EKU))
        return eku_ok(ext.value, e);
    if (OID_IS(ext.oid, OID_EXT_BASIC_CONSTRAINTS))
        return OID_IS(ext.value, "\x30\x00") || err_set(e, 0, "basicConstraints must say that it is no CA");
    if (OID_IS(ext.oid, OID_EXT_POLICIES) || OID_IS(ext.oid, OID_EXT_CRL_URLS) ||
        OID_IS(ext.oid, OID_EXT_AIA) || OID_IS(ext.oid, OID_EXT_AKI))
        return true;
    return err_set(e, 0, "an extension that no profile can have");
}

static bool san_ok(iov_t value)
{
    struct der in;
    struct der_item name;
    if (!der_only(value, DER_SEQUENCE, &in) || der_done(&in))
        return false;
    while (!der_done(&in)) {
        if (!der_next(&in, &name))
            return false;
        bool dns = name.tag == DER_CONTEXT(2) && name.value.len > 0;
        bool ip = name.tag == DER_CONTEXT(7) && (name.value.len == 4 || name.value.len == 16);
        if (!dns && !ip)
            return false;
    }
    return true;
}

static bool ski_ok(iov_t value, iov_t spki)
{
    struct der in;
    uint8_t id[20];
    return der_only(value, DER_OCTET_STRING, &in) && signer_key_id(spki, id) && in.end - in.p == sizeof(id) &&
           memcmp(in.p, id, sizeof(id)) == 0;
}

struct ext_state {
    const struct signer_profile *profile;
    iov_t spki;
    iov_t seen[16];
    size_t n;
    bool san;
};

static bool ext_ok(struct ext_state *s, const struct der_ext *ext, struct err *e)
{
    for (size_t i = 0; i < s->n; i++) {
        if (iov_eq(s->seen[i], ext->oid))
            return err_set(e, 0, "an extension stands there twice");
    }
    if (s->n == COUNTOF(s->seen))
        return err_set(e, 0, "too many extensions");
    s->seen[s->n++] = ext->oid;
    if (OID_IS(ext->oid, OID_EXT_SAN)) {
        s->san = true;
        return san_ok(ext->value) ||
               err_set(e, 0, "subjectAltName is not a list of DNS names and IP addresses");
    }
    if (OID_IS(ext->oid, OID_EXT_SKI))
        return ski_ok(ext->value, s->spki) || err_set(e, 0, "subjectKeyIdentifier is not the key's");
    return iovs_has(&s->profile->extensions, ext->whole) ||
           err_set(e, 0, "profile %s has no such extension", s->profile->name);
}

static bool exts_ok(struct der tbs, struct ext_state *s, struct err *e)
{
    struct der wrap, exts;
    struct der_ext ext;
    if (!der_enter(&tbs, DER_CONTEXT_CONS(3), &wrap) || !der_done(&tbs) ||
        !der_enter(&wrap, DER_SEQUENCE, &exts) || !der_done(&wrap))
        return err_set(e, 0, "after the public key only extensions are expected");
    while (!der_done(&exts)) {
        if (!der_extension(&exts, &ext))
            return err_set(e, 0, "an extension does not decode");
        if (!ext_ok(s, &ext, e))
            return false;
    }
    return s->san || err_set(e, 0, "subjectAltName is missing");
}

/* ---- certificates ---- */

static const struct signer_profile *profile_find(const struct signer_rules *r, iov_t name)
{
    for (size_t i = 0; i < r->n_profiles; i++) {
        if (iov_is(name, r->profiles[i].name))
            return &r->profiles[i];
    }
    return NULL;
}

static bool head_ok(const struct signer_rules *r, struct der *tbs, struct err *e)
{
    struct der version;
    struct der_item alg, issuer;
    uint64_t v;
    iov_t serial;
    if (!der_enter(tbs, DER_CONTEXT_CONS(0), &version) || !der_u64(&version, &v) || !der_done(&version) ||
        v != 2)
        return err_set(e, 0, "not a version 3 certificate");
    if (!der_uint(tbs, &serial) || serial.len > 20 || (serial.len == 1 && serial.base[0] == 0))
        return err_set(e, 0, "the serial is not a positive number of at most 20 bytes");
    if (!der_want(tbs, DER_SEQUENCE, &alg) || !iov_eq(alg.whole, r->alg.identifier))
        return err_set(e, 0, "the signature algorithm is not the CA key's");
    if (!der_want(tbs, DER_SEQUENCE, &issuer) || !iov_eq(issuer.whole, r->subject))
        return err_set(e, 0, "the issuer is not this CA");
    return true;
}

static bool validity_ok(const struct signer_rules *r, const struct signer_profile *p, struct der *tbs,
                        struct err *e)
{
    struct der validity;
    int64_t from, to;
    if (!der_enter(tbs, DER_SEQUENCE, &validity) || !der_time(&validity, &from) ||
        !der_time(&validity, &to) || !der_done(&validity) || to < from)
        return err_set(e, 0, "the validity does not decode");
    if (to - from + 1 > p->max_lifetime_s)
        return err_set(e, 0, "%lld s are longer than profile %s allows (%lld s)", (long long)(to - from + 1),
                       p->name, (long long)p->max_lifetime_s);
    return to <= r->not_after || err_set(e, 0, "notAfter lies beyond the CA certificate's");
}

bool signer_rules_cert(const struct signer_rules *r, iov_t profile, iov_t tbs, struct err *e)
{
    struct der in;
    struct der_item subject, spki;
    const struct signer_profile *p = profile_find(r, profile);
    if (p == NULL)
        return err_set(e, 0, "there is no such profile");
    if (!der_only(tbs, DER_SEQUENCE, &in))
        return err_set(e, 0, "not one DER TBSCertificate");
    if (!head_ok(r, &in, e) || !validity_ok(r, p, &in, e))
        return false;
    if (!der_want(&in, DER_SEQUENCE, &subject) || !der_want(&in, DER_SEQUENCE, &spki))
        return err_set(e, 0, "subject or public key do not decode");
    if (iov_eq(spki.whole, r->spki))
        return err_set(e, 0, "the key is the CA's own");
    struct ext_state s = {.profile = p, .spki = spki.whole};
    return exts_ok(in, &s, e);
}

/* ---- CRLs ---- */

static bool crl_entry_ok(struct der *revoked)
{
    struct der entry, exts;
    struct der_ext ext;
    iov_t serial;
    int64_t at;
    if (!der_enter(revoked, DER_SEQUENCE, &entry) || !der_uint(&entry, &serial) || !der_time(&entry, &at))
        return false;
    if (der_done(&entry))
        return true;
    return der_enter(&entry, DER_SEQUENCE, &exts) && der_done(&entry) && der_extension(&exts, &ext) &&
           der_done(&exts) && OID_IS(ext.oid, OID_EXT_CRL_REASON);
}

static bool crl_exts_ok(const struct signer_rules *r, struct der tbs)
{
    struct der wrap, exts, number;
    struct der_ext aki, num;
    iov_t value;
    if (!der_enter(&tbs, DER_CONTEXT_CONS(0), &wrap) || !der_done(&tbs) ||
        !der_enter(&wrap, DER_SEQUENCE, &exts) || !der_done(&wrap) || !der_extension(&exts, &aki) ||
        !der_extension(&exts, &num) || !der_done(&exts))
        return false;
    number = der_of(num.value);
    return iov_eq(aki.whole, r->aki) && OID_IS(num.oid, OID_EXT_CRL_NUMBER) && der_uint(&number, &value) &&
           der_done(&number);
}

bool signer_rules_crl(const struct signer_rules *r, iov_t tbs, struct err *e)
{
    struct der in, revoked;
    struct der_item alg, issuer;
    uint64_t version;
    int64_t from, to;
    if (!der_only(tbs, DER_SEQUENCE, &in) || !der_u64(&in, &version) || version != 1)
        return err_set(e, 0, "not a version 2 TBSCertList");
    if (!der_want(&in, DER_SEQUENCE, &alg) || !iov_eq(alg.whole, r->alg.identifier))
        return err_set(e, 0, "the signature algorithm is not the CA key's");
    if (!der_want(&in, DER_SEQUENCE, &issuer) || !iov_eq(issuer.whole, r->subject))
        return err_set(e, 0, "the issuer is not this CA");
    if (!der_time(&in, &from) || !der_time(&in, &to) || to <= from)
        return err_set(e, 0, "thisUpdate and nextUpdate do not follow each other");
    if (der_peek(&in) == DER_SEQUENCE) {
        if (!der_enter(&in, DER_SEQUENCE, &revoked))
            return err_set(e, 0, "the entries do not decode");
        while (!der_done(&revoked)) {
            if (!crl_entry_ok(&revoked))
                return err_set(e, 0, "an entry does not decode");
        }
    }
    return crl_exts_ok(r, in) ||
           err_set(e, 0, "its extensions are not exactly this CA's key identifier and a CRL number");
}

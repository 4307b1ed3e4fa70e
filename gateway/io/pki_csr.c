/* SPDX-License-Identifier: Apache-2.0 */
/* CSRs (RFC 2986): walked in DER, so that nothing of the request is overlooked and no decoder is asked twice. */
#include "io/pki_internal.h"

#define CSR_BYTES_MAX (256 * 1024)

static bool malformed(struct err *e, const char *what)
{
    return err_set(e, 0, "the CSR is not a DER CertificationRequest (RFC 2986): %s", what);
}

/* CertificationRequestInfo. The version's value is not looked at: clients send 0, 1 and 2. */
static bool split_info(struct der info, struct pki_csr_parts *out, struct err *e)
{
    struct der_item item;
    if (!der_want(&info, DER_INTEGER, &item))
        return malformed(e, "no version");
    if (!der_want(&info, DER_SEQUENCE, &item))
        return malformed(e, "no subject");
    out->subject = item.whole;
    if (!der_want(&info, DER_SEQUENCE, &item))
        return malformed(e, "no public key");
    out->spki = item.whole;
    out->attributes = IOV("");
    if (der_peek(&info) == DER_CONTEXT_CONS(0) &&
        der_next(&info, &item)) /* optional for those who leave it out */
        out->attributes = item.value;
    return der_done(&info) || malformed(e, "attributes do not decode");
}

bool pki_csr_split(iov_t der, struct pki_csr_parts *out, struct err *e)
{
    struct der all = der_of(der), csr;
    struct der_item item;
    *out = (struct pki_csr_parts){0};
    if (der.base == NULL || !der_enter(&all, DER_SEQUENCE, &csr))
        return malformed(e, "it does not begin with a whole SEQUENCE");
    if (!der_done(&all))
        return malformed(e, "bytes follow its end");
    if (!der_want(&csr, DER_SEQUENCE, &item))
        return malformed(e, "no request information");
    out->info = item.whole;
    struct der info = der_of(item.value);
    if (!split_info(info, out, e))
        return false;
    if (!der_want(&csr, DER_SEQUENCE, &item))
        return malformed(e, "no signature algorithm");
    out->alg = item.whole;
    if (!der_bits(&csr, &out->signature) || !der_done(&csr))
        return malformed(e, "no signature at its end");
    return true;
}

/* RFC 7633: SEQUENCE OF INTEGER; 5 is status_request, 17 its successor. */
static bool tls_feature(iov_t value, bool *must_staple_out)
{
    struct der in;
    uint64_t feature;
    if (!der_only(value, DER_SEQUENCE, &in))
        return false;
    while (!der_done(&in)) {
        if (!der_u64(&in, &feature))
            return false;
        if (feature == 5 || feature == 17)
            *must_staple_out = true;
    }
    return true;
}

static bool take_san(pool_t *pool, iov_t value, struct pki_csr *csr, struct err *e)
{
    struct pki_san san;
    if (!pki_san_parse(pool, value, &san, e))
        return false;
    csr->dns = san.dns;
    csr->ips = san.ips;
    csr->other_san = san.other_kind != NULL;
    csr->other_san_kind = san.other_kind;
    return true;
}

static bool take_extension(pool_t *pool, const struct der_ext *ext, struct pki_csr *csr, struct err *e)
{
    int64_t path_len;
    if (OID_IS(ext->oid, OID_SAN))
        return take_san(pool, ext->value, csr, e);
    iov_t name = pki_oid_name(pool, ext->oid);
    if (OID_IS(ext->oid, OID_BASIC_CONSTRAINTS)) {
        if (!pki_basic_constraints(ext->value, &csr->wants_ca, &path_len))
            return malformed(e, "basicConstraints does not decode");
    } else if (OID_IS(ext->oid, OID_TLS_FEATURE)) {
        if (!tls_feature(ext->value, &csr->must_staple))
            return malformed(e, "the TLS feature extension does not decode");
    }
    iovs_add(pool, &csr->extensions, name);
    return true;
}

#define EXTENSIONS_MAX 64

static bool take_extensions(pool_t *pool, struct der set, struct pki_csr *csr, struct iovs *seen,
                            struct err *e)
{
    struct der exts;
    struct der_ext ext;
    if (!der_enter(&set, DER_SEQUENCE, &exts) || !der_done(&set))
        return malformed(e, "an extensionRequest is not one list of extensions");
    while (!der_done(&exts)) {
        if (!der_extension(&exts, &ext))
            return malformed(e, "an extension does not decode");
        if (iovs_has(seen, ext.oid))
            return err_set(e, 0, "the CSR asks for the extension %s twice", pki_oid_name(pool, ext.oid).base);
        if (seen->n == EXTENSIONS_MAX)
            return err_set(e, 0, "the CSR asks for more than %d extensions", EXTENSIONS_MAX);
        iovs_add(pool, seen, ext.oid);
        if (!take_extension(pool, &ext, csr, e))
            return false;
    }
    return true;
}

/* Attributes besides extensionRequest (challengePassword, what Windows adds) ask for nothing and are let pass. */
static bool take_attributes(pool_t *pool, iov_t attributes, struct pki_csr *csr, struct err *e)
{
    struct der attrs = der_of(attributes), attr, set;
    struct der_item oid;
    struct iovs seen = {0};
    while (!der_done(&attrs)) {
        if (!der_enter(&attrs, DER_SEQUENCE, &attr) || !der_want(&attr, DER_OID, &oid) ||
            !der_enter(&attr, DER_SET, &set) || !der_done(&attr))
            return malformed(e, "an attribute does not decode");
        if (!OID_IS(oid.value, OID_EXTENSION_REQUEST) && !OID_IS(oid.value, OID_MS_EXTENSION_REQUEST))
            continue;
        if (!take_extensions(pool, set, csr, &seen, e))
            return false;
    }
    return true;
}

static bool take_names(pool_t *pool, const struct pki_csr_parts *parts, struct pki_csr *csr, struct err *e)
{
    struct pki_subject subject;
    if (!pki_subject_parse(pool, parts->subject, &subject, e))
        return false;
    csr->subject_der = parts->subject;
    csr->cn = subject.cn;
    csr->cn_many = subject.n_cn > 1;
    csr->subject_other = subject.other;
    return take_attributes(pool, parts->attributes, csr, e);
}

bool pki_csr_parse(pool_t *pool, iov_t der, struct pki_csr *csr_out, struct err *e)
{
    struct pki_csr_parts parts;
    struct err why = ERR_INIT;
    *csr_out = (struct pki_csr){0};
    if (der.len > CSR_BYTES_MAX)
        return err_set(e, 0, "the CSR has %zu bytes; at most %d are read", der.len, CSR_BYTES_MAX);
    csr_out->der = iov_dup(pool, der);
    if (!pki_csr_split(csr_out->der, &parts, e) || !take_names(pool, &parts, csr_out, e))
        return false;
    struct pki_key *key = pki_key_from_spki(parts.spki, e);
    if (key == NULL)
        return false;
    if (!pki_verify_x509(key, parts.alg, parts.info, parts.signature, &why)) {
        err_set(e, 0, "the CSR's own signature: %s", why.detail);
        if (why.cause[0] != '\0')
            err_cause(e, "%s", why.cause);
        pki_key_unref(key);
        return false;
    }
    csr_out->key = key;
    csr_out->spki = parts.spki;
    csr_out->spki_sha256 = pki_sha256_iov(pool, parts.spki);
    return true;
}

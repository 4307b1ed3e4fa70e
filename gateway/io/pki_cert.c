/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates (RFC 5280) as views, and PEM. Walked in DER: nothing here decodes a public key. */
#include "io/pki_internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/b64.h"

static bool malformed(struct err *e, const char *what)
{
    return err_set(e, 0, "not a DER certificate (RFC 5280): %s", what);
}

static bool serial_hex(pool_t *pool, struct der *tbs, iov_t *out)
{
    static const char digits[] = "0123456789ABCDEF";
    iov_t bytes;
    if (!der_uint(tbs, &bytes))
        return false;
    *out = (iov_t){POOL_NEW(pool, char, 2 * bytes.len + 1), 2 * bytes.len};
    for (size_t i = 0; i < bytes.len; i++) {
        out->base[2 * i] = digits[(uint8_t)bytes.base[i] >> 4];
        out->base[2 * i + 1] = digits[bytes.base[i] & 0xf];
    }
    return true;
}

static bool take_aki(pool_t *pool, iov_t value, struct pki_cert *out)
{
    struct der in;
    struct der_item id;
    if (!der_only(value, DER_SEQUENCE, &in))
        return false;
    if (der_want(&in, DER_CONTEXT(0), &id))
        out->aki = iov_dup(pool, id.value);
    return true;
}

static bool take_ski(pool_t *pool, iov_t value, struct pki_cert *out)
{
    struct der in;
    if (!der_only(value, DER_OCTET_STRING, &in))
        return false;
    out->ski = iov_dup(pool, (iov_t){(char *)in.p, (size_t)(in.end - in.p)});
    return true;
}

static bool take_extension(pool_t *pool, const struct der_ext *ext, struct pki_cert *out, struct err *e)
{
    struct pki_san san;
    int64_t path_len;
    if (OID_IS(ext->oid, OID_SAN)) {
        if (!pki_san_parse(pool, ext->value, &san, e))
            return false;
        out->dns = san.dns;
        out->ips = san.ips;
        return true;
    }
    if (OID_IS(ext->oid, OID_BASIC_CONSTRAINTS))
        return pki_basic_constraints(ext->value, &out->is_ca, &path_len) || malformed(e, "basicConstraints");
    if (OID_IS(ext->oid, OID_AKI))
        return take_aki(pool, ext->value, out) || malformed(e, "authorityKeyIdentifier");
    if (OID_IS(ext->oid, OID_SKI))
        return take_ski(pool, ext->value, out) || malformed(e, "subjectKeyIdentifier");
    return true;
}

/* [1] and [2] are unique identifiers nobody uses; [3] holds the extensions. */
static bool take_rest(pool_t *pool, struct der tbs, struct pki_cert *out, struct err *e)
{
    struct der wrap, exts;
    struct der_item item;
    struct der_ext ext;
    struct iovs seen = {0};
    while (der_peek(&tbs) == DER_CONTEXT(1) || der_peek(&tbs) == DER_CONTEXT(2)) {
        if (!der_next(&tbs, &item))
            return malformed(e, "unique identifier");
    }
    if (der_done(&tbs))
        return true;
    if (!der_enter(&tbs, DER_CONTEXT_CONS(3), &wrap) || !der_done(&tbs) ||
        !der_enter(&wrap, DER_SEQUENCE, &exts) || !der_done(&wrap))
        return malformed(e, "extensions");
    while (!der_done(&exts)) {
        if (!der_extension(&exts, &ext) || seen.n > 64)
            return malformed(e, "an extension");
        if (iovs_has(&seen, ext.oid))
            return malformed(e, "an extension occurs twice");
        iovs_add(pool, &seen, ext.oid);
        if (!take_extension(pool, &ext, out, e))
            return false;
    }
    return true;
}

static bool take_tbs(pool_t *pool, struct der tbs, struct pki_cert *out, struct err *e)
{
    struct der validity;
    struct der_item item, issuer, subject;
    struct pki_subject parsed;
    if (der_peek(&tbs) == DER_CONTEXT_CONS(0) && !der_next(&tbs, &item))
        return malformed(e, "version");
    if (!serial_hex(pool, &tbs, &out->serial))
        return malformed(e, "the serial number is not a positive integer");
    if (!der_want(&tbs, DER_SEQUENCE, &item) || !der_want(&tbs, DER_SEQUENCE, &issuer))
        return malformed(e, "issuer");
    if (!der_enter(&tbs, DER_SEQUENCE, &validity) || !der_time(&validity, &out->not_before) ||
        !der_time(&validity, &out->not_after) || !der_done(&validity))
        return malformed(e, "validity");
    if (!der_want(&tbs, DER_SEQUENCE, &subject) || !der_want(&tbs, DER_SEQUENCE, &item))
        return malformed(e, "subject or public key");
    out->spki = item.whole;
    if (!pki_name_text(pool, issuer.whole, &out->issuer, e) ||
        !pki_name_text(pool, subject.whole, &out->subject, e) ||
        !pki_subject_parse(pool, subject.whole, &parsed, e))
        return false;
    out->cn = parsed.cn;
    out->subject_der = subject.whole;
    out->issuer_der = issuer.whole;
    return take_rest(pool, tbs, out, e);
}

bool pki_cert_parse(pool_t *pool, iov_t der, struct pki_cert *out, struct err *e)
{
    struct der cert, tbs;
    struct der_item alg;
    iov_t sig;
    *out = (struct pki_cert){.der = iov_dup(pool, der)};
    if (!der_only(out->der, DER_SEQUENCE, &cert))
        return malformed(e, "it is not one whole SEQUENCE");
    if (!der_enter(&cert, DER_SEQUENCE, &tbs) || !der_want(&cert, DER_SEQUENCE, &alg) ||
        !der_bits(&cert, &sig) || !der_done(&cert))
        return malformed(e, "its three parts");
    if (!take_tbs(pool, tbs, out, e))
        return false;
    out->spki_sha256 = pki_sha256_iov(pool, out->spki);
    out->self_signed = iov_eq(out->issuer_der, out->subject_der) &&
                       (out->aki.base == NULL || out->ski.base == NULL || iov_eq(out->aki, out->ski));
    return true;
}

/* True for a block that was taken or left out; false at the end (*failed false) or at what does not decode. */
static bool next_block(BIO *bio, pool_t *pool, struct iovs *out, bool *failed)
{
    char *name = NULL, *header = NULL;
    uint8_t *data = NULL;
    long len;
    if (PEM_read_bio(bio, &name, &header, &data, &len) != 1) {
        *failed = ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE;
        return false;
    }
    struct der in;
    iov_t der = {(char *)data, (size_t)len};
    bool is_cert = strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0;
    *failed = is_cert && !der_only(der, DER_SEQUENCE, &in);
    if (is_cert && !*failed)
        iovs_add(pool, out, iov_dup(pool, der));
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)len); /* may have been a key */
    return !*failed;
}

bool pki_pem_to_ders(pool_t *pool, iov_t pem, struct iovs *ders_out, struct err *e)
{
    *ders_out = (struct iovs){0};
    if (pem.len > INT32_MAX)
        return err_set(e, 0, "the PEM text is too long");
    BIO *bio = BIO_new_mem_buf(pem.len > 0 ? pem.base : "", (int)pem.len);
    if (bio == NULL)
        return pki_fail_internal(e, "PEM");
    bool failed = false;
    while (next_block(bio, pool, ders_out, &failed))
        ;
    BIO_free(bio);
    if (failed)
        return pki_fail(e, "PEM block %zu does not decode", ders_out->n + 1);
    ERR_clear_error();
    if (ders_out->n == 0)
        return err_set(e, 0, "there is no PEM certificate (-----BEGIN CERTIFICATE-----)");
    return true;
}

iov_t pki_der_to_pem(pool_t *pool, const char *label, iov_t der)
{
    iov_t b64 = b64_std_encode(pool, der);
    struct sbuf out;
    sbuf_init(&out, pool);
    sbuf_printf(&out, "-----BEGIN %s-----\n", label);
    for (size_t at = 0; at < b64.len; at += 64) {
        sbuf_add(&out, (iov_t){b64.base + at, b64.len - at < 64 ? b64.len - at : 64});
        sbuf_puts(&out, "\n");
    }
    sbuf_printf(&out, "-----END %s-----\n", label);
    return out.text;
}

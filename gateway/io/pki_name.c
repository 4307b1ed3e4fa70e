/* SPDX-License-Identifier: Apache-2.0 */
/* Names in CSRs and certificates: subjectAltName from the raw DER (so that every kind is seen and no NUL hides a tail),
 * distinguished names through OpenSSL, which knows all the string types. */
#include "io/pki_internal.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

iov_t pki_oid_name(pool_t *pool, iov_t oid)
{
    struct der_writer w;
    der_writer_init(&w, pool);
    der_put(&w, DER_OID, oid);
    iov_t whole = der_finish(&w);
    const uint8_t *p = (const uint8_t *)whole.base;
    ASN1_OBJECT *obj = d2i_ASN1_OBJECT(NULL, &p, (long)whole.len);
    int nid = obj == NULL ? NID_undef : OBJ_obj2nid(obj);
    ASN1_OBJECT_free(obj);
    if (nid != NID_undef)
        return iov_dup(pool, iov_of(OBJ_nid2sn(nid)));
    iov_t text = der_oid_text(pool, oid);
    return text.base != NULL ? text : IOV("a malformed OID");
}

/* An address in bytes as RFC 5952 text; IOV_NULL unless it has 4 or 16. */
static iov_t ip_text(pool_t *pool, iov_t bytes)
{
    char text[INET6_ADDRSTRLEN];
    if (bytes.len != 4 && bytes.len != 16)
        return IOV_NULL;
    inet_ntop(bytes.len == 4 ? AF_INET : AF_INET6, bytes.base, text, sizeof(text));
    return iov_dup(pool, iov_of(text));
}

static iov_t lower(pool_t *pool, iov_t s)
{
    iov_t copy = iov_dup(pool, s);
    for (size_t i = 0; i < copy.len; i++) {
        if (copy.base[i] >= 'A' && copy.base[i] <= 'Z')
            copy.base[i] += 'a' - 'A';
    }
    return copy;
}

/* Which names are allowed is for policy to say; here only bytes that no host name can have are refused. */
static bool dns_name(pool_t *pool, iov_t value, struct iovs *out, struct err *e)
{
    if (value.len == 0 || value.len > 255)
        return err_set(e, 0, "a dNSName in subjectAltName has %zu bytes", value.len);
    for (size_t i = 0; i < value.len; i++) {
        if (value.base[i] <= ' ' || value.base[i] >= 0x7f)
            return err_set(e, 0, "a dNSName in subjectAltName has characters that no host name has: \"%s\"",
                           iov_printable(pool, value, 100).base);
    }
    iov_t name = lower(pool, value);
    if (!iovs_has(out, name))
        iovs_add(pool, out, name);
    return true;
}

static bool ip_name(pool_t *pool, iov_t value, struct iovs *out, struct err *e)
{
    iov_t text = ip_text(pool, value);
    if (text.base == NULL)
        return err_set(e, 0, "an iPAddress in subjectAltName has %zu bytes instead of 4 or 16", value.len);
    if (!iovs_has(out, text))
        iovs_add(pool, out, text);
    return true;
}

/* RFC 5280 4.2.1.6, by tag number. */
static const struct {
    const char *kind;
    bool constructed;
} general_names[] = {
    {"otherName", true},   {"rfc822Name", false},   {"dNSName", false},
    {"x400Address", true}, {"directoryName", true}, {"ediPartyName", true},
    {"URI", false},        {"iPAddress", false},    {"registeredID", false},
};

static bool is_general_name(uint8_t tag)
{
    unsigned n = tag & 0x1f;
    return (tag & 0xc0) == 0x80 && n < COUNTOF(general_names) &&
           general_names[n].constructed == ((tag & 0x20) != 0);
}

bool pki_san_parse(pool_t *pool, iov_t value, struct pki_san *out, struct err *e)
{
    struct der names;
    struct der_item name;
    *out = (struct pki_san){0};
    if (!der_only(value, DER_SEQUENCE, &names) || der_done(&names))
        return err_set(e, 0, "the subjectAltName extension is not a sequence of names");
    for (unsigned n = 0; !der_done(&names); n++) {
        if (n == PKI_NAMES_MAX)
            return err_set(e, 0, "subjectAltName has more than %d names", PKI_NAMES_MAX);
        if (!der_next(&names, &name) || !is_general_name(name.tag))
            return err_set(e, 0, "the subjectAltName extension does not decode");
        if (name.tag == DER_CONTEXT(2)) {
            if (!dns_name(pool, name.value, &out->dns, e))
                return false;
        } else if (name.tag == DER_CONTEXT(7)) {
            if (!ip_name(pool, name.value, &out->ips, e))
                return false;
        } else if (out->other_kind == NULL) {
            out->other_kind = general_names[name.tag & 0x1f].kind;
        }
    }
    return true;
}

static X509_NAME *name_decode(iov_t name_der, struct err *e)
{
    const uint8_t *p = (const uint8_t *)name_der.base, *end = p + name_der.len;
    X509_NAME *name = d2i_X509_NAME(NULL, &p, (long)name_der.len);
    if (name == NULL || p != end) {
        X509_NAME_free(name);
        pki_fail(e, "a distinguished name does not decode");
        return NULL;
    }
    return name;
}

static bool add_cn(pool_t *pool, iov_t text, struct pki_subject *out, struct err *e)
{
    if (memchr(text.base, 0, text.len) != NULL)
        return err_set(e, 0, "the subject's CN contains a NUL");
    if (text.len == 0 || out->n_cn++ > 0)
        return true;
    uint8_t ip[16];
    char *cstr = iov_cstr(pool, text);
    if (inet_pton(AF_INET, cstr, ip) == 1)
        out->cn = ip_text(pool, (iov_t){(char *)ip, 4});
    else if (inet_pton(AF_INET6, cstr, ip) == 1)
        out->cn = ip_text(pool, (iov_t){(char *)ip, 16});
    else
        out->cn = lower(pool, text);
    return true;
}

static bool add_entry(pool_t *pool, X509_NAME_ENTRY *entry, struct pki_subject *out, struct err *e)
{
    uint8_t *utf8 = NULL;
    const ASN1_OBJECT *type = X509_NAME_ENTRY_get_object(entry);
    int len = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry));
    if (len < 0)
        return pki_fail(e, "the subject has a value that is not text");
    iov_t text = {(char *)utf8, (size_t)len};
    bool ok = true;
    if (OBJ_obj2nid(type) == NID_commonName) {
        ok = add_cn(pool, text, out, e);
    } else {
        iov_t oid = {(char *)OBJ_get0_data(type), OBJ_length(type)};
        iovs_add(
            pool, &out->other,
            iov_printf(pool, "%s=%s", pki_oid_name(pool, oid).base, iov_printable(pool, text, 100).base));
    }
    OPENSSL_free(utf8);
    return ok;
}

bool pki_subject_parse(pool_t *pool, iov_t name_der, struct pki_subject *out, struct err *e)
{
    *out = (struct pki_subject){0};
    X509_NAME *name = name_decode(name_der, e);
    if (name == NULL)
        return false;
    bool ok = true;
    for (int i = 0; ok && i < X509_NAME_entry_count(name); i++)
        ok = add_entry(pool, X509_NAME_get_entry(name, i), out, e);
    X509_NAME_free(name);
    return ok;
}

bool pki_name_text(pool_t *pool, iov_t name_der, iov_t *out, struct err *e)
{
    X509_NAME *name = name_decode(name_der, e);
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = false;
    char *text;
    if (name == NULL)
        goto done;
    if (bio == NULL || X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0) {
        pki_fail(e, "a distinguished name cannot be printed");
        goto done;
    }
    long len = BIO_get_mem_data(bio, &text);
    *out = iov_dup(pool, (iov_t){len > 0 ? text : (char *)"", (size_t)len});
    ok = true;
done:
    BIO_free(bio);
    X509_NAME_free(name);
    return ok;
}

bool pki_basic_constraints(iov_t value, bool *is_ca_out, int64_t *path_len_out)
{
    struct der in;
    uint64_t path_len;
    *is_ca_out = false;
    *path_len_out = -1;
    if (!der_only(value, DER_SEQUENCE, &in))
        return false;
    if (der_peek(&in) == DER_BOOLEAN && !der_boolean(&in, is_ca_out))
        return false;
    if (der_peek(&in) == DER_INTEGER) {
        if (!der_u64(&in, &path_len) || path_len > INT32_MAX)
            return false;
        *path_len_out = (int64_t)path_len;
    }
    return der_done(&in);
}

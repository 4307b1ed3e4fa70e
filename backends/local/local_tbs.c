/* SPDX-License-Identifier: Apache-2.0 */
/* TBSCertificate and TBSCertList, written as DER from what is fixed: the subject's key is copied as it stands in the
 * CSR, which costs a fiftieth of decoding and encoding it. */
#include <arpa/inet.h>

#include "backends/local/local.h"
#include "io/pki.h"

#define OID_RSA_KEY "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
#define CN_MAX 64 /* ub-common-name, RFC 5280 appendix A */

/* ---- certificates ---- */

/* The first name that fits, DNS before IP as in subjectAltName; base NULL: none does. */
static iov_t common_name(const struct local_leaf *leaf)
{
    for (size_t i = 0; i < leaf->dns->n; i++) {
        if (leaf->dns->v[i].len <= CN_MAX)
            return leaf->dns->v[i];
    }
    return leaf->ips->n > 0 ? leaf->ips->v[0] : IOV_NULL;
}

/* True when a subject with something in it was written. */
static bool put_subject(struct der_writer *w, const struct local_leaf *leaf, iov_t csr_subject)
{
    iov_t cn = leaf->profile->subject == LOCAL_SUBJECT_CN ? common_name(leaf) : IOV_NULL;
    if (leaf->profile->subject == LOCAL_SUBJECT_KEEP) {
        der_put_raw(w, csr_subject);
        return !iov_eq(csr_subject, IOV("\x30\x00"));
    }
    der_open(w, DER_SEQUENCE);
    if (cn.base != NULL) {
        der_open(w, DER_SET);
        der_open(w, DER_SEQUENCE);
        der_put(w, DER_OID, IOV("\x55\x04\x03"));
        der_put(w, DER_UTF8_STRING, cn);
        der_close(w);
        der_close(w);
    }
    der_close(w);
    return cn.base != NULL;
}

static bool put_san(struct der_writer *w, const struct local_leaf *leaf, bool critical, struct err *e)
{
    uint8_t ip[16];
    local_ext_open(w, IOV(OID_EXT_SAN), critical);
    der_open(w, DER_SEQUENCE);
    for (size_t i = 0; i < leaf->dns->n; i++)
        der_put(w, DER_CONTEXT(2), leaf->dns->v[i]);
    for (size_t i = 0; i < leaf->ips->n; i++) {
        const char *text = iov_cstr(w->out.pool, leaf->ips->v[i]);
        size_t len = inet_pton(AF_INET, text, ip) == 1 ? 4 : inet_pton(AF_INET6, text, ip) == 1 ? 16 : 0;
        if (len == 0)
            return err_set(e, 0, "\"%s\" is not an IP address", text);
        der_put(w, DER_CONTEXT(7), (iov_t){(char *)ip, len});
    }
    der_close(w);
    local_ext_close(w);
    return true;
}

static bool put_key_ids(struct der_writer *w, const struct local_profile *p, iov_t spki, struct err *e)
{
    struct der in, alg;
    struct der_item oid;
    uint8_t id[20];
    if (!signer_key_id(spki, id) || !der_only(spki, DER_SEQUENCE, &in) ||
        !der_enter(&in, DER_SEQUENCE, &alg) || !der_want(&alg, DER_OID, &oid))
        return err_set(e, 0, "the CSR's public key does not decode");
    local_ext_open(w, IOV(OID_EXT_SKI), false);
    der_put(w, DER_OCTET_STRING, (iov_t){(char *)id, sizeof(id)});
    local_ext_close(w);
    der_put_raw(w, iov_eq(oid.value, IOV(OID_RSA_KEY)) ? p->usage_rsa : p->usage_other);
    return true;
}

bool local_tbs_cert(const struct local *l, pool_t *pool, const struct local_leaf *leaf, iov_t *tbs_out,
                    struct err *e)
{
    struct pki_csr_parts csr;
    struct der_writer w;
    if (leaf->dns->n + leaf->ips->n == 0)
        return err_set(e, 0, "there is no name to certify");
    if (!pki_csr_split(leaf->csr_der, &csr, e))
        return false;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_open(&w, DER_CONTEXT_CONS(0));
    der_put_u64(&w, 2); /* version 3 */
    der_close(&w);
    der_put_uint(&w, leaf->serial);
    der_put_raw(&w, l->rules.alg.identifier);
    der_put_raw(&w, l->rules.subject);
    der_open(&w, DER_SEQUENCE);
    der_put_time(&w, leaf->not_before);
    der_put_time(&w, leaf->not_after);
    der_close(&w);
    bool named = put_subject(&w, leaf, csr.subject);
    der_put_raw(&w, csr.spki);
    der_open(&w, DER_CONTEXT_CONS(3));
    der_open(&w, DER_SEQUENCE);
    der_put_raw(&w, leaf->profile->fixed);
    if (!put_key_ids(&w, leaf->profile, csr.spki, e) || !put_san(&w, leaf, !named, e)) /* RFC 5280 4.2.1.6 */
        return false;
    der_close(&w);
    der_close(&w);
    der_close(&w);
    *tbs_out = der_finish(&w);
    return true;
}

/* ---- CRLs ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool put_serial(struct der_writer *w, iov_t hex)
{
    char bytes[64];
    if (hex.len == 0 || hex.len % 2 != 0 || hex.len / 2 > sizeof(bytes))
        return false;
    for (size_t i = 0; i < hex.len; i += 2) {
        int high = hex_digit(hex.base[i]), low = hex_digit(hex.base[i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i / 2] = (char)(high << 4 | low);
    }
    der_put_uint(w, (iov_t){bytes, hex.len / 2});
    return true;
}

static bool put_entry(struct der_writer *w, const struct backend_crl_entry *entry)
{
    der_open(w, DER_SEQUENCE);
    if (!put_serial(w, entry->serial))
        return false;
    der_put_time(w, entry->revoked_at);
    if (entry->reason > 0) { /* RFC 5280 5.3.1: unspecified is said by leaving it out */
        char reason = (char)entry->reason;
        der_open(w, DER_SEQUENCE);
        local_ext_open(w, IOV(OID_EXT_CRL_REASON), false);
        der_put(w, DER_ENUMERATED, (iov_t){&reason, 1});
        local_ext_close(w);
        der_close(w);
    }
    der_close(w);
    return true;
}

bool local_tbs_crl(const struct local *l, pool_t *pool, const struct backend_crl *crl, iov_t *tbs_out,
                   struct err *e)
{
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_put_u64(&w, 1); /* version 2 */
    der_put_raw(&w, l->rules.alg.identifier);
    der_put_raw(&w, l->rules.subject);
    der_put_time(&w, crl->this_update);
    der_put_time(&w, crl->next_update);
    if (crl->n > 0) {
        der_open(&w, DER_SEQUENCE);
        for (size_t i = 0; i < crl->n; i++) {
            if (!put_entry(&w, &crl->entries[i]))
                return err_set(e, 0, "entry %zu of the CRL has no serial in hexadecimal: \"%s\"", i + 1,
                               iov_printable(pool, crl->entries[i].serial, 80).base);
        }
        der_close(&w);
    }
    der_open(&w, DER_CONTEXT_CONS(0));
    der_open(&w, DER_SEQUENCE);
    der_put_raw(&w, l->rules.aki);
    local_ext_open(&w, IOV(OID_EXT_CRL_NUMBER), false);
    der_put_u64(&w, crl->number > 0 ? (uint64_t)crl->number : 0);
    local_ext_close(&w);
    der_close(&w);
    der_close(&w);
    der_close(&w);
    *tbs_out = der_finish(&w);
    return true;
}

iov_t local_tbs_signed(const struct local *l, pool_t *pool, iov_t tbs, iov_t signature)
{
    struct der_writer w;
    der_writer_init(&w, pool);
    der_open(&w, DER_SEQUENCE);
    der_put_raw(&w, tbs);
    der_put_raw(&w, l->rules.alg.identifier);
    der_put_bits(&w, signature);
    der_close(&w);
    return der_finish(&w);
}

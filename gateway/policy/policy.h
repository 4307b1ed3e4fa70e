/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions without I/O: which names and profiles an account may order, which validity, which CSR, which certificate
 * that a CA returned, which backends. */
#ifndef PORTICO_POLICY_H
#define PORTICO_POLICY_H

#include "acme/problem.h"
#include "io/pki.h"
#include "policy/settings.h"

/* What an EAB key allows: JSON of column eab.policy, NULL text = everything. Members: "names" (patterns), "profiles".
 * Anything else is an error (serverInternal: an operator wrote it). */
struct policy_eab {
    struct iovs names, profiles;
    bool limited_names, limited_profiles;
};
bool policy_eab_parse(pool_t *pool, iov_t json, struct policy_eab *out, struct err *e) MUST_CHECK;

/* Identifiers against profile and EAB: one subproblem per refused identifier (allocated in pool). True when none. With
 * several the error is compound, with one it is that one's type. */
bool policy_names(pool_t *pool, const struct settings_profile *p, const struct policy_eab *eab,
                  const struct ident *idents, size_t n, struct problem_doc *out) MUST_CHECK;
/* Requested notBefore/notAfter (0 = absent) against the profile: both are set to what will be used, or 0 when nothing was
 * asked for. Refused with the permitted range in the detail (malformed, RFC 8555 7.4) unless the profile clamps. */
bool policy_validity(const struct settings_profile *p, int64_t now, int64_t *not_before, int64_t *not_after,
                     struct err *e) MUST_CHECK;
/* CSR against a profile: key type and size, no surprising extensions, CN among the names. Not the order's names. */
bool policy_csr(const struct settings_profile *p, const struct pki_csr *csr, struct err *e) MUST_CHECK;
/* The CSR's names as sorted "dns:x" / "ip:y" texts, and the same for an order's identifiers: equal lists = equal names. */
struct iovs policy_csr_names(pool_t *pool, const struct pki_csr *csr);
struct iovs policy_ident_names(pool_t *pool, const struct ident *idents, size_t n);
/* True when they differ; e then says which names are missing and which are too many: badCSR. */
bool policy_names_differ(pool_t *pool, const struct iovs *order, const struct iovs *csr, struct err *e);

/* What a CA returned against what was asked: key, names exactly, validity window (not expired, within requested and
 * lifetime plus an hour of backdating), not a CA, chain builds to trust (empty: links only). cert_out is the leaf. */
struct policy_asked {
    iov_t spki_sha256;
    const struct iovs *names;  /* policy_ident_names form */
    int64_t not_before, not_after, lifetime_s, now;
    const struct iovs *trust;
};
bool policy_certificate(pool_t *pool, const struct policy_asked *asked, const struct iovs *chain_ders,
                        struct pki_cert *cert_out, struct err *e) MUST_CHECK;

/* First route that matches. NULL: none (rejectedIdentifier in e). All identifiers of an order must match a names rule. */
struct policy_route_query {
    const char *directory, *profile;
    const struct ident *idents;
    size_t n_idents;
    iov_t eab_kid, account_id;
    const char *key_type;      /* as in a configuration ("p256"); NULL: not known yet, no key_types rule matches */
};
const struct settings_route *policy_route(const struct settings *s, const struct policy_route_query *q, struct err *e)
    MUST_CHECK;

/* "mailto:a@b" syntax (RFC 8555 7.3: no hfields, one address): invalidContact, unsupportedContact. */
bool policy_contacts(pool_t *pool, const json_t *array, size_t max, struct iovs *out, struct err *e) MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The in-house CA: what its files share. The key is not here: it lives in the signer process (signer_client.h). All of
 * it is made by open and read-only afterwards, so that loops and workers may look at it at once. */
#ifndef PORTICO_LOCAL_H
#define PORTICO_LOCAL_H

#include "backends/backend.h"
#include "backends/local/signer_client.h"
#include "backends/local/signer_rules.h"
#include "base/der.h"

enum local_subject { LOCAL_SUBJECT_CN, LOCAL_SUBJECT_KEEP, LOCAL_SUBJECT_DROP };

/* Certificate contents by ACME profile name. */
struct local_profile {
    const char *name;
    int64_t max_lifetime_ms, backdate_ms;
    struct conf_list key_usage, eku, policies, aia_ocsp, aia_issuers, crl;
    int subject; /* enum local_subject */
    bool basic_constraints;
    /* made from these */
    iov_t fixed;                    /* the extensions that do not depend on the key, one after the other */
    iov_t usage_rsa, usage_other;   /* keyUsage by key type */
    struct signer_profile *limits;
};

/* The rows of a backend with driver local. */
struct local_conf {
    const struct conf_node *ca, *profiles;
    struct conf_list alternates;
    const char *signer_user;
};

struct local {
    pool_t pool;
    struct signer *signer;
    struct signer_rules rules;
    iov_t der;               /* the issuing certificate */
    int64_t not_before;
    bool self_signed, may_sign_crls;
    struct iovs chain;       /* what follows a leaf: the issuing certificate and those above it, without a root */
    struct iovs known;       /* for ca_chain: the same and the root, if there is one */
    struct iovs *alternates; /* other lists to follow a leaf */
    size_t n_alternates;
    struct local_profile *profiles;
    size_t n_profiles;
};

/* local_ca.c: reads the certificates that section `ca` and `alternates` name, checks that they fit together and are in
 * force; key_path_out and passphrase_out belong to the conf. */
bool local_ca_load(struct local *l, struct backend *b, const char **key_path_out, struct conf_secret *passphrase_out,
                   struct err *e) MUST_CHECK;
/* local_profile.c: reads `profiles`, after the CA. There is always one called "default". */
bool local_profiles_load(struct local *l, struct backend *b, struct err *e) MUST_CHECK;
const struct local_profile *local_profile_find(const struct local *l, const char *name);

/* What a certificate is made from; views. */
struct local_leaf {
    const struct local_profile *profile;
    iov_t serial;            /* magnitude */
    int64_t not_before, not_after;
    iov_t csr_der;
    const struct iovs *dns, *ips;
};
/* local_tbs.c: the TBSCertificate: the same bytes for the same leaf. No key is decoded, so this is cheap. */
bool local_tbs_cert(const struct local *l, pool_t *pool, const struct local_leaf *leaf, iov_t *tbs_out,
                    struct err *e) MUST_CHECK;
bool local_tbs_crl(const struct local *l, pool_t *pool, const struct backend_crl *crl, iov_t *tbs_out,
                   struct err *e) MUST_CHECK;
/* TBS, algorithm and signature as one. */
iov_t local_tbs_signed(const struct local *l, pool_t *pool, iov_t tbs, iov_t signature);

/* Begins and ends one Extension (RFC 5280 4.1); its value is written in between. */
void local_ext_open(struct der_writer *w, iov_t oid, bool critical);
void local_ext_close(struct der_writer *w);

#endif

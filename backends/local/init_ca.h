/* SPDX-License-Identifier: Apache-2.0 */
/* Makes an in-house CA: porticod --init-ca. */
#ifndef PORTICO_INIT_CA_H
#define PORTICO_INIT_CA_H

#include "base/err.h"

struct local_init {
    const char *name;     /* what the subjects start with; NULL: Portico */
    const char *key_type; /* p256, p384, rsa2048, rsa4096, ed25519; NULL: p256 */
};

/* In dir, which is made when it is not there: root.pem and root.key (20 years), issuing.pem and issuing.key (10 years,
 * pathlen 0), chain.pem (both certificates). Keys are PKCS#8 without a passphrase, mode 0600. Nothing is overwritten;
 * on failure nothing is left behind. */
bool local_init_ca(const char *dir, const struct local_init *opts, struct err *e) MUST_CHECK;

#endif

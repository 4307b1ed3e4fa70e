/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's side of the signer: spawns it, asks it, and spawns another when it dies. Calls block for a signature's
 * time and one waits for the other: worker threads only, and open. */
#ifndef PORTICO_SIGNER_CLIENT_H
#define PORTICO_SIGNER_CLIENT_H

#include "backends/local/signer_rules.h"
#include "base/conf.h"

struct signer;

/* Everything is borrowed and must outlive the signer. */
struct signer_setup {
    const char *backend;            /* for the log */
    iov_t ca_der;
    const char *key_path;           /* opened by the signer, before it gives up its rights */
    struct conf_secret passphrase;
    const char *user;               /* whom to run it as; NULL: nobody when root, else whoever we are */
    const struct signer_profile *profiles;
    size_t n_profiles;
};

/* Spawns and waits until the key is loaded. NULL and e: why it is not. */
struct signer *signer_open(const struct signer_setup *setup, struct err *e) MUST_CHECK;
/* Ends the process by closing its socket. NULL is fine. */
void signer_close(struct signer *s);

enum signer_result {
    SIGNER_SIGNED,
    SIGNER_REFUSED, /* e: what is wrong with the TBS */
    SIGNER_AWAY     /* e: no signer at the moment, or it died or hung over this one; certainly nothing left the house */
};
/* profile NULL: a CRL. */
enum signer_result signer_sign(struct signer *s, const char *profile, iov_t tbs, pool_t *pool, iov_t *signature_out,
                               struct err *e) MUST_CHECK;
/* Of the running process; -1 while there is none. */
int signer_pid(struct signer *s);

/* What is spawned is the running program itself, /proc/self/exe: every program that opens backends hands --signer to
 * signer_main(3).
 * Whom signers run as whose backend does not say; before signer_open. */
void signer_set_user(const char *user);

#endif

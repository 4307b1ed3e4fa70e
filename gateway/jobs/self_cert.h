/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's own HTTPS certificate from one of its backends (listen.tls.issuer): made at start, renewed after two
 * thirds of its life without a restart. */
#ifndef PORTICO_SELF_CERT_H
#define PORTICO_SELF_CERT_H

#include "backends/backend.h"
#include "policy/settings.h"

struct self_cert;
/* got(arg, chain, key) runs on the loop for the first certificate and each renewal; PEM, borrowed. lost(arg, e): the
 * first one could not be had (later failures are logged and repeated). names: DNS names and IP addresses. */
struct self_cert_ask {
    struct backend *backend;
    struct iovs dns, ips;
    int64_t lifetime_s;
    void (*got)(void *arg, iov_t chain_pem, iov_t key_pem);
    void (*lost)(void *arg, const struct err *e);
    void *arg;
};
struct self_cert *self_cert_start(struct loop *l, const struct self_cert_ask *ask);
/* Moves the renewal to another loop, or to none (NULL) while there is none: on the old loop's thread, or the new one's
 * when there was none. */
void self_cert_move(struct self_cert *c, struct loop *l);
void self_cert_free(struct self_cert *c);

#endif

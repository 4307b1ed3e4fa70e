/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the DNS adapter: makes a libunbound context out of a configuration. */
#ifndef PORTICO_DNS_SETUP_H
#define PORTICO_DNS_SETUP_H

#include "io/dns.h"

struct ub_ctx;
/* NULL and e on a configuration that cannot work. resolvers_out: a readable list, the caller's to free. */
struct ub_ctx *dns_setup(const struct dns_config *cfg, char **resolvers_out, struct err *e) MUST_CHECK;

#endif

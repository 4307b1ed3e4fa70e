/* SPDX-License-Identifier: Apache-2.0 */
/* DNS look-ups on libunbound, one context per loop: forwarders with ports, CNAMEs followed, UDP then TCP,
 * nothing cached, DNSSEC validated when configured. Names under .localhost are loopback without a query
 * (RFC 6761 6.3): their A, AAAA and CAA are answered here, other types (a TXT of dns-01) still go to the
 * resolver. */
#ifndef PORTICO_DNS_H
#define PORTICO_DNS_H

#include "io/task.h"

enum dnssec_mode { DNSSEC_OFF, DNSSEC_IF_SIGNED, DNSSEC_REQUIRE };
struct dns_config {
    const char *const *resolvers; /* "ADDR" or "ADDR:PORT" or "[V6]:PORT"; none: those of /etc/resolv.conf */
    size_t n_resolvers;
    enum dnssec_mode dnssec;
    int64_t timeout_ms;           /* per look-up */
    const char *trust_anchor;     /* file of DS or DNSKEY records; NULL: package dns-root-data's */
};
enum dns_type { DNS_A = 1, DNS_TXT = 16, DNS_AAAA = 28, DNS_CAA = 257 };

struct dns_reply {
    enum { DNS_OK, DNS_NXDOMAIN, DNS_NODATA, DNS_SERVFAIL, DNS_TIMEOUT, DNS_BOGUS } result;
    struct iovs records; /* A: 4 bytes, AAAA: 16, TXT: character-strings joined, CAA: raw RDATA */
    iov_t canonical;     /* end of the CNAME chain; IOV_NULL if none */
    bool secure;         /* DNSSEC-validated */
    const char *asked;   /* the resolvers, or that nobody had to be asked; in the task's pool */
    const char *why;     /* readable: rcode or reason, and the resolvers asked; in the task's pool */
};
typedef void dns_cb(struct task *t, void *arg, const struct dns_reply *r);

/* False and e when the configuration cannot work (malformed resolver, no trust anchor). On a loop that has a
 * resolver already it takes over new look-ups, and the old one ends after its last answer: a reload loses
 * nothing. */
bool dns_start(struct loop *l, const struct dns_config *cfg, struct err *e) MUST_CHECK;
/* Tasks with a look-up under way fail. Not from inside a dns_cb. */
void dns_stop(struct loop *l);
/* Readable list of the resolvers in use, for problem details: "192.0.2.53:53, [2001:db8::53]:53". */
const char *dns_resolvers(const struct loop *l);
/* cb runs once with every kind of result. name: ASCII, no trailing dot needed. */
void dns_lookup(struct task *t, const char *name, enum dns_type type, dns_cb *cb, void *arg);
/* The same, waiting at most so long if that is shorter than the configured time. */
void dns_lookup_within(struct task *t, const char *name, enum dns_type type, int64_t timeout_ms, dns_cb *cb,
                       void *arg);
/* Joins the character-strings of one TXT RDATA (RFC 1035 3.3.14). False when the lengths do not add up. */
bool dns_txt_join(pool_t *pool, iov_t rdata, iov_t *out) MUST_CHECK;

#endif

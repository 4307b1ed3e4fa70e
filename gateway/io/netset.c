/* SPDX-License-Identifier: Apache-2.0 */
/* Networks as prefixes, each family for itself: "::/0" says nothing about IPv4. An address is one or two
 * forms (IPv6 and the IPv4 inside it), and either form may be in the set. */
#include "io/netset.h"
#include <arpa/inet.h>
#include <stdlib.h>

struct net {
    uint8_t prefix[16];
    unsigned len, bits; /* len: 4 or 16 bytes */
    char *text;
};

struct netset {
    struct net *in, *except;
    size_t n_in, n_except;
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static const uint8_t nat64_prefix[12] = {0x00, 0x64, 0xff, 0x9b};
static const uint8_t zero_prefix[12];

/* ---- parsing ---- */

static bool parse_bits(const char *text, unsigned most, unsigned *out)
{
    uint64_t n;
    if (!iov_to_u64(iov_of(text), &n) || n > most)
        return false;
    *out = (unsigned)n;
    return true;
}

static void clear_host_bits(struct net *net)
{
    for (unsigned i = 0; i < net->len; i++) {
        if (net->bits >= (i + 1) * 8)
            continue;
        unsigned kept = net->bits > i * 8 ? net->bits - i * 8 : 0;
        net->prefix[i] &= (uint8_t)(0xff00 >> kept);
    }
}

static bool net_parse(const char *text, struct net *out)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    if (len >= sizeof(address))
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    out->len = inet_pton(AF_INET, address, out->prefix) == 1 ? 4 : 16;
    if (out->len == 16 && inet_pton(AF_INET6, address, out->prefix) != 1)
        return false;
    out->bits = out->len * 8;
    if (slash != NULL && !parse_bits(slash + 1, out->len * 8, &out->bits))
        return false;
    /* IPv4 in disguise */
    if (out->len == 16 && out->bits >= 96 && memcmp(out->prefix, mapped_prefix, 12) == 0) {
        memmove(out->prefix, out->prefix + 12, 4);
        out->len = 4;
        out->bits -= 96;
    }
    clear_host_bits(out);
    return true;
}

static bool nets_parse(const char *const *texts, size_t n, struct net **nets, size_t *n_nets, struct err *e)
{
    *nets = base_zalloc((n + 1) * sizeof(**nets));
    for (size_t i = 0; i < n; i++) {
        struct net *net = *nets + i;
        if (!net_parse(texts[i], net))
            return err_set(e, 0, "\"%.80s\" is no network; write one like 10.0.0.0/8, fe80::/10 or 192.0.2.7",
                           texts[i]);
        net->text = strdup(texts[i]);
        if (net->text == NULL)
            abort();
        *n_nets = i + 1;
    }
    return true;
}

struct netset *netset_parse_except(const char *const *cidrs, size_t n, const char *const *except,
                                   size_t n_except, struct err *e)
{
    struct netset *s = base_zalloc(sizeof(*s));
    if (nets_parse(cidrs, n, &s->in, &s->n_in, e) &&
        nets_parse(except, n_except, &s->except, &s->n_except, e))
        return s;
    netset_free(s);
    return NULL;
}

struct netset *netset_parse(const char *const *cidrs, size_t n, struct err *e)
{
    return netset_parse_except(cidrs, n, NULL, 0, e);
}

static void nets_free(struct net *nets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(nets[i].text);
    free(nets);
}

void netset_free(struct netset *s)
{
    if (s == NULL)
        return;
    nets_free(s->in, s->n_in);
    nets_free(s->except, s->n_except);
    free(s);
}

/* ---- looking up ---- */

static bool net_covers(const struct net *net, const uint8_t *address, size_t len)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;
    if (net->len != len || memcmp(net->prefix, address, whole) != 0)
        return false;
    return rest == 0 || ((net->prefix[whole] ^ address[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

static const struct net *find(const struct net *nets, size_t n, const uint8_t *address, size_t len)
{
    for (size_t i = 0; i < n; i++) {
        if (net_covers(&nets[i], address, len))
            return &nets[i];
    }
    return NULL;
}

static const char *rule_for(const struct netset *s, const uint8_t *address, size_t len)
{
    const struct net *net = find(s->in, s->n_in, address, len);
    return net != NULL && find(s->except, s->n_except, address, len) == NULL ? net->text : NULL;
}

/* The IPv4 address inside an IPv6 one; NULL: none. */
static const uint8_t *embedded_v4(const uint8_t a[16])
{
    if (memcmp(a, mapped_prefix, 12) == 0 || memcmp(a, nat64_prefix, 12) == 0)
        return a + 12;
    if (a[0] == 0x20 && a[1] == 0x02) /* 6to4, RFC 3056 */
        return a + 2;
    /* IPv4-compatible, RFC 4291 2.5.5.1; "::" and "::1" are addresses of their own. */
    return memcmp(a, zero_prefix, 12) == 0 && (a[12] | a[13] | a[14]) != 0 ? a + 12 : NULL;
}

const char *netset_rule(const struct netset *s, const uint8_t *address, size_t len)
{
    if (s == NULL)
        return NULL;
    const char *rule = rule_for(s, address, len);
    const uint8_t *inner = len == 16 ? embedded_v4(address) : NULL;
    if (rule == NULL && inner != NULL)
        rule = rule_for(s, inner, 4);
    return rule;
}

bool netset_has(const struct netset *s, const uint8_t *address, size_t len)
{
    return netset_rule(s, address, len) != NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a name or an address must look like, and its one spelling: everything behind this file compares bytes. */
#include "acme/ident.h"

#include <arpa/inet.h>

#include "acme/problem.h"
#include "acme/punycode.h"

enum { NAME_MAX_LEN = 253, LABEL_MAX_LEN = 63, SHOWN_MAX = 120 };

const char *ident_type_name(enum ident_type t)
{
    return t == IDENT_IP ? "ip" : "dns";
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_ldh(char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-';
}

static iov_t lower(pool_t *pool, iov_t s)
{
    iov_t out = iov_dup(pool, s);
    for (size_t i = 0; i < out.len; i++)
        if (out.base[i] >= 'A' && out.base[i] <= 'Z')
            out.base[i] += 'a' - 'A';
    return out;
}

/* ---- dns names: each check returns NULL or what is wrong, to stand after the quoted name ---- */

static const char *character_fault(char c)
{
    if (c == '_')
        return "has an underscore, which host names may not contain";
    if (c == '*')
        return "has a \"*\" that is not the whole first label";
    if ((unsigned char)c >= 0x80)
        return "has characters outside ASCII; send the A-label form (\"xn--...\") of the name";
    return is_ldh(c) ? NULL : "has a character other than letters, digits, hyphens and dots";
}

static const char *label_fault(iov_t label)
{
    if (label.len == 0)
        return "has an empty label";
    for (size_t i = 0; i < label.len; i++) {
        const char *fault = character_fault(label.base[i]);
        if (fault != NULL)
            return fault;
    }
    if (label.len > LABEL_MAX_LEN)
        return "has a label of more than 63 characters";
    if (label.base[0] == '-' || label.base[label.len - 1] == '-')
        return "has a label that begins or ends with a hyphen";
    if (label.len < 4 || label.base[2] != '-' || label.base[3] != '-')
        return NULL;
    if (memcmp(label.base, "xn", 2) != 0)
        return "has a label with \"--\" in its third and fourth place that is not an A-label (\"xn--...\")";
    return punycode_label_fault(label);
}

static bool all_digits(iov_t s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_digit(s.base[i]))
            return false;
    return s.len > 0;
}

/* Cuts the label before the next dot off *rest. */
static iov_t next_label(iov_t *rest, bool *last)
{
    const char *dot = memchr(rest->base, '.', rest->len);
    iov_t label = {rest->base, dot == NULL ? rest->len : (size_t)(dot - rest->base)};
    *last = dot == NULL;
    if (dot != NULL) {
        rest->base += label.len + 1;
        rest->len -= label.len + 1;
    }
    return label;
}

/* A lower-case name without "*.". */
static const char *name_fault(iov_t name)
{
    if (name.len == 0)
        return "is empty";
    if (name.base[name.len - 1] == '.')
        return "ends with a dot; send the name without the trailing dot";
    if (name.len > NAME_MAX_LEN)
        return "is longer than 253 characters";
    if (memchr(name.base, ':', name.len) != NULL)
        return "has a colon: a port or a URL is not part of a name, and an address is an identifier of type "
               "\"ip\"";
    bool last = false;
    iov_t rest = name, label = {0};
    while (!last) {
        label = next_label(&rest, &last);
        const char *fault = label_fault(label);
        if (fault != NULL)
            return fault;
    }
    return all_digits(label)
               ? "ends in a number, as an IP address does; an address is an identifier of type \"ip\""
               : NULL;
}

static bool has_wildcard(iov_t name)
{
    return name.len >= 2 && name.base[0] == '*' && name.base[1] == '.';
}

static bool normalize_dns(pool_t *pool, iov_t raw, struct ident *out, struct err *e)
{
    iov_t name = lower(pool, raw);
    struct ident id = {.type = IDENT_DNS, .value = name};
    const char *fault = NULL;
    if (iov_is(name, "*") || iov_is(name, "*."))
        fault = "is a wildcard for nothing; a domain must follow \"*.\"";
    else if (name.len > NAME_MAX_LEN + 1)
        fault = "is longer than 253 characters";
    else if ((fault = name_fault(ident_base(&id))) == NULL && name.len > NAME_MAX_LEN)
        fault = "is longer than 253 characters";
    if (fault == NULL) {
        *out = id;
        return true;
    }
    return err_set(e, ACME_REJECTED_IDENTIFIER, "the name \"%s\" %s",
                   iov_printable(pool, raw, SHOWN_MAX).base, fault);
}

/* ---- addresses ---- */

/* The bytes of an address in text form: 4, 16, or 0 when it is none. */
static size_t address_bytes(iov_t text, uint8_t out[16])
{
    char cstr[INET6_ADDRSTRLEN];
    if (text.len >= sizeof(cstr) || memchr(text.base, 0, text.len) != NULL)
        return 0;
    memcpy(cstr, text.base, text.len);
    cstr[text.len] = 0;
    if (inet_pton(AF_INET, cstr, out) == 1)
        return 4;
    return inet_pton(AF_INET6, cstr, out) == 1 ? 16 : 0;
}

static const char *not_an_address(iov_t raw)
{
    if (memchr(raw.base, '%', raw.len) != NULL)
        return "has a scope id, which means something on one host only";
    if (memchr(raw.base, '/', raw.len) != NULL)
        return "is a network or has a slash; send a single address";
    if (raw.base[0] == '[')
        return "is in brackets; send the address without them";
    return "is not an IPv4 address (four decimal numbers without leading zeros) or an IPv6 address";
}

static bool normalize_ip(pool_t *pool, iov_t raw, struct ident *out, struct err *e)
{
    static const uint8_t zeros[12], mapped[12] = {[10] = 0xff, [11] = 0xff};
    uint8_t bytes[16];
    char text[INET6_ADDRSTRLEN];
    size_t n = address_bytes(raw, bytes);
    const char *fault = n == 0 ? not_an_address(raw) : NULL;
    if (n == 16 && memcmp(bytes, mapped, 12) == 0)
        fault = "is an IPv4 address mapped into IPv6; send it as the IPv4 address";
    /* inet_ntop would write these with dots; nothing but :: and ::1 of that range is in use (RFC 4291 2.5.5.1). */
    else if (n == 16 && memcmp(bytes, zeros, 12) == 0 && (bytes[12] != 0 || bytes[13] != 0))
        fault = "is an IPv4-compatible IPv6 address, a form that is no longer in use";
    if (fault == NULL) {
        inet_ntop(n == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text));
        *out = (struct ident){.type = IDENT_IP, .value = iov_dup(pool, iov_of(text))};
        return true;
    }
    return err_set(e, ACME_REJECTED_IDENTIFIER, "the address \"%s\" %s",
                   iov_printable(pool, raw, SHOWN_MAX).base, fault);
}

bool ident_normalize(pool_t *pool, enum ident_type type, iov_t raw, struct ident *out, struct err *e)
{
    if (raw.len == 0)
        return err_set(e, ACME_MALFORMED, "an identifier of type \"%s\" has an empty value",
                       ident_type_name(type));
    return type == IDENT_IP ? normalize_ip(pool, raw, out, e) : normalize_dns(pool, raw, out, e);
}

bool ident_parse(pool_t *pool, const json_t *obj, struct ident *out, struct err *e)
{
    if (!json_is_object(obj))
        return err_set(e, ACME_MALFORMED, "an identifier must be an object with \"type\" and \"value\"");
    iov_t type = json_get_iov(obj, "type"), value = json_get_iov(obj, "value");
    if (type.base == NULL || value.base == NULL)
        return err_set(e, ACME_MALFORMED, "an identifier lacks %s, or it is not a string",
                       type.base == NULL ? "\"type\"" : "\"value\"");
    if (iov_is(type, "dns"))
        return ident_normalize(pool, IDENT_DNS, value, out, e);
    if (iov_is(type, "ip"))
        return ident_normalize(pool, IDENT_IP, value, out, e);
    return err_set(e, ACME_UNSUPPORTED_IDENTIFIER,
                   "identifiers of type \"%s\" are not supported; those of type \"dns\" and \"ip\" are",
                   iov_printable(pool, type, SHOWN_MAX).base);
}

bool ident_is_wildcard(const struct ident *id)
{
    return id->type == IDENT_DNS && has_wildcard(id->value);
}

iov_t ident_base(const struct ident *id)
{
    return ident_is_wildcard(id) ? (iov_t){id->value.base + 2, id->value.len - 2} : id->value;
}

size_t ident_ip_bytes(const struct ident *id, uint8_t out[16])
{
    return id->type == IDENT_IP ? address_bytes(id->value, out) : 0;
}

json_t *ident_json(const struct ident *id)
{
    json_t *obj = json_object();
    json_object_set_new(obj, "type", json_string(ident_type_name(id->type)));
    json_object_set_new(obj, "value", json_str(id->value));
    return obj;
}

bool ident_eq(const struct ident *a, const struct ident *b)
{
    return a->type == b->type && iov_eq(a->value, b->value);
}

/* ---- patterns of the configuration ---- */

struct network {
    uint8_t bytes[16];
    size_t n_bytes;
    uint64_t prefix;
};

static bool parse_network(iov_t pattern, struct network *out)
{
    const char *slash = memchr(pattern.base, '/', pattern.len);
    size_t n = slash == NULL ? pattern.len : (size_t)(slash - pattern.base);
    out->n_bytes = address_bytes((iov_t){pattern.base, n}, out->bytes);
    out->prefix = out->n_bytes * 8;
    if (out->n_bytes == 0 || slash == NULL)
        return out->n_bytes != 0;
    iov_t digits = {pattern.base + n + 1, pattern.len - n - 1};
    return iov_to_u64(digits, &out->prefix) && out->prefix <= out->n_bytes * 8;
}

static bool ip_matches(const struct ident *id, iov_t pattern)
{
    struct network net;
    uint8_t ip[16];
    if (!parse_network(pattern, &net) || ident_ip_bytes(id, ip) != net.n_bytes)
        return false;
    size_t whole = net.prefix / 8, bits = net.prefix % 8;
    if (memcmp(ip, net.bytes, whole) != 0)
        return false;
    return bits == 0 || (ip[whole] ^ net.bytes[whole]) >> (8 - bits) == 0;
}

/* suffix begins with a dot: is there at least one label before it? */
static bool is_below(iov_t name, iov_t suffix)
{
    return name.len > suffix.len && iov_ieq((iov_t){name.base + name.len - suffix.len, suffix.len}, suffix);
}

bool ident_matches(const struct ident *id, const char *pattern)
{
    iov_t p = iov_of(pattern);
    if (p.len == 0)
        return false;
    if (id->type == IDENT_IP)
        return ip_matches(id, p);
    iov_t name = ident_base(id), rest = {p.base + 1, p.len - 1};
    if (iov_ieq(id->value, p) || iov_is(p, "*"))
        return true;
    if (p.base[0] == '.')
        return is_below(name, p) || iov_ieq(name, rest);
    return has_wildcard(p) ? is_below(name, rest) : iov_ieq(name, p);
}

bool ident_pattern_valid(pool_t *pool, const char *pattern)
{
    iov_t p = lower(pool, iov_of(pattern));
    struct network net;
    if (p.len == 0 || iov_is(p, "*") || parse_network(p, &net))
        return p.len != 0;
    size_t cut = has_wildcard(p) ? 2 : p.base[0] == '.' ? 1 : 0;
    return name_fault((iov_t){p.base + cut, p.len - cut}) == NULL;
}

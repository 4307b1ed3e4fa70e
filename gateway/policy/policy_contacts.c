/* SPDX-License-Identifier: Apache-2.0 */
/* Contacts of an account: mailto URLs with one address and nothing else (RFC 8555 section 7.3, RFC 6068). */
#include "policy/policy.h"

enum { SHOWN_MAX = 120, LOCAL_MAX = 64, CONTACT_MAX = 512 };

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}

/* The part before the "@": atoms with dots between them (RFC 5322 3.2.3); other characters percent-encoded. */
static const char *local_part_fault(iov_t s)
{
    if (s.len == 0 || s.len > LOCAL_MAX * 3)
        return "has nothing, or too much, before the \"@\"";
    if (s.base[0] == '.' || s.base[s.len - 1] == '.')
        return "begins or ends with a dot before the \"@\"";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.base[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (c == '.' && s.base[i + 1] == '.')
            return "has two dots in a row";
        if (c == '%') {
            if (s.len - i < 3 || !is_hex(s.base[i + 1]) || !is_hex(s.base[i + 2]))
                return "has a \"%\" that is not followed by two hexadecimal digits";
            if (s.base[i + 1] < '2' || (s.base[i + 1] == '7' && (s.base[i + 2] | 0x20) == 'f'))
                return "has an encoded control character";
            i += 2;
        } else if (!alnum && (c == 0 || strchr("!$&'*+-./=^_`{|}~", c) == NULL)) {
            return "has a character that a mailto URL cannot have there; encode it with \"%\"";
        }
    }
    return NULL;
}

/* NULL, or what is wrong with what follows "mailto:". */
static const char *address_fault(pool_t *pool, iov_t s)
{
    if (memchr(s.base, '?', s.len) != NULL)
        return "has header fields (\"?...\"), which are not allowed";
    if (memchr(s.base, ',', s.len) != NULL)
        return "has more than one address; send each as a contact of its own";
    const char *at = memchr(s.base, '@', s.len);
    if (at == NULL)
        return "has no \"@\"";
    iov_t local = {s.base, (size_t)(at - s.base)}, domain = {s.base + local.len + 1, s.len - local.len - 1};
    const char *fault = local_part_fault(local);
    if (fault != NULL)
        return fault;
    struct err ignored = ERR_INIT;
    struct ident id;
    if (!ident_normalize(pool, IDENT_DNS, domain, &id, &ignored) || ident_is_wildcard(&id))
        return "has no valid domain name behind the \"@\"";
    return NULL;
}

static bool has_scheme(iov_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.base[i];
        if (c == ':')
            return i > 0;
        bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alpha && (i == 0 || !((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.')))
            return false;
    }
    return false;
}

static bool contact_ok(pool_t *pool, iov_t text, struct err *e)
{
    const size_t scheme = sizeof("mailto:") - 1;
    const char *shown = iov_printable(pool, text, SHOWN_MAX).base;
    if (text.len > CONTACT_MAX)
        return err_set(e, ACME_INVALID_CONTACT, "the contact \"%s\" is longer than %d characters", shown,
                       CONTACT_MAX);
    if (!has_scheme(text))
        return err_set(e, ACME_INVALID_CONTACT,
                       "the contact \"%s\" is not a URL such as mailto:admin@example.org", shown);
    if (text.len < scheme || !iov_ieq((iov_t){text.base, scheme}, IOV("mailto:")))
        return err_set(e, ACME_UNSUPPORTED_CONTACT, "the contact \"%s\" is not a mailto: URL", shown);
    const char *fault = address_fault(pool, (iov_t){text.base + scheme, text.len - scheme});
    return fault == NULL || err_set(e, ACME_INVALID_CONTACT, "the contact \"%s\" %s", shown, fault);
}

bool policy_contacts(pool_t *pool, const json_t *array, size_t max, struct iovs *out, struct err *e)
{
    *out = (struct iovs){0};
    if (array == NULL || json_is_null(array))
        return true;
    if (!json_is_array(array))
        return err_set(e, ACME_MALFORMED, "\"contact\" must be an array of strings");
    if (json_array_size(array) > max)
        return err_set(e, ACME_INVALID_CONTACT, "%zu contacts were sent; at most %zu are kept",
                       json_array_size(array), max);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_string(item))
            return err_set(e, ACME_MALFORMED, "\"contact\" must be an array of strings");
        iov_t text = iov_dup(pool, (iov_t){(char *)json_string_value(item), json_string_length(item)});
        if (!contact_ok(pool, text, e))
            return false;
        if (!iovs_has(out, text))
            iovs_add(pool, out, text);
    }
    return true;
}

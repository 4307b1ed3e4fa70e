/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a name, an address, a pattern and a JSON identifier. What is accepted is canonical. */
#include <stdlib.h>

#include "acme/ident.h"
#include "acme/punycode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_ident(pool_t *pool, const struct ident *id)
{
    struct err e = ERR_INIT;
    struct ident again;
    check(id->value.len > 0 && id->value.len <= 253);
    for (size_t i = 0; i < id->value.len; i++)
        check(id->value.base[i] > 0x20 && id->value.base[i] < 0x7f && id->value.base[i] != '"');
    check(ident_normalize(pool, id->type, id->value, &again, &e) && ident_eq(id, &again));
    check(ident_matches(id, iov_dup(pool, id->value).base));
    if (id->type == IDENT_DNS) {
        struct ident base;
        check(ident_pattern_valid(pool, iov_dup(pool, id->value).base));
        check(ident_normalize(pool, IDENT_DNS, ident_base(id), &base, &e) && !ident_is_wildcard(&base));
        check(!ident_normalize(pool, IDENT_IP, id->value, &again, &e));
    } else {
        uint8_t bytes[16];
        size_t n = ident_ip_bytes(id, bytes);
        check(n == 4 || n == 16);
        check(!ident_normalize(pool, IDENT_DNS, id->value, &again, &e));
    }
}

static void try_punycode(iov_t text)
{
    uint32_t points[PUNYCODE_MAX];
    char again[PUNYCODE_MAX];
    size_t n, n_again;
    if (!punycode_decode(text, points, &n))
        return;
    check(n <= PUNYCODE_MAX);
    if (punycode_encode(points, n, again, &n_again)) {
        uint32_t twice[PUNYCODE_MAX];
        size_t n_twice;
        check(punycode_decode((iov_t){again, n_again}, twice, &n_twice) && n_twice == n);
        check(memcmp(twice, points, n * sizeof(*points)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const patterns[] = {"*",         "*.example",  ".example",
                                           "a.example", "10.0.0.0/9", "2001:db8::/33"};
    pool_t pool;
    h2o_mem_init_pool(&pool);
    iov_t text = {(char *)data, size};
    struct err e = ERR_INIT;
    struct ident id;
    for (int type = IDENT_DNS; type <= IDENT_IP; type++) {
        if (!ident_normalize(&pool, (enum ident_type)type, text, &id, &e)) {
            check(e.detail[0] != 0);
            continue;
        }
        check_ident(&pool, &id);
        for (size_t i = 0; i < COUNTOF(patterns); i++)
            (void)ident_matches(&id, patterns[i]);
        (void)ident_matches(&id, iov_dup(&pool, text).base);
    }
    (void)ident_pattern_valid(&pool, iov_dup(&pool, text).base);
    try_punycode(text);
    json_t *obj = json_parse_object(text, 1 << 16, &e);
    if (obj != NULL && ident_parse(&pool, obj, &id, &e))
        check_ident(&pool, &id);
    json_decref(obj);
    h2o_mem_clear_pool(&pool);
    return 0;
}

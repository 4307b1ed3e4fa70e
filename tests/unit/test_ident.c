/* SPDX-License-Identifier: Apache-2.0 */
/* Identifiers: what is accepted, in which spelling, what is refused and whether the detail says why. */
#include "acme/ident.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "acme/problem.h"
#include "acme/punycode.h"

static pool_t pool;

static int set_up(void **state UNUSED)
{
    h2o_mem_init_pool(&pool);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    h2o_mem_clear_pool(&pool);
    return 0;
}

static iov_t repeat(const char *part, size_t n)
{
    struct sbuf b;
    sbuf_init(&b, &pool);
    for (size_t i = 0; i < n; i++)
        sbuf_puts(&b, part);
    return b.text;
}

static void accepts(enum ident_type type, const char *in, const char *want)
{
    struct ident id;
    struct err e = ERR_INIT;
    if (!ident_normalize(&pool, type, iov_of(in), &id, &e))
        fail_msg("%s refused: %s", in, e.detail);
    if (!iov_is(id.value, want))
        fail_msg("%s became %.*s, not %s", in, (int)id.value.len, id.value.base, want);
    assert_int_equal(id.type, type);
    /* Canonical means that doing it again changes nothing. */
    struct ident again;
    assert_true(ident_normalize(&pool, type, id.value, &again, &e));
    assert_true(ident_eq(&id, &again));
}

static void refuses(enum ident_type type, iov_t in, const char *because)
{
    struct ident id;
    struct err e = ERR_INIT;
    if (ident_normalize(&pool, type, in, &id, &e))
        fail_msg("%.*s accepted", (int)in.len, in.base);
    if (strstr(e.detail, because) == NULL)
        fail_msg("%.*s: \"%s\" does not say \"%s\"", (int)in.len, in.base, e.detail, because);
    assert_int_equal(e.code, in.len == 0 ? ACME_MALFORMED : ACME_REJECTED_IDENTIFIER);
}

static void dns_names_are_accepted_in_one_spelling(void **state UNUSED)
{
    static const char *const rows[][2] = {
        {"a.example", "a.example"},
        {"A.Example", "a.example"},
        {"WWW.CORP.EXAMPLE", "www.corp.example"},
        {"localhost", "localhost"},
        {"a", "a"},
        {"1a.example", "1a.example"},
        {"4.example", "4.example"},
        {"a--b.example", "a--b.example"},
        {"a-b.example", "a-b.example"},
        {"*.example", "*.example"},
        {"*.A.example", "*.a.example"},
        {"*.a", "*.a"},
        {"xn--bcher-kva.example", "xn--bcher-kva.example"},
        {"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
        {"*.xn--bcher-kva.example", "*.xn--bcher-kva.example"},
        {"xn--fsqu00a.xn--0zwm56d", "xn--fsqu00a.xn--0zwm56d"},
        {"xn--80akhbyknj4f", "xn--80akhbyknj4f"},
        {"a.example.1x", "a.example.1x"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++)
        accepts(IDENT_DNS, rows[i][0], rows[i][1]);
}

static void bad_dns_names_are_refused_with_a_reason(void **state UNUSED)
{
    static const struct {
        iov_t in;
        const char *because;
    } rows[] = {
        {{(char *)"", 0}, "empty"},
        {{(char *)"a_b.example", 11}, "underscore"},
        {{(char *)"a.example.", 10}, "without the trailing dot"},
        {{(char *)".", 1}, "trailing dot"},
        {{(char *)".a.example", 10}, "empty label"},
        {{(char *)"a..example", 10}, "empty label"},
        {{(char *)"-a.example", 10}, "hyphen"},
        {{(char *)"a-.example", 10}, "hyphen"},
        {{(char *)"*", 1}, "wildcard for nothing"},
        {{(char *)"*.", 2}, "wildcard for nothing"},
        {{(char *)"*.*.example", 11}, "not the whole first label"},
        {{(char *)"a*.example", 10}, "not the whole first label"},
        {{(char *)"*a.example", 10}, "not the whole first label"},
        {{(char *)"a.*.example", 11}, "not the whole first label"},
        {{(char *)"**.example", 10}, "not the whole first label"},
        {{(char *)"b\xc3\xbc"
                  "cher.example",
          15},
         "A-label"},
        {{(char *)"a\0b.example", 11}, "character other than"},
        {{(char *)"a b.example", 11}, "character other than"},
        {{(char *)"a/b.example", 11}, "character other than"},
        {{(char *)"https://a.example", 17}, "URL"},
        {{(char *)"a.example:443", 13}, "port"},
        {{(char *)"192.0.2.1", 9}, "type \"ip\""},
        {{(char *)"2001:db8::1", 11}, "type \"ip\""},
        {{(char *)"*.192.0.2.1", 11}, "type \"ip\""},
        {{(char *)"a.123", 5}, "ends in a number"},
        {{(char *)"123", 3}, "ends in a number"},
        {{(char *)"ab--c.example", 13}, "third and fourth"},
        {{(char *)"xn--.example", 12}, "hyphen"},
        {{(char *)"xn--a.example", 13}, "\"xn--\""},
        {{(char *)"xn--abc-.example", 16}, "hyphen"},
        {{(char *)"xn--0.example", 13}, "Punycode"},
        {{(char *)"xn--99999999999.example", 23}, "Punycode"},
        {{(char *)"xn---foo.example", 16}, "Punycode"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++)
        refuses(IDENT_DNS, rows[i].in, rows[i].because);
}

static void lengths_are_bounded(void **state UNUSED)
{
    iov_t label = repeat("a", 63);
    struct ident id;
    struct err e = ERR_INIT;
    assert_true(ident_normalize(&pool, IDENT_DNS, label, &id, &e));
    refuses(IDENT_DNS, repeat("a", 64), "63");
    /* 3 labels of 63 and one of 61 with their dots: 253 */
    iov_t longest = iov_printf(&pool, "%s.%s.%s.%.61s", label.base, label.base, label.base, label.base);
    assert_int_equal(longest.len, 253);
    assert_true(ident_normalize(&pool, IDENT_DNS, longest, &id, &e));
    refuses(IDENT_DNS, iov_printf(&pool, "%sa", longest.base), "253");
    refuses(IDENT_DNS, iov_printf(&pool, "*.%s", longest.base), "253");
    refuses(IDENT_DNS, repeat("a.", 100000), "253");
}

static void addresses_are_accepted_in_one_spelling(void **state UNUSED)
{
    static const char *const rows[][2] = {
        {"192.0.2.1", "192.0.2.1"},
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"::1", "::1"},
        {"::", "::"},
        {"0:0:0:0:0:0:0:1", "::1"},
        {"2001:DB8::A", "2001:db8::a"},
        {"2001:0db8:0000:0000:0000:0000:0002:0001", "2001:db8::2:1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"}, /* one group is not shortened: RFC 5952 4.2.2 */
        {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},          /* the longest run: 4.2.3 */
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},    /* the first of equal runs */
        {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
        {"fe80::1", "fe80::1"},
        {"::1234:0:5", "::1234:0:5"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++)
        accepts(IDENT_IP, rows[i][0], rows[i][1]);
}

static void bad_addresses_are_refused_with_a_reason(void **state UNUSED)
{
    static const struct {
        iov_t in;
        const char *because;
    } rows[] = {
        {{(char *)"", 0}, "empty"},
        {{(char *)"192.0.2.01", 10}, "leading zeros"},
        {{(char *)"192.0.2", 7}, "not an IPv4"},
        {{(char *)"192.0.2.256", 11}, "not an IPv4"},
        {{(char *)"0x7f.0.0.1", 10}, "not an IPv4"},
        {{(char *)"192.0.2.1 ", 10}, "not an IPv4"},
        {{(char *)"192.0.2.1\0", 10}, "not an IPv4"},
        {{(char *)"fe80::1%eth0", 12}, "scope"},
        {{(char *)"[::1]", 5}, "brackets"},
        {{(char *)"10.0.0.0/8", 10}, "single address"},
        {{(char *)"::ffff:192.0.2.1", 16}, "mapped"},
        {{(char *)"::ffff:c000:201", 15}, "mapped"},
        {{(char *)"::192.0.2.1", 11}, "no longer in use"},
        {{(char *)"1::2::3", 7}, "not an IPv4"},
        {{(char *)"a.example", 9}, "not an IPv4"},
        {{(char *)"*.192.0.2.1", 11}, "not an IPv4"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++)
        refuses(IDENT_IP, rows[i].in, rows[i].because);
    refuses(IDENT_IP, repeat("1:", 10000), "not an IPv4");
}

static void details_quote_hostile_bytes_harmlessly(void **state UNUSED)
{
    struct ident id;
    struct err e = ERR_INIT;
    assert_false(ident_normalize(&pool, IDENT_DNS, IOV("a\r\nX: \xff\x1b.example"), &id, &e));
    for (const char *c = e.detail; *c != 0; c++)
        assert_true(*c >= 0x20 && *c < 0x7f);
    assert_false(ident_normalize(&pool, IDENT_DNS, repeat("_", 100000), &id, &e));
    assert_true(strnlen(e.detail, sizeof(e.detail)) < 400);
}

static bool parse(const char *json, struct ident *id, struct err *e)
{
    struct err why = ERR_INIT;
    json_t *obj = json_parse_object(iov_of(json), 4096, &why);
    assert_non_null(obj);
    bool ok = ident_parse(&pool, obj, id, e);
    json_decref(obj);
    return ok;
}

static void json_identifiers_are_read_and_written(void **state UNUSED)
{
    struct ident id;
    struct err e = ERR_INIT;
    assert_true(parse("{\"type\":\"dns\",\"value\":\"*.A.example\",\"other\":1}", &id, &e));
    assert_true(ident_is_wildcard(&id));
    assert_true(iov_is(ident_base(&id), "a.example"));
    json_t *back = ident_json(&id);
    assert_string_equal(json_string_value(json_object_get(back, "type")), "dns");
    assert_string_equal(json_string_value(json_object_get(back, "value")), "*.a.example");
    json_decref(back);
    assert_true(parse("{\"type\":\"ip\",\"value\":\"2001:DB8:0::1\"}", &id, &e));
    assert_false(ident_is_wildcard(&id));
    uint8_t bytes[16];
    assert_int_equal(ident_ip_bytes(&id, bytes), 16);
    assert_memory_equal(bytes, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);

    static const struct {
        const char *json;
        int code;
    } bad[] = {
        {"{}", ACME_MALFORMED},
        {"{\"type\":\"dns\"}", ACME_MALFORMED},
        {"{\"value\":\"a.example\"}", ACME_MALFORMED},
        {"{\"type\":1,\"value\":\"a.example\"}", ACME_MALFORMED},
        {"{\"type\":\"dns\",\"value\":[]}", ACME_MALFORMED},
        {"{\"type\":\"dns\",\"value\":\"\"}", ACME_MALFORMED},
        {"{\"type\":\"DNS\",\"value\":\"a.example\"}", ACME_UNSUPPORTED_IDENTIFIER},
        {"{\"type\":\"email\",\"value\":\"a@b.example\"}", ACME_UNSUPPORTED_IDENTIFIER},
        {"{\"type\":\"dns\",\"value\":\"a_b\"}", ACME_REJECTED_IDENTIFIER},
        {"{\"type\":\"dns\",\"value\":\"10.1.2.3\"}", ACME_REJECTED_IDENTIFIER},
    };
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        assert_false(parse(bad[i].json, &id, &e));
        assert_int_equal(e.code, bad[i].code);
    }
    json_t *text = json_string("a.example");
    assert_false(ident_parse(&pool, text, &id, &e));
    assert_false(ident_parse(&pool, NULL, &id, &e));
    assert_int_equal(e.code, ACME_MALFORMED);
    json_decref(text);
}

static void patterns_match_what_the_header_says(void **state UNUSED)
{
    static const struct {
        enum ident_type type;
        const char *name, *pattern;
        bool want;
    } rows[] = {
        {IDENT_DNS, "a.example", "a.example", true},
        {IDENT_DNS, "a.example", "A.EXAMPLE", true},
        {IDENT_DNS, "b.a.example", "a.example", false},
        {IDENT_DNS, "a.example", "*.example", true},
        {IDENT_DNS, "c.b.a.example", "*.example", true},
        {IDENT_DNS, "example", "*.example", false},
        {IDENT_DNS, "anexample", "*.example", false},
        {IDENT_DNS, "a.example", ".a.example", true},
        {IDENT_DNS, "b.a.example", ".a.example", true},
        {IDENT_DNS, "ba.example", ".a.example", false},
        {IDENT_DNS, "anything", "*", true},
        {IDENT_DNS, "a.example", "*example", false},
        {IDENT_DNS, "a.example", "", false},
        {IDENT_DNS, "a.example", "10.0.0.0/8", false},
        {IDENT_DNS, "*.a.example", "a.example", true},
        {IDENT_DNS, "*.a.example", "*.a.example", true},
        {IDENT_DNS, "*.a.example", "*.example", true},
        {IDENT_DNS, "*.example", "*.a.example", false},
        {IDENT_DNS, "*.b.example", "a.example", false},
        {IDENT_IP, "10.1.2.3", "10.0.0.0/8", true},
        {IDENT_IP, "11.1.2.3", "10.0.0.0/8", false},
        {IDENT_IP, "10.127.2.3", "10.0.0.0/9", true},
        {IDENT_IP, "10.128.2.3", "10.0.0.0/9", false},
        {IDENT_IP, "10.1.2.3", "10.1.2.3", true},
        {IDENT_IP, "10.1.2.3", "10.1.2.3/32", true},
        {IDENT_IP, "10.1.2.4", "10.1.2.3/32", false},
        {IDENT_IP, "10.1.2.4", "0.0.0.0/0", true},
        {IDENT_IP, "10.1.2.4", "::/0", false},
        {IDENT_IP, "2001:db8::1", "2001:db8::/32", true},
        {IDENT_IP, "2001:db9::1", "2001:db8::/32", false},
        {IDENT_IP, "2001:db8::1", "2001:DB8:0:0::1", true},
        {IDENT_IP, "10.1.2.3", "10.0.0.0/33", false},
        {IDENT_IP, "10.1.2.3", "10.0.0.0/", false},
        {IDENT_IP, "10.1.2.3", "*", false},
        {IDENT_IP, "10.1.2.3", "*.3", false},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct ident id;
        struct err e = ERR_INIT;
        assert_true(ident_normalize(&pool, rows[i].type, iov_of(rows[i].name), &id, &e));
        if (ident_matches(&id, rows[i].pattern) != rows[i].want)
            fail_msg("%s against %s", rows[i].name, rows[i].pattern);
    }
}

static void patterns_that_match_nothing_are_found(void **state UNUSED)
{
    static const char *const good[] = {"*",          "a.example", "*.Example", ".example",
                                       "10.0.0.0/8", "::1",       "fd00::/8",  "a"};
    static const char *const bad[] = {
        "",         "*.",          ".",    "*example",   "a.*.example", "10.0.0.0/33",
        "10.0.0/8", "a.example/8", "a..b", "::ffff::/8", "1.2.3.4/x",   "a example"};
    for (size_t i = 0; i < COUNTOF(good); i++)
        if (!ident_pattern_valid(&pool, good[i]))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < COUNTOF(bad); i++)
        if (ident_pattern_valid(&pool, bad[i]))
            fail_msg("%s", bad[i]);
}

/* RFC 3492 section 7.1 and names in use. */
static void punycode_agrees_with_the_rfc(void **state UNUSED)
{
    static const struct {
        const char *coded;
        uint32_t points[32];
        size_t n;
    } rows[] = {
        {"bcher-kva", {'b', 0xfc, 'c', 'h', 'e', 'r'}, 6},
        {"ihqwcrb4cv8a8dqg056pqjye",
         {0x4ed6, 0x4eec, 0x4e3a, 0x4ec0, 0x4e48, 0x4e0d, 0x8bf4, 0x4e2d, 0x6587},
         9},
        {"egbpdaj6bu4bxfgehfvwxn",
         {0x644, 0x64a, 0x647, 0x645, 0x627, 0x628, 0x62a, 0x643, 0x644, 0x645, 0x648, 0x634, 0x639, 0x631,
          0x628, 0x64a, 0x61f},
         17},
        {"b1abfaaepdrnnbgefbadotcwatmq2g4l",
         {0x43f, 0x43e, 0x447, 0x435, 0x43c, 0x443, 0x436, 0x435, 0x43e, 0x43d, 0x438, 0x43d, 0x435, 0x433,
          0x43e, 0x432, 0x43e, 0x440, 0x44f, 0x442, 0x43f, 0x43e, 0x440, 0x443, 0x441, 0x441, 0x43a, 0x438},
         28},
        {"3b-ww4c5e180e575a65lsy2b", {0x33, 0x5e74, 0x62, 0x7d44, 0x91d1, 0x516b, 0x5148, 0x751f}, 8},
        {"ls8h", {0x1f4a9}, 1},
        {"", {0}, 0},
        {"-> $1.00 <--", {'-', '>', ' ', '$', '1', '.', '0', '0', ' ', '<', '-'}, 11},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        uint32_t points[PUNYCODE_MAX];
        char text[PUNYCODE_MAX];
        size_t n;
        assert_true(punycode_encode(rows[i].points, rows[i].n, text, &n));
        iov_t coded = {text, n};
        if (!iov_is(coded, rows[i].coded))
            fail_msg("%s became %.*s", rows[i].coded, (int)n, text);
        size_t n_points;
        assert_true(punycode_decode(coded, points, &n_points));
        assert_int_equal(n_points, rows[i].n);
        assert_memory_equal(points, rows[i].points, n_points * sizeof(*points));
    }
    uint32_t points[PUNYCODE_MAX];
    size_t n;
    assert_false(punycode_decode(repeat("a", 64), points, &n));
    assert_false(punycode_decode(IOV("\xff-a"), points, &n));
}

/* A label that some decoder would turn into a name is refused when the name may not be. */
static void a_labels_of_forbidden_names_are_refused(void **state UNUSED)
{
    static const uint32_t names[][5] = {
        {'a', 0x200b, 'b'}, {'a', 0x202e, 'b'},         {'a', 0xad, 'b'},   {'a', 0x3002, 'b'},
        {'a', 0xff41, 'b'}, {'a', 0xd800, 'b'},         {'a', 0xe000, 'b'}, {'a', 0xfffe, 'b'},
        {'a', 0x85, 'b'},   {0xfc, 'a', '-', '-', 'b'}, {'-', 0xfc, 'a'},
    };
    for (size_t i = 0; i < COUNTOF(names); i++) {
        char text[PUNYCODE_MAX];
        size_t n, len = 0;
        while (len < 5 && names[i][len] != 0)
            len++;
        assert_true(punycode_encode(names[i], len, text, &n));
        iov_t label = iov_printf(&pool, "xn--%.*s", (int)n, text);
        if (punycode_label_fault(label) == NULL)
            fail_msg("%s", label.base);
        struct ident id;
        struct err e = ERR_INIT;
        assert_false(ident_normalize(&pool, IDENT_DNS, label, &id, &e));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dns_names_are_accepted_in_one_spelling),
        cmocka_unit_test(bad_dns_names_are_refused_with_a_reason),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(addresses_are_accepted_in_one_spelling),
        cmocka_unit_test(bad_addresses_are_refused_with_a_reason),
        cmocka_unit_test(details_quote_hostile_bytes_harmlessly),
        cmocka_unit_test(json_identifiers_are_read_and_written),
        cmocka_unit_test(patterns_match_what_the_header_says),
        cmocka_unit_test(patterns_that_match_nothing_are_found),
        cmocka_unit_test(punycode_agrees_with_the_rfc),
        cmocka_unit_test(a_labels_of_forbidden_names_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

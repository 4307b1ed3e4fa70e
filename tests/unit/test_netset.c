/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include "io/netset.h"

static const char *rule(const struct netset *s, const char *address)
{
    uint8_t a[16];
    if (inet_pton(AF_INET, address, a) == 1)
        return netset_rule(s, a, 4);
    assert_int_equal(inet_pton(AF_INET6, address, a), 1);
    return netset_rule(s, a, 16);
}

static const struct {
    const char *net, *address;
    int in;
} cases[] = {
    {"127.0.0.0/8", "127.0.0.1", 1},
    {"127.0.0.0/8", "127.255.255.255", 1},
    {"127.0.0.0/8", "128.0.0.0", 0},
    {"127.0.0.0/8", "126.255.255.255", 0},
    {"192.0.2.7", "192.0.2.7", 1},
    {"192.0.2.7", "192.0.2.6", 0},
    {"192.0.2.128/25", "192.0.2.127", 0},
    {"192.0.2.128/25", "192.0.2.200", 1},
    {"10.1.2.3/8", "10.200.0.1", 1}, /* host bits are ignored */
    {"172.16.0.0/12", "172.31.255.1", 1},
    {"172.16.0.0/12", "172.32.0.1", 0},
    {"0.0.0.0/0", "203.0.113.9", 1},
    {"0.0.0.0/0", "2001:db8::1", 0},
    {"::/0", "2001:db8::1", 1},
    {"::/0", "203.0.113.9", 0}, /* families stand apart */
    {"fe80::/10", "fe80::1", 1},
    {"fe80::/10", "febf::1", 1},
    {"fe80::/10", "fec0::1", 0},
    {"::1/128", "::1", 1},
    {"::1", "::1", 1},
    {"::1", "::2", 0},
    /* IPv4 in other spellings */
    {"127.0.0.0/8", "::ffff:127.0.0.1", 1},
    {"127.0.0.0/8", "64:ff9b::7f00:1", 1},
    {"127.0.0.0/8", "2002:7f00:1::", 1},
    {"127.0.0.0/8", "2002:7f00:1:5::9", 1},
    {"127.0.0.0/8", "::127.0.0.1", 1},
    {"127.0.0.0/8", "2001:db8::7f00:1", 0},
    {"0.0.0.0/8", "::1", 0},
    {"0.0.0.0/8", "::", 0},
    {"::ffff:127.0.0.0/104", "127.0.0.1", 1},
    {"::ffff:127.0.0.1", "127.0.0.1", 1},
    {"::ffff:0:0/96", "::ffff:192.0.2.1", 1},
    {"64:ff9b::/96", "64:ff9b::c000:201", 1},
    {"2002::/16", "2002:c000:201::", 1},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct err e = ERR_INIT;
        struct netset *s = netset_parse(&cases[i].net, 1, &e);
        if (s == NULL)
            fail_msg("%s: %s", cases[i].net, e.detail);
        const char *hit = rule(s, cases[i].address);
        if ((hit != NULL) != cases[i].in || (hit != NULL && strcmp(hit, cases[i].net) != 0))
            fail_msg("%s in %s: got %s", cases[i].address, cases[i].net, hit ? hit : "nothing");
        netset_free(s);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "/",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/8/8",
                                      "10.0.0/8",
                                      "fe80::/129",
                                      "fe80::%eth0/64",
                                      "localhost",
                                      "10.0.0.0 /8",
                                      "1.2.3.4/ 8",
                                      "11111111111111111111111111111111111111111111111111/8"};
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct err e = ERR_INIT;
        const char *const list[] = {"192.0.2.0/24", bad[i]};
        if (netset_parse(list, 2, &e) != NULL)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_non_null(strstr(e.detail, bad[i]));
        assert_null(netset_parse_except(list, 1, &bad[i], 1, &e));
    }
}

static void test_except(void **state)
{
    (void)state;
    static const char *const deny[] = {"127.0.0.0/8", "::1/128", "fe80::/10"};
    static const char *const allow[] = {"127.0.0.1", "::1"};
    struct err e = ERR_INIT;
    struct netset *s = netset_parse_except(deny, 3, allow, 2, &e);
    assert_non_null(s);
    assert_null(rule(s, "127.0.0.1"));
    assert_null(rule(s, "::ffff:127.0.0.1"));
    assert_null(rule(s, "::1"));
    assert_string_equal(rule(s, "127.0.0.2"), "127.0.0.0/8");
    assert_string_equal(rule(s, "::ffff:127.0.0.2"), "127.0.0.0/8");
    assert_string_equal(rule(s, "fe80::2"), "fe80::/10");
    netset_free(s);
    /* All of IPv6 let in opens no IPv4 in disguise. */
    static const char *const v6[] = {"::/0"};
    s = netset_parse_except(deny, 3, v6, 1, &e);
    assert_non_null(s);
    assert_null(rule(s, "fe80::2"));
    assert_string_equal(rule(s, "::ffff:127.0.0.1"), "127.0.0.0/8");
    netset_free(s);
}

static void test_empty(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct netset *s = netset_parse(NULL, 0, &e);
    assert_non_null(s);
    assert_null(rule(s, "127.0.0.1"));
    netset_free(s);
    assert_false(netset_has(NULL, (const uint8_t *)"\x7f\0\0\1", 4));
    netset_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_except),
        cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

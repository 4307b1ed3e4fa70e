/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include <time.h>
#include "base/clock.h"

static pool_t pool;

static void test_format(void **state)
{
    (void)state;
    static const struct {
        int64_t s;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z"},
        {-1, "1969-12-31T23:59:59Z"},
        {951782399, "2000-02-28T23:59:59Z"},
        {951782400, "2000-02-29T00:00:00Z"},
        {951868800, "2000-03-01T00:00:00Z"},
        {1769817600, "2026-01-31T00:00:00Z"},
        {2147483648, "2038-01-19T03:14:08Z"},
        {4107542400, "2100-03-01T00:00:00Z"},
        {-2208988800, "1900-01-01T00:00:00Z"},
        {253402300799, "9999-12-31T23:59:59Z"},
        {253402300800, "9999-12-31T23:59:59Z"},
        {INT64_MAX, "9999-12-31T23:59:59Z"},
        {-62167219200, "0000-01-01T00:00:00Z"},
        {INT64_MIN, "0000-01-01T00:00:00Z"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++)
        assert_string_equal(clock_rfc3339(&pool, cases[i].s).base, cases[i].text);
}

/* Against the C library, over all years that four digits can say. */
static void test_round_trip(void **state)
{
    (void)state;
    for (int64_t s = -62167219200; s <= 253402300799; s += 86400 * 91 + 12345) {
        time_t t = (time_t)s;
        struct tm tm;
        char expected[32];
        gmtime_r(&t, &tm);
        snprintf(expected, sizeof(expected), "%04d-%02d-%02dT%02d:%02d:%02dZ", (tm.tm_year + 1900) % 10000,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        pool_t round;
        h2o_mem_init_pool(&round);
        iov_t text = clock_rfc3339(&round, s);
        assert_string_equal(text.base, expected);
        int64_t back = 0;
        assert_true(clock_parse_rfc3339(text, &back));
        assert_true(back == s);
        h2o_mem_clear_pool(&round);
    }
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t s;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1969-12-31T19:00:00-05:00", 0},
        {"1970-01-01T00:00:00-00:00", 0},
        {"1970-01-01T00:00:00.5Z", 0},
        {"1970-01-01T00:00:00.999999999999Z", 0},
        {"1970-01-02T05:44:00+05:45", 86340},
        {"2024-02-29T12:00:00Z", 1709208000},
        {"1996-12-19T16:39:57-08:00", 851042397},
        {"1990-12-31T23:59:60Z", 662688000},
        {"1990-12-31T15:59:60-08:00", 662688000},
        {"9999-12-31T23:59:59Z", 253402300799},
        {"0000-01-01T00:00:00Z", -62167219200},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        int64_t s = 1;
        if (!clock_parse_rfc3339(iov_of(cases[i].text), &s) || s != cases[i].s)
            fail_msg("%s gives %lld", cases[i].text, (long long)s);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "Z",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01 00:00:00Z",
        "1970-01-01T00:00Z",
        "70-01-01T00:00:00Z",
        "1970-1-01T00:00:00Z",
        "1970-13-01T00:00:00Z",
        "1970-00-01T00:00:00Z",
        "1970-01-00T00:00:00Z",
        "1970-01-32T00:00:00Z",
        "1970-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:61Z",
        "1970-01-01T00:00:60Z",
        "1990-12-31T22:59:60Z",
        "1990-12-30T23:59:60Z",
        "1990-12-31T23:59:60-08:00",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00,5Z",
        "1970-01-01T00:00:00+0100",
        "1970-01-01T00:00:00+01",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+01:60",
        "1970-01-01T00:00:00Zx",
        "1970-01-01T00:00:00ZZ",
        " 1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00+01:00Z",
        "+970-01-01T00:00:00Z",
        "1970\r01\r01T00:00:00Z",
        ("1970-01-01T00\x1a"
         "00:00Z"),
        "now",
    };
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        int64_t s;
        if (clock_parse_rfc3339(iov_of(bad[i]), &s))
            fail_msg("\"%s\" was accepted", bad[i]);
    }
    int64_t s;
    assert_false(clock_parse_rfc3339((iov_t){"1970-01-01T00:00:00Z\0", 21}, &s));
    assert_false(clock_parse_rfc3339(IOV_NULL, &s));
}

static void test_clocks_agree(void **state)
{
    (void)state;
    int64_t before = (int64_t)time(NULL), s = clock_unix_s(), ms = clock_unix_ms();
    assert_true(s >= before - 1 && s <= before + 60);
    assert_true(ms / 1000 >= s && ms / 1000 <= s + 60);
    uint64_t a = clock_mono_ms(), b = clock_mono_ms();
    assert_true(b >= a && b < a + 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),   cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_parse),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_clocks_agree),
    };
    h2o_mem_init_pool(&pool);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    h2o_mem_clear_pool(&pool);
    return failed;
}

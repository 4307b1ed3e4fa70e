/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "base/b64.h"

static pool_t pool;

/* RFC 4648 section 10, and the characters in which the alphabets differ. */
static const struct {
    iov_t bytes;
    const char *url, *std;
} pairs[] = {
    {{"", 0}, "", ""},
    {{"f", 1}, "Zg", "Zg=="},
    {{"fo", 2}, "Zm8", "Zm8="},
    {{"foo", 3}, "Zm9v", "Zm9v"},
    {{"foob", 4}, "Zm9vYg", "Zm9vYg=="},
    {{"fooba", 5}, "Zm9vYmE", "Zm9vYmE="},
    {{"foobar", 6}, "Zm9vYmFy", "Zm9vYmFy"},
    {{"\xfb\xff\xbf", 3}, "-_-_", "+/+/"},
    {{"\0\0\0\0", 4}, "AAAAAA", "AAAAAA=="},
};

static void test_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(pairs); i++) {
        iov_t out = IOV_NULL;
        assert_string_equal(b64_encode(&pool, pairs[i].bytes).base, pairs[i].url);
        assert_true(b64_decode(&pool, iov_of(pairs[i].url), &out));
        assert_true(iov_eq(out, pairs[i].bytes));
        assert_non_null(out.base);
        assert_string_equal(b64_std_encode(&pool, pairs[i].bytes).base, pairs[i].std);
        assert_true(b64_std_decode(&pool, iov_of(pairs[i].std), &out));
        assert_true(iov_eq(out, pairs[i].bytes));
    }
}

static void test_every_length(void **state)
{
    (void)state;
    char bytes[256];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 167 + 13);
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        iov_t in = {bytes, n}, out;
        assert_true(b64_decode(&pool, b64_encode(&pool, in), &out) && iov_eq(in, out));
        assert_true(b64_std_decode(&pool, b64_std_encode(&pool, in), &out) && iov_eq(in, out));
    }
}

static void test_url_refusals(void **state)
{
    (void)state;
    static const iov_t bad[] = {
        {"A", 1},     {"AAAAA", 5},  {"Zg==", 4},  {"Zm8=", 4}, {"=", 1},   {"Zm+v", 4},       {"Zm/v", 4},
        {"Zm 9v", 5}, {"Zm9v\n", 5}, {"Zm\0v", 4}, {"Zh", 2},   {"Zm9", 3}, {"Z\xc3\xa9v", 4}, {"_x", 2},
    };
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        iov_t out;
        if (b64_decode(&pool, bad[i], &out))
            fail_msg("\"%.*s\" was accepted", (int)bad[i].len, bad[i].base);
    }
}

static void test_std_refusals(void **state)
{
    (void)state;
    static const iov_t bad[] = {
        {"Zg", 2},   {"Zg=", 3},  {"Zg===", 5}, {"Z===", 4},  {"====", 4},     {"=", 1},     {"Zm=v", 4},
        {"Zh==", 4}, {"Zm9=", 4}, {"-_-_", 4},  {"Zm9v=", 5}, {"Zg==Zg==", 8}, {"Zm\0v", 4}, {"Zm9v\v", 5},
    };
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        iov_t out;
        if (b64_std_decode(&pool, bad[i], &out))
            fail_msg("\"%.*s\" was accepted", (int)bad[i].len, bad[i].base);
    }
}

static void test_std_skips_white_space(void **state)
{
    (void)state;
    iov_t out;
    assert_true(b64_std_decode(&pool, IOV(" Zm9v\r\n\tYm E=\n"), &out));
    assert_true(iov_is(out, "fooba"));
    assert_true(b64_std_decode(&pool, IOV(" \n"), &out));
    assert_int_equal(out.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_url_refusals),
        cmocka_unit_test(test_std_refusals),
        cmocka_unit_test(test_std_skips_white_space),
    };
    h2o_mem_init_pool(&pool);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    h2o_mem_clear_pool(&pool);
    return failed;
}

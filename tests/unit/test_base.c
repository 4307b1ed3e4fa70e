/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

static pool_t pool;

static void test_compare(void **state)
{
    (void)state;
    static const struct {
        iov_t a;
        iov_t b;
        bool eq, ieq;
    } cases[] = {
        {{"abc", 3}, {"abc", 3}, true, true},    {{"abc", 3}, {"ABC", 3}, false, true},
        {{"abc", 3}, {"abcd", 4}, false, false}, {{"", 0}, {"", 0}, true, true},
        {{NULL, 0}, {NULL, 0}, true, true},      {{"a\0b", 3}, {"a\0c", 3}, false, false},
        {{"[", 1}, {"{", 1}, false, false}, /* differ by 0x20 and are no letters */
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        assert_int_equal(iov_eq(cases[i].a, cases[i].b), cases[i].eq);
        assert_int_equal(iov_ieq(cases[i].a, cases[i].b), cases[i].ieq);
        assert_int_equal(iov_ieq(cases[i].b, cases[i].a), cases[i].ieq);
    }
    assert_true(iov_is(IOV("dns"), "dns"));
    assert_false(iov_is(IOV("dn"), "dns"));
    assert_true(iov_starts(IOV("dns:x"), "dns:") && iov_starts(IOV(""), "") && iov_starts(IOV_NULL, ""));
    assert_false(iov_starts(IOV("dn"), "dns"));
    assert_true(iov_ends(IOV("a.example"), ".example") && iov_ends(IOV("x"), "x") && iov_ends(IOV_NULL, ""));
    assert_false(iov_ends(IOV("e"), "xe"));
}

static void test_absent_stays_absent(void **state)
{
    (void)state;
    assert_null(iov_of(NULL).base);
    assert_null(iov_dup(&pool, IOV_NULL).base);
    assert_null(iov_cstr(&pool, IOV_NULL));
    assert_non_null(iov_dup(&pool, IOV("")).base);
    assert_int_equal(iov_of("abc").len, 3);
}

static void test_copies_are_terminated(void **state)
{
    (void)state;
    char text[] = {'a', 'b', 'c'};
    iov_t copy = iov_dup(&pool, (iov_t){text, 2});
    assert_string_equal(copy.base, "ab");
    assert_int_equal(copy.len, 2);
    assert_string_equal(iov_cstr(&pool, (iov_t){text, 3}), "abc");
    iov_t printed = iov_printf(&pool, "%s-%d", "x", 7);
    assert_string_equal(printed.base, "x-7");
    assert_int_equal(printed.len, 3);
    iov_t hex = iov_hex(&pool, (iov_t){"\x00\x9f\xff", 3});
    assert_string_equal(hex.base, "009fff");
    assert_int_equal(hex.len, 6);
}

static void test_printable(void **state)
{
    (void)state;
    static const struct {
        iov_t in;
        size_t max;
        const char *out;
    } cases[] = {
        {{"plain", 5}, 10, "plain"}, {{"plain", 5}, 5, "plain"},        {{"plain", 5}, 4, "plai..."},
        {{"plain", 5}, 0, "..."},    {{"a\nb\x7f\xc3", 5}, 9, "a?b??"}, {{"a\0b", 3}, 9, "a?b"},
        {{NULL, 0}, 9, ""},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        iov_t out = iov_printable(&pool, cases[i].in, cases[i].max);
        assert_string_equal(out.base, cases[i].out);
        assert_int_equal(out.len, strlen(cases[i].out));
    }
}

static void test_to_u64(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool ok;
        uint64_t out;
    } cases[] = {
        {"0", true, 0},
        {"007", true, 7},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1x", false, 0},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        uint64_t out = 0;
        assert_int_equal(iov_to_u64(iov_of(cases[i].in), &out), cases[i].ok);
        assert_true(out == cases[i].out);
    }
}

static void test_lists(void **state)
{
    (void)state;
    struct iovs list = {0};
    iovs_sort(&list);
    for (int i = 99; i >= 0; i--)
        iovs_add(&pool, &list, iov_printf(&pool, "%02d", i));
    iovs_add(&pool, &list, IOV("0"));
    assert_true(iovs_has(&list, IOV("42")));
    assert_false(iovs_has(&list, IOV("100")));
    iovs_sort(&list);
    assert_int_equal(list.n, 101);
    assert_true(iov_is(list.v[0], "0"));
    assert_true(iov_is(list.v[1], "00"));
    assert_true(iov_is(list.v[100], "99"));
}

static void test_sbuf(void **state)
{
    (void)state;
    struct sbuf b;
    sbuf_init(&b, &pool);
    assert_string_equal(b.text.base, "");
    for (int i = 0; i < 1000; i++)
        sbuf_printf(&b, "%d,", i % 10);
    sbuf_puts(&b, "end");
    sbuf_add(&b, (iov_t){"\0x", 2});
    assert_int_equal(b.text.len, 2005);
    assert_memory_equal(b.text.base + 1996, "8,9,end\0x", 10);
    /* A text exactly as long as the room left, and one more. */
    for (size_t n = 60; n < 68; n++) {
        sbuf_init(&b, &pool);
        sbuf_printf(&b, "%0*d", (int)n, 7);
        assert_int_equal(b.text.len, n);
        assert_int_equal(strlen(b.text.base), n);
    }
}

static void test_zeroed(void **state)
{
    (void)state;
    unsigned char *p = pool_zalloc(&pool, 5000);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(p[i], 0);
    assert_non_null(pool_zalloc(&pool, 0));
    void *heap = base_zalloc(0);
    assert_non_null(heap);
    free(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_absent_stays_absent),
        cmocka_unit_test(test_copies_are_terminated),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_to_u64),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_sbuf),
        cmocka_unit_test(test_zeroed),
    };
    h2o_mem_init_pool(&pool);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    h2o_mem_clear_pool(&pool);
    return failed;
}

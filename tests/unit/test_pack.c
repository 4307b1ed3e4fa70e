/* SPDX-License-Identifier: Apache-2.0 */
/* msgpack maps: what is packed comes back; anything but one strict map is refused before it costs memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "io/pack.h"

static void test_round_trip(void **state)
{
    (void)state;
    pool_t pool;
    h2o_mem_init_pool(&pool);
    struct iovs names = {0};
    iovs_add(&pool, &names, IOV("a.example"));
    iovs_add(&pool, &names, IOV(""));
    struct pack *p = pack_new(8);
    pack_str(p, "s", IOV("text"));
    pack_bin(p, "b", IOV("\0\xff"));
    pack_bin(p, "empty", IOV(""));
    pack_int(p, "min", INT64_MIN);
    pack_int(p, "max", INT64_MAX);
    pack_bool(p, "yes", true);
    pack_bool(p, "no", false);
    pack_strs(p, "names", &names);
    iov_t bytes = pack_finish(p, &pool);

    struct err e = ERR_INIT;
    struct unpack *u = unpack_new(bytes, &e);
    assert_non_null(u);
    int64_t n;
    assert_true(iov_is(unpack_bytes(u, "s"), "text"));
    assert_true(iov_eq(unpack_bytes(u, "b"), IOV("\0\xff")));
    assert_true(unpack_bytes(u, "empty").base != NULL && unpack_bytes(u, "empty").len == 0);
    assert_true(unpack_int(u, "min", &n) && n == INT64_MIN);
    assert_true(unpack_int(u, "max", &n) && n == INT64_MAX);
    assert_true(unpack_bool(u, "yes"));
    assert_false(unpack_bool(u, "no"));
    struct iovs back = unpack_strs(u, &pool, "names");
    assert_int_equal(back.n, 2);
    assert_true(iov_is(back.v[0], "a.example") && back.v[1].len == 0);

    /* absent, or of another type */
    assert_null(unpack_bytes(u, "nothing").base);
    assert_null(unpack_bytes(u, "max").base);
    assert_false(unpack_int(u, "s", &n));
    assert_false(unpack_bool(u, "s"));
    assert_int_equal(unpack_strs(u, &pool, "s").n, 0);
    unpack_free(u);
    unpack_free(NULL);
    h2o_mem_clear_pool(&pool);
}

static void test_strict(void **state)
{
    (void)state;
    static const struct {
        iov_t in;
        bool ok;
        const char *what;
    } cases[] = {
#define IN(s) {(char *)(s), sizeof(s) - 1}
        {IN("\x80"), true, "empty map"},
        {IN("\x81\xa1"
            "a\x01"),
         true, "one pair"},
        {IN(""), false, "nothing"},
        {IN("\x81\xa1"
            "a"),
         false, "cut short"},
        {IN("\x80\x80"), false, "two values"},
        {IN("\x90"), false, "an array"},
        {IN("\x81\x01\x01"), false, "an integer as key"},
        {IN("\x82\xa1"
            "a\x01\xa1"
            "a\x02"),
         false, "a key twice"},
        {IN("\xdf\xff\xff\xff\xff"), false, "four thousand million pairs"},
        {IN("\x81\xa1"
            "a\xdd\xff\xff\xff\xff"),
         false, "four thousand million items"},
        {IN("\x81\xa1"
            "a\xdb\xff\xff\xff\xff"
            "x"),
         false, "a string beyond the end"},
        {IN("\x81\xa1"
            "a\xd4\x01\x00"),
         false, "an extension type"},
        {IN("\x81\xa1"
            "a\xc1"),
         false, "the byte that is never used"},
        {IN("\x81\xa1"
            "a\x91\x91\x91\x91\x91\x91\xc0"),
         true, "depth 7"},
        {IN("\x81\xa1"
            "a\x91\x91\x91\x91\x91\x91\x91\x91\x91\xc0"),
         false, "depth 10"},
        {IN("\x81\xa1"
            "a\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
         true, "uint64"},
        {IN("\x81\xa1"
            "a\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
         true, "float"},
#undef IN
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct err e = ERR_INIT;
        struct unpack *u = unpack_new(cases[i].in, &e);
        if ((u != NULL) != cases[i].ok)
            fail_msg("%s", cases[i].what);
        assert_true(u != NULL || e.detail[0] != '\0');
        int64_t n;
        if (u != NULL && iov_is(cases[i].in, "\x81\xa1"
                                             "a\xcf\xff\xff\xff\xff\xff\xff\xff\xff"))
            assert_false(unpack_int(u, "a", &n)); /* does not fit */
        unpack_free(u);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_strict)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "base/json.h"

static pool_t pool;

static void test_accepts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{}",
        " { } \n",
        "{\"a\":1}",
        "{\"a\":{\"b\":[1,2.5,true,null,\"x\"]}}",
        "{\"a\":\"\\u00e9\\n\"}",
        "{\"\xc3\xa9\":1}",
        "{\"a\":\"{[{[{[{[{[{[{[{[{[{[{[{[{[{[{[{[{[{[\"}",
        "{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}",
        "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", /* 32 deep */
    };
    for (size_t i = 0; i < COUNTOF(good); i++) {
        struct err e = ERR_INIT;
        json_t *value = json_parse_object(iov_of(good[i]), 1000, &e);
        if (value == NULL)
            fail_msg("%s: %s", good[i], e.detail);
        json_decref(value);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        iov_t text;
        const char *why;
    } bad[] = {
        {{"", 0}, "line 1"},
        {{NULL, 0}, "line 1"},
        {{"[]", 2}, "object"},
        {{"1", 1}, "line 1"},
        {{"null", 4}, "line 1"},
        {{"{\"a\":1,\"a\":2}", 13}, "duplicate"},
        {{"{\"a\":{\"b\":1,\"b\":1}}", 19}, "duplicate"},
        {{"{\"a\":\"\\u0000\"}", 14}, "NUL"},
        {{"{\"a\\u0000b\":1}", 14}, "NUL"},
        {{"{\"a\":\"\0\"}", 9}, "line 1"},
        {{"{}\0", 3}, "line 1"},
        {{"{} {}", 5}, "end of file"},
        {{"{\"a\":1,}", 8}, "line 1"},
        {{"{'a':1}", 7}, "line 1"},
        {{"{\n\n\"a\":tru}", 11}, "line 3"},
        {{"{\"a\":\"\xff\"}", 9}, "line 1"},
        {{"{\"a\":\"\xc0\x80\"}", 10}, "line 1"},
        {{"{\"a\":\"\xed\xa0\x80\"}", 11}, "line 1"},
        {{"{\"a\":\"\\ud800\"}", 14}, "line 1"},
        {{"{\"a\":99999999999999999999}", 26}, "too big"},
        {{"\xef\xbb\xbf{}", 5}, "line 1"},
        {{"{\"a\":NaN}", 9}, "line 1"},
        {{"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", 71}, "deep"},
    };
    for (size_t i = 0; i < COUNTOF(bad); i++) {
        struct err e = ERR_INIT;
        e.code = 7;
        assert_null(json_parse_object(bad[i].text, 1000, &e));
        assert_int_equal(e.code, 0);
        if (strstr(e.detail, bad[i].why) == NULL)
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, e.detail, bad[i].why);
        for (const char *p = e.detail; *p != '\0'; p++)
            assert_in_range((unsigned char)*p, 0x20, 0x7e);
    }
}

static void test_size_is_bounded(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    json_t *value = json_parse_object(IOV("{\"a\":1}"), 7, &e);
    assert_non_null(value);
    json_decref(value);
    assert_null(json_parse_object(IOV("{\"a\":1}"), 6, &e));
    assert_non_null(strstr(e.detail, "at most 6"));
}

static void test_members(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    json_t *obj = json_parse_object(IOV("{\"z\":\"x\\ty\",\"n\":5,\"e\":\"\",\"a\":[true,null]}"), 1000, &e);
    assert_non_null(obj);
    assert_true(iov_is(json_get_iov(obj, "z"), "x\ty"));
    assert_true(json_get_iov(obj, "e").base != NULL && json_get_iov(obj, "e").len == 0);
    assert_null(json_get_iov(obj, "n").base);
    assert_null(json_get_iov(obj, "absent").base);
    assert_string_equal(json_to_iov(&pool, obj).base,
                        "{\"z\":\"x\\ty\",\"n\":5,\"e\":\"\",\"a\":[true,null]}");
    json_decref(obj);
}

static void test_str_repairs(void **state)
{
    (void)state;
    static const struct {
        iov_t in;
        const char *out;
    } cases[] = {
        {{"plain", 5}, "\"plain\""},
        {{NULL, 0}, "\"\""},
        {{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91", 9}, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91\""},
        {{"a\xff"
          "b",
          3},
         "\"a\xef\xbf\xbd"
         "b\""},
        {{"\xe2\x82", 2}, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {{"\xc0\x80", 2}, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {{"\xed\xa0\x80", 3}, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {{"\xf4\x90\x80\x80", 4}, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {{"\xff\0\"", 3}, "\"\xef\xbf\xbd\\u0000\\\"\""},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        json_t *value = json_str(cases[i].in);
        assert_string_equal(json_to_iov(&pool, value).base, cases[i].out);
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),         cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_size_is_bounded), cmocka_unit_test(test_members),
        cmocka_unit_test(test_str_repairs),
    };
    h2o_mem_init_pool(&pool);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    h2o_mem_clear_pool(&pool);
    return failed;
}

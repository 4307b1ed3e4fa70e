/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

static void test_set_replaces_everything(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    e.retry_after_s = 9;
    err_cause(&e, "old cause");
    assert_false(err_set(&e, 3, "the name \"%s\" is wrong", "a..b"));
    assert_int_equal(e.code, 3);
    assert_int_equal(e.retry_after_s, 0);
    assert_string_equal(e.detail, "the name \"a..b\" is wrong");
    assert_string_equal(e.cause, "");
    assert_false(err_cause(&e, "line %d", 7));
    assert_string_equal(e.cause, "line 7");
    assert_string_equal(e.detail, "the name \"a..b\" is wrong");
}

static void test_internal_tells_the_client_nothing(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_false(err_internal(&e, "password of %s", "db.corp"));
    assert_int_equal(e.code, 0);
    assert_null(strstr(e.detail, "db.corp"));
    assert_true(strlen(e.detail) > 0);
    assert_string_equal(e.cause, "password of db.corp");
}

static void test_null_is_fine(void **state)
{
    (void)state;
    assert_false(err_set(NULL, 1, "x"));
    assert_false(err_cause(NULL, "x"));
    assert_false(err_internal(NULL, "x"));
}

/* The cut lies between two characters wherever the text ends. */
static void test_long_texts_stay_utf8(void **state)
{
    (void)state;
    char text[sizeof(((struct err *)0)->detail) + 8];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'a', shift);
        for (size_t i = shift; i + 4 < sizeof(text); i += 4)
            memcpy(text + i, "\xf0\x9f\x94\x91", 5);
        struct err e = ERR_INIT;
        err_set(&e, 1, "%s", text);
        size_t n = strlen(e.detail);
        assert_true(n < sizeof(e.detail) && n >= sizeof(e.detail) - 8);
        assert_string_equal(e.detail + n - 3, "...");
        assert_int_equal((n - 3 - shift) % 4, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_replaces_everything),
        cmocka_unit_test(test_internal_tells_the_client_nothing),
        cmocka_unit_test(test_null_is_fine),
        cmocka_unit_test(test_long_texts_stay_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

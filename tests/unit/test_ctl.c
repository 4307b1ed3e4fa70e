/* SPDX-License-Identifier: Apache-2.0 */
/* admin/ctl: what porticoctl prints for people. */
#include "unit.h"
#include <stdio.h>
#include "admin/ctl.h"

static char *printed(const char *json)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    json_error_t why;
    json_t *v = json_loads(json, JSON_DECODE_ANY, &why);
    assert_non_null(out);
    assert_non_null(v);
    ctl_print(out, v);
    json_decref(v);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void check(const char *json, const char *want)
{
    char *got = printed(json);
    assert_string_equal(got, want);
    free(got);
}

static void test_shapes(void **state)
{
    (void)state;
    check("\"word\"", "word\n");
    check("42", "42\n");
    check("null", "-\n");
    check("[]", "none\n");
    check("{}", "");
    check("{\"a\": 1, \"longer\": \"x\"}", "a       1\nlonger  x\n");
    check("{\"names\": [\"a\", \"b\"], \"none\": [], \"gone\": null}",
          "names  [\"a\",\"b\"]\nnone   -\ngone   -\n");
}

static void test_tables(void **state)
{
    (void)state;
    check("[{\"id\": \"a\", \"n\": 1}, {\"id\": \"bcd\", \"n\": 22}]", "id   n\na    1\nbcd  22\n");
    check("[{\"id\": \"a\", \"n\": 1}, {\"id\": \"b\"}]", "id  n\na   1\nb   -\n");
    check("{\"jobs\": [{\"id\": \"a\"}]}", "jobs\n  id\n  a\n");
}

/* A name that a client chose must not move the operator's cursor. */
static void test_control_characters(void **state)
{
    (void)state;
    check("\"a\\u001b[2Jb\\nc\\u007fd\"", "a?[2Jb?c?d\n");
    check("\"a\\u009b2Jb\\u0080c\\u009fd\"", "a?2Jb?c?d\n");
    check("\"\\u00e4\\u00a0\\u20ac\"", "\xc3\xa4\xc2\xa0\xe2\x82\xac\n");
    check("[{\"id\": \"\\u009b1m\"}]", "id\n?1m\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_control_characters),
    };
    return cmocka_run_group_tests_name("ctl", tests, NULL, NULL);
}

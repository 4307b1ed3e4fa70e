/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration text and values; files, fragments and overrides are test_conf_load.c. */
#include "unit.h"
#include "base/conf.h"

static const char *const colours[] = {"red", "green", "light-blue", NULL};

struct all {
    const char *str, *str_def;
    bool flag;
    int64_t number, free_number, wait_ms, bytes;
    struct conf_list list, list_def;
    int colour;
    struct conf_secret secret;
    const struct conf_node *node;
};
static const struct conf_key all_keys[] = {
    CONF_STR(struct all, str, "str", NULL, "a text"),
    CONF_STR(struct all, str_def, "str_def", "fallback", "a text with a default"),
    CONF_BOOL(struct all, flag, "flag", "true", "yes or no"),
    CONF_INT(struct all, number, "number", "80", 1, 65535, "a port"),
    CONF_INT(struct all, free_number, "free_number", NULL, 0, 0, "any number"),
    CONF_DURATION(struct all, wait_ms, "wait", "10s", 0, 3600000, "a wait"),
    CONF_SIZE(struct all, bytes, "bytes", "64KiB", 1024, 1 << 20, "a size"),
    CONF_LIST(struct all, list, "list", NULL, "some texts"),
    CONF_LIST(struct all, list_def, "list_def", "a, b,c", "some texts"),
    CONF_ENUM(struct all, colour, "colour", "green", colours, "a colour"),
    CONF_SECRET(struct all, secret, "secret", NULL, "a password"),
    CONF_NODE(struct all, node, "node", NULL, "anything"),
    CONF_END,
};

/* The conf is kept until the next call, since values live in it. */
static struct conf *conf;
static bool read_all(const char *text, struct all *out, struct err *e)
{
    conf_free(conf);
    *e = ERR_INIT;
    conf = conf_parse(iov_of(text), "t.yaml", e);
    return conf != NULL && conf_read(conf, conf_root(conf), all_keys, out, e);
}

static struct all must_read(const char *text)
{
    struct all a;
    struct err e;
    memset(&a, 0x55, sizeof(a)); /* whatever was there before is overwritten */
    if (!read_all(text, &a, &e))
        fail_msg("%s: %s", text, e.detail);
    return a;
}

static void test_defaults(void **state)
{
    (void)state;
    static const char *const nothing[] = {"", "# only a comment\n", "{}",
                                          "str:\nwait: ~\nnumber: null\nlist:\n"};
    for (size_t i = 0; i < COUNTOF(nothing); i++) {
        struct all a = must_read(nothing[i]);
        assert_null(a.str);
        assert_string_equal(a.str_def, "fallback");
        assert_true(a.flag);
        assert_true(a.number == 80 && a.free_number == 0 && a.wait_ms == 10000 && a.bytes == 65536);
        assert_int_equal(a.list.n, 0);
        assert_int_equal(a.list_def.n, 3);
        assert_string_equal(a.list_def.v[0], "a");
        assert_string_equal(a.list_def.v[2], "c");
        assert_int_equal(a.colour, 1);
        assert_null(a.secret.text);
        assert_null(a.node);
    }
}

static void test_null_mapping_is_an_empty_one(void **state)
{
    (void)state;
    must_read("");
    struct all a;
    struct err e = ERR_INIT;
    assert_true(conf_read(conf, NULL, all_keys, &a, &e));
    assert_int_equal(a.number, 80);
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *value;
    } cases[] = {
        {"str: plain text", "plain text"},
        {"str: 'it''s'", "it's"},
        {"str: \"a\\tb\\u00e9\"", "a\tb\xc3\xa9"},
        {"str: \"\"", ""},
        {"str: \"~\"", "~"},
        {"str: 'null'", "null"},
        {"str: postgresql:///portico?host=/run", "postgresql:///portico?host=/run"},
        {"str: |\n  two\n  lines\n", "two\nlines\n"},
        {"str: 007", "007"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++)
        assert_string_equal(must_read(cases[i].text).str, cases[i].value);
}

static void test_bools(void **state)
{
    (void)state;
    static const char *const yes[] = {"true", "yes", "on", "True", "\"true\""}, *const no[] = {"false", "no",
                                                                                               "off", "OFF"};
    char text[64];
    for (size_t i = 0; i < COUNTOF(yes); i++) {
        snprintf(text, sizeof(text), "flag: %s", yes[i]);
        assert_true(must_read(text).flag);
    }
    for (size_t i = 0; i < COUNTOF(no); i++) {
        snprintf(text, sizeof(text), "flag: %s", no[i]);
        assert_false(must_read(text).flag);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    assert_int_equal(must_read("number: 65535").number, 65535);
    assert_int_equal(must_read("number: 1").number, 1);
    assert_true(must_read("free_number: -9223372036854775807").free_number == -INT64_MAX);
    static const struct {
        const char *text;
        int64_t ms;
    } waits[] = {
        {"0", 0},       {"0s", 0},       {"250ms", 250},     {"10s", 10000},
        {"5m", 300000}, {"1h", 3600000}, {"3600s", 3600000},
    };
    for (size_t i = 0; i < COUNTOF(waits); i++) {
        char text[64];
        snprintf(text, sizeof(text), "wait: %s", waits[i].text);
        assert_true(must_read(text).wait_ms == waits[i].ms);
    }
    assert_true(must_read("bytes: 1MiB").bytes == 1 << 20);
    assert_true(must_read("bytes: 2KiB").bytes == 2048);
    assert_true(must_read("bytes: 1024B").bytes == 1024);
}

static void test_lists(void **state)
{
    (void)state;
    struct all a = must_read("list: [one, 'two', 3]\nlist_def: single, with comma\n");
    assert_int_equal(a.list.n, 3);
    assert_string_equal(a.list.v[0], "one");
    assert_string_equal(a.list.v[2], "3");
    assert_int_equal(a.list_def.n, 1);
    assert_string_equal(a.list_def.v[0], "single, with comma");
    assert_int_equal(must_read("list_def: []").list_def.n, 0);
    assert_int_equal(must_read("colour: light-blue").colour, 2);
}

static void test_tree(void **state)
{
    (void)state;
    struct all a = must_read("node:\n  - {name: x}\n  - two\n  -\nstr: s\n");
    assert_int_equal(conf_count(a.node), 3);
    assert_string_equal(conf_text(conf_get(conf_item(a.node, 0), "name")), "x");
    assert_string_equal(conf_text(conf_item(a.node, 1)), "two");
    assert_null(conf_text(conf_item(a.node, 2)));
    assert_null(conf_item(a.node, 3));
    assert_string_equal(conf_where(conf_item(a.node, 1)), "t.yaml:3");
    assert_string_equal(conf_where(conf_get(conf_root(conf), "str")), "t.yaml:5");
    assert_null(conf_get(NULL, "x"));
    assert_null(conf_get(a.node, "x"));
    assert_null(conf_text(NULL));
    assert_int_equal(conf_count(NULL), 0);
    struct err e = ERR_INIT;
    assert_false(conf_error(a.node, &e, "no %s", "good"));
    assert_string_equal(e.detail, "t.yaml:2: no good");
    assert_false(conf_error(NULL, &e, "nowhere"));
    assert_string_equal(e.detail, "configuration: nowhere");
}

static void test_aliases_are_copies(void **state)
{
    (void)state;
    struct all a = must_read("str: &s shared\nstr_def: *s\nlist: &l [*s, b]\nlist_def: *l\n");
    assert_string_equal(a.str_def, "shared");
    assert_string_equal(a.list_def.v[0], "shared");
    assert_int_equal(a.list_def.n, 2);
}

static void test_secrets(void **state)
{
    (void)state;
    struct all a = must_read("secret: pass word");
    assert_string_equal(a.secret.text, "pass word");
    assert_int_equal(a.secret.len, 9);
    setenv("PORTICO_TEST_SECRET", "from the environment", 1);
    assert_string_equal(must_read("secret: env:PORTICO_TEST_SECRET").secret.text, "from the environment");
    unsetenv("PORTICO_TEST_SECRET");
}

/* Each message says where, what is wrong and what would be right; parts of it are enough here. */
static const struct {
    const char *text, *parts[4];
} wrong[] = {
    {"a: 1\nflg: true\n", {"t.yaml:1: ", "unknown key \"a\"", "the keys here are: str, str_def, flag,"}},
    {"str: x\nflg: true\n", {"t.yaml:2: ", "unknown key \"flg\", did you mean \"flag\"?"}},
    {"nubmer: 1", {"t.yaml:1: ", "did you mean \"number\"?"}},
    {"zzzzzzzzz: 1", {"t.yaml:1: unknown key \"zzzzzzzzz\"; the keys here are: "}},
    {"flag: 1", {"t.yaml:1: flag: \"1\"", "true or false"}},
    {"\n\nnumber: x", {"t.yaml:3: number: \"x\"", "whole number"}},
    {"number: ''", {"t.yaml:1: number: \"\"", "whole number"}},
    {"number: 70000", {"t.yaml:1: number: \"70000\"", "between 1 and 65535"}},
    {"number: 0", {"between 1 and 65535"}},
    {"number: 99999999999999999999", {"whole number"}},
    {"number: 0x50", {"whole number"}},
    {"number: 1.5", {"whole number"}},
    {"number: 80 ms", {"whole number"}},
    {"wait: 10", {"t.yaml:1: wait: \"10\"", "ms, s, m, h or d"}},
    {"wait: 10 s", {"ms, s, m, h or d"}},
    {"wait: -1s", {"ms, s, m, h or d"}},
    {"wait: 1w", {"ms, s, m, h or d"}},
    {"wait: s", {"ms, s, m, h or d"}},
    {"wait: 2h", {"between 0 and 1h"}},
    {"wait: 106751991168d", {"ms, s, m, h or d"}},
    {"bytes: 64k", {"B, KiB, MiB or GiB"}},
    {"bytes: 100B", {"between 1KiB and 1MiB"}},
    {"bytes: 1GiB", {"between 1KiB and 1MiB"}},
    {"colour: gren", {"colour: \"gren\"", "did you mean \"green\"?", "one of: red, green, light-blue"}},
    {"colour: Green", {"one of: red, green, light-blue"}},
    {"str: [a]", {"t.yaml:1: str: here is a list; write a single value"}},
    {"str: {a: b}", {"t.yaml:1: str: here is a mapping of keys; write a single value"}},
    {"list: {a: b}", {"list: here is a mapping of keys; write a list of values"}},
    {"list: [a, [b]]", {"list: item 2 of the list is a list"}},
    {"list: [a, ]\nlist_def:\n- x\n-\n", {"t.yaml:4: list_def: item 2 of the list is nothing"}},
    {"secret: ''", {"secret: the secret is empty"}},
    {"secret: env:PORTICO_TEST_UNSET", {"t.yaml:1: ", "variable PORTICO_TEST_UNSET is not set"}},
    {"str: x\nstr: y\n", {"t.yaml:2: key \"str\" stands here a second time"}},
    {"node: {a: 1, b: 2, a: 3}", {"key \"a\" stands here a second time"}},
    {"node: &n [*n]", {"t.yaml:1: an alias refers to the node that holds it"}},
    {"node: &n {a: {b: *n}}", {"t.yaml:1: an alias refers to the node that holds it"}},
    {"node: *nowhere", {"t.yaml:1: ", "alias"}},
    {"node: {<<: {a: 1}}", {"t.yaml:1: merge keys"}},
    {"? [a]\n: b\n", {"t.yaml:1: a key is a plain word"}},
    {"str: !secret x", {"t.yaml:1: tags"}},
    {"str: !!binary eA==", {"t.yaml:1: tags"}},
    {"str: \"a\\0b\"", {"t.yaml:1: a text holds a NUL byte"}},
    {"[a, b]", {"t.yaml:1: a configuration is a mapping", "this is a list"}},
    {"just text", {"t.yaml:1: a configuration is a mapping", "this is a single value"}},
    {"str: x\n---\nstr: y\n", {"t.yaml:3: a second YAML document"}},
    {"str: x\n...\n---\n", {"t.yaml:4: a second YAML document"}},
    {"str: [a, b\nnumber: 1\n", {"t.yaml:2: "}},
    {"str: x\n\tnumber: 1\n", {"t.yaml:2: ", "column 1"}},
    {"str: 'x\n", {"t.yaml:"}},
    {"str: x\n  number: y: z\n", {"t.yaml:2: "}},
    {"str: \xff\xfe", {"t.yaml: ", "UTF-8"}},
    {"include: [x]", {"t.yaml:1: include works in a file only"}},
};

static void test_errors_say_where_and_what(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNTOF(wrong); i++) {
        struct all a;
        struct err e;
        if (read_all(wrong[i].text, &a, &e))
            fail_msg("accepted: %s", wrong[i].text);
        assert_int_equal(e.code, 0);
        for (size_t j = 0; j < COUNTOF(wrong[i].parts) && wrong[i].parts[j] != NULL; j++) {
            if (strstr(e.detail, wrong[i].parts[j]) == NULL)
                fail_msg("%s\ngives: %s\nwithout: %s", wrong[i].text, e.detail, wrong[i].parts[j]);
        }
    }
}

struct need {
    const char *name;
};
static const struct conf_key need_keys[] = {
    CONF_STR(struct need, name, "name", CONF_REQUIRED, "what it is called"), CONF_END};

static void test_required(void **state)
{
    (void)state;
    struct need n;
    struct err e = ERR_INIT;
    must_read("node:\n  - {name: x}\n  - {}\n  - {name: }\n  - [a]\nstr: x");
    const struct conf_node *items = conf_get(conf_root(conf), "node");
    assert_true(conf_read(conf, conf_item(items, 0), need_keys, &n, &e));
    assert_string_equal(n.name, "x");
    assert_false(conf_read(conf, conf_item(items, 1), need_keys, &n, &e));
    assert_string_equal(e.detail, "t.yaml:3: the key \"name\" is missing: what it is called");
    assert_false(conf_read(conf, conf_item(items, 2), need_keys, &n, &e));
    assert_non_null(strstr(e.detail, "t.yaml:4: the key \"name\" is missing"));
    assert_false(conf_read(conf, conf_item(items, 3), need_keys, &n, &e));
    assert_string_equal(e.detail, "t.yaml:5: here is a list; write a mapping with keys such as name");
    assert_false(conf_read(conf, conf_get(conf_root(conf), "str"), need_keys, &n, &e));
    assert_non_null(strstr(e.detail, "t.yaml:6: here is a single value"));
    assert_false(conf_read(conf, NULL, need_keys, &n, &e));
    assert_string_equal(e.detail, "t.yaml: the key \"name\" is missing: what it is called");
}

static void test_a_secret_is_never_shown(void **state)
{
    (void)state;
    struct all a;
    struct err e;
    static const char *const texts[] = {"secret: [hunter2]", "secret: {hunter2: hunter2}"};
    for (size_t i = 0; i < COUNTOF(texts); i++) {
        assert_false(read_all(texts[i], &a, &e));
        assert_null(strstr(e.detail, "hunter2"));
    }
}

/* Aliases that multiply end at a bound, long before memory does. */
static void test_expansion_is_bounded(void **state)
{
    (void)state;
    struct sbuf b;
    pool_t pool;
    h2o_mem_init_pool(&pool);
    sbuf_init(&b, &pool);
    sbuf_puts(&b, "a0: &a0 x\n");
    for (int i = 1; i < 25; i++)
        sbuf_printf(&b, "a%d: &a%d [*a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1, i - 1);
    struct err e = ERR_INIT;
    assert_null(conf_parse(b.text, "t.yaml", &e));
    assert_non_null(strstr(e.detail, "too large"));
    sbuf_init(&b, &pool);
    sbuf_puts(&b, "a: ");
    for (int i = 0; i < 100; i++)
        sbuf_puts(&b, "[");
    for (int i = 0; i < 100; i++)
        sbuf_puts(&b, "]");
    assert_null(conf_parse(b.text, "t.yaml", &e));
    assert_non_null(strstr(e.detail, "too deep"));
    h2o_mem_clear_pool(&pool);
}

static int teardown(void **state)
{
    (void)state;
    conf_free(conf);
    conf_free(NULL);
    conf = NULL;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_null_mapping_is_an_empty_one),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_bools),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_aliases_are_copies),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_errors_say_where_and_what),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_a_secret_is_never_shown),
        cmocka_unit_test(test_expansion_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration from files: fragments, overrides, paths and secrets, in a folder of its own. */
#include "unit.h"
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/conf.h"

static char dir[64];
static char old_cwd[4096];

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void make_dir(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static int setup(void **state)
{
    (void)state;
    strncpy(dir, "/tmp/test_conf_load.XXXXXX", sizeof(dir) - 1);
    return mkdtemp(dir) != NULL && getcwd(old_cwd, sizeof(old_cwd)) != NULL && chdir(dir) == 0 ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return chdir(old_cwd) == 0 ? nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) : -1;
}

static struct conf *load(const char *path, const char *override)
{
    struct err e = ERR_INIT;
    struct conf *c = conf_load(path, &override, override != NULL, &e);
    if (c == NULL)
        fail_msg("%s", e.detail);
    return c;
}

static void refused(const char *path, const char *override, const char *part)
{
    struct err e = ERR_INIT;
    struct conf *c = conf_load(path, &override, override != NULL, &e);
    if (c != NULL)
        fail_msg("%s %s was accepted", path, override ? override : "");
    if (strstr(e.detail, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.detail, part);
}

/* The tree in YAML's flow style, for comparison; keys in their order. */
static void show(const struct conf *c, const struct conf_node *n, struct sbuf *b, const char *const *keys)
{
    if (conf_text(n) != NULL) {
        sbuf_puts(b, conf_text(n));
    } else if (conf_count(n) > 0) {
        for (size_t i = 0; i < conf_count(n); i++) {
            sbuf_puts(b, i ? "," : "[");
            show(c, conf_item(n, i), b, keys);
        }
        sbuf_puts(b, "]");
    } else {
        bool first = true;
        for (size_t i = 0; keys[i] != NULL; i++) {
            if (conf_get(n, keys[i]) == NULL)
                continue;
            sbuf_printf(b, "%s%s:", first ? "{" : " ", keys[i]);
            show(c, conf_get(n, keys[i]), b, keys);
            first = false;
        }
        sbuf_puts(b, first ? "{}" : "}");
    }
}

static void assert_tree(struct conf *c, const char *expected)
{
    static const char *const keys[] = {"a", "b", "c", "name", "x", NULL};
    pool_t pool;
    struct sbuf b;
    h2o_mem_init_pool(&pool);
    sbuf_init(&b, &pool);
    show(c, conf_root(c), &b, keys);
    assert_string_equal(b.text.base, expected);
    h2o_mem_clear_pool(&pool);
    conf_free(c);
}

static void test_fragments_merge(void **state)
{
    (void)state;
    make_dir("conf.d");
    write_file("m.yaml", "include: [conf.d/*.yaml]\na: [main]\nb: {x: main}\nc: main\n");
    assert_tree(load("m.yaml", NULL), "{a:[main] b:{x:main} c:main}");
    write_file("conf.d/20.yaml", "a: [f20]\nb: {x: f20, a: f20}\nname: f20\n");
    write_file("conf.d/10.yaml", "a: [f10a, f10b]\nb: {a: f10, c: f10}\nc: f10\nname: f10\n");
    write_file("conf.d/30.conf", "nonsense: [");
    assert_tree(load("m.yaml", NULL), "{a:[f10a,f10b,f20,main] b:{a:f20 c:f10 x:main} c:main name:f20}");
    write_file("conf.d/20.yaml", "a: alone\nb:\n");
    assert_tree(load("m.yaml", NULL), "{a:[f10a,f10b,alone,main] b:{a:f10 c:f10 x:main} c:main name:f10}");
    write_file("conf.d/20.yaml", "");
    assert_tree(load("m.yaml", NULL), "{a:[f10a,f10b,main] b:{a:f10 c:f10 x:main} c:main name:f10}");
    write_file("conf.d/20.yaml", "\nb: [list]\n");
    refused("m.yaml", NULL, "conf.d/10.yaml:2: a mapping of keys here cannot be merged with a list at ");
    write_file("conf.d/20.yaml", "\n\nb: {x: [}\n");
    refused("m.yaml", NULL, "conf.d/20.yaml:3: ");
}

static void test_fragments_are_found_from_the_file_that_names_them(void **state)
{
    (void)state;
    make_dir("sub[1]");
    make_dir("sub[1]/more");
    write_file("sub[1]/m.yaml", "include: more/one.yaml\na: m\n");
    write_file("sub[1]/more/one.yaml", "include: ['two*.yaml', two.yaml]\nb: [one]\n");
    write_file("sub[1]/more/two.yaml", "b: [two]\n");
    assert_tree(load("sub[1]/m.yaml", NULL), "{a:m b:[two,one]}"); /* matched twice, read once */
    char path[256];
    snprintf(path, sizeof(path), "%s/sub[1]/m.yaml", dir);
    assert_tree(load(path, NULL), "{a:m b:[two,one]}");
}

static void test_include_errors(void **state)
{
    (void)state;
    write_file("cycle.yaml", "include: other.yaml\n");
    write_file("other.yaml", "include: [\"c*.yaml\"]\n");
    refused("cycle.yaml", NULL, "cycle.yaml: is included by itself");
    write_file("self.yaml", "include: self.yaml\n");
    refused("self.yaml", NULL, "self.yaml: is included by itself");
    write_file("m.yaml", "a: 1\ninclude: [gone.yaml]\n");
    refused("m.yaml", NULL, "m.yaml:2: the file gone.yaml does not exist");
    write_file("m.yaml", "a: 1\ninclude: [gone/*.yaml]\n");
    assert_tree(load("m.yaml", NULL), "{a:1}");
    write_file("m.yaml", "a: 1\ninclude: {x: y}\n");
    refused("m.yaml", NULL, "m.yaml:2: include is a list of file names");
    write_file("m.yaml", "include: [[x]]\n");
    refused("m.yaml", NULL, "m.yaml:1: include is a list of file names");
    make_dir("d");
    write_file("m.yaml", "include: ['d*']\n");
    refused("m.yaml", NULL, "/d: is not a file");
    write_file("m.yaml", "include: []\na: 1\n");
    assert_tree(load("m.yaml", NULL), "{a:1}");
}

static void test_file_errors(void **state)
{
    (void)state;
    refused("gone.yaml", NULL, "gone.yaml: cannot be opened: No such file");
    refused(dir, NULL, "is not a file");
    assert_int_equal(mkfifo("fifo.yaml", 0600), 0);
    refused("fifo.yaml", NULL, "fifo.yaml: is not a file");
    write_file("bad.yaml", "a: b: c\n");
    refused("bad.yaml", NULL, "bad.yaml:1: ");
    FILE *f = fopen("big.yaml", "w");
    assert_non_null(f);
    for (int i = 0; i < 200000; i++)
        fputs("# more\n", f);
    fclose(f);
    refused("big.yaml", NULL, "big.yaml: has 1400000 bytes, at most 1048576");
}

static void test_overrides(void **state)
{
    (void)state;
    write_file("m.yaml", "a: 1\nb: {x: 2, c: {a: 3}}\nc:\n  - {name: one, a: 4}\n  - {name: one.two, a: 5}\n "
                         " - {x: 6}\nname: [p, q]\n");
    static const struct {
        const char *override, *tree;
    } cases[] = {
        {"a=7", "{a:7 b:{c:{a:3} x:2} c:[{a:4 name:one},{a:5 name:one.two},{x:6}] name:[p,q]}"},
        {"b.c.a=x: y # z",
         "{a:1 b:{c:{a:x: y # z} x:2} c:[{a:4 name:one},{a:5 name:one.two},{x:6}] name:[p,q]}"},
        {"b.a=new=er",
         "{a:1 b:{a:new=er c:{a:3} x:2} c:[{a:4 name:one},{a:5 name:one.two},{x:6}] name:[p,q]}"},
        {"b=[l, \"m n\"]", "{a:1 b:[l,m n] c:[{a:4 name:one},{a:5 name:one.two},{x:6}] name:[p,q]}"},
        {"b={x: [1]}", "{a:1 b:{x:[1]} c:[{a:4 name:one},{a:5 name:one.two},{x:6}] name:[p,q]}"},
        {"c.one.a=8", "{a:1 b:{c:{a:3} x:2} c:[{a:8 name:one},{a:5 name:one.two},{x:6}] name:[p,q]}"},
        {"c.one.two.a=8", "{a:1 b:{c:{a:3} x:2} c:[{a:4 name:one},{a:8 name:one.two},{x:6}] name:[p,q]}"},
        {"c.one.b.x=8",
         "{a:1 b:{c:{a:3} x:2} c:[{a:4 b:{x:8} name:one},{a:5 name:one.two},{x:6}] name:[p,q]}"},
        {"x.a.b=9",
         "{a:1 b:{c:{a:3} x:2} c:[{a:4 name:one},{a:5 name:one.two},{x:6}] name:[p,q] x:{a:{b:9}}}"},
        {"name=", "{a:1 b:{c:{a:3} x:2} c:[{a:4 name:one},{a:5 name:one.two},{x:6}]}"},
        {"a=*.corp.example",
         "{a:*.corp.example b:{c:{a:3} x:2} c:[{a:4 name:one},{a:5 name:one.two},{x:6}] name:[p,q]}"},
        {"a='[::1]:53'",
         "{a:[::1]:53 b:{c:{a:3} x:2} c:[{a:4 name:one},{a:5 name:one.two},{x:6}] name:[p,q]}"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++)
        assert_tree(load("m.yaml", cases[i].override), cases[i].tree);
    static const char *const several[] = {"a=2", "b.x=3", "a=4"};
    struct err e = ERR_INIT;
    struct conf *c = conf_load("m.yaml", several, 3, &e);
    assert_non_null(c);
    assert_string_equal(conf_where(conf_get(conf_root(c), "a")), "-o a");
    assert_tree(c, "{a:4 b:{c:{a:3} x:3} c:[{a:4 name:one},{a:5 name:one.two},{x:6}] name:[p,q]}");
}

static void test_override_errors(void **state)
{
    (void)state;
    write_file("m.yaml", "a: 1\nc:\n  - {name: one, a: 4}\n  - {name: two}\nname: [p, q]\n");
    static const struct {
        const char *override, *part;
    } cases[] = {
        {"a", "-o a: an override is KEY.KEY=VALUE"},
        {"=x", "an override is KEY.KEY=VALUE"},
        {"", "an override is KEY.KEY=VALUE"},
        {"a.b=1", "-o a.b: \"a\" at m.yaml:1 is a single value"},
        {"c.three.a=1", "-o c.three.a: no item of the list at m.yaml:3 is addressed by \"three.a\"; write "
                        "ITEM.KEY, the items are: one, two"},
        {"c.one=1", "addressed by \"one\""},
        {"c.o.a=1", "addressed by \"o.a\""},
        {"name.p.x=1", "(none has a name)"},
        {"a..b=1", "-o a..b: "},
        {".a=1", "an empty key"},
        {"x.=1", "an empty key"},
        {"a=[1", "-o a: did not find expected"},
        {"a=[::1]:53", "quote it"},
        {"a=\"x", "quote it"},
        {"include=x", "-o include: include cannot be overridden"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++)
        refused("m.yaml", cases[i].override, cases[i].part);
    refused("m.yaml", "secret.password=[hunter2", "secret.password");
}

struct paths {
    const char *file;
    struct conf_list files;
    struct conf_secret secret;
};
static const struct conf_key path_keys[] = {
    CONF_FILE(struct paths, file, "file", NULL, "a file"),
    CONF_FILES(struct paths, files, "files", NULL, "several files"),
    CONF_SECRET(struct paths, secret, "secret", NULL, "a secret"),
    CONF_END,
};

static struct conf *read_paths(const char *path, const char *override, struct paths *out)
{
    struct conf *c = load(path, override);
    struct err e = ERR_INIT;
    if (!conf_read(c, conf_root(c), path_keys, out, &e))
        fail_msg("%s", e.detail);
    return c;
}

static void test_paths_start_from_the_file_that_names_them(void **state)
{
    (void)state;
    make_dir("sub");
    write_file("sub/key.pem", "inner");
    write_file("key.pem", "outer\n");
    write_file("m.yaml", "include: sub/*.yaml\nsecret: file:key.pem\n");
    write_file("sub/f.yaml", "file: key.pem\n");
    char expected[256];
    struct paths p;
    struct conf *c = read_paths("m.yaml", NULL, &p);
    snprintf(expected, sizeof(expected), "%s/sub/key.pem", dir);
    assert_string_equal(p.file, expected);
    assert_string_equal(p.secret.text, "outer");
    conf_free(c);
    c = read_paths("m.yaml", "file=key.pem", &p);
    snprintf(expected, sizeof(expected), "%s/key.pem", dir);
    assert_string_equal(p.file, expected);
    conf_free(c);
    c = read_paths("m.yaml", "secret=file:/etc/../etc/hostname", &p);
    assert_true(p.secret.len > 0);
    conf_free(c);
}

static void test_lists_of_files(void **state)
{
    (void)state;
    make_dir("sub");
    write_file("sub/a.pem", "a");
    write_file("b.pem", "b");
    write_file("m.yaml", "include: sub/f.yaml\nfiles: b.pem\n");
    write_file("sub/f.yaml", "files: [a.pem]\n");
    char a[256], b[256];
    snprintf(a, sizeof(a), "%s/sub/a.pem", dir);
    snprintf(b, sizeof(b), "%s/b.pem", dir);
    struct paths p;
    struct conf *c = read_paths("m.yaml", NULL, &p);
    assert_int_equal(p.files.n, 2);
    assert_string_equal(p.files.v[0], a);
    assert_string_equal(p.files.v[1], b);
    conf_free(c);
}

static void test_secret_files(void **state)
{
    (void)state;
    static const struct {
        const char *content, *text;
    } cases[] = {{"s3cret", "s3cret"},
                 {"s3cret\n", "s3cret"},
                 {"s3cret\r\n", "s3cret"},
                 {"two\nlines\n", "two\nlines"},
                 {" a \n\n", " a \n"}};
    write_file("m.yaml", "secret: file:s\n");
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct paths p;
        write_file("s", cases[i].content);
        struct conf *c = read_paths("m.yaml", NULL, &p);
        assert_string_equal(p.secret.text, cases[i].text);
        assert_int_equal(p.secret.len, strlen(cases[i].text));
        conf_free(c);
    }
}

static void test_path_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"\nfile: gone.pem\n", "m.yaml:2: file: the file "},
        {"file: gone.pem\n",
         "/gone.pem cannot be read: No such file or directory; relative paths start from"},
        {"file: .\n", "it is not a file"},
        {"file: ''\n", "file: is empty"},
        {"files: [newline, gone.pem]\n", "files: the file "},
        {"files: [newline, [x]]\n", "files: item 2 of the list is a list"},
        {"files: {x: y}\n", "write a list of values"},
        {"secret: file:gone\n", "/gone cannot be read"},
        {"secret: file:empty\n", "m.yaml:1: secret: the secret is empty"},
        {"secret: file:newline\n", "secret: the secret is empty"},
        {"secret: 'file:'\n", "it is not a file"},
    };
    write_file("empty", "");
    write_file("newline", "\n");
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        write_file("m.yaml", cases[i].text);
        struct conf *c = load("m.yaml", NULL);
        struct paths p;
        struct err e = ERR_INIT;
        assert_false(conf_read(c, conf_root(c), path_keys, &p, &e));
        if (strstr(e.detail, cases[i].part) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", e.detail, cases[i].part);
        conf_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fragments_merge, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fragments_are_found_from_the_file_that_names_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_include_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overrides, setup, teardown),
        cmocka_unit_test_setup_teardown(test_override_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_paths_start_from_the_file_that_names_them, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists_of_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_secret_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_path_errors, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

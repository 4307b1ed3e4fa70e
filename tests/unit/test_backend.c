/* SPDX-License-Identifier: Apache-2.0 */
/* The registry with two drivers of its own, and the answers of a driver: exactly one, on a later turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define BACKEND_REGISTRY "tests/unit/backend_registry.def"
#include "backends/backend.c"
#include "io/loop.h"
#include "x509_fixture.h"

/* ---- the drivers ---- */

struct one_conf {
    const char *url;
    int64_t pause_ms;
};
static const struct conf_key one_keys[] = {
    CONF_STR(struct one_conf, url, "url", CONF_REQUIRED, "where"),
    CONF_DURATION(struct one_conf, pause_ms, "pause", "3s", 0, 60000, "how long"),
    CONF_END,
};

static char journal[256];

static void note(const char *what, const struct backend *b)
{
    size_t used = strlen(journal);
    snprintf(journal + used, sizeof(journal) - used, "%s(%s) ", what, backend_common(b)->name);
}

static bool one_open(struct backend *b, struct err *e)
{
    const struct one_conf *c = backend_conf(b);
    if (strcmp(c->url, "bad:") == 0)
        return backend_error(b, e, "%s is no URL", c->url);
    note("open", b);
    backend_set_state(b, journal);
    return true;
}

static void one_close(struct backend *b)
{
    assert_ptr_equal(backend_state(b), journal);
    note("close", b);
}

static void submit(struct issue *i)
{
    (void)i;
}

static void two_revoke(struct revoke *r)
{
    (void)r;
}

const struct backend_driver backend_one = {
    .name = "one",
    .keys = one_keys,
    .conf_size = sizeof(struct one_conf),
    .open = one_open,
    .close = one_close,
    .submit = submit,
};

static EVP_PKEY *key;
static pool_t pool;
static iov_t root, ca;

static bool two_ca_chain(struct backend *b, pool_t *p, struct iovs *out, struct err *e)
{
    (void)e;
    iovs_add(p, out, ca);
    if (strcmp(backend_common(b)->name, "no-root") != 0)
        iovs_add(p, out, root);
    return true;
}

const struct backend_driver backend_two = {
    .name = "two", .submit = submit, .revoke = two_revoke, .ca_chain = two_ca_chain};

/* ---- the registry ---- */

static struct conf *conf;

static struct backends *open_text(const char *text, struct err *e)
{
    conf_free(conf);
    journal[0] = '\0';
    *e = ERR_INIT;
    conf = conf_parse(iov_of(text), "test.yaml", e);
    if (conf == NULL)
        fail_msg("%s", e->detail);
    return backends_open(conf, conf_get(conf_root(conf), "backends"), e);
}

static void test_opens(void **state)
{
    (void)state;
    struct err e;
    struct backends *bs = open_text(
        "backends:\n"
        "  - {name: a, driver: one, url: 'x:', timeout: 250ms, on_unknown: resubmit}\n"
        "  - {name: b, driver: one, url: 'y:', pause: 1s, revoke_via: ca}\n"
        "  - {name: ca, driver: two, revoke_via: operator}\n"
        "  - {name: no-root, driver: two}\n",
        &e);
    if (bs == NULL)
        fail_msg("%s", e.detail);
    assert_int_equal(backends_count(bs), 4);
    struct backend *a = backends_find(bs, "a"), *b = backends_at(bs, 1);
    assert_null(backends_find(bs, "nobody"));
    assert_null(backends_find(bs, NULL));
    assert_string_equal(backend_common(a)->name, "a");
    assert_ptr_equal(backend_driver(a), &backend_one);
    assert_int_equal(backend_common(a)->timeout_ms, 250);
    assert_int_equal(backend_common(a)->on_unknown, ON_UNKNOWN_RESUBMIT);
    assert_int_equal(backend_common(b)->timeout_ms, 10000);
    assert_int_equal(backend_common(b)->on_unknown, ON_UNKNOWN_HOLD);
    assert_string_equal(((struct one_conf *)backend_conf(a))->url, "x:");
    assert_int_equal(((struct one_conf *)backend_conf(a))->pause_ms, 3000);
    assert_int_equal(((struct one_conf *)backend_conf(b))->pause_ms, 1000);
    assert_int_equal(backend_trust(a)->n, 0);
    assert_int_equal(backend_trust(backends_find(bs, "ca"))->n, 1);
    assert_true(iov_eq(backend_trust(backends_find(bs, "ca"))->v[0], root));
    assert_true(iov_eq(backend_trust(backends_find(bs, "no-root"))->v[0], ca));
    backends_close(bs);
    assert_string_equal(journal, "open(a) open(b) close(b) close(a) ");
    backends_close(NULL);
    bs = open_text("{}", &e); /* whether it may be without backends is for the settings to say */
    assert_int_equal(backends_count(bs), 0);
    backends_close(bs);
}

static void test_trust_file(void **state)
{
    (void)state;
    struct err e;
    char path[] = "/tmp/portico-test-XXXXXX", text[256];
    int fd = mkstemp(path);
    iov_t pem = pki_der_to_pem(&pool, "CERTIFICATE", ca);
    assert_int_equal(write(fd, pem.base, pem.len), pem.len);
    snprintf(text, sizeof(text), "backends: [{name: a, driver: two, trust: %s}]", path);
    struct backends *bs = open_text(text, &e);
    assert_non_null(bs);
    assert_int_equal(backend_trust(backends_at(bs, 0))->n, 1);
    assert_true(iov_eq(backend_trust(backends_at(bs, 0))->v[0], ca));
    backends_close(bs);
    assert_int_equal(ftruncate(fd, 60), 0);
    assert_null(open_text(text, &e));
    assert_non_null(strstr(e.detail, path));
    close(fd);
    unlink(path);
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line, *word;
    } cases[] = {
        {"backends:\n  - {name: a, driver: tow}\n", "test.yaml:2", "\"tow\"; there are: one, two"},
        {"backends:\n  - {name: a}\n", "test.yaml:2", "driver"},
        {"backends:\n  - {name: a, driver: [one]}\n", "test.yaml:2", "driver"},
        {"backends:\n  - {driver: two}\n", "test.yaml:2", "name"},
        {"backends:\n  - {name: a b, driver: two}\n", "test.yaml:2", "name is"},
        {"backends:\n  - {name: operator, driver: two}\n", "test.yaml:2", "name is"},
        {"backends:\n  - {name: a, driver: two}\n  - {name: a, driver: two}\n", "test.yaml:3",
         "already, at test.yaml:2"},
        {"backends:\n  - {name: a, driver: one}\n", "test.yaml:2", "url"},
        {"backends:\n  - {name: a, driver: two, url: x}\n", "test.yaml:2", "url"},
        {"backends:\n  - {name: a, driver: two, on_unknown: maybe}\n", "test.yaml:2", "hold"},
        {"backends:\n  - {name: a, driver: two, timeout: 1}\n", "test.yaml:2", "timeout"},
        {"backends:\n  - {name: a, driver: one, url: 'bad:'}\n", "test.yaml:2",
         "backend \"a\": bad: is no URL"},
        {"backends:\n  - {name: a, driver: two, revoke_via: b}\n", "test.yaml:2", "no backend \"b\""},
        {"backends:\n  - {name: a, driver: two, revoke_via: b}\n  - {name: b, driver: one, url: x}\n",
         "test.yaml:2", "cannot revoke"},
        {"backends:\n  - {name: a, driver: two, trust: /nonexistent}\n", "test.yaml:2", "/nonexistent"},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct err e;
        struct backends *bs = open_text(cases[i].text, &e);
        if (bs != NULL || strstr(e.detail, cases[i].line) == NULL || strstr(e.detail, cases[i].word) == NULL)
            fail_msg("%s gives \"%s\"", cases[i].text, bs != NULL ? "" : e.detail);
    }
    /* what was opened before the failure is closed again */
    struct err e;
    assert_null(open_text(
        "backends:\n  - {name: a, driver: one, url: x}\n  - {name: b, driver: one, url: 'bad:'}\n", &e));
    assert_string_equal(journal, "open(a) close(a) ");
}

/* ---- answers ---- */

static struct loop *loop;
static unsigned answered, freed;

static void on_answered(struct issue *i)
{
    (void)i;
    answered++;
}

static void on_revoked(struct revoke *r)
{
    (void)r;
    answered++;
}

static void on_issue_free(struct task *t)
{
    freed++;
    task_dispose(t);
    free(CONTAINER_OF(t, struct issue, task));
}

static struct issue *issue_new(void)
{
    struct issue *i = base_zalloc(sizeof(*i));
    task_init(&i->task, loop, "issuance", NULL, on_issue_free);
    i->answered = on_answered;
    answered = freed = 0;
    return i;
}

static void turn_until(const unsigned *counter)
{
    for (int n = 0; n < 100 && *counter == 0; n++)
        loop_turn(loop, 10);
    assert_int_equal(*counter, 1);
}

static void test_done(void **state)
{
    (void)state;
    struct issue *i = issue_new();
    struct iovs chain = {0}, other = {0};
    char leaf[] = "leaf", issuer[] = "issuer";
    iovs_add(&pool, &chain, (iov_t){leaf, 4});
    iovs_add(&pool, &chain, (iov_t){issuer, 6});
    iovs_add(&pool, &other, IOV("cross"));
    issue_done_alternate(i, &other);
    issue_done_alternate(i, &chain);
    issue_done(i, &chain);
    memset(leaf, 'x', 4);          /* bytes were copied */
    assert_int_equal(answered, 0); /* never inside the call */
    turn_until(&answered);
    assert_int_equal(i->answer->result, ISSUE_DONE);
    assert_int_equal(i->answer->chain.n, 2);
    assert_true(iov_is(i->answer->chain.v[0], "leaf"));
    assert_int_equal(i->answer->alternates.n, 2);
    assert_true(iov_is(i->answer->alternates.chains[0].v[0], "cross"));
    assert_true(iov_is(i->answer->alternates.chains[1].v[1], "issuer"));
    task_unref(&i->task);
    assert_int_equal(freed, 1);
}

static void test_other_answers(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    err_set(&e, 7, "because");
    static void (*const say[])(struct issue *, const struct err *) = {issue_refuse, issue_retry,
                                                                      issue_unknown};
    static const enum issue_result results[] = {ISSUE_REFUSE, ISSUE_RETRY, ISSUE_UNKNOWN};
    for (size_t n = 0; n < COUNTOF(say); n++) {
        struct issue *i = issue_new();
        say[n](i, &e);
        turn_until(&answered);
        assert_int_equal(i->answer->result, results[n]);
        assert_int_equal(i->answer->err.code, 7);
        assert_string_equal(i->answer->err.detail, "because");
        task_unref(&i->task);
    }
    struct issue *i = issue_new();
    issue_wait(i, 30, IOV("\0cookie"));
    turn_until(&answered);
    assert_int_equal(i->answer->wait_s, 30);
    assert_true(iov_eq(i->answer->cookie, IOV("\0cookie")));
    task_unref(&i->task);
    assert_string_equal(issue_result_names[ISSUE_UNKNOWN], "unknown");
}

static void test_answer_into_the_void(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct issue *i = issue_new();
    task_ref(&i->task); /* the driver's */
    task_cancel(&i->task);
    task_unref(&i->task); /* the caller has left */
    issue_retry(i, &e);
    task_unref(&i->task);
    turn_until(&freed);
    assert_int_equal(answered, 0);
    i = issue_new();
    issue_retry(i, &e);
    task_cancel(&i->task); /* between answer and turn */
    task_unref(&i->task);
    turn_until(&freed);
    assert_int_equal(answered, 0);
}

static void test_second_answer_aborts(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct issue *i = issue_new();
    issue_retry(i, &e);
    pid_t child = fork();
    if (child == 0) {
        fclose(stderr);
        issue_refuse(i, &e);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    turn_until(&answered);
    task_unref(&i->task);
}

static void on_revoke_free(struct task *t)
{
    freed++;
    task_dispose(t);
    free(CONTAINER_OF(t, struct revoke, task));
}

static void test_revocations(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    err_set(&e, 0, "not mine");
    for (int n = 0; n < 3; n++) {
        struct revoke *r = base_zalloc(sizeof(*r));
        task_init(&r->task, loop, "revocation", NULL, on_revoke_free);
        r->answered = on_revoked;
        answered = freed = 0;
        if (n == 0)
            revoke_done(r);
        else if (n == 1)
            revoke_retry(r, &e);
        else
            revoke_refuse(r, &e);
        assert_int_equal(answered, 0);
        turn_until(&answered);
        assert_int_equal(r->result, n == 0 ? REVOKE_DONE : n == 1 ? REVOKE_RETRY : REVOKE_REFUSE);
        assert_string_equal(r->err.detail, n == 0 ? "" : "not mine");
        task_unref(&r->task);
        assert_int_equal(freed, 1);
    }
}

static int setup(void **state)
{
    (void)state;
    h2o_mem_init_pool(&pool);
    key = fix_key("P-256");
    struct fix_cert c = {
        .subject = "root", .issuer = "root", .key = key, .issuer_key = key, .to = 2000000000};
    root = fix_cert(&pool, &c);
    c.subject = "ca";
    ca = fix_cert(&pool, &c);
    loop = loop_new(0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    conf_free(conf);
    loop_free(loop);
    EVP_PKEY_free(key);
    h2o_mem_clear_pool(&pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens),
        cmocka_unit_test(test_trust_file),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_done),
        cmocka_unit_test(test_other_answers),
        cmocka_unit_test(test_answer_into_the_void),
        cmocka_unit_test(test_second_answer_aborts),
        cmocka_unit_test(test_revocations),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

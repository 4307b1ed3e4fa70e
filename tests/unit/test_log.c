/* SPDX-License-Identifier: Apache-2.0 */
/* The log is read back from a pipe, so that the number of writes shows too. */
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"

static int fds[2];

static int setup(void **state)
{
    (void)state;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return -1;
    log_init(fds[1], LOG_LEVEL_INFO);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close(fds[0]);
    close(fds[1]);
    return 0;
}

/* The next line; a packet is a write(2). The time is checked and cut off. */
static const char *line(void)
{
    static char text[8192];
    ssize_t n = recv(fds[0], text, sizeof(text) - 1, MSG_DONTWAIT);
    if (n <= 0)
        return NULL;
    text[n] = '\0';
    int used = 0, year, month, day, hour, minute, second, ms;
    assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour, &minute,
                            &second, &ms, &used),
                     7);
    assert_int_equal(used, 25);
    assert_int_equal(text[n - 1], '\n');
    assert_null(memchr(text, '\n', (size_t)n - 1));
    return text + used;
}

static void test_line(void **state)
{
    (void)state;
    log_info("order.finalize", KV_STR("order", "abc"), KV_INT("names", 2));
    assert_string_equal(line(), "info order.finalize order=abc names=2\n");
    log_error("x", KV_INT("n", INT64_MIN));
    assert_string_equal(line(), "error x n=-9223372036854775808\n");
    log_warn("x.y", KV_IOV("v", IOV("a._:/@*+,-Z9")));
    assert_string_equal(line(), "warn x.y v=a._:/@*+,-Z9\n");
    log_info("nothing.more");
    assert_string_equal(line(), "info nothing.more\n");
}

static void test_values_are_escaped(void **state)
{
    (void)state;
    static const struct {
        iov_t in;
        const char *out;
    } cases[] = {
        {{"two words", 9}, "\"two words\""},
        {{"", 0}, "\"\""},
        {{"a=b", 3}, "\"a=b\""},
        {{"\"\\\n\r\t", 5}, "\"\\\"\\\\\\n\\r\\t\""},
        {{"\0\x1b[31m", 6}, "\"\\x00\\x1b[31m\""},
        {{"\xc3\xa9\x7f", 3}, "\"\\xc3\\xa9\\x7f\""},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        char expected[128];
        snprintf(expected, sizeof(expected), "info e v=%s\n", cases[i].out);
        log_info("e", KV_IOV("v", cases[i].in));
        assert_string_equal(line(), expected);
    }
}

static void test_absent_fields_are_left_out(void **state)
{
    (void)state;
    log_info("e", KV_STR("a", NULL), KV_IOV("b", IOV_NULL), KV_INT("c", 0));
    assert_string_equal(line(), "info e c=0\n");
}

static int evaluated;
static int count_evaluation(void)
{
    return ++evaluated;
}

static void test_levels(void **state)
{
    (void)state;
    log_debug("quiet", KV_INT("n", count_evaluation()));
    assert_null(line());
    assert_int_equal(evaluated, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    assert_true(log_enabled(LOG_LEVEL_DEBUG));
    log_debug("loud", KV_INT("n", count_evaluation()));
    assert_string_equal(line(), "debug loud n=1\n");
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("quiet");
    assert_null(line());
    log_error("loud");
    assert_string_equal(line(), "error loud\n");
}

static void test_long_values_leave_room(void **state)
{
    (void)state;
    char big[10000];
    memset(big, 'x', sizeof(big));
    log_info("e", KV_IOV("first", ((iov_t){big, sizeof(big)})), KV_INT("second", 2));
    const char *text = line();
    assert_non_null(strstr(text, "xxx...\" second=2\n"));
    memset(big, '\n', sizeof(big));
    log_info("e", KV_IOV("a", ((iov_t){big, sizeof(big)})), KV_IOV("b", ((iov_t){big, sizeof(big)})),
             KV_IOV("c", ((iov_t){big, sizeof(big)})), KV_INT("d", 1));
    text = line();
    assert_true(strlen(text) <= 4096 - 25);
    assert_non_null(strstr(text, "\\n...\" b=\"\\n"));
    assert_string_equal(text + strlen(text) - 5, "...\"\n");
}

static void test_errno_survives(void **state)
{
    (void)state;
    log_init(-1, LOG_LEVEL_INFO);
    errno = ENOENT;
    log_info("e");
    assert_int_equal(errno, ENOENT);
    /* The line went nowhere; the next descriptor hears of it. */
    log_init(fds[1], LOG_LEVEL_INFO);
    log_info("e");
    assert_string_equal(line(), "warn log.lost lines=1\n");
    assert_string_equal(line(), "info e\n");
    assert_null(line());
}

static void test_full_descriptor_does_not_block(void **state)
{
    (void)state;
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    int sent = 0;
    for (; sent < 100000; sent++)
        log_info("flood", KV_INT("n", sent));
    int received = 0;
    while (line() != NULL)
        received++;
    assert_in_range(received, 1, sent - 1);
    log_info("after");
    char expected[64];
    snprintf(expected, sizeof(expected), "warn log.lost lines=%d\n", sent - received);
    assert_string_equal(line(), expected);
    assert_string_equal(line(), "info after\n");
}

static void test_journal_gets_priorities(void **state)
{
    (void)state;
    struct stat st;
    char stream[64], text[128];
    assert_int_equal(fstat(fds[1], &st), 0);
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_init(fds[1], LOG_LEVEL_INFO);
    log_error("e");
    log_warn("w");
    log_info("i");
    unsetenv("JOURNAL_STREAM");
    static const char *const expected[] = {"<3>", "<4>", "<6>"};
    for (size_t i = 0; i < COUNTOF(expected); i++) {
        assert_true(recv(fds[0], text, sizeof(text), MSG_DONTWAIT) > 3);
        assert_memory_equal(text, expected[i], 3);
    }
    setenv("JOURNAL_STREAM", "1:1", 1);
    log_init(fds[1], LOG_LEVEL_INFO);
    unsetenv("JOURNAL_STREAM");
    log_info("i");
    assert_string_equal(line(), "info i\n");
}

static void *write_lines(void *name)
{
    for (int i = 0; i < 200; i++)
        log_info("thread", KV_STR("name", name), KV_INT("n", i));
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[2];
    static char names[2][2] = {"a", "b"};
    int next[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    for (int i = 0; i < 400; i++) {
        char text[256], name;
        ssize_t n = recv(fds[0], text, sizeof(text) - 1, 0);
        assert_true(n > 0);
        text[n] = '\0';
        int number;
        assert_int_equal(sscanf(text, "%*s info thread name=%c n=%d\n", &name, &number), 2);
        assert_int_equal(number, next[name - 'a']++);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values_are_escaped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_absent_fields_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_values_leave_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errno_survives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_descriptor_does_not_block, setup, teardown),
        cmocka_unit_test_setup_teardown(test_journal_gets_priorities, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

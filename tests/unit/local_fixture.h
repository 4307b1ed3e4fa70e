/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary folder, commands (openssl is the other opinion), a backend opened from YAML. */
#ifndef PORTICO_TEST_LOCAL_FIXTURE_H
#define PORTICO_TEST_LOCAL_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/backend.h"
#include "backends/local/init_ca.h"

static char fix_dir[] = "/tmp/portico-local-XXXXXX";
static char fix_output[65536]; /* of the last command */

/* Runs a shell command in the folder; true when it exits with 0. */
static bool fix_run(const char *fmt, ...) UNUSED PRINTF_FMT(1, 2);
static bool fix_run(const char *fmt, ...)
{
    char args[4096], command[4352];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(args, sizeof(args), fmt, ap);
    va_end(ap);
    snprintf(command, sizeof(command), "cd %s && { %s; } 2>&1", fix_dir, args);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    size_t n = fread(fix_output, 1, sizeof(fix_output) - 1, p);
    fix_output[n] = '\0';
    return pclose(p) == 0;
}
#define fix_ok(...)                                                                                          \
    do {                                                                                                     \
        if (!fix_run(__VA_ARGS__))                                                                           \
            fail_msg("%s", fix_output);                                                                      \
    } while (0)

static void fix_write(const char *name, iov_t bytes) UNUSED;
static void fix_write(const char *name, iov_t bytes)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", fix_dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes.base, 1, bytes.len, f), bytes.len);
    assert_int_equal(fclose(f), 0);
}

static void fix_init_ca(const char *sub, const char *key_type) UNUSED;
static void fix_init_ca(const char *sub, const char *key_type)
{
    char path[256];
    struct err e = ERR_INIT;
    struct local_init opts = {.name = "Test", .key_type = key_type};
    snprintf(path, sizeof(path), "%s/%s", fix_dir, sub);
    if (!local_init_ca(path, &opts, &e))
        fail_msg("%s (%s)", e.detail, e.cause);
}

static struct conf *fix_conf;

/* text: the backends' sequence; "@" in it stands for the folder. */
static struct backends *fix_open(const char *text, struct err *e) UNUSED;
static struct backends *fix_open(const char *text, struct err *e)
{
    char yaml[8192] = "backends:\n";
    size_t n = strlen(yaml);
    for (const char *c = text; *c != '\0'; c++)
        n += (size_t)(*c == '@' ? snprintf(yaml + n, sizeof(yaml) - n, "%s", fix_dir)
                                : snprintf(yaml + n, sizeof(yaml) - n, "%c", *c));
    conf_free(fix_conf);
    *e = ERR_INIT;
    fix_conf = conf_parse((iov_t){yaml, n}, "test.yaml", e);
    if (fix_conf == NULL)
        fail_msg("%s", e->detail);
    return backends_open(fix_conf, conf_get(conf_root(fix_conf), "backends"), e);
}

static void fix_begin(void) UNUSED;
static void fix_begin(void)
{
    assert_non_null(mkdtemp(fix_dir));
    assert_int_equal(chmod(fix_dir, 0755),
                     0); /* whom the signer becomes has no business here, but may pass */
}

static void fix_end(void) UNUSED;
static void fix_end(void)
{
    conf_free(fix_conf);
    fix_ok("rm -rf %s", fix_dir);
}

#endif

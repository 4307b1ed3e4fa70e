/* SPDX-License-Identifier: Apache-2.0 */
/* The log: each line is built on the stack and leaves in one write(2) of at most PIPE_BUF bytes, so that
 * lines of several threads and processes never mix. The only place that escapes log text. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096  /* PIPE_BUF on Linux */
#define VALUE_MAX_BYTES 2048 /* one field never hides the others */

static _Atomic(int) log_fd = -1;
static _Atomic(int) log_level = LOG_LEVEL_INFO;
static atomic_bool to_journal;
static atomic_uint_fast64_t n_lost; /* lines the descriptor did not take */
static pthread_once_t default_once = PTHREAD_ONCE_INIT;

/* systemd names the socket it made our stderr; there lines carry their priority (sd-daemon(3)). */
static bool is_journal(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    uintmax_t dev, ino;
    return stream != NULL && sscanf(stream, "%" SCNuMAX ":%" SCNuMAX, &dev, &ino) == 2 &&
           fstat(fd, &st) == 0 && st.st_dev == (dev_t)dev && st.st_ino == (ino_t)ino;
}

static void set_fd(int fd)
{
    atomic_store(&to_journal, is_journal(fd));
    atomic_store(&log_fd, fd);
}

/* A duplicate: descriptor 2 may be pointed elsewhere later (libh2o prints to it). */
static void open_default(void)
{
    if (atomic_load(&log_fd) >= 0)
        return;
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    set_fd(fd >= 0 ? fd : STDERR_FILENO);
}

void log_init(int fd, enum log_level level)
{
    set_fd(fd);
    log_set_level(level);
}

void log_set_level(enum log_level level)
{
    atomic_store(&log_level, (int)level);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

/* ---- building a line ---- */

struct line {
    char text[LINE_MAX_BYTES];
    size_t n;
};

#define TAIL_ROOM 8 /* for `..."` and the newline */

static size_t room(const struct line *l)
{
    size_t end = sizeof(l->text) - TAIL_ROOM;
    return l->n < end ? end - l->n : 0;
}

static void put(struct line *l, const char *s, size_t n)
{
    if (n > room(l))
        n = room(l);
    memcpy(l->text + l->n, s, n);
    l->n += n;
}

static void put_cstr(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

static void put_header(struct line *l, enum log_level level, const char *event)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
    struct timespec now;
    struct tm tm;
    char head[64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    int n = snprintf(head, sizeof(head), "%s%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s ",
                     atomic_load(&to_journal) ? priorities[level] : "", tm.tm_year + 1900, tm.tm_mon + 1,
                     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(now.tv_nsec / 1000000),
                     names[level]);
    put(l, head, (size_t)n < sizeof(head) ? (size_t)n : sizeof(head) - 1);
    put_cstr(l, event);
}

static bool is_plain(iov_t s)
{
    static const char others[] = "._:/@*+,-";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.base[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) &&
            memchr(others, c, sizeof(others) - 1) == NULL)
            return false;
    }
    return s.len > 0;
}

/* Everything that is not printable ASCII is spelled out: a log is read on terminals. Returns the length of
 * the text. */
static size_t escape(char c, char out[5])
{
    static const char from[] = "\n\r\t\"\\", to[] = "nrt\"\\";
    const char *at = c == '\0' ? NULL : strchr(from, c);
    if (at != NULL)
        return (size_t)snprintf(out, 5, "\\%c", to[at - from]);
    if (c < 0x20 || c >= 0x7f)
        return (size_t)snprintf(out, 5, "\\x%02x", (unsigned)(unsigned char)c);
    out[0] = c;
    return 1;
}

static void put_quoted(struct line *l, iov_t s)
{
    size_t end = l->n + (room(l) < VALUE_MAX_BYTES ? room(l) : VALUE_MAX_BYTES);
    put_cstr(l, "\"");
    for (size_t i = 0; i < s.len; i++) {
        char text[5];
        size_t n = escape(s.base[i], text);
        if (l->n + n > end) { /* TAIL_ROOM is kept free for this */
            memcpy(l->text + l->n, "...", 3);
            l->n += 3;
            break;
        }
        put(l, text, n);
    }
    l->text[l->n++] = '"';
}

static void put_value(struct line *l, iov_t s)
{
    if (is_plain(s) && s.len <= room(l) && s.len <= VALUE_MAX_BYTES)
        put(l, s.base, s.len);
    else
        put_quoted(l, s);
}

static void put_kv(struct line *l, const struct log_kv *kv)
{
    char number[24];
    iov_t value = kv->type == LOG_KV_STR ? iov_of(kv->v.str) : kv->v.iov;
    if (kv->type == LOG_KV_INT)
        value = (iov_t){number, (size_t)snprintf(number, sizeof(number), "%" PRId64, kv->v.num)};
    if (value.base == NULL)
        return;
    if (room(l) < strlen(kv->key) + sizeof(number) + 8)
        return; /* no room for anything that could be understood */
    put_cstr(l, " ");
    put_cstr(l, kv->key);
    put_cstr(l, "=");
    put_value(l, value);
}

/* ---- writing it ---- */

static bool write_line(struct line *l)
{
    ssize_t n;
    l->text[l->n++] = '\n';
    do
        n = write(atomic_load(&log_fd), l->text, l->n);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)l->n;
}

/* A descriptor that is full must not stop the service; what was lost is told as soon as it takes lines
 * again. */
static void report_lost(void)
{
    uint64_t n = atomic_exchange(&n_lost, 0);
    if (n == 0)
        return;
    struct line l = {.n = 0};
    put_header(&l, LOG_LEVEL_WARN, "log.lost");
    put_kv(&l, &KV_INT("lines", n));
    if (!write_line(&l))
        atomic_fetch_add(&n_lost, n);
}

void log_write(enum log_level level, const char *event, const struct log_kv *kv, size_t n)
{
    if (!log_enabled(level))
        return;
    pthread_once(&default_once, open_default);
    int saved = errno; /* a caller may log first and use errno afterwards */
    struct line l;
    l.n = 0;
    put_header(&l, level, event);
    for (size_t i = 0; i < n; i++)
        put_kv(&l, &kv[i]);
    report_lost();
    if (!write_line(&l))
        atomic_fetch_add(&n_lost, 1);
    errno = saved;
}

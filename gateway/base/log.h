/* SPDX-License-Identifier: Apache-2.0 */
/* One line per event: time, level, dotted event name, typed fields as key=value (values escaped here and
 * nowhere else). error = an operator must act; warn = we coped; info = one line per request and per state
 * change; debug = off by default. Never: keys, tokens, nonces, key authorizations, whole bodies. Any
 * thread. */
#ifndef PORTICO_LOG_H
#define PORTICO_LOG_H

#include "base/base.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log_kv {
    const char *key;
    enum { LOG_KV_STR, LOG_KV_IOV, LOG_KV_INT } type;
    union { const char *str; iov_t iov; int64_t num; } v;
};
#define KV_STR(k, s) ((struct log_kv){.key = (k), .type = LOG_KV_STR, .v.str = (s)})
#define KV_IOV(k, s) ((struct log_kv){.key = (k), .type = LOG_KV_IOV, .v.iov = (s)})
#define KV_INT(k, n) ((struct log_kv){.key = (k), .type = LOG_KV_INT, .v.num = (int64_t)(n)})

/* fd stays the caller's; the default is a duplicate of stderr made at the first line. */
void log_init(int fd, enum log_level level);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *event, const struct log_kv *kv, size_t n);

#define LOG_AT(level, event, ...) \
    do { \
        if (log_enabled(level)) { \
            const struct log_kv log_kvs_[] = {__VA_ARGS__}; \
            log_write(level, event, log_kvs_, COUNTOF(log_kvs_)); \
        } \
    } while (0)
#define log_error(event, ...) LOG_AT(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warn(event, ...) LOG_AT(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_info(event, ...) LOG_AT(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_debug(event, ...) LOG_AT(LOG_LEVEL_DEBUG, event, __VA_ARGS__)

#endif

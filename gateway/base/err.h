/* SPDX-License-Identifier: Apache-2.0 */
/* One failure: what kind, what the client is told, what the log is told. The caller owns the struct; the
 * lowest layer sets it, upper layers pass it on untouched. Plain data: it may be copied between threads. */
#ifndef PORTICO_ERR_H
#define PORTICO_ERR_H

#include "base/base.h"

struct err {
    int code;               /* a value of the program's own table: enum problem (acme/problem.h) in the
                             * gateway; 0 = serverInternal */
    unsigned retry_after_s; /* 0: none */
    char detail[1024];      /* for the client: what, where, and what would be right; UTF-8, never a secret */
    char cause[512];        /* for the log only: library messages and the like; may be empty */
};

#define ERR_INIT ((struct err){0})

/* Sets code and detail; clears the cause. Always returns false, so that refusing is one line. e may be
 * NULL. */
bool err_set(struct err *e, int code, const char *fmt, ...) PRINTF_FMT(3, 4);
/* Adds the log's part. Always returns false. */
bool err_cause(struct err *e, const char *fmt, ...) PRINTF_FMT(2, 3);
/* An internal failure: detail is the fixed sentence a client may see, the cause is fmt. Always returns
 * false. */
bool err_internal(struct err *e, const char *fmt, ...) PRINTF_FMT(2, 3);

#endif

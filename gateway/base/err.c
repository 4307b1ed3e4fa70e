/* SPDX-License-Identifier: Apache-2.0 */
/* Filling struct err. Texts that do not fit are cut between two characters, since the client's part must stay
 * UTF-8. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

static const char internal_detail[] =
    "the server failed to carry out the request; its operator finds the reason in the log";

/* vsnprintf that shows a cut by "..." and never leaves half a character. */
static void format(char *text, size_t size, const char *fmt, va_list args)
{
    int len = vsnprintf(text, size, fmt, args);
    if (len < 0) {
        snprintf(text, size, "(message lost: \"%s\")", fmt);
        return;
    }
    if ((size_t)len < size)
        return;
    size_t at = size - sizeof("...");
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    memcpy(text + at, "...", sizeof("..."));
}

bool err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e == NULL)
        return false;
    va_list args;
    va_start(args, fmt);
    e->code = code;
    e->retry_after_s = 0;
    format(e->detail, sizeof(e->detail), fmt, args);
    e->cause[0] = '\0';
    va_end(args);
    return false;
}

bool err_cause(struct err *e, const char *fmt, ...)
{
    if (e == NULL)
        return false;
    va_list args;
    va_start(args, fmt);
    format(e->cause, sizeof(e->cause), fmt, args);
    va_end(args);
    return false;
}

bool err_internal(struct err *e, const char *fmt, ...)
{
    if (e == NULL)
        return false;
    err_set(e, 0, "%s", internal_detail);
    va_list args;
    va_start(args, fmt);
    format(e->cause, sizeof(e->cause), fmt, args);
    va_end(args);
    return false;
}

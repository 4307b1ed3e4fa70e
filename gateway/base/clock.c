/* SPDX-License-Identifier: Apache-2.0 */
/* The clocks, and RFC 3339 in both directions without the C library's time zones. */
#include "base/clock.h"

#include <time.h>

#define DAY_S INT64_C(86400)
/* What four digits of a year can say. */
#define UNIX_S_MIN INT64_C(-62167219200) /* 0000-01-01T00:00:00Z */
#define UNIX_S_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static int64_t now_ms(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_unix_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec;
}

int64_t clock_unix_ms(void)
{
    return now_ms(CLOCK_REALTIME);
}

uint64_t clock_mono_ms(void)
{
    return (uint64_t)now_ms(CLOCK_MONOTONIC);
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar, year 0..9999. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t days = 365 * year + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    for (int m = 1; m < month; m++)
        days += days_in(year, m);
    return days + day - 1 - 719528; /* days from 0000-01-01 to 1970-01-01 */
}

struct civil {
    int year, month, day;
};

static struct civil civil_of(int64_t days)
{
    int64_t year = (days - days_of(0, 1, 1)) / 366; /* a few years early at most */
    while (days_of(year + 1, 1, 1) <= days)
        year++;
    struct civil c = {(int)year, 1, (int)(days - days_of(year, 1, 1)) + 1};
    for (; c.day > days_in(year, c.month); c.month++)
        c.day -= days_in(year, c.month);
    return c;
}

iov_t clock_rfc3339(pool_t *pool, int64_t unix_s)
{
    unix_s = unix_s < UNIX_S_MIN ? UNIX_S_MIN : unix_s > UNIX_S_MAX ? UNIX_S_MAX : unix_s;
    int64_t s = (unix_s % DAY_S + DAY_S) % DAY_S;
    struct civil c = civil_of((unix_s - s) / DAY_S);
    return iov_printf(pool, "%04d-%02d-%02dT%02d:%02d:%02dZ", c.year, c.month, c.day, (int)(s / 3600),
                      (int)(s / 60 % 60), (int)(s % 60));
}

/* Reads n digits and, unless it is 0, the character after them. */
static bool take(iov_t *s, size_t n, char after, int *out)
{
    if (s->len < n + (after != 0))
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (s->base[i] < '0' || s->base[i] > '9')
            return false;
        *out = *out * 10 + (s->base[i] - '0');
    }
    if (after != 0 && s->base[n] != after && !(after == 'T' && s->base[n] == 't'))
        return false;
    n += after != 0;
    s->base += n;
    s->len -= n;
    return true;
}

static bool take_fraction(iov_t *s)
{
    if (s->len == 0 || s->base[0] != '.')
        return true;
    size_t n = 1;
    while (n < s->len && s->base[n] >= '0' && s->base[n] <= '9')
        n++;
    s->base += n;
    s->len -= n;
    return n > 1;
}

/* "Z", "+01:00": seconds east of UTC. Must be all that is left. */
static bool take_offset(iov_t s, int *out)
{
    *out = 0;
    if (s.len == 1)
        return s.base[0] == 'Z' || s.base[0] == 'z';
    if (s.len != 6 || (s.base[0] != '+' && s.base[0] != '-'))
        return false;
    int sign = s.base[0] == '-' ? -1 : 1, hour, minute;
    s.base++;
    s.len--;
    if (!take(&s, 2, ':', &hour) || !take(&s, 2, 0, &minute) || hour > 23 || minute > 59)
        return false;
    *out = sign * (hour * 3600 + minute * 60);
    return true;
}

/* A leap second can only be the last one of a month in UTC. */
static bool may_leap(int64_t next_s)
{
    return next_s % DAY_S == 0 && civil_of(next_s / DAY_S).day == 1;
}

bool clock_parse_rfc3339(iov_t text, int64_t *unix_s_out)
{
    int year, month, day, hour, minute, second, offset;
    if (!take(&text, 4, '-', &year) || !take(&text, 2, '-', &month) || !take(&text, 2, 'T', &day) ||
        !take(&text, 2, ':', &hour) || !take(&text, 2, ':', &minute) || !take(&text, 2, 0, &second) ||
        !take_fraction(&text) || !take_offset(text, &offset))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    int64_t s = days_of(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second - offset;
    if (second == 60 && !may_leap(s))
        return false;
    *unix_s_out = s;
    return true;
}

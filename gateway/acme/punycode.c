/* SPDX-License-Identifier: Apache-2.0 */
/* Punycode, RFC 3492 sections 5 to 6, with the parameters of section 5, and the checks of RFC 5891 5.4 that need no
 * Unicode tables. */
#include "acme/punycode.h"

enum { BASE = 36, TMIN = 1, TMAX = 26, SKEW = 38, DAMP = 700, INITIAL_BIAS = 72, INITIAL_N = 0x80 };

static uint32_t adapt(uint32_t delta, uint32_t points, bool first)
{
    delta = first ? delta / DAMP : delta / 2;
    delta += delta / points;
    uint32_t k = 0;
    for (; delta > ((BASE - TMIN) * TMAX) / 2; k += BASE)
        delta /= BASE - TMIN;
    return k + (BASE - TMIN + 1) * delta / (delta + SKEW);
}

static uint32_t threshold(uint32_t k, uint32_t bias)
{
    return k <= bias ? TMIN : k >= bias + TMAX ? TMAX : k - bias;
}

static int digit_value(char c)
{
    if (c >= 'a' && c <= 'z')
        return c - 'a';
    return c >= '0' && c <= '9' ? c - '0' + 26 : -1;
}

static char digit_char(uint32_t v)
{
    return (char)(v < 26 ? 'a' + v : '0' + (v - 26));
}

/* One generalised variable-length integer, added to *i. */
static bool decode_delta(iov_t in, size_t *pos, uint32_t bias, uint32_t *i)
{
    uint32_t weight = 1;
    for (uint32_t k = BASE;; k += BASE) {
        int digit = *pos < in.len ? digit_value(in.base[(*pos)++]) : -1;
        if (digit < 0 || (uint32_t)digit > (UINT32_MAX - *i) / weight)
            return false;
        *i += (uint32_t)digit * weight;
        uint32_t t = threshold(k, bias);
        if ((uint32_t)digit < t)
            return true;
        if (weight > UINT32_MAX / (BASE - t))
            return false;
        weight *= BASE - t;
    }
}

bool punycode_decode(iov_t in, uint32_t out[PUNYCODE_MAX], size_t *n_out)
{
    size_t basic = in.len, n = 0;
    while (basic > 0 && in.base[basic - 1] != '-')
        basic--;
    size_t pos = basic; /* behind the last delimiter */
    basic -= basic > 0;
    if (in.len > PUNYCODE_MAX)
        return false;
    if (pos == 1) /* a delimiter with nothing before it is not one (section 6.2) */
        return false;
    for (; n < basic; n++) {
        if ((unsigned char)in.base[n] >= 0x80)
            return false;
        out[n] = (unsigned char)in.base[n];
    }
    uint32_t cp = INITIAL_N, i = 0, bias = INITIAL_BIAS;
    while (pos < in.len) {
        uint32_t before = i;
        if (n == PUNYCODE_MAX || !decode_delta(in, &pos, bias, &i))
            return false;
        bias = adapt(i - before, (uint32_t)n + 1, before == 0);
        if (i / (n + 1) > 0x10ffff - cp)
            return false;
        cp += i / (uint32_t)(n + 1);
        i %= (uint32_t)(n + 1);
        memmove(out + i + 1, out + i, (n - i) * sizeof(*out));
        out[i++] = cp;
        n++;
    }
    *n_out = n;
    return true;
}

struct writer {
    char *out;
    size_t n;
};

static bool put(struct writer *w, char c)
{
    if (w->n == PUNYCODE_MAX)
        return false;
    w->out[w->n++] = c;
    return true;
}

static bool encode_delta(struct writer *w, uint32_t delta, uint32_t bias)
{
    for (uint32_t k = BASE;; k += BASE) {
        uint32_t t = threshold(k, bias);
        if (delta < t)
            return put(w, digit_char(delta));
        if (!put(w, digit_char(t + (delta - t) % (BASE - t))))
            return false;
        delta = (delta - t) / (BASE - t);
    }
}

bool punycode_encode(const uint32_t *in, size_t n, char out[PUNYCODE_MAX], size_t *n_out)
{
    struct writer w = {.out = out};
    if (n > PUNYCODE_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (in[i] < 0x80 && !put(&w, (char)in[i]))
            return false;
    size_t basic = w.n, done = w.n;
    if (basic > 0 && !put(&w, '-'))
        return false;
    /* At most 63 points of 21 bits: delta stays below 64 * 0x110000, far from overflow. */
    uint32_t cp = INITIAL_N, delta = 0, bias = INITIAL_BIAS;
    while (done < n) {
        uint32_t next = UINT32_MAX;
        for (size_t i = 0; i < n; i++)
            if (in[i] >= cp && in[i] < next)
                next = in[i];
        delta += (next - cp) * ((uint32_t)done + 1);
        cp = next;
        for (size_t i = 0; i < n; i++) {
            delta += in[i] < cp;
            if (in[i] != cp)
                continue;
            if (!encode_delta(&w, delta, bias))
                return false;
            bias = adapt(delta, (uint32_t)done + 1, done == basic);
            delta = 0;
            done++;
        }
        delta++;
        cp++;
    }
    *n_out = w.n;
    return true;
}

/* Controls, spaces, separators, invisible formatting, surrogates, private use, compatibility forms and what is not a
 * character: RFC 5892 disallows each of them. Letters are not looked at further. */
static bool never_in_names(uint32_t cp)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x80, 0xa0},     {0xad, 0xad},     {0x2000, 0x200b},    {0x200e, 0x200f}, {0x2024, 0x2026},
        {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3002},    {0xd800, 0xf8ff}, {0xfdd0, 0xfdef},
        {0xfe00, 0xfe0f}, {0xfeff, 0xffff}, {0xe0000, 0x10ffff},
    };
    for (size_t i = 0; i < COUNTOF(ranges); i++)
        if (cp >= ranges[i].first && cp <= ranges[i].last)
            return true;
    return (cp & 0xfffe) == 0xfffe;
}

const char *punycode_label_fault(iov_t label)
{
    iov_t coded = {label.base + 4, label.len - 4};
    uint32_t points[PUNYCODE_MAX];
    size_t n, n_again;
    if (!punycode_decode(coded, points, &n) || n == 0)
        return "has a label that begins with \"xn--\" and is not Punycode";
    bool ascii = true;
    for (size_t i = 0; i < n; i++) {
        ascii = ascii && points[i] < 0x80;
        if (points[i] >= 0x80 && never_in_names(points[i]))
            return "has an \"xn--\" label whose decoded form holds a character that no name may hold";
    }
    if (ascii)
        return "has a label that begins with \"xn--\" and decodes to plain ASCII";
    if (points[0] == '-' || points[n - 1] == '-' || (n >= 4 && points[2] == '-' && points[3] == '-'))
        return "has an \"xn--\" label whose decoded form has a hyphen where none may be";
    char again[PUNYCODE_MAX];
    if (!punycode_encode(points, n, again, &n_again) || !iov_eq((iov_t){again, n_again}, coded))
        return "has a label that begins with \"xn--\" and is not the one way to write its name";
    return NULL;
}

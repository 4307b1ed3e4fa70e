/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 in its two alphabets. One byte string has one spelling: trailing bits that are not zero are
 * refused. */
#include "base/b64.h"

static const char url_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char std_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum padding { UNPADDED, PADDED };

static iov_t encode(pool_t *pool, iov_t bytes, const char *alphabet, enum padding padding)
{
    const unsigned char *in = (const unsigned char *)bytes.base;
    char *text = h2o_mem_alloc_pool(pool, (bytes.len + 2) / 3 * 4 + 1), *out = text;
    size_t left = bytes.len;
    for (; left >= 3; left -= 3, in += 3) {
        unsigned group = (unsigned)in[0] << 16 | (unsigned)in[1] << 8 | in[2];
        *out++ = alphabet[group >> 18];
        *out++ = alphabet[group >> 12 & 63];
        *out++ = alphabet[group >> 6 & 63];
        *out++ = alphabet[group & 63];
    }
    if (left > 0) {
        unsigned group = (unsigned)in[0] << 16 | (left == 2 ? (unsigned)in[1] << 8 : 0);
        *out++ = alphabet[group >> 18];
        *out++ = alphabet[group >> 12 & 63];
        if (left == 2)
            *out++ = alphabet[group >> 6 & 63];
        for (size_t i = left; padding == PADDED && i < 3; i++)
            *out++ = '=';
    }
    *out = '\0';
    return (iov_t){text, (size_t)(out - text)};
}

/* 0..63, or -1. c62 and c63 are the alphabet's last two characters. */
static int value_of(char c, char c62, char c63)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == c62)
        return 62;
    return c == c63 ? 63 : -1;
}

struct decoder {
    unsigned char *out;
    size_t n;      /* bytes written */
    unsigned bits; /* collected, not yet written */
    unsigned n_bits;
};

static void decoder_put(struct decoder *d, unsigned value)
{
    d->bits = (d->bits << 6 | value) & 0xffff;
    d->n_bits += 6;
    if (d->n_bits >= 8) {
        d->n_bits -= 8;
        d->out[d->n++] = (unsigned char)(d->bits >> d->n_bits);
    }
}

/* Six bits left over mean a single character that carries no byte. */
static bool decoder_end(const struct decoder *d)
{
    return d->n_bits < 6 && (d->bits & ((1u << d->n_bits) - 1)) == 0;
}

iov_t b64_encode(pool_t *pool, iov_t bytes)
{
    return encode(pool, bytes, url_alphabet, UNPADDED);
}

bool b64_decode(pool_t *pool, iov_t text, iov_t *out)
{
    struct decoder d = {.out = h2o_mem_alloc_pool(pool, text.len / 4 * 3 + 4)};
    for (size_t i = 0; i < text.len; i++) {
        int value = value_of(text.base[i], '-', '_');
        if (value < 0)
            return false;
        decoder_put(&d, (unsigned)value);
    }
    if (!decoder_end(&d))
        return false;
    d.out[d.n] = '\0';
    *out = (iov_t){(char *)d.out, d.n};
    return true;
}

iov_t b64_std_encode(pool_t *pool, iov_t bytes)
{
    return encode(pool, bytes, std_alphabet, PADDED);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool b64_std_decode(pool_t *pool, iov_t text, iov_t *out)
{
    struct decoder d = {.out = h2o_mem_alloc_pool(pool, text.len / 4 * 3 + 4)};
    size_t n = 0, pads = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (is_space(text.base[i]))
            continue;
        n++;
        if (text.base[i] == '=') {
            pads++;
            continue;
        }
        int value = value_of(text.base[i], '+', '/');
        if (value < 0 || pads > 0)
            return false;
        decoder_put(&d, (unsigned)value);
    }
    if (n % 4 != 0 || pads > 2 || !decoder_end(&d))
        return false;
    d.out[d.n] = '\0';
    *out = (iov_t){(char *)d.out, d.n};
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Account keys as clients send them (RFC 7517, RFC 7518 section 6, RFC 8037): which members, which sizes, and the one
 * spelling that is hashed and stored. Whether the numbers are a usable key is io/pki's to say. */
#include "acme/jws.h"

#include "acme/problem.h"
#include "base/b64.h"

enum { RSA_MIN_BITS = 2048, RSA_MAX_BITS = 8192, RSA_E_MAX_BYTES = 8 };

/* A JWK being read. */
struct reader {
    pool_t *pool;
    const json_t *obj;
    struct err *e;
};

struct number {
    iov_t text; /* strict decoding makes it the only spelling of the bytes */
    iov_t bytes;
};

static bool refuse_private(const struct reader *r)
{
    static const char *const members[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};
    for (size_t i = 0; i < COUNTOF(members); i++)
        if (json_object_get(r->obj, members[i]) != NULL)
            return err_set(r->e, ACME_BAD_PUBLIC_KEY,
                           "the JWK holds \"%s\", a part of a private or secret key: send the public key "
                           "only, and treat "
                           "this key as compromised",
                           members[i]);
    return true;
}

static bool read_number(const struct reader *r, const char *name, struct number *out)
{
    out->text = json_get_iov(r->obj, name);
    if (out->text.base == NULL)
        return err_set(r->e, ACME_BAD_PUBLIC_KEY, "the JWK lacks \"%s\", or it is not a string", name);
    if (out->text.len == 0 || !b64_decode(r->pool, out->text, &out->bytes))
        return err_set(r->e, ACME_BAD_PUBLIC_KEY, "\"%s\" of the JWK is not base64url without padding", name);
    return true;
}

static bool read_coordinate(const struct reader *r, const char *name, size_t len, struct number *out)
{
    if (!read_number(r, name, out))
        return false;
    if (out->bytes.len != len)
        return err_set(r->e, ACME_BAD_PUBLIC_KEY, "\"%s\" of the JWK has %zu bytes; its curve wants %zu",
                       name, out->bytes.len, len);
    return true;
}

static bool refuse_curve(const struct reader *r, const char *supported)
{
    iov_t crv = json_get_iov(r->obj, "crv");
    if (crv.base == NULL)
        return err_set(r->e, ACME_BAD_PUBLIC_KEY, "the JWK lacks \"crv\", or it is not a string");
    return err_set(r->e, ACME_BAD_PUBLIC_KEY,
                   "curve \"%s\" is not supported for this type of key; supported: %s",
                   iov_printable(r->pool, crv, 40).base, supported);
}

static bool parse_ec(const struct reader *r, struct jwk *out)
{
    static const struct {
        const char *name;
        int crv;
        size_t len;
    } curves[] = {{"P-256", JWK_P256, 32}, {"P-384", JWK_P384, 48}, {"P-521", JWK_P521, 66}};
    iov_t crv = json_get_iov(r->obj, "crv");
    size_t i = 0;
    while (i < COUNTOF(curves) && !(crv.base != NULL && iov_is(crv, curves[i].name)))
        i++;
    if (i == COUNTOF(curves))
        return refuse_curve(r, "P-256, P-384, P-521");
    struct number x, y;
    if (!read_coordinate(r, "x", curves[i].len, &x) || !read_coordinate(r, "y", curves[i].len, &y))
        return false;
    *out = (struct jwk){.kty = JWK_EC, .crv = curves[i].crv, .x = x.bytes, .y = y.bytes};
    out->canonical = iov_printf(r->pool, "{\"crv\":\"%s\",\"kty\":\"EC\",\"x\":\"%.*s\",\"y\":\"%.*s\"}",
                                curves[i].name, (int)x.text.len, x.text.base, (int)y.text.len, y.text.base);
    return true;
}

static bool parse_okp(const struct reader *r, struct jwk *out)
{
    iov_t crv = json_get_iov(r->obj, "crv");
    if (crv.base == NULL || !iov_is(crv, "Ed25519"))
        return refuse_curve(r, "Ed25519");
    struct number x;
    if (!read_coordinate(r, "x", 32, &x))
        return false;
    *out = (struct jwk){.kty = JWK_OKP, .crv = JWK_ED25519, .x = x.bytes};
    out->canonical = iov_printf(r->pool, "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%.*s\"}",
                                (int)x.text.len, x.text.base);
    return true;
}

static size_t bit_length(iov_t n)
{
    size_t bits = n.len * 8;
    for (unsigned top = (unsigned char)n.base[0]; (top & 0x80) == 0; top <<= 1)
        bits--;
    return bits;
}

static bool parse_rsa(const struct reader *r, struct jwk *out)
{
    struct number n, exp;
    if (!read_number(r, "n", &n) || !read_number(r, "e", &exp))
        return false;
    /* RFC 7518 6.3.1.1 wants the shortest form. Another one would give the same key another thumbprint. */
    if (n.bytes.base[0] == 0 || exp.bytes.base[0] == 0)
        return err_set(r->e, ACME_BAD_PUBLIC_KEY,
                       "\"%s\" of the JWK begins with a zero byte; send the shortest form",
                       n.bytes.base[0] == 0 ? "n" : "e");
    size_t bits = bit_length(n.bytes);
    if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS)
        return err_set(r->e, ACME_BAD_PUBLIC_KEY, "the RSA key has %zu bits; %d to %d are accepted", bits,
                       RSA_MIN_BITS, RSA_MAX_BITS);
    if (exp.bytes.len > RSA_E_MAX_BYTES)
        return err_set(r->e, ACME_BAD_PUBLIC_KEY, "the exponent of the RSA key is longer than 64 bits");
    *out = (struct jwk){.kty = JWK_RSA, .n = n.bytes, .e = exp.bytes};
    out->canonical = iov_printf(r->pool, "{\"e\":\"%.*s\",\"kty\":\"RSA\",\"n\":\"%.*s\"}", (int)exp.text.len,
                                exp.text.base, (int)n.text.len, n.text.base);
    return true;
}

bool jwk_parse(pool_t *pool, const json_t *obj, struct jwk *out, struct err *e)
{
    const struct reader r = {pool, obj, e};
    if (!json_is_object(obj))
        return err_set(e, ACME_BAD_PUBLIC_KEY, "the JWK is not a JSON object");
    if (!refuse_private(&r))
        return false;
    iov_t kty = json_get_iov(obj, "kty");
    if (kty.base == NULL)
        return err_set(e, ACME_BAD_PUBLIC_KEY, "the JWK lacks \"kty\", or it is not a string");
    if (iov_is(kty, "EC"))
        return parse_ec(&r, out);
    if (iov_is(kty, "RSA"))
        return parse_rsa(&r, out);
    if (iov_is(kty, "OKP"))
        return parse_okp(&r, out);
    return err_set(e, ACME_BAD_PUBLIC_KEY, "keys of type \"%s\" are not supported; supported: EC, RSA, OKP",
                   iov_printable(pool, kty, 40).base);
}

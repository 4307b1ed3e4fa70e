/* SPDX-License-Identifier: Apache-2.0 */
/* JWS envelopes and JWKs: the examples of the RFCs, and every way to get one wrong. */
#include "acme/jws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "acme/problem.h"
#include "base/b64.h"

static pool_t pool;

static int set_up(void **state UNUSED)
{
    h2o_mem_init_pool(&pool);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    h2o_mem_clear_pool(&pool);
    return 0;
}

/* RFC 7517 appendix A.1, RFC 8037 appendix A.2, RFC 7638 section 3.1. */
#define EC_X "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"
#define EC_Y "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
#define EC_KEY "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}"
#define OKP_KEY "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
#define RSA_N                                                                                                \
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"                \
    "BJECPebWKRXjBZCiFV4n3"                                                                                  \
    "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"                                    \
    "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"                                                              \
    "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-"  \
    "csFCur-"                                                                                                \
    "kEgU8awapJzKnqDKgw"
#define RSA_KEY                                                                                              \
    "{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAB\",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}"

static bool jwk_of(const char *text, struct jwk *out, struct err *e)
{
    struct err why = ERR_INIT;
    json_t *obj = json_parse_object(iov_of(text), 65536, &why);
    if (obj == NULL)
        fail_msg("%s: %s", text, why.detail);
    bool ok = jwk_parse(&pool, obj, out, e);
    json_decref(obj);
    return ok;
}

static void keys_have_one_canonical_form(void **state UNUSED)
{
    static const struct {
        const char *in, *canonical;
    } rows[] = {
        {EC_KEY, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}"},
        {"{\"use\":\"sig\",\"kid\":\"1\",\"y\":\"" EC_Y "\",\"key_ops\":[\"verify\"],\"x5c\":[],\"x\":\"" EC_X
         "\",\"crv\":\"P-256\",\"kty\":\"EC\",\"alg\":\"ES256\"}",
         "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}"},
        {OKP_KEY,
         "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"},
        {RSA_KEY, "{\"e\":\"AQAB\",\"kty\":\"RSA\",\"n\":\"" RSA_N "\"}"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct jwk k;
        struct err e = ERR_INIT;
        if (!jwk_of(rows[i].in, &k, &e))
            fail_msg("%s", e.detail);
        assert_string_equal(k.canonical.base, rows[i].canonical);
        /* What is stored must read back as itself. */
        struct jwk again;
        assert_true(jwk_of(k.canonical.base, &again, &e));
        assert_true(iov_eq(again.canonical, k.canonical));
    }
}

static void key_numbers_are_decoded(void **state UNUSED)
{
    struct jwk k;
    struct err e = ERR_INIT;
    assert_true(jwk_of(RSA_KEY, &k, &e));
    assert_int_equal(k.kty, JWK_RSA);
    assert_int_equal(k.n.len, 256);
    assert_memory_equal(k.e.base, "\1\0\1", 3);
    assert_true(jwk_of(EC_KEY, &k, &e));
    assert_int_equal(k.crv, JWK_P256);
    assert_int_equal(k.x.len, 32);
    assert_int_equal((unsigned char)k.y.base[0], 0xe0);
    assert_true(jwk_of(OKP_KEY, &k, &e));
    assert_int_equal(k.crv, JWK_ED25519);
    assert_int_equal(k.x.len, 32);
}

static void bad_keys_are_refused(void **state UNUSED)
{
    static const struct {
        const char *in, *because;
    } rows[] = {
        {"{}", "kty"},
        {"{\"kty\":1}", "kty"},
        {"{\"kty\":\"oct\",\"k\":\"AAAA\"}", "\"k\""},
        {"{\"kty\":\"oct\"}", "\"oct\""},
        {"{\"kty\":\"ec\"}", "\"ec\""},
        {"{\"kty\":\"EC\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}", "crv"},
        {"{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}", "secp256k1"},
        {"{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}",
         "32 bytes; its curve wants 48"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\"}", "\"y\""},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "=\",\"y\":\"" EC_Y "\"}", "base64url"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"\",\"y\":\"" EC_Y "\"}", "base64url"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\",\"d\":\"AA\"}",
         "compromised"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\",\"d\":null}",
         "compromised"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed448\",\"x\":\"" EC_X "\"}", "Ed448"},
        {"{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" EC_X "\"}", "X25519"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}", "3 bytes"},
        {"{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", "17 bits"},
        {"{\"kty\":\"RSA\",\"n\":\"AA\",\"e\":\"AQAB\"}", "zero byte"},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\"}", "\"e\""},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AAEAAQ\"}", "zero byte"},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"" EC_X "\"}", "64 bits"},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAB\",\"qi\":\"AA\"}", "\"qi\""},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAB\",\"oth\":[]}", "\"oth\""},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct jwk k;
        struct err e = ERR_INIT;
        if (jwk_of(rows[i].in, &k, &e))
            fail_msg("%s accepted", rows[i].in);
        assert_int_equal(e.code, ACME_BAD_PUBLIC_KEY);
        if (strstr(e.detail, rows[i].because) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].in, e.detail, rows[i].because);
    }
}

static void rsa_sizes_are_bounded(void **state UNUSED)
{
    static const struct {
        size_t bytes;
        char top;
        bool want;
    } rows[] = {
        {256, '\x80', true},  {256, '\x7f', false},  {255, '\xff', false},
        {1024, '\xff', true}, {1025, '\x01', false},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        iov_t n = {pool_zalloc(&pool, rows[i].bytes), rows[i].bytes};
        n.base[0] = rows[i].top;
        n.base[n.len - 1] = 1;
        struct jwk k;
        struct err e = ERR_INIT;
        iov_t text = iov_printf(&pool, "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"%s\"}",
                                b64_encode(&pool, n).base);
        if (jwk_of(text.base, &k, &e) != rows[i].want)
            fail_msg("%zu bytes: %s", rows[i].bytes, e.detail);
    }
}

/* ---- envelopes ---- */

#define URL "\"url\":\"https://ca.example/acme/default/new-order\""
#define NONCE "\"nonce\":\"6S8IqOGY7eL2lsGoTZYifg\""
#define KID "\"kid\":\"https://ca.example/acme/default/account/1\""

static iov_t signature(size_t bytes)
{
    return b64_encode(&pool, (iov_t){pool_zalloc(&pool, bytes), bytes});
}

static iov_t envelope(const char *header, const char *payload, size_t sig_bytes)
{
    return iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"%s\",\"signature\":\"%s\"}",
                      b64_encode(&pool, iov_of(header)).base, b64_encode(&pool, iov_of(payload)).base,
                      signature(sig_bytes).base);
}

static void a_request_is_taken_apart(void **state UNUSED)
{
    struct jws j;
    struct err e = ERR_INIT;
    const char *header = "{\"alg\":\"ES256\"," KID "," URL "," NONCE ",\"typ\":\"x\"}";
    iov_t body = envelope(header, "{\"a\":1}", 64);
    if (!jws_parse(&pool, body, JWS_REQUEST, &j, &e))
        fail_msg("%s", e.detail);
    assert_int_equal(j.alg, JWS_ES256);
    assert_true(iov_is(j.kid, "https://ca.example/acme/default/account/1"));
    assert_true(iov_is(j.url, "https://ca.example/acme/default/new-order"));
    assert_true(iov_is(j.nonce, "6S8IqOGY7eL2lsGoTZYifg"));
    assert_false(j.has_jwk);
    assert_true(iov_is(j.payload, "{\"a\":1}"));
    assert_int_equal(j.signature.len, 64);
    iov_t want = iov_printf(&pool, "%s.%s", b64_encode(&pool, iov_of(header)).base,
                            b64_encode(&pool, IOV("{\"a\":1}")).base);
    assert_true(iov_eq(j.signing_input, want));
    assert_true(iov_starts(j.signing_input, iov_dup(&pool, j.protected_b64).base));
    assert_string_equal(json_string_value(json_object_get(j.header, "typ")), "x");
    jws_dispose(&j);
    assert_null(j.header);
    jws_dispose(&j);
}

static void an_empty_payload_is_post_as_get(void **state UNUSED)
{
    struct jws j;
    struct err e = ERR_INIT;
    assert_true(jws_parse(&pool, envelope("{\"alg\":\"ES256\"," KID "," URL "," NONCE "}", "", 64),
                          JWS_REQUEST, &j, &e));
    assert_non_null(j.payload.base);
    assert_int_equal(j.payload.len, 0);
    assert_int_equal(j.signing_input.base[j.signing_input.len - 1], '.');
    jws_dispose(&j);
}

static void every_kind_and_algorithm_is_accepted(void **state UNUSED)
{
    static const struct {
        enum jws_kind kind;
        const char *header;
        size_t sig_bytes;
        enum jws_alg alg;
    } rows[] = {
        {JWS_REQUEST, "{\"alg\":\"ES256\",\"jwk\":" EC_KEY "," URL "," NONCE "}", 64, JWS_ES256},
        {JWS_REQUEST, "{\"alg\":\"RS256\",\"jwk\":" RSA_KEY "," URL "," NONCE "}", 256, JWS_RS256},
        {JWS_REQUEST, "{\"alg\":\"PS256\",\"jwk\":" RSA_KEY "," URL "," NONCE "}", 256, JWS_PS256},
        {JWS_REQUEST, "{\"alg\":\"EdDSA\",\"jwk\":" OKP_KEY "," URL "," NONCE "}", 64, JWS_EDDSA},
        {JWS_REQUEST, "{\"alg\":\"ES384\"," KID "," URL "," NONCE "}", 96, JWS_ES384},
        {JWS_REQUEST, "{\"alg\":\"ES512\"," KID "," URL "," NONCE "}", 132, JWS_ES512},
        {JWS_REQUEST, "{\"alg\":\"RS256\"," KID "," URL "," NONCE "}", 1024, JWS_RS256},
        {JWS_KEY_CHANGE, "{\"alg\":\"ES256\",\"jwk\":" EC_KEY "," URL "}", 64, JWS_ES256},
        {JWS_EAB, "{\"alg\":\"HS256\",\"kid\":\"k1\"," URL "}", 32, JWS_HS256},
        {JWS_EAB, "{\"alg\":\"HS384\",\"kid\":\"k1\"," URL "}", 48, JWS_HS384},
        {JWS_EAB, "{\"alg\":\"HS512\",\"kid\":\"k1\"," URL "}", 64, JWS_HS512},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct jws j;
        struct err e = ERR_INIT;
        if (!jws_parse(&pool, envelope(rows[i].header, "{}", rows[i].sig_bytes), rows[i].kind, &j, &e))
            fail_msg("row %zu: %s", i, e.detail);
        assert_int_equal(j.alg, rows[i].alg);
        assert_int_equal(j.has_jwk, strstr(rows[i].header, "jwk") != NULL);
        assert_int_equal(j.nonce.base != NULL, rows[i].kind == JWS_REQUEST);
        jws_dispose(&j);
    }
}

static void bad_headers_are_refused(void **state UNUSED)
{
    static const struct {
        enum jws_kind kind;
        const char *header;
        size_t sig_bytes;
        int code;
        const char *because;
    } rows[] = {
        {JWS_REQUEST, "[]", 64, ACME_MALFORMED, "protected header"},
        {JWS_REQUEST, "{", 64, ACME_MALFORMED, "protected header"},
        {JWS_REQUEST, "{\"alg\":\"ES256\",\"alg\":\"none\"}", 64, ACME_MALFORMED, "protected header"},
        {JWS_REQUEST, "{" KID "," URL "," NONCE "}", 64, ACME_MALFORMED, "\"alg\""},
        {JWS_REQUEST, "{\"alg\":256," KID "," URL "," NONCE "}", 64, ACME_MALFORMED, "\"alg\""},
        {JWS_REQUEST, "{\"alg\":\"none\"," KID "," URL "," NONCE "}", 64, ACME_BAD_SIGNATURE_ALGORITHM,
         "none"},
        {JWS_REQUEST, "{\"alg\":\"HS256\"," KID "," URL "," NONCE "}", 32, ACME_BAD_SIGNATURE_ALGORITHM,
         "HS256"},
        {JWS_REQUEST, "{\"alg\":\"RS512\"," KID "," URL "," NONCE "}", 64, ACME_BAD_SIGNATURE_ALGORITHM,
         "ES256, ES384"},
        {JWS_REQUEST, "{\"alg\":\"es256\"," KID "," URL "," NONCE "}", 64, ACME_BAD_SIGNATURE_ALGORITHM,
         "es256"},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID "," NONCE "}", 64, ACME_MALFORMED, "\"url\""},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID ",\"url\":[]," NONCE "}", 64, ACME_MALFORMED, "\"url\""},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID "," URL "}", 64, ACME_BAD_NONCE, "no nonce"},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID "," URL ",\"nonce\":\"\"}", 64, ACME_BAD_NONCE, "no nonce"},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID "," URL ",\"nonce\":\"a+b\"}", 64, ACME_MALFORMED,
         "base64url"},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID "," URL ",\"nonce\":\"ab==\"}", 64, ACME_MALFORMED,
         "base64url"},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID "," URL ",\"nonce\":7}", 64, ACME_MALFORMED, "base64url"},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," URL "," NONCE "}", 64, ACME_MALFORMED,
         "neither \"jwk\" nor \"kid\""},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID ",\"jwk\":" EC_KEY "," URL "," NONCE "}", 64, ACME_MALFORMED,
         "both"},
        {JWS_REQUEST, "{\"alg\":\"ES256\",\"kid\":\"\"," URL "," NONCE "}", 64, ACME_MALFORMED, "\"kid\""},
        {JWS_REQUEST, "{\"alg\":\"ES256\",\"kid\":{}," URL "," NONCE "}", 64, ACME_MALFORMED, "\"kid\""},
        {JWS_REQUEST, "{\"alg\":\"ES256\",\"jwk\":\"x\"," URL "," NONCE "}", 64, ACME_BAD_PUBLIC_KEY, "JWK"},
        {JWS_REQUEST, "{\"alg\":\"ES384\",\"jwk\":" EC_KEY "," URL "," NONCE "}", 96,
         ACME_BAD_SIGNATURE_ALGORITHM, "fit"},
        {JWS_REQUEST, "{\"alg\":\"RS256\",\"jwk\":" EC_KEY "," URL "," NONCE "}", 64,
         ACME_BAD_SIGNATURE_ALGORITHM, "fit"},
        {JWS_REQUEST, "{\"alg\":\"ES256\",\"jwk\":" RSA_KEY "," URL "," NONCE "}", 64,
         ACME_BAD_SIGNATURE_ALGORITHM, "fit"},
        {JWS_REQUEST, "{\"alg\":\"ES256\",\"jwk\":" OKP_KEY "," URL "," NONCE "}", 64,
         ACME_BAD_SIGNATURE_ALGORITHM, "fit"},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID "," URL "," NONCE ",\"crit\":[\"b64\"]}", 64, ACME_MALFORMED,
         "crit"},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID "," URL "," NONCE ",\"b64\":true}", 64, ACME_MALFORMED,
         "b64"},
        {JWS_REQUEST, "{\"alg\":\"ES256\"," KID "," URL "," NONCE "}", 71, ACME_MALFORMED, "not DER"},
        {JWS_REQUEST, "{\"alg\":\"EdDSA\"," KID "," URL "," NONCE "}", 63, ACME_MALFORMED, "wants 64"},
        {JWS_REQUEST, "{\"alg\":\"RS256\",\"jwk\":" RSA_KEY "," URL "," NONCE "}", 255, ACME_MALFORMED,
         "wants 256"},
        {JWS_KEY_CHANGE, "{\"alg\":\"ES256\"," KID "," URL "}", 64, ACME_MALFORMED,
         "\"kid\" where a \"jwk\""},
        {JWS_KEY_CHANGE, "{\"alg\":\"ES256\"," URL "}", 64, ACME_MALFORMED, "lacks \"jwk\""},
        {JWS_KEY_CHANGE, "{\"alg\":\"ES256\",\"jwk\":" EC_KEY "," URL "," NONCE "}", 64, ACME_MALFORMED,
         "outer request"},
        {JWS_KEY_CHANGE, "{\"alg\":\"HS256\",\"jwk\":" EC_KEY "," URL "}", 32, ACME_BAD_SIGNATURE_ALGORITHM,
         "inner"},
        {JWS_EAB, "{\"alg\":\"ES256\",\"kid\":\"k1\"," URL "}", 64, ACME_BAD_SIGNATURE_ALGORITHM,
         "HS256, HS384"},
        {JWS_EAB, "{\"alg\":\"none\",\"kid\":\"k1\"," URL "}", 64, ACME_BAD_SIGNATURE_ALGORITHM, "none"},
        {JWS_EAB, "{\"alg\":\"HS256\"," URL "}", 32, ACME_MALFORMED, "lacks \"kid\""},
        {JWS_EAB, "{\"alg\":\"HS256\",\"jwk\":" EC_KEY "," URL "}", 32, ACME_MALFORMED,
         "\"jwk\" where a \"kid\""},
        {JWS_EAB, "{\"alg\":\"HS256\",\"kid\":\"k1\"," URL "," NONCE "}", 32, ACME_MALFORMED,
         "outer request"},
        {JWS_EAB, "{\"alg\":\"HS256\",\"kid\":\"k1\"}", 32, ACME_MALFORMED, "\"url\""},
        {JWS_EAB, "{\"alg\":\"HS256\",\"kid\":\"k1\"," URL "}", 31, ACME_MALFORMED, "wants 32"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct jws j;
        struct err e = ERR_INIT;
        if (jws_parse(&pool, envelope(rows[i].header, "{}", rows[i].sig_bytes), rows[i].kind, &j, &e))
            fail_msg("%s accepted", rows[i].header);
        assert_null(j.header);
        if (e.code != rows[i].code || strstr(e.detail, rows[i].because) == NULL)
            fail_msg("%s: %s: \"%s\"", rows[i].header, problem_name(e.code), e.detail);
    }
}

static void bad_members_are_refused(void **state UNUSED)
{
    const char *head = b64_encode(&pool, IOV("{\"alg\":\"ES256\"," KID "," URL "," NONCE "}")).base;
    const char *sig = signature(64).base;
    const struct {
        iov_t body;
        const char *because;
    } rows[] = {
        {IOV(""), "not a JWS"},
        {IOV("null"), "not a JWS"},
        {IOV("{}"), "protected"},
        {IOV("a.b.c"), "not a JWS"},
        {IOV("{\"protected\":\"\\u0000\"}"), "not a JWS"},
        {iov_printf(&pool, "[{\"protected\":\"%s\"}]", head), "not a JWS"},
        {iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"\"}", head), "\"signature\""},
        {iov_printf(&pool, "{\"protected\":\"%s\",\"signature\":\"%s\"}", head, sig), "\"payload\""},
        {iov_printf(&pool, "{\"payload\":\"\",\"signature\":\"%s\"}", sig), "\"protected\""},
        {iov_printf(&pool, "{\"protected\":{},\"payload\":\"\",\"signature\":\"%s\"}", sig), "\"protected\""},
        {iov_printf(&pool, "{\"protected\":\"\",\"payload\":\"\",\"signature\":\"%s\"}", sig),
         "empty protected"},
        {iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"\",\"signature\":\"\"}", head),
         "empty signature"},
        {iov_printf(&pool, "{\"protected\":\"%s=\",\"payload\":\"\",\"signature\":\"%s\"}", head, sig),
         "base64url"},
        {iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"a\",\"signature\":\"%s\"}", head, sig),
         "base64url"},
        {iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"a+==\",\"signature\":\"%s\"}", head, sig),
         "base64url"},
        {iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"\",\"signature\":\"%s*\"}", head, sig),
         "base64url"},
        {iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"\",\"signature\":\"%s\",\"header\":{}}", head,
                    sig),
         "unprotected"},
        {iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"\",\"signature\":\"%s\",\"header\":null}",
                    head, sig),
         "unprotected"},
        {iov_printf(&pool, "{\"payload\":\"\",\"signatures\":[{\"protected\":\"%s\",\"signature\":\"%s\"}]}",
                    head, sig),
         "flattened"},
        {iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"\",\"signature\":\"%s\",\"payload\":\"AA\"}",
                    head, sig),
         "not a JWS"},
        {iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"\",\"signature\":\"%s\"}", head,
                    signature(1100).base),
         "more than"},
    };
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        struct jws j;
        struct err e = ERR_INIT;
        assert_false(jws_parse(&pool, rows[i].body, JWS_REQUEST, &j, &e));
        if (e.code != ACME_MALFORMED || strstr(e.detail, rows[i].because) == NULL)
            fail_msg("%.*s: %s", (int)rows[i].body.len, rows[i].body.base, e.detail);
    }
}

static void members_beyond_the_three_are_ignored(void **state UNUSED)
{
    iov_t plain = envelope("{\"alg\":\"ES256\"," KID "," URL "," NONCE "}", "{}", 64);
    iov_t body = iov_printf(&pool, "%.*s,\"resource\":\"new-order\"}", (int)plain.len - 1, plain.base);
    struct jws j;
    struct err e = ERR_INIT;
    assert_true(jws_parse(&pool, body, JWS_REQUEST, &j, &e));
    jws_dispose(&j);
}

static void a_jws_inside_another_is_read_from_json(void **state UNUSED)
{
    struct err e = ERR_INIT;
    json_t *obj = json_parse_object(envelope("{\"alg\":\"HS256\",\"kid\":\"k1\"," URL "}", EC_KEY, 32), 65536,
                                    &e);
    struct jws j;
    assert_true(jws_from_json(&pool, obj, JWS_EAB, &j, &e));
    json_decref(obj);
    /* Nothing may point into what was parsed. */
    assert_true(iov_is(j.kid, "k1"));
    assert_true(iov_is(j.payload, EC_KEY));
    jws_dispose(&j);
    assert_false(jws_from_json(&pool, NULL, JWS_EAB, &j, &e));
    assert_int_equal(e.code, ACME_MALFORMED);
}

static void algorithm_names_are_those_of_the_registry(void **state UNUSED)
{
    static const char *const want[] = {"ES256", "ES384", "ES512", "RS256", "PS256",
                                       "EdDSA", "HS256", "HS384", "HS512"};
    for (size_t i = 0; i < JWS_ALG_COUNT; i++)
        assert_string_equal(jws_alg_name((enum jws_alg)i), want[i]);
    size_t n = 0;
    for (; jws_algorithms[n] != NULL; n++)
        assert_string_equal(jws_algorithms[n], want[n]);
    assert_int_equal(n, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_one_canonical_form),
        cmocka_unit_test(key_numbers_are_decoded),
        cmocka_unit_test(bad_keys_are_refused),
        cmocka_unit_test(rsa_sizes_are_bounded),
        cmocka_unit_test(a_request_is_taken_apart),
        cmocka_unit_test(an_empty_payload_is_post_as_get),
        cmocka_unit_test(every_kind_and_algorithm_is_accepted),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(bad_members_are_refused),
        cmocka_unit_test(members_beyond_the_three_are_ignored),
        cmocka_unit_test(a_jws_inside_another_is_read_from_json),
        cmocka_unit_test(algorithm_names_are_those_of_the_registry),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

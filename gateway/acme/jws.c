/* SPDX-License-Identifier: Apache-2.0 */
/* The envelope of every ACME POST: members, protected header and the rules of RFC 8555 section 6.2 (and 7.3.4, 7.3.5
 * for the two kinds that travel inside another). What the signature says is io/pki's to check. */
#include "acme/jws.h"

#include "acme/problem.h"
#include "base/b64.h"

enum {
    BODY_MAX_BYTES =
        1 << 20, /* the listener's own limit is lower; this one holds wherever the text comes from */
    PROTECTED_MAX_CHARS = 16384, /* an RSA key of 8192 bits takes 1400, a URL some hundred */
    SIGNATURE_MAX_CHARS = 1400,  /* RSA of 8192 bits: 1366 */
    NONCE_MAX_CHARS = 256,
};

enum family { FAMILY_EC, FAMILY_RSA, FAMILY_OKP, FAMILY_MAC };

static const struct {
    const char *name;
    enum family family;
    int crv;          /* FAMILY_EC */
    size_t sig_bytes; /* 0: as long as the key */
} algs[JWS_ALG_COUNT] = {
    [JWS_ES256] = {"ES256", FAMILY_EC, JWK_P256, 64},
    [JWS_ES384] = {"ES384", FAMILY_EC, JWK_P384, 96},
    [JWS_ES512] = {"ES512", FAMILY_EC, JWK_P521, 132},
    [JWS_RS256] = {"RS256", FAMILY_RSA, JWK_CRV_NONE, 0},
    [JWS_PS256] = {"PS256", FAMILY_RSA, JWK_CRV_NONE, 0},
    [JWS_EDDSA] = {"EdDSA", FAMILY_OKP, JWK_ED25519, 64},
    [JWS_HS256] = {"HS256", FAMILY_MAC, JWK_CRV_NONE, 32},
    [JWS_HS384] = {"HS384", FAMILY_MAC, JWK_CRV_NONE, 48},
    [JWS_HS512] = {"HS512", FAMILY_MAC, JWK_CRV_NONE, 64},
};

const char *const jws_algorithms[] = {"ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA", NULL};

static const struct {
    const char *what; /* how details call it */
    bool nonce, mac;
    bool jwk, kid; /* allowed; exactly one of the allowed ones is wanted */
} kinds[] = {
    [JWS_REQUEST] = {"the request", .nonce = true, .jwk = true, .kid = true},
    [JWS_KEY_CHANGE] = {"the inner JWS of the key change", .jwk = true},
    [JWS_EAB] = {"externalAccountBinding", .mac = true, .kid = true},
};

/* A JWS being read. */
struct reader {
    pool_t *pool;
    enum jws_kind kind;
    const char *what;
    struct jws *out;
    struct err *e;
};

const char *jws_alg_name(enum jws_alg a)
{
    return a < JWS_ALG_COUNT ? algs[a].name : "";
}

static bool malformed(const struct reader *r, const char *why)
{
    return err_set(r->e, ACME_MALFORMED, "%s %s", r->what, why);
}

static bool read_member(const struct reader *r, const json_t *obj, const char *name, size_t max, iov_t *out)
{
    *out = json_get_iov(obj, name);
    if (out->base == NULL)
        return err_set(r->e, ACME_MALFORMED,
                       "%s is not a JWS in flattened JSON form: member \"%s\" is missing or not a string",
                       r->what, name);
    if (out->len > max)
        return err_set(r->e, ACME_MALFORMED, "member \"%s\" of %s has more than %zu characters", name,
                       r->what, max);
    return true;
}

static bool decode_member(const struct reader *r, const char *name, iov_t text, iov_t *out)
{
    if (text.len == 0) {
        *out = IOV("");
        return true;
    }
    if (!b64_decode(r->pool, text, out))
        return err_set(r->e, ACME_MALFORMED, "member \"%s\" of %s is not base64url without padding", name,
                       r->what);
    return true;
}

static bool read_members(const struct reader *r, const json_t *obj, iov_t *protected_out)
{
    iov_t head, payload, sig;
    if (json_object_get(obj, "header") != NULL)
        return malformed(r, "has an unprotected \"header\", which ACME does not allow");
    if (json_object_get(obj, "signatures") != NULL)
        return malformed(r, "has \"signatures\": it must be in flattened JSON form with one signature");
    if (!read_member(r, obj, "protected", PROTECTED_MAX_CHARS, &head) ||
        !read_member(r, obj, "payload", BODY_MAX_BYTES, &payload) ||
        !read_member(r, obj, "signature", SIGNATURE_MAX_CHARS, &sig))
        return false;
    if (head.len == 0 || sig.len == 0)
        return malformed(r, head.len == 0 ? "has an empty protected header" : "has an empty signature");
    struct jws *j = r->out;
    if (!decode_member(r, "protected", head, protected_out) ||
        !decode_member(r, "payload", payload, &j->payload) ||
        !decode_member(r, "signature", sig, &j->signature))
        return false;
    iov_t input = {pool_zalloc(r->pool, head.len + payload.len + 2), head.len + payload.len + 1};
    memcpy(input.base, head.base, head.len);
    input.base[head.len] = '.';
    memcpy(input.base + head.len + 1, payload.base, payload.len);
    j->signing_input = input;
    j->protected_b64 = (iov_t){input.base, head.len};
    j->payload_b64 = (iov_t){input.base + head.len + 1, payload.len};
    return true;
}

static bool read_alg(const struct reader *r)
{
    iov_t name = json_get_iov(r->out->header, "alg");
    if (name.base == NULL)
        return malformed(r, "lacks \"alg\" in its protected header, or it is not a string");
    bool want_mac = kinds[r->kind].mac;
    for (size_t i = 0; i < JWS_ALG_COUNT; i++)
        if (iov_is(name, algs[i].name) && (algs[i].family == FAMILY_MAC) == want_mac) {
            r->out->alg = (enum jws_alg)i;
            return true;
        }
    return err_set(r->e, ACME_BAD_SIGNATURE_ALGORITHM,
                   "%s is signed with algorithm \"%s\"; accepted here: %s", r->what,
                   iov_printable(r->pool, name, 40).base,
                   want_mac ? "HS256, HS384, HS512" : "ES256, ES384, ES512, RS256, PS256, EdDSA");
}

static bool read_url(const struct reader *r)
{
    iov_t url = json_get_iov(r->out->header, "url");
    if (url.base == NULL || url.len == 0)
        return malformed(r, "lacks \"url\" in its protected header, or it is not a string");
    r->out->url = iov_dup(r->pool, url);
    return true;
}

static bool is_b64url(iov_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.base[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
              c == '_'))
            return false;
    }
    return true;
}

static bool read_nonce(const struct reader *r)
{
    const json_t *value = json_object_get(r->out->header, "nonce");
    if (!kinds[r->kind].nonce)
        return value == NULL ||
               malformed(r, "has a \"nonce\" in its protected header; only the outer request may");
    iov_t nonce = json_get_iov(r->out->header, "nonce");
    /* RFC 8555 6.5: not present is answered like unacceptable, so that the client finds a nonce in the answer. */
    if (value == NULL || (nonce.base != NULL && nonce.len == 0))
        return err_set(
            r->e, ACME_BAD_NONCE,
            "the request has no nonce in its protected header; repeat it with the one in Replay-Nonce");
    if (nonce.base == NULL || nonce.len > NONCE_MAX_CHARS || !is_b64url(nonce))
        return malformed(r, "has a \"nonce\" that is not a base64url string");
    r->out->nonce = iov_dup(r->pool, nonce);
    return true;
}

static bool read_kid(const struct reader *r)
{
    iov_t kid = json_get_iov(r->out->header, "kid");
    if (kid.base == NULL || kid.len == 0)
        return malformed(r, "has a \"kid\" that is empty or not a string");
    r->out->kid = iov_dup(r->pool, kid);
    return true;
}

static bool read_jwk(const struct reader *r, const json_t *jwk)
{
    struct jws *j = r->out;
    if (!jwk_parse(r->pool, jwk, &j->jwk, r->e))
        return false;
    static const enum family family_of[] = {
        [JWK_EC] = FAMILY_EC, [JWK_RSA] = FAMILY_RSA, [JWK_OKP] = FAMILY_OKP};
    if (family_of[j->jwk.kty] != algs[j->alg].family || (int)j->jwk.crv != algs[j->alg].crv)
        return err_set(r->e, ACME_BAD_SIGNATURE_ALGORITHM,
                       "algorithm \"%s\" does not fit the type of the key in \"jwk\"", algs[j->alg].name);
    j->has_jwk = true;
    return true;
}

static bool read_key(const struct reader *r)
{
    const json_t *jwk = json_object_get(r->out->header, "jwk"), *kid = json_object_get(r->out->header, "kid");
    if (jwk != NULL && kid != NULL)
        return malformed(r, "has both \"jwk\" and \"kid\" in its protected header; it must have one");
    if (jwk != NULL)
        return kinds[r->kind].jwk ? read_jwk(r, jwk) : malformed(r, "has a \"jwk\" where a \"kid\" must be");
    if (kid != NULL)
        return kinds[r->kind].kid ? read_kid(r) : malformed(r, "has a \"kid\" where a \"jwk\" must be");
    return malformed(r, !kinds[r->kind].jwk   ? "lacks \"kid\" in its protected header"
                        : !kinds[r->kind].kid ? "lacks \"jwk\" in its protected header"
                                              : "has neither \"jwk\" nor \"kid\" in its protected header");
}

static bool check_signature_length(const struct reader *r)
{
    const struct jws *j = r->out;
    size_t want = algs[j->alg].sig_bytes;
    if (want == 0 && j->has_jwk)
        want = j->jwk.n.len;
    if (want == 0 || j->signature.len == want)
        return true;
    return err_set(r->e, ACME_MALFORMED, "the signature of %s has %zu bytes; %s wants %zu%s", r->what,
                   j->signature.len, algs[j->alg].name, want,
                   algs[j->alg].family == FAMILY_EC ? " (R and S, not DER)" : "");
}

static bool read_header(const struct reader *r, iov_t text)
{
    struct err why = ERR_INIT;
    json_t *header = json_parse_object(text, PROTECTED_MAX_CHARS, &why);
    r->out->header = header;
    if (header == NULL)
        return err_set(r->e, ACME_MALFORMED, "the protected header of %s is not a JSON object: %s", r->what,
                       why.detail);
    if (json_object_get(header, "crit") != NULL)
        return malformed(r, "has \"crit\" in its protected header; no extension is understood here");
    if (json_object_get(header, "b64") != NULL)
        return malformed(r, "has \"b64\" in its protected header; the payload must be base64url");
    return read_alg(r) && read_url(r) && read_nonce(r) && read_key(r) && check_signature_length(r);
}

bool jws_from_json(pool_t *pool, const json_t *obj, enum jws_kind kind, struct jws *out, struct err *e)
{
    const struct reader r = {pool, kind, kinds[kind].what, out, e};
    iov_t head = IOV_NULL;
    *out = (struct jws){0};
    if (!json_is_object(obj))
        return malformed(&r, "is not a JSON object");
    if (read_members(&r, obj, &head) && read_header(&r, head))
        return true;
    jws_dispose(out);
    return false;
}

bool jws_parse(pool_t *pool, iov_t body, enum jws_kind kind, struct jws *out, struct err *e)
{
    struct err why = ERR_INIT;
    json_t *obj = json_parse_object(body, BODY_MAX_BYTES, &why);
    *out = (struct jws){0};
    if (obj == NULL)
        return err_set(e, ACME_MALFORMED, "%s is not a JWS in flattened JSON form: %s", kinds[kind].what,
                       why.detail);
    bool ok = jws_from_json(pool, obj, kind, out, e);
    json_decref(obj);
    return ok;
}

void jws_dispose(struct jws *j)
{
    json_decref(j->header);
    j->header = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a JWS of each kind. What is accepted must hang together, and a key must read back as itself. */
#include <stdlib.h>

#include "acme/jws.h"
#include "base/b64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_key(pool_t *pool, const struct jwk *key)
{
    struct err e = ERR_INIT;
    struct jwk again;
    json_t *obj = json_parse_object(key->canonical, 1 << 16, &e);
    check(obj != NULL && jwk_parse(pool, obj, &again, &e) && iov_eq(again.canonical, key->canonical));
    json_decref(obj);
}

static void check_jws(pool_t *pool, const struct jws *j, enum jws_kind kind)
{
    check(j->header != NULL && j->payload.base != NULL && j->signature.len > 0 && j->url.len > 0);
    check(j->has_jwk != (j->kid.base != NULL));
    check((j->nonce.base != NULL) == (kind == JWS_REQUEST));
    check((kind == JWS_EAB) == (j->alg >= JWS_HS256));
    check(j->signing_input.len == j->protected_b64.len + 1 + j->payload_b64.len);
    check(iov_eq(b64_encode(pool, j->payload), j->payload_b64));
    if (j->has_jwk)
        check_key(pool, &j->jwk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum jws_kind kinds[] = {JWS_REQUEST, JWS_KEY_CHANGE, JWS_EAB};
    pool_t pool;
    h2o_mem_init_pool(&pool);
    iov_t body = {(char *)data, size};
    struct err e = ERR_INIT;
    for (size_t i = 0; i < COUNTOF(kinds); i++) {
        struct jws j;
        if (jws_parse(&pool, body, kinds[i], &j, &e))
            check_jws(&pool, &j, kinds[i]);
        else
            check(e.detail[0] != 0 && j.header == NULL);
        jws_dispose(&j);
    }
    /* The inner texts are base64url of JSON, which a fuzzer seldom gets right: give it the header and the key bare. */
    json_t *obj = json_parse_object(body, 1 << 16, &e);
    struct jwk key;
    if (obj != NULL && jwk_parse(&pool, obj, &key, &e))
        check_key(&pool, &key);
    if (obj != NULL) {
        iov_t head = b64_encode(&pool, body);
        iov_t text = iov_printf(&pool, "{\"protected\":\"%s\",\"payload\":\"\",\"signature\":\"AA\"}",
                                head.base);
        for (size_t i = 0; i < COUNTOF(kinds); i++) {
            struct jws j;
            if (jws_parse(&pool, text, kinds[i], &j, &e))
                check_jws(&pool, &j, kinds[i]);
            jws_dispose(&j);
        }
    }
    json_decref(obj);
    h2o_mem_clear_pool(&pool);
    return 0;
}

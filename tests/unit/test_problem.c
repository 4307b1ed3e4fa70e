/* SPDX-License-Identifier: Apache-2.0 */
/* Problem documents: one row per type of RFC 8555 section 6.7, and the JSON that clients and the ledger get. */
#include "acme/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "acme/jws.h"

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

static iov_t text_of(const struct problem_doc *doc)
{
    json_t *obj = problem_json(doc);
    iov_t text = json_to_iov(&pool, obj);
    json_decref(obj);
    return text;
}

static void every_type_has_its_name_and_status(void **state UNUSED)
{
    static const struct {
        int code, status;
        const char *name;
    } rows[] = {
        {ACME_SERVER_INTERNAL, 500, "serverInternal"},
        {ACME_ACCOUNT_DOES_NOT_EXIST, 400, "accountDoesNotExist"},
        {ACME_ALREADY_REVOKED, 400, "alreadyRevoked"},
        {ACME_BAD_CSR, 400, "badCSR"},
        {ACME_BAD_NONCE, 400, "badNonce"},
        {ACME_BAD_PUBLIC_KEY, 400, "badPublicKey"},
        {ACME_BAD_REVOCATION_REASON, 400, "badRevocationReason"},
        {ACME_BAD_SIGNATURE_ALGORITHM, 400, "badSignatureAlgorithm"},
        {ACME_CAA, 403, "caa"},
        {ACME_COMPOUND, 400, "compound"},
        {ACME_CONNECTION, 400, "connection"},
        {ACME_DNS, 400, "dns"},
        {ACME_EXTERNAL_ACCOUNT_REQUIRED, 403, "externalAccountRequired"},
        {ACME_INCORRECT_RESPONSE, 403, "incorrectResponse"},
        {ACME_INVALID_CONTACT, 400, "invalidContact"},
        {ACME_MALFORMED, 400, "malformed"},
        {ACME_ORDER_NOT_READY, 403, "orderNotReady"},
        {ACME_RATE_LIMITED, 429, "rateLimited"},
        {ACME_REJECTED_IDENTIFIER, 400, "rejectedIdentifier"},
        {ACME_TLS, 400, "tls"},
        {ACME_UNAUTHORIZED, 403, "unauthorized"},
        {ACME_UNSUPPORTED_CONTACT, 400, "unsupportedContact"},
        {ACME_UNSUPPORTED_IDENTIFIER, 400, "unsupportedIdentifier"},
        {ACME_USER_ACTION_REQUIRED, 403, "userActionRequired"},
        {ACME_INVALID_PROFILE, 400, "invalidProfile"},
        {ACME_ALREADY_REPLACED, 409, "alreadyReplaced"},
        {ACME_NOT_FOUND, 404, NULL},
        {ACME_METHOD_NOT_ALLOWED, 405, NULL},
        {ACME_CONFLICT, 409, NULL},
        {ACME_TOO_LARGE, 413, NULL},
        {ACME_UNSUPPORTED_MEDIA_TYPE, 415, NULL},
        {ACME_NOT_ACCEPTABLE, 406, NULL},
        {ACME_UNAVAILABLE, 503, "serverInternal"},
    };
    assert_int_equal(COUNTOF(rows), ACME_PROBLEM_COUNT);
    for (size_t i = 0; i < COUNTOF(rows); i++) {
        assert_int_equal(problem_status(rows[i].code), rows[i].status);
        if (rows[i].name == NULL) {
            assert_null(problem_name(rows[i].code));
            assert_string_equal(problem_type(rows[i].code), "about:blank");
        } else {
            assert_string_equal(problem_name(rows[i].code), rows[i].name);
            assert_string_equal(problem_type(rows[i].code),
                                iov_printf(&pool, "urn:ietf:params:acme:error:%s", rows[i].name).base);
        }
        /* Whoever sets no detail gets the table's. */
        json_t *obj = problem_json(&(struct problem_doc){.err = {.code = rows[i].code}});
        assert_true(json_string_length(json_object_get(obj, "detail")) > 10);
        assert_int_equal(json_integer_value(json_object_get(obj, "status")), rows[i].status);
        json_decref(obj);
    }
}

static void a_code_from_nowhere_is_ours(void **state UNUSED)
{
    assert_int_equal(problem_status(-1), 500);
    assert_int_equal(problem_status(ACME_PROBLEM_COUNT), 500);
    assert_string_equal(problem_name(12345), "serverInternal");
}

static void documents_look_as_clients_expect(void **state UNUSED)
{
    struct problem_doc doc = {.instance = IOV("abc-DEF_1")};
    err_set(&doc.err, ACME_ORDER_NOT_READY, "the order is %s", "pending");
    assert_string_equal(
        text_of(&doc).base,
        "{\"type\":\"urn:ietf:params:acme:error:orderNotReady\",\"detail\":\"the order is pending\","
        "\"status\":403,\"instance\":\"urn:portico:request:abc-DEF_1\"}");
    doc = (struct problem_doc){.err = {.code = ACME_NOT_FOUND}};
    assert_string_equal(
        text_of(&doc).base,
        "{\"type\":\"about:blank\",\"detail\":\"there is nothing at this URL\",\"status\":404}");
}

static void subproblems_name_their_identifiers(void **state UNUSED)
{
    struct subproblem subs[2] = {{.ident = {IDENT_DNS, IOV("a_b.example")}},
                                 {.ident = {IDENT_IP, IOV("192.0.2.1")}}};
    err_set(&subs[0].err, ACME_REJECTED_IDENTIFIER, "underscore");
    err_set(&subs[1].err, ACME_UNSUPPORTED_IDENTIFIER, "no addresses");
    struct problem_doc doc = {.err = {.code = ACME_COMPOUND}, .subs = subs, .n_subs = 2};
    assert_string_equal(
        text_of(&doc).base,
        "{\"type\":\"urn:ietf:params:acme:error:compound\",\"detail\":\"several things are wrong; see "
        "subproblems\","
        "\"status\":400,\"subproblems\":["
        "{\"type\":\"urn:ietf:params:acme:error:rejectedIdentifier\",\"detail\":\"underscore\","
        "\"identifier\":{\"type\":\"dns\",\"value\":\"a_b.example\"}},"
        "{\"type\":\"urn:ietf:params:acme:error:unsupportedIdentifier\",\"detail\":\"no addresses\","
        "\"identifier\":{\"type\":\"ip\",\"value\":\"192.0.2.1\"}}]}");
    /* What is kept with an order has neither status nor instance, and reads back. */
    iov_t kept = problem_text(&pool, &doc);
    struct err e = ERR_INIT;
    json_t *obj = json_parse_object(kept, 65536, &e);
    assert_non_null(obj);
    assert_null(json_object_get(obj, "status"));
    assert_int_equal(json_array_size(json_object_get(obj, "subproblems")), 2);
    json_decref(obj);
    /* One that is about no identifier says none. */
    struct subproblem alone = {.err = {.code = ACME_DNS}};
    doc = (struct problem_doc){.err = {.code = ACME_COMPOUND}, .subs = &alone, .n_subs = 1};
    assert_null(strstr(text_of(&doc).base, "identifier"));
}

static void algorithms_are_listed_on_request(void **state UNUSED)
{
    struct problem_doc doc = {.err = {.code = ACME_BAD_SIGNATURE_ALGORITHM}, .list_algorithms = true};
    json_t *obj = problem_json(&doc);
    json_t *list = json_object_get(obj, "algorithms");
    assert_int_equal(json_array_size(list), 6);
    for (size_t i = 0; jws_algorithms[i] != NULL; i++)
        assert_string_equal(json_string_value(json_array_get(list, i)), jws_algorithms[i]);
    json_decref(obj);
}

static void bytes_that_are_not_utf8_never_leave(void **state UNUSED)
{
    struct problem_doc doc = {.instance = {(char *)"a\xff"
                                                   "b",
                                           3}};
    err_set(&doc.err, ACME_MALFORMED, "%s", "x\xc3(\xff\"\n");
    struct err e = ERR_INIT;
    json_t *obj = json_parse_object(text_of(&doc), 65536, &e);
    assert_non_null(obj);
    assert_string_equal(json_string_value(json_object_get(obj, "detail")), "x\xef\xbf\xbd(\xef\xbf\xbd\"\n");
    assert_string_equal(json_string_value(json_object_get(obj, "instance")),
                        "urn:portico:request:a\xef\xbf\xbd"
                        "b");
    json_decref(obj);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_its_name_and_status),
        cmocka_unit_test(a_code_from_nowhere_is_ours),
        cmocka_unit_test(documents_look_as_clients_expect),
        cmocka_unit_test(subproblems_name_their_identifiers),
        cmocka_unit_test(algorithms_are_listed_on_request),
        cmocka_unit_test(bytes_that_are_not_utf8_never_leave),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

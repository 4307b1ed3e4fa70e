/* SPDX-License-Identifier: Apache-2.0 */
/* States, their edges, URLs and the JSON bodies of RFC 8555 section 7.1, byte for byte. */
#include "acme/objects.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static pool_t pool;
static const struct acme_urls urls = {{(char *)"https://ca.example/acme/default", 31}};

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

static void renders(json_t *obj, const char *want)
{
    iov_t text = json_to_iov(&pool, obj);
    json_decref(obj);
    assert_string_equal(text.base, want);
}

static void states_have_the_names_of_the_rfc(void **state UNUSED)
{
    static const char *const want[] = {"pending", "ready",       "processing", "valid",
                                       "invalid", "deactivated", "expired",    "revoked"};
    for (size_t i = 0; i < ST_COUNT; i++) {
        enum acme_status s;
        assert_string_equal(acme_status_name((enum acme_status)i), want[i]);
        assert_true(acme_status_parse(iov_of(want[i]), &s));
        assert_int_equal(s, i);
    }
    enum acme_status s;
    assert_false(acme_status_parse(IOV("Valid"), &s));
    assert_false(acme_status_parse(IOV(""), &s));
}

/* Every object, state and event: only what RFC 8555 7.1.6 draws leads somewhere. */
static void only_the_edges_of_the_rfc_exist(void **state UNUSED)
{
    static const struct {
        enum acme_object o;
        enum acme_status from;
        enum acme_event ev;
        enum acme_status to;
    } edges[] = {
        {OBJ_ACCOUNT, ST_VALID, EV_DEACTIVATE, ST_DEACTIVATED},
        {OBJ_ACCOUNT, ST_VALID, EV_REVOKE, ST_REVOKED},
        {OBJ_ORDER, ST_PENDING, EV_AUTHORIZED, ST_READY},
        {OBJ_ORDER, ST_PENDING, EV_FAILED, ST_INVALID},
        {OBJ_ORDER, ST_PENDING, EV_EXPIRE, ST_INVALID},
        {OBJ_ORDER, ST_READY, EV_FINALIZE, ST_PROCESSING},
        {OBJ_ORDER, ST_READY, EV_FAILED, ST_INVALID},
        {OBJ_ORDER, ST_READY, EV_EXPIRE, ST_INVALID},
        {OBJ_ORDER, ST_PROCESSING, EV_ISSUED, ST_VALID},
        {OBJ_ORDER, ST_PROCESSING, EV_FAILED, ST_INVALID},
        {OBJ_AUTHZ, ST_PENDING, EV_AUTHORIZED, ST_VALID},
        {OBJ_AUTHZ, ST_PENDING, EV_FAILED, ST_INVALID},
        {OBJ_AUTHZ, ST_PENDING, EV_DEACTIVATE, ST_DEACTIVATED},
        {OBJ_AUTHZ, ST_PENDING, EV_EXPIRE, ST_EXPIRED},
        {OBJ_AUTHZ, ST_VALID, EV_EXPIRE, ST_EXPIRED},
        {OBJ_AUTHZ, ST_VALID, EV_DEACTIVATE, ST_DEACTIVATED},
        {OBJ_AUTHZ, ST_VALID, EV_REVOKE, ST_REVOKED},
        {OBJ_CHALLENGE, ST_PENDING, EV_RESPOND, ST_PROCESSING},
        {OBJ_CHALLENGE, ST_PROCESSING, EV_AUTHORIZED, ST_VALID},
        {OBJ_CHALLENGE, ST_PROCESSING, EV_FAILED, ST_INVALID},
    };
    size_t found = 0;
    for (int o = OBJ_ACCOUNT; o <= OBJ_CHALLENGE; o++)
        for (int from = 0; from < ST_COUNT; from++)
            for (int ev = 0; ev < EV_COUNT; ev++) {
                enum acme_status to = ST_COUNT;
                if (!acme_edge(o, from, ev, &to))
                    continue;
                size_t i = 0;
                while (i < COUNTOF(edges) && ((int)edges[i].o != o || (int)edges[i].from != from ||
                                              (int)edges[i].ev != ev || edges[i].to != to))
                    i++;
                if (i == COUNTOF(edges))
                    fail_msg("object %d: %s, event %d", o, acme_status_name(from), ev);
                found++;
            }
    assert_int_equal(found, COUNTOF(edges));
}

static void urls_are_below_the_directory(void **state UNUSED)
{
    assert_string_equal(acme_url_account(&pool, &urls, IOV("A1")).base,
                        "https://ca.example/acme/default/account/A1");
    assert_string_equal(acme_url_orders(&pool, &urls, IOV("A1")).base,
                        "https://ca.example/acme/default/account/A1/orders");
    assert_string_equal(acme_url_order(&pool, &urls, IOV("O1")).base,
                        "https://ca.example/acme/default/order/O1");
    assert_string_equal(acme_url_finalize(&pool, &urls, IOV("O1")).base,
                        "https://ca.example/acme/default/order/O1/finalize");
    assert_string_equal(acme_url_authz(&pool, &urls, IOV("Z1")).base,
                        "https://ca.example/acme/default/authz/Z1");
    assert_string_equal(acme_url_challenge(&pool, &urls, IOV("Z1"), IOV("dns-01")).base,
                        "https://ca.example/acme/default/challenge/Z1/dns-01");
    assert_string_equal(acme_url_cert(&pool, &urls, IOV("C1"), 0).base,
                        "https://ca.example/acme/default/cert/C1");
    assert_string_equal(acme_url_cert(&pool, &urls, IOV("C1"), 2).base,
                        "https://ca.example/acme/default/cert/C1/2");
}

static void accounts_show_what_clients_gave(void **state UNUSED)
{
    struct acme_account a = {.id = IOV("A1"), .status = ST_VALID};
    renders(acme_account_json(&pool, &urls, &a), "{\"status\":\"valid\",\"contact\":[],\"orders\":\"https://"
                                                 "ca.example/acme/default/account/A1/orders\"}");
    iovs_add(&pool, &a.contacts, IOV("mailto:a@example.org"));
    a.terms_agreed = true;
    a.status = ST_DEACTIVATED;
    a.eab_json = IOV("{\"protected\":\"e30\",\"payload\":\"\",\"signature\":\"AA\"}");
    renders(
        acme_account_json(&pool, &urls, &a),
        "{\"status\":\"deactivated\",\"contact\":[\"mailto:a@example.org\"],\"termsOfServiceAgreed\":true,"
        "\"orders\":\"https://ca.example/acme/default/account/A1/orders\","
        "\"externalAccountBinding\":{\"protected\":\"e30\",\"payload\":\"\",\"signature\":\"AA\"}}");
}

static void orders_show_every_member(void **state UNUSED)
{
    struct ident idents[] = {{IDENT_DNS, IOV("*.a.example")}, {IDENT_IP, IOV("2001:db8::1")}};
    struct acme_order o = {
        .id = IOV("O1"), .status = ST_PENDING, .expires_at = 1769904000, .idents = idents, .n_idents = 2};
    iovs_add(&pool, &o.authz_ids, IOV("Z1"));
    iovs_add(&pool, &o.authz_ids, IOV("Z2"));
    renders(acme_order_json(&pool, &urls, &o),
            "{\"status\":\"pending\",\"expires\":\"2026-02-01T00:00:00Z\",\"identifiers\":["
            "{\"type\":\"dns\",\"value\":\"*.a.example\"},{\"type\":\"ip\",\"value\":\"2001:db8::1\"}],"
            "\"authorizations\":[\"https://ca.example/acme/default/authz/Z1\","
            "\"https://ca.example/acme/default/authz/Z2\"],"
            "\"finalize\":\"https://ca.example/acme/default/order/O1/finalize\"}");
    o.n_idents = 0;
    o.authz_ids.n = 0;
    o.status = ST_VALID;
    o.profile = IOV("server");
    o.not_before = 1767225600;
    o.not_after = 1769904000;
    o.certificate_id = IOV("C1");
    o.replaces = IOV("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    renders(
        acme_order_json(&pool, &urls, &o),
        "{\"status\":\"valid\",\"expires\":\"2026-02-01T00:00:00Z\",\"identifiers\":[],\"profile\":"
        "\"server\","
        "\"notBefore\":\"2026-01-01T00:00:00Z\",\"notAfter\":\"2026-02-01T00:00:00Z\",\"authorizations\":[],"
        "\"finalize\":\"https://ca.example/acme/default/order/O1/finalize\","
        "\"certificate\":\"https://ca.example/acme/default/cert/C1\","
        "\"replaces\":\"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE\"}");
}

static void a_stored_error_is_shown_or_said_to_be_lost(void **state UNUSED)
{
    struct acme_order o = {.id = IOV("O1"), .status = ST_INVALID};
    o.error = IOV("{\"type\":\"urn:ietf:params:acme:error:dns\",\"detail\":\"no such name\"}");
    renders(acme_order_json(&pool, &urls, &o),
            "{\"status\":\"invalid\",\"identifiers\":[],"
            "\"error\":{\"type\":\"urn:ietf:params:acme:error:dns\",\"detail\":\"no such "
            "name\"},\"authorizations\":[],"
            "\"finalize\":\"https://ca.example/acme/default/order/O1/finalize\"}");
    o.error = IOV("{truncated");
    json_t *obj = acme_order_json(&pool, &urls, &o);
    const json_t *error = json_object_get(obj, "error");
    assert_string_equal(json_string_value(json_object_get(error, "type")),
                        "urn:ietf:params:acme:error:serverInternal");
    json_decref(obj);
}

static struct acme_authz authz_of(struct acme_challenge challenges[2], enum acme_status status)
{
    challenges[0] = (struct acme_challenge){.type = IOV("http-01"), .token = IOV("T1"), .status = ST_PENDING};
    challenges[1] = (struct acme_challenge){.type = IOV("dns-01"), .token = IOV("T2"), .status = ST_PENDING};
    return (struct acme_authz){.id = IOV("Z1"),
                               .ident = {IDENT_DNS, IOV("a.example")},
                               .status = status,
                               .expires_at = 1769904000,
                               .challenges = challenges,
                               .n_challenges = 2};
}

static const char HTTP01[] =
    "{\"type\":\"http-01\",\"url\":\"https://ca.example/acme/default/challenge/Z1/http-01\","
    "\"status\":\"pending\",\"token\":\"T1\"}";
static const char DNS01[] =
    "{\"type\":\"dns-01\",\"url\":\"https://ca.example/acme/default/challenge/Z1/dns-01\","
    "\"status\":\"pending\",\"token\":\"T2\"}";

static void a_pending_authorization_offers_its_challenges(void **state UNUSED)
{
    struct acme_challenge challenges[2];
    struct acme_authz a = authz_of(challenges, ST_PENDING);
    renders(acme_authz_json(&pool, &urls, &a, 1769903999),
            iov_printf(&pool,
                       "{\"identifier\":{\"type\":\"dns\",\"value\":\"a.example\"},\"status\":\"pending\","
                       "\"expires\":\"2026-02-01T00:00:00Z\",\"challenges\":[%s,%s]}",
                       HTTP01, DNS01)
                .base);
    a.wildcard = true;
    a.n_challenges = 1;
    renders(acme_authz_json(&pool, &urls, &a, 1769904000),
            iov_printf(&pool,
                       "{\"identifier\":{\"type\":\"dns\",\"value\":\"a.example\"},\"status\":\"expired\","
                       "\"expires\":\"2026-02-01T00:00:00Z\",\"challenges\":[%s],\"wildcard\":true}",
                       HTTP01)
                .base);
}

static void a_decided_authorization_shows_the_challenge_that_decided(void **state UNUSED)
{
    struct acme_challenge challenges[2];
    struct acme_authz a = authz_of(challenges, ST_VALID);
    challenges[1].status = ST_VALID;
    challenges[1].validated_at = 1767225600;
    renders(acme_authz_json(&pool, &urls, &a, 0),
            "{\"identifier\":{\"type\":\"dns\",\"value\":\"a.example\"},\"status\":\"valid\","
            "\"expires\":\"2026-02-01T00:00:00Z\",\"challenges\":[{\"type\":\"dns-01\","
            "\"url\":\"https://ca.example/acme/default/challenge/Z1/"
            "dns-01\",\"status\":\"valid\",\"token\":\"T2\","
            "\"validated\":\"2026-01-01T00:00:00Z\"}]}");
    a = authz_of(challenges, ST_INVALID);
    challenges[0].status = ST_INVALID;
    challenges[0].error = IOV("{\"type\":\"urn:ietf:params:acme:error:connection\",\"detail\":\"refused\"}");
    renders(acme_authz_json(&pool, &urls, &a, INT64_C(1) << 40),
            "{\"identifier\":{\"type\":\"dns\",\"value\":\"a.example\"},\"status\":\"invalid\","
            "\"expires\":\"2026-02-01T00:00:00Z\",\"challenges\":[{\"type\":\"http-01\","
            "\"url\":\"https://ca.example/acme/default/challenge/Z1/"
            "http-01\",\"status\":\"invalid\",\"token\":\"T1\","
            "\"error\":{\"type\":\"urn:ietf:params:acme:error:connection\",\"detail\":\"refused\"}}]}");
    /* Made invalid by something else than a challenge: nothing to single out. */
    a = authz_of(challenges, ST_INVALID);
    json_t *obj = acme_authz_json(&pool, &urls, &a, 0);
    assert_int_equal(json_array_size(json_object_get(obj, "challenges")), 2);
    json_decref(obj);
}

static void the_directory_says_what_is_served(void **state UNUSED)
{
    struct acme_directory d = {0};
    renders(acme_directory_json(&pool, &urls, &d),
            "{\"newNonce\":\"https://ca.example/acme/default/new-nonce\","
            "\"newAccount\":\"https://ca.example/acme/default/new-account\","
            "\"newOrder\":\"https://ca.example/acme/default/new-order\","
            "\"newAuthz\":\"https://ca.example/acme/default/new-authz\","
            "\"revokeCert\":\"https://ca.example/acme/default/revoke-cert\","
            "\"keyChange\":\"https://ca.example/acme/default/key-change\","
            "\"meta\":{\"externalAccountRequired\":false}}");
    static const char *const caa[] = {"ca.example"};
    static const struct acme_profile_text profiles[] = {{"server", "TLS server, 90 days"}, {"bare", NULL}};
    d = (struct acme_directory){.terms = "https://ca.example/terms",
                                .website = "https://ca.example/",
                                .caa = caa,
                                .n_caa = 1,
                                .external_account_required = true,
                                .profiles = profiles,
                                .n_profiles = 2,
                                .idempotent_authz = true};
    json_t *obj = acme_directory_json(&pool, &urls, &d);
    renders(json_incref(json_object_get(obj, "meta")),
            "{\"termsOfService\":\"https://ca.example/terms\",\"website\":\"https://ca.example/\","
            "\"caaIdentities\":[\"ca.example\"],\"externalAccountRequired\":true,"
            "\"profiles\":{\"server\":\"TLS server, 90 days\",\"bare\":\"\"},\"newAuthzExpires\":true}");
    json_decref(obj);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_have_the_names_of_the_rfc),
        cmocka_unit_test(only_the_edges_of_the_rfc_exist),
        cmocka_unit_test(urls_are_below_the_directory),
        cmocka_unit_test(accounts_show_what_clients_gave),
        cmocka_unit_test(orders_show_every_member),
        cmocka_unit_test(a_stored_error_is_shown_or_said_to_be_lost),
        cmocka_unit_test(a_pending_authorization_offers_its_challenges),
        cmocka_unit_test(a_decided_authorization_shows_the_challenge_that_decided),
        cmocka_unit_test(the_directory_says_what_is_served),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

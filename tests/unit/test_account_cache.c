/* SPDX-License-Identifier: Apache-2.0 */
/* http/account_cache: what is put is copied, what is dropped or evicted is gone, keys are counted. */
#include "unit.h"
#include "base/b64.h"
#include "http/account_cache.h"

static pool_t pool;
static struct account_cache *cache;
static struct pki_key *key;

static int setup(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    iov_t x;
    h2o_mem_init_pool(&pool);
    assert_true(b64_decode(&pool, IOV("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"), &x)); /* RFC 8037 A.2 */
    key = pki_key_from_ed25519(x, &e);
    assert_non_null(key);
    cache = account_cache_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    account_cache_free(cache);
    pki_key_unref(key);
    h2o_mem_clear_pool(&pool);
    return 0;
}

/* Bytes that change after the put: the cache must not look at them any more. */
static struct account_entry entry(const char *id)
{
    struct account_entry e = {.key = key, .eab_policy = iov_dup(&pool, IOV("{\"names\":[]}"))};
    struct acme_account *a = &e.account;
    a->id = iov_dup(&pool, iov_of(id));
    a->directory = iov_dup(&pool, IOV("default"));
    a->status = ST_VALID;
    a->jwk = iov_dup(&pool, IOV("{\"kty\":\"OKP\"}"));
    a->thumbprint = iov_dup(&pool, IOV("thumb"));
    a->key_gen = 7;
    iovs_add(&pool, &a->contacts, iov_dup(&pool, IOV("mailto:a@example.org")));
    iovs_add(&pool, &a->contacts, iov_dup(&pool, IOV("mailto:b@example.org")));
    a->terms_agreed = true;
    a->eab_kid = iov_dup(&pool, IOV("kid-1"));
    return e;
}

static void scribble(iov_t s)
{
    memset(s.base, '#', s.len);
}

static void test_what_is_put_is_copied(void **state)
{
    (void)state;
    struct account_entry e = entry("account-1");
    account_cache_put(cache, &e);
    scribble(e.account.id);
    scribble(e.account.directory);
    scribble(e.account.jwk);
    scribble(e.account.thumbprint);
    scribble(e.account.eab_kid);
    scribble(e.account.contacts.v[1]);
    scribble(e.eab_policy);
    const struct account_entry *got = account_cache_get(cache, IOV("account-1"));
    assert_non_null(got);
    assert_true(iov_is(got->account.id, "account-1") && iov_is(got->account.directory, "default"));
    assert_true(iov_is(got->account.jwk, "{\"kty\":\"OKP\"}") && iov_is(got->account.thumbprint, "thumb"));
    assert_true(iov_is(got->account.eab_kid, "kid-1") && got->account.eab_json.base == NULL);
    assert_true(iov_is(got->eab_policy, "{\"names\":[]}"));
    assert_int_equal(got->account.contacts.n, 2);
    assert_true(iov_is(got->account.contacts.v[1], "mailto:b@example.org"));
    assert_int_equal(got->account.key_gen, 7);
    assert_int_equal(got->account.status, ST_VALID);
    assert_true(got->account.terms_agreed);
    assert_ptr_equal(got->key, key);
}

static void test_others_are_not_found(void **state)
{
    (void)state;
    struct account_entry e = entry("account-1");
    assert_null(account_cache_get(cache, IOV("account-1")));
    account_cache_put(cache, &e);
    assert_null(account_cache_get(cache, IOV("account-2")));
    assert_null(account_cache_get(cache, IOV("account-")));
    assert_null(account_cache_get(cache, IOV("account-1 ")));
    assert_null(account_cache_get(cache, IOV("")));
}

static void test_the_last_put_counts(void **state)
{
    (void)state;
    struct account_entry e = entry("account-1");
    account_cache_put(cache, &e);
    e.account.key_gen = 8;
    e.eab_policy = IOV_NULL;
    account_cache_put(cache, &e);
    const struct account_entry *got = account_cache_get(cache, IOV("account-1"));
    assert_non_null(got);
    assert_int_equal(got->account.key_gen, 8);
    assert_null(got->eab_policy.base);
}

/* What the gate does after a look-up: the entry itself may be put again. */
static void test_an_entry_of_the_cache_is_put(void **state)
{
    (void)state;
    struct account_entry e = entry("account-1");
    account_cache_put(cache, &e);
    account_cache_put(cache, account_cache_get(cache, IOV("account-1")));
    const struct account_entry *got = account_cache_get(cache, IOV("account-1"));
    assert_non_null(got);
    assert_true(iov_is(got->account.thumbprint, "thumb"));
    assert_int_equal(got->account.contacts.n, 2);
}

static void test_drop(void **state)
{
    (void)state;
    struct account_entry e = entry("account-1");
    account_cache_put(cache, &e);
    account_cache_drop(cache, IOV("account-2"));
    assert_non_null(account_cache_get(cache, IOV("account-1")));
    account_cache_drop(cache, IOV("account-1"));
    assert_null(account_cache_get(cache, IOV("account-1")));
    account_cache_drop(cache, IOV("account-1"));
}

/* More accounts than places: each that is found is the right one, and the latest is always found. */
static void test_more_than_there_are_places(void **state)
{
    (void)state;
    enum { N = 20000 };
    unsigned found = 0;
    for (int64_t i = 0; i < N; i++) {
        iov_t id = iov_printf(&pool, "account-%lld", (long long)i);
        struct account_entry e = {.account = {.id = id, .key_gen = i}, .key = key};
        account_cache_put(cache, &e);
        assert_non_null(account_cache_get(cache, id));
    }
    for (int64_t i = 0; i < N; i++) {
        iov_t id = iov_printf(&pool, "account-%lld", (long long)i);
        const struct account_entry *got = account_cache_get(cache, id);
        if (got == NULL)
            continue;
        assert_true(iov_eq(got->account.id, id));
        assert_int_equal(got->account.key_gen, i);
        found++;
    }
    assert_true(found > 4000 && found <= 8192);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_put_is_copied), TEST(test_others_are_not_found),         TEST(test_the_last_put_counts),
        TEST(test_an_entry_of_the_cache_is_put), TEST(test_drop), TEST(test_more_than_there_are_places),
    };
#undef TEST
    return cmocka_run_group_tests_name("account_cache", tests, NULL, NULL);
}

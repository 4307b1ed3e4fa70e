/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "http/nonce.h"

static pool_t pool;
enum { NOW = 1800000000, TTL = 3600 };

static void test_own_nonce(void **state)
{
    (void)state;
    int64_t slot = -1;
    iov_t n = nonce_make(&pool, NOW);
    assert_int_equal(n.len, 43);
    assert_true(nonce_check(&pool, n, NOW, TTL, &slot));
    assert_int_equal(slot, NOW / 3600 % 4);
    assert_true(nonce_check(&pool, n, NOW + TTL, TTL, &slot));
    assert_false(nonce_check(&pool, n, NOW + TTL + 1, TTL, &slot));
    assert_true(nonce_check(&pool, n, NOW - 300, TTL, &slot)); /* another gateway's clock runs ahead */
    assert_false(nonce_check(&pool, n, NOW - 301, TTL, &slot));
    assert_false(iov_eq(n, nonce_make(&pool, NOW)));
}

/* Any bit that is changed makes it a stranger's. */
static void test_altered(void **state)
{
    (void)state;
    int64_t slot;
    iov_t n = nonce_make(&pool, NOW);
    for (size_t i = 0; i < n.len; i++) {
        iov_t bad = iov_dup(&pool, n);
        bad.base[i] = bad.base[i] == 'A' ? 'B' : 'A';
        assert_false(nonce_check(&pool, bad, NOW, TTL, &slot));
    }
    assert_false(nonce_check(&pool, (iov_t){n.base, n.len - 1}, NOW, TTL, &slot));
    assert_false(nonce_check(&pool, IOV(""), NOW, TTL, &slot));
}

static void test_other_key(void **state)
{
    (void)state;
    int64_t slot;
    iov_t n = nonce_make(&pool, NOW);
    nonce_set_key(IOV("ffffffffffffffffffffffffffffffff"));
    assert_false(nonce_check(&pool, n, NOW, TTL, &slot));
}

int main(void)
{
    h2o_mem_init_pool(&pool);
    nonce_set_key(IOV("0123456789abcdef0123456789abcdef"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_nonce),
        cmocka_unit_test(test_altered),
        cmocka_unit_test(test_other_key),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    h2o_mem_clear_pool(&pool);
    return failed;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* DER: one value has one spelling, and what is written reads back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/der.h"

static void test_lengths(void **state)
{
    (void)state;
    static const struct {
        iov_t in;
        bool ok;
    } cases[] = {
        {{(char *)"\x04\x01x", 3}, true},
        {{(char *)"\x04\x00", 2}, true},
        {{(char *)"\x04\x02x", 3}, false},        /* cut short */
        {{(char *)"\x04\x81\x01x", 4}, false},    /* long form of a short length */
        {{(char *)"\x04\x82\x00\x80", 4}, false}, /* leading zero in a length */
        {{(char *)"\x04\x80\x00\x00", 4}, false}, /* indefinite */
        {{(char *)"\x04\x85\x01\x01\x01\x01\x01", 7}, false},
        {{(char *)"\x04\x84\xff\xff\xff\xff", 6}, false},
        {{(char *)"\x1f\x81\x01\x00", 4}, false}, /* long tag */
        {{(char *)"\x04", 1}, false},
        {{(char *)"", 0}, false},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct der d = der_of(cases[i].in), before = d;
        struct der_item item;
        assert_int_equal(der_next(&d, &item), cases[i].ok);
        if (!cases[i].ok)
            assert_ptr_equal(d.p, before.p);
    }
}

static void test_integers(void **state)
{
    (void)state;
    static const struct {
        iov_t in;
        bool ok;
        uint64_t value;
    } cases[] = {
        {{(char *)"\x02\x01\x00", 3}, true, 0},
        {{(char *)"\x02\x01\x7f", 3}, true, 127},
        {{(char *)"\x02\x02\x00\x80", 4}, true, 128},
        {{(char *)"\x02\x09\x00\xff\xff\xff\xff\xff\xff\xff\xff", 11}, true, UINT64_MAX},
        {{(char *)"\x02\x09\x01\x00\x00\x00\x00\x00\x00\x00\x00", 11}, false, 0},
        {{(char *)"\x02\x01\x80", 3}, false, 0},     /* negative */
        {{(char *)"\x02\x02\x00\x7f", 4}, false, 0}, /* not minimal */
        {{(char *)"\x02\x00", 2}, false, 0},
    };
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct der d = der_of(cases[i].in);
        uint64_t value = 0;
        assert_int_equal(der_u64(&d, &value), cases[i].ok);
        assert_true(value == cases[i].value || !cases[i].ok);
    }
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint8_t tag;
        bool ok;
        int64_t unix_s;
    } cases[] = {
        {"700101000000Z", DER_UTC_TIME, true, 0},
        {"491231235959Z", DER_UTC_TIME, true, 2524607999},
        {"500101000000Z", DER_UTC_TIME, true, -631152000},
        {"20500101000000Z", DER_GENERALIZED_TIME, true, 2524608000},
        {"99991231235959Z", DER_GENERALIZED_TIME, true, 253402300799},
        {"240229000000Z", DER_UTC_TIME, true, 1709164800},
        {"230229000000Z", DER_UTC_TIME, false, 0},
        {"231301000000Z", DER_UTC_TIME, false, 0},
        {"230101240000Z", DER_UTC_TIME, false, 0},
        {"2301010000Z", DER_UTC_TIME, false, 0},
        {"230101000000+0100", DER_UTC_TIME, false, 0},
        {"2301010000 0Z", DER_UTC_TIME, false, 0},
        {"20230101000000.5Z", DER_GENERALIZED_TIME, false, 0},
    };
    pool_t pool;
    h2o_mem_init_pool(&pool);
    for (size_t i = 0; i < COUNTOF(cases); i++) {
        struct der_writer w;
        der_writer_init(&w, &pool);
        der_put(&w, cases[i].tag, iov_of(cases[i].text));
        struct der d = der_of(der_finish(&w));
        int64_t t = 0;
        assert_int_equal(der_time(&d, &t), cases[i].ok);
        if (!cases[i].ok)
            continue;
        assert_true(t == cases[i].unix_s);
        struct der_writer again;
        der_writer_init(&again, &pool);
        der_put_time(&again, t);
        assert_true(iov_eq(w.out.text, der_finish(&again)));
    }
    h2o_mem_clear_pool(&pool);
}

static void test_oids(void **state)
{
    (void)state;
    static const char *const good[] = {"2.5.29.17", "1.3.6.1.4.1.311.20.2", "0.9.2342.19200300", "2.999.3",
                                       "1.0"};
    static const char *const bad[] = {"",    "1",     "1.",     ".1",   "1.40",
                                      "3.1", "1.2.x", "1.2..3", "1.02", "1.2.-3"};
    pool_t pool;
    h2o_mem_init_pool(&pool);
    iov_t oid;
    for (size_t i = 0; i < COUNTOF(good); i++) {
        assert_true(der_oid_parse(&pool, good[i], &oid));
        assert_string_equal(der_oid_text(&pool, oid).base, good[i]);
    }
    for (size_t i = 0; i < COUNTOF(bad); i++)
        assert_false(der_oid_parse(&pool, bad[i], &oid));
    assert_null(der_oid_text(&pool, IOV("\x55\x80\x01")).base); /* padded arc */
    assert_null(der_oid_text(&pool, IOV("\x55\x81")).base);     /* cut short */
    assert_null(der_oid_text(&pool, IOV("")).base);
    h2o_mem_clear_pool(&pool);
}

static void test_written_reads_back(void **state)
{
    (void)state;
    pool_t pool;
    h2o_mem_init_pool(&pool);
    static const size_t sizes[] = {0, 1, 100, 127, 128, 255, 256, 65535, 65536, 300000};
    for (size_t i = 0; i < COUNTOF(sizes); i++) {
        iov_t bytes = {POOL_NEW(&pool, char, sizes[i] + 1), sizes[i]};
        struct der_writer w;
        der_writer_init(&w, &pool);
        der_open(&w, DER_SEQUENCE);
        der_put_u64(&w, 0);
        der_put_u64(&w, 0xff00);
        der_put_true(&w);
        der_open(&w, DER_CONTEXT_CONS(3));
        der_put_bits(&w, bytes);
        der_close(&w);
        der_close(&w);
        struct der all, inner;
        uint64_t zero, value;
        bool yes;
        iov_t back;
        assert_true(der_only(der_finish(&w), DER_SEQUENCE, &all));
        assert_true(der_u64(&all, &zero) && zero == 0 && der_u64(&all, &value) && value == 0xff00);
        assert_true(der_boolean(&all, &yes) && yes);
        assert_true(der_enter(&all, DER_CONTEXT_CONS(3), &inner) && der_done(&all));
        assert_true(der_bits(&inner, &back) && der_done(&inner) && iov_eq(back, bytes));
    }
    h2o_mem_clear_pool(&pool);
}

static void test_extension(void **state)
{
    (void)state;
    struct der_ext ext;
    struct der d = der_of(IOV("\x30\x0b\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x01x"));
    assert_true(der_extension(&d, &ext) && der_done(&d));
    assert_true(ext.critical && iov_is(ext.value, "x") && ext.whole.len == 13);
    d = der_of(IOV("\x30\x08\x06\x03\x55\x1d\x0f\x04\x01x"));
    assert_true(der_extension(&d, &ext) && !ext.critical);
    d = der_of(IOV("\x30\x0b\x06\x03\x55\x1d\x0f\x01\x01\x01\x04\x01x")); /* TRUE is 0xff in DER */
    assert_false(der_extension(&d, &ext));
    d = der_of(IOV("\x30\x0a\x06\x03\x55\x1d\x0f\x04\x01x\x05\x00"));
    assert_false(der_extension(&d, &ext));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_oids),
        cmocka_unit_test(test_written_reads_back),
        cmocka_unit_test(test_extension),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

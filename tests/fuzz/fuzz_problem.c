/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes in a problem's texts: what comes out is always a JSON object that reads back, and its stored form renders
 * inside an order. */
#include <stdlib.h>

#include "acme/objects.h"
#include "acme/problem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void reads_back(pool_t *pool, json_t *obj)
{
    struct err e = ERR_INIT;
    json_t *again = json_parse_object(json_to_iov(pool, obj), 1 << 20, &e);
    check(again != NULL && json_equal(again, obj));
    json_decref(again);
    json_decref(obj);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    iov_t text = {(char *)data, size};
    const char *cstr = iov_dup(&pool, text).base;
    /* A name comes out of JSON, where a NUL is refused; else it may be anything. */
    struct subproblem subs[2] = {{.ident = {IDENT_DNS, iov_of(cstr)}}, {.ident = {IDENT_IP, IOV_NULL}}};
    err_set(&subs[0].err, size > 0 ? data[0] : 0, "%s", cstr);
    err_set(&subs[1].err, ACME_DNS, "%.*s", (int)(size % 64), cstr);
    struct problem_doc doc = {
        .subs = subs, .n_subs = size % 3, .instance = text, .list_algorithms = size % 2 == 0};
    err_set(&doc.err, size > 1 ? (int8_t)data[1] : 0, "%s", cstr);
    reads_back(&pool, problem_json(&doc));

    const struct acme_urls urls = {IOV("https://ca.example/acme/default")};
    struct acme_order order = {.id = text, .status = ST_INVALID, .error = problem_text(&pool, &doc)};
    reads_back(&pool, acme_order_json(&pool, &urls, &order));
    order.error = text; /* a row that something else wrote */
    reads_back(&pool, acme_order_json(&pool, &urls, &order));
    h2o_mem_clear_pool(&pool);
    return 0;
}

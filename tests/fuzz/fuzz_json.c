/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a JSON object. What is accepted must read back the same from what is written. */
#include <stdlib.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_object(pool_t *pool, iov_t text)
{
    struct err e = ERR_INIT;
    json_t *obj = json_parse_object(text, 65536, &e);
    if (obj == NULL) {
        check(e.detail[0] != '\0');
        return;
    }
    iov_t written = json_to_iov(pool, obj);
    json_t *again = json_parse_object(written, written.len, &e);
    check(again != NULL && json_equal(obj, again));
    const char *key;
    json_t *value;
    json_object_foreach(obj, key, value)
        check((json_get_iov(obj, key).base != NULL) == json_is_string(value));
    json_decref(again);
    json_decref(obj);
}

/* Any bytes can be said in a string; good UTF-8 comes back as it went in. */
static void check_string(pool_t *pool, iov_t bytes)
{
    json_t *value = json_str(bytes);
    check(value != NULL);
    if (bytes.base != NULL && json_string_length(value) == bytes.len)
        check(memcmp(json_string_value(value), bytes.base, bytes.len) == 0);
    check(json_to_iov(pool, value).len >= 2);
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pool_t pool;
    h2o_mem_init_pool(&pool);
    check_object(&pool, (iov_t){(char *)data, size});
    check_string(&pool, (iov_t){(char *)data, size});
    h2o_mem_clear_pool(&pool);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* jansson behind strict rules: UTF-8, no duplicate members, no NUL in strings, bounded depth and size. */
#ifndef PORTICO_JSON_H
#define PORTICO_JSON_H

#include <jansson.h>
#include "base/err.h"

/* Parses one JSON object. NULL with e's detail ("what: line, column, why") on anything else; e->code is left
 * 0, the caller sets the kind. The caller json_decref()s the result. max_bytes bounds the text. */
json_t *json_parse_object(iov_t text, size_t max_bytes, struct err *e) MUST_CHECK;
/* A string member as a view that lives as long as obj; IOV_NULL when absent or not a string. */
iov_t json_get_iov(const json_t *obj, const char *key);
/* Compact text in the pool, member order kept. */
iov_t json_to_iov(pool_t *pool, const json_t *value);
/* A JSON string value; bytes that are not UTF-8 become U+FFFD. Never NULL. */
json_t *json_str(iov_t s);

#endif

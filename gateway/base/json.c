/* SPDX-License-Identifier: Apache-2.0 */
/* jansson with Portico's rules. Depth is bounded before jansson sees the text: its own limit (2048) is for
 * the stack, ours is for sense. */
#include "base/json.h"

#include <stdlib.h>

#define DEPTH_MAX 32 /* an ACME message needs 4 */

/* Where nesting exceeds DEPTH_MAX; text.len if nowhere. Only strings can hold brackets that do not nest. */
static size_t too_deep_at(iov_t text)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.base[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > DEPTH_MAX)
                return i;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return text.len;
}

/* jansson quotes the text near the fault, whatever bytes it has. */
static bool refuse(const json_error_t *found, struct err *e)
{
    char why[JSON_ERROR_TEXT_LENGTH];
    size_t n = 0;
    for (; n < sizeof(why) - 1 && found->text[n] != '\0'; n++)
        why[n] = found->text[n] >= 0x20 && found->text[n] < 0x7f ? found->text[n] : '?';
    why[n] = '\0';
    return err_set(e, 0, "not valid JSON: line %d, column %d, %s", found->line, found->column, why);
}

json_t *json_parse_object(iov_t text, size_t max_bytes, struct err *e)
{
    if (text.len > max_bytes) {
        err_set(e, 0, "the JSON text has %zu bytes, at most %zu are accepted", text.len, max_bytes);
        return NULL;
    }
    if (too_deep_at(text) != text.len) {
        err_set(e, 0, "the JSON text nests more than %d deep", DEPTH_MAX);
        return NULL;
    }
    json_error_t found;
    json_t *value = json_loadb(text.base ? text.base : "", text.len, JSON_REJECT_DUPLICATES, &found);
    if (value == NULL) {
        refuse(&found, e);
        return NULL;
    }
    if (!json_is_object(value)) {
        json_decref(value);
        err_set(e, 0, "the JSON text is an array, an object {...} is expected");
        return NULL;
    }
    return value;
}

iov_t json_get_iov(const json_t *obj, const char *key)
{
    const json_t *value = json_object_get(obj, key);
    if (!json_is_string(value))
        return IOV_NULL;
    return (iov_t){(char *)json_string_value(value), json_string_length(value)};
}

iov_t json_to_iov(pool_t *pool, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL)
        h2o_fatal("json_to_iov: a value that contains itself, or no memory");
    iov_t copy = iov_dup(pool, iov_of(text));
    free(text);
    return copy;
}

/* Length of the UTF-8 character at s (no surrogates, nothing overlong, at most U+10FFFF); 0: it is none. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xc2 && s[0] <= 0xdf   ? 2
               : (s[0] & 0xf0) == 0xe0        ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

json_t *json_str(iov_t s)
{
    json_t *value = json_stringn(s.len > 0 ? s.base : "", s.len);
    if (value != NULL)
        return value;
    char *text = h2o_mem_alloc(s.len * 3 + 1); /* U+FFFD has three bytes */
    size_t n = 0;
    for (size_t i = 0, len; i < s.len; i += len ? len : 1) {
        len = utf8_length((const unsigned char *)s.base + i, s.len - i);
        memcpy(text + n, len ? s.base + i : "\xef\xbf\xbd", len ? len : 3);
        n += len ? len : 3;
    }
    value = json_stringn(text, n);
    free(text);
    if (value == NULL)
        h2o_fatal("json_str: no memory");
    return value;
}

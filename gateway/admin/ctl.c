/* SPDX-License-Identifier: Apache-2.0 */
/* Rendering of porticoctl's answers. Text from the database is printed with control characters removed: a name that a
 * client chose must not move the operator's cursor. */
#include "admin/ctl.h"
#include <stdlib.h>

#define COLUMNS_MAX 16

/* Also U+0080 to U+009F, among which is a one-character CSI. */
static void put_text(FILE *out, const char *s)
{
    for (; *s != '\0'; s++) {
        bool c1 = (unsigned char)s[0] == 0xc2 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] < 0xa0;
        fputc(c1 || (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s, out);
        s += c1;
    }
}

/* A scalar, or a small value on one line; the caller frees. */
static char *text_of(const json_t *v)
{
    if (json_is_string(v))
        return strdup(json_string_value(v));
    if (json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0))
        return strdup("-");
    return json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
}

static void put_padded(FILE *out, const char *s, size_t width)
{
    size_t n = strlen(s);
    put_text(out, s);
    for (; n < width; n++)
        fputc(' ', out);
}

static bool is_table(const json_t *v)
{
    return json_is_array(v) && json_array_size(v) > 0 && json_is_object(json_array_get(v, 0));
}

static void row_widths(json_t *row, const char **keys, size_t n, size_t *width)
{
    for (size_t i = 0; i < n; i++) {
        char *s = text_of(json_object_get(row, keys[i]));
        size_t len = s != NULL ? strlen(s) : 0;
        width[i] = len > width[i] ? len : width[i];
        free(s);
    }
}

static void put_table(FILE *out, const json_t *list, int indent)
{
    const char *keys[COLUMNS_MAX], *key;
    size_t width[COLUMNS_MAX], n = 0, at;
    json_t *row, *ignored;
    json_object_foreach(json_array_get(list, 0), key, ignored) {
        if (n < COLUMNS_MAX) {
            keys[n] = key;
            width[n++] = strlen(key);
        }
    }
    json_array_foreach(list, at, row)
        row_widths(row, keys, n, width);
    fprintf(out, "%*s", indent, "");
    for (size_t i = 0; i < n; i++)
        put_padded(out, keys[i], i + 1 < n ? width[i] + 2 : 0);
    fputc('\n', out);
    json_array_foreach(list, at, row) {
        fprintf(out, "%*s", indent, "");
        for (size_t i = 0; i < n; i++) {
            char *s = text_of(json_object_get(row, keys[i]));
            put_padded(out, s != NULL ? s : "-", i + 1 < n ? width[i] + 2 : 0);
            free(s);
        }
        fputc('\n', out);
    }
}

static void put_object(FILE *out, json_t *object)
{
    size_t width = 0;
    const char *key;
    json_t *v;
    json_object_foreach(object, key, v)
        width = strlen(key) > width ? strlen(key) : width;
    json_object_foreach(object, key, v) {
        if (is_table(v)) {
            fprintf(out, "%s\n", key);
            put_table(out, v, 2);
            continue;
        }
        char *s = text_of(v);
        put_padded(out, key, width + 2);
        put_text(out, s != NULL ? s : "-");
        fputc('\n', out);
        free(s);
    }
}

void ctl_print(FILE *out, const json_t *value)
{
    if (json_is_object(value)) {
        put_object(out, (json_t *)value);
    } else if (is_table(value)) {
        put_table(out, value, 0);
    } else if (json_is_array(value)) {
        fprintf(out, "none\n");
    } else {
        char *s = text_of(value);
        put_text(out, s != NULL ? s : "-");
        fputc('\n', out);
        free(s);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Values: parameters on their way to libpq (bytea binary, the rest text) and results on their way into a
 * task's pool. */
#include "io/db_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"

#define TEXT_KEPT_BYTES (1 << 20) /* a buffer that a large value made larger is given back */

/* ---- parameters ---- */

struct db_param db_text(iov_t s)
{
    return s.base == NULL ? DB_NULL : (struct db_param){.type = DB_P_TEXT, .v.s = s};
}

struct db_param db_bytea(iov_t s)
{
    return s.base == NULL ? DB_NULL : (struct db_param){.type = DB_P_BYTEA, .v.s = s};
}

/* Bytes of the well-formed UTF-8 sequence at p (Unicode table 3-7), 0 if there is none. */
static size_t utf8_step(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return p[0] != 0;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < n)
        return 0;
    unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

static bool is_text(iov_t s)
{
    const unsigned char *p = (const unsigned char *)s.base;
    for (size_t i = 0, step; i < s.len; i += step) {
        if ((step = utf8_step(p + i, s.len - i)) == 0)
            return false;
    }
    return true;
}

bool db_param_is_sendable(const struct db_param *p)
{
    if (p->type == DB_P_TEXT)
        return is_text(p->v.s);
    if (p->type != DB_P_TEXT_ARRAY)
        return true;
    for (size_t i = 0; i < p->v.texts.n; i++) {
        if (p->v.texts.v[i].base != NULL && !is_text(p->v.texts.v[i]))
            return false;
    }
    return true;
}

/* Room for n more bytes. */
static char *args_room(struct db_args *a, size_t n)
{
    if (a->text_cap - a->len < n) {
        size_t cap = a->text_cap != 0 ? a->text_cap : 4096;
        while (cap - a->len < n)
            cap *= 2;
        a->text = h2o_mem_realloc(a->text, cap);
        a->text_cap = cap;
    }
    return a->text + a->len;
}

static void args_add(struct db_args *a, const char *bytes, size_t n)
{
    if (n != 0)
        memcpy(args_room(a, n), bytes, n);
    a->len += n;
}

static void args_int(struct db_args *a, int64_t n)
{
    a->len += (size_t)snprintf(args_room(a, 24), 24, "%" PRId64, n);
}

/* An element in array_in's quotes. */
static void args_quoted(struct db_args *a, iov_t s)
{
    char *p = args_room(a, 2 * s.len + 2), *start = p;
    *p++ = '"';
    for (size_t i = 0; i < s.len; i++) {
        if (s.base[i] == '"' || s.base[i] == '\\')
            *p++ = '\\';
        *p++ = s.base[i];
    }
    *p++ = '"';
    a->len += (size_t)(p - start);
}

static void args_array(struct db_args *a, const struct db_param *p)
{
    size_t n = p->type == DB_P_TEXT_ARRAY ? p->v.texts.n : p->v.ints.n;
    args_add(a, "{", 1);
    for (size_t i = 0; i < n; i++) {
        if (i != 0)
            args_add(a, ",", 1);
        if (p->type == DB_P_INT_ARRAY)
            args_int(a, p->v.ints.v[i]);
        else if (p->v.texts.v[i].base == NULL)
            args_add(a, "NULL", 4);
        else
            args_quoted(a, p->v.texts.v[i]);
    }
    args_add(a, "}", 1);
}

static void args_value(struct db_args *a, const struct db_param *p)
{
    switch (p->type) {
    case DB_P_NULL:
        break;
    case DB_P_TEXT:
    case DB_P_BYTEA:
        args_add(a, p->v.s.base, p->v.s.len);
        break;
    case DB_P_INT:
        args_int(a, p->v.n);
        break;
    case DB_P_BOOL:
        args_add(a, p->v.b ? "t" : "f", 1);
        break;
    case DB_P_TEXT_ARRAY:
    case DB_P_INT_ARRAY:
        args_array(a, p);
        break;
    }
}

void db_args_set(struct db_args *a, const struct db_param *params, unsigned n)
{
    if (a->text_cap > TEXT_KEPT_BYTES) {
        free(a->text);
        a->text = NULL;
        a->text_cap = 0;
    }
    if (a->cap < n) {
        a->values = h2o_mem_realloc(a->values, n * sizeof(*a->values));
        a->lengths = h2o_mem_realloc(a->lengths, n * sizeof(*a->lengths));
        a->formats = h2o_mem_realloc(a->formats, n * sizeof(*a->formats));
        a->at = h2o_mem_realloc(a->at, n * sizeof(*a->at));
        a->cap = n;
    }
    a->n = n;
    a->len = 0;
    for (unsigned i = 0; i < n; i++) {
        a->at[i] = a->len;
        a->formats[i] = params[i].type == DB_P_BYTEA;
        args_value(a, &params[i]);
        a->lengths[i] = (int)(a->len - a->at[i]);
        args_add(a, "", 1);
    }
    for (unsigned i = 0; i < n; i++) /* the buffer has stopped moving */
        a->values[i] = params[i].type == DB_P_NULL ? NULL : a->text + a->at[i];
}

void db_args_dispose(struct db_args *a)
{
    free(a->values);
    free(a->lengths);
    free(a->formats);
    free(a->at);
    free(a->text);
    *a = (struct db_args){0};
}

/* ---- results ---- */

void db_result_copy(pool_t *pool, struct db_result *out, const PGresult *res)
{
    *out = (struct db_result){.rows = (unsigned)PQntuples(res), .cols = (unsigned)PQnfields(res)};
    out->affected = (unsigned)strtoul(PQcmdTuples((PGresult *)res), NULL, 10);
    size_t n = (size_t)out->rows * out->cols, bytes = 0;
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        bytes += (size_t)PQgetlength(res, (int)(i / out->cols), (int)(i % out->cols)) + 1;
    out->cells = POOL_NEW(pool, iov_t, n);
    char *to = h2o_mem_alloc_pool(pool, bytes);
    for (size_t i = 0; i < n; i++) {
        int row = (int)(i / out->cols), col = (int)(i % out->cols);
        if (PQgetisnull(res, row, col))
            continue;
        out->cells[i] = (iov_t){to, (size_t)PQgetlength(res, row, col)};
        memcpy(to, PQgetvalue(res, row, col), out->cells[i].len + 1);
        to += out->cells[i].len + 1;
    }
}

static const struct db_result *result(const struct db_unit *u, unsigned stmt)
{
    assert(stmt < u->n);
    return &u->items[stmt].result;
}

unsigned db_rows(const struct db_unit *u, unsigned stmt)
{
    return result(u, stmt)->rows;
}

unsigned db_affected(const struct db_unit *u, unsigned stmt)
{
    return result(u, stmt)->affected;
}

iov_t db_get(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col)
{
    const struct db_result *r = result(u, stmt);
    if (row >= r->rows)
        return IOV_NULL;
    assert(col < r->cols);
    return r->cells[(size_t)row * r->cols + col];
}

bool db_is_null(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col)
{
    return db_get(u, stmt, row, col).base == NULL;
}

/* A value that the column's type cannot print: the statement and its caller disagree. */
static void complain(const struct db_unit *u, unsigned stmt, unsigned col, const char *wanted)
{
    log_error("db.value", KV_STR("id", u->task->id), KV_INT("statement", u->items[stmt].stmt),
              KV_INT("column", col), KV_STR("wanted", wanted));
}

int64_t db_get_int(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col)
{
    iov_t s = db_get(u, stmt, row, col);
    if (s.base == NULL)
        return 0;
    char *end;
    long long n = strtoll(s.base, &end, 10);
    if (s.len == 0 || *end != '\0')
        complain(u, stmt, col, "integer");
    return n;
}

bool db_get_bool(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col)
{
    iov_t s = db_get(u, stmt, row, col);
    if (s.base != NULL && !iov_is(s, "t") && !iov_is(s, "f"))
        complain(u, stmt, col, "boolean");
    return iov_is(s, "t");
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

iov_t db_get_bytea(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col)
{
    iov_t s = db_get(u, stmt, row, col);
    if (s.base == NULL)
        return IOV_NULL;
    bool ok = iov_starts(s, "\\x") && s.len % 2 == 0;
    size_t n = ok ? s.len / 2 - 1 : 0;
    char *out = pool_zalloc(&u->task->pool, n + 1);
    for (size_t i = 0; ok && i < n; i++) {
        int high = hex_digit(s.base[2 + 2 * i]), low = hex_digit(s.base[3 + 2 * i]);
        ok = high >= 0 && low >= 0;
        if (ok)
            out[i] = (char)(high << 4 | low);
    }
    if (!ok)
        complain(u, stmt, col, "bytea in hex");
    return ok ? (iov_t){out, n} : IOV_NULL;
}

/* One element at *p, written to *to: quoted with escapes, or bare up to the next delimiter. */
static bool texts_element(const char **p, const char *end, char **to, iov_t *out)
{
    char *start = *to;
    bool quoted = **p == '"';
    if (quoted) {
        for (++*p; *p < end && **p != '"'; ++*p) {
            if (**p == '\\' && ++*p == end)
                return false;
            *(*to)++ = **p;
        }
        if (*p == end)
            return false;
        ++*p;
    } else {
        for (; *p < end && **p != ','; ++*p) {
            if (strchr("{}\"\\ \t\r\n", **p) != NULL)
                return false;
            *(*to)++ = **p;
        }
    }
    *out = (iov_t){start, (size_t)(*to - start)};
    *(*to)++ = '\0';
    if (!quoted && out->len == 0)
        return false;
    if (!quoted && iov_is(*out, "NULL"))
        *out = IOV_NULL;
    return true;
}

bool db_texts_parse(pool_t *pool, iov_t array, struct iovs *out)
{
    *out = (struct iovs){0};
    if (array.len < 2 || array.base[0] != '{' || array.base[array.len - 1] != '}')
        return false;
    const char *p = array.base + 1, *end = array.base + array.len - 1;
    if (p == end)
        return true;
    /* Every element has a delimiter, which leaves room for its NUL. */
    char *to = h2o_mem_alloc_pool(pool, array.len);
    for (;;) {
        iov_t s;
        if (p == end || !texts_element(&p, end, &to, &s))
            return false;
        iovs_add(pool, out, s);
        if (p == end)
            return true;
        if (*p++ != ',')
            return false;
    }
}

struct iovs db_get_texts(const struct db_unit *u, unsigned stmt, unsigned row, unsigned col)
{
    iov_t s = db_get(u, stmt, row, col);
    struct iovs list = {0};
    if (s.base != NULL && !db_texts_parse(&u->task->pool, s, &list)) {
        complain(u, stmt, col, "text array");
        list = (struct iovs){0};
    }
    return list;
}

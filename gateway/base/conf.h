/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration: YAML documents (libyaml, whose nodes keep line and column) read against rows. A row names a
 * key, its type, its member and its default as a user would write it; unknown keys, wrong types and
 * impossible values are errors with file, line and what would be right. Used at start and on reload, on one
 * thread. */
#ifndef PORTICO_CONF_H
#define PORTICO_CONF_H

#include "base/err.h"

struct conf;      /* a file with its fragments and overrides */
struct conf_node; /* a place in it: mapping, sequence or scalar */

/* Loads path. `include: [GLOB, ...]` at the top level merges fragments (globs start from the file's folder; a
 * fragment may include others): their lists come before the main file's, a mapping is merged key by key with
 * the main file winning, a later fragment over an earlier one. A key without a value (null) counts as absent.
 * overrides are "a.b=value" texts: the value is text as it stands unless it begins like a YAML list, mapping
 * or quoted text; nothing makes the key absent. A list item is addressed by its `name`:
 * profiles.server.join_window=0. NULL and e on any error. */
struct conf *conf_load(const char *path, const char *const *overrides, size_t n_overrides, struct err *e) MUST_CHECK;
/* The same from text, for tests; `name` stands in messages for the path. */
struct conf *conf_parse(iov_t text, const char *name, struct err *e) MUST_CHECK;
void conf_free(struct conf *c);
const struct conf_node *conf_root(const struct conf *c);

/* Member of a mapping (NULL if absent); items of a sequence. */
const struct conf_node *conf_get(const struct conf_node *map, const char *key);
size_t conf_count(const struct conf_node *seq);
const struct conf_node *conf_item(const struct conf_node *seq, size_t i);
/* Text of a scalar, NULL for anything else (and for NULL): a look at one key before its rows are known. */
const char *conf_text(const struct conf_node *n);
/* Do two places, of whatever files, say the same? Keys in the same order; absent equals absent. */
bool conf_same(const struct conf_node *a, const struct conf_node *b);
/* "file:line" of a node, for the program's own complaints; owned by the conf. */
const char *conf_where(const struct conf_node *n);
/* An error at a node: "file:line: ...". Returns false. */
bool conf_error(const struct conf_node *n, struct err *e, const char *fmt, ...) PRINTF_FMT(3, 4);

enum conf_type {
    CONF_T_STR,      /* const char *, NULL when absent without default */
    CONF_T_BOOL,     /* bool */
    CONF_T_INT,      /* int64_t, min..max */
    CONF_T_DURATION, /* int64_t milliseconds: "250ms" "10s" "5m" "1h" "90d" "0"; min..max in ms */
    CONF_T_SIZE,     /* int64_t bytes: "64KiB" "1MiB" "512B" */
    CONF_T_LIST,     /* struct conf_list: a sequence of scalars, or one scalar */
    CONF_T_ENUM,     /* int: index into choices[] */
    CONF_T_SECRET,   /* struct conf_secret: the text itself, "file:PATH" (trailing newline cut) or "env:NAME" */
    CONF_T_FILE,     /* const char *: a path, relative ones are taken from the file that names them; must be readable */
    CONF_T_FILES,    /* struct conf_list: a list of such paths, or one */
    CONF_T_NODE      /* const struct conf_node *: any shape, read later with its own rows */
};

struct conf_list {
    const char **v;
    size_t n;
};
struct conf_secret {
    char *text; /* NUL-terminated; NULL when absent; wiped by conf_free */
    size_t len;
};

struct conf_key {
    const char *name;
    enum conf_type type;
    size_t offset;
    const char *def;  /* default as a user would write it; NULL = absent is fine; CONF_REQUIRED */
    const char *help; /* one line; tests/lint/confdoc.sh wants every key documented */
    int64_t min, max; /* both 0: unbounded */
    const char *const *choices; /* NULL-terminated, CONF_T_ENUM only */
};
extern const char CONF_REQUIRED[];

/* Each macro fails to compile when the member has another type. */
#define CONF_OFFSET(st, m, want) (offsetof(st, m) + 0 * sizeof(&((st *)0)->m == (want *)0))
#define CONF_STR(st, m, key, d, h) {.name = key, .type = CONF_T_STR, .offset = CONF_OFFSET(st, m, const char *), .def = d, .help = h}
#define CONF_BOOL(st, m, key, d, h) {.name = key, .type = CONF_T_BOOL, .offset = CONF_OFFSET(st, m, bool), .def = d, .help = h}
#define CONF_INT(st, m, key, d, lo, hi, h) {.name = key, .type = CONF_T_INT, .offset = CONF_OFFSET(st, m, int64_t), .def = d, .help = h, .min = lo, .max = hi}
#define CONF_DURATION(st, m, key, d, lo, hi, h) {.name = key, .type = CONF_T_DURATION, .offset = CONF_OFFSET(st, m, int64_t), .def = d, .help = h, .min = lo, .max = hi}
#define CONF_SIZE(st, m, key, d, lo, hi, h) {.name = key, .type = CONF_T_SIZE, .offset = CONF_OFFSET(st, m, int64_t), .def = d, .help = h, .min = lo, .max = hi}
#define CONF_LIST(st, m, key, d, h) {.name = key, .type = CONF_T_LIST, .offset = CONF_OFFSET(st, m, struct conf_list), .def = d, .help = h}
#define CONF_ENUM(st, m, key, d, ch, h) {.name = key, .type = CONF_T_ENUM, .offset = CONF_OFFSET(st, m, int), .def = d, .help = h, .choices = ch}
#define CONF_SECRET(st, m, key, d, h) {.name = key, .type = CONF_T_SECRET, .offset = CONF_OFFSET(st, m, struct conf_secret), .def = d, .help = h}
#define CONF_FILE(st, m, key, d, h) {.name = key, .type = CONF_T_FILE, .offset = CONF_OFFSET(st, m, const char *), .def = d, .help = h}
#define CONF_FILES(st, m, key, d, h) {.name = key, .type = CONF_T_FILES, .offset = CONF_OFFSET(st, m, struct conf_list), .def = d, .help = h}
#define CONF_NODE(st, m, key, d, h) {.name = key, .type = CONF_T_NODE, .offset = CONF_OFFSET(st, m, const struct conf_node *), .def = d, .help = h}
#define CONF_END {.name = NULL}

/* Reads a mapping (NULL = an empty one) into target, defaults included. Strings live as long as the conf. For
 * a list default write "a, b". Every unknown key is an error that names the keys there are. */
bool conf_read(struct conf *c, const struct conf_node *map, const struct conf_key *keys, void *target, struct err *e) MUST_CHECK;

#endif

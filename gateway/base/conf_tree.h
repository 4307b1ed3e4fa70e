/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of conf share: the tree that YAML text becomes. Everything in it is owned by its struct conf
 * and lives in its pool; texts that may be secrets are on the heap and wiped. */
#ifndef PORTICO_CONF_TREE_H
#define PORTICO_CONF_TREE_H

#include "base/conf.h"

enum conf_kind { CONF_NULL, CONF_SCALAR, CONF_SEQ, CONF_MAP };

struct conf_node {
    enum conf_kind kind;
    const char *where;        /* "file:line", or the override */
    const char *dir;          /* what relative paths in it start from; ends with "/" */
    const char *text;         /* SCALAR */
    struct conf_node **items; /* SEQ: items; MAP: values */
    struct conf_node **keys;  /* MAP: scalars */
    size_t n, cap;
};

/* A text that conf_free wipes. */
struct conf_text {
    struct conf_text *next;
    size_t len;
    char text[];
};

struct conf {
    pool_t pool;
    const char *name;       /* of the main file, for messages */
    struct conf_node *root; /* a mapping */
    struct conf_text *texts;
    size_t n_nodes; /* bounds what aliases can multiply */
};

/* One source of YAML text. */
struct conf_source {
    iov_t text;
    const char *name, *dir;
    bool one_line; /* an override: places are its name without a line */
};

struct conf_node *conf_tree_node(struct conf *c, enum conf_kind kind, const char *where, const char *dir);
/* Copies bytes into memory that conf_free wipes, NUL-terminated. */
char *conf_tree_text(struct conf *c, const char *bytes, size_t len);
void conf_tree_append(struct conf *c, struct conf_node *seq, struct conf_node *item);
/* Replaces the value of a key that is there. */
void conf_tree_set(struct conf *c, struct conf_node *map, struct conf_node *key, struct conf_node *value);
/* Removes a key; its value, or NULL. */
struct conf_node *conf_tree_take(struct conf_node *map, const char *key);
/* The one YAML document of src; NULL and e on any error. An empty document is a NULL node. */
struct conf_node *conf_tree_parse(struct conf *c, const struct conf_source *src, struct err *e) MUST_CHECK;
/* low under high: lists are joined (low's items first), mappings merged, of two scalars high's is taken. NULL
 * and e when the two cannot be one. */
struct conf_node *conf_tree_merge(struct conf *c, struct conf_node *low, struct conf_node *high,
                                  struct err *e) MUST_CHECK;
/* "a mapping", "a list", ...; never NULL. */
const char *conf_tree_kind_name(const struct conf_node *n);

/* conf.c: the bytes of an open file on the heap, NUL-terminated beyond len; conf_tree_wipe clears and frees
 * them. */
bool conf_tree_read_file(const char *path, int fd, size_t max_bytes, iov_t *out, struct err *e) MUST_CHECK;
void conf_tree_wipe(iov_t *bytes);

/* conf_override.c: applies "a.b=value" to the tree. */
bool conf_override_apply(struct conf *c, const char *text, const char *dir, struct err *e) MUST_CHECK;

/* conf_suggest.c: which of the words was probably meant by one that is none of them; NULL when none is
 * near. */
const char *conf_suggest(const char *word, const char *const *words, size_t n);

#endif

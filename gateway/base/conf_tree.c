/* SPDX-License-Identifier: Apache-2.0 */
/* YAML text becomes a tree of mappings, lists and texts that remember where they stand. Duplicate keys, tags,
 * merge keys, cycles and NUL bytes are refused; aliases are copied, within a bound. */
#include "base/conf_tree.h"

#include <stdlib.h>
#include <yaml.h>

#define DEPTH_MAX 32
#define NODES_MAX 100000 /* a gateway with a thousand routes has 10,000 */

struct conf_node *conf_tree_node(struct conf *c, enum conf_kind kind, const char *where, const char *dir)
{
    struct conf_node *n = POOL_NEW(&c->pool, struct conf_node, 1);
    n->kind = kind;
    n->where = where;
    n->dir = dir;
    return n;
}

char *conf_tree_text(struct conf *c, const char *bytes, size_t len)
{
    struct conf_text *t = base_zalloc(sizeof(*t) + len + 1);
    t->next = c->texts;
    t->len = len;
    if (len > 0)
        memcpy(t->text, bytes, len);
    c->texts = t;
    return t->text;
}

const char *conf_tree_kind_name(const struct conf_node *n)
{
    static const char *const names[] = {"nothing", "a single value", "a list", "a mapping of keys"};
    return names[n == NULL ? CONF_NULL : n->kind];
}

/* ---- growing ---- */

static void grow(struct conf *c, struct conf_node *n)
{
    if (n->n < n->cap)
        return;
    n->cap = n->cap ? n->cap * 2 : 8;
    struct conf_node **items = POOL_NEW(&c->pool, struct conf_node *, n->cap);
    struct conf_node **keys = POOL_NEW(&c->pool, struct conf_node *, n->cap);
    for (size_t i = 0; i < n->n; i++) {
        items[i] = n->items[i];
        keys[i] = n->keys[i];
    }
    n->items = items;
    n->keys = keys;
}

void conf_tree_append(struct conf *c, struct conf_node *seq, struct conf_node *item)
{
    grow(c, seq);
    seq->items[seq->n++] = item;
}

static struct conf_node **find(const struct conf_node *map, const char *key)
{
    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(map->keys[i]->text, key) == 0)
            return &map->items[i];
    }
    return NULL;
}

void conf_tree_set(struct conf *c, struct conf_node *map, struct conf_node *key, struct conf_node *value)
{
    struct conf_node **at = find(map, key->text);
    if (at != NULL) {
        *at = value;
        return;
    }
    grow(c, map);
    map->keys[map->n] = key;
    map->items[map->n++] = value;
}

struct conf_node *conf_tree_take(struct conf_node *map, const char *key)
{
    struct conf_node **at = find(map, key), *value;
    if (at == NULL)
        return NULL;
    value = *at;
    size_t i = (size_t)(at - map->items);
    memmove(&map->items[i], &map->items[i + 1], (map->n - i - 1) * sizeof(*map->items));
    memmove(&map->keys[i], &map->keys[i + 1], (map->n - i - 1) * sizeof(*map->keys));
    map->n--;
    return value;
}

/* ---- YAML to tree ---- */

struct reading {
    struct conf *c;
    const struct conf_source *src;
    yaml_document_t doc;
    bool *open; /* by YAML node: being read right now, so an alias to it would never end */
    struct err *e;
};

static const char *place(struct conf *c, const struct conf_source *src, const yaml_mark_t *mark)
{
    return src->one_line ? src->name : iov_printf(&c->pool, "%s:%zu", src->name, mark->line + 1).base;
}

static const char *where(const struct reading *r, const yaml_node_t *y)
{
    return place(r->c, r->src, &y->start_mark);
}

static bool refuse(const struct reading *r, const yaml_node_t *y, const char *what)
{
    return err_set(r->e, 0, "%s: %s", where(r, y), what);
}

/* An unquoted text that YAML reads as "nothing". */
static bool is_null(const yaml_node_t *y)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    iov_t text = {(char *)y->data.scalar.value, y->data.scalar.length};
    for (size_t i = 0; y->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && i < COUNTOF(words); i++) {
        if (iov_is(text, words[i]))
            return true;
    }
    return false;
}

/* The tags that untagged text gets from libyaml; anything else asks for a meaning that nothing here has. */
static bool is_tagged(const yaml_node_t *y)
{
    static const char *const known[] = {YAML_STR_TAG, YAML_SEQ_TAG, YAML_MAP_TAG};
    for (size_t i = 0; y->tag != NULL && i < COUNTOF(known); i++) {
        if (strcmp((const char *)y->tag, known[i]) == 0)
            return false;
    }
    return y->tag != NULL;
}

static struct conf_node *read_node(struct reading *r, int index, unsigned depth);

static struct conf_node *read_scalar(struct reading *r, const yaml_node_t *y)
{
    const char *bytes = (const char *)y->data.scalar.value;
    size_t len = y->data.scalar.length;
    if (len > 0 && memchr(bytes, '\0', len) != NULL) {
        refuse(r, y, "a text holds a NUL byte");
        return NULL;
    }
    struct conf_node *n = conf_tree_node(r->c, is_null(y) ? CONF_NULL : CONF_SCALAR, where(r, y),
                                         r->src->dir);
    n->text = conf_tree_text(r->c, bytes, len);
    return n;
}

static struct conf_node *read_seq(struct reading *r, const yaml_node_t *y, unsigned depth)
{
    struct conf_node *n = conf_tree_node(r->c, CONF_SEQ, where(r, y), r->src->dir);
    for (const yaml_node_item_t *i = y->data.sequence.items.start; i < y->data.sequence.items.top; i++) {
        struct conf_node *item = read_node(r, *i, depth + 1);
        if (item == NULL)
            return NULL;
        conf_tree_append(r->c, n, item);
    }
    return n;
}

static bool add_pair(struct reading *r, struct conf_node *map, const yaml_node_pair_t *pair, unsigned depth)
{
    const yaml_node_t *y = yaml_document_get_node(&r->doc, pair->key);
    if (y->type != YAML_SCALAR_NODE)
        return refuse(r, y, "a key is a plain word");
    struct conf_node *key = read_node(r, pair->key, depth + 1);
    if (key == NULL)
        return false;
    if (strcmp(key->text, "<<") == 0)
        return refuse(r, y, "merge keys (<<) are not supported; write the keys out");
    struct conf_node **before = find(map, key->text);
    if (before != NULL)
        return err_set(r->e, 0, "%s: key \"%s\" stands here a second time in one mapping", key->where,
                       iov_printable(&r->c->pool, iov_of(key->text), 100).base);
    struct conf_node *value = read_node(r, pair->value, depth + 1);
    if (value == NULL)
        return false;
    conf_tree_set(r->c, map, key, value);
    return true;
}

static struct conf_node *read_map(struct reading *r, const yaml_node_t *y, unsigned depth)
{
    struct conf_node *n = conf_tree_node(r->c, CONF_MAP, where(r, y), r->src->dir);
    for (const yaml_node_pair_t *p = y->data.mapping.pairs.start; p < y->data.mapping.pairs.top; p++) {
        if (!add_pair(r, n, p, depth))
            return NULL;
    }
    return n;
}

static struct conf_node *read_open(struct reading *r, const yaml_node_t *y, int index, unsigned depth)
{
    r->open[index] = true;
    struct conf_node *n = y->type == YAML_SEQUENCE_NODE ? read_seq(r, y, depth) : read_map(r, y, depth);
    r->open[index] = false;
    return n;
}

static struct conf_node *read_node(struct reading *r, int index, unsigned depth)
{
    const yaml_node_t *y = yaml_document_get_node(&r->doc, index);
    if (r->open[index])
        refuse(r, y, "an alias refers to the node that holds it");
    else if (depth > DEPTH_MAX)
        refuse(r, y, "the text nests too deep");
    else if (++r->c->n_nodes > NODES_MAX)
        refuse(r, y, "the configuration is too large (do aliases multiply it?)");
    else if (is_tagged(y))
        refuse(r, y, "tags (!...) are not supported; quote the text if it begins with \"!\"");
    else if (y->type == YAML_SCALAR_NODE)
        return read_scalar(r, y);
    else
        return read_open(r, y, index, depth);
    return NULL;
}

static struct conf_node *read_document(struct reading *r)
{
    int count = (int)(r->doc.nodes.top - r->doc.nodes.start);
    if (count == 0)
        return conf_tree_node(r->c, CONF_NULL, place(r->c, r->src, &(yaml_mark_t){0}), r->src->dir);
    r->open = base_zalloc((size_t)count + 1);
    struct conf_node *root = read_node(r, 1, 0);
    free(r->open);
    return root;
}

/* libyaml has a copy of every text; passwords shall not stay in freed memory. */
static void wipe_document(yaml_document_t *doc)
{
    for (yaml_node_t *y = doc->nodes.start; y < doc->nodes.top; y++) {
        if (y->type == YAML_SCALAR_NODE)
            explicit_bzero(y->data.scalar.value, y->data.scalar.length);
    }
}

static bool syntax_error(struct conf *c, const yaml_parser_t *p, const struct conf_source *src, struct err *e)
{
    const char *what = p->problem ? p->problem : "not YAML";
    if (p->error == YAML_READER_ERROR) /* libyaml gives a byte offset, not a line */
        return err_set(e, 0, "%s: %s (byte %zu)", src->name, what, p->problem_offset);
    return err_set(e, 0, "%s: %s, column %zu%s%s", place(c, src, &p->problem_mark), what,
                   p->problem_mark.column + 1, p->context ? ", " : "", p->context ? p->context : "");
}

/* Nothing may follow the document. */
static bool at_end(struct conf *c, yaml_parser_t *p, const struct conf_source *src, struct err *e)
{
    yaml_document_t next;
    if (!yaml_parser_load(p, &next))
        return syntax_error(c, p, src, e);
    const yaml_node_t *root = yaml_document_get_root_node(&next);
    bool more = root != NULL;
    if (more)
        err_set(e, 0, "%s: a second YAML document begins; a file is one document",
                place(c, src, &root->start_mark));
    wipe_document(&next);
    yaml_document_delete(&next);
    return !more;
}

struct conf_node *conf_tree_parse(struct conf *c, const struct conf_source *src, struct err *e)
{
    yaml_parser_t p;
    struct reading r = {.c = c, .src = src, .e = e};
    struct conf_node *root = NULL;
    if (!yaml_parser_initialize(&p))
        h2o_fatal("no memory");
    yaml_parser_set_input_string(&p, (const unsigned char *)(src->text.base ? src->text.base : ""),
                                 src->text.len);
    yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
    if (!yaml_parser_load(&p, &r.doc)) {
        syntax_error(c, &p, src, e);
    } else {
        root = read_document(&r);
        if (root != NULL && r.doc.nodes.top != r.doc.nodes.start && !at_end(c, &p, src, e))
            root = NULL;
        wipe_document(&r.doc);
        yaml_document_delete(&r.doc);
    }
    yaml_parser_delete(&p);
    return root;
}

/* ---- merging ---- */

/* One value where the other source has a list is a list of one. */
static struct conf_node *as_seq(struct conf *c, struct conf_node *n)
{
    if (n->kind != CONF_SCALAR)
        return n;
    struct conf_node *seq = conf_tree_node(c, CONF_SEQ, n->where, n->dir);
    conf_tree_append(c, seq, n);
    return seq;
}

static struct conf_node *merge_seqs(struct conf *c, const struct conf_node *low, const struct conf_node *high)
{
    struct conf_node *n = conf_tree_node(c, CONF_SEQ, high->where, high->dir);
    for (size_t i = 0; i < low->n; i++)
        conf_tree_append(c, n, low->items[i]);
    for (size_t i = 0; i < high->n; i++)
        conf_tree_append(c, n, high->items[i]);
    return n;
}

static struct conf_node *merge_maps(struct conf *c, struct conf_node *low, struct conf_node *high,
                                    struct err *e)
{
    struct conf_node *n = conf_tree_node(c, CONF_MAP, high->where, high->dir);
    for (size_t i = 0; i < high->n; i++)
        conf_tree_set(c, n, high->keys[i], high->items[i]);
    for (size_t i = 0; i < low->n; i++) {
        struct conf_node **both = find(n, low->keys[i]->text);
        struct conf_node *value = both ? conf_tree_merge(c, low->items[i], *both, e) : low->items[i];
        if (value == NULL)
            return NULL;
        conf_tree_set(c, n, low->keys[i], value);
    }
    return n;
}

struct conf_node *conf_tree_merge(struct conf *c, struct conf_node *low, struct conf_node *high,
                                  struct err *e)
{
    if (low->kind == CONF_NULL)
        return high;
    if (high->kind == CONF_NULL)
        return low;
    if (low->kind == CONF_SCALAR && high->kind == CONF_SCALAR)
        return high;
    if (low->kind == CONF_MAP && high->kind == CONF_MAP)
        return merge_maps(c, low, high, e);
    if (low->kind != CONF_MAP && high->kind != CONF_MAP)
        return merge_seqs(c, as_seq(c, low), as_seq(c, high));
    err_set(e, 0, "%s: %s here cannot be merged with %s at %s", low->where, conf_tree_kind_name(low),
            conf_tree_kind_name(high), high->where);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* "a.b=value" from the command line: walks to the place, makes sections that are missing, sets the value.
 * List items are addressed by their name, which may itself hold dots. */
#include "base/conf_tree.h"

struct override {
    struct conf *c;
    const char *text, *where, *dir;
    struct err *e;
};

static bool refuse(const struct override *o, const char *what, iov_t part)
{
    return err_set(o->e, 0, "%s: %s\"%.*s\"", o->where, what, (int)part.len, part.base);
}

/* A value is text as it stands, unless it begins like a YAML list, mapping or quoted text. */
static struct conf_node *value_of(const struct override *o, const char *text)
{
    if (text[0] == '\0' || strchr("[{\"'", text[0]) == NULL) {
        struct conf_node *n = conf_tree_node(o->c, text[0] ? CONF_SCALAR : CONF_NULL, o->where, o->dir);
        n->text = conf_tree_text(o->c, text, strlen(text));
        return n;
    }
    struct err why = ERR_INIT;
    struct conf_node *n = conf_tree_parse(o->c, &(struct conf_source){iov_of(text), o->where, o->dir, true},
                                          &why);
    if (n == NULL)
        err_set(o->e, 0, "%s (a value that begins with %c is read as YAML; quote it if it is a text)",
                why.detail, text[0]);
    return n;
}

static const char *item_name(const struct conf_node *item)
{
    return conf_text(conf_get(item, "name"));
}

static void list_names(const struct conf_node *seq, struct sbuf *b)
{
    for (size_t i = 0; i < seq->n; i++) {
        const char *name = item_name(seq->items[i]);
        if (name != NULL)
            sbuf_printf(b, "%s%s", b->text.len ? ", " : "", name);
    }
}

/* The item whose name is the beginning of path, up to a dot; the longest such name. *path moves behind it. */
static struct conf_node *find_item(const struct override *o, const struct conf_node *seq, iov_t *path)
{
    struct conf_node *best = NULL;
    size_t best_len = 0;
    for (size_t i = 0; i < seq->n; i++) {
        iov_t name = iov_of(item_name(seq->items[i]));
        if (name.base == NULL || path->len <= name.len || path->base[name.len] != '.' ||
            memcmp(path->base, name.base, name.len) != 0 || (best != NULL && name.len <= best_len))
            continue;
        best = seq->items[i];
        best_len = name.len;
    }
    if (best == NULL) {
        struct sbuf names;
        sbuf_init(&names, &o->c->pool);
        list_names(seq, &names);
        err_set(o->e, 0,
                "%s: no item of the list at %s is addressed by \"%.*s\"; write ITEM.KEY, the items are: %s",
                o->where, seq->where, (int)path->len, path->base,
                names.text.len ? names.text.base : "(none has a name)");
        return NULL;
    }
    path->base += best_len + 1;
    path->len -= best_len + 1;
    return best;
}

static struct conf_node *make_key(const struct override *o, iov_t name)
{
    struct conf_node *key = conf_tree_node(o->c, CONF_SCALAR, o->where, o->dir);
    key->text = conf_tree_text(o->c, name.base, name.len);
    return key;
}

/* The value of a key, as a section that can be walked into. */
static struct conf_node *enter(const struct override *o, struct conf_node *map, iov_t name)
{
    struct conf_node *key = make_key(o, name);
    const struct conf_node *there = conf_get(map, key->text);
    if (there != NULL && there->kind == CONF_SCALAR) {
        err_set(o->e, 0, "%s: \"%s\" at %s is %s, it has no keys", o->where, key->text, there->where,
                conf_tree_kind_name(there));
        return NULL;
    }
    if (there == NULL)
        conf_tree_set(o->c, map, key, conf_tree_node(o->c, CONF_MAP, o->where, o->dir));
    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(map->keys[i]->text, key->text) == 0)
            return map->items[i];
    }
    return NULL;
}

static bool apply(const struct override *o, iov_t path, const char *value)
{
    struct conf_node *at = o->c->root;
    while (at->kind == CONF_SEQ || memchr(path.base, '.', path.len) != NULL) {
        if (at->kind == CONF_SEQ) {
            at = find_item(o, at, &path);
        } else {
            const char *dot = memchr(path.base, '.', path.len);
            iov_t name = {path.base, (size_t)(dot - path.base)};
            if (name.len == 0)
                return refuse(o, "an empty key in ", path);
            path = (iov_t){name.base + name.len + 1, path.len - name.len - 1};
            at = enter(o, at, name);
        }
        if (at == NULL)
            return false;
    }
    if (path.len == 0)
        return refuse(o, "an empty key in ", iov_of(o->text));
    struct conf_node *node = value_of(o, value);
    if (node == NULL)
        return false;
    conf_tree_set(o->c, at, make_key(o, path), node);
    return true;
}

bool conf_override_apply(struct conf *c, const char *text, const char *dir, struct err *e)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text)
        return err_set(e, 0, "-o %s: an override is KEY.KEY=VALUE",
                       iov_printable(&c->pool, iov_of(text), 100).base);
    iov_t path = {(char *)text, (size_t)(equals - text)};
    struct override o = {.c = c, .text = text, .dir = dir, .e = e};
    o.where = iov_printf(&c->pool, "-o %s", iov_printable(&c->pool, path, 200).base)
                  .base; /* the value may be a secret */
    if (iov_is(path, "include") || iov_starts(path, "include."))
        return err_set(e, 0, "%s: include cannot be overridden, it has been done already", o.where);
    return apply(&o, path, equals + 1);
}

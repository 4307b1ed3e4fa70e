/* SPDX-License-Identifier: Apache-2.0 */
/* A mapping against its rows: each value becomes the member its row names, defaults through the same
 * setters. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf_tree.h"

#define SECRET_MAX_BYTES 65536
#define KEYS_MAX 128

const char CONF_REQUIRED[] = "(required)";

/* One value on its way into its member. */
struct setting {
    struct conf *c;
    const struct conf_key *key;
    const struct conf_node *node;
    void *member;
    struct err *e;
};
#define MEMBER(s, type) ((type *)(s)->member)

/* What the user wrote, fit for a message. Never used for secrets. */
static const char *shown(const struct setting *s)
{
    return iov_printable(&s->c->pool, iov_of(s->node->text), 100).base;
}

/* "file:line: key: what it is, what would be right". */
static bool refuse(const struct setting *s, const char *problem, const char *fix)
{
    return conf_error(s->node, s->e, "%s: %s; %s", s->key->name, problem, fix);
}

static bool refuse_value(const struct setting *s, const char *fix)
{
    return conf_error(s->node, s->e, "%s: \"%s\" is wrong here; %s", s->key->name, shown(s), fix);
}

/* ---- numbers with units ---- */

struct unit {
    const char *name;
    int64_t factor;
};
/* Largest first. */
static const struct unit duration_units[] = {
    {"d", INT64_C(86400000)}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};
static const struct unit size_units[] = {
    {"GiB", INT64_C(1) << 30},
    {"MiB", 1 << 20},
    {"KiB", 1 << 10},
    {"B", 1},
};

/* What kind of number a row holds. */
struct measure {
    const struct unit *units;
    size_t n;
    const char *form;
};
static const struct measure measures[] = {
    [CONF_T_INT] = {NULL, 0, "a whole number such as 42"},
    [CONF_T_DURATION] = {duration_units, COUNTOF(duration_units),
                         "a number with its unit: ms, s, m, h or d, such as 90s"},
    [CONF_T_SIZE] = {size_units, COUNTOF(size_units),
                     "a number with its unit: B, KiB, MiB or GiB, such as 64KiB"},
};

static const char *show_number(pool_t *pool, const struct measure *m, int64_t value)
{
    for (size_t i = 0; i < m->n && value != 0; i++) {
        if (value % m->units[i].factor == 0)
            return iov_printf(pool, "%" PRId64 "%s", value / m->units[i].factor, m->units[i].name).base;
    }
    return iov_printf(pool, "%" PRId64, value).base;
}

static bool parse_number(const struct measure *m, iov_t text, int64_t *out)
{
    bool negative = m->n == 0 && text.len > 0 && text.base[0] == '-';
    size_t from = negative, to = from;
    uint64_t digits, factor = 1;
    while (to < text.len && text.base[to] >= '0' && text.base[to] <= '9')
        to++;
    if (!iov_to_u64((iov_t){text.base + from, to - from}, &digits))
        return false;
    iov_t unit = {text.base + to, text.len - to};
    if (m->n == 0 ? unit.len > 0 : (unit.len == 0 && digits != 0))
        return false;
    bool known = unit.len == 0;
    for (size_t i = 0; i < m->n && !known; i++) {
        known = iov_is(unit, m->units[i].name);
        factor = (uint64_t)m->units[i].factor;
    }
    if (!known || digits > INT64_MAX / factor)
        return false;
    *out = negative ? -(int64_t)(digits * factor) : (int64_t)(digits * factor);
    return true;
}

static bool set_number(const struct setting *s)
{
    const struct measure *m = &measures[s->key->type];
    const struct conf_key *k = s->key;
    pool_t *pool = &s->c->pool;
    int64_t value;
    if (!parse_number(m, iov_of(s->node->text), &value))
        return refuse_value(s, iov_printf(pool, "write %s", m->form).base);
    if ((k->min != 0 || k->max != 0) && (value < k->min || value > k->max))
        return refuse_value(s, iov_printf(pool, "it must lie between %s and %s", show_number(pool, m, k->min),
                                          show_number(pool, m, k->max))
                                   .base);
    *MEMBER(s, int64_t) = value;
    return true;
}

/* ---- the other types ---- */

static bool set_str(const struct setting *s)
{
    *MEMBER(s, const char *) = s->node->text;
    return true;
}

static bool set_bool(const struct setting *s)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"}; /* odd ones are true */
    for (size_t i = 0; i < COUNTOF(words); i++) {
        if (iov_ieq(iov_of(s->node->text), iov_of(words[i]))) {
            *MEMBER(s, bool) = i % 2;
            return true;
        }
    }
    return refuse_value(s, "write true or false");
}

static size_t count(const char *const *words)
{
    size_t n = 0;
    while (words[n] != NULL)
        n++;
    return n;
}

/* "a, b, c" */
static const char *join(pool_t *pool, const char *const *words, size_t n)
{
    struct sbuf b;
    sbuf_init(&b, pool);
    for (size_t i = 0; i < n; i++)
        sbuf_printf(&b, "%s%s", i ? ", " : "", words[i]);
    return b.text.base;
}

static bool set_enum(const struct setting *s)
{
    const char *const *choices = s->key->choices;
    size_t n = count(choices);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(s->node->text, choices[i]) == 0) {
            *MEMBER(s, int) = (int)i;
            return true;
        }
    }
    const char *near = conf_suggest(s->node->text, choices, n);
    return refuse_value(s, iov_printf(&s->c->pool, "%s%s%swrite one of: %s", near ? "did you mean \"" : "",
                                      near ? near : "", near ? "\"? " : "", join(&s->c->pool, choices, n))
                               .base);
}

static bool set_list(const struct setting *s)
{
    struct conf_list *list = MEMBER(s, struct conf_list);
    size_t n = s->node->kind == CONF_SEQ ? s->node->n : 1;
    list->v = POOL_NEW(&s->c->pool, const char *, n + 1);
    list->n = 0;
    for (size_t i = 0; i < n; i++) {
        const struct conf_node *item = s->node->kind == CONF_SEQ ? s->node->items[i] : s->node;
        if (item->kind != CONF_SCALAR)
            return conf_error(item, s->e, "%s: item %zu of the list is %s; write a list of single values",
                              s->key->name, i + 1, conf_tree_kind_name(item));
        list->v[list->n++] = item->text;
    }
    return true;
}

static const char *resolve(const struct setting *s, const char *path)
{
    return path[0] == '/' ? path : iov_printf(&s->c->pool, "%s%s", s->node->dir, path).base;
}

static int open_file(const struct setting *s, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    bool is_file = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (is_file)
        return fd;
    const char *why = fd < 0 ? strerror(errno) : "it is not a file";
    if (fd >= 0)
        close(fd);
    refuse(s, iov_printf(&s->c->pool, "the file %s cannot be read: %s", path, why).base,
           "relative paths start from the folder of the file that names them");
    return -1;
}

static bool set_file(const struct setting *s)
{
    if (s->node->text[0] == '\0')
        return refuse(s, "is empty", "write the path of a file");
    const char *path = resolve(s, s->node->text);
    int fd = open_file(s, path);
    if (fd < 0)
        return false;
    close(fd);
    *MEMBER(s, const char *) = path;
    return true;
}

static bool set_files(const struct setting *s)
{
    struct conf_list *list = MEMBER(s, struct conf_list);
    if (!set_list(s))
        return false;
    for (size_t i = 0; i < list->n; i++) {
        struct setting one = *s;
        one.node = s->node->kind == CONF_SEQ ? s->node->items[i] : s->node;
        one.member = &list->v[i];
        if (!set_file(&one))
            return false;
    }
    return true;
}

static bool keep_secret(const struct setting *s, iov_t bytes)
{
    if (bytes.len == 0)
        return refuse(s, "the secret is empty", "leave the key out if there is none");
    if (memchr(bytes.base, '\0', bytes.len) != NULL)
        return refuse(s, "the secret holds a NUL byte", "it must be text");
    *MEMBER(s, struct conf_secret) = (struct conf_secret){conf_tree_text(s->c, bytes.base, bytes.len),
                                                          bytes.len};
    return true;
}

static bool set_secret_file(const struct setting *s, const char *path)
{
    iov_t bytes;
    int fd = open_file(s, resolve(s, path));
    if (fd < 0)
        return false;
    struct err why = ERR_INIT;
    bool ok = conf_tree_read_file(path, fd, SECRET_MAX_BYTES, &bytes, &why);
    close(fd);
    if (!ok)
        return refuse(s, why.detail, "write file:PATH of a short text file");
    iov_t text = bytes;
    if (iov_ends(text, "\n"))
        text.len -= iov_ends(text, "\r\n") ? 2 : 1;
    ok = keep_secret(s, text);
    conf_tree_wipe(&bytes);
    return ok;
}

static bool set_secret(const struct setting *s)
{
    iov_t text = iov_of(s->node->text);
    if (iov_starts(text, "file:"))
        return set_secret_file(s, s->node->text + strlen("file:"));
    if (!iov_starts(text, "env:"))
        return keep_secret(s, text);
    const char *name = s->node->text + strlen("env:"), *value = getenv(name);
    if (value == NULL || value[0] == '\0')
        return refuse(s, iov_printf(&s->c->pool, "the environment variable %s is not set", name).base,
                      "set it, or write the secret or file:PATH");
    return keep_secret(s, iov_of(value));
}

static bool set_node(const struct setting *s)
{
    *MEMBER(s, const struct conf_node *) = s->node;
    return true;
}

static const struct {
    bool (*set)(const struct setting *s);
    size_t size;
} types[] = {
    [CONF_T_STR] = {set_str, sizeof(const char *)},
    [CONF_T_BOOL] = {set_bool, sizeof(bool)},
    [CONF_T_INT] = {set_number, sizeof(int64_t)},
    [CONF_T_DURATION] = {set_number, sizeof(int64_t)},
    [CONF_T_SIZE] = {set_number, sizeof(int64_t)},
    [CONF_T_LIST] = {set_list, sizeof(struct conf_list)},
    [CONF_T_ENUM] = {set_enum, sizeof(int)},
    [CONF_T_SECRET] = {set_secret, sizeof(struct conf_secret)},
    [CONF_T_FILE] = {set_file, sizeof(const char *)},
    [CONF_T_FILES] = {set_files, sizeof(struct conf_list)},
    [CONF_T_NODE] = {set_node, sizeof(const struct conf_node *)},
};

static bool is_list(const struct conf_key *k)
{
    return k->type == CONF_T_LIST || k->type == CONF_T_FILES;
}

static bool set(const struct setting *s)
{
    bool shape_ok = s->key->type == CONF_T_NODE || s->node->kind == CONF_SCALAR ||
                    (is_list(s->key) && s->node->kind == CONF_SEQ);
    if (!shape_ok)
        return conf_error(s->node, s->e, "%s: here is %s; write %s", s->key->name,
                          conf_tree_kind_name(s->node),
                          is_list(s->key) ? "a list of values" : "a single value");
    return types[s->key->type].set(s);
}

/* ---- the mapping ---- */

/* A default as a node, so that it passes the same setter; "a, b" is a list. */
static struct conf_node *default_node(struct conf *c, const struct conf_node *map, const struct conf_key *k)
{
    const char *dir = map ? map->dir : c->root->dir, *where = map ? map->where : c->name;
    struct conf_node *n = conf_tree_node(c, is_list(k) ? CONF_SEQ : CONF_SCALAR, where, dir);
    n->text = k->def;
    for (const char *p = k->def; is_list(k) && *p != '\0';) {
        struct conf_node *item = conf_tree_node(c, CONF_SCALAR, where, dir);
        size_t len = strcspn(p, ",");
        item->text = iov_dup(&c->pool, (iov_t){(char *)p, len}).base;
        conf_tree_append(c, n, item);
        p += len;
        p += strspn(p, ", ");
    }
    return n;
}

static bool read_key(struct conf *c, const struct conf_node *map, const struct conf_key *k, void *target,
                     struct err *e)
{
    struct setting s = {
        .c = c, .key = k, .node = conf_get(map, k->name), .member = (char *)target + k->offset, .e = e};
    memset(s.member, 0, types[k->type].size);
    if (s.node != NULL)
        return set(&s);
    if (k->def == CONF_REQUIRED)
        return err_set(e, 0, "%s: the key \"%s\" is missing%s%s", map ? map->where : c->name, k->name,
                       k->help ? ": " : "", k->help ? k->help : "");
    if (k->def == NULL)
        return true;
    s.node = default_node(c, map, k);
    return set(&s);
}

static bool check_unknown(struct conf *c, const struct conf_node *map, const struct conf_key *keys,
                          struct err *e)
{
    const char *names[KEYS_MAX];
    size_t n = 0;
    for (; keys[n].name != NULL && n < KEYS_MAX; n++)
        names[n] = keys[n].name;
    for (size_t i = 0; map != NULL && i < map->n; i++) {
        const char *key = map->keys[i]->text, *near;
        bool known = false;
        for (size_t j = 0; j < n && !known; j++)
            known = strcmp(names[j], key) == 0;
        if (known)
            continue;
        near = conf_suggest(key, names, n);
        return conf_error(map->keys[i], e, "unknown key \"%s\"%s%s%s; the keys here are: %s",
                          iov_printable(&c->pool, iov_of(key), 100).base, near ? ", did you mean \"" : "",
                          near ? near : "", near ? "\"?" : "", join(&c->pool, names, n));
    }
    return true;
}

bool conf_read(struct conf *c, const struct conf_node *map, const struct conf_key *keys, void *target,
               struct err *e)
{
    if (map != NULL && map->kind != CONF_MAP) {
        const char *names[3] = {NULL, NULL, NULL};
        size_t n = 0;
        for (; n < COUNTOF(names) && keys[n].name != NULL; n++)
            names[n] = keys[n].name;
        return conf_error(map, e, "here is %s; write a mapping with keys such as %s",
                          conf_tree_kind_name(map), join(&c->pool, names, n));
    }
    if (!check_unknown(c, map, keys, e))
        return false;
    for (const struct conf_key *k = keys; k->name != NULL; k++) {
        if (!read_key(c, map, k, target, e))
            return false;
    }
    return true;
}

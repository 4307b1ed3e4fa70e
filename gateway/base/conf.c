/* SPDX-License-Identifier: Apache-2.0 */
/* Loading: a file, the fragments it includes, then the overrides of the command line. Reading the result
 * against rows is conf_value.c. */
#include "base/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf_tree.h"

#define FILE_MAX_BYTES (1 << 20)
#define FILES_MAX 256

/* ---- places in the tree ---- */

const struct conf_node *conf_root(const struct conf *c)
{
    return c->root;
}

const struct conf_node *conf_get(const struct conf_node *map, const char *key)
{
    for (size_t i = 0; map != NULL && map->kind == CONF_MAP && i < map->n; i++) {
        if (strcmp(map->keys[i]->text, key) == 0)
            return map->items[i]->kind == CONF_NULL ? NULL : map->items[i];
    }
    return NULL;
}

size_t conf_count(const struct conf_node *seq)
{
    return seq != NULL && seq->kind == CONF_SEQ ? seq->n : 0;
}

const struct conf_node *conf_item(const struct conf_node *seq, size_t i)
{
    return i < conf_count(seq) ? seq->items[i] : NULL;
}

const char *conf_text(const struct conf_node *n)
{
    return n != NULL && n->kind == CONF_SCALAR ? n->text : NULL;
}

bool conf_same(const struct conf_node *a, const struct conf_node *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    bool same = a->kind == b->kind && a->n == b->n;
    if (same && a->kind == CONF_SCALAR)
        return strcmp(a->text, b->text) == 0;
    for (size_t i = 0; same && i < a->n; i++)
        same = (a->kind != CONF_MAP || conf_same(a->keys[i], b->keys[i])) &&
               conf_same(a->items[i], b->items[i]);
    return same;
}

const char *conf_where(const struct conf_node *n)
{
    return n == NULL ? "configuration" : n->where;
}

bool conf_error(const struct conf_node *n, struct err *e, const char *fmt, ...)
{
    char text[sizeof(e->detail)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return err_set(e, 0, "%s: %s", conf_where(n), text);
}

/* ---- files ---- */

struct loading {
    struct conf *c;
    struct err *e;
    struct loaded {
        dev_t dev;
        ino_t ino;
        bool done;
    } files[FILES_MAX]; /* !done: being read right now */
    size_t n_files;
};

static bool read_all(int fd, iov_t *bytes)
{
    size_t n = 0;
    for (ssize_t got; n < bytes->len && (got = read(fd, bytes->base + n, bytes->len - n)) != 0;) {
        if (got < 0 && errno != EINTR)
            return false;
        n += got > 0 ? (size_t)got : 0;
    }
    bytes->len = n;
    return true;
}

bool conf_tree_read_file(const char *path, int fd, size_t max_bytes, iov_t *out, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(e, 0, "%s: cannot be read: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(e, 0, "%s: is not a file", path);
    if ((uintmax_t)st.st_size > max_bytes)
        return err_set(e, 0, "%s: has %jd bytes, at most %zu are read", path, (intmax_t)st.st_size,
                       max_bytes);
    *out = (iov_t){base_zalloc((size_t)st.st_size + 1), (size_t)st.st_size};
    if (read_all(fd, out))
        return true;
    err_set(e, 0, "%s: cannot be read: %s", path, strerror(errno));
    conf_tree_wipe(out);
    return false;
}

void conf_tree_wipe(iov_t *bytes)
{
    if (bytes->base != NULL)
        explicit_bzero(bytes->base, bytes->len);
    free(bytes->base);
    *bytes = IOV_NULL;
}

/* The file's place in files[]; FILE_SEEN when it was read before (two patterns match it). */
enum { FILE_REFUSED = -1, FILE_SEEN = -2 };
static int note_file(struct loading *l, const char *path, int fd)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        err_set(l->e, 0, "%s: cannot be opened: %s", path, strerror(errno));
        return FILE_REFUSED;
    }
    for (size_t i = 0; i < l->n_files; i++) {
        if (l->files[i].dev != st.st_dev || l->files[i].ino != st.st_ino)
            continue;
        if (l->files[i].done)
            return FILE_SEEN;
        err_set(l->e, 0, "%s: is included by itself", path);
        return FILE_REFUSED;
    }
    if (l->n_files == FILES_MAX) {
        err_set(l->e, 0, "%s: more than %d files are included", path, FILES_MAX);
        return FILE_REFUSED;
    }
    l->files[l->n_files] = (struct loaded){.dev = st.st_dev, .ino = st.st_ino};
    return (int)l->n_files++;
}

/* "/etc/portico/" of "/etc/portico/x.yaml"; absolute, so that a later chdir changes nothing. */
static const char *dir_of(struct conf *c, const char *path)
{
    char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);
    const char *slash = strrchr(path, '/');
    const char *dir = iov_printf(&c->pool, "%s%s%.*s", cwd ? cwd : "", cwd ? "/" : "",
                                 slash ? (int)(slash - path + 1) : 0, path)
                          .base;
    free(cwd);
    return dir;
}

static struct conf_node *parse(struct conf *c, const struct conf_source *src, struct err *e)
{
    struct conf_node *root = conf_tree_parse(c, src, e);
    if (root == NULL)
        return NULL;
    if (root->kind == CONF_NULL)
        root->kind = CONF_MAP; /* an empty file has no keys */
    if (root->kind == CONF_MAP)
        return root;
    conf_error(root, e, "a configuration is a mapping of keys (\"key: value\"), this is %s",
               conf_tree_kind_name(root));
    return NULL;
}

static struct conf_node *parse_file(struct loading *l, const char *path, int fd)
{
    iov_t text;
    if (!conf_tree_read_file(path, fd, FILE_MAX_BYTES, &text, l->e))
        return NULL;
    struct conf_node *root = parse(
        l->c, &(struct conf_source){.text = text, .name = path, .dir = dir_of(l->c, path)}, l->e);
    conf_tree_wipe(&text);
    return root;
}

/* ---- fragments ---- */

static bool include_all(struct loading *l, struct conf_node **file);

/* A NULL node when the file was read before; NULL and l->e on an error. */
static struct conf_node *load_file(struct loading *l, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO shall not hang us */
    int at = note_file(l, path, fd);
    struct conf_node *root = at < 0 ? NULL : parse_file(l, path, fd);
    if (fd >= 0)
        close(fd);
    if (at == FILE_SEEN)
        return conf_tree_node(l->c, CONF_NULL, path, "");
    if (root == NULL || !include_all(l, &root))
        return NULL;
    l->files[at].done = true;
    return root;
}

/* glob(3) for `include`. The folder's own name may hold what a pattern would. */
static const char *glob_pattern(struct conf *c, const struct conf_node *item)
{
    struct sbuf b;
    sbuf_init(&b, &c->pool);
    for (const char *p = item->text[0] == '/' ? "" : item->dir; *p != '\0'; p++)
        sbuf_printf(&b, "%s%c", strchr("*?[]\\", *p) ? "\\" : "", *p);
    sbuf_puts(&b, item->text);
    return b.text.base;
}

static _Thread_local int glob_errno;
static int on_glob_error(const char *path, int error)
{
    (void)path;
    glob_errno = error;
    return error != ENOENT && error != ENOTDIR; /* a folder that is not there holds no fragments */
}

static bool include_matches(struct loading *l, const glob_t *found, struct conf_node **acc)
{
    for (size_t i = 0; i < found->gl_pathc; i++) {
        struct conf_node *fragment = load_file(l, iov_dup(&l->c->pool, iov_of(found->gl_pathv[i])).base);
        if (fragment == NULL || (*acc = conf_tree_merge(l->c, *acc, fragment, l->e)) == NULL)
            return false;
    }
    return true;
}

static bool include_glob(struct loading *l, const struct conf_node *item, struct conf_node **acc)
{
    if (item->kind != CONF_SCALAR)
        return conf_error(item, l->e, "include is a list of file names and patterns, this is %s",
                          conf_tree_kind_name(item));
    glob_t found;
    int rc = glob(glob_pattern(l->c, item), 0, on_glob_error, &found);
    if (rc == GLOB_NOMATCH)
        return strpbrk(item->text, "*?[") != NULL ||
               conf_error(item, l->e, "the file %s does not exist", item->text);
    if (rc != 0)
        return conf_error(item, l->e, "%s cannot be looked up: %s", item->text, strerror(glob_errno));
    bool ok = include_matches(l, &found, acc);
    globfree(&found);
    return ok;
}

/* Fragments lie under the file: a later one over an earlier one, the file over all. */
static bool include_all(struct loading *l, struct conf_node **file)
{
    struct conf_node *list = conf_tree_take(*file, "include");
    struct conf_node *acc = conf_tree_node(l->c, CONF_NULL, (*file)->where, (*file)->dir);
    if (list == NULL || list->kind == CONF_NULL)
        return true;
    if (list->kind != CONF_SEQ && !include_glob(l, list, &acc))
        return false;
    for (size_t i = 0; i < conf_count(list); i++) {
        if (!include_glob(l, list->items[i], &acc))
            return false;
    }
    *file = conf_tree_merge(l->c, acc, *file, l->e);
    return *file != NULL;
}

/* ---- a configuration ---- */

static struct conf *conf_new(const char *name)
{
    struct conf *c = base_zalloc(sizeof(*c));
    h2o_mem_init_pool(&c->pool);
    c->name = iov_dup(&c->pool, iov_of(name)).base;
    return c;
}

void conf_free(struct conf *c)
{
    if (c == NULL)
        return;
    for (struct conf_text *t = c->texts, *next; t != NULL; t = next) {
        next = t->next;
        explicit_bzero(t->text, t->len);
        free(t);
    }
    h2o_mem_clear_pool(&c->pool);
    free(c);
}

struct conf *conf_load(const char *path, const char *const *overrides, size_t n_overrides, struct err *e)
{
    struct conf *c = conf_new(path);
    struct loading *l = base_zalloc(sizeof(*l));
    *l = (struct loading){.c = c, .e = e};
    c->root = load_file(l, c->name);
    free(l);
    bool ok = c->root != NULL;
    for (size_t i = 0; ok && i < n_overrides; i++)
        ok = conf_override_apply(c, overrides[i], dir_of(c, ""), e);
    if (ok)
        return c;
    conf_free(c);
    return NULL;
}

struct conf *conf_parse(iov_t text, const char *name, struct err *e)
{
    struct conf *c = conf_new(name);
    c->root = parse(c, &(struct conf_source){.text = text, .name = c->name, .dir = dir_of(c, "")}, e);
    const struct conf_node *include = c->root ? conf_get(c->root, "include") : NULL;
    if (c->root != NULL && include == NULL)
        return c;
    if (include != NULL)
        conf_error(include, e, "include works in a file only");
    conf_free(c);
    return NULL;
}

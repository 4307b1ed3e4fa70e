/* SPDX-License-Identifier: Apache-2.0 */
/* msgpack-c behind strict rules. The library allocates what a container's header announces before it sees the members,
 * so the shape of a message is walked here first: every count is checked against the bytes that are left. */
#include "io/pack.h"

#include <assert.h>
#include <msgpack.h>
#include <stdlib.h>

#define DEPTH_MAX 8
#define PAIRS_MAX 256
#define BYTES_MAX (64u << 20)

struct pack {
    msgpack_sbuffer out;
    msgpack_packer packer;
    unsigned left;
};

struct pack *pack_new(unsigned n_pairs)
{
    struct pack *p = base_zalloc(sizeof(*p));
    msgpack_sbuffer_init(&p->out);
    msgpack_packer_init(&p->packer, &p->out, msgpack_sbuffer_write);
    p->left = n_pairs;
    msgpack_pack_map(&p->packer, n_pairs);
    return p;
}

static void put_key(struct pack *p, const char *key)
{
    assert(p->left > 0);
    p->left--;
    msgpack_pack_str_with_body(&p->packer, key, strlen(key));
}

void pack_str(struct pack *p, const char *key, iov_t value)
{
    put_key(p, key);
    msgpack_pack_str_with_body(&p->packer, value.base, value.len);
}

void pack_bin(struct pack *p, const char *key, iov_t value)
{
    put_key(p, key);
    msgpack_pack_bin_with_body(&p->packer, value.base, value.len);
}

void pack_int(struct pack *p, const char *key, int64_t value)
{
    put_key(p, key);
    msgpack_pack_int64(&p->packer, value);
}

void pack_bool(struct pack *p, const char *key, bool value)
{
    put_key(p, key);
    if (value)
        msgpack_pack_true(&p->packer);
    else
        msgpack_pack_false(&p->packer);
}

void pack_strs(struct pack *p, const char *key, const struct iovs *list)
{
    put_key(p, key);
    msgpack_pack_array(&p->packer, list->n);
    for (size_t i = 0; i < list->n; i++)
        msgpack_pack_str_with_body(&p->packer, list->v[i].base, list->v[i].len);
}

iov_t pack_finish(struct pack *p, pool_t *pool)
{
    assert(p->left == 0 && p->out.data != NULL);
    iov_t bytes = iov_dup(pool, (iov_t){p->out.data, p->out.size});
    explicit_bzero(p->out.data, p->out.size); /* may hold a passphrase */
    msgpack_sbuffer_destroy(&p->out);
    free(p);
    return bytes;
}

/* ---- reading ---- */

struct unpack {
    msgpack_unpacked result;
    msgpack_object_map map;
};

struct cursor {
    const uint8_t *p, *end;
};

static bool take_count(struct cursor *c, size_t bytes, size_t *out)
{
    if ((size_t)(c->end - c->p) < bytes)
        return false;
    for (*out = 0; bytes > 0; bytes--)
        *out = *out << 8 | *c->p++;
    return true;
}

static bool skip_bytes(struct cursor *c, size_t n)
{
    if ((size_t)(c->end - c->p) < n)
        return false;
    c->p += n;
    return true;
}

static bool skip_value(struct cursor *c, unsigned depth);

static bool skip_values(struct cursor *c, size_t n, unsigned depth)
{
    if (depth == DEPTH_MAX || (size_t)(c->end - c->p) < n) /* a value takes at least a byte */
        return false;
    for (; n > 0; n--) {
        if (!skip_value(c, depth + 1))
            return false;
    }
    return true;
}

/* str, bin and array, map with a length field of that many bytes. */
static bool skip_counted(struct cursor *c, size_t field, size_t per_item, unsigned depth)
{
    size_t n;
    if (!take_count(c, field, &n))
        return false;
    return per_item == 0 ? skip_bytes(c, n) : skip_values(c, n * per_item, depth);
}

/* Extension types are not part of our vocabulary. */
static bool skip_value(struct cursor *c, unsigned depth)
{
    static const uint8_t scalar_bytes[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8}; /* 0xca float32 .. 0xd3 int64 */
    if (c->p == c->end)
        return false;
    uint8_t b = *c->p++;
    if (b < 0x80 || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3)
        return true;
    if (b < 0x90)
        return skip_values(c, 2 * (b & 0x0fu), depth);
    if (b < 0xa0)
        return skip_values(c, b & 0x0f, depth);
    if (b < 0xc0)
        return skip_bytes(c, b & 0x1f);
    if (b >= 0xca && b <= 0xd3)
        return skip_bytes(c, scalar_bytes[b - 0xca]);
    switch (b) {
    case 0xc4:
    case 0xd9:
        return skip_counted(c, 1, 0, depth);
    case 0xc5:
    case 0xda:
        return skip_counted(c, 2, 0, depth);
    case 0xc6:
    case 0xdb:
        return skip_counted(c, 4, 0, depth);
    case 0xdc:
        return skip_counted(c, 2, 1, depth);
    case 0xdd:
        return skip_counted(c, 4, 1, depth);
    case 0xde:
        return skip_counted(c, 2, 2, depth);
    case 0xdf:
        return skip_counted(c, 4, 2, depth);
    default:
        return false;
    }
}

static bool key_is(const msgpack_object *o, const char *key)
{
    return o->type == MSGPACK_OBJECT_STR && iov_is((iov_t){(char *)o->via.str.ptr, o->via.str.size}, key);
}

static bool keys_ok(const msgpack_object_map *map)
{
    if (map->size > PAIRS_MAX)
        return false;
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object *key = &map->ptr[i].key;
        if (key->type != MSGPACK_OBJECT_STR)
            return false;
        for (uint32_t k = 0; k < i; k++) {
            const msgpack_object_str *seen = &map->ptr[k].key.via.str;
            if (seen->size == key->via.str.size && memcmp(seen->ptr, key->via.str.ptr, seen->size) == 0)
                return false;
        }
    }
    return true;
}

struct unpack *unpack_new(iov_t bytes, struct err *e)
{
    const uint8_t *begin = (const uint8_t *)bytes.base;
    struct cursor c = {begin, begin + bytes.len};
    if (bytes.len > BYTES_MAX || !skip_value(&c, 0) || c.p != c.end) {
        err_set(e, 0, "not one whole msgpack value");
        return NULL;
    }
    struct unpack *u = base_zalloc(sizeof(*u));
    size_t off = 0;
    msgpack_unpacked_init(&u->result);
    if (msgpack_unpack_next(&u->result, bytes.base, bytes.len, &off) != MSGPACK_UNPACK_SUCCESS ||
        off != bytes.len || u->result.data.type != MSGPACK_OBJECT_MAP || !keys_ok(&u->result.data.via.map)) {
        unpack_free(u);
        err_set(e, 0, "not a msgpack map with distinct string keys");
        return NULL;
    }
    u->map = u->result.data.via.map;
    return u;
}

void unpack_free(struct unpack *u)
{
    if (u == NULL)
        return;
    msgpack_unpacked_destroy(&u->result);
    free(u);
}

static const msgpack_object *find(const struct unpack *u, const char *key)
{
    for (uint32_t i = 0; i < u->map.size; i++) {
        if (key_is(&u->map.ptr[i].key, key))
            return &u->map.ptr[i].val;
    }
    return NULL;
}

/* An empty string's pointer need not point anywhere; ours must not be NULL. */
static iov_t view(const char *p, size_t len)
{
    return len == 0 ? IOV("") : (iov_t){(char *)p, len};
}

static iov_t object_bytes(const msgpack_object *o)
{
    if (o != NULL && o->type == MSGPACK_OBJECT_STR)
        return view(o->via.str.ptr, o->via.str.size);
    if (o != NULL && o->type == MSGPACK_OBJECT_BIN)
        return view(o->via.bin.ptr, o->via.bin.size);
    return IOV_NULL;
}

iov_t unpack_bytes(const struct unpack *u, const char *key)
{
    return object_bytes(find(u, key));
}

bool unpack_int(const struct unpack *u, const char *key, int64_t *out)
{
    const msgpack_object *o = find(u, key);
    if (o == NULL)
        return false;
    if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 <= INT64_MAX)
        *out = (int64_t)o->via.u64;
    else if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *out = o->via.i64;
    else
        return false;
    return true;
}

bool unpack_bool(const struct unpack *u, const char *key)
{
    const msgpack_object *o = find(u, key);
    return o != NULL && o->type == MSGPACK_OBJECT_BOOLEAN && o->via.boolean;
}

struct iovs unpack_strs(const struct unpack *u, pool_t *pool, const char *key)
{
    struct iovs list = {0};
    const msgpack_object *o = find(u, key);
    if (o == NULL || o->type != MSGPACK_OBJECT_ARRAY)
        return list;
    for (uint32_t i = 0; i < o->via.array.size; i++) {
        iov_t s = object_bytes(&o->via.array.ptr[i]);
        if (s.base != NULL)
            iovs_add(pool, &list, s);
    }
    return list;
}

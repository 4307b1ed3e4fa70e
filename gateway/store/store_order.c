/* SPDX-License-Identifier: Apache-2.0 */
/* Order and authorization rows; the units of newOrder and newAuthz. */
#include "store/store_order.h"
#include <assert.h>
#include "schema/statements.h"

iov_t store_ident_text(pool_t *pool, const struct ident *id, enum store_ident_form form)
{
    iov_t value = form == STORE_IDENT_BASE ? ident_base(id) : id->value;
    return iov_printf(pool, "%s:%.*s", ident_type_name(id->type), (int)value.len, value.base);
}

struct ident store_ident_of(iov_t text)
{
    bool ip = iov_starts(text, "ip:");
    size_t skip = ip ? 3 : 4; /* "ip:" or "dns:" */
    if (text.len < skip)
        return (struct ident){.type = IDENT_DNS, .value = IOV("")};
    return (struct ident){.type = ip ? IDENT_IP : IDENT_DNS, .value = {text.base + skip, text.len - skip}};
}

/* Challenges prepared for every authorization of an order; those that are reused get none. */
struct challenge_rows {
    struct iovs authz, types, tokens;
    struct ints positions;
    int64_t *position;
    const struct iovs *random;
    size_t used; /* of random */
};

static iov_t take(struct challenge_rows *c)
{
    assert(c->used < c->random->n);
    return c->random->v[c->used++];
}

static void challenge_rows_init(struct challenge_rows *c, pool_t *pool, const struct iovs *random)
{
    *c = (struct challenge_rows){.position = POOL_NEW(pool, int64_t, random->n ? random->n : 1), .random = random};
    c->positions.v = c->position;
}

static void challenge_rows_add(struct challenge_rows *c, pool_t *pool, iov_t authz, const struct ident *id,
                               const struct iovs *types)
{
    for (size_t i = 0; i < types->n; i++) {
        if (ident_is_wildcard(id) && !iov_is(types->v[i], "dns-01"))
            continue; /* RFC 8555 8.4: only DNS proves a wildcard */
        if (id->type == IDENT_IP && iov_is(types->v[i], "dns-01"))
            continue; /* RFC 8738 section 7 */
        iovs_add(pool, &c->authz, authz);
        iovs_add(pool, &c->types, types->v[i]);
        iovs_add(pool, &c->tokens, take(c));
        c->position[c->positions.n++] = (int64_t)i;
    }
}

size_t store_order_random(size_t n_idents, size_t n_types)
{
    return n_idents * (1 + n_types);
}

unsigned store_order_new(struct db_unit *u, struct task *t, const struct store_new_order *n, const struct store_actor *a)
{
    pool_t *pool = &t->pool;
    const struct acme_order *o = &n->order;
    struct iovs ids = {0}, bases = {0}, idents = {0};
    int64_t *wild = POOL_NEW(pool, int64_t, o->n_idents);
    struct challenge_rows c;
    challenge_rows_init(&c, pool, &n->random);
    for (size_t i = 0; i < o->n_idents; i++) {
        iov_t id = take(&c);
        iovs_add(pool, &ids, id);
        iovs_add(pool, &bases, store_ident_text(pool, &o->idents[i], STORE_IDENT_BASE));
        iovs_add(pool, &idents, store_ident_text(pool, &o->idents[i], STORE_IDENT_FULL));
        wild[i] = ident_is_wildcard(&o->idents[i]);
        challenge_rows_add(&c, pool, id, &o->idents[i], &n->types);
    }
    struct ints wilds = {wild, o->n_idents};
    q_order_claim(u, o->account_id, o->profile, n->names, n->reuse_pending, o->id);
    q_order_link_valid(u, o->id, o->account_id, o->directory, bases, wilds, n->methods);
    q_order_new_authz(u, o->id, o->account_id, o->directory, ids, bases, wilds, n->authz_ttl_s);
    q_challenge_new(u, c.authz, c.types, c.positions, c.tokens);
    q_order_insert(u, o->id, o->account_id, o->directory, o->profile, idents, n->names, o->not_before, o->not_after,
                   n->backends, n->route, o->replaces, n->order_ttl_s);
    q_event_claimed(u, a->gateway, a->request_id, a->account_id, IOV("order"), o->id, IOV("new"), n->route);
    return q_order_read(u, IOV_NULL);
}

unsigned store_order_read(struct db_unit *u, iov_t id)
{
    return q_order_read(u, id);
}

bool store_order_decode(struct task *t, const struct db_unit *u, unsigned stmt, struct acme_order *out)
{
    *out = (struct acme_order){0};
    if (db_rows(u, stmt) == 0)
        return false;
    out->id = db_get(u, stmt, 0, COL_order_read_id);
    out->account_id = db_get(u, stmt, 0, COL_order_read_account_id);
    out->directory = db_get(u, stmt, 0, COL_order_read_directory);
    out->profile = db_get(u, stmt, 0, COL_order_read_profile);
    if (!acme_status_parse(db_get(u, stmt, 0, COL_order_read_status), &out->status))
        out->status = ST_INVALID;
    out->expires_at = db_get_int(u, stmt, 0, COL_order_read_expires_at);
    out->created_at = db_get_int(u, stmt, 0, COL_order_read_created_at);
    out->not_before = db_get_int(u, stmt, 0, COL_order_read_not_before);
    out->not_after = db_get_int(u, stmt, 0, COL_order_read_not_after);
    struct iovs idents = db_get_texts(u, stmt, 0, COL_order_read_idents);
    out->idents = POOL_NEW(&t->pool, struct ident, idents.n);
    out->n_idents = idents.n;
    for (size_t i = 0; i < idents.n; i++)
        out->idents[i] = store_ident_of(idents.v[i]);
    out->authz_ids = db_get_texts(u, stmt, 0, COL_order_read_authz_ids);
    out->error = db_get(u, stmt, 0, COL_order_read_error);
    out->certificate_id = db_get(u, stmt, 0, COL_order_read_certificate_id);
    out->csr_sha256 = db_get_bytea(u, stmt, 0, COL_order_read_csr_sha256);
    out->replaces = db_get(u, stmt, 0, COL_order_read_replaces);
    out->retry_after_s = (unsigned)db_get_int(u, stmt, 0, COL_order_read_retry_after_s);
    return true;
}

iov_t store_order_issuance(const struct db_unit *u, unsigned stmt)
{
    return db_rows(u, stmt) ? db_get(u, stmt, 0, COL_order_read_issuance_id) : IOV_NULL;
}

iov_t store_order_backend(const struct db_unit *u, unsigned stmt)
{
    return db_rows(u, stmt) ? db_get(u, stmt, 0, COL_order_read_backend) : IOV_NULL;
}

unsigned store_authz_new(struct db_unit *u, struct task *t, const struct store_new_authz *n, const struct store_actor *a,
                         unsigned *claim_out)
{
    struct challenge_rows c;
    challenge_rows_init(&c, &t->pool, &n->random);
    challenge_rows_add(&c, &t->pool, n->id, &n->ident, &n->types);
    iov_t base = store_ident_text(&t->pool, &n->ident, STORE_IDENT_BASE);
    *claim_out = q_authz_claim(u, n->account_id, n->directory, base, n->want, n->methods, n->id);
    q_authz_insert(u, n->id, n->account_id, n->directory, base, n->ttl_s);
    q_challenge_new(u, c.authz, c.types, c.positions, c.tokens);
    q_event_claimed(u, a->gateway, a->request_id, a->account_id, IOV("authz"), n->id, IOV("new"), base);
    return q_authz_read(u, IOV_NULL);
}

unsigned store_authz_read(struct db_unit *u, iov_t id)
{
    return q_authz_read(u, id);
}

bool store_authz_decode(struct task *t, const struct db_unit *u, unsigned stmt, struct acme_authz *out)
{
    *out = (struct acme_authz){0};
    unsigned rows = db_rows(u, stmt);
    if (rows == 0)
        return false;
    out->id = db_get(u, stmt, 0, COL_authz_read_id);
    out->account_id = db_get(u, stmt, 0, COL_authz_read_account_id);
    out->directory = db_get(u, stmt, 0, COL_authz_read_directory);
    out->ident = store_ident_of(db_get(u, stmt, 0, COL_authz_read_ident));
    out->wildcard = db_get_bool(u, stmt, 0, COL_authz_read_wildcard);
    if (!acme_status_parse(db_get(u, stmt, 0, COL_authz_read_status), &out->status))
        out->status = ST_INVALID;
    out->expires_at = db_get_int(u, stmt, 0, COL_authz_read_expires_at);
    out->challenges = POOL_NEW(&t->pool, struct acme_challenge, rows);
    out->n_challenges = rows;
    for (unsigned i = 0; i < rows; i++) {
        struct acme_challenge *c = &out->challenges[i];
        c->type = db_get(u, stmt, i, COL_authz_read_type);
        c->token = db_get(u, stmt, i, COL_authz_read_token);
        if (!acme_status_parse(db_get(u, stmt, i, COL_authz_read_c_status), &c->status))
            c->status = ST_INVALID;
        c->validated_at = db_get_int(u, stmt, i, COL_authz_read_validated_at);
        c->error = db_get(u, stmt, i, COL_authz_read_error);
        c->tried = db_get(u, stmt, i, COL_authz_read_tried);
    }
    return true;
}

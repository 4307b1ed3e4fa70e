/* SPDX-License-Identifier: Apache-2.0 */
/* The gate statements and account rows. */
#include "store/store_account.h"
#include "schema/statements.h"

uint64_t store_lock_key(iov_t account_id, iov_t object_id)
{
    uint64_t low = object_id.base != NULL ? db_key(object_id) >> 32 : 0;
    return (db_key(account_id) & ~(uint64_t)UINT32_MAX) | low;
}

unsigned store_gate(struct db_unit *u, struct store_pass *p)
{
    if (p->tag.base == NULL) {
        db_unit_nonce(u, p->nonce, p->slot);
        p->tag = db_unit_tag(u);
    } else {
        db_unit_inherit_nonce(u, p->nonce, p->tag);
    }
    if (p->account_id.base == NULL)
        return q_gate_nonce(u, p->slot, p->nonce, p->tag);
    db_unit_lock_key(u, store_lock_key(p->account_id, IOV_NULL));
    return q_gate_account(u, p->slot, p->nonce, p->tag, p->account_id, p->key_gen);
}

struct store_gate_result store_gate_result(const struct db_unit *u, unsigned stmt, const struct store_pass *p)
{
    struct store_gate_result r = {.ok = db_get_bool(u, stmt, 0, 0)};
    if (p->account_id.base == NULL) {
        r.nonce_ok = r.ok;
        return r;
    }
    r.nonce_ok = db_get_bool(u, stmt, 0, COL_gate_account_nonce_ok);
    r.known = acme_status_parse(db_get(u, stmt, 0, COL_gate_account_status), &r.status);
    r.key_gen = db_get_int(u, stmt, 0, COL_gate_account_key_gen);
    r.eab_kid = db_get(u, stmt, 0, COL_gate_account_eab_kid);
    r.eab_ok = db_get_bool(u, stmt, 0, COL_gate_account_eab_ok);
    r.eab_policy = db_get(u, stmt, 0, COL_gate_account_eab_policy);
    return r;
}

/* account_load, account_by_key and account_read begin with the same columns. */
bool store_account_decode(const struct db_unit *u, unsigned stmt, struct acme_account *out)
{
    *out = (struct acme_account){0};
    if (db_rows(u, stmt) == 0)
        return false;
    out->id = db_get(u, stmt, 0, COL_account_read_id);
    out->directory = db_get(u, stmt, 0, COL_account_read_directory);
    if (!acme_status_parse(db_get(u, stmt, 0, COL_account_read_status), &out->status))
        out->status = ST_REVOKED; /* a value this program does not know grants nothing */
    out->jwk = db_get(u, stmt, 0, COL_account_read_jwk);
    out->thumbprint = db_get(u, stmt, 0, COL_account_read_thumbprint);
    out->key_gen = db_get_int(u, stmt, 0, COL_account_read_key_gen);
    out->contacts = db_get_texts(u, stmt, 0, COL_account_read_contacts);
    out->terms_agreed = db_get_bool(u, stmt, 0, COL_account_read_terms_agreed);
    out->eab_kid = db_get(u, stmt, 0, COL_account_read_eab_kid);
    out->eab_json = db_get(u, stmt, 0, COL_account_read_eab_json);
    return true;
}

iov_t store_account_eab_policy(const struct db_unit *u, unsigned stmt)
{
    return db_rows(u, stmt) ? db_get(u, stmt, 0, COL_account_load_eab_policy) : IOV_NULL;
}

-- SPDX-License-Identifier: Apache-2.0

-- name: eab_find   in: kid text, directory text   out: kid text, hmac_key bytea, ok bool
SELECT kid, hmac_key,
       status = 'active' AND (expires_at IS NULL OR expires_at > clock_timestamp())
       AND (directory IS NULL OR directory = :directory) AS ok
  FROM eab WHERE kid = :kid;

-- newAccount, first step: the key is claimed for the new id unless somebody has it. create: everything that a new
-- account needs was found in order (terms, contacts, binding).
-- name: account_claim   in: directory text, thumbprint text, id text, create bool, eab_kid text, spki bytea   out: claimed bool, blocked bool
WITH b AS (
    SELECT EXISTS (SELECT 1 FROM blocked_key WHERE spki_sha256 = :spki) AS blocked
), c AS (
    INSERT INTO account_key (directory, thumbprint, account_id)
    SELECT :directory, :thumbprint, :id FROM b
     WHERE pass() AND :create AND NOT b.blocked
       AND (:eab_kid IS NULL OR EXISTS (SELECT 1 FROM eab WHERE kid = :eab_kid AND status = 'active'
                                        AND (expires_at IS NULL OR expires_at > clock_timestamp())))
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT set_claim(EXISTS (SELECT 1 FROM c)) AS claimed, b.blocked FROM b;

-- name: account_insert   in: id text, directory text, jwk text, thumbprint text, contacts text[], terms_agreed bool, eab_kid text, eab_json text, created_from text   out: -
INSERT INTO account (id, directory, jwk, thumbprint, contacts, terms_agreed, eab_kid, eab_json, created_from)
SELECT :id, :directory, :jwk, :thumbprint, :contacts, :terms_agreed, :eab_kid, :eab_json, :created_from WHERE claimed();

-- name: account_by_key   in: directory text, thumbprint text   out: id text, directory text, status text, jwk text, thumbprint text, key_gen int8, contacts text[], terms_agreed bool, eab_kid text, eab_json text
SELECT a.id, a.directory, a.status, a.jwk, a.thumbprint, a.key_gen, a.contacts, a.terms_agreed, a.eab_kid, a.eab_json
  FROM account_key k JOIN account a ON a.id = k.account_id
 WHERE k.directory = :directory AND k.thumbprint = :thumbprint AND pass();

-- contacts or terms_agreed NULL: unchanged.
-- name: account_update   in: id text, set_contacts bool, contacts text[], agree bool   out: -
UPDATE account SET contacts = CASE WHEN :set_contacts THEN :contacts ELSE contacts END,
                   terms_agreed = terms_agreed OR :agree
 WHERE id = :id AND pass();

-- name: account_read   in: id text   out: id text, directory text, status text, jwk text, thumbprint text, key_gen int8, contacts text[], terms_agreed bool, eab_kid text, eab_json text
SELECT id, directory, status, jwk, thumbprint, key_gen, contacts, terms_agreed, eab_kid, eab_json
  FROM account WHERE id = :id;

-- Deactivation takes everything unfinished with it (RFC 8555 7.3.6): authorizations, orders, waiting jobs. Its key may
-- not make a new account.
-- name: account_deactivate   in: id text   out: done bool
WITH u AS (UPDATE account SET status = 'deactivated' WHERE id = :id AND status = 'valid' AND pass() RETURNING 1)
SELECT set_claim(EXISTS (SELECT 1 FROM u)) AS done;

-- name: account_drop_authz   in: id text   out: -
UPDATE authz SET status = 'deactivated' WHERE account_id = :id AND status IN ('pending', 'valid') AND claimed();

-- Those that may be in the CA's hands stay live and keep their job: what comes back is dealt with there.
-- name: account_drop_issuances   in: id text, error text   out: -
UPDATE issuance SET state = 'refused', live = false, error = :error, updated_at = clock_timestamp()
 WHERE account_id = :id AND live AND attempts = 0 AND claimed();

-- After account_drop_issuances, whose row locks decide between it and attempt_begin. A job that is being written by its
-- owner is left to it: waiting for it would be a circle, and it finds nothing to do the next time.
-- name: account_drop_jobs   in: id text   out: -
DELETE FROM job
 WHERE id IN (SELECT j.id FROM job j
               WHERE j.account_id = :id AND claimed()
                 AND (j.kind = 'validate'
                      OR (j.kind = 'issue' AND EXISTS (SELECT 1 FROM issuance i WHERE i.id = j.ref AND NOT i.live)))
                 FOR UPDATE SKIP LOCKED);

-- After account_drop_issuances: whoever ends an issuance locks it before its orders.
-- name: account_drop_orders   in: id text, error text   out: -
UPDATE orders SET status = 'invalid', error = :error
 WHERE account_id = :id AND status IN ('pending', 'ready', 'processing') AND claimed();

-- keyChange: the new key is claimed like a new account's; the old one's row goes. Of two changes of one account the
-- second finds that the key it was signed with is the account's no more.
-- name: account_key_change   in: directory text, id text, old_thumbprint text, thumbprint text, spki bytea   out: claimed bool, blocked bool
WITH a AS (
    SELECT id FROM account WHERE id = :id AND thumbprint = :old_thumbprint AND pass() FOR UPDATE
), b AS (
    SELECT EXISTS (SELECT 1 FROM blocked_key WHERE spki_sha256 = :spki) AS blocked
), c AS (
    INSERT INTO account_key (directory, thumbprint, account_id)
    SELECT :directory, :thumbprint, a.id FROM a, b WHERE NOT b.blocked
    ON CONFLICT DO NOTHING RETURNING 1
), d AS (
    DELETE FROM account_key WHERE directory = :directory AND thumbprint = :old_thumbprint AND account_id = :id
       AND EXISTS (SELECT 1 FROM c)
)
SELECT set_claim(EXISTS (SELECT 1 FROM c)) AS claimed, b.blocked FROM b;

-- name: account_set_key   in: id text, jwk text, thumbprint text   out: -
UPDATE account SET jwk = :jwk, thumbprint = :thumbprint, key_gen = key_gen + 1 WHERE id = :id AND claimed();

-- Newest first; cursor: the id of the last order of the page before.
-- name: account_orders   in: account_id text, cursor text, page int8   out: id text
SELECT o.id FROM orders o
 WHERE o.account_id = :account_id AND o.status <> 'invalid' AND pass()
   AND NOT (o.status IN ('pending', 'ready') AND o.expires_at <= clock_timestamp())
   AND (:cursor IS NULL
        OR (o.created_at, o.id) < (SELECT c.created_at, c.id FROM orders c
                                    WHERE c.id = :cursor AND c.account_id = :account_id))
 ORDER BY o.created_at DESC, o.id DESC LIMIT :page + 1;

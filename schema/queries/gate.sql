-- SPDX-License-Identifier: Apache-2.0
-- What every ACME POST begins with.

-- The batch's first statement: nonces come sorted, so that two batches never wait for each other crosswise. A row
-- belongs to the unit whose tag it carries.
-- name: nonce_spend   in: nonces text[], tags text[], slots int8[]   out: -
INSERT INTO nonce_spent (slot, nonce, tag)
SELECT s, n, t FROM unnest(:nonces, :tags, :slots) AS x (n, t, s) ORDER BY n
ON CONFLICT DO NOTHING;

-- Requests signed with a jwk, and refusals: is the nonce this unit's?
-- name: gate_nonce   in: slot int8, nonce text, tag text   out: ok bool
SELECT set_pass(EXISTS (SELECT 1 FROM nonce_spent WHERE slot = :slot AND nonce = :nonce AND tag = :tag)) AS ok;

-- Requests signed by an account: the nonce is this unit's, and the account is still what the signature was verified
-- against (status, key generation), its EAB key included.
-- name: gate_account   in: slot int8, nonce text, tag text, account_id text, key_gen int8   out: ok bool, nonce_ok bool, status text, key_gen int8, eab_kid text, eab_ok bool, eab_policy text
WITH g AS (
    SELECT n.ok AS nonce_ok, a.status, a.key_gen, a.eab_kid, e.policy,
           a.eab_kid IS NULL OR coalesce(e.status = 'active' AND (e.expires_at IS NULL OR e.expires_at > clock_timestamp()), false)
           AS eab_ok
      FROM (SELECT EXISTS (SELECT 1 FROM nonce_spent WHERE slot = :slot AND nonce = :nonce AND tag = :tag) AS ok) n
      LEFT JOIN account a ON a.id = :account_id
      LEFT JOIN eab e ON e.kid = a.eab_kid
)
SELECT set_pass(coalesce(nonce_ok AND status = 'valid' AND key_gen = :key_gen, false)) AS ok,
       nonce_ok, status, key_gen, eab_kid, eab_ok, policy AS eab_policy
  FROM g;

-- The account behind a kid, for the key cache.
-- name: account_load   in: id text   out: id text, directory text, status text, jwk text, thumbprint text, key_gen int8, contacts text[], terms_agreed bool, eab_kid text, eab_json text, eab_policy text
SELECT a.id, a.directory, a.status, a.jwk, a.thumbprint, a.key_gen, a.contacts, a.terms_agreed, a.eab_kid, a.eab_json,
       e.policy AS eab_policy
  FROM account a LEFT JOIN eab e ON e.kid = a.eab_kid
 WHERE a.id = :id;

-- One row of the audit trail.
-- name: event_add   in: gateway text, request_id text, account_id text, object text, object_id text, event text, detail text   out: -
INSERT INTO event (gateway, request_id, account_id, object, object_id, event, detail)
SELECT :gateway, :request_id, :account_id, :object, :object_id, :event, :detail WHERE pass();

-- The same, whatever pass() says: a refusal.
-- name: event_refused   in: gateway text, request_id text, account_id text, object text, object_id text, detail text   out: -
INSERT INTO event (gateway, request_id, account_id, object, object_id, event, detail)
VALUES (:gateway, :request_id, :account_id, :object, :object_id, 'refused', :detail);

-- name: event_claimed   in: gateway text, request_id text, account_id text, object text, object_id text, event text, detail text   out: -
INSERT INTO event (gateway, request_id, account_id, object, object_id, event, detail)
SELECT :gateway, :request_id, :account_id, :object, :object_id, :event, :detail WHERE claimed();

-- The other way that a unit with a claim may go.
-- name: event_unclaimed   in: gateway text, request_id text, account_id text, object text, object_id text, event text, detail text   out: -
INSERT INTO event (gateway, request_id, account_id, object, object_id, event, detail)
SELECT :gateway, :request_id, :account_id, :object, :object_id, :event, :detail WHERE pass() AND NOT claimed();

-- ---- start-up ----

-- name: secret_read   in: name text   out: value bytea
SELECT value FROM secret WHERE name = :name;

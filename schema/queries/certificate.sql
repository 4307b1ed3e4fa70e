-- SPDX-License-Identifier: Apache-2.0

-- chain: 0 is the default.
-- name: certificate_read   in: id text, chain int8   out: account_id text, pem text, n_chains int8, unwanted bool
SELECT account_id, chains[(:chain + 1)::int4] AS pem, cardinality(chains) AS n_chains, unwanted
  FROM certificate WHERE id = :id AND pass();

-- revokeCert: the certificate, and whether the account may revoke it: it is its own, or it holds valid authorizations
-- for every name (RFC 8555 7.6). account_id NULL: signed with the certificate's key, checked by the caller.
-- name: revoke_find   in: der_sha256 bytea, account_id text, directory text   out: id text, account_id text, spki_sha256 bytea, backend text, revoke_state text, revoke_reason int8, allowed bool
SELECT c.id, c.account_id, c.spki_sha256, c.backend, c.revoke_state, c.revoke_reason,
       :account_id IS NOT NULL AND (c.account_id = :account_id OR NOT EXISTS (
            SELECT 1 FROM unnest(c.names) AS n (name)
             WHERE NOT EXISTS (
                SELECT 1 FROM authz z
                 WHERE z.account_id = :account_id AND z.status = 'valid' AND z.expires_at > clock_timestamp()
                   AND z.ident = replace(n.name, 'dns:*.', 'dns:') AND z.wildcard = (n.name LIKE 'dns:*.%')))) AS allowed
  FROM certificate c
 WHERE c.der_sha256 = :der_sha256 AND c.directory = :directory AND pass();

-- spki_sha256: of the key that signed, when it was not an account's. The certificate's own may raise the reason of a
-- revocation to keyCompromise (1) whatever became of it. born: the job is new, not one that was under way already.
-- name: revoke_claim   in: der_sha256 bytea, directory text, account_id text, spki_sha256 bytea, reason int8, job_id text, gateway text   out: id text, born bool
WITH c AS (
    UPDATE certificate c SET revoke_state = 'pending', revoke_reason = :reason, revoke_error = NULL
     WHERE c.der_sha256 = :der_sha256 AND c.directory = :directory AND pass()
       AND (c.revoke_state IS NULL OR c.revoke_state = 'refused'
            OR (:reason = 1 AND c.revoke_reason <> 1 AND c.spki_sha256 = :spki_sha256))
       AND (c.spki_sha256 = :spki_sha256
            OR (:account_id IS NOT NULL AND (c.account_id = :account_id OR NOT EXISTS (
                SELECT 1 FROM unnest(c.names) AS n (name)
                 WHERE NOT EXISTS (
                    SELECT 1 FROM authz z
                     WHERE z.account_id = :account_id AND z.status = 'valid' AND z.expires_at > clock_timestamp()
                       AND z.ident = replace(n.name, 'dns:*.', 'dns:')
                       AND z.wildcard = (n.name LIKE 'dns:*.%'))))))
    RETURNING c.id, c.account_id
), j AS (
    INSERT INTO job (id, kind, ref, account_id, owner)
    SELECT :job_id, 'revoke', c.id, c.account_id, :gateway FROM c ON CONFLICT DO NOTHING RETURNING 1
)
SELECT c.id, EXISTS (SELECT 1 FROM j) AS born FROM c WHERE set_claim(true);

-- For reason keyCompromise signed by the certificate's own key, revoked before or not: the key is blocked for good.
-- name: block_key   in: der_sha256 bytea, directory text, spki_sha256 bytea, reason text   out: -
INSERT INTO blocked_key (spki_sha256, reason)
SELECT c.spki_sha256, :reason FROM certificate c
 WHERE c.der_sha256 = :der_sha256 AND c.directory = :directory AND c.spki_sha256 = :spki_sha256 AND pass()
ON CONFLICT DO NOTHING;

-- name: revoke_state   in: id text   out: revoke_state text, revoke_error text
SELECT revoke_state, revoke_error FROM certificate WHERE id = :id;

-- ---- the revocation job ----

-- name: revoke_load   in: id text   out: backend text, serial text, der bytea, reason int8, account_id text, revoke_state text
SELECT backend, serial, der, coalesce(revoke_reason, 0) AS reason, account_id, revoke_state FROM certificate WHERE id = :id;

-- The backend's CRL is due at once.
-- name: revoke_done   in: id text, job_id text, gateway text   out: id text, crl_job bool
WITH c AS (
    UPDATE certificate SET revoke_state = 'done', revoked_at = coalesce(revoked_at, clock_timestamp())
     WHERE id = :id AND revoke_state = 'pending' AND pass() RETURNING id, backend
), j AS (
    INSERT INTO job (id, kind, ref, owner)
    SELECT :job_id, 'crl', c.backend, :gateway FROM c ON CONFLICT DO NOTHING RETURNING 1
)
SELECT c.id, EXISTS (SELECT 1 FROM j) AS crl_job FROM c;

-- A certificate whose reason alone the CA would not change stays revoked.
-- name: revoke_refused   in: id text, error text   out: -
UPDATE certificate SET revoke_state = CASE WHEN revoked_at IS NULL THEN 'refused' ELSE 'done' END, revoke_error = :error
 WHERE id = :id AND revoke_state = 'pending' AND pass();

-- ---- CRLs ----

-- fresh: it covers every revocation, and every reason raised to keyCompromise, and is not near its end.
-- name: crl_read   in: backend text   out: der bytea, number int8, fresh bool, next_update int8
SELECT l.der, l.number,
       l.next_update > clock_timestamp() + (l.next_update - l.this_update) / 4
       AND l.covers = (SELECT count(*) + count(*) FILTER (WHERE c.revoke_reason = 1)
                         FROM certificate c WHERE c.backend = l.backend AND c.revoked_at IS NOT NULL) AS fresh,
       unix(l.next_update) AS next_update
  FROM crl l WHERE l.backend = :backend;

-- name: crl_want   in: backend text, job_id text, gateway text   out: id text
INSERT INTO job (id, kind, ref, owner) VALUES (:job_id, 'crl', :backend, :gateway) ON CONFLICT DO NOTHING RETURNING id;

-- Always at least one row (serial NULL when nothing is to be listed): covers and number come with the same snapshot.
-- Expired certificates leave the list a day after their end.
-- name: crl_entries   in: backend text   out: covers int8, number int8, db_now int8, serial text, revoked_at int8, reason int8
SELECT t.covers, coalesce((SELECT number FROM crl WHERE backend = :backend), 0) AS number, unix(clock_timestamp()) AS db_now,
       e.serial, e.revoked_at, e.reason
  FROM (SELECT count(*) + count(*) FILTER (WHERE revoke_reason = 1) AS covers
          FROM certificate WHERE backend = :backend AND revoked_at IS NOT NULL) t
  LEFT JOIN LATERAL (
        SELECT c.serial, unix(c.revoked_at) AS revoked_at, coalesce(c.revoke_reason, 0) AS reason
          FROM certificate c
         WHERE c.backend = :backend AND c.revoked_at IS NOT NULL AND c.not_after > clock_timestamp() - interval '1 day'
         ORDER BY length(c.serial), c.serial) e ON true;

-- name: crl_store   in: backend text, number int8, this_update int8, next_update int8, covers int8, der bytea   out: -
INSERT INTO crl (backend, number, this_update, next_update, covers, der)
SELECT :backend, :number, to_timestamp(:this_update), to_timestamp(:next_update), :covers, :der WHERE pass()
ON CONFLICT (backend) DO UPDATE
   SET number = excluded.number, this_update = excluded.this_update, next_update = excluded.next_update,
       covers = excluded.covers, der = excluded.der
 WHERE crl.number < excluded.number;

-- SPDX-License-Identifier: Apache-2.0
-- The issuance job. Every unit begins with a fence (job.sql): pass() is true only while the job is this gateway's.

-- eligible: an order still waits for this certificate whose account, EAB key and authorizations are good right now.
-- name: issuance_load   in: id text   out: id text, account_id text, directory text, profile text, csr bytea, csr_sha256 bytea, spki_sha256 bytea, names text[], not_before int8, not_after int8, state text, backends text[], backend text, prepared bytea, cookie bytea, attempts int8, live bool, eligible bool, why text, open_op text, open_backend text, age_s int8
SELECT i.id, i.account_id, i.directory, i.profile, i.csr, i.csr_sha256, i.spki_sha256, i.names,
       unix(i.not_before) AS not_before, unix(i.not_after) AS not_after, i.state, i.backends, i.backend, i.prepared,
       i.cookie, i.attempts, i.live,
       a.status = 'valid' AND e.ok AND w.waiting > 0 AND w.good > 0 AND NOT b.blocked AS eligible,
       CASE WHEN a.status <> 'valid' THEN 'the account is ' || a.status
            WHEN NOT e.ok THEN 'the external account binding key is disabled or expired'
            WHEN b.blocked THEN 'the key is blocked'
            WHEN w.waiting = 0 THEN 'no order waits for it any more'
            WHEN w.good = 0 THEN 'an authorization is not valid any more' END AS why,
       t.op AS open_op, t.backend AS open_backend, unix(clock_timestamp()) - unix(i.created_at) AS age_s
  FROM issuance i
  JOIN account a ON a.id = i.account_id
 CROSS JOIN LATERAL (SELECT a.eab_kid IS NULL OR EXISTS (
            SELECT 1 FROM eab WHERE kid = a.eab_kid AND status = 'active'
               AND (expires_at IS NULL OR expires_at > clock_timestamp())) AS ok) e
 CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM blocked_key k WHERE k.spki_sha256 = i.spki_sha256) AS blocked) b
 CROSS JOIN LATERAL (
        SELECT count(*) AS waiting,
               count(*) FILTER (WHERE NOT EXISTS (
                    SELECT 1 FROM order_authz l JOIN authz z ON z.id = l.authz_id
                     WHERE l.order_id = o.id AND (z.status <> 'valid' OR z.expires_at <= clock_timestamp()))) AS good
          FROM orders o WHERE o.issuance_id = i.id AND o.status = 'processing') w
  LEFT JOIN LATERAL (SELECT op, backend FROM attempt t WHERE t.issuance_id = i.id AND t.outcome IS NULL
                      ORDER BY n DESC LIMIT 1) t ON true
 WHERE i.id = :id;

-- An attempt that nobody ended: its gateway died or stalled in the call.
-- name: attempt_cut_off   in: issuance_id text   out: -
UPDATE attempt SET outcome = 'cut-off', ended_at = clock_timestamp()
 WHERE issuance_id = :issuance_id AND outcome IS NULL AND pass();

-- Committed before the call is made.
-- name: attempt_begin   in: issuance_id text, op text, backend text, gateway text, prepared bytea, timeout_ms int8   out: n int8
WITH i AS (
    UPDATE issuance SET state = 'calling', backend = :backend, prepared = :prepared, attempts = attempts + 1,
                        updated_at = clock_timestamp()
     WHERE id = :issuance_id AND live AND pass() RETURNING attempts
)
INSERT INTO attempt (issuance_id, n, op, backend, gateway, deadline)
SELECT :issuance_id, i.attempts, :op, :backend, :gateway,
       clock_timestamp() + make_interval(secs => :timeout_ms / 1000.0) FROM i
RETURNING n;

-- name: attempt_end   in: issuance_id text, n int8, outcome text, detail text   out: -
UPDATE attempt SET outcome = :outcome, detail = :detail, ended_at = clock_timestamp()
 WHERE issuance_id = :issuance_id AND n = :n AND outcome IS NULL AND pass();

-- wait, retry, hold: the job's next run is set by its fence.
-- name: issuance_later   in: id text, state text, backend text, prepared bytea, cookie bytea, error text   out: -
UPDATE issuance SET state = :state, backend = :backend, prepared = :prepared, cookie = :cookie, error = :error,
                    updated_at = clock_timestamp()
 WHERE id = :id AND live AND pass();

-- name: orders_hint   in: issuance_id text, retry_after_s int8   out: -
UPDATE orders SET retry_after_s = :retry_after_s,
       expires_at = greatest(expires_at, clock_timestamp() + make_interval(secs => :retry_after_s) + interval '1 day')
 WHERE issuance_id = :issuance_id AND status = 'processing' AND pass();

-- First in a unit that ends an issuance: order_finalize takes the same lock, so that an order either joined before, and
-- is among those that hear of the end, or finds out in order_join that it is over.
-- name: issuance_lock   in: id text   out: -
SELECT pg_advisory_xact_lock(hashtextextended(account_id || encode(csr_sha256, 'hex'), 0))
  FROM issuance WHERE id = :id AND pass();

-- The certificate and everything that hangs on it, in one transaction. Zero rows: the issuance is over, or the CA handed
-- out a certificate that is stored for another one.
-- name: certificate_insert   in: id text, issuance_id text, backend text, serial text, der_sha256 bytea, not_before int8, not_after int8, der bytea, chains text[]   out: id text
WITH i AS (
    UPDATE issuance SET state = 'done', live = false, certificate_id = :id, backend = :backend, error = NULL,
                        updated_at = clock_timestamp()
     WHERE id = :issuance_id AND live AND pass() AND NOT EXISTS (SELECT 1 FROM certificate WHERE der_sha256 = :der_sha256)
    RETURNING account_id, directory, profile, spki_sha256, names
), c AS (
    INSERT INTO certificate (id, issuance_id, account_id, directory, profile, backend, serial, der_sha256, spki_sha256, names,
                             not_before, not_after, der, chains)
    SELECT :id, :issuance_id, i.account_id, i.directory, i.profile, :backend, :serial, :der_sha256, i.spki_sha256, i.names,
           to_timestamp(:not_before), to_timestamp(:not_after), :der, :chains FROM i
    RETURNING id
)
SELECT id FROM c WHERE set_claim(true);

-- name: orders_issued   in: issuance_id text, certificate_id text   out: id text
UPDATE orders SET status = 'valid', certificate_id = :certificate_id, error = NULL
 WHERE issuance_id = :issuance_id AND status = 'processing' AND claimed()
RETURNING id;

-- A CA that is idempotent hands out for one CSR the certificate that an earlier issuance of the account got: its orders
-- get that one. Not one that is revoked, not another account's.
-- name: certificate_adopt   in: issuance_id text, der_sha256 bytea   out: id text
WITH i AS (
    UPDATE issuance i SET state = 'done', live = false, certificate_id = c.id, error = NULL, updated_at = clock_timestamp()
      FROM certificate c
     WHERE i.id = :issuance_id AND i.live AND pass() AND NOT claimed()
       AND c.der_sha256 = :der_sha256 AND c.account_id = i.account_id AND c.directory = i.directory
       AND c.revoke_state IS NULL AND NOT c.unwanted
    RETURNING i.certificate_id
)
UPDATE orders o SET status = 'valid', certificate_id = i.certificate_id, error = NULL
  FROM i WHERE o.issuance_id = :issuance_id AND o.status = 'processing'
RETURNING o.id;

-- Nobody waited for it any more: it is revoked.
-- name: certificate_unwanted   in: id text, issuance_id text, job_id text, gateway text   out: id text
WITH c AS (
    UPDATE certificate SET unwanted = true, revoke_state = 'pending', revoke_reason = 5
     WHERE id = :id AND claimed()
       AND NOT EXISTS (SELECT 1 FROM orders WHERE issuance_id = :issuance_id AND status = 'valid')
    RETURNING id, account_id
)
INSERT INTO job (id, kind, ref, account_id, owner)
SELECT :job_id, 'revoke', c.id, c.account_id, :gateway FROM c
RETURNING ref AS id;

-- name: issuance_refused   in: id text, error text   out: -
UPDATE issuance SET state = 'refused', live = false, error = :error, updated_at = clock_timestamp()
 WHERE id = :id AND live AND pass();

-- name: orders_refused   in: issuance_id text, error text   out: id text
UPDATE orders SET status = 'invalid', error = :error
 WHERE issuance_id = :issuance_id AND status = 'processing' AND pass()
RETURNING id;

-- SPDX-License-Identifier: Apache-2.0

-- newAuthz: an existing authorization of the account that is valid at least until want (seconds from 1970; NULL: always
-- make a new one), or one that waits already, is found instead of made (design.md section 4).
-- name: authz_claim   in: account_id text, directory text, base text, want int8?, methods text[], id text   out: id text, found bool
WITH f AS (
    SELECT z.id FROM authz z
     WHERE z.account_id = :account_id AND z.directory = :directory AND z.ident = :base AND NOT z.wildcard
       AND z.expires_at > clock_timestamp()
       AND ((z.status = 'valid' AND :want IS NOT NULL AND z.expires_at >= to_timestamp(:want) AND z.method = ANY (:methods))
            OR (z.status = 'pending' AND z.preauth))
     ORDER BY z.status = 'valid' DESC, z.expires_at DESC LIMIT 1
)
SELECT set_config('portico.id', coalesce((SELECT id FROM f), :id), true) AS id, NOT made AS found
  FROM (SELECT set_claim(pass() AND NOT EXISTS (SELECT 1 FROM f)) AS made) x;

-- name: authz_insert   in: id text, account_id text, directory text, base text, ttl_s int8   out: -
INSERT INTO authz (id, account_id, directory, ident, preauth, expires_at)
SELECT :id, :account_id, :directory, :base, true, clock_timestamp() + make_interval(secs => :ttl_s) WHERE claimed();

-- One row per challenge, in order. id NULL: the one that authz_claim chose.
-- name: authz_read   in: id text   out: id text, account_id text, directory text, ident text, wildcard bool, status text, expires_at int8, type text, token text, c_status text, validated_at int8, error text, tried text
SELECT a.id, a.account_id, a.directory, a.ident, a.wildcard, a.status, unix(a.expires_at) AS expires_at,
       c.type, c.token, c.status AS c_status, unix(c.validated_at) AS validated_at, c.error, c.tried
  FROM authz a JOIN challenge c ON c.authz_id = a.id
 WHERE a.id = coalesce(:id, current_setting('portico.id', true)) AND pass()
 ORDER BY c.position;

-- The client says that it is ready: PENDING -> PROCESSING, with the job that validates.
-- name: challenge_respond   in: authz_id text, type text, account_id text, job_id text, gateway text   out: responded bool
WITH u AS (
    UPDATE challenge c SET status = 'processing', responded_at = clock_timestamp()
      FROM authz a
     WHERE c.authz_id = :authz_id AND c.type = :type AND c.status = 'pending' AND a.id = c.authz_id
       AND a.account_id = :account_id AND a.status = 'pending' AND a.expires_at > clock_timestamp() AND pass()
    RETURNING c.authz_id
), j AS (
    INSERT INTO job (id, kind, ref, account_id, owner)
    SELECT :job_id, 'validate', :authz_id || '/' || :type, :account_id, :gateway FROM u
    ON CONFLICT DO NOTHING
)
SELECT set_claim(EXISTS (SELECT 1 FROM u)) AS responded;

-- Deactivation takes the unfinished orders that rest on it along (RFC 8555 7.1.6). A job that is being written by its
-- owner is left to it: waiting for it would be a circle, and it finds the authorization deactivated.
-- name: authz_deactivate   in: id text, account_id text   out: done bool
WITH u AS (
    UPDATE authz SET status = 'deactivated'
     WHERE id = :id AND account_id = :account_id AND status IN ('pending', 'valid') AND pass() RETURNING id
), j AS (
    DELETE FROM job WHERE id IN (SELECT id FROM job WHERE kind = 'validate' AND account_id = :account_id
                                     AND ref LIKE :id || '/%' AND EXISTS (SELECT 1 FROM u) FOR UPDATE SKIP LOCKED)
)
SELECT set_claim(EXISTS (SELECT 1 FROM u)) AS done;

-- name: authz_drop_orders   in: id text, error text   out: -
UPDATE orders o SET status = 'invalid', error = :error
  FROM order_authz l
 WHERE l.authz_id = :id AND o.id = l.order_id AND o.status IN ('pending', 'ready') AND claimed();

-- ---- the validation job ----

-- name: validate_load   in: authz_id text, type text   out: ident text, wildcard bool, authz_status text, c_status text, token text, thumbprint text, account_status text, waited_ms int8, account_id text, directory text, tried text, db_now int8, order_id text
SELECT a.ident, a.wildcard, a.status AS authz_status, c.status AS c_status, c.token, k.thumbprint,
       k.status AS account_status,
       coalesce(extract(epoch FROM clock_timestamp() - c.responded_at) * 1000, 0)::int8 AS waited_ms, a.account_id,
       a.directory, c.tried, unix(clock_timestamp()) AS db_now,
       (SELECT min(l.order_id) FROM order_authz l WHERE l.authz_id = a.id) AS order_id
  FROM challenge c JOIN authz a ON a.id = c.authz_id JOIN account k ON k.id = a.account_id
 WHERE c.authz_id = :authz_id AND c.type = :type;

-- name: validate_tried   in: authz_id text, type text, tried text   out: -
UPDATE challenge SET tried = :tried WHERE authz_id = :authz_id AND type = :type AND pass();

-- name: validate_ok   in: authz_id text, type text, tried text, ttl_s int8   out: claimed bool
WITH c AS (
    UPDATE challenge SET status = 'valid', validated_at = clock_timestamp(), tried = :tried, error = NULL
     WHERE authz_id = :authz_id AND type = :type AND status = 'processing' AND pass() RETURNING authz_id
), a AS (
    UPDATE authz SET status = 'valid', method = :type, validated_at = clock_timestamp(),
                     expires_at = clock_timestamp() + make_interval(secs => :ttl_s)
     WHERE id = (SELECT authz_id FROM c) AND status = 'pending' RETURNING id
)
SELECT set_claim(EXISTS (SELECT 1 FROM a)) AS claimed;

-- The counter, and with it the order's turn to READY, in the statement that makes its last authorization valid: two
-- sessions wait for each other at the row and both see the other's decrement.
-- name: orders_count_down   in: authz_id text   out: id text, status text
UPDATE orders o
   SET authz_left = o.authz_left - 1, status = CASE WHEN o.authz_left <= 1 THEN 'ready' ELSE o.status END
  FROM order_authz l
 WHERE l.authz_id = :authz_id AND o.id = l.order_id AND o.status = 'pending' AND claimed()
RETURNING o.id, o.status;

-- name: validate_failed   in: authz_id text, type text, tried text, error text   out: claimed bool
WITH c AS (
    UPDATE challenge SET status = 'invalid', tried = :tried, error = :error
     WHERE authz_id = :authz_id AND type = :type AND status = 'processing' AND pass() RETURNING authz_id
), a AS (
    UPDATE authz SET status = 'invalid' WHERE id = (SELECT authz_id FROM c) AND status = 'pending' RETURNING id
)
SELECT set_claim(EXISTS (SELECT 1 FROM a)) AS claimed;

-- name: orders_fail_authz   in: authz_id text, error text   out: id text
UPDATE orders o SET status = 'invalid', error = :error
  FROM order_authz l
 WHERE l.authz_id = :authz_id AND o.id = l.order_id AND o.status IN ('pending', 'ready') AND claimed()
RETURNING o.id;

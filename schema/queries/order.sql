-- SPDX-License-Identifier: Apache-2.0
-- newOrder is one unit: order_claim, order_link_valid, order_new_authz, challenge_new, order_insert, event_claimed,
-- order_read. Identifiers travel as "dns:NAME" / "ip:ADDRESS".

-- An account whose EAB key is disabled or expired gets no order. reuse: with reuse_pending_orders an order for the same names that still waits is handed out again.
-- name: order_claim   in: account_id text, profile text, names text[], reuse bool, id text   out: id text
WITH f AS (
    SELECT o.id FROM orders o
     WHERE :reuse AND o.account_id = :account_id AND o.profile = :profile AND o.names = :names
       AND o.status IN ('pending', 'ready') AND o.expires_at > clock_timestamp() + interval '10 minutes'
       AND o.not_before IS NULL AND o.not_after IS NULL AND o.replaces IS NULL
     ORDER BY o.created_at DESC LIMIT 1
)
SELECT set_config('portico.id', coalesce((SELECT id FROM f), :id), true) AS id
  FROM (SELECT set_claim(pass() AND NOT EXISTS (SELECT 1 FROM f)
                         AND NOT EXISTS (SELECT 1 FROM account a JOIN eab e ON e.kid = a.eab_kid
                                          WHERE a.id = :account_id
                                            AND (e.status <> 'active' OR e.expires_at <= clock_timestamp()))) AS made) x;

-- Valid authorizations are linked under FOR SHARE: one that is being deactivated is waited for and then not taken.
-- name: order_link_valid   in: id text, account_id text, directory text, bases text[], wilds int8[], methods text[]   out: -
INSERT INTO order_authz (order_id, position, authz_id)
SELECT :id, i.pos, a.id
  FROM unnest(:bases, :wilds) WITH ORDINALITY AS i (base, wild, pos)
 CROSS JOIN LATERAL (
        SELECT z.id FROM authz z
         WHERE z.account_id = :account_id AND z.directory = :directory AND z.ident = i.base
           AND z.wildcard = (i.wild = 1) AND z.status = 'valid' AND z.method = ANY (:methods)
           AND z.expires_at > clock_timestamp() + interval '10 minutes'
         ORDER BY z.expires_at DESC LIMIT 1 FOR SHARE) a
 WHERE claimed();

-- name: order_new_authz   in: id text, account_id text, directory text, ids text[], bases text[], wilds int8[], ttl_s int8   out: -
WITH n AS (
    SELECT x.id, x.base, x.wild, x.pos
      FROM unnest(:ids, :bases, :wilds) WITH ORDINALITY AS x (id, base, wild, pos)
     WHERE claimed() AND NOT EXISTS (SELECT 1 FROM order_authz l WHERE l.order_id = :id AND l.position = x.pos)
), z AS (
    INSERT INTO authz (id, account_id, directory, ident, wildcard, expires_at)
    SELECT n.id, :account_id, :directory, n.base, n.wild = 1, clock_timestamp() + make_interval(secs => :ttl_s) FROM n
    RETURNING id
)
INSERT INTO order_authz (order_id, position, authz_id)
SELECT :id, n.pos, z.id FROM z JOIN n ON n.id = z.id;

-- Challenges of the authorizations that were really made, out of those prepared for all.
-- name: challenge_new   in: authz_ids text[], types text[], positions int8[], tokens text[]   out: -
INSERT INTO challenge (authz_id, type, position, token)
SELECT c.authz_id, c.type, c.position, c.token
  FROM unnest(:authz_ids, :types, :positions, :tokens) AS c (authz_id, type, position, token)
  JOIN authz a ON a.id = c.authz_id
 WHERE claimed();

-- name: order_insert   in: id text, account_id text, directory text, profile text, idents text[], names text[], not_before int8?, not_after int8?, backends text[], route text, replaces text, ttl_s int8   out: -
INSERT INTO orders (id, account_id, directory, profile, idents, names, not_before, not_after, backends, route, replaces,
                    expires_at, authz_left, status)
SELECT :id, :account_id, :directory, :profile, :idents, :names, to_timestamp(:not_before), to_timestamp(:not_after),
       :backends, :route, :replaces, clock_timestamp() + make_interval(secs => :ttl_s), l.n,
       CASE WHEN l.n = 0 THEN 'ready' ELSE 'pending' END
  FROM (SELECT count(*) FILTER (WHERE a.status = 'pending') AS n
          FROM order_authz o JOIN authz a ON a.id = o.authz_id WHERE o.order_id = :id) l
 WHERE claimed();

-- id NULL: the order that order_claim chose.
-- name: order_read   in: id text   out: id text, account_id text, directory text, profile text, status text, expires_at int8, created_at int8, not_before int8, not_after int8, idents text[], authz_ids text[], error text, certificate_id text, csr_sha256 bytea, replaces text, retry_after_s int8, issuance_id text, backend text
SELECT o.id, o.account_id, o.directory, o.profile,
       CASE WHEN o.status IN ('pending', 'ready') AND o.expires_at <= clock_timestamp() THEN 'invalid'
            ELSE o.status END AS status,
       unix(o.expires_at) AS expires_at, unix(o.created_at) AS created_at,
       unix(o.not_before) AS not_before, unix(o.not_after) AS not_after, o.idents,
       ARRAY (SELECT l.authz_id FROM order_authz l WHERE l.order_id = o.id ORDER BY l.position) AS authz_ids,
       CASE WHEN o.error IS NULL AND o.status IN ('pending', 'ready') AND o.expires_at <= clock_timestamp()
            THEN '{"type":"urn:ietf:params:acme:error:malformed","detail":"the order expired before it was finalized"}'
            ELSE o.error END AS error,
       o.certificate_id, o.csr_sha256, o.replaces, o.retry_after_s, o.issuance_id, o.backends[1] AS backend
  FROM orders o
 WHERE o.id = coalesce(:id, current_setting('portico.id', true)) AND pass();

-- For parked requests: which of the objects has another state than the one it was seen in?
-- name: objects_look   in: ids text[], seen text[]   out: id text
SELECT w.id
  FROM unnest(:ids, :seen) AS w (id, state)
 WHERE EXISTS (SELECT 1 FROM orders o WHERE o.id = w.id AND o.status <> w.state)
    OR EXISTS (SELECT 1 FROM authz a WHERE a.id = w.id AND a.status <> w.state)
    OR EXISTS (SELECT 1 FROM certificate c WHERE c.id = w.id AND c.revoke_state <> w.state);

-- finalize, first step: READY -> PROCESSING for a CSR that names exactly the order's names and is acceptable to its
-- profile (ok_profiles), with every authorization still valid, the key not blocked and the account's EAB key good. The
-- lock makes two finalizes of one CSR take turns, so that the second finds what the first began.
-- name: order_finalize   in: id text, account_id text, names text[], csr_sha256 bytea, spki_sha256 bytea, ok_profiles text[]   out: claimed bool
WITH c AS (
    UPDATE orders o
       SET status = 'processing', csr_sha256 = :csr_sha256,
           expires_at = greatest(o.expires_at, clock_timestamp() + interval '1 day')
     WHERE o.id = :id AND o.account_id = :account_id AND o.status = 'ready' AND o.expires_at > clock_timestamp()
       AND o.names = :names AND o.profile = ANY (:ok_profiles) AND pass()
       AND NOT EXISTS (SELECT 1 FROM blocked_key b WHERE b.spki_sha256 = :spki_sha256)
       AND NOT EXISTS (SELECT 1 FROM account a JOIN eab e ON e.kid = a.eab_kid
                        WHERE a.id = :account_id AND (e.status <> 'active' OR e.expires_at <= clock_timestamp()))
       AND NOT EXISTS (SELECT 1 FROM order_authz l JOIN authz a ON a.id = l.authz_id
                        WHERE l.order_id = o.id AND (a.status <> 'valid' OR a.expires_at <= clock_timestamp()))
    RETURNING 1
)
SELECT set_claim(EXISTS (SELECT 1 FROM c)) AS claimed,
       CASE WHEN EXISTS (SELECT 1 FROM c)
            THEN pg_advisory_xact_lock(hashtextextended(:account_id || encode(:csr_sha256, 'hex'), 0)) END;

-- Second step: an issuance of the same account, directory, profile, validity and CSR that is under way, or whose
-- certificate is unrevoked, younger than the profile's join window and not yet due for renewal, is joined. windows_s
-- runs beside ok_profiles: seconds, 0 never, -1 until renewal.
-- name: order_join   in: id text, csr_sha256 bytea, ok_profiles text[], windows_s int8[]   out: issuance_id text, certificate_id text
WITH i AS (
    SELECT i.id, i.state, i.certificate_id
      FROM orders o
     CROSS JOIN LATERAL (SELECT w.s FROM unnest(:ok_profiles, :windows_s) AS w (p, s) WHERE w.p = o.profile) w
      JOIN issuance i ON i.csr_sha256 = :csr_sha256 AND i.account_id = o.account_id AND i.directory = o.directory
                     AND i.profile = o.profile AND i.not_before IS NOT DISTINCT FROM o.not_before
                     AND i.not_after IS NOT DISTINCT FROM o.not_after
      LEFT JOIN certificate c ON c.id = i.certificate_id
     WHERE o.id = :id AND claimed() AND o.replaces IS NULL AND w.s <> 0 AND i.dedup = ''
       AND (i.live
            OR (i.state = 'done' AND c.revoked_at IS NULL AND c.revoke_state IS NULL AND NOT c.unwanted
                AND clock_timestamp() < c.not_before + (c.not_after - c.not_before) * 2 / 3
                AND (w.s = -1 OR c.created_at > clock_timestamp() - make_interval(secs => w.s))))
     ORDER BY i.created_at DESC LIMIT 1
)
UPDATE orders o
   SET issuance_id = i.id,
       status = CASE WHEN i.state = 'done' THEN 'valid' ELSE o.status END,
       certificate_id = CASE WHEN i.state = 'done' THEN i.certificate_id END
  FROM i WHERE o.id = :id
RETURNING o.issuance_id, o.certificate_id;

-- Third step: else the intent, with the job that will carry it out.
-- name: issuance_insert   in: id text, order_id text, csr bytea, csr_sha256 bytea, spki_sha256 bytea, ok_profiles text[], windows_s int8[], job_id text, gateway text   out: issuance_id text
WITH i AS (
    INSERT INTO issuance (id, account_id, directory, profile, csr_sha256, csr, spki_sha256, names, not_before, not_after,
                          dedup, backends, backend)
    SELECT :id, o.account_id, o.directory, o.profile, :csr_sha256, :csr, :spki_sha256, o.idents, o.not_before, o.not_after,
           CASE WHEN o.replaces IS NOT NULL OR w.s = 0 THEN o.id ELSE '' END, o.backends, o.backends[1]
      FROM orders o
     CROSS JOIN LATERAL (SELECT w.s FROM unnest(:ok_profiles, :windows_s) AS w (p, s) WHERE w.p = o.profile) w
     WHERE o.id = :order_id AND o.issuance_id IS NULL AND claimed()
    ON CONFLICT DO NOTHING
    RETURNING id, account_id
), j AS (
    INSERT INTO job (id, kind, ref, account_id, owner)
    SELECT :job_id, 'issue', i.id, i.account_id, :gateway FROM i
)
UPDATE orders o SET issuance_id = i.id FROM i WHERE o.id = :order_id RETURNING o.issuance_id;

-- Why order_finalize did not claim a ready order.
-- name: order_why_not   in: id text, spki_sha256 bytea   out: names text[], profile text, bad_authz text[], blocked bool
SELECT o.names, o.profile,
       ARRAY (SELECT a.ident FROM order_authz l JOIN authz a ON a.id = l.authz_id
               WHERE l.order_id = o.id AND (a.status <> 'valid' OR a.expires_at <= clock_timestamp())
               ORDER BY l.position) AS bad_authz,
       EXISTS (SELECT 1 FROM blocked_key b WHERE b.spki_sha256 = :spki_sha256) AS blocked
  FROM orders o WHERE o.id = :id AND pass() AND NOT claimed();

-- SPDX-License-Identifier: Apache-2.0
-- Jobs and gateways. A job is born owned by the gateway that commits it; the lease is one heartbeat row per gateway.

-- name: gateway_hello   in: id text, name text, version text, lease_ms int8   out: -
INSERT INTO gateway (id, name, version, lease_until)
VALUES (:id, :name, :version, clock_timestamp() + make_interval(secs => :lease_ms / 1000.0));

-- made: somebody had removed us (a machine that slept for a day); without the row no fence would ever let us in again.
-- name: gateway_beat   in: id text, name text, version text, lease_ms int8   out: made bool
INSERT INTO gateway (id, name, version, lease_until)
VALUES (:id, :name, :version, clock_timestamp() + make_interval(secs => :lease_ms / 1000.0))
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
RETURNING xmax = 0 AS made;

-- A clean end: what is left is anybody's at once.
-- name: gateway_bye   in: id text   out: -
UPDATE gateway SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id;

-- Jobs that are due and whose owner's lease has lapsed. Not our own, whatever became of our lease: this process may have
-- them in memory, with what a CA answered.
-- name: job_take   in: gateway text, most int8   out: id text, kind text, ref text, claim int8, tries int8
UPDATE job SET owner = :gateway, claim = claim + 1
 WHERE id IN (
    SELECT j.id FROM job j
     WHERE NOT j.parked AND j.run_at <= clock_timestamp() AND j.owner <> :gateway
       AND NOT EXISTS (SELECT 1 FROM gateway g WHERE g.id = j.owner AND g.lease_until > clock_timestamp())
     ORDER BY j.run_at LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING id, kind, ref, claim, tries;

-- Our own jobs that are overdue: one whose commit was never heard of (the connection died) runs nowhere.
-- name: job_overdue   in: gateway text, most int8   out: id text, kind text, ref text, claim int8, tries int8
SELECT id, kind, ref, claim, tries FROM job
 WHERE owner = :gateway AND NOT parked AND run_at <= clock_timestamp() - interval '10 seconds'
 ORDER BY run_at LIMIT :most;

-- The fences: pass() says whether the job is still ours. This one also wants our lease in force: nothing new is begun by a
-- gateway that may be given up for dead any moment.
-- name: job_fence   in: id text, owner text, claim int8   out: ok bool
WITH j AS (
    SELECT 1 FROM job WHERE id = :id AND owner = :owner AND claim = :claim
       AND EXISTS (SELECT 1 FROM gateway WHERE id = :owner AND lease_until > clock_timestamp())
       FOR UPDATE OF job
)
SELECT set_pass(EXISTS (SELECT 1 FROM j)) AS ok;

-- The job is over. What was learnt is written as long as nobody has taken over, lapsed lease or not: after an outage of
-- the database a CA's answer may exist nowhere but in this gateway's memory.
-- name: job_end   in: id text, owner text, claim int8   out: ok bool
WITH j AS (
    DELETE FROM job WHERE id = :id AND owner = :owner AND claim = :claim RETURNING 1
)
SELECT set_pass(EXISTS (SELECT 1 FROM j)) AS ok;

-- The job runs again later, still ours.
-- name: job_later   in: id text, owner text, claim int8, in_ms int8, error text, parked bool   out: ok bool
WITH j AS (
    UPDATE job SET run_at = clock_timestamp() + make_interval(secs => :in_ms / 1000.0), tries = tries + 1,
                   last_error = :error, parked = :parked
     WHERE id = :id AND owner = :owner AND claim = :claim
    RETURNING 1
)
SELECT set_pass(EXISTS (SELECT 1 FROM j)) AS ok;

-- ---- housekeeping ----

-- One recurring job; its row exists from the first start on.
-- name: job_ensure   in: id text, kind text, ref text, gateway text   out: -
INSERT INTO job (id, kind, ref, owner) VALUES (:id, :kind, :ref, :gateway) ON CONFLICT DO NOTHING;

-- name: expire_authz   in: -   out: id text
WITH a AS (
    UPDATE authz SET status = CASE WHEN status = 'valid' THEN 'expired' ELSE 'invalid' END
     WHERE id IN (SELECT id FROM authz WHERE status IN ('pending', 'valid') AND expires_at <= clock_timestamp()
                   ORDER BY expires_at LIMIT 500 FOR UPDATE SKIP LOCKED)
    RETURNING id
)
UPDATE orders o SET status = 'invalid',
       error = '{"type":"urn:ietf:params:acme:error:unauthorized","detail":"an authorization of the order expired"}'
  FROM a JOIN order_authz l ON l.authz_id = a.id
 WHERE o.id = l.order_id AND o.status IN ('pending', 'ready')
RETURNING o.id;

-- name: expire_orders   in: -   out: id text
UPDATE orders SET status = 'invalid',
       error = '{"type":"urn:ietf:params:acme:error:malformed","detail":"the order expired before it was finalized"}'
 WHERE id IN (SELECT id FROM orders WHERE status IN ('pending', 'ready') AND expires_at <= clock_timestamp()
               ORDER BY expires_at LIMIT 500 FOR UPDATE SKIP LOCKED)
RETURNING id;

-- name: expire_gateways   in: -   out: -
DELETE FROM gateway WHERE lease_until < clock_timestamp() - interval '1 day'
   AND NOT EXISTS (SELECT 1 FROM job WHERE owner = gateway.id);

-- slot: the next hour's, last used three hours ago.
-- name: nonce_slot_used   in: slot int8   out: used bool
SELECT EXISTS (SELECT 1 FROM nonce_spent WHERE slot = :slot) AS used;

-- name: nonce_clear_0   in: -   out: -
TRUNCATE nonce_spent_0;
-- name: nonce_clear_1   in: -   out: -
TRUNCATE nonce_spent_1;
-- name: nonce_clear_2   in: -   out: -
TRUNCATE nonce_spent_2;
-- name: nonce_clear_3   in: -   out: -
TRUNCATE nonce_spent_3;

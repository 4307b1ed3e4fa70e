-- SPDX-License-Identifier: Apache-2.0
-- What porticoctl asks. Each answers with one JSON value, whose shape is an interface (design.md section 7).

-- name: admin_status   in: -   out: json text
SELECT json_build_object(
    'schema', (SELECT max(number) FROM schema_version),
    'gateways', (SELECT coalesce(json_agg(json_build_object('id', id, 'name', name, 'version', version,
                        'started_at', to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                        'alive', lease_until > clock_timestamp()) ORDER BY started_at), '[]')
                   FROM gateway WHERE lease_until > clock_timestamp() - interval '1 hour'),
    'accounts', (SELECT count(*) FROM account WHERE status = 'valid'),
    'orders', (SELECT coalesce(json_object_agg(status, n), '{}') FROM (SELECT status, count(*) AS n FROM orders GROUP BY 1) s),
    'certificates', (SELECT count(*) FROM certificate),
    'revoked', (SELECT count(*) FROM certificate WHERE revoked_at IS NOT NULL),
    'issuances', (SELECT coalesce(json_object_agg(state, n), '{}')
                    FROM (SELECT state, count(*) AS n FROM issuance WHERE live GROUP BY 1) s),
    'jobs', (SELECT json_build_object('waiting', count(*) FILTER (WHERE NOT parked), 'parked', count(*) FILTER (WHERE parked),
                    'overdue', count(*) FILTER (WHERE NOT parked AND run_at < clock_timestamp() - interval '1 minute'))
               FROM job WHERE kind <> 'expire'))::text AS json;

-- name: admin_eab_add   in: kid text, name text, directory text, hmac_key bytea, policy text, ttl_s int8?   out: kid text
INSERT INTO eab (kid, name, directory, hmac_key, policy, expires_at)
VALUES (:kid, :name, :directory, :hmac_key, :policy, clock_timestamp() + make_interval(secs => :ttl_s))
ON CONFLICT DO NOTHING RETURNING kid;

-- name: admin_eab_list   in: -   out: json text
SELECT coalesce(json_agg(json_build_object('name', e.name, 'kid', e.kid, 'status',
           CASE WHEN e.expires_at <= clock_timestamp() THEN 'expired' ELSE e.status END,
           'directory', e.directory, 'policy', e.policy::json,
           'created_at', to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           'expires_at', to_char(e.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           'accounts', (SELECT count(*) FROM account a WHERE a.eab_kid = e.kid)) ORDER BY e.name), '[]')::text AS json
  FROM eab e;

-- name: admin_eab_disable   in: name text   out: kid text
UPDATE eab SET status = 'disabled' WHERE name = :name OR kid = :name RETURNING kid;

-- id: of the issuance, of an order that it serves, or of the certificate it made.
-- name: admin_issuance   in: id text   out: json text
SELECT json_build_object('id', i.id, 'state', i.state, 'live', i.live, 'account', i.account_id, 'directory', i.directory,
           'profile', i.profile, 'names', i.names, 'csr_sha256', encode(i.csr_sha256, 'hex'), 'backend', i.backend,
           'backends', i.backends, 'certificate', i.certificate_id, 'serial', c.serial, 'error', i.error::json,
           'created_at', to_char(i.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
           'orders', (SELECT coalesce(json_agg(json_build_object('id', o.id, 'status', o.status, 'route', o.route)), '[]')
                        FROM orders o WHERE o.issuance_id = i.id),
           'attempts', (SELECT coalesce(json_agg(json_build_object('n', a.n, 'op', a.op, 'backend', a.backend,
                            'gateway', a.gateway, 'outcome', a.outcome, 'detail', a.detail,
                            'started_at', to_char(a.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                            'ended_at', to_char(a.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
                            ORDER BY a.n), '[]')
                          FROM attempt a WHERE a.issuance_id = i.id),
           'events', (SELECT coalesce(json_agg(json_build_object('at',
                            to_char(v.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'gateway', v.gateway,
                            'request', v.request_id, 'object', v.object, 'object_id', v.object_id, 'event', v.event,
                            'detail', v.detail) ORDER BY v.at), '[]')
                        FROM event v
                       WHERE v.object_id = i.id OR v.object_id = i.certificate_id
                          OR v.object_id IN (SELECT o.id FROM orders o WHERE o.issuance_id = i.id)
                          OR v.object_id IN (SELECT l.authz_id FROM orders o JOIN order_authz l ON l.order_id = o.id
                                              WHERE o.issuance_id = i.id)))::text AS json
  FROM issuance i LEFT JOIN certificate c ON c.id = i.certificate_id
 WHERE i.id = :id OR i.certificate_id = :id OR i.id = (SELECT issuance_id FROM orders WHERE id = :id);

-- state NULL: those under way.
-- name: admin_issuances   in: state text, most int8   out: json text
SELECT coalesce(json_agg(json_build_object('id', id, 'state', state, 'backend', backend, 'names', names, 'attempts', attempts,
           'created_at', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'error', error::json)
           ORDER BY created_at DESC), '[]')::text AS json
  FROM (SELECT * FROM issuance WHERE CASE WHEN :state::text IS NULL THEN live ELSE state = :state END
         ORDER BY created_at DESC LIMIT :most) i;

-- What each backend of the list did in the last day.
-- name: admin_backends   in: names text[], drivers text[]   out: json text
SELECT coalesce(json_agg(json_build_object('name', b.name, 'driver', b.driver,
           'issued', (SELECT count(*) FROM certificate c WHERE c.backend = b.name),
           'under_way', (SELECT count(*) FROM issuance i WHERE i.backend = b.name AND i.live),
           'held', (SELECT count(*) FROM issuance i WHERE i.backend = b.name AND i.state = 'held'),
           'last_day', (SELECT coalesce(json_object_agg(outcome, n), '{}') FROM (
                            SELECT coalesce(outcome, 'open') AS outcome, count(*) AS n FROM attempt
                             WHERE backend = b.name AND started_at > clock_timestamp() - interval '1 day' GROUP BY 1) o))
           ORDER BY b.pos), '[]')::text AS json
  FROM unnest(:names::text[], :drivers::text[]) WITH ORDINALITY AS b (name, driver, pos);

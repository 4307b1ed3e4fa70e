-- SPDX-License-Identifier: Apache-2.0
-- The ledger: accounts, orders, authorizations, issuances, certificates, jobs, events. See schema/README.md.

-- A unit of work is a few statements of one pipelined transaction; they branch through these two settings, which the
-- unit's gate and claim statements set (transaction-local). set_pass, a unit's first statement, also clears the claim,
-- so that nothing of the unit before shows.
CREATE FUNCTION pass() RETURNS boolean LANGUAGE sql STABLE PARALLEL RESTRICTED
    AS $$ SELECT current_setting('portico.pass', true) = 'y' $$;
CREATE FUNCTION claimed() RETURNS boolean LANGUAGE sql STABLE PARALLEL RESTRICTED
    AS $$ SELECT current_setting('portico.claim', true) = 'y' $$;
CREATE FUNCTION set_pass(ok boolean) RETURNS boolean LANGUAGE sql VOLATILE
    AS $$ SELECT set_config('portico.claim', 'n', true) = 'n'
             AND set_config('portico.pass', CASE WHEN ok THEN 'y' ELSE 'n' END, true) = 'y' $$;
CREATE FUNCTION set_claim(ok boolean) RETURNS boolean LANGUAGE sql VOLATILE
    AS $$ SELECT set_config('portico.claim', CASE WHEN ok THEN 'y' ELSE 'n' END, true) = 'y' $$;
-- Time on the wire and in C: whole seconds since 1970.
CREATE FUNCTION unix(t timestamptz) RETURNS int8 LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT floor(extract(epoch FROM t))::int8 $$;

-- Keys shared by all gateways of this database (the nonce MAC key). Made by the migration that needs them.
CREATE TABLE secret (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);
INSERT INTO secret (name, value)
SELECT 'nonce', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- Spent nonces. slot = hour of issue modulo 4; the slot that was used three hours ago, and is next, is truncated: nothing
-- is ever deleted row by row.
CREATE TABLE nonce_spent (
    slot  int8 NOT NULL,
    nonce text NOT NULL,
    tag   text NOT NULL,
    PRIMARY KEY (slot, nonce)
) PARTITION BY LIST (slot);
CREATE TABLE nonce_spent_0 PARTITION OF nonce_spent FOR VALUES IN (0) WITH (autovacuum_enabled = off);
CREATE TABLE nonce_spent_1 PARTITION OF nonce_spent FOR VALUES IN (1) WITH (autovacuum_enabled = off);
CREATE TABLE nonce_spent_2 PARTITION OF nonce_spent FOR VALUES IN (2) WITH (autovacuum_enabled = off);
CREATE TABLE nonce_spent_3 PARTITION OF nonce_spent FOR VALUES IN (3) WITH (autovacuum_enabled = off);

-- A running (or dead) gateway process. Its lease is one heartbeat row, not one per job.
CREATE TABLE gateway (
    id          text PRIMARY KEY,
    name        text NOT NULL,
    version     text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL
);

-- External account binding keys (RFC 8555 7.3.4).
CREATE TABLE eab (
    kid        text PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    directory  text,                       -- NULL: good in every directory
    hmac_key   bytea NOT NULL,
    policy     text,                       -- JSON {"names": [...], "profiles": [...]}; NULL: no limits
    status     text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz
);

CREATE TABLE account (
    id           text PRIMARY KEY,
    directory    text NOT NULL,
    status       text NOT NULL DEFAULT 'valid' CHECK (status IN ('valid', 'deactivated', 'revoked')),
    jwk          text NOT NULL,            -- RFC 7638 form
    thumbprint   text NOT NULL,
    key_gen      int8 NOT NULL DEFAULT 1,  -- counts key changes; a request is verified under one generation
    contacts     text[] NOT NULL DEFAULT '{}',
    terms_agreed boolean NOT NULL DEFAULT false,
    eab_kid      text REFERENCES eab,
    eab_json     text,                     -- the binding as the client sent it
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_from text
);
CREATE INDEX account_eab ON account (eab_kid) WHERE eab_kid IS NOT NULL;
-- One account per key and directory: claiming a key is an insert whose conflict is a row, not an error.
CREATE TABLE account_key (
    directory  text NOT NULL,
    thumbprint text NOT NULL,
    account_id text NOT NULL,
    PRIMARY KEY (directory, thumbprint)
);

-- Public keys that nobody may use any more, by SHA-256 of the SubjectPublicKeyInfo.
CREATE TABLE blocked_key (
    spki_sha256 bytea PRIMARY KEY,
    reason      text NOT NULL,
    blocked_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE authz (
    id           text PRIMARY KEY,
    account_id   text NOT NULL,
    directory    text NOT NULL,
    ident        text NOT NULL,            -- "dns:example.org" or "ip:192.0.2.1"; the base name of a wildcard
    wildcard     boolean NOT NULL DEFAULT false,
    preauth      boolean NOT NULL DEFAULT false, -- made by newAuthz
    status       text NOT NULL DEFAULT 'pending'
                 CHECK (status IN ('pending', 'valid', 'invalid', 'deactivated', 'expired', 'revoked')),
    method       text,                     -- the challenge type that proved it
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz NOT NULL,
    validated_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX authz_reuse ON authz (account_id, ident, wildcard) WHERE status IN ('pending', 'valid');
CREATE INDEX authz_expiry ON authz (expires_at) WHERE status IN ('pending', 'valid');

CREATE TABLE challenge (
    authz_id     text NOT NULL,
    type         text NOT NULL,
    position     int8 NOT NULL,
    token        text NOT NULL,
    status       text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processing', 'valid', 'invalid')),
    error        text,                     -- problem document
    tried        text,                     -- JSON array: what was looked at
    responded_at timestamptz,
    validated_at timestamptz,
    PRIMARY KEY (authz_id, type)
) WITH (fillfactor = 80);

CREATE TABLE orders (
    id             text PRIMARY KEY,
    account_id     text NOT NULL,
    directory      text NOT NULL,
    profile        text NOT NULL,
    status         text NOT NULL DEFAULT 'pending'
                   CHECK (status IN ('pending', 'ready', 'processing', 'valid', 'invalid')),
    idents         text[] NOT NULL,        -- "dns:*.example.org", in the client's order
    names          text[] NOT NULL,        -- the same, sorted
    authz_left     int8 NOT NULL DEFAULT 0, -- authorizations still pending; 0 makes the order ready
    not_before     timestamptz,            -- as requested
    not_after      timestamptz,
    backends       text[] NOT NULL,        -- the route, pinned
    route          text NOT NULL,          -- why: the rule that matched
    replaces       text,
    csr_sha256     bytea,
    issuance_id    text,
    certificate_id text,
    error          text,
    retry_after_s  int8 NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX orders_account ON orders (account_id, created_at DESC, id);
CREATE INDEX orders_issuance ON orders (issuance_id) WHERE issuance_id IS NOT NULL;
CREATE INDEX orders_expiry ON orders (expires_at) WHERE status IN ('pending', 'ready');

CREATE TABLE order_authz (
    order_id text NOT NULL,
    position int8 NOT NULL,
    authz_id text NOT NULL,
    PRIMARY KEY (order_id, position)
);
CREATE INDEX order_authz_authz ON order_authz (authz_id);

-- One intended certificate. live: under way; at most one live issuance for the same account, directory, profile,
-- requested validity and CSR (dedup: '' or, where joining is off, the order).
CREATE TABLE issuance (
    id             text PRIMARY KEY,
    account_id     text NOT NULL,
    directory      text NOT NULL,
    profile        text NOT NULL,
    csr_sha256     bytea NOT NULL,
    csr            bytea NOT NULL,
    spki_sha256    bytea NOT NULL,
    names          text[] NOT NULL,        -- in the client's order: a driver may take the first for a CN
    not_before     timestamptz,
    not_after      timestamptz,
    dedup          text NOT NULL DEFAULT '',
    live           boolean NOT NULL DEFAULT true,
    state          text NOT NULL DEFAULT 'intent'
                   CHECK (state IN ('intent', 'calling', 'waiting', 'retry', 'held', 'done', 'refused')),
    backends       text[] NOT NULL,
    backend        text NOT NULL,          -- the one being tried, or that issued
    prepared       bytea,                  -- what the driver fixed for every try at this backend
    cookie         bytea,                  -- of its last "wait"
    attempts       int8 NOT NULL DEFAULT 0,
    certificate_id text,
    error          text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX issuance_live ON issuance (account_id, csr_sha256, directory, profile,
    coalesce(not_before, '-infinity'), coalesce(not_after, '-infinity'), dedup) WHERE live;
CREATE INDEX issuance_csr ON issuance (csr_sha256, account_id, created_at DESC);
CREATE INDEX issuance_state ON issuance (state, updated_at) WHERE live;

-- One call to a CA, committed before it is made. outcome NULL: under way, or cut off.
CREATE TABLE attempt (
    issuance_id text NOT NULL,
    n           int8 NOT NULL,
    op          text NOT NULL CHECK (op IN ('submit', 'poll')),
    backend     text NOT NULL,
    gateway     text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    deadline    timestamptz NOT NULL,
    ended_at    timestamptz,
    outcome     text CHECK (outcome IN ('done', 'wait', 'refuse', 'retry', 'unknown', 'cut-off')),
    detail      text,
    PRIMARY KEY (issuance_id, n)
);

CREATE TABLE certificate (
    id            text PRIMARY KEY,
    issuance_id   text NOT NULL UNIQUE,
    account_id    text NOT NULL,
    directory     text NOT NULL,
    profile       text NOT NULL,
    backend       text NOT NULL,
    serial        text NOT NULL,           -- upper-case hexadecimal
    der_sha256    bytea NOT NULL,
    spki_sha256   bytea NOT NULL,
    names         text[] NOT NULL,
    not_before    timestamptz NOT NULL,
    not_after     timestamptz NOT NULL,
    der           bytea NOT NULL,          -- the leaf
    chains        text[] NOT NULL,         -- PEM, leaf first; [1] is the default, others are alternates
    unwanted      boolean NOT NULL DEFAULT false, -- no order was left to take it
    revoke_state  text CHECK (revoke_state IN ('pending', 'done', 'refused')),
    revoke_reason int8,
    revoke_error  text,
    revoked_at    timestamptz,             -- set when the CA knows
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX certificate_der ON certificate (der_sha256);
CREATE INDEX certificate_serial ON certificate (serial);
CREATE INDEX certificate_spki ON certificate (spki_sha256);
CREATE INDEX certificate_names ON certificate USING gin (names);
CREATE INDEX certificate_revoked ON certificate (backend, revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE crl (
    backend     text PRIMARY KEY,
    number      int8 NOT NULL,
    this_update timestamptz NOT NULL,
    next_update timestamptz NOT NULL,
    covers      int8 NOT NULL,             -- how many revocations it was made from
    der         bytea NOT NULL
);

-- Durable background work. owner: the gateway that runs it; claim: fences an owner that was given up for dead.
CREATE TABLE job (
    id         text PRIMARY KEY,
    kind       text NOT NULL,
    ref        text NOT NULL,
    account_id text,
    owner      text NOT NULL,
    claim      int8 NOT NULL DEFAULT 1,
    tries      int8 NOT NULL DEFAULT 0,
    run_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    parked     boolean NOT NULL DEFAULT false, -- an operator must look
    last_error text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (kind, ref)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
CREATE INDEX job_owner ON job (owner, run_at);

-- What happened, when, where, on whose request; refusals included. Appended to, never changed.
CREATE TABLE event (
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    gateway    text NOT NULL,
    request_id text NOT NULL,
    account_id text,
    object     text NOT NULL,              -- account, order, authz, issuance, certificate, eab, gateway
    object_id  text NOT NULL,
    event      text NOT NULL,
    detail     text
);
CREATE INDEX event_object ON event (object_id, at);
CREATE INDEX event_at ON event USING brin (at);

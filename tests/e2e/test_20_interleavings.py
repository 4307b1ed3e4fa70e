# SPDX-License-Identifier: Apache-2.0
"""What two gateways may do to one row at the same time (design.md sections 3 and 5). The statements are the product's,
the units are in the product's order; two sessions take their steps in every order there is, commits included, and each
waits wherever the other's locks make it wait. No unit may fail: conflicts are rows, not errors."""
import itertools
import re
import shutil
import tempfile
import threading
import time
from pathlib import Path

import psycopg2
import pytest

import harness
from sql import QUERIES, STATEMENTS, Lane, Session, play, schedules

HOUR = 3600
ids = itertools.count(1)


def new_id(kind="x"):
    return f"{kind}{next(ids)}"


class Ledger:
    """A database with the schema, and rows as the tests want them."""

    def __init__(self, database):
        self.db = database
        self.watch = database.connect()
        for name in ("g1", "g2"):
            self.gateway(name)

    def rows(self, sql, *values):
        return self.db.rows(sql, *values)

    def one(self, sql, *values):
        return self.db.one(sql, *values)

    def waits(self, pid):
        """Does this session wait for another one?"""
        with self.watch.cursor() as cursor:
            cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (pid,))
            return cursor.fetchone()[0]

    def gateway(self, name, lease_s=600):
        self.rows("INSERT INTO gateway (id, name, version, lease_until) VALUES (%s, %s, 'test', "
                  "clock_timestamp() + make_interval(secs => %s)) "
                  "ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until", name, name, lease_s)
        return name

    def account(self, directory="d", eab=None, status="valid"):
        account = new_id("account")
        self.rows("INSERT INTO account (id, directory, status, jwk, thumbprint, eab_kid) VALUES (%s, %s, %s, '{}', %s, %s); "
                  "INSERT INTO account_key (directory, thumbprint, account_id) VALUES (%s, %s, %s)",
                  account, directory, status, "key of " + account, eab, directory, "key of " + account, account)
        return account

    def authz(self, account, ident, status="valid", lasts_s=HOUR, directory="d", method="http-01", wildcard=False,
              preauth=False, challenge="processing"):
        authz = new_id("authz")
        self.rows("INSERT INTO authz (id, account_id, directory, ident, wildcard, preauth, status, method, expires_at) VALUES "
                  "(%s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s)); "
                  "INSERT INTO challenge (authz_id, type, position, token, status, responded_at) "
                  "SELECT %s, t, n, 'token', %s, clock_timestamp() FROM (VALUES ('http-01', 0), ('dns-01', 1)) v (t, n)",
                  authz, account, directory, ident, wildcard, preauth, status, method if status == "valid" else None, lasts_s,
                  authz, challenge if status == "pending" else "valid")
        return authz

    def order(self, account, authzs, status="ready", names=("dns:a.test",), directory="d", profile="p", not_after=None,
              replaces=None, issuance=None):
        order = new_id("order")
        self.rows("INSERT INTO order_authz (order_id, position, authz_id) SELECT %s, n, z FROM unnest(%s) WITH ORDINALITY v (z, n); "
                  "INSERT INTO orders (id, account_id, directory, profile, status, idents, names, authz_left, not_after, "
                  "backends, route, replaces, issuance_id, expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, "
                  "(SELECT count(*) FROM authz WHERE id = ANY (%s) AND status = 'pending'), to_timestamp(%s), '{house}', 'test', "
                  "%s, %s, clock_timestamp() + interval '1 day')", order, list(authzs), order, account, directory, profile,
                  status, list(names), list(names), list(authzs), not_after, replaces, issuance)
        return order

    def ready(self, account, **how):
        return self.order(account, [self.authz(account, "dns:a.test", directory=how.get("directory", "d"))], **how)

    def job(self, kind, ref, account=None, owner="g1", due_s=-1):
        job = new_id("job")
        self.rows("INSERT INTO job (id, kind, ref, account_id, owner, run_at) VALUES (%s, %s, %s, %s, %s, "
                  "clock_timestamp() + make_interval(secs => %s))", job, kind, ref, account, owner, due_s)
        return job

    def issuance(self, account, csr, state="intent", attempts=0, dedup="", profile="p", key=b"key"):
        """One under way, with its job."""
        issuance = new_id("issuance")
        self.rows("INSERT INTO issuance (id, account_id, directory, profile, csr_sha256, csr, spki_sha256, names, dedup, state, "
                  "attempts, backends, backend) VALUES (%s, %s, 'd', %s, %s, %s, %s, '{dns:a.test}', %s, %s, %s, '{house}', "
                  "'house')", issuance, account, profile, csr, csr, key, dedup, state, attempts)
        return issuance, self.job("issue", issuance, account)

    def status(self, table, row):
        return self.one(f"SELECT {'state' if table == 'issuance' else 'status'} FROM {table} WHERE id = %s", row)

    def order_row(self, order):
        return self.db.row("SELECT status, authz_left, issuance_id, certificate_id, error FROM orders WHERE id = %s", order)


@pytest.fixture(scope="module")
def server():
    """A server of this file's own: its log has to be empty of errors that no test wanted."""
    directory = Path(tempfile.mkdtemp(prefix="portico-sql-", dir="/tmp"))
    directory.chmod(0o755)
    pg = harness.Postgres(directory / "pg", directory / "postgres.log")
    try:
        pg.start()
        yield pg
    finally:
        pg.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def ledger(server):
    database = server.create("ledger")
    with database.session() as conn, conn.cursor() as cursor:
        for setting in ("synchronous_commit = off", "lock_timeout = '20s'", "statement_timeout = '30s'"):
            cursor.execute(f"ALTER DATABASE ledger SET {setting}")
        conn.commit()
    version = re.search(r"schema_version_make\[\] = ([^;]*);", (QUERIES.parent / "version.h").read_text())[1]
    for text in ["".join(re.findall(r'"([^"]*)"', version)), *(p.read_text() for p in sorted(QUERIES.parent.glob("[0-9]*.sql")))]:
        with database.connect() as conn, conn.cursor() as cursor:
            cursor.execute(text)
    return Ledger(database)


@pytest.fixture
def pair(ledger):
    sessions = [Session(ledger.db.url), Session(ledger.db.url)]
    yield sessions
    for s in sessions:
        s.close()


@pytest.fixture
def session(ledger):
    s = Session(ledger.db.url)
    yield s
    s.close()


class Case:
    """The rows of one schedule."""

    def __init__(self, **members):
        self.__dict__.update(members)


def explore(ledger, pair, setup, first, second, check):
    """Plays first(session, case) against second(session, case), each a list of steps, in every schedule."""
    sizes = [len(steps(s, setup())) for steps, s in zip((first, second), pair)]
    played = waited = 0
    for order in schedules(*sizes):
        case = setup()
        lanes = [Lane(s, steps(s, case), ledger.waits) for steps, s in zip((first, second), pair)]
        play(lanes, order)
        case.schedule = "".join("AB"[who] for who in order)
        for lane in lanes:
            assert lane.error is None, f"{case.schedule}: {lane.error}"
        try:
            check(case, *lanes)
        except AssertionError as e:
            raise AssertionError(f"schedule {case.schedule}: {e}") from None
        played += 1
        waited += any(lane.waited for lane in lanes)
    return played, waited


# ---- the units, as gateway/ builds them ----

def gate(s, account, key_gen=1):
    nonce = new_id("nonce")
    s.nonce_spend(nonces=[nonce], tags=[nonce], slots=[0])
    return s.gate_account(slot=0, nonce=nonce, tag=nonce, account_id=account, key_gen=key_gen)[0]


def gate_jwk(s):
    nonce = new_id("nonce")
    s.nonce_spend(nonces=[nonce], tags=[nonce], slots=[0])
    return s.gate_nonce(slot=0, nonce=nonce, tag=nonce)[0]


def event(s, what, row):
    return s.event_claimed(gateway="g1", request_id="r", account_id="a", object=what, object_id=row, event="test", detail=None)


def validated(s, job, authz, gateway="g1", kind="http-01"):
    return [lambda: s.job_end(id=job, owner=gateway, claim=1),
            lambda: s.validate_ok(authz_id=authz, type=kind, tried="[]", ttl_s=HOUR),
            lambda: (s.orders_count_down(authz_id=authz), event(s, "authz", authz))[0]]


def failed(s, job, authz, gateway="g1", kind="http-01"):
    return [lambda: s.job_end(id=job, owner=gateway, claim=1),
            lambda: s.validate_failed(authz_id=authz, type=kind, tried="[]", error="{}"),
            lambda: (s.orders_fail_authz(authz_id=authz, error="{}"), event(s, "authz", authz))[0]]


def responded(s, account, authz, job, kind="http-01"):
    return [lambda: gate(s, account),
            lambda: s.challenge_respond(authz_id=authz, type=kind, account_id=account, job_id=job, gateway="g1")]


def deactivate_authz(s, account, authz):
    return [lambda: gate(s, account),
            lambda: s.authz_deactivate(id=authz, account_id=account),
            lambda: s.authz_drop_orders(id=authz, error="{}")]


def new_order(s, account, order, bases=("dns:a.test",), reuse=False):
    fresh = [new_id("authz") for _ in bases]
    wilds = [0] * len(bases)
    return [lambda: (gate(s, account),
                     s.order_claim(account_id=account, profile="p", names=list(bases), reuse=reuse, id=order)),
            lambda: s.order_link_valid(id=order, account_id=account, directory="d", bases=list(bases), wilds=wilds,
                                       methods=["http-01"]),
            lambda: (s.order_new_authz(id=order, account_id=account, directory="d", ids=fresh, bases=list(bases), wilds=wilds,
                                       ttl_s=HOUR),
                     s.challenge_new(authz_ids=fresh, types=["http-01"] * len(bases), positions=wilds, tokens=fresh)),
            lambda: (s.order_insert(id=order, account_id=account, directory="d", profile="p", idents=list(bases),
                                    names=list(bases), not_before=0, not_after=0, backends=["house"], route="test",
                                    replaces=None, ttl_s=HOUR),
                     s.order_read(id=None))[1]]


def finalize(s, account, order, csr, names=("dns:a.test",), key=b"key", profiles=("p",), windows=(HOUR,), gateway="g1"):
    issuance, job = new_id("issuance"), new_id("job")
    return [lambda: (gate(s, account),
                     s.order_finalize(id=order, account_id=account, names=list(names), csr_sha256=csr, spki_sha256=key,
                                      ok_profiles=list(profiles))[0])[1],
            lambda: s.order_join(id=order, csr_sha256=csr, ok_profiles=list(profiles), windows_s=list(windows)),
            lambda: s.issuance_insert(id=issuance, order_id=order, csr=csr, csr_sha256=csr, spki_sha256=key,
                                      ok_profiles=list(profiles), windows_s=list(windows), job_id=job, gateway=gateway)]


def merged(steps, *sizes):
    """Fewer steps: what stands together is taken at once. For units whose every schedule would be too many."""
    assert sum(sizes) == len(steps)
    parts = iter(steps)
    return [lambda part=[next(parts) for _ in range(size)]: [step() for step in part] for size in sizes]


def run(s, steps):
    """A unit without company."""
    results = [step() for step in steps]
    s.commit()
    return results


def attempt(s, issuance, job):
    return [lambda: s.job_fence(id=job, owner="g1", claim=1),
            lambda: s.attempt_begin(issuance_id=issuance, op="submit", backend="house", gateway="g1", prepared=None,
                                    timeout_ms=1000)]


def certificate(s, issuance, certificate_id, der=None, lasts_s=90 * 86400):
    now = int(time.time())
    return s.certificate_insert(id=certificate_id, issuance_id=issuance, backend="house", serial="01" + certificate_id,
                                der_sha256=der or certificate_id.encode(), not_before=now - 60, not_after=now + lasts_s,
                                der=b"der", chains=["pem"])


def issued(s, issuance, job, certificate_id, der=None):
    revoke = new_id("job")
    return [lambda: s.job_end(id=job, owner="g1", claim=1),
            lambda: s.issuance_lock(id=issuance),
            lambda: certificate(s, issuance, certificate_id, der),
            lambda: s.orders_issued(issuance_id=issuance, certificate_id=certificate_id),
            lambda: (s.certificate_unwanted(id=certificate_id, issuance_id=issuance, job_id=revoke, gateway="g1"),
                     s.certificate_adopt(issuance_id=issuance, der_sha256=der or certificate_id.encode()),
                     s.issuance_refused(id=issuance, error="{}"), s.orders_refused(issuance_id=issuance, error="{}"))]


def refused(s, issuance, job):
    return [lambda: s.job_end(id=job, owner="g1", claim=1),
            lambda: s.issuance_lock(id=issuance),
            lambda: s.issuance_refused(id=issuance, error="{}"),
            lambda: s.orders_refused(issuance_id=issuance, error="{}")]


def deactivate_account(s, account):
    return [lambda: (gate(s, account), s.account_deactivate(id=account), s.account_drop_authz(id=account))[1],
            lambda: s.account_drop_issuances(id=account, error="{}"),
            lambda: s.account_drop_jobs(id=account),
            lambda: s.account_drop_orders(id=account, error="{}")]


def load_issuance(ledger, issuance):
    s = Session(ledger.db.url)
    try:
        return s.issuance_load(id=issuance)[0]
    finally:
        s.close()


# ---- the statements themselves ----

def test_every_statement_prepares_with_its_declared_types(ledger):
    with ledger.db.session() as conn, conn.cursor() as cursor:
        for s in STATEMENTS.values():
            if s.body.startswith("TRUNCATE"):
                continue  # the protocol prepares it, SQL's PREPARE does not
            try:
                cursor.execute(s.prepare())
            except psycopg2.Error as e:
                pytest.fail(f"{s.where} {s.name}: {e}")


DUMMY = {"text": "x", "bytea": b"x", "int8": 1, "bool": False, "text[]": ["x"], "int8[]": [1]}


def test_columns_come_in_the_declared_order(ledger):
    """C reads columns by their place in "out:"."""
    with ledger.db.session() as conn, conn.cursor() as cursor:
        for s in STATEMENTS.values():
            if not s.out:
                continue
            cursor.execute("SAVEPOINT one")
            cursor.execute(s.prepare())
            cursor.execute(s.execute(), s.values({n: DUMMY[t] for n, t, _ in s.params}))
            assert [c.name for c in cursor.description][:len(s.out)] == s.out, s.where
            cursor.execute("ROLLBACK TO one")
            cursor.execute(f"DEALLOCATE {s.name}")


def test_nothing_happens_without_the_gate(ledger, session):
    """Two units of one transaction: the second is not let in by what the first was allowed."""
    account = ledger.account()
    authz = ledger.authz(account, "dns:a.test")
    assert gate(session, account)["ok"] and session.authz_deactivate(id=authz, account_id=account)[0]["done"]
    assert not gate(session, account, key_gen=2)["ok"]
    order = new_id("order")
    for step in new_order(session, account, order)[1:]:
        step()
    assert session.order_read(id=order) == []
    event(session, "order", order)
    session.commit()
    assert ledger.one("SELECT count(*) FROM orders WHERE id = %s", order) == 0
    assert ledger.one("SELECT count(*) FROM event WHERE object_id = %s", order) == 0


# ---- authorizations and orders ----

def two_pending(ledger):
    account = ledger.account()
    authzs = [ledger.authz(account, f"dns:{n}.test", "pending") for n in "ab"]
    order = ledger.order(account, authzs, "pending", names=("dns:a.test", "dns:b.test"))
    jobs = [ledger.job("validate", f"{a}/http-01", account, g) for a, g in zip(authzs, ("g1", "g2"))]
    return Case(account=account, authzs=authzs, order=order, jobs=jobs)


def test_the_last_two_authorizations_turn_valid_at_once(ledger, pair):
    def check(case, a, b):
        ready = [r for lane in (a, b) for r in lane.results[2] if r["status"] == "ready"]
        assert [r["id"] for r in ready] == [case.order]
        row = ledger.order_row(case.order)
        assert (row["status"], row["authz_left"]) == ("ready", 0)
    played, waited = explore(ledger, pair, lambda: two_pending(ledger),
                             lambda s, c: validated(s, c.jobs[0], c.authzs[0], "g1"),
                             lambda s, c: validated(s, c.jobs[1], c.authzs[1], "g2"), check)
    assert played == 70 and waited > 0


def test_one_authorization_turns_valid_while_the_other_fails(ledger, pair):
    def check(case, a, b):
        assert ledger.order_row(case.order)["status"] == "invalid"
        assert [ledger.status("authz", z) for z in case.authzs] == ["valid", "invalid"]
    explore(ledger, pair, lambda: two_pending(ledger), lambda s, c: validated(s, c.jobs[0], c.authzs[0], "g1"),
            lambda s, c: failed(s, c.jobs[1], c.authzs[1], "g2"), check)


def test_two_challenges_of_one_authorization_count_once(ledger, pair):
    def setup():
        case = two_pending(ledger)
        case.jobs[1] = ledger.job("validate", f"{case.authzs[0]}/dns-01", case.account, "g2")
        return case

    def check(case, a, b):
        assert sorted(lane.results[1][0]["claimed"] for lane in (a, b)) == [False, True]
        row = ledger.order_row(case.order)
        assert (row["status"], row["authz_left"]) == ("pending", 1)
    explore(ledger, pair, setup, lambda s, c: validated(s, c.jobs[0], c.authzs[0], "g1"),
            lambda s, c: validated(s, c.jobs[1], c.authzs[0], "g2", "dns-01"), check)


def test_a_success_and_a_failure_of_one_authorization(ledger, pair):
    def setup():
        case = two_pending(ledger)
        case.jobs[1] = ledger.job("validate", f"{case.authzs[0]}/dns-01", case.account, "g2")
        return case

    def check(case, a, b):
        won, lost = a.results[1][0]["claimed"], b.results[1][0]["claimed"]
        assert won != lost
        row = ledger.order_row(case.order)
        assert (ledger.status("authz", case.authzs[0]), row["status"]) == (("valid", "pending") if won else ("invalid", "invalid"))
    explore(ledger, pair, setup, lambda s, c: validated(s, c.jobs[0], c.authzs[0], "g1"),
            lambda s, c: failed(s, c.jobs[1], c.authzs[0], "g2", "dns-01"), check)


def test_a_challenge_is_answered_twice(ledger, pair):
    def setup():
        account = ledger.account()
        return Case(account=account, authz=ledger.authz(account, "dns:a.test", "pending", challenge="pending"))

    def check(case, a, b):
        assert sorted(lane.results[1][0]["responded"] for lane in (a, b)) == [False, True]
        assert ledger.one("SELECT count(*) FROM job WHERE ref = %s", case.authz + "/http-01") == 1
    explore(ledger, pair, setup, lambda s, c: responded(s, c.account, c.authz, new_id("job")),
            lambda s, c: responded(s, c.account, c.authz, new_id("job")), check)


def test_validation_against_deactivation(ledger, pair):
    """Neither waits for the other in a circle, and what is deactivated stays so."""
    def check(case, a, b):
        assert b.results[1][0]["done"] and ledger.status("authz", case.authzs[0]) == "deactivated"
        assert ledger.order_row(case.order)["status"] == "invalid"
        assert ledger.one("SELECT count(*) FROM job WHERE id = %s", case.jobs[0]) == 0
    explore(ledger, pair, lambda: two_pending(ledger), lambda s, c: validated(s, c.jobs[0], c.authzs[0]),
            lambda s, c: deactivate_authz(s, c.account, c.authzs[0]), check)


def test_new_order_against_deactivation_of_what_it_reuses(ledger, pair):
    """An order either rests on the authorization and goes with it, or never rested on it."""
    linked = []

    def setup():
        account = ledger.account()
        return Case(account=account, authz=ledger.authz(account, "dns:a.test"), order=new_id("order"))

    def check(case, a, b):
        assert b.results[1][0]["done"] and ledger.status("authz", case.authz) == "deactivated"
        row = ledger.db.row("SELECT o.status, l.authz_id, z.status AS authz_status FROM orders o JOIN order_authz l ON "
                            "l.order_id = o.id JOIN authz z ON z.id = l.authz_id WHERE o.id = %s", case.order)
        linked.append(row["authz_id"] == case.authz)
        assert row["status"] == ("invalid" if linked[-1] else "pending")
        assert row["authz_status"] == ("deactivated" if linked[-1] else "pending")
    explore(ledger, pair, setup, lambda s, c: new_order(s, c.account, c.order),
            lambda s, c: deactivate_authz(s, c.account, c.authz), check)
    assert True in linked and False in linked


def test_new_order_takes_the_next_best_authorization(ledger, pair):
    """The one it chose is withdrawn while it waits; another one is valid."""
    def setup():
        account = ledger.account()
        return Case(account=account, authz=ledger.authz(account, "dns:a.test", lasts_s=2 * HOUR), order=new_id("order"),
                    other=ledger.authz(account, "dns:a.test"))

    def check(case, a, b):
        row = ledger.db.row("SELECT o.status, l.authz_id FROM orders o JOIN order_authz l ON l.order_id = o.id WHERE o.id = %s",
                            case.order)
        assert (row["status"], row["authz_id"]) in (("ready", case.other), ("invalid", case.authz))
    explore(ledger, pair, setup, lambda s, c: new_order(s, c.account, c.order),
            lambda s, c: deactivate_authz(s, c.account, c.authz), check)


def test_finalize_against_deactivation_of_its_authorization(ledger, pair):
    """RFC 8555 7.1.6: either the order went with the authorization, or the issuance job will find it not eligible."""
    seen = set()

    def setup():
        account = ledger.account()
        authz = ledger.authz(account, "dns:a.test")
        return Case(account=account, authz=authz, order=ledger.order(account, [authz]), csr=new_id("csr").encode())

    def check(case, a, b):
        row = ledger.order_row(case.order)
        seen.add(row["status"])
        if row["status"] == "invalid":
            assert row["issuance_id"] is None and not a.results[0]["claimed"]
        else:
            assert row["status"] == "processing" and row["issuance_id"]
            loaded = load_issuance(ledger, row["issuance_id"])
            assert loaded["eligible"] is False and loaded["why"] == "an authorization is not valid any more"
    explore(ledger, pair, setup, lambda s, c: finalize(s, c.account, c.order, c.csr),
            lambda s, c: deactivate_authz(s, c.account, c.authz), check)
    assert seen == {"invalid", "processing"}


def test_expiry_against_validation(ledger, pair):
    """What turned valid in time does not expire as pending; what expired does not turn valid."""
    def setup():
        account = ledger.account()
        authz = ledger.authz(account, "dns:a.test", "pending", lasts_s=-1)
        return Case(account=account, authz=authz, order=ledger.order(account, [authz], "pending"),
                    job=ledger.job("validate", authz + "/http-01", account))

    def check(case, a, b):
        state = ledger.status("authz", case.authz), ledger.order_row(case.order)["status"]
        assert state in (("valid", "ready"), ("invalid", "invalid"))
    explore(ledger, pair, setup, lambda s, c: validated(s, c.job, c.authz),
            lambda s, c: [lambda: s.expire_authz(), lambda: s.expire_orders()], check)


def test_expiry_against_finalize(ledger, pair):
    def setup():
        account = ledger.account()
        case = Case(account=account, order=ledger.ready(account), csr=new_id("csr").encode())
        ledger.rows("UPDATE orders SET expires_at = clock_timestamp() WHERE id = %s", case.order)
        return case

    def check(case, a, b):
        assert ledger.order_row(case.order)["status"] == "invalid" and not a.results[0]["claimed"]
    explore(ledger, pair, setup, lambda s, c: finalize(s, c.account, c.order, c.csr),
            lambda s, c: [lambda: s.expire_authz(), lambda: s.expire_orders()], check)


# ---- one CSR, one certificate ----

def two_ready(ledger, **how):
    account = ledger.account()
    return Case(account=account, orders=[ledger.ready(account, **how), ledger.ready(account, **how)],
                csr=new_id("csr").encode(), certificate=new_id("certificate"))


def issuances(ledger, case):
    return [r["id"] for r in ledger.rows("SELECT id FROM issuance WHERE csr_sha256 = %s ORDER BY created_at", case.csr)]


def test_one_csr_on_two_orders_at_once(ledger, pair):
    def check(case, a, b):
        (issuance,) = issuances(ledger, case)
        for order in case.orders:
            row = ledger.order_row(order)
            assert (row["status"], row["issuance_id"]) == ("processing", issuance)
        assert ledger.one("SELECT count(*) FROM job WHERE ref = %s", issuance) == 1
        assert sorted(len(lane.results[1]) for lane in (a, b)) == [0, 1]
    played, waited = explore(ledger, pair, lambda: two_ready(ledger),
                             lambda s, c: finalize(s, c.account, c.orders[0], c.csr, gateway="g1"),
                             lambda s, c: finalize(s, c.account, c.orders[1], c.csr, gateway="g2"), check)
    assert played == 70 and waited > 0


def test_the_first_finalize_is_rolled_back(ledger, pair):
    """A gateway dies after the claim: the second begins the issuance itself."""
    a, b = pair
    case = two_ready(ledger)
    for step in finalize(a, case.account, case.orders[0], case.csr):
        step()
    lane = Lane(b, finalize(b, case.account, case.orders[1], case.csr), ledger.waits)
    lane.advance()
    assert lane.waited
    a.rollback()
    play([lane], [])
    (issuance,) = issuances(ledger, case)
    assert ledger.order_row(case.orders[1])["issuance_id"] == issuance
    assert tuple(ledger.order_row(case.orders[0])[:3]) == ("ready", 0, None)


def test_one_order_is_finalized_twice_at_once(ledger, pair):
    def check(case, a, b):
        assert sorted(lane.results[0]["claimed"] for lane in (a, b)) == [False, True]
        assert len(issuances(ledger, case)) == 1
    explore(ledger, pair, lambda: two_ready(ledger), lambda s, c: finalize(s, c.account, c.orders[0], c.csr),
            lambda s, c: finalize(s, c.account, c.orders[0], c.csr), check)


def under_way(ledger):
    case = two_ready(ledger)
    case.issuance, case.job = ledger.issuance(case.account, case.csr, "calling", 1)
    ledger.rows("UPDATE orders SET status = 'processing', csr_sha256 = %s, issuance_id = %s WHERE id = %s", case.csr,
                case.issuance, case.orders[0])
    return case


def test_finalize_while_the_certificate_is_being_stored(ledger, pair):
    """Joined before or after: the second order gets that certificate and never waits for an issuance that is over."""
    def check(case, a, b):
        assert issuances(ledger, case) == [case.issuance]
        for order in case.orders:
            row = ledger.order_row(order)
            assert (row["status"], row["certificate_id"]) == ("valid", case.certificate), order
        assert ledger.one("SELECT unwanted FROM certificate WHERE id = %s", case.certificate) is False
    played, waited = explore(ledger, pair, lambda: under_way(ledger),
                             lambda s, c: issued(s, c.issuance, c.job, c.certificate),
                             lambda s, c: finalize(s, c.account, c.orders[1], c.csr), check)
    assert played == 210 and waited > 0


def test_finalize_while_the_issuance_is_refused(ledger, pair):
    """The second order shares the refusal, or begins a new issuance; it is never left behind."""
    seen = set()

    def check(case, a, b):
        assert ledger.order_row(case.orders[0])["status"] == "invalid"
        row = ledger.order_row(case.orders[1])
        seen.add(row["status"])
        if row["status"] == "processing":
            assert row["issuance_id"] != case.issuance
            assert ledger.one("SELECT live FROM issuance WHERE id = %s", row["issuance_id"]) is True
        else:
            assert (row["status"], row["issuance_id"]) == ("invalid", case.issuance)
    explore(ledger, pair, lambda: under_way(ledger), lambda s, c: refused(s, c.issuance, c.job),
            lambda s, c: finalize(s, c.account, c.orders[1], c.csr), check)
    assert seen == {"processing", "invalid"}


def finished(ledger, session, **how):
    """A certificate that one order has got, and a second order that is ready."""
    case = under_way(ledger)
    run(session, issued(session, case.issuance, case.job, case.certificate))
    assert ledger.order_row(case.orders[0])["status"] == "valid"
    return case


def joins(ledger, session, case, account=None, order=None, **how):
    results = run(session, finalize(session, account or case.account, order or case.orders[1], case.csr, **how))
    row = ledger.order_row(order or case.orders[1])
    assert results[0]["claimed"] and row["issuance_id"] is not None
    joined = bool(results[1])
    assert joined == (row["issuance_id"] == case.issuance) == (not results[2])
    if joined and row["status"] == "valid":
        assert row["certificate_id"] == case.certificate
    return joined


def change(ledger, case, what):
    ledger.rows(f"UPDATE certificate SET {what} WHERE id = %s", case.certificate)


@pytest.mark.parametrize("window, what, want", [
    (HOUR, None, True),
    (HOUR, "created_at = clock_timestamp() - interval '59 minutes'", True),
    (HOUR, "created_at = clock_timestamp() - interval '61 minutes'", False),
    (0, None, False),
    (-1, "created_at = clock_timestamp() - interval '30 days'", True),
    (-1, "not_before = clock_timestamp() - interval '50 days', not_after = clock_timestamp() + interval '40 days'", True),
    (-1, "not_before = clock_timestamp() - interval '61 days', not_after = clock_timestamp() + interval '29 days'", False),
    (HOUR, "not_before = clock_timestamp() - interval '3 hours', not_after = clock_timestamp() + interval '1 hour'", False),
    (HOUR, "revoke_state = 'pending'", False),
    (HOUR, "revoke_state = 'done', revoked_at = clock_timestamp()", False),
    (HOUR, "unwanted = true", False),
])
def test_the_join_window(ledger, session, window, what, want):
    case = finished(ledger, session)
    if what:
        change(ledger, case, what)
    assert joins(ledger, session, case, windows=(window,)) is want


def test_a_live_issuance_is_joined_unless_the_window_is_closed(ledger, session):
    assert joins(ledger, session, under_way(ledger), windows=(1,))
    assert joins(ledger, session, under_way(ledger), windows=(-1,))
    assert not joins(ledger, session, under_way(ledger), windows=(0,))


def test_nothing_is_joined_across_accounts(ledger, session):
    case = finished(ledger, session)
    other = ledger.account()
    assert not joins(ledger, session, case, account=other, order=ledger.ready(other))


@pytest.mark.parametrize("how", [{"directory": "e"}, {"profile": "q"}, {"not_after": 4102444800}, {"replaces": "aki.serial"}])
def test_nothing_is_joined_across(ledger, session, how):
    case = finished(ledger, session)
    order = ledger.ready(case.account, **how)
    assert not joins(ledger, session, case, order=order, profiles=("p", "q"), windows=(-1, -1))


def test_two_replacing_orders_with_one_csr_stay_apart(ledger, pair):
    def check(case, a, b):
        assert len(issuances(ledger, case)) == 2
        assert len({ledger.order_row(o)["issuance_id"] for o in case.orders}) == 2
    explore(ledger, pair, lambda: two_ready(ledger, replaces="aki.serial"),
            lambda s, c: finalize(s, c.account, c.orders[0], c.csr),
            lambda s, c: finalize(s, c.account, c.orders[1], c.csr), check)


def test_a_blocked_key_is_not_finalized(ledger, session):
    case = finished(ledger, session)
    key = new_id("key").encode()
    ledger.rows("INSERT INTO blocked_key (spki_sha256, reason) VALUES (%s, 'test')", key)
    results = run(session, finalize(session, case.account, case.orders[1], case.csr, key=key))
    assert not results[0]["claimed"] and results[1:] == [[], []]
    assert tuple(ledger.order_row(case.orders[1])[:3]) == ("ready", 0, None)
    gate(session, case.account)
    assert session.order_why_not(id=case.orders[1], spki_sha256=key)[0]["blocked"] is True


def test_a_blocked_key_stops_an_issuance_under_way(ledger, session):
    case = under_way(ledger)
    assert load_issuance(ledger, case.issuance)["eligible"] is True
    key = new_id("key").encode()
    ledger.rows("UPDATE issuance SET spki_sha256 = %s WHERE id = %s", key, case.issuance)
    ledger.rows("INSERT INTO blocked_key (spki_sha256, reason) VALUES (%s, 'test')", key)
    loaded = load_issuance(ledger, case.issuance)
    assert (loaded["eligible"], loaded["why"]) == (False, "the key is blocked")


# ---- accounts ----

def test_account_deactivation_against_finalize(ledger, pair):
    """Nothing is issued for it, and no live issuance is left without a job."""
    def setup():
        case = two_ready(ledger)
        return case

    def check(case, a, b):
        assert a.results[0][0]["done"]
        assert [ledger.order_row(o)["status"] for o in case.orders] == ["invalid"] * 2
        for row in ledger.rows("SELECT i.id, i.live, j.id AS job FROM issuance i LEFT JOIN job j ON j.kind = 'issue' AND "
                               "j.ref = i.id WHERE i.csr_sha256 = %s", case.csr):
            assert not row["live"] or row["job"], "a live issuance that nobody runs"
            assert load_issuance(ledger, row["id"])["eligible"] is False
    explore(ledger, pair, setup, lambda s, c: deactivate_account(s, c.account),
            lambda s, c: finalize(s, c.account, c.orders[0], c.csr), check)


def test_account_deactivation_against_new_order(ledger, pair):
    """An order that slips in is of no use to anybody: its account passes no gate, and nothing of it is valid."""
    def setup():
        account = ledger.account()
        return Case(account=account, authz=ledger.authz(account, "dns:a.test"), order=new_id("order"))

    def check(case, a, b):
        assert ledger.status("account", case.account) == "deactivated"
        rows = ledger.rows("SELECT o.status, z.status AS authz FROM orders o JOIN order_authz l ON l.order_id = o.id JOIN authz z "
                           "ON z.id = l.authz_id WHERE o.id = %s", case.order)
        for row in rows:
            assert (row["status"], row["authz"]) in (("invalid", "deactivated"), ("invalid", "pending"), ("pending", "pending"),
                                                     ("invalid", "valid"))
        assert ledger.one("SELECT count(*) FROM authz WHERE account_id = %s AND status = 'valid'", case.account) == 0
    explore(ledger, pair, setup, lambda s, c: deactivate_account(s, c.account),
            lambda s, c: new_order(s, c.account, c.order), check)


def test_account_deactivation_against_the_first_attempt(ledger, pair):
    """Either the CA is never called, or the job stays and deals with what comes back."""
    seen = set()

    def setup():
        case = two_ready(ledger)
        case.issuance, case.job = ledger.issuance(case.account, case.csr)
        ledger.rows("UPDATE orders SET status = 'processing', issuance_id = %s WHERE id = %s", case.issuance, case.orders[0])
        return case

    def check(case, a, b):
        called = bool(b.results[1])
        seen.add(called)
        row = ledger.db.row("SELECT i.live, i.attempts, j.id AS job FROM issuance i LEFT JOIN job j ON j.id = %s WHERE i.id = %s",
                            case.job, case.issuance)
        assert (row["live"], row["attempts"]) == ((True, 1) if called else (False, 0))
        assert not called or row["job"] == case.job, "the CA was called, and nobody waits for its answer"
        assert ledger.order_row(case.orders[0])["status"] == "invalid"
    explore(ledger, pair, setup, lambda s, c: deactivate_account(s, c.account), lambda s, c: attempt(s, c.issuance, c.job), check)
    assert seen == {True, False}


def test_account_deactivation_against_a_certificate(ledger, pair):
    """The certificate belongs to an order that got it in time, or to nobody, and is then revoked."""
    seen = set()

    def check(case, a, b):
        row = ledger.db.row("SELECT unwanted, revoke_state, revoke_reason FROM certificate WHERE id = %s", case.certificate)
        status = ledger.order_row(case.orders[0])["status"]
        seen.add(status)
        if status == "valid":
            assert tuple(row) == (False, None, None)
        else:
            assert status == "invalid" and tuple(row) == (True, "pending", 5)
        jobs = ledger.one("SELECT count(*) FROM job WHERE kind = 'revoke' AND ref = %s", case.certificate)
        assert jobs == (status == "invalid")
        assert ledger.one("SELECT count(*) FROM job WHERE kind = 'issue' AND ref = %s", case.issuance) == 0
    explore(ledger, pair, lambda: under_way(ledger), lambda s, c: deactivate_account(s, c.account),
            lambda s, c: merged(issued(s, c.issuance, c.job, c.certificate), 2, 1, 1, 1), check)
    assert seen == {"valid", "invalid"}


def test_account_deactivation_against_a_refusal_before_any_attempt(ledger, pair):
    def setup():
        case = two_ready(ledger)
        case.issuance, case.job = ledger.issuance(case.account, case.csr)
        ledger.rows("UPDATE orders SET status = 'processing', issuance_id = %s WHERE id = %s", case.issuance, case.orders[0])
        return case

    def check(case, a, b):
        assert ledger.status("issuance", case.issuance) == "refused"
        assert ledger.order_row(case.orders[0])["status"] == "invalid"
        assert ledger.one("SELECT count(*) FROM job WHERE id = %s", case.job) == 0
    explore(ledger, pair, setup, lambda s, c: deactivate_account(s, c.account),
            lambda s, c: merged(refused(s, c.issuance, c.job), 2, 1, 1), check)


def test_account_deactivation_against_validation(ledger, pair):
    def check(case, a, b):
        assert ledger.status("authz", case.authzs[0]) == "deactivated"
        assert ledger.order_row(case.order)["status"] == "invalid"
    explore(ledger, pair, lambda: two_pending(ledger), lambda s, c: deactivate_account(s, c.account),
            lambda s, c: validated(s, c.jobs[0], c.authzs[0]), check)


def test_account_deactivation_twice(ledger, pair):
    def check(case, a, b):
        assert sorted(lane.results[0][0]["done"] for lane in (a, b)) == [False, True]
    explore(ledger, pair, lambda: two_ready(ledger), lambda s, c: deactivate_account(s, c.account)[:1],
            lambda s, c: deactivate_account(s, c.account)[:1], check)


def change_key(s, account, key, key_gen=1):
    return [lambda: gate(s, account, key_gen),
            lambda: s.account_key_change(directory="d", id=account, old_thumbprint="key of " + account, thumbprint=key,
                                         spki=key.encode()),
            lambda: (s.account_set_key(id=account, jwk="{}", thumbprint=key), s.account_by_key(directory="d", thumbprint=key))[1]]


def new_account(s, account, key):
    return [lambda: gate_jwk(s),
            lambda: s.account_claim(directory="d", thumbprint=key, id=account, create=True, eab_kid=None, spki=key.encode()),
            lambda: (s.account_insert(id=account, directory="d", jwk="{}", thumbprint=key, contacts=[], terms_agreed=True,
                                      eab_kid=None, eab_json=None, created_from=None),
                     s.account_by_key(directory="d", thumbprint=key))[1]]


def keys_of(ledger, *accounts):
    return {tuple(r) for r in ledger.rows("SELECT a.id, a.thumbprint, k.thumbprint FROM account a LEFT JOIN account_key k ON "
                                          "k.account_id = a.id WHERE a.id = ANY (%s)", list(accounts))}


def test_new_account_twice_with_one_key(ledger, pair):
    def check(case, a, b):
        assert sorted(lane.results[1][0]["claimed"] for lane in (a, b)) == [False, True]
        (found,) = {lane.results[2][0]["id"] for lane in (a, b)}
        assert keys_of(ledger, *case.accounts) == {(found, case.key, case.key)}
    played, waited = explore(ledger, pair, lambda: Case(accounts=[new_id("account"), new_id("account")], key=new_id("key")),
                             lambda s, c: new_account(s, c.accounts[0], c.key),
                             lambda s, c: new_account(s, c.accounts[1], c.key), check)
    assert played == 70 and waited > 0


def test_two_accounts_change_to_one_key(ledger, pair):
    def check(case, a, b):
        claimed = [lane.results[1][0]["claimed"] for lane in (a, b)]
        assert sorted(claimed) == [False, True]
        winner, loser = case.accounts if claimed[0] else case.accounts[::-1]
        assert keys_of(ledger, winner, loser) == {(winner, case.key, case.key), (loser, "key of " + loser, "key of " + loser)}
        assert {lane.results[2][0]["id"] for lane in (a, b)} == {winner}
    explore(ledger, pair, lambda: Case(accounts=[ledger.account(), ledger.account()], key=new_id("key")),
            lambda s, c: change_key(s, c.accounts[0], c.key), lambda s, c: change_key(s, c.accounts[1], c.key), check)


def test_one_account_changes_to_two_keys(ledger, pair):
    """Whoever comes second was verified with a key that is the account's no more: no second row leads to the account."""
    def check(case, a, b):
        ok = [lane.results[1][0]["claimed"] for lane in (a, b)]
        assert sorted(ok) == [False, True]
        key = case.keys[0 if ok[0] else 1]
        assert keys_of(ledger, case.account) == {(case.account, key, key)}
        assert ledger.one("SELECT key_gen FROM account WHERE id = %s", case.account) == 2
    explore(ledger, pair, lambda: Case(account=ledger.account(), keys=[new_id("key"), new_id("key")]),
            lambda s, c: change_key(s, c.account, c.keys[0]), lambda s, c: change_key(s, c.account, c.keys[1]), check)


def test_key_change_against_new_account_with_that_key(ledger, pair):
    def check(case, a, b):
        changed, made = a.results[1][0]["claimed"], b.results[1][0]["claimed"]
        assert changed != made
        owner = case.account if changed else case.other
        assert ledger.one("SELECT account_id FROM account_key WHERE directory = 'd' AND thumbprint = %s", case.key) == owner
        assert a.results[2][0]["id"] == b.results[2][0]["id"] == owner
    explore(ledger, pair, lambda: Case(account=ledger.account(), other=new_id("account"), key=new_id("key")),
            lambda s, c: change_key(s, c.account, c.key), lambda s, c: new_account(s, c.other, c.key), check)


def test_an_account_that_changed_elsewhere_passes_no_gate(ledger, session):
    account = ledger.account()
    assert gate(session, account)["ok"]
    session.rollback()
    ledger.rows("UPDATE account SET key_gen = 2 WHERE id = %s", account)
    seen = gate(session, account)
    assert (seen["ok"], seen["nonce_ok"], seen["key_gen"], seen["status"]) == (False, True, 2, "valid")
    ledger.rows("UPDATE account SET status = 'deactivated' WHERE id = %s", account)
    assert gate(session, account, key_gen=2)["ok"] is False
    assert gate(session, "nobody")["status"] is None


def test_an_eab_key_that_is_disabled_gets_no_order(ledger, session):
    kid = new_id("eab")
    ledger.rows("INSERT INTO eab (kid, name, hmac_key) VALUES (%s, %s, 'x')", kid, kid)
    account = ledger.account(eab=kid)
    assert run(session, new_order(session, account, new_id("order")))[3]
    case = under_way(ledger)
    ledger.rows("UPDATE account SET eab_kid = %s WHERE id = %s", kid, case.account)
    assert load_issuance(ledger, case.issuance)["eligible"] is True
    ledger.rows("UPDATE eab SET status = 'disabled' WHERE kid = %s", kid)
    assert run(session, new_order(session, account, new_id("order")))[3] == []
    order = ledger.ready(account)
    assert not run(session, finalize(session, account, order, new_id("csr").encode()))[0]["claimed"]
    loaded = load_issuance(ledger, case.issuance)
    assert (loaded["eligible"], loaded["why"]) == (False, "the external account binding key is disabled or expired")


# ---- new-authz ----

def claim_authz(s, account, want, base="dns:a.test", methods=("http-01",)):
    fresh = new_id("authz")
    gate(s, account)
    found = s.authz_claim(account_id=account, directory="d", base=base, want=want, methods=list(methods), id=fresh)[0]
    s.authz_insert(id=fresh, account_id=account, directory="d", base=base, ttl_s=HOUR)
    s.challenge_new(authz_ids=[fresh], types=["http-01"], positions=[0], tokens=["t"])
    rows = s.authz_read(id=None)
    s.commit()
    assert rows[0]["id"] == found["id"] and found["found"] == (found["id"] != fresh)
    return found["id"] if found["found"] else None


def test_new_authz_finds_what_lasts_long_enough(ledger, session):
    now = int(time.time())
    account = ledger.account()
    authz = ledger.authz(account, "dns:a.test", lasts_s=2 * HOUR)
    assert claim_authz(session, account, now + HOUR) == authz
    assert claim_authz(session, account, now + 3 * HOUR) is None
    pending = claim_authz(session, account, now + 3 * HOUR)
    assert pending not in (None, authz), "one that waits is found again"
    assert claim_authz(session, account, now + HOUR) == authz, "a valid one comes before one that waits"
    assert claim_authz(session, account, 0) == pending, "no valid one is wanted"
    assert ledger.one("SELECT expires_at < clock_timestamp() + interval '2 hours' FROM authz WHERE id = %s", authz), \
        "asking does not prolong"


@pytest.mark.parametrize("how", [{"wildcard": True}, {"directory": "e"}, {"method": "dns-01"}, {"lasts_s": -1},
                                 {"status": "deactivated"}, {"status": "pending"}, {"status": "pending", "preauth": True, "lasts_s": -1}])
def test_new_authz_does_not_find(ledger, session, how):
    account = ledger.account()
    ledger.authz(account, "dns:a.test", **how)
    assert claim_authz(session, account, int(time.time()) - 86400) is None


def test_new_authz_does_not_find_those_of_others(ledger, session):
    ledger.authz(ledger.account(), "dns:a.test")
    account = ledger.account()
    ledger.authz(account, "dns:b.test")
    assert claim_authz(session, account, int(time.time())) is None


# ---- nonces ----

def spend(s, nonce, tag):
    return [lambda: s.nonce_spend(nonces=[nonce], tags=[tag], slots=[1]),
            lambda: s.gate_nonce(slot=1, nonce=nonce, tag=tag)]


def test_a_nonce_is_good_once(ledger, pair):
    def check(case, a, b):
        assert sorted(lane.results[1][0]["ok"] for lane in (a, b)) == [False, True]
    explore(ledger, pair, lambda: Case(nonce=new_id("nonce")), lambda s, c: spend(s, c.nonce, "tag a"),
            lambda s, c: spend(s, c.nonce, "tag b"), check)


def test_a_nonce_twice_in_one_batch(ledger, session):
    nonce = new_id("nonce")
    session.nonce_spend(nonces=[nonce, nonce], tags=["one", "two"], slots=[1, 1])
    ok = [session.gate_nonce(slot=1, nonce=nonce, tag=tag)[0]["ok"] for tag in ("one", "two")]
    assert sorted(ok) == [False, True]


def test_a_nonce_of_a_batch_that_failed_is_good_again(ledger, pair):
    a, b = pair
    nonce = new_id("nonce")
    a.nonce_spend(nonces=[nonce], tags=["one"], slots=[1])
    lane = Lane(b, spend(b, nonce, "two"), ledger.waits)
    lane.advance()
    assert lane.waited
    a.rollback()
    play([lane], [])
    assert lane.results[1][0]["ok"] is True


def test_batches_with_the_same_nonces_crosswise_do_not_deadlock(ledger):
    """The statement sorts, whatever order the batch came in."""
    errors, gates = [], threading.Barrier(2)

    def spender(backwards):
        s = Session(ledger.db.url)
        try:
            for batch in range(150):
                nonces = [f"crosswise {batch} {i:03}" for i in range(64)]
                gates.wait(30)
                s.nonce_spend(nonces=nonces[::-1] if backwards else nonces, tags=[str(backwards)] * 64, slots=[2] * 64)
                s.commit()
        except (psycopg2.Error, threading.BrokenBarrierError) as e:
            gates.abort()
            errors.append(e)
        finally:
            s.close()
    threads = [threading.Thread(target=spender, args=(b,)) for b in (False, True)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert errors == []
    spent = ledger.rows("SELECT split_part(nonce, ' ', 2) AS batch, count(*) AS n, count(DISTINCT tag) AS owners FROM nonce_spent "
                        "WHERE slot = 2 GROUP BY 1")
    assert len(spent) == 150 and all(r["n"] == 64 and r["owners"] == 1 for r in spent)


# ---- jobs ----

@pytest.fixture
def dead(ledger):
    """A gateway whose lease has lapsed; nobody else's jobs are about."""
    ledger.rows("DELETE FROM job")
    return ledger.gateway(new_id("gateway"), lease_s=-1)


def take(s, gateway="g1", most=32):
    return [r["id"] for r in s.job_take(gateway=gateway, most=most)]


def test_two_gateways_take_over_different_jobs(ledger, pair, dead):
    a, b = pair
    jobs = [ledger.job("crl", new_id("backend"), owner=dead) for _ in range(6)]
    first = take(a, "g1", most=4)
    second = take(b, "g2", most=4)
    assert len(first) == 4 and len(second) == 2 and set(first) | set(second) == set(jobs)
    a.commit()
    assert take(b, "g2") == []
    b.commit()
    assert {r["owner"] for r in ledger.rows("SELECT owner FROM job WHERE id = ANY (%s)", first)} == {"g1"}
    assert {r["claim"] for r in ledger.rows("SELECT claim FROM job WHERE id = ANY (%s)", jobs)} == {2}


def test_a_take_over_that_fails_leaves_the_jobs(ledger, pair, dead):
    a, b = pair
    job = ledger.job("crl", new_id("backend"), owner=dead)
    assert take(a) == [job] and take(b, "g2") == []
    a.rollback()
    assert take(b, "g2") == [job]
    b.commit()


@pytest.mark.parametrize("how, want", [("lapsed", True), ("gone", True), ("alive", False), ("parked", False),
                                       ("not due", False), ("our own", False)])
def test_which_jobs_are_taken(ledger, session, dead, how, want):
    """Our own, lease lapsed or not, are in our memory with what a CA answered; job_overdue finds those that are not."""
    owner = {"gone": "never said hello", "alive": "g2"}.get(how, dead)
    job = ledger.job("crl", new_id("backend"), owner=owner, due_s=60 if how == "not due" else -60)
    ledger.rows("UPDATE job SET parked = %s WHERE id = %s", how == "parked", job)
    assert take(session, dead if how == "our own" else "g1") == ([job] if want else [])


def test_a_job_is_not_taken_while_its_owner_writes(ledger, pair, dead):
    """The lease lapses between fence and commit."""
    a, b = pair
    ledger.gateway(dead)
    job = ledger.job("crl", new_id("backend"), owner=dead)
    assert a.job_fence(id=job, owner=dead, claim=1)[0]["ok"] is True
    ledger.gateway(dead, lease_s=-1)
    assert take(b) == []
    b.commit()
    a.commit()
    assert take(b) == [job]
    b.commit()
    assert a.job_fence(id=job, owner=dead, claim=1)[0]["ok"] is False
    a.rollback()


FENCES = {
    "job_fence": lambda s, **j: s.job_fence(**j)[0]["ok"],
    "job_end": lambda s, **j: s.job_end(**j)[0]["ok"],
    "job_later": lambda s, **j: s.job_later(in_ms=1000, error=None, parked=False, **j)[0]["ok"],
}


@pytest.mark.parametrize("fence", FENCES)
def test_the_fences(ledger, session, dead, fence):
    """Only the owner, with its claim; and pass() says the same to the rest of the unit. To begin something takes a lease
    in force; what was learnt is written while nobody else has the job."""
    ok = FENCES[fence]
    job = ledger.job("crl", new_id("backend"), owner="g1")
    cases = [(dict(id=job, owner="g1", claim=1), True), (dict(id=job, owner="g1", claim=2), False),
             (dict(id=job, owner="g2", claim=1), False), (dict(id="no job", owner="g1", claim=1), False)]
    for arguments, want in cases:
        assert ok(session, **arguments) is want, arguments
        with session.conn.cursor() as cursor:
            cursor.execute("SELECT pass(), claimed()")
            assert cursor.fetchone() == (want, False)
        session.rollback()
    for owner in (dead, "never said hello"):
        ledger.rows("UPDATE job SET owner = %s WHERE id = %s", owner, job)
        assert ok(session, id=job, owner=owner, claim=1) is (fence != "job_fence"), "its lease has lapsed, or it was removed"
        session.rollback()


@pytest.mark.parametrize("fence", FENCES)
def test_the_old_owner_is_fenced_after_a_take_over(ledger, pair, dead, fence):
    """It comes back to life with its lease, and writes while the take-over commits."""
    a, b = pair
    case = two_pending(ledger)
    ledger.rows("UPDATE job SET owner = %s WHERE id = ANY (%s)", dead, case.jobs)
    assert set(take(b, "g2")) == set(case.jobs)
    ledger.gateway(dead)
    lane = Lane(a, [lambda: FENCES[fence](a, id=case.jobs[0], owner=dead, claim=1),
                    lambda: a.validate_ok(authz_id=case.authzs[0], type="http-01", tried="[]", ttl_s=HOUR),
                    lambda: a.orders_count_down(authz_id=case.authzs[0])], ledger.waits)
    lane.advance()
    assert lane.waited
    b.commit()
    play([lane], [])
    assert lane.results[0] is False and lane.results[1][0]["claimed"] is False and lane.results[2] == []
    assert ledger.status("authz", case.authzs[0]) == "pending"
    assert tuple(ledger.db.row("SELECT owner, claim FROM job WHERE id = %s", case.jobs[0])) == ("g2", 2)


def test_a_gateway_that_was_removed_is_there_again_with_its_next_beat(ledger, session, dead):
    def beat(name, lease_ms=600000):
        made = session.gateway_beat(id=name, name=name, version="test", lease_ms=lease_ms)[0]["made"]
        session.commit()
        return made
    assert beat(dead) is False and beat("g1") is False
    ledger.rows("DELETE FROM gateway WHERE id = %s", dead)
    job = ledger.job("crl", new_id("backend"), owner=dead)
    assert session.job_fence(id=job, owner=dead, claim=1)[0]["ok"] is False
    assert beat(dead) is True and beat(dead) is False
    assert session.job_fence(id=job, owner=dead, claim=1)[0]["ok"] is True


def test_a_gateway_that_says_bye_leaves_its_jobs_at_once(ledger, session, dead):
    name = ledger.gateway(new_id("gateway"))
    job = ledger.job("crl", new_id("backend"), owner=name)
    assert take(session) == []
    session.gateway_bye(id=name)
    assert take(session) == [job]


def test_overdue_jobs_of_ones_own(ledger, session, dead):
    late, soon = ledger.job("crl", new_id("backend"), due_s=-11), ledger.job("crl", new_id("backend"), due_s=-5)
    found = [r["id"] for r in session.job_overdue(gateway="g1", most=10)]
    assert late in found and soon not in found


def test_gateways_with_jobs_are_not_forgotten(ledger, session, dead):
    gone = ledger.gateway(new_id("gateway"), lease_s=-2 * 86400)
    keeps = ledger.gateway(new_id("gateway"), lease_s=-2 * 86400)
    ledger.job("crl", new_id("backend"), owner=keeps)
    session.expire_gateways()
    session.commit()
    left = {r["id"] for r in ledger.rows("SELECT id FROM gateway")}
    assert gone not in left and keeps in left


# ---- certificates ----

def test_a_certificate_is_stored_once(ledger, pair):
    """The answer of a call that was given up arrives beside that of the one after it."""
    def setup():
        case = under_way(ledger)
        case.certificates = [new_id("certificate"), new_id("certificate")]
        return case

    def steps(s, case, which):
        return [lambda: s.job_fence(id=case.job, owner="g1", claim=1),
                lambda: certificate(s, case.issuance, case.certificates[which])]

    def check(case, a, b):
        stored = [lane.results[1] for lane in (a, b)]
        assert sorted(len(rows) for rows in stored) == [0, 1]
        row = ledger.db.row("SELECT i.live, i.state, i.certificate_id, c.id FROM issuance i JOIN certificate c ON "
                            "c.issuance_id = i.id WHERE i.id = %s", case.issuance)
        winner = case.certificates[0 if stored[0] else 1]
        assert tuple(row) == (False, "done", winner, winner)
    explore(ledger, pair, setup, lambda s, c: steps(s, c, 0), lambda s, c: steps(s, c, 1), check)


@pytest.mark.parametrize("what, adopted", [(None, True), ("account_id = 'another'", False), ("directory = 'e'", False),
                                           ("revoke_state = 'pending'", False), ("unwanted = true", False)])
def test_a_certificate_that_was_stored_for_another_issuance(ledger, session, what, adopted):
    """A CA that answers two requests with one certificate: the orders get that one if it is good for them; they are
    refused otherwise, and in no case is it an error."""
    first = finished(ledger, session)
    if what:
        change(ledger, first, what)
    order = first.orders[1]
    issuance, job = ledger.issuance(first.account, new_id("csr").encode(), "calling", 1)
    ledger.rows("UPDATE orders SET status = 'processing', issuance_id = %s WHERE id = %s", issuance, order)
    stored, orders, others = run(session, issued(session, issuance, job, new_id("certificate"), first.certificate.encode()))[2:]
    unwanted, given, _, refusals = others
    assert (stored, orders, unwanted) == ([], [], [])
    assert ([r["id"] for r in given], [r["id"] for r in refusals]) == (([order], []) if adopted else ([], [order]))
    row = ledger.order_row(order)
    assert (row["status"], row["certificate_id"]) == (("valid", first.certificate) if adopted else ("invalid", None))
    assert ledger.status("issuance", issuance) == ("done" if adopted else "refused")
    assert ledger.one("SELECT live FROM issuance WHERE id = %s", issuance) is False
    assert ledger.order_row(first.orders[0])["status"] == "valid"


def test_a_late_certificate_goes_to_orders_that_still_wait(ledger, session):
    case = under_way(ledger)
    ledger.rows("UPDATE orders SET status = 'invalid' WHERE id = %s", case.orders[0])
    ledger.rows("UPDATE orders SET status = 'processing', issuance_id = %s WHERE id = %s", case.issuance, case.orders[1])
    results = run(session, issued(session, case.issuance, case.job, case.certificate))
    assert [r["id"] for r in results[3]] == [case.orders[1]] and not any(results[4][i] for i in (0, 1, 3))
    assert ledger.order_row(case.orders[0])["certificate_id"] is None


def revoke(s, certificate_id, account=None, key=None, reason=1, directory="d"):
    job = new_id("job")
    der = certificate_id.encode()
    return [lambda: (gate(s, account) if account else gate_jwk(s),
                     s.revoke_find(der_sha256=der, account_id=account, directory=directory))[1],
            lambda: s.revoke_claim(der_sha256=der, directory=directory, account_id=account, spki_sha256=key, reason=reason,
                                   job_id=job, gateway="g1"),
            lambda: event(s, "certificate", certificate_id)]


def test_a_certificate_is_revoked_twice_at_once(ledger, pair):
    def check(case, a, b):
        claims = [lane.results[1] for lane in (a, b)]
        assert sorted(len(rows) for rows in claims) == [0, 1]
        assert ledger.one("SELECT count(*) FROM job WHERE kind = 'revoke' AND ref = %s", case.certificate) == 1
        assert ledger.one("SELECT count(*) FROM event WHERE object_id = %s AND event = 'test'", case.certificate) == 1
        reason = ledger.one("SELECT revoke_reason FROM certificate WHERE id = %s", case.certificate)
        assert reason == (1 if claims[0] else 4)
    explore(ledger, pair, lambda: finished(ledger, pair[0]), lambda s, c: revoke(s, c.certificate, c.account),
            lambda s, c: revoke(s, c.certificate, key=b"key", reason=4), check)


def test_revocation_against_finalize(ledger, pair):
    """An order may still get what is being revoked at the same moment; later ones may not."""
    seen = set()

    def check(case, a, b):
        assert ledger.one("SELECT revoke_state FROM certificate WHERE id = %s", case.certificate) == "pending"
        row = ledger.order_row(case.orders[1])
        joined = row["issuance_id"] == case.issuance
        seen.add(joined)
        assert row["status"] == ("valid" if joined else "processing")
        later = ledger.ready(case.account)
        run(pair[0], finalize(pair[0], case.account, later, case.csr))
        assert ledger.order_row(later)["issuance_id"] not in (None, case.issuance)
    explore(ledger, pair, lambda: finished(ledger, pair[0]), lambda s, c: revoke(s, c.certificate, c.account),
            lambda s, c: finalize(s, c.account, c.orders[1], c.csr), check)
    assert seen == {True, False}


@pytest.mark.parametrize("who, want", [("owner", True), ("holder of all names", True), ("holder of one name", False),
                                       ("holder of expired", False), ("stranger", False), ("certificate key", True),
                                       ("other key", False)])
def test_who_may_revoke(ledger, session, who, want):
    case = finished(ledger, session)
    ledger.rows("UPDATE certificate SET names = '{dns:*.a.test,dns:b.test,ip:192.0.2.1}' WHERE id = %s", case.certificate)
    account, key = ledger.account(), None
    holds = {"holder of all names": 3, "holder of one name": 1, "holder of expired": 3}.get(who, 0)
    for ident, wildcard in (("dns:a.test", True), ("dns:b.test", False), ("ip:192.0.2.1", False))[:holds]:
        ledger.authz(account, ident, wildcard=wildcard, lasts_s=-1 if who == "holder of expired" else HOUR)
    if who == "owner":
        account = case.account
    elif who.endswith("key"):
        account, key = None, b"key" if who == "certificate key" else b"other"
    found, claim = run(session, revoke(session, case.certificate, account, key))[:2]
    assert found[0]["allowed"] is (want and account is not None) and len(claim) == want
    assert ledger.one("SELECT revoke_state FROM certificate WHERE id = %s", case.certificate) == ("pending" if want else None)


@pytest.mark.parametrize("state", ["pending", "done", "refused"])
@pytest.mark.parametrize("reason, key, raised", [(1, b"key", True), (3, b"key", False), (1, b"other", False), (1, None, False)])
def test_raising_the_reason_of_a_revocation(ledger, session, state, reason, key, raised):
    """Only the certificate's own key, and only to keyCompromise; it is revoked from the same moment on as before."""
    case = finished(ledger, session)
    change(ledger, case, f"revoke_state = '{state}', revoke_reason = 4"
           + (", revoked_at = '2020-01-01'" if state == "done" else ""))
    claim = run(session, revoke(session, case.certificate, None if key else case.account, key, reason))[1]
    if state == "refused":
        raised = key != b"other"  # the refusal is forgotten: it is asked for anew
    assert len(claim) == raised
    row = ledger.db.row("SELECT revoke_reason, revoked_at FROM certificate WHERE id = %s", case.certificate)
    assert row["revoke_reason"] == (reason if raised else 4)
    if raised:
        job = ledger.one("SELECT id FROM job WHERE kind = 'revoke' AND ref = %s", case.certificate)
        run(session, revoked(session, case.certificate, job, new_id("job")))
        after = ledger.db.row("SELECT revoke_state, revoked_at FROM certificate WHERE id = %s", case.certificate)
        assert after["revoke_state"] == "done" and after["revoked_at"] >= (row["revoked_at"] or after["revoked_at"])
        assert state != "done" or after["revoked_at"] == row["revoked_at"]


def test_a_key_is_blocked_by_its_holder_alone(ledger, session):
    case = finished(ledger, session)
    key = new_id("key").encode()
    change(ledger, case, f"spki_sha256 = '{key.decode()}'")
    for spki, want in ((b"other", 0), (None, 0), (key, 1), (key, 1)):
        gate_jwk(session)
        session.block_key(der_sha256=case.certificate.encode(), directory="d", spki_sha256=spki, reason="keyCompromise")
        session.commit()
        assert ledger.one("SELECT count(*) FROM blocked_key WHERE spki_sha256 = ANY (%s)", [key, b"other"]) == want


def test_certificates_of_another_directory_are_not_revoked(ledger, session):
    case = finished(ledger, session)
    found, claim = run(session, revoke(session, case.certificate, key=b"key", directory="e"))[:2]
    assert found == [] and claim == []


def revoked(s, certificate_id, job, crl_job):
    return [lambda: s.job_end(id=job, owner="g1", claim=1),
            lambda: s.revoke_done(id=certificate_id, job_id=crl_job, gateway="g1")]


def crl_steps(s, backend, number, covers):
    now = int(time.time())
    return s.crl_store(backend=backend, number=number, this_update=now, next_update=now + 7 * 86400, covers=covers, der=b"crl")


def fresh(ledger, session, backend):
    rows = session.crl_read(backend=backend)
    session.commit()
    return bool(rows) and rows[0]["fresh"]


def test_a_crl_covers_what_it_was_made_from(ledger, pair):
    """A revocation that commits while a CRL is being signed makes that CRL stale; only a newer one takes its place."""
    a, b = pair
    backend = new_id("backend")
    cases = [finished(ledger, a) for _ in range(2)]
    for case in cases:
        change(ledger, case, f"backend = '{backend}', revoke_state = 'pending', revoke_reason = 4")
        case.revoke = ledger.job("revoke", case.certificate)
    first = run(a, revoked(a, cases[0].certificate, cases[0].revoke, new_id("job")))[1]
    assert first[0]["crl_job"] is True
    entries = a.crl_entries(backend=backend)
    assert (entries[0]["covers"], entries[0]["number"], len(entries)) == (1, 0, 1)
    a.commit()
    second = run(b, revoked(b, cases[1].certificate, cases[1].revoke, new_id("job")))[1]
    assert second[0]["crl_job"] is False, "the job that is signing is there already"
    run(a, [lambda: a.job_end(id=ledger.one("SELECT id FROM job WHERE kind = 'crl' AND ref = %s", backend), owner="g1", claim=1),
            lambda: crl_steps(a, backend, 1, 1)])
    assert fresh(ledger, a, backend) is False
    want = a.crl_want(backend=backend, job_id=new_id("job"), gateway="g1")
    assert len(want) == 1 and a.crl_want(backend=backend, job_id=new_id("job"), gateway="g1") == []
    entries = a.crl_entries(backend=backend)
    assert (entries[0]["covers"], entries[0]["number"], len(entries)) == (2, 1, 2)
    run(a, [lambda: a.job_end(id=want[0]["id"], owner="g1", claim=1), lambda: crl_steps(a, backend, 2, 2)])
    assert fresh(ledger, a, backend) is True
    change(ledger, cases[0], "revoke_reason = 1")
    assert fresh(ledger, a, backend) is False, "a reason that was raised is to be seen at once"
    entries = a.crl_entries(backend=backend)
    assert entries[0]["covers"] == 3 and sorted(r["reason"] for r in entries) == [1, 4]
    a.rollback()
    change(ledger, cases[0], "revoke_reason = 4")
    late = ledger.job("crl", backend)
    run(a, [lambda: a.job_end(id=late, owner="g1", claim=1), lambda: crl_steps(a, backend, 2, 1)])
    assert fresh(ledger, a, backend) is True, "an older number does not take the place of a newer one"


def test_a_revocation_while_the_crl_job_ends(ledger, pair):
    """Either the ending job's row was in the way, and the CRL that it stored is seen to be stale, or a new job is there."""
    def setup():
        case = finished(ledger, pair[0])
        case.backend = new_id("backend")
        change(ledger, case, f"backend = '{case.backend}', revoke_state = 'pending', revoke_reason = 1")
        case.revoke, case.crl = ledger.job("revoke", case.certificate), ledger.job("crl", case.backend)
        return case

    def check(case, a, b):
        jobs = ledger.one("SELECT count(*) FROM job WHERE kind = 'crl' AND ref = %s", case.backend)
        assert jobs == b.results[1][0]["crl_job"]
        assert not fresh(ledger, pair[0], case.backend)
    explore(ledger, pair, setup,
            lambda s, c: [lambda: s.job_end(id=c.crl, owner="g1", claim=1), lambda: crl_steps(s, c.backend, 1, 0)],
            lambda s, c: revoked(s, c.certificate, c.revoke, new_id("job")), check)


def test_the_server_refused_nothing(server):
    """The last test of this file: no statement of any schedule ended in an error, and nobody met in a deadlock."""
    assert server.errors() == []

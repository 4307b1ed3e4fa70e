# SPDX-License-Identifier: Apache-2.0
"""A gateway dies, or stalls, with work in its hands: another finishes it, exactly once. Its point of death is chosen by
locking the table that it writes next."""
import contextlib
import signal
import threading

import pytest

import acme
from harness import wait_for

pytestmark = pytest.mark.ha


@pytest.fixture
def pair(env):
    """Two gateways and a database of their own, with short leases."""
    db = env.new_database(env.name("takeover").replace(".", "_"))
    gateways = [env.gateway(db, f"{db.name}-{i}", migrate=i == 0, times={"lease": "1s"}) for i in (0, 1)]
    for g in gateways:
        g.start()
    yield db, gateways
    for g in gateways:
        g.stop()


@contextlib.contextmanager
def locked(db, table):
    with db.session() as conn:
        with conn.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        yield


def gateway_id(db, name):
    return db.one("SELECT id FROM gateway WHERE name = %s ORDER BY started_at DESC LIMIT 1", name)


def finalize_blocked_at(env, db, gateways, table):
    """(client, order URL, CSR): finalized at the first gateway, which cannot write this table; the caller holds it."""
    c = env.client(*gateways)
    name = env.name()
    url, order = env.ready_order(c, [name])
    return c, url, order, acme.csr([name])


def issued_once(db, der):
    rows = db.rows("SELECT i.*, c.serial, c.id AS certificate FROM issuance i LEFT JOIN certificate c ON c.issuance_id = i.id "
                   "WHERE i.csr = %s", der)
    assert len(rows) == 1 and rows[0]["certificate"], rows
    return rows[0]


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_between_intent_and_attempt(env, pair, how):
    db, gateways = pair
    c, url, order, der = finalize_blocked_at(env, db, gateways, "attempt")
    first, second = gateways
    with locked(db, "attempt"):
        r = c.clone(transport=env.transport(first)).finalize(order, der)
        assert r.json["status"] == "processing" and r.retry_after is not None
        assert db.one("SELECT count(*) FROM attempt") == 0 and db.one("SELECT count(*) FROM issuance WHERE csr = %s", der) == 1
        first.kill() if how == "kill" else first.signal(signal.SIGSTOP)
    other = c.clone(transport=env.transport(second))
    done = other.wait(url, ("valid", "invalid"), timeout=30).json
    assert done["status"] == "valid", done
    row = issued_once(db, der)
    attempts = db.rows("SELECT * FROM attempt WHERE issuance_id = %s ORDER BY n", row["id"])
    assert attempts[-1]["gateway"] == gateway_id(db, second.name) and attempts[-1]["outcome"] == "done"
    assert second.metric("portico_jobs_taken_over_total") >= 1
    if how == "stop":
        first.signal(signal.SIGCONT)
        fenced_and_well(env, db, c, first, der, row)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_between_the_cas_answer_and_its_storage(env, pair, how):
    """The CA has signed, nothing is stored: the attempt was cut off, and what is signed again is the same certificate."""
    db, gateways = pair
    c, url, order, der = finalize_blocked_at(env, db, gateways, "certificate")
    first, second = gateways
    with locked(db, "certificate"):
        c.clone(transport=env.transport(first)).finalize(order, der)
        wait_for(lambda: db.one("SELECT count(*) FROM attempt") == 1 and db.waiters(), "the gateway to store", 10)
        prepared = bytes(db.one("SELECT prepared FROM issuance WHERE csr = %s", der))
        first.kill() if how == "kill" else first.signal(signal.SIGSTOP)
        # The server would carry out what it was sent, whether or not the sender still lives.
        db.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'", db.name)
    done = c.clone(transport=env.transport(second)).wait(url, ("valid", "invalid"), timeout=40).json
    assert done["status"] == "valid", done
    row = issued_once(db, der)
    assert bytes(row["prepared"]) == prepared, "serial and validity were fixed before the first call"
    outcomes = [r[0] for r in db.rows("SELECT outcome FROM attempt WHERE issuance_id = %s ORDER BY n", row["id"])]
    assert outcomes == ["cut-off", "done"]
    events = [r[0] for r in db.rows("SELECT event FROM event WHERE object_id = %s ORDER BY at", row["id"])]
    assert "cut-off" in events and events.count("issued") == 1
    if how == "stop":
        first.signal(signal.SIGCONT)
        fenced_and_well(env, db, c, first, der, row)


def fenced_and_well(env, db, c, stalled, der, row):
    """A gateway that wakes up writes nothing into what is not its own any more, and serves on."""
    stalled.wait_ready(30)
    mine = c.clone(transport=env.transport(stalled))
    assert mine.read(c.kid).json["status"] == "valid"
    env.issue(mine, [env.name()])
    assert issued_once(db, der)["certificate"] == row["certificate"]
    assert db.one("SELECT count(*) FROM event WHERE object_id = %s AND event = 'issued'", row["certificate"]) == 1


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_during_a_validation(env, pair, how):
    db, gateways = pair
    first, second = gateways
    c = env.client(*gateways)
    order = c.new_order([env.name()])
    challenge = env.publish(c, c.authzs(order.json)[0][1], "http-01")
    asked, answer = threading.Event(), threading.Event()

    def slow(handler):
        """The first request is answered when it helps nobody any more."""
        if not asked.is_set():
            asked.set()
            answer.wait(20)
        return 200, {}, c.key_authorization(challenge).encode()
    env.http.route("/.well-known/acme-challenge/" + challenge["token"], slow)
    c.clone(transport=env.transport(first)).want(200, challenge["url"], {})
    assert asked.wait(10)
    first.kill() if how == "kill" else first.signal(signal.SIGSTOP)
    other = c.clone(transport=env.transport(second))
    assert other.wait(order.location, ("ready", "invalid"), timeout=30).json["status"] == "ready"
    answer.set()
    authz = order.json["authorizations"][0].rsplit("/", 1)[1]
    if how == "stop":
        first.signal(signal.SIGCONT)
        first.wait_ready(30)
    assert db.one("SELECT count(*) FROM event WHERE object_id = %s AND event = 'valid'", authz) == 1
    assert db.one("SELECT status FROM authz WHERE id = %s", authz) == "valid"


def test_during_a_revocation(env, pair):
    db, gateways = pair
    first, second = gateways
    c = env.client(*gateways)
    cert = acme.pem_certificates(env.issue(c, [env.name()])[2])[0]
    ident = db.one("SELECT id FROM certificate")
    with locked(db, "crl"), db.session() as conn:
        with conn.cursor() as cursor:
            cursor.execute("SELECT 1 FROM job FOR UPDATE")
        t = threading.Thread(target=lambda: ask(c.clone(transport=env.transport(first)), cert))
        t.start()
        wait_for(lambda: db.one("SELECT revoke_state FROM certificate WHERE id = %s", ident) is not None, "the claim")
        first.kill()
        t.join()
    wait_for(lambda: db.one("SELECT revoke_state FROM certificate WHERE id = %s", ident) == "done", "the revocation", 30)
    assert c.clone(transport=env.transport(second)).revoke(cert, status=400).problem == "alreadyRevoked"


def ask(client, cert):
    with contextlib.suppress(acme.TransportError):
        client.revoke(cert, status=None)


def test_a_restarted_gateway_goes_on_with_what_is_left(env, pair):
    """Both dead; one comes back, under a new id."""
    db, gateways = pair
    c, url, order, der = finalize_blocked_at(env, db, gateways, "attempt")
    with locked(db, "attempt"):
        c.clone(transport=env.transport(gateways[0])).finalize(order, der)
        for g in gateways:
            g.kill()
    gateways[1].start()
    done = c.clone(transport=env.transport(gateways[1])).wait(url, ("valid", "invalid"), timeout=30).json
    assert done["status"] == "valid"
    issued_once(db, der)


def test_an_orderly_end_hands_over_at_once(env, pair):
    """SIGTERM with work in hand: nobody waits for the lease."""
    db, gateways = pair
    first, second = gateways
    c = env.client(*gateways)
    name = env.name()
    env.dns.behave(name, rcode="SERVFAIL")
    order = c.new_order([name])
    challenge = env.publish(c, c.authzs(order.json)[0][1], "http-01")
    c.clone(transport=env.transport(first)).want(200, challenge["url"], {})
    wait_for(lambda: env.dns.asked(name), "the look-up")
    env.dns.clear(name)
    first.stop()
    other = c.clone(transport=env.transport(second))
    assert other.wait(order.location, ("ready", "invalid"), timeout=20).json["status"] == "ready"


def test_requests_in_flight_are_answered_before_the_end(env, pair):
    """SIGTERM while a newOrder waits in the database."""
    db, gateways = pair
    first = gateways[0]
    c = env.client(first)
    c.nonce()
    got = []
    t = threading.Thread(target=lambda: got.append(c.new_order([env.name()], None)))
    with locked(db, "orders"):
        t.start()
        wait_for(db.waiters, "newOrder to wait")
        first.signal(signal.SIGTERM)
        wait_for(lambda: "gateway.draining" in first.log_text(), "the drain")
    t.join()
    assert got and got[0].status in (201, 503), got
    assert first.process.wait(20) == 0

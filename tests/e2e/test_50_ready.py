# SPDX-License-Identifier: Apache-2.0
"""An order becomes ready in the statement that makes its last authorization valid, whatever the interleaving of two
gateways: once with the statements themselves in two sessions, once with the gateways held up by a third session."""
import itertools
import re
import secrets
import threading

import pytest

import acme
from harness import SOURCE, wait_for

pytestmark = pytest.mark.ha


def statements():
    """The programs' own SQL: {name: text with %(param)s}."""
    found = {}
    for path in (SOURCE / "schema" / "queries").glob("*.sql"):
        text = path.read_text()
        for m in re.finditer(r"^-- name: (\w+)[^\n]*\n(.*?)(?=^-- name: |\Z)", text, re.M | re.S):
            body = "\n".join(line for line in m[2].splitlines() if not line.lstrip().startswith("--"))
            body = body.replace("%", "%%").strip().rstrip(";")
            found[m[1]] = re.sub(r"(?<![:\w]):([a-z]\w*)", r"%(\1)s", body)
    return found


SQL = statements()


class Step:
    """A session whose statements run one after another in a thread, so that one that waits for a lock does not stop the
    test."""

    def __init__(self, db):
        self.conn = db.connect(autocommit=False)
        self.pid = self.conn.info.backend_pid
        self.db = db
        self.thread = None
        self.error = None

    def run(self, work):
        """Starts it; returns when it is done or waits for a lock."""
        self.join()

        def body():
            try:
                work()
            except Exception as e:  # reported by finish
                self.error = e
        self.thread = threading.Thread(target=body)
        self.thread.start()
        wait_for(lambda: not self.thread.is_alive() or self.waits(), "a statement to end or to wait")

    def waits(self):
        return self.db.one("SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_stat_activity WHERE pid = %s", self.pid)

    def join(self):
        if self.thread is not None:
            self.thread.join(20)
            assert not self.thread.is_alive(), "a session waits for ever"
        if self.error is not None:
            raise self.error

    def execute(self, name, **values):
        with self.conn.cursor() as cursor:
            cursor.execute("SELECT set_pass(true)")
            cursor.execute(SQL[name], values)

    def close(self):
        self.join()
        self.conn.close()


def order_of_two(env, db, client):
    """An order with two authorizations whose challenges are being validated, as rows alone: no job runs."""
    order = client.new_order([env.name(), env.name()])
    authzs = [u.rsplit("/", 1)[1] for u in order.json["authorizations"]]
    db.rows("UPDATE challenge SET status = 'processing' WHERE authz_id = ANY(%s) AND type = 'http-01'", authzs)
    return order, authzs


def status_of(db, table, ident):
    return db.one(f"SELECT status FROM {table} WHERE id = %s", ident)


def interleavings():
    """All orders of [a1 a2 a3] and [b1 b2 b3]."""
    for places in itertools.combinations(range(6), 3):
        yield "".join("a" if i in places else "b" for i in range(6))


class Validator(Step):
    """What a gateway does when a validation succeeds, as three steps: valid, count down, commit."""

    def __init__(self, db, authz):
        super().__init__(db)
        self.authz, self.at = authz, 0

    def next(self):
        def valid():
            self.execute("validate_ok", authz_id=self.authz, type="http-01", tried="[]", ttl_s=1000)

        def count():
            with self.conn.cursor() as cursor:  # no set_pass: the claim of validate_ok has to stand
                cursor.execute(SQL["orders_count_down"], {"authz_id": self.authz})
        self.run([valid, count, self.conn.commit][self.at])
        self.at += 1


@pytest.mark.parametrize("steps", interleavings())
def test_two_validations_in_every_interleaving(env, db, shared, steps):
    order, authzs = order_of_two(env, db, shared)
    ident = order.location.rsplit("/", 1)[1]
    sessions = {"a": Validator(db, authzs[0]), "b": Validator(db, authzs[1])}
    todo, blocked = list(steps), {"a": [], "b": []}
    try:
        for who in todo:
            session = sessions[who]
            if session.thread is not None and session.thread.is_alive():
                blocked[who].append(who)  # it waits for the other; its next step comes when it can
                continue
            session.next()
            for other in ("a", "b"):  # what was put off
                while blocked[other]:
                    waiting = sessions[other]
                    if waiting.thread.is_alive():
                        waiting.thread.join(0.2)
                    if waiting.thread.is_alive():
                        break
                    blocked[other].pop()
                    waiting.next()
        for who in ("a", "b"):
            while sessions[who].at < 3:
                sessions[who].next()
    finally:
        for session in sessions.values():
            session.close()
    assert status_of(db, "orders", ident) == "ready" and db.one("SELECT authz_left FROM orders WHERE id = %s", ident) == 0


def test_two_validations_at_two_gateways_held_at_the_order(env, db, gateways):
    """Both gateways have their result and wait for the order's row; then they are let go."""
    for _ in range(3):
        c = env.client(*gateways)
        order = c.new_order([env.name(), env.name()])
        challenges = [env.publish(c, authz, "http-01") for _, authz in c.authzs(order.json)]
        with db.session() as held:
            with held.cursor() as cursor:
                cursor.execute("SELECT 1 FROM orders WHERE id = %s FOR UPDATE", (order.location.rsplit("/", 1)[1],))
            for g, challenge in zip(gateways, challenges):
                c.clone(transport=env.transport(g)).want(200, challenge["url"], {})
            wait_for(lambda: db.waiters() >= 2, "both gateways to wait for the order", 10)
            assert status_of(db, "orders", order.location.rsplit("/", 1)[1]) == "pending"
        r = c.wait(order.location, ("ready", "invalid"))
        assert r.json["status"] == "ready"
        for url in order.json["authorizations"]:
            assert c.read(url).json["status"] == "valid"


@pytest.mark.parametrize("first", [0, 1])
def test_one_gateway_held_at_its_authorization(env, db, gateways, first):
    """The one that is held up comes second, and it is its statement that makes the order ready."""
    c = env.client(*gateways)
    order = c.new_order([env.name(), env.name()])
    ident = order.location.rsplit("/", 1)[1]
    urls = order.json["authorizations"]
    challenges = [env.publish(c, authz, "http-01") for _, authz in c.authzs(order.json)]
    with db.session() as held:
        with held.cursor() as cursor:
            cursor.execute("SELECT 1 FROM authz WHERE id = %s FOR UPDATE", (urls[1 - first].rsplit("/", 1)[1],))
        for i in (1 - first, first):
            c.clone(transport=env.transport(gateways[i])).want(200, challenges[i]["url"], {})
        c.wait(urls[first], ("valid",))
        wait_for(lambda: db.waiters() >= 1, "the other gateway to wait", 10)
        assert status_of(db, "orders", ident) == "pending"
    assert c.wait(order.location, ("ready", "invalid")).json["status"] == "ready"


def test_order_is_ready_whenever_its_last_authorization_shows_valid(env, gateways):
    """No client that saw the one may ever see the other lag behind."""
    c = env.client(*gateways)
    for _ in range(15):
        order = c.new_order([env.name(), env.name()])
        for _, authz in c.authzs(order.json):
            c.want(200, env.publish(c, authz, "http-01")["url"], {})
        while True:
            statuses = [c.read(u).json["status"] for u in order.json["authorizations"]]
            seen = c.read(order.location).json["status"]
            if statuses == ["valid", "valid"]:
                assert seen == "ready"
                break


# ---- newOrder against deactivation ----

def new_order_held(env, db, client, name, hold):
    """Starts a newOrder for an authorized name while `hold` keeps the authorization's row locked."""
    _, order = env.ready_order(client, [name])
    authz = order["authorizations"][0].rsplit("/", 1)[1]
    got = []
    with db.session() as held:
        with held.cursor() as cursor:
            hold(cursor, authz)
            t = threading.Thread(target=lambda: got.append(client.clone().new_order([name], None)))
            t.start()
            wait_for(lambda: db.waiters() >= 1 or not t.is_alive(), "newOrder to wait", 10)
            held.commit()
        t.join()
    return got[0], authz


def test_new_order_waits_for_a_deactivation_and_does_not_take_what_is_gone(env, db, client, name):
    r, authz = new_order_held(env, db, client, name,
                              lambda cursor, a: cursor.execute("UPDATE authz SET status = 'deactivated' WHERE id = %s", (a,)))
    if r.status == 503:  # the lock was held for too long
        r = client.new_order([name])
    assert r.status == 201 and r.json["status"] == "pending"
    assert authz not in r.json["authorizations"][0]


def test_deactivation_waits_for_a_new_order_and_takes_it_along(env, db, client, name):
    """The order's transaction has linked the authorization and is not committed yet."""
    _, order = env.ready_order(client, [name])
    authz_url = order["authorizations"][0]
    authz = authz_url.rsplit("/", 1)[1]
    account = client.kid.rsplit("/", 1)[1]
    ident = secrets.token_urlsafe(16)
    got = []
    with db.session() as held:
        with held.cursor() as cursor:
            cursor.execute("SELECT 1 FROM authz WHERE id = %s FOR SHARE", (authz,))
            cursor.execute("INSERT INTO order_authz VALUES (%s, 1, %s)", (ident, authz))
            cursor.execute("INSERT INTO orders (id, account_id, directory, profile, idents, names, backends, route, expires_at, "
                           "status) VALUES (%s, %s, 'default', 'server', %s, %s, '{house}', 'test', now() + interval '1 day', "
                           "'ready')", (ident, account, [f"dns:{name}"], [f"dns:{name}"]))
            t = threading.Thread(target=lambda: got.append(client.clone().post(authz_url, {"status": "deactivated"})))
            t.start()
            wait_for(lambda: db.waiters() >= 1, "the deactivation to wait", 10)
            held.commit()
        t.join()
    r = got[0] if got[0].status != 503 else client.post(authz_url, {"status": "deactivated"})
    assert r.json["status"] == "deactivated"
    assert status_of(db, "orders", ident) == "invalid"


def test_finalize_against_deactivation_in_both_orders(env, db, gateways):
    """Whoever comes first wins; never a certificate without an authorization."""
    for _ in range(6):
        c = env.client(*gateways)
        name = env.name()
        url, order = env.ready_order(c, [name])
        start, answers = threading.Barrier(2), {}

        def finalize():
            mine = c.clone(transport=env.transport(gateways[0]))
            mine.nonce()
            start.wait()
            answers["finalize"] = mine.finalize(order, acme.csr([name]), None)

        def deactivate():
            mine = c.clone(transport=env.transport(gateways[1]))
            mine.nonce()
            start.wait()
            answers["deactivate"] = mine.post(order["authorizations"][0], {"status": "deactivated"})
        threads = [threading.Thread(target=t) for t in (finalize, deactivate)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert answers["deactivate"].json["status"] == "deactivated"
        r = c.wait(url, ("valid", "invalid"))
        if answers["finalize"].status == 403:
            assert answers["finalize"].problem == "orderNotReady" and r.json["status"] == "invalid"
        else:
            assert r.json["status"] == "valid" or "authorization" in r.json["error"]["detail"], r

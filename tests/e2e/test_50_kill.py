# SPDX-License-Identifier: Apache-2.0
"""kill -9 of either gateway at random points, under load: nothing that was acknowledged is lost, nothing is issued
twice, nothing is left lying."""
import collections
import random
import threading
import time

import pytest

import acme
from harness import wait_for

pytestmark = pytest.mark.ha
WORKERS = 4
RANK = {"pending": 0, "ready": 1, "processing": 2, "valid": 3}


class Worker(threading.Thread):
    """A client that makes one flow after another, repeats what got no answer, and writes down what it was told."""

    def __init__(self, env, gateways, number, stop):
        super().__init__(name=f"client {number}")
        self.env, self.gateways, self.number, self.stop = env, gateways, number, stop
        self.client = env.client(*gateways, register=False)
        self.random = random.Random(number)
        self.tally = collections.Counter()
        self.orders = {}        # URL -> the most advanced status that was acknowledged
        self.authzs = {}        # URL -> the same
        self.certificates = {}  # URL -> the chain as downloaded
        self.finalized = {}     # order URL -> the CSR
        self.accounts = set()
        self.error = None

    def run(self):
        try:
            self.again(self.register)
            while not self.stop.is_set():
                self.flow()
        except Exception as e:
            import traceback
            self.error = f"{e!r}\n{traceback.format_exc()}"

    def again(self, work, *arguments):
        """Until there is an answer that is not "try again". Every POST may be repeated without harm."""
        deadline = time.monotonic() + 60
        while True:
            try:
                r = work(*arguments)
                if r.status == 503 or r.problem == "badNonce":
                    self.tally["asked again: " + (r.problem or "503")] += 1
                else:
                    return r
            except acme.TransportError:
                self.tally["asked again: no answer"] += 1
            assert time.monotonic() < deadline, f"no answer for 60 s to {work} {arguments}"
            time.sleep(0.05)

    def post(self, url, payload=None):
        r = self.again(self.client.post, url, payload)
        assert r.status in (200, 201), r
        return r

    def register(self):
        r = self.client.new_account(None)
        if r.status in (200, 201):
            self.accounts.add(r.location)
        return r

    def flow(self):
        names = [self.env.name(f"k{self.number}.test") for _ in range(self.random.choice((1, 1, 2)))]
        self.client.directory
        r = self.post(self.client.directory["newOrder"], {"identifiers": [acme.identifier(n) for n in names]})
        url, order = r.location, r.json
        self.see(url, order)
        self.tally["orders"] += 1
        for authz_url in order["authorizations"]:
            authz = self.post(authz_url).json
            challenge = self.env.publish(self.client, authz, "http-01")
            if authz["status"] == "pending":
                self.post(challenge["url"], {})
            self.until(authz_url, ("valid",), self.authzs)
        order = self.until(url, ("ready",), self.orders)
        der = acme.csr(names)
        self.finalized[url] = der
        self.see(url, self.post(order["finalize"], {"csr": acme.b64(der)}).json)
        order = self.until(url, ("valid",), self.orders)
        chain = self.post(order["certificate"]).body
        self.certificates[order["certificate"]] = chain
        self.tally["certificates"] += 1

    def see(self, url, order):
        self.advance(self.orders, url, order["status"])

    def advance(self, seen, url, status):
        before = seen.get(url, "pending")
        assert RANK[status] >= RANK[before], f"{url} went from {before} back to {status}"
        seen[url] = status

    def until(self, url, statuses, seen):
        deadline = time.monotonic() + 60
        while True:
            obj = self.post(url).json
            assert obj["status"] != "invalid", obj
            self.advance(seen, url, obj["status"])
            if obj["status"] in statuses:
                return obj
            assert time.monotonic() < deadline, f"{url} is {obj['status']} for 60 s"
            time.sleep(0.03)


def ident_of(url):
    return url.rsplit("/", 1)[1]


def ledger(db):
    """What may never be in the ledger, as SQL."""
    return {
        "certificates without their issuance": db.one(
            "SELECT count(*) FROM certificate c LEFT JOIN issuance i ON i.id = c.issuance_id WHERE i.id IS NULL OR i.state <> 'done' "
            "OR i.certificate_id <> c.id"),
        "issuances done without a certificate": db.one(
            "SELECT count(*) FROM issuance i LEFT JOIN certificate c ON c.issuance_id = i.id WHERE i.state = 'done' AND c.id IS NULL"),
        "CSRs with two certificates": db.one(
            "SELECT count(*) FROM (SELECT i.account_id, i.csr_sha256 FROM certificate c JOIN issuance i ON i.id = c.issuance_id "
            "GROUP BY 1, 2 HAVING count(*) > 1) x"),
        "CSRs with two issuances": db.one(
            "SELECT count(*) FROM (SELECT account_id, csr_sha256 FROM issuance GROUP BY 1, 2 HAVING count(*) > 1) x"),
        "issuances with two attempts that ended in done": db.one(
            "SELECT count(*) FROM (SELECT issuance_id FROM attempt WHERE outcome = 'done' GROUP BY 1 HAVING count(*) > 1) x"),
        "certificates with another serial than the prepared one": db.one(
            "SELECT count(*) FROM certificate c JOIN issuance i ON i.id = c.issuance_id "
            "WHERE position(decode(lpad(c.serial, 32, '0'), 'hex') in i.prepared) = 0"),
        "valid orders without a certificate": db.one(
            "SELECT count(*) FROM orders o LEFT JOIN certificate c ON c.id = o.certificate_id WHERE o.status = 'valid' AND c.id IS NULL"),
        "orders ready with a pending authorization": db.one(
            "SELECT count(*) FROM orders o WHERE status IN ('ready', 'processing', 'valid') AND EXISTS (SELECT 1 FROM order_authz l "
            "JOIN authz a ON a.id = l.authz_id WHERE l.order_id = o.id AND a.status = 'pending')"),
        "orders pending with all authorizations valid": db.one(
            "SELECT count(*) FROM orders o WHERE status = 'pending' AND NOT EXISTS (SELECT 1 FROM order_authz l "
            "JOIN authz a ON a.id = l.authz_id WHERE l.order_id = o.id AND a.status <> 'valid')"),
        "unwanted certificates": db.one("SELECT count(*) FROM certificate WHERE unwanted"),
        "issued events without a certificate": db.one(
            "SELECT count(*) FROM event e LEFT JOIN certificate c ON c.id = e.object_id "
            "WHERE e.object = 'certificate' AND e.event = 'issued' AND c.id IS NULL"),
        "certificates without exactly one issued event": db.one(
            "SELECT count(*) FROM certificate c WHERE (SELECT count(*) FROM event e WHERE e.object_id = c.id AND e.event = 'issued') <> 1"),
    }


def kept(db, workers):
    """What was acknowledged and is not there."""
    lost = []
    for w in workers:
        for url in w.accounts:
            if not db.rows("SELECT 1 FROM account WHERE id = %s AND status = 'valid'", ident_of(url)):
                lost.append(url)
        for table, seen in (("orders", w.orders), ("authz", w.authzs)):
            for url, status in seen.items():
                rows = db.rows(f"SELECT status FROM {table} WHERE id = %s", ident_of(url))
                if not rows or RANK.get(rows[0][0], -1) < RANK[status]:
                    lost.append(f"{url}: acknowledged as {status}, is {rows}")
        for url, der in w.finalized.items():
            if w.orders[url] in ("processing", "valid") and not db.rows("SELECT 1 FROM issuance WHERE csr = %s", der):
                lost.append(f"{url}: its CSR has no issuance")
        for url, chain in w.certificates.items():
            rows = db.rows("SELECT chains[1] FROM certificate WHERE id = %s", ident_of(url))
            if not rows or rows[0][0].encode() != chain:
                lost.append(f"{url}: not the certificate that was handed out")
    return lost


def test_kill_at_random_points(env, request, report):
    kills = 200 if request.config.getoption("--long") else 50
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    db = env.new_database("kills")
    gateways = [env.gateway(db, f"kill-{i}", migrate=i == 0, times={"lease": "1s"}) for i in (0, 1)]
    for g in gateways:
        g.start()
    stop = threading.Event()
    workers = [Worker(env, gateways, i, stop) for i in range(WORKERS)]
    busy = 0
    started = time.monotonic()
    for w in workers:
        w.start()
    try:
        wait_for(lambda: all(w.tally["orders"] for w in workers) or any(w.error for w in workers), "the first orders", 60)
        for n in range(kills):
            victim = gateways[n % 2] if chance.random() < 0.8 else gateways[(n + 1) % 2]
            time.sleep(chance.random() * 0.4)  # the random point; the load never pauses
            busy += db.one("SELECT count(*) FROM job j JOIN gateway g ON g.id = j.owner WHERE g.name = %s AND j.kind <> 'expire'",
                           victim.name) > 0
            victim.kill()
            assert not any(w.error for w in workers), [w.error for w in workers if w.error]
            victim.start()
    finally:
        stop.set()
        for w in workers:
            w.join(120)
    assert not any(w.is_alive() for w in workers)
    assert not any(w.error for w in workers), "\n".join(w.error for w in workers if w.error)
    wait_for(lambda: db.one("SELECT count(*) FROM job WHERE kind <> 'expire'") == 0, "all jobs to be done", 60)
    tally = sum((w.tally for w in workers), collections.Counter())
    taken = sum(g.metric("portico_jobs_taken_over_total") for g in gateways)
    wrong, lost = {k: v for k, v in ledger(db).items() if v}, kept(db, workers)
    cut_off = db.one("SELECT count(*) FROM attempt WHERE outcome = 'cut-off'")
    report(f"kill -9, {kills} times (seed {seed})", [
        f"kills                         {kills}, {busy} of them with jobs in the victim's hands, in {time.monotonic() - started:.0f} s",
        f"orders acknowledged           {sum(len(w.orders) for w in workers)}",
        f"authorizations acknowledged   {sum(len(w.authzs) for w in workers)}",
        f"certificates handed out       {tally['certificates']}, in the ledger {db.one('SELECT count(*) FROM certificate')}",
        f"attempts cut off and resolved {cut_off}",
        f"requests asked again          " + ", ".join(f"{v} {k[13:]}" for k, v in tally.items() if k.startswith("asked")),
        f"jobs taken over (last lives)  {taken:.0f}",
        f"lost                          {len(lost)}",
        f"issued twice                  {sum(v for k, v in ledger(db).items() if 'two' in k)}",
    ])
    assert not lost and not wrong, (lost, wrong)
    assert db.one("SELECT count(*) FROM attempt WHERE outcome IS NULL") == 0
    assert tally["certificates"] >= kills / 5, "the load was too low to mean anything"
    for g in gateways:
        g.stop()

# SPDX-License-Identifier: Apache-2.0
"""What one flow costs at the database: round trips and commits."""
import time

import acme
from harness import wait_for

NAMES = ("portico_db_units_total", "portico_db_statements_total", "portico_db_batches_total")
FLOWS = 20


def reading(g, db):
    commits = db.one("SELECT xact_commit FROM pg_stat_database WHERE datname = %s", db.name)
    return [g.metric(n) for n in NAMES] + [commits, time.monotonic()]


def settled(g, db):
    """A reading when nothing is under way; the server's statistics lag by up to a second."""
    wait_for(lambda: db.one("SELECT count(*) FROM job WHERE kind <> 'expire'") == 0, "the jobs to end")
    time.sleep(1.2)
    return reading(g, db)


def minus(a, b):
    return [x - y for x, y in zip(a, b)]


def test_round_trips_and_commits_of_one_flow(env, report):
    """One after the other, so that group commit helps nothing: the most that a flow can cost. The idle gateway's own
    statements (heart-beat, looking for jobs) are taken off."""
    db = env.new_database("cost")
    g = env.gateway(db, "cost", migrate=True, threads=1)
    g.start()
    c = env.client(g)
    env.issue(c, [env.name()])
    idle = minus(settled(g, db), settled(g, db))
    # settled() was called right to left in time: the difference is negative.
    idle = [-x for x in idle]
    before, posts = settled(g, db), len(c.events)
    requests = []
    for _ in range(FLOWS):
        c.events.clear()
        c.nonces.clear()
        name = env.name()
        order = c.new_order([name])
        authz = c.read(order.json["authorizations"][0]).json
        challenge = env.publish(c, authz, "http-01")
        c.want(200, challenge["url"], {})
        c.read(order.json["authorizations"][0], headers={"Prefer": "wait=10"})
        done = c.finalize(order.json, acme.csr([name])).json
        assert done["status"] == "valid", done
        c.read(done["certificate"])
        requests.append(len(c.events))
    spent = minus(settled(g, db), before)
    units, statements, batches, commits = (
        (s - i * spent[4] / idle[4]) / FLOWS for s, i in zip(spent[:4], idle[:4]))
    requests = sum(requests) / FLOWS
    report("database cost of one flow (newOrder, authz, challenge, authz, finalize, certificate)", [
        f"signed requests               {requests:.0f}",
        f"units of work                 {units:.1f}",
        f"round trips (batches)         {batches:.1f}",
        f"commits (pg_stat_database)    {commits:.1f}",
        f"statements                    {statements:.1f}",
    ])
    assert posts and requests <= 7
    assert batches <= requests + 9, "about one round trip per request and a few per job"
    g.stop()


def test_signed_reads_cost_one_round_trip(env):
    db = env.new_database("reads")
    g = env.gateway(db, "reads", migrate=True, threads=1)
    g.start()
    c = env.client(g)
    order = c.new_order([env.name()])
    c.read(order.location)
    before = g.metric("portico_db_batches_total"), time.monotonic()
    n = 50
    for _ in range(n):
        c.read(order.location)
    used = g.metric("portico_db_batches_total") - before[0]
    own = 10 * (time.monotonic() - before[1]) + 5  # heart-beat, look for jobs
    assert n <= used <= n + own
    g.stop()

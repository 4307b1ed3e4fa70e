# SPDX-License-Identifier: Apache-2.0
"""From account to certificate, what the ledger keeps of it, and joining a CSR that was seen before."""
import subprocess
import threading

import pytest
from cryptography.hazmat.primitives import serialization

import acme


def ident_of(url):
    return url.rsplit("/", 1)[1]


def verify(env, tmp_path, chain, *options):
    leaf, *rest = acme.pem_certificates(chain)
    pem = serialization.Encoding.PEM
    (tmp_path / "leaf").write_bytes(leaf.public_bytes(pem))
    (tmp_path / "rest").write_bytes(b"".join(c.public_bytes(pem) for c in rest))
    return subprocess.run(["openssl", "verify", "-CAfile", env.root, "-untrusted", tmp_path / "rest", *options, tmp_path / "leaf"],
                          capture_output=True, text=True)


FLOWS = {
    "http-01": (["{}"], "http-01"), "dns-01": (["{}"], "dns-01"), "multi-SAN": (["a.{}", "b.{}", "c.{}"], None),
    "wildcard": (["*.{}"], None), "wildcard and base": (["*.{}", "{}"], None), "address": (["127.0.0.1"], None),
    "address and name": (["127.0.0.1", "{}"], None),
}


@pytest.mark.parametrize("what", FLOWS)
@pytest.mark.parametrize("kind", ["ES256", "RS256"])
def test_whole_flows(env, new_client, name, tmp_path, what, kind):
    """Requests go to the two gateways in turn."""
    names, method = FLOWS[what]
    names = [n.format(name) for n in names]
    key = acme.Key(kind)
    _, order, chain = env.issue(new_client(), names, key, method)
    for n in names:
        option = "-verify_ip" if n[0].isdigit() else "-verify_hostname"
        done = verify(env, tmp_path, chain, option, n.replace("*", "x"))
        assert done.returncode == 0, done.stdout + done.stderr
    assert acme.pem_certificates(chain)[0].public_key().public_numbers() == key.private.public_key().public_numbers()


def test_a_single_request_per_connection_works_too(env, new_client, name):
    c = new_client()
    request = c.transport.request

    def closing(method, url, headers=None, body=None, target=None):
        return request(method, url, {**(headers or {}), "Connection": "close"}, body, target)
    c.transport.request = closing
    env.issue(c, [name])


# ---- the ledger ----

def test_ledger_of_one_flow(env, client, name, db):
    key = acme.Key()
    der = acme.csr([name], key)
    url, order, chain = env.issue(client, [name], csr=der)
    account = ident_of(client.kid)
    row = db.row("SELECT * FROM orders WHERE id = %s", ident_of(url))
    assert row["status"] == "valid" and row["profile"] == "server" and row["backends"] == ["house"] and row["route"]
    issuance = db.row("SELECT * FROM issuance WHERE id = %s", row["issuance_id"])
    assert issuance["state"] == "done" and not issuance["live"] and bytes(issuance["csr"]) == der
    assert issuance["attempts"] == 1 and issuance["prepared"] is not None
    attempt = db.row("SELECT * FROM attempt WHERE issuance_id = %s", issuance["id"])
    assert attempt["op"] == "submit" and attempt["outcome"] == "done" and attempt["backend"] == "house"
    assert issuance["created_at"] <= attempt["started_at"] <= attempt["ended_at"] < attempt["deadline"]
    certificate = db.row("SELECT * FROM certificate WHERE id = %s", row["certificate_id"])
    assert certificate["issuance_id"] == issuance["id"] and certificate["names"] == [f"dns:{name}"]
    assert not certificate["unwanted"] and certificate["revoke_state"] is None
    assert db.one("SELECT count(*) FROM job WHERE account_id = %s", account) == 0
    events = {(e["object"], e["event"]) for e in db.rows("SELECT * FROM event WHERE account_id = %s", account)}
    assert {("account", "new"), ("order", "new"), ("authz", "responded"), ("authz", "valid"), ("order", "finalize"),
            ("issuance", "submit"), ("issuance", "issued"), ("certificate", "issued")} <= events


def test_events_say_who_when_and_where(env, client, name, db):
    url, _, _ = env.issue(client, [name])
    gateways = {r[0] for r in db.rows("SELECT id FROM gateway")}
    events = db.rows("SELECT * FROM event WHERE account_id = %s ORDER BY at", ident_of(client.kid))
    assert len(events) >= 7
    for e in events:
        assert e["gateway"] in gateways and e["request_id"] and e["object_id"], e
    order = [e for e in events if e["object"] == "order"]
    assert [e["event"] for e in order][:2] == ["new", "finalize"]


def test_failed_validation_is_in_the_audit_trail(env, client, name, db):
    env.dns.set(name, "A", "127.10.9.8")
    order = client.new_order([name]).json
    _, authz = client.authzs(order)[0]
    client.want(200, acme.challenge_of(authz, "http-01")["url"], {})
    client.wait(order["authorizations"][0], ("invalid",))
    row = db.row("SELECT * FROM event WHERE object_id = %s AND event = 'invalid'", ident_of(order["authorizations"][0]))
    assert "127.10.9.8" in row["detail"]


# ---- one CSR, one certificate ----

def certificates(db, der):
    return db.one("SELECT count(*) FROM issuance i JOIN certificate c ON c.issuance_id = i.id WHERE i.csr = %s", der)


def test_a_csr_seen_before_is_joined(env, client, name, db):
    der = acme.csr([name])
    first = env.issue(client, [name], csr=der)
    second = env.issue(client, [name], csr=der)
    assert first[0] != second[0] and first[2] == second[2] and first[1]["certificate"] == second[1]["certificate"]
    assert certificates(db, der) == 1
    assert db.one("SELECT count(*) FROM attempt a JOIN issuance i ON i.id = a.issuance_id WHERE i.csr = %s", der) == 1


@pytest.mark.ha
def test_many_orders_with_one_csr_at_once_get_one_certificate(env, gateways, db):
    c = env.client(*gateways)
    name = env.name()
    der = acme.csr([name])
    env.ready_order(c, [name])
    orders = [c.new_order([name]).json for _ in range(10)]
    got, start = [], threading.Barrier(10)

    def run(i):
        mine = c.clone(transport=env.transport(gateways[i % 2]))
        mine.nonce()
        start.wait()
        mine.finalize(orders[i], der)
        got.append(mine.wait(orders[i]["finalize"].removesuffix("/finalize"), ("valid", "invalid")).json)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [o["status"] for o in got] == ["valid"] * 10
    assert len({o["certificate"] for o in got}) == 1 and certificates(db, der) == 1


@pytest.mark.ha
def test_one_order_finalized_at_two_gateways_at_once(env, gateways, db):
    """The same CSR: one certificate. Different CSRs: one wins, the other is told."""
    for same in (True, False):
        c = env.client(*gateways)
        name = env.name()
        url, order = env.ready_order(c, [name])
        ders = [acme.csr([name]) for _ in gateways]
        if same:
            ders[1] = ders[0]
        answers = [None, None]

        def run(i):
            mine = c.clone(transport=env.transport(gateways[i]))
            answers[i] = mine.finalize(order, ders[i], None)
        threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sorted(r.status for r in answers) == ([200, 200] if same else [200, 403]), answers
        if not same:
            assert [r.problem for r in answers if r.status == 403] == ["orderNotReady"]
        assert c.wait(url, ("valid", "invalid")).json["status"] == "valid"
        assert sum(certificates(db, d) for d in set(ders)) == 1


@pytest.mark.parametrize("what", ["account", "directory", "profile", "validity", "replaces", "join_window 0"])
def test_what_is_not_joined(env, new_client, name, db, what):
    c = new_client()
    der = acme.csr([name])
    profile = "nojoin" if what == "join_window 0" else "server"
    first = env.issue(c, [name], csr=der, profile=profile)[2]
    other, members = c, {"profile": profile}
    if what == "account":
        other = new_client()
    elif what == "directory":
        other = new_client("second", key=c.key)
    elif what == "profile":
        members = {"profile": "renewal"}
    elif what == "validity":
        import datetime
        members["notAfter"] = (datetime.datetime.utcnow() + datetime.timedelta(days=9)).strftime("%Y-%m-%dT%H:%M:%SZ")
    elif what == "replaces":
        members["replaces"] = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    second = env.issue(other, [name], csr=der, **members)[2]
    assert first != second and certificates(db, der) == 2


def test_join_window_until_renewal(env, client, name, db):
    """One CSR every day: the same certificate until it is time for the next."""
    der = acme.csr([name])
    first = env.issue(client, [name], csr=der, profile="renewal")[2]
    db.rows("UPDATE certificate SET created_at = created_at - interval '20 days', not_before = not_before - interval '20 days', "
            "not_after = not_after - interval '20 days' WHERE issuance_id IN (SELECT id FROM issuance WHERE csr = %s)", der)
    assert env.issue(client, [name], csr=der, profile="renewal")[2] == first
    db.rows("UPDATE certificate SET created_at = created_at - interval '45 days', not_before = not_before - interval '45 days', "
            "not_after = not_after - interval '45 days' WHERE issuance_id IN (SELECT id FROM issuance WHERE csr = %s)", der)
    assert env.issue(client, [name], csr=der, profile="renewal")[2] != first


def test_join_window_ends(env, client, name, db):
    der = acme.csr([name])
    first = env.issue(client, [name], csr=der)[2]
    db.rows("UPDATE certificate SET created_at = created_at - interval '61 minutes' "
            "WHERE issuance_id IN (SELECT id FROM issuance WHERE csr = %s)", der)
    assert env.issue(client, [name], csr=der)[2] != first


# ---- looked at again ----

def test_finalize_looks_at_the_authorizations_again(env, client, name, db):
    """One that was taken away behind the order's back (by an operator)."""
    _, order = env.ready_order(client, [name])
    db.rows("UPDATE authz SET status = 'revoked' WHERE id = %s", ident_of(order["authorizations"][0]))
    r = client.finalize(order, acme.csr([name]), 403)
    assert r.problem == "orderNotReady" and name in r.detail


def test_disabled_eab_key_issues_nothing_more(env, new_client, name, db):
    mac = env.add_eab(db, env.name("kid").replace(".", "-"), b"2" * 32)
    c = new_client(register=False)
    c.new_account(201, eab=mac)
    url, order = env.ready_order(c, [name])
    db.rows("UPDATE eab SET status = 'disabled' WHERE kid = %s", mac.kid)
    r = c.finalize(order, acme.csr([name]), None)
    if r.status == 200:
        done = c.wait(url, ("valid", "invalid")).json
        assert done["status"] == "invalid" and "external account" in done["error"]["detail"]
    else:
        assert r.status == 403 and r.problem == "unauthorized"
    assert db.one("SELECT count(*) FROM certificate WHERE account_id = %s", ident_of(c.kid)) == 0

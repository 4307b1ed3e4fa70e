# SPDX-License-Identifier: Apache-2.0
"""Problem documents: one of each type of RFC 8555 6.7 that this version can produce, with its status."""
import pytest

import acme
from harness import wait_for
from test_10_http01 import Try

STATUS = {
    "accountDoesNotExist": 400, "alreadyRevoked": 400, "badCSR": 400, "badNonce": 400, "badPublicKey": 400,
    "badRevocationReason": 400, "badSignatureAlgorithm": 400, "compound": 400, "externalAccountRequired": 403,
    "invalidContact": 400, "malformed": 400, "orderNotReady": 403, "rejectedIdentifier": 400, "unauthorized": 403,
    "unsupportedContact": 400, "unsupportedIdentifier": 400, "userActionRequired": 403, "invalidProfile": 400,
}


def produce(kind, env, new_client, c, name):
    """An answer that is a problem of this type."""
    urls = c.directory
    if kind == "accountDoesNotExist":
        return c.post(c.kid, kid=c.kid + "x")
    if kind == "alreadyRevoked":
        cert = acme.pem_certificates(env.issue(c, [name])[2])[0]
        c.revoke(cert)
        return c.revoke(cert, status=None)
    if kind == "badCSR":
        return c.finalize(env.ready_order(c, [name])[1], b"x", None)
    if kind == "badNonce":
        return c.post(c.kid, nonce=acme.b64(b"0" * 32))
    if kind == "badPublicKey":
        return c.post(urls["newAccount"], {}, kid=acme.UNSET, jwk={"kty": "oct"})
    if kind == "badRevocationReason":
        return c.revoke(b"x", 99, status=None)
    if kind == "badSignatureAlgorithm":
        return c.post(c.kid, alg="none")
    if kind == "compound":
        return c.new_order(["a_b.test", "c_d.test"], None)
    if kind == "externalAccountRequired":
        return new_client("bound", register=False).new_account(None)
    if kind == "invalidContact":
        return c.post(c.kid, {"contact": ["mailto:x"]})
    if kind == "malformed":
        return c.send(c.kid, b"x")
    if kind == "orderNotReady":
        return c.finalize(c.new_order([name]).json, acme.csr([name]), None)
    if kind == "rejectedIdentifier":
        return c.new_order(["a_b.test"], None)
    if kind == "unauthorized":
        return c.post(new_client().kid)
    if kind == "unsupportedContact":
        return c.post(c.kid, {"contact": ["tel:1"]})
    if kind == "unsupportedIdentifier":
        return c.new_order([{"type": "email", "value": "a@b.test"}], None)
    if kind == "userActionRequired":
        return new_client("terms", register=False).new_account(None, termsOfServiceAgreed=False)
    return c.new_order([name], None, profile="nobody")


@pytest.mark.parametrize("kind", STATUS)
def test_each_type(env, new_client, client, name, kind):
    r = produce(kind, env, new_client, client, name)
    assert r.problem == kind and r.status == STATUS[kind], r
    assert r.header("content-type") == "application/problem+json"
    assert len(r.detail) > 15 and r.detail[-1] != ":" and "(null)" not in r.detail


def test_types_that_stand_in_challenges(env, client):
    """connection, dns, incorrectResponse (tls needs a redirect: test_10_http01)."""
    refused, nowhere, wrong = env.name(), env.name(), env.name()
    env.dns.set(refused, "A", "127.10.9.9")
    env.dns.behave(nowhere, rcode="NXDOMAIN")
    for name, kind in ((refused, "connection"), (nowhere, "dns"), (wrong, "incorrectResponse")):
        Try(env, client, name).fails(kind)


def test_instance_finds_the_request_in_log_and_audit_trail(client, db, gateways):
    r = client.new_order(["a_b.test"], 400)
    request_id = r.json["instance"].rsplit(":", 1)[1]
    assert any(request_id in g.log_text() for g in gateways)
    row = db.row("SELECT * FROM event WHERE request_id = %s", request_id)
    assert row["event"] == "refused" and "rejectedIdentifier" in row["detail"]


def test_instances_are_unique(shared):
    seen = {shared.send(shared.kid, b"x").json["instance"] for _ in range(10)}
    assert len(seen) == 10


def test_unreachable_database_is_503_with_nonce_and_retry_after(env, db):
    """And the same request works once it is back."""
    pg = env.new_database("away")
    g = env.gateway(pg, "gateway-away", migrate=True)
    g.start()
    try:
        c = env.client(g)
        db.rows("ALTER DATABASE away ALLOW_CONNECTIONS false")
        db.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'away'")
        r = c.post(c.kid)
        assert r.status == 503 and r.problem == "serverInternal" and r.nonce and r.retry_after is not None, r
        assert c.transport.request("GET", c.directory_url).status == 200
        wait_for(lambda: g.admin("/health/ready")[0] == 503, "the gateway to notice")
        assert g.admin("/health/live")[0] == 200
        db.rows("ALTER DATABASE away ALLOW_CONNECTIONS true")
        g.wait_ready(20)
        assert c.read(c.kid).json["status"] == "valid"
    finally:
        db.rows("ALTER DATABASE away ALLOW_CONNECTIONS true")
        g.stop()


def test_terminated_sessions_cost_no_more_than_a_retry(env, client, db, gateways):
    def answered():
        r = client.post(client.kid)
        assert r.status == 200 or (r.status == 503 and r.nonce and r.retry_after is not None), r
        return r.status == 200
    for _ in range(3):
        db.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'portico' AND pid <> pg_backend_pid()")
        wait_for(answered, "an answer")
    wait_for(lambda: all([answered() for _ in range(10)]), "every connection to be back")
    env.issue(client, [env.name()])

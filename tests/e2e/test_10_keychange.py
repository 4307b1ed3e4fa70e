# SPDX-License-Identifier: Apache-2.0
"""key-change (RFC 8555 7.3.5)."""
import threading

import pytest

import acme
from acme import UNSET


def test_rollover(client, env):
    old, new = client.key, acme.Key()
    order = client.new_order([env.name()]).location
    r = client.key_change(new)
    assert r.status == 200 and r.json["status"] == "valid" and r.location == client.kid, r
    assert client.post(client.kid).status in (400, 403)  # the old key is nobody's
    client.key = new
    assert client.read(order).json["status"] == "pending"
    assert client.clone(key=new).new_account(200).location == client.kid
    r = client.clone(key=old).new_account(400, onlyReturnExisting=True)
    assert r.problem == "accountDoesNotExist"


@pytest.mark.parametrize("alg", ["ES384", "ES512", "RS256", "PS256", "EdDSA"])
def test_rollover_to_another_type_of_key(client, keys, alg):
    new = acme.Key(alg) if alg not in ("RS256", "PS256") else acme.Key(alg)
    assert client.key_change(new).status == 200
    client.key = new
    assert client.read(client.kid).json["status"] == "valid"


def test_rollover_counts_at_the_other_gateway_at_once(env, gateways):
    c = env.client(*gateways)
    first, other = c.clone(transport=env.transport(gateways[0])), c.clone(transport=env.transport(gateways[1]))
    for _ in range(3):
        assert other.post(c.kid).status == 200  # cached there
        new = acme.Key()
        assert first.key_change(new).status == 200
        r = other.post(c.kid)
        assert r.status in (400, 403) and r.problem in ("malformed", "unauthorized"), r
        first.key = other.key = new
        assert other.post(c.kid).status == 200


def test_pending_challenges_follow_the_new_key(client, env):
    """The key authorization is the one of the key at the time of validation."""
    order = client.new_order([env.name()]).json
    client.key_change(new := acme.Key())
    client.key = new
    env.solve(client, order)


def test_key_of_another_account_is_a_conflict(client, new_client):
    other = new_client()
    r = client.key_change(other.key)
    assert r.status == 409 and r.location == other.kid and r.is_problem
    assert client.read(client.kid).status == 200 and other.read(other.kid).status == 200


def test_the_same_key_is_a_conflict_with_itself(client):
    r = client.key_change(client.key)
    assert r.status == 409 and r.location == client.kid


def test_key_in_another_directory_is_no_conflict(client, new_client):
    assert client.key_change(new_client("second").key).status == 200


def test_key_of_a_deactivated_account_is_a_conflict(client, new_client):
    other = new_client()
    other.want(200, other.kid, {"status": "deactivated"})
    assert client.key_change(other.key).status == 409


CASES = {
    "account of another": ({"account": "https://acme.portico.test/acme/default/account/x"}, "malformed"),
    "no account": ({"account": UNSET}, "malformed"),
    "account is no string": ({"account": 7}, "malformed"),
    "no oldKey": ({"oldKey": UNSET}, "malformed"),
    "oldKey is no object": ({"oldKey": "x"}, "malformed"),
    "oldKey is another key": ({"oldKey": acme.Key().jwk()}, "malformed"),
    "other url": ({"header_url": "https://acme.portico.test/acme/default/new-order"}, "malformed"),
    "no url": ({"header_url": UNSET}, "malformed"),
    "nonce": ({"header_nonce": "abc"}, "malformed"),
    "kid": ({"header_kid": "x"}, "malformed"),
    "kid instead of jwk": ({"header_kid": "x", "header_jwk": UNSET}, "malformed"),
    "no jwk": ({"header_jwk": UNSET}, "malformed"),
    "signed by a third key": ({"sign_with": acme.Key()}, "malformed"),
    "no signature": ({"signature": bytes(64)}, "malformed"),
    "alg none": ({"header_alg": "none"}, "badSignatureAlgorithm"),
    "alg HS256": ({"header_alg": "HS256"}, "badSignatureAlgorithm"),
    "alg of another type": ({"header_alg": "RS256", "signature": b"\1" * 256}, "badSignatureAlgorithm"),
    "weak key": ({"header_jwk": {"kty": "EC", "crv": "P-256", "x": acme.b64(bytes(32)), "y": acme.b64(bytes(32))}},
                 "badPublicKey"),
    "private key": ({"header_jwk": {**acme.Key().jwk(), "d": "AAAA"}}, "badPublicKey"),
    "empty": ({"inner": {}}, "malformed"),
    "POST-as-GET": ({"inner": b""}, "malformed"),
    "text": ({"inner": b'"x"'}, "malformed"),
}


@pytest.mark.parametrize("what", CASES)
def test_inner_jws_rules(client, what):
    changes, problem = CASES[what]
    if what == "account of another":
        changes = {"account": client.kid + "x"}
    r = client.key_change(acme.Key(), **changes)
    assert r.status == 400 and r.problem == problem, r
    assert client.read(client.kid).json["status"] == "valid"


def test_outer_signature_by_the_new_key_is_refused(client):
    new = acme.Key()
    url = client.directory["keyChange"]
    inner = acme.jws(new, {"alg": "ES256", "jwk": new.jwk(), "url": url}, {"account": client.kid, "oldKey": client.key.jwk()})
    r = client.post(url, inner, key=new)
    assert r.status in (400, 403) and client.read(client.kid).status == 200


def test_two_rollovers_at_once_end_with_one_key(env, gateways, db):
    c = env.client(*gateways)
    c.directory
    new = [acme.Key(), acme.Key()]
    answers = [None, None]

    def run(i):
        answers[i] = c.clone(transport=env.transport(gateways[i])).key_change(new[i])
    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    good = [i for i in (0, 1) if answers[i].status == 200]
    assert len(good) == 1, answers
    c.key = new[good[0]]
    assert c.read(c.kid).json["status"] == "valid"
    account = c.kid.rsplit("/", 1)[1]
    assert db.rows("SELECT thumbprint FROM account_key WHERE account_id = %s", account) == [[c.key.thumbprint()]]


def test_two_accounts_cannot_take_one_key_at_once(env, gateways):
    clients = [env.client(g) for g in gateways]
    new = acme.Key()
    answers = [None, None]

    def run(i):
        answers[i] = clients[i].key_change(new)
    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(r.status for r in answers) == [200, 409]

# SPDX-License-Identifier: Apache-2.0
"""new-account, external account binding, the account, its orders list (RFC 8555 7.3, 7.1.2.1)."""
import json
import os

import pytest

import acme
from acme import UNSET, MacKey


def test_new_account(new_client):
    c = new_client(register=False)
    r = c.new_account(201, contact=["mailto:ops@example.test"])
    assert r.json["status"] == "valid" and r.json["contact"] == ["mailto:ops@example.test"]
    assert r.json["termsOfServiceAgreed"] is True and r.json["orders"] == r.location + "/orders"
    assert r.location.startswith(c.base + "/account/")


def test_existing_key_returns_its_account(new_client, client):
    again = new_client(key=client.key, register=False)
    r = again.new_account(200, contact=["mailto:other@example.test"])
    assert r.location == client.kid and r.json["contact"] == []


def test_only_return_existing(new_client, client):
    again = new_client(key=client.key, register=False)
    assert again.new_account(200, onlyReturnExisting=True, termsOfServiceAgreed=UNSET).location == client.kid
    stranger = new_client(register=False)
    r = stranger.new_account(400, onlyReturnExisting=True)
    assert r.problem == "accountDoesNotExist"
    stranger.new_account(201)


@pytest.mark.parametrize("member", [{"onlyReturnExisting": False}, {"status": "valid"}, {"resource": "new-reg"}, {"orders": "x"},
                                    {"contact": []}, {"contact": None}],
                         ids=lambda m: next(iter(m)))
def test_defaulted_members_are_ignored(new_client, member):
    c = new_client(register=False)
    r = c.want(201, c.directory["newAccount"], {"termsOfServiceAgreed": True, **member})
    assert r.json["status"] == "valid" and r.json["contact"] == []


def test_one_account_per_key_when_two_gateways_are_asked_at_once(env, gateways, db):
    import threading
    key = acme.Key()
    answers = []

    def run(i):
        c = env.client(gateways[i % 2], key=key, register=False)
        answers.append(c.new_account(None))
    threads = [threading.Thread(target=run, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(r.status for r in answers) == [200] * 5 + [201]
    assert len({r.location for r in answers}) == 1
    assert db.one("SELECT count(*) FROM account WHERE thumbprint = %s", key.thumbprint()) == 1


def test_accounts_of_one_key_in_two_directories_are_two(new_client, client):
    assert new_client("second", key=client.key, register=False).new_account(201).location != client.kid


# ---- contacts ----

@pytest.mark.parametrize("contact, problem", [
    ("mailto:", "invalidContact"), ("mailto:nobody", "invalidContact"), ("mailto:a@b@c.test", "invalidContact"),
    ("mailto:a@x.test,b@x.test", "invalidContact"), ("mailto:a@x.test?subject=hi", "invalidContact"),
    ("mailto:a b@x.test", "invalidContact"), ("nobody@x.test", "invalidContact"), ("mailto:a@-x.test", "invalidContact"),
    ("mailto:" + "a" * 600 + "@x.test", "invalidContact"), ("tel:+1234", "unsupportedContact"),
    ("https://x.test/", "unsupportedContact"), ("", "invalidContact"),
])
def test_contacts_are_checked(new_client, client, contact, problem):
    r = new_client(register=False).new_account(400, contact=[contact])
    assert r.problem == problem and "contact" in r.detail
    r = client.post(client.kid, {"contact": [contact]})
    assert r.status == 400 and r.problem == problem
    assert client.read(client.kid).json["contact"] == []


@pytest.mark.parametrize("contact", ["mailto:a@x.test", 7, {"a": 1}, [7], [None], [["mailto:a@x.test"]]])
def test_contacts_are_a_list_of_strings(new_client, contact):
    assert new_client(register=False).new_account(400, contact=contact).problem == "malformed"


def test_number_of_contacts_is_limited(new_client):
    r = new_client(register=False).new_account(400, contact=[f"mailto:a{i}@x.test" for i in range(11)])
    assert r.problem == "invalidContact" and "10" in r.detail


@pytest.mark.parametrize("contact", ["mailto:first.last+tag@x.test", "MAILTO:a@X.test", "mailto:o%27neil@x.test"])
def test_usual_contacts_are_kept(new_client, contact):
    assert new_client(register=False).new_account(201, contact=[contact]).json["contact"] == [contact]


# ---- terms ----

def test_terms_have_to_be_agreed_to(new_client):
    c = new_client("terms", register=False)
    for agreed in (UNSET, False, "true", 1):
        r = c.new_account(403, termsOfServiceAgreed=agreed)
        assert r.problem == "userActionRequired" and "https://www.portico.test/terms" in r.detail
        assert r.links("terms-of-service") == ["https://www.portico.test/terms"]
    assert c.new_account(201).json["termsOfServiceAgreed"] is True


def test_terms_can_be_agreed_to_later(new_client):
    c = new_client()
    assert c.want(200, c.kid, {"termsOfServiceAgreed": True}).json["termsOfServiceAgreed"] is True


# ---- external account binding ----

@pytest.fixture
def mac(env, db):
    kid = env.name("eab").replace(".", "-")
    return env.add_eab(db, kid, os.urandom(32))


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_binding_with_each_algorithm(new_client, mac, db, alg):
    mac.alg = alg
    c = new_client("bound", register=False)
    r = c.new_account(201, eab=mac)
    assert r.json["externalAccountBinding"]["payload"] == acme.b64(json.dumps(c.key.jwk()))
    assert db.one("SELECT eab_kid FROM account WHERE id = %s", c.kid.rsplit("/", 1)[1]) == mac.kid


def test_binding_is_wanted_where_the_directory_says_so(new_client, db):
    r = new_client("bound", register=False).new_account(403)
    assert r.problem == "externalAccountRequired"


def test_binding_is_optional_where_the_directory_says_so(new_client, mac):
    new_client().clone()
    c = new_client(register=False)
    c.new_account(201, eab=mac)


def test_registering_again_with_the_binding_returns_the_account(new_client, mac):
    c = new_client("bound", register=False)
    c.new_account(201, eab=mac)
    again = new_client("bound", key=c.key, register=False)
    assert again.new_account(200, eab=mac).location == c.kid
    assert again.new_account(200).location == c.kid


def test_bad_binding_does_not_hide_an_existing_account(new_client, client, mac):
    again = new_client(key=client.key, register=False)
    assert again.new_account(200, eab=MacKey(mac.kid, b"wrong" * 8)).location == client.kid


@pytest.mark.parametrize("what", ["wrong secret", "unknown kid", "disabled", "expired", "other directory"])
def test_bindings_that_are_not_good(new_client, env, db, mac, what):
    kid = mac.kid + "-x"
    if what == "wrong secret":
        bad = MacKey(mac.kid, b"0" * 32)
    elif what == "unknown kid":
        bad = MacKey("nobody", b"0" * 32)
    elif what == "disabled":
        bad = env.add_eab(db, kid, b"1" * 32, status="disabled")
    elif what == "expired":
        bad = env.add_eab(db, kid, b"1" * 32, expires="2001-01-01")
    else:
        bad = env.add_eab(db, kid, b"1" * 32, directory="second")
    c = new_client("bound", register=False)
    r = c.new_account(None, eab=bad)
    assert r.status == 403 and r.problem == "unauthorized" and ("kid" in r.detail or "key" in r.detail), r
    assert db.one("SELECT count(*) FROM account WHERE thumbprint = %s", c.key.thumbprint()) == 0


def test_binding_rules(new_client, mac):
    """RFC 8555 7.3.4: MAC algorithm, kid, url, no nonce, payload is the account key."""
    c = new_client("bound", register=False)
    head = {"alg": "HS256", "kid": mac.kid, "url": c.directory["newAccount"]}
    jwk = c.key.jwk()
    bad = {
        "nonce": ({**head, "nonce": "abc"}, jwk, "malformed"),
        "other url": ({**head, "url": c.directory["newOrder"]}, jwk, "malformed"),
        "no url": ({k: v for k, v in head.items() if k != "url"}, jwk, "malformed"),
        "no kid": ({k: v for k, v in head.items() if k != "kid"}, jwk, "malformed"),
        "jwk": ({**head, "jwk": jwk}, jwk, "malformed"),
        "alg": ({**head, "alg": "ES256"}, jwk, "badSignatureAlgorithm"),
        "none": ({**head, "alg": "none"}, jwk, "badSignatureAlgorithm"),
        "other key": (head, acme.Key().jwk(), "malformed"),
        "no key": (head, {}, None),
        "text": (head, b"x", None),
    }
    for what, (header, payload, problem) in bad.items():
        r = c.new_account(None, eab=acme.jws(mac, header, payload, signature=mac.sign(b"") if "alg" in what else None))
        assert r.status == 400 and problem in (None, r.problem), (what, r)
    for value in ("x", 7, [], {}):
        r = c.new_account(None, eab=value)
        assert r.status == 400 and r.problem == "malformed", (value, r)


def test_key_of_a_binding_that_was_disabled_gets_no_order(new_client, mac, db, name):
    """Looked at on every order, not only at registration, and named in the answer."""
    c = new_client(register=False)
    c.new_account(201, eab=mac)
    c.new_order([name])
    db.rows("UPDATE eab SET status = 'disabled' WHERE kid = %s", mac.kid)
    r = c.new_order([name], 403)
    assert r.problem == "unauthorized" and mac.kid in r.detail


def test_policy_of_a_binding_limits_names_and_profiles(new_client, env, db):
    mac = env.add_eab(db, "limited", b"1" * 32, policy={"names": ["*.team.test"], "profiles": ["server"]})
    c = new_client(register=False)
    c.new_account(201, eab=mac)
    c.new_order(["a.team.test"])
    r = c.new_order(["a.other.test"], 400)
    assert r.problem == "rejectedIdentifier" and "*.team.test" in r.detail
    r = c.new_order(["a.team.test", "b.other.test", "c.other.test"], 400)
    assert len(r.subproblems) == 2
    r = c.new_order(["a.team.test"], None, profile="clamp")
    assert r.status in (400, 403) and r.problem in ("unauthorized", "invalidProfile") and "clamp" in r.detail
    r = c.post(c.directory["newAuthz"], {"identifier": acme.identifier("a.other.test")})
    assert r.status == 400 and r.problem == "rejectedIdentifier"


# ---- the account ----

def test_account_is_read_with_post_as_get(client):
    r = client.read(client.kid)
    assert r.json["status"] == "valid" and r.location == client.kid


def test_contacts_are_replaced_and_removed(client):
    assert client.want(200, client.kid, {"contact": ["mailto:a@x.test"]}).json["contact"] == ["mailto:a@x.test"]
    assert client.want(200, client.kid, {"contact": ["mailto:b@x.test"]}).json["contact"] == ["mailto:b@x.test"]
    assert client.want(200, client.kid, {"contact": []}).json["contact"] == []


def test_update_ignores_what_cannot_be_changed(client):
    """RFC 8555 7.3.2."""
    r = client.want(200, client.kid, {"contact": ["mailto:a@x.test"], "orders": "https://evil.test/", "status": "valid",
                                      "termsOfServiceAgreed": False, "externalAccountBinding": {}, "x": 1})
    assert r.json["status"] == "valid" and r.json["orders"] == client.kid + "/orders"
    assert r.json["termsOfServiceAgreed"] is True


@pytest.mark.parametrize("status", ["revoked", "pending", "", 7])
def test_other_statuses_cannot_be_asked_for(client, status):
    r = client.post(client.kid, {"status": status})
    assert r.status == 400 and r.problem == "malformed"
    assert client.read(client.kid).json["status"] == "valid"


def test_update_is_seen_at_the_other_gateway_at_once(env, gateways, client):
    other = client.clone(transport=env.transport(gateways[1]))
    first = client.clone(transport=env.transport(gateways[0]))
    for i in range(5):
        first.want(200, client.kid, {"contact": [f"mailto:n{i}@x.test"]})
        assert other.read(client.kid).json["contact"] == [f"mailto:n{i}@x.test"]


def test_deactivation(env, client, db):
    """Its key cannot be used or registered again, what was unfinished ends (RFC 8555 7.3.6)."""
    order = client.new_order([env.name(), env.name()])
    env.dns.behave(order.json["identifiers"][0]["value"], delay=1)
    ready, _ = env.ready_order(client, [env.name()])
    authz = client.read(order.json["authorizations"][0]).json
    client.want(200, acme.challenge_of(authz, "http-01")["url"], {})
    r = client.want(200, client.kid, {"status": "deactivated"})
    assert r.json["status"] == "deactivated"
    r = client.post(client.kid)
    assert r.status == 403 and r.problem == "unauthorized"
    r = client.new_account(None)
    assert r.status == 403 and r.problem == "unauthorized" and "deactivated" in r.detail
    account = client.kid.rsplit("/", 1)[1]
    assert {x[0] for x in db.rows("SELECT status FROM orders WHERE account_id = %s", account)} == {"invalid"}
    assert {x[0] for x in db.rows("SELECT status FROM authz WHERE account_id = %s", account)} == {"deactivated"}
    assert db.one("SELECT count(*) FROM job WHERE account_id = %s", account) == 0
    assert db.one("SELECT count(*) FROM event WHERE object_id = %s AND event = 'deactivated'", account) == 1


def test_deactivation_counts_at_the_other_gateway_at_once(env, gateways):
    c = env.client(*gateways)
    first, other = c.clone(transport=env.transport(gateways[0])), c.clone(transport=env.transport(gateways[1]))
    assert other.post(c.kid).status == 200  # its key is in the cache there
    first.want(200, c.kid, {"status": "deactivated"})
    assert other.post(c.kid).problem == "unauthorized"


# ---- orders list ----

def pages(client, url=None):
    url = url or client.read(client.kid).json["orders"]
    found = []
    while url:
        r = client.read(url)
        found.append(r.json["orders"])
        nexts = r.links("next")
        assert len(nexts) <= 1 and len(r.json["orders"]) <= 3
        url = nexts[0] if nexts else None
    return found


def test_orders_list_is_paged(client, env):
    made = [client.new_order([env.name()]).location for _ in range(8)]
    listed = pages(client)
    assert [len(p) for p in listed] == [3, 3, 2]
    assert sum(listed, []) == made[::-1]


def test_orders_list_of_a_new_account_is_empty(client):
    assert pages(client) == [[]]


def test_full_last_page_has_no_next(client, env):
    for _ in range(3):
        client.new_order([env.name()])
    assert [len(p) for p in pages(client)] == [3]


def test_orders_list_with_an_unknown_cursor_is_empty_or_refused(client, env):
    client.new_order([env.name()])
    for cursor in ("nobody", "", "x" * 500, "'--"):
        r = client.post(f"{client.kid}/orders?cursor={cursor}")
        assert (r.status == 200 and r.json["orders"] == []) or r.status in (400, 404), r


def test_cursor_of_another_account_shows_nothing(client, new_client, env):
    other = new_client()
    theirs = other.new_order([env.name()]).location.rsplit("/", 1)[1]
    client.new_order([env.name()])
    r = client.post(f"{client.kid}/orders?cursor={theirs}")
    assert (r.status == 200 and r.json["orders"] == []) or r.status in (400, 404)


def test_invalid_orders_are_not_listed(client, env):
    """RFC 8555 7.1.2.1."""
    keep = client.new_order([env.name()]).location
    gone = client.new_order([env.name()])
    client.want(200, gone.json["authorizations"][0], {"status": "deactivated"})
    assert client.read(gone.location).json["status"] == "invalid"
    assert sum(pages(client), []) == [keep]

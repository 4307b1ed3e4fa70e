# SPDX-License-Identifier: Apache-2.0
"""new-authz, authorizations, challenges (RFC 8555 7.4.1, 7.5; design.md section 4)."""
import datetime

import pytest

import acme
from test_10_order import now, parse, rfc3339


def new_authz(client, name, status=201, **members):
    r = client.post(client.directory["newAuthz"], {"identifier": acme.identifier(name), **members})
    if status is not None and r.status != status:
        raise acme.Refused(r)
    return r


def prove(env, client, r, kind="http-01"):
    challenge = env.publish(client, r.json, kind)
    client.want(200, challenge["url"], {})
    done = client.wait(r.location, ("valid", "invalid"))
    assert done.json["status"] == "valid", done
    return done


def test_preauthorization(client, env, name):
    r = new_authz(client, name)
    assert r.json["status"] == "pending" and r.json["identifier"] == acme.identifier(name)
    prove(env, client, r)
    order = client.new_order([name])
    assert order.json["status"] == "ready" and order.json["authorizations"] == [r.location]


def test_preauthorization_of_an_address(client, env):
    r = new_authz(client, "127.0.0.1")
    prove(env, client, r)
    assert client.new_order(["127.0.0.1"]).json["status"] == "ready"


def test_pending_preauthorization_is_returned_again(client, name):
    r = new_authz(client, name)
    again = new_authz(client, name.upper(), 200)
    assert again.location == r.location


def test_valid_authorization_is_found(client, env, name):
    r = prove(env, client, new_authz(client, name))
    assert new_authz(client, name, 200).location == r.location


def test_expires_finds_what_lasts_long_enough(client, env, name):
    r = prove(env, client, new_authz(client, name))
    until = parse(r.json["expires"])
    assert new_authz(client, name, 200, expires=rfc3339(until - datetime.timedelta(days=1))).location == r.location
    other = new_authz(client, name, 201, expires=rfc3339(until + datetime.timedelta(days=1)))
    assert other.location != r.location
    assert abs(parse(other.json["expires"]) - now() - datetime.timedelta(days=7)) < datetime.timedelta(minutes=5), \
        "expires never influences how long an authorization lives"


@pytest.mark.parametrize("expires", ["tomorrow", 7, "", None, []])
def test_expires_of_wrong_form_is_malformed(client, name, expires):
    assert new_authz(client, name, 400, expires=expires).problem == "malformed"


def test_authorization_of_another_account_is_not_found(client, new_client, env, name):
    r = prove(env, client, new_authz(client, name))
    assert new_authz(new_client(), name, 201).location != r.location


def test_wildcards_cannot_be_authorized_ahead(client, name):
    r = new_authz(client, f"*.{name}", 400)
    assert r.problem == "malformed" and "wildcard" in r.detail.lower()


@pytest.mark.parametrize("payload, problem", [
    ({}, "malformed"), ({"identifier": "a.test"}, "malformed"), ({"identifier": {"type": "dns"}}, "malformed"),
    ({"identifier": {"type": "email", "value": "a@b.test"}}, "unsupportedIdentifier"),
    ({"identifier": {"type": "dns", "value": "a_b.test"}}, "rejectedIdentifier"),
])
def test_bad_identifiers(client, payload, problem):
    r = client.post(client.directory["newAuthz"], payload)
    assert r.status == 400 and r.problem == problem


# ---- the authorization ----

def test_authorization_object(client, name):
    order = client.new_order([name])
    r = client.read(order.json["authorizations"][0])
    authz = r.json
    assert authz["status"] == "pending" and authz["identifier"] == acme.identifier(name) and parse(authz["expires"]) > now()
    assert r.retry_after == 1
    assert len({c["token"] for c in authz["challenges"]}) >= 1
    for c in authz["challenges"]:
        assert c["status"] == "pending" and len(acme.unb64(c["token"])) >= 16 and c["url"].startswith(client.base)
        assert "validated" not in c and "error" not in c


def test_valid_authorization_shows_the_challenge_that_proved_it(client, env, name):
    order = env.ready_order(client, [name])[1]
    authz = client.read(order["authorizations"][0]).json
    assert [c["type"] for c in authz["challenges"]] == ["http-01"]
    assert parse(authz["challenges"][0]["validated"]) <= now() + datetime.timedelta(seconds=2)


def test_deactivation(client, env, name):
    url, order = env.ready_order(client, [name])
    authz = order["authorizations"][0]
    assert client.want(200, authz, {"status": "deactivated"}).json["status"] == "deactivated"
    invalid = client.read(url).json
    assert invalid["status"] == "invalid" and "deactivated" in invalid["error"]["detail"]
    assert client.finalize(order, acme.csr([name]), 403).problem == "orderNotReady"
    assert client.new_order([name]).json["status"] == "pending", "what is deactivated is not reused"


def test_deactivation_of_a_pending_authorization(client, name):
    r = client.new_order([name])
    client.want(200, r.json["authorizations"][0], {"status": "deactivated"})
    assert client.read(r.location).json["status"] == "invalid"


def test_deactivation_does_not_touch_certificates(client, env, name):
    url, order, _ = env.issue(client, [name])
    client.want(200, order["authorizations"][0], {"status": "deactivated"})
    assert client.read(url).json["status"] == "valid"


def test_deactivation_is_repeatable(client, name):
    """Every POST may be repeated after a lost answer."""
    r = client.new_order([name])
    for _ in range(2):
        assert client.want(200, r.json["authorizations"][0], {"status": "deactivated"}).json["status"] == "deactivated"


@pytest.mark.parametrize("payload", [{}, {"status": "valid"}, {"status": "pending"}, {"status": 7}, {"x": 1}])
def test_nothing_else_can_be_done_to_an_authorization(client, name, payload):
    url = client.new_order([name]).json["authorizations"][0]
    r = client.post(url, payload)
    assert r.status == 400 and r.problem == "malformed"
    assert client.read(url).json["status"] == "pending"


def test_failed_authorization_cannot_be_deactivated(client, env, name):
    env.dns.set(name, "A", "127.0.0.1")
    order = client.new_order([name]).json
    _, authz = client.authzs(order)[0]
    client.want(200, acme.challenge_of(authz, "http-01")["url"], {})
    client.wait(order["authorizations"][0], ("invalid",))
    r = client.post(order["authorizations"][0], {"status": "deactivated"})
    assert r.status == 400 and "invalid" in r.detail


def test_expired_authorization_takes_its_order_along(client, env, db, name):
    url, order = env.ready_order(client, [name])
    ident = order["authorizations"][0].rsplit("/", 1)[1]
    db.rows("UPDATE authz SET expires_at = clock_timestamp() - interval '1 second' WHERE id = %s", ident)
    r = client.finalize(order, acme.csr([name]), 403)
    assert r.problem == "orderNotReady" and name in r.detail
    assert client.read(order["authorizations"][0]).json["status"] == "expired"
    assert client.new_order([name]).json["status"] == "pending"


# ---- challenges ----

def test_challenge_is_read_with_post_as_get(client, name):
    order = client.new_order([name]).json
    _, authz = client.authzs(order)[0]
    for c in authz["challenges"]:
        r = client.read(c["url"])
        assert r.json == c and r.links("up") == order["authorizations"]


def test_answer_to_a_challenge_links_up_to_the_authorization(client, env, name):
    order = client.new_order([name]).json
    challenge = env.publish(client, client.authzs(order)[0][1], "http-01")
    r = client.want(200, challenge["url"], {})
    assert r.links("up") == order["authorizations"]
    assert r.json["status"] in ("processing", "valid")
    if r.json["status"] == "processing":
        assert r.retry_after is not None


def test_repeated_posts_to_a_challenge_are_200(client, env, name):
    """While it is processing, and once it is valid."""
    env.dns.behave(name, delay=0.7)
    order = client.new_order([name]).json
    challenge = env.publish(client, client.authzs(order)[0][1], "http-01")
    for _ in range(3):
        assert client.want(200, challenge["url"], {}).json["status"] == "processing"
    client.wait(order["authorizations"][0], ("valid",))
    assert client.want(200, challenge["url"], {}).json["status"] == "valid"
    assert len(env.http.seen("/.well-known/acme-challenge/" + challenge["token"])) == 1


@pytest.mark.parametrize("payload", [{}, {"keyAuthorization": "x"}, {"type": "http-01", "resource": "challenge"}])
def test_whatever_the_client_says_with_its_answer_is_ignored(client, env, name, payload):
    order = client.new_order([name]).json
    challenge = env.publish(client, client.authzs(order)[0][1], "http-01")
    client.want(200, challenge["url"], payload)
    assert client.wait(order["authorizations"][0], ("valid", "invalid")).json["status"] == "valid"


def test_other_challenges_of_a_valid_authorization_do_nothing(client, env, name):
    order = client.new_order([name]).json
    _, authz = client.authzs(order)[0]
    env.solve(client, order)
    r = client.post(acme.challenge_of(authz, "dns-01")["url"], {})
    assert r.status in (200, 400)
    assert client.read(order["authorizations"][0]).json["status"] == "valid"


def test_post_to_a_challenge_of_a_deactivated_authorization_does_nothing(client, env, name):
    order = client.new_order([name]).json
    challenge = env.publish(client, client.authzs(order)[0][1], "http-01")
    client.want(200, order["authorizations"][0], {"status": "deactivated"})
    client.post(challenge["url"], {})
    assert client.read(order["authorizations"][0]).json["status"] == "deactivated"
    assert not env.http.seen("/.well-known/acme-challenge/" + challenge["token"])


def test_unknown_challenge_types_are_404(client, name):
    order = client.new_order([name]).json
    ident = order["authorizations"][0].rsplit("/", 1)[1]
    for kind in ("nothing-01", "HTTP-01", "http-01x"):
        assert client.post(f"{client.base}/challenge/{ident}/{kind}", {}).status == 404

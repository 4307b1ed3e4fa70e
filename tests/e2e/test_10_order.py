# SPDX-License-Identifier: Apache-2.0
"""new-order and order (RFC 8555 7.4, RFC 8738)."""
import datetime
import threading
import time

import pytest

import acme
from acme import UNSET


def rfc3339(when):
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)


def now():
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def test_new_order(client, env):
    names = [env.name(), env.name()]
    r = client.new_order(names)
    order = r.json
    assert order["status"] == "pending" and len(order["authorizations"]) == 2 and len(set(order["authorizations"])) == 2
    assert order["identifiers"] == [acme.identifier(n) for n in names]
    assert order["finalize"] == r.location + "/finalize" and "certificate" not in order and "error" not in order
    assert order["profile"] == "server" and parse(order["expires"]) > now() + datetime.timedelta(days=1)
    assert r.retry_after is not None and r.retry_after <= 5
    assert client.read(r.location).json == order


def test_pending_orders_are_read_with_retry_after(client, name):
    r = client.read(client.new_order([name]).location)
    assert r.retry_after == 1 and r.location


def test_authorizations_come_in_the_order_of_the_identifiers(client, env):
    names = [env.name() for _ in range(5)]
    order = client.new_order(names).json
    assert [a["identifier"]["value"] for _, a in client.authzs(order)] == names


@pytest.mark.parametrize("value, want", [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("2001:DB8::0:1", "2001:db8::1"),
                                         ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1")])
def test_addresses(client, value, want):
    """RFC 8738; the text form is RFC 5952's."""
    order = client.new_order([{"type": "ip", "value": value}]).json
    assert order["identifiers"] == [{"type": "ip", "value": want}]
    _, authz = client.authzs(order)[0]
    assert {c["type"] for c in authz["challenges"]} == {"http-01"} | ({"tls-alpn-01"} & {c["type"] for c in authz["challenges"]})


def test_wildcards(client, name):
    """The authorization is for the base name, says so, and offers dns-01 only."""
    order = client.new_order([f"*.{name}", name]).json
    (_, wild), (_, plain) = client.authzs(order)
    assert wild["identifier"]["value"] == name and wild["wildcard"] is True
    assert [c["type"] for c in wild["challenges"]] == ["dns-01"]
    assert "wildcard" not in plain and {"http-01", "dns-01"} <= {c["type"] for c in plain["challenges"]}


@pytest.mark.parametrize("change", [str.upper, str.title, str.swapcase])
def test_names_arrive_in_any_case(client, name, change):
    assert client.new_order([change(name)]).json["identifiers"] == [acme.identifier(name)]


def test_duplicates_are_one(client, name):
    order = client.new_order([name, name.upper(), name]).json
    assert order["identifiers"] == [acme.identifier(name)] and len(order["authorizations"]) == 1
    order = client.new_order(["::1", {"type": "ip", "value": "0:0::1"}]).json
    assert len(order["identifiers"]) == 1


@pytest.mark.parametrize("name", ["localhost", "xn--bcher-kva.test", "a.b.c.d.e.f.test", "a" * 63 + ".test", "1.2.3.4.test",
                                  "x--y.test", "a-b.test", "sub.localhost", "intranet"])
def test_names_that_are_fine(client, name):
    assert client.new_order([name]).json["identifiers"][0]["value"] == name


BAD_NAMES = ["a_b.test", "-a.test", "a-.test", "a..test", ".a.test", "a.test.", "a b.test", "*", "*.", "*.*.test", "a.*.test",
             "a*.test", "bücher.test", "xn--.test", "xn--99999999.test", "ab--cd.test", "a" * 64 + ".test",
             ".".join(["a" * 60] * 5) + ".test", "127.0.0.1", "1.2.3", "a.test:80", "http://a.test", "a.test/", "user@a.test",
             "a.t\u0000est", "a.123", "[::1]", "::1"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=[n.encode("unicode_escape").decode()[:40] for n in BAD_NAMES])
def test_names_that_are_not(client, name):
    r = client.post(client.directory["newOrder"], {"identifiers": [{"type": "dns", "value": name}]})
    assert r.status == 400 and r.problem in ("rejectedIdentifier", "malformed"), r
    if r.problem == "rejectedIdentifier":
        assert len(r.subproblems) == 1


@pytest.mark.parametrize("address", ["127.1", "01.2.3.4", "1.2.3.4/32", "[::1]", "fe80::1%eth0", "::ffff:1.2.3.4", "a.test",
                                     "1.2.3.256", "0x7f.0.0.1", " 1.2.3.4"])
def test_addresses_that_are_none(client, address):
    r = client.post(client.directory["newOrder"], {"identifiers": [{"type": "ip", "value": address}]})
    assert r.status == 400 and r.problem == "rejectedIdentifier"


def test_idn_refusal_asks_for_the_a_label(client):
    r = client.new_order([{"type": "dns", "value": "bücher.test"}], 400)
    assert r.problem == "rejectedIdentifier" and "xn--" in r.detail


@pytest.mark.parametrize("identifiers", [[], {}, "x", None, [7], [None], ["a.test"], [{}], [{"type": "dns"}],
                                         [{"value": "a.test"}], [{"type": "dns", "value": 7}], [{"type": 7, "value": "a.test"}],
                                         [{"type": "dns", "value": ""}], UNSET])
def test_identifiers_of_wrong_form_are_malformed(client, identifiers):
    payload = {} if identifiers is UNSET else {"identifiers": identifiers}
    r = client.post(client.directory["newOrder"], payload)
    assert r.status == 400 and r.problem == "malformed", r


@pytest.mark.parametrize("kind", ["email", "permanent-identifier", "TNAuthList", "DNS", ""])
def test_other_types_of_identifier(client, kind):
    r = client.post(client.directory["newOrder"], {"identifiers": [{"type": kind, "value": "a.test"}]})
    assert r.status == 400 and r.problem == "unsupportedIdentifier" and "dns" in r.detail


def test_subproblems_say_which_identifiers(client, name):
    r = client.new_order([name, "a_b.test", {"type": "email", "value": "a@b.test"}, {"type": "ip", "value": "1.2.3"}], 400)
    assert r.problem == "compound" and len(r.subproblems) == 3
    subs = {s["identifier"]["value"]: s["type"].rsplit(":", 1)[1] for s in r.subproblems}
    assert subs == {"a_b.test": "rejectedIdentifier", "a@b.test": "unsupportedIdentifier", "1.2.3": "rejectedIdentifier"}
    types = {s["identifier"]["value"]: s["identifier"]["type"] for s in r.subproblems}
    assert types["a_b.test"] == "dns" and types["1.2.3"] == "ip" and types["a@b.test"] == "email"


def test_one_bad_identifier_is_the_problem_itself(client, name):
    r = client.new_order([name, "a_b.test"], 400)
    assert r.problem == "rejectedIdentifier" and "a_b.test" in r.detail and len(r.subproblems) == 1


def test_number_of_names_is_limited(client):
    assert len(client.new_order([f"n{i}.many.test" for i in range(100)]).json["authorizations"]) == 100
    r = client.new_order([f"n{i}.many.test" for i in range(101)], 400)
    assert "100" in r.detail


# ---- profiles ----

def test_profile_is_chosen_by_name(client, name):
    assert client.new_order([name], profile="clamp").json["profile"] == "clamp"


def test_the_first_profile_is_the_default(new_client, name):
    assert new_client("second").new_order([name]).json["profile"] == "server"


@pytest.mark.parametrize("profile", ["nobody", "", "Server"])
def test_unknown_profiles(client, name, profile):
    r = client.new_order([name], 400, profile=profile)
    assert r.problem == "invalidProfile" and "profile" in r.detail


def test_a_profile_of_another_directory_is_unknown(new_client, name):
    assert new_client("second").new_order([name], 400, profile="clamp").problem == "invalidProfile"


@pytest.mark.parametrize("names, part", [(["a.other.test"], "*.narrow.test"), (["*.x.narrow.test"], "wildcard"),
                                         (["127.0.0.1"], "IP"), (["narrow.test"], "narrow.test")])
def test_profile_limits_names(client, names, part):
    r = client.new_order(names, 400, profile="narrow")
    assert r.problem == "rejectedIdentifier" and part in r.detail and "narrow" in r.detail
    assert client.new_order(["a.narrow.test", "b.narrow.test", "c.narrow.test"], profile="narrow").status == 201
    assert client.new_order([f"{x}.narrow.test" for x in "abcd"], 400, profile="narrow").status == 400


def test_wildcard_needs_a_profile_with_dns01(client, name):
    r = client.new_order([f"*.{name}"], 400, profile="httponly")
    assert r.problem == "rejectedIdentifier"


def test_address_needs_a_profile_with_http01(client):
    r = client.new_order(["127.0.0.1"], 400, profile="dnsonly")
    assert r.problem == "rejectedIdentifier" and len(r.subproblems) == 1


def test_profile_limits_challenges(client, name):
    order = client.new_order([name], profile="dnsonly").json
    assert [c["type"] for c in client.authzs(order)[0][1]["challenges"]] == ["dns-01"]


# ---- validity ----

def test_requested_validity_is_kept(client, name, env):
    start, end = now() + datetime.timedelta(minutes=5), now() + datetime.timedelta(days=20)
    order = client.new_order([name], notBefore=rfc3339(start), notAfter=rfc3339(end)).json
    assert parse(order["notBefore"]) == start and parse(order["notAfter"]) == end
    _, _, chain = env.issue(client, [name], notBefore=rfc3339(now() - datetime.timedelta(minutes=5)), notAfter=rfc3339(end))
    leaf = acme.pem_certificates(chain)[0]
    assert leaf.not_valid_after.replace(tzinfo=datetime.timezone.utc) == end


@pytest.mark.parametrize("members", [
    {"notAfter": datetime.timedelta(days=91)}, {"notAfter": datetime.timedelta(days=-1)},
    {"notBefore": datetime.timedelta(days=-2)}, {"notBefore": datetime.timedelta(days=100)},
    {"notBefore": datetime.timedelta(days=5), "notAfter": datetime.timedelta(days=4)},
], ids=["too late an end", "past end", "past start", "too late a start", "end before start"])
def test_validity_outside_the_range_is_refused_with_the_range(client, name, members):
    r = client.new_order([name], 400, **{k: rfc3339(now() + v) for k, v in members.items()})
    assert r.problem == "malformed" and "not" in r.detail
    if len(members) == 1:
        assert "from" in r.detail and "Z" in r.detail  # the permitted range


@pytest.mark.parametrize("text", ["tomorrow", "2030-01-01", "2030-13-01T00:00:00Z", "2030-01-01T00:00:00", 7, "", [],
                                  "2030-02-30T00:00:00Z", "-001-01-01T00:00:00Z"])
def test_times_of_wrong_form_are_malformed(client, name, text):
    for member in ("notBefore", "notAfter"):
        r = client.new_order([name], 400, **{member: text})
        assert r.problem == "malformed" and member in r.detail


def test_times_with_fractions_and_offsets_are_read(client, name):
    when = now() + datetime.timedelta(days=10)
    for text in (when.strftime("%Y-%m-%dT%H:%M:%S.123Z"),
                 (when + datetime.timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S+02:00")):
        assert parse(client.new_order([name], notAfter=text).json["notAfter"]) == when


def test_clamp_profile_cuts_silently(client, name):
    order = client.new_order([name], profile="clamp", notAfter=rfc3339(now() + datetime.timedelta(days=5000))).json
    assert parse(order["notAfter"]) <= now() + datetime.timedelta(days=90, seconds=5)


# ---- reuse and independence ----

def test_valid_authorizations_are_reused(client, env, name):
    env.ready_order(client, [name])
    again = client.new_order([name.upper()]).json
    assert again["status"] == "ready"
    assert client.read(again["authorizations"][0]).json["status"] == "valid"


def test_valid_authorization_does_not_serve_the_wildcard(client, env, name):
    env.ready_order(client, [name])
    assert client.new_order([f"*.{name}"]).json["status"] == "pending"
    env.ready_order(client, [f"*.{name}"])
    other = env.name()
    env.ready_order(client, [f"*.{other}"])
    assert client.new_order([other]).json["status"] == "pending"


def test_valid_authorization_is_not_another_accounts(client, new_client, env, name):
    env.ready_order(client, [name])
    assert new_client().new_order([name]).json["status"] == "pending"


def test_method_of_a_reused_authorization_is_one_of_the_profiles(client, env, name):
    """Proved by http-01, it does not count where the profile allows dns-01 only."""
    env.ready_order(client, [name], "http-01")
    assert client.new_order([name], profile="dnsonly").json["status"] == "pending"
    assert client.new_order([name], profile="httponly").json["status"] == "ready"


def test_pending_authorizations_are_not_shared(client, name):
    """One order's failure must not fail another."""
    first, second = client.new_order([name]).json, client.new_order([name]).json
    assert set(first["authorizations"]).isdisjoint(second["authorizations"])


def test_partly_authorized_orders_are_pending(client, env):
    known, new = env.name(), env.name()
    env.ready_order(client, [known])
    r = client.new_order([known, new])
    assert r.json["status"] == "pending"
    statuses = [a["status"] for _, a in client.authzs(r.json)]
    assert statuses == ["valid", "pending"]
    env.solve(client, r.json)
    assert client.wait(r.location, ("ready", "invalid")).json["status"] == "ready"


def test_order_expires(client, env, db, name):
    r = client.new_order([name])
    db.rows("UPDATE orders SET expires_at = clock_timestamp() - interval '1 second' WHERE id = %s", r.location.rsplit("/", 1)[1])
    expired = client.read(r.location).json
    assert expired["status"] == "invalid" and "expired" in expired["error"]["detail"]
    r = client.finalize(expired, acme.csr([name]), 403)
    assert r.problem == "orderNotReady"


def test_replaces_is_kept(client, name):
    order = client.new_order([name], replaces="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").json
    assert order["replaces"] == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert client.new_order([name], 400, replaces="x" * 201).problem == "malformed"


def test_nothing_is_at_unknown_ids(shared):
    for path in ("order/nothing", "order/nothing/finalize", "authz/nothing", "challenge/nothing/http-01", "cert/nothing",
                 "cert/nothing/1"):
        payload = {"csr": acme.b64(acme.csr(["a.test"]))} if path.endswith("finalize") else None
        r = shared.post(f"{shared.base}/{path}", payload)
        assert r.status == 404 and r.is_problem, r


@pytest.mark.parametrize("what", ["order", "authorization"])
@pytest.mark.parametrize("at", [0, 1])
def test_prefer_wait_is_answered_when_something_happens(env, gateways, name, what, at):
    """Also when it happens at the other gateway (RFC 7240)."""
    c = env.client(gateways[0])
    r = c.new_order([name])
    url = r.location if what == "order" else r.json["authorizations"][0]
    challenge = env.publish(c, c.authzs(r.json)[0][1], "http-01")
    waiting = c.clone(transport=env.transport(gateways[at]))
    waiting.nonce()
    threading.Timer(0.3, lambda: c.clone().want(200, challenge["url"], {})).start()
    started = time.monotonic()
    assert waiting.read(url, headers={"Prefer": "wait=20"}).json["status"] in ("ready", "valid")
    assert time.monotonic() - started < 5


def test_prefer_wait_ends(client, name):
    r = client.new_order([name])
    assert client.read(r.location, headers={"Prefer": "wait=1"}).json["status"] == "pending"
    for strange in ("wait=x", "wait=-1", "wait=0", "respond-async", "wait=99999999999999999999;x"):
        if "9999" not in strange:
            assert client.read(r.location, headers={"Prefer": strange}).json["status"] == "pending"

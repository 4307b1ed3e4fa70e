# SPDX-License-Identifier: Apache-2.0
"""dns-01 (RFC 8555 8.4) through the configured resolver."""
import pytest

import acme
from harness import wait_for


class Try:
    def __init__(self, env, client, name):
        self.env, self.client, self.name = env, client, name
        self.order = client.new_order([name])
        self.authz_url, authz = client.authzs(self.order.json)[0]
        self.challenge = acme.challenge_of(authz, "dns-01")
        self.record = "_acme-challenge." + name.replace("*.", "")
        self.value = client.dns01_value(self.challenge)

    def run(self):
        self.client.want(200, self.challenge["url"], {})
        return self.client.wait(self.authz_url, ("valid", "invalid")).json

    def valid(self):
        authz = self.run()
        assert authz["status"] == "valid", authz

    def fails(self, problem, *parts):
        authz = self.run()
        assert authz["status"] == "invalid", authz
        error = [c for c in authz["challenges"] if c["type"] == "dns-01"][0]["error"]
        assert error["type"] == acme.ERROR + problem, error
        for part in (self.record,) + parts:
            assert str(part) in error["detail"], f"{part!r} is not in {error['detail']!r}"
        return error["detail"]


@pytest.fixture
def attempt(env, client, name):
    return Try(env, client, name)


def test_right_record(attempt, env):
    env.dns.txt(attempt.record, attempt.value)
    attempt.valid()


def test_wildcard(env, client, name):
    t = Try(env, client, "*." + name)
    env.dns.txt("_acme-challenge." + name, t.value)
    t.valid()


def test_one_of_several_records_is_enough(attempt, env):
    """As for a wildcard and its base name at once."""
    env.dns.txt(attempt.record, "v=spf1 -all", "A" * 43, attempt.value, "x")
    attempt.valid()


def test_wildcard_and_base_name_at_once(env, client, name):
    url, order = env.ready_order(client, [name, f"*.{name}"], "dns-01")
    assert order["status"] == "ready"


def test_record_in_pieces_is_one_text(attempt, env):
    """RFC 1035 character-strings of one record are put together."""
    env.dns.set(attempt.record, "TXT", '"%s" "%s"' % (attempt.value[:20], attempt.value[20:]))
    attempt.valid()


@pytest.mark.parametrize("hops", [1, 4])
def test_cnames_are_followed(attempt, env, hops):
    names = [attempt.record] + [env.name("delegated.test") for _ in range(hops)]
    for name, target in zip(names, names[1:]):
        env.dns.set(name, "CNAME", target + ".")
    env.dns.txt(names[-1], attempt.value)
    attempt.valid()


def test_cname_is_named_when_its_target_is_wrong(attempt, env):
    target = env.name("delegated.test")
    env.dns.set(attempt.record, "CNAME", target + ".")
    env.dns.txt(target, "wrong")
    attempt.fails("incorrectResponse", target, "wrong")


def test_cname_loop(attempt, env):
    other = env.name("delegated.test")
    env.dns.set(attempt.record, "CNAME", other + ".")
    env.dns.set(other, "CNAME", attempt.record + ".")
    attempt.fails("dns")


def test_answer_over_tcp(attempt, env):
    env.dns.txt(attempt.record, attempt.value)
    env.dns.behave(attempt.record, truncate=True)
    attempt.valid()
    assert {over for _, _, over in env.dns.asked(attempt.record, "TXT")} == {"udp", "tcp"}


def test_many_records_over_tcp(attempt, env):
    env.dns.txt(attempt.record, *[f"{i}" * 200 for i in range(1, 10)], attempt.value)
    attempt.valid()


@pytest.mark.parametrize("text", ["", "wrong", "A" * 43, "{value}=", " {value}", "{value} ", "{lower}"])
def test_wrong_records(attempt, env, text):
    text = text.format(value=attempt.value, lower=attempt.value.lower())
    env.dns.txt(attempt.record, text)
    attempt.fails("incorrectResponse", "1 record", text.strip()[:40], env.dns.text)


def test_first_of_many_wrong_records_is_shown(attempt, env):
    env.dns.txt(attempt.record, *["no%d" % i for i in range(5)])
    attempt.fails("incorrectResponse", "5 records")


def test_strange_bytes_are_sanitised(attempt, env):
    env.dns.set(attempt.record, "TXT", r'"\000\027[31m\255"')
    detail = attempt.fails("incorrectResponse")
    assert all(" " <= c <= "~" for c in detail)


def test_name_does_not_exist(attempt, env):
    attempt.fails("dns", "does not exist", "NXDOMAIN", env.dns.text)


def test_name_without_txt(attempt, env):
    env.dns.set(attempt.record, "A", "127.0.0.1")
    attempt.fails("dns", "no TXT record", env.dns.text)


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED"])
def test_resolver_that_fails(attempt, env, rcode):
    env.dns.behave(attempt.record, rcode=rcode)
    attempt.fails("dns", env.dns.text)
    assert len(env.dns.asked(attempt.record)) >= 2, "a failed look-up is repeated"


def test_resolver_that_is_silent(attempt, env):
    env.dns.behave(attempt.record, drop=True)
    attempt.fails("dns", env.dns.text)


def test_slow_resolver_is_waited_for(attempt, env):
    """Recursion with a cold cache takes its time; validation.timeout says how much."""
    env.dns.txt(attempt.record, attempt.value)
    env.dns.behave(attempt.record, delay=1.0)
    attempt.valid()


def test_record_that_appears_a_moment_later(attempt, env):
    """SERVFAIL first, as while a zone is reloaded."""
    env.dns.behave(attempt.record, rcode="SERVFAIL")
    attempt.client.want(200, attempt.challenge["url"], {})
    wait_for(lambda: env.dns.asked(attempt.record), "a question")
    env.dns.clear(attempt.record)
    env.dns.txt(attempt.record, attempt.value)
    assert attempt.client.wait(attempt.authz_url, ("valid", "invalid")).json["status"] == "valid"


def test_nothing_is_remembered_between_tries(env, client, name):
    """A client that made a mistake makes a new order at once: no stale answer may fail it."""
    Try(env, client, name).fails("dns")
    t = Try(env, client, name)
    env.dns.txt(t.record, t.value)
    t.valid()


def test_value_of_another_account(env, client, new_client, name):
    t = Try(env, client, name)
    env.dns.txt(t.record, new_client().dns01_value(t.challenge))
    t.fails("incorrectResponse")


def test_special_names_are_asked_like_others(env, client):
    """Resolvers tend to answer these themselves."""
    for name in ("demo.localhost", "a.home.arpa", "b.invalid", "d.internal", "host.local"):
        t = Try(env, client, name)
        env.dns.txt(t.record, t.value)
        t.valid()

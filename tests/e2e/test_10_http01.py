# SPDX-License-Identifier: Apache-2.0
"""http-01 (RFC 8555 8.3, RFC 8738) against servers that behave and ones that do not. Each name of a test leads to an
address of its own in 127.0.0.0/8, so that tests do not meet."""
import itertools
import json
import subprocess
import time

import pytest

import acme
from harness import HOST, wait_for
from httpstub import PATH, HttpStub, RawServer

octets = itertools.count(10)


@pytest.fixture
def address():
    """A loopback address that nothing listens on yet."""
    return f"127.10.0.{next(octets)}"


class Try:
    """One challenge of one name."""

    def __init__(self, env, client, name):
        self.env, self.client, self.name = env, client, name
        self.order = client.new_order([name])
        self.authz_url, authz = client.authzs(self.order.json)[0]
        self.challenge = acme.challenge_of(authz, "http-01")
        self.token = self.challenge["token"]
        self.path = PATH + self.token
        self.answer = client.key_authorization(self.challenge)

    def put(self, text=None, host=None):
        self.env.http.put(self.token, text or self.answer, host)

    def route(self, how, path=None, host=None):
        self.env.http.route(path or self.path, how, host)

    def start(self):
        return self.client.want(200, self.challenge["url"], {})

    def run(self):
        """The authorization when it is decided."""
        self.start()
        return self.client.wait(self.authz_url, ("valid", "invalid")).json

    def valid(self):
        authz = self.run()
        assert authz["status"] == "valid", authz

    def fails(self, problem, *parts):
        authz = self.run()
        assert authz["status"] == "invalid", authz
        error = authz["challenges"][0]["error"]
        assert error["type"] == acme.ERROR + problem, error
        for part in (self.name,) + parts:
            assert str(part) in error["detail"], f"{part!r} is not in {error['detail']!r}"
        order = self.client.read(self.order.location).json
        assert order["status"] == "invalid" and order["error"]["subproblems"][0]["identifier"]["value"] == self.name
        return error["detail"]

    def tried(self, db):
        ident = self.authz_url.rsplit("/", 1)[1]
        return json.loads(db.one("SELECT tried FROM challenge WHERE authz_id = %s AND type = 'http-01'", ident))


@pytest.fixture
def attempt(env, client, name):
    return Try(env, client, name)


def test_right_answer(attempt, env, db):
    attempt.put()
    attempt.valid()
    seen = env.http.seen(attempt.path)
    assert len(seen) == 1 and seen[0][0] == attempt.name and seen[0][3], "one request, with the name as Host and a User-Agent"
    tried = attempt.tried(db)
    assert tried[-1]["address"] == "127.0.0.1" and tried[-1]["port"] == env.http_port and tried[-1]["status"] == 200
    assert tried[-1]["resolver"].startswith("127.0.0.1")


@pytest.mark.parametrize("space", ["\n", "\r\n", " ", "\t\n  "])
def test_white_space_at_the_end_is_ignored(attempt, space):
    attempt.put(attempt.answer + space)
    attempt.valid()


def test_addresses_are_validated_without_dns(env, client):
    for address in ["127.0.0.1"] + (["::1"] if env.ipv6 else []):
        t = Try(env, client, address)
        t.put()
        t.valid()


def test_ipv6_comes_first(env, client, name):
    if not env.ipv6:
        pytest.skip("no IPv6 here")
    env.dns.set(name, "AAAA", "::1")
    t = Try(env, client, name)
    t.put()
    t.valid()
    assert env.http.seen(t.path)[0][2] == "::1"


def test_ipv4_comes_after_an_ipv6_that_does_not_answer(env, client, name, db):
    env.dns.set(name, "AAAA", "fd00:10::1")
    env.dns.set(name, "A", "127.0.0.1")
    t = Try(env, client, name)
    t.put()
    t.valid()
    tried = t.tried(db)
    assert [x["address"] for x in tried] == ["fd00:10::1", "127.0.0.1"] and tried[0]["error"] and tried[1]["status"] == 200


def test_an_answer_over_ipv6_is_an_answer(env, client, name):
    """IPv4 is for servers that do not answer, not for ones that answer wrongly."""
    if not env.ipv6:
        pytest.skip("no IPv6 here")
    env.dns.set(name, "AAAA", "::1")
    t = Try(env, client, name)
    t.route(lambda handler: (404, {}, b"") if handler.client_address[0] == "::1" else (200, {}, t.answer.encode()))
    t.fails("incorrectResponse", "404", "::1")


def test_both_addresses_are_reported(env, client, name, address):
    env.dns.set(name, "AAAA", "fd00:10::1")
    env.dns.set(name, "A", address)
    t = Try(env, client, name)
    detail = t.fails("connection", "fd00:10::1", address, env.http_port)
    assert detail.index("fd00:10::1") < detail.index(address)


def test_refused_connection(env, client, name, address):
    env.dns.set(name, "A", address)
    Try(env, client, name).fails("connection", address, env.http_port, "refused", env.dns.text)


def test_refused_connection_is_tried_again_within_the_window(env, client, name, address, db):
    """A server that starts a moment later is found; what was tried is kept."""
    env.dns.set(name, "A", address)
    t = Try(env, client, name)
    t.start()
    ident = t.authz_url.rsplit("/", 1)[1]
    wait_for(lambda: db.one("SELECT tried FROM challenge WHERE authz_id = %s AND type = 'http-01'", ident), "a first try", 10)
    stub = HttpStub([address], env.http_port)
    stub.put(t.token, t.answer)
    try:
        authz = client.wait(t.authz_url, ("valid", "invalid")).json
        assert authz["status"] == "valid", authz
        tried = t.tried(db)
        assert len(tried) >= 2 and "error" in tried[0] and tried[-1]["status"] == 200
    finally:
        stub.close()


@pytest.mark.parametrize("status", [404, 500, 403, 204, 201, 401, 418])
def test_other_statuses(attempt, status):
    attempt.route((status, {}, b"sorry" if status != 204 else b""))
    attempt.fails("incorrectResponse", status, "127.0.0.1", attempt.path)


@pytest.mark.parametrize("body, part", [(b"", "empty"), (b"hello world", "hello world"), (b"\x00\x1b[31m\xff<script>", "<script>"),
                                        (b"{token}", ""), (b"{token}.", "thumbprint"), (b"{token}.AAAA", "thumbprint"),
                                        (b" {answer}", ""), (b"x{answer}", ""), (b"{answer}x", "thumbprint"),
                                        (b"{answer}\n{answer}", "")])
def test_wrong_bodies_are_shown(attempt, body, part):
    """The first bytes that came back stand in the detail, sanitised."""
    content = body.replace(b"{token}", attempt.token.encode()).replace(b"{answer}", attempt.answer.encode())
    attempt.route((200, {}, content))
    detail = attempt.fails("incorrectResponse", "200", part)
    assert all(" " <= c <= "~" for c in detail)


def test_answer_for_another_account(env, new_client, name):
    t = Try(env, new_client(), name)
    t.put(f"{t.token}.{acme.Key().thumbprint()}")
    t.fails("incorrectResponse", "thumbprint")


def test_body_is_read_up_to_its_cap(attempt):
    attempt.route((200, {}, attempt.answer.encode() + b" " * 100_000))
    attempt.fails("incorrectResponse", "65536")


def test_endless_body(env, client, name, address):
    env.dns.set(name, "A", address)

    def pour(conn, stop):
        conn.recv(4096)
        conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not stop.is_set():
            conn.sendall(b"x" * 65536)
    with RawServer(address, env.http_port, pour):
        Try(env, client, name).fails("incorrectResponse", "xxxx")


def hang(conn, stop):
    conn.recv(4096)
    stop.wait(30)


def drip(conn, stop):
    conn.recv(4096)
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not stop.wait(0.2):
        conn.sendall(b"x")


def slow_header(conn, stop):
    conn.recv(4096)
    for c in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000:
        if stop.wait(0.1):
            return
        conn.sendall(bytes([c]))


@pytest.mark.parametrize("serve", [hang, drip, slow_header])
def test_slow_servers_are_given_up(env, client, name, address, serve):
    env.dns.set(name, "A", address)
    with RawServer(address, env.http_port, serve):
        started = time.monotonic()
        Try(env, client, name).fails("connection", address)
        assert time.monotonic() - started < 15


@pytest.mark.parametrize("answer", [b"", b"\r\n", b"hello\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n",
                                    b"HTTP/1.1 200 OK\r\n" + b"".join(b"H%d: x\r\n" % i for i in range(40000)) + b"\r\n"],
                         ids=["nothing", "newline", "text", "half a line", "ssh", "header flood"])
def test_servers_that_speak_no_http(env, client, name, address, answer):
    env.dns.set(name, "A", address)

    def serve(conn, stop):
        conn.recv(4096)
        conn.sendall(answer)
    with RawServer(address, env.http_port, serve):
        authz = Try(env, client, name).run()
        assert authz["status"] == "invalid"
        assert authz["challenges"][0]["error"]["type"][len(acme.ERROR):] in ("connection", "incorrectResponse")
        assert address in authz["challenges"][0]["error"]["detail"]


# ---- redirects ----

def redirect(to, status=302):
    return (status, {"Location": to}, b"")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(attempt, env, status):
    target = env.name()
    attempt.route(redirect(f"http://{target}:{env.http_port}/elsewhere/{attempt.token}", status), host=attempt.name)
    attempt.route((200, {}, attempt.answer.encode()), f"/elsewhere/{attempt.token}", target)
    attempt.valid()


@pytest.mark.parametrize("to", ["/elsewhere/{t}", "elsewhere?{t}", "//{host}:{port}/x{t}", "?{t}"])
def test_relative_redirects(attempt, env, to):
    to = to.format(t=attempt.token, host=attempt.name, port=env.http_port)
    attempt.route(redirect(to))
    for path in (f"/elsewhere/{attempt.token}", f"{PATH}elsewhere?{attempt.token}", f"/x{attempt.token}",
                 f"{attempt.path}?{attempt.token}"):
        attempt.route((200, {}, attempt.answer.encode()), path)
    attempt.valid()


def chain(attempt, n):
    for i in range(n):
        here = attempt.path if i == 0 else f"/hop{i}/{attempt.token}"
        attempt.route(redirect(f"/hop{i + 1}/{attempt.token}"), here)
    attempt.route((200, {}, attempt.answer.encode()), f"/hop{n}/{attempt.token}")


def test_ten_redirects_are_followed(attempt):
    chain(attempt, 10)
    attempt.valid()


def test_eleven_redirects_are_not(attempt):
    chain(attempt, 11)
    attempt.fails("incorrectResponse", "10 redirects", "hop10")


def test_redirect_loops_end(attempt, env):
    attempt.route(redirect(attempt.path))
    attempt.fails("incorrectResponse", "redirect")
    assert len(env.http.seen(attempt.path)) == 11


@pytest.mark.parametrize("to", ["ftp://a.test/x", "file:///etc/passwd", "gopher://a.test/", "javascript:alert(1)", "ldap://x/",
                                "http://", "http://a.test:22/x", "http://a.test:{other}/x", "http://[::1/x", "http://a.test:0/",
                                "http://a.test:99999/", "\x01"])
def test_redirects_elsewhere_are_not_followed(attempt, env, to):
    to = to.format(other=env.http_port + 1)
    attempt.route(redirect(to))
    attempt.fails("incorrectResponse", "redirect")


def test_redirect_without_location(attempt):
    attempt.route((302, {}, b""))
    attempt.fails("incorrectResponse", "302")


def test_redirect_to_https_is_followed_without_looking_at_the_certificate(attempt, env, tmp_path):
    """The very purpose may be to get a first certificate."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    tmp_path / "key", "-out", tmp_path / "cert", "-subj", "/CN=other.test", "-days", "1"], check=True,
                   stderr=subprocess.DEVNULL)
    secure = HttpStub(["127.0.0.1"], env.tls_port, tls=(tmp_path / "cert", tmp_path / "key"))
    try:
        attempt.route(redirect(f"https://{attempt.name}:{env.tls_port}/secure"))
        secure.route("/secure", (200, {}, attempt.answer.encode()))
        attempt.valid()
    finally:
        secure.close()


def test_redirect_to_https_that_speaks_no_tls(attempt, env):
    with RawServer("127.0.0.1", env.tls_port, lambda conn, stop: (conn.recv(100), conn.sendall(b"no TLS here\r\n"))):
        attempt.route(redirect(f"https://{attempt.name}:{env.tls_port}/secure"))
        attempt.fails("tls", env.tls_port, "https://")


# ---- who may be connected to ----

def test_denied_networks_are_not_connected_to(env, client, name):
    env.dns.set(name, "A", "127.66.0.1")
    with RawServer("127.66.0.1", env.http_port, hang) as server:
        t = Try(env, client, name)
        t.fails("connection", "127.66.0.1", "127.66.0.0/16", "deny")
        assert server.connections == 0


def test_denied_networks_hold_after_redirects(attempt, env):
    target = env.name()
    env.dns.set(target, "A", "127.66.0.2")
    with RawServer("127.66.0.2", env.http_port, hang) as server:
        attempt.route(redirect(f"http://{target}:{env.http_port}/"))
        attempt.fails("connection", "127.66.0.0/16", target)
        assert server.connections == 0


def test_denied_networks_hold_for_numeric_redirects(attempt, env):
    for to in (f"http://127.66.0.3:{env.http_port}/", ):
        with RawServer("127.66.0.3", env.http_port, hang) as server:
            attempt.route(redirect(to))
            attempt.fails("connection", "127.66.0.0/16")
            assert server.connections == 0


def test_other_spellings_of_a_denied_address_do_not_help(env, client):
    for spelling in ("2135031813", "0x7f420005", "0177.66.0.5", "127.66.5", "127.66.0.5."):
        t = Try(env, client, env.name())
        with RawServer("127.66.0.5", env.http_port, hang) as server:
            t.route(redirect(f"http://{spelling}:{env.http_port}/"))
            assert t.run()["status"] == "invalid"
            assert server.connections == 0, spelling


def test_mapped_ipv6_of_a_denied_address_does_not_help(env, client, name):
    env.dns.set(name, "AAAA", "::ffff:127.66.0.4")
    env.dns.set(name, "A", "127.66.0.4")
    with RawServer("127.66.0.4", env.http_port, hang) as server:
        assert Try(env, client, name).run()["status"] == "invalid"
        assert server.connections == 0


def test_denied_identifier_address(env, client):
    Try(env, client, "127.66.0.9").fails("connection", "127.66.0.0/16")


def test_an_allowed_address_is_used_when_another_is_denied(env, client, name):
    env.dns.set(name, "A", "127.66.0.6", "127.0.0.1")
    t = Try(env, client, name)
    t.put()
    t.valid()


def test_loopback_is_denied_unless_it_is_opened(env, db):
    """The default list, and what validation.allow takes out of it."""
    g = env.gateway(db, "gateway-deny", validation={"deny": None})
    config = g.config_path.read_text().replace('"deny": null,', "")
    g.config_path.write_text(config)
    g.start()
    try:
        c = env.client(g)
        for name, address in ((env.name(), "127.0.0.1"), (env.name(), "169.254.1.1")):
            env.dns.set(name, "A", address)
            t = Try(env, c, name)
            t.put()
            t.fails("connection", address, "deny")
        t = Try(env, c, "127.0.0.1")
        t.put()
        t.fails("connection", "127.0.0.0/8")
    finally:
        g.stop()
    g = env.gateway(db, "gateway-allow", validation={"deny": None, "allow": ["127.0.0.0/24"]})
    g.config_path.write_text(g.config_path.read_text().replace('"deny": null,', ""))
    g.start()
    try:
        c = env.client(g)
        t = Try(env, c, env.name())
        t.put()
        t.valid()
        name = env.name()
        env.dns.set(name, "A", "127.10.1.1")
        Try(env, c, name).fails("connection", "127.10.1.1", "127.0.0.0/8")
    finally:
        g.stop()


# ---- names ----

def test_name_without_address(env, client, name):
    env.dns.set(name, "TXT", '"x"')
    Try(env, client, name).fails("dns", "A", "AAAA", env.dns.text)


def test_name_that_does_not_exist(env, client, name):
    env.dns.behave(name, rcode="NXDOMAIN")
    Try(env, client, name).fails("dns", "NXDOMAIN")


def test_resolver_that_fails(env, client, name):
    env.dns.behave(name, rcode="SERVFAIL")
    Try(env, client, name).fails("dns", "SERVFAIL", env.dns.text)


def test_servfail_is_tried_again(env, client, name):
    env.dns.behave(name, rcode="SERVFAIL")
    t = Try(env, client, name)
    t.put()
    t.start()
    wait_for(lambda: env.dns.asked(name), "a question")
    env.dns.clear(name)
    assert client.wait(t.authz_url, ("valid", "invalid")).json["status"] == "valid"


def test_one_family_failing_does_not_stop_the_other(env, client, name):
    env.dns.behave(name, "AAAA", rcode="SERVFAIL")
    t = Try(env, client, name)
    t.put()
    t.valid()


def test_cname_is_followed(env, client, name):
    target = env.name()
    env.dns.set(name, "CNAME", target + ".")
    env.dns.set(target, "A", "127.0.0.1")
    t = Try(env, client, name)
    t.put(host=name)
    t.valid()


def test_details_name_the_directory_nothing_secret(attempt):
    attempt.route((200, {}, b"nothing"))
    detail = attempt.fails("incorrectResponse")
    assert attempt.answer not in detail and HOST not in detail

# SPDX-License-Identifier: Apache-2.0
"""The programs: start, refusals, reload, HTTPS certificate, porticoctl."""
import json
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest
from cryptography import x509

import acme
from harness import HOST, programs, wait_for


@pytest.fixture
def own(env):
    """A gateway and database of this test's own."""
    db = env.new_database(env.name("own").replace(".", "_"))
    g = env.gateway(db, db.name, migrate=True)
    yield db, g
    g.stop()


def edit(g, **changes):
    config = json.loads(g.config_path.read_text())
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            config[key].update(value)
        else:
            config[key] = value
    g.config_path.write_text(json.dumps(config))


# ---- options ----

def test_version_and_help(env):
    assert env.run("porticod", "--version").stdout.startswith("porticod ")
    assert "--migrate" in env.run("porticod", "--help").stdout
    assert env.run("porticoctl", "--version").stdout.startswith("porticoctl ")


@pytest.mark.parametrize("arguments", [["--nothing"], ["-c"], [], ["x"], ["-c", "f", "-o", "novalue"]])
def test_wrong_usage_is_2(env, arguments):
    assert env.run("porticod", *arguments, check=False).returncode == 2


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["eab"], ["eab", "add"], ["status", "x"], ["--nothing", "status"]])
def test_wrong_usage_of_porticoctl_is_2(env, arguments):
    assert env.run("porticoctl", *arguments, check=False).returncode == 2


def test_check(own, env):
    _, g = own
    done = env.run("porticod", "-c", g.config_path, "--check")
    assert f"https://{HOST}/acme/default/directory" in done.stdout


@pytest.mark.parametrize("override, part", [("nothing=1", "nothing"), ("threads=x", "threads"), ("times.lease=5", "unit"),
                                            ("limits.body_max=1", "body_max"), ("profiles.server.join_window=x", "join_window"),
                                            ("public_url=[ftp://x]", "public_url")])
def test_bad_configuration_is_refused_by_name(own, env, override, part):
    _, g = own
    for more in (["--check"], []):
        done = env.run("porticod", "-c", g.config_path, "-o", override, *more, check=False)
        assert done.returncode == 1 and part in done.stdout, done.stdout


def test_errors_have_file_and_line(own, env):
    _, g = own
    g.config_path.write_text('{"listen": [],\n "nonsense": 1}\n')
    done = env.run("porticod", "-c", g.config_path, "--check", check=False)
    assert done.returncode == 1 and f"{g.config_path}:" in done.stdout


def test_migrate_is_repeatable_and_safe_at_once(env):
    db = env.new_database("migrations")
    g = env.gateway(db, "migrations")
    running = [subprocess.Popen([str(programs() / "porticod"), "-c", str(g.config_path), "--migrate"],
                                stdout=subprocess.PIPE, text=True, env=env.environ("migrate")) for _ in range(3)]
    said = [p.communicate(timeout=60)[0] for p in running]
    assert all(p.returncode == 0 for p in running), said
    assert sum("0 migrations" in s for s in said) == 2, said
    assert "0 migrations" in env.run("porticod", "-c", g.config_path, "--migrate").stdout


def test_unmigrated_database_is_refused_with_the_remedy(env):
    db = env.new_database("unmigrated")
    g = env.gateway(db, "unmigrated")
    done = env.run("porticod", "-c", g.config_path, check=False)
    assert done.returncode == 1 and "--migrate" in done.stdout


def test_second_gateway_at_one_port_is_refused(own, env):
    db, g = own
    g.start()
    other = env.gateway(db, g.name + "-b")
    other.config_path.write_text(g.config_path.read_text())
    done = env.run("porticod", "-c", other.config_path, check=False)
    assert done.returncode == 1 and str(g.port) in done.stdout and "in use" in done.stdout
    assert g.is_ready()


def test_unreachable_database_is_refused(own, env):
    _, g = own
    done = env.run("porticod", "-c", g.config_path, "-o", "database.url=postgresql:///x?host=/nowhere", check=False)
    assert done.returncode == 1 and "nowhere" in done.stdout


# ---- running ----

def test_pid_file_comes_and_goes(own):
    _, g = own
    g.start()
    assert int(g.pid_file.read_text()) == g.process.pid
    g.stop()
    assert not g.pid_file.exists()


def test_the_signer_holds_the_key_and_goes_with_the_gateway(own):
    _, g = own
    g.start()
    children = subprocess.run(["ps", "--ppid", str(g.process.pid), "-o", "pid=,args="], text=True, capture_output=True).stdout
    assert "--signer" in children, children
    signer = int(children.split()[0])
    g.kill()
    wait_for(lambda: not os.path.exists(f"/proc/{signer}"), "the signer to end with its gateway")


def tls_certificate(g):
    context = ssl.create_default_context(cafile=str(g.env.root))
    with socket.create_connection(("127.0.0.1", g.port)) as raw, context.wrap_socket(raw, server_hostname=HOST) as s:
        return x509.load_der_x509_certificate(s.getpeercert(True)), s.version()


def test_https_certificate_comes_from_the_house(own):
    _, g = own
    g.start()
    cert, version = tls_certificate(g)
    assert HOST in cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert version == "TLSv1.3"


def test_https_certificate_renews_itself_without_a_restart(own, env):
    db, g = own
    edit(g, backends=[{"name": "house", "driver": "local", "ca": json.loads(g.config_path.read_text())["backends"][0]["ca"]}])
    g.start()
    first, _ = tls_certificate(g)
    c = env.client(g)
    g.signal(signal.SIGHUP)
    wait_for(lambda: "reload.done" in g.log_text(), "the reload")
    second, _ = tls_certificate(g)
    assert c.read(c.kid).status == 200
    assert second.not_valid_after >= first.not_valid_after


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(own):
    _, g = own
    g.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", g.port)) as raw, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(raw, server_hostname=HOST)


# ---- reload ----

def test_reload_changes_policy_without_dropping_a_connection(own, env):
    _, g = own
    g.start()
    c = env.client(g)
    assert c.new_order(["*.a.test"]).status == 201
    profiles = json.loads(g.config_path.read_text())["profiles"]
    profiles[0]["wildcards"] = False
    edit(g, profiles=profiles)
    g.signal(signal.SIGHUP)
    wait_for(lambda: "reload.done" in g.log_text(), "the reload")
    assert c.new_order(["*.a.test"], 400).problem == "rejectedIdentifier"


@pytest.mark.parametrize("changes, part", [({"threads": 1}, "threads"), ({"nonsense": 1}, "nonsense"), ({"profiles": []}, "profiles"),
                                           ({"database": {"url": "postgresql:///other"}}, "database")])
def test_reload_is_all_or_nothing(own, env, changes, part):
    _, g = own
    g.start()
    c = env.client(g)
    edit(g, limits={"orders_per_page": 1}, **changes)
    g.signal(signal.SIGHUP)
    wait_for(lambda: "reload.refused" in g.log_text(), "the refusal")
    line = [x for x in g.log_text().splitlines() if "reload.refused" in x][-1]
    assert part in line
    for _ in range(2):
        c.new_order([env.name()])
    assert len(c.read(c.kid + "/orders").json["orders"]) == 2, "nothing of it is in force"


def test_reload_under_load(own, env):
    import threading
    _, g = own
    g.start()
    c = env.client(g)
    stop, failed, n = threading.Event(), [], [0]

    def run():
        mine = c.clone()
        while not stop.is_set():
            try:
                if mine.post(c.kid).status != 200:
                    failed.append("status")
                n[0] += 1
            except acme.TransportError as e:
                failed.append(str(e))
    threads = [threading.Thread(target=run) for _ in range(3)]
    for t in threads:
        t.start()
    for i in range(5):
        g.signal(signal.SIGHUP)
        seen = n[0]
        wait_for(lambda: g.log_text().count("reload.done") > i, "the reload")
        wait_for(lambda: n[0] > seen + 3 or failed, "requests after it")
    stop.set()
    for t in threads:
        t.join()
    assert not failed, failed[:3]


# ---- load and limits ----

def test_idle_and_half_open_connections_do_no_harm(own, env):
    _, g = own
    g.start()
    held = []
    for i in range(60):
        s = socket.create_connection(("127.0.0.1", g.port))
        if i % 2:
            s.sendall(b"\x16\x03\x01")
        held.append(s)
    c = env.client(g)
    assert c.read(c.kid).status == 200
    for s in held:
        s.close()


def test_clients_that_leave_in_the_middle(own, env):
    """The request goes on or not; the gateway does."""
    _, g = own
    g.start()
    c = env.client(g)
    context = c.transport.context
    order = c.new_order([env.name()])
    for cut in (10, 200, None):
        body = json.dumps(acme.jws(c.key, c.protected(order.location), None)).encode()
        head = (f"POST {order.location[len(f'https://{HOST}'):]} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {acme.JOSE}\r\n"
                f"Prefer: wait=5\r\nContent-Length: {len(body)}\r\n\r\n").encode()
        raw = socket.create_connection(("127.0.0.1", g.port))
        s = context.wrap_socket(raw, server_hostname=HOST)
        s.sendall((head + body)[:cut])
        raw2 = s.detach()
        socket.socket(fileno=raw2).close()
    time.sleep(0)
    assert c.read(order.location).status == 200


def test_trusted_proxies_choose_among_the_public_urls(env):
    db = env.new_database("proxied")
    inside = "https://inside.portico.test"
    g = env.gateway(db, "proxied", migrate=True, public_url=[f"https://{HOST}", inside], trusted_proxies=["127.0.0.1"])
    g.start()
    t = env.transport(g)
    url = f"https://{HOST}/acme/default/directory"
    assert t.request("GET", url).json["newOrder"].startswith(f"https://{HOST}/")
    assert t.request("GET", url, {"Host": "inside.portico.test"}).json["newOrder"].startswith(inside)
    assert t.request("GET", url, {"X-Forwarded-Host": "inside.portico.test"}).json["newOrder"].startswith(inside)
    assert t.request("GET", url, {"X-Forwarded-Host": "evil.test"}).json["newOrder"].startswith(f"https://{HOST}/")
    c = env.client(g)
    r = c.send(c.kid, acme.jws(c.key, c.protected(c.kid.replace(f"https://{HOST}", inside)), None))
    assert r.status == 200, "any public URL may stand in the JWS"
    r = c.send(c.kid, acme.jws(c.key, c.protected(c.kid, kid=c.kid.replace(f"https://{HOST}", inside)), None))
    assert r.status == 200
    g.stop()


def test_order_reuse_where_configured(env):
    db = env.new_database("reuse")
    g = env.gateway(db, "reuse", migrate=True, idempotent={"reuse_pending_orders": True, "authz_expires_default": "always-new"})
    g.start()
    c = env.client(g)
    names = [env.name(), env.name()]
    first = c.new_order(names).location
    assert c.new_order(names[::-1]).location == first
    assert c.new_order(names[:1]).location != first
    assert c.new_order(names, profile="renewal").location != first
    env.solve(c, c.read(first).json)
    authz = c.post(c.directory["newAuthz"], {"identifier": acme.identifier(names[0])})
    assert authz.status == 201, "always-new"
    g.stop()


# ---- porticoctl ----

@pytest.fixture
def ctl(own, env):
    _, g = own
    g.start()

    def run(*arguments, check=True, text=False):
        done = env.run("porticoctl", "--config", g.config_path, *([] if text else ["--json"]), *arguments, check=check)
        return done.stdout if text or not check else json.loads(done.stdout)
    return run, g


def test_ctl_status(ctl, env):
    run, g = ctl
    env.issue(env.client(g), [env.name()])
    status = run("status")
    assert json.dumps(status).count(g.name) >= 1
    assert run("status", text=True).strip()


def test_ctl_backends(ctl):
    run, _ = ctl
    assert "house" in json.dumps(run("backends")) and "local" in json.dumps(run("backends"))


def test_ctl_eab(ctl, env):
    run, g = ctl
    made = run("eab", "add", "team-a", "--names", "*.team.test")
    assert set(made) == {"kid", "hmac_key"}
    mac = acme.MacKey(made["kid"], acme.unb64(made["hmac_key"]))
    c = env.client(g, directory="bound", register=False)
    c.new_account(201, eab=mac)
    c.new_order(["x.team.test"])
    assert c.new_order(["x.other.test"], 400).problem == "rejectedIdentifier"
    listed = json.dumps(run("eab", "list"))
    assert "team-a" in listed and made["kid"] in listed and made["hmac_key"] not in listed
    run("eab", "disable", "team-a")
    assert c.new_order(["y.team.test"], 403).problem == "unauthorized"
    assert env.run("porticoctl", "--config", g.config_path, "eab", "add", "team-a", check=False).returncode == 1
    assert env.run("porticoctl", "--config", g.config_path, "eab", "disable", "nobody", check=False).returncode == 1


def test_ctl_issuance_shows_the_whole_history(ctl, env):
    run, g = ctl
    c = env.client(g)
    name = env.name()
    url, order, _ = env.issue(c, [name])
    for ident in (url.rsplit("/", 1)[1], order["certificate"].rsplit("/", 1)[1]):
        text = json.dumps(run("issuance", "show", ident))
        for part in (name, "house", "submit", "issued", "done"):
            assert part in text, (part, text)
    assert "issued" in run("issuance", "show", url.rsplit("/", 1)[1], text=True)
    assert env.run("porticoctl", "--config", g.config_path, "issuance", "show", "nothing", check=False).returncode == 1
    assert run("issuance", "list") is not None

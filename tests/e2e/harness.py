# SPDX-License-Identifier: Apache-2.0
"""Starts what the tests run against: a private PostgreSQL, an in-house CA, gateways, a DNS server, web servers. Every
process writes its log into one directory, which is looked through for sanitizer reports at the end."""
import contextlib
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2
import psycopg2.extras

import acme
from dnsstub import DnsStub
from httpstub import HttpStub

SOURCE = Path(__file__).resolve().parents[2]
PG_BIN = Path(os.environ.get("PORTICO_PG_BIN", "/usr/lib/postgresql/15/bin"))
HOST = "acme.portico.test"  # where TLS and Host point; the connections go to loopback addresses


def programs():
    """The directory with porticod and porticoctl."""
    for place in (os.environ.get("PORTICO_BIN"), SOURCE / "build" / "check", SOURCE / "build", SOURCE):
        if place and os.access(Path(place) / "porticod", os.X_OK):
            return Path(place)
    raise RuntimeError("there is no porticod: build first (tests/run), or set PORTICO_BIN")


def wait_for(condition, what, timeout=20, every=0.02):
    """Waits until the condition holds and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what}")
        time.sleep(every)


def free_port(addresses=("127.0.0.1",)):
    for _ in range(100):
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                for address in addresses:
                    family = socket.AF_INET6 if ":" in address else socket.AF_INET
                    if address != "127.0.0.1":
                        with socket.socket(family, socket.SOCK_STREAM) as other:
                            other.bind((address, port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def tail(path, lines=40):
    text = Path(path).read_text(errors="replace") if Path(path).exists() else ""
    return "\n".join(text.splitlines()[-lines:])


# ---- PostgreSQL ----

class Postgres:
    def __init__(self, directory, log):
        self.dir, self.log = Path(directory), Path(log)
        self.run_as = []
        if os.getuid() == 0:
            self.run_as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups",
                           "env", "-i", "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"]

    def command(self, program, *arguments):
        done = subprocess.run([*self.run_as, str(PG_BIN / program), *map(str, arguments)], cwd="/", text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stdout}\n{tail(self.log)}")
        return done.stdout

    def start(self):
        self.dir.mkdir(mode=0o700)
        self.log.touch()
        if self.run_as:
            owner = pwd.getpwnam("postgres")
            os.chown(self.dir, owner.pw_uid, owner.pw_gid)
            os.chown(self.log, owner.pw_uid, owner.pw_gid)
        self.command("initdb", "-D", self.dir / "data", "-A", "trust", "-U", "portico", "--no-locale", "-E", "UTF8", "-N")
        settings = (f"listen_addresses = ''\nunix_socket_directories = '{self.dir}'\nmax_connections = 200\n"
                    "log_lock_waits = on\ndeadlock_timeout = 300ms\nlog_line_prefix = '%m [%p] %d '\n")
        # Its own file, for the server's user writes it.
        subprocess.run([*self.run_as, "tee", "-a", str(self.dir / "data" / "postgresql.conf")], cwd="/", check=True,
                       input=settings.encode(), stdout=subprocess.DEVNULL)
        self.pg_ctl("start")

    def pg_ctl(self, *arguments):
        return self.command("pg_ctl", "-D", self.dir / "data", "-l", self.log, "-w", "-t", "30", *arguments)

    def stop(self):
        self.pg_ctl("-m", "immediate", "stop")  # nobody needs its data any more

    def create(self, name):
        self.command("createdb", "-h", self.dir, "-U", "portico", name)
        return Database(self, name)

    def errors(self):
        """What the server refused; conflicts are to be rows, not errors."""
        return [line for line in self.log.read_text(errors="replace").splitlines()
                if re.search(r" (ERROR|FATAL|PANIC): ", line)]


class Database:
    def __init__(self, server, name):
        self.server, self.name = server, name
        self.url = f"postgresql:///{name}?host={server.dir}&user=portico"
        self._conn = None

    def connect(self, autocommit=True):
        conn = psycopg2.connect(self.url)
        conn.autocommit = autocommit
        return conn

    def rows(self, sql, *values):
        if self._conn is None or self._conn.closed:
            self._conn = self.connect()
        with self._conn.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def row(self, sql, *values):
        rows = self.rows(sql, *values)
        assert len(rows) == 1, f"{len(rows)} rows: {sql} {values}"
        return rows[0]

    def one(self, sql, *values):
        return self.row(sql, *values)[0]

    @contextlib.contextmanager
    def session(self):
        """A session of its own in an open transaction; rolled back at the end unless committed."""
        conn = self.connect(autocommit=False)
        try:
            yield conn
        finally:
            conn.rollback()
            conn.close()

    def waiters(self):
        """How many sessions wait for a lock."""
        return self.one("SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'", self.name)


# ---- gateways ----

class Gateway:
    def __init__(self, env, name, config, port, admin_port):
        self.env, self.name, self.port, self.admin_port = env, name, port, admin_port
        self.config_path = env.dir / f"{name}.yaml"
        self.config_path.write_text(json.dumps(config, indent=1))
        self.log = env.logs / f"{name}.log"
        self.output = env.logs / f"{name}.out"
        self.pid_file = env.dir / f"{name}.pid"
        self.process = None
        self.stopped_ok = None
        self.overrides = []

    def arguments(self):
        out = [str(programs() / "porticod"), "-c", str(self.config_path)]
        for o in self.overrides:
            out += ["-o", o]
        return out

    def spawn(self):
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                [*self.arguments(), "--pid-file", str(self.pid_file), "--log-file", str(self.log), "--gateway-name",
                 self.name], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env.environ(self.name),
                cwd="/", start_new_session=True)
        return self

    def start(self, timeout=60):
        self.spawn()
        self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout=60):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.said()}")
            return self.is_ready()
        try:
            wait_for(ready, f"{self.name} to be ready", timeout)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.said()}") from None

    def is_ready(self):
        try:
            return self.admin("/health/ready")[0] == 200
        except OSError:
            return False

    def admin(self, path, method="GET", timeout=10):
        conn = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=timeout)
        try:
            conn.request(method, path)
            answer = conn.getresponse()
            return answer.status, answer.read().decode()
        except http.client.HTTPException as e:
            raise OSError(str(e)) from e
        finally:
            conn.close()

    def metrics(self):
        status, text = self.admin("/metrics")
        assert status == 200, text
        values = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def metric(self, name):
        """The sum over all labels."""
        found = [v for k, v in self.metrics().items() if k == name or k.startswith(name + "{")]
        assert found, f"no metric {name}"
        return sum(found)

    def said(self):
        return f"--- {self.output}\n{tail(self.output, 10)}\n--- {self.log}\n{tail(self.log, 10)}"

    def log_text(self):
        return self.log.read_text(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout=60):
        """Asks it to end; the exit code has to be 0."""
        if not self.running():
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {timeout} s of SIGTERM\n{self.said()}") from None
        assert code == 0, f"{self.name} ended with {code}\n{self.said()}\n{self.env.sanitizer_reports()}"


# ---- all of it ----

class Environment:
    """One state directory with everything that a test run needs."""

    def __init__(self, directory=None):
        keep = directory or os.environ.get("PORTICO_TEST_DIR")
        self.kept = bool(keep)
        if keep:
            Path(keep).mkdir(parents=True, exist_ok=True)
        self.dir = Path(tempfile.mkdtemp(prefix="portico-e2e-", dir=keep or "/tmp"))
        os.chmod(self.dir, 0o755)
        self.logs = self.dir / "log"
        self.logs.mkdir()
        os.chmod(self.logs, 0o1777)
        self.gateways = []
        self.counter = 0
        self.ipv6 = has_ipv6()
        self.pg = self.dns = self.http = self.https = None
        self.expected_db_errors = [r"canceling statement due to lock timeout", r"terminating (connection|autovacuum process)", r"connection to client lost", r"not currently accepting",
                                   r"database \"other\" does not exist", r"relation \"[a-z_]*\" does not exist"]

    def environ(self, name):
        out = dict(os.environ)
        log = self.logs / f"sanitizer.{name}"
        out["ASAN_OPTIONS"] = f"log_path={log}:detect_leaks=1:abort_on_error=0"
        out["UBSAN_OPTIONS"] = f"log_path={log}:print_stacktrace=1"
        out["LSAN_OPTIONS"] = f"suppressions={SOURCE}/tests/lsan.supp:print_suppressions=0"
        return out

    def start(self):
        addresses = ["127.0.0.1"] + (["::1"] if self.ipv6 else [])
        self.pg = Postgres(self.dir / "pg", self.logs / "postgres.log")
        self.pg.start()
        self.run("porticod", "--init-ca", self.dir / "ca", "--name", "Portico Test")
        self.root = self.dir / "ca" / "root.pem"
        self.dns = DnsStub()
        self.http_port = free_port(["127.0.0.1", "::1"] if self.ipv6 else ["127.0.0.1"])
        self.tls_port = free_port()
        self.http = HttpStub(addresses, self.http_port)
        return self

    def run(self, program, *arguments, check=True, **how):
        """One of our programs, to its end."""
        done = subprocess.run([str(programs() / program), *map(str, arguments)], text=True, cwd="/",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environ(program), timeout=120, **how)
        if check and done.returncode != 0:
            raise AssertionError(f"{program} {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}")
        return done

    def new_database(self, name):
        return self.pg.create(name)

    def config(self, database, port, admin_port, name, public=f"https://{HOST}", **changes):
        ca = self.dir / "ca"
        directories = ["server", "clamp", "nojoin", "renewal", "narrow", "dnsonly", "httponly", "brief"]
        config = {
            "listen": [
                {"name": "main", "address": "127.0.0.1", "port": port, "tls": {"issuer": "house"}},
                {"name": "admin", "address": "127.0.0.1", "port": admin_port, "kind": "admin"},
            ],
            "public_url": [public],
            "database": {"url": database.url},
            "threads": 2,
            "workers": 2,
            "admin": {"socket": str(self.dir / f"{name}.sock")},
            "backends": [
                {"name": "house", "driver": "local",
                 "ca": {"certificate": str(ca / "issuing.pem"), "key": str(ca / "issuing.key")}},
            ],
            "profiles": [
                {"name": "server", "description": "TLS server, 90 days"},
                {"name": "clamp", "validity": "clamp"},
                {"name": "nojoin", "join_window": "0"},
                {"name": "renewal", "join_window": "until-renewal"},
                {"name": "narrow", "names": ["*.narrow.test"], "wildcards": False, "ips": False, "key_types": ["p256"],
                 "names_max": 3, "lifetime": "10d"},
                {"name": "dnsonly", "challenges": ["dns-01"]},
                {"name": "httponly", "challenges": ["http-01"], "wildcards": False},
                {"name": "brief", "lifetime": "1h"},
            ],
            "directories": [
                {"name": "default", "eab": "optional", "profiles": directories, "website": "https://www.portico.test/",
                 "caa": ["ca.portico.test", "old.portico.test"]},
                {"name": "second", "profiles": ["server"]},
                {"name": "terms", "profiles": ["server"], "terms": "https://www.portico.test/terms"},
                {"name": "bound", "profiles": ["server", "narrow"], "eab": "required"},
            ],
            "routes": [{"backends": ["house"]}],
            "validation": {
                "http_port": self.http_port, "tls_port": self.tls_port, "resolver": [self.dns.text],
                "deny": ["127.66.0.0/16", "169.254.0.0/16", "192.0.2.0/24"], "dnssec": "off",
                "timeout": "3s", "connect_timeout": "1s", "retry_window": "2s",
            },
            "limits": {"orders_per_page": 3},
            "times": {"lease": "2s", "drain": "10s"},
        }
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(config.get(key), dict):
                config[key] = {**config[key], **value}
            else:
                config[key] = value
        return config

    def gateway(self, database, name, migrate=False, **changes):
        port, admin_port = free_port(), free_port()
        g = Gateway(self, name, self.config(database, port, admin_port, name, **changes), port, admin_port)
        if migrate:
            self.run("porticod", "-c", g.config_path, "--migrate")
        self.gateways.append(g)
        return g

    def transport(self, *gateways):
        return acme.Transport([("127.0.0.1", g.port) for g in gateways], self.root)

    def client(self, *gateways, directory="default", key=None, register=True, **account):
        c = acme.Client(self.transport(*gateways), f"https://{HOST}/acme/{directory}/directory", key)
        if register:
            c.new_account(**account)
        return c

    def name(self, under="e2e.test"):
        """A DNS name that no other test uses."""
        self.counter += 1
        return f"n{self.counter}.{under}"

    def add_eab(self, database, kid, secret, name=None, directory=None, policy=None, status="active", expires=None):
        database.rows("INSERT INTO eab (kid, name, directory, hmac_key, policy, status, expires_at) "
                      "VALUES (%s, %s, %s, %s, %s, %s, %s)", kid, name or kid, directory, secret,
                      json.dumps(policy) if policy is not None else None, status, expires)
        return acme.MacKey(kid, secret)

    # -- challenges --

    def publish(self, client, authz, kind):
        """Makes the right answer to a challenge available; returns the challenge."""
        challenge = acme.challenge_of(authz, kind)
        if kind == "http-01":
            self.http.put(challenge["token"], client.key_authorization(challenge))
        else:
            self.dns.add("_acme-challenge." + authz["identifier"]["value"], "TXT",
                         '"%s"' % client.dns01_value(challenge))
        return challenge

    def solve(self, client, order, kind=None):
        """Proves every authorization of an order (an object with "authorizations") and waits until it is ready."""
        for url, authz in client.authzs(order):
            if authz["status"] != "pending":
                continue
            how = kind or ("dns-01" if authz.get("wildcard") else "http-01")
            challenge = self.publish(client, authz, how)
            client.want(200, challenge["url"], {})
            r = client.wait(url, ("valid", "invalid"))
            assert r.json["status"] == "valid", r

    def ready_order(self, client, names, kind=None, **members):
        """(URL, object) of an order that waits for its CSR."""
        r = client.new_order(names, **members)
        self.solve(client, r.json, kind)
        ready = client.wait(r.location, ("ready", "invalid"))
        assert ready.json["status"] == "ready", ready
        return r.location, ready.json

    def issue(self, client, names, key=None, kind=None, csr=None, **members):
        """A whole flow: (order URL, order, PEM chain)."""
        url, order = self.ready_order(client, names, kind, **members)
        der = csr or acme.csr(names, key)
        client.finalize(order, der)
        r = client.wait(url, ("valid", "invalid"))
        assert r.json["status"] == "valid", r
        return url, r.json, client.read(r.json["certificate"]).body.decode()

    # -- the end --

    def sanitizer_reports(self):
        found = []
        for path in sorted(self.logs.iterdir()):
            text = path.read_text(errors="replace")
            if path.name.startswith("sanitizer.") and text.strip():
                found.append(f"--- {path}\n{text[:6000]}")
            elif "ERROR: AddressSanitizer" in text or "runtime error:" in text or "ERROR: LeakSanitizer" in text:
                found.append(f"--- {path}\n{tail(path)}")
        return "\n".join(found)

    def database_errors(self):
        return [line for line in self.pg.errors() if not any(re.search(e, line) for e in self.expected_db_errors)]

    def finish(self):
        """Stops everything; returns what was wrong."""
        wrong = []
        for g in self.gateways:
            try:
                g.stop()
            except AssertionError as e:
                wrong.append(str(e))
        if self.sanitizer_reports():
            wrong.append(self.sanitizer_reports())
        if self.pg is not None:
            if self.database_errors():
                wrong.append("PostgreSQL refused statements:\n" + "\n".join(self.database_errors()[:20]))
            self.pg.stop()
        for stub in (self.dns, self.http, self.https):
            if stub is not None:
                stub.close()
        if not wrong and not self.kept:
            shutil.rmtree(self.dir, ignore_errors=True)
        elif not wrong:
            shutil.rmtree(self.dir / "pg", ignore_errors=True)
        return wrong

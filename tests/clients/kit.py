# SPDX-License-Identifier: Apache-2.0
"""What tests of real clients stand on: an environment of deploy/try with two gateways, a DNS server that takes updates, the
commands of the pages in deploy/clients, and a look at the certificates with openssl."""
import importlib.util
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import dns.message
import dns.opcode
import dns.rdatatype
import dns.update  # noqa: F401  lets dns.message read updates
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

SOURCE = Path(__file__).resolve().parents[2]
PAGES = SOURCE / "deploy" / "clients"


def load(path):
    """A module of the end-to-end tests; their directory is not on the path, for it has an acme.py of its own."""
    spec = importlib.util.spec_from_file_location("e2e_" + path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TXT = dns.rdatatype.TXT
DnsStub = load(SOURCE / "tests" / "e2e" / "dnsstub.py").DnsStub


class DynamicDns(DnsStub):
    """Takes RFC 2136 updates from anyone, which is how the clients' hooks publish TXT records."""

    def answer(self, wire, over):
        if len(wire) < 12 or wire[2] >> 3 & 15 != dns.opcode.UPDATE:
            return super().answer(wire, over)
        update = dns.message.from_wire(wire)
        for rrset in update.update:
            key = self.key(rrset.name.to_text(), rrset.rdtype)
            values = [rdata.to_text() for rdata in rrset]
            with self.lock:
                have = self.records.get(key, [])
                if rrset.deleting is None:
                    self.records[key] = have + values
                else:
                    self.records[key] = [v for v in have if values and v not in values]
                if not self.records[key]:
                    del self.records[key]
        return dns.message.make_response(update).to_wire()


def programs():
    """The directory with porticod and porticoctl, or None: deploy/try builds."""
    for place in (os.environ.get("PORTICO_BIN"), SOURCE / "build" / "check", SOURCE / "build", SOURCE):
        if place and os.access(Path(place) / "porticod", os.X_OK):
            return str(place)
    return None


def ports(count):
    """The first of `count` free ports in a row, outside of those that the kernel gives away."""
    start = 15000 + os.getpid() % 1000 * 10
    for first in [*range(start, 31000, 10), *range(15000, start, 10)]:
        try:
            for port in range(first, first + count):
                with socket.socket() as s:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise RuntimeError("no free ports")


def wait_for(condition, what, timeout=20):
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.05)


class Failed(AssertionError):
    pass


class World:
    """deploy/try in a directory of its own, from up to down."""

    def __init__(self):
        # Not below pytest's directory, which the database's user may not enter.
        self.dir = Path(tempfile.mkdtemp(prefix="portico-clients-"))
        self.dir.chmod(0o755)
        self.state = self.dir / "try"
        self.sanitizer = self.dir / "sanitizer"
        self.sanitizer.mkdir()
        self.sanitizer.chmod(0o1777)  # the signer has a user of its own
        self.dns = None

    def environ(self):
        out = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        out.update(ASAN_OPTIONS=f"log_path={self.sanitizer}/asan:detect_leaks=1:abort_on_error=0",
                   UBSAN_OPTIONS=f"log_path={self.sanitizer}/ubsan:print_stacktrace=1",
                   LSAN_OPTIONS=f"suppressions={SOURCE}/tests/lsan.supp:print_suppressions=0", LC_ALL="C.UTF-8")
        if programs():
            out["PORTICO_BIN"] = programs()
        return out

    def deploy(self, *arguments):
        done = subprocess.run([str(SOURCE / "deploy" / "try"), *arguments, "--state", str(self.state)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environ(), timeout=900)
        if done.returncode != 0:
            raise RuntimeError(f"deploy/try {' '.join(arguments)}: {done.returncode}\n{done.stdout}")

    def start(self):
        self.dns = DynamicDns()
        (self.state / "conf.d").mkdir(parents=True)
        (self.state / "conf.d" / "bound.yaml").write_text(
            "directories:\n  - {name: bound, eab: required, profiles: [server]}\n")
        port = ports(6)
        self.http_port = port + 4
        self.deploy("up", "--port", str(port), "--gateways", "2", "--no-demo", "--resolver", self.dns.text,
                    "-o", "validation.retry_window=3s")
        settings = dict(re.findall(r"^(\w+)='(.*)'$", (self.state / "env").read_text(), re.M))
        self.directories = settings["PORTICO_DIRECTORIES"].split(",")
        self.directory = self.directories[0]
        self.tls_ca, self.root, self.ctl = settings["PORTICO_TLS_CA"], settings["PORTICO_ROOT"], settings["PORTICO_CTL"]

    def log(self, gateway):
        return (self.state / "log" / f"porticod-{gateway}.log").read_text(errors="replace")

    def finish(self):
        """Stops everything; returns what was wrong."""
        wrong = []
        if (self.state / "run").exists():
            try:
                self.deploy("down")
            except (RuntimeError, subprocess.TimeoutExpired) as e:
                wrong.append(str(e))
        if self.dns is not None:
            self.dns.close()
        for report in sorted(self.sanitizer.iterdir()):
            wrong.append(f"--- {report.name}\n{report.read_text(errors='replace')[:6000]}")
        for log in sorted((self.state / "log").glob("porticod-*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if re.match(r"\S+ error ", line) or "runtime error:" in line or "Sanitizer" in line:
                    wrong.append(f"{log.name}: {line}")
        self.keep()
        if not wrong:
            shutil.rmtree(self.dir, ignore_errors=True)
        return wrong

    def keep(self):
        """The logs, where the caller wants to have them."""
        place = os.environ.get("PORTICO_TEST_DIR")
        if place and (self.state / "log").exists():
            shutil.copytree(self.state / "log", Path(place) / f"log-{self.dir.name}", dirs_exist_ok=True)

    def operator(self, *arguments):
        """What porticoctl says, read from JSON."""
        done = subprocess.run([*self.ctl.split(), *arguments, "--json"], text=True, env=self.environ(), timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    # -- certificates --

    def fetch(self, path, gateway=1):
        url = self.directories[gateway - 1].split("/acme/")[0] + path
        with urllib.request.urlopen(url, context=ssl.create_default_context(cafile=self.tls_ca), timeout=20) as answer:
            return answer.read()

    def verify(self, fullchain):
        """The chain as a strict relying party looks at it, with a trusted root and nothing else."""
        done = subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", self.root,
                               "-untrusted", str(fullchain), str(fullchain)],
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout

    def certificate(self, fullchain, key=None, names=None, kind=None):
        """The first certificate of the file, after looking at everything that a client promised about it."""
        self.verify(fullchain)
        chain = pem_certificates(Path(fullchain).read_bytes())
        leaf = chain[0]
        assert len(chain) == 2 and chain[1].subject == leaf.issuer, chain
        if key is not None:
            private = load_pem_private_key(Path(key).read_bytes(), None)
            assert public_of(leaf) == public_bytes(private.public_key()), "not the certificate of this key"
        if names is not None:
            assert names_of(leaf) == sorted(names), names_of(leaf)
        if kind is not None:
            assert kind_of(leaf) == kind, kind_of(leaf)
        return leaf

    def crl(self, gateway=1):
        crl = x509.load_der_x509_crl(self.fetch("/crl/house.crl", gateway))
        issuing = x509.load_pem_x509_certificate((self.state / "ca" / "issuing.pem").read_bytes())
        assert crl.is_signature_valid(issuing.public_key()) and crl.issuer == issuing.subject
        return crl

    def revoked(self, leaf, reason):
        """Waits until the CRL of both gateways has it, for this reason (None: no reason is given)."""
        for gateway in (1, 2):
            entry = wait_for(lambda: self.crl(gateway).get_revoked_certificate_by_serial_number(leaf.serial_number),
                             f"{leaf.serial_number:x} in the CRL of gateway {gateway}")
            try:
                found = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
            except x509.ExtensionNotFound:
                found = None
            assert found == reason, found

    def not_revoked(self, leaf):
        assert self.crl().get_revoked_certificate_by_serial_number(leaf.serial_number) is None


def pem_certificates(data):
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", data, re.S)
    return [x509.load_pem_x509_certificate(b) for b in blocks]


def public_bytes(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_of(cert):
    return public_bytes(cert.public_key())


def names_of(cert):
    san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(san.get_values_for_type(x509.DNSName) + [str(a) for a in san.get_values_for_type(x509.IPAddress)])


def kind_of(cert):
    key = cert.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa{key.key_size}"
    assert isinstance(key, ec.EllipticCurvePublicKey), key
    return {"secp256r1": "p256", "secp384r1": "p384"}[key.curve.name]


# ---- the pages ----

def blocks_of(name):
    """{title: (commands, output)} of a page: a block of shell below <!-- test: TITLE -->, and the block of text that may
    follow it, which is what the commands print."""
    text = (PAGES / name).read_text()
    found = re.findall(r"<!-- test: (\S+) -->\n```sh\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", text, re.S)
    titles = [title for title, _, _ in found]
    assert len(set(titles)) == len(titles), f"{name}: a title is there twice"
    return {title: (shell, output) for title, shell, output in found}


class Page:
    """A page of deploy/clients, whose commands the tests run. It speaks of deploy/try without flags; other ports and
    another directory are used here."""

    def __init__(self, name, world, work):
        self.world, self.work, self.results, self.variables = world, work, {}, {}
        blocks = blocks_of(name)
        self.blocks = {title: shell for title, (shell, _) in blocks.items()}
        self.outputs = {title: output for title, (_, output) in blocks.items()}
        (work / "deploy").symlink_to(SOURCE / "deploy")

    def here(self, shell):
        """The page's text with the places of this environment."""
        for theirs, ours in (("/var/lib/portico-try", self.world.state), ("14004", self.world.http_port),
                             ("5353", self.world.dns.address[1])):
            shell = shell.replace(theirs, str(ours))
        return shell

    def shell(self, command, ok=True):
        """Standard output and error of a command, in an environment with what the page says to set up."""
        env = self.world.environ()
        env.update(self.variables, HOME=str(self.work), XDG_CONFIG_HOME=str(self.work))
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", self.here(self.blocks["setup"] + command)], text=True,
                              cwd=self.work, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=180)
        if (done.returncode == 0) != ok:
            raise Failed(f"{command}exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def run(self, title, ok=True, line=None):
        """One block, or a single line of it, once; its output is what the page says."""
        if (title, line) not in self.results:
            shell = self.blocks[title]
            if line is not None:
                shell = shell.replace("\\\n", " ").splitlines()[line] + "\n"
            self.results[title, line] = output = self.shell(shell, ok)
            if self.outputs[title] and line is None:
                self.compare(self.outputs[title], output)
        return self.results[title, line]

    def plain(self, text):
        """Without what differs from one run to the next: times, ids, ports, directories."""
        for ours, theirs in ((self.world.state, "/var/lib/portico-try"), (self.work, "/srv/acme")):
            text = text.replace(str(ours), theirs)
        text = re.sub(r"(?<![\w-])([\w-]{22}|[\w-]{43})(?![\w-])", "ID", text)
        return [re.sub(r"\d+", "0", line.strip()) for line in text.splitlines() if line.strip()]

    def compare(self, expected, output):
        have = self.plain(output)
        for line in self.plain(expected):
            assert line in have, f"the page says: {line}\nthe client printed:\n{output}"

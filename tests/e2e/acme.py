# SPDX-License-Identifier: Apache-2.0
"""A strict ACME client. It signs its own JWS, so that each part of a request can be made wrong, and it checks on every
answer what RFC 8555 wants of all of them: nonces, links, problem documents."""
import base64
import hashlib
import hmac
import http.client
import itertools
import json
import re
import socket
import ssl
import threading
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
import ipaddress

ERROR = "urn:ietf:params:acme:error:"
JOSE = "application/jose+json"
UNSET = object()  # "leave this member out"


def b64(data):
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    assert re.fullmatch(r"[A-Za-z0-9_-]*", text), text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b64int(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


# ---- keys ----

class Key:
    """A key pair with one JWS algorithm."""
    curves = {"ES256": (ec.SECP256R1, "P-256", 32, hashes.SHA256), "ES384": (ec.SECP384R1, "P-384", 48, hashes.SHA384),
              "ES512": (ec.SECP521R1, "P-521", 66, hashes.SHA512)}

    def __init__(self, alg="ES256", private=None, bits=2048):
        self.alg = alg
        if private is None:
            if alg in self.curves:
                private = ec.generate_private_key(self.curves[alg][0]())
            elif alg == "EdDSA":
                private = ed25519.Ed25519PrivateKey.generate()
            else:
                private = rsa.generate_private_key(65537, bits)
        self.private = private

    def jwk(self):
        public = self.private.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            size = (public.curve.key_size + 7) // 8
            n = public.public_numbers()
            name = {256: "P-256", 384: "P-384", 521: "P-521"}[public.curve.key_size]
            return {"crv": name, "kty": "EC", "x": b64int(n.x, size), "y": b64int(n.y, size)}
        if isinstance(public, rsa.RSAPublicKey):
            n = public.public_numbers()
            return {"e": b64int(n.e), "kty": "RSA", "n": b64int(n.n)}
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": b64(raw)}

    def thumbprint(self):
        """RFC 7638."""
        text = json.dumps(self.jwk(), sort_keys=True, separators=(",", ":"))
        return b64(hashlib.sha256(text.encode()).digest())

    def sign(self, data, alg=None):
        alg = alg or self.alg
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            size = (self.private.curve.key_size + 7) // 8
            digest = self.curves[alg][3] if alg in self.curves else hashes.SHA256
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest())))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(data)
        if alg == "PS256":
            return self.private.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())


class MacKey:
    """An EAB key."""
    digests = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}

    def __init__(self, kid, secret, alg="HS256"):
        self.kid, self.secret, self.alg = kid, secret, alg

    def sign(self, data, alg=None):
        return hmac.new(self.secret, data, self.digests[alg or self.alg]).digest()


def jws(key, protected, payload, signature=None, **members):
    """A flattened JWS. payload: an object, text or bytes, or None for POST-as-GET."""
    if isinstance(protected, dict):
        protected = json.dumps({k: v for k, v in protected.items() if v is not UNSET})
    if payload is None:
        payload = b""
    elif not isinstance(payload, (bytes, str)):
        payload = json.dumps(payload)
    head, body = b64(protected), b64(payload)
    if signature is None:
        signature = key.sign(f"{head}.{body}".encode())
    return {"protected": head, "payload": body, "signature": b64(signature), **members}


# ---- CSRs ----

def general_names(names):
    out = []
    for name in names:
        try:
            out.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            out.append(x509.DNSName(name))
    return out


def csr(names, key=None, cn=None, extensions=(), digest=hashes.SHA256, subject=None):
    """DER of a CSR. key: a Key, its private half, or None for a new P-256 key."""
    key = key.private if isinstance(key, Key) else key or ec.generate_private_key(ec.SECP256R1())
    if subject is None:
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, cn)] if cn else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(general_names(names)), False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else digest()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


def pem_certificates(text):
    """The certificates of a PEM chain, in order; nothing else may be in it."""
    if isinstance(text, bytes):
        text = text.decode("ascii")
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n", text)
    assert blocks and "".join(blocks).strip() == re.sub(r"\n\n+", "\n", text).strip(), "not a plain PEM chain"
    return [x509.load_pem_x509_certificate(block.encode()) for block in blocks]


def certificate_der(cert):
    return cert.public_bytes(serialization.Encoding.DER)


# ---- transport ----

class TransportError(Exception):
    """No answer: whether the request was carried out is unknown."""


class Response:
    def __init__(self, method, url, status, headers, body):
        self.method, self.url, self.status, self.headers, self.body = method, url, status, headers, body
        self._json = None

    def header(self, name, default=None):
        values = self.all_headers(name)
        return values[0] if values else default

    def all_headers(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    @property
    def json(self):
        if self._json is None:
            self._json = json.loads(self.body)
        return self._json

    @property
    def nonce(self):
        return self.header("replay-nonce")

    @property
    def location(self):
        return self.header("location")

    @property
    def is_problem(self):
        return (self.header("content-type") or "").startswith("application/problem+json")

    @property
    def problem(self):
        """The short name of an ACME error, "about:blank", or None."""
        if not self.is_problem:
            return None
        return self.json["type"][len(ERROR):] if self.json["type"].startswith(ERROR) else self.json["type"]

    @property
    def detail(self):
        return self.json.get("detail", "") if self.is_problem else ""

    @property
    def subproblems(self):
        return self.json.get("subproblems", []) if self.is_problem else []

    def links(self, rel):
        found = []
        for value in self.all_headers("link"):
            m = re.fullmatch(r'<([^>]*)>;\s*rel="([^"]*)"', value)
            assert m, value
            if m[2] == rel:
                found.append(m[1])
        return found

    @property
    def retry_after(self):
        value = self.header("retry-after")
        return None if value is None else int(value)

    def __repr__(self):
        return f"<{self.method} {self.url}: {self.status} {self.header('content-type')} {self.body[:600]!r}>"


def check_answer(r, acme):
    """What holds for every answer below /acme/DIRECTORY/."""
    if not acme:
        return
    path = urlsplit(r.url).path
    if r.method == "POST" and r.status != 413:  # the transport itself refuses what is far too large
        assert r.nonce, f"no Replay-Nonce: {r}"
    if r.nonce is not None:
        assert re.fullmatch(r"[A-Za-z0-9_-]+", r.nonce), r
        assert "no-store" in (r.header("cache-control") or ""), r
    if not path.endswith("/directory") and r.status != 413:
        index = r.links("index")
        assert len(index) == 1 and index[0].endswith("/directory"), f"no Link index: {r}"
    if r.status >= 400 and r.method != "HEAD" and r.status != 413:
        check_problem(r)
    if r.header("retry-after") is not None:
        assert re.fullmatch(r"[0-9]{1,3}", r.header("retry-after")), r
    if r.status == 201:
        assert r.location, f"no Location: {r}"


def check_problem(r):
    assert r.is_problem, f"not a problem document: {r}"
    doc = r.json
    assert doc["status"] == r.status and doc["type"] and len(doc["detail"]) > 8, r
    assert re.fullmatch(r"urn:portico:request:[A-Za-z0-9_-]{8,}", doc["instance"]), r
    if doc["type"] == ERROR + "badSignatureAlgorithm":
        assert set(doc["algorithms"]) == {"ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA"}, r
    for sub in doc.get("subproblems", []):
        assert sub["type"].startswith(ERROR) and sub["detail"], r


class Transport:
    """Keeps one connection per address and thread; addresses take turns, as behind a TCP load balancer. The URL's host
    is what TLS and the Host header see, addresses are where the bytes go."""

    def __init__(self, addresses, tls_ca, timeout=30):
        self.addresses = list(addresses)
        self.timeout = timeout
        self.context = None
        if tls_ca:
            self.context = ssl.create_default_context(cafile=str(tls_ca))
        self.turn = itertools.count()
        self.local = threading.local()

    def at(self, *indexes):
        """The same through some of the addresses only."""
        other = Transport([self.addresses[i] for i in indexes], None, self.timeout)
        other.context = self.context
        return other

    def connect(self, address, host):
        sock = socket.create_connection(address, timeout=self.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context:
            sock = self.context.wrap_socket(sock, server_hostname=host)
        conn = http.client.HTTPConnection(host)
        conn.sock = sock
        return conn

    def request(self, method, url, headers=None, body=None, target=None):
        parts = urlsplit(url)
        address = self.addresses[next(self.turn) % len(self.addresses)]
        pool = self.local.__dict__.setdefault("pool", {})
        target = target or parts.path + (f"?{parts.query}" if parts.query else "")
        all_headers = {"Host": parts.netloc, "User-Agent": "portico-e2e", **(headers or {})}
        kept = pool.pop((address, parts.hostname), None)
        try:
            conn = kept if kept and still_open(kept) else self.connect(address, parts.hostname)
            conn.request(method, target, body=body, headers=all_headers)
            answer = conn.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as e:
            raise TransportError(f"{method} {url} at {address}: {e!r}") from e
        if not answer.will_close:
            pool[(address, parts.hostname)] = conn
        else:
            conn.sock and conn.close()
        return Response(method, url, answer.status, answer.getheaders(), data)


def still_open(conn):
    """False when the server has closed a kept connection (idle time-out, restart)."""
    sock = conn.sock
    if sock is None:
        return False
    sock.setblocking(False)
    try:
        data = sock.recv(1)
        return bool(data) and False
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except (OSError, ssl.SSLError):
        return False
    finally:
        try:
            sock.settimeout(30)
        except OSError:
            pass


# ---- the client ----

class Refused(AssertionError):
    """An answer other than the expected one."""

    def __init__(self, response):
        super().__init__(repr(response))
        self.response = response


class Client:
    """One account (or none yet) of one directory."""

    def __init__(self, transport, directory_url, key=None, kid=None):
        self.transport = transport
        self.directory_url = directory_url
        self.key = key or Key()
        self.kid = kid
        self.nonces = []
        self.urls = None
        self.events = []  # (status, path) of all POSTs, for reports

    def clone(self, **changes):
        other = Client(self.transport, self.directory_url, self.key, self.kid)
        other.urls = self.urls
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    @property
    def directory(self):
        if self.urls is None:
            r = self.get(self.directory_url)
            assert r.status == 200, r
            self.urls = r.json
        return self.urls

    @property
    def base(self):
        return self.directory_url[:-len("/directory")]

    def get(self, url, method="GET", headers=None):
        r = self.transport.request(method, url, headers)
        check_answer(r, "/acme/" in url)
        return r

    def nonce(self):
        if self.nonces:
            return self.nonces.pop()
        r = self.get(self.directory["newNonce"], "HEAD")
        assert r.status == 200 and r.nonce, r
        return r.nonce

    def protected(self, url, **changes):
        """The protected header this client would send; changes replace members, UNSET leaves one out."""
        head = {"alg": self.key.alg, "nonce": UNSET, "url": url}
        if self.kid:
            head["kid"] = self.kid
        else:
            head["jwk"] = self.key.jwk()
        if "nonce" not in changes:
            head["nonce"] = self.nonce()
        head.update(changes)
        return head

    def send(self, url, message, content_type=JOSE, headers=None):
        """POSTs anything: a dict becomes JSON, bytes and text go as they are."""
        if isinstance(message, dict):
            message = json.dumps(message)
        if isinstance(message, str):
            message = message.encode()
        all_headers = {**({"Content-Type": content_type} if content_type else {}), **(headers or {})}
        r = self.transport.request("POST", url, all_headers, message)
        self.events.append((r.status, urlsplit(url).path))
        check_answer(r, "/acme/" in url)
        if r.nonce:
            self.nonces.append(r.nonce)
            del self.nonces[:-5]
        return r

    def post(self, url, payload=None, key=None, headers=None, signature=None, content_type=JOSE, **protected):
        """A signed POST; payload None is POST-as-GET. Whatever comes back is returned."""
        message = jws(key or self.key, self.protected(url, **protected), payload, signature=signature)
        return self.send(url, message, content_type, headers)

    def want(self, status, url, payload=None, **how):
        """The same, and the status must be this."""
        r = self.post(url, payload, **how)
        if r.status != status:
            raise Refused(r)
        return r

    # -- accounts --

    def eab(self, mac, **changes):
        head = {"alg": mac.alg, "kid": mac.kid, "url": self.directory["newAccount"]}
        head.update(changes)
        return jws(mac, head, self.key.jwk())

    def new_account(self, status=201, eab=None, **payload):
        payload.setdefault("termsOfServiceAgreed", True)
        if eab is not None:
            payload["externalAccountBinding"] = self.eab(eab) if isinstance(eab, MacKey) else eab
        payload = {k: v for k, v in payload.items() if v is not UNSET}
        kid, self.kid = self.kid, None
        try:
            r = self.post(self.directory["newAccount"], payload)
        finally:
            self.kid = kid
        if status is not None and r.status != status:
            raise Refused(r)
        if r.status in (200, 201):
            self.kid = r.location
        return r

    def key_change(self, new_key, inner=None, **changes):
        """The inner JWS: changes replace members of its header ("header_...") or payload."""
        url = self.directory["keyChange"]
        head = {"alg": new_key.alg, "jwk": new_key.jwk(), "url": url}
        payload = {"account": self.kid, "oldKey": self.key.jwk()}
        sign_with, signature = changes.pop("sign_with", new_key), changes.pop("signature", None)
        for name, value in changes.items():
            target = head if name.startswith("header_") else payload
            target[name.replace("header_", "")] = value
        payload = {k: v for k, v in payload.items() if v is not UNSET}
        message = jws(sign_with, head, payload, signature=signature) if inner is None else inner
        return self.post(url, message)

    # -- orders --

    def new_order(self, names, status=201, **members):
        identifiers = [n if isinstance(n, dict) else identifier(n) for n in names]
        r = self.post(self.directory["newOrder"], {"identifiers": identifiers, **members})
        if status is not None and r.status != status:
            raise Refused(r)
        return r

    def read(self, url, status=200, **how):
        return self.want(status, url, None, **how)

    def authzs(self, order):
        return [(url, self.read(url).json) for url in order["authorizations"]]

    def key_authorization(self, challenge):
        return f"{challenge['token']}.{self.key.thumbprint()}"

    def dns01_value(self, challenge):
        return b64(hashlib.sha256(self.key_authorization(challenge).encode()).digest())

    def wait(self, url, statuses, timeout=60, every=0.05):
        """Polls an object until its status is one of these."""
        deadline = time.monotonic() + timeout
        while True:
            r = self.read(url)
            if r.json["status"] in statuses:
                return r
            assert time.monotonic() < deadline, f"still {r.json['status']} after {timeout} s: {r}"
            time.sleep(every)

    def finalize(self, order, der, status=200, **how):
        r = self.post(order["finalize"], {"csr": b64(der)}, **how)
        if status is not None and r.status != status:
            raise Refused(r)
        return r

    def revoke(self, cert, reason=UNSET, key=None, status=200):
        """key: a certificate's own key signs instead of the account's."""
        payload = {"certificate": b64(cert if isinstance(cert, bytes) else certificate_der(cert)), "reason": reason}
        payload = {k: v for k, v in payload.items() if v is not UNSET}
        url = self.directory["revokeCert"]
        if key is None:
            r = self.post(url, payload)
        else:
            r = self.post(url, payload, key=key, alg=key.alg, kid=UNSET, jwk=key.jwk())
        if status is not None and r.status != status:
            raise Refused(r)
        return r


def identifier(name):
    try:
        return {"type": "ip", "value": str(ipaddress.ip_address(name))}
    except ValueError:
        return {"type": "dns", "value": name}


def challenge_of(authz, kind):
    for challenge in authz["challenges"]:
        if challenge["type"] == kind:
            return challenge
    raise AssertionError(f"no {kind} in {[c['type'] for c in authz['challenges']]}")


def http_date(text):
    return parsedate_to_datetime(text)

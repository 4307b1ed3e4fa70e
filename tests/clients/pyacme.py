# SPDX-License-Identifier: Apache-2.0
"""The ACME library that certbot stands on, used directly: what neither certbot nor lego can do from a command line."""
import datetime
import json
import threading
import time
import types
from urllib.parse import urlsplit, urlunsplit

import josepy
from acme import challenges, client, crypto_util, jws, messages, standalone
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ALGORITHMS = {"rsa2048": josepy.RS256, "p256": josepy.ES256, "p384": josepy.ES384}


# The library sleeps a second before it looks at an order; what it asks for stays the same.
client.time = types.SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, 0.05)))


def new_key(kind):
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}[kind])


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def jwk(key):
    return (josepy.JWKRSA if isinstance(key, rsa.RSAPrivateKey) else josepy.JWKEC)(key=key)


def soon():
    return datetime.datetime.now() + datetime.timedelta(seconds=60)


class Signed:
    """A finished JWS as the payload of another one."""

    def __init__(self, inner):
        self.inner = inner

    def json_dumps(self, indent=None):
        return json.dumps(self.inner.to_json(), indent=indent)


class RoundRobin(client.ClientNetwork):
    """Every request on its own connection to the next gateway, nonces of one at another: a load balancer at its worst."""

    def __init__(self, directories, *arguments, **how):
        super().__init__(*arguments, **how)
        self.hosts = [urlsplit(d).netloc for d in directories]
        self.turn = 0
        self.session.headers["Connection"] = "close"

    def next(self, url):
        if urlsplit(url).path.endswith("/key-change"):
            return url  # the inner JWS names it too
        self.turn += 1
        return urlunsplit(urlsplit(url)._replace(netloc=self.hosts[self.turn % len(self.hosts)]))

    def head(self, url, *arguments, **how):
        return super().head(self.next(url), *arguments, **how)

    def get(self, url, *arguments, **how):
        return super().get(self.next(url), *arguments, **how)

    def _post_once(self, url, *arguments, **how):
        return super()._post_once(self.next(url), *arguments, **how)


class Account(client.ClientV2):
    """An account at the environment's gateway, or one at all of them when `round_robin` says so."""

    def __init__(self, world, kind="p256", key=None, directory="default", round_robin=False):
        self.world, self.private = world, key or new_key(kind)
        urls = [d.replace("/default/", f"/{directory}/") for d in world.directories]
        how = {"key": jwk(self.private), "alg": ALGORITHMS[kind], "user_agent": "python-acme"}
        net = RoundRobin(urls, **how) if round_robin else client.ClientNetwork(**how)
        net.verify_ssl = world.tls_ca
        super().__init__(self.get_directory(urls[0], net), net)

    def register(self, eab=None):
        binding = None
        if eab is not None:
            binding = messages.ExternalAccountBinding.from_data(self.net.key.public_key(), eab["kid"], eab["hmac_key"],
                                                                self.directory)
        self.new_account(messages.NewRegistration.from_data(
            email="me@example.com", terms_of_service_agreed=True, external_account_binding=binding))
        return self

    @property
    def uri(self):
        return self.net.account.uri

    # -- challenges --

    def solve(self, order, kind):
        """Proves all that is pending with this kind of challenge, and waits until it is accepted."""
        wanted = {"http-01": challenges.HTTP01, "dns-01": challenges.DNS01}[kind]
        bodies = [c for a in order.authorizations if a.body.status == messages.STATUS_PENDING
                  for c in a.body.challenges if isinstance(c.chall, wanted)]
        if kind == "http-01":
            return self.solve_http(order, bodies)
        for authz in order.authorizations:
            name = "_acme-challenge." + authz.body.identifier.value
            for body in bodies:
                if body in authz.body.challenges:
                    self.world.dns.add(name, "TXT", '"%s"' % body.chall.validation(self.net.key))
        return self.answer(order, bodies)

    def solve_http(self, order, bodies):
        served = set()
        for body in bodies:
            response, validation = body.response_and_validation(self.net.key)
            served.add(standalone.HTTP01RequestHandler.HTTP01Resource(
                chall=body.chall, response=response, validation=validation))
        address = "::1" if any(":" in a.body.identifier.value for a in order.authorizations) else "127.0.0.1"
        server = standalone.HTTP01Server((address, self.world.http_port), served, ipv6=":" in address)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            return self.answer(order, bodies)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, order, bodies):
        for body in bodies:
            self.answer_challenge(body, body.response(self.net.key))
        return self.poll_authorizations(order, soon())

    # -- certificates --

    def issue(self, path, names=(), addresses=(), key=None, kind="http-01"):
        """A whole flow, its chain in a file; returns the order."""
        request = crypto_util.make_csr(pem(key or new_key("p256")), list(names), ipaddrs=list(addresses))
        order = self.solve(self.new_order(request), kind)
        order = self.finalize_order(order, soon())
        path.write_text(order.fullchain_pem)
        return order

    # -- the account --

    def roll(self, kind):
        """RFC 8555 7.3.5, for which the library has no function."""
        url = self.directory["keyChange"]
        fresh = new_key(kind)
        payload = json.dumps({"account": self.uri, "oldKey": self.net.key.public_key().to_json()}).encode()
        inner = jws.JWS.sign(payload, jwk(fresh), ALGORITHMS[kind], None, url=url)
        self._post(url, Signed(inner))
        self.private, self.net.key, self.net.alg = fresh, jwk(fresh), ALGORITHMS[kind]

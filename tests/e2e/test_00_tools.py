# SPDX-License-Identifier: Apache-2.0
"""The tools of these tests against other implementations, for a mistake in both them and the gateway would not show."""
import json
import subprocess

import dns.message
import dns.query
import dns.rcode
import josepy
import pytest
from cryptography.hazmat.primitives import serialization

import acme
from dnsstub import DnsStub


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "RS256"])
def test_signatures_verify_with_josepy(keys, alg):
    key = keys(alg)
    message = acme.jws(key, {"alg": alg, "url": "https://x/", "jwk": key.jwk()}, {"a": 1})
    public = josepy.JWK.from_json(key.jwk())
    signed = f"{message['protected']}.{message['payload']}".encode()
    assert josepy.JWASignature.from_json(alg).verify(public.key, signed, acme.unb64(message["signature"]))


def test_ps256_signatures_verify_with_openssl(keys, tmp_path):
    """RFC 7518 3.5 wants a salt as long as the hash; josepy uses another."""
    key = keys("PS256")
    message = acme.jws(key, {"alg": "PS256"}, b"x")
    public = key.private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key").write_bytes(public)
    (tmp_path / "sig").write_bytes(acme.unb64(message["signature"]))
    subprocess.run(["openssl", "dgst", "-sha256", "-verify", tmp_path / "key", "-signature", tmp_path / "sig",
                    "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"], check=True,
                   input=f"{message['protected']}.{message['payload']}".encode(), stdout=subprocess.DEVNULL)


def test_eddsa_signatures_verify(keys):
    key = keys("EdDSA")
    message = acme.jws(key, {"alg": "EdDSA"}, b"x")
    key.private.public_key().verify(acme.unb64(message["signature"]), f"{message['protected']}.{message['payload']}".encode())


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_thumbprints_agree_with_josepy(keys, alg):
    key = keys(alg)
    assert acme.b64(josepy.JWK.from_json(key.jwk()).thumbprint()) == key.thumbprint()


def test_thumbprint_of_rfc_8037():
    """RFC 8037 A.3."""
    class Fixed(acme.Key):
        def jwk(self):
            return {"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert Fixed("EdDSA").thumbprint() == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_unset_members_are_left_out(keys):
    message = acme.jws(keys("ES256"), {"alg": "ES256", "kid": acme.UNSET}, None)
    assert json.loads(acme.unb64(message["protected"])) == {"alg": "ES256"} and message["payload"] == ""


@pytest.fixture
def stub():
    s = DnsStub()
    yield s
    s.close()


def ask(stub, name, kind, tcp=False):
    query = dns.message.make_query(name, kind)
    how = dns.query.tcp if tcp else dns.query.udp
    return how(query, stub.address[0], port=stub.address[1], timeout=5)


def test_dns_stub_follows_cnames(stub):
    stub.set("a.test", "CNAME", "b.test.")
    stub.txt("b.test", "one", "two")
    reply = ask(stub, "a.test", "TXT")
    assert [r.to_text().split(" ", 1)[0] for r in reply.answer] == ["a.test.", "b.test."] and len(reply.answer[1]) == 2


def test_dns_stub_truncates_what_is_long(stub):
    stub.txt("long.test", *["x" * 200 for _ in range(1)], *["y" * 200 + str(i) for i in range(20)])
    assert ask(stub, "long.test", "TXT").flags & 0x0200
    assert len(ask(stub, "long.test", "TXT", tcp=True).answer[0]) == 21


def test_dns_stub_knows_what_it_was_not_told(stub):
    assert ask(stub, "any.test", "A").answer[0][0].to_text() == "127.0.0.1"
    assert not ask(stub, "any.test", "AAAA").answer
    assert ask(stub, "_acme-challenge.any.test", "TXT").rcode() == dns.rcode.NXDOMAIN
    stub.behave("bad.test", "A", rcode="SERVFAIL")
    assert ask(stub, "bad.test", "A").rcode() == dns.rcode.SERVFAIL

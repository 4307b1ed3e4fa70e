# SPDX-License-Identifier: Apache-2.0
"""finalize (RFC 8555 7.4): which CSRs are accepted, and what a repeated one is answered."""
import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

import acme
import derkit as d

P256 = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def ready(env, client, name):
    url, order = env.ready_order(client, [name])
    order["url"] = url
    return order


def leaf_of(env, client, url):
    order = client.wait(url, ("valid", "invalid")).json
    assert order["status"] == "valid", order
    return acme.pem_certificates(client.read(order["certificate"]).body)[0]


def test_finalize(client, env, name, ready):
    r = client.finalize(ready, acme.csr([name]))
    assert r.json["status"] in ("processing", "valid") and r.location == ready["url"]
    if r.json["status"] == "processing":
        assert 0 < r.retry_after <= 30
    leaf = leaf_of(env, client, ready["url"])
    san = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert san.get_values_for_type(x509.DNSName) == [name]


def test_a_fast_ca_is_waited_for(client, name, ready):
    """The in-house CA signs in no time: no client has to poll."""
    assert client.finalize(ready, acme.csr([name])).json["status"] == "valid"


def test_same_csr_again_is_200_with_the_state(client, name, ready, db):
    der = acme.csr([name])
    first = client.finalize(ready, der)
    for _ in range(3):
        again = client.finalize(ready, der)
        assert again.json["status"] in ("processing", "valid")
    assert again.json["certificate"] and again.location == ready["url"]
    assert first.status == 200
    issuance = db.one("SELECT issuance_id FROM orders WHERE id = %s", ready["url"].rsplit("/", 1)[1])
    assert db.one("SELECT count(*) FROM certificate WHERE issuance_id = %s", issuance) == 1


def test_other_csr_is_order_not_ready(client, name, ready):
    client.finalize(ready, acme.csr([name]))
    r = client.finalize(ready, acme.csr([name]), 403)
    assert r.problem == "orderNotReady" and "another CSR" in r.detail


def test_pending_order_is_not_ready(client, name):
    r = client.finalize(client.new_order([name]).json, acme.csr([name]), 403)
    assert r.problem == "orderNotReady" and "pending" in r.detail


def test_refused_csr_leaves_the_order_ready(client, env, name, ready):
    assert client.finalize(ready, acme.csr(["other.test"]), 400).problem == "badCSR"
    assert client.read(ready["url"]).json["status"] == "ready"
    client.finalize(ready, acme.csr([name]))
    leaf_of(env, client, ready["url"])


@pytest.mark.parametrize("payload", [{}, {"csr": 7}, {"csr": None}, {"csr": "!"}, {"csr": "AAAA="}, {"csr": "AA+/"}])
def test_csr_of_wrong_form_is_malformed(client, ready, payload):
    r = client.post(ready["finalize"], payload)
    assert r.status == 400 and r.problem == "malformed" and "csr" in r.detail


# ---- keys ----

@pytest.mark.parametrize("make", [
    lambda: rsa.generate_private_key(65537, 2048), lambda: rsa.generate_private_key(65537, 3072),
    lambda: ec.generate_private_key(ec.SECP256R1()), lambda: ec.generate_private_key(ec.SECP384R1()),
    lambda: ec.generate_private_key(ec.SECP521R1()), ed25519.Ed25519PrivateKey.generate,
], ids=["rsa2048", "rsa3072", "p256", "p384", "p521", "ed25519"])
def test_keys_that_are_fine(client, env, name, ready, make):
    key = make()
    client.finalize(ready, acme.csr([name], key))
    leaf = leaf_of(env, client, ready["url"])
    spki = (acme.serialization.Encoding.DER, acme.serialization.PublicFormat.SubjectPublicKeyInfo)
    assert leaf.public_key().public_bytes(*spki) == key.public_key().public_bytes(*spki)


@pytest.mark.parametrize("make, part", [
    (lambda: rsa.generate_private_key(65537, 1024), "1024"), (lambda: rsa.generate_private_key(3, 2048), "exponent"),
    (lambda: ec.generate_private_key(ec.SECP224R1()), "key"), (lambda: ec.generate_private_key(ec.SECP256K1()), "key"),
    (lambda: dsa.generate_private_key(2048), "key"),
], ids=["rsa1024", "exponent 3", "p224", "secp256k1", "dsa"])
def test_keys_that_are_not(client, name, ready, make, part):
    r = client.finalize(ready, acme.csr([name], make()), 400)
    assert r.problem == "badCSR" and part in r.detail, r
    assert client.read(ready["url"]).json["status"] == "ready"


def test_account_key_is_no_certificate_key(client, name, ready):
    r = client.finalize(ready, acme.csr([name], client.key), 400)
    assert r.problem == "badCSR" and "account key" in r.detail


def test_profile_limits_keys(client, env):
    name = env.name("narrow.test")
    url, order = env.ready_order(client, [name], profile="narrow")
    r = client.finalize(order, acme.csr([name], ec.generate_private_key(ec.SECP384R1())), 400)
    assert r.problem == "badCSR" and "narrow" in r.detail and "P-256" in r.detail
    client.finalize(order, acme.csr([name]))
    leaf_of(env, client, url)


# ---- names ----

@pytest.mark.parametrize("names, csr_names, cn", [
    (["a", "b"], ["b", "a"], None), (["a"], ["A"], None), (["a", "b"], ["a", "b", "a"], None), (["a"], ["a"], "a"),
    (["a"], ["a"], "A"), (["a"], [], "a"), (["a", "127.0.0.1"], ["127.0.0.1", "a"], None), (["127.0.0.1"], ["127.0.0.1"], "127.0.0.1"),
    (["*.a", "a"], ["a", "*.a"], "*.a"),
], ids=["order", "case", "duplicates", "cn", "cn case", "cn alone", "address", "address cn", "wildcard"])
def test_names_that_fit(client, env, names, csr_names, cn):
    label = env.name()

    def full(n):
        return n if n is None or n[0].isdigit() else n + "." + label
    url, order = env.ready_order(client, [full(n) for n in names])
    client.finalize(order, acme.csr([full(n) for n in csr_names], cn=full(cn)))
    san = leaf_of(env, client, url).extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    found = {str(v).lower() for v in san.get_values_for_type(x509.DNSName) + san.get_values_for_type(x509.IPAddress)}
    assert found == {full(n) for n in names}


@pytest.mark.parametrize("csr_names, cn, parts", [
    (["b"], None, ["missing", "a"]), (["a", "b"], None, ["not in the order", "b"]), ([], None, ["a."]),
    (["a"], "b", ["common name"]), ([], "b", ["missing"]), (["a"], "not a name", ["common name"]),
    (["a", "127.0.0.1"], None, ["127.0.0.1"]), (["*.a"], None, ["*.a"]), (["x.a"], None, ["x.a"]),
], ids=["other", "more", "none", "other cn", "only other cn", "cn text", "address", "wildcard", "below"])
def test_names_that_do_not(client, env, csr_names, cn, parts):
    label = env.name()

    def full(n):
        return n if n is None or n[0].isdigit() or " " in n else n + "." + label
    _, order = env.ready_order(client, [full("a")])
    r = client.finalize(order, acme.csr([full(n) for n in csr_names], cn=full(cn)), 400)
    assert r.problem == "badCSR", r
    for part in parts:
        assert part in r.detail, r


def test_missing_name_of_two(client, env):
    names = [env.name(), env.name()]
    _, order = env.ready_order(client, names)
    r = client.finalize(order, acme.csr(names[:1]), 400)
    assert r.problem == "badCSR" and names[1] in r.detail


# ---- what else may be in a CSR ----

USUAL = [
    (x509.KeyUsage(True, False, True, False, False, False, False, False, False), True),
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    (x509.BasicConstraints(False, None), True),
    (x509.SubjectKeyIdentifier(b"x" * 20), False),
]


def test_usual_extensions_and_attributes_are_let_pass(client, env, name, ready):
    client.finalize(ready, acme.csr([name], extensions=USUAL))
    leaf_of(env, client, ready["url"])


def test_challenge_password_is_let_pass(client, env, name, ready):
    san = d.extension(d.SUBJECT_ALT_NAME, d.seq(d.dns_name(name)))
    attributes = d.seq(d.oid("1.2.840.113549.1.9.7"), d.set_of(d.utf8("secret"))) + \
        d.seq(d.oid(d.EXTENSION_REQUEST), d.set_of(d.seq(san)))
    client.finalize(ready, d.request(P256, attributes=attributes))
    leaf_of(env, client, ready["url"])


def test_other_subject_parts_are_let_pass(client, env, name, ready):
    subject = [x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Some Company"),
               x509.NameAttribute(NameOID.COMMON_NAME, name)]
    client.finalize(ready, acme.csr([name], subject=subject))
    assert "Some Company" not in leaf_of(env, client, ready["url"]).subject.rfc4514_string(), "nobody proved that"


@pytest.mark.parametrize("version", [1, 2])
def test_csr_with_another_version_is_read(client, env, name, ready, version):
    """Some clients write the version of a certificate."""
    client.finalize(ready, d.request(P256, [name], version=version))
    leaf_of(env, client, ready["url"])


EXTENSIONS = {
    "CA": ((x509.BasicConstraints(True, 0), True), "CA"),
    "must-staple": ((x509.TLSFeature([x509.TLSFeatureType.status_request]), False), "must-staple"),
    "name constraints": ((x509.NameConstraints([x509.DNSName("a.test")], None), True), "2.5.29.30"),
    "policies": ((x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)]), False),
                 "certificatePolicies"),
    "unknown": ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\4\0"), False), "99999"),
}


@pytest.mark.parametrize("what", EXTENSIONS)
def test_surprising_extensions_are_refused(client, name, ready, what):
    extension, part = EXTENSIONS[what]
    r = client.finalize(ready, acme.csr([name], extensions=[extension]), 400)
    assert r.problem == "badCSR", r
    assert part in r.detail or what.split()[0] in r.detail, r


def bad_requests(name):
    other = ec.generate_private_key(ec.SECP256R1())
    good = d.request(P256, [name])
    return {
        "empty": b"",
        "text": b"hello",
        "a PEM": b"-----BEGIN CERTIFICATE REQUEST-----",
        "truncated": good[:-1],
        "more behind it": good + b"\0",
        "indefinite length": b"\x30\x80" + good[4:] + b"\0\0",
        "long form of a short length": b"\x30\x83\x00" + good[2:4] + good[4:] if good[1] == 0x82 else b"\x30\x82\x00" + good[2:],
        "signature of another key": d.request(P256, [name], signature=other.sign(b"x", ec.ECDSA(hashes.SHA256()))),
        "no signature": d.request(P256, [name], signature=b""),
        "flipped bit": good[:60] + bytes([good[60] ^ 1]) + good[61:],
        "sha1": d.request(P256, [name], algorithm=d.seq(d.oid("1.2.840.10045.4.1"))),
        "md5 with rsa": d.request(P256, [name], algorithm=d.seq(d.oid("1.2.840.113549.1.1.4"), b"\5\0")),
        "unknown algorithm": d.request(P256, [name], algorithm=d.seq(d.oid("1.2.3.4"))),
        "point not on the curve": d.request(P256, [name], spki=d.seq(
            d.seq(d.oid("1.2.840.10045.2.1"), d.oid("1.2.840.10045.3.1.7")), d.bits(b"\4" + b"\5" * 64))),
        "no key": d.request(P256, [name], spki=d.seq()),
        "two SANs": d.request(P256, [name], extensions=[d.extension(d.SUBJECT_ALT_NAME, d.seq(d.dns_name(name)))]),
        "empty SAN": d.request(P256, extensions=[d.extension(d.SUBJECT_ALT_NAME, d.seq())]),
        "SAN with NUL": d.request(P256, [d.dns_name(name.encode() + b"\0.evil.test")]),
        "SAN in UTF-8": d.request(P256, [d.dns_name("bücher.test")]),
        "SAN with a blank": d.request(P256, [name, " " + name]),
        "SAN e-mail": d.request(P256, [name, d.tlv(0x81, b"a@b.test")]),
        "SAN URI": d.request(P256, [name, d.tlv(0x86, b"https://a.test/")]),
        "SAN other name": d.request(P256, [name, d.tlv(0xa0, d.oid("1.2.3"), d.tlv(0xa0, d.utf8("x")))]),
        "SAN address of three bytes": d.request(P256, [name, d.tlv(0x87, b"\1\2\3")]),
        "two common names": d.request(P256, [name], subject=d.rdn(d.COMMON_NAME, d.utf8(name)) + d.rdn(d.COMMON_NAME, d.utf8(name))),
        "common name with NUL": d.request(P256, [name], subject=d.rdn(d.COMMON_NAME, d.utf8(name + "\0.evil.test"))),
        "broken extension": d.request(P256, [name], extensions=[d.seq(d.oid("2.5.29.15"))]),
        "broken constraints": d.request(P256, [name], extensions=[d.extension("2.5.29.19", b"\1\2\3")]),
        "very long": d.request(P256, [name], attributes=d.seq(d.oid("1.2.3"), d.set_of(d.octets(b"x" * 30000)))),
    }


@pytest.mark.parametrize("what", bad_requests("a.test"))
def test_bad_csrs(client, name, ready, what):
    r = client.finalize(ready, bad_requests(name)[what], None)
    assert r.status == 400 and r.problem in ("badCSR",) + (("malformed",) if what == "empty" else ()), r
    assert client.read(ready["url"]).json["status"] == "ready"


def test_request_and_refusal_are_in_the_audit_trail(client, name, ready, db):
    r = client.finalize(ready, acme.csr(["other.test"]), 400)
    request_id = r.json["instance"].rsplit(":", 1)[1]
    row = db.row("SELECT event, account_id, detail FROM event WHERE request_id = %s", request_id)
    assert row["event"] == "refused" and row["account_id"] == client.kid.rsplit("/", 1)[1] and "badCSR" in row["detail"]


# ---- the certificate that comes of it ----

def test_certificate_contents(client, env, name):
    key = ec.generate_private_key(ec.SECP256R1())
    _, _, chain = env.issue(client, [name, "127.0.0.1"], key)
    leaf = acme.pem_certificates(chain)[0]
    get = leaf.extensions.get_extension_for_class
    assert leaf.version == x509.Version.v3 and 64 <= leaf.serial_number.bit_length() <= 159
    san = get(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    assert get(x509.BasicConstraints).value.ca is False
    assert get(x509.KeyUsage).critical and get(x509.KeyUsage).value.digital_signature
    assert ExtendedKeyUsageOID.SERVER_AUTH in get(x509.ExtendedKeyUsage).value
    assert get(x509.AuthorityKeyIdentifier) and get(x509.SubjectKeyIdentifier)
    life = leaf.not_valid_after - leaf.not_valid_before
    assert datetime.timedelta(days=89) < life <= datetime.timedelta(days=90, hours=1)
    now = datetime.datetime.utcnow()
    assert leaf.not_valid_before <= now < leaf.not_valid_after


def test_serials_are_random(client, env):
    serials = [acme.pem_certificates(env.issue(client, [env.name()])[2])[0].serial_number for _ in range(4)]
    assert len(set(serials)) == 4 and len({s >> 100 for s in serials}) == 4


def test_lifetime_is_the_profiles(client, env, name):
    leaf = acme.pem_certificates(env.issue(client, [name], profile="brief")[2])[0]
    assert leaf.not_valid_after - datetime.datetime.utcnow() <= datetime.timedelta(hours=1)

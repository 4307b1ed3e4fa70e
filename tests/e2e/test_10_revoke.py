# SPDX-License-Identifier: Apache-2.0
"""revoke-cert (RFC 8555 7.6) in its three ways, and the CRL."""
import re
import subprocess

import pytest
from cryptography import x509

import acme
from harness import HOST


def leaf_of(chain):
    return acme.pem_certificates(chain)[0]


@pytest.fixture
def issued(client, env, name):
    """(certificate, its key) of the account `client`."""
    key = acme.Key()
    return leaf_of(env.issue(client, [name], key)[2]), key


def crl_of(env, gateways, tmp_path, which=0):
    """The CRL as openssl reads it, signature checked against the issuing CA: {serial: reason or None}."""
    r = env.transport(gateways[which]).request("GET", f"https://{HOST}/crl/house.crl")
    assert r.status == 200 and r.header("content-type") == "application/pkix-crl", r
    path = tmp_path / "house.crl"
    path.write_bytes(r.body)
    done = subprocess.run(["openssl", "crl", "-inform", "DER", "-in", path, "-noout", "-text", "-CAfile",
                           env.dir / "ca" / "issuing.pem"], text=True, capture_output=True)
    assert "verify OK" in done.stderr and done.returncode == 0, done.stderr
    crl = x509.load_der_x509_crl(r.body)
    listed = {}
    for entry in crl:
        try:
            reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.name
        except x509.ExtensionNotFound:
            reason = None
        listed[entry.serial_number] = reason
    assert len(re.findall("Serial Number:", done.stdout)) == len(listed)
    return crl, listed


def test_by_the_account(client, issued, env, gateways, tmp_path):
    cert, _ = issued
    r = client.revoke(cert)
    assert r.status == 200 and r.body == b""
    assert cert.serial_number in crl_of(env, gateways, tmp_path)[1]


def test_by_the_certificates_key(client, issued, env, gateways, tmp_path):
    cert, key = issued
    client.revoke(cert, key=key)
    assert cert.serial_number in crl_of(env, gateways, tmp_path, 1)[1]


def test_by_the_certificates_key_of_a_client_without_account(new_client, issued):
    cert, key = issued
    new_client(register=False).revoke(cert, key=key)


@pytest.mark.parametrize("alg", ["RS256", "ES384"])
def test_by_a_certificates_key_of_another_type(client, env, name, alg):
    key = acme.Key(alg)
    cert = leaf_of(env.issue(client, [name], key)[2])
    client.revoke(cert, key=key)


def test_by_another_account_that_holds_all_authorizations(client, new_client, env, name):
    other_name = env.name()
    cert = leaf_of(env.issue(client, [name, f"*.{other_name}"])[2])
    other = new_client()
    assert other.revoke(cert, status=403).problem == "unauthorized"
    env.ready_order(other, [name])
    assert other.revoke(cert, status=403).problem == "unauthorized", "one name of two is not enough"
    env.ready_order(other, [other_name])
    assert other.revoke(cert, status=403).problem == "unauthorized", "the base name is not the wildcard"
    env.ready_order(other, [f"*.{other_name}"])
    assert other.revoke(cert).status == 200


def test_authorizations_that_are_over_do_not_count(client, new_client, issued, env, name):
    other = new_client()
    _, order = env.ready_order(other, [name])
    other.want(200, order["authorizations"][0], {"status": "deactivated"})
    r = other.revoke(issued[0], status=403)
    assert r.problem == "unauthorized" and "authorizations" in r.detail


def test_by_a_stranger(client, new_client, issued, db):
    cert, _ = issued
    r = new_client().revoke(cert, status=403)
    assert r.problem == "unauthorized"
    r = client.revoke(cert, key=acme.Key(), status=403)
    assert r.problem == "unauthorized" and "key" in r.detail
    assert db.one("SELECT revoke_state FROM certificate WHERE ltrim(serial, '0') = %s", f"{cert.serial_number:X}") is None


@pytest.mark.parametrize("reason, name_of", [(0, None), (1, "key_compromise"), (3, "affiliation_changed"), (4, "superseded"),
                                             (5, "cessation_of_operation"), (9, "privilege_withdrawn")])
def test_reasons(client, issued, env, gateways, tmp_path, reason, name_of):
    cert, _ = issued
    client.revoke(cert, reason)
    listed = crl_of(env, gateways, tmp_path)[1]
    assert listed[cert.serial_number] == name_of


@pytest.mark.parametrize("reason", [2, 6, 7, 8, 10, 11, -1, 1000, "keyCompromise", 1.5, None, [], True])
def test_reasons_that_are_not_allowed(client, issued, reason):
    r = client.revoke(issued[0], reason, status=400)
    assert r.problem == "badRevocationReason" and "keyCompromise" in r.detail


def test_already_revoked(client, issued):
    cert, key = issued
    client.revoke(cert)
    for how in ({}, {"reason": 4}, {"key": key}):
        r = client.revoke(cert, status=400, **how)
        assert r.problem == "alreadyRevoked"


def test_the_key_itself_may_raise_the_reason_to_key_compromise(client, issued, env, gateways, tmp_path, name):
    """design.md section 4: and then nobody may use that key any more."""
    cert, key = issued
    client.revoke(cert, 4)
    assert client.revoke(cert, 1, status=400).problem == "alreadyRevoked", "the account alone may not"
    client.revoke(cert, 1, key=key)
    assert crl_of(env, gateways, tmp_path)[1][cert.serial_number] == "key_compromise"
    assert client.revoke(cert, 1, key=key, status=400).problem == "alreadyRevoked"


def test_a_compromised_key_is_blocked(client, new_client, issued, env, name):
    cert, key = issued
    _, ready = env.ready_order(client, [name])
    client.revoke(cert, 1, key=key)
    r = client.finalize(ready, acme.csr([name], key), 400)
    assert r.problem == "badCSR" and "compromised" in r.detail
    r = new_client(key=key, register=False).new_account(400)
    assert r.problem == "badPublicKey" and "compromised" in r.detail
    assert client.key_change(key).problem == "badPublicKey"


def test_the_account_alone_does_not_block_a_key(client, issued, env, name):
    """It may not hold the key: it could block a stranger's."""
    cert, key = issued
    client.revoke(cert, 1)
    env.issue(client, [name], key)


def test_revoked_certificate_is_not_joined(client, env, name):
    key = acme.Key()
    der = acme.csr([name], key)
    first = leaf_of(env.issue(client, [name], csr=der)[2])
    client.revoke(first)
    second = leaf_of(env.issue(client, [name], csr=der)[2])
    assert first.serial_number != second.serial_number


@pytest.mark.parametrize("payload", [{}, {"certificate": 7}, {"certificate": "!"}, {"certificate": "AAA="}, {"certificate": None}])
def test_payload_of_wrong_form_is_malformed(client, payload):
    r = client.post(client.directory["revokeCert"], payload)
    assert r.status == 400 and r.problem == "malformed" and "certificate" in r.detail


def test_certificates_of_other_cas_are_not_known(client, env, issued):
    cert, _ = issued
    der = acme.certificate_der(cert)
    for other in (der[:-1] + bytes([der[-1] ^ 1]), b"x", der + b"\0",
                  acme.certificate_der(x509.load_pem_x509_certificate(env.root.read_bytes()))):
        r = client.revoke(other, status=404)
        assert r.is_problem


def test_certificate_of_another_directory_is_not_known(client, new_client, issued):
    cert, key = issued
    assert new_client("second").revoke(cert, status=404).is_problem
    assert new_client("second").revoke(cert, key=key, status=404).is_problem


def test_after_the_accounts_deactivation_its_key_still_revokes(client, issued):
    cert, key = issued
    client.want(200, client.kid, {"status": "deactivated"})
    assert client.revoke(cert, status=403).problem == "unauthorized"
    client.revoke(cert, key=key)


def test_two_revocations_at_once_are_one(client, env, gateways, issued, db):
    import threading
    cert, _ = issued
    answers = []
    clones = [client.clone(transport=env.transport(g)) for g in gateways]
    threads = [threading.Thread(target=lambda c=c: answers.append(c.revoke(cert, status=None))) for c in clones for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(r.status == 200 or r.problem == "alreadyRevoked" for r in answers), answers
    assert any(r.status == 200 for r in answers)
    serial = f"{cert.serial_number:X}"
    ident = db.one("SELECT id FROM certificate WHERE ltrim(serial, '0') = %s", serial)
    assert db.one("SELECT count(*) FROM event WHERE object_id = %s AND event = 'revoked'", ident) == 1


# ---- the CRL ----

def test_crl(env, gateways, tmp_path, client, issued):
    first, _ = crl_of(env, gateways, tmp_path)
    number = first.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert first.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert first.next_update > first.last_update
    client.revoke(issued[0])
    second, listed = crl_of(env, gateways, tmp_path)
    assert second.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > number
    assert issued[0].serial_number in listed


def test_openssl_refuses_a_revoked_certificate(env, gateways, tmp_path, client, name):
    chain = env.issue(client, [name])[2]
    leaf, *rest = acme.pem_certificates(chain)
    pem = acme.serialization.Encoding.PEM
    (tmp_path / "leaf").write_bytes(leaf.public_bytes(pem))
    (tmp_path / "rest").write_bytes(b"".join(c.public_bytes(pem) for c in rest))

    def verify():
        crl = crl_of(env, gateways, tmp_path)[0]
        (tmp_path / "crl").write_bytes(crl.public_bytes(pem))
        return subprocess.run(["openssl", "verify", "-crl_check", "-CAfile", env.root, "-untrusted", tmp_path / "rest",
                               "-CRLfile", tmp_path / "crl", tmp_path / "leaf"], capture_output=True, text=True)
    assert verify().returncode == 0
    client.revoke(leaf)
    done = verify()
    assert done.returncode != 0 and "revoked" in done.stdout + done.stderr


@pytest.mark.parametrize("path", ["/crl/nothing.crl", "/crl/house", "/crl/.crl", "/crl/", "/crl/house.crl/x", "/crl/house%00.crl"])
def test_other_crls_are_not_there(shared, path):
    assert shared.transport.request("GET", f"https://{HOST}{path}").status == (400 if "%00" in path else 404)


def test_certificates_name_their_crl_where_it_is_served(env, issued, shared):
    cert, _ = issued
    try:
        points = cert.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return
    for point in points:
        for where in point.full_name:
            assert where.value.endswith("/crl/house.crl")

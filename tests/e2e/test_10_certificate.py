# SPDX-License-Identifier: Apache-2.0
"""certificate (RFC 8555 7.4.2)."""
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import acme

PEM, DER = "application/pem-certificate-chain", "application/pkix-cert"


@pytest.fixture(scope="module")
def issued(env, gateways):
    """(client, order, chain) for tests that only read."""
    c = env.client(*gateways)
    _, order, chain = env.issue(c, [env.name()])
    return c, order, chain


def test_chain(issued, env, tmp_path):
    """Leaf, then each issuer, without the root; openssl builds a path to the root."""
    c, order, chain = issued
    certs = acme.pem_certificates(chain)
    assert len(certs) >= 2
    for lower, upper in zip(certs, certs[1:]):
        assert lower.issuer == upper.subject
    root = x509.load_pem_x509_certificate(env.root.read_bytes())
    assert certs[-1].issuer == root.subject and root not in certs
    (tmp_path / "leaf").write_bytes(certs[0].public_bytes(serialization.Encoding.PEM))
    (tmp_path / "chain").write_text(chain)
    subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", env.root, "-untrusted", tmp_path / "chain", "-purpose",
                    "sslserver", tmp_path / "leaf"], check=True, stdout=subprocess.DEVNULL)


def test_headers(issued):
    c, order, _ = issued
    r = c.read(order["certificate"])
    assert r.header("content-type") == PEM
    assert r.links("index") and all(a.startswith(order["certificate"] + "/") for a in r.links("alternate"))


def test_every_alternate_is_served(issued):
    c, order, chain = issued
    leaf = acme.pem_certificates(chain)[0]
    for url in c.read(order["certificate"]).links("alternate"):
        r = c.read(url)
        assert acme.pem_certificates(r.body)[0] == leaf and r.body.decode() != chain
        assert order["certificate"] in r.links("alternate")


@pytest.mark.parametrize("accept", [PEM, "*/*", "application/*", f"text/html, {PEM};q=0.9", PEM.upper(), None])
def test_pem_is_served(issued, accept):
    c, order, chain = issued
    r = c.read(order["certificate"], headers={"Accept": accept} if accept else {})
    assert r.header("content-type") == PEM and r.body.decode() == chain


@pytest.mark.parametrize("accept", [DER, f"{DER}, {PEM}", DER + ";q=0.5"])
def test_der_is_served_on_request(issued, accept):
    c, order, chain = issued
    r = c.read(order["certificate"], headers={"Accept": accept})
    assert r.header("content-type") == DER
    assert x509.load_der_x509_certificate(r.body) == acme.pem_certificates(chain)[0]
    assert r.links("up"), "the issuer is linked to"


@pytest.mark.parametrize("accept", ["text/html", "application/json", "image/png", f"{PEM};q=0"])
def test_other_types_are_406(issued, accept):
    c, order, _ = issued
    r = c.post(order["certificate"], headers={"Accept": accept})
    assert r.status == 406 and r.is_problem and PEM in r.detail


@pytest.mark.parametrize("chain", ["99", "-1", "x", "1x", "00000000001", "18446744073709551616"])
def test_unknown_chains_are_404(issued, chain):
    c, order, _ = issued
    assert c.post(f"{order['certificate']}/{chain}").status == 404


def test_certificate_is_the_same_at_both_gateways(issued, env, gateways):
    c, order, chain = issued
    for g in gateways:
        assert c.clone(transport=env.transport(g)).read(order["certificate"]).body.decode() == chain


def test_what_is_served_is_what_was_stored(issued, db):
    c, order, chain = issued
    row = db.row("SELECT * FROM certificate WHERE id = %s", order["certificate"].rsplit("/", 1)[1])
    leaf = acme.pem_certificates(chain)[0]
    assert bytes(row["der"]) == acme.certificate_der(leaf) and row["chains"][0] == chain
    assert int(row["serial"], 16) == leaf.serial_number
    assert row["account_id"] == c.kid.rsplit("/", 1)[1] and row["backend"] == "house"

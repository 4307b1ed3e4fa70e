# SPDX-License-Identifier: Apache-2.0
"""lego, with the commands of deploy/clients/lego.md."""
import json
import shutil
from urllib.parse import urlsplit

import pytest

import kit

CLIENT = "lego"
KINDS = ["rsa2048", "rsa4096", "p256", "p384", "rsa8192"]
SLOW = pytest.param("rsa8192", marks=pytest.mark.long)


def leaf(page, name, **promised):
    place = page.work / "lego" / "certificates"
    return page.world.certificate(place / f"{name}.crt", place / f"{name}.key", **promised)


@pytest.mark.case("http-01")
def test_http01(page):
    out = page.run("http-01")
    assert "Registering account" in out
    leaf(page, "app.localhost", names=["app.localhost"], kind="p256")


@pytest.mark.case("dns-01")
def test_dns01(page):
    page.run("dns-01")
    leaf(page, "api.corp.example", names=["api.corp.example"])
    assert page.world.dns.asked("_acme-challenge.api.corp.example", "TXT")
    assert ("_acme-challenge.api.corp.example", kit.TXT) not in page.world.dns.records, "the record is not cleaned up"


@pytest.mark.case("multi-SAN")
def test_multi_san(page):
    page.run("multi-san")
    leaf(page, "shop.localhost", names=["shop.localhost", "www.shop.localhost", "static.shop.localhost"])


@pytest.mark.case("wildcard")
def test_wildcard(page):
    page.run("wildcard")
    leaf(page, "_.corp.example", names=["corp.example", "*.corp.example"])


@pytest.mark.case("IP address")
def test_ip(page, result):
    assert "an address is an identifier of type \"ip\"" in page.run("ip", ok=False)
    result("cannot: asks for a DNS name")


@pytest.mark.case("key {kind}")
@pytest.mark.parametrize("kind", KINDS[:-1] + [SLOW])
def test_keys(page, kind):
    page.run("keys", line=KINDS.index(kind))
    leaf(page, f"{kind}.localhost", names=[f"{kind}.localhost"], kind=kind)


@pytest.mark.case("a CSR of one's own")
def test_csr(page):
    page.run("csr")
    place = page.work / "lego" / "certificates"
    page.world.certificate(place / "own.localhost.crt", page.work / "own.key", names=["own.localhost"], kind="p256")


@pytest.mark.case("external account binding")
def test_eab(page, world):
    page.run("eab-add")
    eab = world.operator("eab", "add", "lego", "--directory", "bound")
    shell = page.blocks["eab"]
    without = shell.replace('--eab --kid "$KID" --hmac "$HMAC_KEY" ', "").replace("team@", "stranger@")
    stranger = page.shell(without, ok=False)
    assert "requires External Account Binding" in stranger, stranger
    page.variables.update(KID=eab["kid"], HMAC_KEY=eab["hmac_key"])
    page.run("eab")
    leaf(page, "team.localhost", names=["team.localhost"])
    listed = {e["name"]: e for e in world.operator("eab", "list")}
    assert listed["lego"]["accounts"] == 1
    world.operator("eab", "disable", "lego")
    after = page.shell(shell.replace("team.localhost run", "more.localhost run"), ok=False)
    assert "unauthorized" in after, after


@pytest.mark.case("renew, new key")
def test_renew_new_key(page):
    page.run("http-01")
    before = leaf(page, "app.localhost")
    page.run("renew-new-key")
    after = leaf(page, "app.localhost", names=["app.localhost"], kind="p256")
    assert before.serial_number != after.serial_number and kit.public_of(before) != kit.public_of(after)


@pytest.mark.case("renew, same key")
def test_renew_same_key(page):
    page.run("http-01")
    before = leaf(page, "app.localhost")
    page.run("renew-same-key")
    after = leaf(page, "app.localhost", names=["app.localhost"], kind="p256")
    assert before.serial_number != after.serial_number and kit.public_of(before) == kit.public_of(after)


@pytest.mark.case("renew, same RSA key: same request")
def test_renew_same_rsa_key(page):
    """The page says: one request, one certificate."""
    page.run("keys", line=KINDS.index("rsa2048"))
    before = leaf(page, "rsa2048.localhost")
    page.shell(page.blocks["renew-same-key"].replace("app.localhost", "rsa2048.localhost --key-type rsa2048"))
    assert leaf(page, "rsa2048.localhost", kind="rsa2048").serial_number == before.serial_number


@pytest.mark.case("revoke by account key")
def test_revoke(page, world):
    page.run("http-01")
    certificate = leaf(page, "app.localhost")
    world.not_revoked(certificate)
    page.run("revoke")
    world.revoked(certificate, "superseded")


@pytest.mark.case("account at both gateways")
def test_both_gateways(page, world):
    """What the first gateway made, the second one goes on with; lego keeps accounts by the directory's host."""
    page.run("http-01")
    first, second = [urlsplit(d).netloc.replace(":", "_") for d in world.directories]
    accounts = page.work / "lego" / "accounts"
    shutil.copytree(accounts / first, accounts / second)
    account = accounts / second / "me@example.com" / "account.json"
    kid = json.loads(account.read_text())["registration"]["uri"].rsplit("/", 1)[1]
    at_second = f"PORTICO_DIRECTORY={world.directories[1]}\n"
    out = page.shell(at_second + page.blocks["http-01"].replace("app.", "both."))
    assert "Registering account" not in out
    certificate = leaf(page, "both.localhost", names=["both.localhost"])
    assert any("new-order status=201" in line and kid in line for line in world.log(2).splitlines())
    page.shell(page.blocks["revoke"].replace("app.", "both.").replace("4", "0"))
    world.revoked(certificate, None)


@pytest.mark.case("a refusal that says why")
def test_refusal(page):
    page.world.dns.txt("_acme-challenge.wrong.corp.example", "something-else")
    out = page.run("wrong", ok=False)
    assert "something-else" in out and "_acme-challenge.wrong.corp.example" in out

# SPDX-License-Identifier: Apache-2.0
"""certbot, with the commands of deploy/clients/certbot.md."""
import contextlib
import http.server
import json
import shutil
import threading
from urllib.parse import urlsplit

import josepy
import pytest
from acme import messages

import kit
import pyacme

CLIENT = "certbot"


def files(page, name):
    live = page.work / "certbot" / "live" / name
    return live / "fullchain.pem", live / "privkey.pem"


def leaf(page, name, **promised):
    return page.world.certificate(*files(page, name), **promised)


@pytest.mark.case("http-01")
def test_http01(page):
    out = page.run("http-01")
    assert "Account registered." in out
    leaf(page, "www.localhost", names=["www.localhost"], kind="p256")


@pytest.mark.case("http-01 by webroot")
def test_webroot(page):
    with webroot(page):
        page.run("webroot")
    leaf(page, "docs.localhost", names=["docs.localhost"])


@contextlib.contextmanager
def webroot(page):
    place = page.work / "webroot"
    place.mkdir(exist_ok=True)

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(place))

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", page.world.http_port), Files)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


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
    leaf(page, "corp.example", names=["corp.example", "*.corp.example"])


@pytest.mark.case("IP address")
def test_ip(page, result):
    assert "127.0.0.1 is an IP address" in page.run("ip", ok=False)
    result("cannot: certbot refuses before it asks")


@pytest.mark.case("key {kind}")
@pytest.mark.parametrize("kind", ["rsa2048", "rsa4096", "p256", "p384"])
def test_keys(page, kind):
    page.run("keys", line=["rsa2048", "rsa4096", "p256", "p384"].index(kind))
    leaf(page, kind, names=["keys.localhost"], kind=kind)


@pytest.mark.case("external account binding")
def test_eab(page, world):
    page.run("eab-add")
    eab = world.operator("eab", "add", "certbot", "--directory", "bound")
    stranger = page.shell(page.blocks["eab"].split("\\\n")[0] + "\n", ok=False)
    assert "requires external account binding" in stranger.lower(), stranger
    page.variables.update(KID=eab["kid"], HMAC_KEY=eab["hmac_key"])
    page.run("eab")
    leaf(page, "team.localhost", names=["team.localhost"])
    listed = {e["name"]: e for e in world.operator("eab", "list")}
    assert listed["certbot"]["accounts"] == 1


@pytest.mark.case("renew, new key")
def test_renew_new_key(page):
    page.run("http-01")
    before = leaf(page, "www.localhost")
    page.run("renew-new-key")
    after = leaf(page, "www.localhost", names=["www.localhost"], kind="p256")
    assert before.serial_number != after.serial_number and kit.public_of(before) != kit.public_of(after)


@pytest.mark.case("renew, same key")
def test_renew_same_key(page):
    page.run("renew-same-key", line=0)
    before = leaf(page, "static.localhost")
    page.run("renew-same-key", line=1)
    after = leaf(page, "static.localhost", names=["static.localhost"])
    assert before.serial_number != after.serial_number and kit.public_of(before) == kit.public_of(after)


@pytest.mark.case("renew, same RSA key: same request")
def test_renew_same_rsa_key(page, world):
    """The page says: one request, one certificate."""
    command = "certbot -c cli.ini certonly -n --standalone -d same.localhost --key-type rsa --reuse-key"
    page.shell(command + "\n")
    before = leaf(page, "same.localhost", kind="rsa2048")
    page.shell(command + " --force-renewal\n")
    after = leaf(page, "same.localhost", kind="rsa2048")
    assert before.serial_number == after.serial_number


@pytest.mark.case("revoke by account key")
def test_revoke_by_account(page, world):
    page.run("http-01")
    certificate = leaf(page, "www.localhost")
    world.not_revoked(certificate)
    page.run("revoke-account")
    world.revoked(certificate, "superseded")


@pytest.mark.case("revoke by certificate key")
def test_revoke_by_key(page, world):
    page.run("renew-same-key", line=0)
    certificate = leaf(page, "static.localhost")
    world.not_revoked(certificate)
    page.run("revoke-key")
    world.revoked(certificate, "keyCompromise")
    again = page.shell("certbot -c cli.ini renew -n --no-random-sleep-on-renew --force-renewal "
                       "--cert-name static.localhost\n", ok=False)
    assert "compromised" in again, again


@pytest.mark.case("account at both gateways")
def test_both_gateways(page, world):
    """What the first gateway made, the second one goes on with; certbot keeps accounts by the directory's URL."""
    page.run("http-01")
    first, second = [urlsplit(d).netloc for d in world.directories]
    accounts = page.work / "certbot" / "accounts"
    shutil.copytree(accounts / first, accounts / second)
    out = page.shell(f"certbot -c cli.ini certonly -n --standalone -d both.localhost --server {world.directories[1]}\n")
    assert "Account registered" not in out
    certificate = leaf(page, "both.localhost", names=["both.localhost"])
    assert "path=/acme/default/new-order status=201" in world.log(2)
    page.shell(f"certbot -c cli.ini revoke -n --cert-name both.localhost --server {world.directory} "
               "--no-delete-after-revoke\n")
    world.revoked(certificate, None)


@pytest.mark.case("a refusal that says why")
def test_refusal(page):
    out = page.run("wrong", ok=False)
    assert "something-else" in out and "_acme-challenge.wrong.corp.example" in out


@pytest.mark.case("account update")
def test_update(page, world):
    page.run("http-01")
    page.run("update")
    account = the_account(page)
    assert account.query_registration(account.net.account).body.contact == ("mailto:new@example.com",)


@pytest.mark.case("account deactivation")
def test_unregister(page, world):
    page.run("http-01")
    account = the_account(page)
    page.run("unregister")
    with pytest.raises(messages.Error) as caught:
        account._post_as_get(account.uri)
    assert caught.value.code == "unauthorized" and "deactivated" in caught.value.detail


def the_account(page):
    """certbot's own account, with the key that it keeps."""
    place = page.work / "certbot" / "accounts" / page.world.directory.split("://")[1]
    key = josepy.JWK.from_json(json.loads(next(place.rglob("private_key.json")).read_text()))
    uri = json.loads(next(place.rglob("regr.json")).read_text())["uri"]
    account = pyacme.Account(page.world, "rsa2048", key=key.key._wrapped)
    account.net.account = messages.RegistrationResource(uri=uri, body=messages.Registration())
    return account

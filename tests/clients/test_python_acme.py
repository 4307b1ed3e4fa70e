# SPDX-License-Identifier: Apache-2.0
"""python3-acme, the library below certbot."""
import ipaddress
import socket

import josepy
import OpenSSL
import pytest
from acme import errors, messages

import kit
import pyacme

CLIENT = "python-acme"


@pytest.fixture(scope="module")
def work(world):
    place = world.dir / "python-acme"
    place.mkdir()
    return place


@pytest.fixture(scope="module")
def account(world):
    return pyacme.Account(world).register()


def comparable(path):
    return josepy.ComparableX509(OpenSSL.crypto.load_certificate(OpenSSL.crypto.FILETYPE_PEM, path.read_bytes()))


def refused(call, problem):
    with pytest.raises(messages.Error) as caught:
        call()
    assert caught.value.code == problem, caught.value
    assert caught.value.detail
    return caught.value


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.case("http-01")
def test_http01(world, account, work):
    key = pyacme.new_key("p256")
    account.issue(work / "http.pem", ["www.localhost"], key=key)
    leaf = world.certificate(work / "http.pem", names=["www.localhost"], kind="p256")
    assert kit.public_of(leaf) == kit.public_bytes(key.public_key())


@pytest.mark.case("dns-01")
def test_dns01(world, account, work):
    account.issue(work / "dns.pem", ["py.corp.example"], kind="dns-01")
    world.certificate(work / "dns.pem", names=["py.corp.example"])


@pytest.mark.case("multi-SAN")
def test_multi_san(world, account, work):
    names = [f"n{i}.san.localhost" for i in range(20)]
    account.issue(work / "san.pem", names)
    world.certificate(work / "san.pem", names=names)


@pytest.mark.case("wildcard")
def test_wildcard(world, account, work):
    names = ["py-wild.corp.example", "*.py-wild.corp.example"]
    account.issue(work / "wild.pem", names, kind="dns-01")
    world.certificate(work / "wild.pem", names=names)


@pytest.mark.case("IPv4 address")
def test_ipv4(world, account, work):
    account.issue(work / "ip4.pem", [], [ipaddress.ip_address("127.0.0.1")])
    world.certificate(work / "ip4.pem", names=["127.0.0.1"])


@pytest.mark.case("IPv6 address, with a name")
def test_ipv6(world, account, work):
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    world.dns.set("v6.localhost", "AAAA", "::1")
    account.issue(work / "ip6.pem", ["v6.localhost"], [ipaddress.ip_address("::1")])
    world.certificate(work / "ip6.pem", names=["::1", "v6.localhost"])


@pytest.mark.case("key {kind}")
@pytest.mark.parametrize("kind", ["rsa2048", "rsa4096", "p256", "p384"])
def test_keys(world, account, work, kind):
    key = pyacme.new_key(kind)
    account.issue(work / f"{kind}.pem", ["keys.localhost"], key=key)
    leaf = world.certificate(work / f"{kind}.pem", names=["keys.localhost"], kind=kind)
    assert kit.public_of(leaf) == kit.public_bytes(key.public_key())


@pytest.mark.case("account key {kind}")
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
def test_account_keys(world, work, kind):
    account = pyacme.Account(world, kind).register()
    account.issue(work / "account.pem", [f"account-{kind}.localhost"])
    world.certificate(work / "account.pem", names=[f"account-{kind}.localhost"])


@pytest.mark.case("external account binding")
def test_eab(world, work):
    eab = world.operator("eab", "add", "team-py", "--directory", "bound")
    stranger = pyacme.Account(world, directory="bound")
    refused(stranger.register, "externalAccountRequired")
    forged = dict(eab, hmac_key=eab["hmac_key"][::-1])
    refused(lambda: stranger.register(forged), "unauthorized")
    account = pyacme.Account(world, directory="bound").register(eab)
    account.issue(work / "eab.pem", ["py-team.localhost"])
    world.certificate(work / "eab.pem", names=["py-team.localhost"])


@pytest.mark.case("renew, new key")
def test_renew_new_key(world, account, work):
    account.issue(work / "renew.pem", ["renew.localhost"])
    first = world.certificate(work / "renew.pem")
    order = account.issue(work / "renew.pem", ["renew.localhost"])
    second = world.certificate(work / "renew.pem")
    assert first.serial_number != second.serial_number and kit.public_of(first) != kit.public_of(second)
    assert [a.body.status for a in order.authorizations] == [messages.STATUS_VALID]


@pytest.mark.case("renew, same key")
def test_renew_same_key(world, account, work):
    """Signatures of ECDSA differ each time, so these are two requests; with RSA it is the same one again."""
    for kind, same in (("p256", False), ("rsa2048", True)):
        key = pyacme.new_key(kind)
        serials = set()
        for _ in range(2):
            account.issue(work / "same.pem", ["same.localhost"], key=key)
            leaf = world.certificate(work / "same.pem", kind=kind)
            assert kit.public_of(leaf) == kit.public_bytes(key.public_key())
            serials.add(leaf.serial_number)
        assert (len(serials) == 1) == same, kind


@pytest.mark.case("revoke by account key")
def test_revoke_by_account(world, account, work):
    account.issue(work / "revoke.pem", ["revoke.localhost"])
    leaf = world.certificate(work / "revoke.pem")
    world.not_revoked(leaf)
    account.revoke(comparable(work / "revoke.pem"), 4)
    world.revoked(leaf, "superseded")
    refused(lambda: account.revoke(comparable(work / "revoke.pem"), 4), "alreadyRevoked")


@pytest.mark.case("revoke by certificate key")
def test_revoke_by_key(world, account, work):
    key = pyacme.new_key("rsa2048")
    account.issue(work / "key.pem", ["revoke-key.localhost"], key=key)
    leaf = world.certificate(work / "key.pem")
    other = pyacme.Account(world, "rsa2048")  # no account: the wrong key first, then the right one
    refused(lambda: other.revoke(comparable(work / "key.pem"), 1), "unauthorized")
    world.not_revoked(leaf)
    holder = pyacme.Account(world, "rsa2048", key=key)
    holder.revoke(comparable(work / "key.pem"), 1)
    world.revoked(leaf, "keyCompromise")
    again = pyacme.crypto_util.make_csr(pyacme.pem(key), ["revoke-key.localhost"])
    order = account.solve(account.new_order(again), "http-01")
    refused(lambda: account.finalize_order(order, pyacme.soon()), "badCSR")


@pytest.mark.case("account update")
def test_update(account):
    changed = account.net.account.body.update(contact=("mailto:new@example.com",))
    account.update_registration(account.net.account, changed)
    assert account.query_registration(account.net.account).body.contact == ("mailto:new@example.com",)


@pytest.mark.case("key rollover")
def test_rollover(world, work):
    account = pyacme.Account(world).register()
    uri, old = account.uri, account.private
    account.issue(work / "roll.pem", ["roll.localhost"])
    for kind in ("p384", "rsa2048", "p256"):
        account.roll(kind)
        assert account.query_registration(account.net.account).uri == uri
    account.issue(work / "roll.pem", ["roll.localhost", "after.roll.localhost"])
    world.certificate(work / "roll.pem", names=["roll.localhost", "after.roll.localhost"])
    with pytest.raises(messages.Error) as caught:
        gone = pyacme.Account(world, key=old)
        gone.net.account = account.net.account
        gone._post_as_get(uri)
    assert caught.value.code == "malformed", caught.value  # the signature is not that of the account's key
    used = pyacme.Account(world).register()
    with pytest.raises(errors.ConflictError) as conflict:  # a key that another account has
        url = used.directory["keyChange"]
        payload = pyacme.json.dumps({"account": used.uri, "oldKey": used.net.key.public_key().to_json()}).encode()
        used._post(url, pyacme.Signed(pyacme.jws.JWS.sign(payload, account.net.key, account.net.alg, None, url=url)))
    assert conflict.value.location == uri


@pytest.mark.case("authorization deactivation")
def test_deactivate_authorization(account, work):
    order = account.issue(work / "authz.pem", ["authz.localhost"])
    done = account.deactivate_authorization(order.authorizations[0])
    assert done.body.status == messages.STATUS_DEACTIVATED
    again = account.new_order(order.csr_pem)
    assert [a.body.status for a in again.authorizations] == [messages.STATUS_PENDING]


@pytest.mark.case("account deactivation")
def test_deactivate(world, work):
    account = pyacme.Account(world).register()
    account.issue(work / "gone.pem", ["gone.localhost"])
    account.deactivate_registration(account.net.account)
    refused(lambda: account._post_as_get(account.uri), "unauthorized")
    refused(lambda: account.new_order(pyacme.crypto_util.make_csr(pyacme.pem(pyacme.new_key("p256")), ["gone.localhost"])),
            "unauthorized")
    world.not_revoked(world.certificate(work / "gone.pem"))


@pytest.mark.case("every request at the other gateway")
def test_round_robin(world, work):
    account = pyacme.Account(world, round_robin=True).register()
    before = [len(world.log(g).splitlines()) for g in (1, 2)]
    names = ["robin.corp.example", "*.robin.corp.example"]
    for kind in ("p256", "p384"):
        account.issue(work / "robin.pem", names, kind="dns-01", key=pyacme.new_key(kind))
        leaf = world.certificate(work / "robin.pem", names=names, kind=kind)
    for kind in ("p384", "p256", "p256"):  # each gateway knows the old key
        account.roll(kind)
        for _ in range(6):
            assert account._post_as_get(account.uri).json()["status"] == "valid"
    account.revoke(comparable(work / "robin.pem"), 0)
    world.revoked(leaf, None)
    account.deactivate_registration(account.net.account)
    kid = account.uri.rsplit("/", 1)[1]
    for gateway in (1, 2):
        lines = world.log(gateway).splitlines()[before[gateway - 1]:]
        assert sum("method=POST" in line and f"account={kid}" in line for line in lines) >= 5, f"gateway {gateway}"

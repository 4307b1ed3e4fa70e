# SPDX-License-Identifier: Apache-2.0
"""What every POST passes (RFC 8555 section 6): content type, size, JWS, algorithm, url, key, signature, account."""
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import acme
from acme import UNSET, b64
from harness import HOST

POSTS = ["new-account", "account/x", "account/x/orders", "key-change", "new-order", "order/x", "order/x/finalize",
         "new-authz", "authz/x", "challenge/x/http-01", "cert/x", "cert/x/1", "revoke-cert"]
WITH_KID = [p for p in POSTS if p not in ("new-account", "revoke-cert")]
READ_ONLY = ["account/x/orders", "order/x", "cert/x", "cert/x/1"]


def message(client, payload=None, **changes):
    """A POST-as-GET of the account, with parts of its protected header replaced."""
    head = client.protected(client.kid)
    head.update(changes)
    return acme.jws(client.key, head, payload)


# ---- transport ----

@pytest.mark.parametrize("content_type", [None, "", "application/json", "application/jose", "text/plain",
                                          "application/jose+jsonx", "application/x-www-form-urlencoded"])
def test_other_content_types_are_415(shared, content_type):
    r = shared.send(shared.kid, message(shared), content_type)
    assert r.status == 415 and r.is_problem and "application/jose+json" in r.detail


@pytest.mark.parametrize("content_type", ["application/jose+json", "Application/JOSE+JSON", "application/jose+json; charset=utf-8"])
def test_content_type_is_compared_as_media_type(shared, content_type):
    assert shared.send(shared.kid, message(shared), content_type).status == 200


@pytest.mark.parametrize("size", [66_000, 200_000])
def test_large_bodies_are_413(shared, size):
    r = shared.send(shared.kid, b'{"payload":"' + b"A" * size + b'"}')
    assert r.status == 413


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_post_is_allowed(shared, path, method):
    """RFC 8555 6.3: even reading is a POST."""
    r = shared.transport.request(method, f"{shared.base}/{path}")
    assert r.status == 405 and r.header("allow") == "POST"


@pytest.mark.parametrize("path", ["directory", "new-nonce"])
def test_post_to_a_resource_that_is_read_with_get(shared, path):
    r = shared.post(f"{shared.base}/{path}")
    assert r.status == 405 and "GET" in r.header("allow")


def test_a_get_refusal_names_post_as_get(shared):
    r = shared.get(f"{shared.base}/order/x")
    assert r.status == 405 and r.is_problem and "POST-as-GET" in r.detail


def test_absolute_form_target_is_understood(shared):
    r = shared.transport.request("GET", shared.directory_url, target=shared.directory_url)
    assert r.status == 200 and "newNonce" in r.json


def test_dot_segments_lead_to_the_same_resource(shared):
    r = shared.transport.request("GET", shared.directory_url, target="/acme/x/../default/directory")
    assert r.status == 200


# ---- JWS ----

BODIES = {
    "empty": b"",
    "no JSON": b"hello",
    "array": b"[]",
    "null": b"null",
    "truncated": b'{"protected":"',
    "no members": b"{}",
    "number for protected": b'{"protected":1,"payload":"","signature":"AA"}',
    "padding": b'{"protected":"e30=","payload":"","signature":"AA"}',
    "not base64url": b'{"protected":"e3+/","payload":"","signature":"AA"}',
    "header is no JSON": json.dumps({"protected": b64(b"x"), "payload": "", "signature": "AA"}).encode(),
    "header is an array": json.dumps({"protected": b64(b"[]"), "payload": "", "signature": "AA"}).encode(),
    "duplicate members": b'{"protected":"e30","protected":"e30","payload":"","signature":"AA"}',
    "invalid UTF-8": b'{"protected":"\xff","payload":"","signature":"AA"}',
    "NUL": b'{"protected":"e30","payload":"\\u0000","signature":"AA"}',
    "deep": b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "general form": b'{"payload":"","signatures":[{"protected":"e30","signature":"AA"}]}',
    "compact form": b"e30.e30.AAAA",
}


@pytest.mark.parametrize("what", BODIES)
def test_bodies_that_are_no_jws_are_malformed(shared, what):
    r = shared.send(shared.kid, BODIES[what])
    assert r.status == 400 and r.problem == "malformed", r


def test_unprotected_header_is_malformed(shared):
    for extra in ({"header": {"kid": shared.kid}}, {"signatures": []}):
        r = shared.send(shared.kid, {**message(shared), **extra})
        assert r.status == 400 and r.problem == "malformed"


def test_unknown_members_beside_the_jws_are_ignored(shared):
    assert shared.send(shared.kid, {**message(shared), "comment": "x"}).status == 200


@pytest.mark.parametrize("changes", [{"alg": UNSET}, {"alg": 256}, {"url": UNSET}, {"url": ""}, {"url": 7}, {"kid": UNSET},
                                     {"kid": ""}, {"kid": 3}, {"crit": ["b64"]}, {"b64": False}],
                         ids=lambda c: "-".join(f"{k}={'none' if v is UNSET else v}" for k, v in c.items()))
def test_defects_of_the_protected_header_are_malformed(shared, changes):
    r = shared.send(shared.kid, message(shared, **changes))
    assert r.status == 400 and r.problem == "malformed", r


def test_jwk_and_kid_together_are_malformed(shared):
    r = shared.send(shared.kid, message(shared, jwk=shared.key.jwk()))
    assert r.status == 400 and r.problem == "malformed" and "jwk" in r.detail and "kid" in r.detail


@pytest.mark.parametrize("alg", ["none", "HS256", "ES256K", "RS1", "RS384", "RS512", "PS384", "PS512", "Ed448", "es256", ""])
def test_other_algorithms_are_listed_what_is_accepted(shared, alg):
    r = shared.post(shared.kid, alg=alg)
    assert r.status == 400 and r.problem == "badSignatureAlgorithm" and "ES256" in r.json["algorithms"]


@pytest.mark.parametrize("alg", ["ES384", "ES512", "RS256", "EdDSA"])
def test_algorithm_has_to_fit_the_accounts_key(shared, alg):
    sizes = {"ES384": 96, "ES512": 132, "RS256": 256, "EdDSA": 64}
    r = shared.post(shared.kid, alg=alg, signature=b"\1" * sizes[alg])
    assert r.status == 400 and r.problem == "badSignatureAlgorithm"


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA"])
def test_every_algorithm_is_accepted(new_client, keys, alg):
    c = new_client(key=keys(alg), register=False)
    assert c.new_account(status=None).status in (200, 201)
    assert c.read(c.kid).json["status"] == "valid"
    r = c.post(c.kid, signature=bytes(len(c.key.sign(b"x"))))
    assert r.status in (400, 403) and "signature" in r.detail


def test_es256_signature_in_der_form_is_malformed(shared):
    der = shared.key.private.sign(b"x", ec.ECDSA(acme.hashes.SHA256()))
    r = shared.post(shared.kid, signature=der)
    assert r.status == 400 and r.problem == "malformed"


def test_rsa_key_sizes(new_client, keys, tmp_path):
    for bits, good in ((1024, False), (2047, False), (3072, True)):
        c = new_client(key=keys("RS256", bits), register=False)
        r = c.new_account(status=None)
        assert (r.status == 201) if good else (r.problem == "badPublicKey" and str(bits) in r.detail), r


def test_rsa_key_of_8192_bits(new_client):
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from pathlib import Path
    private = load_pem_private_key((Path(__file__).parent / "data" / "rsa8192.pem").read_bytes(), None)
    c = new_client(key=acme.Key("RS256", private), register=False)
    c.new_account(status=None)
    assert c.read(c.kid).status == 200


def ec_point(n):
    return b64(n.to_bytes(32, "big"))


BAD_JWKS = {
    "point not on its curve": {"kty": "EC", "crv": "P-256", "x": ec_point(5), "y": ec_point(5)},
    "short coordinate": {"kty": "EC", "crv": "P-256", "x": b64(b"\1" * 31), "y": ec_point(5)},
    "zero point": {"kty": "EC", "crv": "P-256", "x": ec_point(0), "y": ec_point(0)},
    "other curve": {"kty": "EC", "crv": "secp256k1", "x": ec_point(5), "y": ec_point(5)},
    "missing y": {"kty": "EC", "crv": "P-256", "x": ec_point(5)},
    "padded": {"kty": "EC", "crv": "P-256", "x": ec_point(5) + "=", "y": ec_point(5)},
    "private part": {**acme.Key().jwk(), "d": ec_point(7)},
    "symmetric": {"kty": "oct", "k": b64(b"secret")},
    "no type": {"crv": "P-256", "x": ec_point(5), "y": ec_point(5)},
    "number": 7,
    "empty": {},
}


@pytest.mark.parametrize("what", BAD_JWKS)
def test_bad_public_keys(new_client, what):
    c = new_client(register=False)
    r = c.post(c.directory["newAccount"], {"termsOfServiceAgreed": True}, jwk=BAD_JWKS[what])
    assert r.status == 400 and r.problem == "badPublicKey", r


def rsa_jwk(n, e=65537):
    return {"kty": "RSA", "n": acme.b64int(n), "e": acme.b64int(e)}


BIG = (1 << 2047) + 1
BAD_RSA = {
    "16384 bits": rsa_jwk((1 << 16383) + 1),
    "even modulus": rsa_jwk(BIG + 1),
    "small factor": rsa_jwk(3 * ((BIG | 1) // 3)),
    "exponent 1": rsa_jwk(BIG, 1),
    "exponent 3": rsa_jwk(BIG, 3),
    "even exponent": rsa_jwk(BIG, 65538),
    "leading zero": {"kty": "RSA", "n": b64(b"\0" + BIG.to_bytes(256, "big")), "e": "AQAB"},
}


@pytest.mark.parametrize("what", BAD_RSA)
def test_bad_rsa_public_keys(new_client, what):
    c = new_client(register=False)
    size = min(1024, len(acme.unb64(BAD_RSA[what]["n"])))
    r = c.post(c.directory["newAccount"], {}, jwk=BAD_RSA[what], alg="RS256", signature=b"\1" * size)
    assert r.status == 400 and r.problem == "badPublicKey", r


def test_algorithm_has_to_fit_the_jwk(new_client):
    c = new_client(register=False)
    for alg, size in (("RS256", 256), ("ES384", 96), ("EdDSA", 64)):
        r = c.post(c.directory["newAccount"], {}, alg=alg, signature=b"\1" * size)
        assert r.status == 400 and r.problem == "badSignatureAlgorithm", r


@pytest.mark.parametrize("how", ["flipped bit", "other key", "other payload", "zeros", "empty", "short"])
def test_bad_signatures_are_refused(shared, how):
    signed = message(shared)
    good = acme.unb64(signed["signature"])
    if how == "flipped bit":
        signed["signature"] = b64(good[:-1] + bytes([good[-1] ^ 1]))
    elif how == "other key":
        signed = acme.jws(acme.Key(), shared.protected(shared.kid), None)
    elif how == "other payload":
        signed["payload"] = b64(b"{}")
    else:
        signed["signature"] = b64({"zeros": bytes(64), "empty": b"", "short": good[:63]}[how])
    r = shared.send(shared.kid, signed)
    assert r.status in (400, 401, 403) and r.problem in ("malformed", "unauthorized") and "signature" in r.detail, r


# ---- url ----

def urls(client):
    kid = client.kid
    return {
        "another resource": client.directory["newOrder"],
        "another host": kid.replace(HOST, "other.test"),
        "plain http": kid.replace("https:", "http:"),
        "with port": kid.replace(HOST, HOST + ":443"),
        "trailing slash": kid + "/",
        "query": kid + "?x=1",
        "fragment": kid + "#x",
        "upper case": kid.upper(),
        "another directory": kid.replace("/default/", "/second/"),
        "path only": kid[len(f"https://{HOST}"):],
    }


@pytest.mark.parametrize("what", ["another resource", "another host", "plain http", "with port", "trailing slash", "query",
                                  "fragment", "upper case", "another directory", "path only"])
def test_url_has_to_be_the_requests_own(shared, what):
    wrong = urls(shared)[what]
    r = shared.send(shared.kid, message(shared, url=wrong))
    assert r.status == 403 and r.problem == "unauthorized" and "url" in r.detail, r


def test_url_does_not_depend_on_the_host_header(shared):
    r = shared.send(shared.kid, message(shared), headers={"Host": "other.test"})
    assert r.status == 200
    evil = shared.kid.replace(HOST, "other.test")
    r = shared.send(shared.kid, message(shared, url=evil), headers={"Host": "other.test", "X-Forwarded-Host": "other.test"})
    assert r.problem == "unauthorized"


# ---- jwk or kid ----

@pytest.mark.parametrize("path", WITH_KID)
def test_resources_of_an_account_want_a_kid(shared, path):
    r = shared.post(f"{shared.base}/{path}", None, kid=UNSET, jwk=shared.key.jwk())
    assert r.status == 400 and r.problem == "malformed" and "kid" in r.detail


def test_new_account_wants_a_jwk(shared):
    r = shared.post(shared.directory["newAccount"], {"termsOfServiceAgreed": True})
    assert r.status == 400 and r.problem == "malformed" and "jwk" in r.detail


@pytest.mark.parametrize("path", POSTS)
def test_unknown_accounts_do_not_exist(shared, path):
    if path == "new-account":
        return
    for kid in (f"{shared.base}/account/nobody", "https://other.test/acme/default/account/x", "x",
                f"{shared.base}/order/{shared.kid.rsplit('/', 1)[1]}", shared.kid + "/orders", f"{shared.base}/account/"):
        r = shared.post(f"{shared.base}/{path}", {} if path == "revoke-cert" else None, kid=kid)
        assert r.status == 400 and r.problem == "accountDoesNotExist", (kid, r)


@pytest.mark.parametrize("path", [p for p in POSTS if p != "new-account"])
def test_a_kid_of_another_directory_does_not_exist(shared, new_client, path):
    """Once as it is, once rewritten to this directory: the account is known in neither way."""
    other = new_client("second")
    ident = other.kid.rsplit("/", 1)[1]
    for kid in (other.kid, f"{shared.base}/account/{ident}"):
        r = other.post(f"{shared.base}/{path}", {} if path == "revoke-cert" else None, kid=kid)
        assert r.status == 400 and r.problem == "accountDoesNotExist", r


# ---- payloads ----

@pytest.mark.parametrize("path", READ_ONLY)
@pytest.mark.parametrize("payload", [{}, {"a": 1}, "x"])
def test_post_as_get_wants_an_empty_payload(shared, path, payload):
    r = shared.post(f"{shared.base}/{path}", payload)
    assert r.status == 400 and r.problem == "malformed"


@pytest.mark.parametrize("path", ["new-order", "new-authz", "order/x/finalize", "revoke-cert", "key-change"])
@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"7", b'"x"', b"{", b'{"a":1,"a":2}', b"\xff", b'{"a":"\\ud800"}'],
                         ids=["empty", "array", "null", "number", "string", "truncated", "duplicate", "no-utf8", "surrogate"])
def test_payloads_that_are_no_object_are_malformed(shared, path, payload):
    r = shared.send(f"{shared.base}/{path}", acme.jws(shared.key, shared.protected(f"{shared.base}/{path}"), payload))
    assert r.status == 400 and r.problem in ("malformed",), r


@pytest.mark.parametrize("payload", [b"[]", b"null", b"{", b'{"a":1,"a":2}'])
def test_new_account_payloads_that_are_no_object_are_malformed(new_client, payload):
    c = new_client(register=False)
    url = c.directory["newAccount"]
    r = c.send(url, acme.jws(c.key, c.protected(url), payload))
    assert r.status == 400 and r.problem == "malformed"


def test_unknown_members_of_payloads_are_ignored(client, name):
    """RFC 8555 section 7; old clients still send "resource"."""
    r = client.post(client.directory["newOrder"], {"resource": "new-order", "identifiers": [acme.identifier(name)],
                                                   "status": "pending", "something": {"else": [1]}})
    assert r.status == 201


# ---- the account's state ----

@pytest.mark.parametrize("path", [p for p in POSTS if p != "new-account"])
def test_deactivated_accounts_are_unauthorized_everywhere(gone, path):
    r = gone.post(f"{gone.base}/{path}", {} if path == "revoke-cert" else None)
    assert r.status == 403 and r.problem == "unauthorized" and "deactivated" in r.detail


@pytest.fixture(scope="module")
def gone(env, gateways):
    c = env.client(*gateways)
    c.want(200, c.kid, {"status": "deactivated"})
    return c


def test_concurrent_use_of_one_connection_after_an_error(shared):
    """A refused request leaves the connection usable."""
    transport = shared.transport.at(0)
    c = shared.clone(transport=transport)
    for _ in range(3):
        assert c.send(c.kid, b"junk").status == 400
        assert c.post(c.kid).status == 200


def test_rsa_account_with_small_public_exponent_cannot_be_made(new_client):
    private = rsa.generate_private_key(3, 2048)
    r = new_client(key=acme.Key("RS256", private), register=False).new_account(status=None)
    assert r.problem == "badPublicKey" and "exponent" in r.detail

# SPDX-License-Identifier: Apache-2.0
"""directory and new-nonce (RFC 8555 7.1.1, 7.2), and what is served beside ACME."""
import hashlib
import hmac
import json
import os
import struct
import threading
import time

import pytest

import acme
from harness import HOST


def test_directory_lists_every_resource(shared):
    r = shared.get(shared.directory_url)
    assert r.status == 200 and r.header("content-type") == "application/json"
    urls = {k: v for k, v in r.json.items() if k != "meta"}
    assert set(urls) == {"newNonce", "newAccount", "newOrder", "newAuthz", "revokeCert", "keyChange"}
    assert all(v.startswith(f"https://{HOST}/acme/default/") for v in urls.values())


def test_every_advertised_url_is_served(shared):
    """No URL of the directory may lead to nothing (404) or to "not implemented"."""
    for resource, url in shared.directory.items():
        if resource in ("meta", "newNonce"):
            continue
        r = shared.send(url, "{}")
        assert r.status == 400 and r.problem == "malformed", (resource, r)


def test_meta_names_what_was_configured(shared):
    meta = shared.directory["meta"]
    assert meta["website"] == "https://www.portico.test/"
    assert meta["caaIdentities"] == ["ca.portico.test", "old.portico.test"]
    assert meta["externalAccountRequired"] is False
    assert meta["profiles"]["server"] == "TLS server, 90 days" and "narrow" in meta["profiles"]
    assert "termsOfService" not in meta


def test_meta_of_other_directories(new_client):
    assert new_client("terms", register=False).directory["meta"]["termsOfService"] == "https://www.portico.test/terms"
    assert new_client("bound", register=False).directory["meta"]["externalAccountRequired"] is True


def test_directory_has_no_link_to_itself(shared):
    assert shared.get(shared.directory_url).links("index") == []


def test_directory_answers_head(shared):
    r = shared.get(shared.directory_url, "HEAD")
    assert r.status == 200 and r.body == b""


@pytest.mark.parametrize("path", ["/acme/nowhere/directory", "/acme/", "/acme", "/acme/default", "/acme/default/",
                                  "/acme/default/nothing", "/acme/default/new-order/x", "/", "/favicon.ico",
                                  "/acme/default/order/", "/acme/default/order//finalize"])
def test_unknown_paths_are_404_problems(shared, path):
    r = shared.transport.request("GET", f"https://{HOST}{path}")
    assert r.status == 404 and r.is_problem and r.json["detail"], r


def test_host_header_never_changes_a_url(shared):
    r = shared.transport.request("GET", shared.directory_url, {"Host": "evil.test", "X-Forwarded-Host": "evil.test",
                                                               "X-Forwarded-Proto": "http", "Forwarded": "host=evil.test"})
    assert r.status == 200 and b"evil" not in r.body


# ---- new-nonce ----

def test_head_nonce_is_200_without_body(shared):
    r = shared.get(shared.directory["newNonce"], "HEAD")
    assert r.status == 200 and r.nonce and r.body == b"" and r.header("cache-control") == "no-store"


def test_get_nonce_is_204(shared):
    r = shared.get(shared.directory["newNonce"])
    assert r.status == 204 and r.nonce and r.header("cache-control") == "no-store" and not r.body


def test_nonces_are_unique(shared):
    nonces = [shared.get(shared.directory["newNonce"], "HEAD").nonce for _ in range(50)]
    assert len(set(nonces)) == 50


def test_nonce_works_once(shared):
    nonce = shared.nonce()
    assert shared.post(shared.kid, nonce=nonce).status == 200
    r = shared.post(shared.kid, nonce=nonce)
    assert r.status == 400 and r.problem == "badNonce" and r.nonce and r.nonce != nonce


def test_nonce_of_one_gateway_works_at_the_other_once(shared):
    first, second = shared.clone(transport=shared.transport.at(0)), shared.clone(transport=shared.transport.at(1))
    nonce = first.nonce()
    assert second.post(shared.kid, nonce=nonce).status == 200
    assert first.post(shared.kid, nonce=nonce).problem == "badNonce"


def test_badnonce_answer_carries_a_nonce_that_works(shared):
    r = shared.post(shared.kid, nonce=acme.b64(b"x" * 32))
    assert r.problem == "badNonce"
    assert shared.post(shared.kid, nonce=r.nonce).status == 200


def test_refused_request_spends_its_nonce(shared):
    nonce = shared.nonce()
    assert shared.post(shared.directory["newOrder"], {"identifiers": []}, nonce=nonce).problem == "malformed"
    assert shared.post(shared.kid, nonce=nonce).problem == "badNonce"


def test_bad_signature_does_not_spend_the_nonce(shared):
    """A stranger must not be able to spend a client's nonce."""
    nonce = shared.nonce()
    r = shared.post(shared.kid, nonce=nonce, signature=b"\1" * 64)
    assert r.status in (400, 401, 403) and r.problem != "badNonce"
    assert shared.post(shared.kid, nonce=nonce).status == 200


@pytest.mark.parametrize("nonce", [acme.b64(b"n" * 32), acme.b64(b"n" * 16), "", "A" * 200,
                                   acme.UNSET])
def test_foreign_nonces_are_badnonce(shared, nonce):
    r = shared.post(shared.kid, nonce=nonce)
    assert r.status == 400 and r.problem == "badNonce"


@pytest.mark.parametrize("nonce", ["not base64url!", "abc=", 7, None, {"a": 1}, "A" * 300])
def test_nonces_of_wrong_form_are_malformed(shared, nonce):
    r = shared.post(shared.kid, nonce=nonce)
    assert r.status == 400 and r.problem == "malformed" and "nonce" in r.detail


def nonce_of(db, at):
    """A nonce as the gateways make them, issued at another time."""
    body = struct.pack(">q", int(at)) + os.urandom(8)
    secret = bytes(db.one("SELECT value FROM secret WHERE name = 'nonce'"))
    mac = hmac.new(hashlib.sha256(secret).digest(), body, hashlib.sha256).digest()
    return acme.b64(body + mac[:16])


def test_nonces_run_out(shared, db):
    assert shared.post(shared.kid, nonce=nonce_of(db, time.time() - 3000)).status == 200
    for at in (time.time() - 3700, time.time() + 3600, 0):
        assert shared.post(shared.kid, nonce=nonce_of(db, at)).problem == "badNonce"


@pytest.mark.ha
def test_replay_under_concurrency_is_accepted_exactly_once(shared):
    """The same requests at two gateways at once, in opposite orders: what would deadlock batches that are not sorted."""
    n, threads = 120, 6
    nonces = [shared.nonce() for _ in range(n)]
    url = shared.kid
    bodies = [json.dumps(acme.jws(shared.key, {"alg": "ES256", "kid": url, "nonce": nonce, "url": url}, None)).encode()
              for nonce in nonces]
    results = {i: [] for i in range(n)}
    lock, start = threading.Lock(), threading.Barrier(2 * threads)

    def run(gateway, share):
        transport = shared.transport.at(gateway)
        order = list(range(share, n, threads))
        if gateway:
            order.reverse()
        start.wait()
        for i in order:
            r = transport.request("POST", url, {"Content-Type": acme.JOSE}, bodies[i])
            with lock:
                results[i].append(r.status if r.status != 400 else r.problem)

    workers = [threading.Thread(target=run, args=(g, s)) for g in (0, 1) for s in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert all(sorted(map(str, r)) == ["200", "badNonce"] for r in results.values()), results


# ---- beside ACME ----

@pytest.mark.parametrize("path, status", [("/health/live", 200), ("/health/ready", 200), ("/metrics", 404)])
def test_health_is_public_and_metrics_are_not(shared, path, status):
    assert shared.transport.request("GET", f"https://{HOST}{path}").status == status


def test_admin_listener_serves_metrics_and_no_acme(gateways):
    status, text = gateways[0].admin("/metrics")
    assert status == 200 and "portico_" in text
    assert gateways[0].admin("/acme/default/directory")[0] == 404
    assert gateways[0].admin("/health/live")[0] == 200


def test_server_says_nothing_of_its_making(shared):
    r = shared.get(shared.directory_url)
    assert "h2o" not in (r.header("server") or "")
    assert r.header("x-content-type-options") == "nosniff"

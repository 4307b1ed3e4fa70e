# SPDX-License-Identifier: Apache-2.0
"""Every resource against the wrong account: `unauthorized`, nothing is told, nothing changes."""
import pytest

import acme

SECRETS = ('"token"', '"identifiers"', '"orders"', '"contact"', "BEGIN CERTIFICATE", '"challenges"')


@pytest.fixture(scope="module")
def owner(env, gateways, db):
    """An account with one of everything: {resource: URL}."""
    c = env.client(*gateways, contact=["mailto:owner@example.test"])
    pending = c.new_order([env.name()])
    url, ready = env.ready_order(c, [env.name()])
    issued_url, issued, chain = env.issue(c, [env.name()])
    authz = c.read(pending.json["authorizations"][0]).json
    c.resources = {
        "account": c.kid, "orders": c.kid + "/orders", "pending order": pending.location, "ready order": url,
        "valid order": issued_url, "finalize pending": pending.json["finalize"], "finalize ready": ready["finalize"],
        "finalize valid": issued["finalize"], "pending authz": pending.json["authorizations"][0],
        "valid authz": ready["authorizations"][0], "http-01": acme.challenge_of(authz, "http-01")["url"],
        "dns-01": acme.challenge_of(authz, "dns-01")["url"], "certificate": issued["certificate"],
        "alternate": issued["certificate"] + "/1",
    }
    c.names = [i["value"] for i in ready["identifiers"]]
    c.cert = acme.pem_certificates(chain)[0]
    return c


READS = ["account", "orders", "pending order", "ready order", "valid order", "pending authz", "valid authz", "http-01",
         "dns-01", "certificate", "alternate"]
WRITES = {
    "account": [{"contact": ["mailto:evil@example.test"]}, {"status": "deactivated"}, {"termsOfServiceAgreed": True}, {}],
    "finalize pending": ["csr"],
    "finalize ready": ["csr"],
    "finalize valid": ["csr"],
    "pending authz": [{"status": "deactivated"}],
    "valid authz": [{"status": "deactivated"}],
    "http-01": [{}],
    "dns-01": [{}],
}


def snapshot(db, account):
    """Everything of the account as rows."""
    return [
        db.rows("SELECT * FROM account WHERE id = %s", account),
        db.rows("SELECT * FROM account_key WHERE account_id = %s", account),
        db.rows("SELECT * FROM orders WHERE account_id = %s ORDER BY id", account),
        db.rows("SELECT * FROM authz WHERE account_id = %s ORDER BY id", account),
        db.rows("SELECT c.* FROM challenge c JOIN authz a ON a.id = c.authz_id WHERE a.account_id = %s ORDER BY 1, 2", account),
        db.rows("SELECT * FROM certificate WHERE account_id = %s ORDER BY id", account),
        db.rows("SELECT * FROM issuance WHERE account_id = %s ORDER BY id", account),
        db.rows("SELECT id FROM job WHERE account_id = %s ORDER BY id", account),
    ]


def refused(r, owner):
    assert r.status == 403 and r.problem == "unauthorized", r
    text = r.body.decode()
    assert not any(s in text for s in SECRETS) and not any(n in text for n in owner.names), r


@pytest.mark.parametrize("resource", READS)
def test_reading_what_is_another_accounts(owner, new_client, db, resource):
    stranger = new_client()
    account = owner.kid.rsplit("/", 1)[1]
    before = snapshot(db, account)
    r = stranger.post(owner.resources[resource])
    if resource == "alternate" and owner.post(owner.resources[resource]).status == 404:
        assert r.status in (403, 404)
    else:
        refused(r, owner)
    assert snapshot(db, account) == before


@pytest.mark.parametrize("resource", WRITES)
def test_changing_what_is_another_accounts(owner, new_client, db, resource):
    stranger = new_client()
    account = owner.kid.rsplit("/", 1)[1]
    before = snapshot(db, account)
    for payload in WRITES[resource]:
        if payload == "csr":
            payload = {"csr": acme.b64(acme.csr(owner.names))}
        refused(stranger.post(owner.resources[resource], payload), owner)
        assert snapshot(db, account) == before
    assert db.one("SELECT count(*) FROM event WHERE account_id = %s AND event = 'refused'",
                  stranger.kid.rsplit("/", 1)[1]) == len(WRITES[resource]), "refusals are in the audit trail"


def test_key_change_in_the_name_of_another_account(owner, new_client, db):
    stranger = new_client()
    account = owner.kid.rsplit("/", 1)[1]
    before = snapshot(db, account)
    r = stranger.key_change(acme.Key(), account=owner.kid)
    assert r.status == 400 and r.problem == "malformed"
    r = stranger.key_change(acme.Key(), account=owner.kid, oldKey=owner.key.jwk())
    assert r.status == 400
    assert snapshot(db, account) == before


def test_signing_with_ones_own_key_under_anothers_kid(owner, new_client, db):
    stranger = new_client()
    account = owner.kid.rsplit("/", 1)[1]
    before = snapshot(db, account)
    for url in (owner.kid, owner.kid + "/orders", owner.resources["ready order"], owner.resources["certificate"]):
        r = stranger.post(url, kid=owner.kid)
        assert r.status in (400, 401, 403) and r.is_problem and "signature" in r.detail
    assert snapshot(db, account) == before


def test_revoking_what_is_another_accounts(owner, new_client, db):
    before = snapshot(db, owner.kid.rsplit("/", 1)[1])
    refused(new_client().revoke(owner.cert, status=403), owner)
    assert snapshot(db, owner.kid.rsplit("/", 1)[1]) == before


def test_the_same_paths_below_another_directory(owner, new_client, db):
    """An account of another directory reaches nothing by rewriting the path."""
    other = new_client("second")
    before = snapshot(db, owner.kid.rsplit("/", 1)[1])
    for resource, url in owner.resources.items():
        payload = {"csr": acme.b64(acme.csr(owner.names))} if resource.startswith("finalize") else None
        r = other.post(url.replace("/default/", "/second/"), payload)
        assert r.status in (403, 404), (resource, r)
        assert not any(n in r.body.decode() for n in owner.names)
    assert snapshot(db, owner.kid.rsplit("/", 1)[1]) == before


def test_the_owner_still_has_everything(owner):
    for resource in READS:
        if resource != "alternate":
            assert owner.post(owner.resources[resource]).status == 200, resource

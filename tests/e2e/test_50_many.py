# SPDX-License-Identifier: Apache-2.0
"""Many clients at once."""
import threading
import time

import pytest

import acme

pytestmark = pytest.mark.ha


def test_many_flows_at_once(env, gateways, db, request, report):
    """Every one gets its certificate, and nobody is told to come back."""
    orders, threads = (1000, 16) if request.config.getoption("--long") else (60, 8)
    todo = iter(range(orders))
    lock, took, wrong = threading.Lock(), [], []
    key = acme.Key()

    def run():
        c = env.client(*gateways)
        while True:
            with lock:
                if next(todo, None) is None:
                    return
                name = env.name("many.test")
            started = time.monotonic()
            try:
                chain = env.issue(c, [name], key)[2]
                with lock:
                    took.append(time.monotonic() - started)
                assert name in chain_names(chain)
            except Exception as e:
                wrong.append(repr(e))
                return
    started = time.monotonic()
    pool = [threading.Thread(target=run) for _ in range(threads)]
    for t in pool:
        t.start()
    for t in pool:
        t.join()
    seconds = time.monotonic() - started
    assert not wrong, wrong[:3]
    assert len(took) == orders
    assert db.one("SELECT count(*) FROM certificate WHERE names[1] LIKE 'dns:%%.many.test'") == orders
    took.sort()
    report(f"{orders} flows by {threads} clients at two gateways (sanitizer build, client on the same cores)", [
        f"flows per second   {orders / seconds:.1f}",
        f"median, slowest    {took[len(took) // 2]:.2f} s, {took[-1]:.2f} s",
    ])


def chain_names(chain):
    san = acme.pem_certificates(chain)[0].extensions.get_extension_for_class(acme.x509.SubjectAlternativeName).value
    return san.get_values_for_type(acme.x509.DNSName)

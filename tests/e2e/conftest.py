# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import acme  # noqa: E402
import harness  # noqa: E402


def pytest_addoption(parser):
    with contextlib.suppress(ValueError):  # tests/clients has it too
        parser.addoption("--long", action="store_true", help="the 1,000-order and 200-kill forms")


def stop(number, frame):
    """Ended from outside (a time-out): what was started has to be stopped all the same."""
    raise KeyboardInterrupt


def pytest_configure(config):
    signal.signal(signal.SIGTERM, stop)
    for text in ("ha: several gateways, take-over, crashes", "mtc: Merkle Tree Certificates"):
        config.addinivalue_line("markers", text)


def pytest_terminal_summary(terminalreporter):
    """The figures that tests found, also those of xdist's workers; in a file too, for tests/run."""
    lines = []
    for outcome in ("passed", "failed"):
        for result in terminalreporter.stats.get(outcome, []):
            for name, value in result.user_properties:
                if name == "report" and result.when == "call":
                    lines += ["", value[0]] + ["  " + line for line in value[1]]
    for line in lines:
        terminalreporter.write_line(line)
    if lines and "PORTICO_TEST_DIR" in os.environ:
        Path(os.environ["PORTICO_TEST_DIR"], "figures.txt").write_text("\n".join(lines) + "\n")


def too_long(number, frame):
    raise TimeoutError("the test takes too long")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """A test that waits for ever fails, and the ones after it run."""
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(3600 if item.config.getoption("--long") else 300)
    yield
    signal.alarm(0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    env = item.funcargs.get("env") if hasattr(item, "funcargs") else None
    if report.failed and env is not None:
        for g in [g for g in env.gateways if g.log.exists()][-2:]:
            report.sections.append((f"end of {g.log}", harness.tail(g.log, 12)))
        if env.sanitizer_reports():
            report.sections.append(("sanitizers", env.sanitizer_reports()))


@pytest.fixture
def report(request):
    """report(title, lines): printed at the end."""
    def add(title, lines):
        request.node.user_properties.append(("report", [title, list(lines)]))
    return add


@pytest.fixture(scope="session")
def env():
    e = harness.Environment()
    try:
        e.start()
        yield e
    finally:
        wrong = e.finish()
        if wrong:
            pytest.fail("the environment did not end well:\n" + "\n".join(wrong), pytrace=False)


@pytest.fixture(scope="session")
def db(env):
    return env.new_database("portico")


@pytest.fixture(scope="session")
def gateways(env, db):
    """Two gateways on one database, which run through all the tests that use no others."""
    pair = [env.gateway(db, "gateway-1", migrate=True), env.gateway(db, "gateway-2")]
    for g in pair:
        g.spawn()
    for g in pair:
        g.wait_ready()
    return pair


@pytest.fixture(scope="session")
def keys():
    """One key per algorithm; RSA keys take long to make."""
    made = {}

    def get(alg, bits=2048):
        if (alg, bits) not in made:
            private = made[("RS256", bits)].private if alg == "PS256" and ("RS256", bits) in made else None
            made[(alg, bits)] = acme.Key(alg, private, bits)
        return made[(alg, bits)]
    return get


@pytest.fixture
def new_client(env, gateways):
    """Makes clients whose requests go to both gateways in turn."""
    def make(directory="default", only=None, **how):
        chosen = gateways if only is None else [gateways[i] for i in only]
        return env.client(*chosen, directory=directory, **how)
    return make


@pytest.fixture
def client(new_client):
    """A new account."""
    return new_client()


@pytest.fixture(scope="session")
def shared(env, gateways):
    """An account for tests that only look at how one request is treated."""
    return env.client(*gateways)


@pytest.fixture
def name(env):
    return env.name()

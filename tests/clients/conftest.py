# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import kit  # noqa: E402

# What a client has no command for, so that there is nothing to run; the table says so.
CANNOT = [
    ("certbot", "key rollover", "no such command"),
    ("lego", "revoke by certificate key", "no such command"),
    ("lego", "account update", "no such command"),
    ("lego", "account deactivation", "no such command"),
    ("lego", "key rollover", "no such command"),
]
PACKAGES = {"certbot": "certbot", "lego": "lego", "python-acme": "python3-acme"}


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="key sizes that take long as well")


def stop(number, frame):
    """Ended from outside (a time-out): what was started has to be stopped all the same."""
    raise KeyboardInterrupt


def pytest_configure(config):
    signal.signal(signal.SIGTERM, stop)
    config.addinivalue_line("markers", "case(name): what the table calls this test")
    config.addinivalue_line("markers", "long: only with --long")


def pytest_collection_modifyitems(items, config):
    slow = [item for item in items if item.get_closest_marker("long") and not config.option.long]
    items[:] = [item for item in items if item not in slow]
    config.hook.pytest_deselected(items=slow)
    for item in items:
        mark = item.get_closest_marker("case")
        if mark is not None:
            values = item.callspec.params if hasattr(item, "callspec") else {}
            item.user_properties += [("client", item.module.CLIENT), ("case", mark.args[0].format(**values))]


# ---- the table ----

def version(client):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", PACKAGES[client]], text=True, capture_output=True)
    return done.stdout or "?"


def rows(reporter):
    """(client, version, case, result, seconds) of everything that ran, and of what the clients cannot do."""
    found = {}
    for reports in reporter.stats.values():
        for r in reports:
            said = dict(getattr(r, "user_properties", ()))
            if "case" not in said or not hasattr(r, "when"):
                continue
            key = (said["client"], said["case"])
            result, seconds = found.get(key, ("", 0.0))
            if r.failed:
                result = "FAILED"
            elif r.skipped and not result:
                result = "skipped: " + str(r.longrepr[2]).replace("Skipped: ", "")
            elif r.when == "call" and not result:
                result = said.get("result", "ok")
            found[key] = (result, max(seconds, r.duration if r.when == "call" else 0.0))
    clients = {client for client, _ in found}
    table = [(*key, result, f"{seconds:.1f}") for key, (result, seconds) in found.items()]
    table += [(client, case, "cannot: " + why, "-") for client, case, why in CANNOT if client in clients]
    versions = {client: version(client) for client in clients}
    table.sort(key=lambda row: list(PACKAGES).index(row[0]))
    return [("client", "version", "case", "result", "seconds")] + [(c, versions[c], *rest) for c, *rest in table]


def pytest_terminal_summary(terminalreporter, config):
    table = rows(terminalreporter)
    if len(table) == 1:
        return
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    lines = ["  ".join([cell.ljust(w) for cell, w in zip(row, widths)] + [row[4].rjust(7)]) for row in table]
    terminalreporter.section("client-by-case table")
    for line in lines:
        terminalreporter.write_line(line)
    if os.environ.get("PORTICO_TEST_DIR"):
        place = Path(os.environ["PORTICO_TEST_DIR"])
        place.mkdir(parents=True, exist_ok=True)
        (place / "table.txt").write_text("\n".join(lines) + "\n")


# ---- fixtures ----

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    world = getattr(item, "funcargs", {}).get("world")
    if report.failed and world is not None and world.state.exists():
        for gateway in (1, 2):
            try:
                report.sections.append((f"end of porticod-{gateway}.log", "\n".join(world.log(gateway).splitlines()[-15:])))
            except OSError:
                continue


@pytest.fixture(scope="session")
def world():
    w = kit.World()
    try:
        w.start()
        yield w
    finally:
        wrong = w.finish()
        if wrong:
            pytest.fail("the environment did not end well:\n" + "\n".join(wrong), pytrace=False)


@pytest.fixture(scope="module")
def page(world, request):
    """The page of this module's client, with a directory to run its commands in."""
    client = request.module.CLIENT
    if shutil.which(client) is None:
        pytest.skip(f"{client} is not installed")
    work = world.dir / client
    work.mkdir()
    return kit.Page(client + ".md", world, work)


@pytest.fixture
def result(record_property):
    """What the table says instead of "ok"."""
    def say(text):
        record_property("result", text)
    return say

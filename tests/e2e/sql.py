# SPDX-License-Identifier: Apache-2.0
"""The statements of schema/queries as the programs run them, in psycopg2 sessions that are held open, and every way in
which the steps of two such sessions can follow each other."""
import concurrent.futures
import itertools
import re
import time
from pathlib import Path

import psycopg2
import psycopg2.extras

QUERIES = Path(__file__).resolve().parents[2] / "schema" / "queries"
HEADER = re.compile(r"^--\s*name:\s*(\w+)(.*)$")
MORE = re.compile(r"^--\s+((?:in|out):.*)$")
TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|::|:[a-zA-Z_]\w*|.", re.S)


class Statement:
    """One statement, prepared and executed by the server as the programs do it."""

    def __init__(self, name, where):
        self.name, self.where, self.params, self.out, self.body = name, where, [], [], ""

    def lists(self, text):
        for kind, items in re.findall(r"\b(in|out):\s*(.*?)(?=\s+(?:in|out):|$)", text):
            found = [tuple(item.split()) for item in items.split(",") if item.strip() != "-"]
            if kind == "in":
                self.params = [(n, t.rstrip("?"), t.endswith("?")) for n, t in found]
            else:
                self.out = [n for n, _ in found]

    def prepare(self):
        number = {n: i for i, (n, _, _) in enumerate(self.params, 1)}
        text = ""
        for token in TOKEN.findall(self.body):
            if token.startswith("--") or token.startswith("/*"):
                continue
            text += f"${number[token[1:]]}" if re.fullmatch(r":\w+", token) else token
        types = ", ".join(t for _, t, _ in self.params)
        return f"PREPARE {self.name}{f' ({types})' if types else ''} AS " + text.strip().rstrip(";")

    def execute(self):
        values = ", ".join(f"(%({n})s)::{t}" for n, t, _ in self.params)
        return f"EXECUTE {self.name}" + (f" ({values})" if values else "")

    def values(self, given):
        assert set(given) == {n for n, _, _ in self.params}, (self.name, sorted(given), self.params)
        return {n: None if nullable and not given[n] else given[n] for n, _, nullable in self.params}


def load(directory=QUERIES):
    found, now = {}, None
    for path in sorted(directory.glob("*.sql")):
        for number, line in enumerate(path.read_text().splitlines(keepends=True), 1):
            head, more = HEADER.match(line), MORE.match(line)
            if head:
                now = Statement(head[1], f"{path.name}:{number}")
                now.lists(head[2])
                found[now.name] = now
            elif more and now is not None and not now.body.strip():
                now.lists(more[1])
            elif now is not None:
                now.body += line
        now = None
    return found


STATEMENTS = load()


class Session:
    """One connection in an open transaction. step() runs something on its own thread, so that it may wait for a lock."""

    def __init__(self, url, lock_timeout="20s"):
        self.conn = psycopg2.connect(url, options=f"-c lock_timeout={lock_timeout} -c statement_timeout=30s")
        self.pid = self.conn.info.backend_pid
        self.thread = concurrent.futures.ThreadPoolExecutor(1)
        self.prepared = set()

    def __getattr__(self, name):
        """session.order_read(id=...): the rows of that statement."""
        if name not in STATEMENTS:
            raise AttributeError(name)
        return lambda **given: self.run(name, given)

    def run(self, name, given):
        s = STATEMENTS[name]
        with self.conn.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
            if name not in self.prepared:
                cursor.execute(s.prepare())
                self.prepared.add(name)
            cursor.execute(s.execute(), s.values(given))
            return cursor.fetchall() if cursor.description else cursor.rowcount

    def commit(self):
        self.conn.commit()

    def rollback(self):
        self.conn.rollback()

    def step(self, work):
        return self.thread.submit(work)

    def close(self):
        self.conn.cancel()
        self.thread.shutdown()
        self.conn.close()


class Lane:
    """The steps of one transaction, commit included; they are taken one at a time."""

    def __init__(self, session, steps, watch):
        self.session, self.watch = session, watch
        self.steps = list(steps) + [session.commit]
        self.pending, self.results, self.error, self.waited = None, [], None, False

    def over(self):
        return self.pending is None and (self.error is not None or len(self.results) == len(self.steps))

    def settle(self, timeout=30):
        """Until the step under way is done (true), or waits for another session (false)."""
        deadline = time.monotonic() + timeout
        while self.pending is not None:
            try:
                self.results.append(self.pending.result(0.002))
                self.pending = None
            except concurrent.futures.TimeoutError:
                if self.watch(self.session.pid):
                    self.waited = True
                    return False
                assert time.monotonic() < deadline, "a step neither ends nor waits for a lock"
            except psycopg2.Error as e:
                self.error, self.pending = e, None
                self.session.rollback()
        return True

    def advance(self):
        if self.settle() and not self.over():
            self.pending = self.session.step(self.steps[len(self.results)])
            self.settle()


def play(lanes, order):
    """Takes the steps in the given order (indices of lanes). A lane that waits for a lock is passed over, and catches up."""
    for who in order:
        lanes[who].advance()
        for lane in lanes:
            lane.settle()
    deadline = time.monotonic() + 60
    while not all(lane.over() for lane in lanes):
        for lane in lanes:
            lane.advance()
        assert time.monotonic() < deadline, "the sessions wait for each other for ever"


def schedules(n_first, n_second):
    """Every order in which n_first and n_second steps can be taken, commits included."""
    total = n_first + n_second + 2
    for chosen in itertools.combinations(range(total), n_first + 1):
        yield [0 if i in chosen else 1 for i in range(total)]

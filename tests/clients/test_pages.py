# SPDX-License-Identifier: Apache-2.0
"""No command stands in deploy/clients that is not run here."""
from pathlib import Path

import pytest

import kit


@pytest.mark.parametrize("client", ["certbot", "lego"])
def test_every_command_is_run(client):
    tests = (Path(__file__).parent / f"test_{client}.py").read_text()
    page = (kit.PAGES / f"{client}.md").read_text()
    blocks = kit.blocks_of(client + ".md")
    assert len(blocks) == page.count("```sh\n"), "a block of shell without a title"
    for title in set(blocks) - {"setup"}:
        assert f'"{title}"' in tests, title

"""`gesso tokens`: made, listed and revoked beside a running server."""

from pathlib import Path

import click.testing
import pytest

from gesso.cli.main import main


@pytest.fixture
def gesso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GESSO_DATA_DIR", str(tmp_path))
    return lambda *words: click.testing.CliRunner().invoke(main, ("tokens", *words))


def test_an_administrators_token_is_marked_in_the_list_and_no_other(gesso):
    for words in (("--owner", "alice"), ("--owner", "ops", "--admin")):
        assert gesso("create", *words).stdout.startswith("gesso_")

    alice, ops = gesso("list").stdout.splitlines()
    assert (alice.split()[1], alice.endswith("live")) == ("alice", True)
    assert (ops.split()[1], ops.endswith("live  admin")) == ("ops", True)


def test_a_token_is_revoked_once(gesso):
    gesso("create", "--owner", "alice")
    id = gesso("list").stdout.split()[0]

    assert gesso("revoke", id).stdout == f"revoked {id}\n"
    again = gesso("revoke", id)
    assert again.exit_code != 0
    assert "no live token" in again.output

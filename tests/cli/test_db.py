"""`gesso db`: which database it is, and its tables brought up to date."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click.testing
import pytest
from pg import Server

from gesso.cli.main import main

Said = click.testing.Result


@pytest.fixture(params=["sqlite", "postgres"])
def named(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a database without tables is said to be; it is the one that the environment names."""
    monkeypatch.setenv("GESSO_DATA_DIR", str(tmp_path))
    if request.param == "sqlite":
        yield str(tmp_path / "gesso.db")
        return
    server: Server = request.getfixturevalue("pg_server")
    url = server.make_database(empty=True)
    monkeypatch.setenv("GESSO_DATABASE", url)
    yield url.replace("postgres:not-needed@", "")
    server.drop_database(url)


def gesso(*arguments: str) -> Said:
    return click.testing.CliRunner().invoke(main, arguments)


def test_a_database_is_upgraded_from_nothing_and_says_where_it_is(named: str) -> None:
    before, first, second, after = (gesso("db", word) for word in ("status", "upgrade", "upgrade", "status"))

    assert (before.exit_code, after.exit_code) == (1, 0)
    assert before.stdout.startswith(f"{named}: no tables yet; version ")
    assert first.stdout.startswith(f"{named}: tables of version 0 -> ")
    assert second.stdout.split(": ")[1].split()[3] == second.stdout.split()[-1]
    assert after.stdout.endswith(", up to date\n")


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_DATA_DIR", str(tmp_path))
    with sqlite3.connect(tmp_path / "gesso.db") as file:
        file.execute("PRAGMA user_version = 99")

    assert gesso("db", "upgrade").exit_code == gesso("db", "status").exit_code == 78


def test_a_database_that_is_no_url_of_postgresql_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_DATABASE", "mysql://h/db")
    said = gesso("db", "status")

    assert said.exit_code == 78
    assert "must begin with postgresql://" in said.stderr

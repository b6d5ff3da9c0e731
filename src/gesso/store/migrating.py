"""Brings a SQLite file to this version's tables, in one transaction: all of it, or none."""

import contextlib
import functools
import sqlite3
from importlib import resources
from pathlib import Path

from gesso.core.errors import ConfigError

TEXTS = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file at *path*, open as *connection*, to this version's tables.

    One that has them is only read: it may be opened while somebody else holds its lock.

    Raises:
        ConfigError: when it belongs to a newer version.
    """
    scripts = _scripts()
    if _version(connection, path, len(scripts)) == len(scripts):
        return
    connection.execute("BEGIN IMMEDIATE")
    # Read again under the lock: another process may have brought it up to date meanwhile.
    _carry_out(connection, scripts[_version(connection, path, len(scripts)) :])
    connection.execute(f"PRAGMA user_version = {len(scripts)}")
    connection.execute("COMMIT")


def newest() -> int:
    """The version of the tables that this program works with."""
    return len(_scripts())


@functools.cache
def texts() -> frozenset[tuple[str, str]]:
    """What a file of this version says of each table, index and trigger: its name, and the SQL that made it."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        _carry_out(connection, _scripts())
        return frozenset(connection.execute(TEXTS))


def _carry_out(connection: sqlite3.Connection, scripts: list[str]) -> None:
    for script in scripts:
        for statement in _statements(script):
            connection.execute(statement)


def _scripts() -> list[str]:
    steps = sorted(resources.files("gesso.store.migrations").iterdir(), key=lambda step: step.name)
    return [step.read_text() for step in steps if step.name.endswith(".sql")]


def _version(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > newest:
        raise ConfigError(reason=f"the database {path} belongs to a newer version of Gesso")
    return version


def _statements(script: str) -> list[str]:
    """The statements of *script*, whole: a trigger's body holds semicolons."""
    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements

"""Which database it is: a SQLite file in the data folder, or one on a PostgreSQL server, named by a URL.

PostgreSQL's parts are imported only when they are asked for: they need the extra `postgres`.
"""

import contextlib
import sqlite3
from pathlib import Path
from typing import NamedTuple

from gesso.core.errors import ConfigError
from gesso.core.ports import OnFatal
from gesso.store import database as sqlite
from gesso.store import migrating, soundness
from gesso.store.connection import Database

SCHEMES = ("postgresql://", "postgres://")


class Versions(NamedTuple):
    """Of the tables: as they are, 0 when there are none, and as this program needs them."""

    known: int
    newest: int


def open_database(
    url: str, folder: Path, on_fatal: OnFatal = sqlite.just_log, *, connections: int = 8, accept_data_loss: bool = False
) -> Database:
    """The database at *url*, or the file in *folder* when that is empty.

    Args:
        on_fatal: as SQLite's `Database` has it; a PostgreSQL server sees to its own disk.
        connections, accept_data_loss: as `PostgresDatabase.open` has them.

    Raises:
        ConfigError: when it cannot be used, or has tables of another version.
        Unavailable: when it cannot be reached; it may be tried again.
    """
    if not url:
        return sqlite.Database.open(folder, on_fatal)
    _require_postgres(url)
    from gesso.store.postgres.database import PostgresDatabase  # noqa: PLC0415 - an extra

    return PostgresDatabase.open(url, connections=connections, accept_data_loss=accept_data_loss)


def is_there(url: str, folder: Path) -> bool:
    """Whether there is a database already, of whatever age; nothing is touched.

    Raises:
        ConfigError, Unavailable: as `open_database`.
    """
    return versions(url, folder).known > 0 if url else sqlite.Database.is_there(folder)


def versions(url: str, folder: Path) -> Versions:
    """Of which version the tables are, and of which this program needs them.

    Raises:
        ConfigError, Unavailable: as `open_database`.
    """
    if not url:
        return Versions(_known_to_sqlite(folder), migrating.newest())
    _require_postgres(url)
    from gesso.store.postgres import schema  # noqa: PLC0415 - an extra

    return Versions(schema.version(url), schema.newest())


def upgrade(url: str, folder: Path) -> None:
    """Bring the tables to this program's version, or make them.

    Raises:
        ConfigError, Unavailable: as `open_database`.
    """
    if not url:
        sqlite.Database.open(folder).close()
        return
    _require_postgres(url)
    from gesso.store.postgres import schema  # noqa: PLC0415 - an extra

    schema.upgrade(url)


def in_words(url: str, folder: Path) -> str:
    """Where it is, without user and password."""
    if not url:
        return str(folder / "gesso.db")
    _require_postgres(url)
    from gesso.store.postgres.connecting import without_secrets  # noqa: PLC0415 - an extra

    return without_secrets(url)


def _known_to_sqlite(folder: Path) -> int:
    if not sqlite.Database.is_there(folder):
        return 0
    path = folder / "gesso.db"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            known = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except soundness.FAULTS as fault:
        raise ConfigError(reason=f"{path} cannot be read: {soundness.told(fault)}") from fault
    if known > migrating.newest():
        raise ConfigError(reason=f"the database {path} belongs to a newer version of Gesso")
    return known


def _require_postgres(url: str) -> None:
    if not url.startswith(SCHEMES):
        raise ConfigError(reason="the setting database must begin with postgresql://, or be empty for a file")
    try:
        import psycopg  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise ConfigError(reason="PostgreSQL needs the extra: pip install 'gesso[server,postgres]'") from None

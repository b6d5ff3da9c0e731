"""Which tables a PostgreSQL database has, how they are brought up to date, and whether the server keeps its commits."""

import logging
import time
from importlib import resources

import psycopg

from gesso.core.errors import ConfigError, Unavailable
from gesso.store.postgres.connecting import PATIENT, connect, without_secrets
from gesso.store.postgres.hands import PgConnection

OLDEST_SERVER = 140000
PATIENCE_S = 10.0
PAUSE_S = 0.5
ONE_AT_A_TIME = b"SELECT pg_advisory_xact_lock(hashtext('gesso: tables'))"
ANY_VERSION = b"SELECT to_regclass('gesso_version') IS NOT NULL"
NOT_OURS = (psycopg.ProgrammingError, psycopg.errors.LockNotAvailable, psycopg.errors.ReadOnlySqlTransaction)
"""What the server answers where we may not change it, or somebody is at work on it."""
log = logging.getLogger(__name__)


def newest() -> int:
    """The version of the tables that this program works with."""
    return len(_scripts())


def prepare(url: str, *, accept_data_loss: bool = False) -> None:
    """Make sure that the database at *url* can be used; give an empty one its tables.

    Raises:
        ConfigError, Unavailable: as `PostgresDatabase.open`.
    """
    with _reach(url) as connection:
        if not accept_data_loss:
            _require_durable(connection)
        known = _version(connection)
    if known == 0:
        known = upgrade(url)
    if known < newest():
        raise ConfigError(
            reason=f"the tables in {without_secrets(url)} are of an older version ({known}, and {newest()} is needed): "
            "make a backup, stop what still runs the older version, and run: gesso db upgrade"
        )


def version(url: str) -> int:
    """The version of the tables in the database at *url*; 0 when there are none.

    Raises:
        ConfigError: when they belong to a newer version of Gesso, or the URL is none.
        Unavailable: when the server cannot be reached.
    """
    with _reach(url) as connection:
        return _version(connection)


def upgrade(url: str) -> int:
    """Bring the tables to this version, all in one transaction; whoever else does it waits. The version they have then.

    Raises:
        ConfigError: when they are not ours to change, or belong to a newer version of Gesso.
        Unavailable: when the server cannot be reached.
    """
    try:
        with _reach(url) as connection, connection.transaction():
            connection.execute(ONE_AT_A_TIME)
            known = _version(connection)
            for script in _scripts()[known:]:
                connection.execute(script.encode())
            connection.execute(b"CREATE TABLE IF NOT EXISTS gesso_version (version INTEGER NOT NULL)")
            connection.execute(b"DELETE FROM gesso_version")
            connection.execute(b"INSERT INTO gesso_version VALUES ($1)", [newest()])
    except NOT_OURS as fault:
        raise ConfigError(reason=f"{without_secrets(url)} cannot be given its tables: {fault}") from fault
    except psycopg.OperationalError as fault:
        log.error("the upgrade of %s was cut short, and has not happened: %s", without_secrets(url), fault)
        raise Unavailable from fault
    return newest()


def _reach(url: str) -> PgConnection:
    """A connection without limits of time, as soon as the server takes one: it may just be starting."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection = connect(url, PATIENT)
            break
        except psycopg.OperationalError as fault:
            if time.monotonic() > ends:
                log.error("the database %s cannot be reached: %s", without_secrets(url), fault)
                raise Unavailable from fault
            time.sleep(PAUSE_S)
    if connection.info.server_version < OLDEST_SERVER:
        connection.close()
        raise ConfigError(reason=f"{without_secrets(url)} is served by a PostgreSQL older than 14")
    return connection


def _require_durable(connection: PgConnection) -> None:
    for setting in ("fsync", "synchronous_commit"):
        (value,) = connection.execute(f"SHOW {setting}".encode()).fetchone() or ("",)
        if value == "off":
            raise ConfigError(
                reason=f"the PostgreSQL server runs with {setting} = off: accepted requests would be lost when its "
                f"power fails. Turn {setting} on, or accept the loss with GESSO_ACCEPT_DATA_LOSS=true"
            )


def _version(connection: PgConnection) -> int:
    (is_there,) = connection.execute(ANY_VERSION).fetchone() or (False,)
    if not is_there:
        return 0
    (known,) = connection.execute(b"SELECT version FROM gesso_version").fetchone() or (0,)
    if known > newest():
        reason = f"the database belongs to a newer version of Gesso ({known}; this one knows {newest()})"
        raise ConfigError(reason=reason)
    return int(known)


def _scripts() -> list[str]:
    steps = sorted((resources.files("gesso.store.migrations") / "postgres").iterdir(), key=lambda step: step.name)
    return [step.read_text() for step in steps if step.name.endswith(".sql")]

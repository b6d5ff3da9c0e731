"""How Gesso connects to PostgreSQL: limits on both ends, because nobody may wait for ever."""

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from gesso.core.errors import ConfigError
from gesso.store.postgres.dialect import adapt, make_rows
from gesso.store.postgres.hands import PgConnection

CONNECT_S = 2  # the least that libpq knows
LIMITS = "-c statement_timeout=2000 -c lock_timeout=1500 -c idle_in_transaction_session_timeout=2000"
PATIENT = "-c statement_timeout=0 -c lock_timeout=10000"
"""Of upgrades: a new index on a large table takes its time."""


def settings_of(url: str, options: str = LIMITS) -> Mapping[str, Any]:
    """What libpq is told.

    Args:
        options: of the server's session; those in the URL come after them.

    Raises:
        ConfigError: when the URL cannot be read. It does not say why: the reason may quote the password.
    """
    try:
        told: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.Error:
        raise _unreadable() from None
    if not re.fullmatch(r"[0-9,]*", str(told.get("port", ""))):
        raise _unreadable()
    ours = {"connect_timeout": CONNECT_S, "tcp_user_timeout": 3000, "keepalives_idle": 10, "keepalives_interval": 2,
            "keepalives_count": 2, "application_name": "gesso"}  # fmt: skip
    return ours | told | {"options": f"{options} {told.get('options', '')}".strip()}


def connect(url: str, options: str = LIMITS) -> PgConnection:
    """A connection for moves.

    Raises:
        ConfigError: as `settings_of`.
        psycopg.OperationalError: when the server is away, or refuses us.
    """
    connection: PgConnection = psycopg.connect(
        autocommit=True, cursor_factory=psycopg.RawCursor, row_factory=make_rows, **settings_of(url, options)
    )
    adapt(connection.adapters)
    return connection


def _unreadable() -> ConfigError:
    return ConfigError(
        reason="the setting database is no URL like postgresql://user:password@host:5432/name; "
        "other characters than letters, digits and -._~ in the password must be percent-encoded"
    )


def without_secrets(url: str) -> str:
    """The URL for people to read: neither user nor password, nor options."""
    return re.sub(r"(?<=://).*@", "", url).partition("?")[0]

"""Tokens: secrets that speak for an owner. Only their hashes are kept."""

import hashlib
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from gesso.core.errors import BadToken
from gesso.core.request import Priority
from gesso.store.connection import Database
from gesso.store.rows import MICROSECOND, from_us, maybe_from_us

PREFIX = "gesso_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET_BYTES, SECRET_LENGTH, CHECK_LENGTH = 32, 43, 6
INSERT = """INSERT INTO tokens (id, owner, hash, created_at, expires_at, ceiling, admin)
    VALUES (?, ?, ?, now_us(), now_us() + ?, ?, ?)"""
GRANT = """SELECT owner, ceiling, admin FROM tokens WHERE hash = ? AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > now_us())"""
LIST = "SELECT * FROM tokens ORDER BY created_at, id"
REVOKE = "UPDATE tokens SET revoked_at = now_us() WHERE id = ? AND revoked_at IS NULL RETURNING owner"
ANY = "SELECT EXISTS (SELECT 1 FROM tokens WHERE revoked_at IS NULL)"
KEEP = "INSERT INTO secrets VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
READ = "SELECT value FROM secrets WHERE name = ?"


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; not the token."""

    id: str
    owner: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    ceiling: Priority
    is_admin: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token gives whoever holds it.

    Attributes:
        owner: whom it speaks for.
        ceiling: the most urgent priority that it may ask for.
        is_admin: whether it may look at everybody's queue, and cancel what waits there.
    """

    owner: str
    ceiling: Priority
    is_admin: bool


class Tokens:
    """The tokens of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, owner: str, *, lifetime: timedelta | None = None, ceiling: Priority = Priority.NORMAL,
        is_admin: bool = False,
    ) -> str:  # fmt: skip
        """A new token of *owner*, told this once: 256 random bits behind a prefix that scanners recognise."""
        token = new_token()
        lives_us = lifetime // MICROSECOND if lifetime else None
        values = (secrets.token_hex(4), owner, hash_of(token.encode()), lives_us, ceiling, is_admin)
        await self._database.write(lambda rows: rows.execute(INSERT, values))
        return token

    async def grant_of(self, token_hash: bytes) -> Grant:
        """Whom a token speaks for, and what it may ask for.

        Raises:
            BadToken: when its hash is unknown, expired or revoked.
        """
        row = await self._database.read(lambda rows: rows.execute(GRANT, (token_hash,)).fetchone())
        if row is None:
            raise BadToken
        return Grant(row["owner"], Priority(row["ceiling"]), bool(row["admin"]))

    async def list(self) -> list[Token]:
        """Every token, oldest first, revoked ones too."""
        rows = await self._database.read(lambda rows: rows.execute(LIST).fetchall())
        return [
            Token(row["id"], row["owner"], from_us(row["created_at"]), maybe_from_us(row["expires_at"]),
                  maybe_from_us(row["revoked_at"]), Priority(row["ceiling"]), bool(row["admin"]))
            for row in rows
        ]  # fmt: skip

    async def revoke(self, token_id: str) -> bool:
        """End a token for good; False when there is no live one with this id."""
        row = await self._database.write(lambda rows: rows.execute(REVOKE, (token_id,)).fetchone())
        return row is not None

    async def exist(self) -> bool:
        """Whether any live token is there."""
        row = await self._database.read(lambda rows: rows.execute(ANY).fetchone())
        return bool(row[0])

    async def secret(self, name: str) -> bytes:
        """The database's own secret called *name*, 32 random bytes, made at first use; every process gets the same."""
        fresh = secrets.token_bytes(32)
        await self._database.write(lambda rows: rows.execute(KEEP, (name, fresh)))
        row = await self._database.read(lambda rows: rows.execute(READ, (name,)).fetchone())
        return bytes(row[0])


def hash_of(token: bytes) -> bytes:
    """What is kept of a token. A random secret needs no slow hash."""
    return hashlib.sha256(token).digest()


def new_token() -> str:
    """Prefix, 256 random bits and a checksum of them, in base 62."""
    secret = _base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), SECRET_LENGTH)
    return PREFIX + secret + _base62(zlib.crc32(secret.encode()), CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))

"""Whom a message speaks for: the bearer token's owner."""

import time
from collections.abc import Sequence

from gesso.core.errors import BadToken
from gesso.store.tokens import Tokens, hash_of

FRESH_S = 2.0
MOST_REMEMBERED = 10_000
LONGEST_TOKEN = 512
Headers = Sequence[tuple[bytes, bytes]]


class Auth:
    """Answers from memory for two seconds, so that a revoked token ends soon and a poll stays cheap."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._owners: dict[bytes, tuple[str, float]] = {}

    async def owner(self, headers: Headers) -> str:
        """The owner that the one Authorization header speaks for.

        Raises:
            BadToken: when there is none, or more than one, or its token is malformed, unknown, expired or revoked.
        """
        token_hash = hash_of(_bearer(headers))
        remembered = self._owners.get(token_hash)
        now = time.monotonic()
        if remembered is not None and remembered[1] > now:
            return remembered[0]
        owner = await self._tokens.owner_of(token_hash)
        if len(self._owners) >= MOST_REMEMBERED:
            self._owners.clear()
        self._owners[token_hash] = (owner, now + FRESH_S)
        return owner


def _bearer(headers: Headers) -> bytes:
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) != 1:
        raise BadToken
    scheme, _, token = given[0].partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() != b"bearer" or not token or len(token) > LONGEST_TOKEN:
        raise BadToken
    return token

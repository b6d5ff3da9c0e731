"""Whom a message speaks for: the bearer token's owner."""

import time
from collections.abc import Sequence

from gesso.core.errors import BadToken
from gesso.store.tokens import Grant, Tokens, hash_of

FRESH_S = 2.0
MOST_REMEMBERED = 10_000
LONGEST_TOKEN = 512
Headers = Sequence[tuple[bytes, bytes]]


class Auth:
    """Answers from memory for two seconds, so that a revoked token ends soon and a poll stays cheap."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._grants: dict[bytes, tuple[Grant, float]] = {}

    async def grant(self, headers: Headers) -> Grant:
        """What the token in the one Authorization header gives.

        Raises:
            BadToken: when there is none, or more than one, or its token is malformed, unknown, expired or revoked.
        """
        token_hash = hash_of(_bearer(headers))
        remembered = self._grants.get(token_hash)
        now = time.monotonic()
        if remembered is not None and remembered[1] > now:
            return remembered[0]
        grant = await self._tokens.grant_of(token_hash)
        if len(self._grants) >= MOST_REMEMBERED:
            self._grants.clear()
        self._grants[token_hash] = (grant, now + FRESH_S)
        return grant


def _bearer(headers: Headers) -> bytes:
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) != 1:
        raise BadToken
    scheme, _, token = given[0].partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() != b"bearer" or not token or len(token) > LONGEST_TOKEN:
        raise BadToken
    return token

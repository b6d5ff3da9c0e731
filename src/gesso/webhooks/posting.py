"""One POST to a foreign host, which is judged anew each time. It knows no request and no schedule."""

import asyncio
from collections.abc import Mapping
from ssl import SSLContext

import aiohttp
from yarl import URL

from gesso.core.pictures import PictureFault
from gesso.files.addresses import Lookup, Policy, parse, resolve, system_lookup
from gesso.files.dialling import open_session

TRY_S = 15.0
CONNECT_S = 5.0
READ_AT_ONCE = 16 * 1024  # of an answer, before anybody asks for it; nobody does

_HEADERS = {"User-Agent": "gesso", "Content-Type": "application/json", "Accept-Encoding": "identity"}


class NotAnswered(Exception):
    """No answer came. The message says why in one word, which tells nothing about the network."""


class Post:
    """Sends bodies; redirects are not followed, and of an answer only its status is looked at.

    Args:
        deadline_s: for all of it, the look-up of the name included.
        ssl_context: trusted instead of the system's authorities.
        lookup: names to addresses, in place of the system's resolver.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        deadline_s: float = TRY_S,
        ssl_context: SSLContext | None = None,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._policy = policy
        self._deadline_s = deadline_s
        self._ssl_context = ssl_context
        self._lookup = lookup

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status that *url* answers with.

        Raises:
            NotAnswered: `refused` when its host may not be reached, before any packet; `timeout`; `unreachable`.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._post(url, {**_HEADERS, **headers}, body)
        except PictureFault:
            raise NotAnswered("refused") from None
        except TimeoutError:
            raise NotAnswered("timeout") from None
        except (OSError, ValueError, aiohttp.ClientError):
            raise NotAnswered("unreachable") from None

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        target = parse(url, self._policy)
        addresses = await resolve(target, self._policy, self._lookup)
        async with (
            open_session(addresses, connect_s=CONNECT_S, ssl_context=self._ssl_context) as session,
            session.post(
                URL(target.url, encoded=True), headers=headers, data=body, allow_redirects=False,
                read_bufsize=READ_AT_ONCE,
            ) as response,
        ):  # fmt: skip
            return response.status

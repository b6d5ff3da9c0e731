"""One URL to bytes: redirects, tries, size and time. It connects only to addresses that were judged."""

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext
from weakref import WeakValueDictionary

import aiohttp
from yarl import URL

from gesso.core.errors import Unavailable
from gesso.core.pictures import PictureFault
from gesso.files.addresses import Lookup, Policy, Target, follow, parse, resolve, system_lookup
from gesso.files.dialling import open_session

MOST_REDIRECTS = 3
PAUSES_S = (0, 0.2, 0.4)  # before each try of a host that cannot be reached or answers 5xx
LONGEST_HEADER = 32 * 1024

_HEADERS = {"User-Agent": "gesso", "Accept": "image/*", "Accept-Encoding": "identity"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Fetcher:
    """Fetches pictures from foreign hosts, without cookies, credentials, proxies or connections that are used twice.

    Args:
        deadline_s: for all of a fetch once it has its first turn: names, redirects and tries included.
        connect_s: for one connection, TLS included.
        per_host, in_all: how many fetches at once; more wait for their turn.
        ssl_context: trusted instead of the system's authorities.
        lookup: names to addresses, in place of the system's resolver.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        deadline_s: float = 30.0,
        connect_s: float = 5.0,
        per_host: int = 4,
        in_all: int = 32,
        ssl_context: SSLContext | None = None,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._policy = policy
        self._deadline_s = deadline_s
        self._connect_s = connect_s
        self._turns = _Turns(per_host, in_all)
        self._ssl_context = ssl_context
        self._lookup = lookup
        self._closed = False

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """What *url* answers with a 200.

        Raises:
            PictureFault: as `addresses.parse`; `url_not_allowed` when its host, or one that it redirects to, may not be
                reached, before any packet; `file_size_mb<` when more than *max_bytes* come; `image_fetch_failed` for
                everything else, and always in the same words, so that it serves nobody as a port scanner.
            Unavailable: after `close`.
        """
        if self._closed:
            raise Unavailable
        target = parse(url, self._policy)
        try:
            async with asyncio.timeout(None) as deadline:
                return await self._follow(target, max_bytes, deadline)
        except (OSError, ValueError, aiohttp.ClientError):  # TimeoutError is an OSError
            raise PictureFault("image_fetch_failed", seconds=round(self._deadline_s)) from None

    async def close(self) -> None:
        """Fetch nothing more; what is under way belongs to its caller. Twice is safe."""
        self._closed = True

    async def _follow(self, target: Target, max_bytes: int, deadline: asyncio.Timeout) -> bytes:
        for _ in range(1 + MOST_REDIRECTS):
            async with self._turns.take(target.host):
                if deadline.when() is None:
                    deadline.reschedule(asyncio.get_running_loop().time() + self._deadline_s)
                answer = await self._hop(target, max_bytes)
            if isinstance(answer, bytes):
                return answer
            target = answer
        raise _Unusable

    async def _hop(self, target: Target, max_bytes: int) -> bytes | Target:
        """The picture, or where it is said to be."""
        addresses = await resolve(target, self._policy, self._lookup)
        for pause in PAUSES_S:
            await asyncio.sleep(pause)
            with suppress(aiohttp.ClientConnectionError):
                async with self._get(target, addresses) as response:
                    if response.status < 500:
                        return await self._read(target, response, max_bytes)
        raise _Unusable

    @asynccontextmanager
    async def _get(self, target: Target, addresses: Sequence[str]) -> AsyncIterator[aiohttp.ClientResponse]:
        async with (
            open_session(addresses, connect_s=self._connect_s, ssl_context=self._ssl_context) as session,
            session.get(URL(target.url, encoded=True), headers=_HEADERS, allow_redirects=False) as response,
        ):
            yield response

    async def _read(self, target: Target, response: aiohttp.ClientResponse, max_bytes: int) -> bytes | Target:
        if sum(len(name) + len(value) for name, value in response.raw_headers) > LONGEST_HEADER:
            raise _Unusable
        if response.status in _REDIRECTS:
            return follow(target, _only(response, "Location"), self._policy)
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if response.status != 200 or coding not in ("identity", ""):
            raise _Unusable
        return await _body(response, max_bytes)


class _Unusable(OSError):
    """The host answered, and not with a picture."""


class _Turns:
    """Lets a few fetches run at once. Those that wait for a slow host hold no place that others could use."""

    def __init__(self, per_host: int, in_all: int) -> None:
        self._per_host = per_host
        self._all = asyncio.Semaphore(in_all)
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, host: str) -> AsyncIterator[None]:
        mine = self._hosts.setdefault(host, asyncio.Semaphore(self._per_host))
        async with mine, self._all:
            yield


def _only(response: aiohttp.ClientResponse, header: str) -> str:
    match response.headers.getall(header, []):
        case [value]:
            return value
    raise _Unusable


async def _body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if (response.content_length or 0) > max_bytes:
        raise PictureFault("file_size_mb<")
    body = io.BytesIO()  # gives its bytes away without a copy
    async for part in response.content.iter_any():
        body.write(part)
        if body.tell() > max_bytes:
            raise PictureFault("file_size_mb<")
    return body.getvalue()

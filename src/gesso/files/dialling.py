"""Connections to judged addresses, and to no other. What is asked there is the caller's business."""

import socket
from collections.abc import Sequence
from ssl import SSLContext

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

LONGEST_LINE = 9 * 1024  # holds a redirect to the longest URL


def open_session(
    addresses: Sequence[str], *, connect_s: float, ssl_context: SSLContext | None = None
) -> aiohttp.ClientSession:
    """A session that dials *addresses* whatever the name; no cookies, credentials or proxies, no connection used twice.

    Args:
        addresses: as judged by `addresses.resolve`.
        connect_s: for one connection, TLS included.
        ssl_context: trusted instead of the system's authorities.
    """
    connector = aiohttp.TCPConnector(
        resolver=_Judged(addresses), use_dns_cache=False, force_close=True,
        ssl=True if ssl_context is None else ssl_context,
    )  # fmt: skip
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
        auto_decompress=False,
        trust_env=False,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )


class _Judged(AbstractResolver):
    """Knows one name's judged addresses and nothing else, so that no other can be dialled."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 — the judged addresses decide
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None: ...

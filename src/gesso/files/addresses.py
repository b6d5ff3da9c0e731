"""Which hosts may be reached. This file parses and resolves names; it never connects."""

import asyncio
import re
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin

import idna

from gesso.core.pictures import PictureFault

LONGEST_URL = 8192
RESOLVE_S = 5
MOST_ADDRESSES = 32  # of one name; beyond it somebody is playing

Lookup = Callable[[str], Iterable[str]]

# Written out, and not taken from `ipaddress`: `is_global` and its kin let through multicast and some clouds' metadata,
# and differ between versions of Python. From the IANA registries of special-purpose addresses.
REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT, and a cloud's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's host
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols, and a cloud's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
GLOBAL_V6 = IPv6Network("2000::/3")  # nothing outside of it is reached; refused inside of it:
REFUSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols, Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: holds any IPv4 address
        "3fff::/20",  # documentation
    )
)

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<host>[^/?#:@%\[\]]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[!-\"$->@-~]*)?)(?P<query>(?:\?[!-\"$-~]*)?)(?:#[!-~]*)?",  # the fragment is never sent
    re.IGNORECASE,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")
_PRINTABLE = re.compile(r"[!-~]+")
_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
# getaddrinfo reads 2130706433, 0x7f000001, 127.1 and 0177.0.0.1 as addresses: these are no names
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9_-]+|0x[0-9a-f]*)")
_DOTTED_QUAD = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_FOREIGN_DOTS = re.compile("[\u3002\uff0e\uff61]")


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be reached beyond https on port 443 of public hosts.

    Attributes:
        allow_http: plain http too, on port 80 and the ports of the list.
        allow_ports: the ports that may be named or implied.
        allow_hosts: names in lower case, `*.suffix`, or literal addresses, which may be private addresses.
        allow_private: any host may be.
    """

    allow_http: bool = False
    allow_ports: tuple[int, ...] = (443,)
    allow_hosts: tuple[str, ...] = ()
    allow_private: bool = False

    def opens(self, host: str) -> bool:
        """Whether *host* may be at a private address."""
        return self.allow_private or any(_matches(host, pattern) for pattern in self.allow_hosts)

    def ports(self) -> frozenset[int]:
        return frozenset(self.allow_ports) | ({80} if self.allow_http else set())


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be fetched as far as its spelling tells.

    Attributes:
        url: rebuilt from the checked parts, without fragment; fetch this one.
        host: a name in lower-case ASCII without final dot, or an address without brackets.
        address: the host, where it is an address.
    """

    url: str
    scheme: str
    host: str
    port: int
    address: str | None


def parse(url: str, policy: Policy) -> Target:
    """Judge *url* by its spelling; nothing is resolved.

    Raises:
        PictureFault: `image_uri` when it is no URL of a scheme that may be used, `url_not_allowed` when its port or
            literal address may not be reached.
    """
    match = None if len(url) > LONGEST_URL or _UNPRINTABLE.search(url) else _URL.fullmatch(url)
    if match is None:
        raise _misspelt()
    scheme = match["scheme"].lower()
    if scheme not in ("https", "http") or (scheme == "http" and not policy.allow_http):
        raise _misspelt()
    host, address = _bracketed(match["v6"]) if match["v6"] else _host(match["host"])
    port = int(match["port"] or _DEFAULT_PORTS[scheme])
    if port not in policy.ports() or (address and not (is_allowed(address) or policy.opens(host))):
        raise _refused()
    authority = f"[{host}]" if match["v6"] else host
    authority += "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    rebuilt = f"{scheme}://{authority}{match['path'] or '/'}{match['query']}"
    return Target(rebuilt, scheme, host, port, host if address else None)


def follow(target: Target, location: str, policy: Policy) -> Target:
    """Where *target* redirects to, judged like any other URL.

    Raises:
        PictureFault: `url_not_allowed`, whatever is wrong with it.
    """
    # Before it is joined: urllib drops tabs and line ends in silence.
    if not _PRINTABLE.fullmatch(location) or "\\" in location:
        raise _refused()
    try:
        return parse(urljoin(target.url, location), policy)
    except (PictureFault, ValueError):
        raise _refused() from None


def is_allowed(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is a public address of a single host."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return not any(address in network for network in REFUSED_V4)
    return address in GLOBAL_V6 and not any(address in network for network in REFUSED_V6)


def system_lookup(host: str) -> Iterable[str]:
    """Every address that the system knows for *host*; blocks."""
    return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}


async def resolve(target: Target, policy: Policy, lookup: Lookup = system_lookup) -> tuple[str, ...]:
    """The addresses at which *target* may be dialled. Asked once: dial these, and do not look again.

    Args:
        lookup: called in a thread, with the name.

    Raises:
        PictureFault: `url_not_allowed` when any one of its addresses may not be reached.
        OSError: when it has none, too many, or the answer takes more than 5 s.
    """
    if target.address is not None:
        return (target.address,)
    lookup_ends = asyncio.get_running_loop().run_in_executor(_POOL, lambda: list(lookup(target.host)))
    found = await asyncio.wait_for(lookup_ends, RESOLVE_S)
    if not 0 < len(found) <= MOST_ADDRESSES:
        raise OSError("no address, or too many")
    if not policy.opens(target.host) and not all(is_allowed(ip_address(each)) for each in found):
        raise _refused()
    return tuple(found)


# Bounded, and apart from the loop's own: a name server that hangs must not stop the files' threads.
_POOL = ThreadPoolExecutor(32, thread_name_prefix="resolve")


def _misspelt() -> PictureFault:
    return PictureFault("image_uri")


def _refused() -> PictureFault:
    return PictureFault("url_not_allowed")


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _bracketed(text: str) -> tuple[str, IPv6Address]:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise _misspelt() from None
    return str(address), address


def _host(text: str) -> tuple[str, IPv4Address | None]:
    """The normal form of a name or dotted quad, and the address that it is."""
    host = _ascii(text.lower()).removesuffix(".")
    if _DOTTED_QUAD.fullmatch(host):
        try:
            return host, IPv4Address(host)
        except ValueError:
            raise _refused() from None
    if _NUMBER.fullmatch(host):
        raise _refused()
    if not _NAME.fullmatch(host):
        raise _misspelt()
    return host, None


def _ascii(name: str) -> str:
    """A name as DNS knows it; the strict rules of 2008, which turn no other sign into a digit or a dot."""
    if name.isascii() and "xn--" not in name:
        return name
    if _FOREIGN_DOTS.search(name):
        raise _misspelt()
    try:
        return idna.encode(name).decode("ascii")
    except UnicodeError:
        raise _misspelt() from None

"""One URL to bytes, against real listeners on this machine."""

import asyncio
import gzip
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import trustme

from gesso.core.errors import Unavailable
from gesso.core.pictures import PictureFault
from gesso.files.addresses import Policy
from gesso.files.fetcher import Fetcher

pytestmark = pytest.mark.anyio

MOST = 10 * 1024 * 1024 - 1
PICTURE = b"\x89PNG picture"
Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes = PICTURE, *lines: str) -> bytes:
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *lines])
    return head.encode() + b"\r\n\r\n" + body


def found(location: str, *lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 302 Found", f"Location: {location}", "Content-Length: 0", *lines, "", ""]).encode()


def status(code: int) -> bytes:
    return f"HTTP/1.1 {code} Something\r\nContent-Length: 5\r\n\r\nhello".encode()


class Host:
    """A TLS server on loopback that says what it is told to say, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self.connections = 0

    async def start(self, context: ssl.SSLContext) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()

    def says(self, path: str, *answers: Answer) -> str:
        """The URL of *path*, which gives *answers* in turn, the last one ever after."""
        self.answers[path] = list(answers)
        return f"https://images.example:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            asked = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(asked)
            answers = self.answers[asked.split()[1]]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def host(authority) -> AsyncIterator[Host]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("images.example", "cdn.example", "127.0.0.1").configure_cert(context)
    host = Host()
    await host.start(context)
    yield host
    await host.stop()


@pytest.fixture
def bystander(host) -> Iterator[socket.socket]:
    """A listener on another address and the same port, which nobody may knock at."""
    with socket.create_server(("127.0.0.2", host.port)) as listener:
        listener.setblocking(False)
        yield listener


def knocked(listener: socket.socket) -> bool:
    """Whether anybody has connected: the kernel greets for a listener that does not accept."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def fetcher(host, authority) -> Fetcher:
    """May reach images.example and cdn.example although they are on loopback; every other name is there too."""
    return fetcher_of(host, authority)


def fetcher_of(host: Host, authority: trustme.CA, lookup=lambda _: ["127.0.0.1"], **options) -> Fetcher:
    policy = Policy(allow_ports=(host.port,), allow_hosts=("images.example", "cdn.example"))
    return Fetcher(policy, ssl_context=trusting(authority), lookup=lookup, **options)


async def fault(fetcher: Fetcher, url: str, max_bytes: int = MOST) -> PictureFault:
    with pytest.raises(PictureFault) as raised:
        await fetcher.fetch(url, max_bytes)
    return raised.value


async def test_a_picture_is_asked_for_without_cookie_credential_or_referer(host, fetcher):
    url = host.says("/a.png?signature=x%2Fy", ok(PICTURE, "Content-Type: text/html", "Set-Cookie: a=b"))

    assert await fetcher.fetch(url, MOST) == PICTURE
    assert sorted(host.asked[0].strip().split("\r\n")) == [
        "Accept-Encoding: identity",
        "Accept: image/*",
        "Connection: close",
        "GET /a.png?signature=x%2Fy HTTP/1.1",
        f"Host: images.example:{host.port}",
        "User-Agent: gesso",
    ]


async def test_redirects_are_followed_with_nothing_of_the_hop_before(host, fetcher):
    host.says("/c", ok())
    host.says("/b", found(f"https://cdn.example:{host.port}/c"))
    url = host.says("/a", found("b", "Set-Cookie: session=1; Domain=example"))

    assert await fetcher.fetch(url, MOST) == PICTURE
    assert not any(word in "".join(host.asked) for word in ("Cookie", "Referer", "session"))
    assert host.connections == 3


async def test_a_fourth_redirect_is_not_followed(host, fetcher):
    failure = await fault(fetcher, host.says("/loop", found("/loop")))

    assert (failure.type, host.connections) == ("image_fetch_failed", 4)


@pytest.mark.parametrize("name", ["127.0.0.2", "inside.example", "[::ffff:127.0.0.2]", "0x7f000002", "2130706434"])
async def test_a_private_address_is_refused_without_a_packet(host, authority, bystander, name):
    fetcher = fetcher_of(host, authority, lambda _: ["127.0.0.2"])
    failure = await fault(fetcher, f"https://{name}:{host.port}/")

    assert failure.type == "url_not_allowed"
    assert not knocked(bystander)


@pytest.mark.parametrize("name", ["127.0.0.2", "inside.example", "[::1]", "images.example.inside.example"])
async def test_a_redirect_to_a_private_address_is_refused_without_a_packet(host, authority, bystander, name):
    fetcher = fetcher_of(host, authority, lambda name: ["127.0.0.2" if "inside" in name else "127.0.0.1"])
    failure = await fault(fetcher, host.says("/a", found(f"https://{name}:{host.port}/")))

    assert (failure.type, host.connections) == ("url_not_allowed", 1)
    assert not knocked(bystander)


@pytest.mark.parametrize("location", ["http://images.example/", "file:///etc/passwd", "https://images.example:22/"])
async def test_a_redirect_to_another_scheme_or_port_is_refused(host, fetcher, location):
    assert (await fault(fetcher, host.says("/a", found(location)))).type == "url_not_allowed"


async def test_a_name_is_looked_up_once_and_never_dialled_at_its_second_address(host, authority, bystander):
    asked: list[str] = []

    def flip(name: str) -> list[str]:
        asked.append(name)
        return ["127.0.0.1" if len(asked) % 2 else "127.0.0.2"]

    fetcher = fetcher_of(host, authority, flip)
    url = host.says("/a", status(503), ok())
    body = await fetcher.fetch(url, MOST)

    assert (body, asked) == (PICTURE, ["images.example"])
    assert not knocked(bystander)


async def test_proxies_of_the_environment_are_not_asked(host, fetcher, bystander, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.2:{host.port}")

    assert await fetcher.fetch(host.says("/a", ok()), MOST) == PICTURE
    assert not knocked(bystander)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(bytes(1024 * 1024))
        await writer.drain()


async def in_endless_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)  # draining into a connection that is gone never lets go of the loop


CLAIM = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nx"


@pytest.mark.parametrize("answer", [ok(bytes(MOST + 1)), CLAIM, endless, in_endless_chunks])
async def test_more_than_the_limit_is_cut_off(host, fetcher, answer):
    assert (await fault(fetcher, host.says("/a", answer))).type == "file_size_mb<"


async def test_the_limit_itself_is_allowed(host, fetcher):
    assert await fetcher.fetch(host.says("/a", ok(bytes(1000))), 1000) == bytes(1000)
    assert (await fault(fetcher, host.says("/a", ok(bytes(1001))), 1000)).type == "file_size_mb<"


async def slowly(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silently(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def with_endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: b\r\n" * 1000)
        await writer.drain()


USELESS = {
    "404": status(404),
    "401": status(401),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "206": ok().replace(b"200", b"206"),
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "429": status(429).replace(b"Content", b"Retry-After: 3600\r\nContent"),
    "503": status(503),
    "gzip": ok(gzip.compress(bytes(1_000_000)), "Content-Encoding: gzip"),
    "unknown coding": ok(PICTURE, "Content-Encoding: gesso"),
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
    "short chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nshort",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nshort\r\n0\r\n\r\n",
    "no location": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    "two locations": found("/b", "Location: /c"),
    "banner": b"SSH-2.0-OpenSSH_9.2\r\n",
    "noise": bytes(range(256)) * 100,
    "nothing": b"",
    "long header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "long headers": ok(PICTURE, *(f"X-{n}: " + "a" * 5000 for n in range(10))),
    "endless headers": with_endless_headers,
    "slow": slowly,
    "silent": silently,
}


@pytest.mark.parametrize("answer", USELESS.values(), ids=USELESS)
async def test_whatever_else_goes_wrong_has_one_wording_and_an_end(host, authority, answer):
    fetcher, started = fetcher_of(host, authority, deadline_s=1), time.monotonic()
    failure = await fault(fetcher, host.says("/a", answer))

    assert (failure.type, failure.facts) == ("image_fetch_failed", {"type": "image_fetch_failed", "seconds": 1})
    assert time.monotonic() - started < 2


def raises(error: Exception) -> Callable[[str], list[str]]:
    def lookup(_: str) -> list[str]:
        raise error

    return lookup


@pytest.mark.parametrize(
    "lookup", [raises(socket.gaierror()), lambda _: [], lambda _: ["127.0.0.3"], lambda _: ["::1"]]
)
async def test_a_host_that_cannot_be_found_or_reached_has_the_same_wording(host, authority, lookup):
    failure = await fault(fetcher_of(host, authority, lookup, deadline_s=2), host.says("/a", ok()))

    assert failure.facts == {"type": "image_fetch_failed", "seconds": 2}


async def test_a_certificate_for_another_name_is_not_trusted(host, fetcher, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(context)
    other = Host()
    await other.start(context)
    failure = await fault(fetcher_of(other, authority), other.says("/a", ok()))
    await other.stop()

    assert (failure.type, other.asked) == ("image_fetch_failed", [])


async def test_a_host_that_never_shakes_hands_is_given_up(authority):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = Host()
        host.port = listener.getsockname()[1]
        failure = await fault(fetcher_of(host, authority, connect_s=0.05), host.says("/a", ok()))

    assert failure.type == "image_fetch_failed"


async def test_a_server_that_recovers_is_asked_again_but_three_times_at_most(host, fetcher):
    assert await fetcher.fetch(host.says("/a", status(503), b"", ok()), MOST) == PICTURE
    assert host.connections == 3
    assert (
        await fault(fetcher, host.says("/a", status(500), status(500), status(500), ok()))
    ).type == "image_fetch_failed"
    assert host.connections == 6


async def test_a_hung_host_gets_four_fetches_and_holds_up_no_other(host, fetcher):
    arrived, release = asyncio.Semaphore(0), asyncio.Event()

    async def hung(writer: asyncio.StreamWriter) -> None:
        arrived.release()
        await release.wait()
        writer.write(ok())

    url = host.says("/hung", hung)
    waiting = [asyncio.create_task(fetcher.fetch(url, MOST)) for _ in range(40)]
    for _ in range(4):
        await arrived.acquire()
    host.says("/a", ok())
    other = await fetcher.fetch(f"https://cdn.example:{host.port}/a", MOST)
    at_once = host.connections - 1
    release.set()

    assert (other, at_once) == (PICTURE, 4)
    assert await asyncio.gather(*waiting) == [PICTURE] * 40


async def test_the_deadline_begins_with_the_first_turn_and_spans_tries_and_redirects(host, authority):
    fetcher, started = fetcher_of(host, authority, deadline_s=0.5), time.monotonic()

    async def after_a_while(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(found("/a"))

    assert (await fault(fetcher, host.says("/a", after_a_while))).type == "image_fetch_failed"
    assert time.monotonic() - started < 0.8


async def test_after_closing_nothing_is_fetched(host, fetcher):
    await fetcher.close()

    with pytest.raises(Unavailable):
        await fetcher.fetch(host.says("/a", ok()), MOST)

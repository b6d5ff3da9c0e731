"""Intake: pictures are fetched right after the submit, judged in the schema's words, and frozen once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from house import House, png
from script import eventually

from gesso.core.errors import Problem
from gesso.core.request import Request
from gesso.core.states import State

pytestmark = pytest.mark.anyio
Houses = Callable[..., Awaitable[House]]
GOOD, NARROW, LOW = "/good.png", "/narrow.png", "/low.png"
BODIES = {GOOD: png(), NARROW: png(200, 400), LOW: png(400, 200), "/text.png": b"no picture", "/big.png": b"x" * 2**20}


class PictureHost:
    """A web server on this machine with a few pictures; it counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.opened = asyncio.Event()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.opened.set()
        self._server.close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split()[1].decode()
        self.asked.append(path)
        if path.startswith("/slow"):
            await self.opened.wait()
        body = BODIES.get(path.removeprefix("/slow"))
        status = "404 Not Found" if body is None else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body or b'')}\r\n\r\n".encode() + (body or b""))
        writer.close()


@pytest.fixture
async def pictures() -> AsyncIterator[PictureHost]:
    host = PictureHost()
    await host.start()
    yield host
    await host.stop()


@pytest.fixture
async def open_house(houses: Houses, pictures: PictureHost) -> Callable[[], Awaitable[House]]:
    """Opens houses that may fetch from this machine."""

    async def open_house() -> House:
        return await houses(fetch_allow_http=True, fetch_allow_private=True, fetch_allow_ports=(pictures.port,))

    return open_house


@pytest.fixture
async def house(open_house: Callable[[], Awaitable[House]]) -> House:
    return await open_house()


async def test_I15_pictures_are_fetched_once_and_frozen_as_they_came(house: House, pictures: PictureHost) -> None:
    request = await house.submit("", pictures.url(GOOD), pictures.url(GOOD + "?2"))
    BODIES[GOOD + "?2"] = png(500, 500)
    house.start("intake")
    frozen = await ready(house, request)

    assert sorted(pictures.asked) == [GOOD, GOOD + "?2"]
    data = [await house.parts.shelf.read(each.blob or "", each.sha256) for each in frozen.pictures]
    assert data == [png(), png(500, 500)]
    kept = [await house.parts.files.get(each.blob or "") for each in frozen.pictures]
    assert [each.sha256 for each in kept] == [hashlib.sha256(each).hexdigest() for each in data]


async def test_I15_the_same_picture_twice_is_two_pictures(house: House, pictures: PictureHost) -> None:
    request = await house.submit("", pictures.url(GOOD), pictures.url(GOOD))
    house.start("intake")
    frozen = await ready(house, request)

    assert len({each.blob for each in frozen.pictures}) == 2


async def test_a_request_runs_with_the_pictures_that_were_taken_in(house: House, pictures: PictureHost) -> None:
    house.start("intake", "lane")

    await house.succeeded(await house.submit("", pictures.url(GOOD)))


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        (NARROW, "width_pixels>"),
        (LOW, "height_pixels>"),
        ("/big.png", "file_size_mb<"),
        ("/text.png", "unsupported_image"),
    ],
)
async def test_a_picture_that_breaks_a_rule_ends_its_request_with_that_rule(
    house: House, pictures: PictureHost, path: str, rule: str
) -> None:
    request = await house.submit("", pictures.url(GOOD), pictures.url(path))
    house.start("intake")
    failed = await house.failed(request)

    assert (failed.code, failed.name) == (422001, "InputRejected")
    assert [(each.loc, each.type) for each in failed.detail] == [(("body", "image_urls", 1), rule)]
    assert house.read(request).attempt == 0


@pytest.mark.parametrize("path", ["/missing.png"])
async def test_a_picture_that_cannot_be_fetched_ends_its_request(
    house: House, pictures: PictureHost, path: str
) -> None:
    request = await house.submit("", pictures.url(path))
    house.start("intake")
    failed = await house.failed(request)

    assert (failed.code, failed.name) == (422002, "FetchFailed")
    assert failed.detail == (Problem(("body", "image_urls", 0), "image_fetch_failed", {"seconds": 30}),)


async def test_an_address_that_may_not_be_reached_ends_its_request(houses: Houses, pictures: PictureHost) -> None:
    house = await houses(fetch_allow_http=True, fetch_allow_ports=(pictures.port,))
    request = await house.submit("", pictures.url(GOOD))
    house.start("intake")
    failed = await house.failed(request)

    assert (failed.code, [each.type for each in failed.detail]) == (422002, ["url_not_allowed"])
    assert pictures.asked == []


async def test_the_first_fault_of_the_list_is_told_however_late_it_comes(house: House, pictures: PictureHost) -> None:
    request = await house.submit("", pictures.url("/slow" + NARROW), pictures.url("/missing.png"), pictures.url(LOW))
    house.start("intake")
    await eventually(lambda: LOW in pictures.asked and "/missing.png" in pictures.asked)
    pictures.opened.set()
    failed = await house.failed(request)

    assert [(each.loc[-1], each.type) for each in failed.detail] == [(0, "width_pixels>")]


async def test_I13_a_refused_request_keeps_no_picture(house: House, pictures: PictureHost) -> None:
    request = await house.submit("", pictures.url(GOOD), pictures.url(NARROW))
    house.start("intake")
    await house.failed(request)

    kept = [keys async for keys in house.parts.blobs.keys_older_than(timedelta(seconds=-60))]
    assert not any(kept)


async def test_I24_a_host_that_hangs_holds_up_no_other_request(house: House, pictures: PictureHost) -> None:
    hung = await house.submit("", pictures.url("/slow" + GOOD))
    house.start("intake", "lane")
    await eventually(lambda: pictures.asked)
    await house.succeeded(await house.submit("", pictures.url(GOOD)))

    assert house.read(hung).state is State.IN_QUEUE


async def test_I11_a_request_that_is_cancelled_during_intake_stays_cancelled(
    house: House, pictures: PictureHost
) -> None:
    request = await house.submit("", pictures.url("/slow" + GOOD))
    house.start("intake")
    await eventually(lambda: pictures.asked)
    await house.queue.cancel(request.id, request.owner)
    pictures.opened.set()
    await ready(house, await house.submit("", pictures.url(GOOD)))

    assert house.read(request).state is State.CANCELLED
    assert not house.read(request).is_ready


async def test_I09_what_a_dead_intake_had_taken_begins_anew_elsewhere_at_once(
    open_house: Callable[[], Awaitable[House]], pictures: PictureHost
) -> None:
    dying, other = await open_house(), await open_house()
    dying.start("intake")
    request = await dying.submit("", pictures.url("/slow" + GOOD))
    await eventually(lambda: pictures.asked)
    await dying.kill()
    pictures.opened.set()
    other.start("intake", "upkeep")

    await eventually(lambda: other.read(request).is_ready, within_s=3)  # its lease would have lasted 60 s


async def test_an_intake_that_ends_leaves_nobody_working(house: House, pictures: PictureHost) -> None:
    await house.submit("", pictures.url("/slow" + GOOD))
    house.start("intake")
    await eventually(lambda: pictures.asked)
    before = asyncio.all_tasks() - {house.tasks["intake"]}
    house.tasks["intake"].cancel()
    await asyncio.wait([house.tasks["intake"]])

    ended = [task for task in before if task.done()]
    assert any("_take_in" in repr(task) for task in ended)
    assert not any("_take_in" in repr(task) for task in asyncio.all_tasks())


async def ready(house: House, request: Request) -> Request:
    await eventually(lambda: house.read(request).is_ready)
    return house.read(request)

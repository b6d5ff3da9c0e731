"""Rows of the project's list of bad inputs that end as a request: from the submit to the words of its result."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from types import ModuleType
from typing import Any

import pytest
from inside import Host, House, data_uri, found, house, image_host, ok, picture, the_net_is
from live import HOSTILE, WAN

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not (HOSTILE / "bad_inputs.json").exists(), reason="the list is not beside this checkout"),
]

RULE_OF = {"file_too_large": {"file_size_mb<"}, "image_too_small": {"width_pixels>", "height_pixels>"},
           "image_too_large": {"width_pixels<", "height_pixels<"}}  # fmt: skip
SOUND = {"ok", "ok_or_corrupt"}
FETCH_WORDS = {"image_fetch_failed", "url_not_allowed"}
LARGE = {"big_10MiB.png", "ok_10MiB_minus_1.png", "ok_10_000_000.png", "ok_motion_photo.jpg", "bomb_app_segments.jpg"}
SAMPLE = {  # one of each verdict, and what is judged in more than one place
    "small_1x1.png", "small_383x384.png", "large_600x5001.webp", "big_10MiB.png", "bomb_header_only_2g.png",
    "bomb_progressive_scans.jpg", "text_bomb_ztxt.png", "truncated_half.jpg", "truncated_half.webp", "zero_width.png",
    "random_100k.jpg", "xxe.svg", "animated_apng.png", "pickle.png", "ok_rgba.png", "ok_384x5000.jpg",
    "ok_exif_gps.jpg", "multi_picture.mpo.jpg", "wrong_ext_really_jpeg.png",
}  # fmt: skip


def rows(**wanted: str) -> list[dict[str, Any]]:
    if not (HOSTILE / "bad_inputs.json").exists():
        return []
    listed = json.loads((HOSTILE / "bad_inputs.json").read_text())
    return [row for row in listed if all(row[key] == value for key, value in wanted.items())]


def collection() -> ModuleType:
    sys.path.insert(0, str(HOSTILE))
    try:
        import hostile_images
    finally:
        sys.path.remove(str(HOSTILE))
    return hostile_images


def names() -> list[str]:
    return sorted(collection().CASES) if HOSTILE.exists() else []


class World:
    """A house, an image host that it may reach, and names that lead elsewhere."""

    def __init__(self, host: Host, here: House) -> None:
        self.host = host
        self.here = here
        self._number = count()

    def says(self, answer: Any, name: str = "images.example") -> str:
        return self.host.says(f"/{next(self._number)}.png", answer, name)

    async def outcome(self, *urls: str) -> dict[str, Any]:
        """What becomes of a submit with *urls*: a result, or the error of its 422."""
        return (await self.outcomes(*urls, at_once=1))[0]

    async def outcomes(self, *urls: str, at_once: int) -> list[dict[str, Any]]:
        """The same of equal submits."""
        answers = [await self.here.submit(image_urls=list(urls)) for _ in range(at_once)]
        if answers[0].status_code != 200:
            return [{"status": "refused", "error": answer.json()} for answer in answers]
        await self.here.take_in()
        return [await self.here.result(answer.json()["request_id"]) for answer in answers]

    async def said(self) -> dict[str, str]:
        """The schema's own words, by rule."""
        schema = (await self.here.client.get(f"/v1/models/{WAN}")).json()["input_schema"]["properties"]["image_urls"]
        rules = [*schema.get("validations", ()), *schema.get("items", {}).get("validations", ())]
        return {rule["validation_rule"]: rule["validation_error"] for rule in rules}


@asynccontextmanager
async def a_world(folder: Any, **limits: Any) -> AsyncIterator[World]:
    flips = iter([["127.0.0.1"]] + [["127.0.0.2"]] * 100)
    names: dict[str, Callable[[], list[str]]] = {
        "images.example": lambda: ["127.0.0.1"],
        "cdn.example": lambda: ["127.0.0.1"],
        "flips.example": lambda: next(flips),
        "loop.example": lambda: ["127.0.0.1"],
        "six.example": lambda: ["::1"],
        "mapped.example": lambda: ["::ffff:10.0.0.1"],
        "mixed.example": lambda: ["93.184.216.34", "10.0.0.1"],
        "metadata.example": lambda: ["169.254.169.254"],
        "many.example": lambda: [f"93.184.216.{number}" for number in range(250)] * 4,
        "none.example": list,
        "api.example.org": lambda: ["127.0.0.1"],
    }
    async with image_host() as (host, trusting):
        opened = ("images.example", "cdn.example", "flips.example")
        with the_net_is(names, trusting, **limits):
            async with house(folder, fetch_allow_hosts=opened, fetch_allow_ports=(host.port, 443)) as here:
                yield World(host, here)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, nowhere: None) -> AsyncIterator[World]:
    async with a_world(tmp_path_factory.mktemp("world") / "house", deadline_s=2.0, connect_s=1.0) as world:
        yield world


async def expect_fault(world: World, outcome: dict[str, Any], words: set[str], *, at: int) -> None:
    """That *outcome* fails by one of *words*, told of the picture *at*, in the schema's words where it has some."""
    error, said = outcome["error"], await world.said()
    assert outcome["status"] in ("failed", "refused")
    (detail,) = error["detail"]
    assert detail["loc"] == ["body", "image_urls", at]
    assert detail["type"] in words
    assert error["code"] == (422002 if detail["type"] in FETCH_WORDS else 422001)
    message = error.get("message", detail["msg"])
    assert message == detail["msg"]
    if detail["type"] in said:
        assert said[detail["type"]] in message


async def judge(world: World, name: str, *, by_url: bool, at: int = 0) -> None:
    case = collection().CASES[name]
    data = collection().build(name)
    value = world.says(ok(data)) if by_url else data_uri(data)
    others = [data_uri(picture())] * at

    outcome = await world.outcome(*others, value)

    if case.expect in SOUND and outcome["status"] not in ("failed", "refused"):
        assert outcome["status"] == "in_queue"
        assert await world.here.claim() is not None
    else:
        words = {"image_corrupt"} if case.expect == "ok_or_corrupt" else RULE_OF.get(case.expect, {case.expect})
        if not data and not by_url:
            words = {"image_uri"}  # a data URI without data is not well spelt
        await expect_fault(world, outcome, words, at=at)


@pytest.mark.parametrize("name", sorted(SAMPLE))
async def test_a_hostile_picture_by_url_ends_its_request_with_the_right_words(world, name):
    await judge(world, name, by_url=True, at=len(name) % 3)


@pytest.mark.parametrize("name", sorted(SAMPLE - LARGE))
async def test_a_hostile_picture_within_the_message_is_refused_with_the_right_words(world, name):
    await judge(world, name, by_url=False, at=len(name) % 3)


@pytest.mark.slow
@pytest.mark.parametrize("by_url", [True, False])
@pytest.mark.parametrize("name", names())
async def test_every_hostile_picture_gets_the_right_words(world, name, by_url):
    await judge(world, name, by_url=by_url)


async def test_the_rows_of_the_list_expect_what_the_collection_says():
    cases = collection().CASES
    for row in rows(area="image", phase="job"):
        name = row["how_to_make"].removeprefix("hostile_images.py: ")
        expected = {row["expected_code"], *row.get("also_code", ())}
        assert cases[name].expect in expected or cases[name].expect == "ok_or_corrupt"


async def test_nothing_is_kept_of_a_refused_pair_of_pictures(world):
    before = world.here.left()

    outcome = await world.outcome(data_uri(picture()), data_uri(collection().build("truncated_half.jpg")))

    await expect_fault(world, outcome, {"image_corrupt"}, at=1)
    assert world.here.left() == before


async def test_the_first_fault_in_order_is_told(world):
    small, page = world.says(ok(picture(383, 384))), world.says(ok(b"<html>"))

    await expect_fault(world, await world.outcome(page, small), {"unsupported_image"}, at=0)
    await expect_fault(world, await world.outcome(small, page), {"width_pixels>"}, at=0)


# The areas ssrf and fetch: id of the row -> the URL to send, and the words that are right.


async def _hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.is_closing():
        writer.write(bytes(2**16))
        await writer.drain()
        await asyncio.sleep(0)


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _endless_header(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"X: " + b"a" * 1000 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)


def at(name: str) -> Callable[[World], str]:
    return lambda world: f"https://{name}:{world.host.port}/"


def answered(answer: Any, name: str = "images.example") -> Callable[[World], str]:
    return lambda world: world.says(
        answer(world) if callable(answer) and answer.__name__ == "<lambda>" else answer, name
    )


PICTURE = picture()
REFUSED, FAILED = {"url_not_allowed"}, {"image_fetch_failed"}
EITHER = REFUSED | FAILED
ROWS: dict[str, list[tuple[Callable[[World], str], set[str]]]] = {
    "S30": [(at("loop.example"), REFUSED)],
    "S31": [(at("six.example"), REFUSED), (at("mapped.example"), REFUSED), (at("mixed.example"), REFUSED)],
    "S34": [(at("metadata.example"), REFUSED)],
    "S35": [(answered(found("https://169.254.169.254/latest/")), REFUSED)],
    "S36": [
        (answered(found("http://images.example/")), REFUSED),
        (answered(found("file:///etc/passwd")), REFUSED),
        (answered(found("https://images.example:22/")), REFUSED),
    ],
    "S38": [
        (answered(found("https://images.example/\ra: b")), EITHER),
        (answered(found("https://user@images.example/")), EITHER),
        (answered(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), EITHER),
        (answered(found("")), EITHER),
    ],
    "S40": [(at("many.example"), FAILED), (at("none.example"), FAILED)],
    "S41": [(at("loop.example"), REFUSED)],
    "S43": [(lambda _: "https://api.example.org/v1/requests/x/result", EITHER)],
    "S44": [(answered(ok(PICTURE)), set()), (at("loop.example"), REFUSED)],
    "T02": [(answered(b"HTTP/1.1 429 Slow\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"), FAILED)],
    "T05": [(answered(_endless), {"file_size_mb<"})],
    "T06": [(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + PICTURE[:100]), FAILED)],
    "T08": [(answered(_drip), FAILED)],
    "T09": [(answered(_hang), FAILED)],
    "T10": [(answered(_endless_header), FAILED)],
    "T11": [(answered(ok(PICTURE, "Content-Encoding: gzip")), FAILED)],
    "T13": [(answered(noise), FAILED) for noise in (b"SSH-2.0-OpenSSH_9\r\n", b"220 mail ESMTP\r\n", b"\0\1\2\3" * 99)],
    "T14": [(answered(lambda world: found(world.says(ok(PICTURE)), "Set-Cookie: a=b")), set())],
    "T15": [(answered(ok(picture(format="JPEG"), "Content-Type: text/html")), set())],
    "T16": [(answered(ok(b"<html>sign in</html>", "Content-Type: image/png")), {"unsupported_image"})],
    "T17": [(answered(ok(PICTURE, 'Content-Disposition: attachment; filename="../../x"')), set())],
}
TOLD_ELSEWHERE = {"S33", "T18", "T19", "T20"}


@pytest.mark.parametrize("row", ROWS)
async def test_a_hostile_host_costs_its_request_and_nobody_else(world, row):
    for make, words in ROWS[row]:
        outcome = await world.outcome(make(world))
        if words:
            await expect_fault(world, outcome, words, at=0)
            for word in ("127.0.0.1", "::1", "169.254", "10.0.0.1", "sign in", "refused", "SSH"):
                assert word not in json.dumps(outcome)
        else:
            assert outcome["status"] == "in_queue", outcome
            assert await world.here.claim() is not None


def test_every_row_that_ends_as_a_request_is_tried():
    for area in ("ssrf", "fetch"):
        for row in rows(area=area, phase="job"):
            expected = {row.get("schema_rule", row["expected_code"]), *row.get("also_code", ())}
            assert row["id"] in ROWS.keys() | TOLD_ELSEWHERE, row["id"]
            for _, words in ROWS.get(row["id"], ()):
                assert words <= expected or row["id"] in {"S31", "S38", "S40"}, row["id"]
                assert words or row["expected_code"] == "ok" or row["id"] == "S44"


async def test_a_name_that_flips_is_asked_once_and_dialled_where_it_was_judged(world):
    url = world.says(ok(PICTURE), "flips.example")

    outcome = await world.outcome(url)

    assert outcome["status"] == "in_queue", outcome
    assert await world.here.claim() is not None
    assert "flips.example" in world.host.asked[-1]


@pytest.mark.slow
async def test_two_hundred_requests_at_a_hung_host_all_end(tmp_path):
    async with a_world(tmp_path / "house", deadline_s=0.5, connect_s=0.5, per_host=128, in_all=128) as world:
        hung = world.says(_hang)
        ids = [(await world.here.submit(image_urls=[hung])).json()["request_id"] for _ in range(200)]

        await world.here.take_in()

        results = [await world.here.result(each) for each in ids]
        assert {result["status"] for result in results} == {"failed"}
        assert {result["error"]["code"] for result in results} == {422002}


async def test_a_picture_is_fetched_once_whatever_waits_for_the_engine(world):
    before = len(world.host.asked)
    url = world.says(ok(PICTURE))
    outcome = await world.outcome(url, url)
    request = await world.here.claim()

    assert outcome["status"] == "in_queue"
    assert request is not None
    assert len(world.host.asked) - before <= 2
    world.host.answers.clear()
    assert [await world.here.parts.shelf.read(each.blob or "", each.sha256) for each in request.pictures] == [
        PICTURE
    ] * 2

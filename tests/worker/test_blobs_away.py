"""While the blobs are away nothing fails for it: outputs wait to be kept, and requests for their pictures."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from house import House
from s3 import Door, Server
from script import eventually

from gesso.core.request import Request
from gesso.core.states import State

pytestmark = pytest.mark.anyio
Houses = Callable[..., Awaitable[House]]


@pytest.fixture
async def house(houses: Houses, s3_server: Server, s3_door: Door) -> AsyncIterator[House]:
    yield await houses(blobs=f"s3://{s3_server.new_bucket()}/p")
    s3_door.mode = "open"


@pytest.mark.slow
async def test_I12_what_was_made_while_the_bucket_was_away_is_kept_when_it_is_back(
    house: House, s3_door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    house.start("lane")
    request = await house.submit("gate:go")
    await house.begun("gate:go")
    s3_door.mode = "shut"
    house.script.open("go")
    await eventually(lambda: "has to wait" in caplog.text)
    held = house.read(request)
    s3_door.mode = "open"
    (file,) = (await house.succeeded(request)).files

    assert (held.state, held.outcome) == (State.IN_PROGRESS, None)
    assert await house.parts.shelf.read(file.key, file.sha256)
    assert house.script.journal().count("begin gate:go") == 1  # it was not run again for that


@pytest.mark.slow
async def test_a_request_whose_picture_cannot_be_read_now_waits_for_it(
    house: House, s3_door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    request = await with_picture(house)
    s3_door.mode = "shut"
    house.start("lane")
    await eventually(lambda: "has to wait" in caplog.text)
    held = house.read(request)
    s3_door.mode = "open"

    assert held.outcome is None
    assert (await house.succeeded(request)).files


async def test_I18_a_request_whose_picture_is_damaged_has_failed_and_the_next_one_runs(house: House) -> None:
    request = await with_picture(house, sha256="0" * 64)
    house.start("lane")

    assert (await house.failed(request)).code == 500001
    assert (await house.succeeded(await house.submit("next"))).files


async def with_picture(house: House, **changed: str) -> Request:
    """A request whose picture is frozen already."""
    from dataclasses import replace

    from house import OWNER, png

    from gesso.assembly import now
    from gesso.core.pictures import Kept, Picture

    key = house.parts.blobs.new_key("png")
    kept = Kept(key, "input", "a.png", "image/png", len(png()), await house.parts.blobs.put(key, png()))
    picture = replace(Picture("image_urls", 0).frozen(kept), **changed)  # type: ignore[arg-type]
    request = Request.new(
        owner=OWNER, model_id=house.script.model, input={"prompt": "x", "image_size": "512*512 (1:1)"}, at=now(),
        pictures=(picture,),
    )  # fmt: skip
    await house.queue.add(request, [kept])
    return request

"""Results carry their story: in the metadata, and in the picture itself."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from house import House
from PIL import Image

from gesso.core.request import Request
from gesso.worker.story import inscription, story, with_timing

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def ran(**times: datetime) -> Request:
    return replace(Request.new(owner="alice", model_id="a/one", input={}, at=NOON), attempt=2, **times)  # type: ignore[arg-type]


async def test_a_result_says_which_attempt_it_is_and_how_long_each_part_took(house: House) -> None:
    house.start("lane")
    succeeded = await house.succeeded(await house.submit("slow"))

    notes = succeeded.notes
    assert (notes["attempt"], notes["prompt_used"], notes["engine"]) == (1, "slow", "scripted")
    assert list(notes["timings"]) == ["queue", "intake", "run", "encode"]
    assert 1 <= notes["timings"]["run"] < 9  # ten steps of 0.1 s
    assert all(0 <= seconds < 9 for seconds in notes["timings"].values())


async def test_the_picture_carries_the_same_story(house: House) -> None:
    house.start("lane")
    request = await house.submit("picture:RGB")
    succeeded = await house.succeeded(request)

    (file,) = succeeded.files
    png = Image.open(io.BytesIO(await house.parts.shelf.read(file.key, file.sha256)))
    png.load()
    told = json.loads(png.info["gesso"])
    assert png.info["Software"].startswith("Gesso ")
    assert told.pop("model_id") == request.model_id
    timings = {name: seconds for name, seconds in succeeded.notes["timings"].items() if name != "encode"}
    assert told == {**succeeded.notes, "timings": timings}


def test_queue_and_intake_are_told_apart() -> None:
    fetched = story(ran(ready_at=at(2), started_at=at(5)), {})
    brought = story(ran(started_at=at(5)), {})
    skewed = story(ran(ready_at=at(2), started_at=at(1)), {})

    assert fetched["timings"] == {"queue": 3.0, "intake": 2.0}
    assert brought["timings"] == {"queue": 5.0, "intake": 0.0}
    assert skewed["timings"] == {"queue": 0.0, "intake": 2.0}
    assert fetched["attempt"] == 2


def test_an_engines_own_timings_stay() -> None:
    notes = with_timing({"timings": {"denoise": 1.5}}, "run", 2.0)

    assert story(ran(started_at=NOON), notes)["timings"] == {"queue": 0.0, "intake": 0.0, "denoise": 1.5, "run": 2.0}


def test_no_url_is_written_into_a_picture() -> None:
    notes = {
        "prompt_used": "like https://secret.example/a?key=1 please",
        "url": "https://x.example",
        "plan": [{"path": "/x"}],
    }

    text = inscription(ran(), notes)["gesso"]

    assert json.loads(text) == {"model_id": "a/one", "prompt_used": "like … please", "plan": [{}]}

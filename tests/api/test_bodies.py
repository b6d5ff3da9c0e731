"""How much is read of whom: limits of bodies, and the budget of bytes in flight."""

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator

import httpx2
import pytest
from PIL import Image
from served import EXAMPLE, SUBMIT, Serve, Served, data_uri

from gesso.config import Settings

JSON = {"Content-Type": "application/json"}
KIB, MIB = 2**10, 2**20


def padded(size: int, body: bytes = b'{"prompt": "a", "image_urls": ["https://images.example/a.png"]}') -> bytes:
    return body.ljust(size)


async def in_parts(body: bytes, size: int = 64 * KIB) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def told(answer: httpx2.Response) -> tuple[int, int | None]:
    return answer.status_code, answer.json().get("code")


async def test_the_limits_are_those_of_the_contract() -> None:
    fields = Settings.model_fields

    assert fields["body_limit"].default == 64 * MIB
    assert fields["other_body_limit"].default == 256 * KIB
    assert fields["bodies_in_flight"].default == 256 * MIB


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "verdict"), [(256 * KIB, (200, None)), (256 * KIB + 1, (413, 413001))])
async def test_what_is_no_picture_may_be_256_kib_and_not_a_byte_more(
    served: Served, size: int, verdict: tuple[int, int | None], chunked: bool
) -> None:
    body = padded(size)

    answer = await served.client.post(SUBMIT, content=in_parts(body) if chunked else body, headers=JSON)

    assert told(answer) == verdict


@pytest.mark.parametrize(("spare", "status"), [(0, 200), (1, 413)])
async def test_the_limit_of_other_content_is_beside_the_pictures(served: Served, spare: int, status: int) -> None:
    uris = [data_uri(noise(384)), data_uri(noise(400))]
    body = f'{{"prompt": "a", "image_urls": ["{uris[0]}", "{uris[1]}"]}}'.encode()

    answer = await served.client.post(
        SUBMIT, content=padded(sum(map(len, uris)) + 256 * KIB + spare, body), headers=JSON
    )

    assert answer.status_code == status


def noise(side: int) -> bytes:
    """A picture that does not compress."""
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(1).randbytes(side * side * 3)).save(file, "PNG")
    return file.getvalue()


async def test_a_picture_is_not_other_content_for_being_written_with_escaped_slashes(serve_with: Serve) -> None:
    body = json.dumps({"prompt": "a", "image_urls": [data_uri(noise(384))]}).replace("/", "\\/")
    assert body.count("\\/") > 4096

    async with serve_with(other_body_limit=4096) as served:
        assert (await served.client.post(SUBMIT, content=body, headers=JSON)).status_code == 200


async def test_a_data_uri_anywhere_else_is_other_content(served: Served) -> None:
    uri = data_uri(b"x" * 300 * KIB)

    for body in (EXAMPLE | {"unknown": uri}, EXAMPLE | {"prompt": uri}, EXAMPLE | {"image_urls": ["x" * 300 * KIB]}):
        assert told(await served.client.post(SUBMIT, json=body)) == (413, 413001)


async def test_a_body_that_says_it_is_too_long_is_not_read(served: Served) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    for size in (64 * MIB + 1, 10**20):
        headers = JSON | {"Content-Length": str(size)}
        assert told(await served.client.post(SUBMIT, content=never(), headers=headers)) == (413, 413001)


async def test_a_chunked_body_is_cut_off_at_the_limit_wherever_it_would_end(served: Served) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += MIB
            yield b" " * MIB

    answer = await served.client.post(SUBMIT, content=endless(), headers=JSON)

    assert told(answer) == (413, 413001)
    assert sent == 65 * MIB


async def test_a_wrong_field_beside_large_pictures_is_a_problem_of_the_input(served: Served) -> None:
    before = served.left()
    uri = data_uri(b"x" * (9 * MIB))

    answer = await served.client.post(SUBMIT, json={"prompt": "a", "image_urls": [uri], "seed": -1})

    assert [each["type"] for each in answer.json()["detail"]] == ["greater_than_equal"]
    assert served.left() == before


class Slow:
    """A large body that stops halfway until it is let go."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.halfway = asyncio.Event()
        self.go = asyncio.Event()

    async def parts(self) -> AsyncIterator[bytes]:
        yield b" " * (self.size // 2)
        self.halfway.set()
        await self.go.wait()
        yield b" " * (self.size - self.size // 2)


@pytest.mark.parametrize("declared", [True, False])
async def test_one_owner_has_half_of_the_bytes_in_flight_and_gets_them_back(serve_with: Serve, declared: bool) -> None:
    async with serve_with(bodies_in_flight=4 * MIB) as served:
        first = Slow(3 * MIB // 2)
        headers = JSON | ({"Content-Length": str(first.size)} if declared else {})
        sending = asyncio.create_task(served.client.post(SUBMIT, content=first.parts(), headers=headers))
        await first.halfway.wait()

        second = await served.client.post(SUBMIT, content=b" " * (3 * MIB // 2), headers=JSON)
        small = await served.client.post(SUBMIT, content=b" " * (256 * KIB), headers=JSON)
        first.go.set()
        await sending
        after = await served.client.post(SUBMIT, content=b" " * (3 * MIB // 2), headers=JSON)

    assert told(second) == (429, 429001)
    assert int(second.headers["retry-after"]) >= 1
    assert told(small) == (400, 400000), "small bodies do not draw on it"
    assert told(after) == (400, 400000), "given back"


async def test_when_all_bytes_are_in_flight_everybody_is_told_to_come_back(serve_with: Serve) -> None:
    async with serve_with(bodies_in_flight=4 * MIB) as served:
        clients = [await served.client_for(owner) for owner in ("a", "b", "c")]
        bodies = [Slow(2 * MIB), Slow(2 * MIB)]
        sending = [
            asyncio.create_task(
                client.post(SUBMIT, content=body.parts(), headers=JSON | {"Content-Length": str(2 * MIB)})
            )
            for client, body in zip(clients, bodies, strict=False)
        ]
        for body in bodies:
            await body.halfway.wait()

        third = await clients[2].post(SUBMIT, content=b" " * MIB, headers=JSON)
        for body in bodies:
            body.go.set()
        await asyncio.gather(*sending)
        after = await clients[2].post(SUBMIT, content=b" " * MIB, headers=JSON)

    assert told(third) == (503, 503001)
    assert int(third.headers["retry-after"]) >= 1
    assert told(after) == (400, 400000)

"""The pictures of a submit: spelling and bytes are judged at once, good bytes are frozen, nothing is fetched."""

import base64
import json
import re

import pytest
from served import ECHO, SUBMIT, Served, data_uri, picture


async def refused(served: Served, *urls: str, language: str = "en") -> list[tuple[list[str | int], str, str]]:
    """The problems with these pictures, and the law that a refusal leaves nothing behind."""
    before = served.left()
    answer = await served.client.post(f"{SUBMIT}?lang={language}", json={"prompt": "a", "image_urls": list(urls)})

    assert (answer.status_code, answer.json()["code"]) == (422, 422001), answer.text
    assert served.left() == before
    return [(each["loc"], each["type"], each["msg"]) for each in answer.json()["detail"]]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("head", ["data:image/png;base64,", "DATA:Image/whatever;name=a b.png;BASE64,"])
async def test_a_data_uri_is_taken_by_its_content_whatever_it_declares(served: Served, format: str, head: str) -> None:
    uri = head.replace(" ", "") + base64.b64encode(picture(format=format)).decode()

    answer = await served.client.post(SUBMIT, json={"prompt": "a", "image_urls": [uri]})

    assert answer.status_code == 200


async def test_bytes_that_came_along_are_frozen_before_the_answer(fresh: Served) -> None:
    data = picture()
    request_id = await fresh.submit(image_urls=[data_uri(data)])

    request = await fresh.parts.queue.get(request_id, "alice")
    assert request.is_ready
    assert await fresh.parts.blobs.read(request.pictures[0].blob or "") == data
    assert fresh.rows() == (1, 1)


async def test_base64_is_in_no_row(fresh: Served) -> None:
    uri = data_uri(picture())
    payload = uri.partition(",")[2].encode()
    await fresh.submit(image_urls=["https://images.example/a.png", uri])

    files = [path.read_bytes() for path in fresh.folder.glob("gesso.db*")]
    assert sum(map(len, files)) > 0
    assert not any(payload[:40] in file or b"base64" in file for file in files)


async def test_a_data_uri_may_stand_beside_a_url_which_is_not_fetched(fresh: Served) -> None:
    request_id = await fresh.submit(image_urls=["https://images.example/a.png", data_uri(picture())])

    request = await fresh.parts.queue.get(request_id, "alice")
    assert [(each.url, bool(each.blob)) for each in request.pictures] == [
        ("https://images.example/a.png", False),
        (None, True),
    ]
    assert not request.is_ready


async def test_every_bad_picture_is_told_by_its_place_and_its_rules_own_sentence(served: Served) -> None:
    good, small, broken = picture(), picture(383, 384), picture()[:-400]

    assert await refused(served, data_uri(small), data_uri(good), data_uri(broken), language="ja") == [
        (["body", "image_urls", 0], "width_pixels>", "各画像の辺は少なくとも384ピクセル必要です。"),
        (["body", "image_urls", 2], "image_corrupt", "画像が壊れていてデコードできません。"),
    ]


@pytest.mark.parametrize(
    ("data", "type"),
    [
        (picture(384, 383), "height_pixels>"),
        (picture(5001, 384), "width_pixels<"),
        (picture(384, 5001), "height_pixels<"),
        (b"GIF89a" + bytes(100), "unsupported_image"),
        (b"<svg/>", "unsupported_image"),
        (picture()[:100], "image_corrupt"),
        (bytes(10 * 2**20), "file_size_mb<"),
    ],
    ids=["low", "wide", "high", "gif", "svg", "cut", "large"],
)
async def test_bytes_are_judged_by_the_rules_of_the_schema(served: Served, data: bytes, type: str) -> None:
    assert [each[:2] for each in await refused(served, data_uri(data))] == [(["body", "image_urls", 0], type)]


async def test_sides_of_384_and_of_5000_pixels_are_accepted(served: Served) -> None:
    uris = [data_uri(picture(384, 5000)), data_uri(picture(5000, 384))]

    assert (await served.client.post(SUBMIT, json={"prompt": "a", "image_urls": uris})).status_code == 200


@pytest.mark.parametrize(
    "uri",
    [
        "data:text/html;base64,PGI+",
        "data:;base64,AAAA",
        "data:image/png,AAAA",
        "data:image/png;base64,",
        "data:image/png;base64,AAA",
        "data:image/png;base64,AAAA====",
        "data:image/png;base64,AA AA",
        "data:image/png;base64,AA-_",
        "data:image/png;base64;AAAA",
        "data:",
        "data:image/png;base64," + "é" * 4,
    ],
)
async def test_a_misspelt_data_uri_is_told_as_such(served: Served, uri: str) -> None:
    assert [each[1] for each in await refused(served, uri)] == ["image_uri"]


@pytest.mark.parametrize(
    ("url", "type"),
    [
        ("http://images.example/a.png", "image_uri"),
        ("ftp://images.example/a.png", "image_uri"),
        ("file:///etc/passwd", "image_uri"),
        ("images.example/a.png", "image_uri"),
        ("", "image_uri"),
        ("https://user@images.example/", "image_uri"),
        ("https://127.0.0.1/", "url_not_allowed"),
        ("https://[::1]/", "url_not_allowed"),
        ("https://2130706433/", "url_not_allowed"),
        ("https://images.example:22/", "url_not_allowed"),
    ],
)
async def test_the_spelling_of_a_url_is_judged_at_once(served: Served, url: str, type: str) -> None:
    assert [each[1] for each in await refused(served, "https://images.example/a.png", url)] == [type]


async def test_no_refusal_repeats_what_was_sent(served: Served) -> None:
    secret = "https://127.0.0.1/secret?signature=hunter2"
    answer = await served.client.post(
        SUBMIT, json={"prompt": "p" * 2000, "image_urls": [secret, data_uri(b"hunter2" * 9)]}
    )

    assert answer.status_code == 422
    assert not re.search("hunter2|secret|127|ppp|" + base64.b64encode(b"hunter2").decode()[:6], answer.text)


async def test_a_model_that_needs_no_prompt_takes_a_picture_alone(served: Served) -> None:
    answer = await served.client.post(f"/v1/models/{ECHO}", json={"image_urls": [data_uri(picture())]})

    assert answer.status_code == 200


async def test_slashes_may_be_escaped_as_some_languages_do(served: Served) -> None:
    body = json.dumps({"prompt": "a", "image_urls": [data_uri(picture())]}).replace("/", "\\/")

    answer = await served.client.post(SUBMIT, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 200

"""Pictures that come inside the request."""

from base64 import b64encode

import pytest

from gesso.core.pictures import PictureFault
from gesso.files.data_uris import decode, is_data_uri

PAYLOAD = "iVBORw0KGgo="


@pytest.mark.parametrize(
    "head",
    ["data:image/png;base64", "DATA:IMAGE/PNG;BASE64", "data:image/svg+xml;charset=utf-8;name=a.png;base64",
     "data:image/x;;base64", "data:image/vnd.any-thing;base64;base64"],
)  # fmt: skip
def test_the_declared_type_decides_nothing(head):
    assert decode(f"{head},{PAYLOAD}", 100) == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "head",
    [
        "data:text/html;base64", "data:application/octet-stream;base64", "data:;base64", "data:video/mp4;base64",
        "data:", "data:image/png", "data:image/;base64", "data:image/png;base64 ", "data: image/png;base64",
        "data:image/png,;base64", " data:image/png;base64", "data:image/png;base64;", "data:image/png;\u00e4;base64",
        "data:image/" + "x" * 2000 + ";base64",
    ],
)  # fmt: skip
def test_another_head_is_refused(head):
    with pytest.raises(PictureFault, match="image_uri"):
        decode(f"{head},{PAYLOAD}", 100)


@pytest.mark.parametrize(
    "payload",
    [
        "", "A", "AA", "AAA", "iVBORw0KGgo", "iVBO*w0K", "iVBO Rw0K", "iVBO\nRw0K", "-_-_", "AAAA====", "====", "AA=A",
        "=AAA", "AAAA=", "AA==AAAA", "AAAA\n", "AAA\u00e4", "AAA\uff21", "AAA\ud800", "AAA\0", "AA%3D",
    ],
)  # fmt: skip
def test_base64_that_is_not_strict_is_refused(payload):
    with pytest.raises(PictureFault, match="image_uri"):
        decode(f"data:image/png;base64,{payload}", 100)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_limit_is_of_decoded_bytes(size):
    uri = "data:image/png;base64," + b64encode(bytes(size)).decode()

    assert decode(uri, size) == bytes(size)
    with pytest.raises(PictureFault, match="file_size_mb<"):
        decode(uri, size - 1)


def test_a_data_uri_is_known_by_its_scheme():
    assert [is_data_uri(text) for text in ("data:x", "DATA:", "https://a/", "dat", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]

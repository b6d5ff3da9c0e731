"""The rules for picture files: which bound is included, and which fault ends a request how."""

import pytest

from gesso.core.errors import FetchFailed, InputRejected, Problem
from gesso.core.pictures import MIB, Facts, Kept, Picture, PictureFault, Validation, judge, largest_bytes


def holds(rule: str, value: float, *, width: int = 1000, height: int = 1000, size_bytes: int = 1000) -> bool:
    return Validation(rule, value, "").holds(Facts("png", width, height, size_bytes))


@pytest.mark.parametrize(
    ("rule", "value", "inside", "outside"),
    [
        ("width_pixels>", 384, {"width": 384}, {"width": 383}),
        ("width_pixels<", 5000, {"width": 5000}, {"width": 5001}),
        ("height_pixels>", 384, {"height": 384}, {"height": 383}),
        ("height_pixels<", 5000, {"height": 5000}, {"height": 5001}),
        ("width/height>", 0.5, {"width": 500}, {"width": 499}),
        ("width/height<", 2, {"width": 2000}, {"width": 2001}),
        ("file_size_mb<", 10, {"size_bytes": 10_485_759}, {"size_bytes": 10_485_760}),
        ("file_size_mb>", 1, {"size_bytes": 1_048_576}, {"size_bytes": 1_048_575}),
    ],
)
def test_the_named_bound_is_accepted_but_a_file_is_strictly_smaller(
    rule: str, value: float, inside: dict[str, int], outside: dict[str, int]
) -> None:
    assert holds(rule, value, **inside)
    assert not holds(rule, value, **outside)


def test_a_rule_that_is_not_about_pictures_holds() -> None:
    assert holds("duration_seconds<", 5)


def test_the_first_broken_rule_in_the_schemas_order_is_the_one_that_is_told() -> None:
    rules = [Validation("height_pixels>", 384, ""), Validation("width_pixels>", 384, "")]

    with pytest.raises(PictureFault) as caught:
        judge(Facts("png", 1, 1, 1), rules)

    assert caught.value.type == "height_pixels>"


@pytest.mark.parametrize(
    ("rules", "most"),
    [
        ([], 10 * MIB - 1),
        ([Validation("file_size_mb<", 10, "")], 10 * MIB - 1),
        ([Validation("file_size_mb<", 0.5, ""), Validation("file_size_mb<", 2, "")], MIB // 2 - 1),
        ([Validation("width_pixels<", 1, "")], 10 * MIB - 1),
    ],
)
def test_a_file_has_at_most_one_byte_less_than_its_strict_limit(rules: list[Validation], most: int) -> None:
    assert largest_bytes(rules) == most


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        ("url_not_allowed", FetchFailed),
        ("image_fetch_failed", FetchFailed),
        ("image_corrupt", InputRejected),
        ("width_pixels>", InputRejected),
    ],
)
def test_a_fault_ends_a_request_as_unfetched_or_as_rejected_and_says_which_picture(type: str, kind: type) -> None:
    failure = PictureFault(type, seconds=30).ends("body", "image_urls", 2)

    assert isinstance(failure, kind)
    assert failure.detail == (Problem(("body", "image_urls", 2), type, {"seconds": 30}),)


@pytest.mark.parametrize(
    "picture",
    [Picture("mask", None, "https://a.example/"), Picture("image_urls", 0, None, "ab"), Picture("image_urls", 2)],
)
def test_a_picture_survives_its_row(picture: Picture) -> None:
    assert Picture.from_json(picture.to_json()) == picture


def test_a_picture_knows_its_place_in_the_body() -> None:
    assert Picture("mask", None).loc == ("body", "mask")
    assert Picture("image_urls", 0).loc == ("body", "image_urls", 0)


def test_a_kept_file_lives_as_long_as_its_request_unless_it_says_otherwise() -> None:
    assert Kept("k", "output", "n.png", "image/png", 1, "00").expires_at is None

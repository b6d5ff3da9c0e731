"""A public size is a text; the engine's is a pair of numbers."""

import pytest

from gesso.core.inputs import Size, to_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1280*720 (16:9)", Size(1280, 720)),
        ("1280*720", Size(1280, 720)),
        ("1280x720", Size(1280, 720)),
        ("1280 × 720 px", Size(1280, 720)),
        ("1*99999", Size(1, 99999)),
    ],
)
def test_a_size_is_the_part_before_the_space(text: str, size: Size) -> None:
    assert to_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "big", "1024", "1024*", "*1024", "1024*1024(1:1)", "(1:1) 1024*1024", "123456*1", "-1*1", "1.5*2"]
)
def test_what_begins_with_no_two_numbers_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size such as 1280\\*720"):
        to_size(text)


def test_a_size_is_told_as_width_by_height() -> None:
    assert str(Size(1280, 720)) == "1280x720"

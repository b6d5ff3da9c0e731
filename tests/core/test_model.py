"""A binding carries the fields of the public input to the names that engines know."""

from dataclasses import replace

import pytest
from PIL import Image

from gesso.core.inputs import Inputs, Size
from gesso.core.model import Bound, Card, Model
from gesso.core.pictures import Picture
from gesso.core.schema import Schema

PUBLISHED = {
    "properties": {
        "mask": {"type": "string", "format": "image_uri"},
        "text": {"type": "string"},
        "image_urls": {"type": "array", "items": {"type": "string", "format": "image_uri"}},
        "size": {"type": "string"},
        "seed": {"type": "integer"},
        "strength": {"type": "number"},
    }
}
MODEL = Model(
    id="a/one",
    category="image-to-image",
    engine="echo",
    schema=Schema(PUBLISHED),
    binding={
        "images": Bound("image_urls"),
        "prompt": Bound("text"),
        "size": Bound("size", "size"),
        "seed": Bound("seed"),
        "power": Bound("strength", "number"),
    },
    cards={"en": Card("One", "", PUBLISHED, {}), "ja": Card("いち", "", PUBLISHED, {})},
)
WIDE = Image.new("RGB", (640, 480))


def test_fields_reach_the_engine_by_its_own_names_and_converted() -> None:
    inputs = MODEL.bind(
        {"image_urls": ["https://a/"], "text": "a cat", "size": "1280*720 (16:9)", "seed": 0, "strength": 1}, [WIDE]
    )

    assert inputs == Inputs((WIDE,), "a cat", "", Size(1280, 720), 0, False, {"power": 1.0})
    assert isinstance(inputs.extra["power"], float)


def test_a_field_that_is_absent_leaves_the_engines_own_value() -> None:
    assert MODEL.bind({}, [WIDE]) == Inputs((WIDE,), size=Size(640, 480))


def test_without_a_size_it_is_the_models_then_the_first_pictures_then_a_square() -> None:
    assert replace(MODEL, default_size=Size(8, 9)).bind({}, [WIDE]).size == Size(8, 9)
    assert MODEL.bind({}, [WIDE, Image.new("RGB", (1, 1))]).size == Size(640, 480)
    assert MODEL.bind({}, []).size == Size(1024, 1024)


def test_pictures_come_in_the_order_of_the_schema_and_of_the_list() -> None:
    assert MODEL.pictures({"image_urls": ["https://a/", "https://b/"], "mask": "https://m/"}) == (
        Picture("mask", None, "https://m/"),
        Picture("image_urls", 0, "https://a/"),
        Picture("image_urls", 1, "https://b/"),
    )
    assert MODEL.pictures({"mask": None}) == ()


@pytest.mark.parametrize(("language", "name"), [("en", "One"), ("ja", "いち"), ("ru", "One"), ("", "One")])
def test_a_language_without_a_card_reads_the_english_one(language: str, name: str) -> None:
    assert MODEL.card(language).display_name == name

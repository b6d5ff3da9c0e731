"""What Gesso asks of every engine, and what is special about this one."""

import pytest
from gesso_duotone import DuotoneEngine
from PIL import Image

from gesso.core.errors import ConfigError
from gesso.core.inputs import Inputs, Size
from gesso.testing import EngineSuite, Recorder


class TestDuotone(EngineSuite):
    engine = "duotone"
    options = {"lights": "ivory"}
    prompt = "navy and gold, please"


def test_the_prompt_names_the_inks() -> None:
    image = Image.linear_gradient("L").convert("RGB")
    made = DuotoneEngine().run(Inputs(images=(image,), prompt="Navy, then gold", size=Size(256, 256)), Recorder())

    assert made.images[0].getpixel((0, 0)) == (0, 0, 128)
    assert made.images[0].getpixel((0, 255)) == (255, 215, 0)


def test_an_ink_that_is_no_colour_does_not_load() -> None:
    with pytest.raises(ConfigError, match="'mauvish' is no colour"):
        DuotoneEngine(lights="mauvish").load()

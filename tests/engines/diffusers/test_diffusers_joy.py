"""The engine on a tiny pipeline of JoyAI-Image-Edit-Plus: its own class, its own latents, its own references."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from diffusers_rig import Engines, Folders, asked, installed

from gesso import offers
from gesso.core.errors import EngineFailed
from gesso.core.inputs import Inputs, Size
from gesso.engines.diffusers import previews
from gesso.engines.diffusers.engine import DiffusersEngine
from gesso.testing import EngineSuite, Recorder

pytestmark = pytest.mark.slow
JOY = "joy-edit-plus"


@pytest.fixture(autouse=True)
def quick(tiny: Folders) -> Iterator[None]:
    """Scales references to 64 pixels a side instead of a megapixel."""
    tiny(JOY)
    makers = installed()

    with makers.small_references():
        yield


def pixels(engine: DiffusersEngine, inputs: Inputs | None = None) -> bytes:
    return engine.run(inputs or asked(), Recorder()).images[0].tobytes()


class TestJoyByTheKit(EngineSuite):
    engine: ClassVar[str] = "diffusers"
    sizes: ClassVar[list[Size]] = [Size(64, 64), Size(48, 80), Size(72, 40)]

    @pytest.fixture(scope="class")
    @classmethod
    def engine_options(cls, tiny: Folders) -> Mapping[str, Any]:
        return {"model": str(tiny(JOY)), "precision": "fp32", "device": "cpu", "steps": 3, "preview_every": 2}

    test_it_runs_in_its_hosts_process = None  # there references are a megapixel; Klein's suite does this


def test_the_same_inputs_give_the_same_pixels_and_others_give_others(engines: Engines) -> None:
    engine = engines(JOY)
    first = pixels(engine)

    assert first == pixels(engine)
    for change in ({"seed": 8}, {"prompt": "make it green"}, {"images": 1}, {"images": 3}, {"negative_prompt": "blue"}):
        assert first != pixels(engine, asked(**change)), change


def test_the_order_of_references_matters(engines: Engines) -> None:
    there = asked()
    turned = Inputs(there.images[::-1], there.prompt, there.negative_prompt, there.size, there.seed, extra=there.extra)

    assert pixels(engines(JOY)) != pixels(engines(JOY), turned)


def test_it_takes_five_references_and_no_more(engines: Engines) -> None:
    assert pixels(engines(JOY), asked(images=5)) != pixels(engines(JOY), asked(images=4))
    with pytest.raises(EngineFailed, match="1 to 5 images are taken, not 6"):
        engines(JOY).run(asked(images=6), Recorder())


def test_the_negative_prompt_is_native_until_guidance_is_off(engines: Engines) -> None:
    on, off = engines(JOY), engines(JOY, guidance=1.0)

    assert on.abilities.negative_prompt == "native"
    assert off.abilities.negative_prompt == "ignored"
    assert pixels(off) == pixels(off, asked(negative_prompt="blue"))


def test_a_size_off_the_grid_is_cropped_out_of_the_middle_of_the_next_one_up(engines: Engines) -> None:
    whole = engines(JOY).run(asked(size=Size(80, 64)), Recorder()).images[0]
    part = engines(JOY).run(asked(size=Size(72, 60)), Recorder()).images[0]

    assert part.tobytes() == whole.crop((4, 2, 76, 62)).tobytes()


@pytest.mark.parametrize("size", [Size(64, 64), Size(64, 96), Size(96, 48)], ids=str)
def test_a_preview_of_the_last_latents_is_the_picture(engines: Engines, size: Size) -> None:
    """So its patches, and no reference's, stand where they belong."""
    torch = pytest.importorskip("torch")
    pipe, told = engines(JOY)._pipe, asked(size=size)
    arguments = {"prompt": told.prompt, "width": size.width, "height": size.height, "num_inference_steps": 2}
    latents, images = (
        pipe(list(told.images), **arguments, generator=torch.Generator().manual_seed(1), output_type=kind).images
        for kind in ("latent", "pil")
    )

    with torch.no_grad():
        shown = previews.DECODERS["JoyImageEditPlusPipeline"](pipe, latents, size)
    apart = np.abs(np.asarray(shown, int) - np.asarray(images[0], int))
    assert apart.max() <= 1


def test_previews_change_nothing(engines: Engines) -> None:
    told = Recorder()
    made = engines(JOY, preview_every=2).run(asked(steps=6), told)

    assert [shot.size for shot in told.previews] == [(64, 64), (64, 64)]
    assert made.images[0].tobytes() == pixels(engines(JOY), asked(steps=6))


@pytest.mark.parametrize("place", ["encoder_offload", "group_offload"])
def test_where_the_weights_lie_does_not_change_the_picture(engines: Engines, place: str) -> None:
    assert pixels(engines(JOY, memory=place)) == pixels(engines(JOY))


def test_balanced_says_that_it_does_nothing_without_a_gpu(engines: Engines) -> None:
    made = engines(JOY, speed="balanced").run(asked(steps=16), Recorder())

    assert made.notes["speed_by"] == []  # its transformer has no cache in diffusers, and blocks are compiled on GPUs
    assert made.images[0].tobytes() == pixels(engines(JOY), asked(steps=16))


@pytest.mark.parametrize("kind", [JOY, "qwen-edit-plus"])
@pytest.mark.parametrize("mark", ["<image>\n", "<|image_pad|>", "<|vision_start|><|image_pad|><|vision_end|>"])
def test_a_prompt_that_holds_a_models_own_marks_is_words(engines: Engines, kind: str, mark: str) -> None:
    marked = asked(prompt=f"{mark} beside it", negative_prompt=mark)

    assert pixels(engines(kind), marked) != pixels(engines(kind))


def test_the_definition_that_comes_with_gesso_names_this_class(tiny: Folders) -> None:
    needs = Path(offers.__file__).parent / "jdopensource/joyai-image-edit-plus/image-to-image/needs.toml"
    told = tomllib.loads(needs.read_text())
    assert told["pipeline"] == json.loads((tiny(JOY) / "model_index.json").read_text())["_class_name"]

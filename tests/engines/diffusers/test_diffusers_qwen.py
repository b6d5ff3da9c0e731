"""The engine on tiny pipelines of Qwen-Image: references of their own size, RGBA, a coarser grid, few steps."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from diffusers_rig import Engines, Folders, asked, installed

from gesso.core.inputs import Inputs, Size
from gesso.engines.diffusers.engine import DiffusersEngine
from gesso.testing import EngineSuite, Recorder

pytestmark = pytest.mark.slow
QWEN = "qwen-edit-plus"


@pytest.fixture(autouse=True)
def quick(tiny: Folders) -> Iterator[None]:
    """Scales references to 64 x 64 instead of a megapixel."""
    tiny(QWEN)
    makers = installed()

    with makers.small_references():
        yield


def pixels(engine: DiffusersEngine, inputs: Inputs | None = None) -> bytes:
    return engine.run(inputs or asked(), Recorder()).images[0].tobytes()


class TestQwenByTheKit(EngineSuite):
    engine: ClassVar[str] = "diffusers"
    sizes: ClassVar[list[Size]] = [Size(64, 64), Size(48, 80)]

    @pytest.fixture(scope="class")
    @classmethod
    def engine_options(cls, tiny: Folders) -> Mapping[str, Any]:
        return {"model": str(tiny(QWEN)), "precision": "fp32", "device": "cpu", "steps": 3, "preview_every": 2}

    test_it_runs_in_its_hosts_process = None  # there references are a megapixel; Klein's suite does this


def test_the_same_inputs_give_the_same_pixels_and_others_give_others(engines: Engines) -> None:
    engine = engines(QWEN)
    first = pixels(engine)

    assert first == pixels(engine)
    for change in ({"seed": 8}, {"prompt": "make it green"}, {"images": 1}, {"images": 3}, {"negative_prompt": "blue"}):
        assert first != pixels(engine, asked(**change)), change


def test_the_negative_prompt_is_native_until_guidance_is_off(engines: Engines) -> None:
    on, off = engines(QWEN), engines(QWEN, guidance=1.0)

    assert on.abilities.negative_prompt == "native"
    assert off.abilities.negative_prompt == "ignored"
    assert pixels(off) == pixels(off, asked(negative_prompt="blue"))


def test_one_step_is_two_and_no_black_picture(engines: Engines) -> None:
    made = engines(QWEN).run(asked(steps=1), Recorder())

    assert made.notes["steps"] == 2
    assert made.images[0].getextrema() != ((0, 0), (0, 0), (0, 0))


@pytest.mark.parametrize("size", [Size(80, 120), Size(72, 128)], ids=str)
def test_a_coarse_grid_and_alpha_are_hidden(engines: Engines, size: Size) -> None:
    told = asked(images=1, size=size)
    engine = engines("qwen-2.1")
    _small(engine)
    image = engine.run(told, Recorder()).images[0]

    assert (image.mode, image.size) == ("RGB", (size.width, size.height))


def test_balanced_caches_steps(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    from gesso.engines.diffusers import pipeline

    monkeypatch.setattr(pipeline, "CACHE_THRESHOLD", 1.2)  # random weights change much
    quick = engines(QWEN, speed="balanced")
    made = quick.run(asked(steps=16), Recorder())

    assert made.notes["speed_by"] == ["first_block_cache"]
    assert made.images[0].tobytes() != pixels(engines(QWEN), asked(steps=16))
    assert made.images[0].tobytes() == pixels(quick, asked(steps=16))


def test_previews_are_made_of_a_videos_latents(engines: Engines) -> None:
    told = Recorder()
    made = engines(QWEN, preview_every=2).run(asked(steps=6), told)

    assert [shot.size for shot in told.previews] == [(64, 64), (64, 64)]
    assert made.images[0].tobytes() == pixels(engines(QWEN), asked(steps=6))


def test_fast_gives_the_scheduler_what_lightning_was_distilled_with(engines: Engines, tmp_path: Path) -> None:
    engine = engines(QWEN, speed="fast", few_steps={"path": str(_lora(engines, tmp_path)), "steps": 4})
    config = engine._pipe.scheduler.config

    assert config["shift_terminal"] is None
    assert config["base_shift"] == config["max_shift"] == pytest.approx(1.0986, abs=1e-4)
    made = engine.run(asked(extra={}), Recorder())
    assert (made.notes["steps"], made.notes["guidance"], made.notes["negative_prompt"]) == (4, 1.0, "ignored")


def _lora(engines: Engines, folder: Path) -> Path:
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    from diffusers import QwenImageEditPlusPipeline, QwenImageTransformer2DModel
    from peft.utils import get_peft_model_state_dict

    transformer = QwenImageTransformer2DModel.from_config(engines(QWEN)._pipe.transformer.config)
    torch.manual_seed(5)
    transformer.add_adapter(peft.LoraConfig(r=4, target_modules=["to_q"], init_lora_weights=False))
    QwenImageEditPlusPipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(transformer))
    return folder / "pytorch_lora_weights.safetensors"


def _small(engine: DiffusersEngine) -> None:
    """Qwen-Image-2.1 has an argument for the size of references."""
    from dataclasses import replace

    found = engine._weights
    engine._weights = replace(found, call=replace(found.call, more={"output_resolution": 64}))

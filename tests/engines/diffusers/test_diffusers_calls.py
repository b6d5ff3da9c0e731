"""The table of calls: what each class of pipelines is given, whatever was asked."""

import inspect

import pytest
from diffusers_rig import installed
from PIL import Image

from gesso.core.inputs import Inputs, Size, to_size
from gesso.engines.diffusers.calls import CALLS, DISTILLED_KLEIN, Call, arguments, call_of, rendered, work

PRESETS = [
    to_size(each)
    for each in ("1024x1024", "800x1200", "1200x800", "960x1280", "1280x960", "720x1280", "1280x720", "1344x576")
]
ALL = [*CALLS.items(), ("Flux2KleinPipeline", DISTILLED_KLEIN)]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("size", PRESETS, ids=str)
def test_what_is_rendered_holds_the_asked_size_and_fits_the_grid(call: Call, size: Size) -> None:
    made = rendered(call, size)

    assert (made.width % call.grid, made.height % call.grid) == (0, 0)
    assert 0 <= made.width - size.width < call.grid
    assert 0 <= made.height - size.height < call.grid


def test_a_grid_of_32_renders_more_than_two_of_the_presets() -> None:
    made = [str(rendered(CALLS["QwenImage21Pipeline"], to_size(each))) for each in ("800x1200", "720x1280")]

    assert made == ["800x1216", "736x1280"]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_width_and_height_are_always_given(call: Call) -> None:
    told = arguments(call, Inputs(size=Size(1280, 720)), work(call, None, None))

    assert told["width"] >= 1280
    assert told["height"] >= 720


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_references_go_in_as_a_list_in_their_order(call: Call) -> None:
    images = (Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "green"))

    assert arguments(call, Inputs(images=images), work(call, None, None))[call.images] == list(images)


def test_an_empty_negative_prompt_keeps_qwens_guidance_on() -> None:
    call = CALLS["QwenImageEditPlusPipeline"]

    assert arguments(call, Inputs(), work(call, None, None))["negative_prompt"] == " "
    assert arguments(call, Inputs(negative_prompt="blur"), work(call, None, None))["negative_prompt"] == "blur"


@pytest.mark.parametrize("mark", ["<|image_pad|>", "<|im_end|>", "<image>\n"])
def test_a_models_own_marks_never_come_from_a_prompt(mark: str) -> None:
    call = CALLS["JoyImageEditPlusPipeline"]
    told = arguments(call, Inputs(prompt=f"a {mark} cup", negative_prompt=mark), work(call, None, None))

    assert mark not in told["prompt"] + told["negative_prompt"]
    assert told["prompt"].endswith(" cup")


@pytest.mark.parametrize("scale", [0, 0.5, 1])
def test_without_guidance_a_negative_prompt_is_ignored_and_not_sent(scale: float) -> None:
    call = CALLS["QwenImageEditPlusPipeline"]
    todo = work(call, None, scale)

    assert todo.negative == "ignored"
    assert "negative_prompt" not in arguments(call, Inputs(negative_prompt="blur"), todo)


def test_one_step_becomes_two_where_one_would_be_black() -> None:
    assert work(CALLS["QwenImageEditPlusPipeline"], 1, None).steps == 2
    assert work(CALLS["Flux2KleinPipeline"], 1, None).steps == 1


def test_a_distilled_klein_takes_four_steps_and_no_guidance() -> None:
    base = call_of({"_class_name": "Flux2KleinPipeline", "is_distilled": False})
    distilled = call_of({"_class_name": "Flux2KleinPipeline", "is_distilled": True})

    assert base is not None
    assert distilled is not None
    assert (work(base, None, None).steps, work(base, None, None).scale) == (50, 4.0)
    assert (work(distilled, None, None).steps, work(distilled, None, None).negative) == (4, "ignored")


def test_a_class_without_guidance_is_given_none() -> None:
    call = CALLS["Flux2KleinKVPipeline"]
    told = arguments(call, Inputs(), work(call, None, 9.0))

    assert told.keys() == {"image", "prompt", "width", "height", "num_inference_steps"}


@pytest.mark.parametrize(("name", "call"), ALL, ids=[f"{number}-{name}" for number, (name, _) in enumerate(ALL)])
def test_the_installed_class_takes_what_the_table_gives(name: str, call: Call) -> None:
    installed()
    import diffusers

    pipeline = getattr(diffusers, name)
    signature = inspect.signature(pipeline.__call__).parameters
    given = arguments(call, Inputs(), work(call, None, None)).keys() | {"generator", "callback_on_step_end"}
    given |= {"negative_prompt_embeds"} if call.negative == "embeddings" else set()

    assert given - signature.keys() == set()
    assert hasattr(pipeline, "num_timesteps")
    if call.memo:
        assert inspect.signature(pipeline._encode_vae_image).parameters.keys() == {"self", "image", "generator"}

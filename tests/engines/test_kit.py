"""The kit for engine authors on every engine that runs here, the hosted ones against their fakes; and its teeth."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageOps
from PIL.Image import Image
from upstreams import KEY, KEY_ENV, b64, listening, picture

sys.path.append(str(Path(__file__).parent / "comfyui"))
from comfyui_rig import STEPS
from fake_comfyui import FakeComfyUI, jobs, serving

from gesso.core.errors import EngineFailed, Stopped
from gesso.core.inputs import Inputs, Size
from gesso.core.ports import Abilities, Made, Report
from gesso.testing import EngineSuite, reference

SMALL = (Size(64, 48), Size(48, 64), Size(96, 32))
TASK, MODEL = "0385dc79", "wan-ai/wan-2-6/image-to-image"
REQUEST = "0b9f0f7e-5d0c-4a8e-9d25-2f1f6f0f9c11"
CALLS = 200  # more than any class makes


@pytest.fixture(scope="class", autouse=True)
def key() -> Iterator[None]:
    """The key of the foreign servers, also for the hosts' processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_ENV, KEY)
        yield


class TestEmbedded(EngineSuite):
    engine = "embedded"
    prompt = "a watercolour in the style of image 1, in the snow"

    def bad_inputs(self, abilities: Abilities) -> list[Inputs]:
        return [self.inputs(0), *super().bad_inputs(abilities)]


class TestEcho(EngineSuite):
    engine = "echo"
    sizes = SMALL


class TestComfyUI(EngineSuite):
    engine = "comfyui"
    sizes = SMALL

    @pytest.fixture(scope="class")
    @classmethod
    def engine_options(cls) -> Iterator[Mapping[str, Any]]:
        recording = "progress_and_previews_with_metadata"
        options = {"workflow": jobs(recording)[0].graph, "bindings": STEPS, "timeout_s": 20, "poll_s": 0.02}
        with serving(FakeComfyUI(*[recording] * CALLS)) as fake:
            yield {"base_url": fake.url, **options}


class TestOpenAI(EngineSuite):
    engine = "openai"
    sizes = SMALL

    @pytest.fixture(scope="class")
    @classmethod
    def engine_options(cls) -> Iterator[Mapping[str, Any]]:
        with listening() as foreign:

            def painted() -> Any:
                size = dict(foreign.seen[-1].form())["size"].decode()
                return {"data": [{"b64_json": b64(picture(size_in(size, "x")))}]}

            foreign.tell("POST /v1/images/edits", painted)
            yield {"base_url": f"{foreign.url}/v1", "api_key_env": KEY_ENV, "timeout_s": 10.0}


class TestDashScope(EngineSuite):
    engine = "dashscope"
    sizes = SMALL

    @pytest.fixture(scope="class")
    @classmethod
    def engine_options(cls) -> Iterator[Mapping[str, Any]]:
        create = "/api/v1/services/aigc/image-generation/generation"
        with listening() as foreign:

            def file() -> bytes:
                asked = json.loads(foreign.calls(f"POST {create}")[-1].body)
                return picture(size_in(asked["parameters"]["size"], "*"))

            def told(state: str, **more: Any) -> dict[str, Any]:
                return {"request_id": "43d9e959", "output": {"task_id": TASK, "task_status": state, **more}}

            message = {"content": [{"image": f"{foreign.url}/1.png", "type": "image"}]}
            foreign.tell(f"POST {create}", told("PENDING"))
            foreign.tell(f"GET /api/v1/tasks/{TASK}", told("SUCCEEDED", choices=[{"message": message}]))
            foreign.tell("GET /1.png", file)
            yield {"base_url": foreign.url, "api_key_env": KEY_ENV, "poll_s": 0.02, "timeout_s": 10.0}


class TestRunComfy(EngineSuite):
    engine = "runcomfy"
    sizes = SMALL

    @pytest.fixture(scope="class")
    @classmethod
    def engine_options(cls) -> Iterator[Mapping[str, Any]]:
        submit = f"/v1/models/{MODEL}"
        names = ("prompt", "negative_prompt", "seed", "prompt_extend")
        images = {"type": "array", "items": {"type": "string"}}
        sizes = {"type": "string", "enum": [f"{each.width}*{each.height}" for each in SMALL]}
        properties = {name: {} for name in names} | {"image_urls": images, "image_size": sizes}
        with listening() as foreign:

            def file() -> bytes:
                asked = json.loads(foreign.calls(f"POST {submit}")[-1].body)
                return picture(size_in(asked["image_size"], "*"))

            known = {"request_id": REQUEST, "model_id": MODEL}
            output = {"image": f"{foreign.url}/1.png", "images": [f"{foreign.url}/1.png"]}
            foreign.tell(f"GET {submit}", {"model_id": MODEL, "input_schema": {"properties": properties}})
            foreign.tell(f"POST {submit}", known | {"status": "in_queue"})
            foreign.tell(f"GET /v1/requests/{REQUEST}/result", known | {"status": "succeeded", "output": output})
            foreign.tell("GET /1.png", file)
            options = {"base_url": foreign.url, "token_env": KEY_ENV, "model_id": MODEL}
            yield {**options, "poll_s": 0.02, "timeout_s": 10.0}


def size_in(text: str, sign: str) -> tuple[int, int]:
    width, height = map(int, text.split(sign))
    return width, height


class Sound:
    """An engine that keeps its promises; the ones below break one each."""

    abilities = Abilities(name="sound", seed="exact", progress=True, preview=True, stop=True)

    def load(self) -> None:
        pass

    def run(self, inputs: Inputs, report: Report) -> Made:
        if len(inputs.images) > self.abilities.max_images:
            raise EngineFailed(reason="too many images")
        made = ImageOps.fit(inputs.images[0], (inputs.size.width, inputs.size.height))
        for step in range(2):
            report(step + 1, 2, made)
        return Made([made], {"plan": "fit"})

    def close(self) -> None:
        pass


class Shy(Sound):
    abilities = Abilities(name="shy", seed="never", licence="")  # type: ignore[arg-type]


class Unstoppable(Sound):
    def run(self, inputs: Inputs, report: Report) -> Made:
        try:
            return super().run(inputs, report)
        except Stopped:
            return Made([inputs.images[0]])


class Spoilt(Sound):
    spoilt = False

    def run(self, inputs: Inputs, report: Report) -> Made:
        try:
            made = super().run(inputs, report)
        except (EngineFailed, Stopped):
            self.spoilt = True
            raise
        return Made([ImageOps.invert(made.images[0])]) if self.spoilt else made


class Forgetful(Sound):
    runs = 0

    def run(self, inputs: Inputs, report: Report) -> Made:
        self.runs += 1
        return Made([ImageOps.posterize(each, self.runs % 8 + 1) for each in super().run(inputs, report).images])


class Careless(Sound):
    def run(self, inputs: Inputs, report: Report) -> Made:
        inputs.images[0].paste("red", (0, 0, 9, 9))
        return super().run(inputs, report)


class Thrifty(Sound):
    """Has one canvas, and paints over it."""

    canvas: Image | None = None

    def run(self, inputs: Inputs, report: Report) -> Made:
        made = super().run(inputs, report).images[0]
        self.canvas = self.canvas or made
        self.canvas.paste(ImageOps.invert(made) if inputs.seed == 8 else made)
        return Made([self.canvas])


class Backwards(Sound):
    def run(self, inputs: Inputs, report: Report) -> Made:
        report(2, 2)
        return super().run(inputs, report)


class Talkative(Sound):
    def run(self, inputs: Inputs, report: Report) -> Made:
        return Made(super().run(inputs, report).images, {"from": "https://files.example/1.png?key=9c"})


class Persuadable(Sound):
    """Says that it ignores the negative prompt, and does not."""

    def run(self, inputs: Inputs, report: Report) -> Made:
        made = super().run(inputs, report)
        return Made([ImageOps.invert(made.images[0])]) if inputs.negative_prompt else made


class Blind(Sound):
    def run(self, inputs: Inputs, report: Report) -> Made:
        return super().run(inputs, lambda step, of, _=None: report(step, of))  # type: ignore[arg-type]


class Silent(Sound):
    def run(self, inputs: Inputs, report: Report) -> Made:  # noqa: ARG002 - that is the defect
        return super().run(inputs, lambda *_: None)  # type: ignore[arg-type]


class Greedy(Sound):
    def run(self, inputs: Inputs, report: Report) -> Made:
        return super().run(Inputs(images=inputs.images[:1], size=inputs.size), report)


class Rough(Sound):
    def run(self, inputs: Inputs, report: Report) -> Made:
        super().run(inputs, report)
        return Made([reference(1).resize((inputs.size.width + 1, inputs.size.height))])


class Kit(EngineSuite):
    """The suite, handed its engines by the test below."""

    sizes = SMALL


LAWS: list[tuple[type[Sound], Callable[..., None]]] = [
    (Shy, EngineSuite.test_its_abilities_are_told_in_full),
    (Rough, EngineSuite.test_every_size_is_made_exactly),
    (Careless, EngineSuite.test_every_number_of_references_passes),
    (Thrifty, EngineSuite.test_what_it_made_is_not_changed_by_the_next_run),
    (Forgetful, EngineSuite.test_the_same_seed_gives_the_same_picture_as_promised),
    (Persuadable, EngineSuite.test_a_negative_prompt_is_treated_as_promised),
    (Talkative, EngineSuite.test_what_it_says_of_a_run_is_json_and_names_no_address),
    (Greedy, EngineSuite.test_a_bad_input_is_refused_and_leaves_it_usable),
    (Spoilt, EngineSuite.test_a_bad_input_is_refused_and_leaves_it_usable),
    (Backwards, EngineSuite.test_progress_grows),
    (Silent, EngineSuite.test_progress_grows),
    (Blind, EngineSuite.test_previews_are_pictures),
    (Unstoppable, EngineSuite.test_it_stops_when_told_and_stays_usable),
    (Spoilt, EngineSuite.test_it_stops_when_told_and_stays_usable),
    (Silent, EngineSuite.test_it_stops_when_told_and_stays_usable),
]
NAMES = [f"{engine.__name__}-{law.__name__}" for engine, law in LAWS]


@pytest.mark.parametrize(("engine", "law"), LAWS, ids=NAMES)
def test_an_engine_that_breaks_a_promise_is_found_out(engine: type[Sound], law: Callable[..., None]) -> None:
    law(Kit(), Sound())

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        law(Kit(), engine())


def test_references_of_the_kit_differ_from_each_other() -> None:
    seen = [reference(number).tobytes() for number in range(1, 6)]

    assert len(set(seen)) == len(seen)

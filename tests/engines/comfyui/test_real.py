"""The ComfyUI engine on a real server: COMFYUI_URL names it; without, these skip. No workflow here needs weights.

The server must be nobody else's at that time. COMFYUI_RESTART is a command that ends it and starts it anew, for the
one test that needs it.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import click.testing
import pytest
from comfyui_rig import TWO, Heard, colour
from fake_comfyui import workflow
from PIL import Image

from gesso.catalog import read_model
from gesso.cli.workflow import import_workflow
from gesso.core.errors import EngineFailed, Stopped
from gesso.core.inputs import Inputs, Size
from gesso.core.model import Model
from gesso.core.ports import Engine
from gesso.engines import registry
from gesso.engines.comfyui.engine import ComfyUIEngine
from gesso.engines.comfyui.server import Server
from gesso.testing import EngineSuite

URL = os.environ.get("COMFYUI_URL", "")
RESTART = os.environ.get("COMFYUI_RESTART", "")
pytestmark = pytest.mark.skipif(not URL, reason="COMFYUI_URL names no real server")

ID = "acme/blend/image-to-image"
ONE = {"image1": "1.image", "width": "2.width", "height": "2.height", "output": "9"}
SQUARE = Size(512, 512)
DARK, LIGHT = (60, 80, 100), (250, 230, 210)
Graph = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def chain(kind: str, *each: Mapping[str, Any], side: int = 64) -> Graph:
    """A reference, scaled, through nodes of one kind, one after another, to the socket."""
    graph = {"1": node("LoadImage", image="ref1.png")}
    graph["2"] = node("ImageScale", image=["1", 0], upscale_method="area", width=side, height=side, crop="center")
    last = "2"
    for number, inputs in enumerate(each, start=10):
        graph[str(number)] = node(kind, image=[last, 0], **inputs)
        last = str(number)
    return graph | {"9": node("SaveImageWebsocket", images=[last, 0])}


def slow(first: float) -> Graph:
    """About half a second for each of eight nodes on a CPU, which stops between two; another *first* is no repeat."""
    return chain("ImageBlur", *({"blur_radius": 31, "sigma": first + number / 2} for number in range(8)), side=512)


def loaded(graph: Graph, bindings: Mapping[str, Any] | None = None) -> ComfyUIEngine:
    made = ComfyUIEngine(base_url=URL, workflow=graph, bindings=bindings or {"image1": "1.image", "output": "9"})
    made.load()
    return made


def asked(*colours: tuple[int, int, int], size: Size = SQUARE, **more: Any) -> Inputs:
    images = tuple(Image.new("RGB", (300 + 100 * number, 400), each) for number, each in enumerate(colours))
    return Inputs(images=images, size=size, **more)


def blended(share: float) -> tuple[int, ...]:
    """What ImageBlend makes of DARK and of LIGHT inverted."""
    return tuple(round(dark * (1 - share) + (255 - light) * share) for dark, light in zip(DARK, LIGHT, strict=True))


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """The model that the import makes of the workflow with two references."""
    graph = workflow("two_references")
    graph["6"]["inputs"]["blend_mode"] = "normal"  # its sums can be done by hand
    file = tmp_path / "workflow_api.json"
    file.write_text(json.dumps(graph))
    words = [str(file), "--id", ID, "--models-dir", str(tmp_path), "--base-url", URL, "--map", "share=6.blend_factor"]
    said = click.testing.CliRunner().invoke(import_workflow, words)
    assert said.exit_code == 0, said.output
    return read_model(tmp_path / ID, ID)


@pytest.fixture
def imported(model: Model) -> Engine:
    engine = registry.make(model.engine, model.engine_options)
    engine.load()
    return engine


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_an_imported_workflow_blends_its_references_in_their_order(imported: Engine, share: float) -> None:
    image = imported.run(asked(DARK, LIGHT, extra={"share": share}), Heard()).images[0]

    assert all(abs(is_ - due) <= 1 for is_, due in zip(colour(image), blended(share), strict=True)), colour(image)
    assert image.info == {}


def test_every_size_of_the_imported_schema_is_made_exactly(model: Model, imported: Engine) -> None:
    sizes = model.card("en").input_schema["properties"]["image_size"]["enum"]
    asked_for = [tuple(map(int, each.split()[0].split("*"))) for each in sizes]
    made = [imported.run(asked(DARK, LIGHT, size=Size(*each)), Heard()).images[0].size for each in asked_for]

    assert len(asked_for) == 8
    assert made == asked_for


def test_every_node_counts_as_a_step(imported: Engine) -> None:
    heard = Heard()
    imported.run(asked(DARK, LIGHT, size=Size(640, 576)), heard)

    assert heard.steps == sorted(heard.steps)
    assert heard.steps[-1] == (7, 7)
    assert len(set(heard.steps)) >= 4, heard.steps


def test_a_job_of_an_earlier_attempt_is_found_and_not_made_again(imported: Engine) -> None:
    heard = Heard()
    first = imported.run(asked(DARK, LIGHT), heard)
    again = imported.run(asked(DARK, LIGHT, remembered=heard.remembered[0]), heard)

    assert again.notes == first.notes
    assert len(heard.remembered) == 1
    assert colour(again.images[0]) == colour(first.images[0])


def test_a_stop_ends_the_job_at_the_next_node_and_the_server_goes_on() -> None:
    engine, heard = loaded(slow(2.0)), Heard(stop_at=4)
    with pytest.raises(Stopped):
        engine.run(asked(DARK), heard)
    id = heard.remembered[0]
    entry = _ended(id)

    assert "execution_interrupted" in dict(entry["status"]["messages"])
    assert not entry["outputs"]
    assert loaded(workflow("two_references"), TWO).run(asked(DARK, LIGHT), Heard()).images


def test_a_stop_of_a_waiting_job_leaves_the_running_one_alone() -> None:
    running, waiting = loaded(slow(3.0)), loaded(slow(4.0))
    first, second = Heard(), Heard(stop_at=0)
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(running.run(asked(DARK), first)))
    thread.start()
    _until(lambda: first.steps and first.steps[-1][0] >= 3)  # what is read from the cache comes first
    with pytest.raises(Stopped):
        waiting.run(asked(DARK), second)
    is_gone = not Server(URL).is_queued(second.remembered[0])
    thread.join(60)

    assert is_gone
    assert [each.images[0].size for each in made] == [(512, 512)]
    assert Server(URL).history(second.remembered[0]) is None


def test_a_node_that_fails_is_named_and_the_next_run_passes() -> None:
    engine = loaded(chain("ImageBlur", {"blur_radius": 31, "sigma": 1.0}), ONE)

    with pytest.raises(EngineFailed, match=r"ImageBlur: .*[Pp]adding"):
        engine.run(asked(DARK, size=Size(16, 16)), Heard())
    assert engine.run(asked(DARK, size=Size(128, 64)), Heard()).images[0].size == (128, 64)


def test_a_workflow_that_the_server_refuses_is_told_by_node_and_value() -> None:
    graph = chain("ImageBlur", {"blur_radius": 99, "sigma": 1.0})

    with pytest.raises(EngineFailed, match=r"refuses the workflow: ImageBlur: .*99.*\(node 10\)"):
        loaded(graph).run(asked(DARK), Heard())


def test_what_the_server_lacks_is_told_when_the_engine_is_loaded() -> None:
    with pytest.raises(EngineFailed) as fault:
        loaded(workflow("qwen_image_edit_plus") | {"99": node("NoSuchNode")}, {"image1": "1.image", "output": "9"})

    assert "node NoSuchNode: install" in str(fault.value)
    assert "unet_name 'qwen_image_edit_2511_bf16.safetensors' for node UNETLoader" in str(fault.value)


def test_an_input_that_grows_does_with_fewer_references() -> None:
    graph = {str(number): node("LoadImage", image=f"ref{number}.png") for number in (1, 2, 3)}
    graph["5"] = node("BatchImagesNode", **{f"images.image{number}": [str(number + 1), 0] for number in range(3)})
    graph["9"] = node("SaveImageWebsocket", images=["5", 0])
    bindings = {**{f"image{number}": f"{number}.image" for number in (1, 2, 3)}, "output": "9"}
    try:
        engine = loaded(graph, bindings)
    except EngineFailed as fault:
        pytest.skip(f"an older server: {fault}")

    assert [len(engine.run(asked(*[DARK] * count), Heard()).images) for count in (2, 3)] == [2, 3]
    with pytest.raises(EngineFailed, match="cannot do with fewer"):
        engine.run(asked(DARK), Heard())


@pytest.mark.skipif(not RESTART, reason="COMFYUI_RESTART names no command that restarts the server")
def test_a_server_that_is_restarted_during_a_run_makes_the_picture_all_the_same() -> None:
    heard = Heard(meanwhile=lambda step: restart() if step == 4 else None)
    restarted: list[int] = []

    def restart() -> None:
        if not restarted:
            restarted.append(1)
            subprocess.run(RESTART, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    made = loaded(slow(5.0)).run(asked(DARK), heard)

    assert restarted == [1]
    assert len(set(heard.remembered)) == 2, "a server that was restarted has forgotten its jobs"
    assert made.notes["prompt_id"] == heard.remembered[-1]
    assert made.images[0].size == (512, 512)


class TestRealByTheKit(EngineSuite):
    engine: ClassVar[str] = "comfyui"
    sizes: ClassVar[Sequence[Size]] = (SQUARE, Size(400, 600), Size(672, 288))

    @pytest.fixture(scope="class")
    @classmethod
    def engine_options(cls) -> Mapping[str, Any]:
        graph = chain("ImageInvert", {})
        return {"base_url": URL, "workflow": graph, "bindings": ONE}

    test_previews_are_pictures = None  # they come from samplers, which need weights


def _ended(id: str) -> Mapping[str, Any]:
    """What is kept of a job that was stopped, as soon as it is."""
    _until(lambda: Server(URL).history(id))
    return Server(URL).history(id) or {}


def _until(is_so: Any) -> None:
    ends = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < ends, "it does not come to that"
        time.sleep(0.02)

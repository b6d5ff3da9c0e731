"""The ComfyUI engine against recordings of a real server: what goes in, what comes out, what is said when it cannot."""

import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parent / "comfyui"))
from comfyui_rig import EARLIER, GREEN, QWEN, RED, STEPS, TWO, Heard, Serve, asked, colour, engine, sent, stepped
from fake_comfyui import FakeComfyUI, jobs, recorded, serving, workflow

from gesso.core.errors import ConfigError, EngineFailed
from gesso.engines.comfyui.engine import ComfyUIEngine
from gesso.engines.comfyui.server import Server, words
from gesso.engines.comfyui.workflow import Place


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda *recordings: stack.enter_context(serving(FakeComfyUI(*recordings)))


@pytest.mark.parametrize("recording", ["image_on_disk", "cached_repeat", "one_node_changed"])
def test_a_file_that_was_saved_is_fetched_at_the_asked_size(serve: Serve, recording: str) -> None:
    made = engine(serve(recording)).run(asked(), Heard())

    assert [(each.size, each.mode, colour(each)) for each in made.images] == [((64, 48), "RGB", RED)]


def test_the_workflow_that_comfyui_writes_into_its_files_does_not_come_along(serve: Serve) -> None:
    made = engine(serve("image_on_disk")).run(asked(), Heard())

    assert made.images[0].info == {}


@pytest.mark.parametrize("recording", ["progress_and_previews", "progress_and_previews_with_metadata"])
def test_a_result_over_the_socket_is_told_from_its_previews(serve: Serve, recording: str) -> None:
    heard = Heard()
    made = stepped(serve(recording), recording).run(asked(1), heard)

    assert [colour(each) for each in made.images] == [RED]
    assert [abs(colour(each)[1] - GREEN[1]) < 9 for each in heard.previews] == [True] * 4


def test_a_result_over_the_socket_needs_no_file(serve: Serve) -> None:
    fake = serve("image_over_websocket")
    engine(fake, jobs("image_over_websocket")[0].graph, {"image1": "1.image", "output": "9"}).run(asked(1), Heard())

    assert "/view" not in [path for _, path, _ in fake.calls]


def test_progress_counts_samplers_by_steps_and_never_falls(serve: Serve) -> None:
    heard = Heard()
    stepped(serve("progress_and_previews_with_metadata"), "progress_and_previews_with_metadata").run(asked(1), heard)

    assert heard.steps == sorted(heard.steps)
    assert {of for _, of in heard.steps} == {7}
    assert {step for step, _ in heard.steps} >= {2, 3, 4, 5, 6, 7}


def test_the_socket_is_open_and_flagged_before_anything_is_posted(serve: Serve) -> None:
    fake = serve("image_on_disk")
    engine(fake).run(asked(), Heard())
    paths = [path for _, path, _ in fake.calls]

    assert paths.index("/ws") < paths.index("/prompt")
    assert fake.flags == [{"type": "feature_flags", "data": {"supports_preview_metadata": True}}]


def test_the_id_is_kept_before_it_is_posted(serve: Serve) -> None:
    fake, heard = serve("image_on_disk"), Heard()
    heard.remember = lambda text: heard.remembered.append(f"{text} {len(fake.posts())}")  # type: ignore[method-assign]
    engine(fake).run(asked(), heard)

    assert heard.remembered == [f"{fake.posts()[0]['prompt_id']} 0"]


def test_references_lie_in_the_jobs_own_folder_under_their_numbers(serve: Serve) -> None:
    fake = serve("image_on_disk")
    engine(fake).run(asked(), Heard())

    assert sorted(fake.files) == sorted(sent(fake)[node]["inputs"]["image"] for node in "12")
    assert [Image.open(io.BytesIO(file)).size for _, file in sorted(fake.files.items())] == [(80, 60), (64, 96)]


def test_an_uploaded_file_is_called_as_recorded(serve: Serve) -> None:
    told = recorded("upload")[1]["answer"]["json"]

    assert Server(serve().url).upload(asked().images[0], "ref2.png", "job-1") == f"{told['subfolder']}/{told['name']}"


def test_every_bound_name_is_filled_in_everywhere(serve: Serve) -> None:
    bindings = {**STEPS, "negative_prompt": "7.negative_prompt", "delay": "7.delay"}
    fake = serve("progress_and_previews")
    inputs = asked(1, prompt="a cup", negative_prompt="rain", seed=5, extra={"delay": 0.5})
    engine(fake, jobs("progress_and_previews")[0].graph, bindings).run(inputs, Heard())

    filled = {"seed": 5, "prompt": "a cup", "negative_prompt": "rain", "delay": 0.5}
    assert sent(fake)["7"]["inputs"] == {"image": ["3", 0], "steps": 4, **filled}


def test_each_job_has_a_file_name_of_its_own(serve: Serve) -> None:
    fake = serve("image_on_disk", "cached_repeat")
    made = engine(fake)
    for _ in range(2):
        made.run(asked(), Heard())

    assert len({each["prompt"]["9"]["inputs"]["filename_prefix"] for each in fake.posts()}) == 2


def test_a_cached_result_whose_file_was_deleted_is_made_anew(serve: Serve) -> None:
    fake = serve("deleted_output", "image_on_disk")
    made = engine(fake).run(asked(), Heard())

    assert colour(made.images[0]) == RED
    assert len({each["prompt_id"] for each in fake.posts()}) == 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_loaders_of_absent_references_are_taken_out(serve: Serve, count: int) -> None:
    fake, graph = serve("image_on_disk"), workflow("qwen_image_edit_plus")
    graph["3"] = {"class_type": "LoadImage", "inputs": {"image": "ref3.png"}}
    graph["4"] = {"class_type": "ImageScale", "inputs": {"image": ["3", 0]}}
    for encoder in ("20", "21"):
        graph[encoder]["inputs"]["image3"] = ["4", 0]
    fake.offers = {"UNETLoader": graph["10"]["inputs"]["unet_name"]}
    engine(fake, graph, {**QWEN, "image3": "3.image"}).run(asked(count), Heard())

    loaded = [id for id, node in sent(fake).items() if node["class_type"] == "LoadImage"]
    linked = [name for name in sent(fake)["20"]["inputs"] if name.startswith("image")]
    assert (len(loaded), len(linked), "4" in sent(fake)) == (count, count, count == 3)


def test_a_workflow_that_cannot_do_with_fewer_references_says_so(serve: Serve) -> None:
    made = engine(serve())

    with pytest.raises(EngineFailed, match="takes 2 images and cannot do with fewer"):
        made.run(asked(1), Heard())
    with pytest.raises(EngineFailed, match="at most 2 images"):
        made.run(asked(3), Heard())


def test_only_what_the_output_needs_is_posted(serve: Serve) -> None:
    graph = workflow("two_references") | {"8": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}}}
    fake = serve("image_on_disk")
    engine(fake, graph).run(asked(), Heard())

    assert "8" not in sent(fake)


def test_a_failing_node_is_told_by_kind_and_message_without_folders(serve: Serve) -> None:
    fake = serve("execution_error")
    made = engine(fake, jobs("execution_error")[0].graph, {"image1": "1.image", "output": "9"})

    with pytest.raises(EngineFailed, match=r"LoadImage: cannot identify image file 'broken\.png'$"):
        made.run(asked(1), Heard())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no file '/home/me/My Pictures/a.png'", "no file 'a.png'"),
        (r"no file C:\ComfyUI\models\a.safetensors", "no file a.safetensors"),
        ("sizes 3 / 4 and 5/6 do not\n  match", "sizes 3 / 4 and 5/6 do not match"),
    ],
)
def test_what_a_server_says_is_one_line_without_folders(said: str, told: str) -> None:
    assert words(said) == told


def test_the_history_entry_may_come_after_the_last_message(serve: Serve) -> None:
    late = next(entry for entry in jobs("execution_error")[0].then if entry.get("answer", {}).get("json") == {})
    fake = serve("image_on_disk")
    history = f"/history/{fake.next[0].post['prompt_id']}"
    fake.next[0].then.insert(0, {"http": {"method": "GET", "path": history}, "answer": late["answer"]})

    assert colour(engine(fake).run(asked(), Heard()).images[0]) == RED
    assert len(fake.posts()) == 1


def test_a_job_that_failed_unheard_is_told_as_if_heard(serve: Serve) -> None:
    fake = serve()
    fake.ended(EARLIER, "execution_error")
    Server(fake.url).history(EARLIER)  # the recorded first answer is still empty

    with pytest.raises(EngineFailed, match="LoadImage: cannot identify"):
        engine(fake).run(asked(remembered=EARLIER), Heard())


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (0, "LoadImage: .*Invalid image file: nope.png.*ImageScale: .*INT value"),
        (1, "ImageBlend: Required input is missing: image2"),
        (2, "node NoSuchNode does not exist"),
        (3, "Prompt has no outputs"),
        (4, "No prompt provided"),
    ],
)
def test_a_refused_workflow_is_told_in_words(serve: Serve, number: int, says: str) -> None:
    fake = serve("rejected")
    fake.next = fake.next[number:]

    with pytest.raises(EngineFailed, match=says):
        engine(fake).run(asked(), Heard())


def test_a_refusal_for_a_missing_file_names_the_file(serve: Serve) -> None:
    fake = serve("rejected_missing_models")

    with pytest.raises(EngineFailed, match=r"UNETLoader: the server has no unet_name 'qwen_image_edit_2511"):
        engine(fake).run(asked(), Heard())


def test_missing_nodes_and_files_are_told_when_the_engine_is_loaded(serve: Serve) -> None:
    fake = serve()
    fake.lacks = {"CFGNorm"}
    with pytest.raises(EngineFailed) as fault:
        engine(fake, workflow("qwen_image_edit_plus"), QWEN)

    assert "node CFGNorm: install" in str(fault.value)
    assert "unet_name 'qwen_image_edit_2511_bf16.safetensors' for node UNETLoader" in str(fault.value)
    assert "ref1.png" not in str(fault.value)


def test_the_choices_of_newer_servers_are_read_too(serve: Serve) -> None:
    graph = {"1": {"class_type": "Newer", "inputs": {"name": "b"}}}
    spec = {"input": {"required": {"name": ["COMBO", {"options": ["a"]}]}}}
    server = Server(serve().url)
    server._json = lambda *_, **__: {"Newer": spec}  # type: ignore[method-assign]

    with pytest.raises(EngineFailed, match="name 'b' for node Newer"):
        server.check(graph, [])
    assert server.check(graph, [Place("1", "name")]) == {"Newer": set()}


def test_an_input_that_grows_can_do_without_what_is_beyond_its_least(serve: Serve) -> None:
    template = {"input": {"required": {"image": ["IMAGE", {}]}}}
    numbered = {"prefix": "image", "min": 2, "max": 4}
    named = {"names": ["a", "b"], "min": 0}
    spec = {
        "required": {"images": ["COMFY_AUTOGROW_V3", {"template": {**template, **numbered}}], "width": ["INT"]},
        "optional": {"more": ["COMFY_AUTOGROW_V3", {"template": {**template, **named}}]},
    }
    server = Server(serve().url)
    server._json = lambda *_, **__: {"Batch": {"input": spec}}  # type: ignore[method-assign]
    told = server.check({"1": {"class_type": "Batch", "inputs": {}}}, [])

    assert told == {"Batch": {"images.image2", "images.image3", "more", "more.a", "more.b"}}


def test_a_server_that_is_away_is_told_when_the_engine_is_loaded() -> None:
    with pytest.raises(EngineFailed, match="no ComfyUI server answers: start it"):
        ComfyUIEngine(base_url="http://127.0.0.1:9", workflow=workflow("two_references"), bindings=TWO).load()


def test_the_token_goes_along_and_a_wrong_one_is_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_TOKEN", "good")
    fake = serve("image_on_disk")
    fake.token = "good"

    assert engine(fake, token_env="COMFY_TOKEN").run(asked(), Heard()).images
    with pytest.raises(EngineFailed, match="wants another token"):
        engine(fake)
    with pytest.raises(ConfigError, match="no ABSENT_TOKEN"):
        engine(fake, token_env="ABSENT_TOKEN")


@pytest.mark.parametrize(
    ("bindings", "says"),
    [
        ({**TWO, "output": "10"}, "'output' must be the id of a node"),
        ({**TWO, "seed": "77.seed"}, "'seed' names node '77'"),
        ({**TWO, "seed": "3.sede"}, r"'seed' must be 3\.INPUT, where INPUT is one of: image, upscale_method"),
    ],
)
def test_a_binding_that_leads_nowhere_is_told(bindings: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ComfyUIEngine(base_url="http://127.0.0.1:9", workflow=workflow("two_references"), bindings=bindings)


def test_the_engine_tells_what_its_workflow_can(tmp_path: Path) -> None:
    path = Path(__file__).parent / "comfyui" / "qwen_image_edit_plus_api.json"
    abilities = ComfyUIEngine(base_url="http://127.0.0.1:9", workflow=str(path), bindings=QWEN).abilities

    assert (abilities.max_images, abilities.negative_prompt, abilities.seed) == (2, "native", "best_effort")
    assert abilities.weights.startswith("qwen_2.5_vl_7b_fp8_scaled.safetensors, ")


def test_closing_twice_is_safe(serve: Serve) -> None:
    made = engine(serve())
    made.close()
    made.close()

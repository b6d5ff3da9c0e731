"""`gesso models import-workflow`: a ComfyUI workflow becomes a folder that makes a model and fits the engine."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import click.testing
import pytest

from gesso.catalog import read_model
from gesso.cli.workflow import import_workflow
from gesso.core.errors import ConfigError, InvalidInput
from gesso.engines.comfyui.workflow import Workflow, read_graph

sys.path.append(str(Path(__file__).parents[1] / "engines" / "comfyui"))
from fake_comfyui import workflow

ID = "acme/my-edit/image-to-image"
IMAGE = "https://images.example/a.png"
EDITOR = {"nodes": [{"id": 1, "type": "LoadImage"}], "links": [], "version": 0.4}


def imported(graph: Any, *flags: str, id: str = ID) -> click.testing.Result:
    """What the command says, run on *graph*."""
    Path("workflow_api.json").write_text(graph if isinstance(graph, str) else json.dumps(graph))
    words = ["workflow_api.json", "--id", id, "--models-dir", "models", *flags]
    return click.testing.CliRunner().invoke(import_workflow, words)


def options(id: str = ID) -> Any:
    return read_model(Path("models") / id, id).engine_options


def made(graph: Any, *flags: str) -> Any:
    """The model that comes of *graph*."""
    said = imported(graph, *flags)
    assert said.exit_code == 0, (said.output, said.exception)
    return read_model(Path("models") / ID, ID)


def test_prompts_are_found_by_the_links_of_the_sampler():
    bindings = made(workflow("qwen_image_edit_plus")).engine_options["bindings"]

    assert bindings == {
        "prompt": "20.prompt", "negative_prompt": "21.prompt", "image1": "1.image", "image2": "2.image",
        "width": "22.width", "height": "22.height", "seed": "23.seed", "steps": "23.steps", "cfg": "23.cfg",
        "output": "9",
    }  # fmt: skip


def test_fields_are_typed_and_their_defaults_are_the_workflows():
    fields = made(workflow("qwen_image_edit_plus")).card("en").input_schema["properties"]

    assert {name: (field["type"], field["default"]) for name, field in fields.items() if name != "image_urls"} == {
        "prompt": ("string", "PROMPT"), "negative_prompt": ("string", "NEGATIVE"),
        "image_size": ("string", "1024*1024 (1:1)"), "seed": ("integer", 0), "steps": ("integer", 40),
        "cfg": ("number", 4.0),
    }  # fmt: skip
    assert (fields["image_urls"]["minItems"], fields["image_urls"]["maxItems"]) == (1, 2)
    assert {each["validation_rule"] for each in fields["image_urls"]["validations"]} >= {
        "file_size_mb<",
        "width_pixels>",
    }


def test_a_request_reaches_the_engine_under_its_own_names():
    model = made(workflow("qwen_image_edit_plus"))
    body = {"prompt": "a cup", "image_urls": [IMAGE], "image_size": "1280*720 (16:9)", "steps": 8}
    inputs = model.bind(model.accept(body, lambda *_: None), [])

    assert (inputs.prompt, inputs.negative_prompt, str(inputs.size)) == ("a cup", "NEGATIVE", "1280x720")
    assert inputs.extra == {"steps": 8, "cfg": 4.0}


def test_what_is_written_fits_the_engine():
    told = made(workflow("qwen_image_edit_plus")).engine_options

    assert Workflow(read_graph(told["workflow"]), told["bindings"]).images == ["image1", "image2"]
    assert Path(told["workflow"]).is_absolute()


def test_a_workflow_without_words_has_pictures_and_a_size_only():
    model = made(workflow("two_references"))

    assert list(model.card("en").input_schema["properties"]) == ["image_urls", "image_size"]
    assert model.engine_options["bindings"]["width"] == ["3.width", "4.width"]
    with pytest.raises(InvalidInput):
        model.accept({"image_urls": [IMAGE]}, lambda *_: None)


def test_a_size_is_found_where_a_choice_brought_its_inputs():
    graph = workflow("two_references")
    scaled = {"input": ["1", 0], "resize_type": "scale dimensions", "scale_method": "area"}
    scaled |= {"resize_type.width": 800, "resize_type.height": 600, "resize_type.crop": "center"}
    graph["3"] = {"class_type": "ResizeImageMaskNode", "inputs": scaled}
    bindings = made(graph).engine_options["bindings"]

    assert bindings["width"] == ["3.resize_type.width", "4.width"]
    assert bindings["height"] == ["3.resize_type.height", "4.height"]


def test_what_was_found_and_what_was_not_is_said():
    said = imported(workflow("two_references")).output

    assert "image2           2.image" in said
    assert "output           9                    SaveImage" in said
    assert "not found: prompt, negative_prompt, seed" in said
    assert "--map NAME=NODE.INPUT" in said


def test_a_name_can_be_bound_anew_added_and_dropped():
    flags = ("--map", "negative_prompt=", "--map", "blend=6.blend_factor", "--map", "width=3.width")
    model = made(workflow("two_references"), *flags)

    assert model.card("en").input_schema["properties"]["blend"] == {"title": "Blend", "type": "number", "default": 0.5}
    assert model.engine_options["bindings"]["width"] == "3.width"
    assert model.engine_options["bindings"]["blend"] == "6.blend_factor"


def test_a_prompt_in_a_node_of_its_own_is_found_through_the_links():
    graph = workflow("qwen_image_edit_plus")
    graph["30"] = {"class_type": "PrimitiveString", "inputs": {"value": "from afar"}}
    graph["20"]["inputs"]["prompt"] = ["30", 0]

    assert made(graph).engine_options["bindings"]["prompt"] == "30.value"


def test_the_size_is_that_of_the_empty_latent_where_there_is_one():
    graph = workflow("qwen_image_edit_plus")
    scale = {"image": ["1", 0], "upscale_method": "lanczos", "width": 512, "height": 512, "crop": "center"}
    graph["40"] = {"class_type": "ImageScale", "inputs": scale}
    graph["20"]["inputs"]["image1"] = ["40", 0]

    assert made(graph).engine_options["bindings"]["width"] == "22.width"


def test_a_negative_that_is_the_positive_zeroed_out_is_no_field():
    graph = workflow("qwen_image_edit_plus")
    graph["21"] = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["20", 0]}}

    assert "negative_prompt" not in made(graph).card("en").input_schema["properties"]


def test_texts_of_any_kind_survive_the_definition():
    graph = workflow("qwen_image_edit_plus")
    graph["20"]["inputs"]["prompt"] = 'a "cup"\\ \x7f 杯\n☃ 🍵'
    model = made(graph, "--title", 'My "own" \x7f🍵', "--base-url", "http://10.0.0.5:8188")

    assert model.card("en").display_name == 'My "own" \x7f🍵'
    assert model.engine_options["base_url"] == "http://10.0.0.5:8188"
    assert model.example["prompt"] == graph["20"]["inputs"]["prompt"]


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (EDITOR, r"editor's format.*Export \(API\)"),
        ({}, "no nodes"),
        ("[1]", "must hold an object"),
        ("{", "is no JSON"),
        ({"1": {"inputs": {}}}, "'1' is no node with class_type"),
        ({"1": {"class_type": "SaveImage", "inputs": {"images": ["7", 0]}}}, "linked to node 7"),
        ({"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}, "no node saves a picture"),
    ],
)
def test_what_is_no_workflow_in_api_format_is_refused_with_the_way_out(graph: Any, says: str):
    said = imported(graph)

    assert isinstance(said.exception, ConfigError)
    assert said.exception.facts
    assert not Path("models").exists()
    with pytest.raises(ConfigError, match=says):
        raise said.exception


@pytest.mark.parametrize(
    "flags", [("--map", "prompt"), ("--map", "seed=99.seed"), ("--map", "a b=1.image"), ("--map", "x=20.clip")]
)
def test_a_map_that_leads_nowhere_writes_nothing(flags: tuple[str, ...]):
    assert imported(workflow("qwen_image_edit_plus"), *flags).exit_code
    assert not Path("models").exists()


@pytest.mark.parametrize("id", ["noslash", "../up/there", "/absolute/id", "Acme/Edit", "a//b"])
def test_an_id_that_is_no_path_below_the_models_is_refused(id: str):
    assert imported(workflow("two_references"), id=id).exit_code
    assert not Path("models").exists()


def test_a_model_that_is_there_is_written_over_only_by_force():
    made(workflow("two_references"))
    before = (Path("models") / ID / "model.toml").read_text()
    said = imported(workflow("qwen_image_edit_plus"))

    assert (said.exit_code, (Path("models") / ID / "model.toml").read_text()) == (1, before)
    assert "--force" in said.output
    assert "prompt" in made(workflow("qwen_image_edit_plus"), "--force").card("en").input_schema["properties"]


def test_the_definition_reads_as_toml():
    made(workflow("two_references"))

    told = tomllib.loads((Path("models") / ID / "model.toml").read_text())
    assert (told["title"], told["engine"], told["category"]) == ("My edit", "comfyui", "image-to-image")

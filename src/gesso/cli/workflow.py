"""The command `gesso models import-workflow`: a folder for the catalogue, out of a ComfyUI workflow."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gesso.catalog import built_in, read_model
from gesso.config import read_settings
from gesso.core.errors import ConfigError
from gesso.engines.comfyui.survey import EDITORS, survey
from gesso.engines.comfyui.workflow import Workflow, read_graph

FIELDS = {"prompt": "prompt", "negative_prompt": "negative_prompt", "seed": "seed", "size": "image_size"}
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
ID = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)+")
PATTERN = built_in() / "wan-ai/wan-2-6/image-to-image/input.json"  # its fields: whoever knows them knows ours
Json = dict[str, Any]


@click.command("import-workflow", epilog="Example: gesso models import-workflow workflow_api.json --id acme/my-edit")
@click.argument("workflow", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--id", required=True, metavar="ID", help="The model's id, such as acme/my-edit/image-to-image.")
@click.option("--models-dir", type=click.Path(path_type=Path, file_okay=False), help="Where your models are.")
@click.option("--base-url", default="http://127.0.0.1:8188", show_default=True, help="The ComfyUI server.")
@click.option("--title", help="How the model is called; without it, after its id.")
@click.option("--map", "mapped", multiple=True, metavar="NAME=NODE.INPUT", help="Bind a name, or with NAME= none.")
@click.option("--force", is_flag=True, help="Write over a model that is there.")
def import_workflow(workflow: Path, id: str, models_dir: Path | None, mapped: tuple[str, ...], **more: Any) -> None:
    """Make a model of a ComfyUI workflow in API format.

    Prompts, reference images, size, seed, steps and cfg are found by the workflow's links. What is found wrongly or
    not at all is set with --map: an input of any other name becomes an optional field of its own.
    """
    root = models_dir or read_settings().models_dir
    if root is None:
        raise click.UsageError("say where your models are: --models-dir DIR")
    if not ID.fullmatch(id):
        raise click.BadParameter("lower-case words with a slash between, such as acme/my-edit", param_hint="--id")
    folder = root / id
    if (folder / "model.toml").exists() and not more["force"]:
        raise click.ClickException(f"{id} is there already; --force writes over it")
    graph = read_graph(workflow)
    bindings = _mapped(survey(graph), mapped)
    model = _Folder(id, Workflow(graph, bindings), bindings)
    _write(folder, id, model.files(folder, title=more["title"], base_url=more["base_url"]))
    for line in model.told():
        click.echo(line)
    click.echo(f"Written to {folder}. To change it: --map NAME=NODE.INPUT --force, or edit its files.")
    click.echo(f"Start it: gesso up --models-dir {root}")


class _Folder:
    """What stands in the model's folder."""

    def __init__(self, id: str, workflow: Workflow, bindings: Mapping[str, str | Sequence[str]]) -> None:
        self._id, self._workflow, self._bindings = id, workflow, bindings
        self._least = workflow.least_images(EDITORS)
        self._names = [name for name in workflow.places if name not in ("width", "height", *workflow.images)]
        if {"width", "height"} <= workflow.places.keys():
            self._names.append("size")

    def files(self, folder: Path, *, title: str | None, base_url: str) -> dict[str, str]:
        """Name -> content."""
        fields = self._fields()
        required = [name for name in ("prompt", "image_urls") if name in fields]
        schema = {"type": "object", "title": "Input", "required": required, "properties": fields}
        example = {name: fields[name]["default"] for name in required}
        return {
            # The engine is given its options as they stand, and knows no folder: the path must be absolute.
            "model.toml": self._toml(title, base_url, (folder / "workflow.json").resolve()),
            "input.json": _json(schema), "example.json": _json(example), "workflow.json": _json(self._workflow.graph),
        }  # fmt: skip

    def told(self) -> list[str]:
        """What was found, a line each."""
        places = {name: ", ".join(map(str, found)) for name, found in self._workflow.places.items()}
        lines = [f"{name:<16} {place:<20} {json.dumps(self._value(name))}" for name, place in places.items()]
        kind = self._workflow.graph[self._workflow.output]["class_type"]
        lines.append(f"{'output':<16} {self._workflow.output:<20} {kind}")
        wanted = ("prompt", "negative_prompt", "image1", "width", "seed")
        missing = [name for name in wanted if name not in places]
        return lines + ([f"not found: {', '.join(missing)}"] if missing else [])

    def _fields(self) -> Json:
        """The public fields; the defaults are the workflow's."""
        pattern = json.loads(PATTERN.read_text("utf-8"))["properties"]
        fields: Json = {}
        if "prompt" in self._names:
            told = "What the picture should look like. At most 4000 characters."
            fields["prompt"] = {**pattern["prompt"], "description": told, "default": self._value("prompt") or "Prompt"}
        if count := len(self._workflow.images):
            example = [pattern["image_urls"]["default"][0]] * max(self._least, 1)
            limits = {"minItems": max(self._least, 1), "maxItems": count, "default": example}
            fields["image_urls"] = {**pattern["image_urls"], **limits}
        for name in self._names:
            if name == "size":
                size = f"{self._value('width')}*{self._value('height')}"
                sizes = pattern["image_size"]["enum"]
                own = next((each for each in sizes if each.split()[0] == size), size)
                sizes = sizes if own in sizes else [own, *sizes]
                fields["image_size"] = {**pattern["image_size"], "enum": sizes, "default": own}
            elif name != "prompt":
                fields[name] = self._field(name, pattern)
        return fields

    def _field(self, name: str, pattern: Json) -> Json:
        value = self._value(name)
        if type(value) not in TYPES:
            raise ConfigError(reason=f"{name!r} is bound to a link; bind it to a value, or to none with --map {name}=")
        if name == "seed":
            return {**pattern["seed"], "default": value % (pattern["seed"]["maximum"] + 1)}
        if name == "negative_prompt":
            return {**pattern[name], "maxLength": 4000, "default": value}
        limits = {"minimum": 1, "maximum": 200} if name == "steps" else {}
        return {"title": name.replace("_", " ").capitalize(), "type": TYPES[type(value)], "default": value, **limits}

    def _value(self, name: str) -> Any:
        place = self._workflow.places[name][0]
        return self._workflow.graph[place.node]["inputs"][place.input]

    def _toml(self, title: str | None, base_url: str, path: Path) -> str:
        images = bool(self._workflow.images)
        head = {
            "title": title or self._id.split("/")[-2].replace("-", " ").capitalize(),
            "description": "A ComfyUI workflow.",
            "category": "image-to-image" if images else "text-to-image",
            "engine": "comfyui",
            "output": "image",
        }
        binding: Json = {name: FIELDS.get(name, name) for name in self._names if name != "size"}
        lines = [*_lines(head), "", "[engine_options]"]
        lines += [*_lines({"base_url": base_url, "workflow": str(path)}), "", "[engine_options.bindings]"]
        lines += [*_lines(self._bindings), ""]
        if "prompt" in binding:
            lines += ["[rules]", "prompt = { maxLength = 4000, blank = false }", ""]
        lines += ["[binding]", *_lines(({"images": "image_urls"} if images else {}) | binding)]
        if "size" in self._names:
            lines.append('size = { field = "image_size", as = "size" }')
        return "\n".join(lines) + "\n"


def _mapped(found: dict[str, str | list[str]], mapped: Sequence[str]) -> dict[str, str | list[str]]:
    """*found* with what the flags say instead."""
    told = dict(found)
    for each in mapped:
        name, is_pair, places = each.partition("=")
        if not (is_pair and name.isidentifier()):
            raise click.BadParameter(f"{each!r} must be NAME=NODE.INPUT", param_hint="--map")
        told.pop(name, None)
        if places:
            told[name] = places.split(",") if "," in places else places
    return told


def _write(folder: Path, id: str, files: Mapping[str, str]) -> None:
    """Write the folder, if it makes a model."""
    with tempfile.TemporaryDirectory() as trial:
        for where in (Path(trial), folder):
            where.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (where / name).write_text(content, "utf-8")
            read_model(where, id)


def _lines(table: Mapping[str, Any]) -> list[str]:
    """A TOML table of texts and lists of texts, which are written as in JSON."""
    pairs = ((name, json.dumps(value, ensure_ascii=False)) for name, value in table.items())
    return [f"{name} = {value}".replace("\x7f", "\\u007f") for name, value in pairs]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"

"""The command `gesso models enable`: a model that needs weights, copied to where one's own models lie."""

import json
import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gesso.catalog import built_in, offered, read_model, read_offers
from gesso.cli.flags import Flags, global_flags, pass_flags
from gesso.config import read_settings
from gesso.engines.diffusers.options import PLACES, PRECISIONS, SPEEDS, Options

OPTIONS = re.compile(r"^\[engine_options\]\n.*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
ENGINE = re.compile(r"^engine\s*=.*$", re.MULTILINE)


@click.command(
    epilog="Example: gesso models enable black-forest-labs/flux-2-klein-4b/image-to-image --models-dir models"
)
@click.argument("model_id")
@click.option("--models-dir", type=click.Path(path_type=Path, file_okay=False), help="Where your models are.")
@click.option("--as", "other_id", metavar="ID", help="Serve these weights under a built-in model's id and schema.")
@click.option("--weights", metavar="FOLDER|HUB_ID", help="Other weights of the same kind, or a folder with them.")
@click.option("--speed", type=click.Choice(SPEEDS), help="How much exactness is traded for speed.")
@click.option("--memory", type=click.Choice(PLACES), help="Where the weights lie.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="How the weights are kept.")
@click.option("--force", is_flag=True, help="Write over a model that is there.")
@global_flags()
@pass_flags
def enable(
    flags: Flags, /, model_id: str, models_dir: Path | None, other_id: str | None, *, force: bool, **changes: Any
) -> None:
    """Let a model be served that needs weights of one's own.

    Its definition is copied into the folder of your models, where you can edit it; `gesso doctor` lists what there
    is. With --as, the definition of a built-in model is copied instead, with this model's engine: clients of the
    built-in one then get pictures made by these weights.
    """
    root = models_dir or read_settings().models_dir
    if root is None:
        raise click.UsageError("say where your models are: --models-dir DIR")
    source = _source(model_id, other_id)
    folder = root / (other_id or model_id)
    if (folder / "model.toml").exists() and not force:
        raise click.ClickException(f"{other_id or model_id} is there already; --force writes over it")
    options = _options(model_id, changes)
    text = with_engine((source / "model.toml").read_text("utf-8"), options)
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("needs.toml", "__pycache__"))
    (folder / "model.toml").write_text(text, "utf-8")
    read_model(folder, other_id or model_id)
    licence = options.get("licence", "as their card says")
    lines = [f"Written to {folder}; weights {options['model']}, licence {licence}.",
             f"Start it: gesso up --models-dir {root}"]  # fmt: skip
    flags.payload({"model_id": other_id or model_id, "folder": str(folder), "engine_options": options}, lines)


def with_engine(toml: str, options: Mapping[str, Any]) -> str:
    """A model.toml with the diffusers engine and *options*, and otherwise as it was."""
    plain = ENGINE.sub('engine      = "diffusers"', OPTIONS.sub("", toml), count=1).rstrip()
    lines = [f"{name} = {_toml(value)}" for name, value in options.items()]
    return "\n".join([plain, "", "[engine_options]", *lines]) + "\n"


def _source(model_id: str, other_id: str | None) -> Path:
    """The folder that is copied."""
    if model_id not in (known := read_offers()):
        raise click.ClickException(f"there is no {model_id!r} that needs weights; there are: {', '.join(known)}")
    if other_id is None:
        return offered() / model_id
    source = built_in() / other_id
    if not (source / "model.toml").is_file():
        raise click.BadParameter(f"{other_id!r} is no built-in model", param_hint="--as")
    return source


def _options(model_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's options: the definition's, with what the flags say."""
    told = tomllib.loads((offered() / model_id / "model.toml").read_text("utf-8"))["engine_options"]
    weights = changes["weights"]
    if weights and Path(weights).expanduser().is_dir():  # the engine knows no folder of its own: the path is absolute
        weights = str(Path(weights).expanduser().resolve())
    wanted = {**changes, "weights": None, "model": weights}
    if weights:  # whose licence only their own card knows
        del told["licence"]
    options = {**told, **{name: value for name, value in wanted.items() if value is not None}}
    Options(**options).judge()
    return options


def _toml(value: Any) -> str:
    """A TOML value; texts and numbers are written as in JSON."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

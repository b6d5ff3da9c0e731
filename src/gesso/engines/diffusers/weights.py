"""Finds a pipeline's folder on this machine, and looks at it before anything is loaded. No torch."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gesso.core.errors import ConfigError
from gesso.engines.diffusers.calls import CALLS, Call, call_of
from gesso.engines.diffusers.options import Lora

LIBRARIES = frozenset({"diffusers", "transformers"})
"""What a pipeline's parts may come from; anything else is code that came with the weights."""
WANTED = ["*.json", "*/*.json", "*/*.safetensors", "*/*.txt", "*/*.jinja", "*/*.model", "README.md", "LICENSE*"]
"""What is taken of a hub's repository: no code, no pickles, no copies in other layouts."""
MOST_HEADER = 64 * 2**20
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PERMISSIVE = frozenset({"apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "cc0-1.0", "cc-by-4.0", "unlicense"})


@dataclass(frozen=True, slots=True)
class Weights:
    """A pipeline that lies on this machine.

    Attributes:
        label: how it is called in a result: the hub id, or the folder's own name.
        class_name: the pipeline's class; `call` is how it is called.
        parts: name -> how many parameters its safetensors hold.
        hidden, vae_width: channels of the transformer, and of the VAE at full size; 0 where its config does not say.
        licence: as the model card says; empty where it does not.
    """

    folder: Path
    label: str
    class_name: str
    call: Call
    parts: Mapping[str, int]
    hidden: int
    vae_width: int
    licence: str


def find(model: str, revision: str | None, *, local_files_only: bool) -> Path:
    """The folder of *model*: itself, or the hub's copy on this machine, fetched only when that is allowed.

    Raises:
        ConfigError: when it is not there; says how to get it.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(model):
        raise ConfigError(reason=f"there is no folder {folder.name!r} with weights where `model` points to")
    return _of_the_hub(model, revision, local_files_only=local_files_only)


def read(folder: Path, label: str) -> Weights:
    """What lies in *folder*.

    Raises:
        ConfigError: when it is no pipeline that this engine runs safely; says what would be right.
    """
    index = _json(folder / "model_index.json")
    _require(bool(index), f"{label} holds no model_index.json: a folder in the layout of diffusers is needed")
    class_name, call = str(index.get("_class_name")), call_of(index)
    if call is None:
        raise ConfigError(
            reason=f"{label} is a {class_name}, which this engine does not run; it runs {', '.join(CALLS)}"
        )
    parts = {name: place for name, place in index.items() if isinstance(place, list) and any(place)}
    foreign = sorted(name for name, place in parts.items() if place[0] not in LIBRARIES)
    _require(not foreign, f"{label}: {', '.join(foreign)} would run code that came with the weights; it is not loaded")
    sizes = {name: _parameters(folder / name, f"{label}: {name}/") for name in parts}
    transformer, vae = _json(folder / "transformer" / "config.json"), _json(folder / "vae" / "config.json")
    return Weights(
        folder,
        label,
        class_name,
        call,
        sizes,
        hidden_of(transformer),
        vae_width_of(vae),
        _licence(folder / "README.md"),
    )


def lora_file(lora: Lora, *, local_files_only: bool) -> Path:
    """The safetensors file of *lora*.

    Raises:
        ConfigError: when it is not there, or it is not clear which of several it is.
    """
    path = Path(lora.path).expanduser()
    if path.is_dir():
        found = sorted(path.glob(lora.weight_name or "*.safetensors"))
        _require(len(found) == 1, f"LoRA {path.name}: {len(found)} files fit; name one as weight_name")
        path = found[0]
    elif not path.is_file():
        _require(bool(HUB_ID.fullmatch(lora.path)), f"there is no LoRA {path.name!r} where its path points to")
        path = _lora_of_the_hub(lora, local_files_only=local_files_only)
    _require(path.suffix == ".safetensors", f"LoRA {path.name}: only safetensors are loaded")
    return path


def hidden_of(config: Mapping[str, Any]) -> int:
    """The channels of a transformer with this config."""
    heads = config.get("num_attention_heads", 0) * config.get("attention_head_dim", 0)
    return int(config.get("hidden_size") or heads)


def vae_width_of(config: Mapping[str, Any]) -> int:
    """The channels of a VAE with this config where it works at full size."""
    widths = config.get("block_out_channels") or [config.get("decoder_base_dim") or config.get("base_dim") or 0]
    return int(widths[0])


def label_of(model: str) -> str:
    """What results and messages call *model*: a hub id as it is, of a folder only its name."""
    return model if HUB_ID.fullmatch(model) and not Path(model).expanduser().is_dir() else Path(model).name


def _of_the_hub(model: str, revision: str | None, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - it comes with diffusers, not with the server

    fetch = f"hf download {model}" + (f" --revision {revision}" if revision else "")
    try:
        return Path(
            snapshot_download(model, revision=revision, allow_patterns=WANTED, local_files_only=local_files_only)
        )
    except (OSError, ValueError) as fault:  # what the hub's library raises for "not here", "no such", "no access"
        told = "is not on this machine; fetch it with" if local_files_only else "could not be fetched; try"
        raise ConfigError(reason=f"{model} {told}: {fetch}") from fault


def _lora_of_the_hub(lora: Lora, *, local_files_only: bool) -> Path:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - it comes with diffusers, not with the server

    if not lora.weight_name:
        raise ConfigError(reason=f"LoRA {lora.path}: name its file as weight_name")
    try:
        return Path(hf_hub_download(lora.path, lora.weight_name, local_files_only=local_files_only))
    except (OSError, ValueError) as fault:
        fetch = f"hf download {lora.path} {lora.weight_name}"
        raise ConfigError(reason=f"LoRA {lora.path} is not on this machine; fetch it with: {fetch}") from fault


def _parameters(folder: Path, label: str) -> int:
    """How many parameters the safetensors in *folder* hold; 0 for a part without weights, such as a tokenizer."""
    files = list(folder.glob("*.safetensors"))
    pickles = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth"), *folder.glob("*.ckpt")]
    if not files and pickles:
        raise ConfigError(reason=f"{label} holds {pickles[0].name}, which may run code; only safetensors are loaded")
    _require(folder.is_dir() and any(folder.iterdir()), f"{label} is missing or empty: the download is not complete")
    for index in folder.glob("*.safetensors.index.json"):
        missing = sorted(set(_json(index).get("weight_map", {}).values()) - {each.name for each in files})
        _require(not missing, f"{label} lacks {', '.join(missing[:3])}: the download is not complete")
    return sum(_parameters_in(each, label) for each in files)


def _parameters_in(file: Path, label: str) -> int:
    """Read off the file's header, which also says how long the file must be."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(min(length, MOST_HEADER))
    try:
        tensors = [each for name, each in json.loads(text).items() if name != "__metadata__"]
        ends = max((each["data_offsets"][1] for each in tensors), default=0)
        whole = file.stat().st_size == 8 + length + ends
        count = sum(math.prod(map(int, each["shape"])) for each in tensors)
    except (ValueError, KeyError, TypeError, AttributeError):
        whole, count = False, 0
    _require(whole, f"{label}{file.name} is damaged or not complete: fetch it again")
    return count


def _licence(card: Path) -> str:
    """The licence in the head of a model card; a name where it is "other"."""
    text = card.read_text("utf-8", errors="replace") if card.is_file() else ""
    head = text.split("---")[1] if text.startswith("---") and text.count("---") > 1 else ""
    told: dict[str, str] = dict(re.findall(r"^(license(?:_name)?):[ \t]*[\"']?([^\s\"']+)", head, re.MULTILINE))
    return told.get("license_name") or told.get("license", "")


def _json(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise ConfigError(reason=otherwise)

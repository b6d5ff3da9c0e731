"""Looks at this machine (GPU, memory, disk, packages) and says which offered model fits it. Needs no torch."""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gesso.catalog import offered, read_offers
from gesso.core.errors import DefinitionError
from gesso.engines.diffusers import memory
from gesso.engines.diffusers.calls import Call, call_of

PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "accelerate", "safetensors", "peft")
NEEDED = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
ASK_S = 10
QUERY = "--query-gpu=name,memory.total,memory.free"
# Best first: what computes exactly and lies on the device, then what is smaller, then what is streamed.
WAYS: tuple[tuple[str, memory.Place], ...] = (
    ("bf16", "resident"),
    ("fp8", "resident"),
    ("bf16", "encoder_offload"),
    ("fp8", "encoder_offload"),
    ("bf16", "group_offload"),
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, with its memory in bytes."""

    name: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What was seen.

    Attributes:
        memory_free: bytes of the host's memory that could be had.
        disk_free: bytes, where weights are kept: `weights_dir`.
        packages: name -> version, or None where it is not installed.
    """

    gpus: Sequence[Gpu]
    memory_free: int
    disk_free: int
    weights_dir: Path
    packages: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Offer:
    """An offered model, as its needs.toml describes it."""

    model_id: str
    weights: str
    licence: str
    call: Call
    parts: Mapping[str, int]
    hidden: int
    vae_width: int

    def needs(self, precision: str, place: memory.Place) -> int:
        """Bytes of a GPU's memory with which every preset can be run."""
        appetite = memory.Appetite(self.call, self.hidden, self.vae_width, element=2)
        run = appetite.worst(guided=self.call.scale > 1)
        return memory.footprint(self.parts, precision).on_device(place) + run + memory.RESERVE

    @property
    def size(self) -> int:
        """Bytes of its files, and of the host's memory while they are loaded."""
        return memory.footprint(self.parts, "bf16").whole


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an offered model fits.

    Attributes:
        way: precision and place with which it fits; None: it does not.
        is_here: whether its weights are on this machine.
        wants: what stands against it, or must be done first; in words.
        commands: what to type to use it; empty where it does not fit.
    """

    offer: Offer
    way: tuple[str, memory.Place] | None
    is_here: bool
    wants: Sequence[str]
    commands: Sequence[str]


def look() -> Machine:
    """This machine, now."""
    folder = weights_dir()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    return Machine(find_gpus(), memory.host_bytes(), free, folder, {name: _version(name) for name in PACKAGES})


def find_gpus(command: str = "nvidia-smi") -> tuple[Gpu, ...]:
    """NVIDIA's GPUs, as their driver's own *command* tells; none where it is missing or fails."""
    try:
        told = subprocess.run(  # noqa: S603 - our own words
            [command, QUERY, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=ASK_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[each.strip() for each in line.rsplit(",", 2)] for line in told.splitlines()]
    return tuple(
        Gpu(row[0], int(row[1]) * 2**20, int(row[2]) * 2**20)
        for row in rows
        if len(row) == 3 and row[1].isdigit() and row[2].isdigit()
    )


def weights_dir() -> Path:
    """Where the Hugging Face hub keeps what it fetched."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def offers() -> list[Offer]:
    """Every offered model, the smallest first."""
    found = [_offer(model_id) for model_id in read_offers()]
    return sorted(found, key=lambda offer: (offer.size, offer.model_id))


def judge(offer: Offer, machine: Machine, models_dir: str) -> Verdict:
    """Whether *offer* fits *machine*, and what to type then; *models_dir* is where definitions of one's own lie."""
    is_here = _is_here(machine.weights_dir, offer.weights)
    way = _way(offer, machine)
    against = [] if way else [_too_small(offer, machine)]
    against += _short(offer, machine, is_here=is_here)
    missing = _missing(offer, machine)
    if against or way is None:
        return Verdict(offer, None, is_here, against, ())
    steps = ["pip install 'gesso[diffusers]'"] if missing else []
    if not is_here:
        steps.append(f"hf download {offer.weights} --include '*/*' --include model_index.json --include README.md")
    precision, place = way
    flags = (f" --precision {precision}" if precision != "bf16" else "") + f" --memory {place}"
    steps.append(f"gesso models enable {offer.model_id} --models-dir {models_dir}{flags}")
    steps.append(f"gesso up --models-dir {models_dir}")
    return Verdict(offer, way, is_here, missing, steps)


def problems(machine: Machine) -> list[str]:
    """What is wrong with the machine itself."""
    told = []
    if machine.gpus and (machine.packages["torch"] or "").endswith("+cpu"):
        told.append("torch was built for the CPU and will not see the GPU: install the build for CUDA")
    vision = machine.packages["torchvision"] or ""
    if vision and "+" in (machine.packages["torch"] or "") and _build(vision) != _build(machine.packages["torch"]):
        told.append("torch and torchvision may be built for different devices: if loading fails, install both anew")
    return told


def _offer(model_id: str) -> Offer:
    told: dict[str, Any] = tomllib.loads((offered() / model_id / "needs.toml").read_text("utf-8"))
    call = call_of({"_class_name": told["pipeline"], "is_distilled": told["distilled"]})
    if call is None:
        raise DefinitionError(model=model_id, reason=f"needs.toml names {told['pipeline']}, which is not run")
    widths = told["widths"]
    return Offer(model_id, told["weights"], told["licence"], call, told["parts"], widths["hidden"], widths["vae"])


def _way(offer: Offer, machine: Machine) -> tuple[str, memory.Place] | None:
    """The best way in which it fits the GPU with the most free memory."""
    free = max((gpu.free for gpu in machine.gpus), default=0)
    return next((way for way in WAYS if offer.needs(*way) <= free), None)


def _too_small(offer: Offer, machine: Machine) -> str:
    least = min(offer.needs(*way) for way in WAYS)
    free = max((gpu.free for gpu in machine.gpus), default=0)
    found = f"{gb(free)} GB are free" if machine.gpus else "none was found"
    return f"needs a GPU with {gb(least)} GB of free memory, at best {gb(offer.needs(*WAYS[0]))} GB; {found}"


def _short(offer: Offer, machine: Machine, *, is_here: bool) -> list[str]:
    told = []
    if offer.size > machine.memory_free:
        told.append(
            f"needs {gb(offer.size)} GB of the host's memory while loading; {gb(machine.memory_free)} GB are free"
        )
    if not is_here and offer.size > machine.disk_free:
        told.append(f"needs {gb(offer.size)} GB of disk for its weights; {gb(machine.disk_free)} GB are free")
    return told


def _missing(offer: Offer, machine: Machine) -> list[str]:
    wanted = (*NEEDED, *(["torchvision"] if offer.call.needs_torchvision else []))
    missing = [name for name in wanted if machine.packages[name] is None]
    return [f"packages are missing: {', '.join(missing)}"] if missing else []


def _is_here(folder: Path, weights: str) -> bool:
    return any((folder / f"models--{weights.replace('/', '--')}").glob("snapshots/*/model_index.json"))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _build(told: str | None) -> str:
    """`2.13.0+cpu` -> `cpu`: what a package was built for."""
    return (told or "").partition("+")[2]


def gb(count: int) -> str:
    """So many bytes in GB."""
    return f"{count / memory.GB:.1f}"

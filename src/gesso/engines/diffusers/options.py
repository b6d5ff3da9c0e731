"""The `[engine_options]` of a model that diffusers runs, and which of them can be. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gesso.core.errors import ConfigError
from gesso.core.inputs import to_size

SPEEDS = ("exact", "balanced", "fast")
PRECISIONS = ("bf16", "fp8", "fp32")
PLACES = ("auto", "resident", "encoder_offload", "group_offload")
LORA_KEYS = frozenset({"path", "weight_name", "scale", "steps", "guidance"})


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA: a safetensors file, a folder, or a hub id with `weight_name`; *scale* is its strength.

    `steps` and `guidance` are for a few-step LoRA: what it was distilled for.
    """

    path: str
    weight_name: str | None = None
    scale: float = 1.0
    steps: int = 4
    guidance: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a definition says.

    Attributes:
        model: a folder in the layout of diffusers, or an id of the Hugging Face hub.
        revision: a branch, tag or commit of the hub; a commit is the safest.
        local_files_only: whether nothing is fetched; otherwise missing weights are downloaded while loading.
        licence: of the weights, where their card does not say it.
        speed: "exact" as published; "balanced" with compiled blocks and First-Block Cache; "fast" with *few_steps*.
        memory: where the weights lie: see `memory.PLACES`; "auto" takes the fastest that fits.
        precision: "bf16"; "fp8" keeps the transformer in half of that, and computes in bf16; "fp32" is for the CPU.
        device: "auto", or torch's name for it, such as "cuda:1".
        steps, guidance: instead of what the model's authors recommend.
        loras: merged into the weights, in their order.
        few_steps: the LoRA that `speed = "fast"` adds; the negative prompt is lost with it.
        preview_every: a preview after each so many steps; 0: none. Each takes a small decode.
        warm_up: sizes that are tried while loading, such as ["1024x1024"]; None: one on a GPU, none on a CPU.
        memory_limit_gb: what may be used of the device's memory; None: all that is free.
    """

    model: str = ""
    revision: str | None = None
    local_files_only: bool = True
    licence: str = ""
    speed: Literal["exact", "balanced", "fast"] = "exact"
    memory: Literal["auto", "resident", "encoder_offload", "group_offload"] = "auto"
    precision: Literal["bf16", "fp8", "fp32"] = "bf16"
    device: str = "auto"
    steps: int | None = None
    guidance: float | None = None
    loras: Sequence[Mapping[str, Any]] = ()
    few_steps: Mapping[str, Any] | None = None
    preview_every: int = 0
    warm_up: Sequence[str] | None = None
    memory_limit_gb: float | None = None

    def judge(self) -> None:
        """Raises ConfigError, which says what would be right."""
        _require(bool(self.model), 'model is missing: a folder, or a hub id such as "Qwen/Qwen-Image-Edit-2511"')
        for name, known in (("speed", SPEEDS), ("memory", PLACES), ("precision", PRECISIONS)):
            _require(getattr(self, name) in known, f"{name} must be one of {', '.join(known)}")
        _require(self.steps is None or _is_whole(self.steps, 1, 200), "steps must be a whole number from 1 to 200")
        _require(self.guidance is None or _is_number(self.guidance), "guidance must be a number of at least 0")
        _require(_is_whole(self.preview_every, 0, 200), "preview_every must be a whole number from 0 to 200")
        limit = self.memory_limit_gb
        _require(limit is None or (_is_number(limit) and limit > 0), "memory_limit_gb must be a number above 0")
        for each in (*self.loras, *filter(None, [self.few_steps])):
            _judge_lora(each)
        for size in self.warm_up or ():
            _require(_is_size(size), f"warm_up: {size!r} is no size such as 1024x1024")

    @property
    def merged(self) -> tuple[Lora, ...]:
        """The LoRAs that are merged at this speed."""
        told = [*self.loras, *([self.few_steps] if self.speed == "fast" and self.few_steps else [])]
        return tuple(Lora(**each) for each in told)


def _judge_lora(told: Any) -> None:
    is_table = isinstance(told, Mapping) and isinstance(told.get("path"), str) and bool(told["path"])
    _require(is_table, 'a LoRA is a table with at least a path, such as { path = "/weights/style.safetensors" }')
    unknown = sorted(told.keys() - LORA_KEYS)
    _require(not unknown, f"a LoRA has no {', '.join(unknown)}; it has {', '.join(sorted(LORA_KEYS))}")
    _require(_is_whole(told.get("steps", 4), 1, 200), "a LoRA's steps must be a whole number from 1 to 200")
    numbers = all(_is_number(told.get(name, 1.0)) for name in ("scale", "guidance"))
    _require(numbers, "a LoRA's scale and guidance must be numbers of at least 0")


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < float("inf")


def _is_size(text: Any) -> bool:
    try:
        return bool(to_size(text))
    except (ValueError, TypeError):
        return False


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise ConfigError(reason=otherwise)

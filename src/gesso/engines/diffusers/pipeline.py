"""From weights on the disk to a pipeline that is ready: read, merged with LoRAs, packed, placed and made fast."""

import importlib
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from gesso.core.errors import ConfigError
from gesso.engines.diffusers import memory
from gesso.engines.diffusers.calls import Call
from gesso.engines.diffusers.memo import Memo
from gesso.engines.diffusers.options import Lora, Options
from gesso.engines.diffusers.weights import Weights, lora_file

INSTALL = "pip install 'gesso[diffusers]'"
CACHE_THRESHOLD = 0.1
CACHE_LEAST_STEPS, CACHE_LEAST_BLOCKS = 12, 2  # with fewer there is nothing between them to leave out


def prepare(*, local_files_only: bool) -> None:
    """Settle what the libraries ask the environment for; before they are imported."""
    if local_files_only:
        os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def imported(call: Call) -> Any:
    """The library, with all that a pipeline of this kind needs.

    Raises:
        ConfigError: names what is missing, and how to install it.
    """
    wanted = ("torch", "diffusers", "transformers", "accelerate", *(["torchvision"] if call.needs_torchvision else []))
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(reason=f"the diffusers engine needs {', '.join(missing)}: {INSTALL}")
    try:
        return importlib.import_module("diffusers")
    except RuntimeError as fault:  # a torchvision built for another torch, which breaks even those who do not need it
        raise ConfigError(reason=f"torch and torchvision do not fit together; install both anew: {INSTALL}") from fault


def device_of(wanted: str) -> Any:
    """torch's device for *wanted*.

    Raises:
        ConfigError: when torch does not know it, or it is not there.
    """
    import torch  # noqa: PLC0415 - this room is read without it

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as fault:
        raise ConfigError(reason=f"device {wanted!r} is not there; 'auto' takes what is") from fault
    return device


def free_bytes(device: Any, limit_gb: float | None, *, held: int = 0) -> int:
    """What may still be used of *device*'s memory; *held* is what this engine already uses of its limit."""
    import torch  # noqa: PLC0415 - likewise

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    else:
        free = memory.host_bytes()
    return free if limit_gb is None else min(free, round(limit_gb * memory.GB) - held)


def read(weights: Weights, options: Options) -> Any:
    """The pipeline in the host's memory: by its own class, offline, from safetensors, with its LoRAs merged.

    Raises:
        ConfigError: when the files do not make a pipeline.
    """
    library = imported(weights.call)
    _be_quiet(library)
    try:
        pipe = getattr(library, weights.class_name).from_pretrained(
            weights.folder, local_files_only=True, use_safetensors=True, dtype=_dtype(options.precision)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as fault:
        told = str(fault).replace(str(weights.folder), weights.label).split("\n")[0][:200]
        raise ConfigError(reason=f"{weights.label} cannot be loaded: {told}") from fault
    pipe.set_progress_bar_config(disable=True)
    _merge(pipe, options.merged, local_files_only=options.local_files_only)
    return pipe


def place(pipe: Any, where: memory.Place, device: Any) -> None:
    """Lay the weights where *where* says.

    Raises:
        ConfigError: when the estimate was wrong, and they do not fit.
    """
    import torch  # noqa: PLC0415 - likewise

    try:
        _place(pipe, where, device)
    except torch.OutOfMemoryError as fault:
        others = ", ".join(each for each in memory.PLACES if each != where)
        raise ConfigError(reason=f"the weights do not fit with memory = {where!r}; try {others}") from fault


def pack(pipe: Any, options: Options) -> None:
    """Keep the transformer in fp8; every layer is unpacked to bf16 while it computes."""
    if options.precision != "fp8":
        return
    import torch  # noqa: PLC0415 - likewise

    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)


def quicken(pipe: Any, call: Call, speed: str, steps: int, *, compiles: bool) -> tuple[str, ...]:
    """Make *pipe* as fast as *speed* says; tells what was done, in words for a result's metadata."""
    if speed == "exact":
        return ()
    done = []
    blocks = sum(len(getattr(pipe.transformer, name)) for name in call.cached_blocks)
    if blocks > CACHE_LEAST_BLOCKS and steps >= CACHE_LEAST_STEPS:
        _cache(pipe.transformer, call.cached_blocks)
        done.append("first_block_cache")
    if compiles:
        # Not whole graphs only: the cache breaks them, and past the compiler's limit of shapes that would be an error.
        pipe.transformer.compile_repeated_blocks(fullgraph=False, dynamic=None)
        done.append("compiled_blocks")
    return tuple(done)


def remember_references(pipe: Any, call: Call) -> None:
    """Encode a reference once, however many requests show it."""
    if call.memo:
        pipe._encode_vae_image = Memo(pipe._encode_vae_image)


def _be_quiet(library: Any) -> None:
    """No progress bars in a server's log."""
    library.utils.logging.disable_progress_bar()
    importlib.import_module("transformers.utils.logging").disable_progress_bar()


def _place(pipe: Any, where: memory.Place, device: Any) -> None:
    if where == "resident":
        pipe.to(device)
        return
    kept = ["vae", *(["transformer"] if where == "encoder_offload" else [])]
    streams = {"use_stream": device.type == "cuda", "non_blocking": device.type == "cuda"}
    pipe.enable_group_offload(onload_device=device, offload_type="leaf_level", exclude_modules=kept, **streams)


def _merge(pipe: Any, loras: Sequence[Lora], *, local_files_only: bool) -> None:
    """Add *loras* to the weights themselves: then they cost nothing, and compile like the rest."""
    if not loras:
        return
    if importlib.util.find_spec("peft") is None:
        raise ConfigError(reason=f"LoRAs need peft: {INSTALL}")
    if not hasattr(pipe, "load_lora_weights"):
        raise ConfigError(reason=f"{type(pipe).__name__} takes no LoRAs")
    names = [f"lora_{number}" for number in range(len(loras))]
    for name, lora in zip(names, loras, strict=True):
        file = lora_file(lora, local_files_only=local_files_only)
        try:
            pipe.load_lora_weights(
                str(file.parent), weight_name=file.name, adapter_name=name, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as fault:
            raise ConfigError(reason=f"LoRA {file.name} does not fit {type(pipe).__name__}") from fault
        if name not in pipe.get_list_adapters().get("transformer", ()):
            raise ConfigError(reason=f"LoRA {file.name} has nothing for the transformer of {type(pipe).__name__}")
    pipe.set_adapters(names, [lora.scale for lora in loras])
    pipe.fuse_lora(adapter_names=names)
    pipe.unload_lora_weights()


def _cache(transformer: Any, lists: Sequence[str]) -> None:
    from torch import nn  # noqa: PLC0415 - likewise

    hooks = importlib.import_module("diffusers.hooks")
    shown = nn.Module()  # the cache goes over the lists of blocks that it finds, so it is shown those only
    for name in lists:
        setattr(shown, name, getattr(transformer, name))
    hooks.apply_first_block_cache(shown, hooks.FirstBlockCacheConfig(threshold=CACHE_THRESHOLD))
    hooks.HookRegistry.check_if_exists_or_initialize(transformer).invalidate_child_registries_cache()


def _dtype(precision: str) -> Any:
    import torch  # noqa: PLC0415 - likewise

    return torch.float32 if precision == "fp32" else torch.bfloat16

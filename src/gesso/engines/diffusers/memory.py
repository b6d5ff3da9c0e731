"""How much memory weights and runs need, and where the weights are to lie. Arithmetic, without torch.

How many states live at once was counted operation by operation on full-size blocks and VAEs (tensors without content,
attention fused): 14.5 in Qwen-Image's blocks, 16.6 in JoyImage's, 21.8 in Klein's; 18 in Qwen's and Wan's VAE, 6 in
Flux 2's. `calls` has them rounded up. They are estimates, never seen on a GPU: an allocator's gaps and a library's
workspaces come on top, for which `RESERVE` stands.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gesso.core.errors import ConfigError, EngineFailed
from gesso.core.inputs import Size
from gesso.engines.diffusers.calls import Call

Place = Literal["resident", "encoder_offload", "group_offload"]
PLACES: tuple[Place, ...] = ("resident", "encoder_offload", "group_offload")
"""Fastest first. All on the device; the text encoder streamed through it; the transformer too, block by block."""
TOKEN_PIXELS, TEXT_TOKENS = 16 * 16, 1500
STREAMED = 10  # one part in so many of what is streamed lies on the device at a time
RESERVE = 2**30
GB = 10**9
WORST = (Size(1280, 960), 3)
"""The largest preset of the contract, with three references: what "auto" leaves room for."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of the weights, as they are kept: of the transformer, of the text encoders, of the rest."""

    transformer: int
    encoders: int
    rest: int

    def on_device(self, place: Place) -> int:
        """What of it lies on the device."""
        if place == "resident":
            return self.transformer + self.encoders + self.rest
        streamed = self.encoders + (self.transformer if place == "group_offload" else 0)
        return self.transformer + self.encoders + self.rest - streamed + streamed // STREAMED

    @property
    def whole(self) -> int:
        """All of it: what the host's memory holds while loading."""
        return self.on_device("resident")


def footprint(parts: Mapping[str, int], precision: str) -> Footprint:
    """The footprint of *parts* (name -> parameters) kept in *precision*; "fp8" is for the transformer only."""
    plain = 4 if precision == "fp32" else 2
    encoders = sum(count for name, count in parts.items() if name.startswith("text_encoder"))
    transformer = parts.get("transformer", 0)
    rest = sum(parts.values()) - encoders - transformer
    return Footprint(transformer * (1 if precision == "fp8" else plain), encoders * plain, rest * plain)


@dataclass(frozen=True, slots=True)
class Appetite:
    """What a run of a pipeline takes beside the weights: it grows with the pixels of output and references.

    Attributes:
        hidden, vae_width: as `weights.Weights` has them.
        element: bytes of one number.
    """

    call: Call
    hidden: int
    vae_width: int
    element: int

    def bytes(self, size: Size, references: Sequence[int], *, guided: bool) -> int:
        """For an output of *size* and *references* of so many pixels each."""
        shown = [self._shown(pixels) for pixels in references]
        pixels = size.width * size.height
        tokens = TEXT_TOKENS + (pixels + sum(shown)) // TOKEN_PIXELS
        halves = 2 if guided and self.call.batches_guidance else 1
        blocks = tokens * self.hidden * self.element * self.call.block_states * halves
        vae = max(pixels, *shown, 0) * self.vae_width * self.element * self.call.vae_states
        return max(blocks, vae)

    def _shown(self, pixels: int) -> int:
        area = self.call.reference_area
        return area if self.call.scales_up else min(pixels, area)

    def worst(self, *, guided: bool) -> int:
        """For the largest preset with three full references."""
        size, count = WORST
        return self.bytes(size, [self.call.reference_area] * count, guided=guided)


def choose(wanted: str, weights: Footprint, run: int, free: int) -> Place:
    """Where the weights are to lie, on a device with so many bytes *free*, if a run takes *run*.

    Raises:
        ConfigError: when it cannot fit, with what is needed.
    """
    places = [each for each in PLACES if wanted in ("auto", each)]
    needs = {place: weights.on_device(place) + run + RESERVE for place in places}
    for place in places:
        if needs[place] <= free:
            return place
    least = min(needs, key=lambda place: needs[place])
    raise ConfigError(
        reason=f"the weights need about {_gb(needs[least])} GB of the device's memory with memory = {least!r}, "
        f"and {_gb(free)} GB are free; try a smaller model, or precision = 'fp8'"
    )


def admit(needed: int, free: int, size: Size, images: int) -> None:
    """Raises EngineFailed when a run that takes *needed* bytes does not fit into those that are *free*."""
    if needed > free:
        raise EngineFailed(
            reason=f"{size} with {images} images needs about {_gb(needed)} GB of memory beside the weights, "
            f"and {_gb(free)} GB are free; ask for a smaller picture or with fewer images"
        )


def host_bytes() -> int:
    """What of the host's memory could be had; all there is where the kernel does not say."""
    try:
        with open("/proc/meminfo") as told:  # noqa: PTH123 - no file
            lines = dict(line.split(":", 1) for line in told)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gb(count: int) -> str:
    return f"{count / GB:.1f}"

"""The sockets of the house: what an engine, a queue, a blob store and a clock promise."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gesso.core.inputs import Inputs

if TYPE_CHECKING:
    from asyncio import Future

    from PIL.Image import Image

Clock = Callable[[], datetime]
OnFatal = Callable[[Exception], None]
"""Told, in any thread, of a fault after which this process must take no more work: a sync that failed."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an engine can do, told before anything is run.

    Attributes:
        name: the engine, as shown in a result's metadata.
        weights: the weights that run, or "none".
        licence: their licence, as an SPDX id where there is one.
        max_images: how many references it takes.
        negative_prompt: how it treats the negative prompt.
        seed: whether the same seed and configuration give the same pixels.
        size_multiple: sides must be multiples of this many pixels.
        progress, preview, stop: whether it reports steps, sends previews, stops when told.
        step_s: how many seconds may pass between two reports of a run before it counts as hung; None: as the setting
            `step_timeout` says. Only of meaning with `progress`.
    """

    name: str
    weights: str = "none"
    licence: str = "Apache-2.0"
    max_images: int = 3
    negative_prompt: Literal["native", "embeddings", "ignored"] = "ignored"
    seed: Literal["exact", "best_effort", "ignored"] = "best_effort"
    size_multiple: int = 1
    progress: bool = False
    preview: bool = False
    stop: bool = False
    step_s: float | None = None


class Report(Protocol):
    """Called by an engine at each step; a heartbeat as well as news."""

    def __call__(self, step: int, of: int, preview: "Image | None" = None) -> None:
        """Say that *step* of *of* is done.

        Raises:
            Stopped: when the run is to end; the engine lets it pass and stays usable.
        """

    def remember(self, text: str) -> None:
        """Keep *text* for the next attempt of this request, should this one be lost; durable on return.

        For the id of a job that somebody else runs, and bills, once. At most 1,000 characters.

        Raises:
            Stopped: as above; *text* may have been kept.
        """


@dataclass(frozen=True, slots=True)
class Made:
    """What a run made.

    Attributes:
        images: RGB, each at exactly the asked size.
        notes: for the result's metadata: plan, warnings, prompt as used. No URL, and no key that names one.
    """

    images: Sequence["Image"]
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Making:
    """What a run made, its pictures on their way: EngineDied or EngineTimeout where they get stuck."""

    pictures: "Future[tuple[Image, ...]]"
    notes: Mapping[str, Any]


class Engine(Protocol):
    """Turns inputs into images. All its calls come from one thread of one process; none is `async`.

    Built with the `[engine_options]` of a model's definition as keyword arguments.
    """

    @property
    def abilities(self) -> Abilities: ...

    def load(self) -> None:
        """Load weights; called once, before the first run."""

    def run(self, inputs: Inputs, report: Report) -> Made:
        """Make the picture. What was made is read while the next run goes on: it is not changed any more.

        Raises:
            EngineFailed: when it cannot; the engine stays usable.
            ContentRejected: when an upstream's moderation refuses.
            Stopped: let through from *report*.
        """

    def close(self) -> None:
        """Give everything back; twice is safe."""


Extend = Callable[[Inputs], Awaitable[tuple[Inputs, Mapping[str, Any]]]]
"""Enriches a prompt: the inputs with the prompt to be used, and what the result's metadata says of it. Never fails."""

Progress = Callable[[int, int, "Image | None"], None]
"""Hears of each step of a run, of how many there are, and sees the preview (RGB) where the engine sends one."""

Remember = Callable[[str], Awaitable[None]]
"""Keeps a text for the next attempt of the request; durable on return."""


class Host(Protocol):
    """An engine in a process of its own, as a worker sees it."""

    async def start(self) -> None:
        """Start the process and load the engine; does nothing when it runs."""

    async def engage(self, inputs: Inputs, on_progress: Progress, on_remember: Remember) -> Making:
        """Run the engine; done as soon as it may run again.

        Raises:
            EngineFailed, ContentRejected, Stopped: as the engine says.
            EngineTimeout: when it takes longer than it may.
            EngineDied: when the process ends, or hangs and is killed.
        """

    async def hand_over(self, inputs: Inputs) -> None:
        """Send the pictures of the run that is likely to come next, while another goes on."""

    async def stop_run(self) -> None:
        """Tell the run to stop at its next step."""

    async def close(self) -> None:
        """End the process; twice is safe."""


class Blobs(Protocol):
    """Kept files by key; what `put` has returned survives a power cut of whatever keeps it.

    A key is 32 hexadecimal digits, with or without an extension. Every method raises `ResourceNotFound` for what is no
    key, and `Unavailable` within seconds when the store is away, full, broken or closed to us.
    """

    def new_key(self, extension: str) -> str:
        """A key that nobody has, for a file that may be served under *extension*."""

    async def put(self, key: str, data: bytes, *, name: str = "", content_type: str = "") -> str:
        """Keep *data* under *key*, which is new; durable on return. A URL of the store's own serves it as *name*.

        Returns:
            Its SHA-256, in hexadecimal.
        """

    async def read(self, key: str, sha256: str | None = None) -> bytes:
        """The whole blob.

        Raises:
            ResourceNotFound: when there is none.
            BlobDamaged: when *sha256* is given and the bytes are no longer those.
        """

    async def delete(self, *keys: str) -> None:
        """Forget the blobs; missing ones are fine."""

    def keys_older_than(self, age: timedelta) -> AsyncIterator[list[str]]:
        """Keys last written more than *age* ago, some at a time, in no order; for the collector."""

    async def belong_to(self, database: str) -> None:
        """Be the blobs of *database*, a name that tells it from all others: its rows alone tell what is an orphan.

        Raises:
            ConfigError: when they are another's.
        """

    def url(self, key: str, lives: timedelta) -> str | None:
        """A URL of the store's own that anybody can read the blob by for as long as *lives*; None where it has none."""

    def key_in(self, url: str) -> str | None:
        """The key in a URL that the store may have made, whether or not it is still good; None in any other."""

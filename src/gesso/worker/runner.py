"""One request from claim to output. Read this file first; it knows no lease, no state and no retry."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gesso.core.inputs import Inputs
from gesso.core.model import Model
from gesso.core.pictures import Kept
from gesso.core.ports import Extend, Made
from gesso.core.request import Request, Succeeded
from gesso.files.manifest import Sign
from gesso.files.shelf import Finish, Shelf
from gesso.worker.story import inscription, origin, story, with_timing

GATHERED = ("warnings", "messages")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run begins with: what the engine is given, and what the result's metadata says of that."""

    inputs: Inputs
    notes: Mapping[str, Any] = field(default_factory=dict)

    def told(self, made: Made) -> Made:
        """*made*, with our notes beside the engine's; the engine's go before ours of the same name."""
        prompt = {"prompt_used": self.inputs.prompt} if self.inputs.prompt else {}
        lists = {name: [*self.notes[name], *made.notes.get(name, ())] for name in GATHERED if name in self.notes}
        return replace(made, notes={**prompt, **self.notes, **made.notes, **lists})


class Runner:
    """The steps of a run, in their order: `prepare`, the engine's own `run`, `keep`.

    They are three so that the engine never waits: the next request is prepared while it runs, and what it made is
    kept while it runs again.

    Args:
        extend: enriches the prompts of those who ask for it; without it, that is left to the engines.
        sign: signs every output; without it, none is signed.
    """

    def __init__(
        self, models: Mapping[str, Model], shelf: Shelf, extend: Extend | None = None, sign: Sign | None = None
    ) -> None:
        self._models = models
        self._shelf = shelf
        self._extend = extend
        self._sign = sign

    async def prepare(self, request: Request) -> Prepared:
        """What the engine is given: the frozen pictures decoded, the fields bound, the prompt enriched.

        Raises:
            Unavailable, ResourceNotFound: when a blob cannot be read.
        """
        images = await asyncio.gather(*(self._shelf.decode(each.blob or "", each.sha256) for each in request.pictures))
        inputs = self._models[request.model_id].bind(request.input, images)
        if self._extend is None or not inputs.expand_prompt or not inputs.prompt:
            return Prepared(inputs)
        return Prepared(*await self._extend(inputs))

    async def keep(self, request: Request, made: Made) -> tuple[Succeeded, list[Kept]]:
        """Encode, sign and store what the engine made; durable on return, visible only once the request is finished."""
        notes, began = story(request, made.notes), time.monotonic()
        text, sign = inscription(request, notes), self._signature(request, notes)
        kept = await asyncio.gather(
            *(self._shelf.keep_png(f"{request.id}-{number}.png", image, text, sign)
              for number, image in enumerate(made.images, 1))
        )  # fmt: skip
        return Succeeded(tuple(kept), with_timing(notes, "encode", time.monotonic() - began)), list(kept)

    def _signature(self, request: Request, notes: Mapping[str, Any]) -> Finish | None:
        """How this request's outputs are signed; None: not at all."""
        if self._sign is None:
            return None
        sign, made_by = self._sign, origin(request, notes)
        return lambda png: sign(png, made_by)

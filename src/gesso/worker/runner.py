"""One request from claim to output. Read this file first; it knows no lease, no state and no retry."""

import asyncio
from collections.abc import Mapping

from gesso.core.inputs import Inputs
from gesso.core.model import Model
from gesso.core.pictures import Kept
from gesso.core.ports import Made
from gesso.core.request import Request, Succeeded
from gesso.files.shelf import Shelf


class Runner:
    """The steps of a run, in their order: `prepare`, the engine's own `run`, `keep`.

    They are three so that the engine never waits: the next request is prepared while it runs, and what it made is
    kept while it runs again.
    """

    def __init__(self, models: Mapping[str, Model], shelf: Shelf) -> None:
        self._models = models
        self._shelf = shelf

    async def prepare(self, request: Request) -> Inputs:
        """What the engine is given: the frozen pictures decoded, the fields bound.

        Raises:
            Unavailable, ResourceNotFound: when a blob cannot be read.
        """
        images = await asyncio.gather(*(self._shelf.decode(each.blob or "", each.sha256) for each in request.pictures))
        return self._models[request.model_id].bind(request.input, images)

    async def keep(self, request: Request, made: Made) -> tuple[Succeeded, list[Kept]]:
        """Encode and store what the engine made; durable on return, visible only once the request is finished."""
        names = (f"{request.id}-{number}.png" for number in range(1, len(made.images) + 1))
        kept = await asyncio.gather(*map(self._shelf.keep_png, names, made.images))
        return Succeeded(tuple(kept), made.notes), list(kept)

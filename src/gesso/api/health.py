"""Whether the process answers, and whether the service as a whole does."""

import asyncio

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from gesso.api.errors import answer
from gesso.core.errors import GessoError, ResourceNotFound
from gesso.core.ports import Blobs
from gesso.files.blobs import new_key
from gesso.store.connection import Database
from gesso.store.workers import Workers

PATIENCE_S = 3


class Health:
    """Checks without a token; they tell words, no facts."""

    def __init__(self, database: Database, blobs: Blobs, workers: Workers) -> None:
        self._database = database
        self._blobs = blobs
        self._workers = workers

    async def healthz(self, http: HTTPRequest) -> Response:
        """The process answers."""
        return answer({"status": "ok"})

    async def readyz(self, http: HTTPRequest) -> Response:
        """Database, storage and at least one worker are there; a busy worker is."""
        checks = {"database": await self._reads(), "storage": await self._stores(), "workers": await self._works()}
        ready = all(checks.values())
        told = {name: "ok" if holds else "failing" for name, holds in checks.items()}
        return answer({"status": "ready" if ready else "not_ready", "checks": told}, status=200 if ready else 503)

    async def _reads(self) -> bool:
        try:
            return bool(await self._database.read(lambda rows: rows.execute("SELECT 1").fetchone()))
        except GessoError:
            return False

    async def _stores(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._blobs.read(new_key())
        except ResourceNotFound:
            return True  # of course: but we were told so
        except (GessoError, TimeoutError):
            return False
        return False

    async def _works(self) -> bool:
        """Whether a worker has lately said that it lives, and does as far as can be seen from here."""
        try:
            return await self._workers.anyone() and self._database.wakeups.anyone()
        except GessoError:
            return False

"""Whether the process answers, and whether the service as a whole does."""

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from gesso.api.errors import answer
from gesso.core.errors import GessoError
from gesso.files.blobs import FolderBlobs, new_key
from gesso.store.database import Database


class Health:
    """Checks without a token; they tell words, no facts."""

    def __init__(self, database: Database, blobs: FolderBlobs) -> None:
        self._database = database
        self._blobs = blobs

    async def healthz(self, http: HTTPRequest) -> Response:
        """The process answers."""
        return answer({"status": "ok"})

    async def readyz(self, http: HTTPRequest) -> Response:
        """Database, storage and at least one worker are there; a busy worker is."""
        checks = {"database": await self._reads(), "storage": self._stores(), "workers": self._works()}
        ready = all(checks.values())
        told = {name: "ok" if holds else "failing" for name, holds in checks.items()}
        return answer({"status": "ready" if ready else "not_ready", "checks": told}, status=200 if ready else 503)

    async def _reads(self) -> bool:
        try:
            return bool(await self._database.read(lambda rows: rows.execute("SELECT 1").fetchone()))
        except GessoError:
            return False

    def _stores(self) -> bool:
        try:
            self._blobs.delete(new_key())  # of nothing: reaches the folder, changes nothing
        except GessoError:
            return False
        return True

    def _works(self) -> bool:
        return self._database.wakeups.anyone()

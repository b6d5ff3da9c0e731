"""Files out: signed URLs, and the bytes behind them, without a token."""

import re
from datetime import datetime, timedelta

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from gesso.core import wire
from gesso.core.errors import RangeNotSatisfiable, ResourceNotFound
from gesso.core.model import Model
from gesso.core.pictures import Kept
from gesso.core.ports import Blobs, Clock
from gesso.core.request import Request, Succeeded
from gesso.core.wire import JSON
from gesso.files.signing import Signer
from gesso.store.files import Files

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "private, max-age=3600",
    "Accept-Ranges": "bytes",
}
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Outputs:
    """The files that are served.

    Args:
        public_url: without a slash at the end.
        retention: a URL is good for as long as its request is kept.
    """

    def __init__(
        self, files: Files, blobs: Blobs, signer: Signer, public_url: str, *, retention: timedelta, now: Clock
    ) -> None:
        self._files = files
        self._blobs = blobs
        self._signer = signer
        self._public_url = public_url
        self._retention = retention
        self._now = now

    def public(self, request: Request, succeeded: Succeeded, model: Model | None) -> JSON:
        """The public output of a request that succeeded."""
        expires_at = (request.finished_at or self._now()) + self._retention
        urls = [self.url(each, expires_at) for each in succeeded.files]
        return wire.output(model.output if model else "image", urls)

    def url(self, file: Kept, expires_at: datetime) -> str:
        """The signed URL of *file*, good until *expires_at*: the blob store's own, where it has one, else ours."""
        direct = self._blobs.url(file.key, expires_at - self._now())
        return direct or self._public_url + self._signer.sign(f"/files/{file.key}/{file.name}", expires_at)

    async def serve(self, http: HTTPRequest) -> Response:
        """The bytes of a file: whole, or one range of them.

        Raises:
            ResourceNotFound: when the URL is unknown, unsigned, altered or over.
            BlobDamaged: when the bytes are no longer those that were stored.
            RangeNotSatisfiable: when the asked range lies outside.
        """
        file = await self._opened(http)
        data = await self._blobs.read(file.key, file.sha256)
        headers = {**HEADERS, "Content-Disposition": f'inline; filename="{file.name}"'}
        part = _range(http.headers.get("range"), len(data))
        if part is None:
            return Response(data, 200, headers, file.content_type)
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
        return Response(data[part.start : part.stop], 206, headers, file.content_type)

    async def _opened(self, http: HTTPRequest) -> Kept:
        key, name = http.path_params["key"], http.path_params["name"]
        query = http.query_params
        signed = self._signer.check(
            f"/files/{key}/{name}", query.get("expires", ""), query.get("signature", ""), self._now()
        )
        if not signed:
            raise ResourceNotFound
        file = await self._files.get(key)
        if file.name != name or file.kind == "input":
            raise ResourceNotFound
        return file


def _range(header: str | None, size: int) -> range | None:
    """The bytes that a Range header asks for; None for all of them, also when it asks for several ranges."""
    match = RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.group(1, 2)
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        raise RangeNotSatisfiable(size_bytes=size)
    return range(start, stop)

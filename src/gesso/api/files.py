"""Uploads: a picture of the caller's own, usable in image fields for a while."""

from datetime import timedelta

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from gesso.api.errors import answer
from gesso.api.limits import Held, Limits, headers_of, read_body
from gesso.api.outputs import Outputs
from gesso.core.errors import BadRequest, InvalidInput, PayloadTooLarge, Problem, UnsupportedMediaType
from gesso.core.pictures import MIB, PictureFault
from gesso.core.ports import Clock
from gesso.core.wire import Wire
from gesso.files.shelf import Shelf
from gesso.store.files import Files

FILE_LIMIT = 10 * MIB - 1
FORM_LIMIT = FILE_LIMIT + 64 * 1024


class Uploads:
    """`POST /v1/files`: a form with the field `file`, or the raw bytes with their type."""

    def __init__(
        self,
        shelf: Shelf,
        files: Files,
        outputs: Outputs,
        wire: Wire,
        limits: Limits,
        *,
        lifetime: timedelta,
        now: Clock,
    ) -> None:
        self._shelf = shelf
        self._files = files
        self._outputs = outputs
        self._wire = wire
        self._limits = limits
        self._lifetime = lifetime
        self._now = now

    async def upload(self, http: HTTPRequest) -> Response:
        """Keep the picture, judged as any other; answer with its URL once it is durable."""
        owner: str = http.scope["gesso.owner"]
        await self._limits.admit(owner)
        with self._limits.budget.hold(owner) as held:
            data = await _bytes(http, held)
            await self._limits.usage.require_room(owner, len(data))
            try:
                facts = await self._shelf.judge(data)
            except PictureFault as fault:
                raise InvalidInput((fault.at("body", "file"),)) from None
            expires_at = self._now() + self._lifetime
            kept = await self._shelf.keep(data, facts, kind="upload", expires_at=expires_at)
        await self._files.add_upload(kept, owner=owner)
        return answer(self._wire.uploaded(kept, facts, self._outputs.url(kept, expires_at), expires_at))


async def _bytes(http: HTTPRequest, held: Held) -> bytes:
    kind = headers_of(http).get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form_file(http, held)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return await read_body(http, held, FILE_LIMIT)
    raise UnsupportedMediaType(expected="multipart/form-data, image/*, application/octet-stream")


async def _form_file(http: HTTPRequest, held: Held) -> bytes:
    """The form's one file. The body is read under the limits first, and parsed from memory."""
    body = await read_body(http, held, FORM_LIMIT)

    async def replay() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with HTTPRequest(http.scope, replay).form(max_files=1, max_fields=8) as form:
            file = form.get("file")
            data = await file.read() if isinstance(file, UploadFile) else None
    except HTTPException:
        raise BadRequest from None
    if data is None:
        raise InvalidInput((Problem(("body", "file"), "missing"),))
    if len(data) > FILE_LIMIT:
        raise PayloadTooLarge(limit="10 MiB")
    return data

"""How a request lies in its row: values to columns and back. It knows no SQL statement."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gesso.core.errors import Problem
from gesso.core.pictures import Kept, Picture
from gesso.core.request import Failed, Options, Outcome, Priority, Request, Succeeded
from gesso.core.states import State
from gesso.store.connection import Row

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
UUID_TEXT = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def to_us(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def from_us(moment: int) -> datetime:
    """The moment, aware, in UTC."""
    return EPOCH + timedelta(microseconds=moment)


def maybe_from_us(moment: int | None) -> datetime | None:
    """The moment in a column that may be empty."""
    return None if moment is None else from_us(moment)


def id_bytes(request_id: str) -> bytes | None:
    """The 16 bytes of a request id; None for a text that is no id of ours, which then is an unknown one."""
    return bytes.fromhex(request_id.replace("-", "")) if UUID_TEXT.fullmatch(request_id) else None


def id_text(value: bytes) -> str:
    """The request id of 16 bytes."""
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def to_json(value: Any) -> str:
    """Compact JSON text."""
    return _encode(value).decode()


def to_row(request: Request) -> tuple[Any, ...]:
    """The columns of a new request, in the order of the queue's INSERT."""
    options = request.options
    return (
        request.owner,
        request.model_id,
        id_bytes(request.id),
        request.language,
        to_json(request.input),
        to_json([picture.to_json() for picture in request.pictures]),
        request.is_ready,
        to_us(request.created_at),
        options.priority,
        options.start_within // MICROSECOND if options.start_within else None,
        options.webhook,
        options.webhook_intermediate,
    )


def from_row(row: Row) -> Request:
    """The request in *row*, all columns selected."""
    return Request(
        id=id_text(row["id"]),
        owner=row["owner"],
        model_id=row["model_id"],
        input=_decode(row["input"]),
        created_at=from_us(row["created_at"]),
        pictures=tuple(map(Picture.from_json, _decode(row["pictures"]))),
        state=State(row["state"]),
        attempt=row["attempt"],
        losses=row["losses"],
        started_at=maybe_from_us(row["started_at"]),
        finished_at=maybe_from_us(row["finished_at"]),
        outcome=None if row["outcome"] is None else outcome_from_json(row["outcome"]),
        language=row["language"],
        remembered=row["remembered"],
        options=_options(row),
        ready_at=maybe_from_us(row["ready_at"]),
    )


def _options(row: Row) -> Options:
    start_by = row["start_by"]
    return Options(
        Priority(row["priority"]),
        # The end was set by the database's clock, the beginning by the caller's.
        None if start_by is None else timedelta(seconds=round((start_by - row["created_at"]) / 1e6)),
        row["webhook"],
        bool(row["webhook_intermediate"]),
    )


def outcome_to_json(outcome: Outcome) -> str:
    """The text of the outcome column."""
    return to_json(outcome)


def outcome_from_json(text: str) -> Outcome:
    """The outcome in that column: a failed one has a code."""
    told = _decode(text)
    if "code" in told:
        detail = tuple(Problem(tuple(each["loc"]), each["type"], each["facts"]) for each in told["detail"])
        return Failed(told["code"], told["name"], told["facts"], detail)
    return Succeeded(tuple(Kept(**each) for each in told["files"]), told["notes"])

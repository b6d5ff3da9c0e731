"""A result's story: what was made, by what, how long it took. Beside the result, and in the picture itself."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gesso import __version__
from gesso.core.request import Request
from gesso.core.wire import metadata
from gesso.files.manifest import Origin

TIMINGS = "timings"
NOTHING = timedelta()


def story(request: Request, notes: Mapping[str, Any]) -> dict[str, Any]:
    """An engine's *notes* with what the house knows: the attempt, and the seconds that each part took so far."""
    ready_at = request.ready_at or request.created_at
    began_at = request.started_at or ready_at
    house = {"queue": _seconds(began_at - ready_at), "intake": _seconds(ready_at - request.created_at)}
    return {**notes, "attempt": request.attempt, TIMINGS: {**house, **notes.get(TIMINGS, {})}}


def with_timing(notes: Mapping[str, Any], part: str, seconds: float) -> dict[str, Any]:
    """*notes*, and that *part* took so long."""
    return {**notes, TIMINGS: {**notes.get(TIMINGS, {}), part: round(seconds, 3)}}


def inscription(request: Request, notes: Mapping[str, Any]) -> dict[str, str]:
    """What is written into a PNG: keyword -> text. As in the result's metadata, no URL and nothing of the owner's."""
    told = {"model_id": request.model_id, **metadata(notes)}
    return {"Software": f"Gesso {__version__}", "gesso": json.dumps(told, ensure_ascii=False, separators=(",", ":"))}


def origin(request: Request, notes: Mapping[str, Any]) -> Origin:
    """What a signature vouches for: less than the inscription, as a prompt is private."""
    told = metadata(notes)
    references = tuple(each.sha256 for each in request.pictures if each.sha256)
    return Origin(request.model_id, str(told.get("engine", "unknown")), str(told.get("weights", "none")), references)


def _seconds(time: timedelta) -> float:
    """Clocks of two machines may disagree; no part takes less than nothing."""
    return round(max(time, NOTHING).total_seconds(), 3)

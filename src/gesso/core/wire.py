"""The public JSON, both directions. No other file spells one of its keys; golden files pin it."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gesso.core.codes import BY_CODE, BY_STATUS, FAILED_BY_CODE
from gesso.core.errors import GessoError, Problem
from gesso.core.pictures import Facts, Kept
from gesso.core.request import Failed, Request, Succeeded
from gesso.core.states import State
from gesso.core.texts import Texts

if TYPE_CHECKING:  # a client reads the wire without the server's libraries
    from gesso.core.model import Card, Model

JSON = dict[str, Any]
URL = re.compile(r"\b[a-z][a-z0-9+.-]*://\S*|\bdata:\S*,\S*", re.IGNORECASE)
OUTPUT_KEYS = frozenset({"url", "path", "image", "images", "video", "videos", "audio"})


class Wire:
    """Spells answers for one public base URL and a set of languages.

    Args:
        public_url: without a slash at the end.
    """

    def __init__(self, public_url: str, texts: Texts) -> None:
        self._url = public_url.rstrip("/")
        self._texts = texts

    def request_url(self, request_id: str, part: str) -> str:
        """The URL of a request's `status`, `result` or `cancel`."""
        return f"{self._url}/v1/requests/{request_id}/{part}"

    def submitted(self, request_id: str) -> JSON:
        """The answer to a submit."""
        return {
            "request_id": request_id,
            "status_url": self.request_url(request_id, "status"),
            "result_url": self.request_url(request_id, "result"),
            "cancel_url": self.request_url(request_id, "cancel"),
        }

    def status(self, request_id: str, state: State, position: int | None) -> JSON:
        """The answer of /status; *position* only counts while the request waits."""
        body: JSON = {"request_id": request_id, "status": state}
        if state is State.IN_QUEUE and position is not None:
            body["queue_position"] = position
        body["status_url"] = self.request_url(request_id, "status")
        body["result_url"] = self.request_url(request_id, "result")
        return body

    def cancelled(self, request_id: str, state: State) -> JSON:
        """The answer to a cancel that left the request in *state*."""
        outcome = "cancelled" if state is State.CANCELLED else "not_cancellable"
        return {"request_id": request_id, "status": state, "outcome": outcome}

    def result(self, request: Request, output: JSON | None, card: "Card | None", language: str) -> JSON:
        """The answer of /result in any state.

        Args:
            output: the model's public output, when the request succeeded.
            card: the model's texts in the reader's language; None when the model is gone from the catalogue.
        """
        body: JSON = {
            "request_id": request.id,
            "model_id": request.model_id,
            "status": result_word(request),
            "created_at": time(request.created_at),
        }
        if request.finished_at is not None:
            body["finished_at"] = time(request.finished_at)
        match request.outcome:
            case Succeeded(notes=notes):
                body["output"] = output
                body["metadata"] = metadata(notes)
            case Failed() as failed:
                body["error"] = self._failure(failed, card, language)
        return body

    def _failure(self, failed: Failed, card: "Card | None", language: str) -> JSON:
        detail = [self._problem(each, card, language) for each in failed.detail]
        message = detail[0]["msg"] if detail else self._texts.say(failed.name, failed.facts, language)
        return {"code": failed.code, "message": message, **({"detail": detail} if detail else {})}

    def error(self, error: GessoError, language: str, card: "Card | None" = None) -> JSON:
        """The body of every HTTP error; *card* lends the schema's own words to a 422."""
        return {
            "code": error.code,
            "error_code": error.code,
            "error": error.name,
            "error_message": self._texts.error(error, language),
            "detail": [self._problem(each, card, language) for each in error.problems],
        }

    def _problem(self, problem: Problem, card: "Card | None", language: str) -> JSON:
        rules = card.rules(str(problem.loc[1])) if card and len(problem.loc) > 1 else {}
        return {
            "loc": list(problem.loc),
            "msg": self._texts.problem(problem, rules, language),
            "type": problem.type,
        }

    def model(self, model: "Model", language: str, *, with_schema: bool = False) -> JSON:
        """One entry of the catalogue."""
        card = model.card(language)
        entry: JSON = {
            "model_id": model.id,
            "display_name": card.display_name,
            "description": card.description,
            "categories": [model.category],
            "kind": model.kind,
            "base_price_usd": model.price.base_usd,
            "price_unit": model.price.unit,
            "pricing_note": model.price.note,
            "model_url": f"{self._url}/models/{model.id}",
            "inputs": list(model.schema.properties),
            "required_inputs": [name for name in model.schema.properties if name in model.schema.required],
        }
        if with_schema:
            entry |= {"input_schema": published(card.input_schema), "output_schema": card.output_schema}
        return entry

    def uploaded(self, upload: Kept, facts: Facts, url: str, expires_at: datetime) -> JSON:
        """The answer to an upload."""
        return {
            "file_id": upload.key,
            "url": url,
            "content_type": upload.content_type,
            "size_bytes": upload.size_bytes,
            "width": facts.width,
            "height": facts.height,
            "expires_at": time(expires_at),
        }


def models(entries: Sequence[JSON], *, total: int, limit: int, offset: int) -> JSON:
    """One page of the catalogue."""
    return {"models": list(entries), "total": total, "limit": limit, "offset": offset}


def dry_run(model_id: str, position: int, eta_s: float | None, cost: float) -> JSON:
    """The answer to a submit that was only tried out."""
    told: JSON = {"valid": True, "dry_run": True, "model_id": model_id, "queue_position": position}
    return told | _eta(eta_s) | {"cost": cost}


def standing(request_id: str, state: State, position: int | None, eta_s: float | None) -> JSON:
    """The `status` event: where an unfinished request stands, and in how many seconds it is expected to have ended."""
    place = {} if position is None else {"queue_position": position}
    return {"request_id": request_id, "status": state} | place | _eta(eta_s)


def progress(fraction: float, step: int, steps: int, eta_s: float | None) -> JSON:
    """The `progress` event: how far the run is."""
    return {"fraction": round(fraction, 4), "step": step, "steps": steps} | _eta(eta_s)


def preview(jpeg: bytes, width: int, height: int) -> JSON:
    """The `preview` event: what the run has made so far."""
    data = base64.b64encode(jpeg).decode()
    return {"content_type": "image/jpeg", "width": width, "height": height, "data": data}


def history(entries: Iterable[JSON], cursor: str | None, *, is_admin: bool) -> JSON:
    """A page of requests; who may ask for everybody's is told so."""
    page = {"requests": list(entries)} | ({} if cursor is None else {"next_cursor": cursor})
    return page | ({"admin": True} if is_admin else {})


def entry(request_id: str, model_id: str, state: State, created_at: datetime, finished_at: datetime | None,
          owner: str | None) -> JSON:  # fmt: skip
    """One request in that page; its *owner* is told in everybody's. Never what was asked for, nor what came of it."""
    told: JSON = {"request_id": request_id} | ({} if owner is None else {"owner": owner})
    told |= {"model_id": model_id, "status": state, "created_at": time(created_at)}
    return told if finished_at is None else told | {"finished_at": time(finished_at)}


def _eta(seconds: float | None) -> JSON:
    """Absent when unknown."""
    return {} if seconds is None else {"eta_seconds": round(seconds, 1)}


def categories(names: Iterable[str]) -> JSON:
    """The categories in use, sorted."""
    return {"categories": sorted(set(names))}


def balance(usd: float) -> JSON:
    """The nominal balance."""
    return {"balance_usd": usd, "balance_microdollars": round(usd * 1_000_000), "currency": "USD"}


def output(field: str, urls: Sequence[str]) -> JSON:
    """The public output: the first file and all of them, as `image` and `images` or `video` and `videos`."""
    single, several = ("video", "videos") if field.startswith("video") else ("image", "images")
    return {single: urls[0], several: list(urls)} if urls else {several: []}


def metadata(notes: Any) -> Any:
    """An engine's notes as they may be shown: some clients collect every URL of a body, and what such keys hold."""
    if isinstance(notes, Mapping):
        return {key: metadata(value) for key, value in notes.items() if key not in OUTPUT_KEYS}
    if isinstance(notes, list | tuple):
        return [metadata(each) for each in notes]
    return URL.sub("…", notes) if isinstance(notes, str) else notes


def result_word(request: Request) -> str:
    """The word of /result: the state, but `succeeded` or `failed` for a completed request."""
    match request.outcome:
        case Succeeded():
            return "succeeded"
        case Failed() if request.state is State.COMPLETED:
            return "failed"
    return request.state


def time(moment: datetime) -> str:
    """ISO 8601 in UTC with six digits and an offset, never `Z`: a strict client parses only that."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def published(schema: Mapping[str, Any]) -> Any:
    """A schema as clients may see it: standard types only, no `"default": null`."""
    if isinstance(schema, Mapping):
        return {
            key: "number" if (key, value) == ("type", "float") else published(value)
            for key, value in schema.items()
            if not (key == "default" and value is None)
        }
    return [published(item) for item in schema] if isinstance(schema, list) else schema


def parse_error(status: int, body: Any) -> GessoError:
    """The error that an answer tells, of the class that it had on the other side.

    Args:
        status: of HTTP; it decides where the body names no known code.
        body: the parsed JSON, or anything else.
    """
    told: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    code = _number(told, "error_code") or _number(told, "code")
    known = BY_CODE.get(code)
    kind = known or BY_STATUS.get(status) or BY_STATUS.get(code // 1000, GessoError)  # 403003 is a kind of 403
    names = ("error_message", "message", "detail") if known else ("error_message", "message", "detail", "error")
    words = (told.get(name) for name in names)
    unsaid = kind.sentence if known or not code else f"The server refused, with code {code}."
    message = next((each for each in words if each and isinstance(each, str)), unsaid)
    return kind.told(message, _parse_detail(told))


def parse_failure(error: Mapping[str, Any]) -> GessoError:
    """The error in a failed result."""
    kind = FAILED_BY_CODE.get(_number(error, "code"), GessoError)
    return kind.told(str(error.get("message", kind.sentence)), _parse_detail(error))


def _number(told: Mapping[str, Any], key: str) -> int:
    value = told.get(key)
    return value if isinstance(value, int) else 0


def _parse_detail(told: Mapping[str, Any]) -> tuple[Problem, ...]:
    detail = told.get("detail")
    return tuple(map(_parse_problem, detail)) if isinstance(detail, list) else ()


def _parse_problem(entry: Any) -> Problem:
    told: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"msg": str(entry)}
    loc = told.get("loc")
    return Problem(
        tuple(loc) if isinstance(loc, list) else (), str(told.get("type", "invalid")), {"msg": told.get("msg", "")}
    )

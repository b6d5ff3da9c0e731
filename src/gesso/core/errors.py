"""Every error of the house: its HTTP status, its public code and name, its sentence.

The raising place knows neither HTTP nor numbers; whoever answers knows nothing but this tree. English sentences live
here, translations in the text tables under `texts/`, both with the same `{facts}` in braces.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self


class GessoError(Exception):
    """An error with a public face.

    Args:
        facts: fill the braces of `sentence`; they are shown to the caller, so no secret, path or address goes in.
    """

    status: ClassVar[int] = 500
    code: ClassVar[int] = 500001
    name: ClassVar[str] = "InternalError"
    sentence: ClassVar[str] = "Something went wrong on our side; it has been logged."
    retry_after_s: int | None = None
    problems: "tuple[Problem, ...]" = ()

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        super().__init__(self.sentence.format(**facts))

    @classmethod
    def told(cls, message: str, problems: "tuple[Problem, ...]" = ()) -> Self:
        """An error read off the wire: the other side's words instead of ours; `problems` is an attribute of it."""
        error = cls.__new__(cls)
        Exception.__init__(error, message)
        error.facts = {}
        error.problems = problems
        return error


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input.

    Attributes:
        loc: where, from "body" or "query" down; array indices are integers.
        type: what, a stable word: a key of `problems.PROBLEMS`, or the name of the schema's own rule (`width_pixels>`).
        facts: fill the braces of the sentence.
    """

    loc: tuple[str | int, ...]
    type: str
    facts: dict[str, Any] = field(default_factory=dict)


class BadRequest(GessoError):
    """The HTTP message or its body cannot be read."""

    status, code, name = 400, 400000, "BadRequest"
    sentence = "The request body must be one JSON object in UTF-8."


class BadMessage(BadRequest):
    """The framing of the HTTP message is broken."""

    sentence = "The HTTP message cannot be read."


class BadHost(BadRequest):
    """The Host header is missing, repeated, malformed, or not on the list."""

    sentence = "The Host header is not one that this server answers to."


class BadToken(GessoError):
    """The bearer token is missing, malformed, unknown, expired or revoked; which of them is not told."""

    status, code, name = 401, 400004, "UserAccountError"
    sentence = "A valid token is required: send it as 'Authorization: Bearer <token>'."


class Forbidden(GessoError):
    """The token is known, but may not do this."""

    status, code, name = 403, 403000, "Forbidden"
    sentence = "This token may not do that."


class AdminsOnly(Forbidden):
    """It is for administrators."""

    sentence = "Only an administrator's token may do this."


class UnknownModel(GessoError):
    """No model has this id."""

    status, code, name = 404, 400001, "InvalidResourceIdentifier"
    sentence = "There is no such model; GET /v1/models lists them."


class ResourceNotFound(GessoError):
    """A request or file is unknown, expired, or another owner's: the three look the same from outside."""

    status, code, name = 404, 404001, "ResourceNotFound"
    sentence = "There is no such request."


class NoSuchRoute(GessoError):
    """No route has this path."""

    status, code, name = 404, 404000, "NotFound"
    sentence = "There is no such route; GET /v1/openapi.json lists them."


class MethodNotAllowed(GessoError):
    """The route exists, but not with this method."""

    status, code, name = 405, 405000, "MethodNotAllowed"
    sentence = "This route does not take that method."


class RequestTimeout(GessoError):
    """The body came too slowly."""

    status, code, name = 408, 408000, "RequestTimeout"
    sentence = "The request arrived too slowly."


class IdempotencyConflict(GessoError):
    """The key was used before, with another input or model."""

    status, code, name = 409, 409001, "IdempotencyConflict"
    sentence = "This Idempotency-Key was used before with another input; use a new key for a new request."


class PayloadTooLarge(GessoError):
    """The body, or the part of it that is no picture, is too long."""

    status, code, name = 413, 413001, "PayloadTooLarge"
    sentence = "The request body is too large: at most {limit} are read."


class UriTooLong(GessoError):
    """The path or query is too long."""

    status, code, name = 414, 414000, "UriTooLong"
    sentence = "The URL is too long."


class UnsupportedMediaType(GessoError):
    """The body is declared as something that this route does not read."""

    status, code, name = 415, 415001, "UnsupportedMediaType"
    sentence = "The Content-Type must be {expected}."


class RangeNotSatisfiable(GessoError):
    """The asked part of the file does not exist; the fact `size_bytes` tells its length."""

    status, code, name = 416, 416000, "RangeNotSatisfiable"
    sentence = "The file has no such range."


class HeadersTooLarge(GessoError):
    """The header is too long or has too many lines."""

    status, code, name = 431, 431000, "HeadersTooLarge"
    sentence = "The request headers are too large."


class InvalidInput(GessoError):
    """The input breaks rules: all of them are named in `problems`, at least one, in schema order."""

    status, code, name = 422, 422001, "ValidationError"
    sentence = "The input does not match the model's schema."

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__()
        self.problems = problems


class TooMany(GessoError):
    """A limit on rate, queue or storage is reached."""

    status, code, name = 429, 429001, "TooManyRequests"
    sentence = "Too many requests; try again in {seconds} seconds."

    def __init__(self, *, seconds: int = 1, **facts: Any) -> None:
        super().__init__(seconds=seconds, **facts)
        self.retry_after_s = seconds


class TooManySignIns(TooMany):
    """An address has failed to sign in too often."""

    sentence = "Too many failed sign-ins from this address; try again in {seconds} seconds, with a valid token."


class TooManySubmits(TooMany):
    """An owner submits or uploads too often."""

    sentence = "You submit too often: at most {limit} a minute; try again in {seconds} seconds."


class TooManyCalls(TooMany):
    """An owner calls too often."""

    sentence = "You call too often: at most {limit} a minute; try again in {seconds} seconds."


class TooManyBytes(TooMany):
    """An owner's large bodies on their way are too many."""

    sentence = "Your large bodies on their way have reached {limit}; send one at a time, again in {seconds} seconds."


class TooManyOpen(TooMany):
    """Too many requests have not ended yet."""

    sentence = "Too many requests wait or run: at most {limit}; try again in {seconds} seconds."


class TooManyStreams(TooMany):
    """Too many connections wait for news."""

    sentence = "Too many event streams are open: at most {limit}; close one, or try again in {seconds} seconds."


class StorageFull(TooMany):
    """The owner's pictures take up all that they may."""

    sentence = "Your stored pictures have reached their limit of {limit}; they are removed with their old requests."


class BalanceUsedUp(GessoError):
    """What the owner may use is used up."""

    status, code, name = 402, 400002, "InsufficientResources"
    sentence = "Your balance is used up."


class RunTimeUsedUp(BalanceUsedUp):
    """The owner's runs have taken as long as they may."""

    sentence = (
        "Your runs of the last 24 hours have used up their {limit} seconds; try again when the oldest are a day old."
    )


class InternalError(GessoError):
    """Our fault. The trace is in the log, not in the answer."""


class Unavailable(GessoError):
    """The database or the storage is away, or the server is stopping."""

    status, code, name = 503, 503001, "ServiceUnavailable"
    sentence = "The service is not available right now; try again in {seconds} seconds."

    def __init__(self, *, seconds: int = 2) -> None:
        super().__init__(seconds=seconds)
        self.retry_after_s = seconds


class BlobDamaged(Unavailable):
    """A kept file's bytes are no longer those that were kept; they go to nobody."""

    sentence = "The file is damaged, and is not handed out."


class StorageBroken(Unavailable):
    """A sync failed: nothing more is kept by this process, which ends."""

    sentence = "The storage has failed and this server is stopping; try again in {seconds} seconds."


class IllegalMove(GessoError):
    """A request cannot make this move from where it is."""

    sentence = "{event} cannot happen to a request that is {state}."


class LeaseLost(GessoError):
    """The lease ended or somebody else holds it: throw the output away. Told to workers only."""

    sentence = "The lease of this attempt is lost."


class RunFailed(GessoError):
    """Ends a request as failed; never an HTTP answer. `detail` says which picture, where one is at fault."""

    def __init__(self, *, detail: tuple[Problem, ...] = (), **facts: Any) -> None:
        super().__init__(**facts)
        self.detail = detail


class InputRejected(RunFailed):
    """A picture breaks a rule of the schema, or is none; the message is the problem's own."""

    code, name = 422001, "InputRejected"
    sentence = "An image does not match the model's schema."


class FetchFailed(RunFailed):
    """A picture could not be fetched; the message is the problem's own."""

    code, name = 422002, "FetchFailed"
    sentence = "An image could not be fetched."


class ContentRejected(RunFailed):
    """An upstream's moderation refused the prompt or a picture."""

    code, name = 422003, "ContentRejected"
    sentence = "The content was rejected by the model's provider."


class EngineFailed(RunFailed):
    """The engine could not make the picture, and would not the next time either."""

    code, name = 502001, "EngineFailed"
    sentence = "The engine failed: {reason}"


class EngineTimeout(RunFailed):
    """The engine took longer than it may."""

    code, name = 504001, "EngineTimeout"
    sentence = "The engine took longer than the limit of {seconds} seconds."


class WorkerLost(RunFailed):
    """The worker or engine process died on each of the attempts that a request has."""

    code, name = 503002, "WorkerLost"
    sentence = "The worker was lost {attempts} times while it ran this request."


class QueueDeadline(GessoError):
    """Not started before its queue deadline; it never ran."""

    code, name = 408001, "QueueDeadline"
    sentence = "The request was not started in time and has been cancelled; it never ran."


class EngineDied(GessoError):
    """The engine's process ended in mid-run. Costs one attempt; told to workers only."""

    sentence = "The engine's process ended during the run."


class EngineHung(EngineDied):
    """The engine, which reports steps, reported none for too long; its process was killed. Costs one attempt."""

    sentence = "The engine reported no step for {seconds} seconds."


class Stopped(GessoError):
    """The run was told to stop; engines let this pass through."""

    sentence = "The run was told to stop."


class ConfigError(GessoError):
    """A setting is unknown or cannot be; the process does not start."""

    sentence = "{reason}"


class DefinitionError(GessoError):
    """A model definition is wrong; the process does not start."""

    sentence = "{model}: {reason}"

"""A request: one generation somebody asked for. It is a value; moves make new ones in the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Self
from uuid import uuid4

from gesso.core.errors import GessoError, Problem, RunFailed
from gesso.core.pictures import Kept, Picture
from gesso.core.states import State


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The run made its output.

    Attributes:
        files: in order; the first is the output's `image`.
        notes: for the result's metadata.
    """

    files: tuple[Kept, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """The request ended without an output.

    Attributes:
        code: the public code of the error.
        name: the class name of the error, the key of its sentence.
        facts: fill the braces of the sentence.
        detail: which picture breaks which rule, where that is the reason.
    """

    code: int
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    detail: tuple[Problem, ...] = ()

    @classmethod
    def because(cls, error: GessoError) -> Self:
        """The outcome that *error* brings."""
        detail = error.detail if isinstance(error, RunFailed) else ()
        return cls(error.code, type(error).__name__, dict(error.facts), detail)


Outcome = Succeeded | Failed


class Priority(IntEnum):
    """How urgent a request is; the lower number starts first. The public words are the names, in lower case."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(frozen=True, slots=True)
class Options:
    """What a submit may ask for beside the model's input.

    Attributes:
        priority: it starts before those of its model that have a higher number.
        start_within: not started by then, it ends cancelled; counted from the submit.
        webhook: the URL that is told of the end.
        webhook_intermediate: whether it is told of the start too.
    """

    priority: Priority = Priority.NORMAL
    start_within: timedelta | None = None
    webhook: str | None = None
    webhook_intermediate: bool = False


PLAIN = Options()


@dataclass(frozen=True, slots=True)
class Request:
    """One generation.

    Attributes:
        id: UUID4 text.
        input: the accepted input, defaults filled; image fields hold what the caller sent, data URIs apart.
        pictures: every image of the input, in schema order.
        attempt: how often it was claimed; the fence of every write of a worker. It only grows.
        losses: how many of its holders died; bounds the attempts.
        created_at, started_at, finished_at: aware, UTC.
        ready_at: when its last picture was frozen; None where that was at its submit.
        language: the submitter's, for messages sent without a reader at hand.
        remembered: what an attempt's engine left for the next.
        options: what was asked for beside the input.
    """

    id: str
    owner: str
    model_id: str
    input: Mapping[str, Any]
    created_at: datetime
    pictures: tuple[Picture, ...] = ()
    state: State = State.IN_QUEUE
    attempt: int = 0
    losses: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    language: str = "en"
    remembered: str | None = None
    options: Options = PLAIN
    ready_at: datetime | None = None

    @classmethod
    def new(
        cls,
        *,
        owner: str,
        model_id: str,
        input: Mapping[str, Any],
        at: datetime,
        pictures: tuple[Picture, ...] = (),
        language: str = "en",
        options: Options = PLAIN,
    ) -> Self:
        """A fresh request, waiting, with an id of 122 random bits."""
        return cls(str(uuid4()), owner, model_id, input, at, pictures, language=language, options=options)

    @property
    def is_ready(self) -> bool:
        """Whether every picture is frozen, so that it may be claimed."""
        return all(picture.blob for picture in self.pictures)

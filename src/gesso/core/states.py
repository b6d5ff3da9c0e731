"""The life of a request: its states, the events that move it, and nothing else."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from gesso.core.errors import IllegalMove

LONGEST_LEASE = timedelta(minutes=5)
"""No claim lasts longer unless it is renewed; so one that seems to was made before the clock jumped back."""


class State(StrEnum):
    """Where a request is. These are the words of /status, spelled as the public sees them."""

    IN_QUEUE = "in_queue"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What can happen to a request."""

    CLAIM = "claim"
    FINISH = "finish"
    GIVE_UP = "give_up"
    REFUSE = "refuse"
    CANCEL = "cancel"
    EXPIRE = "expire"


TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.IN_QUEUE: {
        Event.CLAIM: State.IN_PROGRESS,
        Event.REFUSE: State.COMPLETED,
        Event.CANCEL: State.CANCELLED,
        Event.EXPIRE: State.CANCELLED,
    },
    State.IN_PROGRESS: {
        Event.CLAIM: State.IN_PROGRESS,
        Event.FINISH: State.COMPLETED,
        Event.GIVE_UP: State.COMPLETED,
    },
    State.COMPLETED: {},
    State.CANCELLED: {},
}
FINAL = frozenset(state for state, moves in TRANSITIONS.items() if not moves)


def after(state: State, event: Event) -> State:
    """The state that *event* leads to from *state*.

    Raises:
        IllegalMove: when *event* cannot happen in *state*.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalMove(event=event, state=state) from None


def sources(event: Event) -> tuple[State, ...]:
    """The states in which *event* can happen; the store takes its guards from here."""
    return tuple(state for state, moves in TRANSITIONS.items() if event in moves)

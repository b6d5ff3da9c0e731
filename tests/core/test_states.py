"""The life of a request is a table, and nothing else."""

from itertools import product

import pytest

from gesso.core.errors import IllegalMove
from gesso.core.states import FINAL, TRANSITIONS, Event, State, after, sources

MOVES = {
    (State.IN_QUEUE, Event.CLAIM): State.IN_PROGRESS,
    (State.IN_QUEUE, Event.REFUSE): State.COMPLETED,
    (State.IN_QUEUE, Event.CANCEL): State.CANCELLED,
    (State.IN_QUEUE, Event.EXPIRE): State.CANCELLED,
    (State.IN_PROGRESS, Event.CLAIM): State.IN_PROGRESS,
    (State.IN_PROGRESS, Event.FINISH): State.COMPLETED,
    (State.IN_PROGRESS, Event.GIVE_UP): State.COMPLETED,
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_a_move_is_in_the_table_or_cannot_happen(state: State, event: Event) -> None:
    if (state, event) in MOVES:
        assert after(state, event) is MOVES[state, event]
    else:
        with pytest.raises(IllegalMove, match=f"^{event} cannot happen to a request that is {state}"):
            after(state, event)


@pytest.mark.parametrize("event", Event)
def test_the_sources_of_an_event_are_the_states_in_which_it_can_happen(event: Event) -> None:
    assert set(sources(event)) == {state for state, each in MOVES if each is event}


def test_every_event_can_happen_somewhere() -> None:
    assert [event for event in Event if not sources(event)] == []


def test_a_final_state_is_left_by_nothing_and_only_completed_and_cancelled_are_final() -> None:
    assert {State.COMPLETED, State.CANCELLED} == FINAL
    assert all(TRANSITIONS[state] == {} for state in FINAL)


def test_the_states_are_the_words_of_status_with_two_ls() -> None:
    assert [str(state) for state in State] == ["in_queue", "in_progress", "completed", "cancelled"]

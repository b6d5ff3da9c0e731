"""An owner's own requests, or everybody's, newest first, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gesso.core.states import State
from gesso.store.connection import Connection, Database
from gesso.store.rows import from_us, id_text, maybe_from_us

NEWEST = 2**63 - 1
OF_OWNER, OF_MODEL, OF_ALL = "owner = ? AND state", "owner = ? AND model_id = ? AND state", "lower(state)"
"""Which index a list is read from: what stands before the state there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A request, as a list shows it.

    Attributes:
        seq: its place in the order of submits; the next page begins before that of the last entry.
    """

    seq: int
    id: str
    owner: str
    model_id: str
    state: State
    created_at: datetime
    finished_at: datetime | None


class History:
    """The lists of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, owner: str, *, limit: int, before: int = NEWEST, state: State | None = None, model_id: str | None = None
    ) -> list[Entry]:
        """Up to *limit* requests of *owner* that were submitted before the one at *before*, newest first."""
        if model_id is None:
            return await self._page(OF_OWNER, (owner,), limit, before, state)
        return await self._page(OF_MODEL, (owner, model_id), limit, before, state)

    async def page_of_all(self, *, limit: int, before: int = NEWEST, state: State | None = None) -> list[Entry]:
        """The same of everybody."""
        return await self._page(OF_ALL, (), limit, before, state)

    async def _page(self, whose: str, who: Sequence[str], limit: int, before: int, state: State | None) -> list[Entry]:
        states = list(State) if state is None else [state]
        statement = _statement(len(states), whose)
        values: list[Any] = []
        for each in states:
            values += (*who, each, before, limit)
        return await self._database.read(lambda rows: _entries(rows, statement, (*values, limit)))


def _statement(states: int, whose: str) -> str:
    """One index probe a state, merged: however many requests there are, no more than the page of each is looked at."""
    of_a_state = f"""SELECT * FROM (SELECT seq, id, owner, model_id, state, created_at, finished_at FROM requests
        WHERE {whose} = ? AND seq < ? ORDER BY seq DESC LIMIT ?) AS of_a_state"""
    return " UNION ALL ".join([of_a_state] * states) + " ORDER BY seq DESC LIMIT ?"


def _entries(rows: Connection, statement: str, values: Sequence[Any]) -> list[Entry]:
    return [
        Entry(seq, id_text(id), owner, model_id, State(state), from_us(created_at), maybe_from_us(finished_at))
        for seq, id, owner, model_id, state, created_at, finished_at in rows.execute(statement, values).fetchall()
    ]

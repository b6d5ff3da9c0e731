"""Engines that do not fit beside each other: so many are loaded at once, and the others wait for their turn."""

import asyncio
import contextlib
import logging
import time
from datetime import timedelta

from gesso.core.errors import GessoError
from gesso.core.ports import Host

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
log = logging.getLogger(__name__)


class Turns:
    """Who may have its engine loaded. Loading takes long, so whoever has work keeps its place for a whole turn; whoever
    has none gives it to the next in line at once.

    With one place and n engines, none waits longer than n - 1 turns, with a run that goes on and a loading for each.

    Args:
        places: how many engines at once; 0: all.
        turn: how long a place is kept while others wait for it.
    """

    def __init__(self, places: int = 0, turn: timedelta = timedelta(seconds=30)) -> None:
        self._places = places
        self._turn_s = turn.total_seconds()
        self._seated: dict[Seat, float] = {}
        self._line: list[Seat] = []

    @property
    def are_taken(self) -> bool:
        """Whether engines take turns at all."""
        return self._places > 0

    @property
    def line(self) -> "tuple[Seat, ...]":
        """Those who wait for a place."""
        return tuple(self._line)

    def has(self, seat: "Seat") -> bool:
        """Whether *seat* has a place."""
        return not self.are_taken or seat in self._seated

    def is_over(self, seat: "Seat") -> bool:
        """Whether the turn of *seat* is over, and another waits."""
        began = self._seated.get(seat)
        return began is not None and bool(self._line) and time.monotonic() - began >= self._turn_s

    def ask(self, seat: "Seat") -> bool:
        """Give *seat* a place if it is the next in line and one is free; else it waits in the line."""
        if self.has(seat):
            return True
        if seat not in self._line:
            self._line.append(seat)
        if self._line[0] is seat and len(self._seated) < self._places:
            self._line.remove(seat)
            self._seated[seat] = time.monotonic()
            return True
        for each in self._seated:
            each.woken.set()  # it may have nothing to do
        return False

    def leave(self, seat: "Seat") -> None:
        """Give up the place, or the place in line, of *seat*; without one, nothing happens."""
        self._seated.pop(seat, None)
        if seat in self._line:
            self._line.remove(seat)
        for each in self._line[:1]:
            each.woken.set()


class Seat:
    """One engine, and its place among those that may be loaded.

    Attributes:
        woken: set when something may have changed for this engine.
    """

    def __init__(self, host: Host, turns: Turns) -> None:
        self.host = host
        self.woken = asyncio.Event()
        self._turns = turns
        self._pause_s = FIRST_PAUSE_S

    @property
    def takes_turns(self) -> bool:
        """Whether the engine is loaded only when it is its turn, and something waits for it."""
        return self._turns.are_taken

    @property
    def line(self) -> "tuple[Seat, ...]":
        """The engines that wait for a place, first the one that is next."""
        return self._turns.line

    async def begin(self) -> None:
        """Load the engine at the worker's start; those that take turns are loaded when they are needed."""
        if not self.takes_turns:
            await self.host.start()

    async def is_ready(self, stopping: asyncio.Event) -> bool:
        """Whether the engine may run, and is there; it is loaded for that.

        One that does not start costs no request anything: it is started again later.
        """
        if self._turns.is_over(self):
            await self.give_way()
        if not self._turns.ask(self):
            return False
        try:
            await self.host.start()
        except GessoError as fault:
            log.error("the engine does not start: %s; again in %.1f s", fault, self._pause_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), self._pause_s)
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
            self.woken.set()  # that was wait enough
            return False
        self._pause_s = FIRST_PAUSE_S
        return True

    async def stand_by(self) -> None:
        """Nothing waits for this engine: whoever waits for its place may have it, and it waits for none itself."""
        if not self._turns.has(self):
            self._turns.leave(self)
        elif self.line:
            await self.give_way()

    async def give_way(self) -> None:
        """End the engine's process, so that its memory is free, and then give the place to the next in line."""
        await self.host.close()
        self._turns.leave(self)

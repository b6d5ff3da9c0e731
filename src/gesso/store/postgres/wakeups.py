"""Wake-ups by NOTIFY and LISTEN. They only shorten the wait: every waiter polls as well.

A notice is sent after the commit that it tells of, in a transaction of its own: transactions that notify are committed
one at a time, so that within it every submit would wait for the sync of the one before.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import psycopg

from gesso.store.postgres.connecting import settings_of

PING_S = 10.0
SILENCE_S = 2.0
PAUSE_S = 1.0
log = logging.getLogger(__name__)


class Waiter:
    """One process's LISTEN. Belongs to the event loop in which it was made; close it there.

    A connection that says nothing may be dead without an error, behind a proxy or a lost route: it is asked every ten
    seconds, and replaced when it does not answer.

    Attributes:
        name: the process's name among the waiters; new each time.
        on_wake: called at each wake-up; to be set by whoever waits.
    """

    def __init__(self, url: str, channel: str) -> None:
        self.name = uuid4().hex
        self.on_wake: Callable[[], None] = _nothing
        self._url = url
        self._channel = channel
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    def close(self) -> None:
        """Stop listening."""
        self._listening.cancel()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._connected() as connection:
                    self.on_wake()  # something may have been said before we could hear it
                    await self._hear(connection)
            except (psycopg.Error, TimeoutError) as fault:
                log.warning("wake-ups do not come: %s", fault or type(fault).__name__)
            await asyncio.sleep(PAUSE_S)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[psycopg.AsyncConnection]:
        connection = await psycopg.AsyncConnection.connect(autocommit=True, **settings_of(self._url))
        try:
            async with asyncio.timeout(SILENCE_S):
                await connection.execute(f"LISTEN {self._channel}".encode())
            yield connection
        finally:
            await connection.close()

    async def _hear(self, connection: psycopg.AsyncConnection) -> None:
        """Call `on_wake` at each notice, for as long as the server answers in between."""
        while True:
            async for _ in connection.notifies(timeout=PING_S):
                self.on_wake()
            async with asyncio.timeout(SILENCE_S):
                await connection.execute(b"SELECT 1")


class Wakeups:
    """The waiters on one channel.

    Args:
        send: has a notice sent on the channel, soon and in another thread.
    """

    def __init__(self, url: str, channel: str, send: Callable[[str], None]) -> None:
        self.channel = channel
        self._url = url
        self._send = send
        self._is_sending = False

    def listen(self) -> Waiter:
        """A new waiter in the running event loop."""
        return Waiter(self._url, self.channel)

    def wake(self) -> None:
        """Wake every waiter. While a notice is on its way to be sent, another one would say nothing new."""
        if not self._is_sending:
            self._is_sending = True
            self._send(self.channel)

    def sending(self) -> None:
        """A notice is being sent now: what comes after this needs another."""
        self._is_sending = False

    def anyone(self) -> bool:
        """Nobody can know: the workers' own rows tell who lives."""
        return True

    def is_alive(self, name: str) -> bool:  # noqa: ARG002 - the face of all wake-ups
        """Nobody can know: the leases of the dead run out."""
        return True


def _nothing() -> None:
    """Until somebody waits."""

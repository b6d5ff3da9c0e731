"""What both databases have in common: what a move is given, and what carries it out.

A move is a plain function of a connection. It may be run again after a rollback, so it does nothing but talk to the
connection. Its SQL is SQLite's; `dialect.py` says what of it PostgreSQL reads differently.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Row(Protocol):
    """A row; its columns by index and by name."""

    def __getitem__(self, key: str | int, /) -> Any:
        """The value of a column."""

    def __iter__(self) -> Iterator[Any]:
        """The values, in order."""

    def __len__(self) -> int:
        """How many columns there are."""

    def keys(self) -> list[str]:
        """The names of the columns."""


class Cursor(Protocol):
    """What a statement answers."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""

    def fetchone(self) -> Any:
        """The next `Row`; None when there are no more."""

    def fetchall(self) -> list[Any]:
        """The `Row`s that are left."""

    def __iter__(self) -> Iterator[Any]:
        """The `Row`s that are left."""


class Connection(Protocol):
    """What a move talks to."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        """Carry out one statement; *values* fill its `?`, or its `?1`, `?2`."""


Move = Callable[[Connection], T]


class Waiter(Protocol):
    """One process among those that wait for rows. Belongs to the event loop in which it was made; close it there.

    Attributes:
        name: the process's name among the waiters; new each time.
        on_wake: called at each wake-up; to be set by whoever waits.
    """

    name: str
    on_wake: Callable[[], None]

    def close(self) -> None:
        """Wait no more."""


class Wakeups(Protocol):
    """Those who wait for rows. They are only woken early: every one of them polls as well."""

    def listen(self) -> Waiter:
        """A new waiter in the running event loop."""

    def wake(self) -> None:
        """Wake every waiter, in whatever process; may be called from any thread."""

    def anyone(self) -> bool:
        """Whether any waiter lives, as far as this can be known."""

    def is_alive(self, name: str) -> bool:
        """Whether the waiter *name* still lives; True where nobody can know."""


class Database(Protocol):
    """Where the rows are: SQLite or PostgreSQL. Call `read` and `write` in any event loop.

    Attributes:
        reads_at_once: whether `read` answers without a pause.
    """

    reads_at_once: bool

    @property
    def wakeups(self) -> Wakeups:
        """Those who wait for work; woken by the writes that say so."""

    @property
    def watchers(self) -> Wakeups:
        """Those who watch requests; woken by every commit."""

    async def read(self, query: Move[T]) -> T:
        """What *query* answers.

        Raises:
            Unavailable: when the database cannot be read.
        """

    async def write(self, move: Move[T], *, wakes: bool = False, patient: bool = False) -> T:
        """Carry out *move*, and return once it is durable; its exceptions are raised here.

        Args:
            wakes: wake every waiter after the commit.
            patient: it may wait a moment for others, to share their commit.

        Raises:
            Unavailable: when the database cannot be written. Where it lies elsewhere, the move may yet have happened.
        """

    async def tidy(self) -> None:
        """What the database itself wants done every minute or so.

        Raises:
            Unavailable: as `write`.
        """

    def close(self) -> None:
        """Carry out what was handed in, then close; twice is safe."""

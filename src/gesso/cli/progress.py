"""Shows on stderr how a request goes on: a line that is rewritten on a terminal, else a line for each change."""

import shutil
import sys
import time

import click

from gesso.cli.flags import Flags, plain
from gesso.cli.screen import Screen
from gesso.client.events import Cancelled, Completed, Event, Failed, InProgress, Queued

WIDEST_BAR = 24
ANEW = "\r\x1b[2K"


class Progress:
    """Told every event. Silent where nothing but the payload may be written.

    Args:
        screen: where previews are shown, above the line; they are gone in the end.
    """

    def __init__(self, flags: Flags, screen: Screen | None = None) -> None:
        self._screen = screen
        self._flags, self._began, self._last = flags, time.monotonic(), ""
        self._live = sys.stderr.isatty() and not flags.is_silent

    def __call__(self, event: Event) -> None:
        if self._screen is not None:
            _preview(event, self._screen)
        if self._live:
            click.echo(f"{ANEW}{plain(word(event))}{bar(event, self._room(event))}", err=True, nl=False)
        elif word(event) != self._last:
            self._flags.note(word(event))
        self._last = word(event)

    def end(self) -> None:
        """Leave the line that was rewritten."""
        if self._live:
            click.echo(f", {time.monotonic() - self._began:.1f} s", err=True)

    def _room(self, event: Event) -> int:
        return shutil.get_terminal_size().columns - len(word(event)) - len(tail(event)) - 12


def _preview(event: Event, screen: Screen) -> None:
    if not isinstance(event, InProgress):
        screen.wipe()
    elif event.preview is not None:
        screen.show_instead(event.preview.data)


def word(event: Event) -> str:
    """The state, as /status has it, and the position."""
    match event:
        case Queued(position=None):
            return "in_queue"
        case Queued(position):
            return f"in_queue (position {position})"
        case InProgress():
            return "in_progress"
        case Completed() | Failed():
            return "completed"
        case Cancelled():
            return "cancelled"


def bar(event: Event, room: int) -> str:
    """How far it is, drawn and in numbers, as far as it is known; at most *room* characters are drawn."""
    if not isinstance(event, InProgress) or event.fraction is None:
        return tail(event)
    width = max(0, min(WIDEST_BAR, room))
    done = round(width * event.fraction)
    drawn = f" [{'#' * done}{'.' * (width - done)}]" if width else ""
    return f"{drawn} {event.fraction:4.0%}{tail(event)}"


def tail(event: Event) -> str:
    """The step and the seconds that are left."""
    told = ""
    if isinstance(event, InProgress) and event.step is not None and event.steps:
        told = f"  step {event.step}/{event.steps}"
    if isinstance(event, InProgress | Queued) and event.eta_seconds is not None:
        told += f"  about {event.eta_seconds:.0f} s left"
    return told

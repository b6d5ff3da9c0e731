"""Pictures on the terminal: whether it can show any, in which form, and each in the place of the one before."""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from gesso.cli.area import Area, area_for
from gesso.cli.flags import Flags

if TYPE_CHECKING:  # its library is an extra
    from gesso.cli.painting import Painter

KITTY = frozenset({"xterm-kitty", "xterm-ghostty"})
ITERM = frozenset({"iTerm.app", "WezTerm", "mintty"})
SIXEL = ("foot", "mlterm", "yaft", "contour")
DEEP = frozenset({"truecolor", "24bit"})


class Screen:
    """Shows pictures on stderr, above the cursor's line."""

    def __init__(self, painter: "Painter") -> None:
        self._painter = painter
        self._area: Area | None = None

    def show(self, file: bytes) -> None:
        """Show the picture of *file* from the cursor's line on, which comes to stand below it; or nothing."""
        click.echo(self._shown(file), err=True, nl=False)

    def show_instead(self, file: bytes) -> None:
        """Show it in the place of the last one, below which nothing but the cursor's line may stand."""
        click.echo(self._wiped() + self._shown(file), err=True, nl=False)

    def wipe(self) -> None:
        """Take away the last one; likewise."""
        click.echo(self._wiped(), err=True, nl=False)

    def _shown(self, file: bytes) -> str:
        picture = self._painter.read(file)
        self._area = area = area_for(*picture.size) if picture else None
        if picture is None or area is None:
            return ""
        # Room first: what scrolls while it is drawn is torn.
        room = "\n" * area.rows
        return f"\r\x1b[2K{room}\x1b[{area.rows}A\x1b7{self._painter.paint(picture, area)}\x1b8\x1b[{area.rows}B"

    def _wiped(self) -> str:
        area, self._area = self._area, None
        return "" if area is None else f"{self._painter.erase(area)}\r\x1b[{area.rows}A\x1b[J"


def screen_for(flags: Flags, asked: str) -> Screen | None:
    """The terminal, where pictures are to be shown on it.

    Args:
        asked: "auto", "always" or "never"; only at "always" it is told what stands against it.
    """
    if asked == "never" or flags.is_silent or not (sys.stdout.isatty() and sys.stderr.isatty()):
        return None
    is_asked = asked == "always"
    name = form(os.environ, or_blocks=is_asked)
    if name is None:
        if is_asked:
            flags.note("no pictures: this terminal is not known to show any")
        return None
    try:
        from gesso.cli.painting import PAINTERS  # noqa: PLC0415 - its library is an extra
    except ModuleNotFoundError:
        if is_asked:
            flags.note("no pictures: they need the extra: pip install 'gesso[terminal]'")
        return None
    return Screen(PAINTERS[name])


def form(environment: Mapping[str, str], *, or_blocks: bool = False) -> str | None:
    """In which form the terminal takes pictures, by what it says of itself; None: in none that we know.

    Args:
        or_blocks: whether half blocks will do, where it has the colours.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    # A multiplexer keeps the variables of the terminal around it, and lets no picture through.
    if "TMUX" not in environment and not term.startswith(("tmux", "screen")):
        if term in KITTY or "KITTY_WINDOW_ID" in environment or program == "ghostty":
            return "kitty"
        if program in ITERM or environment.get("LC_TERMINAL") == "iTerm2":
            return "iterm"
        if "sixel" in term or term.startswith(SIXEL):
            return "sixel"
    return "blocks" if or_blocks and environment.get("COLORTERM") in DEEP else None

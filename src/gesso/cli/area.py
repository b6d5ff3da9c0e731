"""A place for a picture on the terminal: how many cells, and how many pixels those are."""

import secrets
import shutil
import struct
import sys
from dataclasses import dataclass

MOST_COLUMNS, MOST_ROWS, LEAST_ROWS = 64, 24, 4
LINES_BESIDE = 3
USUAL_CELL = (10, 20)


@dataclass(frozen=True, slots=True)
class Area:
    """So many cells of the terminal, and how many pixels they take; *number* tells its picture from all others."""

    columns: int
    rows: int
    width_px: int
    height_px: int
    number: int


def area_for(width: int, height: int) -> Area | None:
    """The cells for a picture of that size; None where the terminal is too small."""
    size, (cell_width, cell_height) = shutil.get_terminal_size(), _cell()
    columns, rows = min(MOST_COLUMNS, size.columns - 1), min(MOST_ROWS, size.lines - LINES_BESIDE)
    if rows < LEAST_ROWS:
        return None
    scale = min(columns * cell_width / width, rows * cell_height / height)
    columns, rows = (max(1, int(width * scale / cell_width)), max(1, int(height * scale / cell_height)))
    number = secrets.randbelow(2**31) + 1
    return Area(columns, rows, columns * cell_width, rows * cell_height, number)


def _cell() -> tuple[int, int]:
    """Width and height of a cell in pixels, where the terminal tells."""
    try:
        import fcntl  # noqa: PLC0415 - not on every system
        import termios  # noqa: PLC0415

        told = fcntl.ioctl(sys.stderr.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (ImportError, OSError):
        return USUAL_CELL
    rows, columns, width, height = struct.unpack("HHHH", told)
    is_told = 0 < columns <= width and 0 < rows <= height
    return (width // columns, height // rows) if is_told else USUAL_CELL

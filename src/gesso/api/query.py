"""Options in the query and the headers: read strictly; the body belongs to the model."""

from collections.abc import Mapping

from gesso.core.errors import InvalidInput, Problem

FLAGS = {"true": True, "1": True, "false": False, "0": False}
LONGEST_NUMBER = 10
KEY_HEADER, LONGEST_KEY = "Idempotency-Key", 255
WAIT_HEADER, LONGEST_WAIT_S = "Prefer", 60
Query = Mapping[str, str]


def number(query: Query, name: str, default: int, *, least: int, most: int | None = None) -> int:
    """A whole number within its bounds.

    Raises:
        InvalidInput: when it is none, or out of bounds.
    """
    text = query.get(name)
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < LONGEST_NUMBER):
        raise problem(name, "int_type")
    value = int(text)
    if value < least:
        raise problem(name, "greater_than_equal", limit=least)
    if most is not None and value > most:
        raise problem(name, "less_than_equal", limit=most)
    return value


def one_of(query: Query, name: str, choices: tuple[str, ...]) -> str | None:
    """One of *choices*, or None where it is absent.

    Raises:
        InvalidInput: when it is something else.
    """
    text = query.get(name)
    if text is not None and text not in choices:
        raise problem(name, "enum", choices=", ".join(choices))
    return text


def flag(query: Query, name: str, *, absent: bool = False) -> bool:
    """true, false, 1 or 0, in any case.

    Args:
        absent: what it is where it is not given.

    Raises:
        InvalidInput: when it is something else.
    """
    text = query.get(name, str(absent)).lower()
    if text not in FLAGS:
        raise problem(name, "bool_type")
    return FLAGS[text]


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """The Idempotency-Key header, or None; *headers* have their names in lower case.

    Raises:
        InvalidInput: when it is empty, too long, or holds anything but printable ASCII.
    """
    key = headers.get(KEY_HEADER.lower())
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise InvalidInput((Problem(("header", KEY_HEADER), "printable_ascii", {"limit": LONGEST_KEY}),))
    return key


def preferred_wait(headers: Mapping[str, str]) -> int | None:
    """The seconds of a `Prefer: wait=N` header, at most 60; None where it says nothing of that.

    Raises:
        InvalidInput: when N is no whole number from 1.
    """
    for preference in headers.get(WAIT_HEADER.lower(), "").split(","):
        name, mark, told = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            digits = told.strip(' "') if mark else str(LONGEST_WAIT_S)
            if not (digits.isascii() and digits.isdigit() and digits.strip("0")):
                raise InvalidInput((Problem(("header", WAIT_HEADER), "greater_than_equal", {"limit": 1}),))
            return LONGEST_WAIT_S if len(digits) >= LONGEST_NUMBER else min(int(digits), LONGEST_WAIT_S)
    return None


def wait(query: Query) -> int:
    """The seconds of `?wait=N`, at most 60; absent is 0.

    Raises:
        InvalidInput: when it is no whole number.
    """
    return min(number(query, "wait", 0, least=0), LONGEST_WAIT_S)


def problem(name: str, type: str, **facts: object) -> InvalidInput:
    """What is wrong with the option *name*."""
    return InvalidInput((Problem(("query", name), type, facts),))

"""Options in the query and the headers: read strictly; the body belongs to the model."""

from collections.abc import Mapping

from gesso.core.errors import InvalidInput, Problem

FLAGS = {"true": True, "1": True, "false": False, "0": False}
LONGEST_NUMBER = 10
KEY_HEADER, LONGEST_KEY = "Idempotency-Key", 255
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


def flag(query: Query, name: str) -> bool:
    """true, false, 1 or 0; absent is false.

    Raises:
        InvalidInput: when it is something else.
    """
    text = query.get(name, "false").lower()
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


def problem(name: str, type: str, **facts: object) -> InvalidInput:
    """What is wrong with the option *name*."""
    return InvalidInput((Problem(("query", name), type, facts),))

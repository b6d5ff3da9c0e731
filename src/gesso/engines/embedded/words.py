"""The vocabulary of `words.toml`, each entry as one list of phrases over all languages."""

import tomllib
from importlib.resources import files
from typing import Any


def _flat(entry: dict[str, str] | str) -> str:
    """The phrases of all languages in one list, line breaks as spaces."""
    languages = [entry] if isinstance(entry, str) else entry.values()
    return ", ".join(" ".join(phrases.split()) for phrases in languages)


def _flat_each(table: dict[str, Any]) -> dict[str, str]:
    return {name: _flat(entry) for name, entry in table.items()}


_TABLES: dict[str, Any] = tomllib.loads((files(__package__) / "words.toml").read_text("utf-8"))

OPERATORS = _flat_each(_TABLES["operators"])  # in the order in which a plan carries them out
LAYOUTS = _flat_each(_TABLES["layouts"])
PLACES = _flat_each(_TABLES["places"])
FRAMES = _flat_each(_TABLES["frames"])
SIZES = _flat_each(_TABLES["sizes"])
STRENGTHS = {float(value): phrases for value, phrases in _flat_each(_TABLES["strengths"]).items()}
IDIOMS, NEGATIONS, INTERRUPTERS, WRITES = (
    _flat(_TABLES[name]) for name in ("idioms", "negations", "interrupters", "writes")
)
STOP_WORDS = frozenset(" ".join(_TABLES["stop_words"].values()).split())
CJK_STOPS: str = _TABLES["cjk_stops"].strip()
MEDIUM = _flat(_TABLES["medium"]).replace(" ", "")

# Japanese says no behind its word.
NEGATIONS_AFTER = (
    "(は|を|の|が|も|に)?(ない|無し|なし|抜き|不要|いらない|要らない|消して|除いて|入れない|しない|せず|禁止|なく|避け)"
)

"""What is said to people, in their language. English stands beside each error; other languages are tables of texts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gesso.core import errors
from gesso.core.errors import GessoError, Problem
from gesso.core.problems import PROBLEMS

DEFAULT_LANGUAGE = "en"


def _sentences() -> dict[str, str]:
    """Class name -> English sentence, for every error of the house."""
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, GessoError)]
    return {each.__name__: each.sentence for each in classes}


ENGLISH: Mapping[str, str] = _sentences() | PROBLEMS


class Texts:
    """Sentences by language.

    Args:
        tables: language -> (key -> sentence); a key is the name of an error's class or the type of a problem. What a
            table lacks is said in English.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, str]]) -> None:
        self._tables = {DEFAULT_LANGUAGE: ENGLISH, **tables}

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that are spoken, English first."""
        return tuple(self._tables)

    def say(self, key: str, facts: Mapping[str, Any], language: str) -> str:
        """The sentence of *key*, its braces filled."""
        table = self._tables.get(language, ENGLISH)
        return table.get(key, ENGLISH.get(key, key)).format(**facts)

    def error(self, error: GessoError, language: str) -> str:
        """The sentence of *error*."""
        return self.say(type(error).__name__, error.facts, language)

    def problem(self, problem: Problem, rules: Mapping[str, str], language: str) -> str:
        """The sentence of *problem*; a rule of the schema speaks in the schema's own words, given as *rules*."""
        return rules.get(problem.type) or self.say(problem.type, problem.facts, language)


def negotiate(header: str, languages: Sequence[str]) -> str:
    """The language that an `Accept-Language` header asks for; English where none of *languages* fits.

    `ja-JP` asks for `ja`; `*` and what cannot be read ask for nothing.
    """
    wanted = sorted(_weighted(header), key=lambda pair: -pair[1])
    for tag, weight in wanted:
        for candidate in (tag, tag.split("-")[0]):
            if weight > 0 and candidate in languages:
                return candidate
    return DEFAULT_LANGUAGE


def _weighted(header: str) -> Iterable[tuple[str, float]]:
    for part in header.split(",")[:20]:
        tag, _, parameter = part.strip().partition(";")
        name, _, value = parameter.strip().partition("=")
        try:
            yield tag.strip().lower(), float(value) if name.strip() == "q" else 1.0
        except ValueError:
            continue

"""What is said to people: in every language the same facts, and English where a language is not spoken."""

import re

import pytest

from gesso.catalog import read_texts
from gesso.core import errors
from gesso.core.codes import BY_CODE, FAILED_BY_CODE
from gesso.core.errors import GessoError, Problem, TooMany, UnknownModel
from gesso.core.problems import PROBLEMS
from gesso.core.texts import ENGLISH, Texts, negotiate

TEXTS = read_texts()
TRANSLATIONS = ("ja", "ru")
# Told to workers or operators, never to a caller.
UNSPOKEN = {
    "GessoError",
    "IllegalMove",
    "LeaseLost",
    "RunFailed",
    "EngineDied",
    "EngineHung",
    "Stopped",
    "ConfigError",
    "DefinitionError",
}
SPOKEN = sorted(
    {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, GessoError)} - UNSPOKEN
    | PROBLEMS.keys()
)


def braces(sentence: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", sentence))


@pytest.mark.parametrize("language", TRANSLATIONS)
@pytest.mark.parametrize("key", SPOKEN)
def test_every_public_error_and_problem_has_a_sentence_with_the_same_facts(key: str, language: str) -> None:
    facts = dict.fromkeys(braces(ENGLISH[key]), "x")
    text = TEXTS.say(key, facts, language)

    assert text != TEXTS.say(key, facts, "en"), f"{key} is not said in {language}"
    assert braces(TEXTS.say(key, {name: f"{{{name}}}" for name in facts}, language)) == braces(ENGLISH[key])


def test_whatever_has_a_public_code_is_spoken() -> None:
    assert {kind.__name__ for kind in (BY_CODE | FAILED_BY_CODE).values()} <= set(SPOKEN)


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_nothing_is_translated_that_nobody_says(language: str) -> None:
    assert set(TEXTS._tables[language]) <= set(ENGLISH)


def test_english_comes_first_and_others_are_those_that_have_a_table() -> None:
    assert TEXTS.languages == ("en", "ja", "ru")


def test_what_a_table_lacks_is_said_in_english() -> None:
    texts = Texts({"eo": {"UnknownModel": "Ne estas."}})

    assert texts.error(UnknownModel(), "eo") == "Ne estas."
    assert texts.error(TooMany(seconds=7), "eo") == "Too many requests; try again in 7 seconds."
    assert texts.error(UnknownModel(), "xx") == UnknownModel.sentence


def test_a_rule_of_the_schema_speaks_in_the_schemas_words() -> None:
    problem = Problem(("body", "image_urls", 0), "width_pixels>")

    assert TEXTS.problem(problem, {"width_pixels>": "Too narrow {really}."}, "ru") == "Too narrow {really}."
    assert TEXTS.problem(Problem(("body", "seed"), "less_than_equal", {"limit": 3}), {}, "en") == "Must be at most 3."


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("*", "en"),
        ("ja", "ja"),
        ("JA-jp", "ja"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("en;q=0.1, ja;q=0.2, ru;q=0.15", "ja"),
        ("fr, de;q=0.9, ru;q=0.1", "ru"),
        ("ja;q=0, ru;q=0.1", "ru"),
        ("ja;q=0", "en"),
        ("ja; q = 0.5", "ja"),
        ("ja;q=much, ru", "ru"),
        ("ja;level=1", "ja"),
        ("\xff\x00;;;q=,,=", "en"),
        (",".join(["xx"] * 20 + ["ja"]), "en"),
        ("fr-CA", "en"),
    ],
)
def test_a_header_asks_for_the_language_it_weighs_most_among_those_spoken(header: str, language: str) -> None:
    assert negotiate(header, TEXTS.languages) == language

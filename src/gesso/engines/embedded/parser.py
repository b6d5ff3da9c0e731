"""A prompt to a plan: the rules of reading. The words are in `words.toml`, how they are matched in `reading.py`.

The order of a plan is fixed, whatever the order of the words: layout → geometry → background → style from a reference →
recolour → tone → stylise → weather → text. The layout comes first, at exactly the asked size, so that nothing that is
drawn later is cut off, and brush strokes, dots and letters are made for the pixels that are delivered.
"""

import re

from gesso.engines.embedded.plan import Plan, Step
from gesso.engines.embedded.reading import QUOTE, Find, Reading, colours_in, read, split
from gesso.engines.embedded.scene import arrange, named_references
from gesso.engines.embedded.words import IDIOMS, OPERATORS, PLACES, SIZES, WRITES

_LAYOUTS = ("frame", "columns", "rows", "picture_in_picture", "double_exposure", "subject_on")
_SPECIAL = {"plain_background": "blur_background", "gradient_background": "blur_background", "style_from": "sharpen",
            "recolour": "sharpen", "tint": "sharpen"}  # fmt: skip
_ORDER = {name: rank for rank, name in enumerate([*_LAYOUTS, *OPERATORS, "text"])}

_GROUND = r"(?:background|backdrop|фон[а-я]*|背景)"
_GRADIENT = r"(?:gradient|градиент[а-я]*|グラデーション|グラデ|渐变)"
_GRADIENT_BACKGROUND = (
    rf"(?:#[^.;,。]*?)?{_GRADIENT}[^.;,。]*?{_GROUND}(?:[^.;,。]*#)?|{_GROUND}[^.;,。]*?{_GRADIENT}(?:[^.;。]*#)?"
)
_PLAIN_BACKGROUND = (
    r"#(?:\s+(?:studio|plain|solid|flat|seamless|однотон[а-я]*))?\s+(?:background|backdrop|фон[а-я]*)|"
    r"(?:background|backdrop)\s+(?:[a-z]+\s+){0,3}?#|фон[а-я]*\s+(?:[а-я]+\s+){0,2}?#|#[いのな色]{0,2}[的]?背景|背景[^。;,]{0,5}?#|"
    r"(?:remove|erase|delete|cut out|drop)[a-z]*\s+(?:the |its )?(?:background|backdrop)"
    r"(?:\s+and\s+(?:[a-z]+\s+){0,4}?#)?|"
    r"(?:plain|solid|transparent|isolated|studio)\s+(?:[a-z]+\s+)?(?:background|backdrop)|cut\s?out the subject|"
    r"(?:убер|убра|удал|вырез)[а-я]*\s+фон(?:\s+и\s+(?:[а-я]+\s+){0,3}?#)?|"
    r"без фона|(?:однотонн|прозрачн)[а-я]*\s+фон[а-я]*|"
    r"背景を?(?:消|削除|透明|除去|切り抜)(?:[^。;]{0,8}?#)?|"
    r"(?:去掉?|去除|移除|删除|抠除)背景(?:[^。;]{0,8}?#)?|抠图|(?:纯色|透明)背景"
)
_END = r"(?:\s+(?:one|colou?red|colou?r|цвет[а-я]*))?(?=\s*(?:$|[.;,!?]|and\b|please|и\s|пожалуйста))"
_VERB = r"(?:make|turn|change|recolou?r|paint|colou?r|dye|сдела|перекрас|покрас|измени|поменя|замен|преврат)[a-zа-я]*\s"
_RECOLOUR = (
    rf"{_VERB}[^.;,]*?#\s[^.;,]*?#{_END}|#[^。;、]{{0,8}}?を#色?(?:く|に)|"
    r"(?:把|将)[^。;，]*?#[^。;，]*?(?:变|改|换|染|涂)[^。;，]{0,2}?#"
)
_RECOLOUR_SUBJECT = (
    rf"{_VERB}(?!it |this |the (?:image|picture|photo) |everything |more )[^.;,]*?#{_END}|"
    r"(?<!全体)を#色?(?:く|に塗|にして|に変)|(?:把|将)[^。;，]{1,8}(?:变|改|换|染|涂)[^。;，]{0,2}?#"
)
_TINT = (
    rf"(?:tint|tinge|wash|cast)[a-z]*\s(?:[a-z]+\s+){{0,4}}?#|#\s+(?:tint|tinge|tones?|cast|wash|hue|filter|light)s?\b|"
    rf"(?:make|turn)\s+(?:it|this|the (?:image|picture|photo)|everything)\s+(?:more\s+|a bit\s+)?#{_END}|"
    r"#\s+(?:тон|оттен|фильтр|свет)[а-я]*|(?:тонир|оттен|подкрас|тониру)[а-я]*\s(?:[а-я]+\s+){0,2}?#|"
    r"#(?:っぽく|味|がかった|の色合い|系の?色?|の?フィルター|のトーン)|全体を#く?|偏#|#(?:色调|调|滤镜|染色)|染成#"
)
# operator -> its pattern, in the order of reading: what one takes the next ones do not see
_COLOURED: dict[str, str] = {
    "gradient_background": _GRADIENT_BACKGROUND,
    "plain_background": _PLAIN_BACKGROUND,
    "recolour": _RECOLOUR,
    "tint": _TINT,
    "recolour_subject": _RECOLOUR_SUBJECT,
}


def parse(prompt: str, negative_prompt: str, count: int) -> Plan:
    """The plan for *prompt*.

    Args:
        prompt: in any of the four languages, mixed as one likes.
        negative_prompt: whatever operator it names is left out, also where the prompt asks for it.
        count: how many references there are, at least 1.
    """
    reading = read(prompt, count)
    unwanted = _named(read(negative_prompt, count)) if negative_prompt.strip() else set()
    asked, refused = _asked(reading)
    steps = [*arrange(reading, count), *_coloured(reading), *asked, *_text(reading)]
    kept = [step for step in steps if step.operator not in unwanted | refused]
    return Plan(_in_order(kept), tuple(_not_understood(reading, steps)), _warnings(reading, kept, count))


def _named(reading: Reading) -> set[str]:
    """The operators that a negative prompt names, with or without a "no" of its own."""
    named = {name for name, phrases in OPERATORS.items() for find in _matches(reading, phrases)
             if not find.text.startswith("=")}  # fmt: skip
    named |= {"text"} if any(True for _ in reading.find(WRITES)) else set()
    return named | {step.operator for step in _coloured(reading)}


def _matches(reading: Reading, phrases: str) -> list[Find]:
    """Where *phrases* stand; those that begin with `=` count too, wherever they stand."""
    return list(reading.find(", ".join(phrase.lstrip("=") for phrase in split(phrases))))


def _asked(reading: Reading) -> tuple[list[Step], set[str]]:
    """The steps that the operators' own words ask for, and the operators that the prompt forbids."""
    found = _operators(reading)
    finds = [find for find, _ in found]
    for find in finds:
        reading.take(find)
    refused = {name for find, name in found if name and reading.is_negated(find)}
    steps = {name: Step(name, reading.strength(find, finds)) for find, name in reversed(found) if name}
    return list(steps.values()), refused


def _operators(reading: Reading) -> list[tuple[Find, str]]:
    """Each find with its operator, idioms with none; of finds that overlap the longest."""
    everywhere = [(find, "") for find in reading.find(IDIOMS)]
    alone: list[tuple[Find, str]] = []
    for name, phrases in OPERATORS.items():
        plain = [phrase for phrase in split(phrases) if not phrase.startswith("=")]
        bare = [phrase[1:] for phrase in split(phrases) if phrase.startswith("=")]
        everywhere += [(find, name) for find in reading.find(", ".join(plain))]
        alone += [(find, name) for find in reading.find(", ".join(bare))] if bare else []
    others = [find for find, _ in everywhere + alone]
    everywhere += [(find, name) for find, name in alone if reading.is_alone(find, others)]
    chosen: list[tuple[Find, str]] = []
    for find, name in sorted(everywhere, key=lambda pair: -len(pair[0].text)):
        if all(find.end <= other.start or other.end <= find.start for other, _ in chosen):
            chosen.append((find, name))
    return sorted(chosen, key=lambda pair: pair[0].start)


def _coloured(reading: Reading) -> list[Step]:
    """The steps that go by the names of colours: backgrounds, recolouring, tints; each at most once."""
    steps: list[Step] = []
    for operator, pattern in _COLOURED.items():
        if operator == "recolour_subject" and any(step.operator in ("recolour", "tint") for step in steps):
            continue
        for find in reading.blanked().find(pattern, regex=True):
            if not reading.is_negated(find):
                reading.take(find)
                strength = reading.strength(find, [find]) if operator == "tint" else 1.0
                steps.append(_coloured_step(operator, strength, colours_in(find.text)))
                break
    return steps


def _coloured_step(operator: str, strength: float, colours: list[str]) -> Step:
    match operator:
        case "recolour":
            return Step("recolour", settings={"source": colours[0], "target": colours[-1]})
        case "recolour_subject":
            return Step("recolour", settings={"source": "main", "target": colours[-1]})
        case "gradient_background":
            return Step(operator, settings={"colours": tuple(colours[:2])})
        case _:
            return Step(operator, strength, {"colour": colours[0] if colours else "white"})


def _text(reading: Reading) -> list[Step]:
    """One step for each quotation that the prompt asks to write."""
    if not reading.quotes or not (triggers := list(reading.find(WRITES))):
        return []
    steps = []
    for quote, find in zip(reading.quotes, reading.find(QUOTE, regex=True), strict=False):
        start, end = reading.clause(find.start)
        steps.append(Step("text", settings={"text": quote.strip()[:120], **_placed(reading, start, end)}))
    for trigger in [*triggers, *reading.find(QUOTE, regex=True)]:
        reading.take(trigger)
    return steps


def _placed(reading: Reading, start: int, end: int) -> dict[str, str]:
    """Where in the picture, how large and in which colour the text of the clause at *start*..*end* goes."""
    inside = Reading(reading.text[start:end], [])
    places = [name for name, words in PLACES.items() for _ in inside.find(words)]
    height = next((name for name in places if name in ("top", "bottom")), "")
    side = next((name for name in places if name in ("left", "right")), "centre")
    height = height or ("centre" if side != "centre" or "centre" in places else "bottom")
    size = next((name for name, words in SIZES.items() if any(inside.find(words))), "medium")
    for words in (*PLACES.values(), *SIZES.values()):
        for find in inside.find(words):
            reading.used.append((find.start + start, find.end + start))
    return {"at": f"{height} {side}" if side != "centre" else height, "size": size,
            "colour": next(iter(colours_in(inside.text)), "auto")}  # fmt: skip


def _in_order(steps: list[Step]) -> tuple[Step, ...]:
    def rank(step: Step) -> float:
        return _ORDER.get(step.operator, _ORDER[_SPECIAL.get(step.operator, "text")] - 0.5)

    return tuple(sorted(steps, key=rank))


def _not_understood(reading: Reading, steps: list[Step]) -> list[str]:
    for step in steps:
        if "text" in step.settings or "colour" in step.settings:
            for find in reading.find("#", regex=True):
                reading.take(find)
    return [re.sub(r"'s$", "", word) for word in reading.left_over()][:20]


def _warnings(reading: Reading, steps: list[Step], count: int) -> dict[str, str]:
    warnings = {}
    absent = sorted({n for find in named_references(reading) for n in find.references if n > count})
    if absent:
        told = " and ".join(map(str, absent))
        warnings["no_such_reference"] = f"The prompt names reference {told}, but {count} came with the request."
    if not any(_does_something(step) for step in steps):
        warnings["no_operator_matched"] = (
            "Nothing in the prompt names an operation of this engine; the references were only framed."
        )
    if reading.quotes and not any(step.operator == "text" for step in steps):
        warnings["quotation_not_written"] = (
            'A quotation is written into the picture only where the prompt says so: add the text "…".'
        )
    return warnings


def _does_something(step: Step) -> bool:
    if step.operator == "frame":
        return bool(step.settings["mode"] != "cover")
    return step.settings.get("by") != "default"

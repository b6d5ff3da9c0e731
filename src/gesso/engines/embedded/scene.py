"""How references stand to each other: which is shown, in which layout, which lends its style or its background."""

import re

from gesso.engines.embedded.plan import Step
from gesso.engines.embedded.reading import ENDS, QUOTE, Find, Reading
from gesso.engines.embedded.words import FRAMES, LAYOUTS, PLACES, SIZES

_NO_PLACE = r"(?!\s*(?:the\s+)?(?:left|right|top|bottom|far|style|manner|same|colou?r|стил|цвет|лев|прав))"

# style from a reference: the reference stands last in the find, or alone in it
STYLE = (
    r"(?:styles?|colou?rs?|palette|look|mood|tones?|colou?ring|grading|aesthetic|atmosphere)\s+(?:(?:of|from|as|like|in|is)\s+)+@|"
    r"@\s+(?:style|colou?rs?|palette|tones)\b|@\s+as\s+(?:an?\s+|the\s+)?(?:style|colou?r|palette)[a-z ]*|"
    r"(?:стил|цвет|палитр|гамм|тон|оттен|колорит)[а-я]*\s+(?:(?:из|с|как|на|у|от)\s+)*@|"
    r"@\s+как\s+(?:образец\s+)?(?:стил|цвет)[а-я]*|"
    r"@(?:と同じ|みたいな|のような|の)(?:スタイル|画風|色合い|色調|色味|色彩|色|雰囲気|タッチ|配色|テイスト)(?:で|に|を)?|"
    r"@(?:的|中的|里的)?(?:风格|風格|色彩|颜色|色调|画风|配色|色系)"
)

# a subject on another picture's background. In BACKDROP the last reference is the background, in PUT the second one.
BACKDROP = (
    r"@\s+(?:as|for|is)\s+(?:the\s+|an?\s+|its\s+)?(?:new\s+)?(?:background|backdrop)|"
    r"(?:replac|chang|swap|exchang|switch|use)[a-z]*\s(?!@\s+(?:as|for)\b)[^.;,]*?(?:background|backdrop)[^.;,]*?\s(?:with|to|by|for|from|into|of)\s[^.;,]*?@"
    r"(?:[^.;,@]*?\s(?:with|to|by|for|from|into)\s[^.;,@]*?@)?|"
    r"(?:on|onto|in front of|against|over)\s+the\s+(?:background|backdrop|landscape|scene)\s+(?:of|from|in)\s+@|"
    r"@\s+(?:как|в качестве|вместо)\s+(?:[а-я]+\s+)?фон[а-я]*|"
    r"(?:замен|помен|смен|измен)[а-я]*\s[^.;,]*?фон[^.;,]*?\s(?:на|из|с)\s[^.;,]*?@"
    r"(?:\s[^.;,@]*?(?:на|из)\s[^.;,@]*?@)?|(?:на|с)\s+фон[а-я]*\s+(?:(?:из|с|от)\s+)?@|"
    r"@を背景|背景[をは][^。]{0,6}@|@の背景(?:に|で|の上|の前)|@(?:作|做|当|用)*为?背景|背景[^。;，]*?(?:换|改|替)[^。;]*?@|以@为背景|@的?背景(?:上|中|里|前|下)"
)
PUT = (
    r"(?:put|plac|insert|past|drop|mov|position|composit|add|stand|show|set)[a-z]*\s[^.;]*?@[^.;@]*?\s"
    rf"(?:on(?:to)?|in(?:to|side)?|over|against|before|in front of){_NO_PLACE}\s[^.;@]*?@|"
    rf"(?:помест|помещ|постав|встав|полож|добав|перенес|налож)[а-я]*\s[^.;]*?@[^.;@]*?\s(?:на|в|во|поверх|перед){_NO_PLACE}\s[^.;@]*?@|"
    r"@\s(?:помест|помещ|постав|встав|полож|добав|перенес|налож)[а-я]*\s(?:на|в|во|поверх|перед)\s[^.;@]*?@|"
    r"@[^。;]*?を@の?(?:背景|上|中|風景|前|景色)*[にへ][^。;]{0,4}?(?:置|配置|合成|乗|載|のせ|入れ|貼|立|追加)|"
    r"(?:把|将)?@[^。;]*?(?:放|置|贴|合成|移|加|P|p)[^。;]{0,2}?(?:到|在|进|于|入)@"
)

# a small picture in a corner of another, which is named in the find or is the first of all
CORNER = (
    r"(?:in|into|at|to|inside)\s+(?:the|a|its|one)\s+(?:(?:top|upper|bottom|lower)\s+)?(?:(?:left|right)\s+)?(?:hand\s+)?"
    r"corner(?:\s+of\s+@)?|(?:в|во)\s+(?:(?:верхн|нижн|лев|прав)[а-я]*\s+){0,2}(?:углу|угол)(?:\s+@)?|"
    r"(?:(?:@)[の的]?)?(?:(?:[左右][上下]|[上下][左右])[の的]?(?:隅|角落?|コーナー)|隅[にへの]|角落)"
)

_AXES = {"columns": ("left", "right"), "rows": ("top", "bottom")}


def arrange(reading: Reading, count: int) -> list[Step]:
    """The first steps of a plan: the layout of the references, and the colours that one of them lends.

    Args:
        reading: the prompt; what is understood here is marked in it.
        count: how many references there are, at least 1.
    """
    style = _style(reading, count)
    lending = style[0].settings["reference"] if style else None
    mentioned = _mentioned(reading, count)
    rest = [n for n in range(1, count + 1) if n != lending] or [1]
    inset = _inset(reading, mentioned if len(mentioned) > 1 else rest)
    if inset is not None:
        return [inset, *style]
    backdrop = _backdrop(reading, count)
    if backdrop is not None:
        subject = next((n for n in mentioned if n != backdrop), 1 if backdrop != 1 else 2)
        return [Step("subject_on", settings={"subject": subject, "backdrop": backdrop, "at": _side(reading)}), *style]
    return [_layout(reading, mentioned, rest), *style]


def named_references(reading: Reading) -> list[Find]:
    """Where the prompt names references."""
    return list(reading.find("@", regex=True))


def _style(reading: Reading, count: int) -> list[Step]:
    finds = [find for find in reading.find(STYLE, regex=True) if 1 <= find.references[-1] <= count]
    for find in finds:
        if not reading.is_negated(find):
            reading.take(find)
            strength = min(reading.strength(find, finds), 1.0)
            return [Step("style_from", strength, {"reference": find.references[-1]})]
    return []


def _mentioned(reading: Reading, count: int) -> list[int]:
    free = [find for find in named_references(reading) if reading.is_free(find)]
    return list(dict.fromkeys(n for find in free for n in find.references if n <= count))


def _inset(reading: Reading, shown: list[int]) -> Step | None:
    for find in reading.find(CORNER, regex=True) if len(shown) > 1 else ():
        if not reading.is_negated(find) and not _is_of_text(reading, find):
            reading.take(find)
            size = _size(reading, find)
            under = next((n for n in find.references if n in shown), shown[0])
            order = (under, *(n for n in shown if n != under))
            height = "top" if re.search("top|upper|верх|上", find.text) else "bottom"
            side = "left" if re.search("left|лев|左", find.text) else "right"
            return Step("picture_in_picture", settings={"references": order, "at": f"{height} {side}", "size": size})
    return None


def _size(reading: Reading, near: Find) -> str:
    """How large something is to be, by the words in the clause of *near* and the next one."""
    start, end = reading.clause(near.start, breaks=ENDS, words="and, with, и, с, then, plus")
    for name, words in SIZES.items():
        for find in reading.find(words):
            if start <= find.start < end:
                reading.take(find)
                return name
    return "medium"


def _backdrop(reading: Reading, count: int) -> int | None:
    for pattern, least in ((BACKDROP, 1), (PUT, 2)) if count > 1 else ():
        for find in reading.blanked().find(pattern, regex=True):
            named = [n for n in find.references if n <= count]
            if len(named) >= least:
                reading.take(find)
                return named[-1]
    return None


def _layout(reading: Reading, mentioned: list[int], rest: list[int]) -> Step:
    several = mentioned if len(mentioned) > 1 else rest
    if len(several) > 1:
        for layout, phrases in LAYOUTS.items():
            finds = [find for find in reading.find(phrases) if not reading.is_negated(find)]
            if finds:
                reading.take(finds[0])
                return _laid_out(reading, layout, several, seam="clean")
        named = {name for _, name in _places(reading)}
        for layout, both in _AXES.items():
            if named.issuperset(both) or (mentioned and named & set(both)):
                return _laid_out(reading, layout, several, seam="soft")
    shown = mentioned or rest
    if len(shown) > 1:
        return Step("columns", settings={"references": tuple(shown), "seam": "clean", "by": "default"})
    return _frame(reading, shown[0])


def _laid_out(reading: Reading, layout: str, shown: list[int], *, seam: str) -> Step:
    if layout == "picture_in_picture":
        return Step(layout, settings={"references": tuple(shown), "at": "bottom right", "size": "medium"})
    if layout not in _AXES:
        return Step(layout, settings={"references": tuple(shown)})
    return Step(layout, settings={"references": _ordered(reading, shown, _AXES[layout]), "seam": seam})


def _ordered(reading: Reading, shown: list[int], both: tuple[str, str]) -> tuple[int, ...]:
    """*shown* by the places they are given: the first named reference has the first named place, and so on."""
    places = [(find, name) for find, name in _places(reading) if name in both]
    for find, _ in places:
        reading.take(find)
    named = list(dict.fromkeys(n for find in named_references(reading) for n in find.references if n in shown))
    given = dict(zip(named, (name for _, name in places), strict=False))
    rank = {both[0]: 0, both[1]: 2}
    return tuple(sorted(shown, key=lambda n: rank.get(given.get(n, ""), 1)))


def _places(reading: Reading) -> list[tuple[Find, str]]:
    """The places that are named outside the clause of a quotation, from left to right."""
    found = [
        (find, name)
        for name, words in PLACES.items()
        if name != "centre"
        for find in reading.find(words)
        if reading.is_free(find)
    ]
    return sorted(((f, name) for f, name in found if not _is_of_text(reading, f)), key=lambda pair: pair[0].start)


def _side(reading: Reading) -> str:
    places = _places(reading)
    return next((name for _, name in places if name in ("left", "right")), "centre")


def _is_of_text(reading: Reading, find: Find) -> bool:
    start, end = reading.clause(find.start, words="and, with, и, с, then, plus")
    return QUOTE in reading.text[start:end]


def _frame(reading: Reading, number: int) -> Step:
    for mode, phrases in FRAMES.items():
        for find in reading.find(phrases):
            if reading.is_free(find) and (mode == "contain" or not reading.is_negated(find)):
                reading.take(find)
                strength = reading.strength(find, [find]) if mode == "zoom" else 1.0
                return Step("frame", strength, {"reference": number, "mode": mode})
    return Step("frame", settings={"reference": number, "mode": "cover"})

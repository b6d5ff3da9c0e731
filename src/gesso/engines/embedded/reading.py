"""A prompt as text to search in: references and quotations made into single characters, phrases found, spans kept.

Knows how words are matched; which words mean what is in `words.toml`, what a find means is decided in `parser.py`.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from gesso.engines.embedded.colours import COLOURS
from gesso.engines.embedded.words import (
    CJK_STOPS,
    INTERRUPTERS,
    MEDIUM,
    NEGATIONS,
    NEGATIONS_AFTER,
    STOP_WORDS,
    STRENGTHS,
)

Span = tuple[int, int]

# Private-use characters stand for what has been found: no prompt's own text can be mistaken for them.
QUOTE, REF, LAST = "\ue000", 0xE100, 0xE1FF
REFS = "\ue101-\ue1ff"
CJK = "\u3040-\u30ff\u3400-\u9fff"
LETTERS = "a-zа-я0-9"
ENDS = ".;!?\n。；！？"
COMMAS = ",，、:："

_QUOTED = re.compile(
    "\"([^\"]+)\"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」|『([^』]+)』|《([^》]+)》|(?<!\\w)'([^']+)'(?!\\w)"
)
_NOUN_EN = (
    "(?:reference |input |source )?(?:images?|pictures?|photos?|photographs?|pics?|img|figures?|fig|references?|ref)"
)
_NOUN_RU = "(?:изображени|картин|фото|снимк|снимок|рисун|референс|кадр)[а-я]*"
_NOUN_ZH = "(?:参考图像?|图片|图像|圖像|圖片|照片|図|图|圖|参照画像|画像|写真|イメージ|絵)"
_NUMBER = {
    word: n
    for n, words in enumerate(("1 one 一 перв один", "2 two 二 втор два", "3 three 三 трет три"), 1)
    for word in words.split()
}
_NUMBER |= {
    "first": 1,
    "1st": 1,
    "second": 2,
    "2nd": 2,
    "third": 3,
    "3rd": 3,
    "last": 255,
    "последн": 255,
    "最初": 1,
    "最後": 255,
    "最后": 255,
}
_REFERENCE = re.compile(
    rf"(?<![{LETTERS}])(?:the )?{_NOUN_EN} ?(?:number |no\.? ?|# ?)?(\d\d?|one|two|three)(?![{LETTERS}])|"
    rf"(?<![{LETTERS}])(?:the )?(first|second|third|last|1st|2nd|3rd) {_NOUN_EN}(?![{LETTERS}])|"
    rf"(?<![{LETTERS}]){_NOUN_RU} ?(?:номер |no\.? ?)?(\d\d?|один|два|три)(?![{LETTERS}])|"
    rf"(?<![{LETTERS}])(?:(\d) ?(?:го|му|[еймяю]|ое|ая|ую|ой|ом)|(перв|втор|трет|последн)[а-я]*) {_NOUN_RU}|"
    rf"{_NOUN_ZH} ?(\d\d?|[一二三])(?:枚目)?|(\d|[一二三])(?:枚目|番目)の?{_NOUN_ZH}?|"
    rf"第 ?(\d|[一二三])[张張幅個个枚](?:目の)?{_NOUN_ZH}?|(最初|最後|最后)[の一张]*{_NOUN_ZH}"
)
# "the second one", "на первое": only beside a reference that is named in full
_SHORT = re.compile(
    rf"(?<![{LETTERS}])(?:the )?(first|second|third|last) one(?![{LETTERS}])|"
    rf"(?<![{LETTERS}])the (first|second|third|last)(?=\s*(?:$|[.,;!?]))|"
    r"(?:(?<=на )|(?<=из )|(?<=для ))(перв|втор|трет|последн)[а-я]+(?=\s*(?:$|[.,;!?]))"
)
_SEVERAL = re.compile(rf"({_NOUN_EN}|{_NOUN_RU}) (\d)((?: ?(?:,|and|&|и) ?\d(?!\w))+)")


@dataclass(frozen=True, slots=True)
class Find:
    """Where a phrase was found, and its text."""

    start: int
    end: int
    text: str

    @property
    def references(self) -> list[int]:
        """The references in it, by number, in their order."""
        return [ord(letter) - REF for letter in self.text if REF < ord(letter) <= LAST]


@dataclass(slots=True)
class Reading:
    """A prompt that is being read.

    Attributes:
        text: lower-case, compatibility-normalised; each quotation is QUOTE, each named reference one character.
        quotes: what stood in quotation marks, as written.
        used: spans that have been understood.
    """

    text: str
    quotes: list[str]
    used: list[Span] = field(default_factory=list)

    def find(self, phrases: str, *, regex: bool = False) -> Iterator[Find]:
        """Every place where one of *phrases* stands, whether used or not, from left to right."""
        for match in compiled(phrases, regex=regex).finditer(self.text):
            yield Find(match.start(), match.end(), match.group())

    def take(self, find: Find) -> None:
        """Mark as understood."""
        self.used.append((find.start, find.end))

    def is_free(self, find: Find) -> bool:
        """Whether nothing of it has been understood as something else."""
        return all(find.end <= start or end <= find.start for start, end in self.used)

    def clause(self, at: int, *, breaks: str = COMMAS + ENDS, words: str = "") -> Span:
        """The clause around position *at*; *words* are phrases that break it as well."""
        cuts = [(m.start(), m.end()) for m in re.finditer(f"[{re.escape(breaks)}]", self.text)]
        cuts += [(f.start, f.end) for f in self.find(words)] if words else []
        start = max((end for _, end in cuts if end <= at), default=0)
        return start, min((begin for begin, _ in cuts if begin >= at), default=len(self.text))

    def is_negated(self, find: Find) -> bool:
        """Whether "no", "without" … stands up to three words before it in its clause, or its twin behind it."""
        start, end = self.clause(find.start)
        if re.match(NEGATIONS_AFTER, self.text[find.end : end]):
            return True
        for negation in reversed([f for f in self.find(NEGATIONS) if start <= f.start and f.end <= find.start]):
            between = self.text[negation.end : find.start]
            words = between.split()
            return len(words) <= 4 and not any(compiled(INTERRUPTERS).fullmatch(word) for word in words[1:])
        return False

    def strength(self, find: Find, others: list[Find]) -> float:
        """What the nearest strength word of its clause gives; 1 where there is none, or another find in between."""
        start, end = self.clause(find.start)
        best, distance = 1.0, end - start + 1
        for value, phrases in STRENGTHS.items():
            for word in self.find(phrases):
                gap = max(find.start - word.end, word.start - find.end, 0)  # 0 too where it is part of the find
                low, high = min(word.end, find.end), max(word.start, find.start)
                crossed = any(low <= other.start and other.end <= high for other in others if other != find)
                if start <= word.start and word.end <= end and gap < distance and not crossed:
                    best, distance = value, gap
                    self.take(word)
        return best

    def is_alone(self, find: Find, others: list[Find]) -> bool:
        """Whether its clause holds nothing of content beside it and *others*."""
        start, end = self.clause(find.start, words="and, и, then, plus, also")
        blank = [*((f.start, f.end) for f in others), *self.used, (find.start, find.end)]
        blank += [(f.start, f.end) for phrases in (*STRENGTHS.values(), NEGATIONS) for f in self.find(phrases)]
        return not list(_content(_blanked(self.text, blank)[start:end]))

    def blanked(self) -> "Reading":
        """A copy in which what is used has become the end of a sentence, so that no phrase reaches across it."""
        return Reading(_blanked(self.text, self.used, ";"), self.quotes, self.used)

    def left_over(self) -> list[str]:
        """The words of content that nothing has used, each once, in their order."""
        spans = self.used + [
            (f.start, f.end) for phrases in (NEGATIONS, *STRENGTHS.values()) for f in self.find(phrases)
        ]
        return list(dict.fromkeys(_content(_blanked(self.text, spans))))


def read(prompt: str, count: int) -> Reading:
    """*prompt* made ready to be searched.

    Args:
        prompt: as the user wrote it. One that is quoted as a whole loses its quotation marks.
        count: how many references there are, for "the last image".
    """
    whole = _QUOTED.fullmatch(prompt.strip())
    source = next(filter(None, whole.groups())) if whole else prompt
    quotes = [next(filter(None, match.groups())) for match in _QUOTED.finditer(source)]
    text = unicodedata.normalize("NFKC", _QUOTED.sub(QUOTE, source)).lower().replace("ё", "е")
    text = re.sub(r"[ \t]+", " ", text.replace("’", "'").replace("'t ", "t ").replace("-", " "))
    text = _SEVERAL.sub(lambda m: " and ".join(f"{m[1]} {n}" for n in [m[2], *re.findall(r"\d", m[3])]), text)
    named = _REFERENCE.sub(lambda m: _reference(m, count), text)
    if named != text:
        named = _SHORT.sub(lambda m: _reference(m, count), named)
    return Reading(named, quotes)


def colours_in(text: str) -> list[str]:
    """The names of the colours in *text*, in their order; of two that overlap the longer one."""
    finds = [(m.start(), -len(m.group()), m.end(), name) for name, (_, words) in COLOURS.items()
             for m in compiled(words).finditer(text)]  # fmt: skip
    names, reached = [], 0
    for start, _, end, name in sorted(finds):
        if start >= reached:
            names.append(name)
            reached = end
    return names


@cache
def compiled(phrases: str, *, regex: bool = False) -> re.Pattern[str]:
    """The pattern of a list of phrases, or of a regular expression; `@` is a reference in it and `#` a colour."""
    if regex:
        return re.compile(_expand(phrases))
    return re.compile("|".join(_phrase(phrase) for phrase in sorted(split(phrases), key=len, reverse=True)))


def split(phrases: str) -> list[str]:
    """The single phrases of a list."""
    return [phrase.strip() for phrase in phrases.split(", ")]


def _phrase(phrase: str) -> str:
    if re.search(f"[{CJK}]", phrase):
        return f"(?:{_expand(phrase)})"
    latin = phrase.replace("~", MEDIUM).replace("*", f"[{LETTERS}]*")
    return rf"(?<![{LETTERS}]){_expand(latin)}(?![{LETTERS}])"


def _expand(pattern: str) -> str:
    # Words 60 letters apart hardly belong together; and a gap without a bound takes seconds on a hostile prompt.
    pattern = re.sub(r"\((?!\?)", "(?:", pattern).replace("]*?", "]{0,60}?")
    pattern = pattern.replace("@]", f"{REFS}]").replace("@", f"[{REFS}](?:'s)?")  # the first: in a class of letters
    return pattern.replace("#", _any_colour()) if "#" in pattern else pattern


@cache
def _any_colour() -> str:
    phrases = [phrase for _, words in COLOURS.values() for phrase in split(words)]
    return "(?:" + "|".join(_phrase(phrase) for phrase in sorted(phrases, key=len, reverse=True)) + ")"


def _reference(match: re.Match[str], count: int) -> str:
    word = next(filter(None, match.groups()))
    number = _NUMBER.get(word) or int(word)
    return chr(REF + (count if number == 255 else min(max(number, 1), 99)))


def _blanked(text: str, spans: list[Span], by: str = " ") -> str:
    letters = list(text)
    for start, end in spans:
        letters[start:end] = by * (end - start)
    return "".join(letters)


def _content(text: str) -> Iterator[str]:
    for word in re.findall(r"[a-zа-я\u00df-\u024f][a-zа-я\u00df-\u024f']+|[\u30a0-\u30ff]{2,}|[\u3400-\u9fff]+", text):
        if word[0] >= "\u3400":
            yield from (part for part in re.split(f"[{CJK_STOPS}]", word) if part)
        elif word not in STOP_WORDS:
            yield word

"""The law of the invariants: each has tests named after it, and a planted defect that one of them sees.

Draw the table anew with: python tests/faults/test_law.py
"""

import ast
import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent
README = HERE / "README.md"
BEGIN, END = "<!-- drawn by test_law.py -->\n", "<!-- until here -->\n"
PROMISES = {
    "I01": "An acknowledged submit survives kill -9 and power cut",
    "I02": "An error means unknown; a retry under a key makes one request",
    "I03": "A refused submit leaves nothing",
    "I04": "Every request ends once, and stays as it ended",
    "I05": "One key and input, one request",
    "I06": "What was acknowledged is found; no state goes back",
    "I07": "One live lease",
    "I08": "A stale attempt changes nothing",
    "I09": "Nothing is stuck",
    "I10": "Bounded tries",
    "I11": "Cancel, claim, intake, deadline: one wins",
    "I12": "Visible means durable",
    "I13": "No leaks, no early deletes",
    "I14": "One event for each end",
    "I15": "Frozen input",
    "I16": "Order of submits",
    "I17": "Fail closed on storage",
    "I18": "Corruption is seen",
    "I19": "Jumps of the clock",
    "I20": "Database away",
    "I21": "Bounded",
    "I22": "Clean stop",
    "I23": "Crash-safe upgrade",
    "I24": "Owners apart",
    "I25": "Retention",
}


@cache
def named() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Invariant -> the files with tests of it; and invariant -> the files that see a defect planted against it."""
    tests: dict[str, set[str]] = defaultdict(set)
    planted: dict[str, set[str]] = defaultdict(set)
    for path in sorted(TESTS.rglob("test_*.py")):
        where = path.relative_to(TESTS).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_I"):
                for number in re.findall(r"_(I\d\d)(?=_)", node.name):
                    (planted if "planted" in node.name else tests)[number].add(where)
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("DEFECTS", "SEEN"):
                for number in re.findall(r"'(I\d\d)'", ast.unparse(node.value)):
                    planted[number].add(where)
    return tests, planted


def table() -> str:
    tests, planted = named()
    lines = ["| | promise | tests named after it are in | a planted defect is seen by |", "|---|---|---|---|"]
    for number, promise in PROMISES.items():
        rooms = ", ".join(sorted({where.partition("/")[0] for where in tests[number]}))
        seen = ", ".join(sorted(Path(where).stem for where in planted[number]))
        lines.append(f"| {number} | {promise} | {rooms} | {seen} |")
    return "\n".join(lines) + "\n"


def drawn(text: str) -> str:
    """*text* with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def test_every_invariant_has_a_test_named_after_it_and_a_planted_defect() -> None:
    tests, planted = named()

    assert [number for number in PROMISES if not tests[number]] == []
    assert [number for number in PROMISES if not planted[number]] == []
    assert set(tests) <= set(PROMISES), "a number that is none"


def test_the_table_is_up_to_date() -> None:
    assert README.read_text() == drawn(README.read_text()), "run: python tests/faults/test_law.py"


def test_every_planted_defect_is_used() -> None:
    """A defect that nobody plants sees nothing."""
    sys.path.insert(0, str(HERE / "planted"))
    from defects import DEFECTS

    told = "\n".join(path.read_text() for path in HERE.glob("*.py"))

    assert [name for name in DEFECTS if name not in told] == []


if __name__ == "__main__":
    README.write_text(drawn(README.read_text()))

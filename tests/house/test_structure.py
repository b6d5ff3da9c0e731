"""The house's own laws: imports go down, nothing turns in a circle, and no room outgrows its reader."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "gesso"
FLOORS = [
    {"core", "logs"},
    {"store", "files", "client", "catalog", "config", "samples", "definitions", "offers", "texts", "meter"},
    {"engines", "worker", "webhooks", "api", "agents", "playground"},
    {"assembly", "doctor", "testing"},
    {"processes"},
    {"cli"},
    {"__main__"},
]
CEILINGS = {
    "core": 1700,
    "store": 3300,
    "files": 1850,
    "client": 1700,
    "engines": 5900,
    "worker": 1100,
    "webhooks": 350,
    "agents": 350,
    "playground": 200,
    "api": 2650,
    "cli": 2100,
}  # docs/decisions/0006-ceilings.md
MOST_LINES = 300
LONGEST_FUNCTION = 40
USUAL_FUNCTION = 15
# Files that are longer than a reader likes, and why.
LONG_WITH_REASON = {"core/errors.py": "one tree of errors, on one page"}
MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    """`store/queue.py` -> `gesso.store.queue`."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("gesso", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports_of(path: Path) -> set[str]:
    """The modules of ours that *path* imports, annotations included."""
    known = {name_of(each) for each in MODULES}
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= below & known or {node.module}
    return {each for each in found if each in known and each != "gesso"}


def room_of(module: str) -> str:
    """`gesso.store.queue` -> `store`."""
    return module.split(".")[1]


def floor_of(room: str) -> int:
    """How high a room lies; every room lies somewhere."""
    return next(height for height, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize("path", [each for each in MODULES if name_of(each) != "gesso"], ids=name_of)
def test_imports_go_down_and_never_sideways(path: Path) -> None:
    own = room_of(name_of(path))

    wrong = [each for each in imports_of(path) if room_of(each) != own and floor_of(room_of(each)) >= floor_of(own)]

    assert wrong == []


def test_no_import_turns_in_a_circle() -> None:
    edges = {name_of(path): imports_of(path) for path in MODULES}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"a circle: {' -> '.join((*above, module))}"
        if module not in done:
            for each in edges.get(module, set()) - {module}:
                visit(each, (*above, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by their names alone."""
    names = Counter(path.name for path in Path(__file__).parents[1].rglob("test_*.py"))

    assert [name for name, count in names.items() if count > 1] == []


def test_no_file_outgrows_its_reader_without_a_reason() -> None:
    long = {path.relative_to(SOURCE).as_posix() for path in MODULES if len(path.read_text().splitlines()) > MOST_LINES}

    assert long == set(LONG_WITH_REASON)
    assert all(len((SOURCE / each).read_text().splitlines()) <= 400 for each in long)


@pytest.mark.parametrize("room", CEILINGS)
def test_no_room_outgrows_its_ceiling(room: str) -> None:
    lines = sum(len(path.read_text().splitlines()) for path in (SOURCE / room).rglob("*.py"))

    assert lines <= CEILINGS[room]


def functions() -> dict[str, int]:
    """Every function, and how many lines of code it has, its docstring and signature apart."""
    found = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                found[f"{path.relative_to(SOURCE)}:{node.name}:{node.lineno}"] = lines
    return found


def test_functions_are_short() -> None:
    lengths = functions()

    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}
    assert sum(lines <= USUAL_FUNCTION for lines in lengths.values()) / len(lengths) > 0.9


def test_the_client_needs_none_of_the_servers_libraries() -> None:
    heavy = {
        "PIL",
        "numpy",
        "cv2",
        "jsonschema_rs",
        "starlette",
        "uvicorn",
        "msgspec",
        "pydantic",
        "aiohttp",
        "structlog",
    }
    code = (
        "import gesso.client, gesso.cli.main, gesso.cli.run, sys; print(*{name.split('.')[0] for name in sys.modules})"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert heavy & set(told) == set()


def test_help_needs_nothing_but_click() -> None:
    code = "import gesso.cli.main, sys; print(*{name.split('.')[0] for name in sys.modules})"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {"httpx2", "platformdirs", "pydantic"} & set(told) == set()

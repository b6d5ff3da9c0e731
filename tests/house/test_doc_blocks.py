"""Every block of code in the docs: shell lines name commands, flags and routes that exist, and data can be parsed."""

import ast
import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from gesso.cli.main import main
from gesso.config import CLIENTS, Settings, environment_name

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(page, kind, text, id=f"{page.name}:{page.read_text()[: match.start()].count(chr(10)) + 1}")
    for page in PAGES
    for match in FENCE.finditer(page.read_text())
    for kind, text in [(match[1], match[2])]
]
TOOLS = frozenset(
    """apt-get aws cat cd cmp cp curl docker done echo export for git grep initdb journalctl kubectl ls mkdir mv node
    npm openssl pg_dump pg_restore pip printf psql python python3 rclone rsync set sqlite3 sudo sleep systemctl tar true
    until wait while .""".split()  # noqa: SIM905 - a list of words, not of strings
)
DEV = frozenset({"demo", "test", "check", "docs", "run"})
EXTRAS = frozenset(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
ROUTE = re.compile(r"127\.0\.0\.1:8787(/[^\s\"'?)`]*)")
KNOWN_ROUTES = re.compile(
    r"/(v1/(models(/.+)?|requests(/[^/]+/(status|result|cancel|events))?|files|balance|openapi\.json)|prod/v2/balance|healthz|readyz|metrics"
    r"|mcp|llms\.txt|models/.+|files/.+)?"
)


def shell(text: str) -> None:
    """Every line's first word is known, and each `gesso` could be run as it stands."""
    text = re.sub(r"<<'(\w+)'.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, (each.strip() for each in text.splitlines())):
        words = _words(line)
        if not words:
            continue
        name, *arguments = words
        if name == "gesso":
            command(arguments)
        elif name == "./dev":
            assert arguments[0] in DEV, line
        elif name == "pip":
            assert set(",".join(re.findall(r"\[([\w,-]+)\]", line)).split(",")) - {""} <= EXTRAS, line
        else:
            assert name in TOOLS or Path(ROOT / name).exists(), line


def _words(line: str) -> list[str]:
    """The words of a line, without assignments in front and without whatever follows a pipe."""
    line = re.sub(r"^\w+=\$\(", "", line)
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # the middle of a quoted text
        return []
    while words and (re.match(r"^\w+=", words[0])):
        words = words[1:]
    ends = [index for index, word in enumerate(words) if word in ("|", "||", "&&", ";", "&", ">", "2>")]
    return words[: ends[0]] if ends else words


def command(words: list[str]) -> None:
    """The command exists, and so does each of its flags."""
    found: click.Command = main
    params = list(found.params)
    while words and isinstance(found, click.Group) and not words[0].startswith("-"):
        below = found.get_command(click.Context(found), words[0])
        assert below is not None, f"gesso has no command {words[0]!r}"
        found, words = below, words[1:]
        params += found.params
    flags = {name for each in params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"} <= flags, words


def console(text: str) -> None:
    shell("\n".join(line[2:] for line in text.replace("\\\n", " ").splitlines() if line.startswith("$ ")))


def python(text: str) -> None:
    """It compiles, and what it imports of ours is there."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gesso"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, each.name) for each in node.names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gesso":
            assert hasattr(importlib.import_module("gesso"), node.attr), node.attr


def data(text: str) -> None:
    json.loads(re.sub(r"…", "x", text))


KINDS = {
    "sh": shell, "console": console, "python": python, "json": data, "toml": tomllib.loads, "yaml": yaml.safe_load,
    "ini": str, "diff": str, "text": str, "": str, "js": str, "nginx": str, "sql": str,
}  # fmt: skip


@pytest.mark.parametrize(("page", "kind", "text"), BLOCKS)
def test_a_block_of_code_says_what_is_so(page: Path, kind: str, text: str) -> None:
    KINDS[kind](text)

    assert all(KNOWN_ROUTES.fullmatch(route) for route in ROUTE.findall(text))
    known = {environment_name(name) for name in Settings.model_fields} | CLIENTS
    assert set(re.findall(r"\bGESSO_[A-Z_]+\b", text)) <= known


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("sh", "gesso fly --high"),
        ("sh", "gesso up --no-such-flag"),
        ("console", "$ gesso tokens make"),
        ("console", "$ pip install '.[no-such-extra]'"),
        ("sh", "no-such-tool --really"),
        ("python", "from gesso.client import NoSuchThing"),
        ("python", "import gesso\ngesso.NoSuchThing()"),
        ("json", '{"a": }'),
        ("toml", "a = = 1"),
    ],
)
def test_a_wrong_block_is_found(kind: str, wrong: str) -> None:
    with pytest.raises((AssertionError, ValueError, SyntaxError)):
        KINDS[kind](wrong)

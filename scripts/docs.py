"""Prints the pages of docs/ that are drawn from the code: settings, commands, errors, states. Run it after a change.

python scripts/docs.py          write them
python scripts/docs.py --check  say which of them are out of date, and exit 1
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from gesso.cli.main import main
from gesso.config import Settings, environment_name
from gesso.core.errors import PROBLEMS, GessoError, RunFailed
from gesso.core.states import FINAL, TRANSITIONS

DOCS = Path(__file__).parents[1] / "docs"
DRAWN = "<!-- Drawn from the code by scripts/docs.py: change that, not this. -->\n"


def settings() -> str:
    """Every setting, its variable, its default and what it does."""
    defaults = Settings.model_construct(data_dir=Path("~/.local/share/gesso")).model_dump(mode="json")
    rows = []
    for name, field in Settings.model_fields.items():
        value = defaults[name]
        shown = ",".join(map(str, value)) if isinstance(value, list) else value
        told = "" if shown in ("", None) else f"`{shown}`"
        rows.append(f"| `{name}` | `{environment_name(name)}` | {told} | {field.description} |")
    return f"""# Settings

{DRAWN}
A setting comes from its default, the file `gesso.toml` in the working folder, the environment, or a flag; the later
wins. Durations and sizes carry a unit: `90s`, `7d`, `64MiB`. An unknown name is an error. `gesso config` prints the
values in force.

| setting | environment | default | what it does |
|---|---|---|---|
{chr(10).join(rows)}
"""


def commands() -> str:
    """Every command with its help."""
    parts = [f"# Commands\n\n{DRAWN}"]
    for names, command in walk(main, ("gesso",)):
        context = click.Context(command, info_name=" ".join(names), max_content_width=100)
        parts.append(f"## {' '.join(names)}\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


def walk(command: click.Command, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command, and all below it."""
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from walk(below, (*names, name))


def errors() -> str:
    """Every public error and every type of problem."""
    http, failed = [], []
    for kind in every(GessoError):
        row = f"{kind.code} | `{kind.name}` | {kind.sentence} |"
        if issubclass(kind, RunFailed) or kind.__name__ == "QueueDeadline":
            failed.append(f"| {row}")
        elif kind.status != GessoError.status or kind.__name__ == "InternalError":
            http.append(f"| {kind.status} | {row}")
    problems = [f"| `{name}` | {sentence} |" for name, sentence in PROBLEMS.items()]
    return f"""# Errors

{DRAWN}
Every error of the API has this shape; `detail` lists each problem of a 422, and is empty otherwise. Messages come in
the language of `?lang=` or `Accept-Language` (en, ja, ru); codes, names and types never change.

```json
{{"code": 404001, "error_code": 404001, "error": "ResourceNotFound",
 "error_message": "There is no such request.", "detail": []}}
```

## Answers

| HTTP | code | error | message |
|---|---|---|---|
{chr(10).join(sorted(http))}

## In the result of a failed request

`/result` answers 200 with `"status": "failed"` and `"error": {{"code", "message"}}`; a rejected picture adds `detail`.

| code | error | message |
|---|---|---|
{chr(10).join(sorted(set(failed)))}

## Types of problems

In `detail[].type`. A broken rule of a schema's `validations` has the rule's own name, such as `width_pixels>`, and the
schema's own message.

| type | message |
|---|---|
{chr(10).join(problems)}
"""


def every(kind: type[GessoError]) -> Iterator[type[GessoError]]:
    """The subclasses of *kind* in the tree of the house."""
    for below in kind.__subclasses__():
        if below.__module__ == "gesso.core.errors":
            yield below
            yield from every(below)


def states() -> str:
    """The life of a request."""
    rows = [
        f"| `{state}` | `{event}` | `{target}` |"
        for state, moves in TRANSITIONS.items()
        for event, target in moves.items()
    ]
    final = ", ".join(f"`{state}`" for state in sorted(FINAL))
    return f"""# The life of a request

{DRAWN}
| in state | this event | leads to |
|---|---|---|
{chr(10).join(rows)}

Nothing leads out of {final}. A state never goes back: a request whose worker died stays `in_progress` until the next
claim takes it. `cancelled` always means that it never ran. A failed run is a `completed` request whose /result says
`failed`.
"""


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings,
    "commands.md": commands,
    "errors.md": errors,
    "states.md": states,
}


def main_() -> int:
    """Write the pages, or check them."""
    stale = [name for name, draw in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != draw()]
    if "--check" in sys.argv:
        print(*(f"out of date: docs/{name}" for name in stale), sep="\n")
        return len(stale)
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main_())

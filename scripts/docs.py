"""Prints the pages of docs/ that are drawn from the code: reference, settings, commands, errors, states.

./dev docs                      write them; run it after a change
python scripts/docs.py --check  say which of them are out of date, and exit 1
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from gesso.api.openapi import OpenAPI
from gesso.catalog import read_catalog
from gesso.cli.main import main
from gesso.config import Settings, environment_name
from gesso.core.errors import GessoError, RunFailed
from gesso.core.problems import PROBLEMS
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


def reference() -> str:
    """Every route with its parameters, body and answers, and the input of each built-in model; from our own OpenAPI."""
    catalog = read_catalog(None)
    told = OpenAPI(catalog, "").describe("en")
    per_model = {f"/v1/models/{name}" for name in catalog}
    first = min(per_model)
    paths = {"/v1/models/{model_id}" if path == first else path: told["paths"][path]
             for path in (first, *told["paths"]) if path == first or path not in per_model}  # fmt: skip
    routes = [_route(path, method, each) for path, item in paths.items() for method, each in item.items()]
    bodies = [f"### {name}\n\n{_fields(schema)}" for name, schema in told["components"]["schemas"].items()]
    models = [f"### {model.id}\n\n{_fields(model.card('en').input_schema)}" for model in catalog.values()]
    return f"""# Reference

{DRAWN}
Every route, drawn from `GET /v1/openapi.json`, which a server serves with its own models and in your language. How the
calls play together is told in [the API](api.md). Every call but those marked *open* needs a token, and may be answered
by an [Error](#error): [all of them](errors.md). `?lang=ja` or `Accept-Language` chooses the language of its texts.

## Routes

{chr(10).join(routes)}
## Bodies

{chr(10).join(bodies)}
## Inputs of the models that are built in

Of any other model: `gesso models get MODEL_ID`, or `GET /v1/models/{{model_id}}`.

{chr(10).join(models)}"""


def _route(path: str, method: str, operation: Mapping[str, Any]) -> str:
    summary = operation["summary"]
    if path.endswith("{model_id}"):
        summary = "Submit an input to the model" if method == "post" else "One model, with price and schemas"
    lines = [f"### `{method.upper()} {path}`\n", f"{summary}.{' *Open.*' if operation.get('security') == [] else ''}\n"]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | type | |", "|---|---|---|---|"]
        lines += [f"| `{each['name']}` | {each['in']} | {_type(each['schema'])} | {each['description']} |"
                  for each in parameters]  # fmt: skip
        lines.append("")
    if body := operation.get("requestBody"):
        told = "the model's input, flat" if path.endswith("{model_id}") else "a picture; of a form its field `file`"
        lines.append(f"Body: {told}. {', '.join(f'`{kind}`' for kind in body['content'])}\n")
    answers = operation["responses"]["200"].get("content", {"the file's own type": {"schema": {}}})
    lines += [f"Answer: {_type(content['schema'], kind)}\n" for kind, content in answers.items()]
    return "\n".join(lines)


def _fields(schema: Mapping[str, Any]) -> str:
    rows = ["| field | type | |", "|---|---|---|"]
    for name, each in schema["properties"].items():
        # A default of a required field is an example for forms, and never filled in.
        is_required = name in schema.get("required", ())
        kind = _type({key: value for key, value in each.items() if not (is_required and key == "default")})
        notes = [*([] if is_required else ["Optional."]), str(each.get("description", "")).replace("\n", " ")]
        rows.append(f"| `{name}` | {kind} | {' '.join(filter(None, notes))} |")
    return "\n".join(rows) + "\n"


def _type(schema: Mapping[str, Any], kind: str = "application/json") -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        words = ", ".join(f"`{word}`" for word in schema["enum"])
    elif kind != "application/json":
        words = f"`{kind}`" if "/" in kind else kind
    elif schema.get("type") == "array":
        words = f"array of {_type(schema['items'])}"
    elif "properties" in schema:
        words = "{" + ", ".join(f"`{name}`" for name in schema["properties"]) + "}"
    else:
        kinds = schema.get("type", "any")
        words = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    bounds = [f"{sign} {schema[key]}" for key, sign in (("minimum", "≥"), ("maximum", "≤"), ("maxLength", "length ≤"),
              ("minItems", "items ≥"), ("maxItems", "items ≤")) if key in schema]  # fmt: skip
    default = schema.get("default")
    bounds += [f"default `{json.dumps(default, ensure_ascii=False)}`"] if default not in (None, "") else []
    return f"{words} ({', '.join(bounds)})" if bounds else words


PAGES: dict[str, Callable[[], str]] = {
    "reference.md": reference,
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

"""`gesso models list`, `get` and `categories`: what the server offers."""

from collections.abc import Iterator
from typing import Any

import click

from gesso.cli.connection import connect
from gesso.cli.flags import Flags, global_flags, pass_flags


@click.command("list", epilog="Example: gesso models list --search wan --category image-to-image")
@click.option("--search", metavar="TEXT", help="Only models with this in id, name or description.")
@click.option("--category", help="Only models of this category.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="At most so many.")
@global_flags()
@pass_flags
def list_models(flags: Flags, search: str | None, category: str | None, limit: int) -> None:
    """List the models: id and name."""
    with connect(flags) as client:
        page = client.models(search=search, category=category, limit=limit)
    models = page.get("models", [])
    width = max((len(model["model_id"]) for model in models), default=0)
    flags.payload(page, (f"{model['model_id']:{width}}  {model.get('display_name', '')}" for model in models))
    if page.get("total", 0) > len(models):
        flags.note(f"{len(models)} of {page['total']} models; narrow with --search, or see more with --limit")


@click.command(epilog="Example: gesso models get wan-ai/wan-2-6/image-to-image")
@click.argument("model_id")
@global_flags()
@pass_flags
def get(flags: Flags, model_id: str) -> None:
    """Tell what a model does and which fields its input has."""
    with connect(flags) as client:
        model = client.model(model_id)
    flags.payload(model, _described(model))


@click.command(epilog="Example: gesso models categories")
@global_flags()
@pass_flags
def categories(flags: Flags) -> None:
    """List the categories in use."""
    with connect(flags) as client:
        names = client.categories()
    flags.payload({"categories": names}, names)


def _described(model: dict[str, Any]) -> Iterator[str]:
    schema = model.get("input_schema") or {}
    yield f"{model.get('model_id')}  {model.get('display_name', '')}"
    yield str(model.get("description", ""))
    yield ""
    for name, rule in (schema.get("properties") or {}).items():
        need = "required" if name in schema.get("required", ()) else f"default {rule.get('default', 'none')}"
        yield f"  {name} ({rule.get('type', 'any')}, {need}): {rule.get('description') or rule.get('title', '')}"
        if choices := rule.get("enum"):
            yield f"      one of: {', '.join(map(str, choices))}"

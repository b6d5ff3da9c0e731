"""The commands that run a server or look after it: up, serve, work, tokens, config, models check."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from gesso import logs, processes
from gesso.assembly import Parts, open_parts
from gesso.catalog import read_catalog
from gesso.config import PREFIX, Settings, environment_name, read_settings
from gesso.core.errors import ConfigError
from gesso.core.request import Priority
from gesso.engines import registry

T = TypeVar("T")
FIELDS = Settings.model_fields


def _flag(name: str, **more: Any) -> Callable[[Any], Any]:
    """The flag of a setting, with the setting's own help."""
    return click.option(f"--{name.replace('_', '-')}", name, help=FIELDS[name].description, **more)


data_dir = _flag("data_dir", type=click.Path(path_type=Path, file_okay=False))
models_dir = _flag("models_dir", type=click.Path(path_type=Path, file_okay=False, exists=True))
host, port = _flag("host"), _flag("port", type=int)
public_base_url = _flag("public_base_url")
accept_data_loss = click.option(
    "--i-accept-data-loss", "accept_data_loss", is_flag=True, default=None, help=FIELDS["accept_data_loss"].description
)


@click.command()
@host
@port
@accept_data_loss
@data_dir
@models_dir
@public_base_url
def up(**flags: Any) -> None:
    """Run everything on this machine: API, intake, worker and engines.

    Example: gesso up --port 8787 --data-dir ./gesso-data
    """
    settings = _settings(**flags)
    processes.run(processes.up(settings, _announce))


@click.command()
@host
@port
@accept_data_loss
@data_dir
@models_dir
@public_base_url
def serve(**flags: Any) -> None:
    """Run an API only; workers share its data folder.

    Example: gesso serve --port 8787 --data-dir ./gesso-data
    """
    processes.run(processes.serve(_settings(**flags), _announce))


@click.command()
@accept_data_loss
@data_dir
@models_dir
@_flag("models")
@click.option("--leashed", is_flag=True, hidden=True, help="Stop when standard input ends.")
def work(leashed: bool, **flags: Any) -> None:  # noqa: FBT001 - click calls it by name
    """Run a worker only: intake, and the engines of its models.

    Example: gesso work --data-dir ./gesso-data --models wan-ai/wan-2-6/image-to-image
    """
    processes.run(processes.work(_settings(**flags), leashed=leashed))


@click.group()
def tokens() -> None:
    """Create, list and revoke tokens; a running server heeds it within seconds."""


@tokens.command()
@click.option("--owner", required=True, help="Whom the token speaks for.")
@click.option(
    "--priority",
    type=click.Choice(["low", "normal", "high"]),
    default="normal",
    show_default=True,
    help="The most urgent priority that it may ask for.",
)
@click.option("--admin", is_flag=True, help="It may look at everybody's queue, and cancel what waits there.")
@click.option("--days", type=click.IntRange(1), help="How long it is good for; without it, until revoked.")
@data_dir
def create(owner: str, priority: str, days: int | None, *, admin: bool, **flags: Any) -> None:
    """Create a token, and print it: it is shown this once.

    Example: gesso tokens create --owner alice
    """
    lifetime = timedelta(days=days) if days else None
    ceiling = Priority[priority.upper()]
    made = with_parts(
        _settings(**flags),
        lambda parts: parts.tokens.create(owner, lifetime=lifetime, ceiling=ceiling, is_admin=admin),
    )
    click.echo(made)


@tokens.command("list")
@data_dir
def list_tokens(**flags: Any) -> None:
    """List tokens: id, owner, when created, whether they are live, and which are administrators'."""

    async def told(parts: Parts) -> list[str]:
        lines = []
        for each in await parts.tokens.list():
            ends = f"expires {each.expires_at:%Y-%m-%d}" if each.expires_at else "live"
            state = f"revoked {each.revoked_at:%Y-%m-%d}" if each.revoked_at else ends
            admin = "  admin" if each.is_admin else ""
            lines.append(f"{each.id}  {each.owner:<20} {each.created_at:%Y-%m-%d %H:%M}  {state}{admin}")
        return lines

    for line in with_parts(_settings(**flags), told):
        click.echo(line)


@tokens.command()
@click.argument("token_id")
@data_dir
def revoke(token_id: str, **flags: Any) -> None:
    """End the token with this id for good.

    Example: gesso tokens revoke 1f0a9c3e
    """
    if not with_parts(_settings(**flags), lambda parts: parts.tokens.revoke(token_id)):
        raise click.ClickException(f"there is no live token {token_id!r}; `gesso tokens list` shows them")
    click.echo(f"revoked {token_id}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(as_json: bool) -> None:  # noqa: FBT001 - as above
    """Print every setting: its value here, its environment variable, and what it does.

    Values come from defaults < gesso.toml < environment < flags.
    """
    values = read_settings().model_dump(mode="json")
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for name, field in FIELDS.items():
        shown = ",".join(map(str, values[name])) if isinstance(values[name], list) else values[name]
        click.echo(f"{environment_name(name):<28} {'-' if shown in ('', None) else shown!s:<30} {field.description}")


@click.command("check")
@models_dir
def check_models(**flags: Any) -> None:
    """Judge every model definition without starting anything.

    Example: gesso models check --models-dir ./my-models
    """
    catalog, engines = read_catalog(read_settings(**flags).models_dir), registry.names()
    for model in catalog.values():
        if model.engine not in engines:
            raise ConfigError(
                reason=f"{model.id}: no engine is called {model.engine!r}; there are: {', '.join(engines)}"
            )
        click.echo(f"ok  {model.id}  ({model.engine}; {', '.join(model.cards)})")


def _settings(**flags: Any) -> Settings:
    settings = read_settings(**flags)
    logs.configure(settings.log_level)
    return settings


def with_parts(settings: Settings, ask: Callable[[Parts], Awaitable[T]]) -> T:
    """Ask something of the data folder, beside a running server or without one."""

    async def asked() -> T:
        async with open_parts(settings) as parts:
            return await ask(parts)

    return asyncio.run(asked())


def _announce(url: str, token: str | None) -> None:
    """The token goes to the terminal, never to the log."""
    click.echo(f"Gesso listens on {url}")
    if token:
        click.echo(f"Your first token, shown this once:  {token}")
        click.echo(f"Keep it:  export {PREFIX}TOKEN={token}")
    click.echo(f"Playground:  {url}/{f'#token={token}' if token else ''}")  # what follows a # never reaches the server
    click.echo("Stop with Ctrl-C.")
    sys.stdout.flush()

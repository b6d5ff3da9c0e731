"""`gesso webhooks`: what was told to whom, telling it again, and the secrets that sign it. On the server's machine."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from gesso.assembly import WEBHOOKS, Parts
from gesso.cli.server import data_dir, with_parts
from gesso.config import read_settings
from gesso.core.wire import time
from gesso.store.outbox import STATES, Delivery, Outbox
from gesso.webhooks import signature


@click.group()
def webhooks() -> None:
    """List and repeat deliveries; show the secret that a receiver needs."""


@webhooks.command("list")
@click.option("--request", "request_id", help="Only those of this request.")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line for each.")
@data_dir
def list_deliveries(request_id: str | None, state: str | None, limit: int, as_json: bool, **flags: Any) -> None:  # noqa: FBT001 - click calls it by name
    """List deliveries, newest first: id, request, event, host, state, attempts, and what came of the last one.

    Example: gesso webhooks list --state given_up
    """

    async def listed(parts: Parts) -> Sequence[Delivery]:
        return await Outbox(parts.database).list(request_id=request_id, state=state, limit=limit)

    for each in with_parts(read_settings(**flags), listed):
        click.echo(json.dumps(_told(each)) if as_json else "  ".join(_words(each)))


@webhooks.command()
@click.argument("delivery_id", required=False)
@click.option("--request", "request_id", help="All deliveries of this request.")
@data_dir
def replay(delivery_id: str | None, request_id: str | None, **flags: Any) -> None:
    """Send a delivery again, or all of a request: the same id and body, from the start of the schedule.

    Example: gesso webhooks replay --request REQUEST_ID
    """
    if (delivery_id is None) == (request_id is None):
        raise click.UsageError("name a delivery, or a request with --request")

    async def replayed(parts: Parts) -> Sequence[str]:
        return await Outbox(parts.database).replay(delivery_id=delivery_id, request_id=request_id)

    told = with_parts(read_settings(**flags), replayed)
    if not told:
        raise click.ClickException("there is no such delivery; `gesso webhooks list` shows them")
    for each in told:
        click.echo(f"again  {each}")


@webhooks.command()
@click.option("--owner", required=True, help="Whose webhooks it signs.")
@click.option("--rotate", is_flag=True, help="Make a new one; the one before it signs too for another day.")
@data_dir
def secret(owner: str, rotate: bool, **flags: Any) -> None:  # noqa: FBT001 - as above
    """Print the secret by which a receiver knows that a webhook is ours.

    Example: gesso webhooks secret --owner alice
    """

    async def spelled(parts: Parts) -> str:
        outbox = Outbox(parts.database)
        if rotate:
            await outbox.rotate(owner)
        newest = (await outbox.generations(owner))[0]
        return signature.spell(signature.derive(await parts.tokens.secret(WEBHOOKS), owner, newest))

    click.echo(with_parts(read_settings(**flags), spelled))


def _told(delivery: Delivery) -> dict[str, Any]:
    """For programs; of the URL the host alone, because the rest may be a secret."""
    names = ("id", "request_id", "owner", "event", "host", "state", "attempts", "last_status", "last_error")
    times = ("created_at", "next_at", "delivered_at")
    told = {name: getattr(delivery, name) for name in names}
    told |= {name: time(moment) for name in times if (moment := getattr(delivery, name)) is not None}
    return {name: value for name, value in told.items() if value is not None}


def _words(delivery: Delivery) -> tuple[str, ...]:
    """For people."""
    last = delivery.last_error if delivery.last_status is None else str(delivery.last_status)
    next_at = f"next {_minute(delivery.next_at)}" if delivery.next_at and delivery.attempts else ""
    return (
        delivery.id, delivery.request_id, f"{delivery.event:<11}", delivery.host, f"{delivery.state:<9}",
        f"{delivery.attempts}x", last or "-", next_at,
    )  # fmt: skip


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"

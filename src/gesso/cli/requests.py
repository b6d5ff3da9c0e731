"""`gesso status`, `result`, `cancel`, `requests list` and `watch`: asking after requests that were submitted before."""

from pathlib import Path

import click

from gesso.cli.connection import connect
from gesso.cli.flags import Flags, global_flags, pass_flags
from gesso.cli.progress import Progress
from gesso.cli.run import finish
from gesso.core.states import State
from gesso.core.wire import JSON

request_id = click.argument("request_id")
download = click.option("--download", is_flag=True, help="Fetch the files of the output.")
output_dir = click.option(
    "--output-dir", type=click.Path(path_type=Path), default=".", show_default=True, help="Where files go."
)


@click.command(epilog="Example: gesso status REQUEST_ID")
@request_id
@global_flags()
@pass_flags
def status(flags: Flags, request_id: str) -> None:
    """Tell where a request is: in_queue with its position, in_progress, completed or cancelled."""
    with connect(flags) as client:
        body = client.handle(request_id).status()
    position = body.get("queue_position")
    flags.payload(body, [f"{body.get('status')}" + (f" (position {position})" if position is not None else "")])


@click.command(epilog="Example: gesso result REQUEST_ID --download --output-dir pictures")
@request_id
@download
@output_dir
@global_flags()
@pass_flags
def result(flags: Flags, request_id: str, *, download: bool, output_dir: Path) -> None:
    """Tell the result of a request: its URLs, its files with --download, or how far it is."""
    with connect(flags) as client:
        body = client.handle(request_id).outcome()
    if body.get("status") in {"in_queue", "in_progress"}:
        flags.payload(body, [str(body["status"])])
    else:
        finish(flags, body, output_dir if download else None)


@click.command(epilog="Example: gesso cancel REQUEST_ID")
@request_id
@global_flags()
@pass_flags
def cancel(flags: Flags, request_id: str) -> None:
    """Cancel a request that still waits; one that runs or has ended is not_cancellable."""
    with connect(flags) as client:
        body = client.handle(request_id).cancel()
    flags.payload(body, [str(body.get("outcome"))])
    if body.get("outcome") != "cancelled":
        flags.note(f"request {request_id} is {body.get('status')}; only waiting requests can be cancelled")


@click.command("list", epilog="Example: gesso requests list --status in_progress")
@click.option("--status", "word", type=click.Choice([str(each) for each in State]), help="Only those in this state.")
@click.option("--model", "model_id", metavar="MODEL_ID", help="Only those of this model.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many.")
@click.option("--all", "of_all", is_flag=True, default=None, help="Everybody's; only with an administrator's token.")
@click.option("--cursor", help="Go on behind the page that told this.")
@global_flags()
@pass_flags
def list_requests(flags: Flags, /, word: str | None, *, of_all: bool | None, **query: str | int | None) -> None:
    """List your own requests, newest first: id, state, when it was submitted, model; of all, owners too."""
    with connect(flags) as client:
        page = client.requests(status=word, all=of_all, **query)
    flags.payload(page, map(_line, page.get("requests", [])))
    if more := page.get("next_cursor"):
        flags.note(f"there are more: --cursor {more}")


@click.command(epilog="Example: gesso requests watch REQUEST_ID --download")
@request_id
@download
@output_dir
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait; the request goes on after that.")
@global_flags()
@pass_flags
def watch(flags: Flags, request_id: str, *, download: bool, output_dir: Path, timeout: float | None) -> None:
    """Follow a request to its end, and tell its result; Ctrl-C leaves it alone."""
    show = Progress(flags)
    with connect(flags) as client:
        try:
            body = client.handle(request_id).wait(client_timeout=timeout, on_update=show)
        finally:
            show.end()
    finish(flags, body, output_dir if download else None)


def _line(told: JSON) -> str:
    owner = f"  {told['owner']}" if "owner" in told else ""
    at = str(told.get("created_at"))[:19]
    return f"{told.get('request_id')}  {told.get('status'):<11}  {at}  {told.get('model_id')}{owner}"

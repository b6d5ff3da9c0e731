"""`gesso status`, `result` and `cancel`: asking after a request that was submitted before."""

from pathlib import Path

import click

from gesso.cli.connection import connect
from gesso.cli.flags import Flags, global_flags, pass_flags
from gesso.cli.run import finish


@click.command(epilog="Example: gesso status REQUEST_ID")
@click.argument("request_id")
@global_flags()
@pass_flags
def status(flags: Flags, request_id: str) -> None:
    """Tell where a request is: in_queue with its position, in_progress, completed or cancelled."""
    with connect(flags) as client:
        body = client.handle(request_id).status()
    position = body.get("queue_position")
    flags.payload(body, [f"{body.get('status')}" + (f" (position {position})" if position is not None else "")])


@click.command(epilog="Example: gesso result REQUEST_ID --download --output-dir pictures")
@click.argument("request_id")
@click.option("--download", is_flag=True, help="Fetch the files of the output.")
@click.option("--output-dir", type=click.Path(path_type=Path), default=".", show_default=True, help="Where files go.")
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
@click.argument("request_id")
@global_flags()
@pass_flags
def cancel(flags: Flags, request_id: str) -> None:
    """Cancel a request that still waits; one that runs or has ended is not_cancellable."""
    with connect(flags) as client:
        body = client.handle(request_id).cancel()
    flags.payload(body, [str(body.get("outcome"))])
    if body.get("outcome") != "cancelled":
        flags.note(f"request {request_id} is {body.get('status')}; only waiting requests can be cancelled")

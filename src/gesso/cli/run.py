"""`gesso run`: submit, follow, download."""

import json
from pathlib import Path
from typing import Any, NoReturn

import click

from gesso.cli.connection import connect
from gesso.cli.exits import FAILED, complain
from gesso.cli.flags import Flags, global_flags, pass_flags
from gesso.cli.inputs import fill_in, read_body
from gesso.cli.progress import Progress
from gesso.cli.screen import Screen, screen_for
from gesso.client import Client, DownloadFailed, Handle
from gesso.client.downloads import download, output_urls
from gesso.client.events import succeeded
from gesso.core.errors import GessoError
from gesso.core.wire import JSON

EPILOG = """\b
Examples:
  gesso run wan-ai/wan-2-6/image-to-image -p "make it warmer" --image cat.jpg
  gesso run wan-ai/wan-2-6/image-to-image --input-file body.json --no-wait
  echo '{"prompt": "…", "image_urls": ["cat.jpg"]}' | gesso --json run MODEL_ID --input-file -"""


@click.command(epilog=EPILOG)
@click.argument("model_id")
@click.option("--input", "text", metavar="JSON", help="The input, as the model's schema wants it.")
@click.option("--input-file", "file", metavar="PATH", help="A file with the input; - is standard input.")
@click.option("-p", "--prompt", help="The field `prompt` of the input.")
@click.option("--image", "images", multiple=True, metavar="PATH_OR_URL", help="Image; files are uploaded. Repeatable.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other field. Repeatable.")
@click.option("--no-wait", is_flag=True, help="Print the request id and leave.")
@click.option("--poll-secs", type=click.FloatRange(min=0.01), help="Poll so often instead of following live events.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait; the request goes on after that.")
@click.option("--output-dir", type=click.Path(path_type=Path), default=".", show_default=True, help="Where files go.")
@click.option("--no-download", is_flag=True, help="Print URLs; fetch nothing.")
@click.option(
    "--preview",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Show pictures in the terminal: where it can, in coloured blocks too, or not.",
)
@global_flags()
@pass_flags
def run(flags: Flags, /, model_id: str, *, no_wait: bool, poll_secs: float | None, timeout: float | None,
        output_dir: Path, no_download: bool, **given: Any) -> None:  # fmt: skip
    """Run MODEL_ID on an input and fetch what it makes.

    Files in image fields are uploaded. Ctrl-C cancels the request if it still waits.
    """
    screen = screen_for(flags, given.pop("preview"))
    with connect(flags) as client:
        handle = client.submit(model_id, _input(client, model_id, **given))
        if no_wait:
            click.echo(json.dumps({"request_id": handle.request_id, "wait": False}))
            return
        flags.note(f"request {handle.request_id}")
        result = _follow(flags, handle, Progress(flags, screen), poll_secs, timeout)
    finish(flags, result, None if no_download else output_dir, screen)


def finish(flags: Flags, result: JSON, folder: Path | None, screen: Screen | None = None) -> None:
    """Print what an ended request made, its files fetched into *folder* if there is one; exit 1 if it failed.

    Args:
        screen: where the files are shown too.
    """
    try:
        succeeded(result)
    except GessoError as failure:
        if flags.is_json:
            flags.payload(result, ())
        complain(f"request {result.get('request_id')} failed: {failure}", failure, flags)
        raise SystemExit(FAILED) from failure
    _tell_notes(flags, result.get("metadata") or {})
    urls = output_urls(result)
    if folder is None:
        flags.payload(result, urls)
    else:
        paths = _fetch(urls, folder, str(result.get("request_id")))
        if screen is not None:
            for path in paths:
                screen.show(path.read_bytes())
        files = [str(path) for path in paths]
        flags.payload(result | {"files": files}, files)


def _input(client: Client, model_id: str, *, text: str | None, file: str | None, **added: Any) -> JSON:
    body = read_body(text, file)
    schema = client.model(model_id).get("input_schema") or {}
    return fill_in(body, schema.get("properties") or {}, **added)


def _follow(flags: Flags, handle: Handle, show: Progress, interval: float | None, timeout: float | None) -> JSON:
    try:
        return handle.wait(interval=interval, client_timeout=timeout, on_update=show)
    except KeyboardInterrupt:
        _cancel(flags, handle)
    finally:
        show.end()


def _cancel(flags: Flags, handle: Handle) -> NoReturn:
    answer = handle.cancel()
    later = f" and goes on; ask later with: gesso result {handle.request_id} --download"
    told = f"{answer.get('outcome')}: request {handle.request_id} "
    flags.note(told + ("never ran" if answer.get("outcome") == "cancelled" else f"is {answer.get('status')}{later}"))
    if flags.is_json:
        flags.payload(answer, ())
    raise SystemExit(FAILED)


def _fetch(urls: list[str], folder: Path, request_id: str) -> list[Path]:
    try:
        return download(urls, folder)
    except DownloadFailed as error:
        error.add_note(f"the result is not lost; try again with: gesso result {request_id} --download")
        raise


def _tell_notes(flags: Flags, notes: JSON) -> None:
    """Say what the engine understood and what it did not; `messages` are its warnings in words for people."""
    for step in _several(notes.get("plan")):
        flags.note(f"plan: {_spell(step)}")
    for warning in _several(notes.get("messages") or notes.get("warnings")):
        flags.note(f"warning: {_spell(warning)}")
    if missed := _several(notes.get("not_understood")):
        flags.note(f"not understood: {', '.join(map(_spell, missed))}")


def _several(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value] * bool(value)


def _spell(note: Any) -> str:
    if not isinstance(note, dict):
        return str(note)
    name = str(note.get("operator", ""))
    rest = ", ".join(f"{key} {value}" for key, value in note.items() if key != "operator")
    return " ".join(filter(None, [name, f"({rest})" if rest else ""]))

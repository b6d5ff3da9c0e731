"""`gesso demo`: a whole server on this machine, and one real edit through its API, for people who want to see it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from gesso import samples
from gesso.cli.flags import Flags
from gesso.cli.progress import Progress
from gesso.cli.server import with_parts
from gesso.client import Client, Handle
from gesso.config import read_settings
from gesso.core.errors import ConfigError
from gesso.core.wire import JSON

MODEL = "wan-ai/wan-2-6/image-to-image"
OWNER = "demo"
PROMPT = 'Image 1 on the left, image 2 on the right, as a watercolour, warmer, with the text "Gesso" at the bottom.'


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8787, show_default=True, help="Port to listen on.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default="gesso-demo",
    show_default=True,
    help="Where all of it is kept.",
)
@click.option("--once", is_flag=True, help="End after the edit.")
def demo(host: str, port: int, data_dir: Path, once: bool) -> None:  # noqa: FBT001 - click calls it by name
    """Start Gesso here, edit two photographs through its API, and keep serving until Ctrl-C.

    Example: gesso demo --once
    """
    token = _token(data_dir, host, port)
    click.echo("Starting Gesso ...", err=True)
    command = [sys.executable, "-m", "gesso", "up", "--host", host, "--port", str(port), "--data-dir", str(data_dir)]
    quiet = {"GESSO_LOG_LEVEL": "warning"} | os.environ
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet)
    try:
        with Client(_address(server), token) as client:
            click.echo(f"Gesso serves at {client.credentials.base_url}", err=True)
            _edit(client, data_dir / "outputs", token)
        if not once:
            click.echo("\nStill serving. Stop with Ctrl-C.", err=True)
            server.wait()
    except KeyboardInterrupt:
        click.echo("\nStopping.", err=True)
    finally:
        server.terminate()
        server.wait()


def _token(data_dir: Path, host: str, port: int) -> str:
    """A fresh token for the demo's owner; the last demo's is revoked."""
    settings = read_settings(data_dir=data_dir.resolve(), host=host, port=port)

    async def renewed(parts: Any) -> str:
        for old in await parts.tokens.list():
            if old.owner == OWNER:
                await parts.tokens.revoke(old.id)
        return str(await parts.tokens.create(OWNER))

    return with_parts(settings, renewed)


def _address(server: subprocess.Popen[str]) -> str:
    """The URL that the server announces in its first line."""
    assert server.stdout is not None  # noqa: S101 - it was asked for
    words = server.stdout.readline().split()
    if not words:
        raise ConfigError(reason="the server did not start; its own message stands above")
    return words[-1]


def _edit(client: Client, folder: Path, token: str) -> None:
    """Upload, submit, follow, fetch; then say how to do it again."""
    photographs = [Path(str(samples.sample(name))) for name in ("cat", "coffee")]
    urls = [client.upload_file(path) for path in photographs]
    body = {"prompt": PROMPT, "image_urls": urls, "image_size": "1280*720 (16:9)"}
    click.echo(f"\nEditing {' and '.join(path.name for path in photographs)}:\n  {PROMPT}", err=True)
    handle = client.submit(MODEL, body)
    show = Progress(Flags())
    result = handle.wait(on_update=show)
    show.end()
    folder.mkdir(parents=True, exist_ok=True)
    (picture,) = client.download_outputs(result, folder)
    click.echo(_summary(client, handle, body, token, picture))


def _summary(client: Client, handle: Handle, body: JSON, token: str, picture: Path) -> str:
    base = client.credentials.base_url
    given = json.dumps(body, indent=2)
    return f"""
The edited picture:  {picture.resolve()}
The playground:      {base}/#token={token}
The token:           {token}
The catalogue:       {base}/v1/models

The same with curl:

export TOKEN={token}
curl --request POST \\
  --url {base}/v1/models/{MODEL} \\
  --header "Content-Type: application/json" \\
  --header "Authorization: Bearer $TOKEN" \\
  --data '{given}'
curl --request GET \\
  --url {base}/v1/requests/{handle.request_id}/status \\
  --header "Authorization: Bearer $TOKEN"
curl --request GET \\
  --url {base}/v1/requests/{handle.request_id}/result \\
  --header "Authorization: Bearer $TOKEN"

Your own photographs:

curl --header "Authorization: Bearer $TOKEN" --form file=@photo.jpg {base}/v1/files
{_command()} --base-url {base} --token $TOKEN run {MODEL} --image photo.jpg --prompt "a pencil drawing"
"""


def _command() -> str:
    """How this command is called from here: by its name, where that is found."""
    return "gesso" if shutil.which("gesso") else os.path.relpath(sys.argv[0])

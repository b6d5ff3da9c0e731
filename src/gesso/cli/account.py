"""`gesso login`, `logout`, `whoami` and `balance`: the server that is spoken to, and as whom."""

import sys

import click

from gesso.cli.connection import connect
from gesso.cli.flags import Flags, global_flags, pass_flags
from gesso.client import credentials


@click.command(epilog="Example: gesso login --base-url https://api.example.org\n\nA token can also be piped in.")
@global_flags()
@pass_flags
def login(flags: Flags) -> None:
    """Check a token with the server and keep it, in a file that only you can read.

    The server is used from then on, unless the environment names another one.
    """
    flags.token = flags.token or _asked()
    with connect(flags) as client:
        client.balance()
        found = client.credentials
    path = credentials.remember(found.base_url, found.token or "")
    flags.payload({"base_url": found.base_url, "token_file": str(path)}, [f"signed in to {found.base_url}"])


@click.command(epilog="Example: gesso logout")
@global_flags()
@pass_flags
def logout(flags: Flags) -> None:
    """Forget the token that is kept for the server; it stays valid there until it is revoked."""
    base_url = credentials.find(flags.base_url).base_url
    known = credentials.forget(base_url)
    told = f"signed out of {base_url}" if known else f"no token was kept for {base_url}"
    flags.payload({"base_url": base_url, "forgotten": known}, [told])


@click.command(epilog="Example: gesso whoami --json")
@global_flags()
@pass_flags
def whoami(flags: Flags) -> None:
    """Tell which server is used, where its address and the token were found, and whether the token is good."""
    with connect(flags) as client:
        found = client.credentials
        body = {"base_url": found.base_url, "base_url_from": found.base_url_from, "token_from": found.token_from}
        flags.note(f"server   {found.base_url} (from: {found.base_url_from})")
        flags.note(f"token    {'none' if found.token is None else f'from: {found.token_from}'}")
        body |= client.balance()
    flags.payload(body, [f"signed in to {found.base_url} with {body.get('balance_usd')} USD"])


@click.command(epilog="Example: gesso balance")
@global_flags()
@pass_flags
def balance(flags: Flags) -> None:
    """Tell the balance; without metering it is a nominal sum."""
    with connect(flags) as client:
        body = client.balance()
    flags.payload(body, [f"{body.get('balance_usd')} {body.get('currency', 'USD')}"])


def _asked() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True, err=True))
    return sys.stdin.read().strip()

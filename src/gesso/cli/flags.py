"""The flags that every command takes, before or after its name, and what follows from them: client and streams."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # what others wrote must not steer the terminal
C = TypeVar("C", bound=Callable[..., Any])


@dataclass(slots=True)
class Flags:
    """What the global flags said. It is the object of every click context."""

    output: str = "pretty"
    quiet: bool = False
    verbose: bool = False
    base_url: str | None = None
    token: str | None = None

    @property
    def is_json(self) -> bool:
        """Whether programs read along."""
        return self.output == "json"

    @property
    def is_silent(self) -> bool:
        """Whether nothing but the payload and errors may be written."""
        return self.quiet or self.is_json

    def payload(self, body: Any, lines: Iterable[str]) -> None:
        """Write the answer to stdout: *body* as JSON for programs, *lines* for people."""
        for line in [json.dumps(body, ensure_ascii=False, indent=2)] if self.is_json else map(plain, lines):
            click.echo(line)

    def note(self, text: str) -> None:
        """Tell people something, on stderr."""
        if not self.is_silent:
            click.echo(plain(text), err=True)


def plain(text: str) -> str:
    """*text* without control characters."""
    return UNPRINTABLE.sub("", text)


def global_flags(*, hidden: bool = True) -> Callable[[C], C]:
    """Let a command take the global flags; *hidden* from its help, because the outermost command's shows them."""

    def decorate(command: C) -> C:
        for names, more in reversed(_FLAGS):
            command = click.option(*names, expose_value=False, callback=_keep, hidden=hidden, **more)(command)
        return command

    return decorate


_FLAGS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("--output",), {"type": click.Choice(["pretty", "json"]), "help": "Write for people or for programs."}),
    (("--json", "output"), {"flag_value": "json", "default": None, "help": "Short for --output json."}),
    (("-q", "--quiet"), {"is_flag": True, "help": "Write nothing but the answer and errors."}),
    (("-v", "--verbose"), {"is_flag": True, "help": "Tell each exchange with the server."}),
    (("--base-url",), {"metavar": "URL", "help": "The server.  [GESSO_BASE_URL, else http://127.0.0.1:8787]"}),
    (("--token",), {"metavar": "TOKEN", "help": "The token.  [GESSO_TOKEN, else what `gesso login` kept]"}),
]


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:  # an absent flag takes back nothing that stood before the command's name
        setattr(context.ensure_object(Flags), str(parameter.name), value)


pass_flags = click.make_pass_decorator(Flags, ensure=True)

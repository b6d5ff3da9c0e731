"""The command `gesso`: which commands there are. Each is imported when it is used, so that help comes at once."""

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from gesso import __version__
from gesso.cli.flags import Flags, global_flags
from gesso.core.errors import GessoError

Table = Mapping[str, Mapping[str, tuple[str, str]]]  # section -> name -> ("module:attribute", what it does)

REQUESTS = {
    "status": ("gesso.cli.requests:status", "Tell where a request is."),
    "result": ("gesso.cli.requests:result", "Tell the result of a request."),
    "cancel": ("gesso.cli.requests:cancel", "Cancel a request that still waits."),
}
OWN = {
    "list": ("gesso.cli.requests:list_requests", "List your own requests."),
    "watch": ("gesso.cli.requests:watch", "Follow a request to its end."),
}
MODELS = {
    "list": ("gesso.cli.models:list_models", "List the models."),
    "get": ("gesso.cli.models:get", "Tell the fields of one model."),
    "categories": ("gesso.cli.models:categories", "List the categories in use."),
    "check": ("gesso.cli.server:check_models", "Judge the definitions of models on this machine."),
    "enable": ("gesso.cli.enable:enable", "Serve a model that needs weights of your own."),
    "import-workflow": ("gesso.cli.workflow:import_workflow", "Make a model of a ComfyUI workflow."),
}
COMMANDS: Table = {
    "Make pictures": {
        "run": ("gesso.cli.run:run", "Run a model and fetch what it makes."),
        **REQUESTS,
        "requests": ("gesso.cli.main:requests", "Your own requests: list, watch, and the three above."),
        "models": ("gesso.cli.main:models", "What models there are."),
    },
    "Know the server": {
        "login": ("gesso.cli.account:login", "Check a token and keep it."),
        "logout": ("gesso.cli.account:logout", "Forget the token that is kept."),
        "whoami": ("gesso.cli.account:whoami", "Tell which server and whose token are used."),
        "balance": ("gesso.cli.account:balance", "Tell the balance."),
        "mcp": ("gesso.cli.agents:mcp", "Offer the models as tools to an agent."),
        "completion": ("gesso.cli.completion:completion", "Print a script for your shell's completion."),
    },
    "Be the server": {
        "demo": ("gesso.cli.demo:demo", "Show it all at work, on this machine."),
        "up": ("gesso.cli.server:up", "Run everything: API, worker, engines."),
        "serve": ("gesso.cli.server:serve", "Run an API only."),
        "work": ("gesso.cli.server:work", "Run a worker only."),
        "tokens": ("gesso.cli.server:tokens", "Make, list and revoke tokens."),
        "webhooks": ("gesso.cli.webhooks:webhooks", "List and repeat deliveries of webhooks."),
        "db": ("gesso.cli.db:db", "Look after the database."),
        "config": ("gesso.cli.server:config", "Print the settings."),
        "doctor": ("gesso.cli.doctor:doctor", "Find out what is wrong, and which model fits."),
    },
}
EPILOG = """\b
Example:
  gesso up
  gesso run wan-ai/wan-2-6/image-to-image -p "make it warmer" --image cat.jpg

\b
Exit codes: 0 done, 1 failed, 64 usage, 65 input, 66 no such file,
69 server away, 75 try again, 77 sign in, 78 settings."""

click.UsageError.exit_code = 64  # click's own is 2, but this is what scripts around RunComfy's command expect


class LateGroup(click.Group):
    """A group that imports a command when it is used, and knows of the others only what its table says."""

    def __init__(self, *args: Any, table: Table, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._table = table
        self._places = {name: place for section in table.values() for name, (place, _) in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click gives it
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in self._places:
            return None
        module, attribute = self._places[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - likewise
        for title, section in self._table.items():
            with formatter.section(title):
                formatter.write_dl([(name, told) for name, (_, told) in section.items()])


class MainGroup(LateGroup):
    """The outermost group: it turns errors into exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise  # click knows these
        except ModuleNotFoundError as error:
            if (error.name or "gesso").split(".")[0] == "gesso":
                raise
            told = f"this command needs the server: pip install 'gesso[server]' ({error.name} is missing)"
            raise click.ClickException(told) from error
        except (GessoError, OSError) as error:
            from gesso.cli.exits import leave  # noqa: PLC0415 - it needs the client, and help does not

            leave(error, ctx.ensure_object(Flags))


@click.group("gesso", cls=MainGroup, table=COMMANDS, epilog=EPILOG)
@click.version_option(__version__, prog_name="gesso")
@global_flags(hidden=False)
@click.pass_context
def main(context: click.Context) -> None:
    """A model API for image editing: use one, or be one."""
    context.ensure_object(Flags)
    if os.environ.get("NO_COLOR"):
        context.color = False


@click.group(cls=LateGroup, table={"Commands": MODELS}, epilog="Example: gesso models list --search wan")
@global_flags()
def models() -> None:
    """What models there are."""


@click.group(
    cls=LateGroup,
    table={"Commands": {**OWN, **REQUESTS, "get": REQUESTS["status"]}},
    epilog="Example: gesso requests list --status in_queue",
)
@global_flags()
def requests() -> None:
    """Your own requests: list them, watch one, and what status, result and cancel do."""


if __name__ == "__main__":
    main()

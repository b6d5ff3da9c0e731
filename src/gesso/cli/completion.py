"""`gesso completion`: a script that teaches a shell our commands and flags."""

import click
from click.shell_completion import get_completion_class

from gesso.cli.flags import global_flags

EPILOG = """\b
Examples:
  gesso completion bash > ~/.local/share/bash-completion/completions/gesso
  gesso completion zsh > "${fpath[1]}/_gesso"
  gesso completion fish > ~/.config/fish/completions/gesso.fish"""


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@global_flags()
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script for SHELL."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known")
    click.echo(kind(context.find_root().command, {}, "gesso", "_GESSO_COMPLETE").source())

"""`gesso mcp`: the tools on standard input and output, for programs that start their MCP servers themselves."""

import click

from gesso.agents.serving import run_stdio
from gesso.cli.flags import Flags, global_flags, pass_flags


@click.command(
    "mcp",
    epilog='Example: {"mcpServers": {"gesso": {"command": "gesso", "args": ["mcp"], "env": {"GESSO_TOKEN": "…"}}}}',
)
@global_flags()
@pass_flags
def mcp(flags: Flags) -> None:
    """Offer the models as tools to an agent, over MCP on standard input and output.

    A running server offers the same at /mcp.
    """
    run_stdio(flags.base_url, flags.token)

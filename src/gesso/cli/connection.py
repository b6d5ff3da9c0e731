"""The client of a command: the server and token that flags, environment or token file name."""

import logging
import sys

from gesso.cli.flags import Flags
from gesso.client import Client

PATIENCE_S = 1.0  # somebody waits at the keyboard: say at once that there is no server


def connect(flags: Flags) -> Client:
    """A client; the caller closes it."""
    if flags.verbose:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    return Client(flags.base_url, flags.token, patience=PATIENCE_S)

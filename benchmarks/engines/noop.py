"""The engine that does nothing, at once or for a while; and when each run began and ended, if somebody asks."""

import os
import struct
import time

from PIL import Image

from gesso.core.inputs import Inputs
from gesso.core.ports import Abilities, Made, Report

RECORD = "NOOP_RECORD"
SPAN = struct.Struct("<QQ")
"""Begin and end of a run, in nanoseconds of the monotonic clock."""


class NoopEngine:
    """Grey at the asked size. The file named by $NOOP_RECORD gets one `SPAN` a run.

    Args:
        run_s: how long a run takes, asleep: the processor is free for others meanwhile.
    """

    abilities = Abilities(name="noop", seed="exact")

    def __init__(self, run_s: float = 0.0) -> None:
        self._run_s = run_s
        path = os.environ.get(RECORD)
        self._record = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if path else None

    def load(self) -> None:
        """Nothing to load."""

    def run(self, inputs: Inputs, report: Report) -> Made:  # noqa: ARG002 - nothing to report
        began = time.monotonic_ns()
        made = Made([Image.new("RGB", (inputs.size.width, inputs.size.height), "grey")])
        time.sleep(max(0.0, self._run_s - (time.monotonic_ns() - began) / 1e9))
        if self._record is not None:
            os.write(self._record, SPAN.pack(began, time.monotonic_ns()))
        return made

    def close(self) -> None:
        """The record closes with the process."""

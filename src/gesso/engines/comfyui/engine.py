"""The engine that has a ComfyUI server make the picture."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from gesso.core.errors import ConfigError, EngineFailed
from gesso.core.inputs import Inputs
from gesso.core.ports import Abilities, Made, Report
from gesso.engines.child import exact
from gesso.engines.comfyui.run import Limits, Run
from gesso.engines.comfyui.server import Server
from gesso.engines.comfyui.workflow import Workflow, read_graph


class ComfyUIEngine:
    """Fills in a workflow, has it run, and fetches the result. One server may serve several of these.

    Args:
        base_url: of the server, such as http://127.0.0.1:8188.
        workflow: in API format: a file's path, or its content.
        bindings: name -> "node.input" or a list of them: `prompt`, `negative_prompt`, `seed`, `width`, `height`,
            `image1` and up, and whatever else the model binds; `output` -> "node".
        token_env: the environment variable with the bearer token of a proxy in front.
        licence: of the weights that the workflow loads.
        timeout_s: a job that takes longer is stopped. A little less than the host's ten minutes: then the engine
            still lives to stop the job, which would go on without it.
        poll_s: how soon a silent job hears that it is to stop.

    Raises:
        ConfigError: when workflow and bindings do not fit, or the environment lacks the token.
    """

    def __init__(
        self,
        *,
        base_url: str,
        workflow: str | Mapping[str, Any],
        bindings: Mapping[str, str | Sequence[str]],
        token_env: str | None = None,
        licence: str = "unknown",
        timeout_s: float = 590,
        poll_s: float = 0.5,
    ) -> None:
        self._workflow = Workflow(read_graph(workflow), bindings)
        self._server = Server(base_url, _token(token_env))
        self._limits = Limits(timeout_s, poll_s)
        self._optional: dict[str, set[str]] = {}
        places = self._workflow.places
        self.abilities = Abilities(
            name="comfyui",
            weights=self._workflow.weights,
            licence=licence,
            max_images=len(self._workflow.images),
            negative_prompt="native" if "negative_prompt" in places else "ignored",
            seed="best_effort" if "seed" in places else "ignored",
            progress=True,
            preview=True,
            stop=True,
        )

    def load(self) -> None:
        """See that the server is there and has the nodes and files of the workflow.

        Raises:
            EngineFailed: names what is missing, and what would be right.
        """
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # else each call is a line, and a run makes many
        filled = [place for places in self._workflow.places.values() for place in places]
        self._optional = self._server.check(self._workflow.graph, filled)

    def run(self, inputs: Inputs, report: Report) -> Made:
        """Have the picture made; a job that an earlier attempt began is found again and not begun twice.

        Raises:
            EngineFailed: when the server refuses or a node fails.
            EngineTimeout: when it takes longer than `timeout_s`; the job is stopped.
            EngineDied: when the server is away for long; the next attempt may find the job.
            Stopped: let through from *report*; the job is stopped.
        """
        if len(inputs.images) > self.abilities.max_images:
            raise EngineFailed(reason=f"the workflow takes at most {self.abilities.max_images} images")
        run = Run(self._server, self._workflow, inputs, report, optional=self._optional, limits=self._limits)
        return Made([exact(each, inputs.size) for each in run.pictures()], {"prompt_id": run.prompt_id})

    def close(self) -> None:
        """Close the connections to the server, which goes on."""
        self._server.close()


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise ConfigError(reason=f"the environment has no {variable}, which token_env names")
    return os.environ[variable]

"""A ComfyUI workflow in API format, filled in with the inputs of one run. This file knows no server."""

import copy
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gesso.core.errors import ConfigError, EngineFailed
from gesso.core.inputs import Inputs

Graph = dict[str, dict[str, Any]]
"""Node id -> `class_type` and `inputs`; a value of an input that is `[node id, number]` is a link."""
Optional = Mapping[str, Collection[str]]
"""Class of a node -> those of its inputs that it can do without."""

WEIGHTS = (".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".sft", ".bin")
EXPORT = "in ComfyUI choose Workflow > Export (API), in older versions: Settings > Dev mode, then Save (API Format)"


@dataclass(frozen=True, slots=True)
class Place:
    """One input of one node."""

    node: str
    input: str

    def __str__(self) -> str:
        return f"{self.node}.{self.input}"


class Workflow:
    """A workflow, and where each name goes in.

    Args:
        graph: as `read_graph` gives it.
        bindings: name -> `"node.input"`, or a list of them; `output` -> a node's id. Every bound name is filled.

    Raises:
        ConfigError: when a binding names what the workflow has not.
    """

    def __init__(self, graph: Graph, bindings: Mapping[str, str | Sequence[str]]) -> None:
        self.output = str(bindings.get("output", ""))
        if self.output not in graph:
            raise ConfigError(reason=f"the binding 'output' must be the id of a node; there are: {', '.join(graph)}")
        self.graph = graph
        self.places = {name: read_places(graph, name, told) for name, told in bindings.items() if name != "output"}
        self.images = [name for name in sorted(self.places, key=_number) if _number(name)]

    @property
    def weights(self) -> str:
        """The files that the workflow loads, or "none"."""
        values = (value for node in self.graph.values() for value in node["inputs"].values())
        return ", ".join(sorted({str(each) for each in values if str(each).endswith(WEIGHTS)})) or "none"

    def filled(self, inputs: Inputs, references: Sequence[str], *, prefix: str, optional: Optional) -> Graph:
        """The graph to post: what the output needs, and nothing else.

        Args:
            references: what the server calls the uploaded pictures, in order; loaders beyond them are taken out, and
                with them every node that cannot be without one.
            prefix: of the result's file name, where one is written. A new one for each job: ComfyUI answers a graph
                that it knows with the old file's name, be that file there or not.

        Raises:
            EngineFailed: when the output cannot be made of so many references.
        """
        graph = copy.deepcopy(self.graph)
        for name in self.images[len(references) :]:
            _take_out(graph, {place.node for place in self.places[name]}, optional)
        if self.output not in graph:
            raise EngineFailed(reason=f"the workflow takes {len(self.images)} images and cannot do with fewer")
        for name, value in (_values(inputs) | dict(zip(self.images, references, strict=False))).items():
            for place in self.places.get(name, ()):
                if place.node in graph:
                    graph[place.node]["inputs"][place.input] = value
        if "filename_prefix" in graph[self.output]["inputs"]:
            graph[self.output]["inputs"]["filename_prefix"] = prefix
        return {node: graph[node] for node in upstream(graph, self.output)}

    def least_images(self, optional: Optional) -> int:
        """How few references it can do with."""
        for count in range(len(self.images)):
            try:
                self.filled(Inputs(), [""] * count, prefix="", optional=optional)
            except EngineFailed:
                continue
            return count
        return len(self.images)


def read_graph(source: str | Path | Mapping[str, Any]) -> Graph:
    """The workflow in the file *source*, or *source* itself.

    Raises:
        ConfigError: when it cannot be read or is not in API format; says how to export that.
    """
    told = source if isinstance(source, Mapping) else _read(Path(source))
    if isinstance(told.get("nodes"), list):
        raise ConfigError(reason=f"the workflow is in the editor's format; needed is the API format: {EXPORT}")
    if not told:
        raise ConfigError(reason=f"the workflow has no nodes; {EXPORT}")
    for id, node in told.items():
        if not (isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping) and node.get("class_type")):
            raise ConfigError(reason=f"{id!r} is no node with class_type and inputs; for the API format, {EXPORT}")
        lost = [value[0] for value in node["inputs"].values() if is_link(value) and value[0] not in told]
        if lost:
            raise ConfigError(reason=f"node {id} is linked to node {lost[0]}, which the workflow has not")
    return {id: {**node, "inputs": dict(node["inputs"])} for id, node in told.items()}


def read_places(graph: Graph, name: str, told: str | Sequence[str]) -> tuple[Place, ...]:
    """Where the binding *name* leads.

    Raises:
        ConfigError: names the node, and what it has.
    """
    places = []
    for each in [told] if isinstance(told, str) else told:
        node, _, input = each.partition(".")
        if node not in graph:
            raise ConfigError(reason=f"the binding {name!r} names node {node!r}; there are: {', '.join(graph)}")
        if input not in graph[node]["inputs"]:
            has = ", ".join(graph[node]["inputs"])
            raise ConfigError(reason=f"the binding {name!r} must be {node}.INPUT, where INPUT is one of: {has}")
        places.append(Place(node, input))
    return tuple(places)


def is_link(value: Any) -> bool:
    """Whether an input's value is another node's output."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def upstream(graph: Graph, node: str) -> list[str]:
    """*node* and all that it needs, nearest first along each input, the inputs by name."""
    found: dict[str, None] = {}
    pending = [node]
    while pending:
        each = pending.pop()
        if each not in found:
            found[each] = None
            links = [value for _, value in sorted(graph[each]["inputs"].items()) if is_link(value)]
            pending.extend(value[0] for value in reversed(links))
    return list(found)


def _values(inputs: Inputs) -> dict[str, Any]:
    own = {"prompt": inputs.prompt, "negative_prompt": inputs.negative_prompt, "seed": inputs.seed}
    return {**own, "width": inputs.size.width, "height": inputs.size.height, **inputs.extra}


def _take_out(graph: Graph, nodes: set[str], optional: Optional) -> None:
    """Remove *nodes*, the links to them, and every node that needs such a link."""
    pending = list(nodes)
    while pending:
        gone = pending.pop()
        graph.pop(gone, None)
        for id, node in graph.items():
            lost = [name for name, value in node["inputs"].items() if is_link(value) and value[0] == gone]
            for name in lost:
                del node["inputs"][name]
            if set(lost) - set(optional.get(node["class_type"], ())):
                pending.append(id)


def _number(name: str) -> int:
    """Which image a binding such as `image2` is; 0 for any other name."""
    digits = name.removeprefix("image")
    return int(digits) if name != digits and digits.isdecimal() else 0


def _read(path: Path) -> Mapping[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8"))
    except OSError as fault:
        raise ConfigError(reason=f"the workflow {path.name} cannot be read: {fault.strerror}") from None
    except ValueError as fault:
        raise ConfigError(reason=f"the workflow {path.name} is no JSON: {fault}") from None
    if not isinstance(told, dict):
        raise ConfigError(reason=f"the workflow {path.name} must hold an object; {EXPORT}")
    return told

"""What of a workflow its users choose: prompt, pictures, size, seed. Guessed from its links, for an import."""

from collections.abc import Mapping, Sequence
from typing import Any

from gesso.core.errors import ConfigError
from gesso.engines.comfyui.workflow import Graph, is_link, upstream

OUTPUTS = ("SaveImageWebsocket", "SaveImage", "PreviewImage")  # the best first
TEXTS = ("prompt", "text", "value", "string", "t5xxl", "clip_l", "text_g", "text_l")
NEGATIVE_TEXTS = ("negative_prompt", "negative")
SEEDS = ("seed", "noise_seed")
EDITORS = {  # the nodes that come with ComfyUI and take pictures, but can do without
    "TextEncodeQwenImageEdit": ("vae", "image"),
    "TextEncodeQwenImageEditPlus": ("vae", "image1", "image2", "image3"),
}


def survey(graph: Graph) -> dict[str, str | list[str]]:
    """The bindings of *graph* as far as they can be found: see `Workflow`.

    Texts are found by the links of the sampler's `positive` and `negative`; pictures in the order in which the nodes
    nearest to the output take them.

    Raises:
        ConfigError: when no node saves a picture.
    """
    output = next((id for kind in OUTPUTS for id in graph if graph[id]["class_type"] == kind), None)
    if output is None:
        raise ConfigError(reason=f"no node saves a picture; add one of: {', '.join(OUTPUTS)}")
    nodes = {id: graph[id]["inputs"] for id in upstream(graph, output)}
    loaders = [id for id in nodes if graph[id]["class_type"].startswith("LoadImage") and _is(str, nodes[id], "image")]
    loaders = [id for id in loaders if "Mask" not in graph[id]["class_type"]]
    found: dict[str, str | list[str]] = {
        **_texts(graph, nodes),
        **{f"image{number}": f"{id}.image" for number, id in enumerate(loaders, start=1)},
        **_sizes(graph, nodes),
        "seed": [f"{id}.{name}" for id in nodes for name in SEEDS if _is(int, nodes[id], name)],
        "steps": [f"{id}.steps" for id in nodes if _is(int, nodes[id], "steps")][:1],
        "cfg": [f"{id}.cfg" for id in nodes if _is(int | float, nodes[id], "cfg")][:1],
        "output": output,
    }
    return {name: places[0] if len(places) == 1 else places for name, places in found.items() if places}


def _texts(graph: Graph, nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    sampler = next((each for each in nodes.values() if is_link(each.get("positive"))), None)
    if sampler is None:
        kinds = {"prompt": TEXTS, "negative_prompt": NEGATIVE_TEXTS}
        return {name: _first(nodes, list(nodes), inputs) for name, inputs in kinds.items()}
    positive = _first(nodes, upstream(graph, sampler["positive"][0]), TEXTS)
    linked = sampler.get("negative")
    negative = _first(nodes, upstream(graph, linked[0]), TEXTS) if linked and is_link(linked) else []
    return {"prompt": positive, "negative_prompt": negative if negative != positive else []}  # the same, zeroed out


def _first(nodes: Mapping[str, Mapping[str, Any]], ids: Sequence[str], names: Sequence[str]) -> list[str]:
    """The texts of the first node that has any: some have one for each of two encoders."""
    found = ([f"{id}.{name}" for name in names if _is(str, nodes[id], name)] for id in ids)
    return next(filter(None, found), [])


def _sizes(graph: Graph, nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The size of the empty latent image, else every size there is."""
    sized = [
        (id, name.removesuffix("width"))  # in newer nodes a choice brings inputs of its own: resize_type.width
        for id in nodes for name in nodes[id] if f".{name}".endswith(".width")
    ]  # fmt: skip
    sized = [(id, at) for id, at in sized if all(_is(int, nodes[id], f"{at}{side}") for side in ("width", "height"))]
    empty = [(id, at) for id, at in sized if graph[id]["class_type"].startswith("Empty")]
    return {side: [f"{id}.{at}{side}" for id, at in empty or sized] for side in ("width", "height")}


def _is(kind: Any, inputs: Mapping[str, Any], name: str) -> bool:
    value = inputs.get(name)
    return isinstance(value, kind) and not isinstance(value, bool)

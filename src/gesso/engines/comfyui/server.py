"""The calls to a ComfyUI server, and its refusals in words. It knows nothing of runs."""

import io
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx2
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from gesso.core.errors import EngineDied, EngineFailed
from gesso.engines.comfyui.workflow import Graph, Place

LOST = (ConnectionClosed, InvalidHandshake, TimeoutError, OSError)
"""What opening or reading a socket raises when the server is away."""
HISTORY_S = 1.0  # the entry of a job comes a little after its last message
CALL_S = 60.0
LARGEST_MESSAGE = 256 * 1024 * 1024  # results come whole
LONGEST_REASON = 400
FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
ABSOLUTE = re.compile(r"(?<![\w)\]])(?:[A-Za-z]:|~|<path>)?[\\/](?=[\w.])(?:[^\\/'\"\n:]+[\\/])*")
GROWING = "COMFY_AUTOGROW_V3"  # in newer servers an input that takes any number of links: images.image0, images.image1
AWAY = frozenset({502, 503, 504})


class Server:
    """One ComfyUI server.

    Args:
        base_url: where it answers; it has no accounts, so: on this machine, in a private network, or behind a proxy.
        token: for such a proxy, sent as a bearer.
    """

    def __init__(self, base_url: str, token: str | None = None) -> None:
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._socket_url = re.sub("^http", "ws", base_url.rstrip("/"))
        # The address is the operator's own choice: no proxy of the environment comes between.
        self._http = httpx2.Client(base_url=base_url, headers=self._headers, timeout=CALL_S, trust_env=False)

    def check(self, graph: Graph, filled: Collection[Place]) -> dict[str, set[str]]:
        """See that the server is there and has what *graph* needs, apart from what is *filled* in later.

        Returns:
            class of a node -> those of its inputs that it can do without.

        Raises:
            EngineFailed: names the nodes and files that are missing, and what would be right.
        """
        try:
            self._json("GET", "/system_stats")
            kinds = sorted({str(node["class_type"]) for node in graph.values()})
            shapes = {kind: self._json("GET", f"/object_info/{quote(kind, safe='')}").get(kind) for kind in kinds}
        except EngineDied:
            reason = "no ComfyUI server answers: start it, or correct base_url in the model's engine_options"
            raise EngineFailed(reason=reason) from None
        known = {kind: shape["input"] for kind, shape in shapes.items() if shape}
        problems = [f"node {kind}: install what brings it" for kind in kinds if kind not in known]
        problems += _missing_choices(graph, known, set(filled))
        if problems:
            raise EngineFailed(reason=f"the ComfyUI server lacks: {'; '.join(problems)}")
        return {kind: _dispensable(told) for kind, told in known.items()}

    def upload(self, image: Image.Image, name: str, folder: str) -> str:
        """Put *image* there as a file, in place of one of that name; gives what a loader calls it."""
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=1)
        form = {"type": "input", "subfolder": folder, "overwrite": "true"}
        put = self._json("POST", "/upload/image", data=form, files={"image": (name, file.getvalue(), "image/png")})
        return f"{put['subfolder']}/{put['name']}"

    def post(self, graph: Graph, prompt_id: str) -> None:
        """Put *graph* into the queue under *prompt_id*, which is the client's id as well.

        Raises:
            EngineFailed: when the server finds it wrong; says which node and why.
        """
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": prompt_id}
        answer = self._call("POST", "/prompt", json=body)
        if answer.status_code == 400:
            raise EngineFailed(reason=f"ComfyUI refuses the workflow: {_refusal(answer.json())}")
        _expect_success(answer)

    def is_queued(self, prompt_id: str) -> bool:
        """Whether the job waits or runs."""
        queue = self._json("GET", "/queue")
        return any(job[1] == prompt_id for job in (*queue["queue_running"], *queue["queue_pending"]))

    def history(self, prompt_id: str, *, wait: bool = False) -> Mapping[str, Any] | None:
        """What is kept of a job that has ended, if anything; *wait* a second for it when it must have."""
        ends = time.monotonic() + (HISTORY_S if wait else 0)
        while True:
            entry: Mapping[str, Any] | None = self._json("GET", f"/history/{prompt_id}").get(prompt_id)
            if entry or time.monotonic() >= ends:
                return entry
            time.sleep(0.05)

    def view(self, file: Mapping[str, str]) -> bytes | None:
        """The bytes of a result; None when the file is gone."""
        answer = self._call("GET", "/view", params={name: file[name] for name in ("filename", "subfolder", "type")})
        if answer.status_code == 404:
            return None
        return _expect_success(answer).content

    def stop(self, prompt_id: str) -> None:
        """End this job and no other: taken from the queue, or interrupted at its next step."""
        self._call("POST", "/queue", json={"delete": [prompt_id]})
        # Never without the id: an empty body kills whatever runs.
        self._call("POST", "/interrupt", json={"prompt_id": prompt_id})

    @contextmanager
    def listen(self, client_id: str) -> Iterator[ClientConnection]:
        """The messages for *client_id* from now on; whoever listened before hears no more.

        Raises:
            LOST: when the server is away.
        """
        with connect(
            f"{self._socket_url}/ws?clientId={client_id}", additional_headers=self._headers, proxy=None,
            max_size=LARGEST_MESSAGE, compression=None, ping_timeout=CALL_S, close_timeout=1,
        ) as socket:  # fmt: skip
            socket.send(FLAGS)  # must be the first message: it tells results from previews
            yield socket

    def close(self) -> None:
        """Close the connections; twice is safe."""
        self._http.close()

    def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            return dict(_expect_success(self._call(method, path, **more)).json())
        except ValueError:
            raise EngineFailed(reason="what answers at base_url is no ComfyUI server") from None

    def _call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, **more)
        except httpx2.TransportError:
            raise EngineDied from None
        if answer.status_code in AWAY:
            raise EngineDied
        return answer


def words(text: str) -> str:
    """What the server says as one line, without folders and of a bearable length."""
    line = ABSOLUTE.sub("", " ".join(str(text).split()))
    return line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + " …"


def _expect_success(answer: httpx2.Response) -> httpx2.Response:
    if answer.status_code in (401, 403):
        raise EngineFailed(reason="the ComfyUI server wants another token: see token_env in the model's engine_options")
    if not answer.is_success:
        raise EngineFailed(reason=f"ComfyUI answers {answer.status_code} to {answer.request.url.path}")
    return answer


def _refusal(told: Mapping[str, Any]) -> str:
    nodes = told.get("node_errors") or {}
    said = [f"{_spoken(node)} (node {id})" for id, node in nodes.items()]
    error = told.get("error") or {}
    return words("; ".join(said) or f"{error.get('message', 'no reason given')} {error.get('details', '')}")


def _spoken(node: Mapping[str, Any]) -> str:
    """The faults of one node. Of a value that is no choice only the value is told: the list can be very long."""
    faults = []
    for error in node["errors"]:
        about = error.get("extra_info") or {}
        if error["type"] == "value_not_in_list":
            faults.append(f"the server has no {about.get('input_name')} {about.get('received_value')!r}")
        else:
            faults.append(f"{error['message']}: {error['details']}")
    return f"{node['class_type']}: {', '.join(faults)}"


def _dispensable(told: Mapping[str, Any]) -> set[str]:
    """The inputs that a node can do without: its optional ones, and of an input that grows all beyond the least."""
    names = set(told.get("optional", {}))
    for name, spec in {**told.get("required", {}), **told.get("optional", {})}.items():
        if spec[0] == GROWING:
            template = spec[1]["template"]
            all_of_it = template.get("names") or [f"{template['prefix']}{n}" for n in range(template["max"])]
            names |= {f"{name}.{each}" for each in all_of_it[template["min"] :]}
    return names


def _missing_choices(graph: Graph, known: Mapping[str, Any], filled: set[Place]) -> list[str]:
    """The values in *graph* that the server does not offer: model files above all."""
    problems = []
    for id, node in graph.items():
        told = known.get(node["class_type"], {})
        specs = {**told.get("required", {}), **told.get("optional", {})}
        for name, value in node["inputs"].items():
            is_choice = isinstance(value, str) and Place(id, name) not in filled
            if is_choice and value not in _choices(specs.get(name), value):
                problems.append(f"{name} {value!r} for node {node['class_type']}: add it there, or choose another")
    return sorted(set(problems))


def _choices(spec: Any, value: str) -> list[Any]:
    """What an input may be: a list in older servers, the options of a COMBO in newer ones; else, whatever it is."""
    if spec and isinstance(spec[0], list):
        return list(spec[0])
    return list(spec[1].get("options", [value])) if spec and spec[0] == "COMBO" and len(spec) > 1 else [value]

"""Requests made in one call each, for those measurements that begin with some."""

import json
import urllib.request

from server import MODEL, Server

BODY = json.dumps({"prompt": "nothing"})


def waiting(server: Server) -> str:
    """The id of a new request."""
    return str(_posted(server, f"/v1/models/{MODEL}", BODY)["request_id"])


def cancelled(server: Server) -> str:
    """The id of one that has ended."""
    request_id = waiting(server)
    _posted(server, f"/v1/requests/{request_id}/cancel", "")
    return request_id


def _posted(server: Server, path: str, body: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(server.url + path, body.encode(), headers)) as answer:
        told: dict[str, object] = json.load(answer)
        return told

"""A refused submit is nothing: no row, no blob, no key used up, and nobody is called."""

import base64
import socket
import threading

import pytest
from conftest import Farms
from farm import ECHO, MODEL, Farm
from test_kills import picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
BROKEN = "data:image/png;base64," + base64.b64encode(b"no picture").decode()


def refused(farm: Farm, planted: str = "") -> dict[str, object]:
    """What is left of submits that were refused in every way there is."""
    called: list[object] = []
    caller = farm.caller
    with socket.create_server(("127.0.0.1", 0)) as host:
        host.settimeout(0.2)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    called.append(host.accept())
                except TimeoutError:
                    continue

        listening = threading.Thread(target=listen)
        listening.start()
        here = f"http://127.0.0.1:{host.getsockname()[1]}/1.png"
        farm.api(planted=planted)
        bodies = [
            (ECHO, {}), (ECHO, {"image_urls": [BROKEN]}), (ECHO, {"image_urls": [picture(), BROKEN]}),
            (ECHO, {"image_urls": [here, "no url"]}), (MODEL, {"prompt": 1}),
            (MODEL, {"prompt": "", "image_urls": [here] * 9}),
            (MODEL, {"prompt": "remember:1", "image_urls": ["http://10.0.0.1/1.png"]}), ("no/model", {"prompt": "x"}),
        ]  # fmt: skip
        codes = [
            caller.ask("POST", f"/v1/models/{model}", body, Idempotency_Key="same").status for model, body in bodies
        ]
        codes.append(
            caller.ask("POST", f"/v1/models/{MODEL}?priority=none", {"prompt": "x"}, Idempotency_Key="same").status
        )
        codes.append(caller.ask("POST", f"/v1/models/{MODEL}", {"prompt": "x"}, Idempotency_Key="é").status)
        over.set()
        listening.join()
    return {
        "not refused": [code for code in codes if not 400 <= code < 500],
        "rows": len(farm.rows()),
        "keys": len(farm.rows("SELECT * FROM once")),
        "files": len(farm.rows("SELECT * FROM files")),
        "blobs": len([path for path in (farm.data / "blobs").glob("??/*") if path.is_file()]),
        "calls": len(called),
    }


def test_I03_what_is_refused_leaves_nothing_and_calls_nobody(farm: Farm) -> None:
    left = refused(farm)

    assert left == dict.fromkeys(left, 0) | {"not refused": []}
    assert farm.caller.submit("remember:1", key="same").status == 200


def test_I03_planted_a_picture_that_is_kept_before_it_is_judged_is_seen(farms: Farms) -> None:
    assert refused(farms(fetch_allow_http="true"), "keeps_before_it_judges")["blobs"] != 0

"""The calls of `import gesso`: each speaks to the server and with the token that `credentials.find` finds.

They share one client, made at the first call; those whose names end in `_async` share one in each event loop.

>>> import gesso
>>> result = gesso.run("wan-ai/wan-2-6/image-to-image", {"prompt": "warmer", "image_urls": [Path("cat.jpg")]})
>>> gesso.download_outputs(result)
[PosixPath('0b9f0f7e-1.png')]
"""

import asyncio
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gesso.client.client import AsyncClient, AsyncHandle, Client, Handle
from gesso.client.downloads import download, output_urls
from gesso.client.events import Event
from gesso.core.wire import JSON

_lock = threading.Lock()
_client: Client | None = None
_clients: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient]" = weakref.WeakKeyDictionary()


def run(model_id: str, input: Mapping[str, Any], **options: Any) -> JSON:
    """Run a model and wait: the /result body of a success.

    Args:
        input: as the model's schema wants it; `Path` values are uploaded, and their URLs sent.
        options: of the submit, such as `priority`, `webhook`, `idempotency_key`.

    Raises:
        GessoError: of the class that the failure names, such as `InvalidInput`.

    >>> run("wan-ai/wan-2-6/image-to-image", {"prompt": "a cat", "image_urls": ["https://x.org/cat.png"]})["status"]
    'succeeded'
    """
    return client().run(model_id, input, **options)


def submit(model_id: str, input: Mapping[str, Any], **options: Any) -> Handle:
    """Submit and do not wait; arguments as for `run`.

    >>> handle = submit("wan-ai/wan-2-6/image-to-image", {"prompt": "a cat", "image_urls": ["https://x.org/cat.png"]})
    >>> handle.status()["status"]
    'in_queue'
    >>> handle.get()["status"]
    'succeeded'
    """
    return client().submit(model_id, input, **options)


def subscribe(
    model_id: str, input: Mapping[str, Any], *, on_enqueue: Callable[[str], None] | None = None,
    on_queue_update: Callable[[Event], None] | None = None, client_timeout: float | None = None, **options: Any,
) -> JSON:  # fmt: skip
    """As `run`, and tell how it goes.

    Args:
        on_enqueue: is told the request id, once there is one.
        on_queue_update: is told every event: `Queued`, `InProgress`, and how it ended.
        client_timeout: seconds, after which `ClientTimeout` is raised. It names the request, which goes on.

    >>> def show(event: Event) -> None:
    ...     match event:
    ...         case gesso.Queued(position):
    ...             print("waits behind", position)
    ...         case gesso.InProgress(fraction) if fraction:
    ...             print(f"{fraction:.0%} done")
    >>> input = {"prompt": "a cat", "image_urls": ["https://x.org/cat.png"]}
    >>> result = subscribe("wan-ai/wan-2-6/image-to-image", input, on_queue_update=show)
    waits behind 2
    25% done
    """
    told = {"on_enqueue": on_enqueue, "on_queue_update": on_queue_update, "client_timeout": client_timeout}
    return client().subscribe(model_id, input, **told, **options)  # type: ignore[arg-type]


def handle(request_id: str) -> Handle:
    """The handle of a request that was submitted before.

    >>> handle("0b9f0f7e-5d0c-4a8e-9d25-2f1f6f0f9c11").cancel()["outcome"]
    'cancelled'
    """
    return client().handle(request_id)


def status(request_id: str) -> JSON:
    """The /status body of a request."""
    return handle(request_id).status()


def result(request_id: str) -> JSON:
    """The /result body of a request as it is now; raises what it failed of."""
    return handle(request_id).result()


def cancel(request_id: str) -> JSON:
    """Cancel a request that still waits: `outcome` is `cancelled` or `not_cancellable`."""
    return handle(request_id).cancel()


def upload_file(path: str | Path) -> str:
    """Upload a picture: its URL, good in any image field of the server.

    >>> upload_file("cat.jpg").startswith("http")
    True
    """
    return client().upload_file(path)


def upload_image(image: Any, format: str = "png") -> str:
    """Upload a Pillow image: its URL."""
    return client().upload_image(image, format)


def upload(data: bytes, content_type: str) -> str:
    """Upload a picture's bytes: its URL."""
    return client().upload(data, content_type)


def download_outputs(result: JSON, folder: str | Path = ".") -> list[Path]:
    """Fetch the files of a /result body into *folder*, without a token; raises `DownloadFailed`."""
    return download(output_urls(result), Path(folder))


async def run_async(model_id: str, input: Mapping[str, Any], **options: Any) -> JSON:
    """As `run`, to be awaited.

    >>> input = {"prompt": "a cat", "image_urls": ["https://x.org/cat.png"]}
    >>> asyncio.run(run_async("wan-ai/wan-2-6/image-to-image", input))["status"]
    'succeeded'
    """
    return await client_async().run(model_id, input, **options)


async def submit_async(model_id: str, input: Mapping[str, Any], **options: Any) -> AsyncHandle:
    """As `submit`, to be awaited."""
    return await client_async().submit(model_id, input, **options)


async def subscribe_async(model_id: str, input: Mapping[str, Any], **options: Any) -> JSON:
    """As `subscribe`, to be awaited."""
    return await client_async().subscribe(model_id, input, **options)


def handle_async(request_id: str) -> AsyncHandle:
    """As `handle`; what it is asked is to be awaited."""
    return client_async().handle(request_id)


async def status_async(request_id: str) -> JSON:
    """As `status`, to be awaited."""
    return await handle_async(request_id).status()


async def result_async(request_id: str) -> JSON:
    """As `result`, to be awaited."""
    return await handle_async(request_id).result()


async def cancel_async(request_id: str) -> JSON:
    """As `cancel`, to be awaited."""
    return await handle_async(request_id).cancel()


async def upload_file_async(path: str | Path) -> str:
    """As `upload_file`, to be awaited."""
    return await client_async().upload_file(path)


async def upload_image_async(image: Any, format: str = "png") -> str:
    """As `upload_image`, to be awaited."""
    return await client_async().upload_image(image, format)


async def upload_async(data: bytes, content_type: str) -> str:
    """As `upload`, to be awaited."""
    return await client_async().upload(data, content_type)


async def download_outputs_async(result: JSON, folder: str | Path = ".") -> list[Path]:
    """As `download_outputs`, to be awaited."""
    return await asyncio.to_thread(download_outputs, result, folder)


def client() -> Client:
    """The client that the calls share; it lives as long as the process."""
    global _client  # noqa: PLW0603 - one for all
    with _lock:
        if _client is None:
            _client = Client()
        return _client


def client_async() -> AsyncClient:
    """The same for the running event loop, as whose connections live no longer."""
    loop = asyncio.get_running_loop()
    found = _clients.get(loop)
    if found is None:
        found = _clients[loop] = AsyncClient()
    return found

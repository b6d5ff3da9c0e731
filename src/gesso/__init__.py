"""Gesso: a self-hosted model API for image editing, drop-in compatible with RunComfy's Model API.

What `import gesso` offers is its client; each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gesso.client import (
        AsyncClient,
        AsyncHandle,
        BadAnswer,
        Cancelled,
        Client,
        ClientTimeout,
        Completed,
        DownloadFailed,
        Event,
        Failed,
        Handle,
        InProgress,
        Preview,
        Queued,
        RequestCancelled,
        Unreachable,
        encode,
        encode_file,
        encode_image,
    )
    from gesso.client.calls import (
        cancel,
        cancel_async,
        download_outputs,
        download_outputs_async,
        handle,
        handle_async,
        result,
        result_async,
        run,
        run_async,
        status,
        status_async,
        submit,
        submit_async,
        subscribe,
        subscribe_async,
        upload,
        upload_async,
        upload_file,
        upload_file_async,
        upload_image,
        upload_image_async,
    )
    from gesso.core.errors import (
        BadToken,
        BalanceUsedUp,
        ContentRejected,
        EngineFailed,
        EngineTimeout,
        FetchFailed,
        Forbidden,
        GessoError,
        IdempotencyConflict,
        InputRejected,
        InvalidInput,
        QueueDeadline,
        ResourceNotFound,
        TooMany,
        Unavailable,
        UnknownModel,
        WorkerLost,
    )

__all__ = [
    "AsyncClient",
    "AsyncHandle",
    "BadAnswer",
    "BadToken",
    "BalanceUsedUp",
    "Cancelled",
    "Client",
    "ClientTimeout",
    "Completed",
    "ContentRejected",
    "DownloadFailed",
    "EngineFailed",
    "EngineTimeout",
    "Event",
    "Failed",
    "FetchFailed",
    "Forbidden",
    "GessoError",
    "Handle",
    "IdempotencyConflict",
    "InProgress",
    "InputRejected",
    "InvalidInput",
    "Preview",
    "QueueDeadline",
    "Queued",
    "RequestCancelled",
    "ResourceNotFound",
    "TooMany",
    "Unavailable",
    "UnknownModel",
    "Unreachable",
    "WorkerLost",
    "cancel",
    "cancel_async",
    "download_outputs",
    "download_outputs_async",
    "encode",
    "encode_file",
    "encode_image",
    "handle",
    "handle_async",
    "result",
    "result_async",
    "run",
    "run_async",
    "status",
    "status_async",
    "submit",
    "submit_async",
    "subscribe",
    "subscribe_async",
    "upload",
    "upload_async",
    "upload_file",
    "upload_file_async",
    "upload_image",
    "upload_image_async",
]


def __getattr__(name: str) -> Any:
    """One of the names above, from the module that has it."""
    if name in __all__:
        for place in ("gesso.client", "gesso.client.calls", "gesso.core.errors"):
            module = import_module(place)
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'gesso' has no attribute {name!r}")

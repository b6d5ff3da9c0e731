"""The client of a model API: `Client`, `AsyncClient`, and what can go wrong on the caller's side."""

from gesso.client.client import AsyncClient, AsyncHandle, Client, Handle
from gesso.client.errors import BadAnswer, ClientTimeout, DownloadFailed, RequestCancelled, Unreachable

__all__ = ["AsyncClient", "AsyncHandle", "BadAnswer", "Client", "ClientTimeout", "DownloadFailed", "Handle",
           "RequestCancelled", "Unreachable"]  # fmt: skip

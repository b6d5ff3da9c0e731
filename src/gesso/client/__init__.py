"""The client of a model API: `Client`, `AsyncClient`, what they tell, and what can go wrong on the caller's side."""

from gesso.client.client import AsyncClient, AsyncHandle, Client, Handle
from gesso.client.errors import BadAnswer, ClientTimeout, DownloadFailed, RequestCancelled, Unreachable
from gesso.client.events import Cancelled, Completed, Event, Failed, InProgress, Preview, Queued
from gesso.client.files import encode, encode_file, encode_image

__all__ = ["AsyncClient", "AsyncHandle", "BadAnswer", "Cancelled", "Client", "ClientTimeout", "Completed",
           "DownloadFailed", "Event", "Failed", "Handle", "InProgress", "Preview", "Queued", "RequestCancelled",
           "Unreachable", "encode", "encode_file", "encode_image"]  # fmt: skip

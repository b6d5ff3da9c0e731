"""What can go wrong on the caller's side. The server's own errors come back as the classes of `core.errors`."""

from gesso.core.errors import GessoError


class Unreachable(GessoError):
    """No answer came: refused, timed out, or cut off."""

    sentence = "There is no answer from {url}: {reason}."


class BadAnswer(GessoError):
    """An answer came, but not one that a model API gives."""

    sentence = "{url} does not answer like a model API: {reason}."


class Rejected(GessoError):
    """The server refused, with a code that has no class of its own."""

    status, name = 400, "Rejected"
    sentence = "The server refused the call."


class RequestCancelled(GessoError):
    """The request was cancelled; it never ran."""

    sentence = "Request {request_id} was cancelled; it never ran."


class ClientTimeout(GessoError):
    """The caller's patience ended; the request was left alone and goes on."""

    sentence = "Request {request_id} was not finished within {seconds:g} seconds; it goes on and keeps its result."

    def __init__(self, *, request_id: str, seconds: float) -> None:
        super().__init__(request_id=request_id, seconds=seconds)
        self.request_id = request_id


class DownloadFailed(GessoError):
    """A file of an output could not be had."""

    sentence = "{name} could not be downloaded: {reason}."

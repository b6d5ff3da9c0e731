"""From what an answer says to the error that it was: by its public code, or else by its status."""

from gesso.core.errors import GessoError, InternalError, ResourceNotFound, RunFailed


def _public(root: type[GessoError]) -> dict[int, type[GessoError]]:
    """Public code -> class below *root*, to read an error off the wire; of classes that share a code the first wins."""
    classes: dict[int, type[GessoError]] = {}
    pending: list[type[GessoError]] = root.__subclasses__()
    while pending:
        kind = pending.pop(0)
        classes.setdefault(kind.code, kind)
        pending.extend(kind.__subclasses__())
    return classes


BY_CODE = _public(GessoError)
FAILED_BY_CODE = BY_CODE | _public(RunFailed)
BY_STATUS = {kind.status: kind for kind in reversed(BY_CODE.values()) if kind.status != GessoError.status} | {
    404: ResourceNotFound,
    500: InternalError,
}

"""What /result says of a request; webhooks say the same."""

from collections.abc import Mapping

from gesso.api.errors import encode
from gesso.api.outputs import Outputs
from gesso.core.model import Model
from gesso.core.request import Request, Succeeded
from gesso.core.wire import JSON, Wire


class Results:
    """Spells results, with fresh URLs of their files."""

    def __init__(self, catalog: Mapping[str, Model], outputs: Outputs, wire: Wire) -> None:
        self._catalog = catalog
        self._outputs = outputs
        self.wire = wire

    def body(self, request: Request, language: str, *, with_cost: bool = False) -> JSON:
        """The answer of /result for *request*."""
        known = request.model_id in self._catalog  # a definition may have been taken away since
        model = self._catalog[request.model_id] if known else None
        succeeded = request.outcome if isinstance(request.outcome, Succeeded) else None
        output = self._outputs.public(request, succeeded, model) if succeeded else None
        body = self.wire.result(request, output, model.card(language) if model else None, language)
        if with_cost and request.finished_at is not None:
            body["cost"] = model.price.base_usd * len(succeeded.files) if model and succeeded else 0
        return body

    def told(self, request: Request) -> bytes:
        """The same as bytes, in the language of its submitter: the body of a webhook."""
        return encode(self.body(request, request.language))

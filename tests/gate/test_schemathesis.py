"""Everything that our own description allows, and much that it does not, sent to a real server by a foreign hand."""

from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from live import Live
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode

CASES = 15


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_call_that_is_drawn_from_our_description_breaks_the_server(live: Live, mode: GenerationMode) -> None:
    signed_in = {"Authorization": f"Bearer {live.token}"}
    schema = schemathesis.openapi.from_url(f"{live.url}/v1/openapi.json", headers=signed_in)
    schema = schema.exclude(path="/readyz")  # without a worker beside it, 503 is right
    tried = 0

    for operation in (each.ok() for each in schema.get_all_operations()):

        @settings(
            max_examples=CASES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            nonlocal tried
            tried += 1
            answer = case.call(headers=signed_in)
            case.validate_response(answer, checks=[not_a_server_error])
            assert "Traceback" not in answer.text

        with suppress(Unsatisfiable):  # of some operations nothing can be wrong, or only one thing right
            ask()

    assert tried > 200
    assert live.is_well()

"""What a submit asks for beside the model's input: in the query, because the body belongs to the model."""

from datetime import timedelta

from starlette.requests import Request as HTTPRequest

from gesso.api.query import Query, number, one_of, problem
from gesso.core.request import PLAIN, Options, Priority

A_DAY_S = 86400
WORDS = {each.name.lower(): each for each in sorted(Priority, reverse=True)}


def options_of(http: HTTPRequest) -> Options:
    """The options of a submit.

    Raises:
        InvalidInput: when one is malformed, or asks for more than the token may.
    """
    if not http.scope["query_string"]:
        return PLAIN
    query = http.query_params
    return Options(_priority(query, http.scope["gesso.ceiling"]), _start_within(query))


def _priority(query: Query, ceiling: Priority) -> Priority:
    asked = WORDS[one_of(query, "priority", tuple(WORDS)) or "normal"]
    if asked < ceiling:
        raise problem("priority", "priority_ceiling", limit=ceiling.name.lower())
    return asked


def _start_within(query: Query) -> timedelta | None:
    if "max_queue_seconds" not in query:
        return None
    return timedelta(seconds=number(query, "max_queue_seconds", A_DAY_S, least=1, most=A_DAY_S))

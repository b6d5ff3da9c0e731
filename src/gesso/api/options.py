"""What a submit asks for beside the model's input: in the query, because the body belongs to the model."""

from datetime import timedelta

from starlette.datastructures import QueryParams
from starlette.requests import Request as HTTPRequest

from gesso.api.query import Query, flag, number, one_of, problem
from gesso.core.pictures import PictureFault
from gesso.core.request import PLAIN, Options, Priority
from gesso.files import addresses
from gesso.files.addresses import Policy

A_DAY_S = 86400
LONGEST_WEBHOOK = 2048
WORDS = {each.name.lower(): each for each in sorted(Priority, reverse=True)}


def options_of(http: HTTPRequest, policy: Policy) -> Options:
    """The options of a submit.

    Args:
        policy: which webhooks may be reached.

    Raises:
        InvalidInput: when one is malformed, or asks for more than the token may.
    """
    if not http.scope["query_string"]:
        return PLAIN
    query = http.query_params
    return Options(
        _priority(query, http.scope["gesso.ceiling"]), _start_within(query), _webhook(query, policy),
        flag(query, "webhook_intermediate_status"),
    )  # fmt: skip


def _priority(query: Query, ceiling: Priority) -> Priority:
    asked = WORDS[one_of(query, "priority", tuple(WORDS)) or "normal"]
    if asked < ceiling:
        raise problem("priority", "priority_ceiling", limit=ceiling.name.lower())
    return asked


def _start_within(query: Query) -> timedelta | None:
    if "max_queue_seconds" not in query:
        return None
    return timedelta(seconds=number(query, "max_queue_seconds", A_DAY_S, least=1, most=A_DAY_S))


def _webhook(query: QueryParams, policy: Policy) -> str | None:
    """The URL of the webhook, rebuilt from what was read of it; its name is resolved at each delivery, and not now."""
    given = query.getlist("webhook")
    if not given:
        return None
    if len(given) > 1 or len(given[0]) > LONGEST_WEBHOOK:
        raise problem("webhook", "webhook_url", limit=LONGEST_WEBHOOK)
    try:
        return addresses.parse(given[0], policy).url
    except PictureFault as fault:
        kind = fault.type if fault.type == "url_not_allowed" else "webhook_url"
        raise problem("webhook", kind, limit=LONGEST_WEBHOOK) from None

"""How lanes and intake wait: for a wake-up, and at most as long as one may do without."""

import asyncio
import contextlib

POLL_S = 2.0


async def wait_for_wake(woken: asyncio.Event) -> None:
    """Return when *woken* is set, and after two seconds in any case: wake-ups only shorten the wait."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(POLL_S):
            await woken.wait()

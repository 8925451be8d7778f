"""Watches a flow by polling its history behind a cursor, which every platform answers and a restart survives."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from time import monotonic
from typing import Protocol

from functions._cli.client import CommandRefused, NoPlatform, PlatformClient, PlatformUnavailable, flow_path
from functions._cli.progress import Progress
from functions._cli.wire import JsonObject

FASTEST, SLOWEST = 0.2, 2.0
"""Seconds between two looks: quick while things happen, rare while nothing does."""

QUIET, AGAIN = 1.5, 10.0
"""Seconds without news after which it is looked up what tickets wait for, and then once more."""

HISTORY_PAGE = 500


class Observer(Protocol):
    """Shows what happens."""

    def seen(self, progress: Progress, entries: Sequence[JsonObject]) -> None:
        """Take notice of new transitions, or of none."""

    def lost(self, why: str) -> None:
        """Take notice that the platform does not answer for now; `seen` follows when it does again."""


async def watch(
    client: PlatformClient,
    flow_id: str,
    observer: Observer,
    *,
    patience: float | None = None,
    appears_within: float = 0,
) -> Progress:
    """Follow a flow to its end and return what is known of it then.

    A platform that goes away is waited for: without `patience` for ever, else for so many seconds on end. A flow
    that is not there after `appears_within` seconds raises `CommandRefused`.
    """
    progress: Progress | None = None
    started = answered = moved = monotonic()
    pause = FASTEST
    while True:
        news: Sequence[JsonObject] = ()
        try:
            progress, news = await _look(client, flow_id, progress)
        except (NoPlatform, PlatformUnavailable) as error:
            if patience is not None and monotonic() - answered > patience:
                raise
            observer.lost(str(error))
        except CommandRefused as error:
            if error.status != HTTPStatus.NOT_FOUND or progress or monotonic() - started > appears_within:
                raise
        else:
            answered = monotonic()
            moved = answered if news else moved
            if answered - moved > QUIET and progress.waiting:
                await _load_tickets(client, flow_id, progress, again=True)  # what they wait for is in no history
                moved = answered + AGAIN - QUIET
            observer.seen(progress, news)
            if progress.ended:
                return progress
        pause = FASTEST if news else min(pause * 1.3, SLOWEST)
        await asyncio.sleep(pause)


async def snapshot(client: PlatformClient, flow: JsonObject) -> Progress:
    """Return a flow, which was just read, with all its tickets as they are now."""
    progress = Progress(flow)
    await _load_tickets(client, flow["flow_id"], progress)
    return progress


async def _look(client: PlatformClient, flow_id: str, known: Progress | None) -> tuple[Progress, Sequence[JsonObject]]:
    """Return the flow with all that is new since the last look.

    Reading the row costs as much as the plan is large, so it is read only when its history says that it changed;
    then the history is read again, until it tells nothing new. A row that does not show what its history tells is read
    again at the next look: a store may show a commit in one of them first.
    """
    progress = known or Progress({})
    news: list[JsonObject] = []
    unread = known is None or known.behind
    while True:
        fresh = await _history(client, flow_id, news[-1]["seq"] if news else progress.after)
        news += fresh
        if not unread and all(entry["ticket_id"] for entry in fresh):
            progress.apply(news)
            return progress, news
        progress.flow = await client.get(flow_path(flow_id))
        await _load_tickets(client, flow_id, progress)
        unread = False


async def _history(client: PlatformClient, flow_id: str, after: int) -> list[JsonObject]:
    """Return all of a flow's transitions behind `after`."""
    found: list[JsonObject] = []
    while True:
        page = await client.get(flow_path(flow_id, "history"), after=after, limit=HISTORY_PAGE)
        found += page["items"]
        after = page["after"]
        if len(page["items"]) < HISTORY_PAGE:
            return found


async def _load_tickets(client: PlatformClient, flow_id: str, progress: Progress, *, again: bool = False) -> None:
    if progress.tickets_wanted or again:
        progress.load([ticket async for ticket in client.items(flow_path(flow_id, "tickets"))])

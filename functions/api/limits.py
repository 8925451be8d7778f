"""Who holds the places of flows that may be in flight at once, and who waits for one: of all flows, and of each key."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Query

from functions._core.errors import Unreadable
from functions._core.placement.limits import (
    FLOWS,
    OF_KEY,
    SPACE,
    TICKETS,
    Places,
    flow_of,
    limit_in,
    line_of_key,
    places,
    read_places,
    waiting_flow,
)
from functions._core.records.record import Record
from functions._core.records.values import Timestamp
from functions.api.documents import problems
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/limits", tags=["limits"])

NAMED = 20
"""Holders and waiting flows that are named of a key; of the holders the oldest, of the others the next ones."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HolderView(Record):
    """A flow that holds a place."""

    flow_id: str
    """Id of the flow."""
    since: Timestamp
    """When it took the place."""


class KeyLimitView(Record):
    """A concurrency key, who holds its places and who waits for one."""

    key: str
    """The key."""
    limit: int | None
    """How many flows may be in flight, by the flow that is first; null when that cannot be told."""
    held: int
    """How many are in flight."""
    holders: tuple[HolderView, ...]
    """The oldest of these, 20 at most."""
    waiting: tuple[str, ...]
    """Ids of the flows that are next, 20 at most."""
    more_wait: bool
    """Whether further flows wait."""


class InFlightView(Record):
    """A limit of the platform, and how many places of it are held."""

    limit: int
    """How many may be in flight."""
    tenant_limit: int | None
    """How many of one tenant; null: as many as of all."""
    held: int
    """How many are in flight."""


class LimitsView(Record):
    """Limits of what is in flight at once."""

    flows: InFlightView | None
    """That of all flows; null: there is none."""
    tickets: InFlightView | None
    """That of all tickets; null: there is none."""
    keys: tuple[KeyLimitView, ...]
    """Concurrency keys with flows in flight, in the order of keys."""
    after: str | None
    """The last key, for the next page; null: no more follow."""


@router.get("", responses=problems(400, 422))
async def list_limits(
    services: Services,
    after: Annotated[
        str | None, Query(max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", description="Behind this key")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="How many keys to return at most")] = 20,
) -> LimitsView:
    """Return the limits of what is in flight, who holds places of concurrency keys, and who waits for one."""
    entries = await services.ports.key_values.page(SPACE, OF_KEY + (after or ""), limit)
    of_keys = [(entry.key.removeprefix(OF_KEY), entry) for entry in entries if entry.key.startswith(OF_KEY)]
    keys = [await _key_view(services, key, read_places(entry)) for key, entry in of_keys]
    return LimitsView(
        flows=await _in_flight(services, FLOWS),
        tickets=await _in_flight(services, TICKETS),
        keys=tuple(keys),
        after=of_keys[-1][0] if len(of_keys) == limit else None,
    )


async def _key_view(services: ApiServices, key: str, held: Places) -> KeyLimitView:
    line = line_of_key(key, 1)
    page = await line.waiting(services.ports.key_values, None, NAMED + 1)
    oldest = sorted(held, key=lambda one: held[one])[:NAMED]
    return KeyLimitView(
        key=key,
        limit=limit_in(waiting_flow(page[0])[1]) if page else await _limit_of(services, oldest[0]) if oldest else None,
        held=len(held),
        holders=tuple(
            HolderView(flow_id=flow_of(one), since=EPOCH + timedelta(milliseconds=held[one][0])) for one in oldest
        ),
        waiting=tuple(flow_of(waiting_flow(entry)[0]) for entry in page[:NAMED]),
        more_wait=len(page) > NAMED,
    )


async def _limit_of(services: ApiServices, holder: str) -> int | None:
    try:
        flow = await services.ports.store.flow(flow_of(holder))
    except Unreadable:
        return None
    return flow.concurrency.limit if flow is not None and flow.concurrency is not None else None


async def _in_flight(services: ApiServices, kind: str) -> InFlightView | None:
    limits = services.rules.in_flight
    of_all, of_tenant = limits.of(kind) if limits is not None else (None, None)
    if of_all is None:
        return None
    held, _ = await places(kind, services.ports.key_values)
    return InFlightView(limit=of_all, tenant_limit=of_tenant, held=len(held))

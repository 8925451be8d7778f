"""The freeze gate: pipelines ask whether a service is frozen before they deploy it."""

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated

from fastapi import Path, Query, Response

from functions._core.errors import Rejected
from functions._core.records.record import encode
from functions._core.records.values import EARLIEST
from functions._core.slo.freeze_status import BLOCKING, actions_of, is_frozen
from functions._core.slo.freezing import FreezeAction, FreezeEvent
from functions.api.actions import PRINTABLE
from functions.api.documents import problems
from functions.api.freeze_reader import FRESH, Freezes
from functions.api.preconditions import IfNoneMatch, names
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.slo_forms import FreezeOfService, FreezeStatus

router = Routes(prefix="/api/v1/freeze-status", tags=["freezes"])

ServiceName = Annotated[str, Path(min_length=1, max_length=200, pattern=PRINTABLE, description="Name of the service")]


@router.get(
    "/{service:path}",
    response_model=FreezeStatus,
    responses=problems(400, 422, 423, 503) | {304: {"description": "It is as it was: see If-None-Match"}},
)
async def get_freeze_status(  # noqa: PLR0913 each is a parameter of the question
    services: Services,
    response: Response,
    service: ServiceName,
    *,
    namespace: Annotated[
        str | None,
        Query(max_length=200, pattern=PRINTABLE, description="Its namespace; absent: those of its SLOs"),
    ] = None,
    action: Annotated[
        FreezeAction | None, Query(description="What is to be done, in any letter case; absent: anything")
    ] = None,
    use_cache: Annotated[bool, Query(description="False: as it is stored now, not up to 60 s old")] = True,
    fail: Annotated[bool, Query(description="True: 423 while it is frozen, so that a pipeline stops")] = False,
    if_none_match: IfNoneMatch = None,
) -> FreezeStatus | Response:
    """Return whether a service is frozen, and by what; a service that nobody knows is frozen where everything is.

    What was read serves for a minute; what this process changes itself is told at once.
    """
    found = await services.freezes.of(services.ports, services.freezes_moved, fresh=not use_cache)
    status = status_of(found, service, namespace, action)
    if fail and status.frozen:
        raise _frozen(status)
    tag = sha256(encode(status.but(read_at=EARLIEST))).hexdigest()[:20]
    headers = {"etag": f'"{tag}"', "cache-control": f"private, max-age={_left(found, services.ports.clock.now())}"}
    if if_none_match is not None and names(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return status


def status_of(found: Freezes, service: str, namespace: str | None, action: FreezeAction | None) -> FreezeStatus:
    """Return how a service stands by the freezes that last."""
    namespaces = found.namespaces.get(service, frozenset()) if namespace is None else frozenset({namespace})
    events = [event for event in found.events if event.freezes(service, namespaces)]
    return FreezeStatus(
        service=service,
        namespaces=tuple(sorted(namespaces)),
        frozen=is_frozen(events, action),
        actions=actions_of(events),
        events=tuple(map(_shown, events)),
        read_at=found.at,
    )


def _shown(event: FreezeEvent) -> FreezeOfService:
    return FreezeOfService(
        event_id=event.event_id,
        policy_id=event.policy_id,
        policy_name=event.policy_name,
        scope=event.scope,
        target=event.target,
        actions=event.actions,
        since=event.triggered_at,
        reason=event.trigger_reason,
    )


def _frozen(status: FreezeStatus) -> Rejected:
    """Return the refusal of who asked for one: `curl --fail` ends with an error by it."""
    by = [event for event in status.events if BLOCKING & {*event.actions}]
    ids = ", ".join(event.event_id for event in by[:5])
    text = f"{status.service[:100]!r} is frozen: {by[0].reason} (freeze {ids})"
    return Rejected(text, code="blocked_by_freeze", status=423)


def _left(found: Freezes, now: datetime) -> int:
    """Return for how many seconds an answer still holds."""
    return max(0, int((FRESH - max(timedelta(), now - found.at)).total_seconds()))

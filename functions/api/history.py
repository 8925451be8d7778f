"""What has happened, in all flows: transitions as events, and what validation found."""

from typing import Annotated

from fastapi import APIRouter, Query

from functions._core.audits import AuditKind
from functions._core.models import Flow
from functions._core.subscribers import transition_event
from functions.api.documents import problems
from functions.api.questions import DEFAULT_LIMIT, After, Id, Limit
from functions.api.services import Services
from functions.api.views import AuditList, EventPage, event_view

router = APIRouter(prefix="/api/v1", tags=["history"])


@router.get("/events", responses=problems(422))
async def list_events(services: Services, after: After = 0, limit: Limit = DEFAULT_LIMIT) -> EventPage:
    """Return the transitions of all flows as CloudEvents; asked again with `after`, those that came since."""
    ports = services.ports
    entries = await ports.views.history(None, after, limit)
    flows: dict[str, Flow | None] = {}
    for entry in entries:
        if entry.flow_id not in flows:
            flows[entry.flow_id] = await ports.store.flow(entry.flow_id)
    events = [(entry, flow) for entry in entries if (flow := flows[entry.flow_id])]
    return EventPage(
        items=tuple(event_view(transition_event(entry, flow)) for entry, flow in events),
        after=entries[-1].seq if entries else after,
    )


@router.get("/audits", responses=problems(422))
async def list_audits(
    services: Services,
    *,
    flow_id: Id = None,
    kind: Annotated[AuditKind | None, Query(description="In any letter case")] = None,
    valid: Annotated[bool | None, Query(description="Only validations that found nothing wrong, or something")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> AuditList:
    """Return what C1 found in decisions and what people did, the newest first; actions as they were asked for."""
    return AuditList(items=tuple(await services.ports.views.audits(flow_id, limit, kind=kind, valid=valid)))

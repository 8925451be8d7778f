"""How people name a flow: by its id or the beginning of it, by its decision's id, or by its plan's."""

from collections.abc import AsyncIterator, Iterable

from functions._core.decision.vocabulary import shown
from functions._core.errors import Rejected
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Model, flow_id_of
from functions.api.problems import not_found
from functions.api.questions import sound
from functions.api.services import ApiServices

ASKED = "A flow id or its first characters, a decision id, or a plan id"

FEWEST = 4
"""Characters of a flow id that are taken for its beginning."""

LOOKED_AT = 2_000
"""The newest flows among which beginnings and plans are looked for; plans of older ones are found by their tickets."""

PAGE = 200
NAMED = 5
"""Flows that are named where several are meant."""


class FlowReference(Model):
    """The one flow that is meant."""

    flow_id: str
    decision_id: str
    plan_id: str | None
    status: FlowStatus

    @classmethod
    def to(cls, flow: Flow) -> "FlowReference":
        """Return the reference to a flow."""
        return cls(flow_id=flow.flow_id, decision_id=flow.decision_id, plan_id=flow.plan_id, status=flow.status)


async def flow_meant(services: ApiServices, ref: str) -> FlowReference:
    """Return the one flow that `ref` means, an exact id before anything else.

    Raises `Rejected`: status 404 when there is none, 409 when there are several, which are named.
    """
    store = services.ports.store
    for flow_id in (sound("flow", ref), flow_id_of(ref)):
        flow = await store.flow(flow_id)
        if flow is not None:
            return FlowReference.to(flow)
    found = {flow.flow_id: flow async for flow in _newest(services) if _meant(flow, ref)}
    if not found:
        found = {flow.flow_id: flow async for flow in _of_plan(services, ref)}
    if not found:
        raise not_found("flow", ref)
    if len(found) > 1:
        raise Rejected(_several(ref, found.values()), code="ambiguous_reference", status=409)
    return FlowReference.to(next(iter(found.values())))


def _meant(flow: Flow, ref: str) -> bool:
    return flow.plan_id == ref or (len(ref) >= FEWEST and flow.flow_id.startswith(ref.lower()))


async def _newest(services: ApiServices) -> AsyncIterator[Flow]:
    cursor = None
    for _ in range(LOOKED_AT // PAGE):
        flows, cursor = await services.ports.views.flows(status=None, cursor=cursor, limit=PAGE)
        for flow in flows:
            yield flow
        if cursor is None:
            return


async def _of_plan(services: ApiServices, plan_id: str) -> AsyncIterator[Flow]:
    """Yield the flows of the oldest tickets of a plan."""
    tickets, _ = await services.ports.views.find_tickets({"plan_id": plan_id}, None, PAGE)
    for flow_id in dict.fromkeys(ticket.flow_id for ticket in tickets):
        flow = await services.ports.store.flow(flow_id)
        if flow is not None:
            yield flow


def _several(ref: str, flows: Iterable[Flow]) -> str:
    told = [f"{flow.flow_id} ({flow.status}, decision {shown(flow.decision_id)})" for flow in flows]
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return f"{shown(ref)} may be any of {len(told)} flows, the newest first: {', '.join(told[:NAMED])}{more}"

"""The result of a flow: what its plan declares, made of the outputs of its tasks whenever somebody asks for it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from functions._core.decision.model import unwrap_plan
from functions._core.decision.reading import document_in
from functions._core.errors import Rejected, Undeliverable
from functions._core.machine.resolved_values import OUTPUTS_AT_ONCE, output_of
from functions._core.planning.replan import left_out
from functions._core.planning.result import PlanResult, ResultTooLarge
from functions._core.planning.slack import deadline_at
from functions._core.records.json_text import json_size
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.record import Record
from functions._core.records.values import Outcome, milliseconds, own_ticket_id, ticket_id_of
from functions._core.rules import LARGE_DECISION
from functions.api.problems import Itemised
from functions.api.services import ApiServices

PAGE = 100
"""Tickets in memory at once while the last ones of a plan are looked for."""


class ResultView(Record):
    """The result of a flow that has ended. One that did not complete has none, and the `reasons` why."""

    flow_id: str
    outcome: Outcome
    result: Any
    """What the plan declares; without a declaration the outputs of its last tasks, by task id."""
    reasons: tuple[Reason, ...]


async def result_view(services: ApiServices, flow: Flow) -> ResultView:
    """Return the result of a flow.

    Raises `Rejected`: 409 `not_ended` before the end of the flow, 413 `result_too_large`, and 409 where the declaration
    does not fit the outputs.
    """
    if flow.ended_at is None or flow.outcome is None:
        raise not_ended(flow, services.ports.clock.now())
    result = None
    if flow.outcome is Outcome.COMPLETED:
        try:
            result = await _result(services, flow)
        except Undeliverable as error:
            raise Rejected(str(error), code=error.code, status=409) from error
    return ResultView(flow_id=flow.flow_id, outcome=flow.outcome, result=result, reasons=flow.reasons)


def not_ended(flow: Flow, now: datetime) -> Rejected:
    """Return the refusal of the result of a flow that goes on, with the time that it has left."""
    left = milliseconds(deadline_at(flow, now) - now)
    so_long = f"it has {left / 1000:.0f} s left" if left > 0 else f"it is {-left / 1000:.0f} s late"
    text = f"the flow is {flow.status} and has no result yet; {so_long}"
    members = {"flow_id": flow.flow_id, "flow_status": flow.status, "sla_remaining_ms": left}
    return Itemised(text, code="not_ended", status=409, members=members)


async def _result(services: ApiServices, flow: Flow) -> Any:  # noqa: ANN401 any JSON
    text = await services.ports.store.decision(flow.flow_id)
    plan = await asyncio.to_thread(_plan_in, text) if len(text) > LARGE_DECISION else _plan_in(text)
    if plan.get("result") is None:
        return await _last_outputs(services, flow)
    return await _declared(services, flow, plan["result"], plan.get("tasks", ()))


def _plan_in(text: bytes) -> Mapping[str, Any]:
    """Return the plan as its author wrote it: C1 has read all of it, so it is only looked up here."""
    document = document_in(text)
    plan, _ = unwrap_plan(document.get("cognitive_plan") if isinstance(document, dict) else None)
    return plan if isinstance(plan, dict) else {}


async def _declared(services: ApiServices, flow: Flow, declared: object, tasks: Sequence[object]) -> Any:  # noqa: ANN401 any JSON
    """Return a declared result; of the outputs only those parts are kept that it refers to."""
    result = PlanResult(declared, services.rules.references_bytes)
    own = own_ticket_id(flow.decision_id, len(tasks))
    names = {own or ticket_id_of(flow.flow_id, task_id): task_id for task_id in result.task_ids}
    ids = list(names)
    for start in range(0, len(ids), OUTPUTS_AT_ONCE):
        store, most = services.ports.store, services.rules.references_bytes
        for ticket_id, ticket in (await store.tickets(ids[start : start + OUTPUTS_AT_ONCE], flow.flow_id)).items():
            task_id = names[ticket_id]
            result.add(task_id, await output_of(ticket, store, most, result.paths_of(task_id)))
    return result.value()


async def _last_outputs(services: ApiServices, flow: Flow) -> Mapping[str, Any]:
    """Return the outputs of the tickets that no other depends on: another plan may have changed which they are."""
    outputs: dict[str, Any] = {}
    size, most = 0, services.rules.references_bytes
    cursor: str | None = None
    while True:
        tickets, cursor = await services.ports.views.find_tickets({"flow_id": flow.flow_id}, cursor, PAGE)
        for ticket in filter(_is_last, tickets):
            outputs[ticket.task_id] = ticket.output
            size += json_size(ticket.output)
            if size > most or (ticket.children is not None and ticket.children.apart):
                raise ResultTooLarge(most)
        if cursor is None:
            return outputs


def _is_last(ticket: Ticket) -> bool:
    inside = ticket.compensates is not None or ticket.parent is not None
    return not (inside or ticket.dependants or left_out(ticket))

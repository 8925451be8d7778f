"""Signals: what a workflow is told from outside, by a name in the body or in the path."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request

from functions._core.errors import Rejected
from functions._core.events.commands import CancelRequest
from functions._core.records.models import Flow
from functions._core.records.values import Outcome
from functions.api.access import acting
from functions.api.actions import record, taken
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.problems import checked, not_found
from functions.api.questions import found, sound
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.workflow_forms import SignalArguments, SignalBody, SignalTaken, WorkflowSignal

router = Routes(prefix="/api/v1/workflows/{workflow_id}/signal", tags=["workflows"])

PROBLEMS = (400, 404, 409, 413, 415, 422)


@router.post("", status_code=202, responses=problems(*PROBLEMS), openapi_extra=json_body(WorkflowSignal))
async def signal_workflow(services: Services, request: Request, workflow_id: str) -> SignalTaken:
    """Tell a workflow what the body names: `ticket_completed` or `cancel_workflow`. 409 when it has ended."""
    signal = await read_json(request, WorkflowSignal)
    return await _signalled(services, request, workflow_id, signal.signal_name, signal)


@router.post(
    "/{signal_name}",
    status_code=202,
    responses=problems(*PROBLEMS),
    openapi_extra=json_body(SignalBody, required=False),
)
async def signal_workflow_by_name(
    services: Services, request: Request, workflow_id: str, signal_name: str
) -> SignalTaken:
    """Tell a workflow what the path names."""
    return await _signalled(services, request, workflow_id, signal_name, await read_json(request, SignalBody))


async def _signalled(
    services: ApiServices, request: Request, workflow_id: str, name: str, signal: SignalBody
) -> SignalTaken:
    act = SIGNALS.get(name)
    if act is None:
        known = ", ".join(SIGNALS)
        raise Rejected(f"there is no signal {name[:100]!r}; known are {known}", code="unknown_signal", status=404)
    arguments = checked(SignalArguments, dict(signal.args), "body.args")
    arguments = arguments.but(requested_by=acting(request, arguments.requested_by))
    flow = await found("workflow", workflow_id, services.ports.store.flow)
    answer = SignalTaken(
        workflow_id=flow.flow_id, signal_name=name, signal_id=signal.signal_id, result="duplicate", status=flow.status
    )
    key = f"{name}/{signal.signal_id}"
    if signal.signal_id is not None and await taken(services, flow.flow_id, flow.flow_id, key):
        return answer
    if flow.ended_at is not None:
        raise _ended(flow)
    told = await act(services, flow, arguments)
    if signal.signal_id is not None:
        # Afterwards: a signal that could not be acted on may be sent again under its id.
        who, why = arguments.requested_by, arguments.reason
        await record(services, name, flow.flow_id, who=who, why=why, flow_id=flow.flow_id, key=key)
    return answer.but(result="accepted", status=told.status)


async def _ticket_completed(services: ApiServices, flow: Flow, arguments: SignalArguments) -> Flow:
    """Look at the flow now: the word of a worker counts only as a report, a signal merely saves waiting."""
    if arguments.ticket_id is not None:
        ticket_id = sound("ticket", arguments.ticket_id)
        ticket = (await services.ports.store.tickets([ticket_id])).get(ticket_id)
        if ticket is None or ticket.flow_id != flow.flow_id:
            raise not_found("ticket", ticket_id)
    return await services.engine.recheck(flow.flow_id)


async def _cancel_workflow(services: ApiServices, flow: Flow, arguments: SignalArguments) -> Flow:
    order = CancelRequest(flow_id=flow.flow_id, requested_by=arguments.requested_by, reason=arguments.reason)
    stopped = (await services.engine.order(order)).flow
    if stopped.outcome is not Outcome.CANCELLED:
        raise _ended(stopped)
    return stopped


def _ended(flow: Flow) -> Rejected:
    text = f"workflow {flow.flow_id} has its outcome already: {flow.outcome}"
    return Rejected(text, code="workflow_ended", status=409)


SIGNALS: Mapping[str, Callable[[ApiServices, Flow, SignalArguments], Awaitable[Flow]]] = {
    "ticket_completed": _ticket_completed,
    "cancel_workflow": _cancel_workflow,
}

"""Flows from outside: start one, ask about it, wait for its end, stop it."""

import time
from collections.abc import Mapping
from typing import Any

from flowc.client.calls import Steps
from flowc.client.errors import BadAnswer, NotEnded
from flowc.client.models import DEFAULT_PRIORITY, FlowCResult, Workflow
from flowc.client.service import AsyncServiceClient, Operation, ServiceClient, SyncServiceClient, in_path, next_pause

WORKFLOWS = "/api/v1/workflows"
FLOWS = "/api/v1/flows"
EXECUTE = "/api/v1/flow-c/execute"

SLA_SECONDS = 14_400

POLL_SECONDS = 25.0
"""How long one call waits for the end of a flow: proxies close connections that are silent for longer."""

MARGIN_SECONDS = 15.0
"""How much longer than that its answer may take."""


class OrchestratorOperations(ServiceClient):
    """What both clients of workflows can do."""

    @Operation
    def start_workflow(
        self,
        cognitive_plan: Mapping[str, Any],
        correlation_id: str | None = None,
        priority: int = DEFAULT_PRIORITY,
        sla_deadline_seconds: float | None = SLA_SECONDS,
    ) -> Steps[str]:
        """Carry out a plan as if it were decided on, and return the id of its workflow.

        The same plan with the same correlation id is the same workflow.
        """
        asked = {
            "cognitive_plan": dict(cognitive_plan),
            "correlation_id": correlation_id,
            "priority": priority,
            "sla_deadline_seconds": sla_deadline_seconds,
        }
        body = {name: value for name, value in asked.items() if value is not None}
        reply = yield from self._call("POST", f"{WORKFLOWS}/start", body, repeatable=True)
        if not isinstance(started := reply.document().get("workflow_id"), str):
            raise BadAnswer("the answer names no workflow")
        return started

    @Operation
    def get_workflow(self, workflow_id: str) -> Steps[Workflow]:
        """Return a workflow, its tickets counted, and its steps."""
        return (yield from self._call("GET", f"{WORKFLOWS}/{in_path(workflow_id)}")).as_a(Workflow)

    @Operation
    def query_workflow(
        self, workflow_id: str, query_name: str, args: Mapping[str, Any] | None = None
    ) -> Steps[dict[str, Any]]:
        """Answer a query: `get_status` (`status`, `tickets_generated` and more) or `get_tickets` (`tickets`)."""
        body = {"query_name": query_name, "args": dict(args or {})}
        path = f"{WORKFLOWS}/{in_path(workflow_id)}/query"
        return (yield from self._call("POST", path, body, repeatable=True)).document()

    @Operation
    def signal_workflow(
        self, workflow_id: str, signal_name: str, args: Mapping[str, Any] | None = None, signal_id: str | None = None
    ) -> Steps[dict[str, Any]]:
        """Send a signal, such as `cancel_workflow`; one with the same id does nothing a second time."""
        body = {"signal_name": signal_name, "args": dict(args or {}), "signal_id": signal_id}
        path = f"{WORKFLOWS}/{in_path(workflow_id)}/signal"
        return (yield from self._call("POST", path, body, repeatable=signal_id is not None)).document()

    @Operation
    def get_result(self, workflow_id: str) -> Steps[FlowCResult]:
        """Return how a workflow went; until it has ended, what is known so far."""
        return (yield from self._call("GET", f"{FLOWS}/{in_path(workflow_id)}")).as_a(FlowCResult)

    @Operation
    def get_output(self, workflow_id: str) -> Steps[Any]:
        """Return what the plan declares as its result, any JSON; null where the workflow did not complete.

        Raises `Refused`, code `not_ended`, before its end, and code `result_too_large`.
        """
        return (yield from self._call("GET", f"{FLOWS}/{in_path(workflow_id)}/result")).document()["result"]

    @Operation
    def wait_for_result(self, workflow_id: str, timeout_seconds: float | None = None) -> Steps[FlowCResult]:
        """Return how the workflow went once it has ended; raises `NotEnded` when that takes longer."""
        return self._ended(f"{FLOWS}/{in_path(workflow_id)}", FlowCResult, workflow_id, timeout_seconds)


class FlowCOperations(OrchestratorOperations):
    """What both orchestrators can do: a decision in one call."""

    @Operation
    def initialize(self) -> Steps[None]:
        """See that the platform takes requests; raises `PlatformFailed` or `NoAnswer`. No other call needs it."""
        yield from self._call("GET", "/ready")

    @Operation
    def execute_flow_c(
        self, decision: Mapping[str, Any], timeout_seconds: float | None = None, traceparent: str | None = None
    ) -> Steps[FlowCResult]:
        """Carry out a consolidated decision, wait for the end of its flow, and return the result.

        The same decision again waits for the same flow. Raises `Invalid` for a decision that makes no flow, and
        `NotEnded` when the end takes longer than `timeout_seconds`; the flow goes on then.
        """
        until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        pause = 0.0
        while True:
            asked = time.monotonic()
            left = POLL_SECONDS if until is None else max(0.0, min(POLL_SECONDS, until - time.monotonic()))
            reply = yield from self._call(
                "POST",
                EXECUTE,
                dict(decision),
                parameters={"wait_seconds": round(left, 3)},
                headers={"traceparent": traceparent} if traceparent else None,
                repeatable=True,
                seconds=left + MARGIN_SECONDS,
                after=pause,
            )
            document = reply.document()
            if "success" in document:
                return reply.as_a(FlowCResult)
            waited = time.monotonic() - asked >= left / 2
            pause = 0.0 if waited else next_pause(pause)
            if until is not None and time.monotonic() >= until:
                raise NotEnded(str(document.get("flow_id")), str(document.get("status")))


class OrchestratorClient(OrchestratorOperations, AsyncServiceClient):
    """Workflows, by coroutines."""


class SyncOrchestratorClient(OrchestratorOperations, SyncServiceClient):
    """Workflows, by plain calls."""


class FlowCOrchestrator(FlowCOperations, AsyncServiceClient):
    """Flow C as one call, by coroutines."""


class SyncFlowCOrchestrator(FlowCOperations, SyncServiceClient):
    """Flow C as one call, by plain calls."""

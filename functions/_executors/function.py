"""The executor `function`: a CloudEvent to the address of a function, whose answer is the result."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

from functions._adapters.http.cloudevents import write_binary
from functions._adapters.http.outbound import OutboundAnswer
from functions._core.events.envelope import CloudEvent
from functions._core.executors.execute import CallOutputs, FunctionParameters
from functions._core.executors.table import WORK
from functions._core.records.values import TaskType
from functions._executors.calls import ServiceCall, ServiceCaller, headers_for, outputs_in
from functions._executors.port import JobContext, JobExecutor, JobHandle, JobState, ToolCheck
from functions._executors.settings import ExecutorSettings

Context = JobContext[FunctionParameters]


class FunctionExecutor(JobExecutor[FunctionParameters]):
    """Calls functions that take CloudEvents: Knative Services, OpenFunction, functions of clouds behind an address."""

    name: ClassVar[str] = "function"
    family: ClassVar[str] = "execute"
    task_types: ClassVar[frozenset[TaskType]] = WORK
    Parameters = FunctionParameters
    Outputs = CallOutputs

    def __init__(self, settings: ExecutorSettings) -> None:
        self._networks = settings.networks
        self._caller = ServiceCaller(settings.networks)
        self._answers: dict[str, OutboundAnswer] = {}

    async def start(self, context: Context) -> JobHandle:
        """Send the event; its id is the same whenever it is sent again for the same work."""
        given = context.parameters
        event = CloudEvent(
            id=context.idempotency_key,
            source=f"/flowc/flows/{context.flow_id}",
            type=given.event_type,
            time=datetime.now(UTC),
            subject=context.ticket_id,
            data=json.loads(json.dumps(given.data)),
            extensions={"correlationid": context.correlation_id} if context.correlation_id else {},
        )
        headers, body = write_binary(event)
        call = ServiceCall("POST", given.url, headers | headers_for(given, context), body, given.timeout_seconds)
        self._answers[context.idempotency_key] = await self._caller.good_answer(call, context, given.expected_status)
        return JobHandle(job_id=context.idempotency_key)

    async def poll(self, context: Context, handle: JobHandle) -> JobState:
        """Return what the function has answered."""
        return outputs_in(self._answers.pop(handle.job_id), context.parameters)

    async def cancel(self, context: Context, handle: JobHandle) -> None:  # noqa: ARG002 - the port's
        """Forget the answer: a function that has answered has ended."""
        self._answers.pop(handle.job_id, None)

    async def check(self) -> Sequence[ToolCheck]:
        """Say where calls may go."""
        networks = ", ".join(sorted(self._networks))
        return (ToolCheck("networks", bool(networks), f"WORKER_NETWORKS allows {networks or 'none'}"),)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._caller.aclose()

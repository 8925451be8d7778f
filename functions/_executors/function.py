"""The executor `function`: a CloudEvent to the address of a function, whose answer is the result."""

import json
from datetime import UTC, datetime
from typing import ClassVar

from functions._adapters.http.cloudevents import write_binary
from functions._core.events.envelope import CloudEvent
from functions._core.executors.execute import FunctionParameters
from functions._executors.calls import CallExecutor, ServiceCall, headers_for, outputs_in
from functions._executors.port import JobContext, JobHandle, JobState

Context = JobContext[FunctionParameters]


class FunctionExecutor(CallExecutor[FunctionParameters]):
    """Calls functions that take CloudEvents: Knative Services, OpenFunction, functions of clouds behind an address."""

    name: ClassVar[str] = "function"
    Parameters = FunctionParameters

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

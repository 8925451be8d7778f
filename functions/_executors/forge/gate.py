"""The executor `forge_gate`: the verdict on what a pipeline has made. It calls nobody and ends at once."""

from collections.abc import Sequence
from typing import ClassVar

from functions._core.executors.forge import GateParameters
from functions._core.executors.table import FORGE, VALIDATES
from functions._core.forge.gate import Review, gate_verdict
from functions._core.forge.stages import GateOutcome, GateVerdict
from functions._core.records.values import TaskType
from functions._executors.forge.code_host import code_host_settings
from functions._executors.port import (
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.settings import ExecutorSettings

Context = JobContext[GateParameters]


class GateExecutor(JobExecutor[GateParameters]):
    """Approves, has somebody decide, or rejects."""

    name: ClassVar[str] = "forge_gate"
    family: ClassVar[str] = FORGE
    task_types: ClassVar[frozenset[TaskType]] = VALIDATES
    detached: ClassVar[bool] = True
    Parameters = GateParameters
    Outputs = GateVerdict

    def __init__(self, settings: ExecutorSettings) -> None:
        """Read who decides where somebody has to; raise `ValueError` for settings of a code host that are wrong."""
        self._review: Review = "person" if code_host_settings(settings) is None else "merge_request"

    async def start(self, context: Context) -> JobHandle:
        """Begin nothing: the verdict is a function of the parameters."""
        return JobHandle(job_id=context.idempotency_key)

    async def poll(self, context: Context, handle: JobHandle) -> JobState:  # noqa: ARG002 - the port's
        """Return the verdict."""
        given = context.parameters
        verdict = gate_verdict(given.code, given.validation, given.tests, self._review)
        context.log(f"{verdict.outcome}: {verdict.reason}")
        if verdict.outcome is GateOutcome.REJECTED:
            return JobFailed("rejected", verdict.reason, retryable=False)
        return JobSucceeded(verdict)

    async def cancel(self, context: Context, handle: JobHandle) -> None:
        """End nothing: the job has ended."""

    async def check(self) -> Sequence[ToolCheck]:
        """Say who decides where somebody has to."""
        who = "a person, by an approval" if self._review == "person" else "those who merge (WORKER_FORGE_REPOSITORY)"
        return (ToolCheck("review", True, f"decided by {who}"),)

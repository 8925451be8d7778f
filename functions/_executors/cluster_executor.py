"""Bases of executors whose jobs are objects of one Kubernetes cluster: what all of them do, and what deployments do."""

import time
from abc import abstractmethod
from collections.abc import Sequence
from time import monotonic
from typing import ClassVar, TypeVar

from functions._core.executors.deploy import DEPLOYING, FAMILY, DeployParameters
from functions._core.executors.parameters import ExecutorParameters
from functions._core.records.values import TaskType
from functions._executors.cluster import ClusterApi
from functions._executors.port import JobContext, JobExecutor, JobHandle, JobRunning, JobState, ToolCheck
from functions._executors.settings import ExecutorSettings

CP = TypeVar("CP", bound=ExecutorParameters)
DP = TypeVar("DP", bound=DeployParameters)

SINCE = "since"
"""Of a handle: when the deployment began, in seconds since 1970."""


class ClusterExecutor(JobExecutor[CP]):
    """Base of executors whose jobs are objects of a cluster."""

    detached: ClassVar[bool] = True
    rights: ClassVar[Sequence[tuple[str, str, str]]]
    """What the worker's account needs: verb, group, resource."""

    def __init__(self, settings: ExecutorSettings) -> None:
        """Open nothing yet; raises `ValueError` for what is no address."""
        self.settings = settings
        self.api = ClusterApi(settings)

    async def check(self) -> Sequence[ToolCheck]:
        """Ask the cluster what the worker may do."""
        return await self.api.checks(self.settings, self.rights)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.api.aclose()


class ClusterDeployExecutor(ClusterExecutor[DP]):
    """Base of executors that deploy to a cluster; their handles have `SINCE`."""

    family: ClassVar[str] = FAMILY
    task_types: ClassVar[frozenset[TaskType]] = DEPLOYING

    def __init__(self, settings: ExecutorSettings) -> None:
        super().__init__(settings)
        self._begun: dict[str, float] = {}

    @abstractmethod
    async def look(self, context: JobContext[DP], handle: JobHandle) -> JobState:
        """Do what is not done yet, or return how the deployment stands. Raises `CallFailed`."""

    @abstractmethod
    async def taken_back(self, context: JobContext[DP], handle: JobHandle) -> str:
        """Take back what this job has changed, and return what came of it as the end of a sentence."""

    async def poll(self, context: JobContext[DP], handle: JobHandle) -> JobState:
        """Go on with the deployment."""
        self.late(context, handle)
        state = await self.look(context, handle)
        if not isinstance(state, JobRunning):
            self._begun.pop(context.idempotency_key, None)
        return state

    async def cancel(self, context: JobContext[DP], handle: JobHandle) -> None:
        """Take back what was changed; a rollback stays as far as it is."""
        self._begun.pop(context.idempotency_key, None)
        if not context.parameters.rolls_back:
            context.log(f"cancelled{await self.taken_back(context, handle) or ', and left as it is'}")

    def late(self, context: JobContext[DP], handle: JobHandle) -> bool:
        """Whether it has taken too long to become healthy.

        The clock of the machine is asked once, as another process may have begun it; it may be set while the job runs.
        """
        passed = max(0.0, time.time() - float(handle.data[SINCE]))
        begun = self._begun.setdefault(context.idempotency_key, monotonic() - passed)
        return monotonic() - begun >= context.parameters.health_timeout_seconds

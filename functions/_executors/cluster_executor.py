"""Bases of executors whose jobs are objects of one Kubernetes cluster: what all of them do, and what deployments do."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from functions._core.executors.deploy import DEPLOYING, FAMILY, DeployParameters
from functions._core.executors.parameters import ExecutorParameters
from functions._core.records.values import TaskType
from functions._executors.cluster import ClusterApi
from functions._executors.health import WayBack
from functions._executors.port import JobContext, JobExecutor, JobFailed, JobHandle, ToolCheck
from functions._executors.settings import ExecutorSettings

CP = TypeVar("CP", bound=ExecutorParameters)
DP = TypeVar("DP", bound=DeployParameters)


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
    """Base of executors that deploy to a cluster."""

    family: ClassVar[str] = FAMILY
    task_types: ClassVar[frozenset[TaskType]] = DEPLOYING

    @abstractmethod
    async def taken_back(self, context: JobContext[DP], handle: JobHandle) -> WayBack:
        """Take back what this job has changed, if the plan wants it. Raises `CallFailed`."""

    async def failed(self, context: JobContext[DP], handle: JobHandle, kind: str, words: str) -> JobFailed:
        """Take back what was changed, and return the failure with what came of that. Raises `CallFailed`."""
        context.log(words)  # whoever goes on with a way back that is cut off does not know them
        back = await self.taken_back(context, handle)
        return JobFailed(back.kind or kind, f"{words}{back.words}", retryable=False)

    async def cancel(self, context: JobContext[DP], handle: JobHandle) -> None:
        """Take back what was changed; a rollback stays as far as it is."""
        if not context.parameters.rolls_back:
            context.log(f"cancelled{(await self.taken_back(context, handle)).words}")

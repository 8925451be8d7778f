"""The executor `code_forge`: a pipeline of a code forge, which makes an artifact, tests it, and waits for a person.

The forge begins one pipeline for an Idempotency-Key, whoever asks again. A pipeline that waits for the review of a
person runs until that is decided, or the time of the ticket is over. Flow C's own forge has this API, too.

    POST /api/v1/pipelines               202 or 201 {"pipeline_id": …}, 200 for one that is known
    GET  /api/v1/pipelines/{id}          status, stage, artifacts, sbom, signature
    POST /api/v1/pipelines/{id}/cancel
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from functions._core.executors.build import CodeForgeOutputs, CodeForgeParameters, ForgedArtifact
from functions._core.records.values import Model, TaskType
from functions._executors.calls import GONE
from functions._executors.patterns import admit
from functions._executors.port import (
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.services import ServiceApi, ServiceConnection, part, read_as
from functions._executors.settings import ExecutorSettings

PIPELINES = "/api/v1/pipelines"

DONE = "completed"
FAILED = frozenset({"failed", "partial", "rejected", "cancelled", "timed_out"})
"""Statuses of a pipeline that has ended badly; `partial` has made some of its artifacts only."""

MOST_ARTIFACTS = 100
LONGEST = 2_000
"""Characters of what a forge says of a failure."""

Context = JobContext[CodeForgeParameters]


class SeenPipeline(Model):
    """A pipeline, as the forge shows it."""

    pipeline_id: str
    status: str = ""
    stage: str | None = None
    error: str | None = None
    artifacts: tuple[ForgedArtifact, ...] = ()
    sbom: Mapping[str, Any] | None = None
    signature: str | None = None
    git_mr_url: str | None = None
    url: str | None = None

    @property
    def page(self) -> str:
        """Where a person sees it."""
        return self.git_mr_url or self.url or ""


class CodeForgeExecutor(JobExecutor[CodeForgeParameters]):
    """Has artifacts made by one code forge."""

    name: ClassVar[str] = "code_forge"
    family: ClassVar[str] = "build"
    task_types: ClassVar[frozenset[TaskType]] = frozenset({TaskType.BUILD})
    detached: ClassVar[bool] = True
    Parameters = CodeForgeParameters
    Outputs = CodeForgeOutputs

    def __init__(self, settings: ExecutorSettings) -> None:
        self._permitted = settings.repositories
        self._pause_seconds = 3 * settings.poll_seconds
        self._api = ServiceApi(ServiceConnection.from_settings(settings, "CODE_FORGE"))

    async def start(self, context: Context) -> JobHandle:
        """Begin a pipeline; the forge answers with the one of this key, where there is one."""
        given = context.parameters
        admit(given.artifact_id, self._permitted, "this artifact (WORKER_REPOSITORIES)")
        asked = given.model_dump(mode="json", exclude={"artifact_id", "inputs"}, exclude_none=True)
        parameters = {**given.inputs, **{name: asked[name] for name in asked.keys() & WORDS}}
        why = "a secret is among the parameters, which everybody can read who may read the pipeline"
        context.refuse_secrets(parameters, why, "secret_in_inputs")
        about = {"plan_id": context.plan_id, "flow_id": context.flow_id, "correlation_id": context.correlation_id}
        body = {
            "artifact_id": given.artifact_id,
            "ticket_id": context.ticket_id,
            "parameters": {**parameters, **about},
        }
        headers = {"idempotency-key": context.idempotency_key}
        if context.traceparent:
            headers["traceparent"] = context.traceparent
        reply = await self._api.good("POST", PIPELINES, body=body, headers=headers)
        seen = read_as(SeenPipeline, reply)
        return JobHandle(job_id=seen.pipeline_id, url=_web(seen.page), adopted=reply.status == HTTPStatus.OK)

    async def poll(self, context: Context, handle: JobHandle) -> JobState:  # noqa: ARG002 - the port's
        """Look at the pipeline."""
        reply = await self._api.call("GET", f"{PIPELINES}/{part(handle.job_id)}")
        if reply.status == HTTPStatus.NOT_FOUND:
            return JobFailed("lost", "the forge does not know the pipeline any more")
        seen = read_as(SeenPipeline, self._api.checked(reply, "GET"))
        status = seen.status.lower()
        if status == DONE:
            return JobSucceeded(_outputs(seen))
        if status in FAILED:
            why = f"the pipeline is {status}: {(seen.error or seen.stage or 'the forge does not say why')[:LONGEST]}"
            return JobFailed(f"build_{status}", why, retryable=status != "rejected")
        waits = "it waits for a review" if status.startswith("requires_") else seen.stage or status
        return JobRunning(
            message=f"{waits}{f': {seen.page}' if seen.page else ''}"[:500], pause_seconds=self._pause_seconds
        )

    async def cancel(self, context: Context, handle: JobHandle) -> None:  # noqa: ARG002 - the port's
        """End the pipeline."""
        reply = await self._api.call("POST", f"{PIPELINES}/{part(handle.job_id)}/cancel", body={})
        if not reply.ok and reply.status not in GONE:
            raise self._api.refused(reply, "POST")

    async def check(self) -> Sequence[ToolCheck]:
        """Ask the forge whether it is ready, and say what may be made."""
        allowed = ", ".join(self._permitted)
        builds = ToolCheck("artifacts", bool(allowed), f"WORKER_REPOSITORIES allows {allowed or 'none'}")
        return await self._api.reached(f"{PIPELINES}?limit=1", "code forge"), builds

    async def aclose(self) -> None:
        """Close all connections."""
        await self._api.aclose()


WORDS = frozenset({"template_id", "language", "branch", "commit_sha"})
"""Parameters of the executor that the forge is told of."""


def _outputs(seen: SeenPipeline) -> CodeForgeOutputs:
    return CodeForgeOutputs(
        pipeline_id=seen.pipeline_id,
        artifacts=seen.artifacts[:MOST_ARTIFACTS],
        sbom=seen.sbom,
        signature=seen.signature,
        url=_web(seen.page),
    )


def _web(url: str) -> str:
    """Return an address that a browser opens; empty for any other."""
    return url if url.startswith(("https://", "http://")) else ""

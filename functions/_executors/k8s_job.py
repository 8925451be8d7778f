"""The executor `k8s_job`: an image as a Job of a Kubernetes cluster, without rights, found again by its name.

The name of the Job is made of the key of the ticket's job, so the cluster itself keeps it from being there twice.
Values of secrets are in no Job, which many may read: they are in a Secret that the Job owns. A Job with secrets is made
suspended, gets its Secret, and only then begins; a worker that dies in between leaves a Job that the next one resumes.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar

from functions._core.errors import Rejected
from functions._core.executors.cluster import K8sJobOutputs, K8sJobParameters
from functions._core.executors.table import WORK
from functions._core.records.json_text import parse_json
from functions._core.records.values import TaskType
from functions._executors.cluster import (
    KEY,
    ClusterObject,
    admit_namespace,
    condition_of,
    holds,
    key_hash,
    part_of,
    parts_of,
    path_of,
)
from functions._executors.cluster_executor import ClusterExecutor
from functions._executors.job_manifest import CONTAINER, job_manifest, job_name, secret_manifest, secret_names
from functions._executors.patterns import admit
from functions._executors.pod_log import PodLog
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.settings import ExecutorSettings
from functions._executors.tail import FLOOD_BYTES

BATCH = "batch/v1"
LOOK_SECONDS = 2.0
READS = 8
"""Reads of a log that goes on, at each look: as many mebibytes."""


HOPELESS = frozenset(
    {
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "StartError",
    }
)
"""Reasons for which a container waits that do not pass: the node has tried several times, or cannot try."""

NEVER = frozenset({"InvalidImageName", "ErrImageNeverPull"})
"""Those of them that another time will not be better; a registry may be."""

Context = JobContext[K8sJobParameters]


class K8sJobExecutor(ClusterExecutor[K8sJobParameters]):
    """Runs Jobs of one cluster."""

    name: ClassVar[str] = "k8s_job"
    family: ClassVar[str] = "execute"
    detached: ClassVar[bool] = True
    task_types: ClassVar[frozenset[TaskType]] = WORK
    Parameters = K8sJobParameters
    Outputs = K8sJobOutputs
    rights = (
        ("create", "batch", "jobs"),
        ("get", "batch", "jobs"),
        ("patch", "batch", "jobs"),
        ("delete", "batch", "jobs"),
        ("list", "", "pods"),
        ("get", "", "pods/log"),
        ("create", "", "secrets"),
        ("delete", "", "secrets"),
    )

    def __init__(self, settings: ExecutorSettings) -> None:
        super().__init__(settings)
        self._logs: dict[str, PodLog] = {}

    async def start(self, context: Context) -> JobHandle:
        """Create the Job, or find that of an earlier attempt."""
        self._admit(context)
        namespace, name = context.parameters.namespace, job_name(context)
        found = await self.api.get(path_of(namespace, "jobs", name, version=BATCH))
        if found is not None and await self._is_over(context, found):
            raise CallFailed("the Job that failed before is being removed")  # the next call will not find it
        if found is None:
            made = await self.api.create(path_of(namespace, "jobs", version=BATCH), job_manifest(context))
            if made is None:
                raise CallFailed("another attempt makes the same Job just now")  # the next call will find it
        else:
            made = found
        uid = str(part_of(made, "metadata").get("uid", ""))
        if part_of(made, "spec").get("suspend"):
            await self._begin(context, uid)
        return JobHandle(job_id=f"{namespace}/{name}", adopted=found is not None, data={"uid": uid})

    async def poll(self, context: Context, handle: JobHandle) -> JobState:
        """Look at the Job and its pod, and read its log."""
        state = await self._state(context, handle)
        if isinstance(state, JobSucceeded | JobFailed):
            self._logs.pop(handle.job_id, None)
        return state

    async def _state(self, context: Context, handle: JobHandle) -> JobState:
        namespace, _, name = handle.job_id.partition("/")
        job = await self.api.get(path_of(namespace, "jobs", name, version=BATCH))
        if job is None or part_of(job, "metadata").get("uid") != handle.data.get("uid"):
            return JobFailed("lost", "the Job is not there any more")
        pod = await self._pod(context, namespace)
        if pod is None:
            return _without_pod(job) or JobRunning(pause_seconds=LOOK_SECONDS)
        log = self._log(context, handle, pod)
        if (end := part_of(_container(pod), "state", "terminated")).get("exitCode") is not None:
            await log.rest(self.api)
            await self._secret_removed(context)
            return _judged(context, pod, end, log)
        stands = _waits(context, pod)
        if isinstance(stands, JobRunning) and (over := _without_pod(job)) is not None:
            return over
        for _ in range(READS):
            if not await log.read(self.api):
                break
        if log.flooded:
            stands = JobFailed("output_too_large", f"it wrote more than {FLOOD_BYTES} bytes", retryable=False)
        if isinstance(stands, JobFailed):
            await self.cancel(context, handle)  # it would go on for ever
            return stands
        return stands

    async def cancel(self, context: Context, handle: JobHandle) -> None:  # noqa: ARG002 - the port's
        """Delete the Job; the cluster ends its pod and removes its Secret."""
        self._logs.pop(handle.job_id, None)
        namespace, _, name = handle.job_id.partition("/")
        await self.api.delete(path_of(namespace, "jobs", name, version=BATCH), str(handle.data.get("uid", "")))

    async def check(self) -> Sequence[ToolCheck]:
        """Ask the cluster what the worker may do."""
        allowed = ", ".join(self.settings.images)
        images = ToolCheck("images", bool(allowed), f"WORKER_IMAGES allows {allowed or 'none'}")
        return (*await super().check(), images)

    def _admit(self, context: Context) -> None:
        """Refuse what the worker's owner does not allow, and a secret that everybody could read."""
        given = context.parameters
        shown = {**given.model_dump(mode="json", exclude={"compensates"}), "env": [*given.env]}
        why = "a secret is an argument, which everybody can read who may read Jobs; use env"
        context.refuse_secrets(shown, why, "secret_in_arguments")
        admit_namespace(self.settings, given.namespace)
        admit(given.image, self.settings.images, "this image (WORKER_IMAGES)")
        if given.service_account is not None:
            accounts = self.settings.service_accounts
            admit(given.service_account, accounts, "this service account (WORKER_SERVICE_ACCOUNTS)")

    async def _is_over(self, context: Context, job: ClusterObject) -> bool:
        """Whether a Job of this key cannot be gone on with: it has failed, or is being removed. It is deleted then."""
        metadata = part_of(job, "metadata")
        if part_of(metadata, "labels").get(KEY) != key_hash(context.idempotency_key):
            raise CallFailed("another Job has the name", transient=False, kind="name_taken")
        if not holds(job, "Failed") and "deletionTimestamp" not in metadata:
            return False
        path = path_of(context.parameters.namespace, "jobs", job_name(context), version=BATCH)
        await self.api.delete(path, str(metadata.get("uid", "")))
        return True

    async def _begin(self, context: Context, uid: str) -> None:
        """Give a suspended Job its Secret, and let it begin."""
        namespace, name = context.parameters.namespace, job_name(context)
        secret = secret_manifest(context, uid)
        if await self.api.create(path_of(namespace, "secrets"), secret) is None:
            there = await self.api.get(path_of(namespace, "secrets", name))
            if uid not in {one.get("uid") for one in parts_of(there or {}, "metadata", "ownerReferences")}:
                await self.api.delete(path_of(namespace, "secrets", name))
                raise CallFailed("the Secret of a former Job is being removed")
        await self.api.merge(path_of(namespace, "jobs", name, version=BATCH), {"spec": {"suspend": False}})

    async def _secret_removed(self, context: Context) -> None:
        """Remove the Secret of a Job that has ended; where this fails, it goes with the Job."""
        if secret_names(context):
            with suppress(CallFailed):
                await self.api.delete(path_of(context.parameters.namespace, "secrets", job_name(context)))

    async def _pod(self, context: Context, namespace: str) -> ClusterObject | None:
        """Return the newest pod of the Job."""
        selector = f"{KEY}={key_hash(context.idempotency_key)}"
        pods = await self.api.objects(path_of(namespace, "pods"), selector)
        ours = [one for one in pods if _is_of(one, job_name(context))]
        return max(ours, key=lambda one: str(part_of(one, "metadata").get("creationTimestamp", "")), default=None)

    def _log(self, context: Context, handle: JobHandle, pod: ClusterObject) -> PodLog:
        if handle.job_id not in self._logs:
            name = str(part_of(pod, "metadata").get("name", ""))
            path = path_of(context.parameters.namespace, "pods", name, below="log")
            self._logs[handle.job_id] = PodLog(context, path, CONTAINER)
        return self._logs[handle.job_id]


def _is_of(pod: ClusterObject, job: str) -> bool:
    """Whether a pod is that of a Job, as its owner says: labels can be written by others."""
    owners = parts_of(pod, "metadata", "ownerReferences")
    return any(one.get("kind") == "Job" and one.get("name") == job for one in owners)


def _container(pod: ClusterObject) -> Mapping[str, Any]:
    found = parts_of(pod, "status", "containerStatuses")
    return next((one for one in found if one.get("name") == CONTAINER), {})


def _without_pod(job: ClusterObject) -> JobFailed | None:
    """Return the failure of a Job whose pod tells nothing; None while it goes on."""
    failed = condition_of(job, "Failed")
    if failed.get("status") == "True":
        reason, text = str(failed.get("reason", "")), str(failed.get("message", ""))[:1_000]
        kind = "timeout" if reason == "DeadlineExceeded" else "lost"
        return JobFailed(kind, f"the Job failed, and its pod is gone: {reason}: {text}")
    if holds(job, "Complete"):
        return JobFailed("lost", "the Job has succeeded, and its pod is gone with what it wrote")
    return None


def _waits(context: Context, pod: ClusterObject) -> JobRunning | JobFailed:
    """Return how a pod stands whose container has not ended."""
    status = part_of(pod, "status")
    if status.get("phase") == "Failed":
        return JobFailed("evicted", f"{status.get('reason', 'failed')}: {str(status.get('message', ''))[:1_000]}")
    waiting = part_of(_container(pod), "state", "waiting")
    reason, text = str(waiting.get("reason", "")), str(waiting.get("message", ""))[:1_000]
    if reason in HOPELESS:
        return JobFailed("no_container", f"{reason}: {text}", retryable=reason not in NEVER)
    scheduled = condition_of(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        text = str(scheduled.get("message", ""))[:1_000]
        if _age(scheduled.get("lastTransitionTime")) >= context.parameters.schedule_seconds:
            return JobFailed("unschedulable", f"Unschedulable: {text}")
        return JobRunning(message=f"waits for a node: {text}", pause_seconds=LOOK_SECONDS)
    return JobRunning(message=reason, pause_seconds=LOOK_SECONDS)


def _age(moment: object) -> float:
    """Return the seconds since a moment of the cluster; 0 where it says none."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(str(moment))).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _judged(context: Context, pod: ClusterObject, ended: Mapping[str, Any], log: PodLog) -> JobState:
    """Return what the end of a container means."""
    code, reason = int(ended["exitCode"]), ended.get("reason")
    if reason == "OOMKilled":
        text = f"OOMKilled: it needs more than {context.parameters.resources.memory_mb} MiB"
        return JobFailed("out_of_memory", text)
    stdout = log.tail.text
    if code:
        words = (stdout.strip() or str(ended.get("message", "")))[-2_000:]
        return JobFailed("exit_status", f"exit status {code}: {words}")
    if log.flooded:
        return JobFailed("output_too_large", f"it wrote more than {FLOOD_BYTES} bytes", retryable=False)
    value = None
    if context.parameters.read == "json":
        try:
            value = parse_json(bytes(log.value))
        except Rejected as error:
            return JobFailed("output_not_json", f"what it wrote is not one JSON value: {error}", retryable=False)
    metadata = part_of(pod, "metadata")
    return JobSucceeded(
        K8sJobOutputs(
            exit_code=code,
            image=str(_container(pod).get("imageID", "")),
            namespace=context.parameters.namespace,
            pod=str(metadata.get("name", "")),
            node=str(part_of(pod, "spec").get("nodeName", "")),
            stdout=stdout,
            value=value,
        )
    )

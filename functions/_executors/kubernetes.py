"""The executor `kubernetes`: manifests that are applied to a cluster, followed until they are healthy, or taken back.

`start` only reads. `poll` applies what is not applied yet, all of it first as a dry run, and then looks at the rollout.
A worker that dies in between leaves objects that say whose they are and what was there before (`revisions.py`), so the
next one goes on, and `cancel` takes back whatever there is.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import ClassVar, NamedTuple

from functions._core.executors.cluster_deploy import KubernetesOutputs, KubernetesParameters
from functions._core.executors.manifests import Manifest
from functions._core.executors.rollout import Rollout, address_of, rollout_of
from functions._executors.cluster import (
    KEY,
    ClusterObject,
    admit_namespace,
    key_hash,
    part_of,
    parts_of,
    path_of,
)
from functions._executors.cluster_executor import ClusterDeployExecutor
from functions._executors.health import (
    DEPLOYMENT_FAILED,
    GOING_BACK,
    LEFT,
    ROLLBACK_FAILED,
    UNTOUCHED,
    JobKeys,
    WayBack,
    patience,
    too_late,
    way_back,
)
from functions._executors.manifest_rules import ManifestRules, TargetObject
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
from functions._executors.revisions import (
    REVISION,
    TICKET,
    Before,
    applied_part,
    history_of,
    marked,
    marks_of,
    packed,
)
from functions._executors.settings import ExecutorSettings

LOOK_SECONDS = 3.0
REASONS = 3
"""Reasons of pods that are told."""

Context = JobContext[KubernetesParameters]


class _Found(NamedTuple):
    """An object of the plan, and what is there of it."""

    target: TargetObject
    live: ClusterObject | None

    @property
    def key(self) -> str:
        """The key of the job that applied it last."""
        return marks_of(self.live)[KEY]

    @property
    def revision(self) -> str:
        return marks_of(self.live)[REVISION]


class KubernetesExecutor(ClusterDeployExecutor[KubernetesParameters]):
    """Deploys to one cluster."""

    name: ClassVar[str] = "kubernetes"
    Parameters = KubernetesParameters
    Outputs = KubernetesOutputs
    rights = (
        ("get", "apps", "deployments"),
        ("create", "apps", "deployments"),
        ("patch", "apps", "deployments"),
        ("delete", "apps", "deployments"),
    )

    def __init__(self, settings: ExecutorSettings) -> None:
        super().__init__(settings)
        self._rules = ManifestRules(settings, self.api)

    async def start(self, context: Context) -> JobHandle:
        """Look at what is there; nothing is changed yet."""
        given = context.parameters
        shown = given.model_dump(mode="json", exclude={"manifests", "compensates"})
        context.refuse_secrets(shown, "a secret is in what everybody can read who may read the objects")
        admit_namespace(self.settings, given.namespace)
        objects = await self._found(context)
        key = key_hash(context.idempotency_key)
        if given.rolls_back:
            revision = _gone_back_to(given.revision, objects, key)
            previous = next((one.revision for one in objects if one.live is not None and one.key != key), revision)
        else:
            revision = given.revision or _hash(given.manifests)
            previous = _before(objects, context.ticket_id, revision)
        keys = [one.key for one in objects]
        data = {"revision": revision, "previous": previous, "keys": keys, **patience(context)}
        adopted = key in keys
        return JobHandle(job_id=f"{given.namespace}/{revision or 'none'}", adopted=adopted, data=data)

    async def poll(self, context: Context, handle: JobHandle) -> JobState:
        """Apply what is not applied yet, or look at the rollout of all."""
        objects = await self._found(context)
        if context.parameters.rolls_back:
            return await self._going_back(context, handle, objects)
        keys, found = JobKeys.of(key_hash(context.idempotency_key)), [one.key for one in objects]
        pending = [one for one in objects if one.key != keys.deployed]
        if keys.superseded(found, handle):
            return JobFailed("superseded", "somebody else has deployed the same objects meanwhile", retryable=False)
        if keys.going_back(found, handle):
            return await self.failed(context, handle, DEPLOYMENT_FAILED, GOING_BACK)
        if pending:
            return await self._applied(context, handle, pending)
        state = self._health(context, handle, objects)
        if isinstance(state, JobFailed):
            words = f"{state.message}{await self._reasons(context, objects)}"
            return await self.failed(context, handle, state.kind, words)
        return state

    async def check(self) -> Sequence[ToolCheck]:
        """Ask the cluster what the worker may do."""
        kinds = ToolCheck("kinds", True, f"WORKER_KINDS allows {', '.join(self.settings.kinds)}")
        allowed = ", ".join(self.settings.images)
        images = ToolCheck("images", bool(allowed), f"WORKER_IMAGES allows {allowed or 'none'}", required=False)
        return (*await super().check(), kinds, images)

    async def _found(self, context: Context) -> Sequence[_Found]:
        """Return the objects of the plan, as they are now; refuse what the worker's owner does not allow."""
        given = context.parameters
        targets = [
            await self._rules.target(manifest, given.namespace, context.secrets, named=given.rolls_back)
            for manifest in given.manifests
        ]
        if len({target.path for target in targets}) < len(targets):
            raise CallFailed("an object is named twice", transient=False, kind="bad_manifest")
        return [_Found(target, await self.api.get(target.path)) for target in targets]

    async def _applied(self, context: Context, handle: JobHandle, pending: Sequence[_Found]) -> JobState:
        """Apply manifests, and take back what was applied where one is refused."""
        try:
            await self._apply(context, handle, pending)
        except CallFailed as failure:
            if failure.transient:
                raise
            return await self.failed(context, handle, failure.kind, str(failure))
        return JobRunning(message=f"revision {handle.data['revision']} is applied", pause_seconds=LOOK_SECONDS)

    async def _apply(self, context: Context, handle: JobHandle, pending: Sequence[_Found]) -> None:
        """Apply manifests: all as a dry run first, so that one that is refused changes nothing."""
        given = context.parameters
        ready: list[tuple[TargetObject, Manifest]] = []
        for target, live in pending:
            after = await self.api.apply(
                target.path, marked(target.manifest, given.namespace), force=given.force, dry_run=True
            )
            history = history_of(live)
            if marks_of(live)[TICKET] != context.ticket_id or not history:  # an earlier try of this ticket kept it
                before = None if live is None else applied_part(live, after)
                history = [Before(str(handle.data["previous"]), before), *history]
            kept = packed(history)
            if given.rollback_on_failure:
                await self._admit_restoring(target, history[0].manifest, given.namespace, fits=kept is not None)
            marks = {"key": key_hash(context.idempotency_key), "revision": str(handle.data["revision"])}
            ours = marked(target.manifest, given.namespace, **marks, ticket=context.ticket_id, history=kept or "")
            ready.append((target, ours))
        for target, manifest in ready:
            await self.api.apply(target.path, manifest, force=given.force)
            context.log(f"applied {target}")

    async def _admit_restoring(
        self, target: TargetObject, before: Manifest | None, namespace: str, *, fits: bool
    ) -> None:
        """Refuse to change what could not be restored."""
        if not fits:
            text = f"{target} is too large to be kept for a rollback"
            raise CallFailed(text, transient=False, kind="too_large_to_keep")
        try:
            if before is not None:
                await self._rules.target(before, namespace, ())
        except CallFailed as failure:
            if failure.transient:
                raise
            text = f"{target} as it is now could not be restored: {failure}"
            raise CallFailed(text, transient=False, kind=failure.kind) from failure

    def _health(self, context: Context, handle: JobHandle, objects: Sequence[_Found]) -> JobState:
        """Return how the rollout stands."""
        given = context.parameters
        stands = [(one, rollout_of(one.live)) for one in objects if one.live is not None]
        waits = _worst(stands)
        if waits is None:
            addresses = filter(None, (address_of(one.live) for one, _ in stands if one.live is not None))
            outputs = KubernetesOutputs(
                revision=str(handle.data["revision"]),
                previous_revision=str(handle.data["previous"]),
                url=next(addresses, ""),
                namespace=given.namespace,
                objects=tuple(str(one.target) for one, _ in stands),
            )
            return JobSucceeded(outputs)
        one, rollout = waits
        words = f"{one.target}: {rollout.words}"
        if rollout.state == "failed" or (late := too_late(handle)):
            words = words if rollout.state == "failed" else f"{late}: {words}"
            return JobFailed(ROLLBACK_FAILED if given.rolls_back else DEPLOYMENT_FAILED, words, retryable=False)
        healthy = sum(rollout.state == "healthy" for _, rollout in stands)
        return JobRunning(100 * healthy / len(stands), words, LOOK_SECONDS)

    async def _reasons(self, context: Context, objects: Sequence[_Found]) -> str:
        """Return why containers wait, as the end of a sentence; it is lost where pods cannot be read."""
        found: dict[str, None] = {}
        for one in objects:
            labels = part_of(one.live or {}, "spec", "selector", "matchLabels")
            if labels and rollout_of(one.live or {}).state != "healthy":
                selector = ",".join(f"{name}={value}" for name, value in labels.items())
                with suppress(CallFailed):
                    pods = await self.api.objects(path_of(context.parameters.namespace, "pods"), selector)
                    found |= dict.fromkeys(reason for pod in pods for reason in _waiting(pod))
        return "".join(f"; {reason}" for reason in [*found][:REASONS])

    async def taken_back(self, context: Context, handle: JobHandle) -> WayBack:
        """Take back what this job has applied."""
        if not context.parameters.rollback_on_failure:
            return LEFT
        keys, objects = JobKeys.of(key_hash(context.idempotency_key)), await self._found(context)
        faults: list[str] = []
        ours = [one for one in reversed(objects) if one.live is not None and one.key == keys.deployed]
        for one in ours:
            try:
                await self._restored(context, one, 0, keys.back)
            except CallFailed as failure:
                if failure.transient:
                    raise
                faults.append(f"{one.target}: {failure}")
        begun = ours or keys.going_back((one.key for one in objects), handle)
        return way_back(str(handle.data["previous"]), faults) if begun else UNTOUCHED

    async def _going_back(self, context: Context, handle: JobHandle, objects: Sequence[_Found]) -> JobState:
        """Restore what is not yet as it was at a revision, or look at the rollout of all."""
        wanted, key = str(handle.data["revision"]), key_hash(context.idempotency_key)
        pending: list[tuple[_Found, int]] = []
        for one in objects:
            if one.live is None or one.key == key:
                continue
            known = [before.revision for before in history_of(one.live)]
            if wanted in known:
                pending.append((one, known.index(wanted)))
            elif one.revision != wanted:
                text = f"{one.target} knows no revision {wanted or 'before its first one'!r}"
                return JobFailed("no_such_revision", text, retryable=False)
        for one, position in reversed(pending):
            await self._restored(context, one, position, key)
            context.log(f"rolled back {one.target}")
        if pending:
            return JobRunning(message=f"rolled back to {wanted or 'nothing'}", pause_seconds=LOOK_SECONDS)
        return self._health(context, handle, objects)

    async def _restored(self, context: Context, one: _Found, position: int, key: str) -> None:
        """Let an object be what it was; it must pass the rules, as others may have written what it remembers."""
        namespace, history = context.parameters.namespace, history_of(one.live)
        if position >= len(history):
            raise CallFailed("nothing is kept of what was there", transient=False, kind="no_such_revision")
        revision, manifest = history[position]
        if manifest is None:
            return await self.api.delete(one.target.path, str(part_of(one.live or {}, "metadata").get("uid", "")))
        target = await self._rules.target(manifest, namespace, ())
        if target.path != one.target.path:
            raise CallFailed("what it remembers is another object", transient=False, kind="no_such_revision")
        rest = packed(history[position + 1 :]) or ""
        ours = marked(manifest, namespace, key=key, revision=revision, history=rest)
        await self.api.apply(target.path, ours, force=True)
        return None


def _waiting(pod: ClusterObject) -> Iterator[str]:
    for container in parts_of(pod, "status", "containerStatuses"):
        waiting = part_of(container, "state", "waiting")
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            yield f"{waiting['reason']}: {str(waiting.get('message', ''))[:300]}"


def _worst(stands: Sequence[tuple[_Found, Rollout]]) -> tuple[_Found, Rollout] | None:
    """Return the object that has failed, or one that is not healthy yet."""
    unhealthy = [(one, rollout) for one, rollout in stands if rollout.state != "healthy"]
    return min(unhealthy, key=lambda stand: stand[1].state != "failed", default=None)


def _hash(manifests: Sequence[Manifest]) -> str:
    """Return the revision of manifests to which nobody gave one."""
    return sha256(json.dumps(manifests, sort_keys=True, default=dict).encode()).hexdigest()[:12]


def _known(objects: Sequence[_Found]) -> Iterator[str]:
    return (one.revision for one in objects if one.live is not None)


def _before(objects: Sequence[_Found], ticket_id: str, revision: str) -> str:
    """Return the name of the revision that is there before a deployment; empty where there is nothing."""
    for one in objects:
        history = history_of(one.live)
        if history and marks_of(one.live)[TICKET] == ticket_id:  # an earlier try of this ticket has begun it
            return history[0].revision
    known = [*_known(objects)]
    return next(filter(None, known), f"before-{revision}" if known else "")


def _gone_back_to(wanted: str | None, objects: Sequence[_Found], key: str) -> str:
    """Return the revision to go back to: the one that is named, or the one before the present one."""
    if wanted is not None:
        return wanted
    for one in objects:
        if one.live is not None and one.key == key:
            return one.revision
    for one in objects:
        if history := history_of(one.live):
            return history[0].revision
    raise CallFailed("there is no revision to go back to", transient=False, kind="no_such_revision")

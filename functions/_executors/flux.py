"""The executor `flux`: Flux is told what to apply, asked to do it now, and followed until it says that it has.

Flux does the work; the job is a change of two objects, the application and its source. What was there before is kept in
an annotation of the application, which is written first by a deployment and last by a rollback: whenever a worker dies,
the next one can go on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from functions._core.executors.cluster_deploy import FluxOutputs, FluxParameters
from functions._executors.cluster import KEY, admit_namespace, key_hash, part_of
from functions._executors.cluster_executor import ClusterDeployExecutor
from functions._executors.flux_objects import (
    FluxPair,
    application_patch,
    application_path,
    marks_for,
    pinned_to,
    source_marks,
    source_of,
    source_patch,
    standing,
    state_at,
    state_of,
    wanted_state,
)
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
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
)
from functions._executors.revisions import REVISION, TICKET, Before, history_of, marks_of, packed

LOOK_SECONDS = 5.0
Context = JobContext[FluxParameters]


class FluxExecutor(ClusterDeployExecutor[FluxParameters]):
    """Deploys by the Flux of one cluster."""

    name: ClassVar[str] = "flux"
    Parameters = FluxParameters
    Outputs = FluxOutputs
    rights = (  # for a Kustomization of a GitRepository
        ("get", "kustomize.toolkit.fluxcd.io", "kustomizations"),
        ("patch", "kustomize.toolkit.fluxcd.io", "kustomizations"),
        ("get", "source.toolkit.fluxcd.io", "gitrepositories"),
        ("patch", "source.toolkit.fluxcd.io", "gitrepositories"),
    )

    async def start(self, context: Context) -> JobHandle:
        """Look at what is there; nothing is changed yet."""
        given = context.parameters
        why = "a secret is among the parameters, which everybody can read who may read the application; use valuesFrom"
        context.refuse_secrets(given.model_dump(mode="json", exclude={"compensates"}), why)
        admit_namespace(self.settings, given.namespace)
        pair = await self._pair(context)
        adopted = pair.key == key_hash(context.idempotency_key)
        history = history_of(pair.application)
        if given.rolls_back:
            revision, previous = _gone_back_to(given.revision, pair, adopted=adopted), pair.revision
        else:
            revision = given.revision or ""
            same = history and marks_of(pair.application)[TICKET] == context.ticket_id
            previous = history[0].revision if same else pair.revision
        keys = [pair.key, _key_of_source(pair)]
        data = {"revision": revision, "previous": previous, "keys": keys, **patience(context)}
        name = f"{given.namespace}/{given.kind}/{given.application}"
        return JobHandle(job_id=name, adopted=adopted, data=data)

    async def poll(self, context: Context, handle: JobHandle) -> JobState:
        """Change the objects, or look at what Flux makes of them."""
        pair, keys = await self._pair(context), JobKeys.of(key_hash(context.idempotency_key))
        key, found = keys.deployed, (pair.key, _key_of_source(pair))
        if keys.superseded(found, handle):
            return JobFailed("superseded", "somebody else has changed the same application meanwhile", retryable=False)
        if keys.going_back(found, handle):
            return await self.failed(context, handle, DEPLOYMENT_FAILED, GOING_BACK)
        if context.parameters.rolls_back:
            if pair.key != key:
                return await self._gone_back(context, handle, pair)
        elif pair.key != key or _key_of_source(pair) not in {key, None}:
            await self._change(context, handle, pair)
            return JobRunning(message="Flux is asked to apply it", pause_seconds=LOOK_SECONDS)
        state = self._state(context, handle, pair)
        if isinstance(state, JobFailed) and not context.parameters.rolls_back:
            return await self.failed(context, handle, state.kind, state.message)
        return state

    async def _pair(self, context: Context) -> FluxPair:
        given = context.parameters
        application = await self.api.get(application_path(given))
        if application is None:
            text = f"there is no {given.kind} {given.application} in {given.namespace}"
            raise CallFailed(text, transient=False, kind="not_found")
        named = source_of(application, given.namespace)
        if named is None:
            return FluxPair(application, None)
        admit_namespace(self.settings, named.namespace)
        source = await self.api.get(named.path)
        if source is None:
            raise CallFailed(f"there is no {named.kind} that it follows", transient=False, kind="not_found")
        if named.kind == "Bucket" and given.revision and not given.rolls_back:
            raise CallFailed("a Bucket has no revisions to choose from", transient=False, kind="no_such_revision")
        return FluxPair(application, source)

    async def _change(self, context: Context, handle: JobHandle, pair: FluxPair) -> None:
        """Let the application remember what it was and have what is wanted; then its source."""
        key = key_hash(context.idempotency_key)
        state = wanted_state(context.parameters, pair)
        if pair.key != key:
            history = history_of(pair.application)
            if marks_of(pair.application)[TICKET] != context.ticket_id or not history:
                history = [Before(str(handle.data["previous"]), state_of(pair)), *history]
            kept = packed(history)
            if kept is None and context.parameters.rollback_on_failure:
                text = "its values are too large to be kept for a rollback"
                raise CallFailed(text, transient=False, kind="too_large_to_keep")
            marks = marks_for(key, key, ticket=context.ticket_id, history=kept or "")
            await self._patched(application_path(context.parameters), application_patch(pair, state, marks))
        await self._source_changed(context, pair, state, key, key)

    async def _gone_back(self, context: Context, handle: JobHandle, pair: FluxPair) -> JobState:
        """Restore a revision: the one that is remembered, or one whose words are enough to find it."""
        wanted, key = str(handle.data["revision"]), key_hash(context.idempotency_key)
        history = history_of(pair.application)
        known = [before.revision for before in history]
        if wanted in known:
            position = known.index(wanted)
            before = history[position]
            await self._restored(context, pair, before, history[position + 1 :], key, key)
        elif (state := state_at(wanted, pair)) is not None:
            await self._restored(context, pair, Before(wanted, state), history, key, key)
        else:
            text = f"the {context.parameters.kind} knows no revision {wanted[:100] or 'before its first one'!r}"
            return JobFailed("no_such_revision", text, retryable=False)
        return JobRunning(message=f"Flux is asked to go back to {wanted or 'nothing'}", pause_seconds=LOOK_SECONDS)

    def _state(self, context: Context, handle: JobHandle, pair: FluxPair) -> JobState:
        given, key = context.parameters, key_hash(context.idempotency_key)
        name = f"{given.kind}/{given.application}"
        if given.rolls_back and part_of(pair.application, "spec").get("suspend"):
            return JobSucceeded(
                FluxOutputs(
                    revision=str(handle.data["revision"]),
                    health="Suspended",
                    namespace=given.namespace,
                    application=name,
                )
            )
        rollout = standing(pair, key)
        if rollout.state == "healthy":
            return JobSucceeded(
                FluxOutputs(
                    revision=pair.revision,
                    previous_revision=str(handle.data["previous"]),
                    namespace=given.namespace,
                    application=name,
                )
            )
        if rollout.state == "failed" or (late := too_late(handle)):
            words = f"{name}: {rollout.words}" if rollout.state == "failed" else f"{late}: {name}: {rollout.words}"
            return JobFailed(ROLLBACK_FAILED if given.rolls_back else DEPLOYMENT_FAILED, words, retryable=False)
        return JobRunning(message=rollout.words, pause_seconds=LOOK_SECONDS)

    async def taken_back(self, context: Context, handle: JobHandle) -> WayBack:
        """Take back what this job has changed."""
        if not context.parameters.rollback_on_failure:
            return LEFT
        pair, keys = await self._pair(context), JobKeys.of(key_hash(context.idempotency_key))
        history = history_of(pair.application)
        if pair.key == keys.deployed and history:
            await self._restored(context, pair, history[0], history[1:], keys.back, keys.back)
        elif not keys.going_back((pair.key, _key_of_source(pair)), handle):
            return UNTOUCHED
        return way_back(str(handle.data["previous"]), ())

    async def _restored(
        self, context: Context, pair: FluxPair, before: Before, rest: Sequence[Before], key: str, request: str
    ) -> None:
        """Let source and application be what they were; what was never applied is suspended."""
        state = {**pinned_to(before, pair), **({} if before.revision else {"suspend": True})}
        await self._source_changed(context, pair, state, key, request)
        marks = marks_for(key, request, history=packed(rest) or "", revision=before.revision)
        await self._patched(application_path(context.parameters), application_patch(pair, state, marks))

    async def _source_changed(
        self, context: Context, pair: FluxPair, state: Mapping[str, Any], key: str, request: str
    ) -> None:
        named = source_of(pair.application, context.parameters.namespace)
        if named is not None and pair.source is not None:
            ref = {name: value for name, value in part_of(state, "ref").items() if isinstance(value, str)}
            marks = source_marks(state, key, request)
            await self._patched(named.path, source_patch(pair.source, ref, marks))

    async def _patched(self, path: str, patch: Mapping[str, Any]) -> None:
        try:
            await self.api.merge(path, patch)
        except CallFailed as failure:
            if failure.kind != "conflict":
                raise
            raise CallFailed("it was changed meanwhile") from failure  # the next look sees by whom


def _gone_back_to(wanted: str | None, pair: FluxPair, *, adopted: bool) -> str:
    """Return the revision to go back to: the one that is named, or the one before the present one."""
    if wanted is not None:
        return wanted
    if adopted:
        return marks_of(pair.application)[REVISION]
    if history := history_of(pair.application):
        return history[0].revision
    raise CallFailed("there is no revision to go back to", transient=False, kind="no_such_revision")


def _key_of_source(pair: FluxPair) -> str | None:
    """Return the key of the job that changed the source last; None where there is no source."""
    return None if pair.source is None else marks_of(pair.source)[KEY]

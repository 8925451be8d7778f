"""The executor `argocd`: an application of Argo CD is changed, synced, and followed until it is healthy, or goes back.

Argo CD keeps the operation with the key of its job among its infos, so another attempt goes on with it, whatever it was
about to do. To go back is an operation of the same kind: the source of an entry of the history, at its commit. Argo
CD's own rollback says nothing of who asked for it, and is refused where an application is synced automatically.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import urlsplit

from functions._core.executors.argocd import ArgocdOutputs, ArgocdParameters
from functions._core.executors.deploy import DEPLOYING, FAMILY
from functions._core.executors.merge_patch import difference
from functions._core.records.values import JsonObject, TaskType, parse_time
from functions._executors.argocd_application import (
    BACK,
    DEPLOY,
    JOB,
    KEY,
    PREVIOUS,
    REASON,
    STEP,
    Application,
    Deployed,
    Operation,
    changed_source,
    pinned_source,
)
from functions._executors.health import patience, seconds_of, too_late
from functions._executors.patterns import admit
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.services import ServiceApi, ServiceConnection, json_of_reply, part
from functions._executors.settings import ExecutorSettings

DEGRADED_LOOKS = 3
"""Looks in a row at which an application is degraded before it counts: it may be so for a moment."""

UNSEEN_LOOKS = 3
"""Looks at which an operation may be missing: the API answers from a copy, and somebody may have synced meanwhile."""

BRIEF_SECONDS = 60.0
"""How long either may last at most, by the clock of the day: each look may be that of another process."""

LONGEST_REASON = 500
"""Characters of why a deployment failed that its way back carries."""

FAILED_PRECONDITION = 9
"""The code of gRPC for an operation that the state of an application does not permit, beside a status 400."""

Context = JobContext[ArgocdParameters]


@dataclass(slots=True)
class _Watch:
    """What this worker has seen of a job."""

    degraded: int = 0
    """Looks in a row at which the application was degraded."""
    unseen: int = 0
    """Looks at which the operation was not there."""
    back: str = ""
    """Why it goes back."""
    to: str = ""
    """Where it goes back to: an id of the history."""
    sent: bool = False
    """Whether the way back was begun: another operation may be in the way."""


class ArgocdExecutor(JobExecutor[ArgocdParameters]):
    """Deploys by Argo CD."""

    name: ClassVar[str] = "argocd"
    family: ClassVar[str] = FAMILY
    task_types: ClassVar[frozenset[TaskType]] = DEPLOYING
    detached: ClassVar[bool] = True
    Parameters = ArgocdParameters
    Outputs = ArgocdOutputs

    def __init__(self, settings: ExecutorSettings) -> None:
        self._permitted = settings.applications
        self._api = ServiceApi(ServiceConnection.from_settings(settings, "ARGOCD"))
        self._watches: dict[str, _Watch] = {}
        self.pause_seconds = 5.0
        """Between two looks."""

    async def start(self, context: Context) -> JobHandle:
        """Change the application and sync it, or find the operation of an earlier attempt."""
        given = context.parameters
        why = "a secret is among the parameters, which everybody can see who may see the application"
        context.refuse_secrets(given.model_dump(mode="json", exclude={"compensates"}), why)
        named = f"{given.app_namespace}/{given.application}" if given.app_namespace else given.application
        admit(named, self._permitted, "this application (WORKER_APPLICATIONS)")
        app = await self._application(given)
        if given.namespace and app.namespace and given.namespace != app.namespace:
            text = f"the application deploys to another namespace than {given.namespace}"
            raise CallFailed(text, transient=False, kind="another_namespace")
        job_id, page = f"{named}:{context.idempotency_key}", self._page(given)
        operation = app.operation
        if operation is not None and operation.said.get(KEY) == context.idempotency_key:
            return JobHandle(job_id=job_id, url=page, adopted=True, data=_patience(context))
        if operation is not None and operation.goes_on:
            raise CallFailed("another operation of the application goes on", after_seconds=10, kind="busy")
        # Argo CD may sync what was changed by itself, and then has another entry in its history.
        begun_at = app.began_at(context.idempotency_key)
        previous = (app.history[-1].history_id if app.history else "") if begun_at is None else begun_at
        mark = {JOB: f"{context.idempotency_key} {previous}"}
        await self._synced(context, app, _wanted(app, given), {STEP: DEPLOY, PREVIOUS: previous}, mark)
        return JobHandle(job_id=job_id, url=page, data=_patience(context))

    async def poll(self, context: Context, handle: JobHandle) -> JobState:
        """Look at the application."""
        app, watch = await self._application(context.parameters), self._watches.setdefault(handle.job_id, _Watch())
        operation = app.operation
        if watch.back and not watch.sent:
            state = await self._back(context, app, watch)
        elif operation is None or operation.said.get(KEY) != context.idempotency_key:
            state = self._without_ours(app, watch, handle)
        elif operation.goes_on or (watch.back and operation.said.get(STEP) != BACK):  # a look at what was before
            state = self._running(operation.message or "syncing")
        elif operation.phase != "Succeeded":
            why = "; ".join((f"the sync has failed: {operation.message}", *app.failed_resources()))
            state = await self._bad(context, app, operation, watch, why)
        else:
            state = await self._synced_state(context, app, operation, watch, too_late(handle))
        if not isinstance(state, JobRunning):
            self._watches.pop(handle.job_id, None)
        return state

    async def cancel(self, context: Context, handle: JobHandle) -> None:
        """End the operation, and give the application the source back that it had."""
        self._watches.pop(handle.job_id, None)
        app = await self._application(context.parameters)
        operation = app.operation
        if operation is None or operation.said.get(KEY) != context.idempotency_key:
            return
        before = app.deployed(operation.said.get(PREVIOUS, ""))
        if before and operation.said.get(STEP) == DEPLOY and context.parameters.rollback_on_failure:
            await self._patched(context.parameters, app, before.source)
        if operation.goes_on:
            reply = await self._api.call("DELETE", f"{self._path(context)}/operation", query=_place(context.parameters))
            if not reply.ok and reply.status != HTTPStatus.BAD_REQUEST:  # it has just ended
                raise self._api.refused(reply, "DELETE")

    async def check(self) -> Sequence[ToolCheck]:
        """Ask Argo CD who the worker is."""
        allowed = ", ".join(self._permitted)
        named = ToolCheck("applications", bool(allowed), f"WORKER_APPLICATIONS allows {allowed or 'none'}")
        try:
            reply = await self._api.good("GET", "/api/v1/session/userinfo", seconds=10)
            said = json_of_reply(reply)
        except CallFailed as failure:
            return ToolCheck("Argo CD", False, str(failure)), named
        known = isinstance(said, Mapping) and bool(said.get("loggedIn"))
        who = f"known as {str(said.get('username'))[:100]}" if known else "the token is not known"
        return ToolCheck("Argo CD", known, f"{self._api.connection.url}: {who}"), named

    async def aclose(self) -> None:
        """Close all connections."""
        await self._api.aclose()

    def _without_ours(self, app: Application, watch: _Watch, handle: JobHandle) -> JobState:
        """Return how a job stands whose operation is not the last one, or cannot be seen yet."""
        if app.operation is not None and app.operation.goes_on and watch.back:
            return self._running("waiting for another operation")
        watch.unseen += 1
        if watch.unseen <= UNSEEN_LOOKS and seconds_of(handle) < BRIEF_SECONDS:
            return self._running("waiting for the operation to be seen")
        if watch.back:
            text = f"{watch.back}; somebody else has synced the application since it went back"
            return JobFailed("rolled_back", text, retryable=False)
        return JobFailed("superseded", "another operation of the application came after that of this ticket")

    async def _synced_state(
        self, context: Context, app: Application, operation: Operation, watch: _Watch, late: str
    ) -> JobState:
        """Return how a job stands whose operation has succeeded; the way back has a time of its own."""
        if app.settled and app.sync == "Synced" and app.health == "Healthy":
            return self._ended(context, app, operation)
        past = _seconds_since(operation.finished_at)
        degraded = app.settled and app.health == "Degraded"
        watch.degraded = watch.degraded + 1 if degraded else 0
        how = f"{app.sync or 'Unknown'}, {app.health or 'Unknown'} {app.health_message}".strip()
        bad = watch.degraded >= DEGRADED_LOOKS or (degraded and past > BRIEF_SECONDS)
        late = "" if operation.said.get(STEP) == BACK else late
        if bad or late or past > context.parameters.health_timeout_seconds:
            return await self._bad(context, app, operation, watch, f"{late or 'it has not become healthy'}: {how}")
        return self._running(how)

    def _ended(self, context: Context, app: Application, operation: Operation) -> JobState:
        said = operation.said
        if said.get(STEP) == BACK:
            text = f"{said.get(REASON)}; it is back at {operation.revision}"
            return JobFailed("rolled_back", text, retryable=False)
        outputs = ArgocdOutputs(
            revision=operation.revision,
            previous_revision=said.get(PREVIOUS, ""),
            history_id=app.history[-1].history_id if app.history else "",
            health=app.health,
            url=self._page(context.parameters),
        )
        return JobSucceeded(outputs)

    async def _bad(self, context: Context, app: Application, operation: Operation, watch: _Watch, why: str) -> JobState:
        """Go back, where the plan wants it and there is something to go back to."""
        said, why = operation.said, why[:LONGEST_REASON]
        if said.get(STEP) == BACK:
            return JobFailed("rollback_failed", f"{said.get(REASON)}; going back: {why}", retryable=False)
        before = app.deployed(said.get(PREVIOUS, ""))
        if not context.parameters.rollback_on_failure or before is None:
            kept = "it stays as it is" if before else "there is nothing to go back to"
            return JobFailed("deployment_failed", f"{why}; {kept}", retryable=False)
        context.log(why)
        watch.back, watch.to, watch.degraded = why, before.history_id, 0
        return await self._back(context, app, watch)

    async def _back(self, context: Context, app: Application, watch: _Watch) -> JobState:
        """Begin the way back, once nothing is in its way."""
        if app.operation is not None and app.operation.goes_on:
            return self._running("waiting for another operation")
        before = app.deployed(watch.to)
        if before is None:
            text = f"{watch.back}; the history does not have what was there before any more"
            return JobFailed("rollback_failed", text, retryable=False)
        infos = {STEP: BACK, PREVIOUS: watch.to, REASON: watch.back}
        await self._synced(context, app, pinned_source(before), infos)
        watch.sent = True
        return self._running(f"going back to {before.revision}")

    async def _synced(
        self,
        context: Context,
        app: Application,
        source: JsonObject,
        said: Mapping[str, str],
        mark: Mapping[str, str] | None = None,
    ) -> None:
        """Give the application a source, with a mark if that changes it, and sync it; it may be called again."""
        given = context.parameters
        await self._patched(given, app, source, mark)
        infos = [{"name": name, "value": value} for name, value in {KEY: context.idempotency_key, **said}.items()]
        body = {"name": given.application, "prune": given.prune, "infos": infos, **_place(given)}
        reply = await self._api.call("POST", f"{self._path(context)}/sync", body=body)
        if reply.status == HTTPStatus.BAD_REQUEST and _in_the_way(json_of_reply(reply)):
            raise CallFailed("another operation of the application goes on", after_seconds=10, kind="busy")
        self._api.checked(reply, "POST")

    async def _patched(
        self, given: ArgocdParameters, app: Application, source: JsonObject, mark: Mapping[str, str] | None = None
    ) -> None:
        patch = difference(app.source, source)
        if not patch:
            return
        if app.several_sources:
            text = "the application has several sources, which this executor cannot change"
            raise CallFailed(text, transient=False, kind="several_sources")
        whole = {"spec": {"source": patch}, **({"metadata": {"annotations": mark}} if mark else {})}
        body = {"name": given.application, "patch": json.dumps(whole), "patchType": "merge", **_place(given)}
        await self._api.good("PATCH", f"/api/v1/applications/{part(given.application)}", body=body)

    async def _application(self, given: ArgocdParameters) -> Application:
        path = f"/api/v1/applications/{part(given.application)}"
        reply = await self._api.call("GET", path, query=_place(given))
        if reply.status == HTTPStatus.NOT_FOUND:
            raise CallFailed("there is no such application", transient=False, kind="no_application")
        self._api.checked(reply, "GET")
        return Application(json_of_reply(reply))

    def _running(self, message: str) -> JobRunning:
        return JobRunning(message=message[:LONGEST_REASON], pause_seconds=self.pause_seconds)

    def _path(self, context: Context) -> str:
        return f"/api/v1/applications/{part(context.parameters.application)}"

    def _page(self, given: ArgocdParameters) -> str:
        parts = urlsplit(self._api.connection.url)
        inside = f"{part(given.app_namespace)}/" if given.app_namespace else ""
        return f"{parts.scheme}://{parts.netloc}{parts.path}/applications/{inside}{part(given.application)}"


def _wanted(app: Application, given: ArgocdParameters) -> JsonObject:
    """Return the source that the application is to have; raise `CallFailed` where there is nothing to go back to."""
    if not given.rolls_back:
        return changed_source(app.source, given)
    target: Deployed | None = None
    if given.revision is None:
        target = app.history[-2] if len(app.history) > 1 else None
    elif given.revision:
        target = app.deployed(given.revision)
    if target is not None:
        return pinned_source(target)
    if given.revision:
        text = "the application's history does not have this revision any more"
        raise CallFailed(text, transient=False, kind="no_such_revision")
    raise CallFailed("there was no deployment before this one", transient=False, kind="no_previous_revision")


def _place(given: ArgocdParameters) -> dict[str, str]:
    named = {"appNamespace": given.app_namespace, "project": given.project}
    return {name: value for name, value in named.items() if value}


def _in_the_way(said: object) -> bool:
    """Whether an answer says that another operation goes on."""
    if not isinstance(said, Mapping) or said.get("code") != FAILED_PRECONDITION:
        return False
    return "already in progress" in str(said.get("message", ""))


def _patience(context: Context) -> Mapping[str, Any]:
    return patience(context, returns=context.parameters.rollback_on_failure)  # a rollback that fails goes back, too


def _seconds_since(moment: object) -> float:
    """Return how long ago a moment was, by the clock of the day; 0 for what is no moment, or lies ahead."""
    try:
        at = parse_time(moment)
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, (datetime.now(UTC) - at).total_seconds()) if isinstance(at, datetime) and at.tzinfo else 0.0

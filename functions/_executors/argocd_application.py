"""An application of Argo CD as its API tells it, read with care: what has another shape counts as absent.

An operation, which is what Argo CD calls a sync, carries names and values of whoever asked for it. They are how the
operation of a job is found again, and what it is about.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from functions._core.executors.argocd import ArgocdParameters
from functions._core.executors.merge_patch import laid_over
from functions._core.records.values import JsonObject

KEY = "flowc.key"
"""Name of the key of the job."""
STEP = "flowc.step"
"""Name of what the operation is for: `DEPLOY` or `BACK`."""
PREVIOUS = "flowc.previous"
"""Name of the id of what ran before, in the history of the application."""
REASON = "flowc.reason"
"""Name of why it went back."""

JOB = "flowc.neuralhive.io/job"
"""The annotation with the key of the job that changed the source, and the id of what ran before."""

DEPLOY, BACK = "deploy", "back"

GOES_ON = frozenset({"", "Running", "Terminating"})
"""Phases of an operation that has not ended."""


class Operation(NamedTuple):
    """An operation of the application, the one that goes on or the last one."""

    phase: str
    message: str
    said: Mapping[str, str]
    """What whoever asked for it has said."""
    revision: str
    finished_at: str

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended."""
        return self.phase in GOES_ON


class Deployed(NamedTuple):
    """An entry of the history of an application."""

    history_id: str
    revision: str
    source: JsonObject


class Application:
    """An application at one moment."""

    def __init__(self, document: object) -> None:
        self._document = document
        self.source = _object(document, "spec", "source")
        self.namespace = _text(document, "spec", "destination", "namespace")
        self.several_sources = bool(_at(document, "spec", "sources"))
        self.sync = _text(document, "status", "sync", "status")
        self.health = _text(document, "status", "health", "status")
        self.health_message = _text(document, "status", "health", "message")
        self.reconciled_at = _text(document, "status", "reconciledAt")

    def began_at(self, key: str) -> str | None:
        """Return what ran when the job of a key changed the source, by its id; None where it has not."""
        of, _, previous = _text(self._document, "metadata", "annotations", JOB).partition(" ")
        return previous if of == key else None

    @property
    def operation(self) -> Operation | None:
        """The operation that goes on or waits to begin, or the last one; None where there was none."""
        waiting = _object(self._document, "operation")
        state = _object(self._document, "status", "operationState")
        if waiting and not (state and _text(state, "phase") in GOES_ON):
            return Operation("", "", _said(waiting), "", "")
        if not state:
            return None
        return Operation(
            phase=_text(state, "phase"),
            message=_text(state, "message"),
            said=_said(_object(state, "operation")),
            revision=_text(state, "syncResult", "revision"),
            finished_at=_text(state, "finishedAt"),
        )

    @property
    def settled(self) -> bool:
        """Whether the last operation has ended, and what is told of the application is from after that."""
        operation = self.operation
        if operation is None or operation.goes_on:
            return operation is None
        return self.reconciled_at >= operation.finished_at  # both RFC 3339 in UTC, with seconds

    @property
    def history(self) -> Sequence[Deployed]:
        """What was deployed, the oldest first; Argo CD keeps ten."""
        entries = _at(self._document, "status", "history")
        found = [each for each in entries if isinstance(each, Mapping)] if isinstance(entries, list) else []
        return [
            Deployed(str(each.get("id", "")), _text(each, "revision"), _object(each, "source"))
            for each in found
            if isinstance(each.get("id"), int)
        ]

    def deployed(self, revision: str) -> Deployed | None:
        """Return an entry of the history by its id, or the last one of a commit."""
        by_id = next((each for each in self.history if each.history_id == revision), None)
        return by_id or next((each for each in reversed(self.history) if each.revision == revision), None)

    def failed_resources(self) -> Iterator[str]:
        """Yield the objects that could not be synced, with the reason."""
        resources = _at(self._document, "status", "operationState", "syncResult", "resources")
        for each in resources if isinstance(resources, list) else ():
            if _text(each, "status") == "SyncFailed" or _text(each, "hookPhase") in {"Failed", "Error"}:
                yield f"{_text(each, 'kind')} {_text(each, 'name')}: {_text(each, 'message')}"


def changed_source(source: JsonObject, given: ArgocdParameters) -> JsonObject:
    """Return the source of an application with what the parameters change of it."""
    changed = dict(source)
    if given.revision:
        changed["targetRevision"] = given.revision
    if given.images:
        kustomize = _object(source, "kustomize")
        known = kustomize.get("images")
        named = {image_name(image): image for image in [*(known if isinstance(known, list) else ()), *given.images]}
        changed["kustomize"] = {**kustomize, "images": list(named.values())}
    if given.values:
        helm = _object(source, "helm")
        changed["helm"] = {**helm, "valuesObject": laid_over(_object(helm, "valuesObject"), given.values)}
    return changed


def pinned_source(deployed: Deployed) -> JsonObject:
    """Return the source of an entry of the history at the commit that it was: a branch may lead elsewhere by now."""
    return {**deployed.source, "targetRevision": deployed.revision}


def image_name(image: str) -> str:
    """Return the name of an image of Kustomize: `shop` of `shop=r/a:7`, `r/b` of `r/b:7` and of `r/b@sha256:1`."""
    name, equals, _ = str(image).partition("=")
    if equals:
        return name
    name = name.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(":")[0]


def _said(operation: object) -> Mapping[str, str]:
    infos = _at(operation, "info")
    return {_text(each, "name"): _text(each, "value") for each in (infos if isinstance(infos, list) else ())}


def _at(value: Any, *names: str) -> Any:  # noqa: ANN401 any JSON
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: object, *names: str) -> str:
    found = _at(value, *names)
    return found if isinstance(found, str) else ""


def _object(value: object, *names: str) -> JsonObject:
    found = _at(value, *names)
    return found if isinstance(found, Mapping) else {}

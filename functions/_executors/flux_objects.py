"""Objects of Flux 2 (Kustomization v1, HelmRelease v2, their sources v1): what they follow, and how far they are.

Flux says which request it has looked at (`lastHandledReconcileAt`), of which specification its status is
(`observedGeneration`), and which revision of its source it has applied. Only all of them together mean that what was
asked for is there.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from functions._core.executors.cluster_deploy import FluxParameters
from functions._core.executors.manifests import OWN
from functions._core.executors.merge_patch import difference, merged
from functions._core.executors.owned_fields import without
from functions._core.executors.rollout import HEALTHY, Rollout
from functions._executors.cluster import KEY, ClusterObject, condition_of, part_of, parts_of, path_of
from functions._executors.revisions import HISTORY, REVISION, TICKET, Before, marks_of

REQUESTED = "reconcile.fluxcd.io/requestedAt"
"""The annotation by which Flux is asked to look now; any new value will do."""

FOLLOWED = f"{OWN}followed"
"""The annotation of a source that has what it followed before it was pinned to a commit or a digest."""

APPLICATIONS = {
    "Kustomization": ("kustomize.toolkit.fluxcd.io/v1", "kustomizations"),
    "HelmRelease": ("helm.toolkit.fluxcd.io/v2", "helmreleases"),
}
SOURCES = {"GitRepository": "gitrepositories", "OCIRepository": "ocirepositories", "Bucket": "buckets"}
SOURCE_VERSION = "source.toolkit.fluxcd.io/v1"

COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
APPLIED = re.compile(r"(?P<name>[^@]*)@(?:sha1|sha256):(?P<hash>[0-9a-f]{40,64})")
"""A revision as Flux words it: what was followed, and the hash."""

PASSING = frozenset({"Progressing", "ProgressingWithRetry", "DependencyNotReady", "ArtifactFailed", "SourceNotReady"})
"""Reasons for not being ready that pass when what is waited for is there; sources say themselves when they fail."""

WORDS = 500


class Source(NamedTuple):
    """What an application follows."""

    kind: str
    namespace: str
    path: str


class FluxPair(NamedTuple):
    """An application and its source, as they are; a HelmRelease with a chart of its own has no source that is ours."""

    application: ClusterObject
    source: ClusterObject | None

    @property
    def key(self) -> str:
        """The key of the job that changed the application last."""
        return marks_of(self.application)[KEY]

    @property
    def revision(self) -> str:
        """The revision that is applied, as Flux words it; empty where none was."""
        status = part_of(self.application, "status")
        if "lastAppliedRevision" in status:
            return str(status["lastAppliedRevision"] or "")
        released = (one for one in parts_of(self.application, "status", "history") if one.get("status") == "deployed")
        return str(next(released, {}).get("chartVersion", ""))


def application_path(given: FluxParameters) -> str:
    """Return the path of the application."""
    version, resource = APPLICATIONS[given.kind]
    return path_of(given.namespace, resource, given.application, version=version)


def source_of(application: ClusterObject, namespace: str) -> Source | None:
    """Return what an application follows; None for a chart of its own, whose version the application says."""
    spec = part_of(application, "spec")
    named = part_of(spec, "sourceRef") or part_of(spec, "chartRef")
    resource = SOURCES.get(str(named.get("kind")))
    if resource is None:
        return None
    there = str(named.get("namespace") or namespace)
    return Source(
        str(named["kind"]), there, path_of(there, resource, str(named.get("name", "")), version=SOURCE_VERSION)
    )


def state_of(pair: FluxPair) -> Mapping[str, Any]:
    """Return what a deployment may change, as it is now."""
    spec = part_of(pair.application, "spec")
    state: dict[str, Any] = {"suspend": bool(spec.get("suspend"))}
    state |= {name: spec[name] for name in ("images", "values") if name in spec}
    if "chart" in spec:
        state["version"] = part_of(spec, "chart", "spec").get("version")
    if pair.source is not None:
        state["ref"] = part_of(pair.source, "spec", "ref")
        follows = followed(pair.source)
        state |= {} if follows is None else {"followed": follows}
    return state


def wanted_state(given: FluxParameters, pair: FluxPair) -> Mapping[str, Any]:
    """Return what a deployment asks for."""
    state = {**without(state_of(pair), ("followed",)), "suspend": False}
    if given.images is not None:
        names = {"name": "name", "new_name": "newName", "new_tag": "newTag", "digest": "digest"}
        found = (one.model_dump(exclude_none=True) for one in given.images)
        state["images"] = [{names[name]: value for name, value in one.items()} for one in found]
    if given.values is not None:
        state["values"] = merged(part_of(state, "values"), given.values)
    if "ref" in state:
        ref, source = part_of(state, "ref"), pair.source or {}
        follows = followed(source)
        newest = ref if follows is None else follows
        state["ref"] = ref_to(given.revision, ref, source) if given.revision else newest
    elif given.revision:
        state["version"] = given.revision
    return state


def followed(source: ClusterObject) -> Mapping[str, Any] | None:
    """Return what a source followed before a rollback pinned it; None where none has."""
    try:
        pinned = json.loads(str(part_of(source, "metadata", "annotations").get(FOLLOWED, ""))[:WORDS])
    except ValueError:
        return None
    return pinned if isinstance(pinned, Mapping) else None


def pinned_to(before: Before, pair: FluxPair) -> Mapping[str, Any]:
    """Return the state of a revision, so that what moved then stays there: what followed a branch gets its commit."""
    state = before.manifest or {}
    ref = part_of(state, "ref")
    exact = _exact(before.revision, pair)
    if "ref" not in state or exact is None or {"commit", "digest", "tag"} & ref.keys():
        return state
    return {**state, "ref": ref_to(exact, ref, pair.source or {}), "followed": ref}


def state_at(revision: str, pair: FluxPair) -> Mapping[str, Any] | None:
    """Return the state at a revision that nobody has kept, if its own words are enough; else None."""
    state = {**without(state_of(pair), ("followed",)), "suspend": False}
    if "ref" not in state:
        return {**state, "version": revision} if "version" in state and revision else None
    ref, exact = part_of(state, "ref"), _exact(revision, pair)
    return None if exact is None else {**state, "ref": ref_to(exact, ref, pair.source or {}), "followed": ref}


def _exact(revision: str, pair: FluxPair) -> str | None:
    """Return the commit or digest that Flux names in a revision."""
    applied = APPLIED.fullmatch(revision)
    if applied is None:
        return None
    is_oci = (pair.source or {}).get("kind") == "OCIRepository"
    return f"sha256:{applied['hash']}" if is_oci else applied["hash"]


def ref_to(revision: str, ref: Mapping[str, Any], source: ClusterObject) -> Mapping[str, Any]:
    """Return the reference to a revision, and to nothing else; a commit is looked for on the branch of before."""
    if source.get("kind") == "OCIRepository":
        return {"digest": revision} if revision.startswith("sha256:") else {"tag": revision}
    if COMMIT.fullmatch(revision):
        branch = {"branch": ref["branch"]} if isinstance(ref.get("branch"), str) else {}
        return {**branch, "commit": revision}
    return {"tag": revision}


def application_patch(pair: FluxPair, state: Mapping[str, Any], marks: Mapping[str, str | None]) -> ClusterObject:
    """Return the merge patch that gives an application a state and annotations, if nobody has changed it meanwhile."""
    spec = part_of(pair.application, "spec")
    patch: dict[str, Any] = {"suspend": True if state.get("suspend") else None}
    for name in ("images", "values"):
        wanted, present = state.get(name), spec.get(name)
        if wanted != present:
            both = isinstance(wanted, Mapping) and isinstance(present, Mapping)
            patch[name] = difference(present, wanted) if both else wanted
    if "chart" in spec and state.get("version") != part_of(spec, "chart", "spec").get("version"):
        patch["chart"] = {"spec": {"version": state.get("version")}}
    version = part_of(pair.application, "metadata").get("resourceVersion")
    return {"metadata": {"resourceVersion": version, "annotations": dict(marks)}, "spec": patch}


def source_patch(source: ClusterObject, ref: Mapping[str, Any], marks: Mapping[str, str | None]) -> ClusterObject:
    """Return the merge patch that gives a source a reference and annotations."""
    change = difference(part_of(source, "spec", "ref"), ref)
    return {"metadata": {"annotations": dict(marks)}, **({"spec": {"ref": change}} if change else {})}


def marks_for(
    key: str, request: str, *, ticket: str = "", history: str = "", revision: str = ""
) -> Mapping[str, str | None]:
    """Return the annotations of an application; those that are empty are removed."""
    marks = {KEY: key, TICKET: ticket, HISTORY: history, REVISION: revision, REQUESTED: request}
    return {name: value or None for name, value in marks.items()}


def source_marks(state: Mapping[str, Any], key: str, request: str) -> Mapping[str, str | None]:
    """Return the annotations of a source; one that is pinned remembers what it followed."""
    follows = json.dumps(part_of(state, "followed")) if "followed" in state else None
    return {KEY: key or None, REQUESTED: request, FOLLOWED: follows}


def standing(pair: FluxPair, request: str) -> Rollout:
    """Return how far a request is."""
    artifact = ""
    if pair.source is not None:
        found = _seen(pair.source, request, "its source")
        if found is not None:
            return found
        ready = condition_of(pair.source, "Ready")
        if ready.get("status") != "True":
            return Rollout("failed" if ready.get("status") == "False" else "progressing", f"source: {_words(ready)}")
        artifact = str(part_of(pair.source, "status", "artifact").get("revision", ""))
    return _seen(pair.application, request, "it") or _applied(pair.application, artifact)


def _applied(application: ClusterObject, artifact: str) -> Rollout:
    status, ready = part_of(application, "status"), condition_of(application, "Ready")
    stalled = condition_of(application, "Stalled")
    if stalled.get("status") == "True":
        return Rollout("failed", _words(stalled))
    attempted = str(status.get("lastAttemptedRevision", ""))
    if application.get("kind") == "HelmRelease":
        artifact = artifact.partition("@")[2]
        attempted = str(status.get("lastAttemptedRevisionDigest", ""))
    if artifact and attempted != artifact:
        return Rollout("progressing", f"it has not tried {artifact} yet")
    if ready.get("status") == "True":
        return HEALTHY
    failed = ready.get("status") == "False" and ready.get("reason") not in PASSING
    return Rollout("failed" if failed else "progressing", _words(ready))


def _seen(one: ClusterObject, request: str, what: str) -> Rollout | None:
    """Return that Flux has not looked at an object since it was changed; None once it has."""
    status = part_of(one, "status")
    same = status.get("observedGeneration") == part_of(one, "metadata").get("generation")
    if same and status.get("lastHandledReconcileAt") == request:
        return None
    return Rollout("progressing", f"Flux has not looked at {what} yet")


def _words(condition: Mapping[str, Any]) -> str:
    return f"{condition.get('reason', 'no condition yet')}: {condition.get('message', '')}"[:WORDS]

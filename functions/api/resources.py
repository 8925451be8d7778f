"""SLOs and freeze policies as documents: applied, read with their status, deleted; by HTTP and as CloudEvents.

What a document makes changes with the document alone. The platform compares both every five minutes.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request, Response
from pydantic import ConfigDict

from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.records.json_text import parse_json
from functions._core.records.values import JsonObject, Model, Timestamp
from functions._core.records.yaml_text import parse_documents
from functions._core.slo import resources as kept
from functions._core.slo import stored
from functions._core.slo.definition import MAX_SLOS
from functions._core.slo.documents import API_VERSION, KINDS, NAME, POLICY_KIND, SLO_KIND, SloResource, key_of
from functions._core.slo.freezing import MAX_POLICIES
from functions._core.slo.reading import read_document
from functions._core.slo.resources import ApplyResult, ResourceState
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import HeldBody, header
from functions.api.documents import problems
from functions.api.problems import checked, not_found
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.slo_changes import make_room

router = Routes(prefix="/api/v1/resources", tags=["resources"])

MAX_TEXT = 64 * 1024
"""Bytes of a document with its comments; without them it has at most `MAX_DOCUMENT`."""

MAX_VALUES = 10_000
"""Values of a document, as often as an alias stands for them."""

MAX_PAGE = 200

YAML = frozenset({"application/yaml", "application/x-yaml"})

APPLIED, DELETED = "neural-hive.resource.applied", "neural-hive.resource.deleted"
"""Types of events about documents; the names are those of the tools that send them."""

CLUSTER_DELETES = "dev.knative.apiserver.resource.delete"
CLUSTER_TYPES = frozenset(
    {"dev.knative.apiserver.resource.add", "dev.knative.apiserver.resource.update", CLUSTER_DELETES}
)
"""Types of events in which a Knative ApiServerSource tells what has happened to an object of its cluster."""

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""The annotation in which `kubectl apply` repeats the object."""

BODY: Mapping[str, Any] = {
    "requestBody": {
        "required": True,
        # A sentence says so: generators of clients warn of a media type that they cannot write.
        "description": "Also `application/yaml`: the same document in YAML",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}

Kind = Annotated[Literal["SLODefinition", "SLAPolicy", "SLO"], Path(description="Kind of the document")]
Name = Annotated[str, Path(pattern=NAME, description="Its name, as in its metadata")]


class ResourceStatus(Model):
    """What became of a document."""

    synced: bool
    """Whether what it makes is as it says."""
    lastSyncTime: Timestamp | None  # noqa: N815 as clusters write it, as are those below
    """When that was known last."""
    sloId: str | None = None  # noqa: N815
    """Id of the SLO that it makes."""
    policyId: str | None = None  # noqa: N815
    """Id of the policy that it makes."""
    budgetRemaining: float | None = None  # noqa: N815
    """Percent of the error budget of its SLO that is left; null while that is not known."""
    message: str
    """Why it is not synced; empty where it is."""


class ResourceView(Model):
    """A document with its status."""

    apiVersion: str  # noqa: N815
    """Version of the form."""
    kind: str
    """Kind of the document."""
    metadata: JsonObject
    """Its names."""
    spec: JsonObject
    """What it says."""
    status: ResourceStatus
    """What became of it."""


class AppliedResource(ResourceView):
    """A document that was applied, or would be."""

    result: ApplyResult
    """What that did to the document, or would do."""
    dry_run: bool = False
    """True: nothing was changed."""


class ResourcePage(Model):
    """Documents by kind and name."""

    items: tuple[ResourceView, ...]
    """Documents."""
    cursor: str | None
    """What to ask for the next page with; null on the last one."""


class ResourceNames(Model):
    """The data of an event about a document that is to be deleted: the document, or its names alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["SLODefinition", "SLAPolicy", "SLO"]
    """Kind of the document."""
    metadata: JsonObject
    """Its names."""


@router.put(
    "/{kind}/{name}",
    responses={**problems(400, 403, 409, 413, 415, 422), 201: {"model": AppliedResource}},
    openapi_extra=dict(BODY),
)
async def put_resource(  # noqa: PLR0913 each is a part of the request
    services: Services,
    request: Request,
    response: Response,
    kind: Kind,
    name: Name,
    *,
    dry_run: Annotated[bool, Query(description="Change nothing, and say what would be")] = False,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> AppliedResource:
    """Apply a document, in JSON or YAML: make its SLO or policy, or change it."""
    document = await _document(request)
    resource = await asyncio.to_thread(_read, document)
    if (resource.kind, resource.name) != (kind, name):
        text = f"the document is {resource.key}, and the address {key_of(kind, name)}"
        raise Rejected(text, code="other_name", status=422)
    who = acting(request, requested_by)
    applied = await _apply(services, resource, who, why, dry_run=dry_run)
    response.status_code = 201 if applied.result == "created" and not dry_run else 200
    return applied


@router.get("", responses=problems(400, 422))
async def list_resources(
    services: Services,
    kind: Annotated[Literal["SLODefinition", "SLAPolicy", "SLO"] | None, Query(description="Of this kind")] = None,
    cursor: Annotated[
        str | None, Query(max_length=300, pattern="^[A-Za-z]+/[a-z0-9.-]+$", description="That of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many to return at most")] = 100,
) -> ResourcePage:
    """Return documents by kind and name, with their status."""
    after = max(cursor or "", f"{kind}/" if kind else "") or None
    found, following = await kept.resource_states(services.ports.key_values, after, limit)
    items = tuple(_view(one) for one in found if kind is None or one.resource.kind == kind)
    more = following is not None and (kind is None or following.startswith(f"{kind}/"))
    return ResourcePage(items=items, cursor=following if more else None)


@router.get("/{kind}/{name}", responses=problems(404, 422))
async def get_resource(services: Services, kind: Kind, name: Name) -> ResourceView:
    """Return a document with its status."""
    found = await kept.resource_state(services.ports.key_values, kind, name)
    if found is None:
        raise not_found("resource", key_of(kind, name))
    return _view(found)


@router.delete("/{kind}/{name}", status_code=204, responses=problems(404, 422))
async def delete_resource(
    services: Services,
    request: Request,
    kind: Kind,
    name: Name,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> None:
    """Forget a document; what it made is kept, and not enabled any more."""
    await _delete(services, kind, name, acting(request, requested_by), why)


async def take_resource_event(services: ApiServices, event: CloudEvent, who: str) -> dict[str, Any]:
    """Apply or delete the document in the data of an event; raise `Rejected`."""
    data = await _of_namespace(services, event.data) if is_custom_resource(event) else event.data
    if event.type in {DELETED, CLUSTER_DELETES}:
        names = checked(ResourceNames, data, "data")
        name = str(names.metadata.get("name", ""))
        await _delete(services, names.kind, name, who, f"event {event.id[:200]}")
        return {"resource": key_of(names.kind, name), "result": "deleted"}
    kept.check_size(data)
    resource = await asyncio.to_thread(_read, data)
    applied = await _apply(services, resource, who, f"event {event.id[:200]}", dry_run=False)
    return {"resource": resource.key, "result": applied.result}


def is_custom_resource(event: CloudEvent) -> bool:
    """Whether an event of a cluster is about a document of ours; what is about other objects is a user's event."""
    if event.type not in CLUSTER_TYPES or not isinstance(event.data, Mapping):
        return False
    return event.data.get("apiVersion") == API_VERSION and event.data.get("kind") in {SLO_KIND, POLICY_KIND}


async def _of_namespace(services: ApiServices, data: object) -> JsonObject:
    """Return an object of a cluster as a document, without what the cluster and its tools have written.

    Raises `Rejected`, status 409, where a document of another namespace has its name.
    """
    told: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    known = told.get("metadata")
    metadata: Mapping[str, Any] = known if isinstance(known, Mapping) else {}
    names = {name: metadata[name] for name in ("name", "namespace", "labels") if name in metadata}
    notes = metadata.get("annotations")
    if isinstance(notes, Mapping) and notes.keys() - {LAST_APPLIED}:
        names["annotations"] = {name: text for name, text in notes.items() if name != LAST_APPLIED}
    kind, name, namespace = str(told.get("kind")), str(names.get("name", "")), names.get("namespace")
    there = await kept.resource_state(services.ports.key_values, kind, name) if re.fullmatch(NAME, name) else None
    if there is not None and there.resource.document["metadata"].get("namespace") != namespace:
        text = f"the document {key_of(kind, name)} is not of the namespace {namespace!r}: choose another name"
        raise Rejected(text, code="other_namespace", status=409)
    return {"apiVersion": told.get("apiVersion"), "kind": kind, "metadata": names, "spec": told.get("spec")}


async def _document(request: Request) -> object:
    """Return the document in a body; raise `Rejected` 400, 413 or 415."""
    media = header(request, b"content-type").partition(";")[0].strip().lower()
    in_json = media == "application/json" or media.endswith("+json")
    if not in_json and media not in YAML:
        text = "the body is a document, with content-type: application/json or application/yaml"
        raise Rejected(text, code="not_json", status=415)
    async with HeldBody(request, MAX_TEXT) as body:
        if in_json:
            return parse_json(body)
        found = await asyncio.to_thread(parse_documents, body, at_most=1, parts=MAX_VALUES)
    return found[0] if found else None


def _read(document: object) -> SloResource:
    kept.check_size(document)
    return read_document(document)


async def _apply(services: ApiServices, resource: SloResource, who: str, why: str, *, dry_run: bool) -> AppliedResource:
    entries, now = services.ports.key_values, services.ports.clock.now()
    result = await kept.plan_resource(entries, resource)
    if dry_run:
        status = ResourceStatus(synced=False, lastSyncTime=None, message="not applied: a dry run")
        return AppliedResource(**_parts(resource.document), status=status, result=result, dry_run=True)
    if result != "unchanged":
        await record(services, "apply_resource", resource.key, who=who, why=why)
    if result == "created":
        of_policies = resource.kind == POLICY_KIND
        if of_policies:
            await make_room(entries, await stored.policies(entries), MAX_POLICIES)
        else:
            await make_room(entries, await stored.slos(entries), MAX_SLOS)
    await kept.apply_resource(entries, resource, now, who)
    state = await kept.resource_state(entries, resource.kind, resource.name)
    if state is None:  # somebody has deleted it meanwhile
        raise not_found("resource", resource.key)
    return AppliedResource(**_parts(resource.document), status=_status(state), result=result)


async def _delete(services: ApiServices, kind: str, name: str, who: str, why: str) -> None:
    entries = services.ports.key_values
    if kind not in KINDS or not re.fullmatch(NAME, name) or await kept.resource_key(entries, kind, name) is None:
        raise not_found("resource", key_of(kind, name))
    await record(services, "delete_resource", key_of(kind, name), who=who, why=why)
    if not await kept.delete_resource(entries, kind, name, services.ports.clock.now()):
        raise not_found("resource", key_of(kind, name))


def _parts(document: JsonObject) -> dict[str, Any]:
    return {name: document.get(name) for name in ("apiVersion", "kind", "metadata", "spec")}


def _view(state: ResourceState) -> ResourceView:
    return ResourceView(**_parts(state.resource.document), status=_status(state))


def _status(state: ResourceState) -> ResourceStatus:
    one = state.resource
    own = {"policyId" if one.kind == POLICY_KIND else "sloId": one.made_id}
    return ResourceStatus(
        synced=one.synced,
        lastSyncTime=state.synced_at,
        budgetRemaining=state.remaining,
        message=one.message,
        **own,
    )

"""Freezes in a Kubernetes cluster: an annotation on namespaces and workloads, by which delivery tools see them.

    scope      objects                                                     chosen by
    NAMESPACE  the namespace                                               its name
    GLOBAL     namespaces                                                  the setting FLOWC_FREEZE_NAMESPACES
    SERVICE    deployments and stateful sets of the service, everywhere    the setting FLOWC_FREEZE_SERVICE_LABEL

An object has one annotation, and several freezes may be about it: what it says follows from the freezes that last, so
whichever of them ends, the others stay to be seen. What is annotated also gets a label, by which it is found again when
its freeze has ended, whatever its other labels are then. Objects are read before the freezes, and are changed only at
the version that was read: of two processes one is first, and the other one looks again.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from functions._adapters.http.client import HttpClient
from functions._adapters.http.repeated import Request, call_repeated
from functions._adapters.http.reply import Reply
from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.records.json_text import parse_json
from functions._core.slo.freezing import ANNOTATION, FreezeAction, FreezeEvent, FreezeScope, annotation_of

MARK = "neural-hive.io/sla-frozen"
"""The label of what is annotated; its value is `true`."""

NAMESPACES = "/api/v1/namespaces"
WORKLOADS = ("/apis/apps/v1/deployments", "/apis/apps/v1/statefulsets")

PAGE, PAGES = 200, 100
"""Objects of one answer, and answers of one list: a cluster with more is not annotated."""

ANSWER_BYTES = 8 * 1024 * 1024
"""Bytes of an answer; of an object only its metadata is asked for, which is some KiB with its managed fields."""

CALL_SECONDS, ROUND_SECONDS = 10.0, 60.0
"""How long a call may take with its repetitions, and all calls for one freeze together."""

AT_ONCE = 8
"""Objects that are changed side by side."""

TRIES = 5
"""Rounds for one freeze, when objects change in between."""

TOKEN_BYTES = 16 * 1024

METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
PATCH = {"content-type": "application/merge-patch+json"}

LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

Active = Callable[[], Awaitable[Sequence[FreezeEvent]]]
"""Returns the freezes that last, the oldest first."""


class Cluster(NamedTuple):
    """Where the API server is, and which objects freezes are about; see the settings."""

    url: str
    token_file: Path
    service_label: str
    namespaces: str


class ClusterObject(NamedTuple):
    """An object as it was read; `everywhere`: a namespace that GLOBAL freezes are about."""

    path: str
    name: str
    version: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    everywhere: bool = False


class KubernetesFreezes:
    """Annotates what is frozen; implements `FreezeTarget`: whatever keeps it from that is `Unavailable`."""

    def __init__(self, client: HttpClient, cluster: Cluster, active: Active) -> None:
        """Call nobody yet; the `client` trusts the cluster's certificate."""
        self._client, self._cluster, self._active = client, cluster, active
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def apply(self, event: FreezeEvent) -> None:
        """Annotate what a freeze is about."""
        await self._show(event)

    async def lift(self, event: FreezeEvent) -> None:
        """Let the annotations of a freeze go, wherever they are; where another one lasts, it is shown instead."""
        await self._show(event)

    async def _show(self, event: FreezeEvent) -> None:
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                for _ in range(TRIES):
                    if await self._round(event):
                        return
        except TimeoutError as late:
            raise Unavailable(f"the cluster did not take freeze {event.event_id} in {ROUND_SECONDS:g} s") from late
        raise Unavailable(f"what freeze {event.event_id} is about changed {TRIES} times meanwhile")

    async def _round(self, event: FreezeEvent) -> bool:
        """Let objects say what they should; tell whether none has changed in between."""
        of_service = event.scope is FreezeScope.SERVICE
        objects = await (self._workloads(event.target) if of_service else self._namespaces(event))
        others = [one for one in await self._active() if one.event_id != event.event_id]
        freezes = sorted([*others, *([event] if event.active else [])], key=lambda one: one.triggered_at)
        blocking = [one for one in freezes if {*one.actions} != {FreezeAction.ALERT_ONLY}]
        changes = (self._change(one, self._text(one, blocking, of_service=of_service)) for one in objects)
        answers = await asyncio.gather(*changes, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Conflict):
                raise answer
        return not any(isinstance(answer, Conflict) for answer in answers)

    async def _workloads(self, service: str) -> Iterable[ClusterObject]:
        """Return the workloads of a service, and all that are annotated."""
        label = self._cluster.service_label
        selectors = [f"{MARK}=true", *([f"{label}={service}"] if LABEL_VALUE.fullmatch(service) else [])]
        pages = [await self._list(kind, selector) for kind in WORKLOADS for selector in selectors]
        return {one.path: one for page in pages for one in page}.values()

    async def _namespaces(self, event: FreezeEvent) -> Iterable[ClusterObject]:
        """Return the namespaces that freezes are about, or were."""
        found = {one.path: one for one in await self._list(NAMESPACES, f"{MARK}=true")}
        if event.scope is FreezeScope.NAMESPACE and LABEL_VALUE.fullmatch(event.target):
            found |= {one.path: one for one in await self._list(NAMESPACES, "", f"metadata.name={event.target}")}
        everywhere = await self._list(NAMESPACES, self._cluster.namespaces)
        return (found | {one.path: one._replace(everywhere=True) for one in everywhere}).values()

    def _text(self, one: ClusterObject, freezes: Iterable[FreezeEvent], *, of_service: bool) -> str | None:
        """Return what an object has to say: the oldest freeze that is about it, with the actions of all."""
        about = [freeze for freeze in freezes if self._is_about(freeze, one, of_service=of_service)]
        if not about:
            return None
        actions = tuple(dict.fromkeys(action for freeze in about for action in freeze.actions))
        return annotation_of(about[0].but(actions=actions))[ANNOTATION]

    def _is_about(self, freeze: FreezeEvent, one: ClusterObject, *, of_service: bool) -> bool:
        if of_service:
            of_its = one.labels.get(self._cluster.service_label) == freeze.target
            return freeze.scope is FreezeScope.SERVICE and of_its
        return one.everywhere if freeze.scope is FreezeScope.GLOBAL else _names(freeze, one)

    async def _change(self, one: ClusterObject, text: str | None) -> None:
        """Let an object say this, or nothing; raise `Conflict` when it has changed since it was read."""
        marked = one.labels.get(MARK) == "true"
        if one.annotations.get(ANNOTATION) == text and marked == (text is not None):
            return
        metadata = {
            "resourceVersion": one.version,
            "annotations": {ANNOTATION: text},
            "labels": {MARK: None if text is None else "true"},
        }
        body = json.dumps({"metadata": metadata}).encode()
        async with self._turns:
            reply = await self._call("PATCH", one.path, PATCH, body)
        if reply.status == HTTPStatus.CONFLICT:
            raise Conflict(f"{one.path} has changed")
        if not reply.ok and reply.status != HTTPStatus.NOT_FOUND:  # what is gone says nothing any more
            raise _refused("PATCH", one.path, reply)

    async def _list(self, collection: str, labels: str, fields: str = "") -> Sequence[ClusterObject]:
        """Return the objects that selectors choose, in pages."""
        found: list[ClusterObject] = []
        following = ""
        for _ in range(PAGES):
            asked = {"labelSelector": labels, "fieldSelector": fields, "limit": PAGE, "continue": following}
            query = urlencode({name: value for name, value in asked.items() if value})
            reply = await self._call("GET", f"{collection}?{query}", {"accept": METADATA})
            if not reply.ok or not reply.complete:
                raise _refused("GET", collection, reply)
            items, following = _read(collection, reply)
            found += items
            if not following:
                return found
        raise Unavailable(f"the cluster has more than {PAGE * PAGES} objects in {collection} that would be annotated")

    async def _call(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        token = await asyncio.to_thread(self._token)  # it is replaced every hour or so
        request = Request(method, self._cluster.url + path, {**headers, "authorization": f"Bearer {token}"}, body)
        return await call_repeated(self._client, request, seconds=CALL_SECONDS, answer_bytes=ANSWER_BYTES)

    def _token(self) -> str:
        """Return the token of the service account; raise `Unavailable` where this process has none."""
        try:
            with self._cluster.token_file.open("rb") as file:
                token = file.read(TOKEN_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            text = f"this process may not change the cluster: {self._cluster.token_file} cannot be read ({error})"
            raise Unavailable(text) from error
        if not token:
            raise Unavailable(f"the token of the service account in {self._cluster.token_file} is empty")
        return token


def _names(freeze: FreezeEvent, one: ClusterObject) -> bool:
    return freeze.scope is FreezeScope.NAMESPACE and freeze.target == one.name


def _read(collection: str, reply: Reply) -> tuple[Sequence[ClusterObject], str]:
    """Return the objects of an answer, and where the next ones begin; empty for none."""
    try:
        answer: Any = parse_json(reply.body)
        items = [_object(collection, one["metadata"]) for one in answer["items"]]
        following = (answer.get("metadata") or {}).get("continue") or ""
    except (Rejected, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"the cluster's answer to GET {collection} is no list of objects") from error
    return items, str(following)


def _object(collection: str, metadata: Mapping[str, Any]) -> ClusterObject:
    name, namespace = str(metadata["name"]), metadata.get("namespace")
    group, _, kind = collection.rpartition("/")
    folder = collection if namespace is None else f"{group}/namespaces/{quote(str(namespace), safe='')}/{kind}"
    return ClusterObject(
        path=f"{folder}/{quote(name, safe='')}",
        name=name,
        version=str(metadata["resourceVersion"]),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
    )


def _refused(method: str, path: str, reply: Reply) -> Unavailable:
    """Return what an answer without success means, without its text, which may be long."""
    if reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Unavailable(f"the cluster answered {reply.status} to {method} {path}: its role does not allow it")
    ended = "" if reply.complete else ", and did not end its answer"
    return Unavailable(f"the cluster answered {reply.status} to {method} {path}{ended}")

"""Custom resources of a cluster come to the front door as a Knative ApiServerSource sends what happens to them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from functions._core.slo import stored
from functions._core.slo.documents import made_id
from tests.conftest import ROOT
from tests.support.http_api import Api, problem_of, running_api
from tests.support.identity_provider import Issuer
from tests.support.loopback import Loopback
from tests.support.processes import running_platform
from tests.unit.test_slo_documents import policy, slo

OVERLAY = ROOT / "infra" / "knative" / "overlays" / "custom-resources"
PLURALS = {"SLODefinition": "slodefinitions", "SLAPolicy": "slapolicies", "Pod": "pods"}
LATENCY = "/api/v1/resources/SLODefinition/latency"


def object_of(document: Mapping[str, Any], namespace: str = "flow-c", **more: Any) -> dict[str, Any]:
    """Return a document as an API server has it after `kubectl apply`."""
    by_cluster = {
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": str(document)},
        "creationTimestamp": "2026-11-30T08:00:00Z",
        "finalizers": ["example.com/later"],
        "generation": 2,
        "managedFields": [{"manager": "kubectl-client-side-apply", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": str(uuid4())}],
        "resourceVersion": "4711",
        "uid": str(uuid4()),
    }
    metadata = {**by_cluster, **document["metadata"], "namespace": namespace, **more}
    return {**document, "metadata": metadata, "status": {"synced": False}}


async def sent(client: httpx.AsyncClient, change: str, told: Mapping[str, Any], **headers: str) -> httpx.Response:
    """Send what has happened to an object, in the form of knative/eventing 8cf4c4b673, pkg/adapter/apiserver/events."""
    kind, metadata = told["kind"], told["metadata"]
    attributes = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "https://10.96.0.1:443",
        "type": f"dev.knative.apiserver.resource.{change}",
        "subject": f"/apis/{told['apiVersion']}/namespaces/{metadata['namespace']}/{PLURALS[kind]}/{metadata['name']}",
        "time": datetime.now(UTC).isoformat(),
        "kind": kind,
        "apiversion": told["apiVersion"],
        "name": metadata["name"],
        "namespace": metadata["namespace"],
    }
    return await client.post(
        "/", json=told, headers={**{f"ce-{key}": text for key, text in attributes.items()}, **headers}
    )


async def test_an_object_is_applied_changed_and_deleted(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        made = await sent(api.client, "add", object_of(slo()))
        assert (made.status_code, made.json()) == (202, {"resource": "SLODefinition/latency", "result": "created"})
        shown = (await api.client.get(LATENCY)).json()
        assert (shown["metadata"], shown["spec"]) == ({"name": "latency", "namespace": "flow-c"}, slo()["spec"])
        assert shown["status"]["synced"]
        again = await sent(api.client, "update", object_of(slo(), annotations={"team": "a"}))
        assert again.json()["result"] == "changed"
        assert (await sent(api.client, "update", object_of(slo(windowDays=7)))).json()["result"] == "changed"
        assert (await sent(api.client, "update", object_of(slo(windowDays=7)))).json()["result"] == "unchanged"
        assert (await the_slo(api)).window_days == 7
        assert (await sent(api.client, "add", object_of(policy()))).json()["resource"] == "SLAPolicy/gate"
        gone = await sent(api.client, "delete", object_of(slo(), deletionTimestamp="2026-11-30T09:00:00Z"))
        assert (gone.status_code, gone.json()) == (202, {"resource": "SLODefinition/latency", "result": "deleted"})
        assert not (await the_slo(api)).enabled
        problem_of(await sent(api.client, "delete", object_of(slo())), 404, "unknown_resource")
        told = (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
        assert {one["who"] for one in told} == {"https://10.96.0.1:443"}


async def the_slo(api: Api) -> Any:
    return await stored.slo(api.world.ports.key_values, made_id("SLODefinition", "latency"))


async def test_another_namespace_neither_changes_nor_deletes_it(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        await sent(api.client, "add", object_of(slo()))
        for change in ("add", "update", "delete"):
            answer = await sent(api.client, change, object_of(slo(windowDays=1), namespace="shop"))
            problem_of(answer, 409, "other_namespace")
        assert (await the_slo(api)).window_days == slo()["spec"].get("windowDays", 30)
        assert (await the_slo(api)).enabled


async def test_what_happens_to_other_objects_is_an_event_of_users(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "busybox", "namespace": "default"}}
        assert (await sent(api.client, "add", pod)).json()["result"] == "kept"
        foreign = {**object_of(slo()), "apiVersion": "example.com/v1"}
        assert (await sent(api.client, "delete", foreign)).json()["result"] == "kept"
        assert (await api.client.get("/api/v1/resources")).json()["items"] == []


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ({"name": "../x"}, 422),
        ({"name": "x" * 5000}, 422),
        ({"name": ["a"]}, 422),
        ({"labels": {"a": 7}}, 422),
        ({"annotations": {"a": "x" * 20_000}}, 413),
        ({"annotations": ["a"]}, 202),
        ({"labels": {f"l{number}": "a" for number in range(17)}}, 422),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_strangers_say_of_an_object_is_refused(
    tmp_path: Path, metadata: dict[str, Any], status: int
) -> None:
    async with running_api(tmp_path) as api:
        told = object_of(slo())
        told["metadata"] |= metadata
        headers = {f"ce-{name}": text for name, text in (("specversion", "1.0"), ("id", "1"), ("source", "/a"))}
        kind = {"ce-type": "dev.knative.apiserver.resource.add"}
        answer = await api.client.post("/", json=told, headers={**headers, **kind})
        assert answer.status_code == status, answer.text
        nothing: tuple[Any, ...] = (None, "a", [])
        for wrong in nothing:
            answer = await api.client.post("/", json={**told, "metadata": wrong}, headers={**headers, **kind})
            assert answer.status_code == 422, answer.text


def chosen(issuer: str) -> dict[str, str]:
    """Return the settings of the overlay, with this issuer."""
    patches = yaml.safe_load((OVERLAY / "settings.yaml").read_text(encoding="utf-8"))
    found = {one["path"].removeprefix("/data/FLOWC_").lower(): one["value"] for one in patches}
    return {**found, "oidc_issuer": issuer}


async def test_the_token_of_the_source_alone_opens_the_door(tmp_path: Path) -> None:
    """Knative sends a token for the audience of the sink, of an account that it calls after the source."""
    source = yaml.safe_load((OVERLAY / "source.yaml").read_text(encoding="utf-8"))
    group, kind = source["apiVersion"].partition("/")[0], source["kind"].lower()
    account = f"system:serviceaccount:flow-c:{source['metadata']['name']}-oidc-{group}-{kind}"
    async with Loopback() as loopback:
        issuer = Issuer(loopback)
        now = datetime.now(UTC).timestamp()
        holds: dict[str, Any] = {
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "aud": [source["spec"]["sink"]["audience"]],
            "roles": None,
        }
        settings = chosen(issuer.url)
        async with (
            running_platform(tmp_path, rate_limits="off", **settings) as platform,
            httpx.AsyncClient(base_url=platform.url) as client,
        ):
            other = "system:serviceaccount:flow-c:default"
            wrongs: tuple[tuple[dict[str, Any], int], ...] = (({"sub": other}, 403), ({"aud": ["api"]}, 401))
            for changed, status in wrongs:
                token = issuer.token("RS256", **{**holds, "sub": account, **changed})
                answer = await sent(client, "add", object_of(slo()), authorization=f"Bearer {token}")
                assert answer.status_code == status, answer.text
            assert (await sent(client, "add", object_of(slo()))).status_code == 401
            token = issuer.token("RS256", **holds, sub=account)
            answer = await sent(client, "add", object_of(slo()), authorization=f"Bearer {token}")
            assert (answer.status_code, answer.json().get("result")) == (202, "created"), answer.text

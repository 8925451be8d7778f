"""Freezes in a cluster, over real HTTP against `tests/support/cluster_api.py`: seen, seen once, and gone everywhere."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from functions._adapters.http import kubernetes, repeated
from functions._adapters.http.client import HttpClient
from functions._adapters.http.kubernetes import MARK, Cluster, KubernetesFreezes
from functions._core.errors import Unavailable
from functions._core.slo import resources, stored
from functions._core.slo.budget import Indicator, budget_of
from functions._core.slo.freezing import ANNOTATION, FreezeAction, FreezeEvent, FreezeScope, annotation_of, begun, ended
from functions._core.slo.reading import read_document
from tests.support.certificates import Authority
from tests.support.cluster_api import ClusterApi
from tests.support.loopback import Answer, Request
from tests.support.one_machine import one_machine
from tests.unit.test_slo_budget import NOW
from tests.unit.test_slo_documents import policy as policy_document
from tests.unit.test_slo_documents import slo
from tests.unit.test_slo_freezing import budget, policy

SERVICE, EVERYWHERE = "app.kubernetes.io/name", "neural-hive.io/sla-freezes"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments/{}"
WEB, WEB_2, OTHER = (DEPLOYMENTS.format(*both) for both in (("prod", "web"), ("test", "web-2"), ("prod", "other")))
DATABASE = "/apis/apps/v1/namespaces/prod/statefulsets/web-db"
PROD, TEST, SYSTEM = (f"/api/v1/namespaces/{name}" for name in ("prod", "test", "kube-system"))


class Freezes(KubernetesFreezes):
    """The adapter over the freezes that a test has."""

    def __init__(self, cluster: Cluster, active: list[FreezeEvent], ca_file: str | None = None) -> None:
        self.active, self.client = active, HttpClient(ca_file=ca_file)
        super().__init__(self.client, cluster, self.those)

    async def those(self) -> list[FreezeEvent]:
        return [*self.active]

    async def begin(self, event: FreezeEvent) -> FreezeEvent:
        self.active.append(event)
        await self.apply(event)
        return event

    async def end(self, event: FreezeEvent) -> None:
        self.active.remove(event)
        await self.lift(ended(event, NOW, "budget", "recovered"))


def event(scope: FreezeScope, target: str = "*", event_id: str = "e", **more: object) -> FreezeEvent:
    made = FreezeEvent(
        event_id=event_id,
        policy_id=f"p-{event_id}",
        policy_name="p",
        scope=scope,
        target=target,
        actions=(FreezeAction.BLOCK_DEPLOY,),
        slo_id="s",
        service_name="web",
        trigger_reason='15 % is "left"',
        budget_remaining=15,
        triggered_at=NOW,
    )
    return made.but(**more)


@pytest.fixture
async def api() -> AsyncIterator[ClusterApi]:
    async with ClusterApi() as running:
        for path in (WEB, WEB_2, DATABASE):
            running.add(path, **{SERVICE: "web"})
        running.add(OTHER, **{SERVICE: "other"})
        running.add(PROD, **{EVERYWHERE: "true"})
        running.add(TEST, **{EVERYWHERE: "true"})
        running.add(SYSTEM)
        yield running


@pytest.fixture
def cluster(api: ClusterApi, tmp_path: Path) -> Cluster:
    (tmp_path / "token").write_text(f"{api.token}\n")
    return Cluster(api.url, tmp_path / "token", SERVICE, f"{EVERYWHERE}=true")


@pytest.fixture
async def freezes(cluster: Cluster) -> AsyncIterator[Freezes]:
    made = Freezes(cluster, [])
    yield made
    await made.client.aclose()


def names(api: ClusterApi) -> list[str]:
    return sorted(api.annotations())


@pytest.mark.parametrize(
    ("scope", "target", "seen"),
    [
        (FreezeScope.NAMESPACE, "prod", ["prod"]),
        (FreezeScope.SERVICE, "web", ["web", "web-2", "web-db"]),
        (FreezeScope.GLOBAL, "*", ["prod", "test"]),
    ],
)
async def test_each_scope_is_seen_and_gone_everywhere(
    api: ClusterApi, freezes: Freezes, scope: FreezeScope, target: str, seen: list[str]
) -> None:
    frozen = await freezes.begin(event(scope, target))
    assert names(api) == seen
    assert api.annotations()[seen[0]] == json.loads(annotation_of(frozen)[ANNOTATION])
    before = len(api.made("PATCH"))
    await freezes.apply(frozen)
    assert len(api.made("PATCH")) == before  # it is said already
    await freezes.end(frozen)
    assert names(api) == []
    assert all(one["metadata"]["annotations"] == {"mine": "1"} for one in api.objects.values())
    assert not any(MARK in one["metadata"]["labels"] for one in api.objects.values())
    before = len(api.made("PATCH"))
    await freezes.lift(ended(frozen, NOW, "budget", "again"))
    assert len(api.made("PATCH")) == before


async def test_what_is_not_the_freezes_any_more_is_freed_all_the_same(api: ClusterApi, freezes: Freezes) -> None:
    service = await freezes.begin(event(FreezeScope.SERVICE, "web", "a"))
    everything = await freezes.begin(event(FreezeScope.GLOBAL, event_id="b"))
    api.metadata(WEB)["labels"][SERVICE] = "renamed"
    del api.metadata(TEST)["labels"][EVERYWHERE]
    del api.objects[DATABASE]
    await freezes.end(service)
    await freezes.end(everything)
    assert names(api) == []


async def test_of_several_freezes_the_oldest_is_seen_and_the_others_when_it_ends(
    api: ClusterApi, freezes: Freezes
) -> None:
    scale = (FreezeAction.BLOCK_SCALE,)
    first = await freezes.begin(event(FreezeScope.NAMESPACE, "prod", "first"))
    later = NOW + timedelta(seconds=1)
    second = await freezes.begin(event(FreezeScope.GLOBAL, "*", "second", triggered_at=later, actions=scale))
    assert {name: one["event_id"] for name, one in api.annotations().items()} == {"prod": "first", "test": "second"}
    assert api.annotations()["prod"]["actions"] == ["BLOCK_DEPLOY", "BLOCK_SCALE"]
    await freezes.end(first)
    assert {name: one["event_id"] for name, one in api.annotations().items()} == {"prod": "second", "test": "second"}
    assert api.annotations()["prod"]["actions"] == ["BLOCK_SCALE"]
    third = await freezes.begin(event(FreezeScope.SERVICE, "web", "third"))
    await freezes.end(second)
    assert names(api) == ["web", "web-2", "web-db"]
    await freezes.end(third)
    assert names(api) == []


async def test_a_freeze_that_forbids_nothing_is_not_seen(api: ClusterApi, freezes: Freezes) -> None:
    await freezes.begin(event(FreezeScope.GLOBAL, actions=(FreezeAction.ALERT_ONLY,)))
    assert names(api) == []


async def test_a_large_cluster_is_read_in_pages(api: ClusterApi, freezes: Freezes) -> None:
    for number in range(25):
        api.add(DEPLOYMENTS.format("prod", f"web-{number:02}"), **{SERVICE: "web"})
    api.page = 4
    frozen = await freezes.begin(event(FreezeScope.SERVICE, "web"))
    assert len(names(api)) == 28
    await freezes.end(frozen)
    assert names(api) == []


async def test_an_object_that_changes_meanwhile_is_looked_at_again(api: ClusterApi, freezes: Freezes) -> None:
    moved = 2

    async def moving(request: Request) -> Answer:
        nonlocal moved
        if request.method == "PATCH" and moved:
            moved -= 1
            api.changed(WEB)
        return await api.api(request)

    api.answer = moving
    await freezes.begin(event(FreezeScope.SERVICE, "web"))
    assert names(api) == ["web", "web-2", "web-db"]
    moved = 10**6
    with pytest.raises(Unavailable, match="changed 5 times"):
        await freezes.end(freezes.active[0])
    moved = 0
    await freezes.lift(event(FreezeScope.SERVICE, "web", resolved_at=NOW))
    assert names(api) == []


async def test_two_processes_leave_what_the_freezes_say(api: ClusterApi, cluster: Cluster) -> None:
    active: list[FreezeEvent] = []
    both = [Freezes(cluster, active), Freezes(cluster, active)]
    old = await both[0].begin(event(FreezeScope.SERVICE, "web", "old"))
    for number in range(8):
        new = event(FreezeScope.SERVICE, "web", f"new-{number}", triggered_at=NOW + timedelta(seconds=number + 1))
        await asyncio.gather(both[0].end(old), both[1].begin(new))
        assert {one["event_id"] for one in api.annotations().values()} == {new.event_id}
        assert len(names(api)) == 3
        old = new
    for one in both:
        await one.client.aclose()


async def _forbidden(_request: Request) -> Answer:
    return Answer(403, b"x" * 100_000)


async def _broken(_request: Request) -> Answer:
    return Answer(500)


async def _nonsense(_request: Request) -> Answer:
    return Answer(200, b'{"items": [{"metadata": 7}]}')


async def _no_json(_request: Request) -> Answer:
    return Answer(200, b"<html>")


async def _endless(_request: Request) -> Answer:
    return Answer(200, b'{"items": [], "metadata": {"continue": "more"}}')


async def _moved(request: Request) -> Answer:
    return Answer(307, headers={"location": f"http://169.254.169.254{request.path}"})


@pytest.mark.parametrize("answer", [_forbidden, _broken, _nonsense, _no_json, _endless, _moved])
async def test_whatever_the_cluster_answers_is_tried_again_later(
    api: ClusterApi,
    freezes: Freezes,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[Request], Awaitable[Answer]],
) -> None:
    monkeypatch.setattr(repeated, "PAUSE_SECONDS", 0.001)
    api.answer = answer
    with pytest.raises(Unavailable) as refused:
        await freezes.begin(event(FreezeScope.SERVICE, "web"))
    assert len(str(refused.value)) < 300
    api.answer = api.api
    await freezes.apply(freezes.active[0])
    assert names(api) == ["web", "web-2", "web-db"]


async def test_one_object_that_is_refused_keeps_no_other_from_being_frozen(api: ClusterApi, freezes: Freezes) -> None:
    api.rights.remove(("patch", "statefulsets"))
    with pytest.raises(Unavailable, match="its role does not allow it"):
        await freezes.begin(event(FreezeScope.SERVICE, "web"))
    assert names(api) == ["web", "web-2"]


async def test_a_cluster_that_hangs_is_given_up_in_time(
    api: ClusterApi, freezes: Freezes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "CALL_SECONDS", 0.2)
    hanging = asyncio.Event()

    async def hang(request: Request) -> Answer:
        await hanging.wait()
        return await api.api(request)

    api.answer = hang
    with pytest.raises(Unavailable):
        await freezes.begin(event(FreezeScope.SERVICE, "web"))
    hanging.set()


async def test_the_token_is_read_again_as_it_is_replaced(api: ClusterApi, freezes: Freezes, cluster: Cluster) -> None:
    api.token = "token-2"
    with pytest.raises(Unavailable, match="401"):
        await freezes.begin(event(FreezeScope.SERVICE, "web"))
    cluster.token_file.write_text("token-2")
    await freezes.apply(freezes.active[0])
    assert len(names(api)) == 3
    cluster.token_file.unlink()
    with pytest.raises(Unavailable, match="may not change the cluster"):
        await freezes.apply(freezes.active[0])


@pytest.mark.parametrize("name", ["a,b", "web in (x)", "../x", "x" * 64, "a\r\nb: c", "ü", "", "-"])
async def test_a_name_that_no_label_can_have_is_asked_for_nowhere(api: ClusterApi, freezes: Freezes, name: str) -> None:
    await freezes.begin(event(FreezeScope.SERVICE, name, "a"))
    await freezes.begin(event(FreezeScope.NAMESPACE, name, "b"))
    assert names(api) == []
    selectors = {request.query.get("labelSelector") for request in api.requests}
    assert selectors == {f"{MARK}=true", f"{EVERYWHERE}=true"}
    assert {request.query.get("fieldSelector") for request in api.requests} == {None}


async def test_a_certificate_counts_when_the_authority_of_the_cluster_has_issued_it(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    ours.issue(tmp_path / "server.pem", tmp_path / "server.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"items": [], "metadata": {}}'
        head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answered, "127.0.0.1", 0, ssl=context)
    (tmp_path / "token").write_text("t")
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for trusted, file in ((True, ours.file), (False, theirs.file), (False, None), (False, tmp_path / "none.pem")):
        made = Freezes(Cluster(url, tmp_path / "token", SERVICE, "a=b"), [], None if file is None else str(file))
        if trusted:
            await made.begin(event(FreezeScope.SERVICE, "web"))
        else:
            with pytest.raises(Unavailable, match="cannot be reached"):
                await made.begin(event(FreezeScope.SERVICE, "web"))
        await made.client.aclose()
    server.close()
    await server.wait_closed()


def test_a_freeze_of_a_policy_says_what_the_annotation_needs() -> None:
    said = json.loads(annotation_of(begun(policy(), [budget(15)], NOW, "e"))[ANNOTATION])
    assert said.keys() == {"event_id", "policy_id", "slo_id", "actions", "since", "reason"}


async def test_a_platform_annotates_the_cluster_that_its_settings_name(api: ClusterApi, tmp_path: Path) -> None:
    token = tmp_path / "account-token"
    async with one_machine(tmp_path, freeze_cluster_url=api.url, freeze_token_file=token) as platform:
        entries, engine = platform.running.ports.key_values, platform.running.engine
        query = {"metricName": "up", "query": "up"}  # no server answers it: the budget stays as it is put here
        for document in (slo({"namespace": "prod"}, serviceName="web", sliQuery=query), policy_document(target="web")):
            await resources.apply_resource(entries, read_document(document), NOW, "ada")
        (one,) = await stored.slos(entries)
        low = budget_of(one, NOW, "b", Indicator(0.99), {})
        await stored.put_budget(entries, stored.BudgetState(budget=low), 0)
        (begun_here,) = await engine.enforce_policies()
        assert (begun_here.active, begun_here.applied, names(api)) == (True, False, [])  # nobody has a token here
        token.write_text(api.token)
        await engine.enforce_policies()
        assert names(api) == ["web", "web-2", "web-db"]
        assert api.annotations()["web"]["event_id"] == begun_here.event_id
        token.unlink()
        resolved = await engine.resolve_freeze(begun_here.event_id, "ada", "it has to go out")
        assert (resolved.active, resolved.applied, len(names(api))) == (False, False, 3)
        token.write_text(api.token)
        await engine.enforce_policies()
        assert names(api) == []
        (last,) = [event for event, _ in await stored.freezes(entries)]
        assert last.applied

"""The registry as its users see it: `/api/v1/agents`, another face of the records of `/api/v1/workers`."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from functions._core.errors import Rejected
from functions._core.placement.agent_log import KEPT, append
from functions._core.placement.agents import AgentChange, ChangeKind
from functions._core.records.worker import AgentType
from functions.api.services import Watchers
from tests.support.http_api import Api, bearer, problem_of, running_api
from tests.support.world import decision, task, until

AGENTS = "/api/v1/agents"
AGENT = {
    "agent_id": "worker-1",
    "agent_type": "WORKER",
    "capabilities": [" Python ", "sql"],
    "endpoint": "http://127.0.0.1:1/worker-1",
    "metadata": {"version": "1.0.0", "region": "eu"},
}


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def register(api: Api, **changes: Any) -> dict[str, Any]:
    answer = await api.client.post(AGENTS, json={**AGENT, **changes})
    assert answer.status_code in {200, 201}, answer.text
    agent: dict[str, Any] = answer.json()
    return agent


async def discovered(api: Api, **asked: Any) -> list[str]:
    answer = await api.client.post(f"{AGENTS}/discover", json=asked)
    assert answer.status_code == 200, answer.text
    return [agent["agent_id"] for agent in answer.json()["agents"]]


async def beat(api: Api, agent_id: str, **said: Any) -> dict[str, Any]:
    answer = await api.client.post(f"{AGENTS}/{agent_id}/heartbeat", json=said)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


class TestRegistration:
    """Register, heartbeat, get, deregister."""

    async def test_an_agent_that_registers_is_known_by_both_faces(self, api: Api) -> None:
        answer = await api.client.post(AGENTS, json=AGENT)
        assert answer.status_code == 201
        told = answer.json()
        assert told["agent_id"] == "worker-1"
        assert (told["heartbeat_interval_seconds"], told["ttl_seconds"]) == (30, 300)
        assert told["signing_secret"].startswith("whsec_")
        assert told["capabilities"] == ["python", "sql"]
        assert told["status"] == "HEALTHY"
        assert (await api.get("/api/v1/workers/worker-1"))["metadata"] == AGENT["metadata"]
        assert (await api.client.post(AGENTS, json={**AGENT, "capabilities": ["go"]})).status_code == 200
        assert (await api.get(f"{AGENTS}/worker-1"))["capabilities"] == ["go"]

    async def test_an_agent_without_an_id_has_that_of_its_endpoint(self, api: Api) -> None:
        form = {name: value for name, value in AGENT.items() if name != "agent_id"}
        first = (await api.client.post(AGENTS, json=form)).json()["agent_id"]
        assert (await api.client.post(AGENTS, json=form)).json()["agent_id"] == first
        assert [agent["agent_id"] for agent in (await api.get(AGENTS))["items"]] == [first]

    async def test_an_agent_keeps_its_type(self, api: Api) -> None:
        await register(api)
        problem_of(await api.client.post(AGENTS, json={**AGENT, "agent_type": "SCOUT"}), 409, "other_agent_type")
        problem_of(await api.client.post(AGENTS, json={**AGENT, "agent_type": "SPY"}), 422, "invalid_data")

    async def test_a_heartbeat_moves_last_seen_and_states_telemetry(self, api: Api) -> None:
        before = await register(api)
        said = {"success_rate": 0.95, "active_tasks": 2, "cpu": 0.4, "memory": 0.5, "latency_ms": 12.5}
        told = await beat(api, "worker-1", status="healthy", telemetry=said | {"total_executions": 7})
        assert told == {"accepted": True, "status": "HEALTHY", "cancel": []}
        after = await api.get(f"{AGENTS}/worker-1")
        assert after["last_seen"] > before["last_seen"]
        assert said.items() <= after["telemetry"].items()
        for wrong in ({"cpu": 1.5}, {"latency_ms": -1}, {"active_tasks": 1e30}, {"memory": "much"}):
            answer = await api.client.post(f"{AGENTS}/worker-1/heartbeat", json={"telemetry": wrong})
            problem_of(answer, 422, "invalid_data")

    async def test_who_is_not_known_has_to_register(self, api: Api) -> None:
        problem_of(await api.client.post(f"{AGENTS}/ghost/heartbeat", json={}), 404, "unknown_worker")
        problem_of(await api.client.get(f"{AGENTS}/ghost"), 404, "unknown_agent")
        problem_of(await api.client.post(f"{AGENTS}/ghost/drain"), 404, "unknown_agent")

    async def test_who_leaves_is_gone_and_may_leave_again(self, api: Api) -> None:
        await register(api)
        assert (await api.client.delete(f"{AGENTS}/worker-1?reason=done")).status_code == 204
        assert await discovered(api) == []
        problem_of(await api.client.delete(f"{AGENTS}/worker-1"), 404, "unknown_agent")


class TestDiscovery:
    """Filters, order and scores."""

    async def test_the_order_follows_the_composite_score(self, api: Api) -> None:
        for agent_id, rate in (("a", 0.5), ("b", 0.95), ("c", None)):
            await register(api, agent_id=agent_id, telemetry={"success_rate": rate})
        answer = (await api.client.post(f"{AGENTS}/discover", json={"capabilities": ["PYTHON"], "limit": 2})).json()
        assert [agent["agent_id"] for agent in answer["agents"]] == ["b", "a"]
        best = answer["agents"][0]
        assert best["composite_score"] == pytest.approx(0.4 * 1.0 + 0.3 * 0.5 + 0.3 * 0.95)
        assert (best["health_score"], best["pheromone_score"], best["telemetry_score"]) == (1.0, 0.5, 0.95)
        assert (answer["evaluated"], answer["matched"]) == (3, 3)

    async def test_without_filters_only_healthy_agents_fit_and_with_empty_ones_all(self, api: Api) -> None:
        for agent_id, status in (("well", "HEALTHY"), ("so-so", "DEGRADED"), ("ill", "UNHEALTHY")):
            await register(api, agent_id=agent_id)
            await beat(api, agent_id, status=status)
        assert await discovered(api, capabilities=["python"]) == ["well"]
        assert await discovered(api, capabilities=["python"], filters={"status": "healthy"}) == ["well"]
        assert await discovered(api, capabilities=["python"], filters={}) == ["well", "so-so", "ill"]
        assert await discovered(api, filters={"status": "unhealthy"}) == ["ill"]

    @pytest.mark.parametrize(
        ("filters", "fitting"),
        [
            ({"type": "scout"}, ["s"]),
            ({"region": "eu"}, ["a", "s"]),
            ({"version": "2"}, ["b"]),
            ({"min_success_rate": 0.8}, ["a"]),
            ({"exclude": ["a", "s"]}, ["b"]),
            ({"match": "any"}, ["a", "b", "s"]),
            ({"match": "all"}, ["a", "b", "s"]),
        ],
    )
    async def test_each_filter_leaves_out_what_does_not_fit(
        self, api: Api, filters: dict[str, Any], fitting: list[str]
    ) -> None:
        await register(api, agent_id="a", telemetry={"success_rate": 0.9})
        await register(api, agent_id="b", metadata={"version": "2", "region": "us"})
        await register(api, agent_id="s", agent_type="SCOUT")
        assert sorted(await discovered(api, filters=filters)) == fitting

    async def test_all_capabilities_or_any_of_them(self, api: Api) -> None:
        await register(api, agent_id="both")
        await register(api, agent_id="one", capabilities=["sql"])
        await register(api, agent_id="none", capabilities=["go"])
        asked = ["python", "sql"]
        assert await discovered(api, capabilities=asked, filters={"match": "all"}) == ["both"]
        assert await discovered(api, capabilities=asked, filters={"match": "any"}) == ["both", "one"]

    @pytest.mark.parametrize(
        ("asked", "named"),
        [
            ({"capabilitys": []}, "capabilitys"),
            ({"filters": {"statuss": "healthy"}}, "filters.statuss"),
            ({"filters": {"status": "fine"}}, "filters.status"),
            ({"filters": {"min_success_rate": 2}}, "filters.min_success_rate"),
            ({"limit": 0}, "limit"),
            ({"limit": 101}, "limit"),
        ],
    )
    async def test_a_misspelt_field_is_refused_by_its_name(self, api: Api, asked: dict[str, Any], named: str) -> None:
        problem = problem_of(await api.client.post(f"{AGENTS}/discover", json=asked), 422, "invalid_data")
        assert f"body.{named}" in problem["detail"]

    async def test_agents_of_other_types_get_no_tickets_and_why_says_so(self, api: Api) -> None:
        await register(api, agent_id="s", agent_type="SCOUT")
        flow_id = await api.submit(decision(task("a")))
        ticket = await until(lambda: refused(api, flow_id), "the ticket to wait")
        assert "is of type SCOUT: only agents of the types WORKER and FORGE get tickets" in json.dumps(ticket)


async def refused(api: Api, flow_id: str) -> dict[str, Any] | None:
    """Return why the ticket of a flow waits, once it was offered to workers."""
    tickets = await api.tickets(flow_id)
    if not tickets:
        return None
    why: dict[str, Any] = await api.get(f"/api/v1/why/{tickets['a']['ticket_id']}")
    return why if why["refusals"] else None


class TestList:
    """Pages and filters of the list."""

    async def test_filters_and_pages(self, api: Api) -> None:
        for number in range(5):
            await register(api, agent_id=f"w{number}", agent_type="SCOUT" if number == 4 else "WORKER")
        await beat(api, "w0", status="DEGRADED")
        await register(api, agent_id="g", capabilities=["go"])

        async def ids(**asked: Any) -> list[str]:
            return [agent["agent_id"] for agent in (await api.get(AGENTS, **asked))["items"]]

        assert await ids() == ["g", "w0", "w1", "w2", "w3", "w4"]
        assert await ids(type="scout") == ["w4"]
        assert await ids(status="degraded") == ["w0"]
        assert await ids(capability="GO") == ["g"]
        page = await api.get(AGENTS, limit=4, capability="python")
        assert page["cursor"] == "w3"
        last = await api.get(AGENTS, limit=4, capability="python", cursor=page["cursor"])
        assert ([agent["agent_id"] for agent in last["items"]], last["cursor"]) == (["w4"], None)
        assert page["revision"] == last["revision"] == 7
        problem_of(await api.client.get(AGENTS, params={"kind": "scout"}), 400, "unknown_parameter")


class TestDrain:
    """An agent that gets no new tickets."""

    async def test_it_finishes_what_it_has_gets_nothing_new_and_gets_it_when_that_is_over(self, api: Api) -> None:
        workers = api.world.workers
        workers.behave = lambda _assignment: None
        await api.register("w1")
        first = await api.submit(decision(task("a")))
        await until(lambda: asyncio.sleep(0, workers.assignments or None), "the first assignment")
        answer = await api.client.post(f"{AGENTS}/w1/drain", json={"reason": "upgrade"})
        assert (answer.status_code, answer.json()["draining"]) == (200, True)
        second = await api.submit(decision(task("a")))
        why = await until(lambda: refused(api, second), "the second ticket to wait")
        assert why["refusals"][0]["reason"] == "is draining: it finishes its tickets and gets no new ones"
        assert await discovered(api) == []
        assert "is draining" in json.dumps(await api.get(f"/api/v1/why/{(await api.tickets(first))['a']['ticket_id']}"))
        assert (await api.tickets(first))["a"]["status"] == "ASSIGNED"
        await api.register("w1")  # registering again ends no drain
        assert (await api.get(f"{AGENTS}/w1"))["draining"] is True
        assert len(workers.assignments) == 1
        workers.behave = lambda _assignment: {"status": "COMPLETED"}
        assert (await api.client.post(f"{AGENTS}/w1/undrain")).json()["draining"] is False
        await until(lambda: ended(api, second), "the second flow to end")
        actions = [entry["action"] for entry in (await api.get("/api/v1/audits", kind="ACTION"))["items"]]
        assert {"drain_worker", "undrain_worker"} <= set(actions)


async def ended(api: Api, flow_id: str) -> bool | None:
    flow = await api.flow(flow_id)
    return (flow is not None and flow["status"] == "COMPLETED") or None


class TestWatch:
    """Long poll and server-sent events."""

    async def test_changes_come_with_growing_revisions_and_a_watch_resumes_where_it_was(self, api: Api) -> None:
        listed = await api.get(AGENTS)
        waiting = asyncio.create_task(api.get(f"{AGENTS}/watch", from_revision=listed["revision"], timeout=60))
        await asyncio.sleep(0)
        await register(api)
        first = await waiting
        [change] = first["changes"]
        assert (change["type"], change["agent_id"], change["agent"]["status"]) == ("ADDED", "worker-1", "HEALTHY")
        await beat(api, "worker-1", telemetry={"cpu": 0.1})
        none = await api.get(f"{AGENTS}/watch", from_revision=first["revision"], timeout=0)
        assert none == {"changes": [], "revision": first["revision"]}
        await beat(api, "worker-1", status="DEGRADED")
        await api.client.delete(f"{AGENTS}/worker-1")
        rest = await api.get(f"{AGENTS}/watch", from_revision=first["revision"])
        assert [one["type"] for one in rest["changes"]][-1] == "REMOVED"
        assert rest["changes"][-1]["agent"] is None
        revisions = [one["revision"] for one in (*first["changes"], *rest["changes"])]
        assert revisions == sorted(revisions)

    async def test_a_watch_of_one_type_hears_of_no_other(self, api: Api) -> None:
        await register(api, agent_id="s", agent_type="SCOUT")
        await register(api)
        told = await api.get(f"{AGENTS}/watch", from_revision=0, type="scout", timeout=0)
        assert [one["agent_id"] for one in told["changes"]] == ["s"]

    async def test_a_revision_that_is_too_old_or_never_was_is_gone(self, api: Api) -> None:
        problem_of(await api.client.get(f"{AGENTS}/watch?from_revision=99"), 410, "revision_gone")
        change = AgentChange(kind=ChangeKind.ADDED, agent_id="a", agent_type=AgentType.WORKER)
        entries, clock = api.world.ports.key_values, api.world.ports.clock
        for number in range(KEPT + 130):
            await append(entries, [change], clock.now(), number)
        problem_of(await api.client.get(f"{AGENTS}/watch?from_revision=1"), 410, "revision_gone")
        stream = {"accept": "text/event-stream", "last-event-id": "1"}
        problem_of(await api.client.get(f"{AGENTS}/watch", headers=stream), 410, "revision_gone")
        revision = (await api.get(AGENTS))["revision"]
        assert (await api.get(f"{AGENTS}/watch", from_revision=revision, timeout=0))["changes"] == []

    @pytest.mark.parametrize(
        ("query", "status"),
        [("from_revision=-1", 422), ("timeout=61", 422), ("timeout=nan", 422), ("from=1", 400), ("type=SPY", 422)],
    )
    async def test_what_is_asked_for_is_checked(self, api: Api, query: str, status: int) -> None:
        assert (await api.client.get(f"{AGENTS}/watch?{query}")).status_code == status

    async def test_a_last_event_id_that_is_no_revision_is_refused(self, api: Api) -> None:
        for said in (b"x", b"9" * 30, b"-1", b"\xb2"):
            headers = {b"accept": b"text/event-stream", b"last-event-id": said}
            problem_of(await api.client.get(f"{AGENTS}/watch", headers=headers), 400, "bad_revision")

    def test_so_many_watch_at_once_and_so_many_of_one_client(self) -> None:
        watchers = Watchers(limit=3, of_one=2)
        with watchers.one("a"), watchers.one("a"), pytest.raises(Rejected):
            watchers.check("a")
        with watchers.one("a"), watchers.one("b"), watchers.one("c"), pytest.raises(Rejected):
            watchers.check("d")
        watchers.check("a")


class TestRoles:
    """Who may do what."""

    async def test_a_key_for_one_worker_acts_for_no_other_agent(self, tmp_path: Path) -> None:
        admin = {"x-api-key": "the-key-of-the-admin"}
        async with running_api(tmp_path, api_key="the-key-of-the-admin") as api:
            form = {"name": "w", "roles": ["worker"], "worker_id": "worker-1"}
            key = {"x-api-key": (await api.client.post("/api/v1/keys", json=form, headers=admin)).json()["key"]}
            assert (await api.client.post(AGENTS, json=AGENT, headers=key)).status_code == 201
            other = {**AGENT, "agent_id": "other"}
            assert (await api.client.post(AGENTS, json=other, headers=admin)).status_code == 201
            problem_of(await api.client.post(AGENTS, json=other, headers=key), 403, "foreign_worker")
            for method, path in (
                ("POST", "other/heartbeat"),
                ("POST", "other/drain"),
                ("GET", "other"),
                ("DELETE", "other"),
            ):
                answer = await api.client.request(method, f"{AGENTS}/{path}", headers=key, json={})
                problem_of(answer, 403, "foreign_worker")
            for method, path in (("GET", ""), ("GET", "/watch"), ("POST", "/import"), ("POST", "/worker-1/undrain")):
                answer = await api.client.request(method, f"{AGENTS}{path}", headers=key, json={"url": "http://x"})
                problem_of(answer, 403, "insufficient_role")
            assert (await api.client.post(f"{AGENTS}/worker-1/drain", headers=key)).status_code == 200
            assert (await api.client.get(f"{AGENTS}/watch")).status_code == 401
            assert (await api.client.get(AGENTS, headers=bearer("nonsense"))).status_code == 401

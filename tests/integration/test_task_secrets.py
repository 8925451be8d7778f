"""Secrets by reference: a worker gets the value, and nothing else ever has it."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.test_secrets import files_in, forms
from tests.support.http_api import Api, running_api
from tests.support.loopback import Answer, Loopback, Request
from tests.support.processes import Platform, running_platform
from tests.support.pulling import leased, register_pulling
from tests.support.world import PATIENCE_S, decision, task

VALUE = 'S3CRET-planted-"where nothing may find it'
ENVIRONMENT = {"FLOWC_TASK_SECRETS": "db=env:DB, acme/own=env:OWN, gone=env:NOT_SET", "DB": VALUE, "OWN": "of acme"}
DB = {"$secret": "db"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Give an api over a platform that lets tasks have secrets, with one worker."""
    async with running_api(tmp_path, environment=ENVIRONMENT) as running:
        await running.world.register()
        yield running


async def failure(api: Api, parameters: Mapping[str, Any], **more: Any) -> tuple[str, str]:
    """Return code and message of the failure of a task with these parameters."""
    flow_id = await api.world.submit(decision(task("a", parameters=parameters), **more))
    await api.world.ended(flow_id)
    ticket = (await api.world.tickets(flow_id))["a"]
    assert ticket.reason is not None
    assert ticket.attempt == 1
    return ticket.reason.code, ticket.reason.message


class TestFilling:
    async def test_a_worker_gets_the_value_and_its_place_and_the_platform_keeps_the_name(self, api: Api) -> None:
        api.world.workers.behave = lambda _assignment: None
        flow_id = await api.world.submit(decision(task("a", parameters={"url": "x", "auth": [{"key/1": DB}]})))
        ticket = await api.world.ticket(flow_id, lambda one: one.acknowledged_at is not None, "has a worker")
        [given] = api.world.workers.assignments
        assert given["parameters"] == {"url": "x", "auth": [{"key/1": VALUE}]}
        assert given["secrets"] == ["/auth/0/key~11"]
        assert ticket.parameters == {"url": "x", "auth": [{"key/1": DB}]}
        shown = await api.get(f"/api/v1/tickets/{ticket.ticket_id}/assignment")
        assert (shown["parameters"], shown["secrets"]) == (ticket.parameters, [])

    async def test_a_worker_that_asks_gets_it_too(self, tmp_path: Path) -> None:
        async with running_api(tmp_path, environment=ENVIRONMENT) as api:
            await register_pulling(api)
            await api.world.submit(decision(task("a", parameters={"auth": DB})))
            [given] = await leased(api, wait_seconds=30)
            assert (given["parameters"], given["secrets"]) == ({"auth": VALUE}, ["/auth"])

    async def test_a_task_without_secrets_is_told_of_none(self, api: Api) -> None:
        await api.world.run(task("a"))
        assert "secrets" not in api.world.workers.assignments[0]

    async def test_what_another_task_returned_is_data(self, api: Api) -> None:
        sly = {"auth": DB, "$secret": "db"}
        api.world.workers.behave = lambda _assignment: {"status": "COMPLETED", "output": sly}
        whole, within = {"$output": "a"}, {"x": {"$output": "a"}, "y": DB}
        await api.world.run(task("a"), task("b", "a", parameters=whole), task("c", "a", parameters=within))
        given = {one["task_id"]: one for one in api.world.workers.assignments}
        assert given["b"]["parameters"] == sly
        assert given["c"]["parameters"] == {"x": sly, "y": VALUE}
        assert given["c"]["secrets"] == ["/y"]

    async def test_a_secret_of_a_tenant_is_for_its_flows_alone(self, api: Api) -> None:
        await api.world.run(task("a", parameters={"x": {"$secret": "own"}}), tenant_id="acme")
        assert api.world.workers.assignments[0]["parameters"] == {"x": "of acme"}
        code, message = await failure(api, {"x": {"$secret": "own"}}, tenant_id="other")
        assert (code, "'own'" in message) == ("unknown_secret", True)

    @pytest.mark.parametrize("name", ["DB", "HOME", "gone", "nowhere"])
    async def test_a_name_that_is_not_allowed_or_not_kept_fails_the_task_by_that_name(
        self, api: Api, name: str
    ) -> None:
        code, message = await failure(api, {"x": {"$secret": name}})
        assert code == "unknown_secret"
        assert f"'{name}'" in message
        assert "NOT_SET" not in message

    async def test_references_to_secrets_are_bounded(self, api: Api) -> None:
        assert (await failure(api, {"x": [DB] * 101}))[0] == "too_many_secrets"
        await api.world.run(task("a", parameters={"x": [DB] * 100}))
        assert api.world.workers.assignments[-1]["parameters"] == {"x": [VALUE] * 100}

    async def test_a_place_that_is_away_delays_the_task_and_blames_no_worker(self, tmp_path: Path) -> None:
        place = tmp_path / "vault" / "key"
        place.parent.write_text("no folder yet")
        async with running_api(tmp_path, environment={"FLOWC_TASK_SECRETS": f"db=file:{place}"}) as api:
            await api.world.register()
            flow_id = await api.world.submit(decision(task("a", parameters={"x": DB})))
            waits = await api.world.ticket(flow_id, lambda one: one.reason is not None, "waits for the secret")
            assert waits.reason is not None
            assert "the secret 'db' of the task cannot be read now" in waits.reason.message
            place.parent.unlink()
            place.parent.mkdir()
            place.touch(mode=0o600)
            place.write_text(VALUE)
            assert (await api.world.ended(flow_id)).status == "COMPLETED"
            [given] = api.world.workers.assignments
            assert given["parameters"] == {"x": VALUE}
            worker = (await api.get("/api/v1/workers"))["items"][0]
            assert (worker["failures"], worker["breaker"]) == (0, "closed")


async def shown_by(platform: Platform) -> str:
    """Return all that a platform shows."""
    async with httpx.AsyncClient(base_url=platform.url, trust_env=False, timeout=PATIENCE_S) as client:
        pages = ("events", "dead-letters", "audits", "incidents", "workers", "tickets", "flows", "telemetry/buffer")
        paths = [f"/api/v1/{page}" for page in pages]
        for flow in (await client.get("/api/v1/flows")).json()["items"]:
            at = f"/api/v1/flows/{flow['flow_id']}"
            paths += [at, *(f"{at}/{part}" for part in ("tickets", "history", "result", "decision"))]
            paths.append(f"/api/v1/why/{flow['flow_id']}")
        for ticket in (await client.get("/api/v1/tickets")).json()["items"]:
            at = f"/api/v1/tickets/{ticket['ticket_id']}"
            paths += [at, f"{at}/logs", f"{at}/assignment", f"{at}/history", f"/api/v1/why/{ticket['ticket_id']}"]
        return "".join([(await client.get(path)).text for path in (*paths, "/metrics", "/ready")])


async def test_no_value_is_ever_written_or_shown_whatever_workers_say(tmp_path: Path) -> None:
    folder, kept = tmp_path / "platform", tmp_path / "kept"
    folder.mkdir()
    kept.touch(mode=0o600)
    kept.write_text(VALUE)
    told: list[bytes] = []

    async def answer(request: Request) -> Answer:
        """Hear events as a subscriber, and refuse assignments with all that they say."""
        told.append(request.body if request.path == "/events" else b"")
        return Answer(202) if request.path == "/events" else Answer(400, b"refused: " + request.body)

    async with Loopback() as loopback:
        loopback.answer = answer
        settings = {"task_secrets": f"db=file:{kept}", "subscriber_url": f"{loopback.url}/events", "log_level": "debug"}
        async with running_platform(folder, **settings) as platform:
            platform.hire("echo", "--shell", "tee /dev/stderr", "--capability", "echo")
            platform.hire("fails", "--shell", "tee /dev/stderr; exit 3", "--capability", "fails")
            async with httpx.AsyncClient(base_url=platform.url, trust_env=False, timeout=PATIENCE_S) as client:
                refuses = {"worker_id": "refuses", "endpoint": f"{loopback.url}/work", "capabilities": ["refuses"]}
                assert (await client.post("/api/v1/workers", json=refuses)).status_code == 201
            flows = {}
            for name in ("echo", "fails", "refuses"):
                limit = {"schedule_to_start_ms": 3000} if name == "refuses" else {}
                more = {"retry": {"max_retries": 0}, **limit}
                asked = task("a", required_capabilities=[name], parameters={"deep": [{"auth": DB}]}, **more)
                flows[name] = await platform.submit(decision(asked))
            ended = {name: (await platform.ended(flow_id))["status"] for name, flow_id in flows.items()}
            assert ended == {"echo": "COMPLETED", "fails": "FAILED", "refuses": "FAILED"}
            output = (await platform.tickets(flows["echo"]))["a"]["output"]
            assert output["parameters"] == {"deep": [{"auth": "***"}]}, "the worker had it, and did not tell"
            shown = await shown_by(platform)
            platform.kill()  # so that the write-ahead log is still there
        written = files_in(folder)
    assert {"flowc.db", "flowc.db-wal", "telemetry.jsonl", "platform.log", "echo.log"} <= written.keys()
    assert len(told) > 10
    everything = {**written, "shown": shown.encode(), "told": b"".join(told)}
    escaped = json.dumps(VALUE)[1:-1]
    found = [
        name
        for name, text in everything.items()
        if any(form in text for form in (*forms(VALUE), escaped.encode(), VALUE.split('"', maxsplit=1)[0].encode()))
    ]
    assert found == []
    assert b"$secret" in written["flowc.db-wal"]
    assert not any(b'"secrets"' in text for text in told)

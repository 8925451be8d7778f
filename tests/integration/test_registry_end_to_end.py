"""The registry through real HTTP: the eight checks of its validation, a watch across restarts, cards, probes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._engine.settings import Settings
from functions._hosts.one_machine.process import running
from tests.support.http_api import problem_of
from tests.support.world import until

AGENTS = "/api/v1/agents"
AGENT = {"agent_id": "worker-1", "capabilities": ["python"], "endpoint": "http://127.0.0.1:1/worker-1"}
CARD = {
    "protocolVersion": "0.3.0",
    "name": "Translator",
    "description": "Translates texts.",
    "version": "1.4",
    "skills": [{"id": "Translate", "name": "Translate", "tags": ["language", " Text "]}],
}


@asynccontextmanager
async def platform(folder: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run a platform over its folder, and a client of it."""
    async with (
        running(Settings(data=folder, port=0, **settings)) as started,
        httpx.AsyncClient(base_url=started.url, timeout=60) as client,
    ):
        yield client


async def test_the_eight_checks(tmp_path: Path) -> None:
    async with platform(tmp_path) as client:
        assert (await client.get("/health")).status_code == 200, "1 reachable"
        assert (await client.get("/ready")).status_code == 200, "2 ready"
        assert (await client.post(AGENTS, json=AGENT)).status_code == 201, "3 register"
        heard = await client.post(f"{AGENTS}/worker-1/heartbeat", json={"telemetry": {"success_rate": 0.95}})
        assert heard.json()["accepted"] is True, "4 heartbeat accepted"
        asked = {"capabilities": ["python"], "filters": {"status": "healthy"}, "limit": 5}
        found = (await client.post(f"{AGENTS}/discover", json=asked)).json()["agents"]
        assert [agent["agent_id"] for agent in found] == ["worker-1"], "5 discovery finds it"
        assert (await client.get(f"{AGENTS}/worker-1")).json()["telemetry"]["success_rate"] == 0.95, "6 get"
        metrics = (await client.get("/metrics")).text
        assert "agents_registered_total" in metrics, "7 metrics"
        assert "heartbeats_received_total" in metrics, "7 metrics"
        assert (await client.delete(f"{AGENTS}/worker-1")).status_code == 204, "8 deregister removes it"
        assert (await client.get(f"{AGENTS}/worker-1")).status_code == 404, "8 deregister removes it"


async def test_a_stream_goes_on_behind_the_last_event_after_a_restart(tmp_path: Path) -> None:
    async with platform(tmp_path) as client:
        heard = await streamed(client, 0, lambda: client.post(AGENTS, json=AGENT), 1)
        assert [(one["type"], one["agent_id"]) for one in heard] == [("ADDED", "worker-1")]
        last = heard[-1]["revision"]
        await client.post(f"{AGENTS}/worker-1/drain")
    async with platform(tmp_path) as client:
        heard = await streamed(client, last, lambda: client.delete(f"{AGENTS}/worker-1"), 2)
        assert [one["agent_id"] for one in heard] == ["worker-1", "worker-1"]
        assert heard[-1]["type"] == "REMOVED"
        assert last < heard[0]["revision"] < heard[1]["revision"]


async def streamed(
    client: httpx.AsyncClient, last: int, act: Callable[[], Awaitable[object]], count: int
) -> list[dict[str, Any]]:
    """Follow the registry behind a revision, do something once the stream is open, and return `count` changes."""
    found: list[dict[str, Any]] = []
    headers = {"accept": "text/event-stream", "last-event-id": str(last)}
    async with client.stream("GET", f"{AGENTS}/watch", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        acted = False
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
            if len(found) == count:
                break
            if line == "" and not acted and len(found) == count - 1:
                acted = True
                await act()
    return found


@asynccontextmanager
async def server(answers: Mapping[str, bytes]) -> AsyncIterator[str]:
    """Serve whole answers of HTTP by path."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.get(head.split()[1].decode(), b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"))
        writer.close()

    started = await asyncio.start_server(answered, "127.0.0.1", 0)
    async with started:
        yield f"http://127.0.0.1:{started.sockets[0].getsockname()[1]}"


def ok(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


WELL_KNOWN = "/.well-known/agent-card.json"
REDIRECT = b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"


async def test_a_card_becomes_an_agent_whose_skills_are_its_capabilities(tmp_path: Path) -> None:
    async with platform(tmp_path) as client, server({WELL_KNOWN: ok(json.dumps(CARD).encode())}) as url:
        answer = await client.post(f"{AGENTS}/import", json={"url": f"{url}/some/path", "agent_type": "ANALYST"})
        assert answer.status_code == 201, answer.text
        agent = answer.json()
        assert agent["capabilities"] == ["language", "text", "translate"]
        assert (agent["agent_type"], agent["metadata"]["version"]) == ("ANALYST", "1.4")
        assert agent["metadata"]["a2a"]["name"] == "Translator"
        again = await client.post(f"{AGENTS}/import", json={"url": url, "agent_type": "ANALYST"})
        assert again.status_code in {200, 201}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (REDIRECT, "no_card"),
        (ok(b"x" * 300_000), "bad_card"),
        (ok(b"[]"), "bad_card"),
        (ok(b'{"name": "x", "skills": [{"id": 7}]}'), "bad_card"),
        (ok(json.dumps({**CARD, "skills": [{"id": str(n)} for n in range(201)]}).encode()), "bad_card"),
        (ok(b"[" * 100_000), "too_deep"),
        (ok(json.dumps({**CARD, "url": "file:///etc/passwd"}).encode()), "invalid_data"),
        (ok(json.dumps({**CARD, "url": "http://169.254.169.254/latest"}).encode()), "forbidden_address"),
    ],
)
async def test_a_hostile_card_is_refused(tmp_path: Path, answer: bytes, code: str) -> None:
    async with platform(tmp_path) as client, server({WELL_KNOWN: answer}) as url:
        refused = await client.post(f"{AGENTS}/import", json={"url": url})
        assert refused.status_code in {400, 422}, refused.text
        assert refused.json()["code"] == code, refused.text
        assert (await client.get(AGENTS)).json()["items"] == []


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://[fe80::1]/", "http://10.0.0.1/"])
async def test_no_card_is_fetched_from_an_address_that_may_not_be_called(tmp_path: Path, url: str) -> None:
    async with platform(tmp_path, worker_networks="loopback") as client:
        problem_of(await client.post(f"{AGENTS}/import", json={"url": url}), 403, "forbidden_address")
        problem_of(await client.post(f"{AGENTS}/import", json={"url": "ftp://x"}), 422, "invalid_data")


async def test_an_agent_that_cannot_be_reached_has_no_card(tmp_path: Path) -> None:
    async with platform(tmp_path) as client:
        problem_of(await client.post(f"{AGENTS}/import", json={"url": "http://127.0.0.1:1"}), 422, "no_card")
        longest = "http://127.0.0.1:1/" + "x" * 1981
        problem_of(await client.post(f"{AGENTS}/import", json={"url": longest}), 422, "no_card")


async def test_an_agent_that_answers_its_probe_stays_healthy(tmp_path: Path) -> None:
    async with (
        server({"/health": ok(b"{}")}) as url,
        platform(tmp_path, probe_agents=True, heartbeat_seconds=2) as client,
    ):
        well = {**AGENT, "endpoint": f"{url}/tickets", "agent_id": "well"}
        assert (await client.post(AGENTS, json=well)).status_code == 201
        assert (await client.post(AGENTS, json=AGENT)).status_code == 201

        first = (await client.get(f"{AGENTS}/well")).json()["last_seen"]

        async def heard_again() -> bool | None:
            return (await client.get(f"{AGENTS}/well")).json()["last_seen"] > first or None

        await until(heard_again, "the agent to be probed")
        silent = (await client.get(f"{AGENTS}/worker-1")).json()
        assert silent["last_seen"] == silent["registered_at"]

"""Attacks on the registry: its records stay small, no question keeps the loop, and who has hung up holds no place."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from functions._core.placement.workers import MAX_STATED, Registration, registered
from functions.api.diagnose import CASES
from functions.api.services import MAX_WATCHERS
from tests.integration.test_attacks import HOSTS, KEY, Target, attacked
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import until

AGENTS = "/api/v1/agents"
AGENT: Mapping[str, Any] = {"agent_id": "a1", "delivery": "pull", "capabilities": ["python"]}


async def test_an_agent_states_so_much_and_no_more(tmp_path: Path) -> None:
    text = "x" * (MAX_STATED - len('{"t":""}'))
    async with attacked(tmp_path) as target:
        largest = {**AGENT, "metadata": {"t": text}, "capabilities": ["c" * MAX_STATED]}
        assert (await target.send("largest", "POST", AGENTS, json=largest)).status_code == 201
        event = {
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-source": "/x",
            "ce-type": "io.neuralhive.worker.registered.v1",
        }
        for field, value in (("metadata", {"t": text + "x"}), ("capabilities", ["c" * 100] * 82)):
            for door, name, headers in (
                (AGENTS, "agent_id", {}),
                ("/api/v1/workers", "worker_id", {}),
                ("/", "worker_id", event),
            ):
                said = {**AGENT, name: "a2", field: value}
                answer = await target.send(f"{field} at {door}", "POST", door, json=said, headers=headers)
                assert answer.status_code == 422, answer.text
                assert answer.json()["code"] == "invalid_data", answer.text
        assert (await target.send("list", "GET", AGENTS)).json()["items"][0]["agent_id"] == "a1"


async def filled(target: Target, number: int) -> None:
    """Put so many workers into the registry."""
    ports, rules = target.at.running.ports, target.at.running.engine.rules
    for place in range(number):
        said = {"worker_id": f"w{place:04}", "delivery": "pull", "capabilities": ["python", f"c{place}"]}
        await ports.registry.put(registered(None, Registration.model_validate(said), ports.clock.now(), rules))


async def test_no_question_to_a_registry_of_a_thousand_keeps_the_loop(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        await filled(target, 1_000)
        excluded = [f"w{place:04}" for place in range(1_000)]
        everyone = {"filters": {}, "limit": 100, "domain": "x" * 64}
        questions: Mapping[str, Mapping[str, Any]] = {
            "excluded": {"filters": {"exclude": excluded}},
            "any of many": {"capabilities": [f"c{place}" for place in range(200)], "filters": {"match": "any"}},
            "all of many": {"capabilities": [f"c{place}" for place in range(200)]},
            "everyone": everyone,
        }
        for name, asked in questions.items():
            answer = await target.send(name, "POST", f"{AGENTS}/discover", json=asked)
            assert answer.status_code == 200, answer.text
            assert answer.json()["evaluated"] == 1_000
            assert len(answer.json()["refusals"]) < 200
        assert (await target.send("list", "GET", f"{AGENTS}?limit=500")).status_code == 200
        assert (await target.send("watch", "GET", f"{AGENTS}/watch?timeout=0")).status_code == 200
        for case in CASES:
            assert (await target.send(case, "GET", f"/api/v1/diagnose/{case}")).status_code == 200
        refused = await target.send(
            "too many", "POST", f"{AGENTS}/discover", json={"filters": {"exclude": [*excluded, "x"]}}
        )
        assert refused.status_code == 422


async def test_those_who_hang_up_wait_no_longer_and_leave_their_places(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        host, port = target.client.base_url.host, target.client.base_url.port or 0
        key = f"x-api-key: {KEY}\r\n"
        for accept in ("application/json", "text/event-stream"):
            head = f"GET {AGENTS}/watch?timeout=60 HTTP/1.1\r\nhost: x\r\n{key}accept: {accept}\r\n\r\n"
            open_ones = [socket.create_connection((host, port)) for _ in range(MAX_WATCHERS // 4)]
            for one in open_ones:
                one.sendall(head.encode())

            async def full() -> bool | None:
                return (await target.send("full", "GET", f"{AGENTS}/watch?timeout=0")).status_code == 503 or None

            async def free() -> bool | None:
                return (await target.send("free", "GET", f"{AGENTS}/watch?timeout=0")).status_code == 200 or None

            await until(full, "all places to be taken", 20)
            for one in open_ones:
                one.close()
            await until(free, "the places of those who hung up", 20)


CARD = {"name": "an agent", "skills": [{"id": "s"}]}
CARDS: Mapping[str, bytes] = {
    "deep": b"[" * 200_000,
    "many values": b"[" + b"[]," * 80_000 + b"[]]",
    "too large": b" " * 300_000,
    "many skills": json.dumps({**CARD, "skills": [{"id": str(n)} for n in range(201)]}).encode(),
    "many tags": json.dumps({**CARD, "skills": [{"id": "s", "tags": [str(n) for n in range(20_000)]}]}).encode(),
    "long tags": json.dumps({**CARD, "skills": [{"id": "s", "tags": ["x" * 100_000]}]}).encode(),
    "no text": json.dumps({**CARD, "name": "\ud800"}).encode(),
    "garbage": b"\xff\x00" * 1_000,
    "a number": b"9" * 200_000,
    "endpoint of metadata": json.dumps({**CARD, "url": "http://169.254.169.254/x"}).encode(),
    "endpoint of a file": json.dumps({**CARD, "url": "file:///etc/passwd"}).encode(),
}


async def test_no_card_makes_an_agent_or_keeps_the_loop(tmp_path: Path) -> None:
    async with Loopback() as server, attacked(tmp_path) as target:
        for name, card in CARDS.items():

            async def take(_: Request, card: bytes = card) -> Answer:
                return Answer(200, card)

            server.answer = take
            answer = await target.send(f"card: {name}", "POST", f"{AGENTS}/import", json={"url": server.url})
            assert answer.status_code in {400, 403, 422}, (name, answer.text)
        assert (await target.send("list", "GET", AGENTS)).json()["items"] == []
        assert len(server.requests) == len(CARDS)


async def test_no_notation_of_an_address_gets_its_card_fetched(tmp_path: Path) -> None:
    async with Loopback() as server, attacked(tmp_path, FLOWC_WORKER_NETWORKS="public") as target:
        for host in map(str.strip, HOSTS.split(",")):
            url = f"http://{host}:{server.port}/x"
            answer = await target.send("card", "POST", f"{AGENTS}/import", json={"url": url})
            assert answer.status_code in {400, 403, 422}, (url, answer.text)
        assert server.requests == []

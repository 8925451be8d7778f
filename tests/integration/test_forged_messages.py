"""Attacks on a real worker process: it does what its platform has signed, once, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._core.events.signatures import secret_of, signature_headers
from tests.support.loopback import Loopback
from tests.support.loopback import until as until_true
from tests.support.processes import processes, running_platform, worker_process
from tests.support.stand_in_platform import SECRET, StandIn
from tests.support.world import until

HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": "f1",
    "ce-source": "/evil",
    "ce-type": "io.neuralhive.ticket.assigned.v1",
    "content-type": "application/json",
}
MESSAGE_ID = "ticket-assigned_f1"


@dataclass
class Attack:
    """A worker process, the platform that it believes, a stranger, and what has been executed."""

    platform: StandIn
    stranger: Loopback
    client: httpx.AsyncClient
    endpoint: str
    executed: Path
    log: Path
    slow: Path

    def body(self, ticket_id: str, **changes: Any) -> bytes:
        """Return an assignment."""
        about = {"flow_id": "f", "attempt": 1, "worker_id": "w", "task_id": "forged", "task_type": "EXECUTE"}
        rest = {"description": "x", "parameters": {}, "timeout_ms": 60_000, "token": "forged"}
        callback = f"{self.platform.url}/reports"
        return json.dumps({"ticket_id": ticket_id, **about, **rest, "callback_url": callback, **changes}).encode()

    async def post(self, body: bytes, **headers: str) -> httpx.Response:
        """Send a message to the worker."""
        return await self.client.post(self.endpoint, content=body, headers=HEADERS | headers)

    async def proven(self, ticket_id: str) -> None:
        """Let the platform assign a ticket: by the time it is done, what came before would have been, too."""
        body = self.body(ticket_id)
        assert (await self.post(body, **signed(body))).status_code == 202
        await until_true(lambda: ticket_id in self.done(), f"{ticket_id} to be done")

    def done(self) -> list[str]:
        """Return the tickets that were executed, in order."""
        return self.executed.read_text().split() if self.executed.exists() else []


def signed(body: bytes, secret: str = SECRET, at: timedelta = timedelta(0), name: str = MESSAGE_ID) -> dict[str, str]:
    """Return the headers that prove a message."""
    return signature_headers(secret, name, datetime.now(UTC) + at, body)


@pytest.fixture
async def attack(tmp_path: Path) -> AsyncIterator[Attack]:
    executed = tmp_path / "executed"
    with processes() as started:
        async with StandIn() as platform, Loopback() as stranger, httpx.AsyncClient(trust_env=False) as client:
            command = f"echo $FLOWC_TICKET_ID >> {executed}"
            worker = worker_process(tmp_path, platform.url, "w-1", "--capability", "python", "--shell", command)
            started.append(worker)
            worker.start()
            await until_true(lambda: platform.registrations, "the worker to register", 60)
            endpoint = platform.registrations[0].json["endpoint"]
            yield Attack(platform, stranger, client, endpoint, executed, worker.log, tmp_path)


async def test_what_the_platform_has_not_signed_is_never_executed(attack: Attack) -> None:
    body = attack.body("forged-1", callback_url=f"{attack.stranger.url}/steal")
    own = attack.body("forged-2")
    hours = timedelta(hours=1)
    tries = {
        "as in the report of the fault": (body, {}),
        "unsigned": (own, {}),
        "by a secret of one's own": (own, signed(own, secret_of(b"stranger", "w-1", "1"))),
        "another body": (own, signed(attack.body("forged-3"))),
        "another type": (own, signed(own, name="ticket-cancelled_f1")),
        "overheard an hour ago": (own, signed(own, at=-hours)),
        "for an hour to come": (own, signed(own, at=hours)),
        "without an id": (own, signed(own) | {"webhook-id": ""}),
        "signed in another way": (own, signed(own) | {"webhook-signature": "v1a,AAAA"}),
    }
    for name, (content, headers) in tries.items():
        answer = await attack.post(content, **headers)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), name
    foreign = await attack.post(body, **signed(body))
    assert foreign.status_code == 403
    cancelled = json.dumps({"ticket_id": "real-1", "attempt": 9}).encode()
    answer = await attack.post(cancelled, **{"ce-type": "io.neuralhive.ticket.cancelled.v1"})
    assert answer.status_code == 401
    await attack.proven("real-1")
    assert attack.done() == ["real-1"]
    assert attack.stranger.requests == []
    logged = attack.log.read_text()
    assert all(code in logged for code in ("not_signed", "bad_signature", "stale_signature"))
    assert SECRET not in logged


async def test_what_was_overheard_is_executed_once(attack: Attack) -> None:
    body = attack.body("real-1")
    headers = signed(body)
    assert [(await attack.post(body, **headers)).status_code for _ in range(3)] == [202, 409, 409]
    await attack.proven("real-2")
    assert sorted(attack.done()) == ["real-1", "real-2"]


async def test_bodies_have_a_bound_in_size_and_a_stranger_costs_no_reading(attack: Attack) -> None:
    reader, writer = await asyncio.open_connection(*httpx.URL(attack.endpoint).netloc.decode().split(":"))
    try:
        head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        writer.write(f"POST / HTTP/1.1\r\nhost: w\r\ncontent-length: 1000000000\r\n{head}\r\n".encode())
        # Not a byte of the body is sent, and the answer is there all the same.
        assert b" 401 " in await reader.readline()
    finally:
        writer.close()
    large = b" " * (4 * 1024 * 1024 + 1)
    assert (await attack.post(large, **signed(large))).status_code == 413
    await attack.proven("real-1")


async def test_who_registers_under_the_name_of_a_worker_does_not_get_its_secret(tmp_path: Path) -> None:
    """The worker is not deceived, and finds out that it was replaced: it registers again with a heartbeat."""
    executed = tmp_path / "executed"
    async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
        platform.hire("w-1", "--capability", "python", "--shell", f"echo $FLOWC_TICKET_ID >> {executed}")

        async def registration() -> dict[str, Any] | None:
            known: list[dict[str, Any]] = (await platform.get("/api/v1/workers"))["items"]
            return known[0] if known else None

        first = await until(registration, "the worker to register")
        mine = {name: first[name] for name in ("worker_id", "endpoint", "capabilities", "slots")}
        answer = await platform.send("/api/v1/workers", mine)
        forged = json.dumps({"ticket_id": "forged", "attempt": 1, "callback_url": f"{platform.url}/x"}).encode()
        async with httpx.AsyncClient(trust_env=False) as client:
            headers = HEADERS | signed(forged, answer["signing_secret"])
            assert (await client.post(first["endpoint"], content=forged, headers=headers)).status_code == 401

        async def again() -> bool | None:
            known = await registration()
            return (
                True if known and known["registration"] not in {first["registration"], answer["registration"]} else None
            )

        await until(again, "the worker to register again")
        task = {"task_id": "a", "task_type": "EXECUTE", "description": "a", "required_capabilities": ["python"]}
        plan = {"plan_id": "p", "tasks": [task]}
        decision = {"decision_id": "d", "plan_id": "p", "intent_id": "i", "final_decision": "approve"}
        flow_id = await platform.submit({**decision, "cognitive_plan": plan})
        await platform.reached(flow_id, "COMPLETED")
        assert len(executed.read_text().split()) == 1

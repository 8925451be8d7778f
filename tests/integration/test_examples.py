"""The workers of examples/ do the first flow, and every command of the worker protocol's page works as shown."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._core.events.signatures import SignedMessage, signature_headers
from tests.conftest import ROOT, require
from tests.support.loopback import Loopback
from tests.support.loopback import until as until_true
from tests.support.processes import Platform, running_platform
from tests.support.world import until

PAGE = (ROOT / "docs" / "reference" / "worker-protocol.md").read_text()
COMMANDS = re.findall(r"```sh needs=assignment\n(.*?)```", PAGE, re.DOTALL)
HELLO = json.loads((ROOT / "examples" / "hello.json").read_text())
PATIENCE = 60


@contextlib.contextmanager
def example(folder: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of examples/, which is killed in the end if it has not left."""
    with (folder / "example.log").open("wb") as out:
        running = subprocess.Popen(
            [*command], cwd=ROOT / "examples", env={**os.environ, **environment}, stdout=out, stderr=out
        )
        try:
            yield running
        finally:
            running.kill()
            running.wait(30)


async def registered(platform: Platform) -> dict[str, Any]:
    """Return the worker that has registered."""

    async def first() -> dict[str, Any] | None:
        known: list[dict[str, Any]] = (await platform.get("/api/v1/workers"))["items"]
        return known[0] if known else None

    return await until(first, "a worker to register", PATIENCE)


@pytest.mark.parametrize("command", [(sys.executable, "worker.py"), ("node", "worker.mjs")], ids=["python", "node"])
async def test_a_worker_without_packages_does_the_first_flow(tmp_path: Path, command: tuple[str, str]) -> None:
    require(shutil.which(command[0]) is not None, "apt-get install nodejs")
    async with running_platform(tmp_path) as platform:
        # It has tickets to do as soon as it registers: the first may come before the answer to that.
        flow_id = await platform.submit(HELLO)
        with example(tmp_path, *command, FLOWC_URL=platform.url) as worker:
            known = await registered(platform)
            assert (await platform.ended(flow_id))["status"] == "COMPLETED"
            tickets = await platform.tickets(flow_id)
            assert tickets["reply"]["output"] == {"done": "answer", "parameters": {"to": "world"}}
            assert [ticket["attempt"] for ticket in tickets.values()] == [1, 1]
            await _refuses_what_is_not_signed(known["endpoint"], platform.url)
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait, PATIENCE) == 0, (tmp_path / "example.log").read_text()
        assert (await platform.get("/api/v1/workers"))["items"] == []
    said = (tmp_path / "example.log").read_text()
    assert said.count("COMPLETED") == 2
    assert "whsec_" not in said


@pytest.mark.parametrize(
    "command", [(sys.executable, "pull_worker.py"), ("node", "pull_worker.mjs")], ids=["python", "node"]
)
async def test_a_worker_that_asks_does_the_first_flow(tmp_path: Path, command: tuple[str, str]) -> None:
    require(shutil.which(command[0]) is not None, "apt-get install nodejs")
    async with running_platform(tmp_path) as platform:
        flow_id = await platform.submit(HELLO)
        with example(tmp_path, *command, FLOWC_URL=platform.url) as worker:
            assert (await registered(platform))["delivery"] == "pull"
            assert (await platform.ended(flow_id))["status"] == "COMPLETED"
            tickets = await platform.tickets(flow_id)
            assert tickets["reply"]["output"] == {"done": "answer", "parameters": {"to": "world"}}
            assert [ticket["attempt"] for ticket in tickets.values()] == [1, 1]
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait, PATIENCE) == 0, (tmp_path / "example.log").read_text()
        assert (await platform.get("/api/v1/workers"))["items"] == []
    assert (tmp_path / "example.log").read_text().count("COMPLETED") == 2


async def _refuses_what_is_not_signed(endpoint: str, url: str) -> None:
    forged = {"ticket_id": "forged", "attempt": 1, "task_id": "forged", "callback_url": f"{url}/", "token": "x"}
    body = json.dumps({**forged, "description": "x", "parameters": {}}).encode()
    stranger = signature_headers("whsec_c3RyYW5nZXI=", "m_1", datetime.now(UTC), body)
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        for headers in (
            {},
            stranger,
            {**stranger, "webhook-timestamp": "soon"},
            {**stranger, "webhook-signature": "v1,"},
        ):
            answer = await client.post(endpoint, content=body, headers=headers)
            assert answer.status_code == 401, headers
        with contextlib.suppress(httpx.TransportError):  # it may hang up on what is too large
            assert (await client.post(endpoint, content=b" " * 5_000_000)).status_code in {401, 413}


async def test_every_command_of_the_protocols_page_works_as_shown(tmp_path: Path) -> None:
    require(shutil.which("curl") is not None, "apt-get install curl")
    register, beat, lease, plain, event, leave = COMMANDS
    async with running_platform(tmp_path) as platform, Loopback() as worker:
        names = {"FLOWC_URL": platform.url, "ENDPOINT": f"{worker.url}/"}
        member = json.loads(await _sh(register, names))
        await platform.submit(HELLO)
        await until_true(lambda: worker.requests, "an assignment", PATIENCE)
        request = worker.requests[0]
        assignment = request.json
        SignedMessage.of(request.headers, datetime.now(UTC)).verify(request.body, [member["signing_secret"]])
        assert request.headers["webhook-id"] == f"ticket-assigned_{request.headers['ce-id']}"
        assert assignment["callback_url"].startswith(f"{member['callback_base_url']}/")
        upper = {name.upper(): str(assignment[name]) for name in ("ticket_id", "attempt", "callback_url", "token")}
        names |= upper
        assert json.loads(await _sh(beat, names))["cancel"] == []
        asks = {"worker_id": "my-worker", "delivery": "pull"}
        assert (await platform.call("POST", "/api/v1/workers", asks))[0] == 200
        again = json.loads(await _sh(lease, names))["assignments"]  # it does not name what it has
        assert [one["data"]["ticket_id"] for one in again] == [assignment["ticket_id"]]
        assert json.loads(await _sh(plain, names)) == {"result": "recorded", "cancel": False}
        assert json.loads(await _sh(event, names)) == {"result": "recorded", "cancel": False}
        assert (await _sh(leave, names)) == ""
        assert (await platform.get("/api/v1/workers"))["items"] == []


def test_the_example_of_a_signature_is_one() -> None:
    rows = dict(re.findall(r"^\| (secret|body|`webhook-\w+`) \| `(.*)` \|$", PAGE, re.MULTILINE))
    headers = {name.strip("`"): value for name, value in rows.items() if "webhook" in name}
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    assert signature_headers(rows["secret"], headers["webhook-id"], at, rows["body"].encode()) == headers


def test_the_page_can_be_read_in_any_window() -> None:
    lines = PAGE.splitlines()
    assert len(lines) <= 200
    assert max(map(len, lines)) <= 160


async def _sh(command: str, names: dict[str, str]) -> str:
    """Run a command as it is shown, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", command, env={**os.environ, **names}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()

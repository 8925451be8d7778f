"""Keys and tokens stay out of everything that is written or shown, whatever happens."""

import asyncio
import base64
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from functions._adapters.http.cloudevents import write_structured
from tests.support.http_api import bearer
from tests.support.loopback import Answer, Loopback, Request
from tests.support.processes import Platform, platform_process, processes
from tests.support.world import PATIENCE_S, decision, decision_event, report_event, task, until

WORKER_KEY = "WORKER-KEY-planted-where-nothing-may-find-it"
API_KEY = "API-KEY-planted-where-nothing-may-find-it"


class Parrot:
    """A worker that repeats all it is told: to the assignment, and in every field of its reports."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tokens: set[str] = set()
        self.client = httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S)
        self._reports: set[asyncio.Task[None]] = set()

    async def answer(self, request: Request) -> Answer:
        """Take an assignment; the first to `refuse` is refused, with the whole request in the answer."""
        assignment = request.json
        if not assignment.get("token"):
            return Answer(202)
        self.tokens.add(assignment["token"])
        if assignment["task_id"] == "hold":
            return Answer(202)
        if assignment["task_id"] == "refuse":
            return Answer(400, b"refused: " + json.dumps({"token": assignment["token"]}).encode() + request.body)
        report = asyncio.create_task(self._report(assignment))
        self._reports.add(report)
        report.add_done_callback(self._reports.discard)
        return Answer(202, request.body)

    async def _report(self, assignment: dict[str, Any]) -> None:
        token, url = assignment["token"], assignment["callback_url"]
        outcomes: dict[str, dict[str, Any]] = {
            "ok": {"status": "COMPLETED", "output": {"all": assignment, f"key {token}": token}},
            "fail": {
                "status": "FAILED",
                "error": {"type": token, "message": f"I was told {json.dumps(assignment)}", "retryable": False},
            },
        }
        wrong = token[:-8] + "AAAAAAAA"
        self.tokens |= {wrong}
        running = report_event(assignment, status="RUNNING", output=assignment)
        said = report_event(assignment, **outcomes[assignment["task_id"]], worker_id=token)
        foreign = next((known for known in self.tokens if known != token), token)
        for event, headers in (
            (running, bearer(wrong)),
            (running, bearer(foreign)),
            (running, bearer(API_KEY)),
            (running, bearer(token)),
            (said, {"x-api-key": API_KEY} | bearer(token)),
            (said, bearer(token)),
        ):
            media, body = write_structured(event)
            await self.client.post(url, content=body, headers={**media, **headers})


def forms(secret: str) -> Iterator[bytes]:
    """Yield what would give a secret away: itself, the part of a token that proves it, and how it may be encoded."""
    parts = {secret, secret.rpartition(".")[2]}
    for part in parts:
        yield part.encode()
        # Encoded within something longer it starts at one of three places in a group of four letters.
        for shift in range(3):
            yield base64.b64encode(b"x" * shift + part.encode())[4:-4]


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the content of all files by name."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def drive(platform: Platform, parrot: Parrot, endpoint: str) -> str:
    """Let all that can happen to keys and tokens happen; return all that the platform shows of it."""
    headers = {"x-api-key": API_KEY} | bearer(API_KEY)
    async with httpx.AsyncClient(base_url=platform.url, trust_env=False, headers=headers, timeout=PATIENCE_S) as client:
        worker = {"worker_id": "parrot", "endpoint": endpoint, "capabilities": ["python"]}
        for status in (201, 200):
            answer = await client.post("/api/v1/workers", json=worker)
            assert answer.status_code == status
            secret = answer.json()["signing_secret"]
            parrot.tokens |= {secret, secret.removeprefix("whsec_")}
        flows = []
        plans = ([task("ok")], [task("fail")], [task("refuse")], [task("hold")])
        for number, tasks in enumerate(plans):
            sent = decision(*tasks, decision_id=f"d-{number}", risk_band="low")
            media, body = write_structured(decision_event(sent))
            flows.append((await client.post("/", content=body, headers=media)).json()["flow_id"])

        async def held() -> str | None:
            tickets = (await client.get(f"/api/v1/flows/{flows[3]}/tickets")).json()["items"]
            token = await client.get(f"/api/v1/tickets/{tickets[0]['ticket_id']}/token") if tickets else None
            return token.json()["access_token"] if token is not None and token.status_code == 200 else None

        parrot.tokens.add(await until(held, "a token that was asked for"))
        made = await client.post("/api/v1/keys", json={"name": "ci", "roles": ["operator"]})
        parrot.tokens.add(made.json()["key"].rpartition("_")[2])
        media, body = write_structured(decision_event(decision(task("other"), decision_id="d-0")))
        assert (await client.post("/", content=body, headers=media)).status_code == 422  # a dead letter
        for headers in ({"x-api-key": f"{API_KEY}?"}, {"x-forwarded-for": "1.2.3.4"}):
            await client.get("/api/v1/flows", headers=headers)

        async def over() -> bool | None:
            states = [(await client.get(f"/api/v1/flows/{flow}")).json()["status"] for flow in flows[:2]]
            history = (await client.get(f"/api/v1/flows/{flows[2]}/history")).text
            return True if states == ["COMPLETED", "FAILED"] and "refused" in history else None

        await until(over, "two ends and a refusal")
        await client.post(f"/api/v1/flows/{flows[2]}/cancel", json={"requested_by": "tests"})
        shown = [
            await client.get(path)
            for flow in flows
            for path in (f"/api/v1/flows/{flow}{part}" for part in ("", "/tickets", "/history", "/result", "/decision"))
        ]
        pages = ("events", "dead-letters", "audits", "workers", "tickets", "flows", "keys")
        shown += [await client.get(f"/api/v1/{page}") for page in pages]
        shown += [await client.get(path) for path in ("/metrics", "/ready", "/openapi.json")]
        assert {answer.status_code for answer in shown} <= {200, 409}  # a flow that has not ended has no result
        assert "decision_conflict" in (await client.get("/api/v1/dead-letters")).text
        return "".join(answer.text for answer in shown)


async def test_no_key_and_no_token_is_ever_written_or_shown(tmp_path: Path) -> None:
    with processes() as started:
        platform = platform_process(tmp_path, worker_key=WORKER_KEY, api_key=API_KEY, log_level="debug")
        started.append(platform)
        platform.start()
        await platform.ready()
        parrot = Parrot(platform.url)
        async with Loopback() as loopback, parrot.client:
            loopback.answer = parrot.answer
            shown = await drive(platform, parrot, f"{loopback.url}/work")
        platform.kill()  # so that the write-ahead log is still there
    written = files_in(tmp_path)
    assert {"flowc.db", "flowc.db-wal", "telemetry.jsonl", "platform.log"} <= written.keys()
    assert len(parrot.tokens) >= 7
    assert b"[token]" in written["flowc.db-wal"], "what the parrot said was kept, without its tokens"
    found = [
        (name, secret[:12])
        for (name, text), secret in itertools.product(
            {**written, "shown": shown.encode()}.items(), {WORKER_KEY, API_KEY, *parrot.tokens}
        )
        if any(form in text for form in forms(secret))
    ]
    assert found == []

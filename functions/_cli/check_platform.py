"""The checks of a platform that runs: a worker of its own registers, a decision of its own is done, and both go again.

What stays is one ended flow, whose decision is named flowc-check-…, until its retention is over.
"""

import asyncio
import json
import socket
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

from functions._adapters.http.cloudevents import write_structured
from functions._cli.check_report import CheckFailed, CheckReport, within
from functions._cli.client import LOOPBACK, CommandRefused, PlatformClient, flow_path, ticket_path
from functions._cli.console import CommandFailed
from functions._cli.decision_file import DECISION
from functions._cli.wire import COMPLETED, ENDED_FLOWS, JsonObject
from functions._core.events.envelope import CloudEvent
from functions._engine.version import __version__
from functions._observability.catalogue import CATALOGUE
from functions._worker import Assignment, TaskFailed, WorkerConfig, WorkerProcess
from functions._worker.written import WRITTEN

PYTHON, SQLITE = (3, 11), (3, 35)
CLOCKS_APART = timedelta(seconds=5)
TELEMETRY_LATE = timedelta(seconds=60)
REGISTER_SECONDS, LEAVE_SECONDS = 30.0, 15.0
MALFORMED = 400

LIBRARY = tuple(m.name for m in CATALOGUE if m.name.startswith(("neural_hive_flow_c", "neural_hive_service_registry")))
REGISTRY = ("agents_active", "agents_registered_total", "heartbeats_received_total", "discovery_requests_total")


@dataclass
class CheckTasks:
    """Does the two tasks of a check; the second one fails once, so that a timer has to bring it back."""

    abandoned: int = 0
    done: list[tuple[str, int]] = field(default_factory=list)

    async def run(self, assignment: Assignment) -> object:
        """Do a task; see `Executor.run`."""
        if assignment.task_id == "second" and assignment.attempt == 1:
            raise TaskFailed("CheckRetry", "it fails once on purpose")
        written = WRITTEN.get()
        if written is not None:
            written.add(f"checked {assignment.task_id}\n".encode())
        self.done.append((assignment.task_id, assignment.attempt))
        return {"checked": assignment.task_id, "parameters": dict(assignment.parameters)}


class PlatformChecks:
    """All checks of one platform, in the order in which they need each other."""

    def __init__(self, client: PlatformClient, report: CheckReport, *, endpoint: str | None, host: str | None) -> None:
        self.id = f"flowc-check-{uuid4().hex[:12]}"
        self._client = client
        self._report = report
        self._endpoint, self._host = endpoint, host
        self._seen: dict[str, JsonObject] = {}
        """Documents that one check has read and others look at."""
        self._flow_id = ""

    async def run(self, seconds: float, api_key: str) -> None:
        """Make all checks; each wait ends after `seconds`."""
        check = self._report.check
        await check("prerequisites", "python", self._python)
        await check("prerequisites", "sqlite", self._sqlite)
        if not await check("prerequisites", "platform answers", self._answers):
            return self._skip_rest("no platform answers")
        await check("prerequisites", "same version", self._same_version)
        await self._standing()
        host = self._host or _own_address(self._client.url)
        worker = WorkerProcess(
            WorkerConfig(
                worker_id=self.id,
                platform_url=self._client.url,
                capabilities=(self.id,),
                slots=2,
                executor=CheckTasks(),
                host=host,
                endpoint=self._endpoint,
                api_key=api_key or None,
                grace_seconds=0,
            )
        )
        try:
            await worker.start()
        except OSError as error:
            raise CommandFailed(f"its worker cannot listen on {host}: {error.strerror or error}") from error
        try:
            await self._registered(worker, seconds)
            await self._flow(seconds)
        finally:
            await self._clean_up(worker)
        await check("registry", "deregister", self._deregistered)
        return None

    def _skip_rest(self, why: str) -> None:
        for category, checks in self._report.checks.items():
            if not checks:
                self._report.skip(category, "all", why)

    async def _standing(self) -> None:
        """Check what needs no flow."""
        check = self._report.check
        await check("registry", "reachable", self._answers)
        await check("registry", "ready", self._ready)
        await check("health", "health", self._answers)
        if await check("health", "ready", self._ready):
            await check("store", "readable", self._readable)
            await check("broker", "queue", self._queue)
            await check("health", "secrets", self._secrets)
        await check("store", "lists", self._lists)
        await check("telemetry", "buffer", self._buffer)
        if await check("metrics", "exposed", self._metrics):
            await check("metrics", "flow c library", lambda: self._named(LIBRARY))
            await check("metrics", "catalogue", lambda: self._named(tuple(metric.name for metric in CATALOGUE)))
        await check("registry", "metrics", lambda: self._named(REGISTRY))

    async def _registered(self, worker: WorkerProcess, seconds: float) -> None:
        """Check the registry with a worker of our own."""
        check, path = self._report.check, f"/api/v1/workers/{quote(self.id)}"

        async def register() -> str:
            if not await within(min(seconds, REGISTER_SECONDS), lambda: _is_set(worker.registered)):
                await self._ask_why_not(worker)
                raise CheckFailed(f"worker {self.id} at {worker.endpoint} could not register")
            return f"worker {self.id} at {worker.endpoint}"

        async def heartbeat() -> str:
            answer = await self._client.post(f"{path}/heartbeat", {"status": "HEALTHY"})
            return f"taken as {answer['status']}"

        async def discover() -> str:
            found = await self._client.post("/api/v1/workers/discover", {"capabilities": [self.id]})
            if [item["worker_id"] for item in found["items"]] != [self.id]:
                raise CheckFailed(f"{len(found['items'])} workers are found, not the one that offers it")
            return "found by its capability"

        async def get() -> str:
            return f"{(await self._client.get(path))['health']}"

        if await check("registry", "register", register):
            for name, work in (("heartbeat", heartbeat), ("discover", discover), ("get", get)):
                await check("registry", name, work)

    async def _ask_why_not(self, worker: WorkerProcess) -> None:
        """Register once by hand, which raises what the platform has against it."""
        path = "/api/v1/workers"
        await self._client.post(path, {"worker_id": self.id, "endpoint": worker.endpoint, "capabilities": [self.id]})
        await self._client.delete(f"{path}/{quote(self.id)}")

    async def _flow(self, seconds: float) -> None:
        """Check what becomes of a decision."""
        check = self._report.check
        await check("ingress", "refuses what is malformed", self._refuses)
        if not await check("ingress", "takes a decision", self._submit):
            for category in ("clock", "workflow", "tickets", "logs"):
                self._report.skip(category, "all", "no decision was taken")
            return
        await check("ingress", "takes it once", self._submit)
        await check("clock", "clocks agree", self._clocks)
        ended = await check("workflow", "completes", lambda: self._completes(seconds))
        await check("workflow", "all six steps", self._steps)
        await check("workflow", "history agrees with records", self._replays)
        await check("tickets", "made and done", self._tickets)
        if not ended:
            self._report.skip("clock", "timer", "the flow did not complete")
            self._report.skip("logs", "task log", "the flow did not complete")
            return
        await check("tickets", "output of one is input of the other", self._outputs)
        await check("clock", "timer", self._timer)
        await check("broker", "nothing given up", self._no_letters)
        await check("telemetry", "sent or kept", self._telemetry)
        await check("logs", "task log", self._task_log)
        await check("logs", "events", self._events)

    async def _python(self) -> str:
        if sys.version_info < PYTHON:
            raise CheckFailed(f"Python {sys.version.split()[0]} is too old")
        return f"Python {sys.version.split()[0]}"

    async def _sqlite(self) -> str:
        if sqlite3.sqlite_version_info < SQLITE:
            raise CheckFailed(f"SQLite {sqlite3.sqlite_version} is too old")
        return f"SQLite {sqlite3.sqlite_version}"

    async def _answers(self) -> str:
        health = await self._client.get("/health")
        self._report.version = str(health.get("version", ""))
        if health.get("status") != "ok":
            raise CheckFailed(f"the status is {health.get('status')!r}")
        return f"{self._client.url}, version {self._report.version}"

    async def _same_version(self) -> str:
        if self._report.version != __version__:
            raise CheckFailed(f"the platform has version {self._report.version}, this command {__version__}")
        return __version__

    async def _ready(self) -> str:
        self._seen["ready"] = await self._client.get("/ready")
        return "it can handle events, and its store can be written"

    async def _readable(self) -> str:
        count = self._seen["ready"].get("unreadable_records", 0)
        if count:
            raise CheckFailed(f"{count} stored records cannot be read; GET /ready names them")
        return "no stored record is unreadable"

    async def _queue(self) -> str:
        return f"{self._seen['ready'].get('queue', 0)} events are held"

    async def _secrets(self) -> str:
        if lost := self._seen["ready"].get("lost_secrets"):
            raise CheckFailed(f"secrets could not be renewed: {', '.join(lost)}")
        return "none is lost"

    async def _lists(self) -> str:
        for path in ("/api/v1/flows", "/api/v1/tickets", "/api/v1/dead-letters"):
            await self._client.get(path, limit=1)
        return "flows, tickets and dead letters can be listed"

    async def _buffer(self) -> str:
        buffered = await self._client.get("/api/v1/telemetry/buffer")
        oldest = buffered["oldest_at"]
        if oldest is not None and datetime.now(UTC) - datetime.fromisoformat(oldest) > TELEMETRY_LATE:
            raise CheckFailed(f"{buffered['size']} events wait for the sink since {oldest}")
        return f"{buffered['size']} events wait for the sink"

    async def _metrics(self) -> str:
        text = await self._client.text("/metrics")
        self._seen["metrics"] = {line.split()[2]: 1 for line in text.splitlines() if line.startswith("# TYPE ")}
        return f"{len(self._seen['metrics'])} families"

    async def _named(self, names: tuple[str, ...]) -> str:
        missing = [name for name in names if name not in self._seen.get("metrics", ())]
        if missing:
            raise CheckFailed(f"{len(missing)} of {len(names)} are missing: {', '.join(missing[:5])}")
        return f"all {len(names)} names are there"

    async def _refuses(self) -> str:
        try:
            await self._client.send({"content-type": "application/cloudevents+json"}, b"{")
        except CommandRefused as refusal:
            if refusal.status == MALFORMED:
                return "400, as a problem document"
            raise
        raise CheckFailed("what is no JSON was taken")

    async def _submit(self) -> str:
        """Send the decision, or send it again, which has to be the same flow."""
        event = CloudEvent(
            id=self.id, source="/flowc/check", type=DECISION, time=datetime.now(UTC), data=self._decision()
        )
        headers, body = write_structured(event)
        flow_id = str((await self._client.send(headers, body))["flow_id"])
        if self._flow_id not in {"", flow_id}:
            raise CheckFailed(f"the same decision became another flow, {flow_id}")
        self._flow_id = flow_id
        return f"flow {flow_id}"

    def _decision(self) -> Mapping[str, Any]:
        common = {"task_type": "EXECUTE", "required_capabilities": [self.id], "estimated_duration_ms": 1000}
        first = {"task_id": "first", "description": "succeeds", **common}
        second = {
            "task_id": "second",
            "description": "fails once, then succeeds",
            "dependencies": ["first"],
            "parameters": {"of": {"$output": "first", "path": "/checked"}},
            **common,
        }
        return {
            "decision_id": self.id,
            "plan_id": self.id,
            "intent_id": self.id,
            "final_decision": "approve",
            "cognitive_plan": {"plan_id": self.id, "tasks": [first, second]},
        }

    async def _clocks(self) -> str:
        lines = (await self._client.get(flow_path(self._flow_id, "history"), limit=1))["items"]
        apart = abs(datetime.fromisoformat(lines[0]["at"]) - datetime.now(UTC))
        if apart > CLOCKS_APART:
            raise CheckFailed(f"the platform's clock and the one here are {apart.total_seconds():.1f} s apart")
        return "at most 5 s apart"

    async def _completes(self, seconds: float) -> str:
        async def ended() -> bool:
            self._seen["flow"] = await self._client.get(flow_path(self._flow_id))
            return self._seen["flow"]["status"] in ENDED_FLOWS

        if not await within(seconds, ended):
            why = await self._client.get(f"/api/v1/why/{self._flow_id}")
            raise CheckFailed(f"it has not ended after {seconds:g} s: {why['headline']}")
        flow = self._seen["flow"]
        if flow["status"] != COMPLETED:
            raise CheckFailed(f"it ended {flow['status']}: {flow.get('error') or 'no reason given'}")
        return f"{flow['status']} after {flow['total_duration_ms']} ms"

    async def _steps(self) -> str:
        steps = {step["step"]: step["status"] for step in self._seen["flow"]["steps"]}
        if missing := [step for step, status in steps.items() if status != "completed"]:
            raise CheckFailed(", ".join(f"{step} is {steps[step]}" for step in missing))
        return ", ".join(steps)

    async def _replays(self) -> str:
        replayed = await self._client.get(flow_path(self._flow_id, "replay"))
        if not replayed["agrees"]:
            raise CheckFailed("; ".join(replayed["differences"]))
        return f"{replayed['lines']} lines"

    async def _tickets(self) -> str:
        tickets = (await self._client.get(flow_path(self._flow_id, "tickets")))["items"]
        self._seen |= {ticket["task_id"]: ticket for ticket in tickets}
        found = {ticket["task_id"]: (ticket["status"], ticket["attempt"]) for ticket in tickets}
        if found != {"first": (COMPLETED, 1), "second": (COMPLETED, 2)}:
            raise CheckFailed(", ".join(f"{name}: {status}, attempt {n}" for name, (status, n) in found.items()))
        return "two tickets, one of them tried twice"

    async def _outputs(self) -> str:
        output = self._seen["second"]["output"]
        if output != {"checked": "second", "parameters": {"of": "first"}}:
            raise CheckFailed(f"the second task returned {json.dumps(output)[:200]}")
        return "the reference was filled in"

    async def _timer(self) -> str:
        """Look at the wait between the failure and the second attempt, which a timer has ended."""
        lines = (await self._client.get(flow_path(self._flow_id, "history"), limit=200))["items"]
        times = {line["type"]: datetime.fromisoformat(line["at"]) for line in lines if line.get("task_id") == "second"}
        waited = times["ticket.assigned"] - times["ticket.retried"]
        return f"the second attempt began {waited.total_seconds():.1f} s after the first had failed"

    async def _no_letters(self) -> str:
        letters = (await self._client.get("/api/v1/dead-letters", limit=200))["items"]
        ours = [letter["code"] for letter in letters if letter.get("flow_id") == self._flow_id]
        if ours:
            raise CheckFailed(f"events of the flow were given up: {', '.join(ours)}")
        return "no event of the flow became a dead letter"

    async def _telemetry(self) -> str:
        flow = await self._client.get(flow_path(self._flow_id))
        return "the sink has it" if flow["telemetry_published"] else "it waits in the buffer for the sink"

    async def _task_log(self) -> str:
        log = await self._client.get(ticket_path(self._seen["first"]["ticket_id"], "logs"))
        if log["text"] != "checked first\n":
            raise CheckFailed(f"the log of the first task is {log['text'][:100]!r}")
        return "what the task wrote is there"

    async def _events(self) -> str:
        await self._client.get("/api/v1/events", limit=1)
        await self._client.get("/api/v1/audits", limit=1, flow_id=self._flow_id)
        return "events and audits can be read"

    async def _deregistered(self) -> str:
        try:
            await self._client.get(f"/api/v1/workers/{quote(self.id)}")
        except CommandRefused:
            return "the worker is gone"
        raise CheckFailed(f"worker {self.id} is still registered")

    async def _clean_up(self, worker: WorkerProcess) -> None:
        """Cancel the flow if it has not ended, and take the worker away."""
        status = self._seen.get("flow", {}).get("status")
        if self._flow_id and status not in ENDED_FLOWS:
            with suppress(CommandFailed):
                await self._client.post(
                    flow_path(self._flow_id, "cancel"), {"requested_by": "flowc check", "reason": "the check is over"}
                )
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await worker.stop()


async def _is_set(event: asyncio.Event) -> bool:
    return event.is_set()


def _own_address(url: str) -> str:
    """Return the address of this machine on the way to `url`: where the platform finds a worker here."""
    target = urlsplit(url)
    host = target.hostname or ""
    if host in LOOPBACK:
        return "127.0.0.1"
    try:
        family, kind, *_, address = socket.getaddrinfo(host, target.port or 80, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # sends nothing: it only chooses a way
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"

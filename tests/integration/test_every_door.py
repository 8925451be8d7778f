"""Every event that leaves a running platform, by whichever door, is one of CloudEvents and of its type's schema.

A real `flowc up` does everything that it can do with flows; what comes out of it is collected at every door.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from functions._core.events.catalogue import BY_TYPE, SINK
from tests.contract.schemas import STEMS, envelope_faults
from tests.support.http_workers import HttpWorkers
from tests.support.loopback import Answer, Request
from tests.support.processes import Platform, running_platform
from tests.support.world import decision, task, until

PREFIX = "io.neuralhive."
PATIENCE = 120.0
REFUSED = f"{PREFIX}ticket.retried.v1"
"""What the subscriber refuses, so that there are dead letters."""


def structured(request: Request) -> list[dict[str, Any]]:
    """Return the events of a request in their JSON form; read by hand, for the platform might misread what it wrote."""
    media = request.headers["content-type"]
    if media.startswith("application/cloudevents-batch+json"):
        return list(request.json)
    attributes = {name[3:]: unquote(value) for name, value in request.headers.items() if name.startswith("ce-")}
    return [{**attributes, "datacontenttype": media, "data": request.json}]


class Doors(HttpWorkers):
    """A subscriber, a telemetry sink and workers in one server; keeps what came by which door."""

    def __init__(self) -> None:
        super().__init__(reports_of)
        self.seen: dict[str, list[dict[str, Any]]] = {}

    async def take(self, request: Request) -> Answer:
        """Take what comes, or refuse it."""
        door = request.path.split("/")[1]
        events = structured(request)
        self.seen.setdefault(door, []).extend(events)
        if door == "subscriber":
            return Answer(400 if events[0]["type"] == REFUSED else 202)
        if door == "telemetry":
            return Answer(422 if any(event["data"].get("step") == "C2" for event in events) else 202)
        return Answer(400) if door == "refusing" else await super().take(request)


def reports_of(assignment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the reports that a task's name asks for."""
    name, first = assignment["task_id"], assignment["attempt"] == 1
    said: list[dict[str, Any]] = [{"status": "RUNNING", "progress": 10}]
    if name.startswith("fails") or (name.startswith("shaky") and first):
        said.append({"status": "FAILED", "error": {"type": "broken", "message": "ça ne va pas", "retryable": first}})
    elif not name.startswith("hangs"):
        said.append({"status": "COMPLETED", "output": {"by": name}})
    return said


@dataclass
class Driven:
    """A platform, and those who are told by it."""

    platform: Platform
    doors: Doors

    async def submit(self, *tasks: Any, **more: Any) -> str:
        """Send a decision and return its flow id."""
        return await self.platform.submit(decision(*tasks, **more))

    async def held(self, flow_id: str) -> str:
        """Wait until a ticket of a flow is running, and return its id."""
        running = await self.platform.ticket(flow_id, lambda ticket: ticket["status"] == "RUNNING", "is running")
        return str(running["ticket_id"])

    async def happened(self) -> list[dict[str, Any]]:
        """Return everything that `GET /api/v1/events` has."""
        events: list[dict[str, Any]] = []
        after = 0
        while (page := await self.platform.get("/api/v1/events", after=after, limit=500))["items"]:
            events += page["items"]
            after = page["after"]
        return events

    async def letters(self) -> list[dict[str, Any]]:
        """Return the dead letters of what the platform itself has sent."""
        return [letter for letter in await self.platform.letters() if letter["function"] != "api"]


@asynccontextmanager
async def driven(folder: Path) -> AsyncIterator[Driven]:
    """Start a platform whose subscriber, sink and workers are this test."""
    async with Doors() as server:
        told = {"subscriber_url": f"{server.url}/subscriber", "telemetry_url": f"{server.url}/telemetry"}
        told["subscriber_events"] = "all,pheromone.deposited"
        async with running_platform(folder, **told, no_worker_seconds=2, log_level="info") as platform:
            for name, capability in (("worker", "python"), ("refusing", "nothing works")):
                await platform.register(name, capability, slots=50, endpoint=f"{server.url}/{name}")
            yield Driven(platform, server)


async def lively(run: Driven) -> None:
    """Let everything happen to flows that can happen to them in a short time."""
    submit, send = run.submit, run.platform.send
    flows = {
        "completes": await submit(task("a"), task("shaky", "a"), task("b", "a"), task("c", "shaky", "b")),
        "fails": await submit(task("a", compensation=True), task("fails", "a"), task("after", "fails")),
        "nobody": await submit(task("a", required_capabilities=["nobody has it"])),
        "late": await submit(task("hangs"), sla_deadline_seconds=3),
        "cyclic": await submit(task("a", "b"), task("b", "a")),
        "unreadable": await submit(task("a", task_type="WITCHCRAFT")),
        "no plan": await submit(cognitive_plan=7),
        "denied": await submit(task("a"), requires_human_review=True),
        "approved": await submit(task("a"), requires_human_review=True),
        "cancelled": await submit(task("hangs"), task("b", "hangs")),
        "paused": await submit(task("hangs"), task("b", "hangs")),
        "replanned": await submit(task("hangs"), task("b", "hangs")),
        "large": await submit(task("a", parameters={"text": "é" * 50_000})),
        **{f"refused {n}": await submit(task("a", required_capabilities=["nothing works"])) for n in range(6)},
    }

    def path(name: str) -> str:
        return f"/api/v1/flows/{flows[name]}"

    for name in ("denied", "approved"):
        await run.platform.reached(flows[name], "AWAITING_APPROVAL")
    await send(f"{path('denied')}/deny")
    await send(f"{path('approved')}/approve")
    await run.held(flows["cancelled"])
    await send(f"{path('cancelled')}/cancel")
    ticket = await run.held(flows["paused"])
    await send(f"{path('paused')}/pause")
    await send(f"{path('paused')}/resume")
    await send(f"/api/v1/tickets/{ticket}/skip")
    ticket = await run.held(flows["replanned"])
    await send(f"{path('replanned')}/adjust", {"priority": "HIGH", "sla_seconds": 600})
    other = {
        **decision()["cognitive_plan"],
        "tasks": [task("hangs"), task("b", "hangs", parameters={"n": 2}), task("c", "b")],
    }
    await send(f"{path('replanned')}/replan", {"cognitive_plan": other})
    await send(f"/api/v1/tickets/{ticket}/skip")
    await run.platform.register("leaver", "nothing")
    assert (await run.platform.call("DELETE", "/api/v1/workers/leaver"))[0] == 204
    for name, flow_id in flows.items():
        if not name.startswith("refused"):
            await run.platform.ended(flow_id)
    await run.platform.reached(flows["fails"], "FAILED")
    await send(f"{path('fails')}/redrive")
    await run.platform.reached(flows["fails"], "FAILED")
    for number in range(6):
        await send(f"{path(f'refused {number}')}/cancel")
        await run.platform.ended(flows[f"refused {number}"])


async def quiet(run: Driven) -> bool | None:
    """Tell whether everything that happened was told: the queue and the buffer are empty."""
    ready = await run.platform.get("/ready")
    return True if ready["queue"] == ready["telemetry_buffer"] == 0 else None


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Return what came by each door while a platform did everything it can do."""

    async def tell() -> dict[str, list[dict[str, Any]]]:
        async with driven(tmp_path_factory.mktemp("doors")) as run:
            await lively(run)
            await until(lambda: quiet(run), "everything to be told", PATIENCE)
            events = [sys.executable, "-m", "functions", "events", "--json", "--limit", "100000"]
            printed = await asyncio.to_thread(
                subprocess.run, [*events, "--url", run.platform.url], capture_output=True, check=True
            )
            return {
                **run.doors.seen,
                "GET /api/v1/events": await run.happened(),
                "flowc events": [json.loads(line) for line in printed.stdout.splitlines()],
                "dead letters": [letter["event"] for letter in await run.letters()],
            }

    return asyncio.run(tell())


Story = dict[str, list[dict[str, Any]]]


def test_every_event_by_every_door_is_a_cloud_event_of_its_type(story: Story) -> None:
    doors = {"subscriber", "telemetry", "worker", "refusing", "GET /api/v1/events", "flowc events", "dead letters"}
    assert story.keys() == doors
    found = {
        door: sorted({fault for event in events for fault in envelope_faults(event)}) for door, events in story.items()
    }
    assert {door: faults for door, faults in found.items() if faults} == {}


def test_the_story_has_every_type_that_leaves_a_platform(story: Story) -> None:
    seen = {event_type_of(event) for events in story.values() for event in events}
    kinds = {
        event_type for event_type, entry in BY_TYPE.items() if {"subscribers", SINK} & set(entry.handled_by.split(", "))
    }
    kinds |= {"decision.consolidated", "plan.validated", "flow.consolidated", "ticket.cancelled", "ticket.assigned"}
    # A worker's silence and a person's impatience take longer than this story, in which no ticket has an owner and
    # no limit of flows holds.
    rare = {"ticket.retry_forced", "flow.reemitted", "sla.at_risk", "ticket.redriven", "ticket.ready", "flow.held_back"}
    rare |= {"ticket.held_back", "ticket.freeze_excepted"}  # nothing is frozen
    rare |= {"ticket.waiting", "ticket.expanded", "ticket.skipped"}  # its plans are not steered
    rare |= {"sla.policy.applied", "job.leaked"}  # no flow of it is at risk, and no job goes on
    rare |= {"code-forge.results"}  # nor is one a pipeline
    rare |= {"guard.verdict", "incident.resolved", "incident.escalated"}  # there is no guard, and no playbook
    rare |= {"ticket.hedged", "ticket.hedge_ended", "ticket.not_hedged"}  # nor is a ticket late
    rare |= {"sla.budget.updated", "sla.slo.violated", "sla.freeze.activated", "sla.freeze.resolved"}  # it has no SLOs
    rare |= {"insights.analyzed", "insights.strategic", "insights.operational"}  # nor does anybody analyse it
    assert kinds - seen <= rare


def test_subscribers_get_every_transition_as_the_history_has_it(story: Story) -> None:
    told = {event["id"]: event for event in story["subscriber"]}
    for event in story["GET /api/v1/events"]:
        assert event["id"] in told, f"{event_type_of(event)} was not told"
        same = told[event["id"]]
        if event_type_of(event) != "ticket.assigned":  # its deadline is the ticket's present one
            assert (same["data"], same["source"], same["time"]) == (event["data"], event["source"], event["time"])
    assert story["flowc events"] == story["GET /api/v1/events"]


def test_subscribers_are_told_which_worker_has_a_ticket_and_never_the_token(story: Story) -> None:
    assigned = [event["data"] for event in story["subscriber"] if event_type_of(event) == "ticket.assigned"]
    assert {data["worker_id"] for data in assigned} == {"worker", "refusing"}
    assert {(data["token"], data["callback_url"]) for data in assigned} == {(None, None)}
    tokens = {event["data"]["token"] for event in story["worker"] if event_type_of(event) == "ticket.assigned"}
    assert None not in tokens
    elsewhere = json.dumps([events for door, events in story.items() if door not in {"worker", "refusing"}])
    assert [token for token in tokens if token in elsewhere] == []


def test_a_decision_is_told_as_it_came_unless_it_is_too_large_or_no_decision(story: Story) -> None:
    told = [event for event in story["GET /api/v1/events"] if event_type_of(event) == "decision.consolidated"]
    stored = [event for event in told if "dataref" in event]
    assert len(told) - len(stored) == 16
    assert len(stored) == 3
    assert all("cognitive_plan" in event["data"] for event in told if "dataref" not in event)
    assert {STEMS[event["dataschema"]] for event in stored} == {"decision.consolidated.v1.stored"}
    assert {event["dataref"] for event in stored} == {
        f"/api/v1/flows/{event['data']['flow_id']}/decision" for event in stored
    }


def test_what_is_refused_and_nothing_else_is_a_dead_letter(story: Story) -> None:
    refused = {event_type_of(event) for event in story["dead letters"]}
    assert refused == {"ticket.retried", "flow.step.completed"}
    steps = [event["data"]["step"] for event in story["dead letters"] if event_type_of(event) == "flow.step.completed"]
    assert set(steps) == {"C2"}
    frames = {event["id"] for event in story["telemetry"] if event_type_of(event) == "telemetry.frame"}
    assert len(frames) == 20, "one for each end of a flow"


def event_type_of(event: Mapping[str, Any]) -> str:
    """Return the type without what all types have in common."""
    return str(event["type"]).removeprefix(PREFIX).removesuffix(".v1")

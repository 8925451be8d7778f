"""The examples: every event of the catalogue, taken from courses that one and the same decision can take.

All have the same flow and the same tickets. The first course is the one that users hope for; the others show, from
the same beginning, what else can happen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from functions._core.envelope import CloudEvent, type_of
from functions._core.events import CATALOGUE
from functions._core.values import flow_id_of
from functions._runtime.contract.course import Course

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
IMAGE = "registry.example.com/checkout@sha256:5f2a"

DECISION: Mapping[str, Any] = {
    "decision_id": "checkout-1.8-approved",
    "plan_id": "checkout-1.8",
    "intent_id": "release-checkout-1.8",
    "correlation_id": "release-checkout-1.8",
    "final_decision": "approve",
    "valid_until": "2026-03-02T12:00:00Z",
    "priority": "HIGH",
    "risk_band": "medium",
    "sla_deadline_seconds": 900,
    "cognitive_plan": {
        "plan_id": "checkout-1.8",
        "version": "1.0.0",
        "tasks": [
            {
                "task_id": "build",
                "task_type": "BUILD",
                "description": "Build the image of the checkout service",
                "required_capabilities": ["build"],
                "estimated_duration_ms": 60_000,
                "parameters": {"repository": "checkout", "tag": "v1.8"},
            },
            {
                "task_id": "test",
                "task_type": "TEST",
                "description": "Run the integration tests",
                "dependencies": ["build"],
                "required_capabilities": ["test"],
                "estimated_duration_ms": 30_000,
                "parameters": {"image": {"$output": "build", "path": "/image"}},
            },
            {
                "task_id": "scan",
                "task_type": "VALIDATE",
                "description": "Scan the image for known weaknesses",
                "dependencies": ["build"],
                "required_capabilities": ["test"],
                "estimated_duration_ms": 20_000,
                "parameters": {"image": {"$output": "build", "path": "/image"}},
            },
            {
                "task_id": "deploy",
                "task_type": "DEPLOY",
                "description": "Deploy the image to production",
                "dependencies": ["test", "scan"],
                "required_capabilities": ["deploy"],
                "estimated_duration_ms": 45_000,
                "idempotent": False,
                "parameters": {
                    "environment": "production",
                    "image": {"$output": "build", "path": "/image"},
                },
            },
        ],
    },
}


def decision_event(time: datetime) -> CloudEvent:
    """Return the event with which a user sends the decision."""
    return CloudEvent(
        id="checkout-1.8-approved/1",
        source="/consensus",
        type=type_of("decision.consolidated"),
        time=time,
        subject=flow_id_of(DECISION["decision_id"]),
        data=dict(DECISION),
        extensions={"traceparent": TRACE},
    )


async def begun(start: datetime = START) -> Course:
    """Return the beginning of most courses: a worker is there, the decision has arrived, the build is assigned."""
    course = Course(start)
    await course.worker_says(
        "worker.registered",
        "forge-1",
        endpoint="https://forge-1.example.com/tickets",
        capabilities=["build", "test"],
        slots=2,
        telemetry={"success_rate": 0.97, "total_executions": 412, "avg_duration_ms": 41_250.0},
        running=[],
    )
    await course.submit(decision_event(course.time))
    await course.run()
    return course


async def completed() -> Course:
    """All goes well in the end: one test is tried twice, one worker comes late."""
    course = await begun()
    course.time += timedelta(seconds=2)
    await course.report("build", "RUNNING", progress=5)
    course.time += timedelta(seconds=28)
    build = await course.ticket("build")
    running = [{"ticket_id": build.ticket_id, "attempt": build.attempt}]
    await course.worker_says("worker.heartbeat", "forge-1", status="HEALTHY", running=running)
    course.time += timedelta(seconds=16)
    await course.report("build", "COMPLETED", output={"image": IMAGE})
    course.time += timedelta(seconds=12)
    await course.report("test", "FAILED", error={"type": "timeout", "message": "the database did not start"})
    await course.wait(2)
    course.time += timedelta(seconds=9)
    await course.report("scan", "COMPLETED", output={"weaknesses": 0})
    course.time += timedelta(seconds=14)
    await course.report("test", "COMPLETED", output={"passed": 214})
    course.time += timedelta(seconds=5)
    await course.worker_says(
        "worker.registered", "ship-1", endpoint="https://ship-1.example.com/", capabilities=["deploy"], slots=1
    )
    course.time += timedelta(seconds=37)
    await course.report("deploy", "COMPLETED", output={"revision": 18})
    await course.worker_says("worker.deregistered", "ship-1", reason="scaled in")
    return course


async def worker_lost() -> Course:
    """The worker that builds falls silent."""
    course = await begun()
    await course.wait(90)
    return course


async def failed() -> Course:
    """The build fails in a way that another attempt would not mend."""
    course = await begun()
    course.time += timedelta(seconds=3)
    error = {"type": "no_such_tag", "message": "there is no tag v1.8", "retryable": False}
    await course.report("build", "FAILED", error=error)
    return course


async def cancelled() -> Course:
    """A person stops the flow while the build runs."""
    course = await begun()
    course.time += timedelta(seconds=2)
    await course.report("build", "RUNNING")
    course.time += timedelta(seconds=8)
    data = {"flow_id": course.flow_id, "requested_by": "release-manager", "reason": "the release is postponed"}
    event = course.say("flow.cancel_requested", "/operators", course.flow_id, data, partitionkey=course.flow_id)
    await course.handle(event)
    await course.run()
    return course


async def timed_out() -> Course:
    """No worker comes before the deadline."""
    course = Course(START)
    await course.submit(decision_event(course.time))
    await course.run()
    await course.wait(DECISION["sla_deadline_seconds"])
    return course


async def rejected() -> Course:
    """The decision arrives after it has expired."""
    return await begun(START + timedelta(days=1, hours=1))


async def redriven() -> Course:
    """The first event of the chain gets lost."""
    course = Course(START)
    await course.submit(decision_event(course.time))
    course.lose()
    await course.wait(30)
    return course


COURSES: Sequence[Callable[[], Awaitable[Course]]] = (
    completed,
    worker_lost,
    failed,
    cancelled,
    timed_out,
    rejected,
    redriven,
)


@cache
def courses() -> Mapping[str, Sequence[CloudEvent]]:
    """Return everything that is sent in each course, by the course's name."""

    async def play() -> dict[str, Sequence[CloudEvent]]:
        return {course.__name__: tuple((await course()).sent) for course in COURSES}

    return asyncio.run(play())


def example(noun: str, *, stored: bool = False) -> CloudEvent:
    """Return the example of a type; `stored` picks the form between functions where there are two."""
    for event in (event for sent in courses().values() for event in sent if event.noun == noun):
        if stored == ("dataref" in event.extensions) and (noun not in CHOICES or CHOICES[noun](event)):
            return event
    raise LookupError(f"no course of the sample sends {noun}")


CHOICES: Mapping[str, Callable[[CloudEvent], bool]] = {
    # The worker's copies, and of several events of a type the one that tells most.
    "ticket.assigned": lambda event: event.data["token"] is not None and event.data["task_id"] == "deploy",
    "ticket.reported": lambda event: event.data["status"] == "COMPLETED",
    "ticket.cancelled": lambda event: "cause" not in event.data,
}


def examples() -> Mapping[str, CloudEvent]:
    """Return every example by the start of its file's name."""
    found: dict[str, CloudEvent] = {}
    for entry in CATALOGUE:
        found[f"{entry.noun}.v1"] = example(entry.noun)
        if entry.stored is not None:
            found[f"{entry.noun}.v1.stored"] = example(entry.noun, stored=True)
    return found

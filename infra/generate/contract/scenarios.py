"""The courses that the sample decision can take, each a little story; their docstrings are in `events/README.md`.

All have the same flow and the same tickets. The first course is the one that users hope for; the others show, from
the same beginning, what else can happen.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from functions._core.events.envelope import CloudEvent
from functions._core.placement.agents import AgentChange, ChangeKind, agent_event
from functions._core.placement.event_waits import WaitingTicket, arrival_of, arrived_event
from functions._core.placement.limits import FLOWS, take
from functions._core.records.values import flow_id_of, ticket_id_of
from functions._core.records.worker import AgentType, Answer
from functions._core.rules import InFlightLimits, Rules
from functions._core.webhooks.owners import owner_of
from functions._core.webhooks.subscription import tested_event
from infra.generate.contract.beginnings import MANAGER, begun, built, deploying, registered, submitted, tested
from infra.generate.contract.forge_course import forged
from infra.generate.contract.guard_course import quarantined
from infra.generate.contract.healing_course import healed
from infra.generate.contract.insight_course import analyzed
from infra.generate.contract.job_course import leaked
from infra.generate.contract.risk_courses import acted_upon, hedged, late
from infra.generate.contract.sample import DECISION, IMAGE, START, TRACE, decision_event
from infra.generate.contract.scenario import Scenario
from infra.generate.contract.slo_course import budget_spent, frozen

WEBHOOK = "https://forge.example.com/tickets"


async def completed() -> Scenario:
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
    await deploying(course)
    course.time += timedelta(seconds=37)
    await course.report("deploy", "COMPLETED", output={"revision": 18})
    await course.worker_says("worker.deregistered", "ship-1", reason="scaled in")
    return course


async def worker_lost() -> Scenario:
    """The worker that builds falls silent: its ticket is taken back, and waits for another one."""
    course = await begun()
    await course.wait(90)
    return course


async def compensated() -> Scenario:
    """The deployment fails after all else went well: what the tests, then what the build left behind is undone."""
    course = await deploying(await tested(await begun()))
    await course.later(20)
    await course.report("deploy", "FAILED", error={"type": "no_quota", "message": "the cluster is full"})
    await course.later(6)
    await course.report("compensate:test", "COMPLETED")
    await course.later(3)
    await course.report("compensate:build", "COMPLETED", output={"deleted": IMAGE})
    return course


async def failed() -> Scenario:
    """The build fails in a way that another attempt would not fix; nothing has been done that could be undone."""
    course = await begun()
    await course.later(3)
    error = {"type": "no_such_tag", "message": "there is no tag v1.8", "retryable": False}
    await course.report("build", "FAILED", error=error)
    return course


async def redriven() -> Scenario:
    """The build fails as before; somebody pushes the missing tag, and the flow goes on where it failed, to its end."""
    course = await failed()
    await course.later(12 * 60)
    await course.order("flow.redrive_requested", MANAGER, "the tag is there now", sla_seconds=600)
    await deploying(await tested(course))
    await course.later(37)
    await course.report("deploy", "COMPLETED", output={"revision": 18})
    return course


async def approved() -> Scenario:
    """The decision asks for human review: the flow waits, and begins once a person agrees."""
    course = await begun(requires_human_review=True)
    await course.later(20 * 60)
    await course.order("flow.approval_granted", MANAGER, "the plan is as discussed")
    return course


async def denied() -> Scenario:
    """The decision asks for human review, and the person does not agree."""
    course = await begun(requires_human_review=True)
    await course.later(20 * 60)
    await course.order("flow.approval_denied", MANAGER, "not before the holidays")
    return course


async def _looked_at(event_type: str, why: str) -> Scenario:
    """Let a person look at the image in place of the scan, and decide."""
    plan = DECISION["cognitive_plan"]
    looks = {
        "task_id": "scan",
        "task_type": "APPROVE",
        "description": "Is the image free of known weaknesses?",
        "dependencies": ["build"],
        "approval": {"approvers": [MANAGER], "timeout_ms": 600_000},
    }
    tasks = [looks if one["task_id"] == "scan" else one for one in plan["tasks"]]
    course = await built(await begun(cognitive_plan={**plan, "tasks": tasks}))
    await course.later(60)
    await course.order(event_type, MANAGER, why, "scan")
    return course


async def agreed() -> Scenario:
    """In place of the scan a person looks at the image, and agrees; the deployment waits for the tests alone."""
    return await _looked_at("ticket.approval_granted", "the report is empty")


async def not_agreed() -> Scenario:
    """In place of the scan a person looks at the image, and does not agree: nothing is deployed."""
    return await _looked_at("ticket.approval_denied", "the base image is too old")


async def paused() -> Scenario:
    """A person pauses the flow: the build ends, nothing else begins; on resuming, the deadline moves by as long."""
    course = await begun()
    await course.later(10)
    await course.order("flow.pause_requested", MANAGER, "the test database moves")
    await built(course)
    await course.later(10 * 60)
    await course.order("flow.resume_requested", MANAGER, "it has moved")
    return course


async def adjusted() -> Scenario:
    """What is left of the flow becomes critical, with more retries and half an hour more."""
    course = await begun()
    await course.later(10)
    changes: dict[str, Any] = {"priority": "CRITICAL", "max_retries": 5, "sla_seconds": 1800}
    await course.order("flow.adjust_requested", MANAGER, "the customer waits for it", **changes)
    return course


async def replanned() -> Scenario:
    """The build runs; the scan is not wanted any more, so the deployment does not wait for it."""
    course = await begun()
    await course.later(10)
    plan = DECISION["cognitive_plan"]
    tasks = [
        {**one, "dependencies": [other for other in one.get("dependencies", []) if other != "scan"]}
        for one in plan["tasks"]
        if one["task_id"] != "scan"
    ]
    await course.order("flow.replan_requested", MANAGER, "no scan", cognitive_plan={**plan, "tasks": tasks})
    return course


async def held_back() -> Scenario:
    """One flow may be in flight, and another one is: the flow waits before it gets its tickets."""
    limits = InFlightLimits(flows=1)
    course = await registered(Scenario(START, Rules(in_flight=limits)))
    await take(FLOWS, {"another-flow": ""}, limits, course.ports.key_values, course.time)
    await course.submit(decision_event(course.time))
    await course.run()
    return course


async def helped() -> Scenario:
    """People step in: a build that hangs goes to another worker, a test is tried again at once, a scan is skipped."""
    course = await registered(await begun(), "forge-2")
    await course.later(2)
    await course.report("build", "RUNNING")
    await course.later(88)
    await course.order("ticket.reassign_requested", "operator", "it hangs in the package mirror", "build")
    await built(course)
    await course.later(12)
    await course.report("test", "FAILED", error={"type": "timeout", "message": "the database did not start"})
    await course.order("ticket.retry_requested", "operator", "it has started now", "test")
    await course.later(5)
    checked = {"weaknesses": 0}
    await course.order("ticket.skip_requested", "operator", "the image was scanned by hand", "scan", output=checked)
    return course


async def worker_suspended() -> Scenario:
    """A worker cannot take what it gets: after five times it gets nothing for a while, then it is tried again."""
    course = await begun(answer=Answer(500, "no disk space left"))
    for _ in range(5):
        await course.wait(5)
    course.answer = Answer(202)
    await course.wait(30)
    return course


async def cancelled() -> Scenario:
    """A person stops the flow while the build runs."""
    course = await begun()
    await course.later(2)
    await course.report("build", "RUNNING")
    await course.later(8)
    await course.order("flow.cancel_requested", MANAGER, "the release is postponed")
    return course


async def timed_out() -> Scenario:
    """No worker comes before the deadline."""
    course = await submitted()
    await course.run()
    await course.wait(DECISION["sla_deadline_seconds"])
    return course


async def rejected() -> Scenario:
    """The decision arrives after it has expired."""
    return await begun(START + timedelta(days=1, hours=1))


async def event_lost() -> Scenario:
    """The first event of the chain gets lost; it is sent again."""
    course = await submitted()
    course.lose()
    await course.wait(30)
    return course


async def claimed() -> Scenario:
    """No worker is registered: one that comes for work takes the build; a person then stops the deployment."""
    course = await submitted()
    await course.run()
    await course.later(20)
    await course.order("ticket.claim_requested", "forge-1", "it has nothing to do", "build", worker_id="forge-1")
    await course.later(80)
    await course.order("ticket.cancel_requested", MANAGER, "the release is postponed", "deploy")
    return course


async def owner_told() -> Scenario:
    """No worker is registered, but the build names a webhook: its owner is told. Somebody has tried that before."""
    plan = DECISION["cognitive_plan"]
    build, *others = plan["tasks"]
    tasks = [{**build, "metadata": {"webhook_url": WEBHOOK}}, *others]
    course = Scenario(START)
    course.sent.append(tested_event(owner_of(WEBHOOK), MANAGER, "a-test-of-the-webhook", course.time))
    await course.submit(decision_event(course.time, cognitive_plan={**plan, "tasks": tasks}))
    await course.run()
    return course


async def signalled() -> Scenario:
    """A ticket waits for an event of the user, which comes."""
    course = Scenario(START)
    flow_id = flow_id_of(DECISION["decision_id"])
    by = WaitingTicket(
        flow_id=flow_id,
        ticket_id=ticket_id_of(flow_id, "deploy"),
        task_id="deploy",
        correlation_id=DECISION["correlation_id"],
        traceparent=TRACE,
        since=course.time,
    )
    event = CloudEvent(
        id="release-7",
        source="/calendar",
        type="com.example.release.opened",
        time=course.time,
        subject="release-7",
        data={"release": 7},
    )
    course.sent.append(arrived_event(arrival_of(event, course.time), by, course.time))
    return course


async def registry_changed() -> Scenario:
    """A worker registers, gets no new tickets for a while, and leaves: subscribers hear of each change."""
    course = Scenario(START)
    for revision, kind in enumerate(ChangeKind, 1):
        if kind is ChangeKind.ADDED:
            await registered(course)
        elif kind is ChangeKind.UPDATED:
            await course.drained("forge-1")
        else:
            await course.worker_says("worker.deregistered", "forge-1", reason="its machine is replaced")
        worker = await course.ports.registry.worker("forge-1")
        change = AgentChange(kind=kind, agent_id="forge-1", agent_type=AgentType.WORKER)
        course.sent.append(agent_event(change, worker, revision, course.time, course.rules))
        course.time += timedelta(seconds=20)
    return course


async def steered() -> Scenario:
    """The plan steers itself: the scan is skipped by its condition, the tests are done for each part of a list."""
    plan = DECISION["cognitive_plan"]
    parts = {"items": ["unit", "contract", "load"], "limit": 2}
    more: dict[str, dict[str, Any]] = {"scan": {"when": "has(outputs.build.changed)"}, "test": {"foreach": parts}}
    tasks = [{**one, **more.get(one["task_id"], {})} for one in plan["tasks"]]
    return await built(await begun(cognitive_plan={**plan, "tasks": tasks}))


async def budgeted() -> Scenario:
    """A flow fails, and with it the error budget of its service is spent."""
    return await budget_spent(await failed())


COURSES: Sequence[Callable[[], Awaitable[Scenario]]] = (
    completed,
    worker_lost,
    compensated,
    failed,
    redriven,
    approved,
    denied,
    agreed,
    not_agreed,
    paused,
    adjusted,
    replanned,
    held_back,
    frozen,
    quarantined,
    late,
    acted_upon,
    helped,
    worker_suspended,
    cancelled,
    timed_out,
    rejected,
    event_lost,
    claimed,
    owner_told,
    signalled,
    registry_changed,
    steered,
    budgeted,
    hedged,
    healed,
    leaked,
    forged,
    analyzed,
)

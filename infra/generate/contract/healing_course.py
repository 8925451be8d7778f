"""A course on which a playbook heals: the build fails for good, is tried again, and the worker is to be restarted."""

from functions._core.events.healing import HEALING_ASKED, HEALING_DUE, HealingAct, HealingActionRequested
from functions._core.events.routes import TRANSITIONS
from functions._core.healing.playbooks import Playbook, PlaybookStep
from functions._core.healing.runs import (
    ActionState,
    HealingAction,
    HealingRun,
    HealingState,
    acts_as,
    begun,
    due_of,
    ended_event,
    event_of,
    order_id_of,
    reason_of,
)
from functions._core.records.audits import AuditKind
from functions._core.records.models import Flow
from functions._core.records.record import as_json
from infra.generate.contract.beginnings import begun as begun_course
from infra.generate.contract.scenario import Scenario

STEPS = (HealingAct.RESTART_WORKER, HealingAct.RETRY_TICKET, HealingAct.ESCALATE)


async def healed() -> Scenario:
    """The build fails for good; a playbook has its worker restarted and the build tried again, which then helps."""
    course = await begun_course()
    await course.later(30)
    error = {"type": "disk_full", "message": "no space left on device", "retryable": False}
    await course.report("build", "FAILED", error=error)
    flow = await course.ports.store.flow(course.flow_id)
    if flow is None:
        raise LookupError("the flow is not there")
    run = await _taken_up(course, flow)
    number, said = len(run.actions), acts_as(run.playbook)
    await course.order("ticket.retry_requested", said, reason_of(run), "build", force=True)
    done = HealingAction(
        number=number + 1,
        action=HealingAct.RETRY_TICKET,
        at=course.time,
        state=ActionState.DONE,
        text="ticket build is tried again",
    )
    tried = run.but(actions=(*run.actions, done))
    await course.later(60)
    over = {"ended_at": course.time, "why": "the trouble is over after retry_ticket"}
    course.sent.append(ended_event(tried.but(state=HealingState.RESOLVED, **over), flow))
    await course.later(300)
    late = {"ended_at": course.time, "why": "the playbook says that a person has to look"}
    course.sent.append(ended_event(tried.but(state=HealingState.ESCALATED, **late), flow))
    return course


async def _taken_up(course: Scenario, flow: Flow) -> HealingRun:
    """Let a playbook take the incident up and ask for a restart of the worker; return its run."""
    [incident] = await course.ports.views.audits(flow.flow_id, 1, kind=AuditKind.INCIDENT)
    ticket = next(one for one in await course.ports.store.tickets_of(flow.flow_id) if one.task_id == "build")
    due = due_of(as_json(incident), course.time, flow, ticket, "forge-1")
    course.sent.append(event_of(due, HEALING_DUE, due.incident_id, "/flowc/monitor", course.time, flow))
    steps = tuple(PlaybookStep(action=one) for one in STEPS)
    playbook = Playbook(name="full-disks", steps=steps, created_at=course.time, updated_at=course.time)
    run = begun(due, playbook, course.time)
    text = "a restart of worker forge-1 was asked for"
    action = HealingAction(
        number=1, action=HealingAct.RESTART_WORKER, at=course.time, state=ActionState.DONE, text=text
    )
    asked = HealingActionRequested(
        action=action.action,
        worker_id=due.worker_id,
        playbook=playbook.name,
        incident_id=due.incident_id,
        flow_id=flow.flow_id,
        ticket_id=due.ticket_id,
    )
    key = order_id_of(run, action)
    course.sent.append(event_of(asked, HEALING_ASKED, key, TRANSITIONS, course.time, flow))
    return run.but(actions=(action,))

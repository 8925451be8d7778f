"""The course of healing: an incident is taken up once, acted upon within limits, watched, and ends.

    1  the run of the incident is stored; one that an action of an earlier run has caused counts to that run
    2  an action is counted in its hour, stored as begun, done, and stored as done or not done, each once
    3  when it has had its time, it is looked at whether it has helped: RESOLVED, or on to the next step
    4  what has no step, no action or no hour left is ESCALATED; subscribers are told of either end

Each record is changed on the version that was read, so of two processes that take the same incident one is first. A
process that dies leaves the run where it is: whoever gets the event again, or looks at the runs under way, goes on.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from functions._core.errors import Conflict, Rejected
from functions._core.events.healing import HealingAct, HealingDue
from functions._core.healing import stored
from functions._core.healing.playbooks import Playbook, PlaybookStep, chosen
from functions._core.healing.runs import (
    CAUSED_KEPT,
    HEALED_BY,
    ActionState,
    HealingAction,
    HealingRun,
    HealingState,
    begun,
    run_key,
    same_trouble,
    stop_of,
)
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.ports import Ports
from functions._core.records.audits import ActionRecord, AuditKind, IncidentType
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, Outcome, TicketStatus, Waiting, add_time

LEASE = timedelta(seconds=60)
"""For so long an action that was begun is left to the process that has begun it."""

SOON = timedelta(seconds=10)
"""After this a flow is looked at again that is about to end, or undoes its work: it takes no commands meanwhile."""

ENDS_WITHIN = timedelta(hours=1)
"""For so long at most a run waits for that."""

AUDITS = 50
"""Audits of a flow among which the last command of a person is looked for."""

ROLLED_BACK = HealingAct.ROLL_BACK, ActionState.DONE

SET_GOING = frozenset({"retry_ticket", "reassign_ticket", "skip_ticket", "redrive_flow", "replan_flow", "resume_flow"})
"""Commands that set a flow going again: what goes wrong after one of a person is no longer caused by healing."""

Tell = Callable[[HealingRun], Awaitable[None]]
"""Tells subscribers of a run that has ended; durable on return, and safe to repeat."""


class Hands(Protocol):
    """Carries out the steps of playbooks, by the commands of the platform."""

    async def letters(self, run: HealingRun, step: PlaybookStep) -> tuple[str, ...]:
        """Return the ids of the dead letters that a step is to replay; none for other actions."""

    async def carry_out(self, run: HealingRun, step: PlaybookStep, action: HealingAction) -> tuple[bool, str]:
        """Do an action; return whether it was done, now or before, and that in words. Doing it twice is safe."""

    async def rehearse(self, run: HealingRun, step: PlaybookStep) -> tuple[bool, str]:
        """Return whether a step could be done now, and what it would do, or why not; raise `Rejected` likewise."""


class Healing:
    """Heals the incidents of the store, as one process does."""

    def __init__(self, ports: Ports, hands: Hands, tell: Tell) -> None:
        self._ports, self._hands, self._tell = ports, hands, tell
        self._entries = ports.key_values

    async def incident(self, due: HealingDue) -> HealingRun | None:
        """Take an incident up; return its run, None where no playbook heals it."""
        found, version = await self._begun(due)
        if found is None or found.state is not HealingState.ACTIVE:
            return found  # an end that was not told is told by the next look
        await stored.keep_open(self._entries, found.key)
        return await self._on(found, version)

    async def look(self, key: str) -> HealingRun | None:
        """Look at a run that is under way; return it as it is then."""
        found, version = await stored.run(self._entries, key)
        if found is None:
            await stored.close(self._entries, key)
            return None
        if found.state is HealingState.ACTIVE and self._ports.clock.now() < found.look_at:
            return found
        return await self._on(found, version)

    async def _begun(self, due: HealingDue) -> tuple[HealingRun | None, int]:
        """Return the run of an incident, which may be that of the incident that has caused it."""
        known, version = await stored.run(self._entries, run_key(due.flow_id, due.incident_id))
        if version:
            return known, version
        now = self._ports.clock.now()
        cause, version = await self._cause(due)
        if cause is not None:
            return await self._counted(cause, version, due, now)
        playbook = chosen(await stored.PLAYBOOKS.all(self._entries), due)
        if playbook is None:
            return None, 0
        new = begun(due, playbook, now)
        try:
            return new, await stored.put_run(self._entries, new, 0, now)
        except Conflict:  # another process has taken it up
            return await stored.run(self._entries, new.key)

    async def _counted(self, cause: HealingRun, version: int, due: HealingDue, now: datetime) -> tuple[HealingRun, int]:
        """Return the run that has caused an incident: it is looked at now, also if it counted as resolved."""
        if due.incident_id in cause.caused:
            return cause, version
        again = cause.but(caused=(*cause.caused, due.incident_id)[-CAUSED_KEPT:])
        if cause.state is not HealingState.ESCALATED:
            again = again.but(state=HealingState.ACTIVE, look_at=now, why="", ended_at=None)
        return again, await stored.put_run(self._entries, again, version, now)

    async def _cause(self, due: HealingDue) -> tuple[HealingRun | None, int]:
        """Return the run whose action has caused an incident: the last on its ticket, unless a person came after."""
        acted = [one for one in await stored.runs_of(self._entries, due.flow_id) if one.actions]
        same = [one for one in acted if same_trouble(one, due)]
        last = max(same, key=lambda one: one.actions[-1].at, default=None)
        if last is None or await self._person_after(due.flow_id, last.actions[-1].at):
            return None, 0
        return await stored.run(self._entries, last.key)

    async def _person_after(self, flow_id: str, moment: datetime) -> bool:
        audits = await self._ports.views.audits(flow_id, AUDITS, kind=AuditKind.ACTION)
        return any(
            isinstance(one, ActionRecord)
            and one.at > moment
            and one.action in SET_GOING
            and not one.who.startswith(HEALED_BY)
            for one in audits
        )

    async def _on(self, run: HealingRun, version: int) -> HealingRun:
        """Go on with a run as far as it goes now."""
        while run.state is HealingState.ACTIVE:
            now, last = self._ports.clock.now(), run.last
            if last is not None and last.state is ActionState.BEGUN:
                run, version = await self._finished(run, version, last)
            elif now < run.look_at:
                return run
            elif (
                last is not None
                and (last.state is ActionState.DONE or run.incident.ticket_id)
                and await self._gone(run)
            ):
                why = (
                    f"the trouble is over after {last.action}"
                    if last.state is ActionState.DONE
                    else "the trouble is over"
                )
                run, version = await self._ended(run, version, HealingState.RESOLVED, why)
            else:
                run, version = await self._next(run, version, now)
        await self._tell(run)
        await stored.close(self._entries, run.key)
        return run

    async def _next(self, run: HealingRun, version: int, now: datetime) -> tuple[HealingRun, int]:
        """Begin the next action of a run, or end it."""
        flow = await self._ports.store.flow(run.incident.flow_id)
        since = run.last.at if run.last is not None else run.begun_at
        if _about_to_end(flow) and now < add_time(since, ENDS_WITHIN):
            later = run.but(look_at=add_time(now, SOON))
            return later, await stored.put_run(self._entries, later, version, now)
        playbook, _ = await stored.PLAYBOOKS.one(self._entries, run.playbook)
        why = stop_of(run, playbook)
        if playbook is None or why is not None:
            return await self._ended(run, version, HealingState.ESCALATED, why or "")
        step = playbook.steps[len(run.actions)]
        if step.action is HealingAct.ESCALATE:
            return await self._ended(
                run, version, HealingState.ESCALATED, "the playbook says that a person has to look"
            )
        number = len(run.actions) + 1
        slot = stored.HealingSlot(run=run.key, number=number, playbook=playbook.name, at=now)
        if not await stored.take_slot(self._entries, slot, playbook.limits.per_hour):
            text = "as many actions were done within an hour as may be"
            return await self._ended(run, version, HealingState.ESCALATED, text)
        letters = await self._hands.letters(run, step)
        action = HealingAction(number=number, action=step.action, at=now, letters=letters)
        acting = run.but(actions=(*run.actions, action), look_at=add_time(now, LEASE))
        return acting, await stored.put_run(self._entries, acting, version, now)

    async def _finished(self, run: HealingRun, version: int, action: HealingAction) -> tuple[HealingRun, int]:
        """Do an action that was begun, and store what became of it."""
        playbook, _ = await stored.PLAYBOOKS.one(self._entries, run.playbook)
        step = _step_of(playbook, action)
        done, text = False, "the playbook has changed since"
        if step is not None:
            try:
                done, text = await self._hands.carry_out(run, step, action)
            except Rejected as refusal:
                text = str(refusal)
        now = self._ports.clock.now()
        state = ActionState.DONE if done else ActionState.NOT_DONE
        seconds = playbook.verify_after_seconds if playbook is not None and done else 0
        after = run.but(
            actions=run.with_last(action.but(state=state, text=text[:500])),
            look_at=add_time(now, timedelta(seconds=seconds)),
        )
        return after, await stored.put_run(self._entries, after, version, now)

    async def _ended(self, run: HealingRun, version: int, state: HealingState, why: str) -> tuple[HealingRun, int]:
        now = self._ports.clock.now()
        over = run.but(state=state, why=why, ended_at=now)
        return over, await stored.put_run(self._entries, over, version, now)

    async def _gone(self, run: HealingRun) -> bool:
        """Whether the trouble of an incident is over: its flow is done, or goes on and so does its ticket."""
        about = run.incident
        flow = await self._ports.store.flow(about.flow_id)
        if flow is None or flow.status is FlowStatus.PAUSED:
            return False
        if flow.outcome is not None:
            undone = any((one.action, one.state) == ROLLED_BACK for one in run.actions)
            return flow.outcome is Outcome.COMPLETED or (undone and await self._undone(flow))
        if about.ticket_id is None:
            return self._ports.clock.now() < flow.sla_deadline
        ticket = (await self._tickets(about.ticket_id, about.flow_id)).get(about.ticket_id)
        return ticket is not None and not _in_trouble(ticket, about.incident_type)

    async def _tickets(self, ticket_id: str, flow_id: str) -> dict[str, Ticket]:
        with suppress(Rejected):  # it cannot be read
            return {**await self._ports.store.tickets([ticket_id], flow_id)}
        return {}

    async def _undone(self, flow: Flow) -> bool:
        """Whether a flow that was rolled back has ended, and nothing of it is left that was to be undone."""
        if flow.status not in ENDED_FLOWS:
            return False
        failed = {"flow_id": flow.flow_id, "status": TicketStatus.FAILED.value}
        tickets, _ = await self._ports.views.find_tickets(failed, None, stored.TOLD)
        return all(one.compensates is None for one in tickets)


def _in_trouble(ticket: Ticket, kind: IncidentType) -> bool:
    """Whether a ticket is still in the trouble of an incident of this kind."""
    if ticket.status in {TicketStatus.FAILED, TicketStatus.CANCELLED}:
        return True
    return kind is IncidentType.WORKER_FAILURE and ticket.waiting is Waiting.WORKER


def _about_to_end(flow: Flow | None) -> bool:
    """Whether a flow takes no command now, as its outcome is known and it has not ended."""
    return flow is not None and flow.outcome is not None and flow.status not in ENDED_FLOWS


def _step_of(playbook: Playbook | None, action: HealingAction) -> PlaybookStep | None:
    """Return the step that an action is, None where the playbook has another one by now."""
    steps = playbook.steps if playbook is not None else ()
    step = steps[action.number - 1] if action.number <= len(steps) else None
    return step if step is not None and step.action is action.action else None

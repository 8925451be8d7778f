"""What a flow SLA policy does: its commands, each under an id by which it counts once, and its other flows.

Imported when there are policies.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

from functions._core.errors import Conflict, Rejected, Unavailable, Unreadable
from functions._core.events.commands import (
    AdjustRequest,
    AnyCommand,
    CancelRequest,
    HedgeRequest,
    PauseRequest,
    ResumeRequest,
)
from functions._core.events.policies import APPLIED, PolicyAct
from functions._core.ports import Ports
from functions._core.records.audits import ActionRecord
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Priority
from functions._core.slo import stored_policies as stored
from functions._core.slo.flow_policies import (
    RANKS,
    ActionResult,
    Announced,
    FlowSlaPolicy,
    PolicyAction,
    PolicyApplication,
    application_key,
    gives_commands_as,
    least_urgent,
    most_urgent,
    order_id_of,
    reason_of,
)
from functions._engine.given_commands import GiveCommand, audit_of, given

FLOWS = 1_000
"""Flows under way among which those are chosen that are paused."""

MADE_WITHIN = timedelta(seconds=60)
"""For so long an action waits for the tickets of a flow that is announced while it has none yet."""


class BegunApplication(NamedTuple):
    """An application that is stored and to be carried out, and the version of its record."""

    policy: FlowSlaPolicy
    application: PolicyApplication
    version: int


class PolicyActions:
    """Carries policies out; `order` gives their commands."""

    def __init__(self, ports: Ports, order: GiveCommand) -> None:
        self._ports, self._order = ports, order

    async def begun(
        self, policies: Sequence[FlowSlaPolicy], about: Announced, flow: Flow
    ) -> Sequence[BegunApplication]:
        """Return what is to be carried out, all of it stored before any of it changes what other policies want."""
        entries, now = self._ports.key_values, self._ports.clock.now()
        found: list[BegunApplication] = []
        for policy in policies:
            if not policy.is_about(about):
                continue
            known, version = await stored.application(entries, policy.name, about)
            if known is None and policy.wants(about.on, about.of, flow):
                known = PolicyApplication(policy=policy.name, announced=about, begun_at=now)
                known = known.but(others=await self._others(policy, known, flow))
                if known.others:
                    await stored.put_pausing(entries, known)
                try:
                    version = await stored.put_application(entries, known, version, now)
                except Conflict:  # another process does the same: what that one has chosen counts
                    known, version = await stored.application(entries, policy.name, about)
            if known is not None and known.done_at is None:
                found.append(BegunApplication(policy, known, version))
        return found

    async def _others(self, policy: FlowSlaPolicy, application: PolicyApplication, flow: Flow) -> tuple[str, ...]:
        """Return the flows that a policy pauses for `flow`: those that it chose before, else none that another has."""
        if all(one.action is not PolicyAct.PAUSE_OTHERS for one in policy.actions):
            return ()
        own, taken = application_key(policy.name, application.announced), set[str]()
        for key, one in await stored.pausing(self._ports.key_values):
            if key == own:
                return one.others
            taken.update(one.others)
        under_way = [one for one in await self._ports.statistics.under_way(FLOWS) if one.flow_id not in taken]
        return tuple(one.flow_id for one in least_urgent(under_way, flow, policy, self._ports.clock.now()))

    async def result(self, application: PolicyApplication, action: PolicyAction, *, told: bool) -> ActionResult:
        """Carry out one action and return what became of it; `told` says whether subscribers are told."""
        about, paused = application.announced, tuple[str, ...]()
        given = _given_for(application)
        match action.action:
            case PolicyAct.NOTIFY:
                done, text = told, "subscribers were told" if told else f"nobody has subscribed to {APPLIED}"
            case PolicyAct.RAISE_PRIORITY:
                done, text = await self._raise(application, action.to or Priority.HIGH)
            case PolicyAct.ASK:
                note = action.note or f"{reason_of(about)}: decide how it goes on"
                ask = PauseRequest(**{**given, "reason": note})
                done, text = await self._given(application, ask, "it was paused, so that a person decides")
            case PolicyAct.PAUSE_OTHERS:
                done, text, paused = await self._pause_others(application)
            case PolicyAct.HEDGE:
                done, text = await self._hedge(application, action.at_most or 1)
            case PolicyAct.CANCEL:
                done, text = await self._given(application, CancelRequest(**given), "it was cancelled")
            case PolicyAct.CANCEL_AND_COMPENSATE:
                done, text = await self._cancel_and_compensate(application)
        return ActionResult(action=action.action, done=done, text=text, flow_ids=paused)

    async def _raise(self, application: PolicyApplication, to: Priority) -> tuple[bool, str]:
        command = AdjustRequest(**_given_for(application), priority=to)
        flow = await self._flow(command.flow_id)
        if RANKS[flow.priority] >= RANKS[to] and not await self._was_given(application, command):
            return False, f"its priority is {flow.priority} already"
        early = flow.outcome is None and not flow.tickets_generated
        if early and self._ports.clock.now() - application.announced.at < MADE_WITHIN:
            raise Unavailable(f"flow {flow.flow_id} has no tickets yet whose priority can be raised")
        return await self._given(application, command, f"its priority was raised to {to}")

    async def _hedge(self, application: PolicyApplication, at_most: int) -> tuple[bool, str]:
        """Give tickets at work a second attempt: the one that was announced, else those of the flow that matter most.

        Nothing is begun twice when it is repeated after a crash: a command counts once for its ticket.
        """
        about = application.announced
        live = await self._ports.store.tickets_of(about.flow_id, live_only=True)
        chosen = [one for one in live if one.ticket_id == about.ticket_id] if about.ticket_id else most_urgent(live)
        begun, refused = list[str](), "no ticket of it is at work that may be begun twice"
        for ticket in chosen:
            if len(begun) == at_most:
                break
            command = HedgeRequest(**_given_for(application), ticket_id=ticket.ticket_id)
            done, text = await self._given(application, command, "")
            stored = (await self._ports.store.tickets([ticket.ticket_id], about.flow_id)).get(ticket.ticket_id)
            if done and stored is not None and stored.hedge is not None:
                begun.append(ticket.task_id)
            else:
                refused = text or f"no other worker could take {ticket.task_id}"
        return bool(begun), f"a second attempt at {', '.join(begun)} was begun" if begun else refused

    async def _cancel_and_compensate(self, application: PolicyApplication) -> tuple[bool, str]:
        command = CancelRequest(**_given_for(application))
        flow = await self._flow(command.flow_id)
        if flow.outcome is None and not flow.compensable:
            return False, "none of its tasks says how it is undone, so it was not cancelled"
        return await self._given(application, command, "it was cancelled, and what it has done is undone")

    async def _pause_others(self, application: PolicyApplication) -> tuple[bool, str, tuple[str, ...]]:
        """Pause the flows that were chosen; if the flow has ended by now, let them go on again."""
        flow_id = application.announced.flow_id
        if (await self._flow(flow_id)).ended_at is not None:
            await self.resume(application)  # those that a process paused which did not live to say so
            return False, "it has ended, so no other flow was paused", ()
        if not application.others:
            return False, "no flow of lower priority could be paused", ()
        paused, refused = list[str](), ""
        for other in application.others:
            done, text = await self._given(application, _pause(application, other), "")
            paused += [other] if done else []
            refused = refused if done else f"; {text}"
        if (await self._flow(flow_id)).ended_at is not None:
            await self.resume(application)
        number = "1 flow was" if len(paused) == 1 else f"{len(paused)} flows were"
        return bool(paused), f"{number} paused in its favour{refused}", tuple(paused)

    async def resume(self, application: PolicyApplication) -> None:
        """Let the flows go on that an application has paused; those that somebody else has paused since stay so."""
        about = application.announced
        for other in application.others:
            with suppress(Rejected, Unreadable):  # it has ended, or nobody can tell
                flow = await self._ports.store.flow(other)
                pause = await self._audit(application, _pause(application, other))
                if flow is None or pause is None or flow.status is not FlowStatus.PAUSED:
                    continue
                if flow.phase.entered_at != pause.at:
                    continue
                by, reason = gives_commands_as(application.policy), f"flow {about.flow_id} has ended"
                resume = ResumeRequest(flow_id=other, requested_by=by, reason=reason)
                await self._order(resume, order_id=order_id_of(application.policy, about))

    async def _given(self, application: PolicyApplication, command: AnyCommand, done: str) -> tuple[bool, str]:
        """See `given`."""
        order_id = order_id_of(application.policy, application.announced)
        return await given(self._ports, self._order, command, order_id, done)

    async def _was_given(self, application: PolicyApplication, command: AnyCommand) -> bool:
        """Whether a command of an application has had its effect before: the audit of the flow says so."""
        return await self._audit(application, command) is not None

    async def _audit(self, application: PolicyApplication, command: AnyCommand) -> ActionRecord | None:
        return await audit_of(self._ports, command, order_id_of(application.policy, application.announced))

    async def _flow(self, flow_id: str) -> Flow:
        flow = await self._ports.store.flow(flow_id)
        if flow is None:
            raise Rejected(f"there is no flow {flow_id}", code="unknown_flow", status=404)
        return flow


def _given_for(application: PolicyApplication) -> dict[str, Any]:
    """Return what every command says that a policy gives to the flow itself."""
    about = application.announced
    return {
        "flow_id": about.flow_id,
        "requested_by": gives_commands_as(application.policy),
        "reason": reason_of(about),
    }


def _pause(application: PolicyApplication, other: str) -> PauseRequest:
    """Return the command by which a policy pauses another flow."""
    about = application.announced
    reason = f"{reason_of(about)}, and matters more: {about.flow_id}"
    return PauseRequest(flow_id=other, requested_by=gives_commands_as(application.policy), reason=reason)

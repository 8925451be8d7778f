"""What a playbook does: its commands, each under an id by which it counts once, and what it asks of others.

Imported when there are playbooks.
"""

from typing import Any

from functions._core.errors import Rejected
from functions._core.events.commands import AnyCommand, CancelRequest, PauseRequest, ReassignRequest, RetryRequest
from functions._core.events.healing import HEALING_ASKED, HealingAct, HealingActionRequested
from functions._core.events.routes import TRANSITIONS
from functions._core.healing.playbooks import LETTERS, PlaybookStep
from functions._core.healing.runs import HealingAction, HealingRun, acts_as, event_of, order_id_of, reason_of
from functions._core.placement.breaker import BreakerOrder
from functions._core.ports import Broker, Ports
from functions._core.records.audits import ActionRecord, action_id
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import OUTSIDE
from functions._core.records.models import Ticket
from functions._engine.given_commands import AUDITS, HealingDoors, given
from functions._observability.metrics import Metrics

PAGE, PAGES = 100, 10
"""Dead letters in a page, and pages that are looked at for those of a flow, the newest first."""

NOT_CONFIGURED = "this is not configured: FLOWC_HEALING_URL names nobody who could do it"

NOT_OURS = frozenset({OUTSIDE, "notify", "subscriber"})
"""Functions whose dead letters are no work of the flow: events from outside, and deliveries to subscribers."""


class HealingSteps:
    """Carries out steps; implements `Hands`. `helper` restarts and scales what runs beside the platform."""

    def __init__(self, ports: Ports, metrics: Metrics, doors: HealingDoors, helper: Broker | None) -> None:
        self._ports, self._metrics, self._helper = ports, metrics, helper
        self._order, self._replay, self._breaker = doors.order, doors.replay, doors.breaker

    async def letters(self, run: HealingRun, step: PlaybookStep) -> tuple[str, ...]:
        """See `Hands.letters`."""
        if step.action is not HealingAct.REPLAY_DEAD_LETTERS:
            return ()
        cursor, found, most = None, list[str](), step.at_most or LETTERS
        for _ in range(PAGES):
            page, cursor = await self._ports.dead_letters.letters(cursor, PAGE)
            ours = (one for one in page if one.flow_id == run.incident.flow_id and one.function not in NOT_OURS)
            found += [one.letter_id for one in ours]
            if cursor is None or len(found) >= most:
                break
        return tuple(found[:most])

    async def carry_out(self, run: HealingRun, step: PlaybookStep, action: HealingAction) -> tuple[bool, str]:
        """See `Hands.carry_out`."""
        done = False
        try:
            done, text = await self._carried_out(run, step, action)
        finally:
            self._metrics.count("flowc_healing_actions_total", step.action, "done" if done else "not_done")
        return done, text

    async def _carried_out(self, run: HealingRun, step: PlaybookStep, action: HealingAction) -> tuple[bool, str]:
        match step.action:
            case HealingAct.RESTART_WORKER | HealingAct.SCALE:
                return await self._asked(run, step, action)
            case HealingAct.OPEN_BREAKER | HealingAct.CLOSE_BREAKER:
                return await self._breaks(run, action)
            case HealingAct.REPLAY_DEAD_LETTERS:
                return await self._replayed(run, action)
            case HealingAct.ESCALATE:
                return False, "a person has to look"
        command, text = await self._command(run, step)
        if command is None:
            return False, text
        return await given(self._ports, self._order, command, order_id_of(run, action), text)

    async def rehearse(self, run: HealingRun, step: PlaybookStep) -> tuple[bool, str]:
        """See `Hands.rehearse`."""
        match step.action:
            case HealingAct.RESTART_WORKER | HealingAct.SCALE:
                what = _worker(run) if step.action is HealingAct.RESTART_WORKER else step.target
                return self._helper is not None, f"ask for {what}" if self._helper is not None else NOT_CONFIGURED
            case HealingAct.OPEN_BREAKER | HealingAct.CLOSE_BREAKER:
                known = await self._ports.registry.worker(_worker(run))
                return known is not None, f"worker {_worker(run)}" if known is not None else "it is not registered"
            case HealingAct.REPLAY_DEAD_LETTERS:
                number = len(await self.letters(run, step))
                return number > 0, f"{number} dead letters of the flow"
            case HealingAct.ESCALATE:
                return True, "a person has to look"
        command, text = await self._command(run, step)
        if command is None:
            return False, text
        await self._order(command.but(dry_run=True))
        return True, text

    async def _command(self, run: HealingRun, step: PlaybookStep) -> tuple[AnyCommand | None, str]:
        """Return the command of a step and its effect in words; None, and why there is none."""
        about = run.incident
        said: dict[str, Any] = {
            "flow_id": about.flow_id,
            "requested_by": acts_as(run.playbook),
            "reason": reason_of(run),
        }
        if step.action is HealingAct.PAUSE_FLOW:
            return PauseRequest(**said), "the flow was paused"
        if step.action is HealingAct.ROLL_BACK:
            flow = await self._ports.store.flow(about.flow_id)
            if flow is not None and flow.outcome is None and not flow.compensable:
                return None, "none of its tasks says how it is undone, so it was not rolled back"
            return CancelRequest(**said), "the flow was cancelled, and what it has done is undone"
        ticket = await self._ticket(run)
        if step.action is HealingAct.REASSIGN_TICKET:
            command = ReassignRequest(**said, ticket_id=ticket.ticket_id)
            return command, f"ticket {ticket.task_id} was given to another worker"
        # Its retries are used up, so this is said to be forced where the task allows it.
        forced = ticket.idempotent or bool(step.not_idempotent)
        again = RetryRequest(**said, ticket_id=ticket.ticket_id, force=forced)
        return again, f"ticket {ticket.task_id} is tried again"

    async def _asked(self, run: HealingRun, step: PlaybookStep, action: HealingAction) -> tuple[bool, str]:
        """Ask whoever restarts and scales what runs beside the platform."""
        if self._helper is None:
            return False, NOT_CONFIGURED
        about, restarts = run.incident, step.action is HealingAct.RESTART_WORKER
        what = _worker(run) if restarts else f"{step.target} to {step.replicas}"
        await self._audited(run, action, what)
        asked = HealingActionRequested(
            action=step.action,
            worker_id=about.worker_id,
            target=step.target,
            replicas=step.replicas,
            playbook=run.playbook,
            incident_id=about.incident_id,
            flow_id=about.flow_id,
            ticket_id=about.ticket_id,
        )
        flow = await self._ports.store.flow(about.flow_id)
        event = event_of(asked, HEALING_ASKED, order_id_of(run, action), TRANSITIONS, action.at, flow)
        await self._helper.publish([event])
        return True, f"a restart of worker {what} was asked for" if restarts else f"scaling {what} was asked for"

    async def _breaks(self, run: HealingRun, action: HealingAction) -> tuple[bool, str]:
        worker_id, opened = _worker(run), action.action is HealingAct.OPEN_BREAKER
        await self._audited(run, action, worker_id)
        if await self._breaker(BreakerOrder(worker_id=worker_id, opened=opened)) is None:
            return False, f"worker {worker_id} is not registered"
        return True, f"worker {worker_id} {'gets nothing for a while' if opened else 'gets tickets again'}"

    async def _replayed(self, run: HealingRun, action: HealingAction) -> tuple[bool, str]:
        """Replay the dead letters that the action names; one that is gone was replayed before."""
        refused, said = 0, ""
        for letter_id in action.letters:
            await self._audited(run, action, letter_id)
            try:
                await self._replay(letter_id)
            except Rejected as refusal:
                if refusal.code != "unknown_letter":
                    refused, said = refused + 1, f"; {refusal}"
        number = len(action.letters) - refused
        return number > 0, f"{number} dead letter{'' if number == 1 else 's'} replayed{said}"

    async def _audited(self, run: HealingRun, action: HealingAction, target: str) -> None:
        """Keep, once, that a playbook does something which is no command of a flow."""
        flow_id, verb = run.incident.flow_id, str(action.action)
        audit_id = action_id(target, order_id_of(run, action))
        audits = await self._ports.views.audits(flow_id, AUDITS)
        if any(one.audit_id == audit_id for one in audits):
            return
        record = ActionRecord(
            audit_id=audit_id,
            flow_id=flow_id,
            action=verb,
            target=target,
            who=acts_as(run.playbook),
            why=reason_of(run),
            at=self._ports.clock.now(),
        )
        await self._ports.store.commit(ChangeSet(flow_id=flow_id, audit=(record,)))

    async def _ticket(self, run: HealingRun) -> Ticket:
        ticket_id = run.incident.ticket_id
        if ticket_id is None:
            raise Rejected("the incident names no ticket", code="no_ticket", status=409)
        ticket = (await self._ports.store.tickets([ticket_id], run.incident.flow_id)).get(ticket_id)
        if ticket is None:
            raise Rejected(f"there is no ticket {ticket_id}", code="unknown_ticket", status=404)
        return ticket


def _worker(run: HealingRun) -> str:
    if run.incident.worker_id is None:
        raise Rejected("the incident names no worker", code="no_worker", status=409)
    return run.incident.worker_id

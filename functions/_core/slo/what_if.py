"""What a policy would have done in the last days: which flows it would have touched, and what budget that saves. Pure.

The policy is tried alone, on flows that have ended and that C1 did not refuse at the time. What other policies, people
and freezes did then is in the history, and stays. The model of an admission policy:

    a flow comes       when it came; the policy decides by the budgets of that moment, without the seconds that a real
                       process may be behind, and without the minutes until a budget is calculated
    lowered, approved  it ends when it did, as it did: nobody knows what its priority changes, or what a person says
    refused            it never begins, and counts nowhere
    held               it spends nothing while it is held. It goes on when the policy would not hold it any more, or its
                       time is over, takes as long as it took, and ends as it ended; past its deadline it is TIMED_OUT
                       there, and bad

So what is held or refused changes the budgets that decide about the flows after it. Courses of budgets that are not
calculated again do not change; neither do freezes. A freeze policy is tried on budgets as they were: what it holds back
are DEPLOY tickets that a worker got while a freeze would have lasted, and what that does to their flows nobody knows.

What is saved is an upper bound: as if each flow that is held, refused, or sent to a person had been good in the end.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from functions._core.records.models import Ticket
from functions._core.records.policies import AdmissionAction, BudgetVerdict, lowered
from functions._core.records.record import Record
from functions._core.records.values import Timestamp, milliseconds
from functions._core.slo.admission import SERVICE, AdmissionPolicy, AdmissionState, FlowFacts, selected_by, verdict_of
from functions._core.slo.budget import rounded
from functions._core.slo.definition import Measure
from functions._core.slo.freezing import FreezeEvent, FreezePolicy, FreezeVerdict, begun, ended
from functions._core.slo.freezing import verdict_of as freeze_verdict_of
from functions._core.slo.gate import Namespaces, freeze_of
from functions._core.slo.past import Counts, Past, PastFlow, Timeline, replayable, window_of

SHOWN = 100
"""Flows, and freezes, that an answer lists; its numbers are of all of them."""

SAVING = frozenset({AdmissionAction.HOLD, AdmissionAction.APPROVE, AdmissionAction.REFUSE})
"""Actions that may save some of a budget."""


class TouchedFlow(Record):
    """A flow that a policy would have touched."""

    flow_id: str
    """The flow."""
    at: Timestamp
    """When it came, or for a freeze, when its DEPLOY ticket would have been held back."""
    action: str
    """LOWER, HOLD, APPROVE, REFUSE, or BLOCK_DEPLOY."""
    why: str
    """The budget or freeze, in a sentence."""
    until: Timestamp | None = None
    """Until when it would have been held; None: it was not held, or would be even now."""


class FreezeSpan(Record):
    """A freeze that would have been."""

    since: Timestamp
    """When it would have begun."""
    until: Timestamp | None
    """When it would have ended; None: it would last."""
    why: str
    """The budget, in a sentence."""


class SloSaving(Record):
    """What a policy would have saved of the budget of an SLO, over the window of the SLO that ends now."""

    slo_id: str
    """The SLO."""
    name: str
    """Its name."""
    service_name: str
    """Its service."""
    replayed: bool
    """Whether its budget was calculated again; False: it is as its course was, and what would be saved is not known."""
    consumed: float | None
    """Percent of the budget that is used, by what was read; None where nothing was measured."""
    consumed_then: float | None
    """Percent that would be used if each flow ended as it did, later or not at all; None where that is not known."""
    saved_at_most: float | None
    """Percent points of the budget that the policy saves at most; None where that is not known."""


class WhatIf(Record):
    """What a policy would have done."""

    policy: str
    """Name of the policy."""
    since: Timestamp
    """From when on it was tried; later than was asked for where too much happened."""
    until: Timestamp
    """Up to when."""
    counted_since: Timestamp
    """From when on flows count for budgets."""
    complete: bool
    """Whether everything was read: else the oldest flows, or tickets, do not count."""
    flows: int
    """Flows that came in that time and have ended, without those that were refused."""
    lowered: int = 0
    """How many would have had a lower priority."""
    held: int = 0
    """How many would have been held; of a freeze policy, how many have tickets that would have been held back."""
    approved_first: int = 0
    """How many a person would have had to approve first."""
    refused: int = 0
    """How many would have been refused."""
    timed_out: int = 0
    """How many of those held would have missed their deadline by it."""
    held_ms: int = 0
    """For how long flows, or tickets, would have been held up to now, in milliseconds, all together."""
    tickets: int = 0
    """Of a freeze policy: DEPLOY tickets that would have been held back."""
    frozen_ms: int = 0
    """Of a freeze policy: how long freezes would have lasted, in milliseconds, all together."""
    freezes: tuple[FreezeSpan, ...] = ()
    """The first hundred freezes."""
    slos: tuple[SloSaving, ...] = ()
    """The SLOs that the policy looks at."""
    items: tuple[TouchedFlow, ...] = ()
    """The first hundred flows that it touches, in the order in which they came."""


class Blocked(NamedTuple):
    """A DEPLOY ticket that a freeze would have held back."""

    flow_id: str
    at: datetime
    freeze: FreezeEvent


def under_admission(policy: AdmissionPolicy, past: Past) -> WhatIf:
    """Return what an admission policy would have done."""
    return _Admission(policy, past).run()


class _Admission:
    """Flows of the past, under a policy."""

    def __init__(self, policy: AdmissionPolicy, past: Past) -> None:
        self._policy, self._past, self._line = policy, past, Timeline(past)
        self._states: dict[str, AdmissionState] = {}
        self._lasting: list[FreezeEvent] = []
        self._held: dict[str, dict[str, PastFlow]] = {}
        self._touched: dict[str, tuple[PastFlow, BudgetVerdict]] = {}
        self._released: dict[str, datetime] = {}
        self._timed_out = self._flows = 0
        self._thawed = False

    def run(self) -> WhatIf:
        line, past = self._line, self._past
        for flow in past.flows:
            if flow.came < past.since:
                line.ends(flow.ended, flow.counts)
            else:
                self._flows += 1
                line.at(flow.came, partial(self._comes, flow), after=True)
        for freeze in past.freezes:
            lasting = freeze.but(resolved_at=None)
            line.at(freeze.triggered_at, partial(self._lasting.append, lasting))
            if freeze.resolved_at is not None:
                line.at(freeze.resolved_at, partial(self._unfreeze, lasting))
        line.run(past.until, self._settled)
        return self._told()

    def _key(self, facts: FlowFacts) -> str:
        """Return a name of the budgets that decide about a flow: one for all, or one for each service."""
        alone = self._policy.slo_selector.given or self._policy.freeze_policies
        return "" if alone else f"service {facts.labels.get(SERVICE, '')}"

    def _verdict(self, flow: PastFlow) -> BudgetVerdict | None:
        key = self._key(flow.facts)
        state = self._states.get(key)
        if state is None:
            slos = [one for one in self._past.slos if not key or key == f"service {one.service_name}"]
            budgets = self._line.budgets
            selected = {self._policy.name: selected_by(self._policy.slo_selector, slos)}
            state = AdmissionState(
                policies=(self._policy,), slos=slos, budgets=budgets, freezes=self._lasting, selected=selected
            )
            self._states[key] = state
        # Another moment, with other budgets: what was worked out for the one before does not hold.
        return verdict_of(replace(state), flow.facts, self._line.now)

    def _comes(self, flow: PastFlow) -> None:
        verdict = self._verdict(flow)
        if verdict is not None and verdict.action is AdmissionAction.LOWER:
            same = lowered(flow.facts.priority, verdict) is flow.facts.priority
            verdict = None if same else verdict
        if verdict is not None:
            self._touched[flow.flow_id] = flow, verdict
        if verdict is not None and verdict.until is not None:
            self._held.setdefault(self._key(flow.facts), {})[flow.flow_id] = flow
            latest = max(flow.came, min(verdict.until, flow.deadline))
            self._line.at(latest, partial(self._release, flow), after=True)
        elif verdict is None or verdict.action is not AdmissionAction.REFUSE:
            self._line.ends(flow.ended, flow.counts)

    def _unfreeze(self, freeze: FreezeEvent) -> None:
        self._lasting.remove(freeze)
        self._thawed = True

    def _settled(self, services: Collection[str]) -> None:
        """Let those flows go on that the policy would not hold any more."""
        thawed, self._thawed = self._thawed, False
        if not services and not thawed:
            return
        for key in ("", *(f"service {name}" for name in services)):
            held = self._held.get(key)
            if held and self._verdict(next(iter(held.values()))) is None:
                for flow in [*held.values()]:
                    self._release(flow)

    def _release(self, flow: PastFlow) -> None:
        if self._held[self._key(flow.facts)].pop(flow.flow_id, None) is None:
            return
        now = self._released[flow.flow_id] = self._line.now
        waited = now - flow.came
        if flow.ended + waited > flow.deadline >= flow.ended:
            self._timed_out += 1
            self._line.ends(max(now, flow.deadline), self._later(flow, waited, timed_out=True))
        else:
            self._line.ends(flow.ended + waited, self._later(flow, waited))

    def _later(self, flow: PastFlow, waited: timedelta, *, timed_out: bool = False) -> Counts:
        """Return what a flow counts that took longer."""
        counts = []
        for place, bad in flow.counts:
            query = self._past.slos[place].sli_query.history
            timed = query is not None and query.measure is Measure.COMPLETION_TIME
            if timed and timed_out:
                continue  # only what is COMPLETED counts
            took = milliseconds(flow.ended + waited - flow.came)
            slow = timed and query is not None and took > (query.within_ms or 0)
            counts.append((place, bad or timed_out or slow))
        return tuple(counts)

    def _told(self) -> WhatIf:
        past, verdicts = self._past, [verdict for _, verdict in self._touched.values()]
        actions = [verdict.action for verdict in verdicts]
        held = [flow for flow, verdict in self._touched.values() if verdict.action is AdmissionAction.HOLD]
        saving = {flow_id for flow_id, (_, verdict) in self._touched.items() if verdict.action in SAVING}
        shown = [*self._touched.values()][:SHOWN]
        return WhatIf(
            policy=self._policy.name,
            since=past.since,
            until=past.until,
            counted_since=past.counted_since,
            complete=past.complete,
            flows=self._flows,
            lowered=actions.count(AdmissionAction.LOWER),
            held=len(held),
            approved_first=actions.count(AdmissionAction.APPROVE),
            refused=actions.count(AdmissionAction.REFUSE),
            timed_out=self._timed_out,
            held_ms=sum(milliseconds(self._released.get(flow.flow_id, past.until) - flow.came) for flow in held),
            slos=_savings(past, saving, self._line),
            items=tuple(
                TouchedFlow(
                    flow_id=flow.flow_id,
                    at=flow.came,
                    action=verdict.action,
                    why=verdict.why,
                    until=self._released.get(flow.flow_id),
                )
                for flow, verdict in shown
            ),
        )


def freezes_under(policy: FreezePolicy, past: Past) -> Sequence[FreezeEvent]:
    """Return the freezes that a policy would have begun, the oldest first."""
    line, found = Timeline(past), list[FreezeEvent]()
    for flow in past.flows:
        line.ends(flow.ended, flow.counts)

    def look() -> None:
        """Wake up: the budgets are looked at in any case."""

    def settled(_services: Collection[str]) -> None:
        if line.now < past.since:
            return
        last, budgets = (found[-1] if found else None), [*line.budgets.values()]
        verdict = freeze_verdict_of(policy, budgets, last, line.now)
        if verdict is FreezeVerdict.FREEZE:
            found.append(begun(policy, budgets, line.now, f"what-if-{len(found) + 1}"))
            line.at(line.now + timedelta(seconds=policy.min_duration_seconds), look)
        elif verdict is FreezeVerdict.UNFREEZE and last is not None:
            found[-1] = ended(last, line.now, "budget", "the budgets have recovered")

    line.at(past.since, look)
    line.run(past.until, settled)
    return found


def blocked_by(freezes: Sequence[FreezeEvent], tickets: Sequence[Ticket], of_services: Namespaces) -> Sequence[Blocked]:
    """Return those of the tickets that freezes, the oldest first, would have held back as a worker got them then."""
    begins = [one.triggered_at for one in freezes]
    found = []
    for ticket in tickets:
        at = ticket.assigned_at
        place = bisect_right(begins, at) - 1 if at is not None else -1
        if at is None or place < 0:
            continue
        freeze = freezes[place]
        lasted = freeze.resolved_at is None or at < freeze.resolved_at
        if lasted and freeze_of(ticket, (freeze.but(resolved_at=None),), of_services) is not None:
            found.append(Blocked(ticket.flow_id, at, freeze))
    return found


def under_freezes(policy: FreezePolicy, past: Past, freezes: Sequence[FreezeEvent], found: Sequence[Blocked]) -> WhatIf:
    """Return what a freeze policy would have done: the freezes, and the tickets that they would have held back."""
    until = past.until
    found = sorted(found, key=lambda one: one.at)
    flows = {one.flow_id: one for one in reversed(found)}  # of each flow the first one
    spans = [(one.triggered_at, one.resolved_at) for one in freezes]
    shown = sorted(flows.values(), key=lambda one: one.at)[:SHOWN]
    return WhatIf(
        policy=policy.name,
        since=past.since,
        until=until,
        counted_since=past.counted_since,
        complete=past.complete,
        flows=sum(flow.came >= past.since for flow in past.flows),
        held=len(flows),
        held_ms=sum(milliseconds((one.freeze.resolved_at or until) - one.at) for one in found),
        tickets=len(found),
        frozen_ms=sum(milliseconds((last or until) - first) for first, last in spans),
        freezes=tuple(
            FreezeSpan(since=one.triggered_at, until=one.resolved_at, why=one.trigger_reason) for one in freezes[:SHOWN]
        ),
        slos=_savings(past, flows.keys(), None),
        items=tuple(
            TouchedFlow(
                flow_id=one.flow_id,
                at=one.at,
                action="BLOCK_DEPLOY",
                why=one.freeze.trigger_reason,
                until=one.freeze.resolved_at,
            )
            for one in shown
        ),
    )


def _savings(past: Past, touched: Collection[str], line: Timeline | None) -> tuple[SloSaving, ...]:
    """Return what becomes of each budget; `line` is at the end of the replay, None where nothing changes budgets."""
    numbers = [[0, 0, 0] for _ in past.slos]
    for flow in past.flows:
        for place, bad in flow.counts:
            if flow.ended > past.until - window_of(past.slos[place]):
                counted = numbers[place]
                counted[0] += 1
                counted[1] += bad
                counted[2] += int(bad and flow.flow_id in touched)
    found = []
    for place, (slo, (total, errors, avoidable)) in enumerate(zip(past.slos, numbers, strict=True)):
        allowed, replayed = total * (1 - slo.target), replayable(slo)
        course = past.courses.get(slo.slo_id, ())
        consumed = rounded(100 * errors / allowed) if allowed else (course[-1].consumed if course else None)
        then = line.consumed(place) if line is not None and replayed else None
        found.append(
            SloSaving(
                slo_id=slo.slo_id,
                name=slo.name,
                service_name=slo.service_name,
                replayed=replayed,
                consumed=consumed,
                consumed_then=then,
                saved_at_most=rounded(100 * avoidable / allowed) if allowed else None,
            )
        )
    return tuple(found)

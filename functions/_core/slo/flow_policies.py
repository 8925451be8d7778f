"""Flow SLA policies: what is done when a flow comes at risk of missing its deadline, or has missed it. Pure.

A policy of flows acts each time that a flow is announced: once, and once more after it was given another deadline or
was redriven. A policy of tickets acts for the first ticket of a flow that is announced, and once more after a redrive;
one that hedges acts for each ticket.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.policies import (
    ANNOUNCEMENTS,
    APPLIED,
    DUE,
    PolicyAct,
    PolicyApplied,
    PolicyDue,
    PolicyResult,
)
from functions._core.events.routes import TRANSITIONS
from functions._core.machine.step_builder import derived_id
from functions._core.planning.slack import deadline_at
from functions._core.records.history import HistoryEntry
from functions._core.records.models import HELD_TICKETS, Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.values import (
    FlowStatus,
    Model,
    Priority,
    RiskBand,
    SlackState,
    Timestamp,
    Word,
    a_number,
    format_time,
)

MAX_FLOW_POLICIES = 100
"""Policies of a platform: each announcement of a flow is compared with all of them."""

MAX_OTHERS = 20
"""Flows that one application pauses at most."""

EACH = "each-ticket/"
"""How the keys of announcements begin that count for each ticket by itself."""

ALIVE = frozenset({PolicyAct.RAISE_PRIORITY, PolicyAct.HEDGE, PolicyAct.CANCEL, PolicyAct.CANCEL_AND_COMPENSATE})
"""What can only be done to a flow that is not over."""

RANKS: Mapping[Priority, int] = {priority: rank for rank, priority in enumerate(Priority)}
"""Priorities from the lowest to the highest."""

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"

Text200 = Annotated[str, Field(max_length=200, pattern=PRINTABLE)]
LabelText = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,63}$")]


class SlaSubject(Word):
    """What has to be announced; lower case on every wire."""

    FLOW = "flow"
    TICKET = "ticket"


class FlowSelector(Model):
    """Which flows a policy is for: those that fit all of it. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan_id: Text200 | None = None
    """Only flows of this plan."""
    labels: Annotated[Mapping[LabelText, LabelText], Field(max_length=16)] = {}
    """Only flows with all of these labels."""
    risk_band: RiskBand | None = None
    """Only flows of this risk."""
    priority: Priority | None = None
    """Only flows of this priority."""
    tenant_id: Text200 | None = None
    """Only flows of this tenant."""

    def selects(self, flow: Flow) -> bool:
        """Whether a flow fits."""
        wanted = {name: getattr(self, name) for name in ("plan_id", "risk_band", "priority", "tenant_id")}
        of_row = all(value is None or getattr(flow, name) == value for name, value in wanted.items())
        return of_row and self.labels.items() <= flow.labels.items()


class PolicyAction(Model):
    """One action of a policy. A field that is not known, or belongs to another action, is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: PolicyAct
    """What is done."""
    to: Priority | None = None
    """The priority of `raise_priority`."""
    note: Annotated[str, Field(min_length=1, max_length=500, pattern=PRINTABLE)] | None = None
    """What `ask` asks the person; absent: that the flow is at risk."""
    labels: Annotated[Mapping[LabelText, LabelText], Field(max_length=16)] | None = None
    """Labels that the flows of `pause_others` have to have."""
    at_most: Annotated[int, Field(ge=1, le=MAX_OTHERS), BeforeValidator(a_number)] | None = None
    """How many flows `pause_others` pauses, or tickets `hedge` gives a second attempt, at most; absent: 1."""

    @model_validator(mode="after")
    def _fits(self) -> "PolicyAction":
        owners = {
            "to": (PolicyAct.RAISE_PRIORITY,),
            "note": (PolicyAct.ASK,),
            "labels": (PolicyAct.PAUSE_OTHERS,),
            "at_most": (PolicyAct.PAUSE_OTHERS, PolicyAct.HEDGE),
        }
        for name, acts in owners.items():
            if getattr(self, name) is not None and self.action not in acts:
                raise ValueError(f"{name} is for {' and '.join(acts)}, not for {self.action}")
        if self.action is PolicyAct.RAISE_PRIORITY and self.to in {None, Priority.LOW}:
            raise ValueError("raise_priority says `to` which priority: NORMAL, HIGH or CRITICAL")
        return self


class FlowSlaPolicyForm(Model):
    """What a client sends to make a flow SLA policy. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Annotated[str, Field(max_length=1000, pattern=PRINTABLE)] = ""
    """What it is for."""
    enabled: StrictBool = True
    """Whether it acts."""
    on: SlackState
    """When it acts: `at_risk`, the deadline may be missed, or `breached`, it was."""
    of: SlaSubject = SlaSubject.FLOW
    """Whose deadline that is: that of the flow, or the share of a ticket of it."""
    selector: FlowSelector = FlowSelector()
    """The flows that it is for; absent: all."""
    actions: Annotated[tuple[PolicyAction, ...], Field(min_length=1, max_length=len(PolicyAct))]
    """What it does, in this order; each action once."""

    @model_validator(mode="after")
    def _possible(self) -> "FlowSlaPolicyForm":
        acts = [one.action for one in self.actions]
        if self.on is SlackState.ON_TRACK:
            raise ValueError("on is at_risk or breached")
        if len({*acts}) < len(acts):
            raise ValueError("each action is there once")
        ends = [act for act in (PolicyAct.ASK, PolicyAct.CANCEL, PolicyAct.CANCEL_AND_COMPENSATE) if act in acts]
        if len(ends) > 1:
            raise ValueError(f"{ends[0]} and {ends[1]} exclude each other")
        if self.on is SlackState.BREACHED and PolicyAct.ASK in acts:
            raise ValueError("ask is for at_risk: there is nothing left to decide once the deadline has passed")
        alive = ALIVE & {*acts}
        if PolicyAct.HEDGE in acts and self.of is SlaSubject.TICKET and self.on is SlackState.AT_RISK:
            text = "a ticket is announced at_risk before a worker has begun it, so there is nothing to hedge"
            raise ValueError(f"{text}: hedge is for tickets that are breached, or for flows at_risk")
        if self.on is SlackState.BREACHED and self.of is SlaSubject.FLOW and alive:
            text = "a flow that has missed its deadline is over and is being undone: only notify and pause_others act"
            raise ValueError(f"{text} then; {min(alive)} is for at_risk, or for tickets (of: ticket)")
        return self


class FlowSlaPolicy(FlowSlaPolicyForm):
    """A flow SLA policy as it is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    """Name of the policy."""
    created_at: Timestamp
    """When it was made."""
    updated_at: Timestamp
    """When somebody changed it last."""

    def is_about(self, about: "Announced") -> bool:
        """Whether announcements of this kind are for it: one that hedges acts for each ticket, not for one."""
        each = self.of is SlaSubject.TICKET and any(one.action is PolicyAct.HEDGE for one in self.actions)
        return self.on is about.on and self.of is about.of and each == about.key.startswith(EACH)

    def wants(self, on: SlackState, of: SlaSubject, flow: Flow) -> bool:
        """Whether it acts when a flow, or a ticket of it, is announced."""
        return self.enabled and self.on is on and self.of is of and self.selector.selects(flow)


class Announced(Record):
    """A transition that policies may be about."""

    flow_id: str
    """Id of the flow."""
    ticket_id: str | None = None
    """Id of the ticket whose share it is about; None: it is the flow's own deadline."""
    on: SlackState
    """The state that was announced."""
    at: Timestamp
    """When that was."""
    key: str
    """The announcements of one key count once."""

    @property
    def of(self) -> SlaSubject:
        """What was announced."""
        return SlaSubject.FLOW if self.ticket_id is None else SlaSubject.TICKET


class ActionResult(Record):
    """What became of one action of a policy."""

    action: PolicyAct
    """The action."""
    done: bool
    """Whether it was carried out."""
    text: str
    """What was done, or why not, as part of a sentence."""
    flow_ids: tuple[str, ...] = ()
    """Other flows that were paused."""


class PolicyApplication(Record):
    """What a policy has done for a flow, or is about to do."""

    policy: str
    """Name of the policy."""
    announced: Announced
    """The transition that it is about."""
    begun_at: Timestamp
    """When it began to act."""
    others: tuple[str, ...] = ()
    """Flows that it was going to pause: chosen once, so that a repetition pauses no others."""
    done_at: Timestamp | None = None
    """When all was done; None while it is under way."""
    results: tuple[ActionResult, ...] = ()
    """What became of its actions, in their order."""


def announced(entry: HistoryEntry, flow: Flow) -> Announced | None:
    """Return the announcement that a line of the history is; None when it is none."""
    on = ANNOUNCEMENTS.get(entry.type)
    if on is None:
        return None
    key = f"flow/{on}/{format_time(entry.at)}" if entry.ticket_id is None else f"ticket/{on}/{flow.redrives}"
    return Announced(flow_id=flow.flow_id, ticket_id=entry.ticket_id, on=on, at=entry.at, key=key)


def announcements(entry: HistoryEntry, flow: Flow) -> Iterator[Announced]:
    """Yield the announcement that a line of the history is; that of a ticket once more, as one of this ticket alone."""
    about = announced(entry, flow)
    if about is not None:
        yield about
        if about.ticket_id is not None:
            yield about.but(key=f"{EACH}{about.on}/{flow.redrives}/{about.ticket_id}")


def due_event(about: Announced, flow: Flow, source: str) -> CloudEvent:
    """Return the event that asks for the policies of an announcement; the same one always has the same id."""
    data = PolicyDue(flow_id=flow.flow_id, ticket_id=about.ticket_id, on=about.on, at=about.at, key=about.key)
    return _event(data, derived_id(flow.flow_id, DUE, about.key), source, about.at, flow)


def read_due(data: PolicyDue) -> Announced:
    """Return the announcement that an event is about."""
    return Announced(flow_id=data.flow_id, ticket_id=data.ticket_id, on=data.on, at=data.at, key=data.key)


def applied_event(done: PolicyApplication, flow: Flow, now: datetime) -> CloudEvent:
    """Return the event that tells subscribers what a policy has done; the same application always has the same id."""
    about = done.announced
    results = tuple(
        PolicyResult(action=one.action, done=one.done, text=one.text, flow_ids=one.flow_ids) for one in done.results
    )
    data = PolicyApplied(
        flow_id=flow.flow_id,
        plan_id=flow.plan_id,
        decision_id=flow.decision_id,
        ticket_id=about.ticket_id,
        policy=done.policy,
        on=about.on,
        announced_at=about.at,
        results=results,
    )
    return _event(data, derived_id(flow.flow_id, APPLIED, f"{done.policy}/{about.key}"), TRANSITIONS, now, flow)


def _event(data: PolicyDue | PolicyApplied, event_id: str, source: str, at: datetime, flow: Flow) -> CloudEvent:
    return CloudEvent(
        id=event_id,
        source=source,
        type=type_of(data.event_type),
        time=at,
        subject=data.ticket_id or flow.flow_id,
        data=data.model_dump(mode="json", exclude_none=True),
        extensions={
            "partitionkey": flow.flow_id,
            "correlationid": flow.correlation_id,
            "traceparent": flow.traceparent,
        },
    )


def order_id_of(policy: str, about: Announced) -> str:
    """Return the id of the commands of a policy about an announcement: by it each of them counts once."""
    return f"sla-policy/{policy}/{about.flow_id}/{about.key}"


def gives_commands_as(policy: str) -> str:
    """Return the name under which a policy gives commands: that in histories and audits."""
    return f"policy {policy}"


def reason_of(about: Announced) -> str:
    """Return why the policies of an announcement act, as commands say it."""
    verb = "is at risk of missing" if about.on is SlackState.AT_RISK else "has missed"
    whose = "the flow" if about.ticket_id is None else f"ticket {about.ticket_id} of flow {about.flow_id}"
    return f"{whose} {verb} its {'deadline' if about.ticket_id is None else 'share of the deadline'}"


def application_key(policy: str, about: Announced) -> str:
    """Return the key of the application of a policy: the flow first, so that those of a flow are together."""
    digest = sha256(about.key.encode()).hexdigest()[:32]
    return f"{about.flow_id}/{policy}/{digest}"


def least_urgent(flows: Iterable[Flow], flow: Flow, policy: FlowSlaPolicy, now: datetime) -> Sequence[Flow]:
    """Return which of `flows` a policy pauses for `flow`: those of lower priority, the lowest and least urgent first.

    Flows that are at risk themselves are left alone, and so are those of other tenants if the policy names one.
    """
    action = next((one for one in policy.actions if one.action is PolicyAct.PAUSE_OTHERS), None)
    if action is None:
        return ()
    wanted, tenant = (action.labels or {}).items(), policy.selector.tenant_id

    def fits(other: Flow) -> bool:
        if other.status is not FlowStatus.EXECUTING or other.announced is not SlackState.ON_TRACK:
            return False
        lower = other.flow_id != flow.flow_id and RANKS[other.priority] < RANKS[flow.priority]
        return lower and wanted <= other.labels.items() and tenant in {None, other.tenant_id}

    found = sorted(
        filter(fits, flows), key=lambda other: (RANKS[other.priority], now - deadline_at(other, now), other.flow_id)
    )
    return found[: action.at_most or 1]


def most_urgent(live: Iterable[Ticket]) -> Sequence[Ticket]:
    """Return the tickets of a flow that may be hedged, those of the critical path first, then by their deadlines."""
    able = [
        one
        for one in live
        if one.status in HELD_TICKETS and one.acknowledged_at and one.idempotent and one.compensates is None
    ]
    return sorted(able, key=lambda one: (not one.critical, one.sla.deadline, one.ticket_id))

"""The data of the events about flow SLA policies: that their moment has come, and what they have done."""

from typing import ClassVar

from functions._core.records.values import Model, SlackState, Timestamp, Word

DUE, APPLIED = "sla.policy.due", "sla.policy.applied"
"""The types of the events, without prefix and version."""

POLICIES, PAUSING = "flow-sla-policies", "flow-sla-pausing"
"""The spaces of `KeyValues` with the policies by name, and with those of their applications that have paused other
flows, until these go on. They are here, as a process imports no more of policies while there are none."""

ANNOUNCEMENTS = {"sla.at_risk": SlackState.AT_RISK, "sla.violated": SlackState.BREACHED}
"""The transitions that policies are about, and the state that each announces."""


ASKED_ABOUT = frozenset({*ANNOUNCEMENTS, "incident.raised"})
"""The transitions with whose commit policies and playbooks are asked for."""


class PolicyAct(Word):
    """What a policy does; lower case on every wire."""

    NOTIFY = "notify"
    """Nothing but the event `sla.policy.applied`, which every application sends."""
    RAISE_PRIORITY = "raise_priority"
    """The open tickets of the flow get a higher priority."""
    ASK = "ask"
    """The flow is paused with a note, so that a person decides."""
    PAUSE_OTHERS = "pause_others"
    """Flows of lower priority with the most slack are paused until this one is over."""
    HEDGE = "hedge"
    """A ticket at work gets a second attempt on another worker; the first result counts."""
    CANCEL = "cancel"
    """The flow is cancelled; what says how it is undone is undone."""
    CANCEL_AND_COMPENSATE = "cancel_and_compensate"
    """The same, but only of a flow whose work can be undone."""


class PolicyDue(Model):
    """Data of `sla.policy.due`: a flow, or a ticket of it, was announced as at risk or breached, and policies want it.

    It is committed with the announcement, so that no crash comes in between.
    """

    event_type: ClassVar[str] = DUE

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    ticket_id: str | None = None
    """Id of the ticket whose share it is about; null: it is the flow's own deadline."""
    on: SlackState
    """The state that was announced: at_risk or breached."""
    at: Timestamp
    """When it was announced."""
    key: str
    """Announcements of one flow with the same key count once."""


class PolicyResult(Model):
    """What became of one action of a policy."""

    action: PolicyAct
    """The action."""
    done: bool
    """Whether it was carried out."""
    text: str
    """What was done, or why not, as part of a sentence."""
    flow_ids: tuple[str, ...] = ()
    """Ids of other flows that were paused."""


class PolicyApplied(Model):
    """Data of `sla.policy.applied`: a policy has acted on a flow, or could not."""

    event_type: ClassVar[str] = APPLIED

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    plan_id: str | None = None
    """Id of the plan."""
    decision_id: str
    """Id of the decision; the flow id follows from it."""
    ticket_id: str | None = None
    """Id of the ticket whose share it was about; null: it was the flow's own deadline."""
    policy: str
    """Name of the policy."""
    on: SlackState
    """The state that was announced: at_risk or breached."""
    announced_at: Timestamp
    """When it was announced."""
    results: tuple[PolicyResult, ...]
    """What became of each of its actions, in their order."""

"""Admission policies: what becomes of flows while an error budget is spent, or a freeze lasts. Pure.

C1 asks once for each flow. Of the policies whose `flows` fit it and whose budget or freeze is in the state that they
name, the first by `order`, then by name, decides; no other one is looked at. So a policy that admits, with a low order,
exempts flows from those after it. A flow that is held goes on when the policy that holds it would not decide so any
more, and at the latest after its `hold_at_most_seconds`, or ends at its deadline: nothing is held for ever.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

from pydantic import ConfigDict, Field, StrictBool, model_validator

from functions._core.records.models import Flow, Reason
from functions._core.records.policies import AdmissionAction, BudgetVerdict
from functions._core.records.values import Model, Priority, RiskBand, Timestamp, WholeNumber, add_time, format_time
from functions._core.slo.budget import BudgetStatus, ErrorBudget
from functions._core.slo.definition import Slo
from functions._core.slo.freezing import FreezeEvent, SloSelector

SPACE = "admission-policies"
"""The space of `KeyValues` that holds the policies, by name."""

MAX_POLICIES = 200
"""Admission policies of a platform: each flow is compared with all of them."""

BUDGET_SPENT = "budget_spent"
"""Code of the reason of a flow that a spent budget lowers, holds, refuses, or has approved first."""

HOLD_MOST = 7 * 86_400
"""Seconds for which a flow may be held at most."""

SERVICE = "service"
"""The label by which a flow names its service."""

Text200 = Annotated[str, Field(max_length=200)]


class FlowFit(Model):
    """Which flows a policy is for; without any field all of them. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: Text200 | None = None
    """Only flows whose label `service` is this one."""
    labels: Annotated[Mapping[Text200, Text200], Field(max_length=16)] = {}
    """Only flows with all of these labels."""
    risk_bands: tuple[RiskBand, ...] = Field(default=(), max_length=4)
    """Only flows with one of these risk bands; empty: with any."""
    priorities: tuple[Priority, ...] = Field(default=(), max_length=4)
    """Only flows with one of these priorities; empty: with any."""


class FlowFacts(NamedTuple):
    """What of a flow decides whether a policy is for it."""

    labels: Mapping[str, str]
    risk_band: RiskBand
    priority: Priority

    def fit(self, wanted: FlowFit) -> bool:
        """Whether the flow is one of those."""
        return (
            wanted.service in {None, self.labels.get(SERVICE)}
            and wanted.labels.items() <= self.labels.items()
            and (not wanted.risk_bands or self.risk_band in wanted.risk_bands)
            and (not wanted.priorities or self.priority in wanted.priorities)
        )


class AdmissionPolicyForm(Model):
    """What a client sends to make or replace an admission policy. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Annotated[str, Field(max_length=2000)] = ""
    """What it is for."""
    order: WholeNumber = Field(default=100, ge=0, le=1000)
    """Policies are looked at by this number, the lowest first; the first that holds decides."""
    flows: FlowFit = FlowFit()
    """The flows that it is for."""
    slo_selector: SloSelector = SloSelector()
    """The SLOs whose budgets it looks at; absent: those of the service of the flow."""
    statuses: tuple[BudgetStatus, ...] = Field(default=(BudgetStatus.EXHAUSTED,), max_length=4)
    """It holds while one of these budgets has one of these statuses."""
    freeze_policies: tuple[Text200, ...] = Field(default=(), max_length=50)
    """In place of budgets: it holds while a freeze of one of these freeze policies, by their ids, lasts."""
    action: AdmissionAction
    """What becomes of a flow."""
    priority: Priority = Priority.LOW
    """The priority that LOWER gives at most."""
    hold_at_most_seconds: WholeNumber = Field(default=3600, ge=1, le=HOLD_MOST)
    """For how long HOLD holds a flow at most, in seconds."""
    enabled: StrictBool = True
    """Whether it is looked at."""

    @model_validator(mode="after")
    def _one_ground(self) -> "AdmissionPolicyForm":
        if self.freeze_policies and self.slo_selector.given:
            raise ValueError("freeze_policies are in place of slo_selector")
        if not self.freeze_policies and not self.statuses:
            raise ValueError("statuses or freeze_policies say when it holds")
        return self


class AdmissionPolicy(AdmissionPolicyForm):
    """An admission policy as it is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    """Its name."""
    created_at: Timestamp
    """When it was made."""
    updated_at: Timestamp
    """When somebody changed it last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionState:
    """The policies that are enabled, and the budgets and freezes that they look at, at one moment."""

    policies: Sequence[AdmissionPolicy] = ()
    slos: Sequence[Slo] = ()
    budgets: Mapping[str, ErrorBudget] = field(default_factory=dict)
    freezes: Sequence[FreezeEvent] = ()
    selected: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The ids of the SLOs that a policy selects, by its name, as far as that is known: see `selected_by`."""
    _lowest: dict[str, ErrorBudget | None] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The budget by which a policy with a selector holds, by its name: worked out once for all flows."""
    _of_service: dict[str, list[ErrorBudget]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The budgets of each service, likewise."""
    _lasting: dict[str, tuple[int, FreezeEvent]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The first freeze that lasts of each freeze policy, with its place among all, likewise."""

    def decides(self, flow: FlowFacts) -> tuple[AdmissionPolicy, str] | None:
        """Return the policy that decides about a flow, and why it holds; None when none does."""
        for policy in sorted(self.policies, key=lambda one: (one.order, one.name)):
            why = self._ground(policy, flow) if policy.enabled and flow.fit(policy.flows) else None
            if why is not None:
                return policy, why
        return None

    def work_out(self, policy: AdmissionPolicy) -> None:
        """Work out what is the same for all flows, so that none of them has to wait for all policies."""
        if policy.slo_selector.given:
            self._selected(policy)

    def _ground(self, policy: AdmissionPolicy, flow: FlowFacts) -> str | None:
        """Return why a policy holds, None when it does not."""
        if policy.freeze_policies:
            freeze = self._freeze_of(policy)
            return None if freeze is None else f"freeze {freeze.event_id} of policy {freeze.policy_name} lasts"
        lowest = self._selected(policy) if policy.slo_selector.given else self._of_its_service(policy, flow)
        if lowest is None:
            return None
        left = f"{lowest.error_budget_remaining:g} %"
        return f"{left} of the error budget of {lowest.service_name} is left ({lowest.status}, SLO {lowest.slo_id})"

    def _freeze_of(self, policy: AdmissionPolicy) -> FreezeEvent | None:
        if not self._lasting and self.freezes:
            first: dict[str, tuple[int, FreezeEvent]] = {}
            for place, freeze in enumerate(self.freezes):
                if freeze.active:
                    first.setdefault(freeze.policy_id, (place, freeze))
            self._lasting.update(first)
        found = [self._lasting[one] for one in policy.freeze_policies if one in self._lasting]
        return min(found, key=lambda both: both[0])[1] if found else None

    def _selected(self, policy: AdmissionPolicy) -> ErrorBudget | None:
        if policy.name not in self._lowest:
            ids = self.selected.get(policy.name)
            among = selected_by(policy.slo_selector, self.slos) if ids is None else ids
            known = (self.budgets[slo_id] for slo_id in among if slo_id in self.budgets)
            self._lowest[policy.name] = _lowest(one for one in known if one.status in policy.statuses)
        return self._lowest[policy.name]

    def _of_its_service(self, policy: AdmissionPolicy, flow: FlowFacts) -> ErrorBudget | None:
        if not self._of_service:
            found: dict[str, list[ErrorBudget]] = {}
            for slo in self.slos:
                if slo.slo_id in self.budgets:
                    found.setdefault(slo.service_name, []).append(self.budgets[slo.slo_id])
            self._of_service.update(found)  # at once: C1 may also run in a thread
        service = policy.flows.service or flow.labels.get(SERVICE) or ""
        return _lowest(one for one in self._of_service.get(service, ()) if one.status in policy.statuses)


def selected_by(selector: SloSelector, slos: Iterable[Slo]) -> Sequence[str]:
    """Return the ids of the SLOs that a selector selects."""
    ids = frozenset(selector.slo_ids)
    labels = selector.labels.items()
    return [one.slo_id for one in slos if one.slo_id in ids or (labels and labels <= one.labels.items())]


def _lowest(budgets: Iterable[ErrorBudget]) -> ErrorBudget | None:
    return min(budgets, key=lambda one: (one.error_budget_remaining, one.slo_id), default=None)


def verdict_of(state: AdmissionState | None, flow: FlowFacts, now: datetime) -> BudgetVerdict | None:
    """Return what policies make of a flow; None where it is admitted as it is."""
    decided = state.decides(flow) if state is not None else None
    if decided is None or decided[0].action is AdmissionAction.ADMIT:
        return None
    policy, why = decided
    holds = policy.action is AdmissionAction.HOLD
    return BudgetVerdict(
        policy=policy.name,
        action=policy.action,
        why=why,
        until=add_time(now, timedelta(seconds=policy.hold_at_most_seconds)) if holds else None,
        priority=policy.priority if policy.action is AdmissionAction.LOWER else None,
    )


def still_held(state: AdmissionState | None, flow: Flow, now: datetime) -> bool:
    """Whether a flow that C1 holds is held on."""
    verdict = flow.budget_verdict
    if verdict is None or verdict.until is None or now >= verdict.until:
        return False
    decided = state.decides(FlowFacts(flow.labels, flow.risk_band, flow.priority)) if state is not None else None
    return decided is not None and decided[0].name == verdict.policy and decided[0].action is AdmissionAction.HOLD


def reason_of(verdict: BudgetVerdict) -> Reason:
    """Return a verdict as a reason."""
    told: Mapping[AdmissionAction, str] = {
        AdmissionAction.LOWER: f"its priority is {verdict.priority} at most",
        AdmissionAction.APPROVE: "a person has to approve it first",
        AdmissionAction.REFUSE: "it is refused",
    }
    held = f"it is held until that is over, until {format_time(verdict.until)} at most" if verdict.until else ""
    message = f"{verdict.why}: by admission policy {verdict.policy} {told.get(verdict.action, held)}"
    return Reason(code=BUDGET_SPENT, message=message)

"""Freezes: the policy that a client sends, the event that says something is frozen, and when one begins and ends. Pure.

A policy looks at the budgets of the SLOs that it is for. It freezes its target when one of them is at the trigger or
below, and frees it when all of them are at the higher threshold or above: between the two nothing changes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictBool, model_validator

from functions._core.records.record import Record, encode
from functions._core.records.values import Model, Number, Timestamp, WholeNumber, Word, add_time, format_time
from functions._core.slo.budget import ErrorBudget
from functions._core.slo.definition import Name, Slo, Text200

SPACE = "freeze-policies"
"""The space of `KeyValues` that holds the policies, by id."""

MAX_POLICIES = 500
"""Freeze policies of a platform: a budget is compared with all of them."""

ANNOTATION = "neural-hive.io/sla-freeze"
"""The annotation of a frozen namespace or workload."""

EVERYTHING = "*"
"""The target of a GLOBAL policy."""

DAY = 86_400

TARGET_BYTES = 400
"""UTF-8 bytes of a target: with the id of its policy it is a key of the store."""


class FreezeScope(Word):
    """What a policy freezes."""

    NAMESPACE = "NAMESPACE"
    SERVICE = "SERVICE"
    GLOBAL = "GLOBAL"


class FreezeAction(Word):
    """What a freeze forbids."""

    BLOCK_DEPLOY = "BLOCK_DEPLOY"
    BLOCK_SCALE = "BLOCK_SCALE"
    ALERT_ONLY = "ALERT_ONLY"


class SloSelector(Model):
    """Which SLOs a policy looks at: those with all of the labels, or those named. A field that is not known is refused.

    Without either these are the SLOs of its target.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: Annotated[Mapping[Text200, Text200], Field(max_length=16)] = {}
    """Labels that an SLO has to have."""
    slo_ids: tuple[Text200, ...] = Field(default=(), max_length=200)
    """Ids of SLOs."""

    @property
    def given(self) -> bool:
        """Whether it selects anything."""
        return bool(self.labels or self.slo_ids)

    def selects(self, slo: Slo) -> bool:
        """Whether an SLO is one of those."""
        named = slo.slo_id in self.slo_ids
        return named or (bool(self.labels) and self.labels.items() <= slo.labels.items())


class FreezePolicyForm(Model):
    """What a client sends to make a freeze policy. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    """Name, unique among the policies."""
    description: Annotated[str, Field(max_length=2000)] = ""
    """What it is for."""
    scope: FreezeScope
    """What it freezes: a namespace, a service, or everything."""
    target: Name = EVERYTHING
    """The namespace or service; `*` for GLOBAL."""
    actions: Annotated[tuple[FreezeAction, ...], Field(min_length=1, max_length=3)] = (FreezeAction.BLOCK_DEPLOY,)
    """What a freeze forbids."""
    trigger_threshold_percent: Number = Field(default=20, ge=0, le=100)
    """It freezes when no more of a budget is left, in percent."""
    unfreeze_threshold_percent: Number = Field(default=50, ge=0, le=100)
    """It frees again when at least as much of each budget is left, in percent."""
    auto_unfreeze: StrictBool = True
    """Whether it frees by itself; else a person has to."""
    min_duration_seconds: WholeNumber = Field(default=0, ge=0, le=90 * DAY)
    """How long a freeze lasts at least, in seconds, before it ends by itself."""
    slo_selector: SloSelector = SloSelector()
    """The SLOs whose budgets it looks at; absent: those of its target."""
    enabled: StrictBool = True
    """Whether it is evaluated; a deleted policy is not."""
    labels: Annotated[Mapping[Text200, Text200], Field(max_length=16)] = {}
    """Names and values for people."""

    @model_validator(mode="after")
    def _consistent(self) -> "FreezePolicyForm":
        if self.trigger_threshold_percent > self.unfreeze_threshold_percent:
            raise ValueError("trigger_threshold_percent is above unfreeze_threshold_percent: it would never be quiet")
        if (self.scope is FreezeScope.GLOBAL) != (self.target == EVERYTHING):
            raise ValueError("target is '*' for GLOBAL, and the name of a namespace or service for the other scopes")
        if len(self.target.encode()) > TARGET_BYTES:
            raise ValueError(f"target has more than {TARGET_BYTES} bytes")
        return self

    def concerns(self, slo: Slo) -> bool:
        """Whether it looks at the budget of an SLO."""
        if self.slo_selector.given:
            return self.slo_selector.selects(slo)
        return self.scope is FreezeScope.GLOBAL or self.target == (
            slo.service_name if self.scope is FreezeScope.SERVICE else slo.namespace
        )


class FreezePolicy(FreezePolicyForm):
    """A freeze policy as it is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    policy_id: str
    """Id of the policy."""
    created_at: Timestamp
    """When it was made."""
    updated_at: Timestamp
    """When somebody changed it last."""
    managed_by: str | None = None
    """The document that it is made from, as `SLAPolicy/name`; None: it was made over HTTP."""

    def should_trigger(self, budget: ErrorBudget) -> bool:
        """Whether a budget freezes."""
        return budget.error_budget_remaining <= self.trigger_threshold_percent

    def should_unfreeze(self, budget: ErrorBudget) -> bool:
        """Whether a budget allows to free again."""
        return budget.error_budget_remaining >= self.unfreeze_threshold_percent


class FreezeEvent(Record):
    """A freeze: from when to when, by which policy, and why."""

    event_id: str
    """Id of the freeze."""
    policy_id: str
    """The policy."""
    policy_name: str
    """Its name."""
    scope: FreezeScope
    """What is frozen."""
    target: str
    """The namespace or service; `*` for everything."""
    actions: tuple[FreezeAction, ...]
    """What is forbidden."""
    slo_id: str
    """The SLO whose budget it began with."""
    service_name: str
    """The service of that SLO."""
    trigger_reason: str
    """Why it began, in a sentence."""
    budget_remaining: float
    """What was left of that budget, in percent."""
    triggered_at: Timestamp
    """When it began."""
    resolved_at: Timestamp | None = None
    """When it ended; None while it lasts."""
    resolved_by: str | None = None
    """Who ended it: `budget`, `policy`, or the name of a person; None while it lasts."""
    resolve_reason: str | None = None
    """Why it ended, in a sentence; None while it lasts."""
    applied: bool = False
    """Whether its target, such as a cluster, and its subscribers know that it began, or ended."""
    quiet: bool = False
    """Whether a person ended it while the budget was low: its policy does not freeze again before it has recovered."""

    @property
    def active(self) -> bool:
        """Whether it lasts."""
        return self.resolved_at is None

    def freezes(self, service: str, namespaces: Collection[str]) -> bool:
        """Whether it is about a service, which is in these namespaces."""
        if self.scope is FreezeScope.GLOBAL:
            return True
        return self.target == service if self.scope is FreezeScope.SERVICE else self.target in namespaces

    def blocks(self, action: FreezeAction, service: str, namespaces: Collection[str] = ()) -> bool:
        """Whether it lasts and forbids an action on a service, which is in these namespaces."""
        return self.active and action in self.actions and self.freezes(service, namespaces)


class FreezeVerdict(Enum):
    """What becomes of the target of a policy."""

    FREEZE = auto()
    UNFREEZE = auto()
    STAY = auto()


def verdict_of(
    policy: FreezePolicy, budgets: Sequence[ErrorBudget], last: FreezeEvent | None, now: datetime
) -> FreezeVerdict:
    """Return what becomes of a policy's target; `budgets` are those it looks at, `last` its freeze before, if any."""
    frozen = last is not None and last.active
    recovered = bool(budgets) and all(map(policy.should_unfreeze, budgets))
    if not policy.enabled:
        return FreezeVerdict.UNFREEZE if frozen else FreezeVerdict.STAY
    if frozen and last is not None:
        until = add_time(last.triggered_at, timedelta(seconds=policy.min_duration_seconds))
        return FreezeVerdict.UNFREEZE if policy.auto_unfreeze and recovered and now >= until else FreezeVerdict.STAY
    held_off = last is not None and last.quiet and not recovered
    return FreezeVerdict.FREEZE if not held_off and any(map(policy.should_trigger, budgets)) else FreezeVerdict.STAY


def begun(policy: FreezePolicy, budgets: Iterable[ErrorBudget], now: datetime, event_id: str) -> FreezeEvent:
    """Return the freeze that the budgets of a policy begin: the lowest of them is its reason."""
    lowest = min(budgets, key=lambda budget: (budget.error_budget_remaining, budget.slo_id))
    left, trigger = f"{lowest.error_budget_remaining:g} %", f"{policy.trigger_threshold_percent:g} %"
    reason = f"{left} of the error budget of {lowest.service_name} is left; policy {policy.name} freezes at {trigger}"
    return FreezeEvent(
        event_id=event_id,
        policy_id=policy.policy_id,
        policy_name=policy.name,
        scope=policy.scope,
        target=policy.target,
        actions=policy.actions,
        slo_id=lowest.slo_id,
        service_name=lowest.service_name,
        trigger_reason=reason,
        budget_remaining=lowest.error_budget_remaining,
        triggered_at=now,
    )


def ended(event: FreezeEvent, now: datetime, by: str, reason: str, *, quiet: bool = False) -> FreezeEvent:
    """Return a freeze that has ended; see `FreezeEvent.quiet`."""
    return event.but(resolved_at=now, resolved_by=by, resolve_reason=reason, applied=False, quiet=quiet)


def annotation_of(event: FreezeEvent) -> dict[str, str]:
    """Return the annotation by which delivery tools see a freeze."""
    told: dict[str, Any] = {
        "event_id": event.event_id,
        "policy_id": event.policy_id,
        "slo_id": event.slo_id,
        "actions": list(event.actions),
        "since": format_time(event.triggered_at),
        "reason": event.trigger_reason,
    }
    return {ANNOTATION: encode(told).decode()}

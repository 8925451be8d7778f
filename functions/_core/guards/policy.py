"""Guard policies: which tasks must not be done, or not before a person has looked at them.

Every policy that is enabled and fits is looked at; there is no order among them. One that denies is stronger than one
that quarantines. A policy is data: it holds words and limits, and no expression that somebody would have to bound.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, StrictBool, model_validator

from functions._core.named_records import NamedRecords
from functions._core.records.values import Model, RiskBand, SecurityLevel, TaskType, Timestamp, Word
from functions._core.slo.admission import FlowFacts, FlowFit, Text200

SPACE = "guard-policies"
"""The space of `KeyValues` that holds the policies, by name."""

MAX_POLICIES = 200
"""Guard policies of a platform: each task is compared with all of them."""

PROVIDER = "provider"
"""The parameter by which a task names the executor that is to do it."""

Texts = Annotated[tuple[Text200, ...], Field(max_length=100)]


class GuardAction(Word):
    """What becomes of a task that breaks a policy."""

    DENY = "DENY"
    """Its flow ends REJECTED if C1 finds it; a ticket fails, and is not tried again."""
    QUARANTINE = "QUARANTINE"
    """Its ticket waits until a person has decided."""


class GuardPolicyForm(Model):
    """What a client sends to make or replace a guard policy. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Annotated[str, Field(max_length=2000)] = ""
    """What it is for."""
    flows: FlowFit = FlowFit()
    """The flows that it is for."""
    task_types: tuple[TaskType, ...] = Field(default=(), max_length=20)
    """Only tasks of one of these types; empty: of any."""
    providers: Texts = ()
    """Only tasks whose parameter `provider` is one of these; empty: whatever it is."""
    secrets: StrictBool = False
    """Broken by parameters that hold what looks like a secret; references to secrets are none."""
    security_level_at_most: SecurityLevel | None = None
    """Broken by a task with a higher security level."""
    allowed_task_types: tuple[TaskType, ...] = Field(default=(), max_length=20)
    """Broken by a task of another type; empty: by none."""
    allowed_providers: Texts = ()
    """Broken by a task with another `provider`, or without one; empty: by none."""
    denied_capabilities: Texts = ()
    """Broken by a task that requires one of these capabilities."""
    action: GuardAction
    """What becomes of a task that breaks it."""
    message: Annotated[str, Field(max_length=500)] = ""
    """What people are told, in place of a sentence about the rule that is broken."""
    enabled: StrictBool = True
    """Whether it is looked at."""

    @model_validator(mode="after")
    def _some_rule(self) -> "GuardPolicyForm":
        limits = (self.allowed_task_types, self.allowed_providers, self.denied_capabilities)
        if not (self.secrets or self.security_level_at_most or any(limits)):
            raise ValueError(
                "one of secrets, security_level_at_most, allowed_task_types, allowed_providers and denied_capabilities "
                "says what breaks it"
            )
        return self


class GuardPolicy(GuardPolicyForm):
    """A guard policy as it is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    """Its name."""
    created_at: Timestamp
    """When it was made."""
    updated_at: Timestamp
    """When somebody changed it last."""


class GuardedWork(NamedTuple):
    """What of a task, or of its ticket, guards look at."""

    task_id: str
    task_type: TaskType
    risk_band: RiskBand
    security_level: SecurityLevel
    capabilities: tuple[str, ...]
    parameters: Mapping[str, Any]
    labels: Mapping[str, str]
    more: Any = None
    """What else comes to its worker or to that of its compensation: an item, parameters of undoing."""

    @property
    def provider(self) -> str | None:
        """The executor that it names, lower case; None where it names none."""
        named = self.parameters.get(PROVIDER)
        return named.strip().lower() if isinstance(named, str) and named.strip() else None

    @property
    def contents(self) -> Mapping[str, Any]:
        """Everything that may hold a secret."""
        return {"parameters": self.parameters} | ({} if self.more is None else {"more": self.more})


def broken(policies: Iterable[GuardPolicy], flow: FlowFacts, work: GuardedWork) -> Iterator[tuple[GuardPolicy, str]]:
    """Yield the policies that a task breaks, each with a sentence about the first of its rules that is broken."""
    for policy in policies:
        if policy.enabled and flow.fit(policy.flows) and _fits(policy, work):
            why = _why(policy, work)
            if why is not None:
                yield policy, f"task {work.task_id}: {policy.message or why}"


def _fits(policy: GuardPolicy, work: GuardedWork) -> bool:
    of_type = not policy.task_types or work.task_type in policy.task_types
    return of_type and (not policy.providers or work.provider in _lower(policy.providers))


def _why(policy: GuardPolicy, work: GuardedWork) -> str | None:
    """Return what is wrong with the task, None when nothing is. A secret is never part of it."""
    most = policy.security_level_at_most
    if most is not None and not most.covers(work.security_level):
        whom = f"provider {work.provider}" if policy.providers and work.provider else "it"
        return f"its security level is {work.security_level}, and {whom} may have {most} at most"
    if policy.allowed_task_types and work.task_type not in policy.allowed_task_types:
        return f"its type is {work.task_type}, and only {', '.join(policy.allowed_task_types)} may be"
    if policy.allowed_providers and work.provider not in _lower(policy.allowed_providers):
        named = f"its provider is {work.provider[:100]}" if work.provider else "it names no provider"
        return f"{named}, and only {', '.join(policy.allowed_providers)} may be"
    denied = sorted(_lower(work.capabilities) & _lower(policy.denied_capabilities))
    if denied:
        return f"it requires {', '.join(denied)}, which no task may have"
    return _why_secret(work) if policy.secrets else None


def _why_secret(work: GuardedWork) -> str | None:
    from functions._core.guards.detector import found_secrets  # noqa: PLC0415 its expressions take time to compile

    secret = next(iter(found_secrets(work.contents)), None)
    return None if secret is None else f"{secret.place} holds {secret.kind}: let it refer to a secret by its name"


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in names)


GUARD_POLICIES = NamedRecords(SPACE, GuardPolicy, MAX_POLICIES)
"""The stored guard policies."""

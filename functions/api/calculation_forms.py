"""What people ask of calculations: a plan, and with which workers or how often."""

from typing import Annotated, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from functions._core.placement.workers import MAX_CAPABILITIES, Clearance
from functions._core.records.values import JsonObject, Model, SecurityLevel, Texts, a_number

MOST_RUNS, MOST_WORKERS = 500, 200
MOST_SLOTS = 1000
Count = BeforeValidator(a_number)


class PlanQuestion(Model):
    """A plan to calculate with: exactly one of `plan`, `decision` and `flow_id`. At most 1 MiB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: JsonObject | str | None = None
    """A plan, or the name of a stored one: `name` or `name@1.0.0`."""
    decision: JsonObject | None = None
    """A decision as it would be submitted."""
    flow_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """A flow, whose decision is taken."""

    @model_validator(mode="after")
    def _is_about_one_plan(self) -> Self:
        if sum(one is not None for one in (self.plan, self.decision, self.flow_id)) != 1:
            raise ValueError("give one of plan, decision and flow_id")
        return self


class SimulatedFleet(Model):
    """Workers of one kind that are assumed to be there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: Annotated[int, Field(ge=1, le=MOST_WORKERS), Count] = 1
    """How many of them there are."""
    capabilities: Texts = Field(default=(), max_length=MAX_CAPABILITIES)
    """What each can do."""
    clearance: Clearance = SecurityLevel.RESTRICTED
    """The highest security level of the tickets that each may get."""
    slots: Annotated[int, Field(ge=1, le=MOST_SLOTS), Count] = 4
    """How many tickets each takes at once."""
    success_rate: Annotated[float, Field(ge=0, le=1), Count] = 1.0
    """Share of its tasks that succeed, 0 to 1."""
    latency_ms: Annotated[float, Field(ge=0, le=3_600_000), Count] = 0.0
    """How long each takes before it begins a task, in milliseconds."""


class SimulationForm(PlanQuestion):
    """What is simulated: a plan, how often, and with which workers."""

    runs: Annotated[int, Field(ge=1, le=MOST_RUNS), Count] = 100
    """How many runs."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), Count] = 1
    """Seed of the first run; the same seeds give the same answer."""
    workers: Annotated[tuple[SimulatedFleet, ...], Field(min_length=1, max_length=50)] | None = None
    """The workers; null takes those that are registered now and would get tickets."""


class CostForm(PlanQuestion):
    """What is priced: a plan, and how often it runs."""

    per_month: Annotated[int, Field(ge=1, le=10**9), Count] = 1_000_000
    """Flows in a month: the more, the more of them share timers."""
    subscriber_events: Annotated[str, Field(max_length=2000)] = "none"
    """Transitions that are put on the bus besides: `none`, `all`, or types with commas between them."""

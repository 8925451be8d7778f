"""What people ask of SLOs, budgets and freezes, and what they are shown."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, RootModel, StrictBool, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from functions._core.records.record import Record
from functions._core.records.values import JsonObject, Model, Timestamp, WholeNumber
from functions._core.slo.admission import AdmissionPolicyForm
from functions._core.slo.budget import BudgetStatus, BurnLevel, ErrorBudget
from functions._core.slo.course import CoursePoint, Grouping, Trends
from functions._core.slo.definition import MAX_WINDOW_DAYS, Slo, SloForm
from functions._core.slo.freezing import FreezeAction, FreezeEvent, FreezePolicy, FreezePolicyForm, FreezeScope
from functions.api.actions import PRINTABLE

MAX_RULES = 512 * 1024
"""Bytes of a body with alert rules."""


def _schema_without_required(form: type[Model], handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    schema = handler.resolve_ref_schema(handler(form.__pydantic_core_schema__))
    return {key: value for key, value in schema.items() if key not in {"required", "title"}}


class SloChange(RootModel[JsonObject]):
    """Fields of an SLO that are to be others; those that are absent stay as they are."""

    root: JsonObject
    """The fields, as in `SloForm`."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of the form, with nothing required."""
        return _schema_without_required(SloForm, handler)


class PolicyChange(RootModel[JsonObject]):
    """Fields of a freeze policy that are to be others; those that are absent stay as they are."""

    root: JsonObject
    """The fields, as in `FreezePolicyForm`."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of the form, with nothing required."""
        return _schema_without_required(FreezePolicyForm, handler)


class RulesForm(Model):
    """Alert rules to make SLOs of. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: Annotated[str, Field(min_length=1, max_length=MAX_RULES)]
    """The text of a file of Prometheus' alert rules, YAML."""
    dry_run: StrictBool = False
    """True: nothing is stored, and the answer tells what would be."""


class ResolveForm(Model):
    """Who ends a freeze by hand, and why. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requested_by: Annotated[str | None, Field(min_length=1, max_length=255, pattern=PRINTABLE)] = None
    """The person, where access is off; else it is whom the credential proves."""
    reason: Annotated[str, Field(min_length=1, max_length=1000, pattern=PRINTABLE)] = "no reason given"
    """The reason, for the history and for everybody whom it concerns."""


class WhatIfForm(Model):
    """The policy that is to be tried on the history, one of the four. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: WholeNumber = Field(default=7, ge=1, le=MAX_WINDOW_DAYS)
    """How many days, up to now."""
    policy: AdmissionPolicyForm | None = None
    """An admission policy; nothing of it is stored."""
    policy_name: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """An admission policy that is stored."""
    freeze_policy: FreezePolicyForm | None = None
    """A freeze policy; nothing of it is stored."""
    freeze_policy_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """A freeze policy that is stored, by its id."""

    @model_validator(mode="after")
    def _one(self) -> "WhatIfForm":
        given = (self.policy, self.policy_name, self.freeze_policy, self.freeze_policy_id)
        if sum(one is not None for one in given) != 1:
            raise ValueError("exactly one of policy, policy_name, freeze_policy and freeze_policy_id is to be tried")
        return self


SLO_FORMS: tuple[type[BaseModel], ...] = (
    SloForm,
    SloChange,
    RulesForm,
    FreezePolicyForm,
    PolicyChange,
    ResolveForm,
    AdmissionPolicyForm,
    WhatIfForm,
)
"""What bodies of these routes are."""


class SloPage(Model):
    """SLOs, by id."""

    items: tuple[Slo, ...]
    """SLOs."""
    cursor: str | None
    """Ask for the next page with it; null when there is none."""


class ImportedSlos(Model):
    """SLOs that were made of alert rules."""

    items: tuple[Slo, ...]
    """The SLOs that were made, or with `dry_run` would be."""
    skipped: tuple[str, ...]
    """Why others were not, a sentence for each."""
    dry_run: bool
    """Whether nothing was stored."""


class SloTest(Record):
    """What a query gave, measured now; nothing of it is stored."""

    slo_id: str
    """The SLO."""
    sli_value: float
    """The share of what was good in the window of the SLO, 0 to 1."""
    sample_count: int | None
    """Of how many flows or tickets; None where a query does not say."""
    slo_target: float
    """The share that has to be good."""
    met: bool
    """Whether the SLO is met."""
    error_budget_remaining: float
    """Percent of the budget that would be left."""
    window_days: int
    """Days that were looked at."""
    measured_at: Timestamp
    """When."""


class BudgetPage(Record):
    """The newest budgets of SLOs that are enabled, by SLO."""

    items: tuple[ErrorBudget, ...]
    """Budgets."""
    cursor: str | None
    """Ask for the next page with it; null when there is none."""


class BudgetSummary(Record):
    """How many of the SLOs that are enabled stand how."""

    total: int
    """SLOs with a budget."""
    healthy: int
    """Those of which much is left."""
    warning: int
    """Those of which less is left."""
    critical: int
    """Those of which little is left."""
    exhausted: int
    """Those of which nothing is left."""
    without_budget: int
    """SLOs that were not calculated yet, or of which nothing was measured; not part of `total`."""
    average_remaining_percent: float | None
    """The mean of what is left, in percent; None without budgets."""


class BudgetCourse(Record):
    """The course of a budget, the oldest point first."""

    slo_id: str
    """The SLO."""
    since: Timestamp
    """Where it begins."""
    until: Timestamp
    """Where it ends."""
    aggregation: Grouping
    """What became one point."""
    items: tuple[CoursePoint, ...]
    """Points."""
    next_from: Timestamp | None
    """Where there are more points than `limit`: ask with it as `from` for those that follow."""
    trends: Trends | None
    """How the budget has changed over these points; None without points, or where it is not asked for."""


class BurnRateView(Record):
    """How fast a budget burned over a window that ends now."""

    slo_id: str
    """The SLO."""
    window_hours: int
    """Length of the window, in hours."""
    error_rate: float
    """The share of errors in the window, 0 to 1."""
    rate: float
    """The same as a multiple of the share that is allowed: at 1 the budget lasts for its window."""
    level: BurnLevel
    """The class of the rate."""
    budget_remaining: float
    """Percent of the budget that is left now."""
    estimated_exhaustion: Timestamp | None
    """When the budget is spent if it burns on like this; None while nothing burns."""
    measured_at: Timestamp
    """When."""


class PolicyPage(Model):
    """Freeze policies, by id."""

    items: tuple[FreezePolicy, ...]
    """Policies."""
    cursor: str | None
    """Ask for the next page with it; null when there is none."""


class FreezeView(FreezeEvent):
    """A freeze, and how long it has lasted."""

    active: bool
    """Whether it lasts."""
    duration_seconds: float
    """How long it has lasted, in seconds, up to its end or up to now."""


class FreezePage(Record):
    """Freezes, the newest first."""

    items: tuple[FreezeView, ...]
    """Freezes."""
    cursor: str | None
    """Ask for the next page with it; null when there is none."""


class FreezeList(Record):
    """Freezes that last, the oldest first."""

    items: tuple[FreezeView, ...]
    """Freezes."""


class FreezeOfService(Record):
    """A freeze that holds for a service."""

    event_id: str
    """Id of the freeze."""
    policy_id: str
    """The policy that has begun it."""
    policy_name: str
    """Its name."""
    scope: FreezeScope
    """What is frozen."""
    target: str
    """The namespace or service; `*` for everything."""
    actions: tuple[FreezeAction, ...]
    """What is forbidden."""
    since: Timestamp
    """When it began."""
    reason: str
    """Why, in a sentence."""


class FreezeStatus(Record):
    """Whether something is frozen for a service."""

    service: str
    """The service."""
    namespaces: tuple[str, ...]
    """The namespace that was named, or those of the SLOs of the service, which are looked up while one is frozen."""
    frozen: bool
    """Whether the action that was asked about is forbidden; where none was, whether anything is."""
    actions: tuple[FreezeAction, ...]
    """What the freezes do: ALERT_ONLY forbids nothing."""
    events: tuple[FreezeOfService, ...]
    """The freezes that hold, the oldest first."""
    read_at: Timestamp
    """When this was read from the store, at most 60 s ago."""


COUNTED: Mapping[BudgetStatus, str] = {status: status.value.lower() for status in BudgetStatus}
"""The fields of a summary by status."""


def summary_of(budgets: list[ErrorBudget], enabled: int) -> BudgetSummary:
    """Return how the budgets of so many SLOs stand."""
    counts: dict[str, Any] = dict.fromkeys(COUNTED.values(), 0)
    for budget in budgets:
        counts[COUNTED[budget.status]] += 1
    left = [budget.error_budget_remaining for budget in budgets]
    mean = round(sum(left) / len(left), 6) if left else None
    return BudgetSummary(
        total=len(budgets), **counts, without_budget=enabled - len(budgets), average_remaining_percent=mean
    )

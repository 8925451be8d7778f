"""The arithmetic of error budgets: what is left, how fast it burns, when it is spent. Pure.

All results are rounded to `DIGITS` decimals before they are compared, so that no binary fraction decides a class.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from functions._core.records.record import Record
from functions._core.records.values import Timestamp, Word, add_time, time_span
from functions._core.slo.definition import Slo

DIGITS = 6

BURN_HOURS = (1, 6, 24)
"""The windows, in hours, whose burn rates are part of a budget."""

HOUR_MS = 3_600_000


class BudgetStatus(Word):
    """How much of a budget is left."""

    HEALTHY = "HEALTHY"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    EXHAUSTED = "EXHAUSTED"


STATUS_NUMBERS: Mapping[BudgetStatus, int] = {status: number for number, status in enumerate(BudgetStatus)}
"""The statuses as the gauge shows them, 0 to 3."""


class BurnLevel(Word):
    """How fast a budget burns."""

    NORMAL = "NORMAL"
    ELEVATED = "ELEVATED"
    FAST = "FAST"
    CRITICAL = "CRITICAL"


class Thresholds(NamedTuple):
    """Where the classes begin: remaining percent above which a status holds, burn rates from which a level holds."""

    healthy: float = 50
    warning: float = 20
    critical: float = 0
    burn_critical: float = 14.4
    burn_fast: float = 6
    burn_elevated: float = 1


DEFAULT_THRESHOLDS = Thresholds()


class Indicator(NamedTuple):
    """What was measured over a window: the share of what was good, and of how many; None where that is not known."""

    value: float
    total: int | None = None

    @property
    def error(self) -> float:
        """The share of errors."""
        return 1 - self.value


def share_of(total: int, bad: int) -> Indicator:
    """Return the indicator of what was counted: where nothing was, nothing was bad."""
    return Indicator(1 - bad / total if total else 1.0, total)


class BurnRate(Record):
    """How fast the budget burned over a window that ends with the calculation."""

    window_hours: float
    """Length of the window, in hours."""
    rate: float
    """Error rate of the window as a multiple of the one that is allowed: at 1 the budget lasts for its window."""
    level: BurnLevel
    """The class of the rate."""
    estimated_exhaustion: Timestamp | None = None
    """When the budget is spent if it burns on like this; None while nothing burns."""


class ErrorBudget(Record):
    """The budget of an SLO at a moment. Shares are 0 to 1; what is consumed and left are percent of the budget."""

    budget_id: str
    """Id of the calculation."""
    slo_id: str
    """The SLO."""
    service_name: str
    """Its service."""
    calculated_at: Timestamp
    """When it was calculated."""
    window_start: Timestamp
    """When the window of the SLO began."""
    sli_value: float
    """The share of what was good in the window, as it was measured."""
    slo_target: float
    """The share that has to be good."""
    sample_count: int | None = None
    """Of how many flows or tickets; None where a query does not say."""
    error_budget_total: float
    """The share of errors that is allowed, in percent points."""
    error_budget_consumed: float
    """Percent of the budget that is used; above 100 when more errors came than are allowed."""
    error_budget_remaining: float
    """Percent of the budget that is left, not below 0."""
    status: BudgetStatus
    """The class of what is left."""
    burn_rates: tuple[BurnRate, ...] = ()
    """How fast it burns, over each of the windows."""
    exhaustion_earliest: Timestamp | None = None
    """When it may be spent at the earliest, by the burning of the recent past; None: not foreseeable."""
    exhaustion_latest: Timestamp | None = None
    """When it is spent at the latest, by the same; None: perhaps never."""
    violations_count: int = 0
    """How often within the window the SLO was found to be violated."""
    last_violation_at: Timestamp | None = None
    """When it was last; None: not within the window."""

    @property
    def violated(self) -> bool:
        """Whether more errors came than are allowed."""
        return self.error_budget_consumed > 100  # noqa: PLR2004 percent


class Left(NamedTuple):
    """How much of a budget is used and left, in percent of it."""

    total: float
    consumed: float
    remaining: float


def left_of(error: float, target: float) -> Left:
    """Return how much a share of errors leaves of the budget of a target; both are shares, 0 to 1."""
    consumed = rounded(100 * error / (1 - target))
    return Left(rounded(100 * (1 - target)), consumed, rounded(max(0.0, 100 - consumed)))


def status_of(remaining: float, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> BudgetStatus:
    """Return the class of a remaining percentage."""
    if remaining > thresholds.healthy:
        return BudgetStatus.HEALTHY
    if remaining > thresholds.warning:
        return BudgetStatus.WARNING
    return BudgetStatus.CRITICAL if remaining > thresholds.critical else BudgetStatus.EXHAUSTED


def burn_rate_of(error: float, target: float) -> float:
    """Return a share of errors as a multiple of the one that a target allows."""
    return rounded(error / (1 - target))


def burn_level_of(rate: float, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> BurnLevel:
    """Return the class of a burn rate."""
    if rate >= thresholds.burn_critical:
        return BurnLevel.CRITICAL
    if rate >= thresholds.burn_fast:
        return BurnLevel.FAST
    return BurnLevel.ELEVATED if rate > thresholds.burn_elevated else BurnLevel.NORMAL


def exhaustion_of(now: datetime, remaining: float, window_days: int, rate: float) -> datetime | None:
    """Return when what remains, in percent, is spent at a burn rate; None when nothing burns."""
    if rate <= 0:
        return None
    return add_time(now, time_span(remaining / 100 * window_days * 24 * HOUR_MS / rate))


def burn_of(
    now: datetime, window_hours: float, measured: Indicator, slo: Slo, remaining: float, thresholds: Thresholds
) -> BurnRate:
    """Return the burn rate of a window in which that was `measured`."""
    rate = burn_rate_of(measured.error, slo.target)
    ends = exhaustion_of(now, remaining, slo.window_days, rate)
    return BurnRate(
        window_hours=window_hours, rate=rate, level=burn_level_of(rate, thresholds), estimated_exhaustion=ends
    )


def budget_of(
    slo: Slo,
    now: datetime,
    budget_id: str,
    measured: Indicator,
    windows: Mapping[float, Indicator],
    violations: Sequence[datetime] = (),
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
) -> ErrorBudget:
    """Return the budget of an SLO: `measured` over its window, and over shorter ones, by their hours.

    `violations` are the moments at which it was found to be violated; those within the window count.
    """
    left = left_of(measured.error, slo.target)
    start = add_time(now, -timedelta(days=slo.window_days))
    within = [moment for moment in violations if moment > start]
    return ErrorBudget(
        budget_id=budget_id,
        slo_id=slo.slo_id,
        service_name=slo.service_name,
        calculated_at=now,
        window_start=start,
        sli_value=rounded(measured.value),
        slo_target=slo.target,
        sample_count=measured.total,
        error_budget_total=left.total,
        error_budget_consumed=left.consumed,
        error_budget_remaining=left.remaining,
        status=status_of(left.remaining, thresholds),
        burn_rates=tuple(
            burn_of(now, hours, found, slo, left.remaining, thresholds) for hours, found in sorted(windows.items())
        ),
        violations_count=len(within),
        last_violation_at=max(within, default=None),
    )


def rounded(value: float) -> float:
    """Return a number as it is compared and shown."""
    return round(value, DIGITS) + 0.0  # no -0.0

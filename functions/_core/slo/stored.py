"""SLOs, budgets, policies and freezes in the store: small records of `KeyValues`, changed by whoever changes first.

A freeze is kept twice: the newest one of each policy and target by their names, so that there is one at a time, and
each one by the moment at which it began, for the history. Of a budget there is the newest one, and a list for each
hour with its course.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from msgspec import MsgspecError
from pydantic import ValidationError

from functions._core.errors import Conflict
from functions._core.named_records import NamedRecords
from functions._core.ports import Entry, KeyValues
from functions._core.records.record import Record, decode, encode
from functions._core.records.values import Model, Timestamp, format_time
from functions._core.slo import admission, definition, freezing
from functions._core.slo.admission import AdmissionPolicy
from functions._core.slo.budget import BudgetStatus, ErrorBudget
from functions._core.slo.definition import MAX_SLOS, MAX_WINDOW_DAYS, Slo
from functions._core.slo.freezing import MAX_POLICIES, FreezeEvent, FreezePolicy
from functions._core.small_records import changed_entry, every

BUDGETS, HISTORY, FREEZES, FREEZE_HISTORY = "slo-budgets", "slo-budget-history", "freezes", "freeze-history"
"""The spaces of budgets by SLO, of their courses, of the newest freezes by policy and target, and of all freezes."""

MAX_FREEZES = 50 * MAX_POLICIES
"""Newest freezes that are read: one for each policy and target, also of policies that are gone, until they expire."""

KEPT = timedelta(days=MAX_WINDOW_DAYS + 1)
"""How long the course of a budget, and a freeze that has ended, is kept."""

POINTS = 200
"""Calculations of one hour in the course of a budget; of more the newest are kept."""

ADMISSION_POLICIES = NamedRecords(admission.SPACE, AdmissionPolicy, admission.MAX_POLICIES)

M = TypeVar("M", bound=Model)
R = TypeVar("R", bound=Record)
T = TypeVar("T")


class BudgetState(Record):
    """The newest budget of an SLO, and what the next calculation has to know."""

    budget: ErrorBudget
    """The budget."""
    violations: tuple[Timestamp, ...] = ()
    """When the SLO was found to be violated, the newest 100, the oldest first."""
    told: bool = False
    """Whether its events have been sent."""


class BudgetPoint(Record):
    """A calculation in the course of a budget."""

    at: Timestamp
    """When it was made."""
    sli_value: float
    """The share of what was good."""
    remaining: float
    """Percent of the budget that was left."""
    consumed: float
    """Percent of the budget that was used."""
    status: BudgetStatus
    """The class of what was left."""
    burn_rate: float | None = None
    """The burn rate over the shortest window."""


class BudgetHour(Record):
    """The calculations of an hour, the oldest first."""

    points: tuple[BudgetPoint, ...] = ()
    """The calculations."""


async def slos(entries: KeyValues) -> Sequence[Slo]:
    """Return all SLOs that can be read, deleted ones, too, by id."""
    return await every(entries, definition.SPACE, MAX_SLOS, lambda entry: _slo(entry.value))


async def slo(entries: KeyValues, slo_id: str) -> Slo | None:
    """Return one SLO."""
    entry = await entries.get(definition.SPACE, slo_id)
    return None if entry is None else _slo(entry.value)


async def policies(entries: KeyValues) -> Sequence[FreezePolicy]:
    """Return all policies that can be read, deleted ones, too, by id."""
    return await every(entries, freezing.SPACE, MAX_POLICIES, lambda entry: _policy(entry.value))


async def policy(entries: KeyValues, policy_id: str) -> FreezePolicy | None:
    """Return one policy."""
    entry = await entries.get(freezing.SPACE, policy_id)
    return None if entry is None else _policy(entry.value)


async def put_new(entries: KeyValues, new: Slo | FreezePolicy) -> None:
    """Store an SLO or a policy that was not there; raise `Conflict` when one of its id is."""
    space, key = _place_of(new)
    await entries.put(space, key, written(new), version=0)


async def changed_slo(entries: KeyValues, slo_id: str, change: Callable[[Slo], Slo]) -> Slo | None:
    """Store what `change` makes of an SLO, and return it; None when there is none."""
    return await _changed(entries, definition.SPACE, slo_id, _slo, change)


async def changed_policy(
    entries: KeyValues, policy_id: str, change: Callable[[FreezePolicy], FreezePolicy]
) -> FreezePolicy | None:
    """Store what `change` makes of a policy, and return it; None when there is none."""
    return await _changed(entries, freezing.SPACE, policy_id, _policy, change)


async def budget_state(entries: KeyValues, slo_id: str) -> tuple[BudgetState | None, int]:
    """Return the newest budget of an SLO with its version; None where there is none that can be read."""
    entry = await entries.get(BUDGETS, slo_id)
    return (None, 0) if entry is None else (read_record(BudgetState, entry), entry.version)


async def budgets(entries: KeyValues) -> Sequence[ErrorBudget]:
    """Return the newest budgets of all SLOs, by SLO."""
    return [state.budget for state, _ in await budget_states(entries)]


async def budget_states(entries: KeyValues) -> Sequence[tuple[BudgetState, int]]:
    """Return the newest budgets of all SLOs with their versions, by SLO."""

    def read(entry: Entry) -> tuple[BudgetState, int] | None:
        state = _budget_state(entry.value)
        return None if state is None else (state, entry.version)

    return await every(entries, BUDGETS, MAX_SLOS, read)


async def put_budget(entries: KeyValues, state: BudgetState, version: int) -> int:
    """Store the newest budget in place of that of `version`, return its version; raise `Conflict`."""
    return (await entries.put(BUDGETS, state.budget.slo_id, encode(state), version=version)).version


async def add_point(entries: KeyValues, budget: ErrorBudget) -> None:
    """Add a calculation to the course of a budget; one that is there is not added again."""
    point = point_of(budget)

    def with_point(entry: Entry | None) -> tuple[bytes, None] | None:
        hour = (read_record(BudgetHour, entry) if entry else None) or BudgetHour()
        if any(one.at == point.at for one in hour.points):
            return None
        points = tuple(sorted((*hour.points, point), key=lambda one: one.at))[-POINTS:]
        return encode(BudgetHour(points=points)), None

    key, expires = hour_key(budget.slo_id, budget.calculated_at), budget.calculated_at + KEPT
    await changed_entry(entries, HISTORY, key, with_point, expires)


async def freeze(entries: KeyValues, policy_id: str, target: str) -> tuple[FreezeEvent | None, int]:
    """Return the newest freeze of a policy and target with its version; None where there is none."""
    entry = await entries.get(FREEZES, freeze_key(policy_id, target))
    return (None, 0) if entry is None else (read_record(FreezeEvent, entry), entry.version)


async def freezes(entries: KeyValues) -> Sequence[tuple[FreezeEvent, int]]:
    """Return the newest freeze of each policy and target with its version, those that have ended, too."""

    def read(entry: Entry) -> tuple[FreezeEvent, int] | None:
        event = _freeze(entry.value)
        return None if event is None else (event, entry.version)

    return await every(entries, FREEZES, MAX_FREEZES, read)


async def active_freezes(entries: KeyValues) -> Sequence[FreezeEvent]:
    """Return the freezes that last, the oldest first."""
    return sorted((one for one, _ in await freezes(entries) if one.active), key=lambda one: one.triggered_at)


async def put_freeze(entries: KeyValues, event: FreezeEvent, version: int) -> int:
    """Store the newest freeze of a policy and target in place of that of `version`; raise `Conflict`.

    The history has one that is `applied` before the record says so: whoever crashes in between does it again. One that
    is over is forgotten with its history, unless it is `quiet`.
    """
    if event.applied:
        await _remember(entries, event)
    key = freeze_key(event.policy_id, event.target)
    over = event.resolved_at if event.applied and not event.quiet else None
    expires = over + KEPT if over is not None else None
    stored = await entries.put(FREEZES, key, encode(event), version=version, expires_at=expires)
    if not event.applied:
        await _remember(entries, event)
    return stored.version


async def _remember(entries: KeyValues, event: FreezeEvent) -> None:
    """Put a freeze into the history, in place of what that had of it."""
    expires = event.resolved_at + KEPT if event.resolved_at else None
    with suppress(Conflict):  # others put the same there
        await changed_entry(entries, FREEZE_HISTORY, history_key(event), lambda _before: (encode(event), None), expires)


def read_record(model: type[R], entry: Entry) -> R | None:
    """Return the record of an entry, None when it cannot be read."""
    return _decoded(model, entry.value)


def written(one: Model) -> bytes:
    """Return an SLO or a policy as it is stored."""
    return one.model_dump_json().encode()


def point_of(budget: ErrorBudget) -> BudgetPoint:
    """Return a budget as a point of its course."""
    return BudgetPoint(
        at=budget.calculated_at,
        sli_value=budget.sli_value,
        remaining=budget.error_budget_remaining,
        consumed=budget.error_budget_consumed,
        status=budget.status,
        burn_rate=budget.burn_rates[0].rate if budget.burn_rates else None,
    )


def hour_key(slo_id: str, at: datetime) -> str:
    """Return the key of the hour of a moment in the course of a budget."""
    return f"{slo_id}/{format_time(at)[:13]}"


def freeze_key(policy_id: str, target: str) -> str:
    """Return the key of the newest freeze of a policy and target."""
    return f"{policy_id}/{target}"


def history_key(event: FreezeEvent) -> str:
    """Return the key of a freeze among all freezes: they are in the order of their beginnings."""
    return f"{format_time(event.triggered_at)}/{event.event_id}"


def below(key: str) -> str:
    """Return a text below a key, with nothing of our keys in between."""
    return key[:-1] + chr(ord(key[-1]) - 1) + "~"


def _place_of(one: Slo | FreezePolicy) -> tuple[str, str]:
    return (definition.SPACE, one.slo_id) if isinstance(one, Slo) else (freezing.SPACE, one.policy_id)


async def _changed(
    entries: KeyValues, space: str, key: str, read: Callable[[bytes], M | None], change: Callable[[M], M]
) -> M | None:
    def as_stored(entry: Entry | None) -> tuple[bytes, M] | None:
        known = None if entry is None else read(entry.value)
        return None if known is None else (written(new := change(known)), new)

    done = await changed_entry(entries, space, key, as_stored)
    return None if done is None else done[0]


@lru_cache(maxsize=2 * MAX_SLOS)  # all are read each few minutes, and seldom change
def _slo(value: bytes) -> Slo | None:
    return _parsed(Slo, value)


@lru_cache(maxsize=2 * MAX_POLICIES)
def _policy(value: bytes) -> FreezePolicy | None:
    return _parsed(FreezePolicy, value)


@lru_cache(maxsize=2 * MAX_SLOS)  # those who admit flows read all of them each few seconds
def _budget_state(value: bytes) -> BudgetState | None:
    return _decoded(BudgetState, value)


@lru_cache(maxsize=2 * MAX_POLICIES)
def _freeze(value: bytes) -> FreezeEvent | None:
    return _decoded(FreezeEvent, value)


def _decoded(model: type[R], value: bytes) -> R | None:
    try:
        return decode(model, value)
    except MsgspecError:
        return None


def _parsed(model: type[M], value: bytes) -> M | None:
    try:
        return model.model_validate_json(value)
    except ValidationError:
        return None

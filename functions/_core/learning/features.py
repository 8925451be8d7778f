"""What models look at: the features of a piece of work, numbers without gaps, the same in training and in use.

A feature is what was known when the work was planned: of the work itself, and of what tickets before it had shown
(`Profile`). Where nothing is known yet a feature has the value that its line says.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from functools import lru_cache
from math import cos, exp, log, pi, sin
from typing import NamedTuple

from functions._core.learning.groups import DAY_S, HALF_LIFE_S, HOUR_S, NOTHING, Group
from functions._core.learning.history import TicketRow
from functions._core.learning.predictions import PlannedWork
from functions._core.learning.profile import (
    SHRINK,
    Known,
    Profile,
    ProfileBuilder,
    drawn,
    key_of,
    names_of,
    real_rows,
)
from functions._core.records.values import Priority, RiskBand, SecurityLevel, TaskType

__all__ = ["FEATURES", "Features", "Profile", "features_of", "real_rows", "training_rows", "waits_ms"]

SUCCESS = 0.9
"""The part of tickets that is expected to be done where nothing is known."""

LATELY_S = 6 * HOUR_S
"""Seconds for which a wait says something about the next one."""

_TYPES = {member.value: float(place) for place, member in enumerate(TaskType)}
_RISKS = {member: float(place) for place, member in enumerate(RiskBand)}
_PRIORITIES = {member: float(place) for place, member in enumerate(Priority)}
_LEVELS = {member: float(place) for place, member in enumerate(SecurityLevel)}

P95 = 1.645
"""Standard deviations above the mean below which 95 % of normal values lie."""


class Features(NamedTuple):
    """The features, in the order of `FEATURES`. Times are logarithms of milliseconds, sizes logarithms of bytes."""

    task_type: float
    """The place of the task type among all types, from 0."""
    risk: float
    """0 low to 3 critical."""
    priority: float
    """0 LOW to 3 CRITICAL."""
    security: float
    """0 PUBLIC to 3 RESTRICTED."""
    dependencies: float
    """Tasks that it depends on."""
    depth: float
    """Its level in the plan."""
    fan_out: float
    """Tasks that depend on it."""
    parameters_size: float
    """The logarithm of one more than the bytes of its parameters."""
    capabilities: float
    """How many capabilities a worker has to offer."""
    estimate: float
    """The logarithm of what its plan expects, in milliseconds."""
    hour_sine: float
    """The hour at which it was planned, UTC, on a circle."""
    hour_cosine: float
    """The other coordinate of that."""
    weekday: float
    """0 Monday to 6 Sunday, UTC."""
    plan_size: float
    """The logarithm of one more than the tasks of its plan."""
    sla_tightness: float
    """The logarithm of how many times its estimate its flow has until its deadline."""
    queue_length: float
    """Tickets that waited for a worker on average within the last hour; 0 where none is known."""
    active_tickets: float
    """Tickets that workers had on average within the last hour; 0 where none is known."""
    healthy_workers: float
    """Workers whose work ended within the last hour before the last known ticket; 0 where none is known."""
    load: float
    """How many times as many tickets ended within the last hour as usual; 1 where nothing is known."""
    worker_success_rate: float
    """The part of its worker's tickets that was done, of all tickets without a worker; 0.9 where nothing is known."""
    worker_duration: float
    """The mean time of its worker's tickets, of all without a worker; the estimate where nothing is known."""
    worker_ratio: float
    """By what its worker takes longer than others for the same kind of work, a logarithm; 0 where nothing is known."""
    type_mean: float
    """The mean time of tickets of its type; the estimate where nothing is known."""
    type_p95: float
    """The time that 95 % of the tickets of its type take at most; the estimate where nothing is known."""
    type_spread: float
    """The standard deviation of the logarithm of the times of its type; 0 where nothing is known."""
    retries_mean: float
    """How often tickets of its type are tried again on average; 0 where nothing is known."""
    failures_24h: float
    """How often work of its type failed within about a day, the logarithm of one more; 0 where nothing is known."""
    type_ratio: float
    """The logarithm of how many times its estimate work of its type takes; 0 where nothing is known."""
    capability_ratio: float
    """The same of its type with the same capabilities; that of the type where nothing is known."""
    kind_ratio: float
    """The same of its task in flows before; that of its capabilities where nothing is known."""
    kind_spread: float
    """The standard deviation of that; that of the type where nothing is known."""
    kind_known: float
    """The logarithm of one more than the tickets of its task that were done before."""
    domain_ratio: float
    """The logarithm of how many times its estimate work of its domain takes; 0 where nothing is known."""
    hour_ratio: float
    """By what work takes longer that begins at this hour, a logarithm; 0 where nothing is known."""
    trail: float
    """The part of tickets of its domain that was done, by about how many there were; 0.9 where nothing is known."""


FEATURES: tuple[str, ...] = Features._fields
"""The names of the features, in their order."""


def features_of(work: PlannedWork, profile: Known, worker_id: str | None) -> tuple[float, ...]:
    """Return the features of work, by a worker or by whoever gets it; all are finite."""
    at, estimate = work.at.astimezone(UTC), log(max(1, work.estimate_ms))
    kind_name, set_name = names_of(work)
    of_type, of_kind = profile.types.get(work.task_type, NOTHING), profile.kinds.get(kind_name, NOTHING)
    of_domain = profile.domains.get(key_of(work.domain or ""), NOTHING)
    worker = profile.everything if worker_id is None else profile.workers.get(key_of(worker_id), NOTHING)
    ratio = drawn(profile.everything, 0.0)
    type_ratio = drawn(of_type, ratio)
    set_ratio = drawn(profile.capability_sets.get(set_name, NOTHING), type_ratio)
    mean = of_type.log_ms if of_type.done else estimate
    queue, active, load = _recent(profile, at.timestamp())
    sine, cosine = _circle(at.hour)
    return Features(
        task_type=_TYPES.get(work.task_type, -1.0),
        risk=_RISKS[work.risk_band],
        priority=_PRIORITIES[work.priority],
        security=_LEVELS[work.security_level],
        dependencies=float(work.fan_in),
        depth=float(work.level),
        fan_out=float(work.fan_out),
        parameters_size=log(1 + max(0, work.parameters_bytes)),
        capabilities=float(len(work.capabilities)),
        estimate=estimate,
        hour_sine=sine,
        hour_cosine=cosine,
        weekday=float(at.weekday()),
        plan_size=log(1 + max(0, work.plan_tasks)),
        sla_tightness=log(max(1, work.sla_ms)) - estimate,
        queue_length=queue,
        active_tickets=active,
        healthy_workers=float(profile.present),
        load=load,
        worker_success_rate=_success(worker),
        worker_duration=worker.log_ms if worker.done else estimate,
        worker_ratio=0.0 if worker_id is None else drawn(worker, 0.0),
        type_mean=mean,
        type_p95=mean + P95 * of_type.time_spread,
        type_spread=of_type.time_spread,
        retries_mean=of_type.retries / of_type.ended if of_type.ended else 0.0,
        failures_24h=log(1 + of_type.failures * exp(-max(0.0, at.timestamp() - of_type.at) / DAY_S)),
        type_ratio=type_ratio,
        capability_ratio=set_ratio,
        kind_ratio=drawn(of_kind, set_ratio),
        kind_spread=(of_kind.done * of_kind.spread + SHRINK * of_type.spread) / (of_kind.done + SHRINK),
        kind_known=log(1 + of_kind.done),
        domain_ratio=drawn(of_domain, ratio),
        hour_ratio=drawn(profile.hours.get(str(at.hour), NOTHING), 0.0),
        trail=_success(of_domain),
    )


def training_rows(
    rows: Iterable[TicketRow], profile: Profile | None = None, *, with_worker: bool = True
) -> Iterator[tuple[TicketRow, tuple[float, ...]]]:
    """Yield each ticket that was done with its features as they were known when it was planned, in that order.

    What ended at that moment or later is not known then; all that ended earlier is, however it ended. `profile` is
    what was known before the first of them. `with_worker` false gives the features before anybody had it.
    """
    builder = ProfileBuilder(profile)
    ended: list[tuple[float, int, TicketRow]] = []
    for number, row in enumerate(sorted(rows, key=lambda row: (row.created_at, row.ticket_id))):
        planned = row.created_at.timestamp()
        while ended and ended[0][0] < planned:
            builder.add(heapq.heappop(ended)[2])
        if row.actual_ms is not None:
            yield row, features_of(row.work, builder, row.worker_id if with_worker else None)
        heapq.heappush(ended, (row.completed_at.timestamp(), number, row))


def waits_ms(profile: Profile) -> Mapping[str, int]:
    """Return how long tickets waited lately for a worker, half of them at most, by capability; `` for all of them.

    A capability that no ticket has asked for within `LATELY_S` before the last known ticket is not there.
    """
    since = profile.recent.at - LATELY_S
    return {name: waits.median_ms for name, waits in profile.waits.items() if waits.at >= since}


@lru_cache(maxsize=24)
def _circle(hour: int) -> tuple[float, float]:
    return sin(2 * pi * hour / 24), cos(2 * pi * hour / 24)


def _success(group: Group) -> float:
    return (group.done + SHRINK * SUCCESS) / (group.ended + SHRINK)


def _recent(profile: Known, moment: float) -> tuple[float, float, float]:
    """Return the length of the line and the tickets at work, on average of the last hour, and how busy that was."""
    recent, since = profile.recent, profile.since
    if since is None:
        return 0.0, 0.0, 1.0
    known_s = max(1.0, recent.at - since.timestamp())
    seen_s = HOUR_S * (1 - exp(-max(60.0, known_s) / HOUR_S))
    kept = exp(-max(0.0, moment - recent.at) / HOUR_S)
    life_s = HALF_LIFE_S / log(2)
    usual = profile.everything.ended / (life_s * (1 - exp(-max(60.0, known_s) / life_s)))
    load = recent.ended * kept / seen_s / usual if usual > 0 else 1.0
    return recent.waited_ms * kept / seen_s / 1000, recent.worked_ms * kept / seen_s / 1000, load

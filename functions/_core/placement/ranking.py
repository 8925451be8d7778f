"""Which worker should do a ticket: capability and clearance first, then score, then load.

    score = 0.4 health + 0.3 pheromone + 0.3 telemetry        each part 0..1, unknown counts as 0.5

Workers are compared by their standing: the score with `Trail.trust` in place of the pheromone, so that a worker is set
back by its failures, never by work that it was not given. Those within `NEAR` of the best are equals; among equals the
one with the smallest share of its slots taken goes first. Every worker that is left out is named with the reason.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from zlib import crc32

from functions._core.placement.foreseen import LateWith, nobody_late
from functions._core.placement.pheromones import NO_TRAILS, Trail, Trails
from functions._core.records.models import Ticket
from functions._core.records.values import Health, SecurityLevel
from functions._core.records.worker import OWN_ANALYST, OWN_WORKER, TAKE_TICKETS, Candidate, Refusal, Worker
from functions._core.rules import CANDIDATES_PER_TICKET, Rules

NEAR = 0.03
"""Standings that differ by no more than this are equal: the figures behind them are not more exact."""

AS_GOOD = 0.15
"""Standings that differ by no more than this are those of workers that can be relied on alike: among them, one that
will be late by its prediction comes after one that will not. A model never prefers a worker that fails, or is silent.
"""

UNKNOWN = 0.5
"""The score of a part that is not known: neither praise nor blame."""

LOW_SUCCESS, ENOUGH_EXECUTIONS = 0.7, 10
"""A worker is DEGRADED with a lower success rate than the first, over at least as many executions as the second."""

HEALTH_SCORES: Mapping[Health, float] = {Health.HEALTHY: 1.0, Health.DEGRADED: 0.5, Health.UNHEALTHY: 0.0}
"""The score of a worker's health; an UNHEALTHY worker is left out anyway."""


Breaker = Literal["closed", "open", "half_open"]
"""The state of a circuit breaker: all attempts pass, none, or one at a time."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best candidates for a ticket, the best first, and the workers left out.

    `capable` tells whether any living worker offers all that the ticket requires, with a free slot or without.
    `doubted` are those of them whose circuit breaker lets nothing through now.
    """

    candidates: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...]
    capable: bool
    doubted: tuple[Worker, ...] = ()


def health_of(worker: Worker, now: datetime, rules: Rules) -> Health:
    """Return a worker's health: by its silence, its own word in its last heartbeat, and how often its tasks succeed.

    One that was UNHEALTHY stays so until it has sent the HEALTHY heartbeats that it owes.
    """
    silence = timedelta() if worker.worker_id == OWN_WORKER else now - worker.last_seen
    if silence >= rules.unhealthy or worker.reported is Health.UNHEALTHY or worker.beats_owed:
        return Health.UNHEALTHY
    if silence >= rules.degraded or _fails_often(worker):
        return Health.DEGRADED
    return worker.reported


def _fails_often(worker: Worker) -> bool:
    rate, executions = worker.telemetry.success_rate, worker.telemetry.total_executions
    return rate is not None and rate < LOW_SUCCESS and (executions or 0) >= ENOUGH_EXECUTIONS


def rank(
    ticket: Ticket,
    workers: Sequence[Worker],
    active: Mapping[str, int],
    now: datetime,
    rules: Rules,
    trails: Trails = NO_TRAILS,
    late_with: LateWith = nobody_late,
) -> Ranking:
    """Rank `workers` for `ticket`; `active` is how many tickets each holds, by worker id, `trails` those of its domain.

    Workers that had the ticket before come last. Where nothing tells workers apart, each ticket has an order of its
    own: a fleet shares the work, not its first few. Those that are `late_with` it come after others that are as good.
    """

    def salt(worker_id: str) -> tuple[bool, int]:
        return worker_id in ticket.excluded_workers, crc32(f"{ticket.ticket_id}/{worker_id}".encode())

    def declined(worker: Worker) -> bool:
        return ticket.refused_by.get(worker.worker_id) == worker.registration

    required, level = ticket.required_capabilities, ticket.security_level
    return rank_for(
        required, workers, active, now, rules, salt, level=level, declined=declined, trails=trails, late_with=late_with
    )


def rank_for(  # noqa: PLR0913 the requirement, the workers, and the order of equals
    required: Collection[str],
    workers: Sequence[Worker],
    active: Mapping[str, int],
    now: datetime,
    rules: Rules,
    salt: Callable[[str], tuple[bool, int]] = lambda _worker_id: (False, 0),
    *,
    level: SecurityLevel = SecurityLevel.INTERNAL,
    declined: Callable[[Worker], bool] = lambda _worker: False,
    trails: Trails = NO_TRAILS,
    late_with: LateWith = nobody_late,
) -> Ranking:
    """Rank the `workers` that offer all of `required` and are cleared for `level`.

    `salt` may set some back, and decides between equals. Those that have `declined` are left out. `trails` are those of
    the domain of the work. Those that are `late_with` it come after others that are `AS_GOOD`; nobody is left out.
    """
    candidates: list[tuple[Candidate, float]] = []
    refusals: list[Refusal] = []
    doubted: list[Worker] = []
    capable = False
    for worker in workers:
        if worker.worker_id == OWN_ANALYST:
            continue
        refusal = _refusal(required, level, worker, now, rules)
        if refusal is None and declined(worker):
            refusal = "has refused this ticket, and is asked again only when it registers again"
        if refusal is None:
            capable = True
            held = active.get(worker.worker_id, 0)
            if nothing_until(worker, now) is not None:
                doubted.append(worker)
            refusal = _occupied(worker, held, now)
            if refusal is None:
                known = trails.get(worker.worker_id)
                trail = known.at(now) if known is not None else None
                candidate = candidate_of(worker, held, now, rules, trail)
                candidates.append((candidate, _standing(candidate, trail)))
                continue
        refusals.append(Refusal(worker_id=worker.worker_id, reason=refusal))
    return Ranking(_in_order(candidates, salt, late_with), tuple(refusals), capable, tuple(doubted))


def choose(candidates: Sequence[Candidate], taken: Mapping[str, int]) -> Candidate | None:
    """Return the first candidate with a free slot, `taken` being the tickets given out since the ranking."""
    for candidate in candidates:
        if taken.get(candidate.worker_id, candidate.active) < candidate.slots:
            return candidate
    return None


def not_cleared(worker: Worker, level: SecurityLevel) -> str | None:
    """Return why a worker must not get a ticket of this security level; None when it may."""
    return None if worker.clearance.covers(level) else f"is cleared for {worker.clearance}, the ticket is {level}"


def _refusal(
    required: Collection[str], level: SecurityLevel, worker: Worker, now: datetime, rules: Rules
) -> str | None:
    if not worker.takes_tickets:
        return takes_none(worker)
    missing = [capability for capability in required if capability not in worker.capabilities]
    if missing:
        return f"does not offer {', '.join(missing)}"
    if worker.worker_id == OWN_WORKER and not required:
        return "does only tickets that name an executor"
    uncleared = not_cleared(worker, level)
    if uncleared is not None:
        return uncleared
    if health_of(worker, now, rules) is Health.UNHEALTHY:
        return unhealthy(worker, now, rules)
    return None


def takes_none(worker: Worker) -> str:
    """Return why an agent gets no tickets at all."""
    if worker.agent_type not in TAKE_TICKETS:
        return f"is of type {worker.agent_type}: only agents of the types WORKER and FORGE get tickets"
    return "is draining: it finishes its tickets and gets no new ones"


def unhealthy(worker: Worker, now: datetime, rules: Rules) -> str:
    """Return why a worker is UNHEALTHY."""
    silence = now - worker.last_seen
    if silence >= rules.unhealthy:
        return f"unhealthy: silent for {silence.total_seconds():.0f} s"
    if worker.reported is Health.UNHEALTHY:
        return "unhealthy: its last heartbeat says so"
    return f"unhealthy: was lost, and has to send {worker.beats_owed} more HEALTHY heartbeats"


def _occupied(worker: Worker, held: int, now: datetime) -> str | None:
    """Return why a capable worker cannot take a ticket right now."""
    if worker.suspended_until is not None and now < worker.suspended_until:
        left = (worker.suspended_until - now).total_seconds()
        return f"its circuit breaker is open for another {left:.0f} s, after {worker.failures} failures in a row"
    if on_trial(worker, now):
        return f"its circuit breaker is half-open: one attempt at a time, now {worker.trial}"
    return f"all {worker.slots} slots are taken" if held >= worker.slots else None


def nothing_until(worker: Worker, now: datetime) -> datetime | None:
    """Return until when, at most, the worker's circuit breaker lets nothing through; None when it lets something."""
    if on_trial(worker, now):
        return worker.trial_until
    return None if worker.suspended_until is None or half_open(worker, now) else worker.suspended_until


def breaker_of(worker: Worker, now: datetime) -> Breaker:
    """Return the state of the worker's circuit breaker."""
    if worker.suspended_until is None:
        return "closed"
    return "half_open" if half_open(worker, now) else "open"


def half_open(worker: Worker, now: datetime) -> bool:
    """Whether the worker's circuit breaker lets one attempt at a time through: its pause is over, but not the doubt."""
    return worker.suspended_until is not None and now >= worker.suspended_until


def on_trial(worker: Worker, now: datetime) -> bool:
    """Whether the one attempt that a half-open circuit breaker lets through is under way."""
    trial_until = worker.trial_until
    return half_open(worker, now) and worker.trial is not None and trial_until is not None and now < trial_until


def free_slots(worker: Worker, held: int, now: datetime) -> int:
    """Return how many waiting tickets may be offered to a worker that has `held`; one, where it is on trial."""
    free = worker.slots - held
    if free <= 0 or not worker.takes_tickets or worker.announced is Health.UNHEALTHY or nothing_until(worker, now):
        return 0
    return 1 if half_open(worker, now) else free


def candidate_of(worker: Worker, held: int, now: datetime, rules: Rules, trail: Trail | None) -> Candidate:
    """Return a worker with the parts of its score; `trail` is its own in the domain of the work."""
    health = HEALTH_SCORES[health_of(worker, now, rules)]
    known = worker.telemetry.success_rate
    telemetry = UNKNOWN if known is None else min(1.0, max(0.0, known))
    pheromone = trail.at(now).score if trail is not None else UNKNOWN
    return Candidate(
        worker_id=worker.worker_id,
        score=composite(health, pheromone, telemetry),
        health_score=health,
        pheromone_score=round(pheromone, 6),
        telemetry_score=telemetry,
        active=held,
        slots=held + 1 if half_open(worker, now) else worker.slots,
        delivery=worker.delivery,
    )


def _standing(candidate: Candidate, trail: Trail | None) -> float:
    """Return the score of a candidate with the trust of its trail, as it counts now, in place of its pheromone."""
    trust = trail.trust if trail is not None else 1.0
    return composite(candidate.health_score, trust, candidate.telemetry_score)


def composite(health: float, pheromone: float, telemetry: float) -> float:
    """Return the weighted sum of the parts of a score, each 0 to 1."""
    return round(0.4 * health + 0.3 * pheromone + 0.3 * telemetry, 6)


def _in_order(
    candidates: Sequence[tuple[Candidate, float]], salt: Callable[[str], tuple[bool, int]], late_with: LateWith
) -> tuple[Candidate, ...]:
    """Sort: those not set back, then near equals of the best by load, then by standing; the last say has the score.

    Among those that are about as good as the best, those that will be late come last.
    """
    if not candidates:
        return ()
    best = max(standing for _, standing in candidates)

    def key(ranked: tuple[Candidate, float]) -> tuple[bool, bool, bool, bool, float, float, int, float, str]:
        candidate, standing = ranked
        near = standing >= best - NEAR
        load = candidate.active / candidate.slots
        set_back, tie = salt(candidate.worker_id)
        first, second = (load, -standing) if near else (-standing, load)
        good = standing >= best - AS_GOOD
        late = good and late_with(candidate.worker_id)
        return set_back, not good, late, not near, first, second, tie, -candidate.score, candidate.worker_id

    return tuple(candidate for candidate, _ in sorted(candidates, key=key)[:CANDIDATES_PER_TICKET])

"""What made a spell of a flow longer than usual, in parts that add up to what it was longer. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from functions._core.insights.flow_time import Spell, SpellKind
from functions._core.insights.usual_times import ENOUGH, EarlierTimes, UsualTimes, sureness
from functions._core.learning.history import TicketRow
from functions._core.learning.rows import kind_of, parameters_bytes
from functions._core.learning.series import median
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus, parse_time

MUCH = 1.2
"""From this factor on, other workers, other hours and other inputs count as different."""

LARGER = 1.5
"""From this factor on, inputs count as larger."""

LEAST_BYTES = 100
"""Bytes more that inputs must have to count as larger: names and dates differ by some."""

FEW = 3
"""Tickets of one worker from which on it is known how fast it is."""

MEASURED = 0.95
"""How sure is what records say themselves, without a comparison."""

DOUBTFUL = 0.5
"""What the sureness is multiplied with where something is assumed."""


class CauseKind(StrEnum):
    """What kind of cause it is."""

    FAILURE = "failure"
    """A task failed for good, so that the flow did."""
    RETRIES = "retries"
    """Attempts came to nothing and were repeated."""
    WORK = "work"
    """A kind of work took longer than before."""
    WORKER = "worker"
    """The worker that had it is slower than the others, or had never done it."""
    REGISTERED = "registered"
    """Its worker has registered anew since then: another version of it, perhaps."""
    INPUTS = "inputs"
    """Its parameters were larger."""
    WAITING = "waiting"
    """A worker was waited for: there was more to do."""
    GONE = "gone"
    """A worker was waited for: workers that did this before are not there any more."""
    PLAN = "plan"
    """The plan has tasks that earlier flows did not have."""
    PEOPLE = "people"
    """A person was waited for."""
    HELD = "held"
    """A freeze or a quarantine held it back."""
    PLANNING = "planning"
    """Its tickets were made later than usual: it was held by a policy or by a limit, or a step was late."""
    HOUR = "hour"
    """It is always slower at this hour of the day."""
    ESTIMATES = "estimates"
    """The plan expected less than the work takes."""
    NEVER_FIT = "never_fit"
    """Such flows take longer than its deadline allows."""


class Part(NamedTuple):
    """Some of the time that a spell took longer."""

    kind: CauseKind
    subject: str
    """What it is about: a type of task, a worker, a capability, the id of a task."""
    ms: int
    """How much of it, above 0."""
    spell: Spell
    before: float = 0
    """What it was before, in the unit that the kind has: milliseconds, bytes."""
    now: float = 0
    """What it is now."""
    samples: int = 0
    """On how many earlier tickets `before` stands."""
    sure: float = MEASURED
    """How sure, 0 to 1."""
    known: bool = True
    """Of a worker: whether it has done such work before."""


class Fleet(NamedTuple):
    """The workers that are registered now."""

    registrations: Mapping[str, str]
    """The name of the present registration by worker id; its first part is its time."""

    def registered_at(self, worker_id: str | None) -> datetime | None:
        """Return when a worker registered for the last time, None where that is not known."""
        name = self.registrations.get(worker_id or "", "")
        found = parse_time(name.partition("/")[0]) if name else None
        return found if isinstance(found, datetime) and found.tzinfo else None


def usual_ms(spell: Spell, usual: UsualTimes) -> int:
    """Return how long a spell usually is, in milliseconds; of one that goes on, or failed, at most what it took."""
    ticket = spell.ticket
    if spell.kind is SpellKind.PLANNED:
        return spell.ms
    if spell.kind is SpellKind.PLANNING:
        return usual.planning_ms
    if ticket is None or spell.kind not in {SpellKind.WAITING, SpellKind.WORKING} or not usual.knows(ticket):
        return 0
    if spell.kind is SpellKind.WAITING:
        expected = usual.wait(ticket).median
    else:
        sample = usual.work(ticket)
        expected = sample.median if sample.values else ticket.estimated_duration_ms
    return expected if ticket.status is TicketStatus.COMPLETED else min(expected, spell.ms)


def parts_of(spell: Spell, usual: UsualTimes, fleet: Fleet | None) -> Iterator[Part]:
    """Yield the parts of what a spell took longer than usual; together they are just that."""
    over = spell.ms - usual_ms(spell, usual)
    if over <= 0:
        return
    ticket = spell.ticket
    match spell.kind:
        case SpellKind.PEOPLE:
            yield Part(CauseKind.PEOPLE, kind_of(ticket) if ticket else "", over, spell)
        case SpellKind.PLANNING:
            number, sure = len(usual.planning), sureness(usual.planning, spell.ms)
            yield Part(CauseKind.PLANNING, "", over, spell, usual.planning_ms, spell.ms, number, sure)
        case SpellKind.HELD if ticket:
            yield Part(CauseKind.HELD, kind_of(ticket), over, spell)
        case SpellKind.RETRYING if ticket:
            retried = [row.retries for row in usual.like(ticket)]
            mean = sum(retried) / len(retried) if retried else 0.0
            sure = MEASURED if mean < ticket.retry_count or not retried else DOUBTFUL
            yield Part(CauseKind.RETRIES, kind_of(ticket), over, spell, mean, _tries(ticket), len(retried), sure)
        case SpellKind.WAITING | SpellKind.WORKING if ticket and not usual.knows(ticket):
            yield Part(CauseKind.PLAN, "", over, spell, 0, spell.ms, len(usual.flows))
        case SpellKind.WAITING if ticket:
            yield from _waiting(spell, ticket, over, usual, fleet)
        case SpellKind.WORKING if ticket:
            yield from _working(spell, ticket, over, usual.work(ticket), fleet)


def _tries(ticket: Ticket) -> int:
    """Return how often a ticket was tried again: after failures, or given to another worker."""
    return max(ticket.retry_count, ticket.attempt - 1)


def _waiting(spell: Spell, ticket: Ticket, over: int, usual: UsualTimes, fleet: Fleet | None) -> Iterator[Part]:
    sample = usual.wait(ticket)
    subject = ", ".join(sorted(ticket.required_capabilities)) or "any worker"
    known = usual.workers(ticket)
    gone = [] if fleet is None else [one for one in known if one not in fleet.registrations]
    by_hour, hour = _of_hour(sample, spell, over)
    if hour:
        yield hour
    rest = over - by_hour
    if rest <= 0:
        return
    sure, number = sample.sure(spell.ms), len(sample.values)
    if gone:
        left = len(known) - len(gone)
        yield Part(CauseKind.GONE, subject, rest, spell, len(known), left, number, sure * len(gone) / len(known))
    else:
        yield Part(CauseKind.WAITING, subject, rest, spell, sample.median, spell.ms, number, sure)


def _working(spell: Spell, ticket: Ticket, over: int, sample: EarlierTimes, fleet: Fleet | None) -> Iterator[Part]:
    """Yield what is known of larger inputs, of the worker, of the hour; the rest is the work itself."""
    if not sample.values:
        expected = ticket.estimated_duration_ms
        yield Part(CauseKind.ESTIMATES, ticket.task_type.value, over, spell, expected, spell.ms, 0, MEASURED)
        return
    rest = over
    for found in (
        _of_inputs(sample, spell, ticket, rest),
        _of_registration(sample, spell, ticket, fleet),
        _of_worker(sample, spell, ticket),
    ):
        if found is not None and rest > 0:
            yield found._replace(ms=min(found.ms, rest))
            rest -= min(found.ms, rest)
    by_hour, hour = _of_hour(sample, spell, rest)
    if hour:
        yield hour
    if (rest := rest - by_hour) > 0:
        before, number = sample.median, len(sample.values)
        yield Part(CauseKind.WORK, ticket.task_type.value, rest, spell, before, spell.ms, number, sample.sure(spell.ms))


def _of_inputs(sample: EarlierTimes, spell: Spell, ticket: Ticket, over: int) -> Part | None:
    """Return the part of larger inputs: as earlier work grew with its size, else as if it grew in proportion."""
    sizes = [row.parameters_bytes for row in sample.rows]
    usual, now = round(median(sizes)), parameters_bytes(ticket)
    if now < LARGER * usual or now - usual < LEAST_BYTES:
        return None
    slope = _slope(sizes, sample.values)
    sure = sample.sure(spell.ms)
    if slope is None:
        grown, sure = sample.median * (now / max(1, usual) - 1), sure * DOUBTFUL
    else:
        grown = slope * (now - usual)
    ms = min(over, round(grown))
    if ms <= 0:
        return None
    return Part(CauseKind.INPUTS, ticket.task_type.value, ms, spell, usual, now, len(sizes), sure)


def _of_registration(sample: EarlierTimes, spell: Spell, ticket: Ticket, fleet: Fleet | None) -> Part | None:
    """Return the part of a worker that has registered anew after all such work that it did before."""
    at = fleet.registered_at(ticket.worker_id) if fleet else None
    own = sample.only(lambda row: row.worker_id == ticket.worker_id)
    if at is None or len(own.values) < FEW or at > spell.until or any(row.completed_at >= at for row in own.rows):
        return None
    ms = max(0, spell.ms - own.median)
    subject, number = ticket.worker_id or "", len(own.values)
    return Part(CauseKind.REGISTERED, subject, ms, spell, own.median, spell.ms, number, own.sure(spell.ms) * DOUBTFUL)


def _of_worker(sample: EarlierTimes, spell: Spell, ticket: Ticket) -> Part | None:
    """Return the part of a worker that is slower than the others, or has never done such work before."""
    own = sample.only(lambda row: row.worker_id == ticket.worker_id)
    others = sample.only(lambda row: row.worker_id != ticket.worker_id)
    if ticket.worker_id is None or len(others.values) < ENOUGH:
        return None
    if not own.values:
        if 2 * len({row.worker_id for row in others.rows}) > len(others.rows):
            return None  # workers come and go under names that are always new
        ms, sure, number = spell.ms - sample.median, others.sure(spell.ms) * DOUBTFUL, len(others.values)
        return Part(CauseKind.WORKER, "", ms, spell, others.median, spell.ms, number, sure, known=False)
    if len(own.values) < FEW or own.median < MUCH * others.median:
        return None
    ms = own.median - sample.median
    if ms <= 0:
        return None
    sure = others.sure(own.median)
    return Part(CauseKind.WORKER, ticket.worker_id, ms, spell, others.median, own.median, len(own.values), sure)


def _of_hour(sample: EarlierTimes, spell: Spell, over: int) -> tuple[int, Part | None]:
    """Return how many milliseconds the hour of the day explains, and the part."""
    hour = spell.since.hour
    near = sample.only(lambda row: (row.completed_at.hour - hour) % 24 in {0, 1, 23})
    apart = sample.only(lambda row: (row.completed_at.hour - hour) % 24 not in {0, 1, 23})
    if len(near.values) < ENOUGH or len(apart.values) < ENOUGH or near.median < MUCH * max(1, apart.median):
        return 0, None
    ms = min(over, near.median - sample.median)
    if ms <= 0:
        return 0, None
    number, sure = len(near.values), apart.sure(near.median)
    return ms, Part(CauseKind.HOUR, f"{hour:02}:00 UTC", ms, spell, apart.median, near.median, number, sure)


def _slope(sizes: Sequence[int], values: Sequence[int]) -> float | None:
    """Return the milliseconds for each byte by least squares; None where sizes hardly differ, or are few."""
    if len(sizes) < ENOUGH or max(sizes) < MUCH * max(1, min(sizes)):
        return None
    mean_size, mean_value = sum(sizes) / len(sizes), sum(values) / len(values)
    spread = sum((size - mean_size) ** 2 for size in sizes)
    together = sum((size - mean_size) * (value - mean_value) for size, value in zip(sizes, values, strict=True))
    return together / spread


def failed_before(rows: Sequence[TicketRow]) -> int:
    """Return how many of earlier tickets failed."""
    return sum(row.status is TicketStatus.FAILED for row in rows)

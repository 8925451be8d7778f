"""Causes as people read them: parts of one cause put together, with a sentence and its evidence. Pure."""

from collections.abc import Callable, Mapping, Sequence

from functions._core.explain.spans import counted, span_of_ms
from functions._core.explain.wording import listed, plain
from functions._core.insights.causes import CauseKind, Part
from functions._core.insights.usual_times import UsualTimes
from functions._core.learning.rows import kind_of
from functions._core.records.models import Ticket
from functions._core.records.record import Record

NAMED = 5
"""Tickets that a cause names."""


class Evidence(Record):
    """A figure on which a cause stands, before and now."""

    name: str
    """What it is: `duration`, `wait`, `retries`, `parameters`, `workers`, `tasks`, `failures`, `critical_path`."""
    unit: str
    """Its unit: `ms`, `bytes`, `count`, `share`."""
    before: float
    """What it was: the median of earlier flows, or what was expected."""
    now: float
    """What it is in this flow."""
    samples: int
    """On how many earlier tickets or flows `before` stands; 0: on the plan alone."""


class DelayCause(Record):
    """A likely cause."""

    kind: CauseKind
    """What kind of cause it is."""
    subject: str
    """What it is about: a type of task, a worker, a capability, a task, an hour; empty for the flow, or for several."""
    text: str
    """The cause as a sentence."""
    explained_ms: int
    """How many milliseconds of the delay it explains; 0 for a failure, which costs more than time."""
    sure: float
    """How sure it is, 0 to 1: 0.95 for what records say themselves, less for what a comparison with few flows says."""
    evidence: tuple[Evidence, ...]
    """The figures on which it stands."""
    ticket_ids: tuple[str, ...] = ()
    """Tickets that it is about, at most five."""
    worker_id: str | None = None
    """The worker that it is about."""


def cause_of(parts: Sequence[Part], usual: UsualTimes) -> DelayCause:
    """Return the cause that parts of the same kind and subject make; the part that explains most speaks for them."""
    most = max(parts, key=lambda part: part.ms)
    ms = sum(part.ms for part in parts)
    weight = sum(part.sure * part.ms for part in parts)
    sure = weight / ms if ms else most.sure
    tickets = [part.spell.ticket for part in parts if part.spell.ticket is not None]
    workers = {ticket.worker_id for ticket in tickets}
    worker = next(iter(workers)) if len(workers) == 1 else None
    name, unit = EVIDENCE[most.kind]
    evidence = [
        Evidence(name=name, unit=unit, before=round(most.before, 2), now=round(most.now, 2), samples=most.samples)
    ]
    if most.kind is CauseKind.PLAN:
        evidence += _of_plan(usual, len({ticket.ticket_id for ticket in tickets}))
    return DelayCause(
        kind=most.kind,
        subject=most.subject or (worker or "" if most.kind is CauseKind.WORKER else ""),
        text=TEXTS[most.kind](most, parts),
        explained_ms=ms,
        sure=round(sure, 2),
        evidence=tuple(evidence),
        ticket_ids=tuple(dict.fromkeys(ticket.ticket_id for ticket in tickets))[:NAMED],
        worker_id=worker,
    )


def _of_plan(usual: UsualTimes, added: int) -> list[Evidence]:
    before = max((row.tickets for row in usual.flows), default=0)
    return [Evidence(name="tasks", unit="count", before=before, now=before + added, samples=len(usual.flows))]


EVIDENCE: Mapping[CauseKind, tuple[str, str]] = {
    CauseKind.FAILURE: ("failures", "share"),
    CauseKind.RETRIES: ("retries", "count"),
    CauseKind.WORK: ("duration", "ms"),
    CauseKind.WORKER: ("duration", "ms"),
    CauseKind.REGISTERED: ("duration", "ms"),
    CauseKind.INPUTS: ("parameters", "bytes"),
    CauseKind.WAITING: ("wait", "ms"),
    CauseKind.GONE: ("workers", "count"),
    CauseKind.PLAN: ("duration", "ms"),
    CauseKind.PEOPLE: ("wait", "ms"),
    CauseKind.HELD: ("wait", "ms"),
    CauseKind.PLANNING: ("planning", "ms"),
    CauseKind.HOUR: ("duration", "ms"),
    CauseKind.ESTIMATES: ("duration", "ms"),
    CauseKind.NEVER_FIT: ("duration", "ms"),
}
"""The figure of each kind of cause, and its unit."""


def _task(part: Part) -> str:
    ticket = part.spell.ticket
    return f"task {plain(kind_of(ticket))}" if ticket else "the flow"


def _worker(ticket: Ticket | None) -> str:
    return f" at worker {plain(ticket.worker_id)}" if ticket and ticket.worker_id else ""


def _others(parts: Sequence[Part]) -> str:
    number = len({part.spell.ticket.ticket_id for part in parts if part.spell.ticket}) - 1
    return f", and so it was with {counted(number, 'other ticket')}" if number > 0 else ""


def _retries(part: Part, parts: Sequence[Part]) -> str:
    ticket = part.spell.ticket
    reason = f", for {plain(ticket.reason.code)}" if ticket and ticket.reason else ""
    times = counted(round(part.now), "time")
    text = f"{_task(part).capitalize()} was tried again {times}{reason}; before {part.before:.1f} times on average"
    return f"{text}{_others(parts)}."


def _work(part: Part, parts: Sequence[Part]) -> str:
    tasks, worker = f"{_task(part)} ({part.subject})", _worker(part.spell.ticket)
    usually = f"{span_of_ms(part.before)} in {counted(part.samples, 'earlier ticket')}"
    return f"Work took longer: {tasks} took {span_of_ms(part.now)}{worker}, before {usually}{_others(parts)}."


def _of_worker(part: Part, parts: Sequence[Part]) -> str:
    usually = f"the others {span_of_ms(part.before)}"
    takes = "takes" if part.known else "had not done such work before and took"
    ticket = part.spell.ticket
    name = plain(part.subject or (ticket.worker_id if ticket else None) or "")
    return f"Worker {name} {takes} {span_of_ms(part.now)} for {_task(part)}, {usually}{_others(parts)}."


def _registered(part: Part, parts: Sequence[Part]) -> str:
    before = f"it took {span_of_ms(part.before)} in {counted(part.samples, 'ticket')}, then {span_of_ms(part.now)}"
    return f"Worker {plain(part.subject)} has registered anew: before that {before} for {_task(part)}{_others(parts)}."


def _inputs(part: Part, parts: Sequence[Part]) -> str:
    sizes = f"{counted(round(part.now), 'byte')} of parameters, before {counted(round(part.before), 'byte')}"
    return f"Inputs were larger: {_task(part)} had {sizes}{_others(parts)}."


def _waiting(part: Part, parts: Sequence[Part]) -> str:
    wait = f"{_task(part)} waited {span_of_ms(part.now)} for a worker ({plain(part.subject)})"
    before = f"before {span_of_ms(part.before)} in {counted(part.samples, 'earlier ticket')}"
    return f"There were too few free workers: {wait}, {before}{_others(parts)}."


def _gone(part: Part, parts: Sequence[Part]) -> str:
    workers = f"of {counted(round(part.before), 'worker')} that did this before, {round(part.now)} are left"
    return f"Workers are gone: {workers}, and {_task(part)} waited for one{_others(parts)}."


def _plan(_part: Part, parts: Sequence[Part]) -> str:
    tasks = sorted({plain(kind_of(one.spell.ticket)) for one in parts if one.spell.ticket})
    took = span_of_ms(sum(one.ms for one in parts))
    return f"The plan has {counted(len(tasks), 'task')} that it had not before, {listed(tasks)}: that took {took}."


def _people(part: Part, parts: Sequence[Part]) -> str:
    waited = span_of_ms(sum(one.spell.ms for one in parts))
    return f"A person was waited for: {_task(part)} waited {waited}."


def _held(part: Part, parts: Sequence[Part]) -> str:
    return f"A freeze or a quarantine held {_task(part)} back for {span_of_ms(part.spell.ms)}{_others(parts)}."


def _planning(part: Part, _parts: Sequence[Part]) -> str:
    usually = f"before {span_of_ms(part.before)}"
    return f"Its tickets were made after {span_of_ms(part.now)}, {usually}: a policy, a limit or a step held it."


def _hour(part: Part, parts: Sequence[Part]) -> str:
    at = f"around {part.subject} it takes {span_of_ms(part.now)}, at other hours {span_of_ms(part.before)}"
    return f"It is slower at this hour: for {_task(part)} {at}{_others(parts)}."


def _estimates(part: Part, parts: Sequence[Part]) -> str:
    took = f"{_task(part)} ({part.subject}) took {span_of_ms(part.now)}{_worker(part.spell.ticket)}"
    return f"Estimates were too low: {took}, its plan expected {span_of_ms(part.before)}{_others(parts)}."


TEXTS: Mapping[CauseKind, Callable[[Part, Sequence[Part]], str]] = {
    CauseKind.RETRIES: _retries,
    CauseKind.WORK: _work,
    CauseKind.WORKER: _of_worker,
    CauseKind.REGISTERED: _registered,
    CauseKind.INPUTS: _inputs,
    CauseKind.WAITING: _waiting,
    CauseKind.GONE: _gone,
    CauseKind.PLAN: _plan,
    CauseKind.PEOPLE: _people,
    CauseKind.HELD: _held,
    CauseKind.PLANNING: _planning,
    CauseKind.HOUR: _hour,
    CauseKind.ESTIMATES: _estimates,
}
"""What to say of each kind of cause; failures and deadlines have their sentences where they are found."""

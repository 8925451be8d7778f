"""Rules about work that comes again and again: slow workers, wrong estimates, and queues for what few workers offer.

They see the flows of the window, and of the hour before it where the window has few.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import comb, erfc, sqrt
from typing import NamedTuple

from functions._core.explain.spans import span_of_ms
from functions._core.insights.findings import Advice, ProblemFound, entity, evidence, named
from functions._core.insights.insight import InsightType
from functions._core.insights.window import HistoryWindow
from functions._core.learning.history import TicketRow
from functions._core.learning.series import median

ENOUGH = 5
"""Times that work was done before it is compared: fewer say more of chance than of a worker or an estimate."""

MUCH_SLOWER = 2.0
"""How many times longer than others a worker takes for the same work before it is found."""

CHANCE = 0.01
"""The probability that chance alone makes any worker of a window look slow: each is compared at each kind of work."""

EXACT_THROWS = 500
"""Throws up to which probabilities are counted out; of more the normal distribution is as good."""

WRONG = 2.0
"""By which factor the middle of the durations is off an estimate before that is found, in either direction."""

SAME_SIDE = 0.8
"""The share of the durations that has to be off to the same side: else the work varies, and no number fits."""

NOTICEABLE_MS = 100
"""Milliseconds that a difference has to have: less is the cost of messages."""

LONG_WAIT_MS = 30_000
"""Milliseconds of waiting for a worker, in the middle, that make a queue."""

WORKERS = 50
"""Workers that are compared at one kind of work, those that did most of it: each is compared with all others."""

GROUPS = 10
"""Findings of each rule, the worst first."""

Kind = tuple[str, str]
"""A kind of work: the type and the id of its task; plans that come again have the same ones."""


class ComparedWork(NamedTuple):
    """Work of one worker, compared with what others took for the same."""

    ratio: float
    """How many times the median of the others it took."""
    own_ms: float
    """What it took, in milliseconds."""
    others_ms: float
    """The median of the others."""
    kind: Kind
    """The kind of work."""
    late: bool
    """Whether it ended after its deadline."""


def work_problems(window: HistoryWindow) -> Iterator[ProblemFound]:
    """Yield slow workers, wrong estimates and queues."""
    done: dict[Kind, list[TicketRow]] = {}
    for ticket in window.work:
        if ticket.actual_ms is not None and ticket.worker_id is not None:
            done.setdefault((ticket.task_type.value, ticket.task_id), []).append(ticket)
    yield from sorted(_slow_workers(done), key=lambda one: (-one.severity, one.subject))[:GROUPS]
    wrong = [one for kind, rows in done.items() if (one := _estimate(kind, rows)) is not None]
    yield from sorted(wrong, key=lambda one: (-one.severity, one.subject))[:GROUPS]
    queues = [one for offers, rows in _by_offer(window).items() if (one := _queue(offers, rows)) is not None]
    yield from sorted(queues, key=lambda one: (-one.severity, one.subject))[:GROUPS]


def _slow_workers(done: Mapping[Kind, Sequence[TicketRow]]) -> Iterator[ProblemFound]:
    """Yield the workers that are slow at all that they do, or at some kinds of work."""
    compared: dict[str, list[ComparedWork]] = {}
    for kind, rows in done.items():
        for worker_id, work in _compared(kind, rows):
            compared.setdefault(worker_id, []).extend(work)
    groups: dict[str, list[list[ComparedWork]]] = {}
    for worker_id, work in compared.items():
        by_kind: dict[Kind, list[ComparedWork]] = {}
        for one in work:
            by_kind.setdefault(one.kind, []).append(one)
        groups[worker_id] = [work, *(by_kind.values() if len(by_kind) > 1 else ())]
    comparisons = sum(map(len, groups.values()))
    for worker_id, (whole, *parts) in groups.items():
        if _is_slow(whole, comparisons):
            yield _slow_worker(worker_id, whole)
        elif slow := [work for work in parts if _is_slow(work, comparisons)]:
            yield _slow_worker(worker_id, [one for work in slow for one in work])


def _compared(kind: Kind, rows: Sequence[TicketRow]) -> Iterator[tuple[str, list[ComparedWork]]]:
    """Yield the work of each worker at one kind, where others have done it often enough."""
    took: dict[str, list[TicketRow]] = {}
    for ticket in rows:
        took.setdefault(ticket.worker_id or "", []).append(ticket)
    if len(took) == 1:
        return
    busiest = sorted(took.items(), key=lambda pair: (-len(pair[1]), pair[0]))[:WORKERS]
    for worker_id, own in busiest:
        others = [float(one.actual_ms or 0) for one in rows if one.worker_id != worker_id]
        if len(others) >= ENOUGH:
            usual = max(1.0, median(others))
            work = [(float(one.actual_ms or 0), one.completed_at > one.deadline) for one in own]
            yield worker_id, [ComparedWork(ms / usual, ms, usual, kind, late) for ms, late in work]


def _is_slow(work: Sequence[ComparedWork], comparisons: int) -> bool:
    """Whether work took much longer than that of others, and more often than chance lets any of so many groups."""
    if len(work) < ENOUGH or median([one.ratio for one in work]) < MUCH_SLOWER:
        return False
    if median([one.own_ms - one.others_ms for one in work]) < NOTICEABLE_MS:
        return False
    return chance_of(sum(one.ratio > 1 for one in work), len(work)) * comparisons < CHANCE


def chance_of(heads: int, throws: int) -> float:
    """Return the probability that so many throws of a coin show heads so often, or more often."""
    if throws <= EXACT_THROWS:
        return float(sum(comb(throws, number) for number in range(heads, throws + 1)) / 2**throws)
    return 0.5 * erfc((heads - 0.5 - throws / 2) / sqrt(throws / 2))


def _slow_worker(worker_id: str, work: Sequence[ComparedWork]) -> ProblemFound:
    """Return the finding about a worker that is slow at some work."""
    ratio, kinds = median([one.ratio for one in work]), Counter(one.kind for one in work)
    own, others = median([one.own_ms for one in work]), median([one.others_ms for one in work])
    late = sum(one.late for one in work)
    (task_type, task_id), _ = kinds.most_common(1)[0]
    at = f"{task_type} {named(task_id)}" if len(kinds) == 1 else f"{len(kinds)} kinds of work"
    return ProblemFound(
        rule="slow-worker",
        subject=worker_id,
        insight_type=InsightType.OPERATIONAL,
        title=f"Worker {named(worker_id)} is {ratio:.1f} times slower than others at {at}",
        summary=f"It took {span_of_ms(own)} in the middle of {len(work)} times, the others {span_of_ms(others)} for "
        f"the same. Most of it was {task_type} {named(task_id)}; {late} of these tickets missed their deadlines.",
        analysis="Each duration is compared with the median of the other workers for the same task, in the window and "
        "the hour before it. Chance makes one worker of a hundred fleets look like this.",
        figures={
            "ratio": ratio,
            "own_ms": own,
            "others_ms": others,
            "tickets": len(work),
            "kinds": len(kinds),
            "late": late,
        },
        entities=(
            entity("worker", worker_id, "cause"),
            *(entity("task_type", one, "affected") for one in dict.fromkeys(kind[0] for kind in kinds)),
        ),
        advice=(
            Advice(action="Look at the load and the environment of the worker.", share=0.6),
            Advice(action="Give it fewer slots, so that others get more of this work.", share=0.4),
        ),
        tags=("worker", "duration"),
        strength=evidence(len(work)),
        affected=1 + late,
        severity=min(1.0, (ratio - 1) / 10),
    )


def _estimate(kind: Kind, rows: Sequence[TicketRow]) -> ProblemFound | None:
    """Return the finding about the estimate of one kind of work; None where it is about right."""
    ratios = [float(ticket.actual_ms or 0) / max(1, ticket.estimate_ms) for ticket in rows]
    factor, took = median(ratios), median([float(ticket.actual_ms or 0) for ticket in rows])
    expected = median([float(ticket.estimate_ms) for ticket in rows])
    too_low, too_high = factor >= WRONG, factor <= 1 / WRONG
    if len(rows) < ENOUGH or not (too_low or too_high) or abs(took - expected) < NOTICEABLE_MS:
        return None
    same = sum(ratio > 1 if too_low else ratio < 1 for ratio in ratios) / len(ratios)
    if same < SAME_SIDE:
        return None
    times, (task_type, task_id) = factor if too_low else 1 / max(factor, 0.001), kind
    better = max(1, round(_ninth(sorted(float(ticket.actual_ms or 0) for ticket in rows))))
    longer = "longer" if too_low else "shorter"
    return ProblemFound(
        rule="wrong-estimate",
        subject=f"{task_type}/{task_id}",
        insight_type=InsightType.OPERATIONAL,
        title=f"{task_type} {named(task_id)} takes {times:.1f} times {longer} than its estimate",
        summary=f"Its plans expect {span_of_ms(expected)}, it took {span_of_ms(took)} in the middle of {len(rows)} "
        f"times; nine of ten were done after {span_of_ms(better)}.",
        analysis=f"{same:.0%} of the durations are off to the same side.",
        figures={
            "factor": factor,
            "estimate_ms": expected,
            "median_ms": took,
            "better_estimate_ms": better,
            "tickets": len(rows),
        },
        entities=(
            entity("task_type", task_type, "cause"),
            *(entity("flow", one, "affected") for one in list(dict.fromkeys(row.flow_id for row in rows))[-10:]),
        ),
        advice=(
            Advice(action=f"Set estimated_duration_ms of {named(task_id)} to {better}.", share=0.9),
            Advice(action="Let predictions correct estimates: FLOWC_LEARNING=on.", share=0.7),
        ),
        tags=("estimate", "planning"),
        strength=evidence(len(rows)) * same,
        affected=1 + len({row.flow_id for row in rows if row.completed_at > row.deadline}),
        severity=min(1.0, (times - 1) / 10) if too_low else min(0.5, (times - 1) / 20),
    )


def _ninth(ordered: Sequence[float]) -> float:
    """Return the value that nine tenths of the values do not exceed."""
    return ordered[min(len(ordered) - 1, -(-9 * len(ordered) // 10) - 1)]


def _by_offer(window: HistoryWindow) -> Mapping[tuple[str, ...], list[TicketRow]]:
    found: dict[tuple[str, ...], list[TicketRow]] = {}
    for ticket in window.tickets:
        if ticket.ready_at is not None:
            found.setdefault(ticket.capabilities, []).append(ticket)
    return found


def _waited(ticket: TicketRow) -> float:
    waited = ticket.waited_ms
    if waited is not None:
        return float(waited)
    ready = ticket.ready_at
    return 0.0 if ready is None else max(0.0, (ticket.completed_at - ready).total_seconds() * 1000)


def _queue(offers: tuple[str, ...], rows: Sequence[TicketRow]) -> ProblemFound | None:
    """Return the finding about tickets that wait for workers which offer the same; None where they hardly do."""
    waits, never = [_waited(ticket) for ticket in rows], sum(ticket.worker_id is None for ticket in rows)
    wait = median(waits)
    if len(rows) < ENOUGH or wait < LONG_WAIT_MS:
        return None
    work = [float(ticket.actual_ms) for ticket in rows if ticket.actual_ms is not None]
    part = wait / (wait + (median(work) if work else 0.0))
    wanted = f"workers that offer {named(', '.join(offers[:5]))}" if offers else "workers"
    nobody = f" {never} of them never got one." if never else ""
    return ProblemFound(
        rule="capacity-queue",
        subject=",".join(offers),
        insight_type=InsightType.STRATEGIC,
        title=f"Tickets wait {wait / 1000:.0f} s for {wanted}",
        summary=f"{len(rows)} tickets waited {wait / 1000:.0f} s in the middle, {max(waits) / 1000:.0f} s at most, for "
        f"{wanted}: {part:.0%} of the time from when they could begin.{nobody}",
        analysis="The wait of a ticket is from when nothing but a worker was missing to its last assignment.",
        figures={"tickets": len(rows), "wait_ms": wait, "longest_ms": max(waits), "share": part, "never": never},
        sources=("history", "registry"),
        entities=(
            *(entity("capability", one, "cause") for one in offers[:5]),
            *(entity("flow", one, "affected") for one in list(dict.fromkeys(row.flow_id for row in rows))[:10]),
        ),
        advice=(
            Advice(action=f"Register more {wanted}, or give those that do more slots.", share=0.9),
            Advice(action="Let flows that can wait begin at quieter hours.", share=0.4),
        ),
        tags=("capacity", "waiting"),
        strength=evidence(len(rows)),
        affected=len({row.flow_id for row in rows}),
        severity=min(1.0, 0.3 + 0.4 * part + 0.3 * min(1.0, wait / (10 * LONG_WAIT_MS))),
    )

"""Sums of history by time: the load of the last weeks by capability, and what happened in the last day. Pure.

Ended flows are added once each, in any order. A load is added where its work became ready, and what happened where its
flow ended; what is older than the first bucket is left out. Names that are too many are left out, the smallest first.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import log

from functions._core.insights.findings import printable
from functions._core.insights.window import LENGTH, WENT_WRONG
from functions._core.learning.history import TicketRow
from functions._core.learning.history_reader import Ended
from functions._core.learning.load_forecast import BUCKET, DAY, WEEK
from functions._core.records.record import Record
from functions._core.records.values import TicketStatus, Timestamp, add_time

LOAD_BUCKETS = 3 * WEEK
"""Quarters of an hour of a load: with two weeks of them, a forecast knows the days of the week."""

COURSE_BUCKETS = 3 * DAY
"""Windows of five minutes of what happened: a day, as of the course of figures."""

CAPABILITIES, WORKERS = 20, 4
"""Capabilities whose loads are kept, and workers whose pace is: those with most work."""

MOST_NAMES = 500
"""Names that are added to in one look, 16 KB each: those that were known come first."""

NAME = 64
"""Characters of a name: longer ones are cut."""

EVERYTHING = ""
"""The load of all work, whatever a worker had to offer."""

ARRIVALS = "arrivals"
"""The flows that came; all other loads are worker milliseconds, below `work/`."""

WORK, PACE, TIMES = "work/", "pace/", "times/"
"""Before the name of a capability; before that of a worker; before the sum of what a mean is made of."""


class Sums(Record):
    """Sums in buckets of one length."""

    since: Timestamp
    """When the first bucket begins."""
    by_name: Mapping[str, tuple[float, ...]] = {}
    """The sums, the oldest first, as many of each name."""


class SumsBuilder:
    """Sums that are being added to."""

    def __init__(self, known: Sums | None, earliest: datetime, until: datetime, step: timedelta) -> None:
        """Begin with those that are known, in the buckets up to `until`, from `earliest` on if none is known."""
        if known is not None and known.since > until:  # from the future, by a wrong clock
            known = None
        begin = earliest if known is None else max(earliest, known.since)
        self.begin, self._step = begin, step
        self._count = max(0, (until - begin) // step)
        self._sums: dict[str, list[float]] = {}
        if known is not None:
            gone = max(0, (begin - known.since) // step)
            for name, values in known.by_name.items():
                self._sums[name] = (list(values[gone:]) + [0.0] * self._count)[: self._count]

    def add(self, name: str, at: datetime, amount: float) -> None:
        """Add an amount to the bucket of a moment.

        One outside of all buckets is left out, as is a new name beyond `MOST_NAMES`.
        """
        place = (at - self.begin) // self._step
        if 0 <= place < self._count:
            if name not in self._sums:
                if len(self._sums) >= MOST_NAMES:
                    return
                self._sums[name] = [0.0] * self._count
            self._sums[name][place] += amount

    def built(self, most: Mapping[str, int]) -> Sums:
        """Return the sums, of names that begin with a key of `most` so many with the largest sums of sizes."""
        kept = dict(self._sums)
        for prefix, number in most.items():
            named = sorted(
                (name for name in kept if name.startswith(prefix)), key=lambda one: (-sum(map(abs, kept[one])), one)
            )
            for name in named[number:]:
                del kept[name]
        begun = next((place for place in range(self._count) if any(values[place] for values in kept.values())), None)
        first = self._count if begun is None else begun  # before that nobody knows whether nothing came
        return Sums(
            since=self.begin + first * self._step,
            by_name={name: tuple(round(value, 3) for value in kept[name][first:]) for name in sorted(kept)},
        )


class HourSums:
    """Both sorts of sums, to which ended flows are added."""

    def __init__(self, loads: Sums | None, course: Sums | None, until: datetime) -> None:
        """Begin with what is known of the time until the full hour `until`."""
        self._loads = SumsBuilder(loads, add_time(until, -LOAD_BUCKETS * BUCKET), until, BUCKET)
        self._course = SumsBuilder(course, add_time(until, -COURSE_BUCKETS * LENGTH), until, LENGTH)

    def add(self, ended: Sequence[Ended]) -> None:
        """Add flows that have ended; rehearsals say nothing about real work."""
        for flow, tickets in ended:
            if flow.simulated:
                continue
            self._loads.add(ARRIVALS, flow.received_at, 1.0)
            happened = {
                "flows": 1.0,
                "failures": float(flow.outcome in WENT_WRONG),
                "missed": float(flow.missed),
                "retries": float(sum(ticket.retries for ticket in tickets)),
            }
            for name, amount in happened.items():
                self._course.add(name, flow.ended_at, amount)
            for ticket in tickets:
                self._add_load(ticket)
                self._add_course(ticket, flow.ended_at)

    def _add_load(self, ticket: TicketRow) -> None:
        amount = worker_ms(ticket)
        if ticket.ready_at is not None and amount > 0:
            for name in dict.fromkeys((EVERYTHING, *ticket.capabilities)):
                self._loads.add(f"{WORK}{printable(name, NAME)}", ticket.ready_at, amount)

    def _add_course(self, ticket: TicketRow, at: datetime) -> None:
        """Add to what happened when its flow ended: at other moments a flow's waits would foretell its own end."""
        if ticket.waited_ms is not None:
            self._mean("wait", at, log(1 + ticket.waited_ms))
        if ticket.actual_ms is not None and ticket.worker_id is not None:
            pace = log((1 + ticket.actual_ms) / max(1, ticket.estimate_ms))
            self._mean("pace", at, pace)
            self._mean(f"{PACE}{printable(ticket.worker_id, NAME)}", at, pace)

    def _mean(self, name: str, at: datetime, value: float) -> None:
        self._course.add(name, at, value)
        self._course.add(f"{TIMES}{name}", at, 1.0)

    def built(self) -> tuple[Sums, Sums]:
        """Return the loads and the course."""
        loads = self._loads.built({WORK: CAPABILITIES + 1})
        course = self._course.built({f"{TIMES}{PACE}": WORKERS})
        kept = {
            name: values
            for name, values in course.by_name.items()
            if not name.startswith(PACE) or f"{TIMES}{name}" in course.by_name
        }
        return loads, course.but(by_name=kept)


def worker_ms(ticket: TicketRow) -> float:
    """Return about how much time of workers a ticket took: its attempts were alike; 0 where it had none."""
    if ticket.actual_ms is not None:
        return float(max(1, ticket.attempts) * ticket.actual_ms)
    if ticket.assigned_at is None or ticket.status is TicketStatus.CANCELLED:
        return 0.0
    took = (ticket.completed_at - ticket.assigned_at) / timedelta(milliseconds=1)
    return max(1, ticket.attempts) * min(max(0.0, took), float(max(0, ticket.timeout_ms)))

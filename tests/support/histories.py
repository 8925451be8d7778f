"""Histories of flows as the platform would leave them, seeded, made by a small fleet whose truth is known.

A `FleetWorld` has plans that come again and again, kinds of work, workers and a calendar. How long work really takes
is the product of what its kind takes, its worker, the size of its input, the hour and noise; plans expect something
else. Flows arrive more often by day and on weekdays, queue for the slots of capable workers, fail, are tried again and
miss deadlines. The same seed gives the same history.
"""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import exp
from typing import Any

from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.predictions import PlannedWork
from functions._core.planning.graph import Schedule
from functions._core.records.values import (
    Outcome,
    Priority,
    RiskBand,
    SecurityLevel,
    TicketStatus,
    flow_id_of,
    milliseconds,
    ticket_id_of,
)
from tests.support.fleet_world import START, FleetWorld, Kind, PlanOfWorld

RETRIES = 2
"""How often a ticket is tried again."""

TIGHTNESS = (3.0, 6.0, 12.0, 24.0)
"""How many times the true critical path a flow may take; drawn for each."""

History = list[tuple[FlowRow, tuple[TicketRow, ...]]]
"""Flows in the order in which they ended, each with the rows of its tickets."""


def history(seed: int = 1, flows: int = 400, *, days: float = 14, start: datetime = START) -> History:
    """Return the history of a new world; see `history_of`."""
    return history_of(FleetWorld(seed), flows, days=days, start=start)


def history_of(
    world: FleetWorld, flows: int = 400, *, days: float = 14, start: datetime = START, seed: int = 1
) -> History:
    """Return so many flows, which arrive within some days; another seed gives other flows of the same world."""
    return _Course(world, random.Random(f"{world.seed}/{seed}/course"), f"{world.seed}-{seed}").run(flows, start, days)


@dataclass
class _Job:
    """A ticket on its way."""

    flow: "_Run"
    task_id: str
    parameters_bytes: int
    fan_in: int
    waits_for: int
    ready_at: datetime | None = None
    assigned_at: datetime | None = None
    completed_at: datetime | None = None
    worker_id: str | None = None
    attempts: int = 0
    worker_ms: int = 0
    actual_ms: int | None = None
    status: TicketStatus = TicketStatus.PENDING
    reason: str | None = None

    @property
    def kind(self) -> Kind:
        """Its kind of work."""
        return self.flow.plan.kinds[self.task_id]


@dataclass
class _Run:
    """A flow on its way."""

    flow_id: str
    decision_id: str
    plan: PlanOfWorld
    received_at: datetime
    deadline: datetime
    priority: Priority
    risk: RiskBand
    jobs: dict[str, _Job] = field(default_factory=dict)
    timed: Schedule | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    reason: str | None = None

    def work(self, job: _Job) -> PlannedWork:
        """Return a ticket's work as a model sees it."""
        assert self.timed is not None
        kind = job.kind
        return PlannedWork(
            kind.task_type.value,
            job.task_id,
            self.plan.domain,
            kind.capabilities,
            self.plan.estimate_ms(job.task_id),
            job.parameters_bytes,
            self.risk,
            self.priority,
            SecurityLevel.INTERNAL,
            self.timed.timings[job.task_id].level,
            job.fan_in,
            len(self.plan.followers[job.task_id]),
            len(self.plan.edges),
            milliseconds(self.deadline - self.received_at),
            self.received_at,
        )


class _Course:
    """The course of a history: events by time, tickets in line, workers with slots."""

    def __init__(self, world: FleetWorld, draw: random.Random, name: str) -> None:
        self._world, self._draw, self._name = world, draw, name
        self._events: list[tuple[datetime, int, str, Any]] = []
        self._line: list[_Job] = []
        self._free = dict.fromkeys(world.worker_factors, world.slots)
        self._number = 0
        self._ended: list[_Run] = []

    def run(self, flows: int, start: datetime, days: float) -> History:
        """Let flows arrive within some days, until the last one has ended."""
        for number, at in enumerate(self._arrivals(flows, start, days)):
            self._at(at, "arrives", number)
        while self._events:
            now, _, what, whom = heapq.heappop(self._events)
            if what == "arrives":
                self._arrives(now, whom)
            elif what == "ends":
                self._attempt_ends(now, *whom)
            elif whom.ended_at is None:
                self._end(whom, now, Outcome.TIMED_OUT, "sla_violation")
            self._assign(now)
        return [self._rows(run) for run in sorted(self._ended, key=lambda run: (run.ended_at, run.flow_id))]

    def _at(self, at: datetime, what: str, whom: object) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, self._number, what, whom))

    def _arrivals(self, flows: int, start: datetime, days: float) -> Sequence[datetime]:
        found: list[datetime] = []
        while len(found) < flows:
            at = start + timedelta(milliseconds=self._draw.randrange(round(days * 86_400_000)))
            if self._draw.random() < self._world.load(at):
                found.append(at)
        return sorted(found)

    def _arrives(self, now: datetime, number: int) -> None:
        draw, plan = self._draw, self._draw.choice(self._world.plans)
        sla_ms = max(5000, plan.true_path_ms * draw.choice(TIGHTNESS))
        decision_id = f"history-{self._name}-{number}"
        deadline = now + timedelta(milliseconds=round(sla_ms))
        risk, priority = draw.choice(list(RiskBand)), draw.choice(list(Priority))
        run = _Run(flow_id_of(decision_id), decision_id, plan, now, deadline, priority, risk)
        run.timed = plan.timed(now, deadline)
        size = exp(draw.gauss(6.9, 1.0))
        for name, after in plan.edges:
            run.jobs[name] = _Job(run, name, max(2, round(size * exp(draw.gauss(0, 0.5)))), len(after), len(after))
        self._at(deadline, "deadline", run)
        for job in run.jobs.values():
            if not job.waits_for:
                job.ready_at = now
                self._line.append(job)

    def _assign(self, now: datetime) -> None:
        """Give tickets to free workers: who waits longest first, a worker by chance."""
        left: list[_Job] = []
        for job in self._line:
            if job.flow.ended_at is not None:
                continue
            able = [one for one, slots in self._free.items() if slots and self._world.can(one, job.kind)]
            if not able:
                left.append(job)
                continue
            job.worker_id = self._draw.choice(able)
            self._free[job.worker_id] -= 1
            job.assigned_at, job.attempts, job.status = now, job.attempts + 1, TicketStatus.RUNNING
            median = self._world.true_ms(job.flow.work(job), job.worker_id, job.flow.plan.base_ms[job.task_id])
            took = max(1, round(median * exp(self._draw.gauss(0, job.kind.noise))))
            fails = self._draw.random() < job.kind.failure_rate
            span = max(1, round(took * self._draw.random())) if fails else took
            self._at(now + timedelta(milliseconds=span), "ends", (job, job.worker_id, span, fails))
        self._line = left

    def _attempt_ends(self, now: datetime, job: _Job, worker_id: str, took: int, fails: bool) -> None:
        self._free[worker_id] += 1
        if job.flow.ended_at is not None:
            return
        job.worker_ms += took
        if not fails:
            job.status, job.completed_at, job.actual_ms, job.reason = TicketStatus.COMPLETED, now, took, None
            for name in job.flow.plan.followers[job.task_id]:
                follower = job.flow.jobs[name]
                follower.waits_for -= 1
                if not follower.waits_for:
                    follower.ready_at = now
                    self._line.append(follower)
            if all(one.status is TicketStatus.COMPLETED for one in job.flow.jobs.values()):
                self._end(job.flow, now, Outcome.COMPLETED, None)
            return
        job.reason = "worker_failed"
        if job.attempts > RETRIES:
            job.status, job.completed_at = TicketStatus.FAILED, now
            self._end(job.flow, now, Outcome.FAILED, "ticket_failed")
        else:
            job.ready_at = now
            self._line.append(job)

    def _end(self, run: _Run, now: datetime, outcome: Outcome, reason: str | None) -> None:
        run.ended_at, run.outcome, run.reason = now, outcome, reason
        for job in run.jobs.values():
            if job.completed_at is None:
                job.status, job.completed_at, job.reason = TicketStatus.CANCELLED, now, job.reason or reason
        self._ended.append(run)

    def _rows(self, run: _Run) -> tuple[FlowRow, tuple[TicketRow, ...]]:
        assert run.ended_at is not None
        assert run.outcome is not None
        assert run.timed is not None
        row = FlowRow(
            flow_id=run.flow_id,
            decision_id=run.decision_id,
            plan_id=run.plan.plan_id,
            correlation_id=run.decision_id,
            trace_id=run.flow_id.replace("-", ""),
            outcome=run.outcome,
            priority=run.priority,
            risk_band=run.risk,
            received_at=run.received_at,
            ended_at=run.ended_at,
            deadline=run.deadline,
            missed=run.outcome is Outcome.TIMED_OUT,
            tickets=len(run.jobs),
            critical_path_ms=run.timed.critical_path_ms,
            reason_code=run.reason,
        )
        return row, tuple(_ticket_row(run, job) for job in run.jobs.values() if job.ready_at is not None)


def _ticket_row(run: _Run, job: _Job) -> TicketRow:
    assert run.timed is not None
    assert job.completed_at is not None
    work, timing = run.work(job), run.timed.timings[job.task_id]
    return TicketRow(
        flow_id=run.flow_id,
        ticket_id=ticket_id_of(run.flow_id, job.task_id),
        task_id=job.task_id,
        task_type=job.kind.task_type,
        domain=work.domain,
        capabilities=work.capabilities,
        status=job.status,
        worker_id=job.worker_id,
        risk_band=work.risk_band,
        priority=work.priority,
        security_level=work.security_level,
        level=work.level,
        fan_in=work.fan_in,
        fan_out=work.fan_out,
        plan_tasks=work.plan_tasks,
        parameters_bytes=job.parameters_bytes,
        output_bytes=200 if job.actual_ms is not None else 0,
        estimate_ms=work.estimate_ms,
        timeout_ms=max(60_000, 3 * work.estimate_ms),
        sla_ms=work.sla_ms,
        created_at=work.at,
        ready_at=job.ready_at,
        assigned_at=job.assigned_at,
        completed_at=job.completed_at,
        deadline=timing.latest_finish,
        actual_ms=job.actual_ms,
        worker_ms=job.worker_ms if job.status in {TicketStatus.COMPLETED, TicketStatus.FAILED} else None,
        retries=max(0, job.attempts - 1),
        attempts=job.attempts,
        critical=timing.critical,
        reason_code=job.reason,
        error=None if job.reason is None else f"{job.task_id}: {job.reason}",
    )

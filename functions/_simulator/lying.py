"""A model that lies in a simulated world: by chance, by nothing, by centuries, by no number, or by an error.

It acts, changes its mind with every step that asks for it, and is sometimes not to be had.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from random import Random
from typing import Any, cast

from functions._core.learning.predictions import NoPredictions, PlannedWork, Predictions, Quantiles, Serving
from functions._core.planning.prospects import SLA_UNLIKELY
from functions._core.records.models import Ticket
from functions._simulator.faults import Faults
from functions._simulator.ledger import CommittedChange, Ledger

LYING = "lying-model"
"""The name of the fault."""

ABSENT = 0.1
"""Of the steps that ask for a model, those in which there is none."""

CENTURY_MS = 100 * 365 * 86_400_000


class LyingModel:
    """One model, as it is in one step; implements `Predictor`."""

    def __init__(self, kind: str, number: int, draw: Random) -> None:
        self.version = f"lying-{kind}:{number}"
        self._lie = LIES[kind]
        self._draw = draw

    def quantiles(self, work: PlannedWork, worker_id: str | None = None) -> Quantiles:
        """See `Predictor.quantiles`; of a worker it says something else than of anybody."""
        return self._lie(work, self._draw if worker_id is None else Random(f"{self.version}/{worker_id}"))


class LyingPredictions:
    """The port of predictions, with another model for every step."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._steps = 0

    async def serving(self) -> Serving | None:
        """See `Predictions.serving`."""
        draw = self._faults.chance(LYING)
        self._steps += 1
        if draw.random() < ABSENT:
            return None
        self._faults.struck[LYING] += 1
        model = LyingModel(draw.choice([*LIES]), self._steps, Random(draw.random()))
        return Serving(model, acts=True, waits_ms=draw.choice(WAITS))


def predictions_of(faults: Faults) -> Predictions:
    """Return the port of predictions of a world: none are made unless the fault is active."""
    return LyingPredictions(faults) if LYING in faults.active else NoPredictions()


def _random(work: PlannedWork, draw: Random) -> Quantiles:
    p50 = max(1, round(work.estimate_ms * draw.lognormvariate(0, 2)))
    return Quantiles(p50, round(p50 * draw.uniform(1, 5)))


def _raises(work: PlannedWork, _draw: Random) -> Quantiles:
    raise RuntimeError(f"the model does not know {work.task_id}")


def _no_number(_work: PlannedWork, draw: Random) -> Quantiles:
    wrong: Any = draw.choice([float("nan"), float("inf"), -1, 0, 10**40, "soon", None])
    return cast("Quantiles", (wrong, wrong))


def _backwards(work: PlannedWork, _draw: Random) -> Quantiles:
    return Quantiles(2 * work.estimate_ms, work.estimate_ms)


LIES: Mapping[str, Callable[[PlannedWork, Random], Quantiles]] = {
    "random": _random,
    "nothing": lambda _work, _draw: Quantiles(1, 1),
    "century": lambda _work, _draw: Quantiles(CENTURY_MS, CENTURY_MS),
    "five-times": lambda work, _draw: Quantiles(5 * work.estimate_ms, 10 * work.estimate_ms),
    "a-fifth": lambda work, _draw: Quantiles(max(1, work.estimate_ms // 5), max(1, work.estimate_ms // 4)),
    "raises": _raises,
    "no-number": _no_number,
    "backwards": _backwards,
}
"""What models of each kind say of any work."""

WAITS: tuple[Mapping[str, int], ...] = ({}, {"": 10**15}, {"": -5}, {"": cast("int", float("nan"))})
"""What they say of waits for workers."""


JUMP = timedelta(seconds=40)
"""A clock that is set back may have shown so much more when a step was decided."""


def predictions_end_nothing(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """No prediction gives work up: what is late is late by its estimates, and nothing ends for a probability."""
    flow = ledger.flows.get(change.step.flow_id)
    if flow is None:
        return
    if any(reason.code == SLA_UNLIKELY for reason in flow.reasons):
        yield f"the flow is {flow.status} because a model gives it little chance"
    for before, after in change.moves():
        if not after.late or (before is not None and before.late):
            continue
        left = flow.sla_deadline - (after.created_at if before is None else ledger.now() + JUMP)
        needed = timedelta(milliseconds=after.estimated_duration_ms + _path_after(after, ledger))
        if needed <= left:
            yield f"ticket {after.task_id} is late, though by its estimates {needed} fit into {left}"


def _path_after(ticket: Ticket, ledger: Ledger) -> int:
    """Return the critical path of estimates after a ticket, in milliseconds, as if nothing of it were done yet."""
    known: dict[str, int] = {}
    stack = [ticket]
    while stack:
        one = stack[-1]
        after = [ledger.tickets[i] for i in one.dependants]
        open_ones = [other for other in after if other.ticket_id not in known]
        if open_ones:
            stack += open_ones
            continue
        stack.pop()
        known[one.ticket_id] = max((other.estimated_duration_ms + known[other.ticket_id] for other in after), default=0)
    own = known[ticket.ticket_id]
    return own + (_path_after(ledger.tickets[ticket.parent], ledger) if ticket.parent is not None else 0)

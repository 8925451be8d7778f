"""A window of history that rules look at: the flows that ended in it, and what was decided and learned about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msgspec import DecodeError, Struct, ValidationError, json

from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.history_reader import Ended
from functions._core.placement.pheromones import Trails
from functions._core.records.values import EARLIEST, Outcome

LENGTH = timedelta(minutes=5)
"""How long a window is; windows begin at the full five minutes of the clock."""

WENT_WRONG = frozenset({Outcome.FAILED, Outcome.TIMED_OUT})
"""Ends of a flow that nobody wanted and nobody has ordered."""


class ConsensusFigures(Struct, frozen=True):
    """How the specialists came to a decision."""

    decision_id: str
    """Id of the decision."""
    flow_id: str
    """Its flow."""
    divergence: float | None
    """How far apart they were, 0 to 1; None where the decision does not say it."""
    convergence_ms: float | None
    """How long they took, in milliseconds; None where the decision does not say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryWindow:
    """What happened from `start` on and before `end`; flows that were rehearsals are not in it."""

    start: datetime
    end: datetime
    ended: Sequence[Ended] = ()
    """The flows that ended in it."""
    before: Sequence[Ended] = ()
    """Flows that ended in the hour before it, where the window alone has few: rules about repeated work see both."""
    consensus: Sequence[ConsensusFigures] = ()
    """How the decisions of its flows came about."""
    trails: Mapping[str, Trails] = field(default_factory=dict)
    """The trails of the workers that had its tickets, by domain."""
    completeness: float = 1.0
    """The share of its data that could be read."""

    @property
    def flows(self) -> Sequence[FlowRow]:
        """The flows that ended in it."""
        return [flow for flow, _ in self.ended]

    @property
    def tickets(self) -> Sequence[TicketRow]:
        """Their tickets."""
        return [ticket for _, tickets in self.ended for ticket in tickets]

    @property
    def work(self) -> Sequence[TicketRow]:
        """Their tickets, and those of the flows before."""
        return [ticket for _, tickets in (*self.before, *self.ended) for ticket in tickets]


def window_before(moment: datetime) -> datetime:
    """Return the end of the last window that is over at a moment."""
    return moment - (moment - EARLIEST.replace(microsecond=0)) % LENGTH


def consensus_of(decision: bytes, flow: FlowRow) -> ConsensusFigures | None:
    """Return what a decision, JSON text, says of how it came about; None where it says nothing that can be read.

    The figures are those of `consensus_metrics`, else those beside the plan; numbers that cannot be are left out.
    """
    try:
        said = json.decode(decision, type=_Said)
    except (DecodeError, ValidationError, RecursionError):
        return None
    metrics = said.consensus_metrics if isinstance(said.consensus_metrics, dict) else {}
    divergence = _number(metrics.get("divergence_score", said.divergence), 1.0)
    took = _number(metrics.get("convergence_time_ms", said.convergence_time_ms), MOST_MS)
    if divergence is None and took is None:
        return None
    return ConsensusFigures(flow.decision_id, flow.flow_id, divergence, took)


MOST_MS = 10.0**12
"""Milliseconds that a specialist could take at most, some thirty years."""


class _Said(Struct):
    """The part of a decision that is read here; all else is passed over without being made."""

    consensus_metrics: object = None
    divergence: object = None
    convergence_time_ms: object = None


def _number(value: object, most: float) -> float | None:
    """Return a number from 0 to `most`; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        return None
    return float(value)

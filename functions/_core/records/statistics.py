"""Numbers over many flows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowStatistics:
    """How many flows `ended`, how many of them COMPLETED, how long they took from arrival to end in milliseconds.

    `p95_ms` is by nearest rank; times are None when no flow ended. `active` flows have not ended.
    """

    ended: int
    completed: int
    average_ms: float | None
    p95_ms: int | None
    active: int

"""Numbers over many flows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowStatistics:
    """The flows that ended within a window, and how long they took; and the flows that are active now."""

    ended: int
    """How many flows ended."""
    completed: int
    """How many of these ended COMPLETED."""
    average_ms: float | None
    """Average time from arrival to end, in milliseconds; None when no flow ended."""
    p95_ms: int | None
    """The 95th percentile of that time by nearest rank, in milliseconds; None when no flow ended."""
    active: int
    """How many flows have not ended."""

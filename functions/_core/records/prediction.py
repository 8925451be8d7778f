"""Predictions that flows and tickets keep beside what really happened. They order work, and end none."""

from functions._core.records.record import Record


class Prediction(Record):
    """How long the work of a ticket was expected to take, by a model."""

    p50_ms: int
    """Milliseconds within which half of such work is done."""
    p90_ms: int
    """Milliseconds within which nine tenths of such work is done, `p50_ms` or more."""
    model: str
    """The version of the model."""
    acts: bool = False
    """Whether the ticket's place in the order of work, its share of the time and its timeout follow it."""
    timeout_ms: int | None = None
    """How long an attempt may take by it, in milliseconds, where that is longer than `sla.timeout_ms`."""


class FlowPrediction(Record):
    """How a flow was expected to go, when C1 read its decision."""

    probability: float
    """The probability, 0 to 1, that it meets its deadline."""
    p50_ms: int
    """Milliseconds, from its arrival on, within which half of such flows are done."""
    p90_ms: int
    """Milliseconds within which nine tenths of such flows are done."""
    model: str
    """The version of the model."""

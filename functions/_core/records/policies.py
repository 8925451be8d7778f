"""How a ticket is handled: its share of the SLA, its care, its retries and the way its work is undone."""

from collections.abc import Mapping
from typing import Any

from functions._core.records.values import Consistency, DeliveryMode, Durability, Record, Timestamp


class Sla(Record):
    """A ticket's share of the flow's deadline: `deadline` is its latest finish."""

    deadline: Timestamp
    timeout_ms: int
    max_retries: int


class Qos(Record):
    """How carefully a ticket is handled."""

    delivery_mode: DeliveryMode
    consistency: Consistency
    durability: Durability


class RetryPolicy(Record):
    """How a ticket is tried again: the pause before the first retry, by what it grows, its cap, and its jitter (0..1).

    Errors whose type is among `non_retryable` end the ticket at once.
    """

    initial_ms: int = 1_000
    coefficient: float = 2.0
    max_ms: int = 60_000
    jitter: float = 0.2
    non_retryable: tuple[str, ...] = ()


class Undo(Record):
    """How a ticket's work is undone: the parameters and the capabilities of its compensation, and its timeout."""

    parameters: Mapping[str, Any] = {}
    required_capabilities: tuple[str, ...] | None = None
    timeout_ms: int | None = None

"""How a ticket is handled: its share of the SLA, its care, its retries, its compensation; how many flows may begin."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from functions._core.records.record import Record
from functions._core.records.values import Priority, Timestamp, Word


class DeliveryMode(Word):
    """How often an assignment may reach a worker."""

    AT_MOST_ONCE = "AT_MOST_ONCE"
    AT_LEAST_ONCE = "AT_LEAST_ONCE"
    EXACTLY_ONCE = "EXACTLY_ONCE"


class Consistency(Word):
    """Which reads a ticket's state needs."""

    EVENTUAL = "EVENTUAL"
    STRONG = "STRONG"


class Durability(Word):
    """What a ticket's state survives."""

    TRANSIENT = "TRANSIENT"
    PERSISTENT = "PERSISTENT"


class AdmissionAction(Word):
    """What becomes of a flow while an error budget is spent."""

    ADMIT = "ADMIT"
    """It begins as it would."""
    LOWER = "LOWER"
    """Its tickets have a lower priority."""
    HOLD = "HOLD"
    """It gets its tickets when the budget has recovered, or a time is over."""
    APPROVE = "APPROVE"
    """A person has to approve it first."""
    REFUSE = "REFUSE"
    """It ends REJECTED."""


class BudgetVerdict(Record):
    """What an admission policy has made of a flow."""

    policy: str
    """Name of the policy."""
    action: AdmissionAction
    """What it does."""
    why: str
    """The budget or freeze that it holds by, in a sentence."""
    until: Timestamp | None = None
    """Until when it holds the flow at most; None for every other action."""
    priority: Priority | None = None
    """The priority that it gives at most; None for every other action than LOWER."""


def lowered(priority: Priority, verdict: BudgetVerdict | None) -> Priority:
    """Return a priority, or the lower one that a verdict gives at most."""
    most = verdict.priority if verdict is not None else None
    return priority if most is None else min(priority, most, key=[*Priority].index)


class Sla(Record):
    """A ticket's share of the flow's deadline: `deadline` is its latest finish."""

    deadline: Timestamp
    """The latest finish that keeps the flow within its deadline."""
    timeout_ms: int
    """How long one attempt may take from its acknowledgement on, in milliseconds."""
    max_retries: int
    """How often the ticket may be tried again."""


class Qos(Record):
    """How carefully a ticket is handled."""

    delivery_mode: DeliveryMode
    """How often an assignment may reach a worker."""
    consistency: Consistency
    """The reads that its state needs."""
    durability: Durability
    """The failures that its state survives."""


class RetryPolicy(Record):
    """How a ticket is tried again: the pause before the first retry, by what it grows, its cap, and its jitter (0..1).

    Errors whose type is among `non_retryable` end the ticket at once.
    """

    initial_ms: int = 1_000
    """The pause before the first retry, in milliseconds."""
    coefficient: float = 2.0
    """The factor by which the pause grows with every retry."""
    max_ms: int = 60_000
    """The longest pause, in milliseconds, before its jitter."""
    jitter: float = 0.2
    """The share of itself by which a pause is made longer or shorter at most, 0 to 1."""
    non_retryable: tuple[str, ...] = ()
    """Types of errors after which the ticket is not tried again."""


class Undo(Record):
    """How a ticket's work is undone: the parameters and the capabilities of its compensation, and its timeout."""

    parameters: Mapping[str, Any] = {}
    """Parameters of the compensation, over those that follow from the task type."""
    required_capabilities: tuple[str, ...] | None = None
    """Capabilities that a worker needs for it; None: those of the ticket."""
    timeout_ms: int | None = None
    """How long one attempt at it may take, in milliseconds; None: 120000."""


class Beyond(Word):
    """What happens to a flow that comes while as many of its key are in flight as may be; lower case on every wire."""

    QUEUE = "queue"
    REFUSE = "refuse"
    CANCEL_OLDEST = "cancel_oldest"


class Concurrency(Record):
    """How many flows of one key may be in flight at once, of whatever plans; see `placement.limits`."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
    """The key that flows share. {plan_id}, {tenant_id} and {label:NAME} in it stand for those of the flow."""
    limit: Annotated[int, Field(ge=1, le=1_000)] = 1
    """How many flows may be in flight."""
    beyond: Beyond = Beyond.QUEUE
    """`queue`: one more waits for its turn. `refuse`: it ends REJECTED. `cancel_oldest`: the oldest ones are cancelled,
    and it begins when they have ended."""

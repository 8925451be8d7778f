"""What a prediction is asked for and by whom: the port of the functions of a flow, and what stands behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from functions._core.records.values import Priority, RiskBand, SecurityLevel


@dataclass(frozen=True, slots=True)
class PlannedWork:
    """A piece of work before anybody does it: all that a model may look at, the same in history and in a plan."""

    task_type: str
    """The word of its type, e.g. TRANSFORM."""
    task_id: str
    """Its id within its plan, without its scope: plans that come again have the same ones."""
    domain: str | None
    """The domain of its plan."""
    capabilities: tuple[str, ...]
    """What a worker has to offer, sorted."""
    estimate_ms: int
    """What its plan expects, at least 1."""
    parameters_bytes: int
    """Bytes of its parameters as JSON."""
    risk_band: RiskBand
    """How dangerous it is."""
    priority: Priority
    """How much it matters."""
    security_level: SecurityLevel
    """The clearance that a worker must have."""
    level: int
    """Its level in the plan, 0 without dependencies."""
    fan_in: int
    """Tasks that it depends on."""
    fan_out: int
    """Tasks that depend on it."""
    plan_tasks: int
    """Tasks of the plan."""
    sla_ms: int
    """Milliseconds that its flow has from its arrival to its deadline."""
    at: datetime
    """When it was planned."""


class Quantiles(NamedTuple):
    """How long work takes, in milliseconds: in half of the cases, and in nine of ten, at most."""

    p50_ms: int
    p90_ms: int


class Predictor(Protocol):
    """A model that serves. It is a plain value: it reads no clock and no store, and costs some microseconds."""

    @property
    def version(self) -> str:
        """The name and the number of the model, e.g. `duration:7`."""

    def quantiles(self, work: PlannedWork, worker_id: str | None = None) -> Quantiles:
        """Return how long work takes, by a certain worker or by whoever gets it; 1 <= p50 <= p90 <= 10**12."""


class Serving(NamedTuple):
    """What predictions there are now."""

    predictor: Predictor
    """The model that serves."""
    acts: bool
    """Whether the flow may act by it, or only shows what it says."""
    waits_ms: Mapping[str, int] = {}
    """How long tickets waited lately for a worker, half of them at most, by capability; `` for all of them."""


class Predictions(Protocol):
    """The model that serves, as this process knows it."""

    async def serving(self) -> Serving | None:
        """Return it, None where there is none or it cannot be had at once; never raises, never waits over 100 ms."""


class NoPredictions:
    """`Predictions` where nothing is predicted: estimates count."""

    async def serving(self) -> Serving | None:
        """Return None."""
        return None

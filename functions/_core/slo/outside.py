"""The ports of SLOs: a server of metrics that is asked, and something, such as a cluster, that is told of freezes.

Both are replaced where the settings name a real one. They are used by `indicator.py` and `enforcing.py`.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from functions._core.errors import Rejected

if TYPE_CHECKING:  # cold start: every function has the ports, few have SLOs
    from functions._core.slo.definition import Aggregation
    from functions._core.slo.freezing import FreezeEvent


class MetricsServer(Protocol):
    """A server that evaluates PromQL."""

    async def value(self, query: str, aggregation: "Aggregation", at: datetime | None = None) -> float | None:
        """Return the value of a query at a moment (None: now), its series made one; None for no data.

        Raises `Unavailable` when the server cannot be reached or is too slow, `Rejected` (`metrics_query_failed`,
        status 502) when it answers with an error.
        """


class NoMetricsServer:
    """Stands where no server of metrics is named."""

    async def value(self, query: str, aggregation: "Aggregation", at: datetime | None = None) -> float | None:
        """Raise `Rejected`."""
        del query, aggregation, at
        raise Rejected(
            "the SLO has a query, and no server of metrics is named: set FLOWC_PROMETHEUS_URL, or use the history",
            code="metrics_query_failed",
            status=502,
        )


class FreezeTarget(Protocol):
    """Something beside the platform that is told of freezes. Both calls may come again for the same freeze."""

    async def apply(self, event: "FreezeEvent") -> None:
        """Let a freeze be seen that has begun; raise `Unavailable` when that is not certain."""

    async def lift(self, event: "FreezeEvent") -> None:
        """Let a freeze be seen no more that has ended; raise `Unavailable` when that is not certain."""


class NoFreezeTarget:
    """Stands where nothing beside the platform is told: pipelines ask for the status themselves."""

    async def apply(self, event: "FreezeEvent") -> None:
        """Do nothing."""

    async def lift(self, event: "FreezeEvent") -> None:
        """Do nothing."""

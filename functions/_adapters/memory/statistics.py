"""Numbers over many flows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice

from functions._adapters.memory.state import State
from functions._core.machine.tables import FLOWS_UNDER_WAY
from functions._core.records.models import Flow
from functions._core.records.statistics import FlowStatistics
from functions._core.records.values import Outcome, milliseconds


class MemoryStatistics:
    """The `Statistics`."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def flows(self, since: datetime | None) -> FlowStatistics:
        """Return the numbers of the flows that have ended since then."""
        flows = list(self._state.flows)
        ended = [(flow, flow.ended_at) for flow in flows if flow.ended_at and (since is None or flow.ended_at >= since)]
        latencies = sorted(milliseconds(at - flow.received_at) for flow, at in ended)
        return FlowStatistics(
            ended=len(ended),
            completed=sum(flow.outcome is Outcome.COMPLETED for flow, _ in ended),
            average_ms=sum(latencies) / len(latencies) if latencies else None,
            p95_ms=latencies[-(-95 * len(latencies) // 100) - 1] if latencies else None,
            active=sum(flow.status in FLOWS_UNDER_WAY for flow in flows),
        )

    async def ended(self, since: datetime, until: datetime, limit: int) -> Sequence[Flow]:
        """Return flows that ended within a span, the last to end first."""
        found = [
            (flow.ended_at, flow) for flow in self._state.flows if flow.ended_at and since <= flow.ended_at < until
        ]
        return [flow for _, flow in sorted(found, key=lambda one: one[0], reverse=True)[:limit]]

    async def under_way(self, limit: int) -> Sequence[Flow]:
        """Return flows that have not ended."""
        return list(islice((flow for flow in self._state.flows if flow.status in FLOWS_UNDER_WAY), limit))

    async def deadlines(self) -> Mapping[str, datetime]:
        """Return the earliest deadline of each risk band."""
        earliest: dict[str, datetime] = {}
        for flow in self._state.flows:
            if flow.outcome is None and flow.deadline is not None:
                band = flow.risk_band.value
                earliest[band] = min(flow.deadline, earliest.get(band, flow.deadline))
        return earliest

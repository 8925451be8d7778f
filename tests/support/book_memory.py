"""Another memory layer: one that keeps what it was told in a dictionary, to stand where that of the platform stands."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from functions._core.insights.memory_layer import (
    DataAsset,
    Lineage,
    LineageNode,
    Memory,
    MemoryContext,
    MemoryQuery,
    QualityStats,
)


@dataclass(frozen=True)
class BookFlow:
    """A flow of one ticket, as it is written down."""

    flow_id: str
    correlation_id: str
    error: str | None
    ended_at: datetime

    @property
    def outcome(self) -> str:
        """How it ended."""
        return "COMPLETED" if self.error is None else "FAILED"


@dataclass
class BookMemory:
    """A `MemoryLayer` of some flows."""

    flows: Sequence[BookFlow]
    cache: dict[str, Sequence[Memory]] = field(default_factory=dict)

    async def query_memory(self, query: MemoryQuery) -> Sequence[Memory]:
        """See `MemoryLayer`."""
        words = query.text.casefold().split()
        found = [
            Memory(kind=kind, memory_id=one.flow_id, text=text, at=one.ended_at, score=score)
            for one in self.flows
            if query.since <= one.ended_at < query.until
            for kind, text in (("flow", f"{one.correlation_id} {one.outcome}"), ("error", one.error or ""))
            if text and (score := sum(word in text.casefold() for word in words) / max(len(words), 1))
        ]
        self.cache[query.text] = sorted(found, key=lambda one: -one.score)[: query.limit]
        return self.cache[query.text]

    async def get_context(self, subject: str) -> MemoryContext | None:
        """See `MemoryLayer`."""
        near = self._near(subject)
        told = tuple({"flow_id": one.flow_id, "outcome": one.outcome} for one in near)
        context = MemoryContext(subject=subject, flows=told, insights=(), workers=("w-1",), complete=True)
        return context if near else None

    async def get_lineage(self, subject: str) -> Lineage | None:
        """See `MemoryLayer`."""
        nodes: list[LineageNode] = []
        for one in self._near(subject):
            names = [f"{kind}-{one.flow_id}" for kind in ("decision", "plan", "ticket")]
            for kind, name, before in zip(("decision", "plan", "ticket"), names, ("", *names), strict=False):
                nodes.append(LineageNode(node_type=kind, node_id=name, made_of=(before,) if before else (), what=""))
            end = LineageNode(node_type="end", node_id=one.flow_id, made_of=(names[-1],), what=one.outcome)
            nodes.append(end)
        return Lineage(subject=subject, nodes=tuple(nodes), complete=True) if nodes else None

    async def get_quality_stats(self, since: datetime, until: datetime) -> QualityStats:
        """See `MemoryLayer`."""
        ends = [one.ended_at for one in self.flows if since <= one.ended_at < until]
        return QualityStats(
            flows=len(ends),
            tickets=len(ends),
            complete=True,
            completeness={"worker_id": 1.0} if ends else {},
            newest_at=max(ends, default=None),
            age_seconds=(until - max(ends)).total_seconds() if ends else None,
            gaps=(),
        )

    async def invalidate_cache(self) -> int:
        """See `MemoryLayer`."""
        forgotten = len(self.cache)
        self.cache.clear()
        return forgotten

    async def list_data_assets(self) -> Sequence[DataAsset]:
        """See `MemoryLayer`."""
        return [DataAsset(name=name, count=len(self.flows)) for name in ("flows", "tickets")]

    def _near(self, subject: str) -> Sequence[BookFlow]:
        return [one for one in self.flows if subject in {one.flow_id, one.correlation_id}]

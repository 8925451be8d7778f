"""The memory layer: what a platform knows of what it has done. A port of six operations, and the values they answer.

Nobody has recorded a wire contract of such a layer. `functions.api.platform_memory` implements the port over the
records of this platform; whatever else implements it can stand in its place.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from functions._core.records.record import Record
from functions._core.records.values import Timestamp


class MemoryQuery(NamedTuple):
    """What is looked for."""

    text: str
    """Words; what holds more of them comes first."""
    since: datetime
    """Begin of the time."""
    until: datetime
    """End of it."""
    limit: int = 20
    """How much is wanted at most."""


class Memory(Record):
    """Something that is remembered."""

    kind: str
    """`flow`, `error` or `insight`."""
    memory_id: str
    """Id of the flow or of the insight; of an error that of the flow that had it last."""
    text: str
    """What it says."""
    at: Timestamp | None
    """When it happened or was found; null where many are told as one."""
    count: int = 1
    """How many tickets had the error."""
    score: float = 1.0
    """The share of the words that it holds, above 0 and up to 1."""


class MemoryContext(Record):
    """What there is to know around a flow, or around all flows of a correlation id."""

    subject: str
    """The id that was asked for."""
    flows: tuple[Mapping[str, object], ...]
    """Each flow: ids, status, outcome, moments, and reasons as `CODE: sentence`."""
    insights: tuple[Memory, ...]
    """Insights about one of the flows, or about one of their workers."""
    workers: tuple[str, ...]
    """Workers that had one of their tickets."""
    complete: bool
    """Whether all of their flows and tickets were looked at."""


class LineageNode(Record):
    """A thing on the way from an intent to an end."""

    node_type: str
    """`intent`, `decision`, `plan`, `ticket` or `end`."""
    node_id: str
    """Its id; of an end that of the flow."""
    made_of: tuple[str, ...]
    """Ids of the things that it was made of, or had to wait for."""
    what: str
    """The task of a ticket, the outcome of an end; else empty."""
    status: str | None = None
    """The status of a ticket."""
    worker_id: str | None = None
    """Who had its last attempt."""
    input_bytes: int | None = None
    """Bytes of its parameters as JSON."""
    output_bytes: int | None = None
    """Bytes of its output as JSON."""
    at: Timestamp | None = None
    """When it was made, or ended."""


class Lineage(Record):
    """Where the result of a flow, or of all flows of a correlation id, comes from."""

    subject: str
    """The id that was asked for."""
    nodes: tuple[LineageNode, ...]
    """The things, each after those that it was made of. Sizes are told, and no contents."""
    complete: bool
    """Whether all flows and tickets are there."""


class QualityStats(Record):
    """How good the history of a span of time is."""

    flows: int
    """Flows that were looked at."""
    tickets: int
    """Tickets that were looked at."""
    complete: bool
    """Whether these are all that ended within the time."""
    completeness: Mapping[str, float]
    """The share of rows, 0 to 1, that have a value where one is expected, by its name; those alone that rows expect."""
    newest_at: Timestamp | None
    """When the last flow ended."""
    age_seconds: float | None
    """How long before the end of the span that was; null without any."""
    gaps: tuple[tuple[Timestamp, Timestamp], ...]
    """The longest spans without an end of a flow, longer than ten times the median one, the longest first."""


class DataAsset(Record):
    """A kind of data that is kept."""

    name: str
    """Its name: `flows`, `tickets`, `insights`, `models`, `workers`."""
    count: int
    """How many there are."""
    since: Timestamp | None = None
    """When the oldest of them was made; null where nothing tells, or there are none."""
    kept: str = ""
    """For how long, or until when, they are kept."""


class MemoryLayer(Protocol):
    """What is remembered. Each operation reads within bounds, and raises `Unavailable` where its store is away."""

    async def query_memory(self, query: MemoryQuery) -> Sequence[Memory]:
        """Return what holds a word of the text, the best first; nothing for a text without words."""

    async def get_context(self, subject: str) -> MemoryContext | None:
        """Return what there is around a flow id or a correlation id; None for one that is not known."""

    async def get_lineage(self, subject: str) -> Lineage | None:
        """Return where the result of a flow id or a correlation id comes from; None for one that is not known."""

    async def get_quality_stats(self, since: datetime, until: datetime) -> QualityStats:
        """Return how good the history of a span is."""

    async def invalidate_cache(self) -> int:
        """Forget what is remembered in between, so that the next question reads anew; return how many answers went."""

    async def list_data_assets(self) -> Sequence[DataAsset]:
        """Return what is kept."""

"""The events about insights: one for each insight to all, and one more by its type for those who decide or act.

Their data is the insight itself. It is told when it is found, and again when it has become more urgent; what is told
again after a crash has the same ids.
"""

from collections.abc import Sequence

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.routes import TRANSITIONS
from functions._core.insights.insight import Insight, InsightType
from functions._core.machine.step_builder import derived_id

ANALYZED, STRATEGIC, OPERATIONAL = "insights.analyzed", "insights.strategic", "insights.operational"
"""The types of the events, without prefix and version; the names of their topics, too."""

NO_TRACE = "0" * 32
"""The trace of an insight that is about no single flow."""

TOLD = "told_window"
"""Metadata of an insight: the end of the last window that made it, or made it more urgent."""

BY_KIND = {InsightType.STRATEGIC: STRATEGIC, InsightType.OPERATIONAL: OPERATIONAL}
"""The event that an insight is told by in addition, by its type."""


def insight_events(insight: Insight) -> Sequence[CloudEvent]:
    """Return the events of an insight, for subscribers."""
    told = [ANALYZED, *([BY_KIND[insight.insight_type]] if insight.insight_type in BY_KIND else [])]
    digits = insight.insight_id.replace("-", "")
    trace = insight.trace_id if insight.trace_id != NO_TRACE else digits
    return [
        CloudEvent(
            id=derived_id(insight.insight_id, name, f"{insight.priority}/{insight.metadata.get(TOLD, '')}"),
            source=TRANSITIONS,
            type=type_of(name),
            time=insight.time_window.end,
            subject=insight.insight_id,
            data=insight.model_dump(mode="json"),
            extensions={
                "partitionkey": insight.insight_id,
                "correlationid": insight.correlation_id,
                "traceparent": f"00-{trace}-{digits[16:]}-01",
            },
        )
        for name in told
    ]

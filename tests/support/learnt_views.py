"""What the API says of predictions, models, the load to come and insights, in the platform's own records."""

import json
from collections.abc import Mapping
from datetime import timedelta

from functions._core.insights.insight import (
    Insight,
    InsightPriority,
    InsightType,
    Recommendation,
    RelatedEntity,
    TimeWindow,
    sealed,
)
from functions._core.learning.load_forecast import forecast_load
from functions._core.learning.rows import rows_of
from functions._core.records.prediction import FlowPrediction, Prediction
from functions._core.records.record import as_json
from functions.api.load_forecasts import LoadView
from functions.api.newest_rows import NewestRows
from functions.api.predictions import page_of
from tests.support.builders import T0
from tests.support.runs_of_plans import Task, run_of

ATTACK = "<img src=x onerror='window.attacked=1'>"
"""A name that would like to be markup, wherever somebody may choose one."""

MODEL = "duration:7"


def predictions() -> object:
    """Return predictions of three tickets, one of which took longer than its p90, and whose names are an attack."""
    rows = []
    for number, took in enumerate((40.0, 55.0, 90.0)):
        flow, tickets = run_of(number, Task(ATTACK, work=took, worker_id=ATTACK))
        told = Prediction(p50_ms=50_000, p90_ms=70_000, model=MODEL)
        flow = flow.but(prediction=FlowPrediction(probability=0.8, p50_ms=60_000, p90_ms=80_000, model=MODEL))
        rows.append(rows_of(flow, [one.but(prediction=told) for one in tickets]))
    return as_json(page_of(NewestRows(rows, complete=True, until=T0 + timedelta(days=9)), None, None, 100))


def nothing() -> object:
    """Return what a platform without learning says."""
    return as_json(page_of(NewestRows([], complete=True, until=T0), None, None, 100))


def models(*items: Mapping[str, object]) -> object:
    """Return a list of models."""
    learnt = {"rows": 12, "usable": 10, "needed": 200, "learned_at": "2026-01-04T02:00:00.000Z"}
    return {"items": items, "serving": None, "training": None, **learnt}


def model(number: int, state: str, reason: str) -> Mapping[str, object]:
    """Return a model with the members that the page shows."""
    metrics = {"mae_ms": 4_200.0, "r2": 0.91, "mape": 0.2, "p90_coverage": 0.9}
    about = {"name": "duration", "number": number, "state": state, "rows": 1_234, "reasons": [reason]}
    return {**about, "metrics": metrics, "trained_at": "2026-01-04T02:00:00.000Z"}


def load() -> object:
    """Return the forecast of a load that is higher by day."""
    forecast = forecast_load([float(2 + (bucket % 96) // 48) for bucket in range(3 * 96)], T0)
    return as_json(LoadView(forecast=forecast, reason=None, flows=9, since=T0, until=T0))


def too_little() -> object:
    """Return what is said where nobody knows the load."""
    reason = "A forecast takes 2 days of ended flows, and there are fewer."
    return as_json(LoadView(forecast=None, reason=reason, flows=0, since=T0, until=T0))


def insight(number: int = 1, **changes: object) -> Insight:
    """Return an insight every text of which is an attack."""
    found = Insight(
        insight_id=f"11111111-1111-5111-8111-{number:012}",
        correlation_id="c",
        trace_id="0" * 32,
        insight_type=InsightType.OPERATIONAL,
        priority=InsightPriority.HIGH,
        title=f"Flows fail at {ATTACK}",
        summary=f"3 of 10 flows failed. {ATTACK}",
        detailed_analysis=ATTACK,
        data_sources=("history",),
        metrics={ATTACK: 0.3},
        confidence_score=0.8,
        impact_score=0.6,
        recommendations=(Recommendation(action=ATTACK, priority=InsightPriority.HIGH, estimated_impact=0.5),),
        related_entities=(
            RelatedEntity(entity_type="worker", entity_id=ATTACK, relationship="cause"),
            RelatedEntity(entity_type="capability", entity_id="javascript:alert(1)", relationship="affected"),
        ),
        time_window=TimeWindow(start=T0, end=T0 + timedelta(minutes=5)),
        created_at=T0,
        tags=(ATTACK,),
    )
    return sealed(found.but(**changes))


def insights(*items: Insight) -> object:
    """Return a page of insights."""
    return {
        "items": [json.loads(one.model_dump_json()) for one in items],
        "total": len(items),
        "limit": 100,
        "offset": 0,
    }

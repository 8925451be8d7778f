"""Analyses of figures: those that a client sends, and what several sources say of a span of time."""

import asyncio
import json
from datetime import timedelta

from fastapi import Request

from functions._core.insights import anomalies
from functions._core.insights.anomalies import Anomaly
from functions._core.insights.correlation import calculate_correlation
from functions._core.insights.sources import AnalysisScope, SourceAnswer, consolidated
from functions._core.insights.trends import calculate_trend
from functions.api.analyses import BODY_PROBLEMS, MAX_FORM, analysed
from functions.api.analytics_forms import (
    AnalysisAnswer,
    AnalysisQuery,
    AnalysisWindow,
    AnomalyAnswer,
    AnomalyForm,
    CorrelationAnswer,
    CorrelationForm,
    PointAnomaly,
    SourceResult,
    TrendAnswer,
    TrendForm,
)
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.source_readers import asked
from functions.api.streams import client_of

router = Routes(prefix="/api/v1/analytics", tags=["analytics"])

MAX_QUERY = 16 * 1024
SEED = 7
"""The isolation forest is grown by chance: the same series has the same anomalies."""

LAST = timedelta(hours=24)
MINUTE = timedelta(minutes=1)


@router.post("/query", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(AnalysisQuery, required=False))
async def query_sources(services: Services, request: Request) -> AnalysisAnswer:
    """Ask several sources at once. One that is slow or away is missing from the answer, which says so (`partial`)."""
    form = await read_json(request, AnalysisQuery, limit=MAX_QUERY)
    now = services.ports.clock.now()
    until = now.replace(second=0, microsecond=0) + MINUTE
    window = form.time_window or AnalysisWindow(start=until - LAST, end=until)
    key = json.dumps([form.model_dump(mode="json", exclude={"use_cache"}), window.model_dump(mode="json")])
    with services.analyses.one(client_of(request)):
        if form.use_cache and (known := services.analysts.queries.known(key, now)) is not None:
            cached: AnalysisAnswer = known
            return cached.but(cached=True)
        answer = await _asked(services, form, window)
    if not answer.partial:
        services.analysts.queries.keep(key, now, answer)
    return answer


@router.post("/anomalies", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(AnomalyForm))
async def post_anomalies(services: Services, request: Request) -> AnomalyAnswer:
    """Return the points of a series, of ten at least, that are not like the others."""
    form = await read_json(request, AnomalyForm, limit=MAX_FORM)
    found = await analysed(services, request, lambda: _anomalies(form))
    items = (
        PointAnomaly(
            index=one.index,
            value=one.value,
            score=one.score,
            expected_low=one.expected_low,
            expected_high=one.expected_high,
        )
        for one in found
    )
    return AnomalyAnswer(metric_name=form.metric_name, method=form.method, items=tuple(items))


@router.post("/trends", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(TrendForm))
async def post_trends(services: Services, request: Request) -> TrendAnswer:
    """Return where a series goes: the line of least squares."""
    form = await read_json(request, TrendForm, limit=MAX_FORM)
    trend = await analysed(services, request, lambda: calculate_trend(form.time_series))
    return TrendAnswer(metric_name=form.metric_name, **trend._asdict())


@router.post("/correlation", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(CorrelationForm))
async def post_correlation(services: Services, request: Request) -> CorrelationAnswer:
    """Return how much two series of one length go together."""
    form = await read_json(request, CorrelationForm, limit=MAX_FORM)
    first, second = form.series1, form.series2
    found = await analysed(services, request, lambda: calculate_correlation(first.values, second.values, form.method))
    return CorrelationAnswer(metric1=first.metric_name, metric2=second.metric_name, **found._asdict())


async def _asked(services: ApiServices, form: AnalysisQuery, window: AnalysisWindow) -> AnalysisAnswer:
    filters = form.filters
    scope = AnalysisScope(
        since=window.start,
        until=window.end,
        correlation_id=filters.correlation_id,
        task_type=filters.task_type,
        worker_id=filters.worker_id,
        domain=filters.domain,
        entity=None if filters.entity is None else (filters.entity.entity_type, filters.entity.entity_id),
        text=filters.text,
        metrics=form.metrics,
    )
    kinds = [*dict.fromkeys(form.sources)]
    answers: list[SourceAnswer] = await asyncio.gather(
        *(asked(services, kind, scope, form.timeout_seconds) for kind in kinds)
    )
    together = consolidated(answers)
    return AnalysisAnswer.model_validate(
        {
            "sources": {
                one.kind: SourceResult.model_validate(
                    {"status": one.status, "seconds": one.seconds, "detail": one.detail, "data": one.data}
                )
                for one in answers
            },
            "partial": together.partial,
            "completeness": together.completeness,
            "answered": together.answered,
            "missing": together.missing,
            "time_window": window,
            "cached": False,
        }
    )


def _anomalies(form: AnomalyForm) -> tuple[Anomaly, ...]:
    if form.method == "zscore":
        return anomalies.zscore(form.values, 3.0 if form.threshold is None else form.threshold)
    if form.method == "iqr":
        return anomalies.iqr(form.values, 1.5 if form.threshold is None else form.threshold)
    share = 0.05 if form.threshold is None else form.threshold
    return anomalies.isolation_forest(form.values, share, seed=SEED)

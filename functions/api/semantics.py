"""Texts compared: those that a client sends, and the errors and insights that the platform has."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

from fastapi import Query, Request

from functions._core.insights import semantics as vectors_of_texts
from functions._core.insights.error_texts import error_texts
from functions._core.insights.semantics import NOISE, Clusters, Neighbour, Vector
from functions._core.insights.stored import EVERYTHING
from functions.api.analyses import BODY_PROBLEMS, MAX_FORM, compared, embeddings_of
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.routes import Routes
from functions.api.semantic_forms import (
    ClusterAnswer,
    ClusterForm,
    DriftAnswer,
    DriftForm,
    ErrorSearchAnswer,
    FoundError,
    FoundText,
    OutlierAnswer,
    OutlierForm,
    SimilarityAnswer,
    SimilarityForm,
    StrangeText,
    TextCluster,
    TextSearchAnswer,
    TextSearchForm,
)
from functions.api.services import Services
from functions.api.streams import client_of

router = Routes(prefix="/api/v1/semantics", tags=["semantics"])

ALIKE = 0.2
"""How alike an error has to be to a few words that somebody types: they share parts of some of its words."""

MAX_WINDOW_HOURS = 24 * 31

Wanted = Annotated[str, Query(min_length=1, max_length=500, description="What to look for, in any words")]


@router.post("/similarity", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(SimilarityForm))
async def post_similarity(services: Services, request: Request) -> SimilarityAnswer:
    """Return how alike two texts are."""
    form = await read_json(request, SimilarityForm, limit=MAX_FORM)
    texts = (form.text1, form.text2)
    alike = await compared(services, request, texts, lambda two: vectors_of_texts.similarity(*two))
    return SimilarityAnswer(similarity=alike, space=embeddings_of(services).space)


@router.post("/search", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(TextSearchForm))
async def post_search(services: Services, request: Request) -> TextSearchAnswer:
    """Return the texts that are most like another one, the best first."""
    form = await read_json(request, TextSearchForm, limit=MAX_FORM)

    def found(vectors: list[Vector]) -> list[Neighbour]:
        return [*vectors_of_texts.nearest(vectors[0], vectors[1:], form.top_k, form.threshold)]

    neighbours = await compared(services, request, (form.query, *form.texts), lambda all_: found([*all_]))
    items = (FoundText(index=one.index, text=form.texts[one.index], similarity=one.similarity) for one in neighbours)
    return TextSearchAnswer(items=tuple(items), space=embeddings_of(services).space)


@router.post("/cluster", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(ClusterForm))
async def post_cluster(services: Services, request: Request) -> ClusterAnswer:
    """Put texts together that are alike (DBSCAN)."""
    form = await read_json(request, ClusterForm, limit=MAX_FORM)

    def grouped(vectors: list[Vector]) -> Clusters:
        return vectors_of_texts.clusters(vectors, form.eps, form.min_samples)

    found = await compared(services, request, form.texts, lambda all_: grouped([*all_]))
    places: list[list[int]] = [[] for _ in range(found.count)]
    for index, label in enumerate(found.labels):
        if label != NOISE:
            places[label].append(index)
    return ClusterAnswer(
        labels=tuple(found.labels),
        clusters=tuple(TextCluster(cluster=number, indices=tuple(some)) for number, some in enumerate(places)),
        noise=tuple(index for index, label in enumerate(found.labels) if label == NOISE),
        space=embeddings_of(services).space,
    )


@router.post("/drift", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(DriftForm))
async def post_drift(services: Services, request: Request) -> DriftAnswer:
    """Return how far texts of now are from those of before."""
    form = await read_json(request, DriftForm, limit=MAX_FORM)
    before = len(form.baseline_texts)
    texts = (*form.baseline_texts, *form.current_texts)
    distance = await compared(
        services, request, texts, lambda both: vectors_of_texts.drift(both[:before], both[before:])
    )
    return DriftAnswer(
        distance=distance,
        threshold=form.threshold,
        drifted=distance > form.threshold,
        space=embeddings_of(services).space,
    )


@router.post("/outliers", responses=problems(*BODY_PROBLEMS), openapi_extra=json_body(OutlierForm))
async def post_outliers(services: Services, request: Request) -> OutlierAnswer:
    """Return the texts that are far from all others."""
    form = await read_json(request, OutlierForm, limit=MAX_FORM)
    found = await compared(
        services, request, form.texts, lambda some: vectors_of_texts.outliers(some, form.threshold_percentile)
    )
    items = (StrangeText(index=one, text=form.texts[one], distance=found.distances[one]) for one in found.indices)
    return OutlierAnswer(items=tuple(items), limit=found.limit, space=embeddings_of(services).space)


@router.get("/errors", responses=problems(400, 422, 503))
async def search_errors(
    services: Services,
    request: Request,
    query: Wanted,
    window_hours: Annotated[int, Query(ge=1, le=MAX_WINDOW_HOURS, description="How far back to look")] = 168,
    threshold: Annotated[float, Query(ge=-1, le=1, description="How alike they have to be")] = ALIKE,
    limit: Annotated[int, Query(ge=1, le=100, description="How many to return at most")] = 20,
) -> ErrorSearchAnswer:
    """Return errors of tickets that ended lately, and insights, that are like some words, with the flows that had them.

    The newest 500 flows that ended are looked at. Texts that differ in numbers and ids alone are one.
    """
    now = services.ports.clock.now()
    with services.analyses.one(client_of(request)):  # each span of time is a look of its own at thousands of tickets
        history = await services.analysts.history(services.ports, now - timedelta(hours=window_hours), now)
        insights = await services.analysts.insights(services.ports).query(EVERYTHING)
    known = error_texts(history.tickets, insights)
    if not known:
        return ErrorSearchAnswer(
            items=(), flows=len(history.flows), complete=history.complete, space=embeddings_of(services).space
        )

    def found(vectors: list[Vector]) -> list[Neighbour]:
        return [*vectors_of_texts.nearest(vectors[0], vectors[1:], limit, threshold)]

    texts = (query, *(one.text for one in known))
    neighbours = await compared(services, request, texts, lambda all_: found([*all_]))
    return ErrorSearchAnswer(
        items=tuple(FoundError(**asdict(known[one.index]), similarity=one.similarity) for one in neighbours),
        flows=len(history.flows),
        complete=history.complete,
        space=embeddings_of(services).space,
    )

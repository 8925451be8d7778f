"""Analyses that clients ask for: computed in a thread of their own, one after the other, so many at a time."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from fastapi import Request

from functions._core.insights.semantics import Embeddings, HashedEmbeddings, Vector
from functions.api.analyst_state import beside
from functions.api.services import ApiServices
from functions.api.streams import client_of

T = TypeVar("T")

MAX_FORM = 512 * 1024
"""Bytes of what is analysed: half a million characters become vectors within half a second."""

BODY_PROBLEMS = (400, 413, 415, 422, 503)


def embeddings_of(services: ApiServices) -> Embeddings:
    """Return what makes vectors of texts: the server that the settings name, else words and groups of characters."""
    return services.ports.embeddings or HashedEmbeddings(beside)


async def analysed(services: ApiServices, request: Request, compute: Callable[[], T]) -> T:
    """Return what a computation gives; raise `Rejected`, status 503, when too many are under way."""
    with services.analyses.one(client_of(request)):
        found: T = await beside(compute)
        return found


async def compared(
    services: ApiServices, request: Request, texts: Sequence[str], compute: Callable[[Sequence[Vector]], T]
) -> T:
    """Return what a computation makes of the vectors of some texts.

    Raises `Rejected`, status 503, when too many are under way, `Unavailable` when vectors are not to be had.
    """
    with services.analyses.one(client_of(request)):
        vectors = await embeddings_of(services).vectors(texts)
        found: T = await beside(lambda: compute(vectors))
        return found

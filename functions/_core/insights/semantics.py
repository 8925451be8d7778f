"""Texts as vectors, and what their distances say: which are alike, which belong together, which are strange.

Vectors are made of words and of the groups of characters in them, hashed to `DIMENSIONS` numbers: the same text gives
the same vector in every process, no model is needed, and texts that share words, or parts of them, are close. Two
texts that say the same by other words are not: for that a server of embeddings may be named, see `Embeddings`.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from math import dist, fsum, hypot, log
from typing import Any, NamedTuple, Protocol, TypeAlias
from zlib import crc32

from functions._core.errors import Rejected
from functions._core.learning.series import quantile

DIMENSIONS = 384
"""Numbers of a vector of ours, as many as the models have that such texts are usually given to."""

GRAMS = (3, 4, 5)
"""Lengths of the groups of characters."""

MAX_TEXT = 4_000
"""Characters of a text that are looked at: a message of an error and its place are far shorter."""

MAX_PAIRS_WORK = 1_600_000_000
"""Texts times texts times numbers of a vector that are compared at most: some seconds of one thread."""

Vector: TypeAlias = Sequence[float]
"""A vector of length 1."""

NOISE = -1
"""The cluster of what belongs to none."""


class Embeddings(Protocol):
    """Makes vectors of texts. Vectors of two spaces say nothing of each other."""

    @property
    def space(self) -> str:
        """The name of the space that the vectors are in."""

    async def vectors(self, texts: Sequence[str]) -> Sequence[Vector]:
        """Return the vector of each text; raise `Unavailable` when there are none to be had."""


class HashedEmbeddings:
    """`Embeddings` of words and groups of characters."""

    def __init__(self, beside: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        """Compute by `beside`, which keeps the event loop free: a million characters take a second."""
        self._beside = beside

    @property
    def space(self) -> str:
        """The name of the space: another way to make vectors is another space."""
        return f"hashed-ngrams-{DIMENSIONS}"

    async def vectors(self, texts: Sequence[str]) -> Sequence[Vector]:
        """Return the vectors; it always can."""
        found: Sequence[Vector] = await self._beside(lambda: [embedded(text) for text in texts])
        return found


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A text that was found: its place among those that were looked through, and how alike it is, -1 to 1."""

    index: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which cluster each text is in, by number from 0; `NOISE` for none."""

    labels: Sequence[int]
    count: int


class Outliers(NamedTuple):
    """Texts that are far from the middle of all, the farthest first, and from which distance on they are far."""

    indices: Sequence[int]
    distances: Sequence[float]
    limit: float


def embedded(text: str) -> Vector:
    """Return the vector of a text; letter case and white space do not count, what follows `MAX_TEXT` neither."""
    numbers = [0.0] * DIMENSIONS
    for feature, count in Counter(_features(text)).items():
        code = crc32(feature.encode("utf-8", "replace"))
        # The sign keeps features that share a place from looking like one.
        numbers[code % DIMENSIONS] += (1 + log(count)) * (1 if code & 0x80000000 else -1)
    return unit(numbers)


def unit(numbers: Sequence[float]) -> Vector:
    """Return numbers as a vector of length 1; the first axis where they have no length."""
    length = hypot(*numbers)
    if length == 0:
        return (1.0, *[0.0] * (len(numbers) - 1))
    return tuple(number / length for number in numbers)


def similarity(one: Vector, other: Vector) -> float:
    """Return the cosine of the angle between two vectors: 1 for the same direction."""
    return 1 - dist(one, other) ** 2 / 2


def nearest(query: Vector, among: Sequence[Vector], top: int, threshold: float = -1.0) -> Sequence[Neighbour]:
    """Return up to `top` vectors that are at least so much alike, the best first."""
    found = [Neighbour(index, similarity(query, one)) for index, one in enumerate(among)]
    fitting = [one for one in found if one.similarity >= threshold]
    return sorted(fitting, key=lambda one: (-one.similarity, one.index))[:top]


def clusters(vectors: Sequence[Vector], eps: float, min_samples: int) -> Clusters:
    """Return groups by DBSCAN over the distance `1 - similarity`.

    A vector with `min_samples` vectors (itself counts) at most `eps` away is in a cluster with all of them. Raises
    `Rejected`, status 422, for more than can be compared.
    """
    check_work(vectors)
    close = _neighbourhoods(vectors, eps)
    labels = [NOISE] * len(vectors)
    count = 0
    for first in range(len(vectors)):
        if labels[first] != NOISE or len(close[first]) < min_samples:
            continue
        labels[first] = count
        growing = [first]
        while growing:
            for index in close[growing.pop()]:
                if labels[index] == NOISE:
                    labels[index] = count
                    if len(close[index]) >= min_samples:
                        growing.append(index)
        count += 1
    return Clusters(labels, count)


def centroid(vectors: Sequence[Vector]) -> Vector:
    """Return the direction of the middle of some vectors; at least one."""
    return unit([fsum(column) / len(vectors) for column in zip(*vectors, strict=True)])


def drift(reference: Sequence[Vector], current: Sequence[Vector]) -> float:
    """Return how far the middle has moved, 0 to 2: `1 - similarity` of both middles."""
    return max(0.0, 1 - similarity(centroid(reference), centroid(current)))


def outliers(vectors: Sequence[Vector], percentile: float) -> Outliers:
    """Return what is farther from the middle than a percentile (50 to 100) of all distances."""
    middle = centroid(vectors)
    distances = [max(0.0, 1 - similarity(middle, one)) for one in vectors]
    limit = quantile(sorted(distances), percentile / 100)
    far = [index for index, distance in enumerate(distances) if distance > limit]
    return Outliers(sorted(far, key=lambda index: (-distances[index], index)), distances, limit)


def check_work(vectors: Sequence[Vector]) -> None:
    """Raise `Rejected`, status 422, where to compare all vectors with each other would take too long."""
    size = len(vectors[0]) if vectors else 0
    if len(vectors) ** 2 * size > MAX_PAIRS_WORK:
        most = int((MAX_PAIRS_WORK / size) ** 0.5)
        text = f"body.texts: at most {most} texts of vectors of {size} numbers can be compared with each other"
        raise Rejected(text, code="too_many_texts", status=422)


def _neighbourhoods(vectors: Sequence[Vector], eps: float) -> Sequence[Sequence[int]]:
    """Return for each vector those at most `eps` away, itself too, in order."""
    close: list[list[int]] = [[index] for index in range(len(vectors))]
    # 1 - cosine <= eps, as the distance of both ends.
    bound = (2 * eps) ** 0.5 + 1e-12
    for index, one in enumerate(vectors):
        for other in range(index + 1, len(vectors)):
            if dist(one, vectors[other]) <= bound:
                close[index].append(other)
                close[other].append(index)
    return [sorted(some) for some in close]


def _features(text: str) -> Iterator[str]:
    """Yield the words of a text, and the groups of characters in it; at least one."""
    words = text[:MAX_TEXT].casefold().split()
    yield from (f"={word}" for word in words)
    whole = f" {' '.join(words)} "
    for size in GRAMS:
        yield from (whole[at : at + size] for at in range(max(1, len(whole) - size + 1)))

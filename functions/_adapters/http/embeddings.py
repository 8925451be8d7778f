"""A server that makes vectors of texts, by the interface of OpenAI: `POST /embeddings`.

Its address is a setting, no redirect is followed, an answer is read up to a bound and checked. A server that does not
answer is no reason to make vectors otherwise: those of two spaces say nothing of each other.
"""

import asyncio
import json
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from functions._adapters.http.client import HttpClient
from functions._adapters.http.repeated import Request, call_repeated
from functions._core.errors import Rejected, Unavailable
from functions._core.insights.semantics import Vector, unit
from functions._core.records.json_text import parse_json

BATCH = 64
"""Texts of one call."""

MAX_NUMBERS = 4096
"""Numbers of a vector."""

ANSWER_BYTES = BATCH * MAX_NUMBERS * 24
"""Bytes of an answer: a number takes some 22 as text."""

HEADERS = {"content-type": "application/json", "accept": "application/json"}


class EmbeddingServer:
    """Asks for vectors; implements `semantics.Embeddings`."""

    def __init__(
        self, client: HttpClient, url: str, model: str, *, key: str | None = None, timeout_seconds: float = 10.0
    ) -> None:
        """Call nobody yet; `url` is the base URL, `timeout_seconds` are for all calls of one question together."""
        self._client, self._url, self._model = client, f"{url.rstrip('/')}/embeddings", model
        self._headers = {**HEADERS, "authorization": f"Bearer {key}"} if key else HEADERS
        self._timeout_seconds = timeout_seconds

    @property
    def space(self) -> str:
        """The name of the space: that of the model."""
        return self._model

    async def vectors(self, texts: Sequence[str]) -> Sequence[Vector]:
        """Return the vector of each text, all of one length; raise `Unavailable` saying what is wrong."""
        found: list[Vector] = []
        until = asyncio.get_running_loop().time() + self._timeout_seconds
        for at in range(0, len(texts), BATCH):
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                raise Unavailable(f"the server of embeddings took more than {self._timeout_seconds:g} s")
            found += await self._asked(texts[at : at + BATCH], left)
        if len({len(vector) for vector in found}) > 1:
            raise Unavailable("the server of embeddings gave vectors of different lengths")
        return found

    async def _asked(self, texts: Sequence[str], seconds: float) -> Sequence[Vector]:
        body = json.dumps({"model": self._model, "input": list(texts), "encoding_format": "float"}).encode()
        request = Request("POST", self._url, self._headers, body)
        reply = await call_repeated(self._client, request, seconds=seconds, answer_bytes=ANSWER_BYTES)
        if reply.status != HTTPStatus.OK:
            raise Unavailable(f"the server of embeddings answered {reply.status}")
        if not reply.complete:
            raise Unavailable(f"the server of embeddings did not end its answer within {ANSWER_BYTES} bytes")
        try:
            return await asyncio.to_thread(_read, reply.body, len(texts))  # megabytes of numbers
        except (Rejected, KeyError, TypeError, ValueError):
            raise Unavailable("the server of embeddings answered something that is no list of vectors") from None


def _read(body: bytes, asked: int) -> Sequence[Vector]:
    """Return the vectors of an answer, in the order of the texts; raise `ValueError` or what else is wrong with it."""
    answer: Any = parse_json(body)
    by_index = {one["index"]: one["embedding"] for one in answer["data"]}
    if len(answer["data"]) != asked or by_index.keys() != set(range(asked)):
        raise ValueError("not one vector for each text")
    return [unit(_numbers(by_index[index])) for index in range(asked)]


def _numbers(said: Any) -> Sequence[float]:
    if not isinstance(said, list) or not 1 <= len(said) <= MAX_NUMBERS:
        raise ValueError("no vector")
    numbers = [float(one) for one in said if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) != len(said) or not all(map(math.isfinite, numbers)):
        raise ValueError("no numbers")
    return numbers

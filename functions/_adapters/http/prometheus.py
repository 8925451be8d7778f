"""Prometheus, or another server with its HTTP API, asked for the values of queries.

Its address is a setting: no client of the platform can name another one, a query travels in the body of a request, and
no redirect is followed. Two kinds of error are told apart: a server that says what is wrong with a query
(`QueryFailed`), and one that gives no answer (`Unavailable`).
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlencode

from functions._adapters.http.client import HttpClient
from functions._adapters.http.repeated import PASSING, Request, call_repeated
from functions._core.errors import Rejected, Unavailable
from functions._core.records.json_text import parse_json
from functions._core.slo.definition import Aggregation

TIMEOUT_SECONDS = 10.0

ANSWER_BYTES = 512 * 1024
"""Bytes of an answer: a query that measures a service gives a few series, each of some hundred bytes."""

HEADERS = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}

MAX_POINTS = 11_000
"""Points of a range that the server gives, for each series."""

SAID = 500
"""Characters of an error of the server that are told."""

Told = Callable[[str, float], None]
"""Is told each query: `ok`, `no_data`, `error` or `unavailable`, and its seconds."""


class QueryFailed(Rejected):
    """The metrics server answered, but not with a value."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="metrics_query_failed", status=502)


class Sample(NamedTuple):
    """A series at a moment; `at` is in seconds since 1970."""

    labels: Mapping[str, str]
    at: float
    value: float


class RangeSeries(NamedTuple):
    """A series over a time: moments in seconds since 1970, and values."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


class PrometheusServer:
    """Asks for values of PromQL; implements `indicator.MetricsServer`."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        told: Told = lambda _status, _seconds: None,
    ) -> None:
        """Call nobody yet; `url` is the base URL, `timeout_seconds` are for a query with all of its repetitions."""
        self._client = client
        self._url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._told = told

    async def value(self, query: str, aggregation: Aggregation, at: datetime | None = None) -> float | None:
        """Return the one number of a query now, or at a moment; None where there is no data.

        A series that is NaN or infinite has no data. Raises `QueryFailed` when the server says that the query is wrong
        or cannot be carried out, `Unavailable` when it cannot be reached or does not answer in time.
        """

        async def ask() -> float | None:
            return aggregated(await self.query(query, at), aggregation)

        return await self._timed(ask)

    async def query(self, query: str, at: datetime | None = None) -> Sequence[Sample]:
        """Return the series of a query at a moment; raises as `value` does."""
        found = await self._ask("query", {"query": query, **({} if at is None else {"time": _moment(at)})})
        return _read(_samples, found)

    async def query_range(self, query: str, start: datetime, end: datetime, step: timedelta) -> Sequence[RangeSeries]:
        """Return the series of a query from `start` up to and with `end`; raises as `value` does."""
        if step <= timedelta() or (end - start) / step > MAX_POINTS:
            raise QueryFailed(f"a range has up to {MAX_POINTS} points, one for each step")
        asked = {"query": query, "start": _moment(start), "end": _moment(end), "step": f"{step.total_seconds():.3f}"}
        return _read(_series, await self._ask("query_range", asked))

    async def _timed(self, ask: Callable[[], Awaitable[float | None]]) -> float | None:
        loop = asyncio.get_running_loop()
        begun, status = loop.time(), "unavailable"
        try:
            value = await ask()
            status = "no_data" if value is None else "ok"
        except QueryFailed:
            status = "error"
            raise
        finally:
            self._told(status, loop.time() - begun)
        return value

    async def _ask(self, path: str, asked: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the data of an answer."""
        seconds = self._timeout_seconds
        body = urlencode({**asked, "timeout": f"{seconds:.3f}"}).encode()
        request = Request("POST", f"{self._url}/api/v1/{path}", HEADERS, body)
        reply = await call_repeated(self._client, request, seconds=seconds, answer_bytes=ANSWER_BYTES)
        if reply.status in PASSING:
            raise Unavailable(f"the metrics server answered {reply.status}{_said(reply.body)}")
        if reply.status != HTTPStatus.OK:
            raise QueryFailed(f"the metrics server answered {reply.status}{_said(reply.body)}")
        if not reply.complete:
            if len(reply.body) >= ANSWER_BYTES:
                raise QueryFailed(f"the query gives more than {ANSWER_BYTES} bytes: aggregate its series, as by sum()")
            raise Unavailable("the metrics server did not end its answer")
        answer = _json(reply.body)
        data = answer.get("data") if isinstance(answer, dict) and answer.get("status") == "success" else None
        if not isinstance(data, dict):
            raise QueryFailed("the metrics server answered something that is no result of a query")
        return data


def aggregated(samples: Sequence[Sample], aggregation: Aggregation) -> float | None:
    """Return several series as one value; None for none. `ratio` and `last` take the first one, by labels."""
    known = [sample for sample in samples if math.isfinite(sample.value)]
    if not known:
        return None
    values = [sample.value for sample in known]
    if aggregation in {Aggregation.RATIO, Aggregation.LAST}:
        return min(known, key=lambda sample: sorted(sample.labels.items())).value
    if aggregation is Aggregation.AVG:
        return math.fsum(values) / len(values)
    if aggregation is Aggregation.SUM:
        return math.fsum(values)
    return min(values) if aggregation is Aggregation.MIN else max(values)


def _samples(data: Mapping[str, Any]) -> Sequence[Sample]:
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return [Sample({}, *_point(result))]
    if kind != "vector":
        raise QueryFailed(f"the query gives a {str(kind)[:20]}, and not a value at a moment")
    return [Sample(_labels(one["metric"]), *_point(one["value"])) for one in result]


def _series(data: Mapping[str, Any]) -> Sequence[RangeSeries]:
    if data["resultType"] != "matrix":
        raise QueryFailed("the metrics server answered something that is no range")
    return [RangeSeries(_labels(one["metric"]), [*map(_point, one["values"])]) for one in data["result"]]


def _read(how: Callable[[Mapping[str, Any]], Sequence[Any]], data: Mapping[str, Any]) -> Sequence[Any]:
    try:
        return how(data)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise QueryFailed("the metrics server answered something that is no result of a query") from None


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    """Return a moment and a value, which comes as text; raise `ValueError`."""
    at, value = pair
    if not isinstance(value, str) or isinstance(at, bool) or not isinstance(at, int | float):
        raise TypeError
    return float(at), float(value)


def _labels(metric: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in metric.items()}


def _said(body: bytes) -> str:
    """Return what an answer says is wrong, as the end of a sentence."""
    try:
        answer = parse_json(body)
    except Rejected:
        return ""
    error = answer.get("error") if isinstance(answer, dict) else None
    return f": {_printable(error[:SAID])}" if isinstance(error, str) and error else ""


def _printable(text: Iterable[str]) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _json(body: bytes) -> object:
    try:
        return parse_json(body)
    except Rejected:
        raise QueryFailed("the metrics server answered something that is no JSON") from None


def _moment(at: datetime) -> str:
    return f"{at.timestamp():.3f}"

"""Values of queries: from a real Prometheus, and what becomes of servers that are away, slow, or answer nonsense."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.http.client import HttpClient
from functions._adapters.http.prometheus import ANSWER_BYTES, PrometheusServer, QueryFailed, Sample, aggregated
from functions._core.errors import Unavailable
from functions._core.slo.definition import Aggregation
from tests.support.loopback import Answer, Loopback, Request
from tests.support.monitoring import prometheus, promtool

AVG = Aggregation.AVG
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    async with Loopback() as running:
        yield running


@asynccontextmanager
async def asking(url: str, seconds: float = 5) -> AsyncIterator[PrometheusServer]:
    client = HttpClient()
    try:
        yield PrometheusServer(client, url, timeout_seconds=seconds)
    finally:
        await client.aclose()


def vector(*values: str, **labels: str) -> bytes:
    result: list[dict[str, Any]] = [
        {"metric": {"n": str(n), **labels}, "value": [NOW.timestamp(), value]} for n, value in enumerate(values)
    ]
    return success({"resultType": "vector", "result": result})


def success(data: Any) -> bytes:
    return json.dumps({"status": "success", "data": data}).encode()


def always(answer: Answer) -> Callable[[Request], Awaitable[Answer]]:
    async def give(_request: Request) -> Answer:
        return answer

    return give


def one_after_the_other(*answers: Answer) -> Callable[[Request], Awaitable[Answer]]:
    left: Iterator[Answer] = iter(answers)

    async def give(_request: Request) -> Answer:
        return next(left)

    return give


@pytest.mark.parametrize(
    ("aggregation", "value"),
    [("avg", 0.3), ("min", 0.1), ("max", 0.6), ("sum", 0.9), ("last", 0.2), ("ratio", 0.2)],
)
async def test_several_series_become_one_value(server: Loopback, aggregation: str, value: float) -> None:
    server.answer = always(Answer(200, vector("0.2", "NaN", "0.1", "+Inf", "0.6")))
    async with asking(server.url) as metrics:
        assert await metrics.value("sum(x)", Aggregation(aggregation)) == pytest.approx(value)


@pytest.mark.parametrize("values", [(), ("NaN",), ("+Inf", "-Inf", "NaN")])
@pytest.mark.parametrize("aggregation", [*Aggregation])
async def test_what_is_no_number_is_no_data(
    server: Loopback, values: tuple[str, ...], aggregation: Aggregation
) -> None:
    server.answer = always(Answer(200, vector(*values)))
    async with asking(server.url) as metrics:
        assert await metrics.value("sum(x)", aggregation) is None


async def test_a_query_travels_in_the_body_and_to_the_address_of_the_setting_alone(server: Loopback) -> None:
    server.answer = always(Answer(200, success({"resultType": "scalar", "result": [NOW.timestamp(), "0.5"]})))
    query = 'http://169.254.169.254/?a&time=0#\r\nhost: x\r\n{a="ü"}'
    async with asking(f"{server.url}/select/0/prometheus/") as metrics:
        assert await metrics.value(query, AVG, NOW) == 0.5
    (asked,) = server.requests
    assert (asked.method, asked.path, asked.query) == ("POST", "/select/0/prometheus/api/v1/query", {})
    assert "host: x" not in str(asked.headers)
    told = dict(part.split("=", 1) for part in asked.body.decode().split("&"))
    assert told.keys() == {"query", "time", "timeout"}
    assert told["time"] == f"{NOW.timestamp():.3f}"


async def test_two_failures_and_then_an_answer_are_an_answer(server: Loopback) -> None:
    server.answer = one_after_the_other(Answer(503), Answer(502), Answer(200, vector("0.25")))
    async with asking(server.url) as metrics:
        assert await metrics.value("x", AVG) == 0.25
    assert len(server.requests) == 3


async def test_a_server_that_is_away_comes_back_within_the_time(server: Loopback) -> None:
    server.answer = always(Answer(200, vector("0.25")))
    await server.stop()
    async with asking(server.url) as metrics:
        asked = asyncio.create_task(metrics.value("x", AVG))
        await asyncio.sleep(0.15)
        await server.start()
        assert await asked == 0.25


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_gateway_whose_server_stays_away_is_no_answer(server: Loopback, status: int) -> None:
    server.answer = always(Answer(status, b'{"status": "error", "error": "query timed out"}'))
    async with asking(server.url) as metrics:
        with pytest.raises(Unavailable, match=f"answered {status}: query timed out"):
            await metrics.value("x", AVG)
    assert len(server.requests) == 4


async def test_a_server_that_is_away_is_told_apart_from_one_that_refuses(server: Loopback) -> None:
    server.answer = always(
        Answer(400, b'{"status":"error","errorType":"bad_data","error":"parse error\\u0000: \\u001b"}')
    )
    async with asking(server.url) as metrics:
        with pytest.raises(QueryFailed, match=r"answered 400: parse error :  $") as failed:
            await metrics.value("sum(", AVG)
        assert (failed.value.code, failed.value.status) == ("metrics_query_failed", 502)
        assert len(server.requests) == 1
        await server.stop()
        with pytest.raises(Unavailable, match="cannot be reached"):
            await metrics.value("sum(", AVG)


async def test_a_server_that_never_answers_costs_its_time_and_no_more(server: Loopback) -> None:
    forever = asyncio.Event()

    async def hang(_request: Request) -> Answer:
        await forever.wait()
        return Answer()

    server.answer = hang
    async with asking(server.url, seconds=0.5) as metrics:
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="did not answer"):
            await metrics.value("x", AVG)
    assert time.monotonic() - begun >= 0.45
    assert len(server.requests) == 1
    forever.set()


HOSTILE = {
    "no JSON": b"<html>It works!</html>",
    "nothing": b"",
    "a number": b"1",
    "null": b"null",
    "an error that says 200": b'{"status": "error", "error": "x"}',
    "no data": b'{"status": "success"}',
    "data of another shape": b'{"status": "success", "data": []}',
    "another type": success({"resultType": "string", "result": [1, "x"]}),
    "a range": success({"resultType": "matrix", "result": []}),
    "a type that is none": success({"resultType": {"a": []}, "result": []}),
    "no list": success({"resultType": "vector", "result": {"a": 1}}),
    "a list of numbers": success({"resultType": "vector", "result": [1, 2]}),
    "no value": success({"resultType": "vector", "result": [{"metric": {}}]}),
    "half a value": success({"resultType": "vector", "result": [{"metric": {}, "value": [1]}]}),
    "a value that is no text": success({"resultType": "vector", "result": [{"metric": {}, "value": [1, 0.9]}]}),
    "a word": success({"resultType": "vector", "result": [{"metric": {}, "value": [1, "much"]}]}),
    "labels that are none": success({"resultType": "vector", "result": [{"metric": [1], "value": [1, "1"]}]}),
    "too deep": success({"resultType": "vector", "result": []})[:-2] + b', "x": ' + b"[" * 500 + b"]" * 500 + b"}}",
    "numbers without end": b'{"status": "success", "data": {"resultType": "scalar", "result": ['
    + b"9" * 5000
    + b', "1"]}}',
    "NaN": b'{"status": "success", "data": {"resultType": "scalar", "result": [NaN, "1"]}}',
    "too much": b'{"status": "success", "data": "' + b"x" * ANSWER_BYTES + b'"}',
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_an_answer_that_is_none_is_an_error_of_the_server(server: Loopback, what: str) -> None:
    server.answer = always(Answer(200, HOSTILE[what]))
    async with asking(server.url) as metrics:
        with pytest.raises(QueryFailed) as failed:
            await metrics.value("x", AVG)
    assert len(str(failed.value)) < 700


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_redirect_is_not_followed(server: Loopback, status: int) -> None:
    async with Loopback() as inside:
        server.answer = always(Answer(status, headers={"location": f"{inside.url}/api/v1/query"}))
        async with asking(server.url) as metrics:
            with pytest.raises(QueryFailed, match=str(status)):
                await metrics.value("x", AVG)
        assert inside.requests == []


@pytest.mark.parametrize("url", ["http://169.254.169.254", "http://metadata.google.internal", "http://[fd00:ec2::254]"])
async def test_a_setting_that_leads_to_the_metadata_of_a_cloud_is_not_called(url: str) -> None:
    async with asking(url) as metrics:
        with pytest.raises(Unavailable, match="never called"):
            await metrics.value("x", AVG)


async def test_an_error_of_the_server_is_told_up_to_a_bound(server: Loopback) -> None:
    server.answer = always(Answer(422, json.dumps({"error": "y" * 100_000}).encode()))
    async with asking(server.url) as metrics:
        with pytest.raises(QueryFailed) as failed:
            await metrics.value("x", AVG)
    assert 400 < len(str(failed.value)) < 700


def test_the_first_of_several_is_the_first_by_its_labels() -> None:
    found = [Sample({"n": "b"}, 1, 0.2), Sample({"n": "a"}, 1, 0.1), Sample({"n": "0"}, 1, math.nan)]
    assert aggregated(found, Aggregation.LAST) == aggregated(found[::-1], Aggregation.RATIO) == 0.1


@pytest.mark.slow
async def test_a_real_prometheus_answers_at_any_moment(tmp_path: Path) -> None:
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    lines = ["# TYPE requests counter"]
    for code, per_minute in (("200", 99), ("500", 1)):
        stamp = begin.timestamp()
        lines += [f'requests_total{{code="{code}"}} {n * per_minute} {stamp + 60 * n:.0f}' for n in range(121)]
    (tmp_path / "series.txt").write_text("\n".join([*lines, "# EOF", ""]))
    promtool(tmp_path, "tsdb", "create-blocks-from", "openmetrics", "series.txt", "run/tsdb")
    errors = 'sum(rate(requests_total{code="500"}[1h])) / sum(rate(requests_total[1h]))'
    then = begin + timedelta(hours=2)
    async with prometheus(tmp_path / "run") as url, asking(url) as metrics:
        assert await metrics.value(errors, Aggregation.RATIO, then) == pytest.approx(0.01)
        assert await metrics.value("rate(requests_total[1h])", Aggregation.SUM, then) == pytest.approx(100 / 60)
        assert await metrics.value(errors, Aggregation.RATIO) is None  # nothing in the last hour
        assert await metrics.value("sum(requests_total{code='404'}) / 0", AVG, then) is None
        assert await metrics.value("vector(1) / 0", AVG) is None
        series = await metrics.query_range("requests_total", begin, then, timedelta(hours=1))
        assert sorted([value for _, value in one.points] for one in series) == [[0, 60, 120], [0, 5940, 11880]]
        for wrong in ("sum(", "requests_total[1h]", '"text"', "requests_total{", "count_values(1, x)"):
            with pytest.raises(QueryFailed):
                await metrics.value(wrong, AVG)
        with pytest.raises(QueryFailed, match="points"):
            await metrics.query_range("requests_total", begin, then, timedelta(milliseconds=1))

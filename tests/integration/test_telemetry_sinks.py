import asyncio
import json
import resource
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from functions._adapters.http.client import HttpClient
from functions._adapters.http.cloudevents import BATCHED, read_events
from functions._adapters.http.telemetry import EVENTS_PER_POST, FileTelemetrySink, HttpTelemetrySink
from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from tests.support.loopback import Answer, Loopback, Request

# One server serves all tests of this module, since starting and stopping one takes longer than any test.
pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(number: int = 1) -> CloudEvent:
    return CloudEvent(id=f"e-{number}", source="/test", type="a.b", time=NOW, subject="é", data={"n": number})


def received(requests: Sequence[Request]) -> list[CloudEvent]:
    return [found for request in requests for found in read_events(request.headers, request.body, received_at=NOW)[0]]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one_server() -> AsyncIterator[Loopback]:
    async with Loopback() as loopback:
        yield loopback


@pytest.fixture
def server(one_server: Loopback) -> Loopback:
    one_server.reset()
    return one_server


@pytest_asyncio.fixture(loop_scope="module")
async def client() -> AsyncIterator[HttpClient]:
    opened = HttpClient(timeout_seconds=2)
    yield opened
    await opened.aclose()


async def test_telemetry_is_sent_in_order_in_bounded_batches(server: Loopback, client: HttpClient) -> None:
    events = [event(n) for n in range(2 * EVENTS_PER_POST + 50)]
    await HttpTelemetrySink(client, server.url).send(events)
    assert [len(request.json) for request in server.requests] == [100, 100, 50]
    assert {request.headers["content-type"] for request in server.requests} == {BATCHED}
    assert received(server.requests) == events


async def test_no_telemetry_is_no_post(server: Loopback, client: HttpClient) -> None:
    await HttpTelemetrySink(client, server.url).send([])
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, Unavailable) for status in (404, 408, 409, 429, 500, 503)),
        *((status, Rejected) for status in (302, 400, 401, 403, 413, 415, 422)),
    ],
)
async def test_telemetry_that_is_not_taken_may_be_taken_later_or_never(
    server: Loopback, client: HttpClient, status: int, error: type[Exception]
) -> None:
    async def second_fails(_: Request) -> Answer:
        return Answer(status if len(server.requests) == 2 else 200)

    server.answer = second_fails
    with pytest.raises(error, match=str(status)):
        await HttpTelemetrySink(client, server.url).send([event(n) for n in range(3 * EVENTS_PER_POST)])
    assert len(server.requests) == 2


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "nowhere", "http://127.0.0.1:1/"])
async def test_a_sink_that_cannot_be_called_is_unavailable(client: HttpClient, url: str) -> None:
    with pytest.raises(Unavailable):
        await HttpTelemetrySink(client, url).send([event()])


def events_in(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


async def test_a_telemetry_file_holds_one_structured_event_a_line(tmp_path: Path) -> None:
    path = tmp_path / "some" / "folder" / "telemetry.jsonl"
    sink = FileTelemetrySink(path)
    await sink.send([event(1), event(2)])
    await sink.send([event(3)])
    lines = path.read_bytes().splitlines()
    found = [read_events({"content-type": "application/cloudevents+json"}, line, received_at=NOW) for line in lines]
    assert found == [([event(n)], False) for n in (1, 2, 3)]


async def test_telemetry_that_is_sent_at_once_does_not_mix_in_the_file(tmp_path: Path) -> None:
    sink = FileTelemetrySink(tmp_path / "telemetry.jsonl")
    await asyncio.gather(*(sink.send([event(10 * n + m) for m in range(10)]) for n in range(20)))
    ids = events_in(tmp_path / "telemetry.jsonl")
    assert len(ids) == 200
    for start in range(0, 200, 10):
        first = int(ids[start].removeprefix("e-"))
        assert ids[start : start + 10] == [f"e-{first + m}" for m in range(10)]


async def test_a_line_that_a_crash_cut_short_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    path.write_bytes(b'{"specversion": "1.')
    await FileTelemetrySink(path).send([event(7)])
    torn, whole = path.read_bytes().splitlines()
    assert torn == b'{"specversion": "1.'
    assert json.loads(whole)["id"] == "e-7"


async def test_telemetry_that_finds_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    sink = FileTelemetrySink(path)
    await sink.send([event(1)])
    size = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
    try:
        with pytest.raises(Unavailable, match="cannot be written"):
            await sink.send([event(2), event(3)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert events_in(path) == ["e-1"]
    await sink.send([event(2)])
    assert events_in(path) == ["e-1", "e-2"]


async def test_a_telemetry_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await FileTelemetrySink(tmp_path).send([event()])
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        await FileTelemetrySink(tmp_path / "file" / "telemetry.jsonl").send([event()])

"""Publishing to a Knative broker, over real HTTP; and answers that need no web framework."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from functions._adapters.http.client import HttpClient
from functions._adapters.http.knative import PAUSES, KnativeBroker
from functions._adapters.http.telemetry import BrokerTelemetrySink
from functions._core.errors import Rejected, Unavailable
from functions._engine.clock import SystemClock
from functions._hosts.plain_answers import problem
from functions.api.problems import problem as problem_of_the_api
from tests.support.builders import make_event
from tests.support.knative import event_of
from tests.support.loopback import Answer, Loopback, Request


@pytest.fixture
async def sink() -> AsyncIterator[Loopback]:
    async with Loopback() as running:
        yield running


@pytest.fixture
async def broker(sink: Loopback) -> AsyncIterator[KnativeBroker]:
    client = HttpClient()
    yield KnativeBroker(client, sink.url, {"cluster": "blue", "partitionkey": "over"}, SystemClock())
    await client.aclose()


def answering(sink: Loopback, *answers: Answer) -> None:
    """Let the sink give these answers, the last one again and again."""

    async def answer(_request: Request) -> Answer:
        return answers[min(len(sink.requests), len(answers)) - 1]

    sink.answer = answer


async def test_overrides_are_added_to_every_event_and_win(sink: Loopback, broker: KnativeBroker) -> None:
    await broker.publish([make_event(1), make_event(2)])
    sent = [event_of(request) for request in sink.requests]
    assert [event.id for event in sent] == ["event-1", "event-2"]
    assert all(event.extensions == {"cluster": "blue", "partitionkey": "over"} for event in sent)
    assert len({request.client for request in sink.requests}) == 1, "one connection for all"


@pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 503])
async def test_what_may_pass_is_tried_again_a_few_times(status: int, sink: Loopback, broker: KnativeBroker) -> None:
    answering(sink, Answer(status), Answer(202))
    await broker.publish([make_event()])
    assert len(sink.requests) == 2
    sink.reset()
    answering(sink, Answer(status))
    with pytest.raises(Unavailable, match=str(status)):
        await broker.publish([make_event()])
    assert len(sink.requests) == len(PAUSES) + 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 413])
async def test_what_does_not_pass_is_not_tried_again(status: int, sink: Loopback, broker: KnativeBroker) -> None:
    answering(sink, Answer(status))
    with pytest.raises(Rejected) as refusal:
        await broker.publish([make_event()])
    assert (refusal.value.status, len(sink.requests)) == (status, 1)


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_long_pause_that_is_asked_for_is_kept_by_all(form: str, sink: Loopback, broker: KnativeBroker) -> None:
    asked = "20" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    answering(sink, Answer(503, headers={"retry-after": asked}))
    for _ in range(3):
        with pytest.raises(Unavailable):
            await broker.publish([make_event()])
    assert len(sink.requests) == 1


@pytest.mark.parametrize(
    "asked", ["", "soon", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", f"Sun, 29 Nov {'9' * 30} 12:01:00 GMT"]
)
async def test_a_pause_that_means_nothing_is_none(asked: str, sink: Loopback, broker: KnativeBroker) -> None:
    answering(sink, Answer(503, headers={"retry-after": asked}), Answer(202))
    await broker.publish([make_event()])
    assert len(sink.requests) == 2


async def test_a_sink_that_is_not_there_is_unavailable(sink: Loopback, broker: KnativeBroker) -> None:
    await sink.stop()
    with pytest.raises(Unavailable):
        await broker.publish([make_event()])


@pytest.mark.parametrize(("status", "error"), [(413, Rejected), (302, Rejected), (404, Unavailable)])
async def test_telemetry_that_the_broker_refuses_is_refused_for_good(
    sink: Loopback, broker: KnativeBroker, status: int, error: type[Exception]
) -> None:
    answering(sink, Answer(status))
    with pytest.raises(error):
        await BrokerTelemetrySink(broker).send([make_event()])


async def test_a_broker_whose_address_is_never_called_is_away_and_refuses_nothing() -> None:
    client = HttpClient()
    broker = KnativeBroker(client, "http://169.254.169.254/", {}, SystemClock())
    with pytest.raises(Unavailable, match="never called"):
        await broker.publish([make_event()])
    await client.aclose()


def test_a_problem_is_written_as_the_api_writes_it() -> None:
    said = 503, "unavailable", "not now", {"retry-after": "1"}
    ours, apis = problem(*said), problem_of_the_api(*said)
    assert json.loads(ours.body) == json.loads(bytes(apis.body))
    assert sorted(ours.raw_headers) == sorted(apis.raw_headers)

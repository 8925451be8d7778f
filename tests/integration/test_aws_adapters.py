"""The adapters of AWS over the wire: a bus, the claim check, messages, secrets."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from functions._adapters.aws.claims import Claims
from functions._adapters.aws.eventbridge import BYTES, EventBridgeBroker
from functions._adapters.aws.messages import Queue, queue_of, read_message
from functions._adapters.aws.queues import FunctionQueues
from functions._adapters.aws.secrets import AwsSecrets
from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import type_of
from tests.support.aws_emulator import Aws
from tests.support.builders import make_event
from tests.support.loopback import Answer, Loopback, Request

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_what_is_published_arrives_in_a_queue_as_the_same_event(aws_services: Aws) -> None:
    url, arn = await aws_services.queue()
    broker = EventBridgeBroker(aws_services.of("events"), await aws_services.bus_into(arn), None)
    sent = [replace(make_event(number), extensions={"partitionkey": "flow-1"}) for number in range(25)]
    await asyncio.gather(*(broker.publish([event]) for event in sent))
    got = [read_message(message["Body"], NOW) for message in await aws_services.messages(url, len(sent))]
    assert sorted(got, key=lambda event: event.id) == sorted(sent, key=lambda event: event.id)


async def test_the_data_of_a_large_event_lies_in_the_bucket_and_is_fetched_from_there(aws_services: Aws) -> None:
    url, arn = await aws_services.queue()
    claims = Claims(aws_services.of("s3"), await aws_services.bucket())
    broker = EventBridgeBroker(aws_services.of("events"), await aws_services.bus_into(arn), claims)
    large = replace(make_event(), data={"text": "ä" * BYTES})
    await broker.publish([large])
    (message,) = await aws_services.messages(url, 1)
    assert len(message["Body"].encode()) < 4096
    arrived = read_message(message["Body"], NOW)
    assert arrived.data is None
    assert await claims.fetched(arrived) == large


async def test_what_a_function_handles_goes_into_its_queue_and_the_bus_gets_what_others_want(aws_services: Aws) -> None:
    direct, _ = await aws_services.queue("discover")
    others, arn = await aws_services.queue("others")
    bus = EventBridgeBroker(aws_services.of("events"), await aws_services.bus_into(arn), None)
    claims = Claims(aws_services.of("s3"), await aws_services.bucket())
    urls = {"discover": direct}
    broker = FunctionQueues(
        aws_services.of("sqs"), urls, bus, claims, {"worker.recovered", "flow.completed"}.__contains__
    )
    kinds = ("tickets.ready", "worker.recovered", "plan.validated", "flow.completed")
    sent = [replace(make_event(number), type=type_of(kind)) for number, kind in enumerate(kinds)]
    large = replace(make_event(9), type=type_of("tickets.ready"), data={"text": "ä" * BYTES})
    await broker.publish([*sent, large])
    got = [await claims.fetched(read_message(one["Body"], NOW)) for one in await aws_services.messages(direct, 3)]
    assert sorted(got, key=lambda event: event.id) == [*sent[:2], large]
    got = [read_message(message["Body"], NOW) for message in await aws_services.messages(others, 3)]
    assert sorted(got, key=lambda event: event.id) == sent[1:]


async def test_an_event_whose_queue_is_away_is_not_published(aws_services: Aws) -> None:
    _, arn = await aws_services.queue("others")
    bus = EventBridgeBroker(aws_services.of("events"), await aws_services.bus_into(arn), None)
    url, _ = await aws_services.queue("discover")
    broker = FunctionQueues(aws_services.of("sqs"), {"discover": f"{url}-gone"}, bus, None, bool)
    with pytest.raises(Unavailable, match="sqs"):
        await broker.publish([replace(make_event(), type=type_of("tickets.ready"))])


async def test_only_the_bucket_of_the_platform_is_read(aws_services: Aws) -> None:
    claims = Claims(aws_services.of("s3"), await aws_services.bucket())
    for reference in ("s3://elsewhere/claims/x", f"s3://{aws_services.name}/other/x", "https://example.com/x"):
        event = replace(make_event(), data=None, extensions={"dataref": reference})
        with pytest.raises(Rejected, match="dataref"):
            await claims.fetched(event)


async def test_a_claim_that_is_not_there_yet_is_asked_for_again(aws_services: Aws) -> None:
    claims = Claims(aws_services.of("s3"), await aws_services.bucket())
    event = replace(make_event(), data=None, extensions={"dataref": f"s3://{aws_services.name}/claims/none.json"})
    with pytest.raises(Unavailable, match="NoSuchKey"):
        await claims.fetched(event)


async def test_a_delayed_message_comes_later_and_one_that_was_received_can_be_seen_again_sooner(
    aws_services: Aws,
) -> None:
    url, arn = await aws_services.queue("timers", VisibilityTimeout="300")
    sqs = aws_services.of("sqs")
    queue = await queue_of(sqs, arn)
    await queue.send(make_event(), 1)
    asked = {"QueueUrl": url, "WaitTimeSeconds": 0, "AttributeNames": ["All"]}
    assert not (await sqs.call("receive_message", asked)).get("Messages")
    await asyncio.sleep(1.1)
    (message,) = (await sqs.call("receive_message", asked))["Messages"]
    assert read_message(message["Body"], NOW) == make_event()
    await queue.see_again(message["ReceiptHandle"], 0)
    (again,) = (await sqs.call("receive_message", {**asked, "WaitTimeSeconds": 5}))["Messages"]
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"


@pytest.mark.parametrize("body", ["", "garbage", "[]", "{}", '{"detail-type": "x", "detail": {}}', '"text"', "\ud800"])
def test_a_message_that_is_no_event_is_refused(body: str) -> None:
    with pytest.raises(Rejected):
        read_message(body, NOW)


async def test_a_secret_is_read_and_one_that_is_not_there_is_named(aws_services: Aws) -> None:
    secrets = AwsSecrets(aws_services.of("secretsmanager"))
    found = await secrets.get(await aws_services.secret("key", "the key"))
    assert (found.value, bool(found.version), found.expires_at) == ("the key", True, None)
    assert "the key" not in repr(found)
    with pytest.raises(Unavailable, match="ResourceNotFound"):
        await secrets.get("no-such-secret")


class Bus(Loopback):
    """Takes entries as EventBridge does, but for those whose event ids are in `refused`, each once."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.calls: list[list[str]] = []

    async def _accept(self, request: Request) -> Answer:
        entries = [json.loads(entry["Detail"]) for entry in request.json["Entries"]]
        self.calls.append([entry["id"] for entry in entries])
        answers: list[dict[str, Any]] = []
        for entry in entries:
            if entry["id"] in self.refused:
                self.refused.discard(entry["id"])
                answers.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"})
            else:
                answers.append({"EventId": entry["id"]})
        body = {"Entries": answers, "FailedEntryCount": sum("ErrorCode" in one for one in answers)}
        return Answer(200, json.dumps(body).encode(), {"content-type": "application/x-amz-json-1.1"})


async def test_ten_events_at_most_go_in_one_call_and_no_more_bytes_than_it_may_have(
    aws_services: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bus() as bus:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", bus.url)
        broker = EventBridgeBroker(aws_services.of("events"), "bus", None)
        await broker.publish([make_event(number) for number in range(12)])
        assert sorted(len(call) for call in bus.calls) == [2, 10]
        bus.calls.clear()
        await broker.publish([replace(make_event(number), data="x" * (BYTES // 2 - 2048)) for number in range(3)])
        assert sorted(len(call) for call in bus.calls) == [1, 2]


async def test_of_a_call_only_what_was_refused_is_sent_again(
    aws_services: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bus() as bus:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", bus.url)
        broker = EventBridgeBroker(aws_services.of("events"), "bus", None)
        events = [make_event(number) for number in range(4)]
        bus.refused = {events[1].id, events[3].id}
        await broker.publish(events)
        assert bus.calls == [[event.id for event in events], [events[1].id, events[3].id]]


async def test_events_that_the_bus_never_takes_are_counted_in_the_error(
    aws_services: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bus() as bus:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", bus.url)
        monkeypatch.setattr("functions._adapters.aws.eventbridge.PAUSES", (0.0,))
        broker = EventBridgeBroker(aws_services.of("events"), "bus", None)
        body = {"Entries": [{"ErrorCode": "InternalFailure"}], "FailedEntryCount": 1}

        async def never(_request: Request) -> Answer:
            return Answer(200, json.dumps(body).encode(), {"content-type": "application/x-amz-json-1.1"})

        bus.answer = never
        with pytest.raises(Unavailable, match="1 of 1 events: InternalFailure"):
            await broker.publish([make_event()])


async def test_a_queue_of_a_url_that_leads_nowhere_is_away(aws_services: Aws) -> None:
    with pytest.raises(Unavailable, match="sqs"):
        await Queue(aws_services.of("sqs"), f"{aws_services.name}-none").send(make_event(), 1)

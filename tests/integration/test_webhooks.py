"""Webhooks over the platform of one machine: SQLite, HTTP on a port, receivers on loopback."""

import hmac
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from functions._core.webhooks import delivery as deliveries
from functions._core.webhooks import subscription as subscriptions
from functions._engine import webhooks as engine
from tests.support.http_workers import HttpWorkers
from tests.support.loopback import Answer, Request, until
from tests.support.one_machine import OneMachine, one_machine
from tests.support.webhook_receiver import WebhookReceiver, answers, verified
from tests.support.world import decision, task
from tests.support.world import until as eventually

ENDED = ["flow.completed"]
PATH = "/api/v1/subscriptions"


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with HttpWorkers() as workers, one_machine(tmp_path) as running:
        await running.register("w1", endpoint=f"{workers.url}/w1")
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as running:
        yield running


async def subscribe(platform: OneMachine, sink: str, **more: Any) -> dict[str, Any]:
    subscription: dict[str, Any] = await platform.send(PATH, {"sink": sink, "types": ENDED, **more})
    return subscription


async def completed(platform: OneMachine, *, tasks: int = 1) -> str:
    """Run a flow to its end; return its id."""
    flow_id = await platform.submit(decision(*(task(f"t{number}") for number in range(tasks))))
    assert (await platform.ended(flow_id))["status"] == "COMPLETED"
    return flow_id


async def delivery(platform: OneMachine, subscription: dict[str, Any], status: str) -> dict[str, Any]:
    """Return the newest delivery of a subscription as soon as it has this status."""

    async def found() -> dict[str, Any] | None:
        page = await platform.get(f"{PATH}/{subscription['id']}/deliveries")
        return next((one for one in page["items"] if one["status"] == status), None)

    return await eventually(found, f"a delivery that is {status}")


async def test_a_subscriber_gets_the_events_that_it_wants_signed(
    platform: OneMachine, receiver: WebhookReceiver
) -> None:
    subscription = await subscribe(platform, receiver.sink("a"), types=["flow.completed", "ticket.completed"])
    flow_id = await completed(platform)
    await until(lambda: len(receiver.received["a"]) == 2, "two events")
    requests = [request for _, request in receiver.received["a"]]
    events = [verified(subscription["secret"], request) for request in requests]
    assert [event["type"] for event in events] == [
        f"io.neuralhive.{name}.v1" for name in ("ticket.completed", "flow.completed")
    ]
    assert {event["partitionkey"] for event in events} == {flow_id}
    assert {request.headers["content-type"] for request in requests} == {"application/cloudevents+json; charset=utf-8"}
    logged = await delivery(platform, subscription, "DELIVERED")
    assert (logged["attempts"], logged["last_status"], logged["flow_id"]) == (1, 204, flow_id)


async def test_without_a_subscription_no_event_is_made_for_anybody(platform: OneMachine) -> None:
    def told() -> list[bool] | None:
        wanted = platform.running.engine.dispatcher.subscribed
        return None if wanted is None else [wanted(name) for name in ("flow.completed", "ticket.completed")]

    assert told() is None
    subscription = await subscribe(platform, "http://127.0.0.1:9/gone")
    assert told() == [True, False]
    await platform.call("DELETE", f"{PATH}/{subscription['id']}")
    assert told() is None


async def test_filters_choose_by_attributes(platform: OneMachine, receiver: WebhookReceiver) -> None:
    everything: list[Any] = [{"prefix": {"type": "io.neuralhive."}}]
    await subscribe(platform, receiver.sink("all"), filters=everything)
    await subscribe(platform, receiver.sink("none"), filters=[{"not": {"all": everything}}])
    flow_id = await completed(platform)
    await subscribe(platform, receiver.sink("one"), filters=[{"exact": {"partitionkey": flow_id}}])
    await completed(platform)
    await until(lambda: len(receiver.received["all"]) == 2, "the events of both flows")
    assert receiver.received.keys() == {"all"}


async def test_a_failure_is_repeated_under_the_same_id_and_the_pause_asked_for_is_kept(
    platform: OneMachine, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "SCHEDULE", (timedelta(0),) * 10)
    receiver.behave["a"] = answers(503, 429, 200, headers={"retry-after": "1"})
    subscription = await subscribe(platform, receiver.sink("a"))
    await completed(platform)
    logged = await delivery(platform, subscription, "DELIVERED")
    assert (logged["attempts"], logged["last_status"]) == (3, 200)
    times = [at for at, _ in receiver.received["a"]]
    assert len(set(receiver.ids("a"))) == 1
    assert min(later - earlier for earlier, later in pairwise(times)) >= 1
    assert {logged["delivery_id"]} == set(receiver.ids("a"))


async def test_what_is_refused_for_good_is_a_dead_letter_that_can_be_replayed(
    platform: OneMachine, receiver: WebhookReceiver
) -> None:
    receiver.behave["a"] = answers(400, 200)
    subscription = await subscribe(platform, receiver.sink("a"))
    await completed(platform)
    logged = await delivery(platform, subscription, "FAILED")
    assert logged["attempts"] == 1
    (letter,) = await platform.letters()
    assert (letter["function"], letter["reason"]["code"]) == ("notify", "webhook_failed")
    await platform.send(f"/api/v1/dead-letters/{letter['letter_id']}/replay")
    logged = await delivery(platform, subscription, "DELIVERED")
    assert len(set(receiver.ids("a"))) == 1
    assert await platform.letters() == []


async def test_after_the_last_try_it_is_a_dead_letter(
    platform: OneMachine, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "SCHEDULE", (timedelta(0),) * 3)
    receiver.behave["a"] = answers(500)
    subscription = await subscribe(platform, receiver.sink("a"))
    await completed(platform)
    logged = await delivery(platform, subscription, "FAILED")
    assert (logged["attempts"], len(receiver.received["a"])) == (3, 3)
    assert [letter["reason"]["where"] for letter in await platform.letters()] == [subscription["id"]]


async def test_410_disables_a_subscription_until_it_is_replaced(
    platform: OneMachine, receiver: WebhookReceiver
) -> None:
    receiver.behave["a"] = answers(410, 200)
    subscription = await subscribe(platform, receiver.sink("a"))
    path = f"{PATH}/{subscription['id']}"
    await completed(platform)
    await delivery(platform, subscription, "FAILED")

    async def disabled() -> dict[str, Any] | None:
        found: dict[str, Any] = await platform.get(path)
        return found if found["status"] == "DISABLED" else None

    assert "410" in (await eventually(disabled, "the subscription to be disabled"))["reason"]
    await completed(platform)
    assert (await platform.call("POST", f"{path}/test", {}))[0] == 409
    assert len(receiver.received["a"]) == 1
    assert await platform.letters() == []
    status, replaced = await platform.call("PUT", path, {"sink": receiver.sink("a")})
    assert (status, replaced["status"], replaced["reason"]) == (200, "ACTIVE", None)
    await platform.send(f"{path}/test")
    await until(lambda: len(receiver.received["a"]) == 2, "the test event")
    assert receiver.bodies("a")[1]["type"] == "io.neuralhive.subscription.tested.v1"


async def test_a_subscriber_for_whom_too_much_waits_is_disabled_and_loses_nothing(
    platform: OneMachine, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "MAX_WAITING", 3)
    monkeypatch.setattr(subscriptions, "GRACE", timedelta())
    monkeypatch.setattr(engine, "COUNTED_SECONDS", 0.0)
    receiver.behave["a"] = receiver.hang
    subscription = await subscribe(platform, receiver.sink("a"))
    healthy = await subscribe(platform, receiver.sink("b"))
    for _ in range(4):
        await completed(platform)

    async def status() -> dict[str, Any] | None:
        found: dict[str, Any] = await platform.get(f"{PATH}/{subscription['id']}")
        return found if found["status"] == "DISABLED" else None

    assert "3 events or more wait" in (await eventually(status, "it is disabled"))["reason"]
    await completed(platform)
    await until(lambda: len(receiver.received["b"]) == 5, "the other one has all")
    page = await platform.get(f"{PATH}/{subscription['id']}/deliveries")
    assert [one["status"] for one in page["items"]] == ["PENDING"] * 4
    assert (await platform.get(f"{PATH}/{healthy['id']}"))["status"] == "ACTIVE"
    monkeypatch.setattr(subscriptions, "MAX_WAITING", 100)
    receiver.behave["a"] = answers(204)
    form = {"sink": receiver.sink("a"), "types": ENDED}
    again = await platform.client.put(f"{PATH}/{subscription['id']}", json=form)
    assert again.json()["status"] == "ACTIVE"


async def test_while_a_secret_is_replaced_both_sign(platform: OneMachine, receiver: WebhookReceiver) -> None:
    subscription = await subscribe(platform, receiver.sink("a"), config={"x_webhook_signature": True})
    path = f"{PATH}/{subscription['id']}"
    shown = await platform.get(path)
    assert "secret" not in shown
    rotated = await platform.send(f"{path}/rotate-secret", {"overlap_seconds": 60})
    await platform.send(f"{path}/test")
    await until(lambda: receiver.received["a"], "the test event")
    (_, request) = receiver.received["a"][0]
    for secret in (subscription["secret"], rotated["secret"]):
        assert verified(secret, request)["type"].endswith("tested.v1")
    plain = hmac.new(rotated["secret"].encode(), request.body, sha256).hexdigest()
    assert request.headers["x-webhook-signature"] == f"sha256={plain}"
    await platform.send(f"{path}/rotate-secret", {"overlap_seconds": 0})
    await platform.send(f"{path}/test")
    await until(lambda: len(receiver.received["a"]) == 2, "another test event")
    for secret in (subscription["secret"], rotated["secret"]):
        with pytest.raises(WebhookVerificationError):
            verified(secret, receiver.received["a"][1][1])


async def test_a_delivery_is_sent_again_when_somebody_asks(platform: OneMachine, receiver: WebhookReceiver) -> None:
    subscription = await subscribe(platform, receiver.sink("a"))
    await completed(platform)
    sent = await delivery(platform, subscription, "DELIVERED")
    path = f"{PATH}/{subscription['id']}/deliveries/{sent['delivery_id']}"
    whole = await platform.get(path)
    assert (sent["event"], whole["event"]["id"]) == ({}, sent["event_id"])
    await platform.send(f"{path}/resend")
    await until(lambda: len(receiver.received["a"]) == 2, "the same event again")
    assert len({request.body for _, request in receiver.received["a"]}) == 1
    assert len(set(receiver.ids("a"))) == 1


async def test_a_handshake_asks_for_consent_and_keeps_the_rate(platform: OneMachine, receiver: WebhookReceiver) -> None:
    allowed = {"webhook-allowed-origin": "127.0.0.1", "webhook-allowed-rate": "120"}

    async def consents(request: Request) -> Answer:
        if request.method == "OPTIONS":
            assert request.headers["webhook-request-origin"] == "127.0.0.1"
            return Answer(200, b"", allowed)
        return Answer(200, b"")

    receiver.behave["a"] = consents
    form = {"sink": receiver.sink("a"), "types": ENDED, "protocolsettings": {"handshake": True}}
    subscription = await platform.send(PATH, form)
    assert subscription["rate_per_minute"] == 120
    for _ in range(3):
        await platform.send(f"{PATH}/{subscription['id']}/test")
    await until(lambda: len(receiver.received["a"]) == 3, "three test events")
    times = [at for at, _ in receiver.received["a"]]
    assert times[2] - times[0] >= 0.9  # two in a second
    for refusal in ({}, {"webhook-allowed-origin": "elsewhere.example"}, {**allowed, "webhook-allowed-rate": "0"}):
        allowed.clear()
        allowed.update(refusal)
        status, problem = await platform.call("POST", PATH, form)
        assert (status, problem["code"]) == (422, "no_consent")


async def test_one_that_hangs_and_one_that_is_gone_delay_none_of_fifty(
    platform: OneMachine, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TIMEOUT_SECONDS", 60.0)
    good = [f"good-{number}" for number in range(48)]
    subscribed = [(await subscribe(platform, receiver.sink(name), types=[]))["id"] for name in good]

    async def all_delivered() -> bool | None:
        busy = platform.running.engine.busy or await platform.running.ports.deliveries.waiting(subscribed)
        return None if busy else True

    async def delays(flows: int) -> list[float]:
        """Return how long after the first receiver each had the events of flows that run now."""
        before = {name: len(receiver.received[name]) for name in good}
        for _ in range(flows):
            await completed(platform, tasks=3)
        await eventually(all_delivered, "all events at all good receivers")
        first: dict[str, float] = {}
        came = [(at, request.json["id"]) for name in good for at, request in receiver.received[name][before[name] :]]
        for at, event_id in came:
            first[event_id] = min(at, first.get(event_id, at))
        return [at - first[event_id] for at, event_id in came]

    await delays(1)  # connections and code are warm
    alone = await delays(3)
    receiver.behave |= {"hangs": receiver.hang, "gone": answers(410)}
    await subscribe(platform, receiver.sink("hangs"), types=[], config={"concurrency": 8})
    await subscribe(platform, receiver.sink("gone"), types=[])
    for _ in range(3):  # another process may slow one round; a receiver that hangs would slow them all
        beside = await delays(3)
        p99 = [quantiles(times, n=100)[98] for times in (alone, beside)]
        if p99[1] <= 2 * p99[0] + 0.1:
            break
    assert len(receiver.received["hangs"]) >= 1
    assert len(receiver.received["gone"]) == 1
    assert len(beside) == len(alone)
    assert p99[1] <= 2 * p99[0] + 0.1, p99

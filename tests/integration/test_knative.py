"""Functions as Knative serves them: real requests to real servers, a recording sink, a store that is shared."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import structlog

from functions._adapters.http.cloudevents import write_batch, write_binary, write_structured
from functions._core.decision.admission import admit
from functions._core.errors import Conflict, Unavailable
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.placement.breaker import WorkerVerdict
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import FlowStatus, flow_id_of
from functions._core.rules import CANDIDATES_PER_TICKET, TICKETS_PER_EVENT, Rules
from functions._engine.settings import Settings, SettingsError
from functions._engine.worker_tracker import WorkerTracker
from functions._hosts.entry import NAMES
from functions._hosts.knative.edge import EVENT_LIMIT
from tests.contract.schemas import faults_of
from tests.support.builders import make_event, make_worker
from tests.support.http_workers import HttpWorkers
from tests.support.knative import KEY, Broker, SharedStore, cluster, event_of, ping, served, worker_event
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import PATIENCE_S, decision, decision_event, task, until

PROBLEM = "application/problem+json"


@pytest.fixture
async def sink() -> AsyncIterator[Loopback]:
    async with Loopback() as running:
        yield running


async def admitted(store: SharedStore, *, received: timedelta = timedelta()) -> CloudEvent:
    """Put a flow into the store as the api does, and return the event that C1 is sent."""
    data = decision(task("a"))
    _, step = admit(decision_event(data), json.dumps(data).encode(), datetime.now(UTC) - received, Rules())
    await store.stores.store.commit(replace(step, events=()))
    return step.events[0]


async def status_of(store: SharedStore, event: CloudEvent) -> FlowStatus:
    flow = await store.stores.store.flow(event.extensions["partitionkey"])
    assert flow is not None
    return flow.status


async def test_an_event_is_answered_202_when_what_it_led_to_is_with_the_broker(sink: Loopback) -> None:
    store = SharedStore()
    event = await admitted(store)
    overrides = '{"extensions": {"cluster": "blue", "partitionkey2": "x"}}'
    async with served("validate", store, sink.url, overrides=overrides) as function:
        answer = await function.deliver(event)
        assert (answer.status_code, answer.content) == (202, b"")
        assert await status_of(store, event) is FlowStatus.GENERATING
        (sent,) = [r for r in sink.requests if event_of(r).event_type == "plan.validated"]
        assert sent.headers["ce-specversion"] == "1.0"
        assert (sent.headers["ce-cluster"], sent.headers["ce-partitionkey2"]) == ("blue", "x")
        assert sent.json["flow_id"] == event.extensions["partitionkey"]
        assert await store.queued() == []
        before = len(sink.requests)
        assert (await function.deliver(event)).status_code == 202  # a duplicate is a success
        assert len(sink.requests) == before


async def test_structured_mode_is_taken_like_binary_mode(sink: Loopback) -> None:
    store = SharedStore()
    event = await admitted(store)
    headers, body = write_structured(event)
    async with served("validate", store, sink.url) as function:
        assert (await function.client.post(function.url, content=body, headers=headers)).status_code == 202
    assert "plan.validated" in [event_of(request).event_type for request in sink.requests]


async def test_transitions_go_to_the_broker_as_far_as_they_are_wanted(sink: Loopback) -> None:
    for wanted, expected in (("all", True), ("none", False), ("tickets.generated", True), ("flow.completed", False)):
        sink.reset()
        store = SharedStore()
        event = await admitted(store)
        async with (
            served("validate", store, sink.url) as validate,
            served("generate_tickets", store, sink.url, subscriber_events=wanted) as generate,
        ):
            await validate.deliver(event)
            validated = next(e for e in map(event_of, sink.requests) if e.event_type == "plan.validated")
            sink.reset()
            assert (await generate.deliver(validated)).status_code == 202
        event_types = [event_of(request).event_type for request in sink.requests]
        assert "tickets.ready" in event_types
        assert ("tickets.generated" in event_types) is expected, wanted


def test_a_type_of_event_that_nobody_sends_cannot_be_subscribed_to() -> None:
    with pytest.raises(SettingsError, match=r"FLOWC_SUBSCRIBER_EVENTS.*flow\.complete\b"):
        Settings.from_mapping({"FLOWC_SUBSCRIBER_EVENTS": "flow.complete,incident.raised"})


def binary(**changes: str | None) -> tuple[dict[str, str], bytes]:
    headers, body = write_binary(make_event(event_type="decision.consolidated"))
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return {k: v for k, v in (headers | changed).items() if v is not None}, body


UNREADABLE: Mapping[str, tuple[tuple[dict[str, str], bytes], int, str]] = {
    "no id": (binary(ce_id=None), 400, "malformed_event"),
    "no event at all": (({}, b"{}"), 400, "malformed_event"),
    "an old version": (binary(ce_specversion="0.3"), 400, "malformed_event"),
    "not JSON, though it says so": ((binary()[0], b"{"), 400, "malformed_json"),
    "another media type": (binary(content_type="text/plain"), 415, "unsupported_media_type"),
    "a batch": (write_batch([make_event()]), 415, "unsupported_media_type"),
    "another function's event": (binary(ce_type=type_of("tickets.ready")), 421, "misdirected_event"),
    "an event of nobody": (binary(ce_type="com.example.happened"), 421, "misdirected_event"),
    "a type that only looks like ours": (binary(ce_type="decision.consolidated"), 421, "misdirected_event"),
    "data that is not what the type says": (binary(), 400, "invalid_data"),
    "too much": ((binary()[0], b" " * (EVENT_LIMIT + 1)), 413, "too_large"),
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_what_is_wrong_with_an_event_has_a_status_that_brokers_do_not_repeat(case: str) -> None:
    (headers, body), status, code = UNREADABLE[case]
    async with served("validate", SharedStore()) as function:
        answer = await function.client.post(function.url, content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    assert answer.json()["code"] == code


async def test_a_body_whose_size_nobody_has_announced_is_cut_at_the_limit() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * (EVENT_LIMIT // 2)

    async with served("validate", SharedStore()) as function:
        answer = await function.client.post(function.url, content=endless(), headers=binary()[0])
    assert answer.status_code == 413


async def test_a_function_counts_what_it_does(sink: Loopback) -> None:
    store = SharedStore()
    event = await admitted(store)
    async with served("validate", store, sink.url) as function:
        assert (await function.deliver(event)).status_code == 202
        answer = await function.client.get(f"{function.url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'orchestration_validations_total{result="accepted"} 1.0' in answer.text


async def test_events_are_posted_and_nothing_else() -> None:
    async with served("validate", SharedStore()) as function:
        answer = await function.client.get(function.url)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unavailable("the database at 10.1.2.3 is away"), 503, "unavailable"),
        (Conflict("row 7 moved"), 503, "unavailable"),
        (ValueError("password=hunter2"), 500, "internal"),
        (KeyError("password=hunter2"), 500, "internal"),
    ],
)
async def test_what_fails_inside_has_its_status_and_its_text_stays_inside(
    error: Exception, status: int, code: str, sink: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SharedStore()
    event = await admitted(store)

    async def broken(_step: ChangeSet) -> None:
        raise error

    async with served("validate", store, sink.url) as function:
        monkeypatch.setattr(store.stores.store, "commit", broken)
        answer = await function.deliver(event)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    assert "hunter2" not in answer.text
    assert "10.1.2.3" not in answer.text
    assert sink.requests == []


async def test_an_event_of_a_flow_that_is_not_visible_yet_is_repeated() -> None:
    event = make_event(event_type="decision.consolidated", data={"flow_id": "f", "decision_id": "d"})
    async with served("validate", SharedStore()) as function:
        answer = await function.deliver(event)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_nothing_is_lost_while_the_broker_is_away(sink: Loopback) -> None:
    store = SharedStore()
    event = await admitted(store)
    async with served("validate", store, sink.url) as function:
        await sink.stop()
        answer = await function.deliver(event)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert await status_of(store, event) is FlowStatus.GENERATING
        committed = await store.queued()
        assert committed
        assert (await function.deliver(event)).status_code == 503  # handled, and still not published
        await sink.start()
        assert (await function.deliver(event)).status_code == 202
    assert sorted(event_of(request).id for request in sink.requests) == sorted(committed)
    assert await store.queued() == []


async def test_each_of_two_deliveries_of_an_event_hears_that_it_is_not_published(sink: Loopback) -> None:
    store = SharedStore()
    event = await admitted(store)
    await sink.stop()
    async with served("validate", store, sink.url) as function:
        answers = await asyncio.gather(*(function.deliver(event) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [503] * 4
    await sink.start()  # for the fixture to stop


async def test_after_a_crash_between_commit_and_publication_the_redelivery_publishes(sink: Loopback) -> None:
    store = SharedStore()
    event, other = await admitted(store), await admitted(store)
    async with served("validate", store, sink.url) as doomed:
        platform = (await doomed.running()).platform
        platform.outbox.take = lambda events: None  # type: ignore[method-assign]  # noqa: ARG005
        assert (await doomed.deliver(event)).status_code == 202  # nobody hears it: the process is gone
        assert (await doomed.deliver(other)).status_code == 202
    committed = [q.event for q in await store.stores.queue.pending(0, 100)]
    mine = {e.id for e in committed if e.extensions["partitionkey"] == event.extensions["partitionkey"]}
    assert sink.requests == []
    async with served("validate", store, sink.url) as heir:
        assert (await heir.deliver(event)).status_code == 202
    assert {event_of(request).id for request in sink.requests} == mine
    # The rest is another redelivery's, or the sweep's.
    assert set(await store.queued()) == {e.id for e in committed} - mine


@pytest.mark.parametrize("name", ["enforce_sla", "track_workers"])
async def test_a_tick_publishes_what_has_been_left_for_a_while(name: str, sink: Loopback) -> None:
    store, now = SharedStore(), datetime.now(UTC)
    old = make_event(1, time=now - timedelta(seconds=6))
    new = make_event(2, time=now)
    await store.stores.queue.enqueue([old, new])
    async with served(name, store, sink.url, sla_timer="off") as function:
        assert (await function.deliver(ping())).status_code == 202
    assert [event_of(request).id for request in sink.requests] == [old.id]
    assert await store.queued() == [new.id]


async def test_a_tick_acts_on_every_record_that_is_due(sink: Loopback) -> None:
    store = SharedStore()
    event = await admitted(store, received=timedelta(seconds=31))
    async with served("enforce_sla", store, sink.url, sla_timer="off") as function:
        assert sink.requests == []
        assert (await function.deliver(ping())).status_code == 202
    again = next(e for e in map(event_of, sink.requests) if e.event_type == "decision.consolidated")
    assert again.extensions["partitionkey"] == event.extensions["partitionkey"]


async def test_the_timer_acts_without_a_tick(sink: Loopback) -> None:
    store = SharedStore()
    await admitted(store, received=timedelta(seconds=31))
    async with served("enforce_sla", store, sink.url):
        await until(lambda: found(sink, "decision.consolidated"), "the event that was lost")


async def found(sink: Loopback, event_type: str) -> bool | None:
    return event_type in [event_of(request).event_type for request in sink.requests] or None


async def test_what_the_broker_will_never_take_becomes_a_dead_letter(sink: Loopback) -> None:
    async def too_large(_request: Request) -> Answer:
        return Answer(413)

    sink.answer = too_large
    store = SharedStore()
    event = await admitted(store)
    async with served("validate", store, sink.url) as function:
        assert (await function.deliver(event)).status_code == 202
    letters, _ = await store.stores.dead_letters.letters(None, 100)
    assert {letter.reason.code for letter in letters} == {"refused_by_broker"}
    assert await store.queued() == []


async def test_a_broker_that_asks_for_peace_is_left_alone(sink: Loopback) -> None:
    async def busy(_request: Request) -> Answer:
        return Answer(429, headers={"retry-after": "30"})

    sink.answer = busy
    store = SharedStore()
    first, second = await admitted(store), await admitted(store)
    async with served("validate", store, sink.url, subscriber_events="none") as function:
        assert (await function.deliver(first)).status_code == 503
        asked = len(sink.requests)
        assert (await function.deliver(second)).status_code == 503
        assert (asked, len(sink.requests)) == (1, 1)
        assert len(await store.queued()) == 2


async def test_a_short_pause_that_the_broker_asks_for_is_waited_for(sink: Loopback) -> None:
    async def once(_request: Request) -> Answer:
        return Answer(503, headers={"retry-after": "1"}) if len(sink.requests) == 1 else Answer()

    sink.answer = once
    store = SharedStore()
    event = await admitted(store)
    loop = asyncio.get_running_loop()
    async with served("validate", store, sink.url, subscriber_events="none") as function:
        begun = loop.time()
        assert (await function.deliver(event)).status_code == 202
        assert loop.time() - begun >= 0.95
    assert len(sink.requests) == 2
    assert len({request.client for request in sink.requests}) == 1, "the connection is used again"


async def test_a_function_is_ready_when_its_store_is_and_alive_always() -> None:
    store = SharedStore(away=True)
    async with served("validate", store) as function:
        assert await function.status("/health/liveness") == 200
        assert function.function.ready() == (False, "not known yet")
        assert (await function.deliver(make_event(event_type="decision.consolidated"))).status_code == 503
        assert await function.status("/health/readiness") == 503
        store.away = False
        await until(lambda: is_ready(function.status), "readiness")
        store.away = True
        assert await function.status("/health/readiness") == 503
        assert await function.status("/health/liveness") == 200


async def is_ready(get: Any) -> bool | None:
    return await get("/health/readiness") == 200 or None


async def test_what_runs_ends_before_the_function_does(sink: Loopback) -> None:
    store = SharedStore()
    event = await admitted(store)
    arrived, released = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Answer:
        arrived.set()
        await released.wait()
        return Answer()

    sink.answer = slow
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        async with served("validate", store, sink.url) as function:
            headers, body = write_binary(event)
            answering = asyncio.create_task(client.post(function.url, content=body, headers=headers))
            await arrived.wait()
            function.function.drain()
            assert await function.status("/health/readiness") == 503
            asyncio.get_running_loop().call_later(0.3, released.set)
        assert (await answering).status_code == 202
        with pytest.raises(httpx.ConnectError):
            await client.get(function.url)
    assert await store.queued() == []


def given_up(event: CloudEvent, code: str, said: Mapping[str, object] | None = None) -> CloudEvent:
    """Return an event as a broker sends it to its dead letter sink."""
    why = {"knativeerrordest": "http://validate.flow-c.svc", "knativeerrorcode": code}
    if said is not None:
        why["knativeerrordata"] = json.dumps(said)
    return replace(event, extensions={**event.extensions, **why})


async def test_what_a_broker_has_given_up_is_kept_with_its_reason_and_its_flow_broken_off(sink: Loopback) -> None:
    store = SharedStore()
    event = await admitted(store)
    async with served("dead_letter", store, sink.url) as function:
        said = {"code": "invalid_data", "detail": "flow_id: missing"}
        for _ in range(2):
            assert (await function.deliver(given_up(event, "400", said))).status_code == 202
    (letter,), _ = await store.stores.dead_letters.letters(None, 10)
    assert (letter.function, letter.reason.code, letter.reason.message) == ("validate", *said.values())
    assert letter.reason.where == "http://validate.flow-c.svc"
    assert letter.event["id"] == event.id
    assert not any(name.startswith("knative") for name in letter.event), "replayed, it must look as it did at first"
    assert await status_of(store, event) is FlowStatus.PUBLISHING
    assert "flow.consolidated" in [event_of(request).event_type for request in sink.requests]


@pytest.mark.parametrize("code", ["503", "429", "404", "421", ""])
async def test_a_flow_goes_on_when_the_event_was_given_up_for_what_passes(code: str) -> None:
    store = SharedStore()
    event = await admitted(store)
    async with served("dead_letter", store) as function:
        gone = given_up(event, code)
        gone = gone if code else replace(gone, extensions=event.extensions)
        assert (await function.deliver(gone)).status_code == 202
    letters, _ = await store.stores.dead_letters.letters(None, 10)
    assert [letter.letter_id for letter in letters] == [event.id]
    assert await status_of(store, event) is FlowStatus.VALIDATING


async def test_a_flow_is_not_broken_off_for_a_record_that_could_not_be_read() -> None:
    store = SharedStore()
    event = await admitted(store)
    said = {"code": "unreadable_record", "detail": "the stored ticket cannot be read"}
    async with served("dead_letter", store) as function:
        assert (await function.deliver(given_up(event, "400", said))).status_code == 202
    (letter,), _ = await store.stores.dead_letters.letters(None, 10)
    assert letter.reason.code == "unreadable_record"
    assert await status_of(store, event) is FlowStatus.VALIDATING


async def test_a_flow_that_has_gone_on_is_not_broken_off_for_an_event_of_its_past(sink: Loopback) -> None:
    store = SharedStore()
    event = await admitted(store)
    async with served("validate", store, sink.url) as validate, served("dead_letter", store, sink.url) as letters:
        assert (await validate.deliver(event)).status_code == 202
        assert (await letters.deliver(given_up(event, "500"))).status_code == 202
    assert await status_of(store, event) is FlowStatus.GENERATING


async def test_any_event_at_all_can_be_a_dead_letter() -> None:
    store = SharedStore()
    event = make_event(type="com.example.happened", data=["anything"], extensions={})
    async with served("dead_letter", store) as function:
        assert (await function.deliver(given_up(event, "500"))).status_code == 202
    (letter,), _ = await store.stores.dead_letters.letters(None, 10)
    assert (letter.function, letter.reason.code) == ("subscriber", "status_500")


async def test_a_tick_that_was_given_up_is_no_letter_since_the_next_one_does_the_same() -> None:
    store = SharedStore()
    async with served("dead_letter", store) as function:
        with structlog.testing.capture_logs() as lines:
            assert (await function.deliver(given_up(ping(), "503"))).status_code == 202
    assert await store.stores.dead_letters.letters(None, 10) == ([], None)
    told = [line for line in lines if line["log_level"] in {"warning", "error"}]
    assert told == [{"event": "tick.given_up", "log_level": "warning", "code": "status_503"}]


async def test_who_waits_for_the_end_of_a_flow_is_answered_when_the_api_stops() -> None:
    store = SharedStore()
    data = decision(task("a"))
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client, served("api", store) as api:
        key = {"x-api-key": KEY}
        waiting = asyncio.create_task(client.post(f"{api.url}/api/v1/flow-c/execute", json=data, headers=key))
        await until(lambda: one_flow(store), "the flow")
        await asyncio.sleep(0.2)  # until it waits
        assert not waiting.done()
        api.function.drain()
        answer = await asyncio.wait_for(waiting, PATIENCE_S)
    assert answer.status_code == 503


async def one_flow(store: SharedStore) -> bool | None:
    flows, _ = await store.stores.views.flows(status=None, cursor=None, limit=1)
    return bool(flows) or None


async def test_doubts_of_a_worker_that_another_process_has_are_known_to_the_api(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, looks = SharedStore(), WorkerTracker.look_around
    success, trackers = WorkerVerdict(worker_id="w1", succeeded=True), list[WorkerTracker]()

    async def seen(tracker: WorkerTracker) -> None:
        await looks(tracker)
        trackers.append(tracker)

    async def doubted() -> bool | None:
        return any(tracker.counts(success) for tracker in trackers) or None

    monkeypatch.setattr(WorkerTracker, "look_around", seen)
    await store.stores.registry.put(make_worker(worker_id="w1", failures=2))
    async with served("api", store) as api:
        await api.running()
        await until(doubted, "the api's doubts")


async def test_workers_may_speak_through_the_broker() -> None:
    store = SharedStore()
    registration = {"worker_id": "w1", "endpoint": "http://127.0.0.1:1/w1", "capabilities": ["python"]}
    async with served("track_workers", store) as function:
        assert (await function.deliver(worker_event("worker.heartbeat", {"worker_id": "w1"}))).status_code == 400
        assert (await function.deliver(worker_event("worker.registered", registration))).status_code == 202
        assert (await function.deliver(worker_event("worker.heartbeat", {"worker_id": "w1"}))).status_code == 202
        assert [worker.worker_id for worker in await store.stores.registry.workers()] == ["w1"]
        leaving = {"worker_id": "w1", "reason": "x" * 100_000}
        assert (await function.deliver(worker_event("worker.deregistered", leaving))).status_code == 202
        assert await store.stores.registry.workers() == []


async def test_loopback_is_no_place_for_workers_unless_it_is_named() -> None:
    registration = {"worker_id": "w1", "endpoint": "http://127.0.0.1:1/w1", "capabilities": ["python"]}
    async with served("track_workers", SharedStore(), worker_networks="") as function:
        answer = await function.deliver(worker_event("worker.registered", registration))
    assert (answer.status_code, answer.json()["code"]) == (400, "forbidden_network")


async def test_all_functions_together_complete_a_diamond() -> None:
    store = SharedStore()
    data = decision(task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"))
    async with HttpWorkers() as worker, cluster(store, NAMES) as (api, broker):
        await api.register("w1", slots=2, endpoint=worker.url)
        answer = await api.deliver(decision_event(data))
        assert answer.status_code == 202, answer.text
        flow_id = answer.json()["flow_id"]
        assert flow_id == flow_id_of(data["decision_id"])
        flow = await api.ended(flow_id)
        await until(lambda: nothing_queued(store), "all events published")
        ready = await api.status("/health/readiness"), await api.status("/ready")
    assert flow["status"] == "COMPLETED"
    assert ready == (200, 200)
    assert worker.done[0] == "a"
    assert worker.done[-1] == "d"
    assert sorted(worker.done) == ["a", "b", "c", "d"]
    assert {"flow.completed", "telemetry.frame", "ticket.assigned"} <= set(broker.event_types())
    assert len({e.id for e in broker.events}) == len(broker.events), "nothing was published twice"
    assert broker.refused == []
    assert [fault for event in broker.events for fault in faults_of(event)] == []
    largest = max(len(r.body) + sum(len(k) + len(v) for k, v in r.headers.items()) for r in broker.requests)
    assert largest < 64 * 1024


async def test_no_chain_event_is_larger_than_what_every_broker_takes() -> None:
    store, longest = SharedStore(), 255
    for number in range(CANDIDATES_PER_TICKET + 1):
        name = f"{number}{'w' * longest}"[:longest]
        worker = make_worker(worker_id=name, capabilities=("python",), last_seen=datetime.now(UTC), slots=1000)
        await store.stores.registry.put(worker)
    tasks = [task(f"{number}{'t' * 100}") for number in range(2 * TICKETS_PER_EVENT)]
    data = decision(*tasks, decision_id="\U0001f600" * longest, correlation_id="\U0001f600" * longest)
    names = ("validate", "generate_tickets", "discover", "assign", "api")
    async with cluster(store, names, subscriber_events="none") as (api, broker):
        assert (await api.deliver(decision_event(data))).status_code == 202
        await until(lambda: all_are_discovered(broker), "candidates for every ticket")
        sizes = {
            event_of(r).event_type: len(r.body) + sum(len(name) + len(value) for name, value in r.headers.items())
            for r in broker.requests
        }
    assert max(sizes.values()) < 64 * 1024, sizes
    assert sizes["workers.discovered"] > 32 * 1024, "the largest there is, or this test is about nothing"


async def all_are_discovered(broker: Broker) -> bool | None:
    return broker.event_types().count("workers.discovered") == 2 or None


async def nothing_queued(store: SharedStore) -> bool | None:
    return await store.queued() == [] or None


async def test_a_client_has_to_bring_the_key() -> None:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client, served("api", SharedStore()) as api:
        refused = await client.get(f"{api.url}/api/v1/flows")
        open_to_all = await client.get(f"{api.url}/health/readiness")
    assert (refused.status_code, open_to_all.status_code) == (401, 200)


async def test_a_replayed_letter_goes_to_the_broker_again(sink: Loopback) -> None:
    store = SharedStore()
    event = await admitted(store)
    async with served("dead_letter", store, sink.url) as letters, served("api", store, sink.url) as api:
        await letters.deliver(given_up(event, "503"))
        answer = await api.client.post(f"{api.url}/api/v1/dead-letters/{event.id}/replay", json={})
        assert answer.status_code == 202, answer.text
        await until(lambda: found(sink, "decision.consolidated"), "the event again")
    assert [event_of(request).id for request in sink.requests] == [event.id]

"""A function as Lambda runs it: batches of messages and requests, over the emulated services of AWS."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from functions._adapters.aws.messages import read_message
from functions._adapters.dynamodb.client import meaning
from functions._adapters.dynamodb.schema import create_table
from functions._adapters.http.cloudevents import write_structured
from functions._core.errors import Unavailable, Unreadable
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.change_set import ChangeSet
from functions._core.records.record import as_json
from functions._core.records.values import flow_id_of
from functions._engine.settings import SettingsError
from functions._hosts.aws.environment import gateway, read_environment
from functions._hosts.aws.function import LambdaFunction
from functions._hosts.aws.records import Records
from functions._hosts.aws.timers import SOURCE
from functions._observability import logs
from functions._observability.emf import EmbeddedMetrics
from tests.conformance.dynamodb_clients import Ahead
from tests.contract.schemas import faults_of
from tests.support.aws_emulator import Aws
from tests.support.builders import make_flow, make_history, make_ticket
from tests.support.command_line import logs_as_before
from tests.support.plans import seeded_decision

NOW = datetime(2026, 1, 1, tzinfo=UTC)
API_KEY = "a" * 32
API_QUEUE = "arn:aws:sqs:eu-central-1:000000000000:ApiQueue"


@dataclass
class Deployed:
    """The services and the settings that every function of a test shares."""

    aws: Aws
    environment: dict[str, str]
    events: str
    timers: str
    queue_arn: str
    functions: list[LambdaFunction] = field(default_factory=list)

    async def function(self, name: str) -> "Function":
        settings = read_environment(name, self.environment)
        made = await LambdaFunction.made(name, settings, self.aws.clients)
        self.functions.append(made)
        metrics = EmbeddedMetrics(made.platform.metrics, name, "FlowC")
        return Function(self, made, Records(made, self.aws.of("sqs"), metrics), metrics)

    async def published(self, number: int, seconds: float = 10) -> list[CloudEvent]:
        found = await self.aws.messages(self.events, number, seconds)
        events = [read_message(message["Body"], NOW) for message in found]
        ours = [event for event in events if event.source.startswith("/flowc")]
        assert [fault for event in ours for fault in faults_of(event)] == []
        return events


@dataclass
class Function:
    """One function, in the event loop of the test."""

    deployed: Deployed
    made: LambdaFunction
    records: Records
    metrics: EmbeddedMetrics

    async def takes(self, body: str, *, times: int = 1, **more: Any) -> None:
        """Hand a message over, as its queue does; raises what leaves it in the queue."""
        record = {
            "messageId": str(uuid4()),
            "receiptHandle": "none",
            "body": body,
            "attributes": {"ApproximateReceiveCount": str(times)},
            "messageAttributes": {},
            "eventSourceARN": self.deployed.queue_arn,
            **more,
        }
        self.made.until = asyncio.get_running_loop().time() + 20
        try:
            await self.records.record(SQSRecord(record))
        finally:
            await self.made.settle()

    async def asks(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, Any]:
        """Make a request of the api, as the gateway passes it on."""
        context = {"http": {"method": method, "path": path, "sourceIp": "203.0.113.9"}}
        event = {
            "version": "2.0",
            "rawQueryString": "",
            "headers": {"host": "flowc.example", "x-api-key": API_KEY, **headers},
            "requestContext": context,
            "body": body,
        }
        assert self.made.app is not None
        answer = await asyncio.to_thread(_answered, self.made.app, event, asyncio.get_running_loop())
        await self.made.settle()
        return int(answer["statusCode"]), json.loads(answer["body"] or "null")

    async def letters(self) -> list[Mapping[str, Any]]:
        page, _ = await self.made.platform.ports.dead_letters.letters(None, 10)
        return [as_json(letter) for letter in page]


def _answered(app: Any, event: Mapping[str, Any], loop: asyncio.AbstractEventLoop) -> Mapping[str, Any]:
    """Let the gateway answer from a thread of its own, the app in the loop of the test."""

    async def there(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(app(scope, receive, send), loop))

    asyncio.set_event_loop(asyncio.new_event_loop())
    try:
        answer: Mapping[str, Any] = gateway(there)(dict(event), None)
        assert not answer["isBase64Encoded"]
        return answer
    finally:
        asyncio.get_event_loop().close()


@pytest.fixture
async def deployed(aws_services: Aws) -> AsyncIterator[Deployed]:
    await aws_services.clients.of("dynamodb", meaning).call("create_table", create_table(aws_services.name))
    events, arn = await aws_services.queue("events")
    timers, _ = await aws_services.queue("timers")
    environment = {
        "FLOWC_TABLE": aws_services.name,
        "FLOWC_BUS": await aws_services.bus_into(arn),
        "FLOWC_TIMER_QUEUE": timers,
        "FLOWC_CLAIMS_BUCKET": await aws_services.bucket(),
        "FLOWC_PUBLIC_URL": "https://flowc.example",
        "FLOWC_WORKER_KEY": "w" * 32,
        "FLOWC_API_KEY": API_KEY,
        "FLOWC_OUTSIDE_QUEUE": API_QUEUE,
        "FLOWC_SUBSCRIBER_EVENTS": "none",
    }
    found = Deployed(aws_services, environment, events, timers, arn)
    yield found
    for function in found.functions:
        await function.platform.close()
    await aws_services.of("dynamodb").call("delete_table", {"TableName": aws_services.name})


def decided(**data: object) -> CloudEvent:
    """Return a user's decision."""
    decision = {**seeded_decision("chain", 1), **data}
    return CloudEvent(id=str(uuid4()), source="/user", type=type_of("decision.consolidated"), time=NOW, data=decision)


def body_of(event: CloudEvent) -> str:
    return write_structured(event)[1].decode()


async def test_the_processes_of_the_api_share_the_limits_of_a_client(deployed: Deployed) -> None:
    deployed.environment["FLOWC_RATE_LIMITS"] = "day=6"
    processes = [await deployed.function("api") for _ in range(2)]
    answers = [await processes[number % 2].asks("GET", "/api/v1/flows") for number in range(9)]
    assert [status for status, _ in answers] == [200] * 6 + [429] * 3
    assert answers[-1][1]["code"] == "quota_exceeded"


async def test_a_decision_that_is_posted_goes_from_function_to_function(deployed: Deployed) -> None:
    api = await deployed.function("api")
    headers = {"content-type": "application/cloudevents+json"}
    status, answer = await api.asks("POST", "/", body_of(decided()), **headers)
    assert status == 202
    expected = {
        "decision.consolidated": "validate",
        "plan.validated": "generate_tickets",
        "tickets.ready": "discover",
    }
    for event_type, name in expected.items():
        (event,) = await deployed.published(1)
        assert (event.event_type, event.extensions["partitionkey"]) == (event_type, answer["flow_id"])
        await (await deployed.function(name)).takes(body_of(event))
    status, flow = await api.asks("GET", f"/api/v1/flows/{answer['flow_id']}")
    assert (status, flow["status"]) == (200, "EXECUTING")
    assert await api.made.platform.ports.dead_letters.letters(None, 1) == ([], None)


async def test_a_worker_that_asks_is_sent_nothing_and_given_its_tickets(deployed: Deployed) -> None:
    api = await deployed.function("api")
    json_body = {"content-type": "application/json"}
    decision = decided()
    needed = [word for task in decision.data["cognitive_plan"]["tasks"] for word in task["required_capabilities"]]
    about = {"worker_id": "p1", "delivery": "pull", "capabilities": needed, "clearance": "RESTRICTED"}
    assert (await api.asks("POST", "/api/v1/workers", json.dumps(about), **json_body))[0] == 201
    event = {"content-type": "application/cloudevents+json"}
    _, answer = await api.asks("POST", "/", body_of(decision), **event)
    for name in ("validate", "generate_tickets", "discover", "assign"):
        (event_of_chain,) = await deployed.published(1)
        await (await deployed.function(name)).takes(body_of(event_of_chain))
    asked = json.dumps({"worker_id": "p1", "wait_seconds": 2, "running": []})
    for _ in range(2):  # the second time as its answer was lost
        status, leased = await api.asks("POST", "/api/v1/tasks/lease", asked, **json_body)
        assert status == 200
        [given] = leased["assignments"]
        assert (given["data"]["flow_id"], given["data"]["attempt"]) == (answer["flow_id"], 1)
    report = {**{name: given["data"][name] for name in ("ticket_id", "attempt")}, "status": "COMPLETED"}
    path = given["data"]["callback_url"].removeprefix("https://flowc.example")
    headers = {**json_body, "authorization": f"Bearer {given['data']['token']}"}
    assert (await api.asks("POST", path, json.dumps(report), **headers))[0] == 200


async def test_who_has_no_key_is_turned_away_and_who_is_watching_is_not(deployed: Deployed) -> None:
    api = await deployed.function("api")
    assert (await api.asks("GET", "/api/v1/flows", **{"x-api-key": "wrong"}))[0] == 401
    assert (await api.asks("GET", "/health", **{"x-api-key": ""}))[0] == 200


async def test_a_decision_from_the_ingress_bus_is_taken_as_one_that_is_posted(deployed: Deployed) -> None:
    api = await deployed.function("api")
    event = decided()
    envelope = {"detail-type": event.type, "source": event.source, "detail": json.loads(body_of(event))}
    await api.takes(json.dumps(envelope))
    (chained,) = await deployed.published(1)
    assert (chained.event_type, chained.data["decision_id"]) == ("decision.consolidated", event.data["decision_id"])


async def test_a_line_about_a_message_has_the_ids_of_its_event(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    validate = await deployed.function("validate")
    extensions = {"partitionkey": "no-such-flow", "correlationid": "c"}
    event = replace(decided(), data={"flow_id": "no-such-flow", "decision_id": "d"}, extensions=extensions)
    with logs_as_before():
        logs.configure("warning")
        with pytest.raises(Unavailable):
            await validate.takes(body_of(event))
    line = next(line for line in map(json.loads, capsys.readouterr().err.splitlines()) if "noun" in line)
    ids = {"event_id": event.id, "flow_id": "no-such-flow", "correlation_id": "c"}
    assert {**line, **ids, "event": "event.not_now"} == line


async def test_an_internal_event_from_outside_is_refused_and_kept(deployed: Deployed) -> None:
    api = await deployed.function("api")
    await api.takes(body_of(replace(decided(), type=type_of("plan.validated"), data={})))
    (letter,) = await api.letters()
    assert letter["reason"]["code"] == "internal_type"


def undelivered(queue: str) -> dict[str, str]:
    """Return what SQS tells of a message that a queue has given up."""
    return {"ApproximateReceiveCount": "1", "DeadLetterQueueSourceArn": queue}


async def test_a_decision_from_outside_that_was_given_up_becomes_a_flow_when_it_is_replayed(
    deployed: Deployed,
) -> None:
    api, dead_letter = await deployed.function("api"), await deployed.function("dead_letter")
    event = decided()
    await dead_letter.takes(body_of(event), attributes=undelivered(API_QUEUE))
    (letter,) = await api.letters()
    assert letter["function"] == "api"
    assert (await api.asks("POST", f"/api/v1/dead-letters/{letter['letter_id']}/replay"))[0] == 202
    flow = await api.made.platform.ports.store.flow(flow_id_of(event.data["decision_id"]))
    assert flow is not None
    assert await api.letters() == []


async def test_a_decision_by_claim_check_that_was_given_up_becomes_a_flow_when_it_is_replayed(
    deployed: Deployed,
) -> None:
    api, dead_letter = await deployed.function("api"), await deployed.function("dead_letter")
    assert api.made.claims is not None
    event = decided()
    await dead_letter.takes(body_of(await api.made.claims.checked_in(event)), attributes=undelivered(API_QUEUE))
    (letter,) = await api.letters()
    assert (await api.asks("POST", f"/api/v1/dead-letters/{letter['letter_id']}/replay"))[0] == 202
    assert await api.made.platform.ports.store.flow(flow_id_of(event.data["decision_id"])) is not None


async def test_a_word_of_a_worker_that_was_given_up_is_heard_when_it_is_replayed(deployed: Deployed) -> None:
    api, dead_letter = await deployed.function("api"), await deployed.function("dead_letter")
    data = {"worker_id": "w1", "endpoint": "https://93.184.216.34/x", "capabilities": ["python"], "slots": 1}
    said = {"TARGET_ARN": {"stringValue": API_QUEUE}, "ERROR_CODE": {"stringValue": "SDK_CLIENT_ERROR"}}
    event = replace(decided(), type=type_of("worker.registered"), data=data)
    await dead_letter.takes(body_of(event), messageAttributes=said)
    (letter,) = await api.letters()
    assert (await api.asks("POST", f"/api/v1/dead-letters/{letter['letter_id']}/replay"))[0] == 202
    assert await api.made.platform.ports.registry.worker("w1") is not None


@pytest.mark.parametrize("event_type", ["worker.unhealthy", "ticket.reported"])
async def test_an_internal_event_from_outside_does_not_reach_the_bus_by_a_replay(
    deployed: Deployed, event_type: str
) -> None:
    api = await deployed.function("api")
    report = {"ticket_id": "t", "attempt": 1, "status": "COMPLETED"}
    await api.takes(body_of(replace(decided(), type=type_of(event_type), data=report)))
    (letter,) = await api.letters()
    status, _ = await api.asks("POST", f"/api/v1/dead-letters/{letter['letter_id']}/replay")
    assert status in {401, 403}
    assert len(await api.letters()) == 1
    assert await deployed.published(1, 1.0) == []


async def test_letters_of_two_senders_who_chose_one_id_are_two(deployed: Deployed) -> None:
    api = await deployed.function("api")
    for source in ("/one", "/two"):
        await api.takes(body_of(replace(decided(), id="same", source=source, data={})))
    assert {letter["event"]["source"] for letter in await api.letters()} == {"/one", "/two"}


async def test_an_order_that_comes_before_its_decision_stays_in_its_queue(deployed: Deployed) -> None:
    api = await deployed.function("api")
    event = decided()
    order = {"flow_id": flow_id_of(event.data["decision_id"]), "reason": "changed my mind"}
    cancel = replace(event, id="c", type=type_of("flow.cancel_requested"), data=order)
    with pytest.raises(Unavailable, match="no flow"):
        await api.takes(body_of(cancel))
    await api.takes(body_of(event))
    await api.takes(body_of(cancel))
    flow = await api.made.platform.ports.store.flow(order["flow_id"])
    assert flow is not None
    assert flow.outcome == "CANCELLED"


async def test_the_last_word_of_a_worker_that_has_gone_is_no_dead_letter(deployed: Deployed) -> None:
    api = await deployed.function("api")
    for event_type in ("worker.heartbeat", "worker.deregistered"):
        await api.takes(
            body_of(replace(decided(), type=type_of(event_type), data={"worker_id": "gone", "reason": "x"}))
        )
    assert await api.letters() == []


def timer() -> CloudEvent:
    """Return the message of a timer, which asks for a sweep."""
    return CloudEvent(id="timer", source=SOURCE, type=type_of("clock.ticked"), time=datetime.now(UTC), data={})


async def test_a_sweep_ends_with_its_invocation_and_the_rest_is_asked_for(deployed: Deployed) -> None:
    api, enforce_sla = await deployed.function("api"), await deployed.function("enforce_sla")
    await api.takes(body_of(decided(sla_deadline_seconds=1)))
    (event,) = await deployed.published(1)
    await (await deployed.function("validate")).takes(body_of(event))
    await deployed.aws.messages(deployed.timers, 2, 3.0)
    enforce_sla.made.until = 0.0
    await enforce_sla.made.handle(timer())
    await enforce_sla.made.settle()
    flow = await api.made.platform.ports.store.flow(event.extensions["partitionkey"])
    assert flow is not None
    assert flow.outcome is None
    assert len(await deployed.aws.messages(deployed.timers, 1, 4.0)) == 1


async def test_what_a_batch_has_done_stays_done_when_nobody_can_be_asked_what_is_due_next(deployed: Deployed) -> None:
    away = replace(deployed, environment={**deployed.environment, "FLOWC_TABLE": "none-such"})
    enforce_sla = await away.function("enforce_sla")
    with pytest.raises(Unavailable):
        await enforce_sla.made.handle(timer())
    await enforce_sla.made.settle()


async def test_a_message_nested_too_deep_is_a_dead_letter(deployed: Deployed) -> None:
    validate = await deployed.function("validate")
    await validate.takes("[" * 100_000 + "]" * 100_000)
    (letter,) = await validate.letters()
    assert letter["reason"]["code"] == "unreadable"


async def test_a_timer_from_outside_is_refused_like_any_internal_event(deployed: Deployed) -> None:
    api = await deployed.function("api")
    await api.takes(body_of(replace(decided(), source=SOURCE)))
    (event,) = await deployed.published(1)
    assert event.event_type == "decision.consolidated"
    await api.takes(body_of(replace(decided(), source=SOURCE, type=type_of("plan.validated"), data={})))
    (letter,) = await api.letters()
    assert letter["reason"]["code"] == "internal_type"


async def test_the_same_message_ten_times_is_done_once(deployed: Deployed) -> None:
    api, validate = await deployed.function("api"), await deployed.function("validate")
    await api.takes(body_of(decided()))
    (event,) = await deployed.published(1)
    await asyncio.gather(*(validate.takes(body_of(event)) for _ in range(10)))
    assert [one.event_type for one in await deployed.published(2, 1.0)] == ["plan.validated"]


async def test_a_message_that_is_no_event_becomes_a_dead_letter_that_is_not_replayed(deployed: Deployed) -> None:
    validate, api = await deployed.function("validate"), await deployed.function("api")
    await validate.takes("garbage", messageId="m-1")
    (letter,) = await validate.letters()
    assert (letter["letter_id"], letter["reason"]["code"]) == ("m-1", "unreadable")
    assert letter["event"]["data"] == {"body": "garbage"}
    status, problem = await api.asks("POST", "/api/v1/dead-letters/m-1/replay")
    assert (status, problem["code"]) == (422, "not_replayable")


async def test_an_event_of_another_function_is_a_dead_letter_and_its_flow_goes_on(deployed: Deployed) -> None:
    api, monitor = await deployed.function("api"), await deployed.function("monitor")
    await api.takes(body_of(decided()))
    (event,) = await deployed.published(1)
    await monitor.takes(body_of(event))
    (letter,) = await monitor.letters()
    assert letter["reason"]["code"] == "misdirected_event"
    flow = await monitor.made.platform.ports.store.flow(event.extensions["partitionkey"])
    assert flow is not None
    assert flow.status == "VALIDATING"


async def test_an_event_of_a_flow_that_is_not_visible_stays_in_its_queue(deployed: Deployed) -> None:
    validate = await deployed.function("validate")
    event = replace(decided(), data={"flow_id": "f", "decision_id": "d"}, extensions={"partitionkey": "no-such-flow"})
    with pytest.raises(Unavailable, match="not visible"):
        await validate.takes(body_of(event), times=99)
    assert await validate.letters() == []


async def test_a_function_that_breaks_is_tried_again_and_then_its_flow_is_broken_off(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, validate = await deployed.function("api"), await deployed.function("validate")
    await api.takes(body_of(decided()))
    (event,) = await deployed.published(1)

    async def broken(_event: CloudEvent) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(validate.made, "_handle", broken)
    for times in (1, 2):
        with pytest.raises(RuntimeError, match="a bug"):
            await validate.takes(body_of(event), times=times)
    assert await validate.letters() == []
    await validate.takes(body_of(event), times=3)
    (letter,) = await validate.letters()
    assert (letter["reason"]["code"], letter["function"]) == ("internal", "validate")
    assert letter["reason"]["message"] == "RuntimeError: a bug"
    flow = await api.made.platform.ports.store.flow(event.extensions["partitionkey"])
    assert flow is not None
    assert flow.outcome == "FAILED"


async def test_a_record_that_cannot_be_read_makes_a_dead_letter_and_breaks_off_no_flow(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, validate = await deployed.function("api"), await deployed.function("validate")
    await api.takes(body_of(decided()))
    (event,) = await deployed.published(1)

    async def unreadable(_event: CloudEvent) -> None:
        raise Unreadable("the stored ticket cannot be read")

    monkeypatch.setattr(validate.made, "_handle", unreadable)
    await validate.takes(body_of(event))
    (letter,) = await validate.letters()
    assert letter["reason"]["code"] == "unreadable_record"
    flow = await api.made.platform.ports.store.flow(event.extensions["partitionkey"])
    assert flow is not None
    assert flow.outcome is None


async def test_what_nobody_took_is_kept_and_its_flow_goes_on(deployed: Deployed) -> None:
    api, dead_letter = await deployed.function("api"), await deployed.function("dead_letter")
    await api.takes(body_of(decided()))
    (event,) = await deployed.published(1)
    source = "arn:aws:sqs:eu-central-1:000000000000:ValidateQueue"
    attributes = {"ApproximateReceiveCount": "1", "DeadLetterQueueSourceArn": source}
    await dead_letter.takes(body_of(event), attributes=attributes)
    (letter,) = await dead_letter.letters()
    assert (letter["reason"]["code"], letter["reason"]["where"]) == ("undeliverable", source)
    flow = await api.made.platform.ports.store.flow(event.extensions["partitionkey"])
    assert flow is not None
    assert flow.outcome is None
    said = {
        "ERROR_CODE": {"stringValue": "NO_PERMISSIONS", "dataType": "String"},
        "ERROR_MESSAGE": {"stringValue": "queue policy", "dataType": "String"},
    }
    await dead_letter.takes(body_of(replace(event, id="other")), messageAttributes=said)
    letters = {letter["letter_id"]: letter["reason"] for letter in await dead_letter.letters()}
    assert (letters["other"]["code"], "queue policy" in letters["other"]["message"]) == ("no_permissions", True)


async def test_a_wake_up_before_the_next_tick_comes_by_a_message_of_its_own_and_finds_what_is_due(
    deployed: Deployed,
) -> None:
    api, validate = await deployed.function("api"), await deployed.function("validate")
    enforce_sla = await deployed.function("enforce_sla")
    deadline = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    await api.takes(body_of(decided(sla_deadline=deadline)))
    (event,) = await deployed.published(1)
    await validate.takes(body_of(event))
    (timer,) = await deployed.aws.messages(deployed.timers, 1)
    assert read_message(timer["Body"], NOW).source == SOURCE
    await asyncio.sleep(0.2)
    await enforce_sla.takes(timer["Body"])
    flow = await api.made.platform.ports.store.flow(event.extensions["partitionkey"])
    assert flow is not None
    assert flow.outcome == "TIMED_OUT"


async def test_a_tick_publishes_what_a_process_that_died_has_left(deployed: Deployed) -> None:
    api, enforce_sla = await deployed.function("api"), await deployed.function("enforce_sla")
    old = replace(decided(), type=type_of("flow.completed"), time=NOW, extensions={"partitionkey": "f"})
    await api.made.platform.instruments.queue.enqueue([old])
    tick = CloudEvent(id="t", source="aws.scheduler", type=type_of("clock.ticked"), time=datetime.now(UTC), data={})
    await enforce_sla.takes(body_of(tick))
    assert [event.id for event in await deployed.published(1)] == [old.id]
    assert await api.made.platform.instruments.queue.pending(0, 10) == []


def test_the_environment_is_named_where_it_is_wrong() -> None:
    with pytest.raises(SettingsError) as wrong:
        read_environment("api", {"FLOWC_TABLE": "x", "FLOWC_BUSS": "y"})
    assert [problem.split(":")[0] for problem in wrong.value.problems] == ["FLOWC_BUSS", "FLOWC_TABLE"]
    with pytest.raises(SettingsError) as missing:
        read_environment("api", {"FLOWC_TABLE": "table", "FLOWC_WORKER_KEY": "w" * 32})
    names = [problem.split(":")[0] for problem in missing.value.problems]
    assert names == ["FLOWC_BUS", "FLOWC_PUBLIC_URL", "FLOWC_API_KEY"]


async def test_two_environments_of_a_function_give_other_positions_at_the_same_moment(deployed: Deployed) -> None:
    settings = read_environment("enforce_sla", deployed.environment)
    flow = make_flow()
    for number in range(3):
        made = await LambdaFunction.made("enforce_sla", settings, deployed.aws.clients, Ahead(NOW))
        deployed.functions.append(made)
        ticket = make_ticket(flow, number)
        entry = make_history(flow, number, ticket_id=ticket.ticket_id)
        step = ChangeSet(flow_id=flow.flow_id, tickets=(ticket,), history=(entry,))
        await made.platform.ports.store.commit(step)
    history = await made.platform.ports.views.history(flow.flow_id, 0, 10)
    assert len({entry.seq for entry in history}) > 1

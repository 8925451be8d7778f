"""What comes in from outside: only what may, only in full, only with the right token, and garbage never breaks it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._adapters.http.cloudevents import write_binary
from functions._core.engine import Engine, ReportResult
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.reports import Report
from functions._core.records.values import TicketStatus, flow_id_of
from functions._engine.settings import Settings
from functions._hosts.one_machine.process import running
from tests.support.http_api import Api, bearer, problem_of, running_api
from tests.support.world import PATIENCE_S, decision, decision_event, report_event, task, until

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
MIB = 1024 * 1024

HEADERS = {
    "ce-id": "1",
    "ce-source": "/tests",
    "ce-specversion": "1.0",
    "ce-type": "io.neuralhive.decision.consolidated.v1",
    "content-type": "application/json",
}
RAW_HEADERS = {name.encode(): value.encode() for name, value in HEADERS.items()}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running_one:
        yield running_one


def event(event_type: str, data: Any, **changes: Any) -> CloudEvent:
    """Return an event of any type."""
    return replace(decision_event(data), type=type_of(event_type), **changes)


async def assignment_of(api: Api, *tasks: dict[str, Any]) -> Any:
    """Let a silent worker accept the first ticket of a plan, and return the assignment."""
    api.world.workers.behave = lambda _assignment: None
    await api.world.register()
    flow_id = await api.world.submit(decision(*(tasks or (task("a"),))))

    async def assigned() -> Any:
        return next((a for a in api.world.workers.assignments if a["flow_id"] == flow_id), None)

    return await until(assigned, "an assignment")


# --- Events ---------------------------------------------------------------------------------------------------


async def test_the_binary_form_is_taken_like_the_structured_one(api: Api) -> None:
    headers, body = write_binary(decision_event(decision(task("a"), decision_id="d-1")))
    answer = await api.client.post("/", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (202, {"flow_id": flow_id_of("d-1")})


async def test_the_same_decision_again_is_the_same_flow(api: Api) -> None:
    sent = decision_event(decision(task("a")))
    first, second = await api.post(sent), await api.post(sent)
    assert first.json() == second.json()
    assert len((await api.get("/api/v1/flows"))["items"]) == 1


async def test_a_batch_of_decisions_is_answered_with_their_flows_in_order(api: Api) -> None:
    events = [decision_event(decision(task("a"), decision_id=f"d-{number}")) for number in range(3)]
    answer = await api.post(*events, batch=True)
    assert answer.status_code == 202
    assert answer.json()["flows"] == [flow_id_of(f"d-{number}") for number in range(3)]
    assert (await api.post(batch=True)).json() == {"flows": [], "taken": []}


async def test_of_a_batch_with_one_bad_event_the_good_ones_are_taken_and_the_bad_one_is_named(api: Api) -> None:
    good = [decision_event(decision(task("a"), decision_id=f"d-{number}")) for number in range(2)]
    bad = event("tickets.ready", {})
    document = problem_of(await api.post(good[0], bad, good[1], batch=True), 400, "batch_refused")
    assert [(error["index"], error["code"]) for error in document["errors"]] == [(1, "internal_type")]
    assert [(taken["index"], taken["flow_id"]) for taken in document["taken"]] == [
        (0, flow_id_of("d-0")),
        (2, flow_id_of("d-1")),
    ]
    assert len((await api.get("/api/v1/flows"))["items"]) == 2


async def test_of_a_batch_with_a_malformed_event_nothing_is_taken(api: Api) -> None:
    envelope = {"specversion": "1.0", "id": "1", "source": "/t", "type": type_of("decision.consolidated")}
    body = json.dumps([{**envelope, "data": decision(task("a"))}, {"id": "2"}])
    answer = await api.client.post("/", content=body, headers={"content-type": BATCHED})
    document = problem_of(answer, 400, "malformed_event")
    assert "event 1" in document["detail"]
    assert (await api.get("/api/v1/flows"))["items"] == []


async def test_internal_types_are_refused_and_unknown_ones_are_told_what_is_taken(api: Api) -> None:
    flow_id = await api.world.submit(decision(task("a")))
    for event_type in ("plan.validated", "tickets.ready", "workers.discovered", "flow.consolidated", "clock.ticked"):
        problem_of(await api.post(event(event_type, {"flow_id": flow_id}, subject=flow_id)), 403, "internal_type")
    for kind in ("decision.consolidated", "io.neuralhive.decision.consolidated.v2", "IO.Neuralhive." + "x" * 4000):
        document = problem_of(await api.post(replace(decision_event({}), type=kind)), 422, "unknown_type")
        assert "io.neuralhive.decision.consolidated.v1" in document["detail"]
        assert len(document["detail"]) < 1200


async def test_a_flow_is_cancelled_by_an_event(api: Api) -> None:
    flow_id = await api.world.submit(decision(task("a")))
    answer = await api.post(event("flow.cancel_requested", {"flow_id": flow_id, "requested_by": "ann"}))
    assert (answer.status_code, answer.json()["flow_id"]) == (202, flow_id)
    assert (await api.world.ended(flow_id)).status == "CANCELLED"
    problem_of(await api.post(event("flow.cancel_requested", {"flow_id": "a\0b"})), 404, "unknown_flow")
    document = problem_of(await api.post(event("flow.cancel_requested", {"requested_by": 7})), 422, "invalid_data")
    assert sorted(error["where"] for error in document["errors"]) == ["data.flow_id", "data.requested_by"]


async def test_a_worker_registers_beats_and_leaves_by_events(api: Api) -> None:
    registration = {"worker_id": "w9", "endpoint": "http://127.0.0.1:1/w9", "capabilities": ["go"]}
    answer = await api.post(event("worker.registered", registration))
    said = answer.json()
    assert said.pop("signing_secret").startswith("whsec_")
    assert said == {"worker_id": "w9", "heartbeat_interval_seconds": 30.0, "callback_base_url": "http://127.0.0.1:1"}
    beat = await api.post(event("worker.heartbeat", {}, subject="w9"))
    assert beat.json() == {"worker_id": "w9", "status": "HEALTHY", "cancel": []}
    assert (await api.post(event("worker.deregistered", {"worker_id": "w9"}))).status_code == 202
    problem_of(await api.post(event("worker.deregistered", {"worker_id": "w9"})), 404, "unknown_worker")
    problem_of(await api.post(event("worker.heartbeat", {}, subject="w9")), 404, "unknown_worker")
    problem_of(await api.post(event("worker.heartbeat", {})), 422, "invalid_data")


# --- Reports --------------------------------------------------------------------------------------------------


async def test_a_report_moves_its_ticket_and_its_repetition_is_known(api: Api) -> None:
    assignment = await assignment_of(api)
    running_now = await api.report(assignment, report_event(assignment, status="RUNNING", progress=40))
    assert (running_now.status_code, running_now.json()) == (200, {"result": "recorded", "cancel": False})
    assert (await api.get(f"/api/v1/tickets/{assignment['ticket_id']}"))["progress"] == 40
    done = report_event(assignment, status="COMPLETED", output={"ok": True})
    assert (await api.report(assignment, done)).json() == {"result": "recorded", "cancel": False}
    assert (await api.report(assignment, done)).json()["result"] == "duplicate"
    assert (await api.world.ended(assignment["flow_id"])).status == "COMPLETED"


async def test_a_report_at_the_ingress_needs_its_token_too(api: Api) -> None:
    assignment = await assignment_of(api)
    done = report_event(assignment, status="COMPLETED")
    refused = await api.post(done)
    problem_of(refused, 401, "missing_token")
    assert refused.headers["www-authenticate"] == "Bearer"
    answer = await api.post(done, token=assignment["token"])
    assert (answer.status_code, answer.json()) == (202, {"result": "recorded", "cancel": False})


async def test_a_report_without_its_own_token_changes_nothing(api: Api) -> None:
    first = await assignment_of(api, task("a"), task("b"))

    async def second_one() -> Any:
        return next((a for a in api.world.workers.assignments if a["ticket_id"] != first["ticket_id"]), None)

    other = await until(second_one, "the second assignment")
    done = report_event(first, status="COMPLETED")
    path = f"/api/v1/flows/{first['flow_id']}/reports"
    headers, body = write_binary(done)
    problem_of(await api.client.post(path, content=body, headers=headers), 401, "missing_token")
    basic = headers | {"authorization": f"Basic {first['token']}"}
    problem_of(await api.client.post(path, content=body, headers=basic), 401, "missing_token")
    wrong = await api.report(first, done, token="not-a-token")
    problem_of(wrong, 401, "bad_token")
    assert wrong.headers["www-authenticate"] == "Bearer"
    problem_of(await api.report(first, done, token=other["token"]), 403, "foreign_token")
    later = replace(done, data={**done.data, "attempt": 2})
    problem_of(await api.report(first, later), 403, "foreign_token")
    expired = mint(api, first, expires_in=timedelta(seconds=-1))
    problem_of(await api.report(first, done, token=expired), 401, "expired_token")
    ticket = (await api.world.tickets(first["flow_id"]))["a"]
    assert ticket.status is TicketStatus.ASSIGNED


async def test_a_report_sent_to_another_flow_finds_no_ticket(api: Api) -> None:
    assignment = await assignment_of(api)
    other = await api.world.submit(decision(task("a")))
    path = {"callback_url": f"/api/v1/flows/{other}/reports"}
    done = report_event(assignment, status="COMPLETED")
    problem_of(await api.report(assignment | path, done), 404, "unknown_ticket")
    gone = {**assignment, "ticket_id": "gone"}
    answer = await api.report(gone, report_event(gone, status="COMPLETED"), token=mint(api, gone))
    problem_of(answer, 404, "unknown_ticket")


async def test_a_report_after_the_flow_was_cancelled_tells_the_worker_to_stop(api: Api) -> None:
    assignment = await assignment_of(api)
    await api.client.post(f"/api/v1/flows/{assignment['flow_id']}/cancel")
    answer = await api.report(assignment, report_event(assignment, status="RUNNING"))
    assert (answer.status_code, answer.json()) == (200, {"result": "superseded", "cancel": True})


async def test_every_wrong_field_of_a_report_is_named(api: Api) -> None:
    assignment = await assignment_of(api)
    said = {"status": "DONE", "attempt": 0, "progress": 101, "error": {"retryable": "perhaps"}}
    document = problem_of(await api.report(assignment, report_event(assignment, **said)), 422, "invalid_data")
    assert sorted(error["where"] for error in document["errors"]) == [
        "data.attempt",
        "data.error.retryable",
        "data.progress",
        "data.status",
    ]
    wrongs: tuple[Any, ...] = (None, [], "COMPLETED", 7)
    for data in wrongs:
        wrong = replace(report_event(assignment), data=data)
        assert problem_of(await api.report(assignment, wrong), 422, "invalid_data")["errors"]


async def test_only_one_report_is_taken_where_reports_go(api: Api) -> None:
    assignment = await assignment_of(api)
    other = decision_event(decision(task("a")))
    problem_of(await api.report(assignment, other), 422, "unknown_type")
    headers = {"content-type": BATCHED} | bearer(assignment["token"])
    path = f"/api/v1/flows/{assignment['flow_id']}/reports"
    problem_of(await api.client.post(path, content=b"[]", headers=headers), 422, "unknown_type")


async def test_an_output_is_kept_up_to_its_limit_and_refused_above_it(api: Api) -> None:
    assignment = await assignment_of(api)
    too_large = report_event(assignment, status="COMPLETED", output="ü" * 128 * 1024)
    problem_of(await api.report(assignment, too_large), 413, "output_too_large")
    fits = report_event(assignment, status="COMPLETED", output={"text": "x" * 200_000, "big": 10**4000, "nul": "a\0b"})
    assert (await api.report(assignment, fits)).status_code == 200
    output = (await api.get(f"/api/v1/tickets/{assignment['ticket_id']}"))["output"]
    assert output == fits.data["output"]


async def test_what_a_report_brings_along_is_not_believed(api: Api) -> None:
    assignment = await assignment_of(api)
    heard = overhear(api)
    said = report_event(assignment, status="COMPLETED", worker_id="somebody", token="secret", flow_id="elsewhere")
    forged = replace(said, id="own-id", subject="elsewhere", extensions={"partitionkey": "elsewhere", "secret": "x"})
    assert (await api.report(assignment, forged)).json()["result"] == "recorded"
    believed = heard[0]
    assert believed.data == {
        "ticket_id": assignment["ticket_id"],
        "attempt": 1,
        "status": "COMPLETED",
        "worker_id": "w1",
    }
    assert (believed.subject, believed.source) == (assignment["ticket_id"], "/workers/local")
    assert set(believed.extensions) == {"partitionkey", "correlationid", "causationid", "traceparent"}
    assert (believed.extensions["partitionkey"], believed.extensions["causationid"]) == (
        assignment["flow_id"],
        "own-id",
    )


async def test_workers_that_number_their_reports_alike_are_told_apart_and_repetitions_are_not(api: Api) -> None:
    assignment = await assignment_of(api)
    heard = overhear(api)
    first = replace(report_event(assignment, status="RUNNING"), id="1")
    for said in (first, first, replace(first, source="/workers/other"), replace(first, id="2")):
        assert (await api.report(assignment, said)).status_code == 200
    once, again, elsewhere, other = (event.id for event in heard)
    assert once == again
    assert len({once, elsewhere, other}) == 3


# --- Garbage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_decision"),
        (b"null", "invalid_decision"),
        (b"[]", "invalid_decision"),
        (b'"text"', "invalid_decision"),
        (b"7", "invalid_decision"),
        (b"{}", "invalid_decision"),
        (b'{"decision_id": 7}', "invalid_decision"),
        (b'{"decision_id": null}', "invalid_decision"),
        (b'{"decision_id": "  "}', "invalid_decision"),
        (b'{"decision_id": "' + b"x" * 256 + b'"}', "invalid_decision"),
        (b'{"decision_id": ', "malformed_json"),
        (b"\xff\xfe{}", "malformed_json"),
        (b'{"decision_id": "\xff"}', "malformed_json"),
        (b'{"decision_id": "a"}\x00', "malformed_json"),
        (b"\x00" * 1000, "malformed_json"),
        (b'{"decision_id": "\\ud800"}', "malformed_json"),
        (b'{"decision_id": "a", "n": 1e999}', "malformed_json"),
        (b'{"decision_id": "a", "n": NaN}', "malformed_json"),
        (b'{"decision_id": "a", "n": 1' + b"0" * 5000 + b"}", "malformed_json"),
        (b'{"decision_id": "a", "n": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "too_deep"),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "too_deep"),
        (b"[" * 20_000, "too_deep"),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else value,
)
async def test_garbage_in_place_of_a_decision_is_a_400_that_says_what_it_is(api: Api, body: bytes, code: str) -> None:
    problem_of(await api.client.post("/", content=body, headers=HEADERS), 400, code)
    structured = b'{"specversion":"1.0","id":"1","source":"/t","type":"' + HEADERS["ce-type"].encode()
    answer = await api.client.post(
        "/", content=structured + b'","data":' + body + b"}", headers={"content-type": STRUCTURED}
    )
    assert answer.status_code == 400
    assert (await api.get("/api/v1/flows"))["items"] == []


async def test_every_missing_attribute_is_named(api: Api) -> None:
    document = problem_of(await api.client.post("/", json=decision(task("a"))), 400, "malformed_event")
    assert "id, source, type, specversion" in document["detail"]
    answer = await api.client.post("/", content=b'{"id": "1"}', headers={"content-type": STRUCTURED})
    assert "source, type, specversion" in problem_of(answer, 400, "malformed_event")["detail"]


@pytest.mark.parametrize("media", ["text/xml", "application/cloudevents+avro", "application/json; charset=utf-16"])
async def test_what_is_not_json_is_a_415(api: Api, media: str) -> None:
    answer = await api.client.post("/", content=b"{}", headers=HEADERS | {"content-type": media})
    problem_of(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("header", "value"),
    [("ce-id", b"%ff"), ("ce-source", b""), ("ce-time", b"yesterday"), ("ce-id", b"a%00b"), ("ce-id", b"x" * 5000)],
)
async def test_a_wrong_attribute_is_a_400(api: Api, header: str, value: bytes) -> None:
    headers = RAW_HEADERS | {header.encode(): value}
    answer = await api.client.post("/", content=b'{"decision_id": "d"}', headers=headers)
    problem_of(answer, 400, "malformed_event")


async def test_a_body_that_announces_too_much_is_refused_unread(api: Api) -> None:
    read = []

    async def watched() -> AsyncIterator[bytes]:
        read.append("something")
        yield b"{}"

    for length in (str(16 * MIB + 1), "9" * 5000):
        headers = HEADERS | {"content-length": length}
        problem_of(await api.client.post("/", content=watched(), headers=headers), 413, "too_large")
    assert read == []


async def test_a_body_without_an_announcement_is_refused_as_soon_as_it_is_too_large(api: Api) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += MIB
            yield b" " * MIB

    problem_of(await api.client.post("/", content=endless(), headers=HEADERS), 413, "too_large")
    assert sent == 17 * MIB


async def test_a_body_that_just_fits_is_taken(tmp_path: Path) -> None:
    async with running_api(tmp_path, max_body=10_000) as api:
        body = json.dumps(decision(task("a"))).encode()
        fits = body + b" " * (10_000 - len(body))
        assert (await api.client.post("/", content=fits, headers=HEADERS)).status_code == 202
        problem_of(await api.client.post("/", content=fits + b" ", headers=HEADERS), 413, "too_large")


@pytest.mark.parametrize("path", ["/api/v1/workers", "/api/v1/workers/discover", "/api/v1/workers/w/heartbeat"])
async def test_bodies_of_the_views_are_as_guarded_as_events(api: Api, path: str) -> None:
    json_type = {"content-type": "application/json"}
    for body, status, code in (
        (b"{", 400, "malformed_json"),
        (b"\xff", 400, "malformed_json"),
        (b"[" * 20_000 + b"]" * 20_000, 400, "too_deep"),
        (b'{"n": NaN}', 400, "malformed_json"),
        (b'"text"', 422, "invalid_data"),
        (b"[]", 422, "invalid_data"),
        (b" " * (MIB + 1), 413, "too_large"),
    ):
        problem_of(await api.client.post(path, content=body, headers=json_type), status, code)
    for media in ("text/plain", ""):
        answer = await api.client.post(path, content=b"{}", headers={"content-type": media})
        problem_of(answer, 415, "not_json")


async def test_every_wrong_field_of_a_registration_is_named(api: Api) -> None:
    body = {"worker_id": "a/b\0", "endpoint": "ftp://x", "slots": 0, "running": [{"attempt": "x"}]}
    document = problem_of(await api.client.post("/api/v1/workers", json=body), 422, "invalid_data")
    assert sorted(error["where"] for error in document["errors"]) == [
        "body.endpoint",
        "body.running[0].attempt",
        "body.running[0].ticket_id",
        "body.slots",
        "body.worker_id",
    ]


async def test_of_a_list_the_first_wrong_entry_alone_is_named(api: Api) -> None:
    body = {"worker_id": "w", "endpoint": "http://x", "running": [{}] * 1000}
    document = problem_of(await api.client.post("/api/v1/workers", json=body), 422, "invalid_data")
    faults = {fault["where"] for fault in document["errors"]}
    assert faults >= {"body.running[0].ticket_id", "body.running[0].attempt"}
    assert not [fault for fault in faults if fault.startswith("body.running[1]")]


async def test_a_thousand_faults_are_counted_and_a_hundred_listed(api: Api) -> None:
    body = {"status": "RUNNING", **{f"unknown_{number}": 1 for number in range(1000)}}
    answer = await api.client.patch("/api/v1/tickets/x/status", json=body)
    document = problem_of(answer, 422, "invalid_data")
    assert len(document["errors"]) == 100
    assert "997 more" in document["detail"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "decision_id",
    "flow_id",
    "ticket_id",
    "attempt",
    "status",
    "worker_id",
    "endpoint",
    "running",
    "cognitive_plan",
)
NOUNS = ("decision.consolidated", "ticket.reported", "flow.cancel_requested", "worker.registered", "worker.heartbeat")


@pytest.fixture
def ingress(tmp_path: Path) -> Iterator[Callable[[bytes, dict[str, bytes]], int]]:
    """Give `ingress(body, headers)`: the status of the answer to what is sent to one running api."""
    with asyncio.Runner() as runner:
        context = running_api(tmp_path)
        api = runner.run(context.__aenter__())

        def send(body: bytes, headers: dict[str, bytes]) -> int:
            given = {name.encode(): value for name, value in headers.items()}
            return runner.run(api.client.post("/", content=body, headers=RAW_HEADERS | given)).status_code

        yield send
        runner.run(context.__aexit__(None, None, None))


EXAMPLES = pytest.mark.parametrize("examples", [50, pytest.param(500, marks=pytest.mark.slow)])


@EXAMPLES
def test_no_data_makes_the_ingress_fail(ingress: Callable[[bytes, dict[str, bytes]], int], examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(
        event_type=st.sampled_from(NOUNS),
        data=st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON | st.binary(max_size=40),
    )
    def check(event_type: str, data: Any) -> None:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        headers = {"ce-type": type_of(event_type).encode(), "authorization": b"Bearer x"}
        assert ingress(body, headers) in {202, 400, 401, 403, 404, 422}

    check()


@EXAMPLES
def test_no_header_makes_the_ingress_fail(ingress: Callable[[bytes, dict[str, bytes]], int], examples: int) -> None:
    names = (*HEADERS, "ce-time", "ce-subject", "ce-x", "authorization")

    @settings(max_examples=examples, deadline=None)
    @given(headers=st.dictionaries(st.sampled_from(names), st.binary(max_size=30)))
    def check(headers: dict[str, bytes]) -> None:
        assert ingress(b'{"decision_id":"d"}', headers) in {202, 400, 401, 403, 415, 422}

    check()


# --- The connection -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False])
async def test_the_connection_stays_usable_after_a_body_that_was_too_large(tmp_path: Path, *, announced: bool) -> None:
    size = 256 * 1024
    head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    sent = b"x" * size
    if announced:
        request = head + f"content-length: {size}\r\n\r\n".encode() + sent
    else:
        request = head + b"transfer-encoding: chunked\r\n\r\n" + f"{size:x}\r\n".encode() + sent + b"\r\n0\r\n\r\n"
    async with running(Settings(port=0, data=tmp_path, max_body_bytes=2048)) as platform:
        port = httpx.URL(platform.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            await writer.drain()
            assert await answered(reader) == 413
            writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await answered(reader) == 200
        finally:
            writer.close()
            await writer.wait_closed()


@dataclass(frozen=True)
class Overheard:
    """The platform's engine, with everything that is reported to it written down."""

    engine: Engine
    heard: list[CloudEvent]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def report(self, event: CloudEvent, report: Report | None = None) -> ReportResult:
        assert report is not None
        assert report.model_dump(mode="json", exclude_none=True) == event.data
        self.heard.append(event)
        return await self.engine.report(event, report)


def overhear(api: Api) -> list[CloudEvent]:
    """Return a list that every report to the engine is added to from now on."""
    heard: list[CloudEvent] = []
    services = api.app.state.services
    api.app.state.services = replace(services, engine=Overheard(services.engine, heard))
    return heard


async def answered(reader: asyncio.StreamReader) -> int:
    """Read one answer to its end and return its status."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)).decode().lower()
    length = next(int(line.partition(":")[2]) for line in head.splitlines() if line.startswith("content-length"))
    await reader.readexactly(length)
    return int(head.split(" ")[1])


def mint(api: Api, assignment: Any, *, expires_in: timedelta = timedelta(minutes=1)) -> str:
    """Return a token of ours for an assignment."""
    return api.world.ports.tokens.mint(
        ticket_id=assignment["ticket_id"],
        attempt=assignment["attempt"],
        worker_id="w1",
        expires_at=datetime.now(UTC) + expires_in,
    )

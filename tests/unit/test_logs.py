"""One line for each handled event, in constant words, without payloads or tokens."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from functions._adapters.http.cloudevents import write_binary
from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.machine.outcomes import Duplicate
from functions._core.records.change_set import ChangeSet
from functions._engine.clock import SystemClock
from functions._engine.worker_tracker import WorkerTracker
from functions._hosts.knative.edge import EventEdge
from functions._observability import logs
from functions._observability.dispatch_result import Handling
from tests.support.builders import T0, make_event, make_flow
from tests.support.command_line import logs_as_before
from tests.support.world import LocalWorld, running_world, task, until

ACKNOWLEDGED_FIRST = [("assign", "ticket.answered", "Delivered"), ("monitor", "ticket.reported", "Reported")]
"""The answer to the assignment and the report race."""

SECRET = "a-secret-that-no-line-may-hold"

FAILING = make_event(data={"ticket_id": "t"}, extensions={"partitionkey": "f", "correlationid": "c"})
IDS = {"event_id": FAILING.id, "flow_id": "f", "correlation_id": "c", "ticket_id": "t"}


@pytest.fixture
def configuration() -> Iterator[None]:
    """Give the former configuration back after a test that changes it."""
    with logs_as_before():
        yield


async def lines_of_a_flow(tmp_path: Path, **said: Any) -> tuple[list[Any], LocalWorld]:
    with structlog.testing.capture_logs() as lines:
        async with running_world(tmp_path) as world:
            await world.register()
            world.workers.behave = lambda _assignment: {"status": "COMPLETED", **said}
            await world.run(task("a", parameters={"key": SECRET}))
    return lines, world


async def test_every_handled_event_has_one_line(tmp_path: Path) -> None:
    lines, _ = await lines_of_a_flow(tmp_path)
    handled = [line for line in lines if line["event"] == "event.handled"]
    assert [(line["function"], line["type"], line["outcome"]) for line in handled] == [
        ("validate", "decision.consolidated", "Validated"),
        ("generate_tickets", "plan.validated", "Generated"),
        ("discover", "tickets.ready", "Discovered"),
        ("assign", "workers.discovered", "Assigned"),
        *(ACKNOWLEDGED_FIRST if handled[4]["type"] == "ticket.answered" else reversed(ACKNOWLEDGED_FIRST)),
        ("publish_telemetry", "flow.consolidated", "TelemetryTaken"),
    ]
    assert {line["log_level"] for line in handled} == {"debug"}


async def test_the_line_says_what_moved_how_long_it_took_and_how_much_time_is_left(tmp_path: Path) -> None:
    lines, world = await lines_of_a_flow(tmp_path)
    assigned = next(line for line in lines if line.get("outcome") == "Assigned")
    assert (assigned["from_status"], assigned["to_status"], assigned["attempt"]) == ("PENDING", "ASSIGNED", 1)
    assert assigned["ticket_id"] == world.workers.assignments[0]["ticket_id"]
    validated = next(line for line in lines if line.get("outcome") == "Validated")
    assert (validated["from_status"], validated["to_status"]) == ("VALIDATING", "GENERATING")
    for line in (assigned, validated):
        assert line["flow_id"] == world.workers.assignments[0]["flow_id"]
        assert line["event_id"]
        assert 0 < line["duration_ms"] < 10_000
        assert 14_000 < line["deadline_in_s"] <= 14_400


async def test_a_flow_that_ended_has_one_line_that_is_always_shown(tmp_path: Path) -> None:
    lines, world = await lines_of_a_flow(tmp_path)
    (ended,) = [line for line in lines if line["event"] == "flow.ended"]
    assert (ended["log_level"], ended["status"], ended["tickets"]) == ("info", "COMPLETED", 1)
    assert ended["flow_id"] == world.workers.assignments[0]["flow_id"]


async def test_what_fails_in_the_background_has_the_ids_of_what_it_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise OSError("broken")

    with structlog.testing.capture_logs() as lines:
        async with running_world(tmp_path, joins=False) as world:
            monkeypatch.setattr(world.platform.dispatcher, "delivered", broken)
            monkeypatch.setattr(WorkerTracker, "judge", broken)
            monkeypatch.setattr(WorkerTracker, "counts", lambda _tracker, _verdict: True)
            await world.register()
            flow = await world.run(task("a"))
            (ticket,) = (await world.tickets(flow.flow_id)).values()

            async def told() -> bool | None:
                return len([line for line in lines if line["event"] == "background.failed"]) == 2 or None

            await until(told, "both to fail")
    for line in lines:
        if line["event"] == "background.failed":
            assert (line["flow_id"], line["correlation_id"]) == (flow.flow_id, flow.correlation_id)
            assert (line["ticket_id"], line["attempt"], line["worker_id"]) == (ticket.ticket_id, 1, "w1")
        if line["event"] == "flow.ended":
            assert line["correlation_id"] == flow.correlation_id


async def test_no_line_holds_a_payload_or_a_token(tmp_path: Path) -> None:
    lines, world = await lines_of_a_flow(tmp_path, output={"key": SECRET})
    text = json.dumps(lines, default=str)
    assert SECRET not in text
    assert world.workers.assignments[0]["token"] not in text


async def test_all_names_are_dotted_constants(tmp_path: Path) -> None:
    lines, _ = await lines_of_a_flow(tmp_path)
    assert {line["event"] for line in lines} == {"event.handled", "flow.ended"}


def test_an_event_that_failed_says_at_what() -> None:
    error = Rejected("there is no such thing", code="unknown")
    with structlog.testing.capture_logs() as lines:
        logs.event_handled(
            Handling(function="assign", type="tickets.ready", flow_id="f", begun_at=T0, seconds=1, error=error)
        )
    (line,) = lines
    assert (line["outcome"], line["error"], line["event_id"]) == ("Rejected", "there is no such thing", None)


def test_an_event_that_failed_has_the_ids_of_what_it_is_about() -> None:
    with structlog.testing.capture_logs() as lines:
        logs.event_handled(
            Handling(
                function="monitor",
                type=FAILING.event_type,
                flow_id="f",
                begun_at=T0,
                seconds=1,
                event=FAILING,
                error=Unavailable("away"),
            )
        )
    (line,) = lines
    assert {**line, **IDS} == line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Rejected("not that", code="no"), "event.refused"),
        (Unavailable("away"), "event.not_now"),
        (RuntimeError("broken"), "event.failed"),
    ],
)
async def test_a_line_of_a_function_in_a_cluster_has_the_ids_of_its_event(error: Exception, said: str) -> None:
    async def fails(_event: CloudEvent) -> None:
        raise error

    edge = httpx.ASGITransport(EventEdge(fails, SystemClock(), 2048, bytes))
    headers, body = write_binary(FAILING)
    with structlog.testing.capture_logs() as lines:
        async with httpx.AsyncClient(transport=edge, base_url="http://function") as client:
            await client.post("/", headers=headers, content=body)
    (line,) = lines
    assert {**line, **IDS, "event": said} == line


def test_what_may_not_be_shown_is_replaced_whoever_writes_it() -> None:
    fields = logs.without_secrets(None, "info", {"token": "t", "payload": {}, "event": "a.b"})
    assert fields == {"token": "not shown", "payload": "not shown", "event": "a.b"}


@pytest.mark.usefixtures("configuration")
def test_lines_are_json_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    structlog.get_logger("flowc").info("flow.ended", flow_id="f", token=SECRET)
    structlog.get_logger("flowc").debug("event.handled", flow_id="f")
    out, text = capsys.readouterr()
    assert out == ""
    line = json.loads(text)
    assert line.pop("ts").endswith("Z")
    assert line == {"event": "flow.ended", "level": "info", "flow_id": "f", "token": "not shown"}


@pytest.mark.usefixtures("configuration")
@pytest.mark.parametrize(("level", "lines"), [("info", 0), ("debug", 1)])
def test_the_line_of_an_event_is_made_at_level_debug_only(
    level: str, lines: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "log", structlog.get_logger("flowc"))  # the module's own one would keep this level
    logs.configure(level)
    flow = make_flow()
    handling = Handling(
        function="monitor",
        type="ticket.reported",
        flow_id=flow.flow_id,
        begun_at=T0,
        seconds=0,
        flow=flow,
        outcome=Duplicate(),
        step=ChangeSet(flow_id=flow.flow_id),
    )
    logs.event_handled(handling)
    assert len(capsys.readouterr().err.splitlines()) == lines

"""One tree of spans for each flow, from the POST to the telemetry frame; nothing of it is loaded while it is off."""

import asyncio
import gzip
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.http.cloudevents import write_binary, write_structured
from functions._core.errors import Unavailable
from functions._core.placement.workers import Registration
from functions._core.records.models import Flow
from functions._engine.settings import Settings
from functions._hosts.serving import recorder_of
from tests.conftest import ROOT
from tests.support.loopback import Answer, Loopback, Request
from tests.support.one_machine import OneMachine, one_machine
from tests.support.world import decision, decision_event, report_event, task

USER_TRACE, USER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
USER = f"00-{USER_TRACE}-{USER_SPAN}-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-01"


@dataclass
class Traced:
    """A platform whose spans are kept, a worker that completes everything, and a client."""

    at: OneMachine
    reports_under: str | None = None
    assignments: list[Request] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def accept(self, request: Request) -> Answer:
        """Take an assignment, as a worker does."""
        self.assignments.append(request)
        done = asyncio.create_task(self._report(request.json))
        self.tasks.add(done)
        return Answer(202)

    async def run(self, *tasks: Mapping[str, Any], headers: Mapping[str, str] | None = None, **more: Any) -> Flow:
        """POST a decision and wait for the end of its flow."""
        event_headers, body = write_binary(decision_event(decision(*tasks, **more)))
        answer = await self.at.client.post("/", content=body, headers={**event_headers, **(headers or {})})
        assert answer.status_code == 202, answer.text
        ended = await self.at.ended(answer.json()["flow_id"])
        flow = await self.at.running.ports.store.flow(ended["flow_id"])
        assert flow is not None
        return flow

    async def _report(self, assignment: Mapping[str, Any]) -> None:
        event = report_event(assignment, status="COMPLETED")
        headers, body = write_structured(event)
        if self.reports_under is not None:
            headers, body = write_binary(event)
            headers = {**headers, "ce-traceparent": self.reports_under}
        headers = {**headers, "authorization": f"Bearer {assignment['token']}"}
        answer = await self.at.client.post(assignment["callback_url"], content=body, headers=headers)
        assert answer.status_code == 200, answer.text


@asynccontextmanager
async def traced(tmp_path: Path, **settings: Any) -> AsyncIterator[Traced]:
    """Run a platform with traces; what it recorded is complete when the context is left."""
    async with Loopback() as worker, one_machine(tmp_path / "data", **settings) as at:
        world = Traced(at)
        worker.answer = world.accept
        await at.register("w1", endpoint=worker.url)
        yield world
        await asyncio.gather(*world.tasks)


def spans_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def names(spans: list[dict[str, Any]]) -> dict[str, int]:
    found = [span["name"] for span in spans]
    return {name: found.count(name) for name in found}


async def test_one_flow_is_one_tree_from_the_post_to_the_telemetry_frame(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    async with traced(tmp_path, trace_file=file) as world:
        flow = await world.run(task("a"), task("b", "a"))
    spans = spans_of(file)
    assert {span["trace_id"] for span in spans} == {flow.trace_id}
    by_id = {span["span_id"]: span for span in spans}
    (root,) = [span for span in spans if span["parent_span_id"] is None]
    assert (root["name"], root["span_id"]) == ("POST decision.consolidated", flow.span_id)
    for span in spans:
        above = span
        while above["parent_span_id"] is not None:
            above = by_id[above["parent_span_id"]]
        assert above is root
    found = names(spans)
    assert found.pop("assign ticket.answered", 0) <= 2  # a report may come first, and answers are recorded together
    assert found == {
        "POST decision.consolidated": 1,
        "validate decision.consolidated": 1,
        "generate_tickets plan.validated": 1,
        "discover tickets.ready": 2,
        "assign workers.discovered": 2,
        "deliver ticket.assigned": 2,
        "monitor ticket.reported": 2,
        "publish_telemetry flow.consolidated": 1,
        "publish telemetry.frame": 1,
        "flow": 1,
    }


async def test_a_flow_is_one_span_as_long_as_it_took_with_its_ids_and_an_error_when_it_failed(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    async with traced(tmp_path, trace_file=file) as world:
        good = await world.run(task("a"))
        bad = await world.run(task("a", "a"))
    flows = {span["attributes"]["flowc.flow_id"]: span for span in spans_of(file) if span["name"] == "flow"}
    for flow, status in ((good, "UNSET"), (bad, "ERROR")):
        span = flows[flow.flow_id]
        assert span["status"] == status
        assert span["parent_span_id"] == flow.span_id
        assert flow.ended_at is not None
        took = (flow.ended_at - flow.received_at).total_seconds()
        assert abs((span["end_ns"] - span["start_ns"]) / 1e9 - took) < 0.001
        named = {name: span["attributes"][f"flowc.{name}"] for name in ("plan_id", "intent_id", "decision_id")}
        assert named == {"plan_id": flow.plan_id, "intent_id": "intent-1", "decision_id": flow.decision_id}
    assert "self_dependency" in flows[bad.flow_id]["error"]


async def test_spans_say_whose_they_are_how_long_they_took_and_what_came_out(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    async with traced(tmp_path, trace_file=file) as world:
        flow = await world.run(task("a"))
    spans = spans_of(file)
    assert {span["attributes"]["flowc.flow_id"] for span in spans} == {flow.flow_id}
    assert {span["status"] for span in spans} == {"UNSET"}
    assert all(0 < span["end_ns"] - span["start_ns"] < 60e9 for span in spans)
    validated = next(span for span in spans if span["name"].startswith("validate"))
    assert validated["attributes"]["flowc.outcome"] == "Validated"
    assert validated["attributes"]["flowc.status"] == "GENERATING"
    delivered = next(span for span in spans if span["name"].startswith("deliver"))
    assert delivered["attributes"]["flowc.worker_id"] == "w1"
    assert delivered["attributes"]["http.response.status_code"] == 202


@pytest.mark.parametrize("header", ["ce-traceparent", "traceparent"])
async def test_the_users_trace_is_continued(header: str, tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    async with traced(tmp_path, trace_file=file) as world:
        flow = await world.run(task("a"), headers={header: USER})
    spans = spans_of(file)
    assert {span["trace_id"] for span in spans} == {USER_TRACE} == {flow.trace_id}
    (post,) = [span for span in spans if span["name"] == "POST decision.consolidated"]
    assert post["parent_span_id"] == USER_SPAN


async def test_the_trace_that_the_decision_names_is_continued(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    async with traced(tmp_path, trace_file=file) as world:
        await world.run(task("a"), trace_id=USER_TRACE, span_id=USER_SPAN)
    assert {span["trace_id"] for span in spans_of(file)} == {USER_TRACE}


async def test_a_trace_that_its_user_does_not_record_is_not_recorded(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    async with traced(tmp_path, trace_file=file) as world:
        flow = await world.run(task("a"), headers={"traceparent": f"00-{USER_TRACE}-{USER_SPAN}-00"})
    assert flow.trace_id == USER_TRACE
    assert not file.exists()


async def test_an_assignment_carries_the_starting_trace(tmp_path: Path) -> None:
    async with traced(tmp_path, trace_file=tmp_path / "spans.jsonl") as world:
        flow = await world.run(task("a"))
    (assignment,) = world.assignments
    assert assignment.headers["ce-traceparent"] == flow.traceparent


async def test_a_worker_with_a_trace_of_its_own_does_not_tear_the_tree(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    async with traced(tmp_path, trace_file=file) as world:
        world.reports_under = OTHER
        flow = await world.run(task("a"))
    assert {span["trace_id"] for span in spans_of(file)} == {flow.trace_id}


async def test_a_worker_that_is_away_leaves_an_error(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    async with traced(tmp_path, trace_file=file) as world:
        gone = Registration(worker_id="w0", endpoint="http://127.0.0.1:1", capabilities=("gone",))
        await world.at.running.engine.register(gone)
        await world.run(task("a", required_capabilities=["gone"]), sla_deadline_seconds=0.5)
    failed = [span for span in spans_of(file) if span["status"] == "ERROR"]
    assert {span["name"] for span in failed} >= {"deliver ticket.assigned"}


async def test_spans_reach_a_collector(tmp_path: Path) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    async def taken(_request: Request) -> Answer:
        return Answer(200, b"", {"content-type": "application/x-protobuf"})

    async with Loopback() as collector:
        collector.answer = taken
        async with traced(tmp_path, otlp_endpoint=collector.url) as world:
            flow = await world.run(task("a"))
        requests = [request for request in collector.requests if request.path == "/v1/traces"]
    found = []
    for request in requests:
        plain = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
        message = ExportTraceServiceRequest.FromString(plain)
        found += [s for r in message.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert {span.trace_id.hex() for span in found} == {flow.trace_id}
    assert {"POST decision.consolidated", "publish telemetry.frame"} <= {span.name for span in found}


async def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "functions._observability.traces", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(Unavailable, match=r"infra/requirements/otel\.txt"):
        recorder_of(Settings.from_mapping({}, data=tmp_path, trace_file=tmp_path / "spans.jsonl"))


OFF = """
import asyncio, sys

def loaded():
    return {name for name in sys.modules if name.startswith("opentelemetry")}

import functions._engine.platform
assert not loaded(), loaded()  # the functions and all around them, without the web framework
from pathlib import Path
from functions._hosts.one_machine.process import running
from functions._hosts.serving import recorder_of
from functions._engine.settings import Settings

async def main():
    async with running(Settings.from_mapping({}, port=0, data=Path(sys.argv[1]))) as platform:
        assert platform.engine.instruments.metrics.text()
        assert "functions._observability.traces" not in sys.modules

asyncio.run(main())
print(sorted({name for name in loaded() if name.split(".")[1:2] in (["sdk"], ["exporter"], ["proto"])}))
"""


def test_nothing_of_ours_imports_opentelemetry_while_traces_are_off(tmp_path: Path) -> None:
    # FastAPI imports the bare API by itself; that does nothing without the SDK.
    done = subprocess.run(
        [sys.executable, "-c", OFF, str(tmp_path / "data")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr

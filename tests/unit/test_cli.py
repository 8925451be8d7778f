"""`flowc` against a stand-in for the API: what it asks, what it says, and the exit status it leaves."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from functions._core.checks import check_plan
from functions._core.decision import read_decision
from functions._runtime.cli import submission, watching
from functions._runtime.cli.app import app
from functions._runtime.cli.demo_command import SAMPLE
from functions._runtime.cli.progress import Progress
from functions._runtime.cli.words import clock, span, transition
from tests.decisions import NOW, a_document
from tests.loopback import Answer, Loopback, Request

FLOW_ID = "7b3c7a2e-59a8-5f0e-8a6c-0f3d8f7f7a10"
COMMANDS = [
    ("demo",),
    ("up",),
    ("worker",),
    ("submit",),
    ("flows",),
    ("show",),
    ("why",),
    ("cancel",),
    ("events",),
    ("dead-letters",),
    ("dead-letters", "list"),
    ("dead-letters", "replay"),
    ("dead-letters", "drop"),
    ("version",),
]
READING = [
    ("flows",),
    ("show", FLOW_ID),
    ("why", FLOW_ID),
    ("cancel", FLOW_ID),
    ("events",),
    ("events", "--follow"),
    ("dead-letters", "list"),
    ("dead-letters", "replay", "x"),
    ("dead-letters", "drop", "x"),
]


def flowc(*arguments: str, stdin: str | None = None, **environment: str) -> Result:
    """Run the command line in this process, without any setting of the caller's environment."""
    cleared = {name: environment.get(name) for name in ("FLOWC_URL", "FLOWC_API_KEY", "FLOWC_PORT")}
    return CliRunner(env={**cleared, **environment, "COLUMNS": "120"}).invoke(
        app, arguments, input=stdin, prog_name="flowc"
    )


def words_of(text: str) -> str:
    """Return help text without frames and line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


@pytest.fixture
def nobody() -> str:
    """Return an address of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def decision_file(tmp_path: Path) -> str:
    file = tmp_path / "decision.json"
    file.write_text(json.dumps(a_document()), encoding="utf-8")
    return str(file)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every wait between two tries."""
    monkeypatch.setattr(submission, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(watching, "FASTEST", 0.01)
    monkeypatch.setattr(watching, "SLOWEST", 0.01)


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_every_command_explains_itself(self, command: Sequence[str]) -> None:
        result = flowc(*command, "--help")
        assert result.exit_code == 0
        assert f"Usage: flowc {' '.join(command)}" in words_of(result.output)
        assert len(words_of(result.output)) > 100

    def test_the_list_of_commands_is_complete(self) -> None:
        def names(typer: Typer) -> Iterator[str]:
            yield from ((c.name or getattr(c.callback, "__name__", "")) for c in typer.registered_commands)
            yield from (group.name or "" for group in typer.registered_groups)

        assert sorted(names(app)) == sorted(command[0] for command in COMMANDS if len(command) == 1)

    def test_without_a_command_the_help_is_shown(self) -> None:
        assert "dead-letters" in flowc().output

    def test_help_and_usage_errors_need_no_heavy_imports(self) -> None:
        import subprocess
        import sys

        probe = (
            "import sys; from functions._runtime.cli import app\n"
            "print(sorted({'httpx', 'pydantic', 'rich.live', 'uvicorn', 'fastapi'} & sys.modules.keys()))"
        )
        run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        assert run.stdout == "[]\n"

    def test_the_version_is_printed(self) -> None:
        assert re.fullmatch(r"flowc \d+\.\d+\.\d+\S*\n", flowc("version").stdout)


class TestUsage:
    @pytest.mark.parametrize(
        "executors",
        [(), ("--shell", "true", "--simulate", "10"), ("--call", "json:dumps", "--shell", "true")],
        ids=["none", "two", "other two"],
    )
    def test_a_worker_does_tickets_in_exactly_one_way(self, executors: Sequence[str]) -> None:
        result = flowc("worker", *executors)
        assert result.exit_code == 2
        assert "exactly one of --call, --shell and --simulate" in words_of(result.stderr)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--call", "no_such_module:f"), "cannot be imported"),
            (("--call", "json"), "module:function"),
            (("--simulate", "0"), "above 0"),
            (("--simulate", "fast"), "valid number"),
            (("--shell", "true", "--slots", "0"), "--slots"),
        ],
    )
    def test_a_worker_that_cannot_work_is_a_usage_error(self, arguments: Sequence[str], said: str) -> None:
        result = flowc("worker", *arguments)
        assert result.exit_code == 2
        assert said in words_of(result.stderr)

    def test_an_address_without_a_scheme_is_a_usage_error(self) -> None:
        result = flowc("flows", "--url", "localhost:8080")
        assert result.exit_code == 2
        assert "http://" in words_of(result.stderr)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "cannot be read: No such file"),
            ("", "the text is empty"),
            ("{", "not JSON"),
            ("[]", "a decision is a JSON object"),
            ('{"specversion": "1.0", "id": "1", "type": "x"}', "missing attributes: source"),
            ('{"specversion": "1.0", "id": "1", "type": "x", "source": "/s", "data": {}}', "of type x is no decision"),
        ],
        ids=["absent", "empty", "cut off", "a list", "half an event", "another event"],
    )
    @pytest.mark.parametrize("command", ["submit", "demo"])
    def test_a_file_that_is_no_decision_is_refused_before_anything_starts(
        self, tmp_path: Path, command: str, content: str | None, said: str
    ) -> None:
        file = tmp_path / "decision.json"
        if content is not None:
            file.write_text(content, encoding="utf-8")
        result = flowc(command, str(file))
        assert result.exit_code == 2
        assert said in result.stderr
        assert result.stdout == ""

    def test_the_demo_says_in_json_too_that_a_file_is_no_decision(self, tmp_path: Path) -> None:
        result = flowc("demo", "--json", str(tmp_path / "absent.json"))
        assert result.exit_code == 2
        answer = json.loads(result.stdout)
        assert (answer["status"], answer["success"], answer["flow_id"]) == ("REJECTED", False, None)
        assert "cannot be read" in answer["error"]


class TestNobodyThere:
    @pytest.mark.parametrize("command", READING, ids=" ".join)
    def test_a_platform_that_is_not_there_is_one_line_and_exit_status_1(
        self, command: Sequence[str], nobody: str
    ) -> None:
        result = flowc(*command, "--url", nobody)
        assert result.exit_code == 1
        assert result.stderr == f"flowc: no platform at {nobody}; start one with `flowc up`\n"
        assert result.stdout == ""

    def test_the_address_can_come_from_the_environment(self, nobody: str) -> None:
        assert nobody in flowc("flows", FLOWC_URL=nobody).stderr

    def test_submitting_tries_a_few_times_and_then_gives_up(self, nobody: str, decision_file: str) -> None:
        result = flowc("submit", decision_file, "--url", nobody)
        assert result.exit_code == 1
        first, last = result.stderr.splitlines()
        assert first == f"flowc: no platform at {nobody}; trying again for 0.02 s"
        assert last == f"flowc: no platform at {nobody}; start one with `flowc up`"


@dataclass
class Api:
    """A stand-in for the API: answers by method and path, each a value or a list to be used up."""

    server: Loopback
    answers: dict[str, Any]

    async def answer(self, request: Request) -> Answer:
        found = self.answers.get(f"{request.method} {request.path}")
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if callable(found):
            found = found(request)
        if isinstance(found, Answer):
            return found
        if found is None:
            return problem(404, "there is nothing here", "unknown")
        return Answer(200, json.dumps(found).encode(), {"content-type": "application/json"})

    async def flowc(self, *arguments: str, stdin: str | None = None, **environment: str) -> Result:
        """Run a command against this API, in a thread, so that this loop can answer it."""
        return await asyncio.to_thread(flowc, *arguments, stdin=stdin, **{"FLOWC_URL": self.server.url, **environment})


def problem(status: int, detail: str, code: str, **more: object) -> Answer:
    """Return a problem document as the API sends it."""
    document = {"type": "about:blank", "title": "No", "status": status, "detail": detail, "code": code, **more}
    return Answer(status, json.dumps(document).encode(), {"content-type": "application/problem+json"})


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with Loopback() as server:
        standin = Api(server, {})
        server.answer = standin.answer
        yield standin


def a_row(status: str = "COMPLETED", **changes: object) -> dict[str, Any]:
    """Return a flow as the API shows it."""
    return {
        "flow_id": FLOW_ID,
        "plan_id": "plan-1",
        "status": status,
        "outcome": status,
        "priority": "NORMAL",
        "risk_band": "low",
        "received_at": "2026-03-01T12:00:00.000Z",
        "ended_at": "2026-03-01T12:00:02.000Z",
        "sla_remaining_ms": 3_600_000,
        "sla_violated": False,
        "tickets_generated": 1,
        "reasons": [],
        **changes,
    }


def an_entry(seq: int, kind: str, to_status: str, **more: object) -> dict[str, Any]:
    """Return a line of a flow's history."""
    return {
        "seq": seq,
        "at": f"2026-03-01T12:00:00.{seq:03}Z",
        "type": kind,
        "cause": "",
        "to_status": to_status,
        "detail": {},
        **more,
    }


TICKET = {
    "ticket_id": "t-1",
    "task_id": "a",
    "status": "COMPLETED",
    "level": 0,
    "critical": True,
    "attempt": 1,
    "worker_id": "w1",
}
FLOW = f"GET /api/v1/flows/{FLOW_ID}"


def a_history(request: Request) -> Mapping[str, Any]:
    """Answer a history of two lines, whatever was asked for."""
    del request
    lines = [
        an_entry(1, "ticket.assigned", "ASSIGNED", ticket_id="t-1", task_id="a", worker_id="w1", attempt=1),
        an_entry(2, "ticket.completed", "COMPLETED", ticket_id="t-1", task_id="a", worker_id="w1", attempt=1),
    ]
    return {"items": lines, "after": 2}


def watched(api: Api, *rows: Mapping[str, Any] | Answer) -> None:
    """Let the flow show `rows` one after the other, with one ticket and a short history."""
    api.answers |= {
        "POST /": {"flow_id": FLOW_ID},
        FLOW: list(rows),
        f"{FLOW}/tickets": {"items": [TICKET], "cursor": None},
        f"{FLOW}/history": [a_history, {"items": [], "after": 2}],
    }


class TestSubmit:
    async def test_a_plain_decision_is_sent_as_a_structured_cloud_event(self, api: Api, decision_file: str) -> None:
        api.answers["POST /"] = {"flow_id": FLOW_ID}
        result = await api.flowc("submit", decision_file)
        assert (result.exit_code, result.stdout) == (0, f"{FLOW_ID}\n")
        (request,) = api.server.requests
        assert request.headers["content-type"] == "application/cloudevents+json"
        assert request.json["type"] == "io.neuralhive.decision.consolidated.v1"
        assert request.json["data"] == a_document()

    async def test_an_event_keeps_its_id_and_source(self, api: Api) -> None:
        api.answers["POST /"] = {"flow_id": FLOW_ID}
        event = {
            "specversion": "1.0",
            "id": "e-1",
            "source": "/mine",
            "type": submission.DECISION,
            "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
            "data": a_document(),
        }
        result = await api.flowc("submit", "-", stdin=json.dumps(event))
        assert result.exit_code == 0
        (request,) = api.server.requests
        assert event.items() <= request.json.items()

    async def test_a_busy_platform_is_asked_again_with_the_same_event_id(self, api: Api, decision_file: str) -> None:
        api.answers["POST /"] = [problem(503, "try later", "unavailable"), {"flow_id": FLOW_ID}]
        result = await api.flowc("submit", decision_file)
        assert (result.exit_code, result.stdout) == (0, f"{FLOW_ID}\n")
        first, second = api.server.requests
        assert first.json["id"] == second.json["id"]

    async def test_a_refusal_is_shown_in_words_and_is_exit_status_2(self, api: Api, decision_file: str) -> None:
        errors = [{"code": "x", "message": "tasks[0]: is odd"}, {"code": "y", "message": "tasks[1]: too"}]
        api.answers["POST /"] = problem(422, "known with other content", "decision_conflict", errors=errors)
        result = await api.flowc("submit", decision_file)
        assert result.exit_code == 2
        assert result.stderr.splitlines() == [
            "flowc: known with other content (decision_conflict)",
            "  tasks[0]: is odd",
            "  tasks[1]: too",
        ]

    @pytest.mark.parametrize(
        ("status", "exit_status"),
        [("COMPLETED", 0), ("FAILED", 1), ("TIMED_OUT", 1), ("CANCELLED", 1), ("REJECTED", 1)],
    )
    async def test_watching_ends_with_the_flow_and_only_completed_is_success(
        self, api: Api, decision_file: str, status: str, exit_status: int
    ) -> None:
        watched(api, a_row("EXECUTING"), a_row(status))
        result = await api.flowc("submit", decision_file, "--watch")
        assert result.exit_code == exit_status
        assert result.stdout.splitlines() == [
            FLOW_ID,
            "12:00:00.001  a                          ASSIGNED    w1",
            "12:00:00.002  a                          COMPLETED   w1",
        ]

    async def test_watching_outlives_a_platform_that_restarts(self, api: Api, decision_file: str) -> None:
        away = problem(503, "the platform is starting", "unavailable")
        watched(api, a_row("EXECUTING"), away, away, a_row())
        result = await api.flowc("submit", decision_file, "--watch")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[-2:] == [
            "the platform is starting (unavailable); watching goes on when it is back",
            "the platform is back, the flow is COMPLETED",
        ]

    async def test_a_flow_that_is_not_visible_yet_is_waited_for(self, api: Api, decision_file: str) -> None:
        watched(api, problem(404, "there is no such flow", "unknown_flow"), a_row())
        assert (await api.flowc("submit", decision_file, "--watch")).exit_code == 0


class TestFlows:
    async def test_the_key_is_sent_and_the_status_asked_for(self, api: Api) -> None:
        api.answers["GET /api/v1/flows"] = {"items": [], "cursor": None}
        result = await api.flowc("flows", "--status", "executing", FLOWC_API_KEY="k-1")
        assert (result.exit_code, result.stdout) == (0, "no flows\n")
        assert api.server.requests[0].headers["x-api-key"] == "k-1"

    async def test_a_listing_goes_over_as_many_pages_as_the_limit_needs(self, api: Api) -> None:
        pages = [{"items": [a_row(), a_row()], "cursor": "next"}, {"items": [a_row(), a_row()], "cursor": "more"}]
        api.answers["GET /api/v1/flows"] = pages
        result = await api.flowc("flows", "--limit", "3")
        assert result.stdout.count(FLOW_ID) == 3
        assert "COMPLETED" in result.stdout
        assert "within SLA" in result.stdout
        assert "the newest 3" in result.stderr
        assert len(api.server.requests) == 2

    async def test_a_flow_is_shown_with_its_tickets(self, api: Api) -> None:
        failed = {**TICKET, "status": "FAILED", "error_message": "exit status 1: no such file"}
        watched(api, a_row("FAILED", reasons=[{"code": "ticket_failed", "message": "1 of 1 tickets failed"}]))
        api.answers[f"{FLOW}/tickets"] = {"items": [failed], "cursor": None}
        result = await api.flowc("show", FLOW_ID)
        assert result.exit_code == 0
        for said in ("FAILED", "plan-1", "1 of 1 tickets failed", "0 of 1 done", "w1", "exit status 1: no such file"):
            assert said in result.stdout

    async def test_a_flow_is_shown_as_one_json_document(self, api: Api) -> None:
        watched(api, a_row())
        result = await api.flowc("show", FLOW_ID, "--json")
        assert json.loads(result.stdout) == a_row() | {"tickets": [TICKET]}

    async def test_watching_with_json_keeps_stdout_for_the_document(self, api: Api) -> None:
        watched(api, a_row("EXECUTING"), a_row("FAILED"))
        result = await api.flowc("show", FLOW_ID, "--watch", "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["status"] == "FAILED"
        assert "ASSIGNED" in result.stderr

    async def test_a_flow_that_nobody_knows_is_said_in_words(self, api: Api) -> None:
        result = await api.flowc("show", FLOW_ID)
        assert (result.exit_code, result.stderr) == (1, "flowc: there is nothing here (unknown)\n")

    async def test_why_prints_the_explanation(self, api: Api) -> None:
        api.answers[f"GET /api/v1/why/{FLOW_ID}"] = {"text": ["waits for a worker", "since noon"]}
        result = await api.flowc("why", FLOW_ID)
        assert result.stdout == "waits for a worker\nsince noon\n"

    async def test_cancelling_says_who_and_why(self, api: Api) -> None:
        api.answers[f"POST /api/v1/flows/{FLOW_ID}/cancel"] = a_row("PUBLISHING", outcome="CANCELLED")
        result = await api.flowc("cancel", FLOW_ID, "--reason", "wrong tag", "--by", "ann")
        assert result.exit_code == 0
        assert api.server.requests[0].json == {"reason": "wrong tag", "requested_by": "ann"}

    async def test_cancelling_too_late_is_no_success(self, api: Api) -> None:
        api.answers[f"POST /api/v1/flows/{FLOW_ID}/cancel"] = a_row("COMPLETED")
        result = await api.flowc("cancel", FLOW_ID)
        assert result.exit_code == 1
        assert "too late" in result.stderr

    @pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b'{"error": "nope"}'])
    async def test_another_service_on_the_port_is_not_taken_for_the_platform(self, api: Api, body: bytes) -> None:
        api.answers["GET /api/v1/flows"] = Answer(404, body)
        result = await api.flowc("flows")
        assert result.exit_code == 1
        assert result.stderr == f"flowc: no platform at {api.server.url}: what listens there answered 404\n"


class TestEventsAndDeadLetters:
    EVENT: Mapping[str, Any] = {
        "specversion": "1.0",
        "id": "1",
        "source": "/flowc/monitor",
        "type": "io.neuralhive.ticket.failed.v1",
        "time": "2026-03-01T12:00:00.001Z",
        "data": {"flow_id": FLOW_ID, "task_id": "a", "to_status": "FAILED", "worker_id": "w1", "attempt": 3},
    }

    async def test_events_are_lines(self, api: Api) -> None:
        api.answers["GET /api/v1/events"] = {"items": [self.EVENT], "after": 7}
        result = await api.flowc("events", "--limit", "1")
        assert result.stdout == "7b3c7a2e  12:00:00.001  a                          FAILED      w1, attempt 3\n"
        assert "--after 7" in result.stderr

    async def test_events_are_cloud_events_as_json_lines(self, api: Api) -> None:
        api.answers["GET /api/v1/events"] = {"items": [self.EVENT, self.EVENT], "after": 7}
        result = await api.flowc("events", "--json")
        assert [json.loads(line) for line in result.stdout.splitlines()] == [self.EVENT, self.EVENT]

    async def test_dead_letters_are_listed_with_their_reasons(self, api: Api) -> None:
        letter = {
            "letter_id": "l-1",
            "function": "validate",
            "reason": {"code": "bad_event", "message": "has no data"},
            "attempts": 3,
            "last_seen": "2026-03-01T12:00:00.001Z",
        }
        api.answers["GET /api/v1/dead-letters"] = {"items": [letter], "cursor": None}
        result = await api.flowc("dead-letters", "list")
        assert re.search(r"l-1 +2026-03-01 12:00:00 +3 +validate +bad_event: has no data", result.stdout)

    @pytest.mark.parametrize(
        ("command", "call"),
        [("replay", "POST /api/v1/dead-letters/l-1/replay"), ("drop", "DELETE /api/v1/dead-letters/l-1")],
    )
    async def test_a_dead_letter_is_replayed_or_dropped(self, api: Api, command: str, call: str) -> None:
        api.answers[call] = Answer(204, b"")
        result = await api.flowc("dead-letters", command, "l-1")
        assert result.exit_code == 0
        assert "l-1" in result.stdout


class TestWords:
    @pytest.mark.parametrize(
        ("milliseconds", "text"),
        [
            (0, "0 ms"),
            (999, "999 ms"),
            (3_240, "3.2 s"),
            (60_000, "1 min"),
            (250_000, "4 min 10 s"),
            (7_080_000, "1 h 58 min"),
            (90_000_000, "1 d 1 h"),
            (-250_000, "-4 min 10 s"),
        ],
    )
    def test_a_span_has_its_two_largest_units(self, milliseconds: float, text: str) -> None:
        assert span(milliseconds) == text

    def test_a_clock_time_is_the_time_of_day(self) -> None:
        assert clock("2026-03-01T12:00:00.001Z") == "12:00:00.001"

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            (an_entry(1, "ticket.completed", "COMPLETED", task_id="a", worker_id="w1", attempt=1), "w1"),
            (
                an_entry(
                    1, "ticket.retried", "PENDING", task_id="a", attempt=2, detail={"reason": {"message": "lost"}}
                ),
                "retried, attempt 2, lost",
            ),
            (
                an_entry(
                    1, "plan.validated", "GENERATING", detail={"tasks": 1, "levels": 2, "critical_path_ms": 90_000}
                ),
                "1 task in 2 levels, longest path 1 min 30 s",
            ),
            (an_entry(1, "flow.completed", "COMPLETED", detail={"telemetry_published": True}), "telemetry published"),
            (an_entry(1, "sla.violated", ""), "sla.violated"),
        ],
    )
    def test_a_transition_says_what_its_status_does_not(self, entry: Mapping[str, Any], said: str) -> None:
        assert transition(entry).split(maxsplit=3 if entry["to_status"] else 2)[-1] == said


class TestProgress:
    def test_tickets_follow_their_history(self) -> None:
        progress = Progress(a_row("EXECUTING"))
        progress.load([{**TICKET, "status": "PENDING", "worker_id": None, "attempt": 0}])
        moves: Sequence[tuple[dict[str, Any], str, str | None, int]] = (
            (an_entry(1, "ticket.assigned", "ASSIGNED", worker_id="w1", attempt=1), "ASSIGNED", "w1", 1),
            (an_entry(2, "ticket.retried", "PENDING", worker_id="w1", attempt=1), "PENDING", None, 1),
            (an_entry(3, "ticket.assigned", "ASSIGNED", worker_id="w2", attempt=2), "ASSIGNED", "w2", 2),
            (an_entry(4, "ticket.completed", "COMPLETED", worker_id="w2", attempt=2), "COMPLETED", "w2", 2),
        )
        for entry, status, worker_id, attempt in moves:
            progress.apply([{**entry, "ticket_id": "t-1"}])
            line = progress.tickets["t-1"]
            assert (line.status, line.worker_id, line.attempt) == (status, worker_id, attempt)
        assert progress.after == 4
        assert progress.tally() == {"COMPLETED": 1}


def test_the_sample_is_a_sound_plan_that_uses_an_upstream_output() -> None:
    sample = read_decision(SAMPLE.read_bytes())
    assert check_plan(sample, NOW) == ((), ())
    assert 10 <= len(sample.cognitive_plan.tasks) <= 15
    assert '"$output"' in SAMPLE.read_text(encoding="utf-8")

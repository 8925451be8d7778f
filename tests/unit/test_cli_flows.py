"""`flowc` against a stand-in for the API: what it asks, what it says, and the exit status it leaves."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from functions._cli import output_commands, submission, verdict, watching
from functions._cli.client import PlatformClient, PlatformUnavailable
from functions._cli.decision_file import DECISION
from functions._cli.plain_lines import PlainLines
from functions._cli.progress import Progress
from tests.support.command_line import (
    ASSIGNED,
    DONE,
    FLOW,
    FLOW_ID,
    TICKET,
    Api,
    a_reason,
    a_row,
    a_ticket,
    an_entry,
    problem,
    watched,
)
from tests.support.decisions import a_document
from tests.support.loopback import Answer, Loopback


@pytest.fixture
def decision_file(tmp_path: Path) -> str:
    file = tmp_path / "decision.json"
    file.write_text(json.dumps(a_document()), encoding="utf-8")
    return str(file)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every wait between two tries."""
    monkeypatch.setattr(verdict, "VERDICT_SECONDS", 0.5)
    monkeypatch.setattr(verdict, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(submission, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(watching, "FASTEST", 0.01)
    monkeypatch.setattr(watching, "SLOWEST", 0.01)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with Loopback() as server:
        standin = Api(server, {})
        server.answer = standin.answer
        yield standin


RESOLVE = "GET /api/v1/flows/resolve"


class TestSubmit:
    async def test_a_plan_that_is_rejected_at_once_is_exit_status_1_with_its_reasons(
        self, api: Api, decision_file: str
    ) -> None:
        reasons = [{"code": "cyclic_dependencies", "message": "tasks: a waits for a"}]
        warnings = [{"code": "unknown_field", "message": "tasks[0].retries: is not a known field"}]
        rejected = a_row("REJECTED", reasons=reasons, warnings=warnings)
        api.answers |= {"POST /": {"flow_id": FLOW_ID}, FLOW: [a_row("VALIDATING"), rejected]}
        result = await api.flowc("submit", decision_file)
        assert (result.exit_code, result.stdout) == (1, f"{FLOW_ID}\n")
        assert result.stderr.splitlines() == [
            "warning: tasks[0].retries: is not a known field (unknown_field)",
            "flowc: the plan was rejected:",
            "  tasks: a waits for a (cyclic_dependencies)",
        ]

    async def test_a_rejection_is_told_once_to_those_who_watch(self, api: Api, decision_file: str) -> None:
        detail = {"reasons": [{"code": "empty_plan", "message": "the plan has no tasks"}]}
        refused = an_entry(1, "plan.rejected", None, detail=detail)
        watched(api, "REJECTED", [refused], [], [an_entry(2, "flow.consolidated", "REJECTED", detail=detail)])
        result = await api.flowc("submit", decision_file, "--watch")
        assert result.exit_code == 1
        assert result.output.count("the plan has no tasks") == 1

    async def test_a_plan_without_a_verdict_in_time_is_accepted(self, api: Api, decision_file: str) -> None:
        api.answers |= {"POST /": {"flow_id": FLOW_ID}, FLOW: a_row("VALIDATING")}
        assert (await api.flowc("submit", decision_file)).exit_code == 0

    async def test_a_plain_decision_is_sent_as_a_structured_cloud_event(self, api: Api, decision_file: str) -> None:
        api.answers["POST /"] = {"flow_id": FLOW_ID}
        result = await api.flowc("submit", decision_file)
        assert (result.exit_code, result.stdout) == (0, f"{FLOW_ID}\n")
        request = api.server.requests[0]
        assert request.headers["content-type"] == "application/cloudevents+json"
        assert request.json["type"] == "io.neuralhive.decision.consolidated.v1"
        assert request.json["data"] == a_document()

    async def test_an_event_keeps_its_id_and_source(self, api: Api) -> None:
        api.answers["POST /"] = {"flow_id": FLOW_ID}
        event = {
            "specversion": "1.0",
            "id": "e-1",
            "source": "/mine",
            "type": DECISION,
            "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
            "data": a_document(),
        }
        result = await api.flowc("submit", "-", stdin=json.dumps(event))
        assert result.exit_code == 0
        request = api.server.requests[0]
        assert event.items() <= request.json.items()

    async def test_a_busy_platform_is_asked_again_with_the_same_event_id(self, api: Api, decision_file: str) -> None:
        api.answers["POST /"] = [problem(503, "try later", "unavailable"), {"flow_id": FLOW_ID}]
        result = await api.flowc("submit", decision_file)
        assert (result.exit_code, result.stdout) == (0, f"{FLOW_ID}\n")
        first, second = api.server.requests[:2]
        assert first.json["id"] == second.json["id"]

    async def test_a_refusal_is_shown_in_words_and_is_exit_status_1(self, api: Api, decision_file: str) -> None:
        errors = [{"code": "x", "message": "tasks[0]: is odd"}, {"code": "y", "message": "tasks[1]: too"}]
        api.answers["POST /"] = problem(422, "known with other content", "decision_conflict", errors=errors)
        result = await api.flowc("submit", decision_file)
        assert result.exit_code == 1
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
        end = an_entry(4, f"flow.{status.lower()}", status, detail={"telemetry_published": True})
        watched(api, status, [ASSIGNED], [], [DONE], [end])
        result = await api.flowc("submit", decision_file, "--watch")
        assert result.exit_code == exit_status
        assert result.stdout.splitlines() == [
            FLOW_ID,
            "12:00:00.002  task-1                     ASSIGNED    w1",
            "12:00:00.003  task-1                     COMPLETED   w1",
            f"12:00:00.004  flow                       {status:<11} telemetry published",
        ]

    async def test_watching_outlives_a_platform_that_restarts(self, api: Api, decision_file: str) -> None:
        away = problem(503, "the platform is starting", "unavailable")
        watched(api, "COMPLETED", [ASSIGNED], [], away, away, [DONE, an_entry(4, "flow.completed", "COMPLETED")])
        result = await api.flowc("submit", decision_file, "--watch")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[2:4] == [
            "the platform is starting (unavailable); watching goes on when it is back",
            "the platform is back, the flow is COMPLETED",
        ]

    async def test_a_flow_just_submitted_may_take_a_moment_to_appear(self, api: Api, decision_file: str) -> None:
        absent = problem(404, "there is no such flow", "unknown_flow")
        watched(api, "COMPLETED", absent, absent, [ASSIGNED, DONE], [an_entry(4, "flow.completed", "COMPLETED")])
        assert (await api.flowc("submit", decision_file, "--watch")).exit_code == 0


@dataclass
class Onlooker:
    """Keeps what is seen of a flow."""

    seen_so_far: list[tuple[str, int]]

    def seen(self, progress: Progress, entries: Sequence[Mapping[str, Any]]) -> None:
        self.seen_so_far.append((progress.flow["status"], len(entries)))

    def lost(self, why: str) -> None:
        raise AssertionError(why)


class TestWatching:
    async def test_what_is_seen_is_never_behind_its_history(self, api: Api) -> None:
        """The flow moves on between every two questions."""
        watched(
            api,
            "COMPLETED",
            [an_entry(1, "plan.validated", "GENERATING")],
            [an_entry(2, "tickets.generated", "EXECUTING")],
            [an_entry(3, "ticket.assigned", "ASSIGNED", worker_id="w1", attempt=1)],
            [an_entry(4, "flow.completed", "COMPLETED")],
        )
        api.answers[FLOW] = [a_row("GENERATING", tickets_generated=0), a_row("EXECUTING"), a_row("COMPLETED")]
        onlooker = Onlooker([])
        async with PlatformClient(api.server.url) as client:
            progress = await watching.watch(client, FLOW_ID, onlooker)
        assert onlooker.seen_so_far == [("EXECUTING", 3), ("COMPLETED", 1)]
        assert list(progress.tickets) == [TICKET["ticket_id"]]

    async def test_a_row_that_is_shown_later_than_its_history_is_waited_for(self, api: Api) -> None:
        watched(api, "COMPLETED", [DONE, an_entry(4, "flow.completed", "COMPLETED")], [])
        api.answers[FLOW] = [a_row("EXECUTING"), a_row("EXECUTING"), a_row("COMPLETED")]
        async with PlatformClient(api.server.url) as client:
            async with asyncio.timeout(30):
                progress = await watching.watch(client, FLOW_ID, Onlooker([]))
        assert progress.flow["status"] == "COMPLETED"

    async def test_tickets_that_undo_others_are_loaded_when_they_are_made(self, api: Api) -> None:
        undoing = a_ticket(
            ticket_id="u",
            task_id="compensate:task-1",
            compensates=TICKET["ticket_id"],
            parameters={"compensates": {"ticket_id": TICKET["ticket_id"], "task_id": "task-1"}},
        )
        planned = an_entry(4, "compensation.planned", None, detail={"tickets": 1})
        watched(api, "FAILED", [DONE], [], [planned], [], [an_entry(5, "flow.failed", "FAILED")])
        rows = (a_row("EXECUTING"), a_row("COMPENSATING", compensations=1), a_row("FAILED", compensations=1))
        api.answers[FLOW] = list(rows)
        pages = [{"items": [TICKET], "cursor": None}, {"items": [TICKET, undoing], "cursor": None}]
        api.answers[f"{FLOW}/tickets"] = pages
        async with PlatformClient(api.server.url) as client:
            progress = await watching.watch(client, FLOW_ID, Onlooker([]))
        assert list(progress.tickets) == [TICKET["ticket_id"], "u"]
        assert [line.ticket_id for line in progress.planned()] == [TICKET["ticket_id"]]

    async def test_a_quiet_flow_costs_one_question_at_a_time(self, api: Api) -> None:
        watched(api, "COMPLETED", [ASSIGNED], [], [], [], [an_entry(4, "flow.completed", "COMPLETED")])
        async with PlatformClient(api.server.url) as client:
            await watching.watch(client, FLOW_ID, Onlooker([]))
        asked = [request.path.removeprefix(f"/api/v1/flows/{FLOW_ID}") for request in api.server.requests]
        assert asked == ["/history", "", "/tickets", "/history", "/history", "/history", "/history", "", "/history"]

    async def test_what_a_ticket_waits_for_is_looked_up_while_nothing_happens(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watching, "QUIET", 0.0)
        watched(api, "COMPLETED", [], [], [], [an_entry(4, "flow.completed", "COMPLETED")])
        waiting = [a_ticket(waiting=waiting) for waiting in ("DISCOVERY", "WORKER")]
        api.answers[f"{FLOW}/tickets"] = [{"items": [ticket], "cursor": None} for ticket in waiting]
        lines: list[str] = []
        async with PlatformClient(api.server.url) as client:
            await watching.watch(client, FLOW_ID, PlainLines(lines.append))
        assert any("no worker offers" in line for line in lines)

    async def test_a_platform_that_stays_away_is_given_up_when_patience_ends(self, api: Api) -> None:
        watched(api, "COMPLETED", problem(503, "no", "unavailable"))
        api.answers[f"{FLOW}/history"] = problem(503, "no", "unavailable")
        async with PlatformClient(api.server.url) as client:
            with pytest.raises(PlatformUnavailable):
                await watching.watch(client, FLOW_ID, PlainLines(lambda _line: None), patience=0.05)


class TestReferences:
    async def test_a_flow_is_named_by_its_decision_its_plan_or_the_beginning_of_its_id(self, api: Api) -> None:
        watched(api, "COMPLETED")
        api.answers[RESOLVE] = {"flow_id": FLOW_ID}
        result = await api.flowc("show", "a/decision & more")
        assert FLOW_ID in result.stdout
        assert api.server.requests[0].query == {"ref": "a/decision & more"}

    async def test_a_decision_whose_id_looks_like_that_of_a_flow_is_found_too(self, api: Api) -> None:
        named = "00000000-0000-4000-8000-000000000000"
        api.answers |= {
            f"POST /api/v1/flows/{named}/pause": problem(404, "there is no flow", "unknown_flow"),
            RESOLVE: {"flow_id": FLOW_ID},
            f"POST /api/v1/flows/{FLOW_ID}/pause": a_row("PAUSED") | {"changes": [1]},
        }
        assert (await api.flowc("pause", named)).stdout == "paused; the flow is PAUSED\n"

    async def test_several_flows_are_named(self, api: Api) -> None:
        api.answers[RESOLVE] = problem(409, "'plan-1' may be any of 2 flows", "ambiguous_reference")
        result = await api.flowc("cancel", "plan-1")
        assert (result.exit_code, result.stderr) == (1, "flowc: 'plan-1' may be any of 2 flows (ambiguous_reference)\n")
        assert len(api.server.requests) == 1

    @pytest.mark.parametrize("ref", ["../../x", "./x", "/x", f"{FLOW_ID}/", "/"])
    @pytest.mark.parametrize("command", ["why", "logs", "result", "retry"])
    async def test_what_names_no_task_is_wrong_use(self, api: Api, command: str, ref: str) -> None:
        result = await api.flowc(command, ref)
        assert (result.exit_code, api.server.requests) == (2, [])
        assert f"{ref!r} names no task" in result.stderr

    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (problem(422, "query.status: Input should be", "invalid_data"), 2),
            (problem(400, "The cursor is not one that was given out.", "invalid_cursor"), 2),
            (problem(401, "a key is needed", "missing_key"), 1),
            (problem(409, "not now", "not_possible_now"), 1),
            (problem(500, "inside", "internal"), 1),
        ],
    )
    async def test_a_request_that_is_wrong_in_itself_is_wrong_use(self, api: Api, answer: object, status: int) -> None:
        api.answers |= {"GET /api/v1/flows": answer, "GET /api/v1/audits": answer}
        assert (await api.flowc("flows", "--status", "bogus")).exit_code == status
        assert (await api.flowc("audits", "--kind", "bogus")).exit_code == status


class TestResultsAndLogs:
    async def test_outputs_are_printed_as_json_and_shown_shortened(self, api: Api) -> None:
        watched(api, "COMPLETED")
        api.answers[FLOW] = a_row("COMPLETED")
        done = a_ticket(status="COMPLETED", output={"text": "x" * 500})
        undone = a_ticket(ticket_id="u", task_id="u", status="COMPLETED", compensates="t", output=1, parameters=UNDOES)
        api.answers[f"{FLOW}/tickets"] = {"items": [done, undone], "cursor": None}
        result = await api.flowc("result", FLOW_ID, "--outputs")
        assert (result.exit_code, json.loads(result.stdout)) == (0, {"task-1": {"text": "x" * 500}})
        for named in ((FLOW_ID, "task-1"), (f"{FLOW_ID}/task-1",)):
            assert json.loads((await api.flowc("result", *named)).stdout) == {"text": "x" * 500}
        missing = await api.flowc("result", FLOW_ID, "u")
        assert (missing.exit_code, missing.stderr) == (1, "flowc: task 'u' has no output\n")
        shown = (await api.flowc("show", FLOW_ID)).stdout.splitlines()
        assert re.fullmatch(r'  task-1: \{"text": "x+…', shown[-1])

    async def test_a_flow_that_has_not_completed_is_exit_status_1_with_what_there_is(self, api: Api) -> None:
        watched(api, "EXECUTING")
        result = await api.flowc("result", FLOW_ID, "--outputs")
        assert (result.exit_code, json.loads(result.stdout)) == (1, {"task-1": None})
        assert "the flow is EXECUTING" in result.stderr

    async def test_the_result_of_a_flow_is_printed_alone(self, api: Api, decision_file: str) -> None:
        found = {"flow_id": FLOW_ID, "outcome": "COMPLETED", "result": {"total": 3}, "reasons": []}
        end = an_entry(4, "flow.completed", "COMPLETED")
        watched(api, "COMPLETED", [ASSIGNED], [DONE], [end])
        api.answers[f"{FLOW}/result"] = found
        result = await api.flowc("result", FLOW_ID)
        assert (result.exit_code, json.loads(result.stdout)) == (0, {"total": 3})
        waited = await api.flowc("submit", decision_file, "--wait")
        assert (waited.exit_code, json.loads(waited.stdout)) == (0, {"total": 3})
        assert FLOW_ID in waited.stderr

    async def test_a_flow_without_a_result_is_exit_status_1_and_says_why(self, api: Api) -> None:
        reasons = [{"code": "task_failed", "message": "task a: no\x1b disk", "where": "a"}]
        api.answers[f"{FLOW}/result"] = {"flow_id": FLOW_ID, "outcome": "FAILED", "result": None, "reasons": reasons}
        failed = await api.flowc("result", FLOW_ID)
        assert (failed.exit_code, failed.stdout) == (1, "")
        assert failed.stderr.startswith("flowc: the flow ended FAILED: task a: no? disk\n")
        api.answers[f"{FLOW}/result"] = problem(409, "the flow is EXECUTING; it has 5 s left", "not_ended")
        early = await api.flowc("result", FLOW_ID)
        assert (early.exit_code, early.stderr) == (1, "flowc: the flow is EXECUTING; it has 5 s left (not_ended)\n")
        api.answers[f"{FLOW}/result"] = problem(413, "the result has more than 9 bytes", "result_too_large")
        assert (await api.flowc("result", FLOW_ID)).exit_code == 1

    async def test_logs_are_printed_by_task_and_steer_no_terminal(self, api: Api) -> None:
        watched(api, "COMPLETED")
        wrote = a_ticket(log={"attempt": 2, "text": "irrelevant"})
        assert "log" not in wrote
        assert wrote["log_bytes"] == 10
        api.answers[f"{FLOW}/tickets"] = {"items": [wrote, a_ticket(ticket_id="t2")], "cursor": None}
        log = {"ticket_id": TICKET["ticket_id"], "task_id": "task-1", "attempt": 2, "text": "a\tb\n\x1b[2Jc\n"}
        api.answers[f"GET /api/v1/tickets/{TICKET['ticket_id']}/logs"] = log
        result = await api.flowc("logs", FLOW_ID)
        assert result.stdout == "==> task-1 (attempt 2) <==\na       b\n?[2Jc\n"
        assert (await api.flowc("logs", f"{FLOW_ID}/task-1")).stdout == "a       b\n?[2Jc\n"
        assert json.loads((await api.flowc("logs", FLOW_ID, "--json")).stdout) == {"items": [log], "cursor": None}

    async def test_a_log_is_followed_to_the_end_of_its_task(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(output_commands, "FOLLOW_SECONDS", 0.0)
        ticket = f"GET /api/v1/tickets/{TICKET['ticket_id']}"
        about = {"ticket_id": TICKET["ticket_id"], "task_id": "task-1"}
        told = [(1, ""), (1, "a\nb\nhal"), (1, "b\nhalf\nc\n"), (2, "again\n"), (2, "again\nend")]
        api.answers[f"{ticket}/logs"] = [{**about, "attempt": attempt, "text": text} for attempt, text in told]
        api.answers[ticket] = [a_ticket(status=status) for status in ("PENDING", *["RUNNING"] * 3, "COMPLETED")]
        result = await api.flowc("logs", f"{FLOW_ID}/task-1", "--follow")
        assert (result.exit_code, result.stdout) == (0, "a\nb\nhalf\nc\nagain\nend\n")
        for wrong in ((FLOW_ID,), (f"{FLOW_ID}/task-1", "--json")):
            assert (await api.flowc("logs", *wrong, "--follow")).exit_code == 2

    @pytest.mark.parametrize(
        ("shown", "text", "new"),
        [
            ("", "a\n", "a\n"),
            ("a\n", "a\n", ""),
            ("a\nb\n", "b\nc\n", "c\n"),
            ("b\n", "a\nb\nc\n", "c\n"),
            ("a\n", "x\ny\n", "…\nx\ny\n"),
        ],
    )
    def test_what_is_new_in_a_log_is_what_was_not_shown(self, shown: str, text: str, new: str) -> None:
        assert output_commands.news(shown, text) == new

    async def test_workers_are_listed(self, api: Api) -> None:
        worker = {"worker_id": "w1", "health": "HEALTHY", "active_tickets": 1, "slots": 4, "silence_seconds": 2.0}
        api.answers["GET /api/v1/workers"] = {"items": [worker | {"endpoint": "http://h/", "capabilities": ["a", "b"]}]}
        listed = (await api.flowc("workers")).stdout.splitlines()
        assert listed[1].split() == ["w1", "HEALTHY", "1", "of", "4", "2", "s", "ago", "http://h/", "a,", "b"]
        assert json.loads((await api.flowc("workers", "--json")).stdout)["items"][0]["worker_id"] == "w1"


UNDOES = {"compensates": {"ticket_id": "t", "task_id": "task-1"}}


class TestFlows:
    async def test_every_listing_as_json_is_a_page_as_over_http(self, api: Api) -> None:
        api.answers |= {
            "GET /api/v1/flows": [{"items": [a_row()], "cursor": "7"}, {"items": [a_row()], "cursor": "8"}],
            "GET /api/v1/dead-letters": {"items": [], "cursor": None},
            "GET /api/v1/workers": {"items": []},
            "GET /api/v1/audits": {"items": []},
            "GET /api/v1/incidents": {"items": []},
        }
        result = await api.flowc("flows", "--json", "--limit", "2", "--cursor", "6")
        assert json.loads(result.stdout) == {"items": [a_row(), a_row()], "cursor": "8"}
        assert [request.query["cursor"] for request in api.server.requests] == ["6", "7"]
        for command in (("dead-letters", "list"), ("workers",), ("audits",), ("incidents",)):
            assert json.loads((await api.flowc(*command, "--json")).stdout) == {"items": [], "cursor": None}

    async def test_a_flow_is_listed_with_its_decision_and_its_plan(self, api: Api) -> None:
        api.answers["GET /api/v1/flows"] = {"items": [a_row()], "cursor": None}
        listed = (await api.flowc("flows")).stdout.splitlines()
        assert listed[0].split()[-2:] == ["DECISION", "PLAN"]
        assert listed[1].split()[-2:] == [a_row()["decision_id"], "plan-1"]

    async def test_the_key_is_sent_and_the_status_asked_for(self, api: Api) -> None:
        api.answers["GET /api/v1/flows"] = {"items": [], "cursor": None}
        marked = ("--label", "team=pay", "--label", "env=a=b")
        result = await api.flowc("flows", "--status", "executing", *marked, FLOWC_API_KEY="k-1")
        assert (result.exit_code, result.stdout) == (0, "no flows\n")
        assert api.server.requests[0].headers["x-api-key"] == "k-1"

    async def test_a_listing_goes_over_as_many_pages_as_the_limit_needs(self, api: Api) -> None:
        pages = [{"items": [a_row(), a_row()], "cursor": "next"}, {"items": [a_row(), a_row()], "cursor": "more"}]
        api.answers["GET /api/v1/flows"] = pages
        result = await api.flowc("flows", "--limit", "3")
        assert result.stdout.count(FLOW_ID) == 3
        assert "COMPLETED" in result.stdout
        assert " met " in result.stdout
        page = f"in the browser: {api.server.url}/console/flows"
        assert result.stderr.splitlines() == ["there are more: --limit, or --cursor more", page]
        assert len(api.server.requests) == 2

    async def test_a_flow_is_shown_with_its_tickets(self, api: Api) -> None:
        reason = {"code": "ticket_failed", "message": "1 of 1 tickets failed"}
        watched(api, "FAILED")
        api.answers[FLOW] = a_row("FAILED", reasons=[reason])
        failed = a_ticket(status="FAILED", error_message="exit status 1:\n\x1b[2Jno such file", attempt=3)
        api.answers[f"{FLOW}/tickets"] = {"items": [failed], "cursor": None}
        result = await api.flowc("show", FLOW_ID)
        assert result.exit_code == 0
        for said in ("FAILED", "plan-1", "1 of 1 tickets failed", "0 of 1 done", "task-1", "attempt 3"):
            assert said in result.stdout
        assert "exit status 1: ?[2Jno such file" in result.stdout, "a worker's words must not steer the terminal"

    async def test_a_flow_is_shown_as_one_json_document(self, api: Api) -> None:
        watched(api, "COMPLETED")
        result = await api.flowc("show", FLOW_ID, "--json")
        assert json.loads(result.stdout) == a_row("EXECUTING") | {"tickets": [TICKET]}

    async def test_watching_with_json_keeps_stdout_for_the_document(self, api: Api) -> None:
        watched(api, "FAILED", [ASSIGNED], [], [an_entry(4, "flow.failed", "FAILED")])
        result = await api.flowc("show", FLOW_ID, "--watch", "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["status"] == "FAILED"
        assert "ASSIGNED" in result.stderr

    async def test_a_flow_that_nobody_knows_is_said_in_words(self, api: Api) -> None:
        result = await api.flowc("show", FLOW_ID)
        assert (result.exit_code, result.stderr) == (1, "flowc: there is nothing here (unknown)\n")

    async def test_why_prints_the_explanation(self, api: Api) -> None:
        told = a_reason("flow", FLOW_ID, "waits for a worker", "since noon")
        api.answers[f"GET /api/v1/why/{FLOW_ID}"] = told
        result = await api.flowc("why", FLOW_ID)
        assert (result.exit_code, result.stdout) == (0, "waits for a worker\nsince noon\n")
        assert result.stderr == f"in the browser: {api.server.url}/console/flows/{FLOW_ID}\n"
        assert (await api.flowc("why", FLOW_ID, "--json")).stderr == ""

    async def test_why_finds_the_ticket_of_a_task(self, api: Api) -> None:
        told = a_reason("ticket", TICKET["ticket_id"], "waits for a slot")
        api.answers[f"GET /api/v1/why/{TICKET['ticket_id']}"] = told
        assert (await api.flowc("why", FLOW_ID, "task-1")).stdout == "waits for a slot\n"
        api.answers[RESOLVE] = {"flow_id": FLOW_ID}
        for named in (("decision-1", "task-1"), (f"{FLOW_ID[:6]}/task-1",)):
            assert (await api.flowc("why", *named)).stdout == "waits for a slot\n"

    async def test_why_tells_who_could_do_a_ticket_and_what_happened_last(self, api: Api) -> None:
        api.answers["GET /api/v1/why/t"] = a_reason("ticket", "t", "waits for a slot") | {
            "ranked_at": "2025-03-01T12:00:43.000Z",
            "candidates": [
                {
                    "worker_id": "w1",
                    "score": 0.7,
                    "health_score": 1.0,
                    "pheromone_score": 0.5,
                    "telemetry_score": 0.5,
                    "active": 1,
                    "slots": 4,
                }
            ],
            "last_events": [an_entry(1, "ticket.retry_forced", None, detail={"reason": "now"}), ASSIGNED, DONE, DONE],
        }
        result = await api.flowc("why", "t")
        assert [" ".join(line.split()) for line in result.stdout.splitlines()] == [
            "waits for a slot",
            "",
            "Workers as ranked at 12:00:43.000:",
            "WORKER SCORE HEALTH PHEROMONE TELEMETRY HOLDS",
            "w1 0.70 1.00 0.50 0.50 1 of 4",
            "",
            "Last events:",
            "12:00:00.002 task-1 ASSIGNED w1",
            "12:00:00.003 task-1 COMPLETED w1",
            "12:00:00.003 task-1 COMPLETED w1",
        ]

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
        assert result.stdout == f"{FLOW_ID[:8]}  12:00:00.001  a                          FAILED      w1, attempt 3\n"
        assert "--after 7" in result.stderr

    async def test_events_are_cloud_events_as_json_lines(self, api: Api) -> None:
        api.answers["GET /api/v1/events"] = [{"items": [self.EVENT, self.EVENT], "after": 7}, {"items": [], "after": 7}]
        result = await api.flowc("events", "--json")
        assert [json.loads(line) for line in result.stdout.splitlines()] == [self.EVENT, self.EVENT]
        assert result.stderr == ""

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

"""What `flowc` makes of what the API answers: words, progress, pictures."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from rich.console import Console

from functions._cli.pictures import picture
from functions._cli.plain_lines import PlainLines
from functions._cli.progress import Progress
from functions._cli.words import sla_left, took, transition
from tests.support.builders import T0, seconds
from tests.support.command_line import ASSIGNED, DONE, FLOW_ID, TICKET, a_row, a_ticket, an_entry


class TestWords:
    @pytest.mark.parametrize(
        ("milliseconds", "text"),
        [
            (0, "0 ms"),
            (999, "999 ms"),
            (3_240, "3.2 s"),
            (250_000, "4 min 10 s"),
        ],
    )
    def test_a_short_duration_is_in_milliseconds(self, milliseconds: float, text: str) -> None:
        assert took(milliseconds) == text

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            (DONE, "w1"),
            (
                an_entry(1, "ticket.retried", "PENDING", attempt=2, detail={"reason": {"message": "lost"}}),
                "retried, attempt 2, lost",
            ),
            (
                an_entry(
                    1, "plan.validated", "GENERATING", detail={"tasks": 1, "levels": 2, "critical_path_ms": 90_000}
                ),
                "1 task in 2 levels, critical path 1 min 30 s",
            ),
            (an_entry(1, "flow.completed", "COMPLETED", detail={"telemetry_published": True}), "telemetry published"),
            (an_entry(1, "sla.violated", None), "sla.violated"),
            (
                an_entry(1, "flow.paused", "PAUSED", detail={"requested_by": "ada", "reason": "wait for the vendor"}),
                "flow.paused, by ada, wait for the vendor",
            ),
            (
                an_entry(1, "compensation.ended", "PUBLISHING", detail={"compensated": 1, "planned": 2}),
                "compensation.ended, 1 of 2 undone",
            ),
            (an_entry(1, "ticket.waiting", "WAITING", detail={"waiting": "EVENT"}), "for event"),
            (
                an_entry(
                    1, "ticket.waiting", "WAITING", detail={"waiting": "MOMENT", "until": "2026-03-01T10:00:00.000Z"}
                ),
                "for moment until 2026-03-01 10:00:00 UTC",
            ),
            (an_entry(1, "ticket.expanded", None, detail={"tickets": 3}), "expanded, 3 tickets"),
            (an_entry(1, "ticket.compensated", "COMPENSATED", worker_id="w1"), "w1"),
            (
                an_entry(
                    1, "incident.raised", None, detail={"incident_type": "WORKER_FAILURE", "details": ["w1 hangs"]}
                ),
                "incident.raised, worker failure: w1 hangs",
            ),
        ],
    )
    def test_a_transition_says_what_its_status_does_not(self, entry: Mapping[str, Any], said: str) -> None:
        assert transition(entry).split(maxsplit=3 if entry["to_status"] else 2)[-1] == said


class TestProgress:
    def test_tickets_follow_their_history(self) -> None:
        progress = Progress(a_row("EXECUTING"))
        progress.load([a_ticket()])
        moves: Sequence[tuple[dict[str, Any], str, str | None, int]] = (
            (ASSIGNED, "ASSIGNED", "w1", 1),
            (an_entry(3, "ticket.retried", "PENDING", worker_id="w1", attempt=1), "PENDING", None, 1),
            (an_entry(4, "ticket.assigned", "ASSIGNED", worker_id="w2", attempt=2), "ASSIGNED", "w2", 2),
            (an_entry(5, "ticket.completed", "COMPLETED", worker_id="w2", attempt=2), "COMPLETED", "w2", 2),
        )
        for entry, status, worker_id, attempt in moves:
            progress.apply([entry])
            line = progress.tickets[TICKET["ticket_id"]]
            assert (line.status, line.worker_id, line.attempt) == (status, worker_id, attempt)
        assert progress.after == 5
        assert progress.tally() == {"COMPLETED": 1}

    def test_a_ticket_that_waits_says_for_what_and_line_by_line_says_it_once(self) -> None:
        progress = Progress(a_row("EXECUTING"))
        progress.load([a_ticket(waiting="WORKER", required_capabilities=("telepathy",))])
        assert re.search("task-1 +PENDING .*no worker offers telepathy$", shown(progress), re.MULTILINE)
        lines: list[str] = []
        observer = PlainLines(lines.append)
        for _ in range(2):
            observer.seen(progress, [])
        assert [line.split(maxsplit=2) for line in lines] == [["task-1", "PENDING", "no worker offers telepathy"]]

    @pytest.mark.parametrize(
        ("row", "standing"),
        [
            (a_row("COMPLETED"), "met"),
            (a_row("COMPLETED", sla_deadline=T0 + seconds(1)), "missed"),
            (a_row("CANCELLED"), ""),
            (a_row("EXECUTING", sla_deadline=T0 + seconds(150)), "1 min 30 s left"),
            (a_row("EXECUTING", sla_deadline=T0 + seconds(57)), "3 s overdue"),
            (a_row("COMPENSATING", outcome="FAILED", sla_deadline=T0 + seconds(150)), ""),
            (a_row("PAUSED", sla_deadline=T0 + seconds(57)), "57 s left when it goes on"),
            (a_row("PAUSED", sla_deadline=T0 + seconds(57), sla_limit=T0 + seconds(57)), "3 s overdue"),
        ],
    )
    def test_a_flow_stands_against_its_sla(self, row: Mapping[str, Any], standing: str) -> None:
        assert sla_left(row, T0 + seconds(60)) == standing

    def test_of_many_tickets_those_are_shown_that_need_attention(self) -> None:
        statuses = ["COMPLETED"] * 30 + ["FAILED", "RUNNING"] + ["PENDING"] * 30
        progress = Progress(a_row("EXECUTING", tickets_generated=62))
        progress.load(
            [a_ticket(task_id=f"task-{n}", ticket_id=f"t-{n}", status=s, level=n) for n, s in enumerate(statuses)]
        )
        with Console(width=100) as console, console.capture() as screen:
            console.print(picture(progress, 4))
        assert re.findall(r"task-\d+", screen.get()) == ["task-30", "task-31", "task-32", "task-33"]
        assert "… and 58 more" in screen.get()
        assert "30 of 62 done" in screen.get()

    def test_a_flow_that_waits_for_a_person_says_which_command_lets_it_go_on(self) -> None:
        row = a_row("AWAITING_APPROVAL", reasons=[{"code": "approval_required", "message": "it is destructive"}])
        drawn = shown(Progress(row))
        assert f"waits for approval: flowc approve {FLOW_ID}" in drawn
        assert "approval_required: it is destructive" in drawn
        assert f"paused: flowc resume {FLOW_ID}" in shown(Progress(a_row("PAUSED")))

    def test_a_flow_at_risk_and_its_tickets_that_are_late_are_marked(self) -> None:
        progress = Progress(a_row("EXECUTING", announced="at_risk"))
        progress.load([a_ticket(status="RUNNING", worker_id="w1", attempt=1)])
        progress.apply([an_entry(3, "sla.at_risk", None, ticket_id=TICKET["ticket_id"])])
        drawn = shown(progress)
        assert "· at risk ·" in drawn
        assert re.search("task-1 .* at risk$", drawn, re.MULTILINE)
        progress.apply([an_entry(4, "sla.violated", None, ticket_id=TICKET["ticket_id"])])
        assert re.search("task-1 .* late$", shown(progress), re.MULTILINE)

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"waiting": "APPROVAL"}, "waits for the decision of a person"),
            ({"waiting": "MOMENT", "until": "2025-03-01T12:30:00.000Z"}, "waits until 2025-03-01 12:30:00 UTC"),
            ({"waiting": "EVENT", "control": {"wait": {"event": {"type": "paid\x1b"}}}}, "an event of type paid[?]"),
            (
                {"waiting": "CHILDREN", "children": {"total": 5, "made": 5, "completed": 1, "failed": 1, "skipped": 1}},
                "3 of 5 children ended",
            ),
        ],
    )
    def test_a_ticket_without_a_worker_says_what_it_waits_for(self, fields: Mapping[str, Any], said: str) -> None:
        progress = Progress(a_row("EXECUTING"))
        progress.load([{**a_ticket(status="WAITING"), **fields}])
        assert progress.waiting
        assert re.search(f"task-1 +WAITING .*{said}$", shown(progress), re.MULTILINE)
        progress.apply([an_entry(3, "ticket.skipped", "SKIPPED", attempt=0, detail={"reason": {"message": "no need"}})])
        drawn = shown(progress)
        assert re.search("↷ .* task-1 +SKIPPED .* no need$", drawn, re.MULTILINE)
        assert "1 skipped" in drawn

    def test_compensations_are_listed_with_what_they_undo_and_are_no_tickets_of_the_plan(self) -> None:
        progress = Progress(a_row("EXECUTING"))
        progress.load([a_ticket(status="COMPLETED", skipped=True, error_message="skipped by ada")])
        assert "skipped: skipped by ada" in shown(progress)
        progress.flow = a_row("COMPENSATING", compensations=1)
        assert progress.tickets_wanted
        undoing = a_ticket(
            ticket_id="u",
            task_id="compensate:task-1",
            compensates=TICKET["ticket_id"],
            parameters={"compensates": {"ticket_id": TICKET["ticket_id"], "task_id": "task-1"}},
        )
        progress.load([a_ticket(status="COMPENSATING"), undoing])
        assert progress.loaded == (0, 1)
        drawn = shown(progress)
        assert "0 of 1 done" in drawn
        assert "1 compensating" in drawn
        assert re.search("compensate:task-1 +PENDING .* undoes task-1$", drawn, re.MULTILINE)
        progress.apply([an_entry(5, "ticket.compensated", "COMPENSATED", attempt=1)])
        assert progress.tally() == {"COMPENSATED": 1}


def shown(progress: Progress) -> str:
    """Return the picture of a flow as text."""
    with Console(width=140) as console, console.capture() as screen:
        console.print(picture(progress, 10))
    return "\n".join(line.rstrip() for line in screen.get().splitlines())

"""What `flowc` makes of what the API answers: words, progress, pictures."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from rich.console import Console

from functions._runtime.cli.pictures import picture
from functions._runtime.cli.progress import Progress
from functions._runtime.cli.words import sla_left, took, transition
from tests.builders import T0, seconds
from tests.command_line import ASSIGNED, DONE, TICKET, a_row, a_ticket, an_entry


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
                "1 task in 2 levels, longest path 1 min 30 s",
            ),
            (an_entry(1, "flow.completed", "COMPLETED", detail={"telemetry_published": True}), "telemetry published"),
            (an_entry(1, "sla.violated", None), "sla.violated"),
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

    @pytest.mark.parametrize(
        ("row", "standing"),
        [
            (a_row("COMPLETED"), "met"),
            (a_row("COMPLETED", sla_deadline=T0 + seconds(1)), "missed"),
            (a_row("CANCELLED"), ""),
            (a_row("EXECUTING", sla_deadline=T0 + seconds(150)), "1 min 30 s left"),
            (a_row("EXECUTING", sla_deadline=T0 + seconds(57)), "3 s overdue"),
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

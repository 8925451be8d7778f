"""Rows of history: which tickets are rows, and what they say; the words of cursors; the columns of tables."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from functions._adapters.memory.store import MemoryStore
from functions._core.errors import Rejected
from functions._core.learning.columns import FlowColumns, TicketColumns, flow_columns, ticket_columns
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.history_reader import HistoryCursor, ended_between, read_cursor
from functions._core.learning.rows import ERROR_LENGTH, kind_of, rows_of
from functions._core.records.control import Approval, Control, Foreach
from functions._core.records.models import Reason
from functions._core.records.prediction import FlowPrediction, Prediction
from functions._core.records.simulated import SIMULATED
from functions._core.records.values import flow_id_of
from tests.support.builders import T0, make_flow, make_step, make_ticket, seconds
from tests.support.slo_history import ports_of

ENDED = make_flow(
    status="FAILED",
    outcome="FAILED",
    ended_at=T0 + seconds(30),
    reasons=(Reason(code="ticket_failed", message="It failed."), Reason(code="x", message="y")),
    tickets_generated=7,
    critical_path_ms=5,
    prediction=FlowPrediction(probability=0.5, p50_ms=1, p90_ms=2, model="duration:1"),
)
HAD: dict[str, Any] = {
    "attempt": 1,
    "worker_id": "w",
    "ready_at": T0,
    "assigned_at": T0 + seconds(3),
    "completed_at": T0 + seconds(9),
}


class TestRows:
    def test_a_flow_that_has_not_ended_has_none(self) -> None:
        with pytest.raises(ValueError, match="has not ended"):
            rows_of(make_flow(), ())

    def test_the_row_of_a_flow(self) -> None:
        row, _ = rows_of(ENDED, ())
        assert (row.outcome, row.reason_code, row.tickets, row.duration_ms) == ("FAILED", "ticket_failed", 7, 30_000)
        assert (row.missed, row.simulated, row.prediction) == (False, False, ENDED.prediction)
        late = rows_of(ENDED.but(ended_at=ENDED.sla_deadline + timedelta(seconds=1)), ())[0]
        assert late.missed
        pretended = ENDED.but(warnings=(Reason(code=SIMULATED, message="only so"),))
        assert rows_of(pretended, ())[0].simulated

    @pytest.mark.parametrize(
        ("is_row", "fields"),
        [
            (True, {"status": "COMPLETED", "actual_duration_ms": 9, **HAD}),
            (True, {"status": "FAILED", **HAD}),
            (True, {"status": "SKIPPED", **HAD}),
            (True, {"status": "COMPLETED", "parent": "p", "index": 3, **HAD}),
            (True, {"status": "COMPENSATED", "actual_duration_ms": 9, **HAD}),
            (True, {"status": "CANCELLED", "ready_at": T0}),
            (True, {"status": "FAILED", "ready_at": T0}),
            (False, {"status": "CANCELLED"}),
            (False, {"status": "SKIPPED", "ready_at": T0}),
            (False, {"status": "COMPLETED", "compensates": "t", **HAD}),
            (False, {"status": "COMPLETED", "control": Control(approval=Approval()), "ready_at": T0}),
            (False, {"status": "FAILED", "control": Control(foreach=Foreach(items=[1])), "ready_at": T0}),
            (False, {"status": "CANCELLED", "control": Control(subflow=("a",)), "ready_at": T0}),
        ],
    )
    def test_what_a_worker_had_or_could_have_had_is_a_row(self, is_row: bool, fields: dict[str, Any]) -> None:
        _, rows = rows_of(ENDED, [make_ticket(ENDED, **fields)])
        assert len(rows) == is_row

    def test_the_row_of_a_ticket(self) -> None:
        reason = Reason(code="worker_failed", message="x" * 1000)
        fields: dict[str, Any] = {
            "status": "COMPLETED",
            "actual_duration_ms": 4000,
            **HAD,
            "reason": reason,
            "retry_count": 1,
        }
        more: dict[str, Any] = {
            "dependencies": ("a", "b"),
            "dependants": ("c",),
            "parameters": {"é": 1},
            "output": "done",
        }
        ticket = make_ticket(ENDED, **fields, **more, required_capabilities=("build",), domain="BUSINESS", level=2)
        (row,) = rows_of(ENDED, [ticket.but(prediction=Prediction(p50_ms=1, p90_ms=2, model="m:1"))])[1]
        assert (row.fan_in, row.fan_out, row.level, row.plan_tasks) == (2, 1, 2, 7)
        assert (row.parameters_bytes, row.output_bytes) == (len('{"é":1}'.encode()), 6)
        assert (row.actual_ms, row.waited_ms, row.retries, row.attempts) == (4000, 3000, 1, 1)
        assert (row.reason_code, len(row.error or "")) == ("worker_failed", ERROR_LENGTH)
        assert row.prediction == Prediction(p50_ms=1, p90_ms=2, model="m:1")

    def test_items_and_tasks_of_plans_within_are_of_the_kind_of_their_task(self) -> None:
        ticket = make_ticket(ENDED)
        assert kind_of(ticket.but(task_id="resize[17]", index=17)) == "resize"
        assert kind_of(ticket.but(task_id="outer[2]/resize[17]", scope="outer[2]/")) == "resize"
        assert kind_of(ticket.but(task_id="outer/a[b]", scope="outer/")) == "a[b]"
        assert kind_of(ticket.but(task_id="[1]")) == "[1]"

    def test_the_size_of_an_item_counts_where_there_is_one(self) -> None:
        child = make_ticket(ENDED, parameters={}, index=0, item=None, status="FAILED", ready_at=T0)
        assert rows_of(ENDED, [child.but(item="x" * 100)])[1][0].parameters_bytes == 2 + 102
        assert rows_of(ENDED, [child])[1][0].parameters_bytes == 2 + 4
        assert rows_of(ENDED, [child.but(index=None)])[1][0].parameters_bytes == 2


async def test_many_tickets_of_a_flow_become_rows_beside_the_loop() -> None:
    stores, made = MemoryStore().stores, list[object]()
    for number, size in ((1, 3), (2, 250), (3, 4)):
        flow = make_flow(number, status="FAILED", outcome="FAILED", ended_at=T0 + seconds(number))
        plan = [make_ticket(flow, place, status="FAILED", **HAD) for place in range(size)]
        await stores.store.commit(make_step(flow, *plan))
    ports, _ = ports_of(stores)

    async def beside(compute: Callable[[], Any]) -> Any:
        made.append(compute)
        return compute()

    found = await ended_between(replace(ports, beside=beside), T0, T0 + seconds(60), 10, now=T0 + timedelta(days=1))
    assert [len(rows) for _, rows in found.flows] == [3, 250, 4]
    assert len(made) == 1


class TestCursors:
    def test_a_cursor_comes_back_from_its_word(self) -> None:
        for cursor in (HistoryCursor(at=T0), HistoryCursor(at=T0 + seconds(0.001), flow_id=flow_id_of("é"))):
            assert read_cursor(cursor.text) == cursor

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "~",
            "1",
            "-1~",
            "1.5~",
            "1e3~",
            "\u0661~",
            f"{'9' * 15}~",
            f"{'9' * 16}~",
            "1~\x00",
            "1~é",
            f"1~{'a' * 65}",
        ],
    )
    def test_another_word_is_refused(self, text: str) -> None:
        with pytest.raises(Rejected, match="cursor") as refused:
            read_cursor(text)
        assert refused.value.status == 400

    @given(st.text(max_size=40) | st.builds("{}~{}".format, st.integers(0, 10**16), st.text("0af-~", max_size=40)))
    @settings(max_examples=60, deadline=None)
    def test_any_word_is_a_cursor_or_refused(self, text: str) -> None:
        try:
            found = read_cursor(text)
        except Rejected:
            return
        assert read_cursor(found.text) == found


class TestColumns:
    def test_tables_have_all_that_rows_have_but_what_tasks_wrote(self) -> None:
        flat = {"predicted_p50_ms", "predicted_p90_ms", "model"}
        assert _names(FlowColumns) == _names(FlowRow) - {"prediction"} | flat | {"duration_ms", "predicted_probability"}
        assert _names(TicketColumns) == _names(TicketRow) - {"prediction", "error"} | flat | {"waited_ms"}

    def test_columns_say_what_rows_say(self) -> None:
        ticket = make_ticket(ENDED, status="FAILED", **HAD, required_capabilities=("a", "b"))
        row, rows = rows_of(ENDED, [ticket.but(prediction=Prediction(p50_ms=1, p90_ms=2, model="m:1"))])
        flow_line, line = flow_columns(row), ticket_columns(rows[0])
        assert (flow_line.predicted_probability, flow_line.model, flow_line.duration_ms) == (0.5, "duration:1", 30_000)
        assert (line.capabilities, line.predicted_p90_ms, line.model, line.waited_ms) == ("a,b", 2, "m:1", 3000)
        for name in _names(FlowColumns) & _names(FlowRow):
            assert getattr(flow_line, name) == getattr(row, name)
        for name in _names(TicketColumns) & _names(TicketRow) - {"capabilities"}:
            assert getattr(line, name) == getattr(rows[0], name)


def _names(record: type) -> set[str]:
    return {field.name for field in structs.fields(record)}

"""What work takes of the fleet: worker time over all attempts, how it is learnt, and how good that is."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import exp, inf
from random import Random
from typing import Any

import pytest

from functions._core.errors import Unavailable
from functions._core.learning.duration_table import DurationTable, Resources, TableNumbers, faults_of
from functions._core.learning.features import FEATURES, real_rows
from functions._core.learning.history import TicketRow
from functions._core.learning.payload import ModelPayload, packed, unpacked
from functions._core.learning.resources import (
    RESOURCE_BYTES,
    ResourceErrors,
    ResourcePredictor,
    resource_errors,
    told,
    with_resources,
)
from functions._core.learning.rows import rows_of
from functions._core.learning.table_training import fitted
from functions._core.learning.training import train
from functions._core.learning.trees import Ensemble, TreeModel
from functions._core.learning.worker_time import MOST_ENTRIES, of_history, of_record, with_worker_time
from functions._core.records.hedge import Hedge
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Ticket
from functions._core.records.record import decode, encode
from functions._core.records.values import TaskType, TicketStatus
from tests.support.builders import T0, make_flow, make_ticket, seconds
from tests.support.histories import history

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)
ENDED = make_flow(status="COMPLETED", outcome="COMPLETED", ended_at=T0 + seconds(60))


@pytest.fixture(scope="module")
def rows() -> list[TicketRow]:
    return real_rows(history(7, 120))


def ended(attempt: int, hedge: Hedge | None = None, **more: object) -> Ticket:
    fields: dict[str, Any] = {
        "assigned_at": T0 + seconds(10),
        "completed_at": T0 + seconds(14),
        "worker_id": "w",
        **more,
    }
    return make_ticket(ENDED, status="COMPLETED", ready_at=T0, attempt=attempt, hedge=hedge, **fields)


def entry(at: float, kind: str, was: str | None, then: str | None, attempt: int, ticket_id: str = "t") -> HistoryEntry:
    return HistoryEntry(
        flow_id="f",
        at=T0 + seconds(at),
        type=kind,
        cause="",
        ticket_id=ticket_id,
        from_status=was,
        to_status=then,
        attempt=attempt,
        seq=round(at * 10),
    )


FAILED_ONCE = (
    entry(0, "ticket.created", None, "PENDING", 0),
    entry(1, "ticket.assigned", "PENDING", "ASSIGNED", 1),
    entry(2, "ticket.started", "ASSIGNED", "RUNNING", 1),
    entry(5, "ticket.retried", "RUNNING", "PENDING", 1),
    entry(10, "ticket.assigned", "PENDING", "ASSIGNED", 2),
    entry(14, "ticket.completed", "ASSIGNED", "COMPLETED", 2),
)


class TestWorkerTime:
    def test_a_record_tells_of_its_last_attempt_and_of_that_beside_it(self) -> None:
        assert of_record(ended(1)) == 4000
        beside = Hedge(attempt=2, worker_id="v", assigned_at=T0 + seconds(12), ended_at=T0 + seconds(14))
        assert of_record(ended(1, beside)) == 6000
        assert of_record(ended(2, beside.but(attempt=1))) == 6000
        assert of_record(ended(0, assigned_at=None)) == 0

    def test_it_does_not_tell_of_attempts_before(self) -> None:
        assert of_record(ended(2)) is None
        assert of_record(ended(1, assigned_at=None)) is None, "taken back, and cancelled before the next one"

    def test_a_history_tells_of_attempts_that_failed(self) -> None:
        assert of_history(FAILED_ONCE) == {"t": 8000}

    def test_and_of_those_that_ran_beside_another_one(self) -> None:
        line = [
            *FAILED_ONCE[:3],
            entry(3, "ticket.hedged", None, None, 2),
            entry(4.5, "ticket.hedge_ended", "RUNNING", "RUNNING", 1),
            entry(6, "ticket.completed", "RUNNING", "COMPLETED", 2),
        ]
        assert of_history(line) == {"t": 3500 + 3000}
        lost = [*line[:4], entry(6, "ticket.hedge_ended", None, None, 2), entry(6, "ticket.completed", *RUN, 1)]
        assert of_history(lost) == {"t": 3000 + 5000}

    def test_what_a_worker_has_still_is_not_told(self) -> None:
        assert of_history(FAILED_ONCE[:5]) == {}

    async def test_a_history_is_read_only_where_a_record_does_not_tell(self) -> None:
        row = rows_of(ENDED, [ended(2)])[1][0]
        told_by = Book([one.but(ticket_id=row.ticket_id) for one in FAILED_ONCE])
        assert [one.worker_ms for one in await with_worker_time(told_by, "f", [row])] == [8000]
        assert told_by.asked == 1
        await with_worker_time(told_by, "f", [row.but(worker_ms=1)])
        assert told_by.asked == 1

    async def test_a_history_that_is_away_or_huge_leaves_it_unknown(self) -> None:
        row = rows_of(ENDED, [ended(2)])[1][0]
        assert [one.worker_ms for one in await with_worker_time(Away([]), "f", [row])] == [None]
        huge = Book([FAILED_ONCE[0].but(seq=number) for number in range(1, MOST_ENTRIES + 5000)])
        assert [one.worker_ms for one in await with_worker_time(huge, "f", [row])] == [None]
        assert huge.asked < 25


RUN = ("RUNNING", "COMPLETED")


class Book:
    """Views with one history."""

    def __init__(self, entries: Sequence[HistoryEntry]) -> None:
        self.entries, self.asked = entries, 0

    async def history(self, flow_id: str | None, after: int, limit: int) -> Sequence[HistoryEntry]:
        self.asked += flow_id == "f"
        return [one for one in self.entries if one.seq > after or (not after and one.seq == 0)][:limit]


class Away(Book):
    async def history(self, flow_id: str | None, after: int, limit: int) -> Sequence[HistoryEntry]:  # noqa: ARG002
        raise Unavailable("away")


def alike(like: TicketRow, count: int, **more: object) -> list[TicketRow]:
    return [
        like.but(
            ticket_id=f"{number:05}",
            estimate_ms=1000,
            actual_ms=2000,
            completed_at=like.completed_at + timedelta(seconds=number),
            **{"status": TicketStatus.COMPLETED, "attempts": 1, "worker_ms": 2000, "output_bytes": 100, **more},
        )
        for number in range(count)
    ]


class TestLearnt:
    def test_attempts_that_fail_cost_worker_time(self, rows: list[TicketRow]) -> None:
        made = [*alike(rows[-1], 150), *alike(rows[-1], 50, attempts=3, worker_ms=8000)]
        said = DurationTable(with_resources(fitted(made), made), "d").resources(made[0].work)
        assert said.attempts == pytest.approx(1.5, rel=0.02)
        assert said.worker_ms == pytest.approx(3500, rel=0.02)
        assert said.output_bytes == pytest.approx(100, abs=1)

    def test_tickets_that_failed_count_and_those_that_their_flow_ended_do_not(self, rows: list[TicketRow]) -> None:
        failed = {"status": TicketStatus.FAILED, "output_bytes": 0}
        made = [*alike(rows[-1], 100), *[row.but(actual_ms=None) for row in alike(rows[-1], 100, **failed)]]
        cut = [row.but(status=TicketStatus.CANCELLED, worker_ms=90_000) for row in made]
        said = DurationTable(with_resources(fitted(made), [*made, *cut]), "d").resources(made[0].work)
        assert said.worker_ms == pytest.approx(2000, rel=0.02)
        assert said.output_bytes == pytest.approx(100, abs=1)

    def test_a_task_of_few_rows_is_drawn_towards_its_kind(self, rows: list[TicketRow]) -> None:
        usual, rare = alike(rows[-1], 300), alike(rows[-1].but(task_id="rare"), 2, attempts=3, worker_ms=6000)
        table = DurationTable(with_resources(fitted([*usual, *rare]), [*usual, *rare]), "d")
        assert 1.1 < table.resources(rare[0].work).attempts < 1.6
        assert table.resources(usual[0].work).attempts == pytest.approx(1.0, abs=0.03)

    def test_of_a_type_that_nobody_has_done_one_attempt_is_expected(self, rows: list[TicketRow]) -> None:
        known = with_resources(fitted(rows), rows)
        unknown = rows[-1].but(task_type=TaskType.TOOL, estimate_ms=700).work
        assert DurationTable(known, "d").resources(unknown) == Resources(1.0, 700, None)
        assert with_resources(TableNumbers(), []) == TableNumbers()

    def test_so_many_tasks_are_bounded(self, rows: list[TicketRow]) -> None:
        made = [row.but(task_id=f"task-{number:05}") for number, row in enumerate(alike(rows[-1], 3000))]
        found = with_resources(TableNumbers(), made).resources
        assert 300 < len(found) < 1000
        assert len(encode(found)) < RESOURCE_BYTES
        assert made[0].task_type.value in found


class TestStored:
    def test_a_model_keeps_it_and_one_from_before_still_loads(self, rows: list[TicketRow]) -> None:
        model = ModelPayload(table=with_resources(fitted(rows), rows))
        checksum, parts = packed(model)
        again = unpacked(parts, checksum).predictor("duration:1")
        assert isinstance(again, ResourcePredictor)
        assert again.resources(rows[-1].work) == DurationTable(model.table, "d").resources(rows[-1].work)
        text = encode(ModelPayload(table=fitted(rows)))
        old = decode(ModelPayload, text.replace(b',"resources":{}', b"")).predictor("duration:1")
        assert isinstance(old, ResourcePredictor)
        assert old.resources(rows[-1].work).attempts == 1.0

    def test_trees_say_what_their_table_says(self, rows: list[TicketRow]) -> None:
        table = with_resources(fitted(rows), rows)
        trees = TreeModel(features=FEATURES, p50=Ensemble(base=1.0), p90=Ensemble(base=1.0), settings={})
        said = ModelPayload(kind="trees", table=table, trees=trees).predictor("d")
        assert isinstance(said, ResourcePredictor)
        assert said.resources(rows[-1].work) == DurationTable(table, "d").resources(rows[-1].work)

    @pytest.mark.parametrize("numbers", [(inf, 0.0, 0.0), (0.0, float("nan"), 0.0), (0.0, 0.0, 51.0)])
    def test_numbers_that_make_no_sense_are_found(self, numbers: tuple[float, float, float]) -> None:
        assert faults_of(TableNumbers(resources={"TRANSFORM": numbers}))

    def test_numbers_at_their_bounds_give_numbers_within_theirs(self, rows: list[TicketRow]) -> None:
        for number in (-50.0, 50.0):
            table = TableNumbers(resources={rows[-1].task_type.value: (number, number, number)})
            assert faults_of(table) == []
            attempts, worker_ms, output_bytes = DurationTable(table, "d").resources(rows[-1].work)
            assert 1 <= attempts <= exp(10)
            assert 1 <= worker_ms <= 10**12
            assert 0 <= (output_bytes or 0) <= 10**12


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_bars_hold_for_worker_time_of_tickets_that_the_model_has_not_seen(seed: int) -> None:
    made = train(real_rows(history(seed, 250)), now=NOW, by="ada", chance=Random(21).random, goes_on=lambda: False)
    assert made is not None
    figures = made.record.metrics
    assert figures["worker_mae_ms"] < min(10_000, 0.6 * figures["estimate_worker_mae_ms"])
    assert figures["worker_total_ratio"] == pytest.approx(1, abs=0.1)
    assert figures["attempts_total_ratio"] == pytest.approx(1, abs=0.05)
    assert made.payload.table.resources


def test_the_measures_are_sums_over_rows(rows: list[TicketRow]) -> None:
    made = alike(rows[-1], 4, worker_ms=5000, attempts=2)
    found = resource_errors(DurationTable(TableNumbers(), "d"), [*made, made[0].but(worker_ms=None)])
    assert not told(made[0].but(attempts=0))
    assert found.figures() == {
        "worker_mae_ms": 4000,
        "estimate_worker_mae_ms": 4000,
        "worker_total_ratio": 0.2,
        "attempts_total_ratio": 0.5,
    }
    assert ResourceErrors().figures() == {}

"""The SQL of SQLite: every query is used, and none walks a table that grows."""

import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from functions._adapters.pages import TICKET_FILTERS
from functions._adapters.sql import migrations, queries
from functions._adapters.sql.sqlite.views import audits_page, tickets_page
from functions._core.records.audits import AuditKind
from functions._core.rules import TICKETS_PER_TURN
from tests.conftest import ROOT

SQL = queries("sqlite")

MAY_WALK = {
    "active": "its index holds held tickets only",
    "audits_page": "it stops at the limit",
    "flow_counts": "it counts for metrics, in the reading thread",
    "letters_beyond": "it stops at the bound, and is asked only when there may be more",
    "queue_depth": "it counts for metrics, in the reading thread",
    "telemetry_size": "it counts for metrics, in the reading thread",
    "ticket_counts": "it counts for metrics, in the reading thread",
    "workers": "it asks for all workers",
}


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    for script in migrations("sqlite"):
        connection.executescript(script)
    yield connection
    connection.close()


def plan_of(database: sqlite3.Connection, sql: str) -> list[str]:
    values = dict.fromkeys(re.findall(r":(\w+)", sql), 1)
    return [step for *_, step in database.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


def walks(plan: list[str]) -> list[str]:
    tables = "flow|ticket|worker|decision|history|audit|event_queue|ticket_part|telemetry_buffer|dead_letter|key_value"
    tables += "|found|flow_label|ticket_label|hedge"
    return [step for step in plan if re.match(rf"SCAN ({tables})\b", step)]


@pytest.mark.parametrize("name", SQL)
def test_a_query_searches_by_an_index(database: sqlite3.Connection, name: str) -> None:
    assert bool(walks(plan_of(database, SQL[name]))) == (name in MAY_WALK)


def test_what_a_worker_holds_is_counted_from_the_index_of_held_tickets(database: sqlite3.Connection) -> None:
    walked = [step for step in plan_of(database, SQL["active"]) if step.startswith("SCAN")]
    tables = ("ticket", "ticket_held"), ("hedge", "hedge_held")
    assert walked == [f"SCAN {table} USING COVERING INDEX {index}" for table, index in tables]


@pytest.mark.parametrize("name", sorted(TICKET_FILTERS - {"priority"}))
def test_tickets_are_found_by_the_index_of_the_filter(database: sqlite3.Connection, name: str) -> None:
    plan = plan_of(database, tickets_page({name: "PENDING"}))
    assert walks(plan) == []
    assert any(re.search(rf"USING COVERING INDEX ticket_\w+ \({name}=\?", step) for step in plan)


@pytest.mark.parametrize("name", ["flows_page_by_label", "tickets_page_by_label", "tickets_fitting_by_label"])
def test_records_with_a_label_are_read_in_the_order_of_its_index(database: sqlite3.Connection, name: str) -> None:
    plan = plan_of(database, SQL[name].replace(":others", "'[]'"))
    assert any(re.search(r"SEARCH found USING (COVERING INDEX|PRIMARY KEY).*label=\?", step) for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"of_flow": True}, "audit_by_flow"),
        ({"kind": AuditKind.ACTION}, "audit_actions"),
        ({"valid": False}, "audit_refusals"),
    ],
)
def test_rare_audits_are_found_by_an_index(database: sqlite3.Connection, filters: dict[str, Any], index: str) -> None:
    plan = plan_of(database, audits_page(**{"of_flow": False, "kind": None, "valid": None, **filters}))
    assert any(f"INDEX {index}" in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_statistics_are_read_from_the_index_of_ended_flows_alone(database: sqlite3.Connection) -> None:
    plan = plan_of(database, SQL["flow_statistics"])
    assert any("USING COVERING INDEX flow_ended (ended_at>?)" in step for step in plan), plan
    assert any("USING COVERING INDEX flow_by_status" in step for step in plan), plan


def test_ended_flows_of_a_span_are_found_by_their_index_in_order(database: sqlite3.Connection) -> None:
    plan = plan_of(database, SQL["flows_ended"])
    assert any("USING INDEX flow_ended (ended_at>? AND ended_at<?)" in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_deadlines_are_read_from_their_index_one_entry_for_each_risk_band(database: sqlite3.Connection) -> None:
    plan = plan_of(database, SQL["flow_deadlines"].replace(":risk_bands", "'[]'"))
    assert any("SEARCH flow USING COVERING INDEX flow_deadline (risk_band=? AND" in step for step in plan), plan


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("waiting_tickets", "ticket_waiting (requirement=?)"),
        ("current_turn", "ticket_waiting (requirement=?)"),
        ("first_behind", "ticket_waiting (requirement=? AND turn>?)"),
        ("last_turn", "ticket_turns (flow_id=? AND requirement=?)"),
        ("in_turn", "ticket_turns (flow_id=? AND requirement=? AND turn=?)"),
    ],
)
def test_waiting_tickets_are_read_in_the_order_of_an_index(database: sqlite3.Connection, name: str, index: str) -> None:
    plan = plan_of(database, SQL[name])
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def instructions(database: sqlite3.Connection, sql: str, **values: object) -> int:
    """Return how many steps of SQLite's virtual machine a query takes."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    database.set_progress_handler(count, 1)
    database.execute(sql, values).fetchall()
    database.set_progress_handler(None, 1)
    return steps


def test_what_is_asked_about_waiting_tickets_costs_the_same_however_many_wait(database: sqlite3.Connection) -> None:
    asked = {"requirement": "[]", "flow_id": "huge", "now": 1, "limit": 10, "current": 0, "turn": 0, "at_most": 25}
    names = ("waiting_requirements", "waiting_tickets", "current_turn", "first_behind", "last_turn", "in_turn")

    def costs(tickets: int) -> dict[str, int]:
        rows = [(f"{tickets}-{n}", "huge", "[]", n // TICKETS_PER_TURN, n) for n in range(tickets)]
        database.executemany(
            "INSERT INTO ticket (ticket_id, flow_id, plan_id, intent_id, status, priority, requirement, turn,"
            " latest_start, version, doc) VALUES (?, ?, '', '', 'PENDING', 'NORMAL', ?, ?, ?, 1, '{}')",
            rows,
        )
        return {name: instructions(database, SQL[name], **asked) for name in names}

    few, many = costs(100), costs(10_000)
    assert {name: many[name] <= 2 * few[name] for name in names} == dict.fromkeys(names, True)


VERBS = ("insert", "update", "columns", "lease")
"""Ends of the names of queries that the code puts together."""


def test_every_query_is_used() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "functions/_adapters/sql/sqlite").glob("*.py"))
    built = {f"{table}_{verb}" for table in ("flow", "ticket", "worker") for verb in VERBS}
    built |= {f"tickets_{what}_by_label" for what in ("page", "fitting")}
    assert [name for name in SQL if f'"{name}"' not in code and name not in built] == []

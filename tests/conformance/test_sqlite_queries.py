"""The SQL of SQLite: every query is used, and none walks a table that grows."""

import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from functions._adapters.pages import TICKET_FILTERS
from functions._adapters.sql import migrations, queries
from functions._adapters.sqlite.views import audits_page
from functions._core.audits import AuditKind
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
    tables = "flow|ticket|worker|decision|history|audit|event_queue|telemetry_buffer|dead_letter"
    return [step for step in plan if re.match(rf"SCAN ({tables})\b", step)]


@pytest.mark.parametrize("name", SQL)
def test_a_query_searches_by_an_index(database: sqlite3.Connection, name: str) -> None:
    assert bool(walks(plan_of(database, SQL[name]))) == (name in MAY_WALK)


def test_what_a_worker_holds_is_counted_from_the_index_of_held_tickets(database: sqlite3.Connection) -> None:
    assert plan_of(database, SQL["active"]) == ["SCAN ticket USING COVERING INDEX ticket_held"]


@pytest.mark.parametrize("name", sorted(TICKET_FILTERS - {"priority"}))
def test_tickets_are_found_by_the_index_of_the_filter(database: sqlite3.Connection, name: str) -> None:
    plan = plan_of(database, SQL["tickets_page"].replace("/* filters */", f"AND {name} = :{name}"))
    assert walks(plan) == []
    assert any(re.search(rf"USING COVERING INDEX ticket_\w+ \({name}=\?", step) for step in plan)


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


def test_every_query_is_used() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "functions/_adapters/sqlite").glob("*.py"))
    built = {f"{table}_{verb}" for table in ("flow", "ticket", "worker") for verb in ("insert", "update", "lease")}
    assert [name for name in SQL if f'"{name}"' not in code and name not in built] == []

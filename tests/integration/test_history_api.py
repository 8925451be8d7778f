"""History as tables: two routes page by page, what strangers may ask of them, and the files of `flowc export`."""

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from typer.testing import Result

from functions._cli import export_command
from functions._core.learning.columns import TicketColumns
from functions._core.records.values import TicketStatus
from functions.api import history_rows
from tests.support.builders import T0, later, make_flow, make_step, make_ticket, seconds
from tests.support.command_line import flowc
from tests.support.http_api import Api, problem_of, running_api
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import task

FLOWS, TICKETS = "/api/v1/history/flows", "/api/v1/history/tickets"
SIZES = (3, 0, 5, 1)
"""Tickets of the flows, in the order in which they end."""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def ended(api: Api, number: int, tickets: int, **of_ticket: object) -> str:
    """Store a flow that ended `number` minutes after T0, and return its id."""
    flow, at = make_flow(number, tickets_generated=tickets), T0 + seconds(60 * number)
    done: dict[str, Any] = {
        "status": TicketStatus.COMPLETED,
        "attempt": 1,
        "worker_id": "w",
        "ready_at": T0,
        "assigned_at": T0 + seconds(1),
        "completed_at": at,
        "actual_duration_ms": 900,
        "next_wakeup_at": None,
    }
    plan = [make_ticket(flow, place, **{**done, **of_ticket}) for place in range(1, tickets + 1)]
    await api.world.ports.store.commit(make_step(flow, *plan))
    end = {"status": "COMPLETED", "outcome": "COMPLETED", "ended_at": at, "next_wakeup_at": None}
    await api.world.ports.store.commit(make_step(later(flow, **end)))
    return flow.flow_id


async def some_history(api: Api) -> list[str]:
    return [await ended(api, number, size) for number, size in enumerate(SIZES, 1)]


async def pages(api: Api, path: str, **parameters: Any) -> list[list[dict[str, Any]]]:
    found, cursor = list[list[dict[str, Any]]](), None
    while True:
        asked = parameters | ({"cursor": cursor} if cursor is not None else {})
        answer = await api.client.get(path, params=asked)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        cursor = answer.json()["cursor"]
        if cursor is None:
            return found
        assert len(found) < 50, "the pages have no end"


class TestPages:
    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 500])
    async def test_all_is_there_once_and_in_order_however_it_is_cut(self, api: Api, limit: int) -> None:
        ids = await some_history(api)
        flows = await pages(api, FLOWS, limit=limit)
        assert [line["flow_id"] for page in flows for line in page] == ids
        tickets = await pages(api, TICKETS, limit=limit)
        expected = [
            (flow_id, f"task-{place}") for flow_id, size in zip(ids, SIZES, strict=True) for place in range(1, size + 1)
        ]
        assert [(line["flow_id"], line["task_id"]) for page in tickets for line in page] == expected
        assert max(map(len, [*flows, *tickets])) <= limit

    async def test_a_span_of_time_and_what_lines_say(self, api: Api) -> None:
        ids = await some_history(api)
        since, until = (T0 + seconds(60)).isoformat(), (T0 + seconds(180)).isoformat()
        found = [line["flow_id"] for page in await pages(api, FLOWS, since=since, until=until) for line in page]
        assert found == ids[:2]
        ((flow, *_),) = await pages(api, FLOWS)
        assert (flow["outcome"], flow["duration_ms"], flow["tickets"], flow["missed"]) == (
            "COMPLETED",
            60_000,
            3,
            False,
        )
        ((ticket, *_),) = await pages(api, TICKETS)
        assert (ticket["actual_ms"], ticket["waited_ms"], ticket["capabilities"]) == (900, 1000, "")
        assert ticket.keys() == set(TicketColumns.__struct_fields__)

    async def test_nothing_of_what_tasks_read_and_wrote_is_told(self, api: Api) -> None:
        reason = {"code": "worker_failed", "message": "the secret reason"}
        await ended(api, 1, 1, parameters={"a": "the secret input"}, output="the secret output", reason=reason)
        for path in (FLOWS, TICKETS):
            answer = await api.client.get(path)
            assert "secret" not in answer.text
            assert answer.json()["items"]

    async def test_a_page_in_the_middle_of_a_flow_that_ended_again_repeats_and_misses_nothing_of_others(
        self, api: Api
    ) -> None:
        ids = await some_history(api)
        first = (await api.client.get(TICKETS, params={"limit": 2})).json()
        flow = await api.world.ports.store.flow(ids[0])
        assert flow is not None
        await api.world.ports.store.commit(make_step(later(flow, ended_at=T0 + timedelta(days=1))))
        rest = (await api.client.get(TICKETS, params={"cursor": first["cursor"]})).json()["items"]
        assert [line["flow_id"] for line in rest] == [ids[2]] * 5 + [ids[3]] + [ids[0]] * 3

    async def test_pages_without_tickets_go_on(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(history_rows, "FLOWS_AT_ONCE", 2)
        for number in range(1, 6):
            await ended(api, number, 0)
        last = await ended(api, 6, 1)
        found = await pages(api, TICKETS)
        assert [[line["flow_id"] for line in page] for page in found] == [[], [], [last]]


async def test_of_a_flow_that_was_done_there_is_a_line_for_all_that_a_worker_did(api: Api) -> None:
    await api.world.register()
    pair = task("resize", parameters={"size": 9}, foreach={"items": [{"file": "a"}, {"file": "bb"}]})
    pause = task("pause", "resize", task_type="WAIT", wait={"seconds": 0.01}, required_capabilities=[])
    flow = await api.world.run(pair, pause, task("last", "pause", estimated_duration_ms=1234))
    assert flow.outcome == "COMPLETED"
    ((line,),) = await pages(api, FLOWS)
    assert (line["flow_id"], line["outcome"], line["missed"]) == (flow.flow_id, "COMPLETED", False)
    (lines,) = await pages(api, TICKETS)
    last, *items = lines
    assert [one["task_id"] for one in lines] == ["last", "resize", "resize"]
    assert all(one["actual_ms"] is not None and one["worker_id"] and one["attempts"] == 1 for one in lines)
    assert items[1]["parameters_bytes"] == items[0]["parameters_bytes"] + 1
    assert last["estimate_ms"] == 1234
    assert last["ready_at"] >= max(one["completed_at"] for one in items)


class TestStrangers:
    @pytest.mark.parametrize("path", [FLOWS, TICKETS])
    async def test_without_a_key_nothing_is_told(self, tmp_path: Path, path: str) -> None:
        async with running_api(tmp_path, api_key="the-key-of-this-test") as api:
            problem_of(await api.client.get(path, params={"cursor": "x"}), 401, "missing_key")
            answer = await api.client.get(path, headers={"x-api-key": "the-key-of-this-test"})
            assert answer.json() == {"items": [], "cursor": None}

    @pytest.mark.parametrize(
        ("path", "cursor"),
        [
            *((path, cursor) for path in (FLOWS, TICKETS) for cursor in ("", "x", "~", f"{'9' * 15}~", "-1~~1", "1~é")),
            *((path, "1~\x00~1") for path in (FLOWS, TICKETS)),
            *((TICKETS, cursor) for cursor in ("1~~", "1~a~b", "1~a~9999999", "1~a~-1")),  # ids of flows may hold these
        ],
    )
    async def test_a_word_that_is_no_cursor_is_refused(self, api: Api, path: str, cursor: str) -> None:
        problem_of(await api.client.get(path, params={"cursor": cursor}), 400, "invalid_cursor")

    @pytest.mark.parametrize("path", [FLOWS, TICKETS])
    @pytest.mark.parametrize(
        "parameters",
        [
            {"cursor": "1" * 101},
            {"limit": 501},
            {"limit": 0},
            {"since": "yesterday"},
            {"since": "2025-01-02T00:00:00Z", "until": "2025-01-01T00:00:00Z"},
        ],
    )
    async def test_parameters_beyond_their_bounds_are_refused(
        self, api: Api, path: str, parameters: dict[str, Any]
    ) -> None:
        assert (await api.client.get(path, params=parameters)).status_code == 422

    async def test_the_ends_of_the_calendar_are_moments(self, api: Api) -> None:
        ids = await some_history(api)
        span = {"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}
        assert [line["flow_id"] for page in await pages(api, FLOWS, **span) for line in page] == ids

    async def test_a_flow_of_many_tickets_comes_in_pages(self, api: Api) -> None:
        await ended(api, 1, 1200)
        assert [len(page) for page in await pages(api, TICKETS, limit=500)] == [500, 500, 200]

    async def test_a_number_in_a_forged_cursor_makes_no_page_read_more(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = await some_history(api)
        store = type(api.world.ports.store)
        read, plain = list[str](), store.tickets_of

        async def noted(self: Any, flow_id: str) -> Any:
            read.append(flow_id)
            return await plain(self, flow_id)

        monkeypatch.setattr(store, "tickets_of", noted)
        forged = f"{int(T0.timestamp() * 1000)}~x~99999"
        answer = await api.client.get(TICKETS, params={"cursor": forged, "limit": 2})
        assert answer.status_code == 200
        assert read == ids[:1]


@asynccontextmanager
async def listening(api: Api) -> AsyncIterator[Loopback]:
    """Serve the api over HTTP on loopback."""

    async def answer(request: Request) -> Answer:
        answered = await api.client.get(request.path, params=request.query)
        return Answer(answered.status_code, answered.content, {"content-type": answered.headers["content-type"]})

    async with Loopback() as server:
        server.answer = answer
        yield server


async def export(server: Loopback, *arguments: str) -> Result:
    return await asyncio.to_thread(flowc, "export", *arguments, FLOWC_URL=server.url)


class TestExport:
    async def test_csv_has_names_and_one_line_each(
        self, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(export_command, "PAGE", 2)
        await some_history(api)
        file = tmp_path / "tickets.csv"
        async with listening(api) as server:
            done = await export(server, "tickets", "--out", str(file))
            assert done.exit_code == 0, done.output
            assert f"{file}: {sum(SIZES)} tickets" in done.output
            shown = await export(server, "tickets")
        assert shown.stdout.splitlines() == file.read_text(encoding="utf-8").splitlines()
        with file.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
        assert [line["task_id"] for line in lines[:3]] == ["task-1", "task-2", "task-3"]
        assert (lines[0]["actual_ms"], lines[0]["hedged"], lines[0]["reason_code"]) == ("900", "false", "")
        assert [*lines[0]] == [*TicketColumns.__struct_fields__]

    async def test_a_text_that_a_spreadsheet_would_compute_is_text(self, api: Api, tmp_path: Path) -> None:
        evil = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\uff1dA1", "harmless", "a,b\n"]
        for number, name in enumerate(evil, 1):
            await ended(api, number, 1, task_id=name)
        file = tmp_path / "evil.csv"
        async with listening(api) as server:
            done = await export(server, "tickets", "--out", str(file))
        assert done.exit_code == 0, done.output
        with file.open(newline="", encoding="utf-8") as stream:
            found = [line["task_id"] for line in csv.DictReader(stream)]
        assert found == [*(f"'{name}" for name in evil[:5]), *evil[5:]]

    async def test_lines_of_json(self, api: Api, tmp_path: Path) -> None:
        ids = await some_history(api)
        file = tmp_path / "flows.ndjson"
        async with listening(api) as server:
            until = (T0 + seconds(180)).isoformat()
            done = await export(server, "flows", "--since", "3650d", "--until", until, "--out", str(file))
        assert done.exit_code == 0, done.output
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert [(line["flow_id"], line["missed"], line["model"]) for line in lines] == [
            (flow_id, False, None) for flow_id in ids[:2]
        ]

    @pytest.mark.parametrize("what", ["flows", "tickets"])
    async def test_parquet_has_types_and_says_the_same(self, api: Api, tmp_path: Path, what: str) -> None:
        from pyarrow import parquet

        await some_history(api)
        file = tmp_path / f"{what}.parquet"
        async with listening(api) as server:
            assert (await export(server, what, "-o", str(file))).exit_code == 0
            told = [json.loads(line) for line in (await export(server, what, "--format", "ndjson")).stdout.splitlines()]
        table = parquet.read_table(file)
        assert table.num_rows == len(told)
        types = {field.name: str(field.type) for field in table.schema}
        moment = "ended_at" if what == "flows" else "completed_at"
        assert (types[moment], types["model"], types["predicted_p50_ms"]) == (
            "timestamp[ms, tz=UTC]",
            "string",
            "int64",
        )
        for line, row in zip(told, table.to_pylist(), strict=True):
            shown = {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
            times = {name for name, kind in types.items() if kind.startswith("timestamp")}
            assert {name: value for name, value in shown.items() if name not in times} == {
                name: value for name, value in line.items() if name not in times
            }
            assert all(shown[name] is None or shown[name][:19] == line[name][:19] for name in times)

    async def test_an_empty_history_is_a_table_without_lines(self, api: Api, tmp_path: Path) -> None:
        from pyarrow import parquet

        async with listening(api) as server:
            assert (await export(server, "flows")).stdout.startswith("flow_id,decision_id,")
            file = tmp_path / "none.parquet"
            assert (await export(server, "tickets", "-o", str(file))).exit_code == 0
        assert parquet.read_table(file).num_rows == 0

    async def test_without_the_library_parquet_is_refused_and_says_what_to_do(self, api: Api, tmp_path: Path) -> None:
        file = tmp_path / "x.parquet"
        async with listening(api) as server:
            with patch.dict(sys.modules, {"pyarrow": None}):
                refused = await export(server, "flows", "-o", str(file))
        assert refused.exit_code == 1
        assert "pyarrow" in refused.output
        assert "flowc[learn]" in refused.output
        assert not file.exists()

    async def test_a_file_is_all_there_or_as_it_was(
        self, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(export_command, "PAGE", 2)
        monkeypatch.setattr(export_command, "PATIENCE", (0.0, 0.0))
        await some_history(api)
        folder = tmp_path / "exports"
        folder.mkdir()
        file = folder / "t.csv"
        file.write_text("as it was")
        async with listening(api) as server:
            through, asked = server.answer, 0

            async def breaking(request: Request) -> Answer:
                nonlocal asked
                asked += 1
                away = {"title": "Service Unavailable", "status": 503, "detail": "away", "code": "unavailable"}
                problem = Answer(503, json.dumps(away).encode(), {"content-type": "application/problem+json"})
                return problem if asked > 2 else await through(request)

            server.answer = breaking
            failed = await export(server, "tickets", "--out", str(file))
            assert failed.exit_code == 1, failed.output
            assert "away" in failed.output
            assert (file.read_text(), [*folder.iterdir()]) == ("as it was", [file])
            # Away for a moment alone, it goes on where it was.
            asked = 1
            server.answer = _away_once(through)
            assert (await export(server, "tickets", "--out", str(file))).exit_code == 0
        assert len(file.read_text().splitlines()) == 1 + sum(SIZES)
        assert [*folder.iterdir()] == [file]

    @pytest.mark.parametrize(
        "arguments",
        [
            ("nothing",),
            ("flows", "--since", "soon"),
            ("flows", "--since", "999999d"),
            ("flows", "--format", "xml"),
            ("flows", "--format", "parquet"),
            ("flows", "--out", "/no/such/folder/x.csv"),
            ("flows", "--out", "/"),
        ],
    )
    async def test_what_cannot_be_meant_is_refused(self, api: Api, arguments: tuple[str, ...]) -> None:
        async with listening(api) as server:
            assert (await export(server, *arguments)).exit_code == 2


def _away_once(through: Any) -> Any:
    first = True

    async def answer(request: Request) -> Answer:
        nonlocal first
        was_first, first = first, False
        limited = {"title": "Too Many Requests", "status": 429, "detail": "too many", "code": "rate_limited"}
        return Answer(429, json.dumps(limited).encode()) if was_first else await through(request)

    return answer

"""The hot list over HTTP and on the command line, over each store."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from functions._adapters.stores import Stores
from functions._cli.app import app
from functions._core.records.values import FlowStatus, Outcome, TicketStatus, Waiting
from functions.api import stuck
from tests.integration.test_stuck import FAR, put, waiting_flow, waiting_ticket
from tests.support.builders import T0, make_flow
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, running_api
from tests.support.one_machine import one_machine
from tests.support.world import decision, task, until

HOT = "/api/v1/hot-list"
HOUR = timedelta(hours=1)


class HotListSuite:
    @pytest.fixture
    async def api(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, stores=stores) as running:
            yield running

    async def test_open_tickets_are_listed_by_critical_start_time(self, api: Api) -> None:
        now = api.world.ports.clock.now()
        one, two = waiting_flow(api, 1), waiting_flow(api, 2)
        phases = [{"status": FlowStatus.PAUSED, "entered_at": now - HOUR}]
        paused = waiting_flow(api, 3, status=FlowStatus.PAUSED, phases=phases)
        first = waiting_ticket(api, one, 1, 2 * HOUR, labels={"team": "red"})
        behind = waiting_ticket(
            api,
            one,
            2,
            3 * HOUR,
            waiting=Waiting.DEPENDENCIES,
            dependencies=(first.ticket_id,),
            open_dependencies=1,
            labels={"team": "red"},
        )
        late = waiting_ticket(api, two, 1, -HOUR / 2, critical=True, late=True)
        held = waiting_ticket(
            api, two, 2, -HOUR / 4, status=TicketStatus.RUNNING, waiting=None, worker_id="w9", attempt=1
        )
        stands = waiting_ticket(api, paused, 1, -HOUR / 4, waiting=Waiting.RESUME)
        await put(api, one, first, behind)
        await put(api, two, late, held)
        await put(api, paused, stands)
        ended = make_flow(4, status=FlowStatus.COMPLETED, outcome=Outcome.COMPLETED, ended_at=T0)
        await put(api, ended, waiting_ticket(api, ended, 1, -HOUR, status=TicketStatus.COMPLETED, waiting=None))
        found = await api.get(HOT)
        order = [late, held, stands, first, behind]  # the held one has until the end of its share, 45 minutes from now
        assert [item["ticket_id"] for item in found["items"]] == [ticket.ticket_id for ticket in order]
        starts = [item["critical_start"] for item in found["items"]]
        assert starts == sorted(starts)
        assert (found["tickets"], found["complete"]) == (5, True)
        told = found["items"][0]
        assert (told["critical"], told["late"], told["slack_state"]) == (True, True, "at_risk")
        assert found["items"][2]["sla_paused"]
        assert found["items"][4]["waits_for"] == "1 of its 1 dependency"
        red = await api.get(f"{HOT}?labels=team:red&limit=1")
        assert [item["ticket_id"] for item in red["items"]] == [first.ticket_id]
        soon = await api.get(f"{HOT}?within_seconds=3600")
        assert [item["ticket_id"] for item in soon["items"]] == [one.ticket_id for one in order[:3]]


class TestOnMemory(OnMemory, HotListSuite): ...


class TestOnSqlite(OnSqlite, HotListSuite): ...


class TestOnPostgres(OnPostgres, HotListSuite): ...


class TestOnDynamo(OnDynamo, HotListSuite): ...


async def test_a_look_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stuck, "LOOKED_AT", 8)
    monkeypatch.setattr(stuck, "PAGE", 3)
    async with running_api(tmp_path) as api:
        flow = waiting_flow(api, 1)
        await put(api, flow, *(waiting_ticket(api, flow, number, FAR) for number in range(1, 21)))
        found = await api.get(f"{HOT}?limit=2")
        assert (found["tickets"], found["complete"], len(found["items"])) == (8, False, 2)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=501", 422),
        ("within_seconds=-1", 422),
        ("within_seconds=99999999999999999999", 422),
        ("within_seconds=nan", 422),
        ("labels=x", 422),
        ("labels=" + "x" * 10_000, 422),
        ("labels=a:%00", 422),
        ("&".join(["labels=a:b"] * 6), 422),
        ("label=a:b", 400),
    ],
)
async def test_hostile_questions_are_refused(tmp_path: Path, query: str, status: int) -> None:
    async with running_api(tmp_path) as api:
        assert (await api.client.get(f"{HOT}?{query}")).status_code == status


async def test_the_command_prints_it(tmp_path: Path) -> None:
    async with one_machine(tmp_path) as platform:
        runner = CliRunner()

        async def flowc(*words: str) -> str:
            url = ["--url", platform.url]
            result = await asyncio.to_thread(runner.invoke, app, ["hot", *words, *url], env={"COLUMNS": "200"})
            assert result.exit_code == 0, result.output
            return result.output

        assert "nothing is open" in await flowc()
        labels = {"team": "red"}
        flow_id = await platform.submit(decision(task("first"), task("last", "first"), labels=labels))

        async def listed() -> str | None:
            found = await flowc("--label", "team=red", "--within", "5h")
            return found if "last" in found else None

        text = await until(listed, "its tickets")
        assert f"{flow_id}/first" in text
        assert text.index(f"{flow_id}/first") < text.index(f"{flow_id}/last")
        assert "1 of its 1 dependency" in text
        assert "nothing is open" in await flowc("--label", "team=blue")
        assert '"items"' in await flowc("--json")

"""What is stuck across all flows, over each store: the same words as `why`, groups, bounds."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.stores import Stores
from functions._core.records.models import Flow, Ticket
from functions._core.records.policies import Sla
from functions._core.records.values import FlowStatus, Outcome, TicketStatus, Waiting
from functions.api import stuck
from tests.support.builders import T0, make_flow, make_step, make_ticket, make_worker
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, running_api

STUCK = "/api/v1/stuck"
FAR = timedelta(days=1)


def waiting_flow(api: Api, number: int, **changes: Any) -> Flow:
    """Build a flow that the platform leaves alone during a test."""
    now = api.world.ports.clock.now()
    given = {"status": FlowStatus.EXECUTING, "sla_deadline": now + FAR, "next_wakeup_at": now + FAR}
    return make_flow(number, **given | changes)


def waiting_ticket(api: Api, flow: Flow, number: int, slack: timedelta, **changes: Any) -> Ticket:
    now = api.world.ports.clock.now()
    given = {
        "latest_start": now + slack,
        "sla": Sla(deadline=now + slack + timedelta(hours=1), timeout_ms=180_000, max_retries=2),
        "waiting": Waiting.WORKER,
        "waiting_since": T0,
        "next_wakeup_at": now + FAR,
        "until": now + FAR,
        "required_capabilities": ("terraform",),
    }
    return make_ticket(flow, number, **given | changes)


async def put(api: Api, flow: Flow, *tickets: Ticket) -> None:
    await api.world.ports.store.commit(make_step(flow, *tickets))


class StuckSuite:
    @pytest.fixture
    async def api(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, stores=stores) as running:
            yield running

    async def test_what_waits_is_listed_with_the_worst_slack_first_and_in_the_words_of_why(self, api: Api) -> None:
        now = api.world.ports.clock.now()
        one, two = waiting_flow(api, 1), waiting_flow(api, 2)
        paused = waiting_flow(api, 3, status=FlowStatus.PAUSED)
        first = waiting_ticket(api, one, 1, timedelta(hours=2))
        behind = waiting_ticket(
            api, one, 2, timedelta(hours=3), waiting=Waiting.DEPENDENCIES, dependencies=(first.ticket_id,)
        )
        late = waiting_ticket(api, two, 1, timedelta(hours=-1))
        held = waiting_ticket(
            api,
            two,
            2,
            timedelta(),
            status=TicketStatus.RUNNING,
            waiting=None,
            worker_id="w9",
            attempt=1,
            progress=40.0,
            assigned_at=now,
            acknowledged_at=now,
            started_at=now,
        )
        await put(api, one, first, behind)
        await put(api, two, late, held)
        await put(api, paused)
        await put(api, make_flow(4, status=FlowStatus.COMPLETED, outcome=Outcome.COMPLETED, ended_at=T0))
        found = await api.get(STUCK)
        told = [(item["ticket_id"] or item["flow_id"]) for item in found["items"]]
        assert told[0] == late.ticket_id
        assert set(told) == {late.ticket_id, first.ticket_id, held.ticket_id, paused.flow_id}
        slacks = [item["slack_ms"] for item in found["items"]]
        assert slacks == sorted(slacks)
        assert (found["waiting"], found["tickets"], found["flows"], found["complete"]) == (4, 4, 1, True)
        for item, record_id in zip(found["items"], told, strict=True):
            why = await api.get(f"/api/v1/why/{record_id}")
            assert {name: item[name] for name in ("headline", "waits_for", "since", "next_wakeup_at", "status")} == {
                name: why[name] for name in ("headline", "waits_for", "since", "next_wakeup_at", "status")
            }
        texts = [group["text"] for group in found["groups"]]
        assert texts[0] == "2 tickets wait for a worker that offers 'terraform': nobody offers it."
        assert "1 ticket waits for worker w9 to report its end." in texts
        assert "1 flow waits for a person to resume it." in texts
        group = found["groups"][0]
        assert (group["count"], group["flows"], group["examples"]) == (2, 2, [late.ticket_id, first.ticket_id])
        assert group["slack_ms"] == slacks[0]

    async def test_a_group_names_the_capability_that_is_missing(self, api: Api) -> None:
        flow = waiting_flow(api, 1)
        needs = ("python", "terraform")
        await put(api, flow, waiting_ticket(api, flow, 1, FAR, required_capabilities=needs))
        await api.world.ports.registry.put(
            make_worker(
                capabilities=("python",),
                last_seen=api.world.ports.clock.now(),
                next_wakeup_at=api.world.ports.clock.now() + FAR,
            )
        )

        async def texts() -> list[str]:
            return [group["text"] for group in (await api.get(STUCK))["groups"]]

        assert await texts() == [
            "1 ticket waits for a worker that offers 'python' and 'terraform': nobody offers 'terraform'."
        ]

    async def test_nothing_that_waits_is_an_empty_list(self, api: Api) -> None:
        found = await api.get(STUCK)
        del found["checked_at"]
        assert found == {"items": [], "groups": [], "waiting": 0, "tickets": 0, "flows": 0, "complete": True}


class TestOnMemory(OnMemory, StuckSuite): ...


class TestOnSqlite(OnSqlite, StuckSuite): ...


class TestOnPostgres(OnPostgres, StuckSuite): ...


class TestOnDynamo(OnDynamo, StuckSuite): ...


async def test_a_look_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stuck, "LOOKED_AT", 8)
    monkeypatch.setattr(stuck, "FLOWS", 2)
    monkeypatch.setattr(stuck, "PAGE", 3)
    async with running_api(tmp_path) as api:
        flow = waiting_flow(api, 1)
        await put(api, flow, *(waiting_ticket(api, flow, number, FAR) for number in range(1, 21)))
        found = await api.get(f"{STUCK}?limit=2")
        assert (found["tickets"], found["complete"], len(found["items"])) == (8, False, 2)
        assert found["groups"][0]["count"] == 8
        for number in (2, 3, 4):
            await put(api, waiting_flow(api, number, status=FlowStatus.PAUSED))
        assert (await api.get(STUCK))["flows"] == 2


@pytest.mark.parametrize(("query", "status"), [("limit=0", 422), ("limit=501", 422), ("limit=x", 422), ("all=1", 400)])
async def test_hostile_questions_are_refused(tmp_path: Path, query: str, status: int) -> None:
    async with running_api(tmp_path) as api:
        assert (await api.client.get(f"{STUCK}?{query}")).status_code == status


async def test_foreign_text_is_told_on_one_line_and_makes_a_bounded_number_of_groups(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        flow = waiting_flow(api, 1)
        tickets = [
            waiting_ticket(api, flow, number, FAR, required_capabilities=(f"x\n\x1b[31m{number}" + "y" * 300,))
            for number in range(1, 151)
        ]
        await put(api, flow, *tickets)
        found = await api.get(f"{STUCK}?limit=1")
        assert (len(found["groups"]), found["waiting"]) == (100, 150)
        assert all(text.isprintable() and len(text) < 400 for text in (group["text"] for group in found["groups"]))

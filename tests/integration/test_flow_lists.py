"""The list of flows by every filter, over each store."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from functions._adapters.stores import Stores
from functions._core.records.models import Flow, Reason
from functions._core.records.values import FlowStatus, Outcome, Priority, SlackState, TicketStatus
from functions.api import flow_search
from tests.support.builders import T0, make_flow, make_step, make_ticket, seconds
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, problem_of, running_api

FLOWS = "/api/v1/flows"


async def numbers(api: Api, **asked: Any) -> list[int]:
    """Return the numbers of the flows of all pages."""
    found: list[int] = []
    cursor: str | None = None
    while True:
        query = urlencode(asked | ({"cursor": cursor} if cursor else {}), doseq=True)
        page = await api.get(f"{FLOWS}?{query}")
        assert len(page["items"]) <= asked.get("limit", 100)
        found += [int(flow["decision_id"].rpartition("-")[2]) for flow in page["items"]]
        cursor = page["cursor"]
        if cursor is None:
            return found


async def put(api: Api, *flows: Flow) -> None:
    for flow in flows:
        await api.world.ports.store.commit(make_step(flow))


def ended(number: int, **changes: Any) -> Flow:
    return make_flow(number, **{"status": FlowStatus.COMPLETED, "outcome": Outcome.COMPLETED, "ended_at": T0} | changes)


class FlowListsSuite:
    @pytest.fixture
    async def api(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, stores=stores) as running:
            yield running

    async def test_each_filter_finds_its_flows_and_several_find_what_all_fit(self, api: Api) -> None:
        await put(
            api,
            ended(1, plan_id="nightly@1.2.0", priority=Priority.HIGH),
            ended(2, plan_id="nightly@1.3.0", intent_id="sell more", labels={"team": "Pay"}),
            ended(3, plan_id="nightly-2@1.0.0", correlation_id="order-7"),
            ended(4, status=FlowStatus.FAILED, reasons=(Reason(code="no_worker", message="Nobody offers Terraform."),)),
            ended(5, status=FlowStatus.CANCELLED, received_at=T0 + seconds(10)),
        )
        assert await numbers(api, plan="nightly") == [2, 1]
        assert await numbers(api, plan="nightly@1.2.0") == [1]
        assert await numbers(api, plan="night") == []
        assert await numbers(api, intent="sell more") == [2]
        assert await numbers(api, correlation="order-7") == [3]
        assert await numbers(api, decision="decision-4") == [4]
        assert await numbers(api, decision="decision-4", status="completed") == []
        assert await numbers(api, decision="decision-2", label="team:Pay") == [2]
        assert await numbers(api, decision="decision-2", label="team:pay") == []
        assert await numbers(api, decision="decision-9") == []
        assert await numbers(api, priority="high") == [1]
        assert await numbers(api, status=["failed", "CANCELLED"]) == [5, 4]
        assert await numbers(api, status=["failed", "CANCELLED"], since="2025-03-01T12:00:10Z") == [5]
        assert await numbers(api, until="2025-03-01T12:00:10Z") == [4, 3, 2, 1]
        assert await numbers(api, since="2025-03-01T12:00:00Z", until="2025-03-01T12:00:00Z") == []
        assert await numbers(api, plan="nightly", label="team:Pay") == [2]

    async def test_a_text_is_found_in_ids_labels_and_reasons_in_any_case(self, api: Api) -> None:
        await put(
            api,
            ended(1, plan_id="Straße", reasons=(Reason(code="no_worker", message="Nobody offers Terraform."),)),
            ended(2, labels={"team": "Pay"}),
            ended(3, intent_id="100%_done"),
        )
        assert await numbers(api, text="STRASSE") == [1]
        assert await numbers(api, text="offers terra") == [1]
        assert await numbers(api, text="NO_WORKER") == [1]
        assert await numbers(api, text="team:pay") == [2]
        assert await numbers(api, text="%") == [3]
        assert await numbers(api, text="0%_d") == [3]
        assert await numbers(api, text="decision-") == [3, 2, 1]
        assert await numbers(api, text=".*") == []
        assert await numbers(api, text="' OR 1=1 --") == []

    async def test_flows_at_risk_are_those_without_an_outcome_that_may_be_late_or_are(self, api: Api) -> None:
        now = api.world.ports.clock.now()
        in_time = {"sla_deadline": now + timedelta(hours=4), "status": FlowStatus.PAUSED}
        in_time["next_wakeup_at"] = now + timedelta(hours=2)
        await put(
            api,
            make_flow(1, **in_time),
            make_flow(2, **in_time, announced=SlackState.AT_RISK),
            make_flow(3, **in_time | {"sla_limit": now - timedelta(hours=1)}),
            ended(4, announced=SlackState.AT_RISK, sla_deadline=T0 - seconds(1)),
        )
        assert await numbers(api, at_risk="true") == [3, 2]
        assert await numbers(api, at_risk="false") == [4, 1]
        rows = (await api.get(FLOWS))["items"]
        assert [row["sla_state"] for row in rows] == ["breached", "breached", "at_risk", "on_track"]
        assert [row["sla_violated"] for row in rows] == [True, True, False, False]

    async def test_a_row_has_what_a_list_shows_and_tickets_are_counted_when_asked_for(self, api: Api) -> None:
        now = api.world.ports.clock.now()
        flow = make_flow(
            1,
            status=FlowStatus.PAUSED,
            sla_deadline=T0 + timedelta(hours=4),
            sla_limit=now + timedelta(hours=1),
            next_wakeup_at=now + timedelta(hours=1),
            tickets_generated=2,
        )
        done = make_ticket(flow, 1, status=TicketStatus.COMPLETED, completed_at=T0, next_wakeup_at=None)
        waits = make_ticket(flow, 2, next_wakeup_at=now + timedelta(hours=1))
        await api.world.ports.store.commit(make_step(flow, done, waits))
        (row,) = (await api.get(f"{FLOWS}?tally=true&limit=500"))["items"]
        assert {name: number for name, number in row["tally"].items() if number} == {"COMPLETED": 1, "PENDING": 1}
        assert row["sla_total_ms"] == 4 * 3_600_000
        shown = {"sla_deadline", "received_at", "ended_at", "announced", "risk_band", "priority", "tickets_generated"}
        assert shown <= row.keys()
        assert (await api.get(FLOWS))["items"][0]["tally"] == {}

    async def test_pages_end_exactly_although_flows_between_do_not_fit(self, api: Api) -> None:
        for number in range(1, 31):
            intent = "odd" if number % 2 else "even"
            await put(api, ended(number, intent_id=intent, received_at=T0 + seconds(number)))
        expected = [*range(29, 0, -2)]
        for limit in (1, 2, 7, 15, 100):
            assert await numbers(api, intent="odd", limit=limit) == expected
        since = (T0 + seconds(21)).isoformat()
        assert await numbers(api, intent="odd", since=since, limit=2) == [29, 27, 25, 23, 21]


class TestOnMemory(OnMemory, FlowListsSuite): ...


class TestOnSqlite(OnSqlite, FlowListsSuite): ...


class TestOnPostgres(OnPostgres, FlowListsSuite): ...


class TestOnDynamo(OnDynamo, FlowListsSuite): ...


class TestBounds(OnMemory):
    @pytest.fixture
    async def api(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, stores=stores) as running:
            yield running

    async def test_a_request_looks_at_a_bounded_number_and_its_cursor_goes_on(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(flow_search, "LOOKED_AT", 10)
        monkeypatch.setattr(flow_search, "PAGE", 4)
        await put(api, *(ended(number, intent_id="x" if number == 1 else "y") for number in range(1, 26)))
        asked = []
        views = api.world.ports.views
        look = views.flows

        async def counted(**more: Any) -> Any:
            asked.append(more["limit"])
            return await look(**more)

        monkeypatch.setattr(views, "flows", counted)
        first = await api.get(f"{FLOWS}?intent=x")
        assert (first["items"], asked) == ([], [4, 4, 2])
        second = await api.get(f"{FLOWS}?intent=x&cursor={first['cursor']}")
        third = await api.get(f"{FLOWS}?intent=x&cursor={second['cursor']}")
        assert (second["items"], len(third["items"]), third["cursor"]) == ([], 1, None)

    async def test_a_look_ends_at_flows_that_are_older_than_asked_for(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(flow_search, "PAGE", 2)
        await put(api, *(ended(number, received_at=T0 + timedelta(hours=number)) for number in range(1, 11)))
        page = await api.get(f"{FLOWS}?{urlencode({'since': (T0 + timedelta(hours=9)).isoformat()})}")
        assert [flow["decision_id"] for flow in page["items"]] == ["decision-10", "decision-9"]
        assert page["cursor"] is None

    async def test_flows_that_arrive_between_two_looks_do_not_make_a_page_longer(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await put(api, *(ended(number, intent_id="x") for number in range(1, 6)))
        views, fresh = api.world.ports.views, iter(range(6, 100))
        look = views.flows

        async def with_arrivals(**more: Any) -> Any:
            page = await look(**more)
            await put(api, ended(next(fresh), intent_id="x"))
            return page

        monkeypatch.setattr(views, "flows", with_arrivals)
        page = await api.get(f"{FLOWS}?intent=x&limit=3")
        assert len(page["items"]) == 3
        cursor, seen = page["cursor"], [flow["decision_id"] for flow in page["items"]]
        monkeypatch.setattr(views, "flows", look)
        rest = await api.get(f"{FLOWS}?intent=x&limit=100&cursor={cursor}")
        assert len({*seen, *(flow["decision_id"] for flow in rest["items"])}) == len(seen) + len(rest["items"])
        assert rest["items"][-1]["decision_id"] == "decision-1"

    @pytest.mark.parametrize(
        "query",
        [
            "status=nothing",
            "&".join(["status=failed"] * 100),
            "priority=9x",
            "plan=%00",
            "intent=" + "x" * 256,
            "text=",
            "text=%0a",
            "text=" + "x" * 201,
            "since=yesterday",
            "since=NaN",
            "since=2025-03-02T00:00:00Z&until=2025-03-01T00:00:00Z",
            "since=99999-01-01T00:00:00Z",
            "at_risk=perhaps",
            "tally=2",
        ],
    )
    async def test_hostile_filters_are_refused(self, api: Api, query: str) -> None:
        assert (await api.client.get(f"{FLOWS}?{query}")).status_code == 422

    @pytest.mark.parametrize("cursor", ["x", "-1", "9" * 30, "1;DROP", "%F0%9F%92%A9"])
    @pytest.mark.parametrize("filters", ["intent=x", "status=failed&status=completed", "decision=d"])
    async def test_what_is_no_cursor_is_refused(self, api: Api, cursor: str, filters: str) -> None:
        problem_of(await api.client.get(f"{FLOWS}?{filters}&cursor={cursor}"), 400, "invalid_cursor")

    async def test_extreme_moments_are_answered(self, api: Api) -> None:
        await put(api, ended(1))
        assert await numbers(api, since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59Z") == [1]
        assert await numbers(api, since="9999-12-31T23:59:59Z") == []

"""Error budgets over HTTP: the newest one, its course and where it is heading, burn rates, how all of them stand."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import FlowcError, Rejected, Unavailable
from functions._core.records.values import format_time
from functions._core.slo import stored
from functions._core.slo.budget import ErrorBudget
from functions._core.slo.definition import Slo
from functions.api import metrics_state
from tests.support.http_api import Api, problem_of, running_api
from tests.support.slos import FORM, POLICY, budget_at, put_budget

BUDGETS, SLOS = "/api/v1/budgets", "/api/v1/slos"
JSON = {"content-type": "application/json"}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def an_slo(api: Api, **form: Any) -> Slo:
    answer = await api.client.post(SLOS, json={**FORM, **form})
    assert answer.status_code == 201, answer.text
    found = await stored.slo(api.world.ports.key_values, answer.json()["slo_id"])
    assert found is not None
    return found


async def calculated(api: Api, slo: Slo, good: float = 0.995, ago: timedelta = timedelta()) -> ErrorBudget:
    budget = budget_at(slo, api.world.ports.clock.now() - ago, good)
    await put_budget(api.world.ports.key_values, budget)
    return budget


async def get(api: Api, path: str) -> Any:
    answer = await api.client.get(f"{BUDGETS}{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_while_its_history_is_counted_an_slo_has_no_budget_and_the_answer_says_how_far_it_is(api: Api) -> None:
    slo = await an_slo(api, window_days=7, sli_query={"history": {"measure": "flow_success"}})
    path = f"{BUDGETS}/{slo.slo_id}"
    problem = problem_of(await api.client.get(path), 404, "unknown_budget")
    assert "is still counted: of its last 7d what ended since 20" in problem["detail"]
    found = await api.client.post(f"{path}/recalculate", headers=JSON)
    assert (found.json()["sample_count"], found.json()["error_budget_remaining"]) == (0, 100)
    assert (await get(api, f"/{slo.slo_id}"))["status"] == "HEALTHY"


async def test_the_newest_budget_is_returned_and_there_is_none_before_the_first(api: Api) -> None:
    slo = await an_slo(api)
    problem_of(await api.client.get(f"{BUDGETS}/{slo.slo_id}"), 404, "unknown_budget")
    problem_of(await api.client.get(f"{BUDGETS}/nothing"), 404, "unknown_slo")
    await calculated(api, slo, 0.5, HOUR)
    await calculated(api, slo, 0.998)
    shown = await get(api, f"/{slo.slo_id}")
    assert (shown["error_budget_remaining"], shown["status"], shown["sli_value"]) == (80, "HEALTHY", 0.998)


async def test_budgets_are_listed_by_service_and_status_in_pages(api: Api) -> None:
    ids = {}
    for name, service, good in (("a", "shop", 1), ("b", "shop", 0.99), ("c", "bank", 0.99), ("d", "bank", 0.9925)):
        slo = await an_slo(api, name=name, service_name=service)
        await calculated(api, slo, good)
        ids[slo.slo_id] = name
    gone = await an_slo(api, name="gone")
    await calculated(api, gone, 0.9)
    await api.client.delete(f"{SLOS}/{gone.slo_id}", headers=JSON)

    async def names(query: str) -> str:
        return "".join(sorted(ids[one["slo_id"]] for one in (await get(api, query))["items"]))

    assert (await names("?service_name=bank"), await names("?status=exhausted")) == ("cd", "bc")
    assert (await names("?service_name=shop&status=EXHAUSTED"), await names("")) == ("b", "abcd")
    first = await get(api, "?limit=3")
    second = await get(api, f"?limit=3&cursor={first['cursor']}")
    assert [one["slo_id"] for one in (*first["items"], *second["items"])] == sorted(ids)
    problem_of(await api.client.get(f"{BUDGETS}?status=FINE"), 422, "invalid_data")


async def test_the_summary_counts_by_status_and_is_no_slo(api: Api) -> None:
    assert await get(api, "/summary") == {
        "total": 0,
        "healthy": 0,
        "warning": 0,
        "critical": 0,
        "exhausted": 0,
        "without_budget": 0,
        "average_remaining_percent": None,
    }
    for name, good in (("a", 0.9991), ("b", 0.998), ("c", 0.995), ("d", 0.9915)):
        await calculated(api, await an_slo(api, name=name), good)
    await an_slo(api, name="e")
    assert await get(api, "/summary") == {
        "total": 4,
        "healthy": 2,
        "warning": 1,
        "critical": 1,
        "exhausted": 0,
        "without_budget": 1,
        "average_remaining_percent": 59,
    }


class TestHistory:
    async def test_so_many_calculations_are_so_many_points_in_their_range(self, api: Api) -> None:
        slo = await an_slo(api)
        now = api.world.ports.clock.now()
        for hours in range(10):
            await calculated(api, slo, 1 - hours / 1000, timedelta(hours=hours, seconds=1))
        path = f"/{slo.slo_id}/history?aggregation=none"
        found = await get(api, path)
        assert [one["remaining"] for one in found["items"]] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
        since, until = (format_time(now - timedelta(hours=hours)) for hours in (5.5, 2.5))
        part = await get(api, f"{path}&from={since}&to={until}")
        assert [one["remaining"] for one in part["items"]] == [50, 60, 70]
        assert (part["since"], part["until"], part["next_from"]) == (since, until, None)

    async def test_a_limit_says_from_where_on_there_are_more(self, api: Api) -> None:
        slo = await an_slo(api)
        for minutes in range(7):
            await calculated(api, slo, 1 - minutes / 1000, timedelta(minutes=minutes, seconds=1))
        path = f"/{slo.slo_id}/history?aggregation=none&limit=3"
        seen: list[float] = []
        more: str | None = ""
        while more is not None:
            page = await get(api, f"{path}{more and f'&from={more}'}")
            seen += [one["remaining"] for one in page["items"]]
            more = page["next_from"]
        assert seen == [40, 50, 60, 70, 80, 90, 100]

    async def test_an_hour_and_a_day_become_one_point(self, api: Api) -> None:
        slo, entries = await an_slo(api), api.world.ports.key_values
        start = (api.world.ports.clock.now() - 3 * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
        for number in range(72):  # each 20 minutes of a day
            await put_budget(
                entries, budget_at(slo, start + number * HOUR / 3, 1 - number % 3 / 200, h1=1 - number / 1e4)
            )
        span = f"from={format_time(start)}&to={format_time(start + DAY)}"
        hourly = (await get(api, f"/{slo.slo_id}/history?{span}"))["items"]
        assert len(hourly) == 24
        assert hourly[1] == {
            "at": format_time(start + HOUR),
            "sli_value": 0.995,
            "remaining": 50,
            "remaining_min": 0,
            "remaining_max": 100,
            "consumed": 50,
            "status": "EXHAUSTED",
            "burn_rate": 0.05,
            "calculations": 3,
        }
        daily = (await get(api, f"/{slo.slo_id}/history?{span}&aggregation=DAILY"))["items"]
        assert [(one["at"], one["calculations"]) for one in daily] == [(format_time(start), 72)]

    @pytest.mark.parametrize(
        ("goods", "direction", "change"),
        [((0.99, 0.995), "IMPROVING", 50), ((0.999, 0.991), "DEGRADING", -80), ((0.995, 0.99505), "STEADY", 0.5)],
    )
    async def test_trends_say_where_a_budget_is_heading(
        self, api: Api, goods: tuple[float, float], direction: str, change: float
    ) -> None:
        slo = await an_slo(api)
        await calculated(api, slo, goods[0], 2 * DAY)
        await calculated(api, slo, goods[1])
        trends = (await get(api, f"/{slo.slo_id}/history?aggregation=none"))["trends"]
        assert (trends["direction"], trends["change"]) == (direction, pytest.approx(change))
        assert trends["change_per_day"] == pytest.approx(change / 2, rel=1e-3)
        assert (await get(api, f"/{slo.slo_id}/history?include_trends=false"))["trends"] is None

    @pytest.mark.parametrize(
        "query",
        [
            "days=0",
            "days=91",
            "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            "from=2025-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
            "from=2026-01-01T00:00:00Z&days=3",
            "from=yesterday",
            "aggregation=weekly",
            "limit=0",
            "limit=2501",
        ],
    )
    async def test_a_span_or_a_bound_that_is_none_is_refused(self, api: Api, query: str) -> None:
        slo = await an_slo(api)
        answer = await api.client.get(f"{BUDGETS}/{slo.slo_id}/history?{query}")
        assert answer.json()["code"] in {"invalid_data", "invalid_filter"}, answer.text
        assert answer.status_code == 422

    async def test_a_span_at_the_ends_of_the_calendar_is_answered(self, api: Api) -> None:
        slo = await an_slo(api)
        for span in ("to=0001-01-01T00:00:00Z", "from=9999-12-31T00:00:00Z&to=9999-12-31T23:59:59.999Z"):
            assert (await get(api, f"/{slo.slo_id}/history?{span}"))["items"] == []


class TestMeasuring:
    """Over a server of metrics that answers as it is told."""

    class Server:
        """The server."""

        def __init__(self) -> None:
            self.asked: list[str] = []
            self.answer: float | FlowcError | None = 0.994

        async def value(self, query: str, _aggregation: object, _at: datetime | None = None) -> float | None:
            self.asked.append(query)
            if isinstance(self.answer, FlowcError):
                raise self.answer
            return self.answer

    @pytest.fixture
    async def server(self, api: Api) -> "TestMeasuring.Server":
        server = self.Server()
        services = api.app.state.services
        ports = replace(services.ports, metrics_server=server)
        api.app.state.services = replace(services, ports=ports)
        api.world.platform.budgets._ports = ports  # noqa: SLF001 the settings name none here
        return server

    async def test_a_burn_rate_is_the_share_of_errors_as_a_multiple_of_the_allowed_one(
        self, api: Api, server: Server
    ) -> None:
        slo = await an_slo(api, target=0.999, sli_query={"query": "good[{{window}}]"})
        await put_budget(api.world.ports.key_values, budget_at(slo, api.world.ports.clock.now(), 0.9995))
        found = await get(api, f"/{slo.slo_id}/burn-rate?window_hours=6")
        assert (found["error_rate"], found["rate"], found["level"]) == (0.006, 6, "FAST")
        left = datetime.fromisoformat(found["estimated_exhaustion"]) - datetime.fromisoformat(found["measured_at"])
        assert (left, server.asked) == (timedelta(hours=60), ["good[6h]"])

    async def test_a_test_measures_and_stores_nothing(self, api: Api, server: Server) -> None:
        slo = await an_slo(api, window_days=7, sli_query={"query": "good[{{window}}]"})
        found = await api.client.post(f"{SLOS}/{slo.slo_id}/test", headers=JSON)
        assert (found.json()["sli_value"], found.json()["met"], found.json()["window_days"]) == (0.994, True, 7)
        assert (found.json()["error_budget_remaining"], server.asked) == (40, ["good[7d]"])
        problem_of(await api.client.get(f"{BUDGETS}/{slo.slo_id}"), 404, "unknown_budget")
        rates = await an_slo(api, name="error rate", target=0.5, sli_query={"query": "bad"})
        found = await api.client.post(f"{SLOS}/{rates.slo_id}/test", headers=JSON)
        assert (found.json()["sli_value"], found.json()["met"]) == (0.006, False)

    @pytest.mark.usefixtures("server")
    async def test_without_the_cache_a_budget_is_measured_now_and_not_stored(self, api: Api) -> None:
        slo = await an_slo(api, sli_query={"query": "good[{{window}}]"})
        await calculated(api, slo, 0.99)
        fresh = await get(api, f"/{slo.slo_id}?use_cache=false")
        assert (fresh["error_budget_remaining"], fresh["status"], len(fresh["burn_rates"])) == (40, "WARNING", 3)
        assert (await get(api, f"/{slo.slo_id}"))["error_budget_remaining"] == 0

    @pytest.mark.usefixtures("server")
    async def test_a_recalculation_is_a_new_budget_at_once_and_freezes(self, api: Api) -> None:
        slo = await an_slo(api, sli_query={"query": "good"})
        await api.client.post("/api/v1/policies", json={**POLICY, "trigger_threshold_percent": 50})
        before = await calculated(api, slo, 1, HOUR)
        answer = await api.client.post(f"{BUDGETS}/{slo.slo_id}/recalculate?requested_by=ada", headers=JSON)
        assert (answer.status_code, answer.json()["error_budget_remaining"]) == (200, 40)
        assert answer.json()["calculated_at"] > format_time(before.calculated_at)
        assert (await get(api, f"/{slo.slo_id}"))["budget_id"] == answer.json()["budget_id"]
        assert (await api.client.get("/api/v1/freeze-status/shop")).json()["frozen"] is True

    @pytest.mark.parametrize(
        ("answer", "status", "code"),
        [
            (None, 409, "no_data"),
            (Unavailable("refused"), 504, "metrics_away"),
            (Rejected("parse error", code="metrics_query_failed", status=502), 502, "metrics_query_failed"),
            (7.0, 502, "metrics_query_failed"),
        ],
    )
    async def test_what_the_server_says_is_told_and_the_last_budget_stays(
        self, api: Api, server: Server, answer: float | FlowcError | None, status: int, code: str
    ) -> None:
        slo = await an_slo(api, sli_query={"query": "good"})
        await calculated(api, slo, 0.998)
        server.answer = answer
        for method, path in (
            ("POST", f"{SLOS}/{slo.slo_id}/test"),
            ("POST", f"{BUDGETS}/{slo.slo_id}/recalculate"),
            ("GET", f"{BUDGETS}/{slo.slo_id}/burn-rate"),
            ("GET", f"{BUDGETS}/{slo.slo_id}?use_cache=false"),
        ):
            problem_of(await api.client.request(method, path, headers=JSON), status, code)
        assert (await get(api, f"/{slo.slo_id}"))["error_budget_remaining"] == 80

    async def test_the_platform_is_ready_and_says_how_the_server_stands(
        self, api: Api, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(metrics_state, "FRESH", timedelta())
        for answer, state in (
            (1.0, "answers"),
            (Unavailable("refused"), "away"),
            (Rejected("no", code="metrics_query_failed", status=502), "refuses"),
        ):
            server.answer = answer
            ready = await api.client.get("/ready")
            assert (ready.status_code, ready.json()["metrics_server"]) == (200, state)
        monkeypatch.undo()
        before = len(server.asked)
        await asyncio.gather(*(api.client.get("/ready") for _ in range(9)))
        assert len(server.asked) == before, "who asks often does not ask the server"

    async def test_a_deleted_slo_is_not_calculated(self, api: Api) -> None:
        slo = await an_slo(api)
        await api.client.delete(f"{SLOS}/{slo.slo_id}", headers=JSON)
        recalculated = await api.client.post(f"{BUDGETS}/{slo.slo_id}/recalculate", headers=JSON)
        problem_of(recalculated, 409, "slo_disabled")

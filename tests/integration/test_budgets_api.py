"""Error budgets over HTTP: the newest one, its course and where it is heading, burn rates, how all of them stand."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.records.values import format_time
from functions._core.slo import stored
from functions._core.slo.budget import ErrorBudget
from functions._core.slo.definition import Slo
from tests.support.http_api import Api, problem_of, running_api
from tests.support.slos import FORM, budget_at, put_budget

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
        path, seen, more = f"/{slo.slo_id}/history?aggregation=none&limit=3", [], ""
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

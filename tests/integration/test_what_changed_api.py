"""What changed, and predictions beside what happened, over the api: answers, bounds, and doors for strangers."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import log
from pathlib import Path
from typing import Any

import pytest

from functions._core.learning.duration_table import DurationTable, TableNumbers
from functions._core.learning.predictions import Serving
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.prediction import FlowPrediction, Prediction
from functions._core.records.values import FlowStatus, TaskType, ticket_id_of
from functions.api import newest_rows, what_changed
from functions.api.actions import record
from tests.support.builders import make_step, make_worker
from tests.support.http_api import Api, problem_of, running_api
from tests.support.runs_of_plans import Task, run_of

KEY = "k" * 40
PREDICTIONS = "/api/v1/predictions"
LOAD = f"{PREDICTIONS}/load"

Run = tuple[Flow, Sequence[Ticket]]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


def now_of(api: Api) -> datetime:
    return api.world.ports.clock.now()


def begun(api: Api, number: int) -> datetime:
    """Return when run `number` begins: one an hour, for the last days."""
    return now_of(api) - timedelta(days=5) + timedelta(hours=number)


async def put(api: Api, *runs: Run) -> None:
    for flow, tickets in runs:
        await api.world.ports.store.commit(make_step(flow, *tickets))


async def quiet(api: Api, *tasks: Task, runs: int = 8) -> None:
    await put(api, *(run_of(number, *tasks, start=begun(api, number)) for number in range(runs)))


async def asked(api: Api, flow: Flow) -> Any:
    return await api.get(f"/api/v1/flows/{flow.flow_id}/what-changed")


def told(ticket: Ticket, p50_ms: int, p90_ms: int, model: str = "duration:1") -> Ticket:
    return ticket.but(prediction=Prediction(p50_ms=p50_ms, p90_ms=p90_ms, model=model))


class TestWhatChanged:
    async def test_a_slow_flow_has_its_cause_and_why_names_the_command(self, api: Api) -> None:
        await quiet(api, Task("extract"), Task("load", work=120))
        start = begun(api, 20)
        slow = run_of(
            20, Task("extract"), Task("load", work=600), start=start, sla_deadline=start + timedelta(minutes=5)
        )
        await put(api, slow)
        await api.world.ports.registry.put(make_worker(worker_id="worker-1"))
        found = await asked(api, slow[0])
        cause = found["causes"][0]
        assert (found["verdict"], cause["kind"], cause["subject"]) == ("late", "work", "TRANSFORM")
        assert found["compared_with"] | {"since": None} == {
            "kind": "same_plan",
            "flows": 8,
            "tickets": 16,
            "since": None,
            "enough": True,
        }
        assert sum(one["explained_ms"] for one in found["causes"]) == found["explained_ms"] <= found["delay_ms"]
        why = await api.get(f"/api/v1/why/{slow[0].flow_id}")
        assert f"`flowc what-changed {slow[0].flow_id}` tells the likeliest causes." in why["details"]

    async def test_workers_that_are_gone_freezes_of_the_history_and_changes_by_people_are_known(self, api: Api) -> None:
        await quiet(api, Task("load"))
        waited = run_of(20, Task("load", wait=500), start=begun(api, 20))
        frozen = run_of(21, Task("load", lost=700, changes={"attempt": 1, "retry_count": 0}), start=begun(api, 21))
        held = HistoryEntry(
            flow_id=frozen[0].flow_id,
            at=begun(api, 21),
            type="ticket.held_back",
            cause="frozen",
            ticket_id=frozen[1][0].ticket_id,
        )
        await put(api, waited)
        await api.world.ports.store.commit(make_step(frozen[0], *frozen[1], history=(held,)))
        services = api.app.state.services
        await record(services, "put_guard_policy", "no-deploys", who="ann", why="safety")
        await record(services, "cancel_flow", "another", who="ann", why="", flow_id="f-9")
        assert (await asked(api, waited[0]))["causes"][0]["kind"] == "gone"
        found = await asked(api, frozen[0])
        assert (found["causes"][0]["kind"], found["changes"]) == ("held", [])  # the policy came later
        live, tickets = run_of(22, Task("load", wait=900), start=now_of(api) - timedelta(seconds=800))
        live = live.but(outcome=None, ended_at=None, status=FlowStatus.EXECUTING)
        await put(api, (live, tickets))
        assert [one["target"] for one in (await asked(api, live))["changes"]] == ["no-deploys"]

    async def test_only_so_much_is_read_and_a_huge_flow_is_not_part_of_it(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await quiet(api, Task("load"))
        huge = run_of(9, Task("load"), start=begun(api, 9))
        await put(api, (huge[0].but(tickets_generated=newest_rows.LARGEST + 1), huge[1]))
        slow = run_of(20, Task("load", work=600), start=begun(api, 20))
        await put(api, slow)
        assert (await asked(api, slow[0]))["compared_with"]["flows"] == 8
        monkeypatch.setattr(newest_rows, "TICKETS_READ", 6)
        assert (await asked(api, slow[0]))["compared_with"]["flows"] == 6
        monkeypatch.setattr(newest_rows, "FLOWS_READ", 3)
        assert (await asked(api, slow[0]))["compared_with"] | {"since": None} == {
            "kind": "estimates",
            "flows": 3,
            "tickets": 3,
            "since": None,
            "enough": False,
        }

    async def test_a_flow_that_would_take_too_long_is_refused(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        flow, tickets = run_of(1, Task("a"), Task("b"), Task("c"), start=begun(api, 1))
        await put(api, (flow, tickets))
        assert len((await asked(api, flow))["steps"]) > 2
        monkeypatch.setattr(what_changed, "MOST_TICKETS", 2)
        answer = await api.client.get(f"/api/v1/flows/{flow.flow_id}/what-changed")
        problem_of(answer, 422, "flow_too_large")

    async def test_flows_of_the_plan_are_read_before_others(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        await quiet(api, Task("load"))
        others = [run_of(n, Task("else"), plan="other", start=begun(api, n)) for n in range(30, 45)]
        await put(api, *others)
        monkeypatch.setattr(newest_rows, "FLOWS_READ", 8)
        slow = run_of(50, Task("load", work=600), start=begun(api, 50))
        await put(api, slow)
        assert (await asked(api, slow[0]))["compared_with"]["kind"] == "same_plan"

    @pytest.mark.parametrize("flow_id", ["none", "a%00b", "%F0%9F%92%A9", "x" * 3_000, "..", "%2e%2e%2f"])
    async def test_what_is_no_flow_is_not_found(self, api: Api, flow_id: str) -> None:
        answer = await api.client.get(f"/api/v1/flows/{flow_id}/what-changed")
        assert answer.status_code == 404

    async def test_a_parameter_that_is_not_known_is_refused(self, api: Api) -> None:
        flow, tickets = run_of(1, Task("load"), start=begun(api, 1))
        await put(api, (flow, tickets))
        answer = await api.client.get(f"/api/v1/flows/{flow.flow_id}/what-changed?limit=9999999")
        problem_of(answer, 400, "unknown_parameter")

    async def test_hostile_texts_stay_text_in_one_line(self, api: Api) -> None:
        evil = "<img src=x onerror=alert(1)>\x1b[2J\n'; DROP TABLE flows"
        await quiet(api, Task("load"))
        flow = run_of(20, Task(evil, work=900, worker_id=evil), start=begun(api, 20))
        await put(api, flow)
        assert all(line.isprintable() for line in (await asked(api, flow[0]))["text"])


class Serves:
    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def serving(self) -> Serving | None:
        return self._serving


class TestPredictions:
    async def test_tickets_and_flows_stand_beside_what_happened_with_figures(self, api: Api) -> None:
        runs = []
        for number in range(10):
            flow, tickets = run_of(number, Task("load", work=60 + number), start=begun(api, number))
            model = f"duration:{1 + number // 5}"
            prediction = FlowPrediction(probability=0.9, p50_ms=60_000, p90_ms=68_000, model=model)
            runs.append((flow.but(prediction=prediction), [told(one, 64_500, 68_500, model) for one in tickets]))
        await put(api, *runs, run_of(11, Task("plain"), start=begun(api, 11)))
        found = await api.get(PREDICTIONS)
        assert (found["looked_at"], found["complete"], len(found["items"]), len(found["flows"])) == (11, True, 10, 10)
        newest = found["items"][0]
        assert (newest["actual_ms"], newest["prediction"]["p90_ms"], newest["inside_p90"]) == (69_000, 68_500, False)
        figures = found["tickets_accuracy"]
        assert (figures["tickets"], figures["inside_p50"], figures["inside_p90"]) == (10, 0.5, 0.9)
        assert figures["mean_error_ms"] == 2_500
        assert figures["estimates_mean_error_ms"] == 4_500
        assert [(one["group"], one["tickets"]) for one in found["by_model"]] == [("duration:1", 5), ("duration:2", 5)]
        assert found["flows_accuracy"] | {"inside_p90": 0} == {
            "flows": 10,
            "met": 1.0,
            "expected": 0.9,
            "brier": pytest.approx(0.01),
            "inside_p90": 0,
        }

    async def test_resources_stand_beside_what_a_serving_model_expects_with_the_price_that_a_worker_states(
        self, api: Api
    ) -> None:
        lost = Task("load", work=36, lost=9, worker_id="dear")
        flow, tickets = run_of(1, Task("load", work=36, worker_id="dear"), lost, start=begun(api, 1))
        tickets = (tickets[0], tickets[1].but(ticket_id=ticket_id_of(flow.flow_id, "again")))
        await put(api, (flow, [told(one, 36_000, 40_000) for one in tickets]))
        priced = {"price_per_hour": 100, "currency": "EUR"}
        await api.world.ports.registry.put(make_worker(worker_id="dear", metadata=priced))
        unknown, known = (one["resources"] for one in (await api.get(PREDICTIONS))["items"])
        assert known == {
            "attempts": 1,
            "expected_attempts": None,
            "worker_ms": 36_000,
            "expected_worker_ms": None,
            "output_bytes": 0,
            "expected_output_bytes": None,
            "price": {"amount": 1.0, "currency": "EUR"},
            "expected_price": None,
        }
        assert (unknown["attempts"], unknown["worker_ms"], unknown["price"]) == (2, None, None)
        table = TableNumbers(
            groups={"TRANSFORM": (0.0, 0.0, 0.5, 0.0, 0.5)}, resources={"TRANSFORM": (log(1.5), log(1.2), log(101))}
        )
        services = api.app.state.services
        ports = replace(services.ports, predictions=Serves(Serving(DurationTable(table, "duration:1"), acts=False)))
        api.app.state.services = replace(services, ports=ports)
        resources = (await api.get(PREDICTIONS))["items"][1]["resources"]
        assert (resources["expected_attempts"], resources["expected_output_bytes"]) == (1.5, 100)
        assert resources["expected_worker_ms"] == 72_000
        assert resources["expected_price"] == {"amount": 2.0, "currency": "EUR"}

    async def test_filters_and_limits(self, api: Api) -> None:
        tasks = (Task("a", worker_id="w-1"), Task("b", task_type=TaskType.BUILD, worker_id="w-2"))
        flow, tickets = run_of(1, *tasks, start=begun(api, 1))
        await put(api, (flow, [told(one, 1_000, 2_000) for one in tickets]))

        async def tasks_of(query: str) -> list[str]:
            return [one["task_id"] for one in (await api.get(f"{PREDICTIONS}?{query}"))["items"]]

        assert await tasks_of("") == ["b", "a"]
        assert await tasks_of("task_type=build") == ["b"]
        assert await tasks_of("worker=w-1") == ["a"]
        assert await tasks_of("limit=1") == ["b"]
        assert await tasks_of("worker=%3Cimg%3E") == []

    async def test_nothing_is_known_of_a_new_platform(self, api: Api) -> None:
        found = await api.get(PREDICTIONS)
        assert (found["items"], found["flows"], found["tickets_accuracy"]["inside_p90"]) == ([], [], None)

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=501", "limit=nan", "task_type=nothing", "worker=%00", f"worker={'x' * 300}"]
    )
    async def test_what_is_out_of_bounds_is_refused(self, api: Api, query: str) -> None:
        problem_of(await api.client.get(f"{PREDICTIONS}?{query}"), 422, "invalid_data")


class TestLoad:
    async def test_the_load_of_the_next_day_is_forecast_once_for_a_quarter_of_an_hour(self, api: Api) -> None:
        """Two flows an hour by night, six by day, for five days; the forecast knows the day from the night."""
        start = now_of(api).replace(minute=0, second=0, microsecond=0) - timedelta(days=5)
        number = 0
        for hour in range(5 * 24):
            moment = start + timedelta(hours=hour)
            for part in range(6 if 8 <= moment.hour < 20 else 2):
                number += 1
                at = moment + timedelta(minutes=10 * part)
                await api.world.ports.store.commit(make_step(run_of(number, Task("a", work=1), start=at)[0]))
        found = await api.get(f"{LOAD}?minutes=1440")
        points = found["forecast"]["points"]
        assert (len(points), found["reason"], found["flows"]) == (96, None, number)
        by_day = [one["value"] for one in points if 9 <= datetime.fromisoformat(one["start"]).hour < 19]
        by_night = [one["value"] for one in points if not 7 <= datetime.fromisoformat(one["start"]).hour < 21]
        assert sum(by_day) / len(by_day) == pytest.approx(1.5, rel=0.2)
        assert sum(by_night) / len(by_night) == pytest.approx(0.5, rel=0.4)
        assert all(one["low"] <= one["value"] <= one["high"] for one in points)
        await put(api, run_of(9_000, Task("late"), start=start))
        assert len((await api.get(f"{LOAD}?minutes=60"))["forecast"]["points"]) == 4
        assert (await api.get(LOAD))[
            "flows"
        ] == number  # known before: a second of work for each request would be too much

    async def test_too_little_history_is_said(self, api: Api) -> None:
        found = await api.get(LOAD)
        assert (found["forecast"], found["reason"]) == (
            None,
            "A forecast takes 2 days of ended flows, and there are fewer.",
        )
        await put(api, run_of(1, Task("a"), start=now_of(api) - timedelta(hours=5)))
        assert (await api.get(LOAD))["forecast"] is None

    @pytest.mark.parametrize("query", ["minutes=14", "minutes=1441", "minutes=1e9", "minutes=", "horizon=60"])
    async def test_what_is_out_of_bounds_is_refused(self, api: Api, query: str) -> None:
        assert (await api.client.get(f"{LOAD}?{query}")).status_code in {400, 422}


async def test_who_has_no_key_gets_neither(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key=KEY) as api:
        for path in ("/api/v1/flows/f/what-changed", PREDICTIONS, LOAD, f"{PREDICTIONS}?limit=nan"):
            problem_of(await api.client.get(path), 401, "missing_key")

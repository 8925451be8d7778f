"""Simulations and costs over HTTP: the numbers of the command line, within bounds, and never in the way of flows."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from functions._cli.calculations import PROCESSOR_S
from functions._core.errors import Rejected, Unavailable
from functions._cost.bill import Bill
from functions._cost.prices import PRICES, Prices
from functions._cost.run import counted, flows_of
from functions._hosts.one_machine import calculator
from functions._hosts.one_machine.calculator import Calculator
from functions._simulator.asked import simulated
from tests.support.http_api import Api, problem_of, running_api
from tests.support.one_machine import OneMachine, one_machine
from tests.support.world import decision, task

SIMULATIONS, COSTS = "/api/v1/simulations", "/api/v1/costs"
FLEET = [{"count": 2, "slots": 2, "capabilities": ["python"]}]


def small_plan() -> dict[str, Any]:
    """Return a plan of three tasks, of which `long` is the one that the end waits for."""
    return {
        "tasks": [
            task("first", estimated_duration_ms=1000),
            task("short", "first", estimated_duration_ms=1000),
            task("long", "first", estimated_duration_ms=60_000),
        ]
    }


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests may be busy."""
    monkeypatch.setattr(calculator, "LONGEST_S", 600)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path) as machine:
        yield machine


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


def ask(workers: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """Return a question as the child gets it."""
    fleet = workers or [{}]
    usual = {"capabilities": ["python"], "clearance": "RESTRICTED", "slots": 2, "delivery": "push"}
    told = [
        {"worker_id": f"w-{number}", **usual, "success_rate": 1.0, "latency_ms": 0.0, **one}
        for number, one in enumerate(fleet)
    ]
    about = decision(*small_plan()["tasks"], decision_id="simulated")
    return {"decision": about, "runs": 5, "seed": 1, "workers": told, **more}


def test_the_same_seeds_give_the_same_answer_and_the_long_task_is_critical() -> None:
    first, second = simulated(ask()), simulated(ask())
    assert first == second
    assert (first["runs"], first["asked"], first["workers"], first["broken"]) == (5, 5, 1, 0)
    assert sum(bar["count"] for bar in first["histogram"]) == first["outcomes"]["COMPLETED"] == 5
    assert first["sla"]["met"] == 5
    assert first["sla"]["low"] < 1.0 == first["sla"]["probability"]
    shares = {one["task_id"]: one["share"] for one in first["critical_path"]}
    assert (shares["first"], shares["long"]) == (1.0, 1.0)
    assert "short" not in shares


def test_workers_are_taken_as_they_are() -> None:
    quick = simulated(ask())["finish_seconds"]["p50"]
    assert simulated(ask([{"latency_ms": 30_000.0}]))["finish_seconds"]["p50"] > quick + 50
    assert simulated(ask([{"success_rate": 0.0}]))["outcomes"] == {"FAILED": 5}


async def test_a_plan_is_simulated_with_the_workers_there_are(platform: OneMachine) -> None:
    body = {"plan": small_plan(), "runs": 3}
    problem_of(await platform.client.post(SIMULATIONS, json=body), 422, "no_workers")
    for name, slots in (("w-1", 1), ("w-2", 3)):
        form = {"worker_id": name, "endpoint": "http://127.0.0.1:1/x", "slots": slots, "capabilities": ["python"]}
        assert (await platform.client.post("/api/v1/workers", json=form)).status_code < 300
    answer = await platform.client.post(SIMULATIONS, json=body)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["runs"], answer.json()["workers"]) == (3, 2)


async def test_a_stored_plan_a_decision_and_other_workers_are_taken_too(platform: OneMachine) -> None:
    stored = await platform.client.put("/api/v1/plans/nightly/versions/1.0.0", json=small_plan())
    assert stored.status_code == 201
    about = decision(task("a", required_capabilities=["gpu"]))
    for question in ({"plan": "nightly@1.0.0"}, {"decision": about}):
        body = {**question, "runs": 2, "workers": [{"capabilities": ["gpu"]}, *FLEET]}
        answer = await platform.client.post(SIMULATIONS, json=body)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["outcomes"], answer.json()["workers"]) == ({"COMPLETED": 2}, 3)


async def test_a_plan_that_the_platform_refuses_says_why(platform: OneMachine) -> None:
    about = {"tasks": [task("a", "b"), task("b", "a")]}
    answer = await platform.client.post(SIMULATIONS, json={"plan": about, "runs": 1, "workers": FLEET})
    assert answer.json()["outcomes"] == {"REJECTED": 1}
    assert answer.json()["rejected_because"]


async def test_a_plan_costs_what_the_command_line_says(platform: OneMachine) -> None:
    about = decision(task("a"), decision_id="priced")
    answer = await platform.client.post(COSTS, json={"decision": about})
    assert answer.status_code == 200, answer.text
    run = await asyncio.to_thread(counted, about, flows_of(about), 1_000_000)  # it has a loop of its own
    expected = Bill.of(run, Prices.read(PRICES))
    like = partial(pytest.approx, rel=1e-3)  # ids are drawn, and what is stored is compressed
    assert answer.json()["steps"] == like(expected.steps)
    assert answer.json()["whole"] == like(expected.whole)
    assert answer.json()["rivals"].keys() == expected.rivals.keys()
    refused = await platform.client.post(COSTS, json={"plan": {"tasks": []}})
    problem_of(refused, 422, "not_priced")


async def test_where_nothing_is_calculated_the_command_is_named(api: Api) -> None:
    for route, command in ((SIMULATIONS, "flowc simulate"), (COSTS, "flowc cost")):
        problem = problem_of(await api.client.post(route, json={"plan": small_plan()}), 501, "not_offered")
        assert command in problem["detail"]


HOSTILE: list[dict[str, Any]] = [
    {},
    {"plan": {}, "decision": {}},
    {"plan": {}, "runs": 501},
    {"plan": {}, "runs": 0},
    {"plan": {}, "runs": "5; rm"},
    {"plan": {}, "seed": -1},
    {"plan": {}, "workers": []},
    {"plan": {}, "workers": [{}] * 51},
    {"plan": {}, "workers": [{"count": 201}]},
    {"plan": {}, "workers": [{"slots": 10**9}]},
    {"plan": {}, "workers": [{"success_rate": 1e400}]},
    {"plan": {}, "workers": [{"success_rate": -0.1}]},
    {"plan": {}, "workers": [{"latency_ms": 1e12}]},
    {"plan": {}, "kind": "../../bin/sh"},
    {"flow_id": "x" * 256},
]


async def test_hostile_questions_are_refused_before_anything_is_calculated(
    platform: OneMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Calculator, "_run", None)
    for body in HOSTILE:
        text = json.dumps(body).replace("Infinity", "1e400")
        answer = await platform.client.post(SIMULATIONS, content=text, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}, (body, answer.text)


async def test_large_bodies_unknown_flows_and_plans_are_refused(platform: OneMachine) -> None:
    headers = {"content-type": "application/json"}
    large = b'{"plan": {"x": "' + b"x" * 1024 * 1024 + b'"}}'
    for route in (SIMULATIONS, COSTS):
        problem_of(await platform.client.post(route, content=large, headers=headers), 413, "too_large")
        workers = {"workers": FLEET} if route == SIMULATIONS else {}
        problem_of(await platform.client.post(route, json={"flow_id": "nobody", **workers}), 404, "unknown_flow")
        problem_of(await platform.client.post(route, json={"plan": "nobody@1.0.0", **workers}), 422, "unknown_plan")
    deep = b'{"plan": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert (await platform.client.post(SIMULATIONS, content=deep, headers=headers)).status_code in {400, 422}


async def test_only_operators_may_calculate(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key="k" * 32) as locked:
        problem_of(await locked.client.post(SIMULATIONS, json={}), 401, "missing_key")
        admin = {"x-api-key": "k" * 32}
        made = await locked.client.post("/api/v1/keys", json={"name": "reader", "roles": ["viewer"]}, headers=admin)
        reader = {"x-api-key": made.json()["key"]}
        for route in (SIMULATIONS, COSTS):
            answer = await locked.client.post(route, json={"plan": {}}, headers=reader)
            problem_of(answer, 403, "insufficient_role")


def program(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Put a program in the place of the one that calculates."""
    (folder / "calculating.py").write_text(text)
    monkeypatch.setattr(calculator, "PROGRAM", "calculating")
    monkeypatch.setattr(calculator, "HOME", folder)


SAYS_WHO = "import os, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\n"


def runs(file: Path) -> bool:
    """Whether the process whose id is in a file is there."""
    try:
        os.kill(int(file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


class TestProcesses:
    async def test_one_calculation_at_a_time_and_the_next_one_after_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = tmp_path / "gate"
        program(
            monkeypatch,
            tmp_path,
            f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\nprint('{{}}')",
        )
        one = Calculator()
        first = asyncio.create_task(one.calculate("cost", {}))
        await asyncio.sleep(0)
        with pytest.raises(Rejected, match="another calculation") as refused:
            await one.calculate("cost", {})
        assert (refused.value.code, refused.value.status) == ("busy", 429)
        gate.touch()
        assert await first == {}
        assert await one.calculate("cost", {}) == {}

    async def test_one_that_takes_too_long_is_killed_while_the_loop_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program(monkeypatch, tmp_path, SAYS_WHO + "while 1: pass")
        monkeypatch.setattr(calculator, "LONGEST_S", 3)
        one = Calculator()
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with pytest.raises(Rejected, match="flowc simulate") as refused:
            await one.calculate("simulation", {})
        ticking.cancel()
        assert (refused.value.code, refused.value.status) == ("too_slow", 422)
        assert ticks > 20
        pid = tmp_path / "pid"
        assert not pid.exists() or not runs(pid)

    async def test_its_processor_time_is_bounded_by_the_system(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bound = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile 1: pass"
        program(monkeypatch, tmp_path, bound)
        with pytest.raises(Rejected) as refused:
            await Calculator().calculate("cost", {})
        assert refused.value.code == "too_slow"
        assert PROCESSOR_S <= 20

    async def test_one_that_dies_is_unavailable_and_the_next_one_runs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program(monkeypatch, tmp_path, "raise SystemExit(3)")
        one = Calculator()
        for _ in range(2):
            with pytest.raises(Unavailable):
                await one.calculate("cost", {})

    async def test_it_knows_no_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FLOWC_API_KEY", "a-secret")
        program(monkeypatch, tmp_path, "import json, os\nprint(json.dumps({'seen': sorted(os.environ)}))")
        seen = (await Calculator().calculate("cost", {}))["seen"]
        assert [name for name in seen if name.startswith("FLOWC")] == []

    async def test_who_gives_up_ends_the_process(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(
            monkeypatch,
            tmp_path,
            SAYS_WHO + "import time\ntime.sleep(99)",
        )
        one = Calculator()
        asking = asyncio.create_task(one.calculate("cost", {}))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not runs(tmp_path / "pid")


def test_the_memory_of_a_calculation_is_bounded() -> None:
    code = (
        "from functions._cli import calculations\n"
        "calculations.KINDS = {'cost': lambda asked: {'x': 'x' * (2 * 1024**3)}}\n"
        "calculations.main('cost')"
    )
    run = subprocess.run([sys.executable, "-c", code], input="{}", capture_output=True, text=True, check=True)
    assert '"too_large"' in run.stdout

"""Executors that only pretend: off by default, where something is missing, marked everywhere, counted in no SLO."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.http.cloudevents import read_events
from functions._adapters.memory.store import MemoryStore
from functions._core.records.models import Reason
from functions._core.records.simulated import SIMULATED, is_simulated
from functions._core.slo.counting import key_of, own_history
from functions._core.slo.definition import HistoryQuery
from functions._executors.command import CommandExecutor
from functions._executors.port import JobSucceeded, ToolCheck
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from infra.generate.topics import TOPICS
from tests.support.builders import seconds
from tests.support.jobs import HandExecutor, HandOutputs, assigned
from tests.support.loopback import Loopback, until
from tests.support.one_machine import one_machine
from tests.support.slo_history import NOW, ended_flow, ports_of
from tests.support.stand_in_platform import StandIn, working
from tests.support.world import decision, task

WORD = {"provider": "hand", "word": "hello"}
ALLOWED = ExecutorSettings.from_environment({"WORKER_ALLOW_SIMULATION": "true"})


class Missing(HandExecutor):
    """One whose service is there or not, as a test says."""

    def __init__(self, *checks: ToolCheck) -> None:
        super().__init__()
        self.checks = checks
        self.checked = 0

    async def check(self) -> Sequence[ToolCheck]:
        self.checked += 1
        return self.checks


AWAY = ToolCheck("service", False, "it does not answer")


async def test_it_is_off_by_default() -> None:
    assert ExecutorSettings.from_environment({}).allow_simulation is False
    hand = Missing(AWAY)
    hand.succeed("t-1-0")
    output = await JobsExecutor([hand]).run(assigned(WORD))
    assert (output, hand.checked) == ({"word": "done", "job": HAND_JOB}, 0)


HAND_JOB = {"executor": "hand", "id": "t-1-0", "adopted": True, "url": "https://jobs.test/t-1-0"}


async def test_what_is_missing_is_simulated_marked_and_counted() -> None:
    hand = Missing(ToolCheck("tool", True, "1.0"), AWAY)
    jobs = JobsExecutor([hand], settings=ALLOWED)
    async with StandIn() as platform, working(platform, jobs) as desk:
        await desk.assign(parameters=WORD)
        [report] = await platform.reported("COMPLETED")
        await desk.assign("t-2", parameters=WORD)
        await platform.reported("COMPLETED", "COMPLETED")
    job = {"executor": "hand", "id": "simulated-t-1-0", "adopted": False, "simulated": True}
    assert report["output"] == {"simulated": True, "job": job}
    assert report["log"] == "simulated, nothing was done: hand has no service (it does not answer)\n"
    assert (hand.calls, hand.checked) == ([], 1)
    assert 'worker_simulated_total{executor="hand",family="execute"} 2.0' in jobs.watch.metrics.text().decode()


@pytest.mark.parametrize(
    "checks", [(), (ToolCheck("tool", True, "1.0"),), (ToolCheck("x", False, "", required=False),)]
)
async def test_an_executor_that_could_do_it_is_never_simulated(checks: tuple[ToolCheck, ...]) -> None:
    hand = Missing(*checks)
    hand.jobs["t-1-0"] = JobSucceeded(HandOutputs(word="done"))
    output = await JobsExecutor([hand], settings=ALLOWED).run(assigned(WORD))
    assert isinstance(output, dict)
    assert "simulated" not in output


async def test_bad_parameters_are_refused_all_the_same() -> None:
    with pytest.raises(TaskFailed, match="wrod"):
        await JobsExecutor([Missing(AWAY)], settings=ALLOWED).run(assigned({"provider": "hand", "wrod": 1}))


@pytest.mark.parametrize(
    ("output", "known"),
    [
        ({"simulated": True, "job": {"simulated": True}}, True),
        ({"simulated": True}, False),
        ({"simulated": 1, "job": {"simulated": True}}, False),
        ({"simulated": True, "job": "x"}, False),
        ({"job": {"simulated": True}}, False),
        (["simulated"], False),
        (None, False),
    ],
)
def test_a_user_s_own_word_is_no_mark(output: object, known: bool) -> None:
    assert is_simulated(output) is known


async def test_a_flow_with_a_simulated_task_says_so_and_counts_as_no_success(tmp_path: Path) -> None:
    settings = ALLOWED.model_copy(update={"sandbox": "off", "commands": (), "folder": tmp_path / "work"})
    jobs = JobsExecutor([CommandExecutor(settings)], settings=settings)
    given: dict[str, Any] = {"parameters": {"provider": "command", "argv": ["true"]}, "required_capabilities": []}
    async with (
        Loopback() as analysts,
        one_machine(tmp_path / "data", subscriber_url=analysts.url) as world,
        world.worker("w", jobs, *jobs.capabilities),
    ):
        flow = await world.ended(await world.submit(decision(task("a", **given), task("b", "a", **given))))
        assert flow["status"] == "COMPLETED"
        [warning] = flow["warnings"]
        assert (warning["code"], "task a was only simulated" in warning["message"]) == (SIMULATED, True)
        await until(lambda: len(results(analysts)) >= 2, "the results of both tasks")
        assert sorted((one["task_id"], one["to_status"], one["cause"]) for one in results(analysts)) == [
            ("a", "COMPLETED", SIMULATED),
            ("b", "COMPLETED", SIMULATED),
        ]
        metrics = (await world.client.get("/metrics")).text
    assert re.search(r"^neural_hive_flow_c_success_total 0\.0$", metrics, re.MULTILINE)
    assert re.search(r'^orchestration_workflows_completed_total\{status="COMPLETED"\} 1\.0$', metrics, re.MULTILINE)
    await jobs.aclose()


async def test_every_task_that_has_ended_is_one_event_of_the_topic_of_results(tmp_path: Path) -> None:
    settings = ExecutorSettings(sandbox="off", commands=("true",), folder=tmp_path / "work")
    jobs = JobsExecutor([CommandExecutor(settings)], settings=settings)

    def running(task_id: str, program: str, *after: str) -> dict[str, Any]:
        parameters = {"provider": "command", "argv": [program]}
        return task(task_id, *after, parameters=parameters, required_capabilities=[])

    async with (
        Loopback() as analysts,
        one_machine(tmp_path / "data", subscriber_url=analysts.url) as world,
        world.worker("w", jobs, *jobs.capabilities),
    ):
        plan = decision(running("a", "true"), running("b", "true", "a"), running("c", "ls", "b"))
        await world.ended(await world.submit(plan))
        await until(lambda: len(results(analysts)) >= 3, "the results of all tasks")
    found = sorted((one["task_id"], one["to_status"], one["attempt"], one["worker_id"]) for one in results(analysts))
    assert found == [("a", "COMPLETED", 1, "w"), ("b", "COMPLETED", 1, "w"), ("c", "FAILED", 1, "w")]
    await jobs.aclose()


def results(analysts: Loopback) -> list[dict[str, Any]]:
    """Return what came of the types that the topic execution.results has, each event once."""
    [topic] = [topic for topic in TOPICS if topic.name == "execution.results"]
    events = {e.id: e for r in analysts.requests for e in read_events(r.headers, r.body, received_at=NOW)[0]}
    return [event.data for event in events.values() if event.event_type in topic.event_types]


async def test_no_slo_counts_it_neither_of_flows_nor_of_tickets() -> None:
    stores = MemoryStore().stores
    ports, clock = ports_of(stores)
    done = {"status": "COMPLETED", "task_type": "TEST"}
    warned = (Reason(code=SIMULATED, message="nothing was done"),)
    await ended_flow(stores, 1, NOW - seconds(100), "COMPLETED", tickets=(done,))
    await ended_flow(stores, 2, NOW - seconds(90), "COMPLETED", tickets=(done, done), warnings=warned)
    await ended_flow(stores, 3, NOW - seconds(80), "FAILED", tickets=(done,), warnings=warned)
    for measure in ("flow_success", "ticket_success"):
        query = HistoryQuery.model_validate({"measure": measure})
        history = (await own_history(ports, {key_of(query): query}, clock.now()))[key_of(query)]
        found = history.within(timedelta(hours=1))
        assert (found.total, found.value) == (1, 1.0), measure

"""How tasks are run and what becomes of their ends: functions, commands, simulations, time and size limits."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from functions._worker import (
    Assignment,
    CallableExecutor,
    Executor,
    SimulatedExecutor,
    TaskFailed,
)
from functions._worker.tasks import OUTPUT_LIMIT
from tests.support.loopback import until
from tests.support.stand_in_platform import TOKEN, Gate, StandIn, working

# One platform serves all tests of this module, since starting and stopping it takes longer than most tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")

ASSIGNMENT = Assignment.model_validate(
    {
        "ticket_id": "t-1",
        "attempt": 2,
        "callback_url": "http://platform.test/",
        "token": TOKEN,
        "task_id": "task-1",
        "task_type": "BUILD",
        "plan_id": None,
        "parameters": {"n": 21},
        "estimated_duration_ms": 50,
        "sla_deadline": "2026-03-01T13:00:00Z",
    }
)

MODULE = """
import asyncio
import threading

go = threading.Event()
class Refused(Exception):
    retryable = False
class Callable:
    async def __call__(self, task): return "called"
instance = Callable()
answer = 42
def double(task): return task["parameters"]["n"] * 2
async def double_later(task):
    await asyncio.sleep(0)
    return double(task)
def keys(task): return sorted(task)
def fail(task): raise ValueError("no such thing")
async def refuse(task): raise Refused("never")
def leave(task): raise SystemExit(3)
def stop_iteration(task): raise StopIteration
def interrupt(task): raise KeyboardInterrupt
async def cancel_itself(task): raise asyncio.CancelledError
async def time_out(task): raise TimeoutError("of its own")
def wait(task): go.wait()
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one_platform() -> AsyncIterator[StandIn]:
    async with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def platform(one_platform: StandIn) -> StandIn:
    one_platform.reset()
    return one_platform


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], CallableExecutor]:
    """Give an executor for a function of a module that a user could have written."""
    name = f"tasks_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda function: CallableExecutor(f"{name}:{function}")


async def failure_of(run: Awaitable[object]) -> tuple[str, str, bool]:
    with pytest.raises(TaskFailed) as failed:
        await run
    return failed.value.kind, failed.value.message, failed.value.retryable


async def failure_reported(platform: StandIn, executor: Executor, timeout_ms: int = 60_000) -> dict[str, Any]:
    async with working(platform, executor) as desk:
        await desk.assign(timeout_ms=timeout_ms)
        [report] = await platform.reported("FAILED")
        assert "output" not in report
        error: dict[str, Any] = report["error"]
        return error


@pytest.mark.parametrize("name", ["double", "double_later"])
async def test_what_a_function_returns_is_the_output(function: Callable[[str], CallableExecutor], name: str) -> None:
    assert await function(name).run(ASSIGNMENT) == 42


async def test_an_object_with_an_async_call_is_a_function(function: Callable[[str], CallableExecutor]) -> None:
    assert await function("instance").run(ASSIGNMENT) == "called"


async def test_a_function_gets_the_assignment_without_the_means_to_report(
    function: Callable[[str], CallableExecutor],
) -> None:
    keys = await function("keys").run(ASSIGNMENT)
    assert isinstance(keys, list)
    assert {"ticket_id", "attempt", "task_type", "parameters", "payload", "sla_deadline", "timeout_ms"} <= {*keys}
    assert not {"token", "callback_url", "extensions"} & {*keys}


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("fail", ("ValueError", "no such thing", True)),
        ("refuse", ("Refused", "never", False)),
        ("leave", ("SystemExit", "3", True)),
        ("stop_iteration", ("StopIteration", "", True)),
        ("interrupt", ("KeyboardInterrupt", "", True)),
        ("time_out", ("TimeoutError", "of its own", True)),
    ],
)
async def test_what_a_function_raises_is_its_failure(
    function: Callable[[str], CallableExecutor], name: str, failure: tuple[str, str, bool]
) -> None:
    assert await failure_of(function(name).run(ASSIGNMENT)) == failure


@pytest.mark.parametrize("target", ["double", "tasks_nowhere:double", "os:nothing", "os:name", "os.path:"])
async def test_what_is_no_function_is_refused_before_anything_runs(target: str) -> None:
    with pytest.raises(ValueError, match=r"is not written|cannot be"):
        CallableExecutor(target)


async def test_a_thread_that_outlives_its_task_keeps_its_slot(
    platform: StandIn, function: Callable[[str], CallableExecutor], tmp_path: Path
) -> None:
    executor = function("wait")
    async with working(platform, executor, slots=1) as desk:
        await desk.assign("t-1", timeout_ms=20)
        [report] = await platform.reported("FAILED")
        assert report["error"]["type"] == "timeout"
        assert (executor.abandoned, await desk.assign("t-2")) == (1, 429)
        sys.modules[f"tasks_{tmp_path.name}"].go.set()
        await until(lambda: executor.abandoned == 0, "the thread to end")
        assert await desk.assign("t-2") == 202
        await platform.reported("FAILED", "COMPLETED")


async def test_a_task_that_takes_too_long_has_failed(platform: StandIn) -> None:
    gate = Gate()
    error = await failure_reported(platform, gate, timeout_ms=20)
    assert error == {"type": "timeout", "message": "no end within 20 ms", "retryable": True}
    assert gate.log[-1][0] == "cancelled"


@pytest.mark.parametrize("name", ["cancel_itself", "time_out"])
async def test_a_task_that_ends_itself_in_the_way_of_the_worker_has_failed(
    platform: StandIn, function: Callable[[str], CallableExecutor], name: str
) -> None:
    error = await failure_reported(platform, function(name))
    assert (error["type"], error["retryable"]) == (
        {"cancel_itself": "CancelledError", "time_out": "TimeoutError"}[name],
        True,
    )


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (TaskFailed("broken", "x" * 9_999, retryable=False), ("broken", "x" * 2_000, False)),
        (TaskFailed("broken", "\udcff"), ("broken", "?", True)),
        (RuntimeError("of the executor"), ("RuntimeError", "of the executor", True)),
    ],
)
async def test_a_failure_is_reported_with_its_type_message_and_whether_to_retry(
    platform: StandIn, failure: Exception, error: tuple[str, str, bool]
) -> None:
    gate = Gate()
    gate.end = failure
    gate.opened.set()
    assert tuple((await failure_reported(platform, gate)).values()) == error


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("output", [{1, 2}, float("nan"), object(), "\ud800", nested(64), nested(100_000), b"bytes"])
async def test_an_output_that_the_platform_could_not_read_is_a_failure(platform: StandIn, output: object) -> None:
    gate = Gate()
    gate.end = output
    gate.opened.set()
    error = await failure_reported(platform, gate)
    assert (error["type"], error["retryable"]) == ("output_not_json", False)


async def test_an_output_may_be_as_large_as_the_limit_and_no_larger(platform: StandIn) -> None:
    gate = Gate()
    gate.opened.set()
    gate.end = "x" * (OUTPUT_LIMIT - 2)
    async with working(platform, gate) as desk:
        await desk.assign()
        [report] = await platform.reported("COMPLETED")
        assert report["output"] == gate.end
        gate.end += "x"
        await desk.assign("t-2")
        _, report = await platform.reported("COMPLETED", "FAILED")
        assert (report["error"]["type"], report["error"]["retryable"]) == ("output_too_large", False)


async def test_no_output_is_reported_as_null(platform: StandIn) -> None:
    gate = Gate()
    gate.end = None
    gate.opened.set()
    async with working(platform, gate) as desk:
        await desk.assign()
        [report] = await platform.reported("COMPLETED")
        assert report["output"] is None


async def test_a_simulated_task_takes_its_estimate_divided_by_the_speed() -> None:
    began = asyncio.get_running_loop().time()
    output = await SimulatedExecutor(speed=5).run(ASSIGNMENT)
    assert asyncio.get_running_loop().time() - began >= 0.009  # clocks of loops are rounded
    assert output == {"simulated": True, "task_id": "task-1", "waited_ms": 10}
    with pytest.raises(ValueError, match="above 0"):
        SimulatedExecutor(speed=0)

"""Commands as tasks: what they get, what they give, and that nothing of them is left."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from functions._executors import process_group
from functions._worker import Assignment, ShellExecutor, TaskFailed
from functions._worker.tasks import OUTPUT_LIMIT
from tests.support.loopback import until
from tests.support.stand_in_platform import TOKEN

ASSIGNMENT = Assignment.model_validate(
    {
        "ticket_id": "t-1",
        "attempt": 2,
        "callback_url": "http://platform.test/",
        "token": TOKEN,
        "task_type": "BUILD",
        "description": "zero \0 byte",
        "correlation_id": "c\0-1",
        "sla_deadline": "2026-03-01T13:00:00Z",
    }
)


async def run(command: str) -> object:
    return await ShellExecutor(command).run(ASSIGNMENT)


async def failure_of(command: str) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(command)
    return failed.value


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it went before it was looked at, or while
        return False


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def pid_in(path: Path) -> int:
    await until(lambda: text_of(path).endswith("\n"), f"{path.name} to be written")
    return int(text_of(path))


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("echo '{\"a\": [1, 2]}'", {"a": [1, 2]}),
        ("echo done", "done"),
        ("printf 'two\\nlines\\n\\n'", "two\nlines"),
        ("printf '\\377'", "�"),
        ("true", None),
        ("echo", None),
        ("echo noise >&2; echo 7", 7),
    ],
)
async def test_what_a_command_writes_is_the_output_as_json_or_else_as_text(command: str, output: object) -> None:
    assert await run(command) == output


async def test_a_command_gets_the_assignment_on_its_standard_input() -> None:
    assert await run("cat") == ASSIGNMENT.for_task()
    assert TOKEN not in json.dumps(ASSIGNMENT.for_task())


@pytest.mark.parametrize("size", [0, 10_000_000])
async def test_a_command_need_not_read_its_input(size: int) -> None:
    large = ASSIGNMENT.but(payload="x" * size)
    assert await ShellExecutor("echo 1").run(large) == 1


async def test_a_command_gets_variables_about_its_task_and_none_of_the_settings_of_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOWC_API_KEY", "secret")
    monkeypatch.setenv("COLOUR", "green")
    output = await run("env | grep -e ^FLOWC_ -e ^COLOUR= | sort")
    assert isinstance(output, str)
    assert output.splitlines() == [
        "COLOUR=green",
        "FLOWC_ATTEMPT=2",
        "FLOWC_CORRELATION_ID=c-1",
        "FLOWC_FLOW_ID=",
        "FLOWC_PLAN_ID=",
        "FLOWC_SLA_DEADLINE=2026-03-01T13:00:00.000Z",
        "FLOWC_TASK_ID=",
        "FLOWC_TASK_TYPE=BUILD",
        "FLOWC_TICKET_ID=t-1",
        "FLOWC_TIMEOUT_MS=180000",
    ]


async def test_a_command_that_fails_says_why_with_the_end_of_its_errors() -> None:
    failure = await failure_of("echo ignored; seq 100000 >&2; echo 'the last word' >&2; exit 3")
    assert (failure.kind, failure.retryable) == ("exit_status", True)
    assert failure.message.startswith("exit status 3: ")
    assert failure.message.endswith("100000\nthe last word")
    assert len(failure.message) < 2_100


async def test_a_command_that_is_killed_has_failed() -> None:
    assert (await failure_of("kill -9 $$")).message.startswith("exit status -9")


async def test_a_command_that_does_not_exist_has_failed() -> None:
    assert (await failure_of("no-such-command-anywhere")).message.startswith("exit status 127")


async def test_a_command_cannot_be_started_without_room_for_its_variables() -> None:
    with pytest.raises(TaskFailed) as failed:
        await ShellExecutor("true").run(ASSIGNMENT.but(task_id="x" * 3_000_000))
    assert failed.value.kind == "not_started"


async def test_a_command_that_writes_without_end_is_stopped() -> None:
    failure = await failure_of("yes")
    assert (failure.kind, failure.retryable) == ("output_too_large", False)


async def test_a_command_may_write_as_much_as_an_output_may_hold() -> None:
    assert await run(f"head -c {OUTPUT_LIMIT} /dev/zero | tr '\\0' x") == "x" * OUTPUT_LIMIT


async def test_a_cancelled_command_ends_with_all_that_it_started(tmp_path: Path) -> None:
    command = f"sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/shell; wait"
    task = asyncio.create_task(run(command))
    pids = [await pid_in(tmp_path / name) for name in ("child", "shell")]
    assert all(alive(pid) for pid in pids)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not any(alive(pid) for pid in pids), "the processes to be gone")


async def test_a_cancelled_command_may_tidy_up(tmp_path: Path) -> None:
    command = f"trap 'echo tidy > {tmp_path}/tidy; exit' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done"
    task = asyncio.create_task(run(command))
    await pid_in(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "tidy").read_text() == "tidy\n"


async def test_a_cancelled_command_that_will_not_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_group, "KILL_AFTER_SECONDS", 0.05)
    task = asyncio.create_task(run(f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done"))
    pid = await pid_in(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not alive(pid), "the process to be gone")


async def test_a_command_that_is_cancelled_twice_ends_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_group, "KILL_AFTER_SECONDS", 0.05)
    task = asyncio.create_task(run(f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done"))
    pid = await pid_in(tmp_path / "pid")
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not alive(pid), "the process to be gone")


async def test_a_command_that_is_cancelled_while_it_is_being_started_does_not_live_on() -> None:
    before = {path for path in Path("/proc").iterdir() if path.name.isdigit()}  # noqa: ASYNC240 - no disk
    for steps in range(8):
        task = asyncio.create_task(run("sleep 321"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    started = {path for path in Path("/proc").iterdir() if path.name.isdigit()} - before  # noqa: ASYNC240
    assert [path for path in started if "sleep\x00321" in text_of(path / "cmdline")] == []


async def test_what_a_command_leaves_running_does_not_hold_up_its_task(tmp_path: Path) -> None:
    output = await run(f"sleep 300 & echo $! > {tmp_path}/child; echo 1")
    assert output == 1
    child = await pid_in(tmp_path / "child")
    await until(lambda: not alive(child), "the process to be gone")


async def test_a_process_that_left_the_group_holds_nothing_up_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_group, "PIPES_CLOSE_SECONDS", 0.05)
    child = tmp_path / "child"
    left = f"setsid sh -c 'echo $$ > {child}; exec sleep 300'"
    output = await run(f"{left} & while ! [ -s {child} ]; do sleep 0.01; done; echo 1")
    assert output == 1
    os.kill(await pid_in(child), signal.SIGKILL)

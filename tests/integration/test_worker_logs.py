"""What tasks write goes to the platform with the final report of their attempt, each task's with its own."""

import asyncio
import gc
import io
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from functions._core.events.reports import LOG_LIMIT
from functions._worker import CallableExecutor, Executor, ShellExecutor
from functions._worker.written import Listening
from tests.support.loopback import until
from tests.support.stand_in_platform import StandIn, working


def prints(assignment: dict[str, Any]) -> int:
    for _ in range(3):
        print(f"out of {assignment['ticket_id']}")  # noqa: T201 it is what is tested
        time.sleep(0.01)  # so that two threads take turns
    print("err", file=sys.stderr)  # noqa: T201 likewise
    return 1


async def prints_async(assignment: dict[str, Any]) -> int:
    for _ in range(3):
        print(f"out of {assignment['ticket_id']}")  # noqa: T201 it is what is tested
        await asyncio.sleep(0)
    logging.getLogger("task").warning("logged by %s", assignment["ticket_id"])
    return 1


@pytest.fixture(autouse=True)
def streams() -> Iterator[None]:
    """Put the streams of this process back: an executor listens to them from then on."""
    before = sys.stdout, sys.stderr
    yield
    sys.stdout, sys.stderr = before


async def logs_of(executor: Executor, *ticket_ids: str) -> dict[str, str | None]:
    async with StandIn() as platform, working(platform, executor) as desk:
        for ticket_id in ticket_ids:
            assert await desk.assign(ticket_id) == 202
        await until(lambda: len(platform.reports) >= len(ticket_ids), "the ends of all tickets")
        return {report.data["ticket_id"]: report.data.get("log") for report in platform.reports}


async def test_a_command_tells_both_streams_whether_it_succeeds_or_fails() -> None:
    told = await logs_of(ShellExecutor("echo one; echo two >&2; exit 3"), "t-1")
    assert sorted((told["t-1"] or "").splitlines()) == ["one", "two"]
    assert await logs_of(ShellExecutor("true"), "t-1") == {"t-1": None}


async def test_a_secret_is_masked_though_the_other_stream_stands_between_its_halves() -> None:
    command = "printf hunter2-; sleep 0.2; echo between >&2; sleep 0.2; printf hunter2"
    async with StandIn() as platform, working(platform, ShellExecutor(command)) as desk:
        await desk.assign(parameters={"x": "hunter2-hunter2"}, secrets=["/x"])
        await until(lambda: len(platform.reports) >= 1, "the end")
    assert platform.reports[-1].data["log"] == "between\n***"


async def test_only_the_end_is_kept_and_what_is_no_text_is_marked() -> None:
    command = "head -c 200000 /dev/zero | tr '\\0' x >&2; printf '\\377\\000end' >&2"
    [text] = (await logs_of(ShellExecutor(command), "t-1")).values()
    assert text is not None
    assert text.endswith("x\ufffd?end")
    assert LOG_LIMIT - 8 <= len(text.encode()) <= LOG_LIMIT


@pytest.mark.parametrize("function", ["prints", "prints_async"])
async def test_functions_at_the_same_time_tell_what_they_print_themselves(
    function: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = await logs_of(CallableExecutor(f"{__name__}:{function}"), "t-1", "t-2")
    for ticket_id in ("t-1", "t-2"):
        lines = (told[ticket_id] or "").splitlines()
        assert lines[:3] == [f"out of {ticket_id}"] * 3
        assert not any("out of" in line for line in lines[3:])
    assert capsys.readouterr().out.count("out of t-1") == 3, "what is printed is passed on"


def test_a_stream_that_is_listened_to_stays_open_when_nobody_listens_any_more() -> None:
    stream = io.StringIO()
    listening = Listening(stream)
    listening.writelines(["a", "b"])
    del listening
    gc.collect()
    assert stream.getvalue() == "ab"

"""`flowc` whose reader has enough, whose disk is full, or whose streams are closed: one line at most, no traceback."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import PATIENCE_S

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell."""
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


@pytest.mark.parametrize("command", ["sample --tasks 2000", "--help"])
def test_a_reader_that_has_enough_is_no_error_to_speak_of(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        [sys.executable, "-m", "functions", *command.split()],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (run.returncode, run.stderr) == (1, b"")


async def test_who_follows_events_ends_when_the_reader_has_gone_though_nothing_happens() -> None:
    async def nothing(_request: Request) -> Answer:
        return Answer(200, b'{"items": [], "after": 0}')

    reading, writing = os.pipe()
    os.close(reading)
    async with Loopback() as platform:
        platform.answer = nothing
        run = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "functions", "events", "--follow", "--url", platform.url),
            cwd=ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
        )
        os.close(writing)
        async with asyncio.timeout(PATIENCE_S):
            _, told = await run.communicate()
    assert (run.returncode, told) == (1, b"")


@needs_full
@pytest.mark.parametrize("command", ["sample", "--help", "version", "sample --tasks 2000", "simulate --faults list"])
def test_a_full_disk_is_one_line(command: str) -> None:
    run = shell(f"{sys.executable} -m functions {command} > /dev/full")
    assert (run.returncode, run.stderr) == (74, "flowc: cannot write: No space left on device\n")


@pytest.mark.parametrize("command", ["submit -", "validate -", "simulate -", "cost -", "demo -"])
def test_a_closed_stdin_is_one_line(command: str) -> None:
    run = shell(f"{sys.executable} -m functions {command} <&-")
    assert (run.returncode, run.stderr) == (2, "flowc: -: standard input is closed\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_output_streams_are_left_alone(closed: str) -> None:
    assert shell(f"{sys.executable} -m functions version {closed}").returncode == 0
    run = shell(f"{sys.executable} -m functions validate no-such-file {closed}")
    assert run.returncode == 2
    assert "Traceback" not in run.stderr

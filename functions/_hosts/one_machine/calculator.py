"""Simulations and bills, each in a process of its own: one at a time, for so long, and never in the way of flows."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from functions._core.errors import Rejected, Unavailable
from functions._observability import logs

PROGRAM = "functions._cli.calculations"
"""The module that calculates; named, as no host imports it."""

LONGEST_S = 60.0
"""Seconds after which a calculation is killed; one that has the processor for itself meets its own bound before."""

HOME = Path(__file__).parents[3]


class Calculator:
    """Does one calculation at a time. Its processes get no environment, so they know no secret."""

    def __init__(self) -> None:
        self._busy = False

    async def calculate(self, kind: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer of a `simulation` or a `cost`; raise `Rejected`.

        The status is 429 while another one runs, and 422 when it takes too long.
        """
        if self._busy:
            raise Rejected("another calculation runs; try again in a few seconds", code="busy", status=429)
        self._busy = True
        try:
            said = await self._run(kind, json.dumps(asked).encode())
        finally:
            self._busy = False
        refused = said.get("refused")
        if refused:
            raise Rejected(refused["message"], code=refused["code"], status=refused["status"])
        return said

    async def _run(self, kind: str, asked: bytes) -> Mapping[str, Any]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", PROGRAM, kind, cwd=HOME, env={}, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )
        try:
            async with asyncio.timeout(LONGEST_S):
                told, _ = await process.communicate(asked)
        except TimeoutError:
            raise _too_slow(kind) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
            raise _too_slow(kind)
        if process.returncode:
            logs.log.error("calculation.failed", kind=kind, status=process.returncode)
            raise Unavailable("the calculation ended without an answer")
        said: Mapping[str, Any] = json.loads(told)
        return said


def _too_slow(kind: str) -> Rejected:
    command = "flowc simulate" if kind == "simulation" else "flowc cost"
    text = f"this takes longer than a request may; the command line has no such limit: {command}"
    return Rejected(text, code="too_slow", status=422)

"""How the workers of these tests do tasks: a task's parameters say what becomes of it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any


async def work(assignment: Mapping[str, Any]) -> object:
    """Wait for the file `until`, then fail with the text `error`, or return `output`.

    A task with `error_once` fails as long as the file that it names is not there.
    """
    told = assignment["parameters"]
    while "until" in told and not Path(told["until"]).exists():  # noqa: ASYNC240 - a look at the disk of the test
        await asyncio.sleep(0.05)
    print(told.get("log", f"doing {assignment['task_id']}"))  # noqa: T201 - what a task prints is its log
    if "error" in told and not Path(told.get("repaired", "/nowhere")).exists():  # noqa: ASYNC240 - likewise
        raise ValueError(told["error"])
    return told.get("output")

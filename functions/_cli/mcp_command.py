"""`flowc mcp`: an MCP server on standard input and output, which passes each message on to a platform's `/mcp`.

Agents that start their servers as programs get the platform so; which tools there are, and what they may do, is decided
by the platform for the key.
"""

import asyncio
import json
import sys
from threading import Thread
from typing import Any

from functions._cli.console import CommandFailed, run
from functions._cli.options import DEFAULT_URL, ApiKey, Url

MAX_LINE = 1024 * 1024
"""Bytes of a message, as many as the platform takes."""

AT_ONCE = 16
"""Messages that are under way; the next line is read when one of them is answered."""

PATIENCE_SECONDS = 60.0
"""A simulation, or a registered tool, takes longer to answer than everything else."""

PARSE_ERROR, FAILED = -32700, -32000


def mcp(*, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Let an agent use the platform as tools (MCP, stdio).

    The agent starts this program and speaks with it on standard input and output. It may do what its key may do.
    """
    run(_serve(url, api_key))


async def _serve(url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient

    lines: asyncio.Queue[bytes] = asyncio.Queue(1)
    Thread(target=_read, args=(asyncio.get_running_loop(), lines), name="flowc-stdin", daemon=True).start()
    places = asyncio.Semaphore(AT_ONCE)
    async with PlatformClient(url, api_key, PATIENCE_SECONDS) as platform, asyncio.TaskGroup() as group:

        async def answer(line: bytes) -> None:
            try:
                said = await _answer(platform, line)
                if said is not None:
                    sys.stdout.write(json.dumps(said, separators=(",", ":")) + "\n")
                    sys.stdout.flush()
            finally:
                places.release()

        while line := await lines.get():
            if line.strip():
                await places.acquire()
                group.create_task(answer(line))
    return 0


def _read(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[bytes]) -> None:
    """Hand over each line of standard input, cut after `MAX_LINE` bytes, and an empty one at its end."""
    line = b"\n"
    while line and not loop.is_closed():
        line = sys.stdin.buffer.readline(MAX_LINE + 1)
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = sys.stdin.buffer.readline(MAX_LINE)
        asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()


async def _answer(platform: Any, line: bytes) -> dict[str, Any] | None:  # noqa: ANN401 its class is imported when it runs
    """Return the answer to a message; None for a notification."""
    try:
        message = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        text = f"a message is one line of JSON, an object of at most {MAX_LINE} bytes"
        return {"jsonrpc": "2.0", "id": None, "error": {"code": PARSE_ERROR, "message": text}}
    try:
        said: dict[str, Any] = await platform.post("/mcp", message)
    except CommandFailed as failure:
        text = f"{failure}; {failure.hint}" if failure.hint else str(failure)
        said = {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": FAILED, "message": text}}
    return said if said and message.get("id") is not None else None

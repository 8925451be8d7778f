"""The executor `mcp`: one call of a tool of an MCP server (streamable HTTP) that the worker's owner has named.

    WORKER_MCP_<NAME>_URL, _TOKEN, _TOKEN_FILE, _CA_FILE    the server <name>, as for all services of an owner
    WORKER_TOOLS                                            which of its tools may be called: `name/tool`

A call carries the key of the job as `_meta`, so that a server which knows such keys does its work once. One that may
have been carried out is not repeated for a task that is not idempotent. A result stays data: it is an output of the
ticket, and nothing that it says is done.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import ClassVar

from functions._adapters.http.reply import Reply
from functions._core.errors import Rejected, Unavailable
from functions._core.executors.mcp import McpOutputs, McpParameters
from functions._core.mcp_session import McpSession, Send
from functions._core.records.values import TaskType
from functions._executors.patterns import fits
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.services import ServiceApi, ServiceConnection
from functions._executors.settings import PREFIX, ExecutorSettings

MARK, URL = f"{PREFIX}MCP_", "_URL"
"""What the variable with the address of a server begins and ends with."""

KEY = "io.neuralhive/idempotency-key"
"""The member of `_meta` with the key of the job."""

CLIENT = "1"
"""The version by which the client names itself to servers: executors know no other."""

END_SECONDS = 2.0
"""How long the server may take to hear that a session is over."""

Context = JobContext[McpParameters]


class McpExecutor(JobExecutor[McpParameters]):
    """Calls tools of the owner's MCP servers."""

    name: ClassVar[str] = "mcp"
    family: ClassVar[str] = "tool"
    task_types: ClassVar[frozenset[TaskType]] = frozenset({TaskType.TOOL, TaskType.COMPENSATE})
    Parameters = McpParameters
    Outputs = McpOutputs

    def __init__(self, settings: ExecutorSettings) -> None:
        """Read which servers there are; raise `ValueError` for an address that is none."""
        self._permitted = settings.tools
        names = [name[len(MARK) : -len(URL)] for name in settings.environment if _names_server(name)]
        self._servers = {
            name.lower(): ServiceApi(ServiceConnection.from_settings(settings, f"MCP_{name}")) for name in names
        }
        self._ended: dict[str, JobState] = {}

    async def start(self, context: Context) -> JobHandle:
        """Call the tool, which ends the job."""
        given = context.parameters
        server = self._servers.get(given.server)
        if server is None or not fits(f"{given.server}/{given.tool}", self._permitted):
            text = "the worker's owner has no such server, or does not allow this tool (WORKER_TOOLS)"
            raise CallFailed(text, transient=False, kind="not_allowed")
        seconds = max(0.1, min(given.timeout_seconds, context.seconds_left, context.call_seconds))
        try:
            async with asyncio.timeout(seconds):  # all messages of the session together
                session = McpSession(_sending(server, context, seconds), CLIENT, {KEY: context.idempotency_key})
                result = await session.call(given.tool, given.arguments)
        except TimeoutError:
            text, again = f"the tool does not answer within {seconds:.0f} s", context.idempotent
            raise CallFailed(text, transient=again, kind="no_answer" if again else "unknown_outcome") from None
        except Rejected as refusal:
            self._ended[context.idempotency_key] = JobFailed(refusal.code, str(refusal))
        else:
            self._ended[context.idempotency_key] = JobSucceeded(McpOutputs(result=result))
        return JobHandle(job_id=context.idempotency_key)

    async def poll(self, context: Context, handle: JobHandle) -> JobState:  # noqa: ARG002 - the port's
        """Return what the tool has answered."""
        return self._ended.pop(handle.job_id, None) or JobFailed("lost", "the call was one of another worker")

    async def cancel(self, context: Context, handle: JobHandle) -> None:  # noqa: ARG002 - the port's
        """Forget the answer: a tool that has answered has ended."""
        self._ended.pop(handle.job_id, None)

    async def check(self) -> Sequence[ToolCheck]:
        """Say which servers there are, and which tools may be called."""
        named = ", ".join(sorted(self._servers)) or "none"
        allowed = ", ".join(self._permitted) or "none"
        return (
            ToolCheck("servers", bool(self._servers), f"{MARK}<NAME>{URL} names {named}"),
            ToolCheck("tools", bool(self._permitted), f"WORKER_TOOLS allows {allowed}"),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            await server.aclose()


def _names_server(variable: str) -> bool:
    return variable.startswith(MARK) and variable.endswith(URL) and len(variable) > len(MARK + URL)


def _sending(server: ServiceApi, context: Context, seconds: float) -> Send:
    async def send(method: str, headers: Mapping[str, str], body: bytes) -> Reply:
        own = {"traceparent": context.traceparent} if context.traceparent else {}
        if method == "DELETE":
            try:
                return await server.call(method, "", headers={**headers, **own}, seconds=END_SECONDS)
            except CallFailed as failure:  # of a session that is over whether the server hears it or not
                raise Unavailable(str(failure)) from failure
        return await server.good(
            method, "", body=body, headers={**headers, **own}, seconds=seconds, repeatable=context.idempotent
        )

    return send

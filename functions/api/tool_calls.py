"""Calls of registered tools: one POST to a URL, or a session of three messages with an MCP server.

What a tool answers comes from outside: it is read within bounds, checked by the tool's schema, and stays data.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from functions._core.decision.form_limits import data_fault
from functions._core.errors import Rejected, Unavailable
from functions._core.mcp_session import (
    HEADERS,
    McpSession,
    Send,
    ServerAnswer,
    bad_answer,
    good_answer,
    json_bytes,
    value_in,
)
from functions._core.tool_catalogue import Tool
from functions.api.approval_forms import check_fits, schema_fault
from functions.api.services import Calls

MAX_ANSWER = 256 * 1024
"""Bytes of an answer of a tool."""


def check_schemas(tool: Mapping[str, Any]) -> None:
    """Raise `Rejected`, status 422, for a schema of a tool that is no JSON Schema."""
    for name in ("input_schema", "output_schema"):
        fault = None if tool[name] is None else schema_fault(tool[name])
        if fault is not None:
            raise Rejected(f"{name}: {fault}", code="invalid_data", status=422)


def check_arguments(tool: Tool, arguments: object) -> None:
    """Raise `Rejected` for arguments that do not fit the schema of a tool: 422, or 413 for those that are too large."""
    too_large = data_fault(tool.input_schema, arguments)
    if too_large is not None:
        raise Rejected(f"arguments: {too_large}", code="too_large", status=413)
    check_fits(tool.input_schema, arguments, "/arguments")


async def called(calls: Calls, tool: Tool, arguments: Mapping[str, Any], version: str) -> Any:  # noqa: ANN401 any JSON
    """Return what a tool answers; raise `Rejected`, status 502, for an answer that is none.

    Raises `Rejected`, code `forbidden_address`, for an address that may not be called, and `Unavailable`.
    """
    if tool.server_tool is None:
        result = value_in(good_answer(await _sending(calls, tool)("POST", HEADERS, json_bytes(arguments))))
    else:
        try:
            async with asyncio.timeout(tool.timeout_seconds):  # of all its messages together
                result = await McpSession(_sending(calls, tool), version).call(tool.server_tool, arguments)
        except TimeoutError:
            raise Unavailable(f"the tool does not answer within {tool.timeout_seconds} s") from None
    if tool.output_schema is not None:
        fault = data_fault(tool.output_schema, result)
        if fault is not None:
            raise bad_answer(fault)
        try:
            check_fits(tool.output_schema, result, "/result")
        except Rejected as misfit:
            raise bad_answer(str(misfit)) from misfit
    return result


def _sending(calls: Calls, tool: Tool) -> Send:
    async def send(method: str, headers: Mapping[str, str], body: bytes) -> ServerAnswer:
        ends = method == "DELETE"  # nobody waits long for the end of a session
        timeout = 2 if ends else tool.timeout_seconds
        return await calls.request(method, tool.url, headers=headers, body=body, timeout=timeout, limit=MAX_ANSWER)

    return send

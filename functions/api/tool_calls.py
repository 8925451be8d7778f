"""Calls of registered tools: one POST to a URL, or a session of three messages with an MCP server.

What a tool answers comes from outside: it is read within bounds, checked by the tool's schema, and stays data.
"""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any

from functions._core.decision.form_limits import data_fault
from functions._core.errors import Rejected, Unavailable
from functions._core.records.json_text import parse_json
from functions._core.tool_catalogue import Tool
from functions.api.approval_forms import check_fits, schema_fault
from functions.api.services import Answered, Calls

PROTOCOL = "2025-06-18"
"""The revision of MCP that is spoken, to clients and to servers."""

MAX_ANSWER = 256 * 1024
"""Bytes of an answer of a tool."""

MAX_SAID = 500
"""Characters of what a tool says went wrong."""

MAX_MESSAGES = 100
"""Messages of an MCP server among which the answer is looked for."""

HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


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
        answer = await calls.request(
            "POST", tool.url, headers=HEADERS, body=_json(arguments), timeout=tool.timeout_seconds, limit=MAX_ANSWER
        )
        result = _value(_good(answer))
    else:
        try:
            async with asyncio.timeout(tool.timeout_seconds):  # of all its messages together
                result = await _McpSession(calls, tool, version).call(tool.server_tool, arguments)
        except TimeoutError:
            raise Unavailable(f"the tool does not answer within {tool.timeout_seconds} s") from None
    if tool.output_schema is not None:
        fault = data_fault(tool.output_schema, result)
        if fault is not None:
            raise _bad(fault)
        try:
            check_fits(tool.output_schema, result, "/result")
        except Rejected as misfit:
            raise _bad(str(misfit)) from misfit
    return result


class _McpSession:
    """A session with an MCP server, for one call."""

    def __init__(self, calls: Calls, tool: Tool, version: str) -> None:
        self._calls, self._tool, self._version = calls, tool, version
        self._headers = dict(HEADERS)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 any JSON value
        """Return the result of a tool of the server."""
        about = {"name": "flow-c", "version": self._version}
        hello = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": about}
        agreed = await self._asked(1, "initialize", hello)
        version = agreed.get("protocolVersion")
        if not isinstance(version, str) or not version.isascii() or not version.isprintable():
            raise _bad("the server of the tool speaks no known revision of MCP")
        self._headers["mcp-protocol-version"] = version
        try:
            await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
            return _result_of(await self._asked(2, "tools/call", {"name": name, "arguments": arguments}))
        finally:
            await self._ended()

    async def _asked(self, number: int, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await self._post({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        session = answer.headers.get("mcp-session-id")
        if session is not None:
            self._headers["mcp-session-id"] = session
        for message in islice(_messages(answer), MAX_MESSAGES):
            if isinstance(message, Mapping) and message.get("id") == number:
                if isinstance(message.get("result"), Mapping):
                    return dict(message["result"])
                raise _failed(message.get("error"))
        raise _bad(f"the server of the tool does not answer {method}")

    async def _post(self, message: Mapping[str, Any]) -> Answered:
        return _good(
            await self._calls.request(
                "POST",
                self._tool.url,
                headers=self._headers,
                body=_json(message),
                timeout=self._tool.timeout_seconds,
                limit=MAX_ANSWER,
            )
        )

    async def _ended(self) -> None:
        """Tell the server that its session is over, if it has one; whether it hears that changes nothing."""
        if "mcp-session-id" not in self._headers:
            return
        try:
            await self._calls.request("DELETE", self._tool.url, headers=self._headers, timeout=2, limit=1024)
        except (Rejected, Unavailable):
            return


def _messages(answer: Answered) -> list[Any]:
    """Return the messages of an answer: one as JSON, or those of a stream of events."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return [_value(answer)]
    found: list[Any] = []
    for event in answer.body.decode(errors="replace").replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
        if any(lines) and len(found) < MAX_MESSAGES:
            found.append(_parsed("\n".join(lines).encode()))
    return found


def _result_of(result: Mapping[str, Any]) -> Any:  # noqa: ANN401 any JSON value
    """Return the structured part of a result of MCP, else its content."""
    if result.get("isError"):
        raise _failed(result.get("content"))
    structured = result.get("structuredContent")
    return result.get("content", []) if structured is None else structured


def _good(answer: Answered) -> Answered:
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise Rejected(f"the tool answers {answer.status}", code="tool_failed", status=502)
    if not answer.complete:
        raise _bad(f"it has more than {MAX_ANSWER} bytes, or stops in the middle")
    return answer


def _value(answer: Answered) -> Any:  # noqa: ANN401 any JSON value
    return _parsed(answer.body) if answer.body else None


def _parsed(text: bytes) -> Any:  # noqa: ANN401 any JSON value
    try:
        return parse_json(text)
    except Rejected as malformed:
        raise _bad(str(malformed)) from malformed


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _failed(said: object) -> Rejected:
    return Rejected(f"the tool failed: {json.dumps(said)[:MAX_SAID]}", code="tool_failed", status=502)


def _bad(fault: str) -> Rejected:
    return Rejected(f"the answer of the tool is not taken: {fault[:MAX_SAID]}", code="bad_tool_answer", status=502)

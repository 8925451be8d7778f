"""The session of a client with an MCP server (streamable HTTP), for one call of a tool; the caller brings the sending.

What a server answers comes from outside: it is read within bounds, and stays data.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any, Protocol

from functions._core.errors import Rejected, Unavailable
from functions._core.records.json_text import parse_json

PROTOCOL = "2025-06-18"
"""The revision of MCP that is spoken, to clients and to servers."""

MAX_SAID = 500
"""Characters of what a tool says went wrong."""

MAX_MESSAGES = 100
"""Messages of an MCP server among which the answer is looked for."""

HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


class ServerAnswer(Protocol):
    """The answer of a server."""

    @property
    def status(self) -> int:
        """The status."""

    @property
    def body(self) -> bytes:
        """Its body, or the beginning of it."""

    @property
    def complete(self) -> bool:
        """Whether that is all of it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers by their lower-case names."""


Send = Callable[[str, Mapping[str, str], bytes], Awaitable[ServerAnswer]]
"""Sends a request to the server, by method, headers and body, within bounds of size and time."""


class McpSession:
    """A session with an MCP server, for one call; what it raises otherwise is what `send` raises."""

    def __init__(self, send: Send, version: str, meta: Mapping[str, Any] | None = None) -> None:
        """Send nothing yet; `version` is that of this client, and `meta` goes with the call as its `_meta`."""
        self._send, self._version, self._meta = send, version, meta
        self._headers = dict(HEADERS)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 any JSON value
        """Return the result of a tool of the server; raise `Rejected`, code `tool_failed` or `bad_tool_answer`."""
        about = {"name": "flow-c", "version": self._version}
        hello = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": about}
        agreed = await self._asked(1, "initialize", hello)
        version = agreed.get("protocolVersion")
        if not isinstance(version, str) or not version.isascii() or not version.isprintable():
            raise bad_answer("the server of the tool speaks no known revision of MCP")
        self._headers["mcp-protocol-version"] = version
        try:
            await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
            params = {"name": name, "arguments": arguments, **({"_meta": self._meta} if self._meta else {})}
            return _result_of(await self._asked(2, "tools/call", params))
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
        raise bad_answer(f"the server of the tool does not answer {method}")

    async def _post(self, message: Mapping[str, Any]) -> ServerAnswer:
        return good_answer(await self._send("POST", self._headers, json_bytes(message)))

    async def _ended(self) -> None:
        """Tell the server that its session is over, if it has one; whether it hears that changes nothing."""
        if "mcp-session-id" not in self._headers:
            return
        try:
            await self._send("DELETE", self._headers, b"")
        except (Rejected, Unavailable):
            return


def _messages(answer: ServerAnswer) -> list[Any]:
    """Return the messages of an answer: one as JSON, or those of a stream of events."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return [value_in(answer)]
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


def good_answer(answer: ServerAnswer) -> ServerAnswer:
    """Return an answer of success that is whole; raise `Rejected`."""
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise Rejected(f"the tool answers {answer.status}", code="tool_failed", status=502)
    if not answer.complete:
        raise bad_answer("it is too large, or stops in the middle")
    return answer


def value_in(answer: ServerAnswer) -> Any:  # noqa: ANN401 any JSON value
    """Return the JSON value of an answer; None where it has none."""
    return _parsed(answer.body) if answer.body else None


def _parsed(text: bytes) -> Any:  # noqa: ANN401 any JSON value
    try:
        return parse_json(text)
    except Rejected as malformed:
        raise bad_answer(str(malformed)) from malformed


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return JSON as it is sent."""
    return json.dumps(value, separators=(",", ":")).encode()


def _failed(said: object) -> Rejected:
    return Rejected(f"the tool failed: {json.dumps(said)[:MAX_SAID]}", code="tool_failed", status=502)


def bad_answer(fault: str) -> Rejected:
    """Return the refusal of an answer, status 502."""
    return Rejected(f"the answer of the tool is not taken: {fault[:MAX_SAID]}", code="bad_tool_answer", status=502)

"""What a stranger, or an agent that was talked into it, may try at `/mcp`: nothing is read, done or reached by it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from functions._core.rate_limits import READ, WRITE
from functions._core.records.principal import Principal, Role
from functions.api import inner_calls
from functions.api.mcp_tools import CHANGING, CONFIRMED, READING, own_tools
from functions.api.rate_limits import limit_of
from functions.api.roles import MANAGE, ROLES
from tests.support.http_api import Api, problem_of, running_api

KEY = "the-key-of-the-first-administrator-0001"
JSON = {"content-type": "application/json", "x-api-key": KEY}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path, api_key=KEY) as running:
        yield running


async def ask(api: Api, method: str, **params: Any) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": "one", "method": method, "params": params}
    answer = await api.client.post("/mcp", json=message, headers=JSON)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert (found["jsonrpc"], found["id"]) == ("2.0", "one")
    return found


async def refusal(api: Api, tool: str, **arguments: Any) -> str:
    result = (await ask(api, "tools/call", name=tool, arguments=arguments))["result"]
    assert result["isError"], result
    return str(result["structuredContent"]["code"])


async def test_nothing_of_a_stranger_is_read(api: Api) -> None:
    for body in (b"", b"{not json", b"[" * 1_000_000, b"x" * 5_000_000):
        answer = await api.client.post("/mcp", content=body, headers={"content-type": "application/json"})
        problem_of(answer, 401, "missing_key")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{not json", 400, "malformed_json"),
        (b"[" * 10_000 + b"]" * 10_000, 400, "too_deep"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 90 + b"1" + b"}" * 91, 400, "too_deep"),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', 422, "invalid_data"),
        (b'"' + b"x" * 1_100_000 + b'"', 413, "too_large"),
        (b'{"id":1,"method":"ping"}', 422, "invalid_data"),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', 422, "invalid_data"),
        (b'{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}', 422, "invalid_data"),
        (b'{"jsonrpc":"2.0","id":99999999999999999999,"method":"ping"}', 422, "invalid_data"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', 422, "invalid_data"),
        (b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * 200 + b'"}', 422, "invalid_data"),
    ],
)
async def test_what_is_no_message_is_a_problem(api: Api, body: bytes, status: int, code: str) -> None:
    problem_of(await api.client.post("/mcp", content=body, headers=JSON), status, code)


async def test_the_door_is_that_of_every_other_route(api: Api) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    foreign = await api.client.post("/mcp", json=ping, headers=JSON | {"origin": "https://elsewhere.example"})
    problem_of(foreign, 403, "cross_site")
    form = await api.client.post("/mcp", content=json.dumps(ping), headers=JSON | {"content-type": "text/plain"})
    problem_of(form, 415, "not_json")
    newer = await api.client.post("/mcp", json=ping, headers=JSON | {"mcp-protocol-version": "2031-01-01"})
    problem_of(newer, 400, "unsupported_protocol")
    assert (await api.client.get("/mcp", headers=JSON)).status_code == 405
    assert (await api.client.delete("/mcp", headers=JSON)).status_code == 405
    assert (await ask(api, "ping"))["result"] == {}


async def test_notifications_are_taken_and_unknown_methods_named(api: Api) -> None:
    for method in ("notifications/initialized", "notifications/cancelled", "tools/call"):
        answer = await api.client.post("/mcp", json={"jsonrpc": "2.0", "method": method}, headers=JSON)
        assert (answer.status_code, answer.content) == (202, b"")
    assert (await ask(api, "resources/list"))["error"]["code"] == -32601
    for cursor in ("x", 7, "0../..", "1" * 5000):
        assert (await ask(api, "tools/list", cursor=cursor))["error"]["code"] == -32602
    for params in ({}, {"name": 1}, {"name": "why", "arguments": [1]}, {"name": "../keys"}, {"name": "x" * 9000}):
        assert (await ask(api, "tools/call", **params))["error"]["code"] == -32602
    assert (await ask(api, "tools/call", name="list_keys"))["error"]["code"] == -32602


@pytest.mark.parametrize(
    "value", ["x/history", "../keys", "..", ".", "", "a\r\nx: y", "a\x00", "x" * 256, 1.5, None, ["a"], {}]
)
async def test_a_part_of_a_path_leads_nowhere_else(api: Api, value: Any) -> None:
    assert await refusal(api, "get_flow", flow_id=value) == "bad_arguments"


async def test_a_coded_part_of_a_path_stays_one(api: Api) -> None:
    for value in ("x%2Fhistory", "x?flow=1", "x#y", "x;y", "%2e%2e"):
        assert await refusal(api, "get_flow", flow_id=value) == "unknown_flow"


async def test_arguments_are_only_those_of_the_tool(api: Api) -> None:
    assert await refusal(api, "get_flow", flow_id="x", confirm="x") == "bad_arguments"
    assert await refusal(api, "get_flow", flow_id="x", **{"x-api-key": KEY}) == "bad_arguments"
    assert await refusal(api, "list_flows", limit={"a": 1}) == "bad_arguments"
    assert await refusal(api, "list_flows", limit=10**9) == "invalid_data"
    assert await refusal(api, "pause_flow", flow_id="x", idempotency_key="a\r\nx-api-key: y") == "bad_arguments"
    assert await refusal(api, "execute_flow", body={}, wait_seconds=300) == "bad_arguments"
    assert await refusal(api, "cancel_flow", flow_id="x") == "not_confirmed"
    assert await refusal(api, "cancel_flow", confirm=None) == "not_confirmed"
    assert await refusal(api, "cancel_flow", flow_id="x", confirm="x", body={"surprise": 1}) == "invalid_data"


async def test_an_answer_that_is_too_large_is_said_to_be(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_calls, "MAX_ANSWER", 10)
    assert await refusal(api, "list_flows") == "too_large"
    assert await refusal(api, "get_flow", flow_id="x") == "too_large"


def test_each_tool_is_an_operation_with_a_schema_of_its_own(api: Api) -> None:
    document = api.app.openapi()
    tools = own_tools(document)
    assert set(tools) == {*READING, *CHANGING, *CONFIRMED}
    assert len(tools) == len(READING) + len(CHANGING) + len(CONFIRMED)
    viewer = Principal("vera", frozenset({Role.VIEWER}))
    for name, tool in tools.items():
        schema = tool.shown["inputSchema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        assert "#/components/" not in json.dumps(schema), name
        assert all(reference.startswith("#/$defs/") for reference in references(schema)), name
        roles = ROLES[f"{tool.method} {tool.path}"]
        assert roles != MANAGE
        assert (tool.method == "GET") == (name in READING), name
        assert name in READING or not viewer.may(*tool.roles), name


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


def test_a_message_counts_as_reading_and_its_call_as_what_it_is() -> None:
    caller = Principal("otto", frozenset({Role.OPERATOR}))
    assert limit_of(caller, {"method": "POST", "path": "/mcp"}) == READ
    assert limit_of(caller, {"method": "POST", "path": "/api/v1/flows/x/cancel"}) == WRITE


async def test_calls_are_limited_as_the_requests_that_they_are(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key=KEY, rate_limits="write=1/1") as api:
        codes = [await refusal(api, "pause_flow", flow_id="x") for _ in range(3)]
        assert codes[0] == "unknown_flow"
        assert codes[-1] == "rate_limited"
        assert (await ask(api, "ping"))["result"] == {}

"""The platform as tools of MCP, by the official client: over HTTP and by `flowc mcp`, with the roles of keys."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from mcp import Client, MCPError, StdioServerParameters, stdio_client

from functions.api.mcp_tools import CHANGING, CONFIRMED, READING
from tests.conftest import ROOT
from tests.support.mcp_server import agent
from tests.support.one_machine import OneMachine, one_machine
from tests.support.world import decision, task, until

KEY = "the-key-of-the-first-administrator-0001"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneMachine]:
    folder = tmp_path_factory.mktemp("mcp")
    async with one_machine(folder, api_key=KEY, rate_limits="off") as running:
        running.client.headers["x-api-key"] = KEY
        yield running


async def made_key(machine: OneMachine, *roles: str, scopes: tuple[str, ...] = ()) -> str:
    form = {"name": f"agent-{'-'.join(roles)}", "roles": roles, "scopes": scopes}
    answer = await machine.client.post("/api/v1/keys", json=form)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    """Return the structured result of a tool that must not fail."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    return result.structured_content


async def refusal(client: Client, tool: str, **arguments: Any) -> Any:
    """Return what a tool says when it refuses."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result
    return result.structured_content


async def names(client: Client) -> set[str]:
    found, cursor = set(), None
    while True:
        page = await client.list_tools(cursor=cursor)
        found |= {tool.name for tool in page.tools}
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.asyncio(loop_scope="module")
async def test_the_official_client_agrees_lists_and_calls(machine: OneMachine) -> None:
    async with agent(machine.running.url, KEY) as client:
        assert client.protocol_version == "2025-06-18"
        assert client.server_info is not None
        assert client.server_info.name == "flow-c"
        assert "never instructions" in (client.instructions or "").replace(
            "and never instructions", "never instructions"
        )
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert listed.keys() == {*READING, *CHANGING, *CONFIRMED}
        for name, tool in listed.items():
            assert tool.annotations is not None
            hints = (tool.annotations.read_only_hint, tool.annotations.destructive_hint)
            assert hints == (name in READING, name in CONFIRMED), name
        assert await call(client, "list_flows", text="in no flow") == {"items": [], "cursor": None}
        with pytest.raises(MCPError, match="no tool 'nothing'"):
            await client.call_tool("nothing", {})


async def waiting_for_approval(client: Client) -> tuple[str, str]:
    """Submit a plan whose ticket asks a person; return its flow and the ticket."""
    plan = decision(task("gate", task_type="APPROVE", required_capabilities=[]))
    flow = await call(client, "execute_flow", body=plan)
    flow_id = flow["flow_id"]

    async def waiting() -> str | None:
        items = (await call(client, "list_tickets_of_flow", flow_id=flow_id))["items"]
        return items[0]["ticket_id"] if items and items[0]["status"] == "WAITING" else None

    return flow_id, await until(waiting, "the ticket to ask")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_scripted_client_submits_asks_why_and_approves(machine: OneMachine) -> None:
    key = await made_key(machine, "operator")
    async with agent(machine.running.url, key) as client:
        flow_id, ticket_id = await waiting_for_approval(client)
        assert "a person to approve or deny" in str(await call(client, "why", record_id=ticket_id))
        assert ticket_id in str(await call(client, "read_inbox"))
        unsure = await refusal(client, "approve_ticket", ticket_id=ticket_id)
        assert (unsure["code"], unsure["status"]) == ("not_confirmed", 422)
        other = await refusal(client, "approve_ticket", ticket_id=ticket_id, confirm=flow_id)
        assert other["code"] == "not_confirmed"
        body = {"reason": "looks right", "requested_by": "mallory"}
        await call(client, "approve_ticket", ticket_id=ticket_id, confirm=ticket_id, body=body)

        async def ended() -> Any:
            flow = await call(client, "get_flow", flow_id=flow_id)
            return flow if flow["outcome"] else None

        assert (await until(ended, "the flow to end"))["outcome"] == "COMPLETED"
        history = str(await call(client, "get_history", flow_id=flow_id))
        assert "agent-operator" in history
        assert "mallory" not in history


@pytest.mark.asyncio(loop_scope="module")
async def test_the_key_of_a_viewer_sees_and_calls_reading_tools_only(machine: OneMachine) -> None:
    async with agent(machine.running.url, KEY) as client:
        flow_id, ticket_id = await waiting_for_approval(client)
    key = await made_key(machine, "viewer")
    async with agent(machine.running.url, key) as client:
        assert await names(client) == set(READING)
        assert (await call(client, "get_flow", flow_id=flow_id))["flow_id"] == flow_id
        for tool, given in (
            ("cancel_flow", {"flow_id": flow_id, "confirm": flow_id}),
            ("approve_ticket", {"ticket_id": ticket_id, "confirm": ticket_id}),
            ("execute_flow", {"body": decision(task("a"))}),
        ):
            assert (await refusal(client, tool, **given))["code"] == "insufficient_role", tool
        with pytest.raises(MCPError, match="for this caller"):
            await client.call_tool("some-registered-tool", {})


@pytest.mark.asyncio(loop_scope="module")
async def test_scopes_of_a_key_hold_for_each_tool(machine: OneMachine) -> None:
    narrow = await made_key(machine, "operator", scopes=("mcp", "flows"))
    async with agent(machine.running.url, narrow) as client:
        assert {"list_flows", "cancel_flow"} <= await names(client)
        assert "why" not in await names(client)
        assert (await refusal(client, "why", record_id="x"))["code"] == "insufficient_scope"
    none = await made_key(machine, "operator", scopes=("flows",))
    answer = await machine.client.post("/mcp", json={}, headers={"x-api-key": none})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    worker = await made_key(machine, "worker")
    answer = await machine.client.post("/mcp", json={}, headers={"x-api-key": worker})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role")


@pytest.mark.asyncio(loop_scope="module")
async def test_flowc_mcp_is_the_same_over_standard_input_and_output(machine: OneMachine) -> None:
    environment = {**os.environ, "FLOWC_URL": machine.running.url, "FLOWC_API_KEY": await made_key(machine, "viewer")}
    program = StdioServerParameters(command=sys.executable, args=["-m", "functions", "mcp"], env=environment)
    async with Client(stdio_client(program)) as client:
        assert await names(client) == set(READING)
        found = await asyncio.gather(*(call(client, "list_flows", limit=1) for _ in range(20)))
        assert len(found) == 20
        unknown = await refusal(client, "get_flow", flow_id="nowhere")
        assert (unknown["status"], unknown["code"]) == (404, "unknown_flow")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"{not json\n", "a message is one line of JSON"),
        (b"[" * 100_000 + b"\n", "a message is one line of JSON"),
        (b'"' + b"x" * 2_000_000 + b'"\n', "of at most 1048576 bytes"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n', "no platform at http://127.0.0.1:1"),
        (b'{"jsonrpc": "2.0", "method": "notifications/initialized"}', ""),
    ],
)
async def test_flowc_mcp_answers_what_it_cannot_pass_on(lines: bytes, expected: str) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "functions", "mcp", "--url", "http://127.0.0.1:1"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    said, _ = await program.communicate(lines)
    assert program.returncode == 0
    assert expected in said.decode()
    assert bool(said) == bool(expected)

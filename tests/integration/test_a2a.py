"""The Agent2Agent protocol with the official client: the card, a task to its end, what waits, and what is refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.client import Client
from a2a.types.a2a_pb2 import CancelTaskRequest, GetTaskRequest, ListTasksRequest, SendMessageRequest
from a2a.utils.errors import InvalidParamsError, TaskNotCancelableError, TaskNotFoundError, UnsupportedOperationError
from google.protobuf.json_format import MessageToDict, ParseDict

from tests.support.one_machine import OneMachine, one_machine

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "the-key-of-the-first-administrator-0001"
ASK = {"task_id": "agree", "task_type": "APPROVE", "description": "May it go on?"}
WAIT = {"task_id": "rest", "task_type": "WAIT", "description": "a moment", "wait": {"seconds": 0.01}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path_factory.mktemp("a2a"), api_key=KEY, rate_limits="off") as running:
        running.client.headers["x-api-key"] = KEY
        yield running


@asynccontextmanager
async def agent(machine: OneMachine, key: str = KEY) -> AsyncIterator[Client]:
    """Give the official client, as it finds the platform by its card."""
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=60) as http:
        card = await A2ACardResolver(http, machine.running.url).get_agent_card()
        config = ClientConfig(streaming=False, httpx_client=http)
        async with ClientFactory(config).create(card) as client:
            yield client


def message(data: Any, message_id: str, *, at_once: bool = False, **more: Any) -> SendMessageRequest:
    said = {"messageId": message_id, "role": "ROLE_USER", "parts": [{"data": data}], **more}
    return ParseDict({"message": said, "configuration": {"returnImmediately": at_once}}, SendMessageRequest())


async def sent(client: Client, request: SendMessageRequest) -> dict[str, Any]:
    [answer] = [MessageToDict(one.task) async for one in client.send_message(request)]
    return dict(answer)


async def test_a_plan_is_a_task_whose_artifact_is_its_result(machine: OneMachine) -> None:
    plan = {"tasks": [WAIT], "result": {"said": "done", "until": {"$output": "rest"}}}
    async with agent(machine) as client:
        task = await sent(client, message(plan, "m-1", contextId="talk-1"))
        assert task["status"]["state"] == "TASK_STATE_COMPLETED"
        assert task["contextId"] == "talk-1"
        assert task["artifacts"][0]["parts"][0]["data"]["said"] == "done"
        again = await sent(client, message(plan, "m-1", contextId="talk-1"))
        assert again["id"] == task["id"]
        known = MessageToDict(await client.get_task(GetTaskRequest(id=task["id"])))
        assert known["artifacts"] == task["artifacts"]
        page = await client.list_tasks(ListTasksRequest(page_size=10))
        assert task["id"] in {one.id for one in page.tasks}


async def test_a_task_that_waits_for_a_person_says_so_and_is_cancelled(machine: OneMachine) -> None:
    async with agent(machine) as client:
        task = await sent(client, message({"tasks": [ASK]}, "m-2", at_once=True))
        while task["status"]["state"] != "TASK_STATE_INPUT_REQUIRED":
            assert task["status"]["state"] in {"TASK_STATE_SUBMITTED", "TASK_STATE_WORKING"}
            task = MessageToDict(await client.get_task(GetTaskRequest(id=task["id"])))
        assert "May it go on?" in task["status"]["message"]["parts"][0]["text"]
        await client.cancel_task(CancelTaskRequest(id=task["id"]))
        while task["status"]["state"] != "TASK_STATE_CANCELED":
            task = MessageToDict(await client.get_task(GetTaskRequest(id=task["id"])))
        await client.cancel_task(CancelTaskRequest(id=task["id"]))  # once more, which changes nothing
        done = await sent(client, message({"tasks": [WAIT]}, "m-7"))
        with pytest.raises(TaskNotCancelableError):
            await client.cancel_task(CancelTaskRequest(id=done["id"]))


async def test_a_message_of_the_same_id_of_another_agent_is_another_task(machine: OneMachine) -> None:
    made = await machine.client.post("/api/v1/keys", json={"name": "bob", "roles": ["operator"]})
    async with agent(machine) as client, agent(machine, made.json()["key"]) as other:
        task = await sent(client, message({"tasks": [WAIT]}, "m-8"))
        same = await sent(other, message({"tasks": [WAIT]}, "m-8"))
        mine = await sent(other, message({"tasks": [WAIT]}, "m-8"))
        assert (same["status"]["state"], same["id"] == task["id"]) == ("TASK_STATE_COMPLETED", False)
        assert mine["id"] == same["id"]


async def test_a_plan_that_is_refused_is_a_rejected_task_with_the_reasons(machine: OneMachine) -> None:
    async with agent(machine) as client:
        task = await sent(client, message({"tasks": [{**ASK, "dependencies": ["nobody"]}]}, "m-3"))
    assert task["status"]["state"] == "TASK_STATE_REJECTED"
    assert "nobody" in task["status"]["message"]["parts"][0]["text"]


async def test_what_makes_no_task_is_refused_by_the_codes_of_the_protocol(machine: OneMachine) -> None:
    async with agent(machine) as client:
        with pytest.raises(TaskNotFoundError):
            await client.get_task(GetTaskRequest(id="8b0f3e5c-0000-5000-8000-000000000000"))
        with pytest.raises(TaskNotFoundError):
            await client.get_task(GetTaskRequest(id="../../keys"))
        with pytest.raises(UnsupportedOperationError):
            await sent(client, message({"approved": True}, "m-4", taskId="8b0f3e5c-0000-5000-8000-000000000000"))
        with pytest.raises(UnsupportedOperationError):
            await client.list_tasks(ListTasksRequest(context_id="talk-1"))
        for data in ("please build a shop", ["tasks"], 7):
            with pytest.raises(InvalidParamsError):
                await sent(client, message(data, "m-5"))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"method": "Teleport"}, -32601),
        ({"method": "SendMessage"}, -32602),
        ({"method": "SendMessage", "params": {"message": {"messageId": "m", "parts": {}}}}, -32602),
        ({"method": "SendMessage", "params": {"message": {"messageId": "m" * 1000, "parts": [{"data": {}}]}}}, -32602),
        ({"method": "SubscribeToTask", "params": {"id": "x"}}, -32004),
        ({"method": "ListTasks", "params": {"pageSize": "all"}}, -32602),
    ],
)
async def test_other_messages_are_refused_by_their_codes(machine: OneMachine, body: dict[str, Any], code: int) -> None:
    answer = await machine.client.post("/a2a", json={"jsonrpc": "2.0", "id": 1, **body})
    assert answer.json()["error"]["code"] == code


async def test_another_version_is_refused(machine: OneMachine) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}
    answer = await machine.client.post("/a2a", json=body, headers={"a2a-version": "0.3"})
    assert answer.json()["error"]["code"] == -32009
    assert "result" in (await machine.client.post("/a2a", json=body, headers={"a2a-version": "1.0.2"})).json()


async def test_roles_hold_for_agents_and_the_card_alone_is_open(machine: OneMachine) -> None:
    made = await machine.client.post("/api/v1/keys", json={"name": "watcher", "roles": ["viewer"]})
    async with httpx.AsyncClient(base_url=machine.running.url, trust_env=False) as stranger:
        assert (await stranger.get("/.well-known/agent-card.json")).status_code == 200
        rpc = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}
        assert (await stranger.post("/a2a", json=rpc)).status_code == 401
        assert (
            await stranger.post("/a2a", content=b"{" * 100_000, headers={"content-type": "application/json"})
        ).status_code == 401
        headers = {"authorization": f"Bearer {made.json()['key']}"}
        assert "result" in (await stranger.post("/a2a", json=rpc, headers=headers)).json()
        send = {"messageId": "m-6", "role": "ROLE_USER", "parts": [{"data": {"tasks": [WAIT]}}]}
        refused = await stranger.post(
            "/a2a", json={**rpc, "method": "SendMessage", "params": {"message": send}}, headers=headers
        )
        assert refused.json()["error"]["data"][0]["code"] == "insufficient_role"

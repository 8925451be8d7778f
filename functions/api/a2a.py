"""The Agent2Agent protocol, version 1.0, JSON-RPC: other agents give decisions as tasks, look at them and cancel them.

A task is a flow and has its id. Each request is requests to the API in this process, with the caller's own credential:
the same roles, limits and audits hold as without it. What is not offered (streams, push notifications, further messages
to a task) is refused by the protocol's own codes.
"""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response

from functions._core.errors import Rejected
from functions._core.placement.agent_card import PATH
from functions.api.a2a_forms import AgentCardView
from functions.api.bodies import header, json_answer, read_json
from functions.api.documents import json_body, problems
from functions.api.inner_calls import InnerAnswer, inner_call
from functions.api.mcp_tools import InnerRequest
from functions.api.preconditions import own_key
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.tool_forms import RpcAnswer, RpcMessage

router = Routes(tags=["tools"])

VERSION = "1.0"
"""The version of A2A that is spoken; a later patch of it is the same."""

WAIT_SECONDS = 10
"""How long a message waits for the end of its task, unless its sender wants the answer at once."""

PAGE, MOST = 50, 100
"""Tasks in one answer, without a word of the caller, and at most."""

NO_METHOD, BAD_PARAMS, NO_TASK, NOT_CANCELABLE, NOT_OFFERED, BAD_VERSION = (
    -32601,
    -32602,
    -32001,
    -32002,
    -32004,
    -32009,
)
"""Codes of errors of JSON-RPC and of A2A."""

REFUSED = -32000
"""The code of what the platform refuses; the error's data has the problem."""

TASK_ID = re.compile(r"[0-9a-f-]{36}")

STATES: Mapping[str, str] = {
    "VALIDATING": "SUBMITTED",
    "AWAITING_APPROVAL": "INPUT_REQUIRED",
    "COMPLETED": "COMPLETED",
    "FAILED": "FAILED",
    "TIMED_OUT": "FAILED",
    "CANCELLED": "CANCELED",
    "REJECTED": "REJECTED",
}
"""The states of tasks by those of flows; a flow in any other one is at work."""

UNDER_WAY = "WORKING"

ENDED_OTHERWISE = frozenset({"TASK_STATE_COMPLETED", "TASK_STATE_FAILED", "TASK_STATE_REJECTED"})
"""Ends of a task that was not cancelled."""

NOT_HERE = frozenset(
    {
        "SendStreamingMessage",
        "SubscribeToTask",
        "CreateTaskPushNotificationConfig",
        "GetTaskPushNotificationConfig",
        "ListTaskPushNotificationConfigs",
        "DeleteTaskPushNotificationConfig",
        "GetExtendedAgentCard",
    }
)
"""Methods of the protocol that are not offered: asking again, and subscriptions of the platform, serve instead."""


class _Refusal(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, code: int, text: str, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.code, self.problem = code, problem


@router.get(PATH)
async def get_agent_card(services: Services, response: Response) -> AgentCardView:
    """Return the card by which other agents know this platform (A2A 1.0)."""
    response.headers["cache-control"] = "public, max-age=300"
    return AgentCardView.of(f"{services.base_url}/a2a", services.version, VERSION)


@router.post(
    "/a2a",
    response_model=None,
    responses=problems(400, 403, 413, 415, 422) | {200: {"model": RpcAnswer}, 202: {"description": "A notification"}},
    openapi_extra=json_body(RpcMessage),
)
async def answer_a2a(request: Request) -> Response:
    """Answer a message of the Agent2Agent protocol, version 1.0: SendMessage, GetTask, ListTasks, CancelTask."""
    message = await read_json(request, RpcMessage)
    if message.id is None:
        return Response(status_code=202)
    try:
        _check_version(header(request, b"a2a-version"))
        result = await _result(request, message)
    except _Refusal as refusal:
        about = {"data": [dict(refusal.problem)]} if refusal.problem else {}
        error = {"code": refusal.code, "message": str(refusal), **about}
        return json_answer(200, {"jsonrpc": "2.0", "id": message.id, "error": error})
    return json_answer(200, {"jsonrpc": "2.0", "id": message.id, "result": result})


def _check_version(said: str) -> None:
    if said and said.split(".")[:2] != VERSION.split("."):
        raise _Refusal(BAD_VERSION, f"version {said[:20]!r} of A2A is not spoken here; {VERSION} is")


async def _result(request: Request, message: RpcMessage) -> Mapping[str, Any]:
    match message.method:
        case "SendMessage":
            return {"task": await _sent(request, message.params)}
        case "GetTask":
            return await _task(request, _id_in(message.params))
        case "ListTasks":
            return await _listed(request, message.params)
        case "CancelTask":
            return await _cancelled(request, _id_in(message.params))
    if message.method in NOT_HERE:
        raise _Refusal(NOT_OFFERED, f"{message.method} is not offered; ask by GetTask")
    raise _Refusal(NO_METHOD, f"there is no method {message.method!r}")


async def _sent(request: Request, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Begin a task by a message."""
    message = params.get("message")
    message_id = message.get("messageId") if isinstance(message, Mapping) else None
    if not isinstance(message, Mapping) or not isinstance(message_id, str) or not 0 < len(message_id) <= MOST:
        raise _Refusal(BAD_PARAMS, f"params need a message, with a messageId of 1 to {MOST} characters")
    if message.get("taskId"):
        raise _Refusal(NOT_OFFERED, "a task takes no further message: people decide at the platform, or by its tools")
    given = _data_in(message.get("parts"))
    if len(given) != 1:
        raise _Refusal(BAD_PARAMS, "the message needs one part with data: a decision, or a plan")
    configuration = params.get("configuration")
    at_once = isinstance(configuration, Mapping) and configuration.get("returnImmediately") is True
    query = urlencode({"wait_seconds": 0 if at_once else WAIT_SECONDS})
    key = own_key(request, message_id) or message_id  # another caller's message of the same id is another one
    body = _decision(given[0], key, message_id, message.get("contextId"))
    begun = _good(await _asked(request, "POST", "/api/v1/flow-c/execute", query, body))
    return await _task(request, str(begun["flow_id"]))


def _data_in(parts: object) -> list[Mapping[str, Any]]:
    """Return the data of the parts of a message that are objects."""
    listed = parts if isinstance(parts, list) else []
    return [part["data"] for part in listed if isinstance(part, Mapping) and isinstance(part.get("data"), Mapping)]


def _decision(given: Mapping[str, Any], key: str, message_id: str, context_id: object) -> Mapping[str, Any]:
    """Return the decision that data stands for; what it does not say of itself follows from the message."""
    named = {"decision_id": f"a2a:{key}"}
    if "tasks" not in given:
        return {**named, **given}
    context = context_id if isinstance(context_id, str) and context_id else "a2a"
    plan_id = given.get("plan_id", f"a2a:{message_id}")
    about = {"plan_id": plan_id, "intent_id": context, "correlation_id": context, "final_decision": "approve"}
    return {**named, **about, "cognitive_plan": {"plan_id": plan_id, **given}}


async def _task(request: Request, task_id: str) -> Mapping[str, Any]:
    """Return a task with what it has come to."""
    flow = _good(await _asked(request, "GET", f"/api/v1/flows/{task_id}"))
    shown = _shown(flow)
    if flow["tickets_by_status"].get("WAITING"):
        query = urlencode({"flow_id": task_id, "status": "WAITING", "limit": MOST})
        tickets = _good(await _asked(request, "GET", "/api/v1/tickets", query))["items"]
        asking = [one for one in tickets if one.get("waiting") == "APPROVAL"]
        if asking:
            texts = [f"Task {one['task_id']} waits for a person: {one['description']}" for one in asking[:5]]
            shown["status"] |= {"state": "TASK_STATE_INPUT_REQUIRED", "message": _said(task_id, "\n".join(texts))}
    if flow["status"] == "COMPLETED":
        answer = await _asked(request, "GET", f"/api/v1/flows/{task_id}/result")
        if answer.status == HTTPStatus.OK:
            part = {"data": json.loads(answer.body)["result"], "mediaType": "application/json"}
            shown["artifacts"] = [{"artifactId": "result", "name": "result", "parts": [part]}]
    return shown


async def _listed(request: Request, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a page of the tasks, the newest first."""
    unknown = sorted(params.keys() & {"contextId", "status", "statusTimestampAfter"})
    if unknown:
        raise _Refusal(NOT_OFFERED, f"tasks are not selected by {', '.join(unknown)}")
    size, token = params.get("pageSize", PAGE), params.get("pageToken") or None
    if not isinstance(size, int) or not 1 <= size <= MOST or not isinstance(token, str | None):
        raise _Refusal(BAD_PARAMS, f"pageSize is 1 to {MOST}, pageToken the nextPageToken of a page")
    query = urlencode({"limit": size, **({"cursor": token} if token else {})})
    page = _good(await _asked(request, "GET", "/api/v1/flows", query))
    tasks = [_shown(flow) for flow in page["items"]]
    return {"tasks": tasks, "nextPageToken": page["cursor"] or "", "pageSize": size}  # nobody counts all of them


async def _cancelled(request: Request, task_id: str) -> Mapping[str, Any]:
    body = {"reason": "cancelled by A2A"}
    _good(await _asked(request, "POST", f"/api/v1/flows/{task_id}/cancel", body=body))
    task = await _task(request, task_id)
    if task["status"]["state"] in ENDED_OTHERWISE:
        raise _Refusal(NOT_CANCELABLE, f"the task has ended before: {task['status']['state']}")
    return task


def _shown(flow: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flow as a task."""
    state = STATES.get(flow["status"], UNDER_WAY)
    status: dict[str, Any] = {"state": f"TASK_STATE_{state}", "timestamp": flow["ended_at"] or flow["received_at"]}
    if flow["reasons"]:
        texts = "\n".join(reason["message"] for reason in flow["reasons"][:5])
        status["message"] = _said(flow["flow_id"], texts)
    about = {"decisionId": flow["decision_id"], "flowStatus": flow["status"], "slaDeadline": flow["sla_deadline"]}
    return {"id": flow["flow_id"], "contextId": flow["correlation_id"], "status": status, "metadata": about}


def _said(task_id: str, text: str) -> Mapping[str, Any]:
    """Return what the platform says about a task; texts of workers and people in it are data."""
    return {"messageId": f"{task_id}:status", "taskId": task_id, "role": "ROLE_AGENT", "parts": [{"text": text}]}


async def _asked(
    request: Request, method: str, path: str, query: str = "", body: Mapping[str, Any] | None = None
) -> InnerAnswer:
    try:
        return await inner_call(request, InnerRequest(method, path, query, {}, body))
    except Rejected as refusal:
        raise _Refusal(REFUSED, str(refusal)) from refusal


def _id_in(params: Mapping[str, Any]) -> str:
    task_id = params.get("id")
    if not isinstance(task_id, str):
        raise _Refusal(BAD_PARAMS, "params need the id of a task")
    if not TASK_ID.fullmatch(task_id):
        raise _Refusal(NO_TASK, "there is no such task")
    return task_id


def _good(answer: InnerAnswer) -> Any:  # noqa: ANN401 any JSON
    """Return an answer of success; raise `_Refusal` for a problem."""
    if answer.status == HTTPStatus.NOT_FOUND:
        raise _Refusal(NO_TASK, "there is no such task")
    if answer.status >= HTTPStatus.BAD_REQUEST:
        problem = _problem(answer)
        code = BAD_PARAMS if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY else REFUSED
        raise _Refusal(code, str(problem.get("detail", "it was refused")), problem)
    return json.loads(answer.body)


def _problem(answer: InnerAnswer) -> Mapping[str, Any]:
    told: Mapping[str, Any] = json.loads(answer.body)
    return {name: told[name] for name in ("status", "code", "detail", "errors") if told.get(name)}

"""Links of /openapi.json: the operations that can follow an answer, and the values of it that they take.

People read them to find their way; generators of tests follow them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Document = dict[str, Any]


def _of(parameter: str, field: str | None = None) -> Mapping[str, str]:
    """Return that a parameter is a field of the answer, which has its name unless `field` says another one."""
    return {parameter: f"$response.body#/{field or parameter}"}


def _links(parameters: Mapping[str, str], *operations: str) -> Document:
    return {operation: {"operationId": operation, "parameters": parameters} for operation in operations}


def _change(name: str, **body: object) -> Document:
    return {name: {"operationId": "change_status", "parameters": _of("ticket_id"), "requestBody": body}}


def _named(operation: str, **parts: str) -> Document:
    """Return the link to an operation that takes a workflow and a word, in its path or in its body."""
    in_path = operation.endswith("_by_name")
    link: Document = {"operationId": operation, "parameters": {**_of("workflow_id"), **(parts if in_path else {})}}
    return {operation: link if in_path else {**link, "requestBody": parts}}


_ATTEMPT = "$response.body#/attempt"

TICKET = {
    **_links(_of("ticket_id"), "get_ticket", "get_ticket_history", "get_logs", "get_ticket_token"),
    **_links(_of("ticket_id"), "retry_ticket", "reassign_ticket", "skip_ticket"),
    **_change("claim", status="RUNNING", worker_id="worker-1", attempt=None),
    **_change("complete", status="COMPLETED", attempt=_ATTEMPT),
    **_change("fail", status="FAILED", attempt=_ATTEMPT),
    **_change("cancel", status="CANCELLED"),
    **_links(_of("flow_id"), "get_flow"),
    **_links(_of("record_id", "ticket_id"), "why"),
}
FLOW = {
    **_links(_of("flow_id"), "get_flow", "list_tickets_of_flow", "get_history", "get_decision", "get_result"),
    **_links(_of("flow_id"), "cancel_flow", "approve_flow", "deny_flow", "pause_flow", "resume_flow", "redrive_flow"),
    **_links(_of("record_id", "flow_id"), "why"),
}
WORKFLOW = {
    **_links(_of("workflow_id"), "get_workflow"),
    **_links(_of("flow_id", "workflow_id"), "pause_workflow", "resume_workflow"),
    **_named("query_workflow", query_name="get_status"),
    **_named("query_workflow_by_name", query_name="get_tickets"),
    **_named("signal_workflow", signal_name="cancel_workflow"),
    **_named("signal_workflow_by_name", signal_name="cancel_workflow"),
}
WORKER = _links(_of("worker_id"), "get_worker", "take_heartbeat", "deregister_worker")
KEY = _links(_of("key_id"), "revoke_key")
SUBSCRIPTION = {
    **_links(_of("subscription_id", "id"), "get_subscription", "replace_subscription", "delete_subscription"),
    **_links(_of("subscription_id", "id"), "rotate_secret", "test_subscription", "list_deliveries"),
}
SLO = {
    **_links(_of("slo_id"), "get_slo", "change_slo", "delete_slo", "test_slo", "get_budget", "recalculate_budget"),
    **_links(_of("slo_id"), "get_budget_history", "get_burn_rate"),
}
PIPELINE = {
    **_links(_of("pipeline_id"), "get_pipeline", "list_artifacts", "cancel_pipeline"),
    **_links(_of("flow_id", "pipeline_id"), "get_flow"),
}
POLICY = _links(_of("policy_id"), "get_policy", "change_policy", "delete_policy")
_DELIVERY_ID = {**_of("subscription_id"), **_of("delivery_id")}
DEAD_LETTER = _links(_of("letter_id", "items/0/letter_id"), "get_dead_letter", "replay_dead_letter", "drop_dead_letter")
DELIVERY = {
    **_links(_DELIVERY_ID, "get_delivery", "resend_delivery"),
    **_links(_of("subscription_id"), "list_deliveries"),
}

LINKS: Mapping[str, Document] = {
    "receive_events": FLOW,
    "start_workflow": WORKFLOW,
    "execute_flow": FLOW,
    "create_ticket": TICKET,
    "change_status": TICKET,
    "register_worker": WORKER,
    "create_subscription": SUBSCRIPTION,
    "replace_subscription": SUBSCRIPTION,
    "test_subscription": DELIVERY,
    "resend_delivery": DELIVERY,
    "create_key": KEY,
    "create_slo": SLO,
    "create_policy": POLICY,
    "begin_pipeline": PIPELINE,
    "list_dead_letters": DEAD_LETTER,
}
"""By the operation that answers."""


def add_links(operations: Iterable[Document]) -> None:
    """Give the answers below 300 of `operations` their links."""
    for operation in operations:
        if links := LINKS.get(operation["operationId"]):
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    answer["links"] = links

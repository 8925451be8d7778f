"""Two platforms, a forge and a Flow C: the end of a pipeline of the one ends the BUILD ticket of the other, signed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from functions._core.events.signatures import plain_signature
from functions.api.webhook_forms import PipelineCompleted
from tests.support.forge_stages import BY_PERSON, BY_REQUEST, MERGED
from tests.support.http_api import problem_of
from tests.support.one_machine import OneMachine, one_machine
from tests.support.pipelines import PIPELINES, ForgeWorker, forge_worker, seen
from tests.support.processes import free_port
from tests.support.webhook_receiver import WebhookReceiver, verified
from tests.support.world import decision, task, until

SUBSCRIPTIONS = "/api/v1/subscriptions"
FORM: dict[str, Any] = {"types": ["code-forge.results"], "config": {"body": "pipeline_completed"}}


@dataclass
class TwoPlatforms:
    """The forge, its worker, its subscription, and the Flow C that has subscribed."""

    forge: OneMachine
    worker: ForgeWorker
    subscription: dict[str, Any]
    flowc: OneMachine

    async def build(self) -> tuple[str, str]:
        """Begin a flow of Flow C whose BUILD ticket somebody has, and a pipeline for it; return the ids of both."""
        flow_id = await self.flowc.submit(decision(task("a", task_type="BUILD")))
        given = await self.flowc.send("/api/v1/tasks/lease", {"worker_id": "builder", "wait_seconds": 30})
        (assignment,) = [event["data"] for event in given["assignments"]]
        about = {"plan_id": assignment["plan_id"], "language": "python", "artifact_type": "service"}
        body = {"artifact_id": "acme/shop", "ticket_id": assignment["ticket_id"], "parameters": about}
        return flow_id, (await self.forge.send(PIPELINES, body))["pipeline_id"]

    async def deliveries(self, number: int) -> list[dict[str, Any]]:
        """Return what became of so many deliveries, the newest first."""

        async def done() -> list[dict[str, Any]] | None:
            page = await self.forge.get(f"{SUBSCRIPTIONS}/{self.subscription['id']}/deliveries")
            ended: list[dict[str, Any]] = [one for one in page["items"] if one["status"] != "PENDING"]
            return ended if len(ended) >= number else None

        return await until(done, f"{number} deliveries")


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[TwoPlatforms]:
    async with AsyncExitStack() as stack:
        forge = await stack.enter_async_context(one_machine(tmp_path / "forge"))
        worker = await stack.enter_async_context(forge_worker(forge.client))
        port = free_port()
        sink = f"http://127.0.0.1:{port}/api/v1/webhooks/pipeline-completed"
        subscription = await forge.send(SUBSCRIPTIONS, {"sink": sink, **FORM})
        settings = {"port": port, "webhook_secret": subscription["secret"]}
        flowc = await stack.enter_async_context(one_machine(tmp_path / "flowc", **settings))
        about = {"worker_id": "builder", "delivery": "pull", "capabilities": ["python"]}
        await flowc.send("/api/v1/workers", about)
        yield TwoPlatforms(forge, worker, subscription, flowc)


async def test_a_pipeline_that_completes_ends_the_ticket_with_its_artifacts(two: TwoPlatforms) -> None:
    flow_id, pipeline_id = await two.build()
    assert (await two.flowc.ended(flow_id))["status"] == "COMPLETED"
    ticket = (await two.flowc.tickets(flow_id))["a"]
    said = PipelineCompleted.model_validate(ticket["output"])
    about = (said.pipeline_id, said.ticket_id, said.status, said.artifact_id)
    assert about == (pipeline_id, ticket["ticket_id"], "COMPLETED", "acme/shop")
    output, wheel = ticket["output"], ticket["output"]["artifacts"][-1]
    assert (wheel["artifact_id"], wheel["checksum"]) == ("acme/shop:wheel", "sha256:" + "b" * 64)
    assert (output["plan_id"], output["approval_required"]) == (ticket["plan_id"], False)
    assert output.keys() >= {"event_id", "duration_ms", "completed_at"}
    (delivered,) = await two.deliveries(1)
    assert (delivered["status"], delivered["last_status"], delivered["attempts"]) == ("DELIVERED", 202, 1)


async def test_a_review_ends_nothing_and_its_denial_fails_the_ticket_for_good(two: TwoPlatforms) -> None:
    two.worker.outputs["approve/gate"] = BY_PERSON
    flow_id, pipeline_id = await two.build()
    await two.deliveries(1)
    assert (await two.flowc.tickets(flow_id))["a"]["status"] == "RUNNING"

    async def asked() -> str | None:
        review = (await seen(two.forge.client, pipeline_id))["review"]
        return review["ticket_id"] if review else None

    ticket_id = await until(asked, "a person is asked")
    await two.forge.send(f"/api/v1/tickets/{ticket_id}/deny", {"requested_by": "ada", "reason": "no licence"})
    assert (await two.flowc.ended(flow_id))["status"] == "FAILED"
    ticket = (await two.flowc.tickets(flow_id))["a"]
    assert (ticket["reason"]["code"], "denied by ada" in ticket["reason"]["message"]) == ("pipeline_rejected", True)
    assert [one["last_status"] for one in await two.deliveries(2)] == [202, 202]


async def test_where_the_merge_request_is_comes_with_the_end(two: TwoPlatforms) -> None:
    two.worker.outputs["approve/gate"] = BY_REQUEST
    flow_id, _ = await two.build()
    assert (await two.flowc.ended(flow_id))["status"] == "COMPLETED"
    output = (await two.flowc.tickets(flow_id))["a"]["output"]
    assert (output["git_mr_url"], output["approval_required"]) == (MERGED.url, True)


async def test_a_pipeline_that_is_cancelled_fails_the_ticket_and_says_so(two: TwoPlatforms) -> None:
    two.worker.held.add("compose_code")
    flow_id, pipeline_id = await two.build()
    await two.forge.send(f"{PIPELINES}/{pipeline_id}/cancel", {"requested_by": "ada", "reason": "not now"})
    await two.deliveries(1)

    async def heard() -> str | None:
        ticket = (await two.flowc.tickets(flow_id))["a"]
        return ticket["reason"]["message"] if ticket["reason"] else None

    assert (await until(heard, "it has heard of it")).startswith("the pipeline is CANCELLED")


async def test_the_message_has_the_fields_of_the_contract_and_is_signed_in_both_ways(tmp_path: Path) -> None:
    async with one_machine(tmp_path) as forge, forge_worker(forge.client), WebhookReceiver() as receiver:
        config = {**FORM["config"], "x_webhook_signature": True}
        secret = (await forge.send(SUBSCRIPTIONS, {"sink": receiver.sink("a"), **FORM, "config": config}))["secret"]
        about = {"language": "python"}
        await forge.send(PIPELINES, {"artifact_id": "acme/unasked", "parameters": about})
        body = {"artifact_id": "acme/shop", "ticket_id": "of-another", "parameters": about}
        pipeline_id = (await forge.send(PIPELINES, body))["pipeline_id"]

        async def there() -> bool | None:
            ended = [one["status"] for one in (await forge.get(PIPELINES))["items"]]
            return (ended == ["COMPLETED"] * 2 and bool(receiver.received["a"])) or None

        await until(there, "both have ended")
        ((_, request),) = receiver.received["a"]  # nobody else waits for one without a ticket
        said = verified(secret, request)
        assert said.keys() == {
            *("event_id", "pipeline_id", "ticket_id", "plan_id", "artifact_id", "status", "artifacts"),
            *("approval_required", "git_mr_url", "duration_ms", "completed_at", "error", "correlation_id"),
        }
        assert (said["pipeline_id"], said["ticket_id"], said["status"]) == (pipeline_id, "of-another", "COMPLETED")
        assert request.headers["content-type"] == "application/json; charset=utf-8"
        assert request.headers["x-webhook-signature"] == plain_signature(secret, request.body)


@pytest.mark.parametrize("types", [[], ["flow.completed"], ["code-forge.results", "flow.completed"]])
async def test_no_other_event_has_that_body(tmp_path: Path, types: list[str]) -> None:
    async with one_machine(tmp_path) as forge:
        answer = await forge.client.post(SUBSCRIPTIONS, json={"sink": "http://127.0.0.1:9/", **FORM, "types": types})
        problem_of(answer, 422, "invalid_data")

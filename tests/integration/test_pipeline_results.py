"""`code-forge.results`: what a pipeline has come to is told once, with all by which it is traced back, and counted."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from functions._core.events.commands import CancelRequest, TicketApproval, TicketDenial
from functions._core.events.envelope import CloudEvent
from functions._core.events.pipelines import (
    RESULTS,
    CodeForgeArtifact,
    ForgeValidation,
    PipelineResult,
    PipelineState,
)
from functions._core.forge.gate import SEVERITIES
from functions._core.forge.progress import ForgeStatus
from functions._core.forge.results import MOST_BYTES
from functions._core.forge.stages import STAGES
from functions._core.jobs.records import page_of_jobs
from functions._core.records.values import ticket_id_of
from functions._observability.catalogue import FORGE_STAGES, ISSUE_SEVERITIES, PIPELINE_ENDS
from tests.support.forge_pipelines import CAPABILITIES, does, failed, output, pipeline
from tests.support.world import LocalWorld, decision, report_event, running_world, task, until


@dataclass
class Told:
    """Takes results; implements `Broker`."""

    events: list[CloudEvent] = field(default_factory=list)

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Keep the events."""
        self.events += [event for event in events if event.event_type == RESULTS]

    @property
    def statuses(self) -> list[str]:
        return [event.data["status"] for event in self.events]

    async def ended(self, number: int = 1) -> dict[str, Any]:
        """Wait for so many events; return the data of the last one."""

        async def there() -> bool | None:
            return len(self.events) >= number or None

        await until(there, f"{number} results")
        assert len(self.events) == number
        data: dict[str, Any] = self.events[-1].data
        return data


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[LocalWorld]:
    async with running_world(tmp_path) as running:
        await running.register("forge-1", *CAPABILITIES)
        yield running


@pytest.fixture
def told(world: LocalWorld) -> Told:
    world.platform.outbox.subscriber = heard = Told()
    return heard


def counted(world: LocalWorld, name: str, *labels: str) -> float:
    return world.platform.metrics.totals().get((name, labels), 0.0)


async def test_the_end_of_a_pipeline_is_told_with_all_that_it_has_made(world: LocalWorld, told: Told) -> None:
    world.workers.behave = does()
    asked: dict[str, Any] = {"ticket_id": "build-1", "plan_id": "plan-of-the-build", "correlation_id": "c-1"}
    flow_id = await world.submit(pipeline("build-1:1", **asked))
    flow = await world.ended(flow_id)
    assert flow.status == "COMPLETED"
    result = PipelineResult.model_validate(await told.ended())
    (event,) = told.events
    assert (event.source, event.subject, event.type) == ("/flowc", flow_id, "io.neuralhive.code-forge.results.v1")
    about = (result.pipeline_id, result.ticket_id, result.plan_id, result.artifact_id, result.correlation_id)
    assert about == (flow_id, "build-1", "plan-of-the-build", "acme/shop", "c-1")
    assert (result.decision_id, result.trace_id) == (flow.decision_id, flow.trace_id)
    assert (result.status, result.approval_required, result.approval, result.score) == (
        "COMPLETED",
        False,
        "auto",
        0.93,
    )
    assert (result.created_at, result.completed_at) == (flow.received_at, flow.ended_at)
    assert (result.tests, result.coverage, result.quality) == ({"passed": 10, "failed": 0, "skipped": 1}, 0.85, 0.9)
    names = ("select_template", "compose_code", "validate_code", "run_tests", "package", "approve")
    assert [(stage.stage_name, stage.status) for stage in result.pipeline_stages] == [(n, "COMPLETED") for n in names]
    kinds = [one.artifact_type for one in result.artifacts]
    assert kinds == ["CODE", "IAC", "TEST", "DOCUMENTATION", "CODE"]


async def test_an_artifact_has_every_field_of_the_contract(world: LocalWorld, told: Told) -> None:
    world.workers.behave = does()
    await world.ended(await world.submit(pipeline("build-1:1", ticket_id="build-1")))
    result = await told.ended()
    *_, wheel = result["artifacts"]
    assert wheel.keys() == CodeForgeArtifact.model_fields.keys()
    assert [name for name, value in wheel.items() if value in (None, "", [], {})] == []
    assert wheel["signature"] == "c2lnbmF0dXJl"
    assert wheel["sbom_uri"] == "s3://forge/sbom.cdx.json"
    assert (wheel["content_uri"], wheel["content_hash"]) == ("s3://forge/shop-0.1.0-py3-none-any.whl", "b" * 64)
    assert (wheel["template_id"], wheel["generation_method"]) == ("python-service", "TEMPLATE")
    (validation,) = wheel["validation_results"]
    assert validation.keys() == ForgeValidation.model_fields.keys()
    assert [name for name, value in validation.items() if value in (None, "", {})] == []


async def test_a_review_by_a_person_is_told_when_it_begins_and_when_it_ends(world: LocalWorld, told: Told) -> None:
    world.workers.behave = does("REVIEW", "person")
    flow_id = await world.submit(pipeline("k"))
    begun = await told.ended()
    assert (begun["status"], begun["approval_required"], begun["approval"]) == ("REQUIRES_APPROVAL", True, None)
    assert (begun["approval_reason"], begun["completed_at"]) == ("the score is 0.7", None)
    assert begun["pipeline_stages"][-1]["status"] == "RUNNING"
    assert len(begun["artifacts"]) == 5
    await world.platform.order(TicketApproval(flow_id=flow_id, ticket_id=await person(world, flow_id), **by("ada")))
    ended = await told.ended(2)
    assert (ended["status"], ended["approval_required"], ended["approval"]) == ("COMPLETED", True, "reviewed")
    assert counted(world, "forge_approvals_total", "reviewed") == 1
    assert counted(world, "forge_reviews_total") == 1


async def test_what_a_person_does_not_want_is_rejected(world: LocalWorld, told: Told) -> None:
    world.workers.behave = does("REVIEW", "person", {"package": None})
    flow_id = await world.submit(pipeline("k"))
    world.workers.behave = does("REVIEW", "person")
    await finish(world, "package")
    await told.ended()
    denial = TicketDenial(flow_id=flow_id, ticket_id=await person(world, flow_id), **by("ada"))
    await world.platform.order(denial)
    ended = await told.ended(2)
    assert (ended["status"], ended["approval"]) == ("REJECTED", "rejected")
    assert "denied by ada" in ended["error_message"]


async def test_what_the_gate_does_not_want_is_rejected(world: LocalWorld, told: Told) -> None:
    world.workers.behave = does(failing={"gate": failed("rejected", "the score is 0.31")})
    flow_id = await world.submit(pipeline("k"))
    ended = await told.ended()
    assert (await world.ended(flow_id)).status == "FAILED"
    assert (ended["status"], ended["approval"], ended["approval_required"]) == ("REJECTED", "rejected", False)
    assert ended["error_message"] == "approve/gate: the score is 0.31"
    made = {one["artifact_id"] for one in ended["artifacts"]}
    assert (len(made), "acme/shop:wheel" in made) == (4, False), "what was packaged has been taken away"
    assert ended["pipeline_stages"][-1]["status"] == "FAILED"
    assert counted(world, "forge_pipelines_total", "rejected") == 1


async def test_a_stage_that_fails_ends_the_pipeline_and_those_after_it_are_never_begun(
    world: LocalWorld, told: Told
) -> None:
    world.workers.behave = does(failing={"run_tests": failed("tests_failed", "3 tests failed")})
    await world.submit(pipeline("k"))
    ended = await told.ended()
    assert (ended["status"], ended["approval"], ended["error_message"]) == ("FAILED", None, "run_tests: 3 tests failed")
    stages = {stage["stage_name"]: stage for stage in ended["pipeline_stages"]}
    assert (stages["run_tests"]["status"], stages["run_tests"]["error_message"]) == ("FAILED", "3 tests failed")
    assert {stages[name]["status"] for name in ("package", "approve")} <= {"PENDING", "SKIPPED"}
    assert len(ended["artifacts"]) == 4
    assert counted(world, "forge_stage_total", "run_tests", "failed") == 1
    assert counted(world, "forge_artifacts_total", "CODE") == 0


async def test_a_pipeline_that_somebody_cancels_says_so(world: LocalWorld, told: Told) -> None:
    world.workers.behave = lambda _assignment: None
    flow_id = await world.submit(pipeline("k"))
    await world.ticket(flow_id, lambda one: one.acknowledged_at is not None, "the first stage is at work")
    await world.platform.order(CancelRequest(flow_id=flow_id, **by("ada")))
    assert (await told.ended())["status"] == "CANCELLED"


async def test_a_pipeline_that_is_cancelled_in_line_is_told(world: LocalWorld, told: Told) -> None:
    world.workers.behave = lambda _assignment: None
    first = await world.submit(pipeline("k-1", at_once=1))
    await world.ticket(first, lambda one: one.acknowledged_at is not None, "the first one has the place")
    second = await world.submit(pipeline("k-2", at_once=1))

    async def waits() -> bool | None:
        flow = await world.ports.store.flow(second)
        return (flow is not None and flow.status == "GENERATING") or None

    await until(waits, "the second one waits in line")
    await world.platform.order(CancelRequest(flow_id=second, **by("ada")))
    ended = await told.ended()
    assert (ended["pipeline_id"], ended["status"], ended["artifacts"]) == (second, "CANCELLED", [])
    assert {stage["status"] for stage in ended["pipeline_stages"]} <= {"PENDING", "SKIPPED"}
    assert "ada" in ended["error_message"]


async def test_a_merge_request_is_told_as_soon_as_its_worker_names_it(world: LocalWorld, told: Told) -> None:
    url = "https://git.example/acme/shop/-/merge_requests/7"
    job = {"executor": "forge_merge_request", "job_id": "7", "url": url}
    world.workers.behave = does("REVIEW", "merge_request", {"merge_request": {"status": "RUNNING", "job": job}})
    flow_id = await world.submit(pipeline("k"))
    named = await told.ended(2)
    assert [event.data["git_mr_url"] for event in told.events] == [None, url]
    assert (told.statuses, named["approval_required"]) == (["REQUIRES_APPROVAL"] * 2, True)
    world.workers.behave = does("REVIEW", "merge_request")
    await finish(world, "merge_request")
    ended = await told.ended(3)
    assert (ended["status"], ended["git_mr_url"], ended["approval"]) == ("COMPLETED", url, "reviewed")
    assert (await world.ended(flow_id)).status == "COMPLETED"
    assert counted(world, "forge_reviews_total") == 1


async def test_a_merge_request_is_the_same_whichever_worker_names_it(world: LocalWorld, told: Told) -> None:
    job = {"executor": "forge_merge_request", "job_id": "7", "url": "https://git.example/acme/shop/-/merge_requests/7"}
    world.workers.behave = does("REVIEW", "merge_request", {"merge_request": {"status": "RUNNING", "job": job}})
    await world.submit(pipeline("k"))
    await told.ended(2)
    await world.platform.deregister("forge-1", "restarted")
    await world.register("forge-2", *CAPABILITIES)

    async def named_again() -> bool | None:
        given = [one for one in world.workers.assignments if one["task_id"] == "approve/merge_request"]
        jobs = [job for job, _ in (await page_of_jobs(world.ports.key_values, None, 50))[0]]
        return (len(given) > 1 and [one.attempt for one in jobs] == [2]) or None

    await until(named_again, "the next worker names it")
    await world.platform.report(report_event(world.workers.assignments[-1], status="RUNNING", job=job))
    assert len({event.id for event in told.events}) == 2


async def test_a_worker_of_another_stage_names_no_merge_request(world: LocalWorld, told: Told) -> None:
    job = {"executor": "forge_merge_request", "job_id": "7", "url": "https://evil.example/"}
    world.workers.behave = does(failing={"package": {"status": "RUNNING", "job": job}})
    flow_id = await world.submit(pipeline("k"))
    await world.ticket(flow_id, lambda one: one.task_id == "package" and one.started_at is not None, "it has begun")
    world.workers.behave = does()
    await finish(world, "package")
    ended = await told.ended()
    assert (ended["status"], ended["git_mr_url"]) == ("COMPLETED", None)


async def test_a_pipeline_counts_once_and_so_do_its_stages(world: LocalWorld, told: Told) -> None:
    world.workers.behave = does()
    flow_id = await world.submit(pipeline("k"))
    await told.ended()
    assert await world.submit(pipeline("k")) == flow_id  # the same key is the same pipeline
    await world.platform.outbox.recover()
    assert counted(world, "forge_pipelines_total", "completed") == 1
    assert counted(world, "forge_stage_total", "compose_code", "completed") == 1
    assert counted(world, "forge_approvals_total", "auto") == 1
    assert counted(world, "forge_artifacts_total", "CODE") == 2
    assert counted(world, "forge_issues_total", "low") == 2
    assert counted(world, "forge_tests_total", "passed") == 10
    assert counted(world, "forge_signatures_total", "signed") == 1
    text = world.platform.metrics.text().decode()
    for name in (
        "forge_pipeline_duration_seconds",
        "forge_queue_wait_seconds",
        "forge_coverage",
        "forge_approval_score",
    ):
        assert f"{name}_count 1.0" in text


async def test_no_other_flow_has_a_result(world: LocalWorld, told: Told) -> None:
    world.workers.behave = lambda _assignment: {"status": "COMPLETED", "output": output("gate", "REVIEW", "person")}
    await world.register("w2")
    plain = decision(task("a", parameters={"provider": "forge_gate"}))
    labelled = decision(task("a"))
    labelled["cognitive_plan"]["labels"] = {"flowc-forge": "pipeline"}
    for one in (plain, labelled):
        assert (await world.ended(await world.submit(one))).status == "COMPLETED"
    assert told.events == []
    assert counted(world, "forge_pipelines_total", "completed") == 0


async def test_outputs_that_no_stage_would_have_and_very_many_artifacts_are_no_harm(
    world: LocalWorld, told: Told
) -> None:
    packaged = output("package")
    (wheel,) = packaged["artifacts"]
    long = {"location": "s3://forge/" + "x" * 5_000}
    packaged["artifacts"] = [{**wheel, **long, "artifact_id": f"acme/shop:{number}"} for number in range(100)]
    odd: dict[str, Any] = {
        "validate_code": {"status": "COMPLETED", "output": ["no", "object"]},
        "run_tests": {"status": "COMPLETED", "output": {"passed": "many"}},
        "package": {"status": "COMPLETED", "output": packaged},
        "gate": {"status": "COMPLETED", "output": output("gate") | {"reason": "x" * 60_000}},
    }
    world.workers.behave = does(failing=odd)
    await world.submit(pipeline("k"))
    ended = await told.ended()
    assert (ended["tests"], ended["quality"]) == (None, None)
    assert len(json.dumps(ended)) <= MOST_BYTES
    left = int(ended["metadata"]["artifacts_left_out"])
    assert (left > 0, left + len(ended["artifacts"])) == (True, 104)


def by(who: str) -> dict[str, Any]:
    return {"requested_by": who, "reason": "I have looked at it"}


async def person(world: LocalWorld, flow_id: str) -> str:
    """Return the id of the ticket that asks a person, when it does so."""
    ticket = await world.ticket(
        flow_id, lambda one: one.task_id == "approve/person" and one.status == "WAITING", "a person is asked"
    )
    assert ticket.ticket_id == ticket_id_of(flow_id, "approve/person")
    return ticket.ticket_id


async def finish(world: LocalWorld, stage: str) -> None:
    """Report the end of a stage whose worker has said nothing of it yet."""
    name = f"forge_{stage}"

    async def given() -> bool | None:
        return any(one["parameters"]["provider"] == name for one in world.workers.assignments) or None

    await until(given, f"{stage} is assigned")
    assignment = next(one for one in world.workers.assignments if one["parameters"]["provider"] == name)
    await world.platform.report(report_event(assignment, **world.workers.behave(assignment) or {}))


def test_words_that_are_said_twice_are_the_same() -> None:
    # Every process has these; few import the forge.
    assert (FORGE_STAGES, ISSUE_SEVERITIES) == (STAGES, SEVERITIES)
    states = {state.value for state in PipelineState}
    assert {state.lower() for state in states - {"REQUIRES_APPROVAL"}} == set(PIPELINE_ENDS)
    assert states == {state.value for state in ForgeStatus} - {"PENDING", "RUNNING"}

"""Pipelines of the code forge over real HTTP: a worker reports each stage, and what is shown is made of the flow."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from functions._core.forge.stages import STAGES
from tests.support.forge_stages import BY_PERSON, BY_REQUEST, MERGED, PACKAGED
from tests.support.loopback import until as until_true
from tests.support.one_machine import OneMachine, one_machine
from tests.support.pipelines import PIPELINES, ForgeWorker, forge_worker, seen
from tests.support.world import decision, task, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "the-key-of-the-first-administrator-0001"
SHOP: dict[str, Any] = {"artifact_id": "acme/shop", "parameters": {"language": "python", "port": 8080}}
ANSWERS = [("language", "python"), ("port", 8080), ("host", "a")]
ENDED = {"COMPLETED", "FAILED", "REJECTED", "CANCELLED", "TIMED_OUT"}
EVERY = ["select_template", "compose_code", "validate_code", "run_tests", "package", "approve/gate"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path_factory.mktemp("pipelines"), api_key=KEY, rate_limits="off") as running:
        running.client.headers["x-api-key"] = KEY
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def worker(machine: OneMachine) -> AsyncIterator[ForgeWorker]:
    async with forge_worker(machine.client) as working:
        yield working


async def begun(
    client: httpx.AsyncClient, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    answer = await client.post(PIPELINES, json=body or SHOP, headers=headers)
    assert answer.status_code in {200, 202}, answer.text
    pipeline: dict[str, Any] = answer.json()
    return pipeline


async def at(client: httpx.AsyncClient, pipeline_id: str, *statuses: str) -> dict[str, Any]:
    """Return a pipeline as soon as it has one of the statuses; without any as soon as it has ended."""

    async def there() -> dict[str, Any] | None:
        pipeline = await seen(client, pipeline_id)
        return pipeline if pipeline["status"] in (statuses or ENDED) else None

    return await until(there, f"pipeline {pipeline_id} to be {statuses or 'ended'}")


async def test_a_pipeline_runs_its_stages_in_order_and_shows_what_it_has_made(
    machine: OneMachine, worker: ForgeWorker
) -> None:
    asked = {**SHOP, "ticket_id": "build-7", "parameters": {**SHOP["parameters"], "plan_id": "p", "flow_id": "f"}}
    first = await machine.client.post(PIPELINES, json=asked)
    assert (first.status_code, first.json()["ticket_id"]) == (202, "build-7")
    again = await machine.client.post(PIPELINES, json=asked)
    assert (again.status_code, again.json()["pipeline_id"]) == (200, first.json()["pipeline_id"])
    pipeline = await at(machine.client, first.json()["pipeline_id"])
    assert worker.order(pipeline["pipeline_id"]) == EVERY
    assert (pipeline["status"], pipeline["stage"], pipeline["error"]) == ("COMPLETED", None, None)
    assert [stage["name"] for stage in pipeline["stages"]] == list(STAGES)
    assert {stage["status"] for stage in pipeline["stages"]} == {"COMPLETED"}
    for stage in pipeline["stages"]:
        assert stage["started_at"] <= stage["completed_at"]
        assert stage["duration_ms"] >= 0
        ticket = (await machine.client.get(stage["output_ref"])).json()
        assert (ticket["task_id"], ticket["status"]) == (stage["name"], "COMPLETED")
    assert [stage["attempts"] for stage in pipeline["stages"]] == [1, 1, 1, 1, 1, 0]
    assert pipeline["artifacts"] == [
        {
            "artifact_id": "acme/shop:wheel",
            "artifact_type": "CODE",
            "location": "s3://forge/shop-0.1.0-py3-none-any.whl",
            "checksum": f"sha256:{'b' * 64}",
        }
    ]
    assert pipeline["sbom"] == {"format": "CycloneDX", "version": "1.6", "components": 12}
    assert (pipeline["signature"], pipeline["score"], pipeline["approval_required"]) == ("MEQCIB", 0.96, False)
    made = (await machine.client.get(f"{PIPELINES}/{pipeline['pipeline_id']}/artifacts")).json()
    assert [one["name"] for one in made["items"]] == ["shop-0.1.0-py3-none-any.whl"]
    assert [one["artifact_type"] for one in made["code"]] == ["CODE", "IAC", "TEST", "DOCUMENTATION"]
    assert (made["sbom"]["spdx"]["name"], made["key_id"]) == ("sbom.spdx.json", "forge-1")
    result = (await machine.client.get(f"/api/v1/flows/{pipeline['pipeline_id']}/result")).json()["result"]
    assert (result["score"], result["outcome"], result["git_mr_url"]) == (0.96, "APPROVED", None)
    compose = worker.parameters(pipeline["pipeline_id"])["compose_code"]
    assert (compose["inputs"], compose["template"]["template_id"]) == ({"port": 8080}, "python-service")


@pytest.mark.parametrize(
    ("fails", "kind", "status"),
    [
        ("compose_code", "bad_template", "FAILED"),
        ("run_tests", "tests_failed", "FAILED"),
        ("package", "timed_out", "TIMED_OUT"),
        ("validate_code", "timeout", "TIMED_OUT"),
        ("package", "build_timeout", "TIMED_OUT"),
        ("approve/gate", "rejected", "REJECTED"),
        ("approve/merge_request", "rejected", "REJECTED"),
    ],
)
async def test_a_stage_that_fails_stops_the_pipeline(
    machine: OneMachine, worker: ForgeWorker, fails: str, kind: str, status: str
) -> None:
    worker.outputs["approve/gate"] = BY_REQUEST
    worker.failures[fails].append({"type": kind, "message": "it is not good enough", "retryable": False})
    pipeline = await at(machine.client, (await begun(machine.client))["pipeline_id"])
    name = fails.partition("/")[0]
    place = STAGES.index(name)
    assert (pipeline["status"], pipeline["stage"]) == (status, name)
    assert pipeline["error"] == f"{fails}: it is not good enough"
    assert pipeline["stages"][place]["error"] == "it is not good enough"
    statuses = [stage["status"] for stage in pipeline["stages"]]
    assert (statuses[place], set(statuses[place + 1 :])) == ("FAILED", {"CANCELLED"} if place < 5 else set())
    assert set(statuses[:place]) <= {"COMPLETED", "COMPENSATED"}

    async def undone() -> bool | None:
        flow = (await machine.client.get(f"/api/v1/flows/{pipeline['pipeline_id']}")).json()
        return True if flow["ended_at"] else None

    await until(undone, "what was pushed to be taken away again")
    order = [*EVERY, "approve/merge_request"]
    undoing = ["compensate:package"] if place == 5 else []
    assert worker.order(pipeline["pipeline_id"]) == [*order[: order.index(fails) + 1], *undoing]
    if undoing:
        undo = worker.parameters(pipeline["pipeline_id"])["compensate:package"]
        assert undo["pushed"] == list(PACKAGED.pushed)
        gone = await seen(machine.client, pipeline["pipeline_id"])
        assert (gone["stages"][4]["status"], gone["artifacts"]) == ("COMPENSATED", [])
        assert (await machine.client.get(f"{PIPELINES}/{pipeline['pipeline_id']}/artifacts")).json()["items"] == []


async def test_what_cannot_be_taken_away_again_is_not_why_a_pipeline_was_rejected(
    machine: OneMachine, worker: ForgeWorker
) -> None:
    for task_id, kind in (("approve/gate", "rejected"), ("compensate:package", "refused")):
        worker.failures[task_id].append({"type": kind, "message": f"{kind} it is", "retryable": False})
    pipeline_id = (await begun(machine.client))["pipeline_id"]

    async def over() -> bool | None:
        return bool((await machine.client.get(f"/api/v1/flows/{pipeline_id}")).json()["ended_at"]) or None

    await until(over, "the end of the undoing")
    pipeline = await seen(machine.client, pipeline_id)
    assert (pipeline["status"], pipeline["stage"]) == ("REJECTED", "approve")
    assert pipeline["error"] == "approve/gate: rejected it is"
    stages = {one["name"]: one for one in pipeline["stages"]}
    assert (stages["package"]["status"], stages["package"]["error"]) == ("COMPLETED", "its work stands: refused it is")
    assert pipeline["artifacts"] == []


async def test_a_merge_request_that_nobody_decides_in_time_is_not_opened_again(
    machine: OneMachine, worker: ForgeWorker
) -> None:
    worker.outputs["approve/gate"] = BY_REQUEST
    worker.failures["approve/merge_request"].append({"type": "timeout", "message": "no end", "retryable": True})
    asked = {**SHOP, "parameters": {"review_seconds": 600}}
    pipeline = await at(machine.client, (await begun(machine.client, asked))["pipeline_id"])
    assert (pipeline["status"], pipeline["stage"]) == ("TIMED_OUT", "approve")
    assert worker.order(pipeline["pipeline_id"]).count("approve/merge_request") == 1


async def test_a_fault_that_passes_is_tried_again(machine: OneMachine, worker: ForgeWorker) -> None:
    worker.failures["validate_code"].append({"type": "unavailable", "message": "try again", "retryable": True})
    pipeline = await at(machine.client, (await begun(machine.client))["pipeline_id"])
    assert pipeline["status"] == "COMPLETED"
    assert [stage["attempts"] for stage in pipeline["stages"]][:5] == [1, 1, 2, 1, 1]


@pytest.mark.parametrize(("verb", "status"), [("approve", "COMPLETED"), ("deny", "REJECTED")])
async def test_a_person_decides_by_the_usual_approval(
    machine: OneMachine, worker: ForgeWorker, verb: str, status: str
) -> None:
    worker.outputs["approve/gate"] = BY_PERSON
    waiting = await at(machine.client, (await begun(machine.client))["pipeline_id"], "REQUIRES_APPROVAL")
    review = waiting["review"]
    assert (waiting["approval_required"], waiting["score"], waiting["stage"]) == (True, 0.72, "approve")
    assert waiting["stages"][5]["status"] == "REQUIRES_APPROVAL"
    assert waiting["artifacts"], "one sees what one decides about"
    assert f"{PIPELINES}/{waiting['pipeline_id']}" in review["message"]
    assert waiting["url"].endswith(f"/console/tickets/{review['ticket_id']}")
    asked = (await machine.client.get(review["approval_ref"])).json()
    assert (asked["message"], asked["form"], asked["may_decide"]) == (review["message"], None, True)
    decided = await machine.client.post(f"/api/v1/tickets/{review['ticket_id']}/{verb}", json={"reason": "I looked"})
    assert decided.status_code == 202
    ended = await at(machine.client, waiting["pipeline_id"])
    assert (ended["status"], ended["review"], ended["approval_required"]) == (status, None, True)
    assert "approve/merge_request" not in worker.order(waiting["pipeline_id"])


async def test_a_merge_request_is_waited_for_and_shown(machine: OneMachine, worker: ForgeWorker) -> None:
    worker.outputs["approve/gate"] = BY_REQUEST
    worker.held.add("approve/merge_request")
    waiting = await at(machine.client, (await begun(machine.client))["pipeline_id"], "REQUIRES_APPROVAL")
    assert (waiting["review"], waiting["git_mr_url"]) == (None, None)
    await until_true(lambda: "approve/merge_request" in worker.waiting, "the worker to have it")
    assignment = worker.waiting["approve/merge_request"]
    job = {"executor": "forge_merge_request", "job_id": "7", "url": MERGED.url, "ended": False}
    await worker.report(assignment, status="RUNNING", job=job)

    async def named() -> dict[str, Any] | None:
        pipeline = await seen(machine.client, waiting["pipeline_id"])
        return pipeline if pipeline["git_mr_url"] else None

    assert (await until(named, "the merge request to be named"))["git_mr_url"] == MERGED.url
    del worker.waiting["approve/merge_request"]
    await worker.report(assignment, status="COMPLETED", output=MERGED.model_dump(mode="json"))
    ended = await at(machine.client, waiting["pipeline_id"])
    assert (ended["status"], ended["git_mr_url"], ended["approval_required"]) == ("COMPLETED", MERGED.url, True)


@pytest.mark.parametrize(
    "output",
    [
        {"outcome": "REVIEW", "score": 10**30, "review": {"a": 1}, "reason": "r" * 9_000},
        {"outcome": "MAYBE", "score": "0.99", "reason": None},
        {"outcome": ["APPROVED"], "score": -1, "reason": 7},
    ],
)
async def test_a_verdict_that_nobody_understands_is_put_before_a_person(
    machine: OneMachine, worker: ForgeWorker, output: dict[str, Any]
) -> None:
    worker.outputs |= {"approve/gate": output, "package": {**PACKAGED.model_dump(mode="json"), "artifacts": "none"}}
    waiting = await at(machine.client, (await begun(machine.client))["pipeline_id"], "REQUIRES_APPROVAL")
    assert (waiting["score"], waiting["git_mr_url"], waiting["artifacts"]) == (None, None, [])
    assert waiting["review"]
    made = await machine.client.get(f"{PIPELINES}/{waiting['pipeline_id']}/artifacts")
    assert (made.status_code, made.json()["items"]) == (200, [])
    denied = await machine.client.post(f"/api/v1/tickets/{waiting['review']['ticket_id']}/deny", json={})
    assert denied.status_code == 202
    assert (await at(machine.client, waiting["pipeline_id"]))["status"] == "REJECTED"


async def test_the_address_of_a_merge_request_is_one_that_a_browser_opens(
    machine: OneMachine, worker: ForgeWorker
) -> None:
    worker.outputs |= {"approve/gate": BY_REQUEST, "approve/merge_request": {"url": "javascript:alert(1)"}}
    ended = await at(machine.client, (await begun(machine.client))["pipeline_id"])
    assert (ended["status"], ended["git_mr_url"]) == ("COMPLETED", None)


async def test_a_pipeline_is_cancelled_and_listed(machine: OneMachine, worker: ForgeWorker) -> None:
    worker.held.add("compose_code")
    pipeline_id = (await begun(machine.client))["pipeline_id"]
    await until_true(lambda: "compose_code" in worker.waiting, "the stage to begin")
    running = await at(machine.client, pipeline_id, "RUNNING")
    assert (running["stages"][5]["status"], running["completed_at"]) == ("PENDING", None)
    listed = (await machine.client.get(PIPELINES, params={"status": "running", "limit": 1})).json()
    assert [one["pipeline_id"] for one in listed["items"]] == [pipeline_id]
    answer = await machine.client.post(f"{PIPELINES}/{pipeline_id}/cancel", json={})
    assert answer.status_code == 202
    ended = await at(machine.client, pipeline_id)
    assert (ended["status"], ended["stage"]) == ("CANCELLED", "compose_code")
    assert (await machine.client.post(f"{PIPELINES}/{pipeline_id}/cancel", json={})).json()["status"] == "CANCELLED"
    more_of_them = [(await begun(machine.client))["pipeline_id"] for _ in range(4)]
    for one in more_of_them:
        await machine.client.post(f"{PIPELINES}/{one}/cancel", json={})
        await at(machine.client, one)
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        more = {"cursor": cursor} if cursor else {}
        page = (await machine.client.get(PIPELINES, params={"limit": 4, **more})).json()
        found += page["items"]
        cursor = page["cursor"]
    listed_ids = [one["pipeline_id"] for one in found]
    assert set(listed_ids[:4]) == set(more_of_them)
    assert listed_ids[4] == pipeline_id
    assert len(set(listed_ids)) == len(listed_ids)


async def test_a_pipeline_has_a_time_in_which_it_must_be_done(machine: OneMachine, worker: ForgeWorker) -> None:
    worker.held.add("compose_code")
    pipeline_id = (await begun(machine.client, {**SHOP, "parameters": {"review_seconds": 600}}))["pipeline_id"]
    await until_true(lambda: "compose_code" in worker.waiting, "the stage to begin")
    flow = (await machine.client.get(f"/api/v1/flows/{pipeline_id}")).json()
    assert flow["sla_total_ms"] == (1_800 + 600) * 1_000
    await machine.client.post(f"/api/v1/flows/{pipeline_id}/adjust", json={"sla_seconds": 0.1})
    ended = await at(machine.client, pipeline_id)
    assert (ended["status"], ended["stage"], ended["stages"][1]["status"]) == ("TIMED_OUT", "compose_code", "CANCELLED")
    assert ended["error"]


async def test_keys_belong_to_their_callers_and_to_what_was_asked(machine: OneMachine) -> None:
    first = await begun(machine.client, headers={"idempotency-key": "k-1"})
    assert (await begun(machine.client, headers={"idempotency-key": "k-1"}))["pipeline_id"] == first["pipeline_id"]
    assert (await begun(machine.client, headers={"idempotency-key": "k-2"}))["pipeline_id"] != first["pipeline_id"]
    two, turned = ({**SHOP, "parameters": dict(each)} for each in (ANSWERS, reversed(ANSWERS)))
    ids = [(await begun(machine.client, one, {"idempotency-key": "k-3"}))["pipeline_id"] for one in (two, turned)]
    assert ids[0] == ids[1], "an object is the same in any order"
    other = await machine.client.post(
        PIPELINES, json={**SHOP, "artifact_id": "acme/other"}, headers={"idempotency-key": "k-1"}
    )
    assert (other.status_code, other.json()["code"]) == (409, "key_reused")
    made = await machine.client.post("/api/v1/keys", json={"name": "an-operator", "roles": ["operator"]})
    theirs = {"x-api-key": made.json()["key"], "idempotency-key": "k-1"}
    assert (await begun(machine.client, headers=theirs))["pipeline_id"] != first["pipeline_id"]
    by_attempt = {
        (await begun(machine.client, {**SHOP, "ticket_id": "build-9", "attempt": number}))["pipeline_id"]
        for number in (1, 1, 2)
    }
    assert len(by_attempt) == 2
    for one in (await machine.client.get(PIPELINES, params={"status": "PENDING"})).json()["items"]:
        await machine.client.post(f"{PIPELINES}/{one['pipeline_id']}/cancel", json={})


async def test_a_flow_that_is_no_pipeline_is_not_shown_as_one(machine: OneMachine) -> None:
    flow_id = await machine.submit(decision(task("a")))
    for method, path in (("GET", ""), ("GET", "/artifacts"), ("POST", "/cancel")):
        answer = await machine.client.request(method, f"{PIPELINES}/{flow_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_pipeline")
    flow = (await machine.client.get(f"/api/v1/flows/{flow_id}")).json()
    assert flow["outcome"] is None, "nobody has cancelled it"

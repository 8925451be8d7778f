"""The functions as AWS runs them: the same plans come to the same ends by the same steps as on one machine."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from functions._core.records.values import flow_id_of
from tests.aws.faults import Faults
from tests.aws.sqs import Again
from tests.aws.stack import Cloud, client_of
from tests.aws.wire import EVENT_LIMIT, ITEM_LIMIT
from tests.aws.world import AwsWorld, world
from tests.benchmarks.load import Stub
from tests.conftest import ROOT
from tests.contract.schemas import attribute_faults, envelope_faults
from tests.support.console_course import the_console_comes
from tests.support.console_journey import a_person_works_with_the_console
from tests.support.constructs import Obeying, run_every_construct, same_course_of_constructs
from tests.support.freeze_course import a_deployment_waits_for_its_budget
from tests.support.healing_course import an_incident_is_healed
from tests.support.hedge_course import a_hanging_attempt_is_hedged
from tests.support.job_course import does_jobs
from tests.support.plans import SHAPES, proves_itself, seeded_decision
from tests.support.policy_course import flows_at_risk_are_acted_upon
from tests.support.resource_course import a_document_is_kept_as_it_says
from tests.support.scenarios import recorded, same_course, wide
from tests.support.schedule_course import a_schedule_runs_a_stored_plan
from tests.support.slo_course import a_spent_budget_freezes
from tests.support.webhook_course import every_delivery_arrives
from tests.support.world import decision, task, until

MINUTES = 240
"""Seconds of patience for a minute of work: other programs may have most of the machine."""
SLOWER: Mapping[str, Any] = {"speed": 30, "haste": 8}
"""Where functions die in large steps, what comes again has to have time until their drafts are taken for lost."""

SMALL = ("fork_join", "islands")
"""The shapes that run each time: they fork, join, follow each other and stand apart, with 30 tasks or so."""

RECORDED = ROOT.parent / "shared" / "real-plans"

WHICH = pytest.mark.parametrize(
    ("which", "seed"),
    [("generated", 10), *(pytest.param(which, 9, marks=pytest.mark.slow) for which in ("every shape", "recorded"))],
)
"""Recorded plans run each time on one machine and in the cluster's world (`tests/cluster`)."""

pytestmark = [
    pytest.mark.timeout(4 * MINUTES),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aws(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> AsyncIterator[AwsWorld]:
    """Give one world to all tests in which nothing goes wrong; its tasks may have the secret `db`."""
    secrets = client_of(cloud.url_of("secretsmanager"), "secretsmanager")
    arn = (await asyncio.to_thread(secrets.create_secret, Name=f"db-{uuid4()}", SecretString="open-sesame"))["ARN"]
    told = {"TaskSecrets": f"db=aws:{arn}", "TaskSecretArns": arn}
    async with world(tmp_path_factory.mktemp("aws"), cloud, parameters=told, workers=Obeying()) as running:
        yield running


@dataclass
class FaultyWorld:
    """A world in which messages come again, and in which calls fail and functions die while there is `trouble`."""

    running: AwsWorld
    again: Again
    faults: Faults

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """Let everything go wrong for a while; each function may die again."""
        self.faults.killed.clear()
        self.faults.done.clear()
        self.faults.on = True
        yield
        self.faults.on = False


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faulty(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> AsyncIterator[FaultyWorld]:
    """Give one world to all tests in which everything goes wrong."""
    again = Again(share=0.2, seed=10)
    faults = Faults(seed=10, conflict=0.05, throttled=0.02, partial=0.1, lost=0.04, crash=0.04, crashes=1, on=False)
    folder = tmp_path_factory.mktemp("faulty")
    async with world(folder, cloud, again=again, faults=faults, workers=Obeying(), **SLOWER) as running:
        yield FaultyWorld(running, again, faults)


def plans(which: str, seed: int) -> dict[str, dict[str, Any]]:
    """Return generated plans of some shapes as decisions, or the recorded ones; where none are, all generated ones."""
    found = recorded(RECORDED) if which == "recorded" else {}
    return found or {shape: seeded_decision(shape, seed) for shape in (SMALL if which == "generated" else SHAPES)}


def two_islands(seed: int) -> dict[str, Any]:
    """Return a decision with a plan of a few tasks, for what any plan can show."""
    decision = seeded_decision("islands", seed)
    plan = decision["cognitive_plan"]
    plan["tasks"] = [one for one in plan["tasks"] if one["task_id"].startswith(("i0", "i1"))]
    return decision


def event(kind: str, data: Any, **attributes: str) -> dict[str, Any]:
    """Return a structured CloudEvent."""
    return {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "/tests",
        "type": f"io.neuralhive.{kind}.v1",
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        **attributes,
        **({} if data is None else {"data": data}),
    }


async def all_checked(
    running: AwsWorld, decisions: Mapping[str, Mapping[str, Any]], folder: Path, seconds: float
) -> None:
    """Run decisions side by side, and compare each with its course on one machine."""
    for name in decisions:
        (folder / name).mkdir()
    async with asyncio.TaskGroup() as group:
        for name, decision in decisions.items():
            group.create_task(same_course(running, decision, folder / name, seconds))


async def sizes_and_schemas_are_kept(running: AwsWorld) -> None:
    assert 0 < running.deployment.wire.largest["entries"] <= EVENT_LIMIT
    assert 0 < running.deployment.wire.largest["item"] <= ITEM_LIMIT
    assert 0 < await running.deployment.largest_item() <= ITEM_LIMIT
    published = running.deployment.wire.published.values()
    assert published
    assert sorted({fault for entry in published for fault in entry_faults(entry)}) == []


def entry_faults(entry: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an entry on a bus; of an event whose data lie elsewhere, without them."""
    said = json.loads(entry["Detail"])
    addressed = (entry["Source"], entry["DetailType"])
    found = [] if addressed == (said["source"], said["type"]) else [f"{addressed} is not that of {said['id']}"]
    return found + (envelope_faults(said) if "data" in said else attribute_faults(said))


async def letter_of(running: AwsWorld, event_id: str) -> dict[str, Any]:
    async def shown() -> dict[str, Any] | None:
        return next((one for one in await running.letters() if one["event"]["id"] == event_id), None)

    letter = await until(shown, f"the dead letter of {event_id}")
    status, document = await running.call("DELETE", f"/api/v1/dead-letters/{letter['letter_id']}")
    assert status < 300, document
    return letter


@WHICH
async def test_plans_take_the_same_course_as_on_one_machine(
    aws: AwsWorld, tmp_path: Path, which: str, seed: int
) -> None:
    await all_checked(aws, plans(which, seed), tmp_path, 3 * MINUTES)
    await aws.nothing_dead()
    assert aws.deployment.errors() == {}
    await sizes_and_schemas_are_kept(aws)


async def test_a_plan_with_every_construct_takes_the_same_course_as_on_one_machine(
    aws: AwsWorld, tmp_path: Path
) -> None:
    await same_course_of_constructs(aws, tmp_path, 2 * MINUTES)
    await aws.nothing_dead()
    assert aws.deployment.errors() == {}


async def test_what_users_put_on_the_ingress_bus_ends_a_wait_and_answers_a_question(aws: AwsWorld) -> None:
    wanted = {"type": "com.example.paid", "correlation": {"at": "/order", "equals": 7}}
    flow_id = await aws.submit(
        decision(
            task("paid", task_type="WAIT", wait={"event": wanted}),
            task("ask", "paid", task_type="APPROVE", approval={}),
        )
    )
    await aws.ticket(flow_id, lambda one: one["task_id"] == "paid" and one["status"] == "WAITING", "waits for an event")
    paid = event("paid", {"order": 7}, source="/shop")
    await aws.deployment.put("Ingress", {**paid, "type": "com.example.paid"})
    ask = await aws.ticket(flow_id, lambda one: one["task_id"] == "ask" and one["status"] == "WAITING", "asks a person")
    granted = {"flow_id": flow_id, "ticket_id": ask["ticket_id"], "requested_by": "ada"}
    await aws.deployment.put("Ingress", event("ticket.approval_granted", granted))
    flow = await aws.ended(flow_id, MINUTES)
    assert flow["status"] == "COMPLETED", flow
    await aws.nothing_dead()


async def test_a_secret_of_secrets_manager_comes_to_its_task_alone(aws: AwsWorld) -> None:
    assert isinstance(aws.workers, Obeying)
    flow_id = await aws.submit(decision(task("a", parameters={"password": {"$secret": "db"}})))
    flow = await aws.ended(flow_id, MINUTES)
    assert flow["status"] == "COMPLETED", flow
    assert aws.workers.given.count({"password": "open-sesame"}) == 1
    assert "open-sesame" not in json.dumps([await aws.tickets(flow_id), await aws.history(flow_id)])
    await aws.nothing_dead()


async def test_clients_need_the_key_and_whoever_watches_does_not(aws: AwsWorld) -> None:
    for path, status in (("/api/v1/flows", 401), ("/health", 200)):
        assert (await aws.client.get(path, headers={"x-api-key": ""})).status_code == status


async def test_a_browser_gets_the_console(aws: AwsWorld) -> None:
    await the_console_comes(aws.url)


async def test_a_person_works_with_the_console(aws: AwsWorld) -> None:
    await a_person_works_with_the_console(aws, ["w0", "w1"])
    await aws.nothing_dead()
    assert aws.deployment.errors() == {}


async def test_a_stored_plan_is_run_by_its_name_and_by_a_schedule(aws: AwsWorld) -> None:
    await a_schedule_runs_a_stored_plan(aws, MINUTES)
    await aws.nothing_dead()
    assert aws.deployment.errors() == {}


async def test_an_incident_is_healed_across_functions(aws: AwsWorld) -> None:
    await an_incident_is_healed(aws, MINUTES)
    await aws.nothing_dead()
    assert aws.deployment.errors() == {}


async def test_jobs_are_done_without_a_worker(aws: AwsWorld) -> None:
    await does_jobs(aws)
    await aws.nothing_dead()
    assert aws.deployment.errors() == {}


async def test_flows_at_risk_are_acted_upon_by_their_policies(aws: AwsWorld) -> None:
    await flows_at_risk_are_acted_upon(aws, MINUTES)
    await aws.nothing_dead()
    assert aws.deployment.errors() == {}


async def test_a_hanging_attempt_is_hedged(aws: AwsWorld) -> None:
    await a_hanging_attempt_is_hedged(aws, MINUTES, share=40)
    await aws.nothing_dead()
    assert aws.deployment.errors() == {}


async def test_a_deployment_waits_while_its_service_is_frozen(aws: AwsWorld) -> None:
    await a_deployment_waits_for_its_budget(aws, MINUTES)
    await aws.nothing_dead()
    assert aws.deployment.errors() == {}


async def test_a_document_is_applied_kept_as_it_says_and_deleted(aws: AwsWorld) -> None:
    await a_document_is_kept_as_it_says(aws, aws.key_values(), MINUTES)
    await aws.nothing_dead()
    assert aws.deployment.errors() == {}


async def test_an_event_that_is_refused_becomes_a_dead_letter_that_the_api_shows(aws: AwsWorld) -> None:
    refused = event("plan.validated", {"no": "flow"})
    await aws.deployment.send("GenerateTicketsQueue", json.dumps(refused))
    letter = await letter_of(aws, refused["id"])
    assert letter["function"] == "generate_tickets"
    await aws.nothing_dead()


async def test_an_event_that_no_function_can_ever_handle_comes_to_the_dead_letters_by_its_queue(aws: AwsWorld) -> None:
    lost = event("tickets.ready", {"flow_id": str(uuid4()), "ticket_ids": [str(uuid4())]})
    await aws.deployment.send("DiscoverQueue", json.dumps(lost))
    letter = await letter_of(aws, lost["id"])
    assert letter["reason"]["code"] == "undeliverable"
    assert aws.deployment.functions["DeadLetter"].counts["invocations"] >= 1
    await aws.nothing_dead()


@pytest.mark.parametrize("queue", ["ValidateQueue", "EnforceSlaQueue", "ApiQueue", "DeadLetterQueue"])
async def test_a_message_that_is_no_event_becomes_a_dead_letter(aws: AwsWorld, queue: str) -> None:
    message_id = await aws.deployment.send(queue, "{poison")
    letter = await letter_of(aws, message_id)
    assert letter["event"]["data"]["body"] == "{poison"
    await aws.nothing_dead()


async def test_what_users_put_on_the_ingress_bus_starts_a_flow(aws: AwsWorld) -> None:
    decision = two_islands(5)
    await aws.deployment.put("Ingress", event("decision.consolidated", decision))
    flow = await aws.ended(flow_id_of(decision["decision_id"]), MINUTES)
    assert flow["status"] == "COMPLETED"


async def test_of_a_decision_that_is_too_large_the_ingress_takes_a_claim_check(aws: AwsWorld) -> None:
    decision = two_islands(6)
    decision["note"] = "large" * EVENT_LIMIT
    bucket = aws.deployment.stack.made["Claims"]["Ref"]
    s3 = aws.deployment.stack.client("s3")
    await asyncio.to_thread(s3.put_object, Bucket=bucket, Key="claims/mine.json", Body=json.dumps(decision).encode())
    claimed = event("decision.consolidated", None, dataref=f"s3://{bucket}/claims/mine.json")
    await aws.deployment.put("Ingress", claimed)
    flow = await aws.ended(flow_id_of(decision["decision_id"]), MINUTES)
    assert flow["status"] == "COMPLETED"
    await sizes_and_schemas_are_kept(aws)


async def test_internal_events_are_not_taken_from_outside(aws: AwsWorld) -> None:
    decision = seeded_decision("chain", 7)
    flow_id = flow_id_of(decision["decision_id"])
    given = sum(source.counts["messages"] for source in aws.deployment.sources["Api"])
    forged = [
        event("plan.validated", {"flow_id": flow_id}),
        event("tickets.ready", {"flow_id": flow_id, "ticket_ids": [str(uuid4())]}),
        event("ticket.reported", {"ticket_id": str(uuid4()), "attempt": 1, "status": "COMPLETED"}),
        event("clock.ticked", {}),
    ]
    await aws.deployment.put("Ingress", *forged)
    smuggled = forged[0]
    await aws.deployment.send("ApiQueue", json.dumps(smuggled))
    letter = await letter_of(aws, smuggled["id"])
    assert letter["function"] == "api"
    assert sum(source.counts["messages"] for source in aws.deployment.sources["Api"]) == given + 1
    await aws.nothing_dead()


class FirstFails(Stub):
    """Workers whose first attempt at a ticket fails."""

    async def _report(self, assignment: dict[str, Any]) -> None:
        if assignment["attempt"] > 1:
            await super()._report(assignment)
            return
        error = {"type": "flaky", "message": "try again", "retryable": True}
        report = {"ticket_id": assignment["ticket_id"], "attempt": 1, "status": "FAILED", "error": error}
        headers = {"content-type": "application/cloudevents+json", "authorization": f"Bearer {assignment['token']}"}
        assert self._client is not None
        body = json.dumps(event("ticket.reported", report)).encode()
        async with self._client.post(assignment["callback_url"], data=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()


async def test_what_is_due_before_the_next_tick_is_done_by_a_timer(tmp_path: Path, cloud: Cloud) -> None:
    decision = two_islands(8)
    async with world(tmp_path, cloud, workers=FirstFails(), tick_s=None, at_once={}) as running:
        flow_id = await running.submit(decision)
        flow = await running.ended(flow_id, MINUTES)
        assert flow["status"] == "COMPLETED", flow
        history = await running.history(flow_id)
        tasks = len(decision["cognitive_plan"]["tasks"])
        assert [entry["type"] for entry in history].count("ticket.retried") == tasks
        assert running.deployment.functions["EnforceSla"].counts["invocations"] >= 1
        assert running.deployment.functions["TrackWorkers"].counts["invocations"] == 0
        await running.nothing_dead()


@pytest.mark.timeout(8 * MINUTES)
@WHICH
async def test_plans_take_the_same_course_while_everything_goes_wrong(
    faulty: FaultyWorld, tmp_path: Path, which: str, seed: int
) -> None:
    with faulty.trouble():
        await all_checked(faulty.running, plans(which, seed), tmp_path, 6 * MINUTES)
    assert faulty.again.delivered > 0
    done = faulty.faults.done
    assert all(done[kind] > 0 for kind in ("conflict", "throttled", "partial", "lost", "crash")), done
    await faulty.running.nothing_dead()
    await sizes_and_schemas_are_kept(faulty.running)


async def test_a_plan_with_every_construct_completes_while_everything_goes_wrong(faulty: FaultyWorld) -> None:
    with faulty.trouble():
        await run_every_construct(faulty.running, 3 * MINUTES)
    await faulty.running.nothing_dead()
    await sizes_and_schemas_are_kept(faulty.running)


@pytest.mark.slow
@pytest.mark.timeout(40 * MINUTES)
async def test_a_plan_of_two_thousand_tickets_completes(tmp_path: Path, cloud: Cloud) -> None:
    """Run it; ministack reads a whole partition for each query, so a machine that is busy takes its time."""
    decision = wide(seeded_decision("chain", 2), 2000)
    assert len(json.dumps(decision)) > EVENT_LIMIT
    async with world(tmp_path, cloud, tick_s=20) as running:
        flow_id = await running.submit(decision)
        flow = await running.ended(flow_id, 35 * MINUTES)
        assert flow["status"] == "COMPLETED", flow
        assert proves_itself(decision["cognitive_plan"], await running.history(flow_id)) == []
        await running.nothing_dead()
        await sizes_and_schemas_are_kept(running)


async def test_events_of_a_flow_and_of_a_spent_budget_reach_webhooks_once(cloud: Cloud, tmp_path: Path) -> None:
    told = {"Webhooks": "on", "SubscriberEvents": "all"}
    async with world(tmp_path, cloud, parameters=told) as running:
        await every_delivery_arrives(running, two_islands(12), 2 * MINUTES)
        await a_spent_budget_freezes(running, running.key_values(), 2 * MINUTES)
        await running.nothing_dead()
        assert running.deployment.errors() == {}

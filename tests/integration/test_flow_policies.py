"""Flow SLA policies at work on one machine: what comes at risk is acted upon, once, whatever happens in between."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import Unavailable
from functions._core.events.commands import AnyCommand, PauseRequest, ResumeRequest
from functions._core.events.envelope import CloudEvent
from functions._core.events.policies import APPLIED, DUE
from functions._core.records.audits import ActionRecord
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Priority
from functions._core.slo import stored_policies as stored
from functions._core.slo.flow_policies import Announced, FlowSlaPolicy, FlowSlaPolicyForm, announced, due_event
from functions._engine import flow_policies
from tests.support.http_api import Api, running_api
from tests.support.world import LocalWorld, decision, task, until

PATH = "/api/v1/flow-sla-policies"
SOON = {"sla_deadline_seconds": 600}
AT_RISK_AFTER = 0.001
"""The share of its time after which a flow is at risk here: 0.6 s of 600 s."""


@dataclass
class Subscriber:
    """Takes what subscribers are told; implements `Broker`."""

    events: list[CloudEvent] = field(default_factory=list)

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Keep the events."""
        self.events += events


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(flow_policies, "LOOK_SECONDS", 0.0)
    async with running_api(tmp_path, limits={"at_risk_share": AT_RISK_AFTER}) as running:
        running.world.workers.behave = lambda _assignment: None  # work that takes long
        await running.world.register()
        yield running


@pytest.fixture
def world(api: Api) -> LocalWorld:
    return api.world


@pytest.fixture
def told(world: LocalWorld) -> Subscriber:
    """Let somebody subscribe to what policies do."""
    world.platform.outbox.subscriber = subscriber = Subscriber()
    world.platform.dispatcher.subscribed = lambda name: name == APPLIED
    return subscriber


async def put(api: Api, name: str, *actions: Mapping[str, Any], on: str = "at_risk", **more: Any) -> None:
    answer = await api.client.put(f"{PATH}/{name}", json={"on": on, "actions": list(actions), **more})
    assert answer.status_code in {200, 201}, answer.text


async def submit(world: LocalWorld, label: str, **more: Any) -> str:
    flow_id = await world.submit(decision(task("a"), labels={"kind": label}, **{**SOON, **more}))
    await world.reached(flow_id, FlowStatus.EXECUTING)
    return flow_id


async def applied(world: LocalWorld, flow_id: str, number: int = 1) -> Sequence[Any]:
    async def probe() -> Sequence[Any] | None:
        found = await stored.applications_of(world.ports.key_values, flow_id)
        return found if len([one for one in found if one.done_at]) >= number else None

    return await until(probe, f"{number} policies to be applied to {flow_id}")


async def audits(world: LocalWorld, flow_id: str) -> list[tuple[str, str]]:
    found = await world.ports.views.audits(flow_id, 100)
    return [(one.action, one.who) for one in found if isinstance(one, ActionRecord)]


def act(action: str, **more: Any) -> dict[str, Any]:
    return {"action": action, **more}


async def test_one_flow_is_raised_another_paused_and_a_third_cancelled(
    api: Api, world: LocalWorld, told: Subscriber
) -> None:
    for label, action in (
        ("urgent", act("raise_priority", to="CRITICAL")),
        ("doubtful", act("ask", note="Is it still worth it?")),
        ("cheap", act("cancel")),
    ):
        await put(api, label, action, act("notify"), selector={"labels": {"kind": label}})
    urgent, doubtful, cheap = [await submit(world, label) for label in ("urgent", "doubtful", "cheap")]
    spared = await submit(world, "other")
    await world.reached(doubtful, FlowStatus.PAUSED)
    await world.reached(cheap, FlowStatus.CANCELLED)
    for flow_id, policy in ((urgent, "urgent"), (doubtful, "doubtful"), (cheap, "cheap")):
        [one] = await applied(world, flow_id)
        assert (one.policy, [result.done for result in one.results]) == (policy, [True, True])
    raised = await world.flow(urgent)
    assert raised is not None
    assert raised.priority is Priority.CRITICAL
    assert all(one.priority is Priority.CRITICAL for one in (await world.tickets(urgent)).values())
    assert await audits(world, urgent) == [("adjust_flow", "policy urgent")]
    assert await audits(world, doubtful) == [("pause_flow", "policy doubtful")]
    assert await audits(world, cheap) == [("cancel_flow", "policy cheap")]

    async def all_told() -> bool | None:
        return len(told.events) == 3 or None

    await until(all_told, "the events for subscribers")
    assert {event.data["policy"]: event.data["results"][0]["text"] for event in told.events} == {
        "urgent": "its priority was raised to CRITICAL",
        "doubtful": "it was paused, so that a person decides",
        "cheap": "it was cancelled",
    }
    why = {flow_id: await api.get(f"/api/v1/why/{flow_id}") for flow_id in (urgent, doubtful, cheap)}
    assert any("Policy urgent acted" in line and "raised to CRITICAL" in line for line in why[urgent]["details"])
    assert any("Paused by policy doubtful: Is it still worth it?" in line for line in why[doubtful]["details"])
    assert any("policy cheap" in line for line in why[cheap]["details"])
    other = await world.flow(spared)
    assert other is not None
    assert (other.priority, other.status, await audits(world, spared)) == (Priority.NORMAL, FlowStatus.EXECUTING, [])


async def test_the_same_event_ten_times_acts_once(api: Api, world: LocalWorld, told: Subscriber) -> None:
    await put(api, "p", act("raise_priority", to="HIGH"))
    flow_id = await submit(world, "x")
    [first] = await applied(world, flow_id)
    again = await due(world, flow_id)
    await asyncio.gather(*(world.platform.companions.flow_policies.apply(again) for _ in range(10)))
    assert list(await applied(world, flow_id)) == [first]
    assert await audits(world, flow_id) == [("adjust_flow", "policy p")]
    adjusted = [entry for entry in await world.history(flow_id) if entry["type"] == "flow.adjusted"]
    assert (len(adjusted), adjusted[0]["detail"]["requested_by"]) == (1, "policy p")
    assert len({event.id for event in told.events}) == 1


async def due(world: LocalWorld, flow_id: str) -> CloudEvent:
    """Return the event that has asked for the policies of a flow at risk, made again."""
    flow = await world.flow(flow_id)
    assert flow is not None
    lines = await world.ports.views.history(flow_id, 0, 500)
    about = next(one for line in lines if (one := announced(line, flow)) is not None and one.ticket_id is None)
    return due_event(about, flow, "/flowc/enforce_sla")


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("action", ["raise_priority", "ask", "cancel", "pause_others", "hedge"])
async def test_a_kill_between_the_command_and_its_note_acts_once(
    api: Api, world: LocalWorld, told: Subscriber, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """The policy is made once the flow is at risk, so that the event is this test's alone."""
    others = [await submit(world, "x", priority="low", sla_deadline_seconds=9_000) for _ in range(2)]
    flow_id = await submit(world, "x")
    await at_risk(world, flow_id)
    if action == "hedge":
        await world.register("w2")
    more = {"to": "HIGH"} if action == "raise_priority" else {}
    await put(api, "p", act(action, **more))
    event = await due(world, flow_id)
    policies = world.platform.companions.flow_policies

    async def dies(*_given: Any) -> int:
        raise Killed

    kept = stored.put_application

    async def first_only(entries: Any, one: Any, version: int, now: Any) -> int:
        return await (kept if version == 0 else dies)(entries, one, version, now)

    monkeypatch.setattr(stored, "put_application", first_only)
    for _ in range(3):
        with pytest.raises(Killed):
            await policies.apply(event)
    monkeypatch.setattr(stored, "put_application", kept)
    await policies.apply(event)
    [one] = await applied(world, flow_id)
    assert [result.done for result in one.results] == [True], one.results
    found = {flow: await audits(world, flow) for flow in (flow_id, *others)}
    commands = [command for of_flow in found.values() for command in of_flow]
    assert len(commands) == 1, found
    assert len({event.id for event in told.events}) <= 1


async def at_risk(world: LocalWorld, flow_id: str) -> Flow:
    async def probe() -> Flow | None:
        flow = await world.flow(flow_id)
        return flow if flow is not None and flow.announced != "on_track" else None

    return await until(probe, "the flow to come at risk")


async def test_a_store_that_is_away_after_a_command_leaves_the_event_to_be_delivered_again(
    api: Api, world: LocalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the queue of the platform itself: the event is tried again, and the command counts once."""
    await put(api, "p", act("raise_priority", to="HIGH"))
    policies, given = world.platform.companions.flow_policies, world.platform.order
    calls: list[AnyCommand] = []

    async def shaky(order: AnyCommand, *, order_id: str) -> Any:
        result = await given(order, order_id=order_id)
        calls.append(order)
        if len(calls) < 3:
            raise Unavailable("the answer is lost")
        return result

    monkeypatch.setattr(policies, "_order", shaky)
    flow_id = await submit(world, "x")
    [one] = await applied(world, flow_id)
    assert ([result.done for result in one.results], len(calls)) == ([True], 3)
    assert await audits(world, flow_id) == [("adjust_flow", "policy p")]


async def test_flows_of_lower_priority_are_paused_until_the_urgent_one_has_ended(api: Api, world: LocalWorld) -> None:
    far = {"sla_deadline_seconds": 100_000}
    low = [await submit(world, "batch", priority="low", **far) for _ in range(3)]
    equal = await submit(world, "batch", priority="high", **far)
    foreign = await submit(world, "else", priority="low", **far)
    await put(
        api,
        "p",
        act("pause_others", labels={"kind": "batch"}, at_most=2),
        selector={"labels": {"kind": "urgent"}},
    )
    urgent = await submit(world, "urgent", priority="high")
    [one] = await applied(world, urgent)
    [result] = one.results
    assert (result.done, len(result.flow_ids), set(result.flow_ids) < set(low)) == (True, 2, True)
    statuses = {flow_id: (await world.flow(flow_id)).status for flow_id in (*low, equal, foreign)}  # type: ignore[union-attr]
    assert sorted(flow_id for flow_id, status in statuses.items() if status is FlowStatus.PAUSED) == sorted(
        result.flow_ids
    )
    first, second = result.flow_ids
    # A person takes the second pause over: it is no longer the policy's to end.
    person: dict[str, Any] = {"flow_id": second, "requested_by": "ada"}
    await world.platform.order(ResumeRequest(**person))
    await world.platform.order(PauseRequest(**person))
    await world.cancel(urgent)
    await world.ended(urgent)
    await world.platform.companions.flow_policies.round()
    resumed = await world.flow(first)
    stays = await world.flow(second)
    assert resumed is not None
    assert stays is not None
    assert (resumed.status, stays.status) == (FlowStatus.EXECUTING, FlowStatus.PAUSED)
    assert ("resume_flow", "policy p") in await audits(world, first)
    assert not await world.ports.key_values.page("flow-sla-pausing", None, 10)


async def test_two_flows_at_risk_pause_each_another_flow(api: Api, world: LocalWorld) -> None:
    far = {"sla_deadline_seconds": 100_000, "priority": "low"}
    low = [await submit(world, "batch", **far) for _ in range(3)]
    urgent = [await submit(world, "urgent", priority="high") for _ in range(2)]
    for flow_id in urgent:
        await at_risk(world, flow_id)
    await put(api, "p", act("pause_others"), selector={"labels": {"kind": "urgent"}})
    events = [await due(world, flow_id) for flow_id in urgent]
    await asyncio.gather(*map(world.platform.companions.flow_policies.apply, events))
    chosen = [(await applied(world, flow_id))[0].others for flow_id in urgent]
    assert len({one for others in chosen for one in others}) == 2, chosen
    paused = [flow_id for flow_id in low if (await audits(world, flow_id)) == [("pause_flow", "policy p")]]
    assert len(paused) == 2


async def test_what_cannot_be_done_is_told_with_the_reason(api: Api, world: LocalWorld, told: Subscriber) -> None:
    await put(
        api,
        "p",
        act("raise_priority", to="HIGH"),
        act("pause_others"),
        act("cancel_and_compensate"),
    )
    flow_id = await submit(world, "x", priority="critical")
    [one] = await applied(world, flow_id)
    assert [(result.done, result.text) for result in one.results] == [
        (False, "its priority is CRITICAL already"),
        (False, "no flow of lower priority could be paused"),
        (False, "none of its tasks says how it is undone, so it was not cancelled"),
    ]
    flow = await world.flow(flow_id)
    assert flow is not None
    assert flow.status is FlowStatus.EXECUTING

    async def heard() -> CloudEvent | None:
        return told.events[0] if told.events else None

    event = await until(heard, "the event")
    assert [result["done"] for result in event.data["results"]] == [False, False, False]


async def test_a_ticket_that_misses_its_share_is_acted_upon_once_for_its_flow(api: Api, world: LocalWorld) -> None:
    await put(api, "p", act("cancel_and_compensate"), on="breached", of="ticket")
    undone = {"compensation": {"task_type": "EXECUTE", "description": "undo", "parameters": {}}}
    flow_id = await world.submit(decision(task("a", **undone), task("b", **undone), sla_deadline_seconds=600))
    await world.reached(flow_id, FlowStatus.EXECUTING)
    tickets = await world.tickets(flow_id)
    flow = await world.flow(flow_id)
    assert flow is not None
    for ticket in tickets.values():
        about = Announced(
            flow_id=flow_id,
            ticket_id=ticket.ticket_id,
            on="breached",  # type: ignore[arg-type]
            at=world.ports.clock.now(),
            key="ticket/breached/0",
        )
        await world.platform.companions.flow_policies.apply(due_event(about, flow, "/flowc/enforce_sla"))
    await world.ended(flow_id)
    assert await audits(world, flow_id) == [("cancel_flow", "policy p")]
    assert len(await applied(world, flow_id)) == 1


async def test_without_policies_a_flow_at_risk_costs_one_read_in_ten_seconds(
    world: LocalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = world.platform.companions.flow_policies
    reads: list[str] = []
    entries = world.ports.key_values

    class Counted:
        """`KeyValues` whose pages of policies are counted."""

        def __getattr__(self, name: str) -> Any:
            return getattr(entries, name)

        async def page(self, space: str, after: str | None, limit: int) -> Any:
            reads.extend([space] if space == "flow-sla-policies" else [])
            return await entries.page(space, after, limit)

    monkeypatch.setattr(policies, "_ports", replace(world.platform.ports, key_values=Counted()))
    flows = [await submit(world, "x") for _ in range(5)]
    for flow_id in flows:
        await at_risk(world, flow_id)
    assert len(reads) == 1
    assert await stored.applications_of(entries, flows[0]) == []


async def test_a_disabled_or_deleted_policy_does_nothing(api: Api, world: LocalWorld) -> None:
    await put(api, "off", act("cancel"), enabled=False)
    await put(api, "gone", act("cancel"))
    assert (await api.client.delete(f"{PATH}/gone")).status_code == 204
    flow_id = await submit(world, "x")
    flow = await at_risk(world, flow_id)
    await world.platform.companions.flow_policies.apply(await due(world, flow_id))
    assert (flow.status, await stored.applications_of(world.ports.key_values, flow_id)) == (FlowStatus.EXECUTING, [])


async def test_what_only_the_queue_knows_is_done_by_the_next_process(world: LocalWorld) -> None:
    """The event is committed with the announcement: it is in the queue of whoever comes next."""
    taken: list[CloudEvent] = []

    async def forget(event: CloudEvent) -> None:
        taken.append(event)
        raise Unavailable("this process is about to die")

    form = FlowSlaPolicyForm.model_validate({"on": "at_risk", "actions": [act("cancel")]})
    now = world.ports.clock.now()
    policy = FlowSlaPolicy(**dict(form), name="p", created_at=now, updated_at=now)
    await stored.FLOW_POLICIES.put(world.ports.key_values, "p", policy)
    world.platform.dispatcher.beside = forget
    flow_id = await submit(world, "x")

    async def queued() -> bool | None:
        return bool(taken) or None

    await until(queued, "the event")
    assert [event.event_type for event in taken[:1]] == [DUE]
    pending = [one.event for one in await world.platform._queue.pending(0, 100)]  # noqa: SLF001 as the next process would read it
    assert [event.id for event in pending if event.event_type == DUE] == [taken[0].id]
    world.platform.dispatcher.beside = world.platform.companions.flow_policies.apply
    flow = await world.reached(flow_id, FlowStatus.CANCELLED)
    assert flow.reasons[0].message == "cancelled by policy p: the flow is at risk of missing its deadline"

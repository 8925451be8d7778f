"""Playbooks at work on one machine: an incident is acted upon within limits, watched, and ends, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import Unavailable
from functions._core.events.commands import RedriveRequest
from functions._core.events.envelope import CloudEvent
from functions._core.events.healing import ESCALATED, HEALING_DUE, RESOLVED
from functions._core.healing import healing as course
from functions._core.healing import stored
from functions._core.healing.runs import ActionState, HealingState, event_of
from functions._core.healing.runs import due_of as incident_of
from functions._core.records.audits import IncidentType
from functions._core.records.dead_letters import letter_of
from functions._core.records.models import Reason
from functions._core.records.record import as_json
from functions._core.records.values import FlowStatus, Outcome
from functions._engine import healing
from tests.support.healing import actions, at_rest, failing, healed, incidents, put, run_of, step, submitted
from tests.support.http_api import ALERT_SECRET, Api, running_api
from tests.support.world import LocalWorld, decision, task, until


@dataclass
class Listener:
    """Takes what it is told; implements `Broker`."""

    events: list[CloudEvent] = field(default_factory=list)
    away: int = 0
    """So often it does not answer first."""

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Keep the events."""
        if self.away:
            self.away -= 1
            raise Unavailable("nobody is there")
        self.events += events


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(healing, "LOOK_SECONDS", 0.0)
    for pause in ("SOON", "LEASE"):
        monkeypatch.setattr(course, pause, timedelta(milliseconds=1))
    async with running_api(tmp_path) as running:
        await running.world.register()
        yield running


@pytest.fixture
def world(api: Api) -> LocalWorld:
    return api.world


@pytest.fixture
def told(world: LocalWorld) -> Listener:
    world.platform.outbox.subscriber = listener = Listener()
    world.platform.dispatcher.subscribed = lambda name: name in {RESOLVED, ESCALATED}
    return listener


async def test_a_ticket_that_fails_is_tried_again_and_its_incident_is_resolved(
    api: Api, world: LocalWorld, told: Listener
) -> None:
    await put(world.ports, "again", "retry_ticket", match={"errors": ["broken"]})
    world.workers.behave = failing(1)
    flow_id = await submitted(world)
    run = await healed(world, flow_id)
    assert (run.state, run.playbook, run.why) == (
        HealingState.RESOLVED,
        "again",
        "the trouble is over after retry_ticket",
    )
    assert [(one.action, one.state, one.text) for one in run.actions] == [
        ("retry_ticket", ActionState.DONE, "ticket a is tried again")
    ]
    flow = await world.flow(flow_id)
    assert flow is not None
    assert flow.outcome is Outcome.COMPLETED
    assert await actions(world.ports, flow_id) == [("retry_ticket", "healing:again")]
    assert not await stored.open_runs(world.ports.key_values, None, 10)

    async def heard() -> CloudEvent | None:
        return told.events[0] if told.events else None

    event = await until(heard, "the event for subscribers")
    [incident] = await incidents(world.ports, flow_id)
    assert (event.event_type, event.data["incident_id"]) == (RESOLVED, incident.incident_id)
    why = await api.get(f"/api/v1/why/{flow_id}")
    assert any(
        "Playbook again took up the incident" in line and "ticket a is tried again" in line for line in why["details"]
    )


async def test_what_healing_has_caused_counts_to_its_incident_and_ends_with_a_person(
    world: LocalWorld, told: Listener
) -> None:
    await put(world.ports, "again", "retry_ticket", "retry_ticket", "retry_ticket", "retry_ticket")
    world.workers.behave = failing(100)
    flow_id = await submitted(world)
    run = await healed(world, flow_id)
    assert (run.state, len(run.actions), len(world.workers.assignments)) == (HealingState.ESCALATED, 3, 4)
    assert run.why == "3 actions are as many as there may be for an incident"
    raised = [one.incident_id for one in await incidents(world.ports, flow_id)]
    assert sorted({run.incident.incident_id, *run.caused}) == sorted(raised)
    assert len(raised) == 4
    assert await actions(world.ports, flow_id) == [("retry_ticket", "healing:again")] * 3

    async def heard() -> CloudEvent | None:
        return told.events[-1] if told.events else None

    event = await until(heard, "the event for subscribers")
    assert (event.event_type, len(event.data["actions"])) == (ESCALATED, 3)


async def test_what_goes_wrong_after_a_person_has_come_is_an_incident_of_its_own(world: LocalWorld) -> None:
    await put(world.ports, "again", "retry_ticket", limits={"per_incident": 1})
    world.workers.behave = failing(3)
    flow_id = await submitted(world)
    run = await healed(world, flow_id)
    assert (run.state, len(run.actions)) == (HealingState.ESCALATED, 1)
    await at_rest(world, flow_id)
    await world.platform.order(RedriveRequest(flow_id=flow_id, requested_by="ada"))

    async def both() -> Sequence[Any] | None:
        found = await stored.runs_of(world.ports.key_values, flow_id)
        return found if [one.state for one in found] == [HealingState.ESCALATED, HealingState.RESOLVED] else None

    first, second = await until(both, "a second run")
    assert (len(first.actions), len(second.actions)) == (1, 1)


async def due_of(world: LocalWorld, flow_id: str) -> CloudEvent:
    """Return the event of the first incident of a flow, made again."""
    [incident] = await incidents(world.ports, flow_id)
    flow = await world.flow(flow_id)
    assert flow is not None
    ticket = (await world.tickets(flow_id))["a"]
    data = incident_of(as_json(incident), incident.created_at, flow, ticket, "w1")
    return event_of(data, HEALING_DUE, data.incident_id, "/flowc/monitor", incident.created_at, flow)


async def test_the_same_event_ten_times_at_once_acts_once(world: LocalWorld) -> None:
    world.workers.behave = failing(1)
    flow_id = await submitted(world)
    await at_rest(world, flow_id)
    await put(world.ports, "again", "retry_ticket", "retry_ticket")
    event = await due_of(world, flow_id)
    await asyncio.gather(*(world.platform.companions.healing.apply(event) for _ in range(10)), return_exceptions=True)
    run = await healed(world, flow_id)
    assert (run.state, len(run.actions)) == (HealingState.RESOLVED, 1)
    assert await actions(world.ports, flow_id) == [("retry_ticket", "healing:again")]
    assert len(world.workers.assignments) == 2
    await world.platform.companions.healing.apply(event)
    assert await run_of(world, flow_id, lambda _run: True) == run


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("number", range(1, 7))
async def test_a_kill_at_any_write_of_a_run_acts_once(
    world: LocalWorld, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The writes: the run, its hour, the begun action, the command, the done action; after them there is none."""
    world.workers.behave = failing(1)
    flow_id = await submitted(world)
    await at_rest(world, flow_id)
    await put(world.ports, "again", "retry_ticket", "retry_ticket", "retry_ticket")
    event, healer = await due_of(world, flow_id), world.platform.companions.healing
    monkeypatch.setattr(healing, "LOOK_SECONDS", 1e9)  # nobody looks in between
    entries, writes = world.platform.ports.key_values, [0]

    class Mortal:
        """`KeyValues` whose process dies before, or after, a write."""

        def __getattr__(self, name: str) -> Any:
            return getattr(entries, name)

        async def put(self, space: str, *about: Any, **more: Any) -> Any:
            writes[0] += 1
            if writes[0] == number:
                raise Killed
            return await entries.put(space, *about, **more)

    ports = healer._ports  # noqa: SLF001 as another process has its own
    monkeypatch.setattr(healer, "_ports", replace(ports, key_values=Mortal()))
    with suppress(Killed):
        await healer.apply(event)
    monkeypatch.setattr(healer, "_ports", ports)
    await healer.apply(event)
    await until(lambda: _completed(world, flow_id), "the flow to be done")
    assert await actions(world.ports, flow_id) == [("retry_ticket", "healing:again")]
    assert len(world.workers.assignments) == 2
    monkeypatch.setattr(healing, "LOOK_SECONDS", 0.0)
    healer._look_at = 0.0  # noqa: SLF001 likewise
    run = await healed(world, flow_id)
    assert (run.state, len(run.actions)) == (HealingState.RESOLVED, 1)


async def _completed(world: LocalWorld, flow_id: str) -> bool | None:
    flow = await world.flow(flow_id)
    return (flow is not None and flow.outcome is Outcome.COMPLETED) or None


async def test_ten_actions_an_hour_are_done_for_all_incidents_together(world: LocalWorld) -> None:
    await put(world.ports, "again", "retry_ticket", "retry_ticket")
    world.workers.behave = failing(1000)
    flows = [await submitted(world) for _ in range(7)]
    runs = [await healed(world, flow_id) for flow_id in flows]
    assert sum(len(run.actions) for run in runs) == 10
    assert {run.state for run in runs} == {HealingState.ESCALATED}
    assert "as many actions were done within an hour as may be" in {run.why for run in runs}


async def test_a_playbook_may_do_less_within_an_hour(world: LocalWorld) -> None:
    await put(world.ports, "again", "retry_ticket", limits={"per_hour": 1})
    world.workers.behave = failing(1000)
    runs = [await healed(world, await submitted(world)) for _ in range(2)]
    assert [len(run.actions) for run in runs] == [1, 0]


async def test_a_playbook_on_trial_records_and_does_nothing(api: Api, world: LocalWorld) -> None:
    await put(world.ports, "trial", "retry_ticket", "escalate", dry_run=True)
    world.workers.behave = failing(1)
    flow_id = await submitted(world)
    run = await healed(world, flow_id)
    assert (run.state, run.actions) == (HealingState.REHEARSED, ())
    await at_rest(world, flow_id)
    assert (await world.flow(flow_id)).outcome is Outcome.FAILED  # type: ignore[union-attr]
    assert await actions(world.ports, flow_id) == []
    why = await api.get(f"/api/v1/why/{flow_id}")
    assert any("it would do: retry_ticket, then escalate" in line for line in why["details"])
    answer = await api.client.post("/api/v1/healing-runs/rehearse", json={"flow_id": flow_id})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["playbook"], told["fits"]) == ("trial", True)
    assert [(one["action"], one["possible"]) for one in told["steps"]] == [("retry_ticket", True), ("escalate", True)]
    assert await actions(world.ports, flow_id) == []


async def test_a_worker_is_suspended_restarted_and_trusted_again(world: LocalWorld) -> None:
    world.platform.companions.healing.helper = helper = Listener(away=2)
    await put(
        world.ports,
        "restart",
        "open_breaker",
        "restart_worker",
        "close_breaker",
        match={"workers": ["w1"]},
    )
    world.workers.behave = failing(1)
    flow_id = await submitted(world)
    run = await healed(world, flow_id)
    assert [one.text for one in run.actions] == [
        "worker w1 gets nothing for a while",
        "a restart of worker w1 was asked for",
        "worker w1 gets tickets again",
    ]
    assert run.state is HealingState.ESCALATED  # the ticket is still FAILED
    [asked] = helper.events
    assert (asked.data["action"], asked.data["worker_id"]) == ("restart_worker", "w1")
    worker = await world.ports.registry.worker("w1")
    assert worker is not None
    assert (worker.suspended_until, worker.failures) == (None, 0)
    assert await actions(world.ports, flow_id) == [
        ("open_breaker", "healing:restart"),
        ("restart_worker", "healing:restart"),
        ("close_breaker", "healing:restart"),
    ]


async def test_what_is_not_configured_or_possible_is_told_and_a_person_is_called(world: LocalWorld) -> None:
    await put(world.ports, "p", "restart_worker", step("scale", target="pool", replicas=3), "roll_back")
    world.workers.behave = failing(1)
    flow_id = await submitted(world)
    run = await healed(world, flow_id)
    assert run.state is HealingState.ESCALATED
    assert [one.state for one in run.actions] == [ActionState.NOT_DONE] * 3
    assert "FLOWC_HEALING_URL" in run.actions[0].text
    assert await actions(world.ports, flow_id) == []


async def test_dead_letters_of_the_flow_are_replayed_and_no_others(world: LocalWorld) -> None:
    world.workers.behave = failing(1)
    flow_id, other = await submitted(world), await submitted(world)
    await at_rest(world, flow_id)
    event = await due_of(world, flow_id)
    now = world.ports.clock.now()
    for number, about in enumerate((flow_id, flow_id, flow_id, other)):
        lost = CloudEvent(
            id=f"lost-{number}",
            source="/flowc/monitor",
            type="io.neuralhive.tickets.ready.v1",
            time=now,
            subject=about,
            data={"flow_id": about, "ticket_ids": []},
            extensions={"partitionkey": about},
        )
        letter = letter_of(lost, "discover", Reason(code="unavailable", message="away"), 12, now)
        await world.ports.dead_letters.put(letter)
    await put(world.ports, "p", step("replay_dead_letters", at_most=2))
    await world.platform.companions.healing.apply(event)
    run = await healed(world, flow_id)
    assert run.actions[0].text == "2 dead letters replayed"
    assert len(await world.letters()) == 2
    assert [one for one, _ in await actions(world.ports, flow_id)] == ["replay_dead_letters"] * 2


async def test_a_flow_that_cannot_be_helped_is_paused_or_rolled_back(world: LocalWorld) -> None:
    """One branch fails for good while the other one is at work: what the flow does next is the playbook's to say."""
    undone = {"compensation": {"task_type": "EXECUTE", "description": "undo", "parameters": {}}}

    def behave(assignment: Any) -> Any:
        if assignment["task_id"] == "b":
            return None
        return failing(1)(assignment) if assignment["task_id"] == "a" else {"status": "COMPLETED"}

    world.workers.behave = behave
    for name, ends in (("pause_flow", FlowStatus.PAUSED), ("roll_back", FlowStatus.CANCELLED)):
        await put(world.ports, "p", name, match={"incident_types": [IncidentType.INCONSISTENCY]})
        world.platform.companions.healing.forget()
        flow_id = await world.submit(
            decision(task("done", **undone), task("a", "done"), task("b", **undone), sla_deadline_seconds=3600)
        )
        run = await healed(world, flow_id)
        flow = await world.reached(flow_id, ends)
        assert (flow.status, run.actions[0].state) == (ends, ActionState.DONE)
        assert run.state is (HealingState.RESOLVED if name == "roll_back" else HealingState.ESCALATED), run.why
        await world.cancel(flow_id)


async def test_without_playbooks_an_incident_costs_one_read_in_ten_seconds(
    world: LocalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    healer, reads = world.platform.companions.healing, list[str]()
    entries = world.ports.key_values

    class Counted:
        """`KeyValues` whose pages of playbooks are counted."""

        def __getattr__(self, name: str) -> Any:
            return getattr(entries, name)

        async def page(self, space: str, after: str | None, limit: int) -> Any:
            reads.extend([space] if space == "playbooks" else [])
            return await entries.page(space, after, limit)

    monkeypatch.setattr(healer, "_ports", replace(world.platform.ports, key_values=Counted()))
    world.workers.behave = failing(1000)
    for flow_id in [await submitted(world) for _ in range(5)]:
        await at_rest(world, flow_id)
    assert len(reads) == 1


async def test_an_alert_that_names_a_flow_is_an_incident_once(api: Api, world: LocalWorld) -> None:
    world.workers.behave = failing(1)
    flow_id = await submitted(world)
    await at_rest(world, flow_id)
    ticket_id = (await world.tickets(flow_id))["a"].ticket_id
    labels = {"alertname": "LoadFails", "flow_id": flow_id, "ticket_id": ticket_id, "severity": "critical"}
    others = [{}, {"flow_id": "x" * 300}, {"flow_id": "a\u0000b"}, {"flow_id": ticket_id}, {"flow_id": flow_id}]
    alerts = [
        {"status": "firing", "labels": {"alertname": "Else", **more}, "fingerprint": f"f{number}"}
        for number, more in enumerate(others)
    ]
    fires = {"status": "firing", "labels": labels, "fingerprint": "f"}
    headers = {"authorization": f"Bearer {ALERT_SECRET}"}

    async def told(*some: Any) -> Any:
        answer = await api.client.post("/webhooks/alertmanager", json={"alerts": some}, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert (await told(fires))["ignored"] == 1  # there is no playbook
    await put(world.ports, "p", "retry_ticket", match={"errors": ["LoadFails"], "severities": ["CRITICAL"]})
    world.platform.companions.healing.forget()
    answer = await told(*alerts, fires, {**fires, "status": "resolved"})
    assert (answer["received"], answer["processed"], answer["ignored"]) == (7, 1, 6)
    run = await healed(world, flow_id)
    assert (run.state, run.incident.detail) == (HealingState.RESOLVED, "alert LoadFails fires")
    await told(fires)
    await world.platform.companions.healing.look()
    assert await actions(world.ports, flow_id) == [("retry_ticket", "healing:p")]

"""A plan run in two places: what a client of a deployed platform asks for, and what its history is held against."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from tests.support.plans import proves_itself
from tests.support.world import PATIENCE_S, running_world, until

SUPERSEDED = frozenset({"ticket.retried", "ticket.reassigned"})
NOT_COMPARED = frozenset({"ticket.started", "flow.reemitted", "sla.at_risk", "sla.violated"})
"""What the clock says, not the plan: an estimate of a millisecond leaves a ticket no time on a slow machine."""

TRIES = 10

Scenario = tuple[list[tuple[str, ...]], dict[str, list[tuple[str, ...]]]]


@dataclass
class Deployed:
    """A platform that runs somewhere; `url` is its api's."""

    url: str
    client: aiohttp.ClientSession

    async def submit(self, decision: Mapping[str, Any]) -> str:
        """POST a decision and return its flow id; a platform in trouble is asked again, as clients do."""
        headers = {
            "ce-id": str(uuid4()),
            "ce-source": "/tests",
            "ce-specversion": "1.0",
            "ce-type": "io.neuralhive.decision.consolidated.v1",
            "content-type": "application/json",
        }
        for _ in range(TRIES):
            async with self.client.post(self.url + "/", data=json.dumps(decision), headers=headers) as answer:
                if answer.status < 500:
                    assert answer.status == 202, await answer.text()
                    return str((await answer.json())["flow_id"])
            await asyncio.sleep(0.1)
        raise AssertionError(f"the decision was not taken: {answer.status}")

    async def get(self, path: str) -> Any:
        """Return the JSON at a path of the api, None while it does not answer."""
        try:
            async with self.client.get(self.url + path) as answer:
                return await answer.json() if answer.status == 200 else None
        except aiohttp.ClientError:
            return None

    async def ended(self, flow_id: str, seconds: float) -> Mapping[str, Any]:
        """Wait for the end of a flow."""

        async def end() -> Mapping[str, Any] | None:
            flow = await self.get(f"/api/v1/flows/{flow_id}")
            await asyncio.sleep(0.1)
            return flow if flow is not None and flow["ended_at"] else None

        return await until(end, f"the end of flow {flow_id}", seconds)

    async def history(self, flow_id: str) -> list[dict[str, Any]]:
        """Return the whole history of a flow."""
        entries: list[dict[str, Any]] = []
        while True:
            path = f"/api/v1/flows/{flow_id}/history?after={entries[-1]['seq'] if entries else 0}"
            page = await until(partial(self.get, path), "the history", PATIENCE_S)
            if not page["items"]:
                return entries
            entries += page["items"]

    async def register(self, workers: str, *, count: int = 2, slots: int = 50) -> None:
        """Register workers that live at the address `workers`."""
        for number in range(count):
            registration = {
                "worker_id": f"w{number}",
                "endpoint": f"{workers}/w/{number}",
                "capabilities": ["python", "execute"],
                "slots": slots,
            }
            async with self.client.post(f"{self.url}/api/v1/workers", json=registration) as answer:
                assert answer.status < 300, await answer.text()

    async def check(self, decision: Mapping[str, Any], folder: Path, seconds: float = 120) -> None:
        """Run a decision here and on one machine, and compare."""
        flow_id = await self.submit(decision)
        flow = await self.ended(flow_id, seconds)
        assert flow["status"] == "COMPLETED", flow
        history = await self.history(flow_id)
        assert proves_itself(plan_of(decision), history) == []
        unlike = differences(course(history), course(await on_one_machine(decision, folder)))
        assert unlike == [], unlike


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the recorded plans as decisions, by name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text())
        found[path.stem] = data.get("data", data)
    return found


def plan_of(decision: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the plan of a decision."""
    plan = decision["cognitive_plan"]
    found: Mapping[str, Any] = json.loads(plan) if isinstance(plan, str) else plan
    return found


async def on_one_machine(decision: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Return the history of a decision's flow in one process."""
    async with running_world(folder) as world:
        await world.register("w0", "python", "execute", slots=100)
        flow_id = await world.submit(decision)
        await world.ended(flow_id)
        found: list[dict[str, Any]] = []
        while page := await world.ports.views.history(flow_id, found[-1]["seq"] if found else 0, 500):
            found += [entry.model_dump(mode="json") for entry in page]
        return found


def course(history: Sequence[Mapping[str, Any]]) -> Scenario:
    """Return what a history tells of the flow, and of each task: RUNNING and superseded attempts left out."""
    of_flow: list[tuple[str, ...]] = []
    of_tasks: dict[str, list[tuple[str, ...]]] = {}
    for entry in history:
        if entry["type"] in NOT_COMPARED:
            continue
        moved = entry["type"], entry.get("from_status") or "", entry.get("to_status") or ""
        task_id = entry.get("task_id")
        if task_id is None:
            of_flow.append(moved)
        elif entry["type"] in SUPERSEDED:
            of_tasks[task_id] = [one for one in of_tasks.get(task_id, []) if one[0] != "ticket.assigned"]
        else:
            of_tasks.setdefault(task_id, []).append(moved)
    ended = {"COMPLETED", "FAILED", "CANCELLED"}
    # A worker may end its attempt before it has said RUNNING, or after: where it ended from is not compared.
    plain: dict[str, list[tuple[str, ...]]] = {
        task: [(kind, "" if after in ended else before, after) for kind, before, after in lines]
        for task, lines in of_tasks.items()
    }
    return of_flow, plain


def differences(here: Scenario, there: Scenario) -> list[str]:
    """Return what is not the same in two courses."""
    found = [f"flow: {here[0]} instead of {there[0]}"] if here[0] != there[0] else []
    tasks = {**there[1], **here[1]}
    pairs = [(task, here[1].get(task), there[1].get(task)) for task in tasks]
    return found + [f"{task}: {one} instead of {other}" for task, one, other in pairs if one != other]


def wide(seeded: Mapping[str, Any], tickets: int) -> dict[str, Any]:
    """Return a decision like `seeded` with so many tasks, a hundred side by side."""
    tasks = [
        {
            "task_id": f"t{n}",
            "task_type": "EXECUTE",
            "description": "a task whose description makes the decision larger than any event may be",
            "dependencies": [f"t{n - 100}"] if n >= 100 else [],
            "required_capabilities": ["execute"],
            "estimated_duration_ms": 1000,
        }
        for n in range(tickets)
    ]
    return {**seeded, "cognitive_plan": {**plan_of(seeded), "tasks": tasks}}

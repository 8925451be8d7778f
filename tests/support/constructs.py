"""A plan with every construct of the language, the workers and people that it needs, and its end."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.benchmarks.load import Stub
from tests.support.http_world import HttpWorld
from tests.support.one_machine import one_machine
from tests.support.scenarios import course, differences
from tests.support.world import PATIENCE_S, decision, task, until

PAID = "com.example.order.paid"

STATUSES = {
    "list": "COMPLETED",
    "many": "SKIPPED",
    "after-many": "SKIPPED",
    "either": "COMPLETED",
    "fragile": "FAILED",
    "fallback": "COMPLETED",
    "pause": "COMPLETED",
    "moment": "COMPLETED",
    "ask": "COMPLETED",
    "paid": "COMPLETED",
    "each": "COMPLETED",
    **{f"each[{n}]": "FAILED" if n == 3 else "COMPLETED" for n in range(5)},
    "sub": "COMPLETED",
    "sub/fetch": "COMPLETED",
    "sub/clean": "COMPLETED",
    "region": "COMPLETED",
    **{f"region[{n}]": "COMPLETED" for n in range(2)},
    **{f"region[{n}]/{name}": "COMPLETED" for n in range(2) for name in ("fetch", "clean")},
    "end": "COMPLETED",
}
"""How each ticket of the plan ends."""

RESULT = {
    "each": [0, 1, 2, None, 4],
    "regions": [{"rows": "eu"}, {"rows": "us"}],
    "one": {"rows": "de"},
    "amount": 70,
    "paid": 250,
    "skipped": None,
    "end": "all",
}
"""The result of the plan."""

_SUB = {
    "tasks": [
        task("fetch", parameters={"output": {"from": {"$input": "/region"}}}),
        task("clean", "fetch", parameters={"output": {"rows": {"$output": "fetch", "path": "/from"}}}),
    ],
    "result": {"$output": "clean"},
}


class Obeying(Stub):
    """Workers that do as the parameters of a task say: `output` is its output, `error` lets it fail for good.

    With an `item` in its parameters that is 3 a task fails as well. Each takes `pause_s` seconds.
    """

    def __init__(self, pause_s: float = 0) -> None:
        """Begin with nothing seen."""
        super().__init__()
        self.pause_s = pause_s
        self.given: list[dict[str, Any]] = []

    def end_of(self, assignment: dict[str, Any]) -> dict[str, Any]:
        """See `Stub.end_of`."""
        given = assignment["parameters"]
        self.given.append(given)
        if given.get("error") or given.get("item") == 3:
            return {"status": "FAILED", "error": {"type": "told", "message": "no", "retryable": False}}
        return {"status": "COMPLETED", "output": given.get("output")}

    async def _report(self, assignment: dict[str, Any]) -> None:
        await asyncio.sleep(self.pause_s)
        await super()._report(assignment)


def every_construct(order: str, pause_s: float = 0.2) -> dict[str, Any]:
    """Return a decision with every construct; its flow waits for the payment of `order`."""
    listed = {"ids": [0, 1, 2, 3, 4], "few": True, "order": order, "at": "2026-01-01T00:00:00Z"}
    asked = decision(
        task("list", parameters={"output": listed}),
        task("many", "list", when="!outputs.list.few"),
        task("after-many", "many"),
        task("either", "list", "many", on_skipped="any"),
        task("fragile", "list", allow_failure=True, parameters={"error": True}),
        task("fallback", "fragile", when="statuses.fragile == 'FAILED'"),
        task("pause", "list", task_type="WAIT", wait={"seconds": pause_s, "stops_clock": True}),
        task("moment", "list", task_type="WAIT", wait={"until": {"$output": "list", "path": "/at"}}),
        task("ask", "pause", task_type="APPROVE", approval={"form": {"type": "object", "required": ["amount"]}}),
        task("paid", "list", task_type="WAIT", wait={"event": _wanted(), "timeout_ms": 3_600_000}),
        task(
            "each",
            "list",
            foreach={"items": {"$output": "list", "path": "/ids"}, "limit": 2, "max_failures": 1},
            parameters={"output": {"$index": True}, "item": {"$item": ""}},
        ),
        task("sub", "list", task_type="SUBFLOW", plan=_SUB, parameters={"region": "de"}),
        task(
            "region",
            "list",
            task_type="SUBFLOW",
            plan=_SUB,
            foreach={"items": ["eu", "us"], "limit": 1},
            parameters={"region": {"$item": ""}},
        ),
        task(
            "end",
            *("either", "fallback", "moment", "ask", "paid", "each", "sub", "region"),
            parameters={"output": "all"},
            labels={"stage": "end"},
        ),
        labels={"order": "one"},
    )
    asked["cognitive_plan"]["result"] = {
        "each": {"$output": "each"},
        "regions": {"$output": "region"},
        "one": {"$output": "sub"},
        "amount": {"$output": "ask", "path": "/data/amount"},
        "paid": {"$output": "paid", "path": "/data/amount"},
        "skipped": {"$output": "after-many"},
        "end": {"$output": "end"},
    }
    return asked


def _wanted() -> dict[str, Any]:
    return {
        "type": PAID,
        "correlation": {"at": "/order", "equals": {"$output": "list", "path": "/order"}},
        "filter": "event.data.amount > 100",
    }


async def people(world: HttpWorld, flow_id: str, order: str, seconds: float = PATIENCE_S) -> None:
    """Send the payment, and too small a one, when it is waited for, and give the approval when it is asked for."""

    async def waiting(task_id: str) -> Mapping[str, Any]:
        async def found() -> Mapping[str, Any] | None:
            ticket = (await world.tickets(flow_id)).get(task_id)
            return ticket if ticket is not None and ticket["status"] == "WAITING" else None

        return await until(found, f"{task_id} to wait (see {world.where})", seconds)

    async def told(path: str, body: Mapping[str, Any], **headers: str) -> None:
        async def taken() -> bool | None:
            status, document = await world.call("POST", path, body, **headers)
            assert status < 300 or status >= 500, (status, document)
            return status < 300 or None

        await until(taken, f"{path} to be answered (see {world.where})", seconds)

    await waiting("paid")
    for amount in (50, 250):
        attributes = {"ce-id": str(uuid4()), "ce-source": "/shop", "ce-specversion": "1.0", "ce-type": PAID}
        await told("/", {"order": order, "amount": amount}, **attributes)
    ticket = await waiting("ask")
    await told(f"/api/v1/tickets/{ticket['ticket_id']}/approve", {"requested_by": "ada", "data": {"amount": 70}})


async def run_every_construct(
    world: HttpWorld, seconds: float = PATIENCE_S, pause_s: float = 0.2
) -> list[dict[str, Any]]:
    """Run the plan in a world whose workers are `Obeying`, check its end, and return its history."""
    order = str(uuid4())
    flow_id = await world.submit(every_construct(order, pause_s))
    await people(world, flow_id, order, seconds)
    await world.ended(flow_id, seconds)
    return await checked(world, flow_id)


async def checked(world: HttpWorld, flow_id: str) -> list[dict[str, Any]]:
    """Check the end of a flow of the plan, and return its history."""
    flow = await world.flow(flow_id)
    assert flow is not None
    assert flow["status"] == "COMPLETED", flow
    tickets = await world.tickets(flow_id)
    assert {name: ticket["status"] for name, ticket in tickets.items()} == STATUSES
    assert (await world.get(f"/api/v1/flows/{flow_id}/result"))["result"] == RESULT
    history = await world.history(flow_id)
    ends = [entry["task_id"] for entry in history if entry["type"] in {"ticket.completed", "ticket.failed"}]
    assert sorted(ends) == sorted(name for name, status in STATUSES.items() if status != "SKIPPED")
    return history


async def constructs_on_one_machine(folder: Path) -> list[dict[str, Any]]:
    """Return the history of the plan in one process, over SQLite."""
    workers = Obeying()
    async with workers.serving(), one_machine(folder, worker_networks="loopback") as world:
        await world.staff(workers.url)
        return await run_every_construct(world)


async def same_course_of_constructs(world: HttpWorld, folder: Path, seconds: float = PATIENCE_S) -> None:
    """Run the plan here and on one machine, and compare."""
    here = await run_every_construct(world, seconds)
    unlike = differences(course(here), course(await constructs_on_one_machine(folder)))
    assert unlike == [], unlike

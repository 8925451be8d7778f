"""What a plan would take: simulations and costs, where the process that serves the API offers them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request

from functions._core.decision.stored_plans import resolved
from functions._core.errors import Rejected
from functions._core.placement.ranking import health_of
from functions._core.records.record import Record
from functions._core.records.values import Health, JsonObject, format_time
from functions._core.records.worker import AssignmentMode, Worker
from functions.api.bodies import MAX_JSON, read_json
from functions.api.calculation_forms import (
    MOST_SLOTS,
    MOST_WORKERS,
    CostForm,
    PlanQuestion,
    SimulatedFleet,
    SimulationForm,
)
from functions.api.documents import json_body, problems
from functions.api.problems import not_found
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1", tags=["calculations"])

PLAN_ID = "simulated"
"""The ids of a decision around a plan that comes alone."""


class SimulatedShare(Record):
    """How often the SLA was met, and what that says of all runs there could be."""

    met: int
    """In how many runs."""
    probability: float
    """The share of the runs, 0 to 1."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of it."""


class SimulatedBar(Record):
    """One bar of the histogram of durations."""

    from_seconds: float
    """Where it begins."""
    to_seconds: float
    """Where it ends."""
    count: int
    """How many runs were COMPLETED within it."""


class CriticalTask(Record):
    """A task that others waited for at the end."""

    task_id: str
    """Id of the task."""
    share: float
    """In which share of the runs it was on the critical path, 0 to 1."""


class Simulation(Record):
    """What the runs say together."""

    runs: int
    """How many runs were done; fewer than `asked` where the time was over."""
    asked: int
    """How many were asked for."""
    workers: int
    """With how many workers."""
    outcomes: Mapping[str, int]
    """How many runs ended how."""
    rejected_because: Mapping[str, int]
    """Why C1 refused the plan, each reason with its number."""
    finish_seconds: Mapping[str, float]
    """Seconds within which a share of the completed runs was done: p50, p90, p99, max."""
    histogram: Sequence[SimulatedBar]
    """Durations of the completed runs."""
    sla: SimulatedShare
    """How often the SLA was met."""
    critical_path: Sequence[CriticalTask]
    """The tasks that were most often on the critical path, 20 at most."""
    broken: int
    """In how many runs an invariant of the platform was violated: none, or there is a fault in it."""


class CostLine(Record):
    """One line of a bill."""

    name: str
    """The service and what of it."""
    number: float
    """How many of these a flow takes."""
    dollars: float
    """What they cost, in US dollars."""
    around: bool
    """Whether it is not for the steps of the flow itself."""


class CostBill(Record):
    """What one flow costs on AWS, in US dollars, at list prices."""

    tasks: int
    """How many tickets the flow has."""
    lines: Sequence[CostLine]
    """The bill."""
    steps: float
    """What the steps of a flow cost."""
    whole: float
    """The same with all around them."""
    idle: float
    """What a month costs in which no flow comes."""
    worker: float
    """What the heartbeats of a worker cost in a month."""
    rivals: Mapping[str, float]
    """What a flow of as many tasks costs on other services of AWS."""
    prices: JsonObject
    """The prices, with their date and region, and what is assumed."""


@router.post(
    "/simulations", responses=problems(400, 404, 413, 415, 422, 429, 501, 503), openapi_extra=json_body(SimulationForm)
)
async def simulate_plan(services: Services, request: Request) -> Simulation:
    """Simulate a plan with the workers there are, or others, in virtual time; nothing is sent to anybody.

    One calculation runs at a time (429 else), with 20 s of a processor at most.
    """
    offered(services, "flowc simulate PLAN")
    form = await read_json(request, SimulationForm)
    workers = await _registered(services) if form.workers is None else _assumed(form.workers)
    decision = await _decision(services, form)
    asked = {"runs": form.runs, "seed": form.seed, "workers": workers, "at": format_time(services.ports.clock.now())}
    return Simulation(**await calculated(services, "simulation", {"decision": decision, **asked}))


@router.post("/costs", responses=problems(400, 404, 413, 415, 422, 429, 501, 503), openapi_extra=json_body(CostForm))
async def price_plan(services: Services, request: Request) -> CostBill:
    """Return what one flow of a plan costs on AWS: its functions run in virtual time, and what they ask is counted.

    One calculation runs at a time (429 else), with 20 s of a processor at most.
    """
    offered(services, "flowc cost PLAN")
    form = await read_json(request, CostForm)
    asked = {"per_month": form.per_month, "subscriber_events": form.subscriber_events}
    return CostBill(**await calculated(services, "cost", {"decision": await _decision(services, form), **asked}))


def offered(services: ApiServices, command: str) -> None:
    """Raise `Rejected`, status 501, where no calculations are offered."""
    if services.calculate is None:
        text = f"this process calculates nothing, `flowc up` does; the command line does the same: {command}"
        raise Rejected(text, code="not_offered", status=501)


async def calculated(services: ApiServices, kind: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the answer of a calculation; see `ApiServices.calculate`."""
    if services.calculate is None:
        raise Rejected("nothing is calculated here", code="not_offered", status=501)
    return await services.calculate(kind, asked)


async def _decision(services: ApiServices, form: PlanQuestion) -> Mapping[str, Any]:
    """Return the decision that a question is about, with the stored plan that it names."""
    decision: Mapping[str, Any]
    if form.flow_id is not None:
        if await services.ports.store.flow(form.flow_id) is None:
            raise not_found("flow", form.flow_id)
        document = await services.ports.store.decision(form.flow_id)
        if len(document) > MAX_JSON:
            raise Rejected(f"the decision is larger than {MAX_JSON} bytes", code="too_large", status=413)
        decision = json.loads(document)
    elif form.decision is not None:
        decision = form.decision
    else:
        plan = {"plan": form.plan} if isinstance(form.plan, str) else {"plan_id": PLAN_ID, **(form.plan or {})}
        ids = {"decision_id": PLAN_ID, "plan_id": plan.get("plan_id", PLAN_ID), "intent_id": PLAN_ID}
        decision = {**ids, "final_decision": "approve", "cognitive_plan": plan}
    return await resolved(services.ports.key_values, decision)


async def _registered(services: ApiServices) -> Sequence[Mapping[str, Any]]:
    """Return the workers that would get tickets now, as a simulation takes them."""
    now = services.ports.clock.now()
    found = [
        worker
        for worker in await services.ports.registry.workers()
        if worker.takes_tickets and health_of(worker, now, services.rules) is not Health.UNHEALTHY
    ]
    if not found:
        raise Rejected(
            "no worker is registered that would get tickets; name some in `workers`", code="no_workers", status=422
        )
    return [_as_simulated(worker) for worker in found[:MOST_WORKERS]]


def _as_simulated(worker: Worker) -> Mapping[str, Any]:
    stated = worker.telemetry
    return {
        "worker_id": worker.worker_id,
        "capabilities": worker.capabilities,
        "clearance": worker.clearance,
        "slots": min(worker.slots, MOST_SLOTS),
        "delivery": worker.delivery,
        "success_rate": 1.0 if stated.success_rate is None else stated.success_rate,
        "latency_ms": stated.latency_ms or 0.0,
    }


def _assumed(fleets: Sequence[SimulatedFleet]) -> Sequence[Mapping[str, Any]]:
    """Return assumed workers, each with an id of its own."""
    if sum(fleet.count for fleet in fleets) > MOST_WORKERS:
        raise Rejected(f"workers: there are more than {MOST_WORKERS}", code="invalid_data", status=422)
    return [
        {**fleet.model_dump(exclude={"count"}), "delivery": AssignmentMode.PUSH, "worker_id": f"worker-{kind}-{number}"}
        for kind, fleet in enumerate(fleets, 1)
        for number in range(1, fleet.count + 1)
    ]

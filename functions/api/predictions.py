"""Predictions beside what really happened, of the newest ended flows and of their tickets."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

from fastapi import Query, Response

from functions._core.learning.accuracy import (
    FlowAccuracy,
    GroupAccuracy,
    TicketAccuracy,
    by_group,
    flow_accuracy,
    ticket_accuracy,
)
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.learning.resources import ResourcePredictor
from functions._core.passport.price import price_of
from functions._core.records.prediction import FlowPrediction, Prediction
from functions._core.records.record import Record, encode
from functions._core.records.values import Outcome, TaskType, TicketStatus, Timestamp
from functions._core.records.worker import Worker
from functions.api.analyst_state import beside
from functions.api.documents import problems
from functions.api.newest_rows import NewestRows, newest_rows
from functions.api.questions import DEFAULT_LIMIT, Id, Limit
from functions.api.routes import Routes
from functions.api.services import Services

router = Routes(prefix="/api/v1/predictions", tags=["predictions"])


class PriceOfTime(Record):
    """What time of a worker costs, by the price that it states."""

    amount: float
    """The amount, to a millionth."""
    currency: str
    """Its currency, three letters."""


class TicketResources(Record):
    """What a ticket has taken of the fleet, beside what is expected of such work by the model that serves now.

    A model that was trained later than the ticket ended may have seen it. Its error on tickets that it has not seen is
    among the metrics of the model.
    """

    attempts: int
    """How often it was given to a worker."""
    expected_attempts: float | None
    """How often such work is given out, in the mean; null where no model serves."""
    worker_ms: int | None
    """Milliseconds of workers' slots over all attempts, failed and hedged ones, too; null where not known."""
    expected_worker_ms: int | None
    """The same, as expected of such work; null where no model serves."""
    output_bytes: int
    """Bytes of its output as JSON, 0 without one."""
    expected_output_bytes: int | None
    """The same, as expected of such work; null where nothing is known of its type, or no model serves."""
    price: PriceOfTime | None
    """What that time costs by the worker of the last attempt; null where it states no price, or is not registered."""
    expected_price: PriceOfTime | None
    """What the expected time costs by that worker; null as well where no model serves."""


class PredictedTicket(Record):
    """A ticket that has ended, beside what was predicted for it."""

    flow_id: str
    """Id of its flow."""
    ticket_id: str
    """Id of the ticket."""
    task_id: str
    """Id of its task within its plan."""
    task_type: TaskType
    """The kind of work."""
    status: TicketStatus
    """How it ended."""
    worker_id: str | None
    """Who had its last attempt."""
    prediction: Prediction
    """What was predicted."""
    estimate_ms: int
    """What its plan expected, in milliseconds."""
    actual_ms: int | None
    """How long it took, in milliseconds; null unless it was done."""
    inside_p90: bool | None
    """Whether it took at most its p90; null unless it was done."""
    resources: TicketResources
    """What it has taken of the fleet, beside what is expected."""
    completed_at: Timestamp
    """When it ended."""


class PredictedFlow(Record):
    """A flow that has ended, beside what was predicted for it."""

    flow_id: str
    """Id of the flow."""
    plan_id: str | None
    """Id of its plan."""
    outcome: Outcome
    """How it ended."""
    missed: bool
    """Whether it missed its deadline."""
    prediction: FlowPrediction
    """What was predicted."""
    duration_ms: int
    """How long it took, in milliseconds."""
    ended_at: Timestamp
    """When it ended."""


class PredictionPage(Record):
    """Predictions beside what happened, the last to end first, and how good they were."""

    items: tuple[PredictedTicket, ...]
    """Tickets with a prediction, at most `limit`."""
    flows: tuple[PredictedFlow, ...]
    """Flows with a prediction, at most `limit`."""
    tickets_accuracy: TicketAccuracy
    """Figures of all tickets that were looked at, not of the items alone."""
    flows_accuracy: FlowAccuracy
    """Figures of all flows that were looked at."""
    by_model: tuple[GroupAccuracy, ...]
    """The figures of tickets by the version of the model."""
    by_task_type: tuple[GroupAccuracy, ...]
    """The figures of tickets by the type of the tasks."""
    looked_at: int
    """How many ended flows were looked at, with and without predictions."""
    complete: bool
    """Whether these are all that ended within 14 days."""
    checked_at: Timestamp
    """When they were looked at."""


@router.get("", responses={**problems(400, 422), 200: {"model": PredictionPage}})
async def list_predictions(
    services: Services,
    task_type: Annotated[TaskType | None, Query(description="Only tickets of this type, in any letter case")] = None,
    worker: Annotated[Id, Query(description="Only tickets that this worker had")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Response:
    """Return predictions beside what happened, of the newest ended flows and tickets, and how good they were.

    At most 60 flows with 6,000 tickets are looked at, of the newest 200 that ended within 14 days.
    """
    now = services.ports.clock.now()
    rows = await newest_rows(services, now, lambda _: True)
    serving = await services.ports.predictions.serving()
    expects = serving.predictor if serving is not None and isinstance(serving.predictor, ResourcePredictor) else None
    workers = {one.worker_id: one for one in await services.ports.registry.workers()}
    page = partial(page_of, rows, task_type, worker, limit, expects=expects, workers=workers)
    return Response(await beside(lambda: encode(page())), media_type="application/json")


def page_of(
    rows: NewestRows,
    task_type: TaskType | None,
    worker: str | None,
    limit: int,
    *,
    expects: ResourcePredictor | None = None,
    workers: Mapping[str, Worker] | None = None,
) -> PredictionPage:
    """Return predictions beside what happened, of the tickets that the filters fit."""
    flows = [row for row, _ in rows.flows if not row.simulated]
    tickets = [
        ticket
        for row, of_flow in rows.flows
        for ticket in of_flow
        if not row.simulated
        and ticket.prediction is not None
        and task_type in {None, ticket.task_type}
        and worker in {None, ticket.worker_id}
    ]
    tickets.sort(key=lambda one: (one.completed_at, one.ticket_id), reverse=True)
    return PredictionPage(
        items=_items(tickets[:limit], expects, workers or {}),
        flows=_flows([row for row in flows if row.prediction is not None][:limit]),
        tickets_accuracy=ticket_accuracy(tickets),
        flows_accuracy=flow_accuracy(flows),
        by_model=by_group(tickets, lambda one: one.prediction.model if one.prediction else ""),
        by_task_type=by_group(tickets, lambda one: one.task_type.value),
        looked_at=len(flows),
        complete=rows.complete,
        checked_at=rows.until,
    )


def resources_of(row: TicketRow, expects: ResourcePredictor | None, worker: Worker | None) -> TicketResources:
    """Return what a ticket has taken, beside what a model expects, and what both cost by a worker."""
    said = None if expects is None else expects.resources(row.work)
    expected_ms = None if said is None else said.worker_ms
    return TicketResources(
        attempts=row.attempts,
        expected_attempts=None if said is None else said.attempts,
        worker_ms=row.worker_ms,
        expected_worker_ms=expected_ms,
        output_bytes=row.output_bytes,
        expected_output_bytes=None if said is None else said.output_bytes,
        price=_price(worker, row.worker_ms),
        expected_price=_price(worker, expected_ms),
    )


def _price(worker: Worker | None, milliseconds: int | None) -> PriceOfTime | None:
    found = None if worker is None or milliseconds is None else price_of(worker, milliseconds)
    return None if found is None else PriceOfTime(amount=found[0], currency=found[1])


def _items(
    tickets: Sequence[TicketRow], expects: ResourcePredictor | None, workers: Mapping[str, Worker]
) -> tuple[PredictedTicket, ...]:
    return tuple(
        PredictedTicket(
            flow_id=one.flow_id,
            ticket_id=one.ticket_id,
            task_id=one.task_id,
            task_type=one.task_type,
            status=one.status,
            worker_id=one.worker_id,
            prediction=one.prediction,
            estimate_ms=one.estimate_ms,
            actual_ms=one.actual_ms,
            inside_p90=None if one.actual_ms is None else one.actual_ms <= one.prediction.p90_ms,
            resources=resources_of(one, expects, workers.get(one.worker_id or "")),
            completed_at=one.completed_at,
        )
        for one in tickets
        if one.prediction is not None
    )


def _flows(flows: Sequence[FlowRow]) -> tuple[PredictedFlow, ...]:
    return tuple(
        PredictedFlow(
            flow_id=one.flow_id,
            plan_id=one.plan_id,
            outcome=one.outcome,
            missed=one.missed,
            prediction=one.prediction,
            duration_ms=one.duration_ms,
            ended_at=one.ended_at,
        )
        for one in flows
        if one.prediction is not None
    )

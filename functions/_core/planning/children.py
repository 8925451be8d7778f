"""The children of a ticket: one for each item of its list, or for each task of the plan within it. Pure, like C2."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from functions._core.decision.model import Decision, SubPlan, Task, rounds
from functions._core.decision.reading import read_decision
from functions._core.errors import Undeliverable
from functions._core.executors.deploy import undoing_of_item
from functions._core.learning.guard import Guarded
from functions._core.planning.slack import cautious_ms
from functions._core.planning.tickets import Within, ticket_hash, tickets_of
from functions._core.records.control import Control
from functions._core.records.json_text import json_size
from functions._core.records.models import Flow, Ticket
from functions._core.records.policies import Undo
from functions._core.records.prediction import Prediction
from functions._core.records.record import defaults_of
from functions._core.records.values import TicketStatus, Waiting, add_time, ticket_id_of, time_span
from functions._core.rules import Rules

_DEFAULTS = defaults_of(Ticket)

BLANK = {
    name: _DEFAULTS[name]
    for name in ("dependencies", "dependants", "open_dependencies", "children", "emissions", "critical", "version")
} | {"started_at": None, "ready_at": None, "announced": _DEFAULTS["announced"], "late": False}
"""Fields that the child for an item does not take over from the ticket that it is made from."""


def item_names(first: int, last: int) -> list[str]:
    """Return the ends of the task ids of the children for the items from `first` to before `last`."""
    return [f"[{index}]" for index in range(first, last)]


def item_estimate_ms(parent: Ticket) -> int:
    """Return how long one item of a ticket's list is expected to take, in milliseconds."""
    foreach = parent.control.foreach if parent.control else None
    return max(1, parent.estimated_duration_ms // (rounds(foreach.expected_items, foreach) if foreach else 1))


def item_prediction(parent: Ticket) -> Prediction | None:
    """Return what is predicted for one item of a ticket's list; as with estimates, its part of what is for all."""
    foreach = parent.control.foreach if parent.control else None
    if parent.prediction is None or foreach is None:
        return parent.prediction
    times = rounds(foreach.expected_items, foreach)
    p50, p90 = (max(1, ms // times) for ms in (parent.prediction.p50_ms, parent.prediction.p90_ms))
    return parent.prediction.but(p50_ms=p50, p90_ms=p90)


def expected_ms(parent: Ticket, total: int) -> int:
    """Return how long all items of a list are expected to take, in milliseconds."""
    foreach = parent.control.foreach if parent.control else None
    return item_estimate_ms(parent) * (rounds(total, foreach) if foreach else 1)


def copied_bytes(parent: Ticket, plan: SubPlan | None) -> int:
    """Return how many bytes, as JSON, each child for an item takes over from the decision; `plan` is the one within."""
    undo = parent.undo.parameters if parent.undo else None
    return json_size([dict(parent.parameters), dict(parent.metadata), undo]) + _bytes_of(plan)


def _bytes_of(plan: SubPlan | None) -> int:
    tasks = plan.tasks if plan else ()
    return sum(json_size([dict(task.parameters), dict(task.metadata)]) + _bytes_of(task.plan) for task in tasks)


def item_tickets(parent: Ticket, items: Sequence[Any], first: int, since: datetime, until: datetime) -> list[Ticket]:
    """Return the children for `items`, of which the first one is number `first` of the list; each waits for its turn.

    They are made from the parent: the same task, without its condition. `since` is when the parent began, so that a
    repetition makes the same tickets; nothing has to look at them before `until`.
    """
    control = parent.control or Control()
    estimate, predicted = item_estimate_ms(parent), item_prediction(parent)
    made = []
    for index, item in enumerate(items, first):
        name = f"{parent.task_id}[{index}]"
        child = parent.but(
            **BLANK,
            ticket_id=ticket_id_of(parent.flow_id, name),
            task_id=name,
            parent=parent.ticket_id,
            index=index,
            item=item,
            undo=_undo_of(parent, name),
            control=Control(subflow=control.subflow) if control.subflow else None,
            status=TicketStatus.PENDING,
            estimated_duration_ms=estimate,
            prediction=predicted,
            latest_start=max(since, add_time(parent.sla.deadline, -time_span(cautious_ms(estimate, predicted)))),
            created_at=since,
            waiting=Waiting.TURN,
            waiting_since=since,
            until=until,
            next_wakeup_at=until,
        )
        made.append(child.but(hash=ticket_hash(child)))
    return made


def _undo_of(parent: Ticket, name: str) -> Undo | None:
    """Return how the work of a child is undone: as the parent says, with its own output instead of the parent's."""
    undo, start = parent.undo, len(parent.scope)
    if undo is None:
        return None
    parameters = undoing_of_item(undo.parameters, parent.task_id[start:], name[start:])
    return undo if parameters is undo.parameters else undo.but(parameters=parameters)


def subflow_tickets(
    parent: Ticket, text: bytes, flow: Flow, since: datetime, rules: Rules, guarded: Guarded | None = None
) -> tuple[Ticket, ...]:
    """Return the tickets of the plan within a ticket; `text` is the decision, and `since` when the parent began."""
    decision, plan = subplan_of(text, parent.control.subflow if parent.control else ())
    # Its tasks share the time that the parent has; late, they share what is left as if it were a moment.
    deadline = max(parent.sla.deadline, add_time(since, timedelta(milliseconds=1)))
    return tickets_of(plan.tasks, Within(flow, decision, deadline, parent, guarded), since, rules)


def subplan_of(text: bytes, path: tuple[str, ...]) -> tuple[Decision, SubPlan]:
    """Return a decision, and the plan within its plan that `path` leads to."""
    decision = _decision(text)
    tasks: Sequence[Task] = decision.cognitive_plan.tasks
    plan: SubPlan | None = None
    for task_id in path:
        plan = next((task.plan for task in tasks if task.task_id == task_id), None)
        tasks = plan.tasks if plan else ()
    if plan is None:
        raise Undeliverable(f"the decision has no plan within task {'/'.join(path)}", code="ticket_corrupted")
    return decision, plan


@lru_cache(maxsize=2)
def _decision(text: bytes) -> Decision:
    """Return a decision; the sub-flows of one flow begin and end one after the other. A large one takes much memory."""
    return read_decision(text)

"""The key and the labels of a flow, as its decision and its plan give them; C1 says where they do not hold."""

import re
from collections.abc import Iterator, Mapping

from functions._core.decision.model import Decision, Task
from functions._core.decision.vocabulary import MAX_LABELS, shown
from functions._core.records.models import Reason
from functions._core.records.policies import Concurrency

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
"""The part of a key that stands for something of the flow."""

LONGEST_KEY = 255
"""Bytes of a key with everything filled in: it is part of the key of a small record."""


def concurrency_of(decision: Decision) -> Concurrency | None:
    """Return how many flows of which key may be in flight, with the key of this flow; None: any number."""
    given = decision.concurrency or decision.cognitive_plan.concurrency
    return None if given is None else given.but(key=_filled(given.key, _facts(decision)))


def concurrency_errors(decision: Decision) -> Iterator[Reason]:
    """Yield why a key has no meaning for this decision."""
    own = decision.concurrency is not None
    given, place = decision.concurrency or decision.cognitive_plan.concurrency, "" if own else "cognitive_plan."
    if given is None:
        return
    where, facts = f"{place}concurrency.key", _facts(decision)
    unknown = [name for name in PLACEHOLDER.findall(given.key) if name not in facts]
    for name in unknown:
        known = ", ".join(f"{{{one}}}" for one in facts)
        text = f"{where}: {shown(f'{{{name}}}')} stands for nothing of this decision; known are {known}"
        yield Reason(code="unknown_placeholder", message=text, where=where)
    if not unknown and len(_filled(given.key, facts).encode()) > LONGEST_KEY:
        text = f"{where}: has more than {LONGEST_KEY} bytes with everything filled in"
        yield Reason(code="invalid_field", message=text, where=where)


def label_errors(decision: Decision) -> Iterator[Reason]:
    """Yield where labels, with those that are inherited, are more than a record may have."""
    labels = decision.flow_labels
    if len(labels) > MAX_LABELS:
        yield _too_many("labels", len(labels))
        return
    yield from _of_tasks(decision.cognitive_plan.tasks, "cognitive_plan", labels)


def _of_tasks(tasks: tuple[Task, ...], where: str, labels: Mapping[str, str]) -> Iterator[Reason]:
    for position, task in enumerate(tasks):
        place, number = f"{where}.tasks[{position}]", len({**labels, **task.labels}) if task.labels else 0
        if number > MAX_LABELS:
            yield _too_many(f"{place}.labels", number)
        if task.plan is not None:
            yield from _of_tasks(task.plan.tasks, f"{place}.plan", labels)


def _too_many(where: str, number: int) -> Reason:
    text = f"{where}: has {number} labels with those that are inherited; there may be {MAX_LABELS}"
    return Reason(code="too_many_labels", message=text, where=where)


def _facts(decision: Decision) -> Mapping[str, str]:
    """Return what placeholders stand for."""
    labels = {f"label:{name}": value for name, value in decision.flow_labels.items()}
    tenant = {"tenant_id": decision.tenant_id} if decision.tenant_id is not None else {}
    return {"plan_id": decision.plan_id, **tenant, **labels}


def _filled(key: str, facts: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: facts.get(found[1], found[0]), key)

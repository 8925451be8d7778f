"""Plans written in Python: a few lines that print a decision. It needs no platform and nothing but this file.

plan = Plan("nightly")
rows = plan.task("extract", type="QUERY", description="Read the new rows")
plan.task("load", after=rows, input={"rows": rows.output("/rows")}, when=rows.output["count"] > 0)
print(plan)
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

Json = Any
Fields = dict[str, Any]


class Expression:
    """A condition in CEL, or a part of one. Compare it, and combine conditions by `&`, `|` and `~`."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __getitem__(self, key: str | int) -> "Expression":
        return Expression(f"{self.text}[{json.dumps(key)}]")

    def __eq__(self, other: object) -> "Expression":  # type: ignore[override] # it is written down, not compared
        return self._with("==", other)

    def __ne__(self, other: object) -> "Expression":  # type: ignore[override]
        return self._with("!=", other)

    def __lt__(self, other: object) -> "Expression":
        return self._with("<", other)

    def __le__(self, other: object) -> "Expression":
        return self._with("<=", other)

    def __gt__(self, other: object) -> "Expression":
        return self._with(">", other)

    def __ge__(self, other: object) -> "Expression":
        return self._with(">=", other)

    def __and__(self, other: "Expression") -> "Expression":
        return Expression(f"({self.text}) && ({other.text})")

    def __or__(self, other: "Expression") -> "Expression":
        return Expression(f"({self.text}) || ({other.text})")

    def __invert__(self) -> "Expression":
        return Expression(f"!({self.text})")

    def __bool__(self) -> bool:
        raise TypeError("a condition is true or false when the plan runs; combine conditions by &, | and ~")

    __hash__ = None  # type: ignore[assignment] # it is no value

    def size(self) -> "Expression":
        """Return the number of elements."""
        return Expression(f"size({self.text})")

    def _with(self, operator: str, other: object) -> "Expression":
        right = other.text if isinstance(other, Expression) else json.dumps(other, ensure_ascii=False)
        return Expression(f"{self.text} {operator} {right}")


class Output(Expression):
    """The output of a task: call it for a reference, `output("/rows")`; index it in a condition, `output["rows"]`."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"outputs[{json.dumps(task_id)}]")
        self.task_id = task_id

    def __call__(self, path: str = "") -> Fields:
        """Return a reference to the output, or to the part of it at a JSON Pointer."""
        return {"$output": self.task_id, **({"path": path} if path else {})}


class Task:
    """A task of a plan; name it in `after`, or use its `output` and `status`."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.output = Output(task_id)
        self.status = Expression(f"statuses[{json.dumps(task_id)}]")


INDEX: Fields = {"$index": True}
"""The place of the item in the list of a foreach, from 0 on."""


def item(path: str = "") -> Fields:
    """Return a reference to the item of the foreach, or to the part of it at a JSON Pointer."""
    return {"$item": path}


def given(path: str = "") -> Fields:
    """Return a reference to the input of the sub-flow, or to the part of it at a JSON Pointer."""
    return {"$input": path}


def secret(name: str) -> Fields:
    """Return a reference to a secret of the platform."""
    return {"$secret": name}


class Plan:
    """A plan under construction; `fields` are further ones of it, such as `priority`. Printed, it is a decision."""

    def __init__(self, name: str, *, labels: Mapping[str, str] | None = None, **fields: Json) -> None:
        self.name = name
        self.result: Json = None
        self._fields = {**fields, **({"labels": dict(labels)} if labels else {})}
        self._tasks: dict[str, Fields] = {}

    def task(
        self,
        task_id: str,
        *,
        type: str = "EXECUTE",  # noqa: A002 its name in the plan
        description: str = "",
        after: "Task | str | Iterable[Task | str]" = (),
        input: Mapping[str, Json] | None = None,  # noqa: A002
        when: Expression | str | None = None,
        **fields: Json,
    ) -> Task:
        """Add a task that begins `after` others, with the parameters `input`; `fields` are further ones of a task."""
        if task_id in self._tasks:
            raise ValueError(f"the plan has a task {task_id!r} already")
        names = [after] if isinstance(after, Task | str) else after
        condition = when.text if isinstance(when, Expression) else when
        task = {
            "task_id": task_id,
            "task_type": type,
            "description": description or task_id,
            "dependencies": [one.task_id if isinstance(one, Task) else one for one in names],
            **({"parameters": dict(input)} if input is not None else {}),
            **({"when": condition} if condition is not None else {}),
        }
        self._tasks[task_id] = task | fields
        return Task(task_id)

    def approve(self, task_id: str, message: str, *, approval: Mapping[str, Json] | None = None, **more: Json) -> Task:
        """Add a decision of a person; `approval` has `approvers`, `form`, `timeout_ms`, and so on."""
        block = {"message": message, **(approval or {})}
        return self.task(task_id, type="APPROVE", **{"description": message, **more}, approval=block)

    def wait(self, task_id: str, *, wait: Mapping[str, Json], **more: Json) -> Task:
        """Add a wait: `wait` is `{"seconds": 60}`, `{"until": moment}` or `{"event": {"type": …}}`."""
        return self.task(task_id, type="WAIT", **more, wait=dict(wait))

    def foreach(self, task_id: str, items: Json, *, foreach: Mapping[str, Json] | None = None, **more: Json) -> Task:
        """Add a task that is done once for each of `items`; `foreach` has `limit`, `max_failures`, and so on."""
        return self.task(task_id, **more, foreach={"items": items, **(foreach or {})})

    def subflow(self, task_id: str, plan: "Plan", **more: Json) -> Task:
        """Add a task that is a plan; with `foreach={"items": …}` it is that plan once for each item."""
        block = {"tasks": plan.tasks, **({} if plan.result is None else {"result": plan.result})}
        return self.task(task_id, type="SUBFLOW", **more, plan=block)

    @property
    def tasks(self) -> list[Fields]:
        """The tasks as JSON."""
        return [*self._tasks.values()]

    def plan(self) -> Fields:
        """Return the plan as JSON."""
        result = {} if self.result is None else {"result": self.result}
        return {"plan_id": self.name, **self._fields, "tasks": self.tasks, **result}

    def decision(self, decision_id: str | None = None, **fields: Json) -> Fields:
        """Return a decision to carry out the plan; without an id of its own each is another one."""
        made = {"decision_id": decision_id or f"{self.name}-{uuid4()}", "plan_id": self.name, "intent_id": self.name}
        return {**made, "final_decision": "approve", **fields, "cognitive_plan": self.plan()}

    def __str__(self) -> str:
        return json.dumps(self.decision(), indent=2, ensure_ascii=False)

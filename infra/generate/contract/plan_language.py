"""The schemas by which editors complete a plan and a decision: as they are read, with the rules between fields.

C1 says the same and more: a schema knows neither which tasks depend on which, nor what a condition means.
"""

from collections.abc import Mapping
from typing import Any

from functions._core.decision.model import CognitivePlan, Decision
from functions._core.decision.vocabulary import TASK_TYPES
from functions._core.records.values import TaskType
from infra.generate.contract.schemas import Document, input_schema
from infra.generate.contract.tolerant import NULL, Tolerant, any_case

BLOCKS: Mapping[TaskType, str] = {TaskType.APPROVE: "approval", TaskType.WAIT: "wait", TaskType.SUBFLOW: "plan"}
"""The block of each type of task that the platform does itself; no other type has it."""

NEEDED = frozenset({TaskType.WAIT, TaskType.SUBFLOW})
"""Types of tasks that say nothing without their block."""

ENDS = ("until", "seconds", "event")
"""What may end a wait; exactly one is given."""

EDITOR: Document = {"$schema": {"description": "Where this schema is, for editors; nothing else reads it."}}


def plan_schemas() -> Mapping[str, Document]:
    """Return the schemas by the name under which they are served."""
    plan, decision = (
        _with_rules(input_schema(model, name, Tolerant))
        for model, name in ((CognitivePlan, "plan"), (Decision, "decision"))
    )
    # A plan that is stored by name gets its plan_id from the decision that uses it.
    plan["required"].remove("plan_id")
    # So does a decision that uses a stored plan: it needs no plan_id of its own.
    decision["required"].remove("plan_id")
    decision["allOf"] = [
        {"anyOf": [{"required": ["plan_id"]}, {"properties": {"cognitive_plan": {"required": ["plan"]}}}]}
    ]
    return {"plan": plan, "decision": decision}


def _with_rules(schema: Document) -> Document:
    """Add the editor's own field, the rules about the blocks of a task, and those about the end of a wait."""
    schema["properties"] = EDITOR | schema["properties"]
    parts = schema["$defs"]
    parts["Task"]["allOf"] = [*parts["Task"].get("allOf", ()), *_block_rules()]
    parts["Wait"]["oneOf"] = [_given(name) for name in ENDS]
    return schema


def _block_rules() -> list[Document]:
    rules: list[Document] = []
    for kind, block in BLOCKS.items():
        has = _given(block)
        then: Document = has if kind in NEEDED else {}
        if kind is not TaskType.SUBFLOW:
            none = {"not": _given("foreach")}
            then = {"allOf": [then, none]} if then else none
        rules.append({"if": _of_type(kind), "then": then, "else": {"not": has}})
    return rules


def _of_type(kind: TaskType) -> Document:
    """Return the schema of a task of a type, by either name of that field."""
    words = any_case(word for word, read in TASK_TYPES.items() if read is kind)
    word = {"type": "string", "pattern": rf"^\s*({words})\s*$"}
    of_old_name = {"properties": {"task_type": NULL, "type": word}, "required": ["type"]}
    return {"anyOf": [{"properties": {"task_type": word}, "required": ["task_type"]}, of_old_name]}


def _given(name: str) -> dict[str, Any]:
    """Return the schema of an object in which a field is there and not null."""
    return {"properties": {name: {"not": NULL}}, "required": [name]}

"""The schemas for editors: served to everybody, and they accept whatever C1 accepts."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from functions._core.decision.model import CognitivePlan, Decision, Task
from functions._core.decision.reading import InvalidDecision, check_plan, decision_in
from functions._core.records.control import Approval, EventFilter, Foreach, Wait
from infra.generate.contract.field_docs import phrase
from tests.conftest import ROOT
from tests.contract.schemas import FORMATS
from tests.support.decisions import NOW, a_document, a_plan, a_task
from tests.support.http_api import Api, problem_of, running_api


@cache
def validator(name: str) -> Draft202012Validator:
    schema = json.loads((ROOT / "functions" / "api" / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FORMATS)


def fits(name: str, document: object) -> list[str]:
    """Return what a schema has to say against a document."""
    return [f"{error.json_path}: {error.message[:200]}" for error in validator(name).iter_errors(document)]


def accepted(document: object) -> bool:
    """Tell whether C1 accepts a decision."""
    try:
        errors, _ = check_plan(decision_in(document), NOW)
    except InvalidDecision:
        return False
    return not errors


def of_task(**changes: object) -> dict[str, Any]:
    return a_document(a_plan({**a_task(), **changes}))


APPROVE = {"approvers": ["ada", "operator"], "message": "Ship it?", "form": {"type": "object"}, "timeout_ms": 5,
           "on_denied": "continue", "on_timeout": "fail", "stops_clock": True}  # fmt: skip
EVENT = {"type": "a.b", "source": "/s", "subject": "x", "correlation": {"at": "/id", "equals": {"$output": "a"}},
         "filter": "event.data.n > 1", "arrived_before_ms": 5}  # fmt: skip
CONSTRUCTS: Mapping[str, dict[str, Any]] = {
    "approval": of_task(task_type="approve", approval=APPROVE),
    "an approval without more": of_task(task_type="APPROVE"),
    "wait for a span": of_task(task_type="WAIT", wait={"seconds": 5}),
    "wait until": of_task(task_type="WAIT", wait={"until": "2036-01-01T00:00:00Z", "stops_clock": True}),
    "wait for an event": of_task(task_type="Wait", wait={"event": EVENT, "timeout_ms": 5, "on_timeout": "continue"}),
    "condition": a_document(
        a_plan(a_task("a", allow_failure=True), a_task("b", "a", when='statuses["a"] == "SKIPPED"', on_skipped="run"))
    ),
    "foreach": of_task(
        foreach={"items": [1, 2], "limit": 2, "max_items": 3, "max_failures": 1, "expected_items": 2},
        parameters={"x": {"$item": "/a"}, "n": {"$index": True}},
    ),
    "sub-flow": of_task(
        task_type="SUBFLOW",
        parameters={"a": 1},
        plan={"tasks": [a_task("x", parameters={"a": {"$input": "/a"}})], "result": {"$output": "x"}},
    ),
    "labels and a result": a_document(
        a_plan({**a_task(), "labels": {"a": "b"}}, labels={"team": "x"}, result={"$output": "a"}), labels={"a": "b"}
    ),
}
"""Each construct as it is written."""

WRONG: Mapping[str, dict[str, Any]] = {
    "a wait without its block": of_task(task_type="WAIT"),
    "a wait whose block is null": of_task(task_type="WAIT", wait=None),
    "a wait for nothing": of_task(task_type="WAIT", wait={}),
    "a wait for two things": of_task(task_type="WAIT", wait={"seconds": 1, "until": 1}),
    "a sub-flow without a plan": of_task(task_type="SUBFLOW"),
    "a worker's task that waits": of_task(wait={"seconds": 1}),
    "a worker's task that is approved": of_task(approval={}),
    "a wait with a plan": of_task(task_type="WAIT", wait={"seconds": 1}, plan={"tasks": [a_task()]}),
    "an approval for each item": of_task(task_type="APPROVE", foreach={"items": []}),
    "a foreach without items": of_task(foreach={}),
    "a foreach of none at once": of_task(foreach={"items": [], "limit": 0}),
    "an event without a type": of_task(task_type="WAIT", wait={"event": {}}),
    "a label of another form": of_task(labels={"a b": "c"}),
    "a label that is a number": of_task(labels={"a": 5}),
    "a word that is not known": of_task(on_skipped="perhaps"),
    "a condition that is empty": of_task(when=""),
    "a stored plan and more": a_document({"plan": "a@1.0.0", "tasks": 5}),
    "a stored plan of another form": a_document({"plan": "a@latest"}),
}


@pytest.mark.parametrize("document", CONSTRUCTS.values(), ids=CONSTRUCTS)
def test_every_construct_fits(document: dict[str, Any]) -> None:
    assert fits("decision", document) == []
    assert fits("plan", {"$schema": "x", **document["cognitive_plan"]}) == []
    decision_in(document)


@pytest.mark.parametrize("document", WRONG.values(), ids=WRONG)
def test_what_no_plan_may_say_does_not_fit(document: dict[str, Any]) -> None:
    assert fits("decision", document)


def test_a_decision_may_name_a_stored_plan_in_place_of_its_own() -> None:
    document = a_document({"plan": "nightly@1.2.3"})
    assert fits("decision", document) == []
    del document["plan_id"]
    assert fits("decision", document) == []
    assert fits("decision", {**document, "cognitive_plan": a_plan()})


def paths(value: object, here: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if here:
        yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*here, key))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 12), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "x", "fail", "Continue", "skip", "RUN", "WAIT", "approve", "subflow", "BUILD", "5", "true"]),
    st.text(max_size=5),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["seconds", "until", "event", "items", "limit", "tasks", "type", "$output", "a"]), inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)  # fmt: skip


@st.composite
def changed_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a decision with a construct in it, with another value in up to three places."""
    document: dict[str, Any] = deepcopy(draw(st.sampled_from([*CONSTRUCTS.values()])))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from([*paths(document)]))
        part: Any = document
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = draw(VALUES)
    return document


@given(document=changed_documents())
@settings(max_examples=500, deadline=None)
def test_the_schema_accepts_whatever_c1_accepts(document: dict[str, Any]) -> None:
    if accepted(document):
        assert fits("decision", document) == []


def test_every_field_of_the_language_is_described() -> None:
    whole: Any = validator("decision").schema
    parts = whole["$defs"]
    for model in (Task, CognitivePlan, Decision):
        schema = whole if model is Decision else parts[model.__name__]
        for name in model.model_fields:
            assert schema["properties"][name]["description"] == phrase(model, name), name
    for record in (Approval, Wait, Foreach, EventFilter):
        for name in record.__struct_fields__:
            assert parts[record.__name__]["properties"][name]["description"] == phrase(record, name), name


def test_all_examples_of_the_project_fit() -> None:
    for path in [*(ROOT / "examples").glob("*.json"), *(ROOT / "tests" / "troubles").glob("*.json")]:
        assert fits("decision", json.loads(path.read_text(encoding="utf-8"))) == [], path.name


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path, api_key="a-key-of-an-administrator") as running:
        yield running


@pytest.mark.parametrize("name", ["plan", "decision"])
async def test_the_schemas_are_served_to_everybody_and_may_be_kept(api: Api, name: str) -> None:
    answer = await api.client.get(f"/schemas/{name}.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/schema+json")
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.json() == validator(name).schema
    tag = answer.headers["etag"]
    again = await api.client.get(f"/schemas/{name}.json", headers={"if-none-match": f'"x", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await api.client.get(f"/schemas/{name}.json", headers={"if-none-match": '"x"'})
    assert other.status_code == 200
    problem_of(await api.client.get(f"/schemas/{name}.json", headers={"if-none-match": "x"}), 400, "malformed_etag")


@pytest.mark.parametrize("name", ["decision.schema.json", "..%2fapp.py", "../app.py", "%2e%2e/app.py", "plan"])
async def test_nothing_else_of_the_folder_is_served(api: Api, name: str) -> None:
    assert (await api.client.get(f"/schemas/{name}")).status_code in {401, 404}

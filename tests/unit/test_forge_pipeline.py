"""The plan of a pipeline: C1 takes it, its executors take its parameters, and it says the same for the same request."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from functions._core.decision.reading import check_plan, decision_in
from functions._core.decision.unknown_fields import unknown_fields
from functions._core.errors import Rejected
from functions._core.executors.forge import MODELS
from functions._core.executors.parameters import parameter_faults
from functions._core.forge.pipeline import (
    PipelineRequest,
    decision_id_for,
    label_of,
    pipeline_decision,
    request_hash,
)
from functions._core.forge.stages import STAGES, TemplateCard, TemplateSource
from functions._core.forge.templates import SHIPPED
from tests.contract.test_plan_schema import fits
from tests.support.decisions import NOW

SHOP = {"artifact_id": "acme/shop", "language": "python", "artifact_type": "service", "inputs": {"port": 8080}}


def decided(**more: Any) -> dict[str, Any]:
    return pipeline_decision(PipelineRequest.model_validate({**SHOP, **more}), SHIPPED, "key-1")


def executed(decision: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the executors that a decision names, with their parameters: compensations and sub-plans, too."""
    tasks = [*decision["cognitive_plan"]["tasks"]]
    for task in tasks:
        tasks += task.get("plan", {}).get("tasks", ())
        for parameters in (task.get("parameters", {}), task.get("compensation", {}).get("parameters", {})):
            if "provider" in parameters:
                yield parameters["provider"], parameters


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ticket_id": "t-1", "plan_id": "p-1", "flow_id": "f-1", "correlation_id": "c-1", "review_seconds": 60},
        {"artifact_id": "a" * 200, "ticket_id": "ö " * 100, "inputs": {}, "instructions": "x" * 8_000},
    ],
)
def test_the_plan_is_without_a_fault_and_a_warning(more: dict[str, Any]) -> None:
    decision = decided(**more)
    assert (fits("decision", decision), unknown_fields(decision)) == ([], ())
    errors, warnings = check_plan(decision_in(decision), NOW)
    assert (errors, [warning for warning in warnings if warning.code != "provider_not_used"]) == ((), [])


def test_each_executor_takes_its_parameters() -> None:
    named = list(executed(decided()))
    assert {name for name, _ in named} == MODELS.keys()
    for name, parameters in named:
        assert parameter_faults(MODELS[name], parameters) == (), name


def test_the_stages_follow_each_other_within_their_limits() -> None:
    decision = decided(review_seconds=3_600)
    tasks = decision["cognitive_plan"]["tasks"]
    assert tuple(task["task_id"] for task in tasks) == STAGES
    assert [task.get("dependencies", []) for task in tasks] == [[], *([name] for name in STAGES[:-1])]
    assert [task["timeout_ms"] // 1_000 for task in tasks[:-1]] == [60, 300, 600, 600, 600]
    assert decision["sla_deadline_seconds"] == 1_800 + 3_600
    assert decision["cognitive_plan"]["concurrency"] == {"key": "forge", "limit": 10}
    _, merge_request, person = tasks[-1]["plan"]["tasks"]
    assert merge_request["timeout_ms"] == person["approval"]["timeout_ms"] == 3_600_000
    assert person["approval"]["stops_clock"]


def test_a_key_is_an_id_and_a_long_one_its_hash() -> None:
    assert decision_id_for("t-1-0") == "forge:t-1-0"
    assert len(decision_id_for("k" * 255)) < 100
    assert decision_id_for("k" * 255) != decision_id_for("k" * 254)
    assert request_hash(PipelineRequest.model_validate(SHOP)) != request_hash(
        PipelineRequest.model_validate(SHOP | {"version": "2"})
    )


def test_labels_are_ids_where_those_can_be_labels() -> None:
    assert label_of("acme/shop") == "acme/shop"
    long = {label_of("a/" * 100), label_of("a/" * 99 + "b"), label_of("-"), label_of("ö"), label_of("a b")}
    assert len(long) == 5
    assert max(map(len, long)) <= 63


def test_the_first_stage_is_handed_the_templates_that_fit_best() -> None:
    cards = [
        TemplateCard(
            template_id=f"t-{number}",
            language="python",
            artifact_type="service",
            quality=number / 100,
            source=TemplateSource(folder="a"),
        )
        for number in range(100)
    ]
    [select, *_] = pipeline_decision(PipelineRequest.model_validate(SHOP), cards, "k")["cognitive_plan"]["tasks"]
    assert [card["template_id"] for card in select["parameters"]["templates"]] == [
        f"t-{number}" for number in range(99, 79, -1)
    ]
    with pytest.raises(Rejected) as refused:
        decided(template_id="unknown")
    assert (refused.value.code, refused.value.status) == ("no_template", 422)


@pytest.mark.parametrize(
    "wrong",
    [
        {"artifact_id": "../etc"},
        {"artifact_id": "a/../b"},
        {"artifact_id": "a//b"},
        {"artifact_id": "-x"},
        {"inputs": {"key": {"$secret": "database"}}},
        {"inputs": {"deep": [{"er": {"$output": "package"}}]}},
        {"inputs": {"text": "x" * 65_536}},
        {"inputs": {f"n{number}": 1 for number in range(101)}},
        {"inputs": {"a b": 1}},
        {"capabilities": ["x"] * 101},
        {"version": "-v"},
        {"version": "1 2"},
        {"min_coverage": 1.1},
        {"review_seconds": 0},
        {"review_seconds": 10**9},
        {"unknown": 1},
    ],
)
def test_requests_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PipelineRequest.model_validate(SHOP | wrong)

"""The approval gate of the code forge: its bounds, and what no score makes up for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.forge.gate import gate_score, gate_verdict, shown_score
from functions._core.forge.stages import GateOutcome, GateVerdict
from functions._executors.forge.code_host import code_host_settings
from functions._executors.registry import UnknownExecutor, executor_named
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.forge_stages import composed, counted, validated
from tests.support.jobs import assigned, by_looks

UNIT = st.floats(0, 1)


def verdict(quality: float, tests: float = 1.0, confidence: float = 1.0) -> GateVerdict:
    return gate_verdict(composed(confidence_score=confidence), validated(quality), counted(tests), "person")


@pytest.mark.parametrize(
    ("quality", "tests", "confidence", "score", "outcome"),
    [
        (1.0, 1.0, 1.0, 1.0, "APPROVED"),
        (0.9, 0.9, 0.9, 0.9, "APPROVED"),
        (0.8999, 0.8999, 0.8999, 0.8999, "REVIEW"),
        (1.0, 1.0, 0.0, 0.9, "APPROVED"),
        (1.0, 1.0, -0.0, 0.9, "APPROVED"),
        (0.3 + 0.3 + 0.2 + 0.1, 0.9, 0.9, 0.9, "APPROVED"),  # a sum of floats below 0.9
        (0.9, 0.9, 0.89, 0.899, "REVIEW"),
        (0.5, 0.5, 0.5, 0.5, "REVIEW"),
        (0.4999, 0.4999, 0.4999, 0.4999, "REJECTED"),
        (0.1 + 0.2 + 0.2, 0.5, 0.5, 0.5, "REVIEW"),
        (0.0, 1.0, 1.0, 0.4, "REJECTED"),
        (0.0, 0.0, 0.0, 0.0, "REJECTED"),
    ],
)
def test_bounds_belong_to_the_upper_class(
    quality: float, tests: float, confidence: float, score: float, outcome: str
) -> None:
    said = verdict(quality, tests, confidence)
    assert (said.score, said.outcome) == (score, outcome)
    assert said.review == ("person" if outcome == "REVIEW" else None)


@given(UNIT, UNIT, UNIT)
def test_a_score_lies_between_0_and_1_and_each_part_only_raises_it(quality: float, tests: float, more: float) -> None:
    score = gate_score(quality, tests, 0.5)
    assert 0 <= score <= 1
    assert gate_score(max(quality, more), max(tests, more), 0.5) >= score


@pytest.mark.parametrize(
    ("tests", "words"),
    [
        ({"failed": 1}, "1 of 11 tests failed"),
        ({"passed": 0}, "no test passed"),
        ({"coverage": 0.7999}, "79.99% is covered, 80.00% is asked for"),
    ],
)
def test_what_tests_say_is_looked_at_however_good_the_score_is(tests: dict[str, Any], words: str) -> None:
    said = gate_verdict(composed(), validated(1.0), counted(1.0, **tests), "merge_request")
    assert (said.outcome, said.score, said.review) == (GateOutcome.REVIEW, 1.0, "merge_request")
    assert said.reason == f"the score is 1; {words}; findings: none"


def test_coverage_that_is_just_the_minimum_or_that_nothing_measured_is_no_reason() -> None:
    for coverage in (0.8, 0.1 + 0.7, None):
        said = gate_verdict(composed(), validated(1.0), counted(1.0, coverage=coverage), "person")
        assert said.outcome is GateOutcome.APPROVED


def test_a_policy_that_denies_or_a_critical_finding_is_rejected_whatever_the_score() -> None:
    denied = gate_verdict(composed(), validated(0.49, capped_by="denied by checkov"), counted(), "person")
    assert (denied.outcome, denied.review) == (GateOutcome.REJECTED, None)
    assert denied.reason == "the score is 0.694, but the quality is capped: denied by checkov"
    critical = gate_verdict(composed(), validated(1.0, issues={"critical": 1}), counted(), "person")
    assert (critical.outcome, critical.score) == (GateOutcome.REJECTED, 1.0)
    assert critical.reason == "the score is 1, but it has a critical finding"


def test_who_decides_is_told_what_was_found() -> None:
    code = validated(0.8, issues={"low": 3, "high": 1, "medium": -2, "odd": 5})
    said = gate_verdict(composed(), code, counted(0.9), "person")
    assert said.reason == "the score is 0.85; below 0.9 somebody has to decide; findings: 1 high, 3 low"


def test_a_score_is_never_shown_as_a_bound_that_it_does_not_reach() -> None:
    assert [shown_score(score) for score in (0.89999999, 0.9, 0, 1.0)] == ["0.8999", "0.9", "0", "1"]


PARAMETERS = {
    "provider": "forge_gate",
    "code": composed().model_dump(mode="json"),
    "validation": validated(0.8).model_dump(mode="json"),
    "tests": counted().model_dump(mode="json"),
}


def gate(**environment: str) -> JobsExecutor:
    return JobsExecutor([executor_named("forge_gate", ExecutorSettings(environment=environment))])


async def run(jobs: JobsExecutor, **changes: Any) -> Any:
    return await jobs.run(assigned({**PARAMETERS, **changes}, task_type="VALIDATE"))


async def test_the_executor_says_who_decides_here() -> None:
    output = await run(gate())
    assert (output["outcome"], output["score"], output["review"]) == ("REVIEW", 0.88, "person")
    output = await run(gate(WORKER_FORGE_HOST="gitlab", WORKER_FORGE_REPOSITORY="acme/web/made"))
    assert output["review"] == "merge_request"
    output = await run(gate(), validation=validated(1.0).model_dump(mode="json"))
    assert output["outcome"] == "APPROVED"
    assert "review" not in output


async def test_a_rejection_is_an_end_that_no_repetition_changes() -> None:
    with pytest.raises(TaskFailed) as failed:
        await run(gate(), validation=validated(0.0).model_dump(mode="json"))
    assert (failed.value.kind, failed.value.retryable) == ("rejected", False)
    assert failed.value.message == "the score is 0.4, and below 0.5 code is rejected"


async def test_another_process_comes_to_the_same_verdict() -> None:
    state = await by_looks(lambda: executor_named("forge_gate", ExecutorSettings()), PARAMETERS, task_type="VALIDATE")
    assert "0.88" in str(state)


@pytest.mark.parametrize(
    "changes",
    [
        {"HOST": "gitea"},
        {"HOST": ""},
        {"REPOSITORY": ""},
        {"REPOSITORY": "acme"},
        {"REPOSITORY": "acme/../made"},
        {"REPOSITORY": "acme/made?x=1"},
        {"REPOSITORY": "acme/web/made"},
        {"BASE": "--upload-pack=x"},
        {"BASE": "a..b"},
        {"BASE": "flowc-forge/x"},
        {"FOLDER": "made"},
        {"FOLDER": "/{name}"},
        {"FOLDER": "../{name}"},
        {"FOLDER": ".git/{name}"},
        {"FOLDER": "{name}/.GIT"},
    ],
)
def test_settings_of_a_code_host_that_are_wrong_are_told_when_the_worker_begins(changes: dict[str, str]) -> None:
    given = {"HOST": "github", "REPOSITORY": "acme/made", **changes}
    settings = ExecutorSettings(environment={f"WORKER_FORGE_{name}": value for name, value in given.items()})
    with pytest.raises(UnknownExecutor, match="cannot be made: "):
        executor_named("forge_gate", settings)


@pytest.mark.parametrize("artifact_id", ["acme/../x", "a//b", "acme/.git/hooks", "acme/."])
def test_the_id_of_an_artifact_leads_nowhere_else(artifact_id: str) -> None:
    environment = {"WORKER_FORGE_HOST": "github", "WORKER_FORGE_REPOSITORY": "acme/made"}
    found = code_host_settings(ExecutorSettings(environment=environment))
    assert found is not None
    assert found.folder_of("acme/shop") == "acme/shop"
    with pytest.raises(ValueError, match="no folder"):
        found.folder_of(artifact_id)

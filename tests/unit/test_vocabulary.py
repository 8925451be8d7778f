from datetime import UTC, datetime, timedelta

import pytest

from functions._core.decision.reading import Compensation, Task
from functions._core.records.values import Priority, RiskBand, SecurityLevel, TaskType
from tests.support.decisions import NOW, a_decision, a_document, a_plan, a_task, faults, read, refusals


def only_task(document: object) -> Task:
    return read(document).cognitive_plan.tasks[0]


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("query", "QUERY"),
        ("Transform", "TRANSFORM"),
        ("VALIDATE", "VALIDATE"),
        ("build", "BUILD"),
        ("Test", "TEST"),
        ("deploy", "DEPLOY"),
        ("execute", "EXECUTE"),
        ("analyze", "QUERY"),
        ("REVIEW", "VALIDATE"),
        ("validation", "VALIDATE"),
        ("generate", "EXECUTE"),
        ("code_generation", "BUILD"),
        ("implementation", "BUILD"),
        ("testing", "TEST"),
        ("design", "EXECUTE"),
        (" documentation ", "EXECUTE"),
    ],
)
def test_foreign_words_for_task_types_are_mapped(word: str, meaning: str) -> None:
    assert only_task(a_document(a_plan(a_task(task_type=word)))).task_type == TaskType(meaning)


@pytest.mark.parametrize("word", ["SCAFFOLD_SERVICE", "COMPENSATE", "compensate", "", "{word}", 7, ["QUERY"]])
def test_an_unknown_task_type_is_named_together_with_those_that_are_known(word: object) -> None:
    [reason] = refusals(a_document(a_plan(a_task(task_type=word))))
    assert reason.code == "unknown_task_type"
    assert f"is '{word}'; known are analyze, approve, build," in reason.message


def test_the_type_may_stand_under_its_recorded_other_name() -> None:
    task = {"task_id": "a", "type": "testing", "description": "try it"}
    assert only_task(a_document(a_plan(task))).task_type is TaskType.TEST


def test_a_compensation_may_say_compensate_and_is_that_by_default() -> None:
    undo = {"task_type": "compensate", "parameters": {"artifact": 7}}
    said = Compensation(task_type=TaskType.COMPENSATE, parameters={"artifact": 7})
    assert only_task(a_document(a_plan(a_task(compensation=undo)))).compensation == said
    assert only_task(a_document(a_plan(a_task(compensation={})))).compensation == Compensation()
    assert Compensation().task_type is TaskType.COMPENSATE
    where = "cognitive_plan.tasks[0].compensation.task_type"
    assert faults(a_document(a_plan(a_task(compensation={"task_type": "dance"})))) == [("unknown_task_type", where)]


@pytest.mark.parametrize(
    ("given_priority", "meaning"),
    [
        ("low", "LOW"),
        ("Normal", "NORMAL"),
        ("medium", "NORMAL"),
        ("HIGH", "HIGH"),
        ("critical", "CRITICAL"),
        (-1, "LOW"),
        (2, "LOW"),
        (3, "NORMAL"),
        (5, "NORMAL"),
        (6, "HIGH"),
        (8, "HIGH"),
        (9, "CRITICAL"),
    ],
)
def test_priorities_are_words_or_numbers(given_priority: object, meaning: str) -> None:
    assert a_decision(plan={"priority": given_priority}).flow_priority == Priority(meaning)


@pytest.mark.parametrize("word", ["urgent", True, 5.5, []])
def test_an_unknown_priority_is_named(word: object) -> None:
    [reason] = refusals(a_document(a_plan(original_priority=word)))
    assert (reason.code, reason.where) == ("unknown_word", "cognitive_plan.original_priority")
    assert f"is '{word}'; known are LOW, NORMAL (also medium)" in reason.message


def test_the_nearest_priority_counts() -> None:
    plan = {"original_priority": "low"}
    assert a_decision(plan=plan).flow_priority is Priority.LOW
    assert a_decision(plan=plan, priority=9).flow_priority is Priority.CRITICAL
    assert a_decision(plan=plan | {"priority": "high"}, priority=9).flow_priority is Priority.HIGH


def test_the_plan_says_its_risk_before_the_decision_does() -> None:
    assert a_decision(risk_band="HIGH").flow_risk_band is RiskBand.HIGH
    assert a_decision(risk_band="HIGH", plan={"risk_band": "Low"}).flow_risk_band is RiskBand.LOW


def test_security_is_read_from_where_the_contract_keeps_it() -> None:
    level = a_decision(plan={"original_security_level": "confidential"}).flow_security_level
    assert level is SecurityLevel.CONFIDENTIAL


def test_the_known_words_of_an_enumeration_are_given() -> None:
    [reason] = refusals(a_document(final_decision="approved"))
    assert reason.message == (
        "final_decision: is 'approved'; known are approve, reject, review_required or conditional"
    )


@pytest.mark.parametrize(
    "moment", ["2026-03-02T00:00:00Z", "2026-03-02T01:00:00+01:00", "2026-03-02T00:00:00", 1772409600000]
)
def test_times_are_read_as_text_or_epoch_milliseconds(moment: object) -> None:
    assert a_decision(sla_deadline=moment).sla_deadline == datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "moment", ["tomorrow", -1, 10**18, True, [], "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_times_outside_the_calendar_are_refused(moment: object) -> None:
    assert faults(a_document(sla_deadline=moment)) == [("invalid_field", "sla_deadline")]


def test_the_earlier_of_two_deadlines_counts() -> None:
    absolute = "2026-03-01T13:00:00Z"
    soon = NOW + timedelta(hours=1)
    assert a_decision(sla_deadline=absolute).deadline(NOW) == soon
    assert a_decision(sla_deadline=absolute, sla_deadline_seconds=60).deadline(NOW) == NOW + timedelta(minutes=1)
    assert a_decision(sla_deadline=absolute, sla_deadline_seconds=86_400).deadline(NOW) == soon
    assert a_decision().deadline(NOW, timedelta(seconds=5)) == NOW + timedelta(seconds=5)


@pytest.mark.parametrize("seconds", [0, -5, 1e12, "soon", [1]])
def test_a_deadline_in_seconds_must_make_sense(seconds: object) -> None:
    assert faults(a_document(sla_deadline_seconds=seconds)) == [("invalid_field", "sla_deadline_seconds")]


@pytest.mark.parametrize("task_id", ["x" * 256, "line\nbreak", "bell\x07", "\x00", ""])
def test_ids_are_short_and_printable(task_id: str) -> None:
    assert faults(a_document(a_plan(a_task(task_id)))) == [("invalid_field", "cognitive_plan.tasks[0].task_id")]


def test_an_id_of_255_characters_is_taken() -> None:
    assert only_task(a_document(a_plan(a_task("é" * 255)))).task_id == "é" * 255

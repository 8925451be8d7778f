"""`events/` as it is checked in: made by the code, whole, and true of the examples."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._core.decision.reading import check_plan, read_decision
from functions._core.events.catalogue import BY_TYPE, CATALOGUE
from functions._core.events.commands import ORDERS
from functions._core.events.envelope import type_of
from functions._core.events.policies import DUE
from functions._core.events.routes import ROUTES, TRANSITIONS, receiver_of
from functions._core.records.audits import IncidentType
from functions._core.records.values import flow_id_of, format_time, parse_time, ticket_id_of
from functions._core.rules import Rules
from functions._core.webhooks.owners import owner_of
from infra.generate import events as generate_events
from infra.generate.contract.examples import courses, examples
from infra.generate.contract.folder import differences, pretty
from infra.generate.contract.sample import DECISION, IMAGE, START
from infra.generate.contract.scenarios import WEBHOOK
from infra.generate.contract.slo_course import SLO_ID
from tests.conftest import ROOT
from tests.contract.schemas import EVENTS, INCOMING, MODELS, OUTGOING, STEMS, document, faults, faults_of, validator
from tests.support.builders import make_event

FLOW_ID = flow_id_of(DECISION["decision_id"])
TASKS = {task["task_id"] for task in DECISION["cognitive_plan"]["tasks"]}


def test_the_folder_is_what_the_code_makes() -> None:
    assert list(differences(EVENTS, generate_events.files())) == []


def test_the_same_files_are_made_whatever_the_order_of_sets() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "infra.generate.events", "--check"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_drift_is_named_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_events, "FOLDER", tmp_path)
    assert generate_events.main([]) == 0
    assert generate_events.main(["--check"]) == 0
    (tmp_path / "plan.validated.v1.schema.json").unlink()
    (tmp_path / "README.md").write_text("# Other\n", encoding="utf-8")
    (tmp_path / "plan.guessed.v1.schema.json").write_text("{}", encoding="utf-8")
    assert generate_events.main(["--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "events/README.md differs; run `make events`",
        "events/plan.validated.v1.schema.json is missing; run `make events`",
        "events/plan.guessed.v1.schema.json belongs to nothing; run `make events`",
    ]
    assert generate_events.main([]) == 0
    assert "plan.guessed.v1.schema.json belonged to nothing and was removed" in capsys.readouterr().err
    assert generate_events.main(["--check"]) == 0


def test_every_type_has_its_schema_and_its_example_and_nothing_else_is_there() -> None:
    wanted = {f"{stem}.{kind}.json" for stem in MODELS for kind in ("schema", "example")}
    assert {path.name for path in EVENTS.glob("*.json")} == wanted | {
        "asyncapi.json",
        "execution_ticket.v1.schema.json",
        "plan.v1.schema.json",
    }
    assert {path.name for path in EVENTS.iterdir()} - wanted == {
        "README.md",
        "execution_ticket.v1.avsc",
        "execution_ticket.v1.schema.json",
        "plan.v1.schema.json",
        "decision.consolidated.v1.avsc",
        "asyncapi.json",
        "envelopes",
        "proto",
    }


@pytest.mark.parametrize("stem", MODELS)
def test_an_example_is_valid_and_read_by_its_model(stem: str) -> None:
    example = document(f"{stem}.example.json")
    assert example["type"] == type_of(stem.removesuffix(".stored").removesuffix(".v1"))
    assert faults(stem, example["data"]) == []
    assert isinstance(MODELS[stem].model_validate(example["data"]), MODELS[stem])


@pytest.mark.parametrize("stem", MODELS)
def test_an_example_has_the_subject_and_the_attributes_of_its_type(stem: str) -> None:
    example, entry = document(f"{stem}.example.json"), BY_TYPE[stem.removesuffix(".stored").removesuffix(".v1")]
    subjects: Mapping[str, set[str | None]] = {
        "flow id": {FLOW_ID},
        "ticket id": {ticket_id_of(FLOW_ID, task) for task in TASKS},
        "worker id": {"forge-1", "ship-1"},
        "agent id": {"forge-1"},
        "subscription id": {owner_of(WEBHOOK)},
        "SLO id": {SLO_ID},
        "freeze id": {document("sla.freeze.activated.v1.example.json")["data"]["event_id"]},
        "insight id": {example["data"].get("insight_id")},
        "none": {None},
    }
    subjects = {**subjects, "flow or ticket id": subjects["flow id"] | subjects["ticket id"]}
    assert example.get("subject") in subjects[entry.subject]
    others = {"worker id", "agent id", "subscription id", "SLO id", "freeze id", "insight id"}
    if example["source"].startswith("/flowc") and entry.subject not in others:
        assert example["partitionkey"] == FLOW_ID
        assert example["correlationid"] == DECISION["correlation_id"]
        assert example["traceparent"].startswith("00-")
        assert ("expirytime" in example) == (entry.event_type == "ticket.assigned")
    assert ("dataref" in example) == stem.endswith(".stored")
    assert STEMS[example.get("dataschema", f"urn:neuralhive:{entry.event_type}:v1")] == stem


def test_the_examples_are_about_one_flow_and_its_tickets() -> None:
    allowed = {
        "flow_id": {FLOW_ID},
        "decision_id": {DECISION["decision_id"]},
        "plan_id": {DECISION["plan_id"]},
        "intent_id": {DECISION["intent_id"]},
        "ticket_id": {ticket_id_of(FLOW_ID, task) for task in TASKS},
        "task_id": TASKS,
        "worker_id": {"forge-1", "ship-1"},
    }
    found = [(stem, pair) for stem in MODELS for pair in _members(document(f"{stem}.example.json")["data"])]
    assert [(stem, name, value) for stem, (name, value) in found if value not in allowed.get(name, {value})] == []
    assert {name for _, (name, _) in found} >= allowed.keys()


def _members(value: object) -> Iterator[tuple[str, Any]]:
    """Yield every field with a plain value, at any depth."""
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, dict | list):
                yield from _members(item)
            else:
                yield name, item
    elif isinstance(value, list):
        for item in value:
            yield from _members(item)


def test_the_sample_decision_has_nothing_to_complain_of() -> None:
    assert check_plan(read_decision(json.dumps(DECISION).encode()), START) == ((), ())


def test_nothing_that_is_sent_in_any_course_is_against_its_schema() -> None:
    sent = [event for events in courses().values() for event in events]
    assert [fault for event in sent for fault in faults_of(event)] == []


def test_a_decision_between_functions_always_says_where_it_is_stored() -> None:
    sent = [event for events in courses().values() for event in events if event.event_type == "decision.consolidated"]
    stored = [event for event in sent if event.source.startswith("/flowc/")]
    assert [event.source for event in stored if "dataref" not in event.extensions] == []


def test_the_courses_send_every_type_and_no_id_stands_for_two_events() -> None:
    for name, events in courses().items():
        seen: dict[tuple[str, str], Any] = {}
        for event in events:
            if event.event_type != "ticket.assigned":  # a subscriber's copy has the worker's id, and other readers
                assert seen.setdefault((event.source, event.id), event) is event, f"{name} repeats {event.id}"
    assert {event.event_type for events in courses().values() for event in events} == set(BY_TYPE)


def test_who_sends_and_who_handles_is_what_the_catalogue_says() -> None:
    for event_type, route in ROUTES.items():
        assert BY_TYPE[event_type].handled_by == route.function
    for event in (event for events in courses().values() for event in events):
        if event.source.startswith("/flowc/"):
            assert event.source.removeprefix("/flowc/") in BY_TYPE[event.event_type].sent_by.split(", "), (
                event.event_type
            )


def test_times_are_in_order_and_of_the_sample() -> None:
    for events in courses().values():
        times = [event.time for event in events]
        assert times == sorted(times)
    for stem, event in examples().items():
        assert parse_time(document(f"{stem}.example.json")["time"]) == event.time


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every schema of an object with fields, at any depth."""
    if isinstance(schema, list):
        for item in schema:
            yield from objects(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            yield schema
        for item in schema.values():
            yield from objects(item)


@pytest.mark.parametrize("stem", OUTGOING)
def test_an_outgoing_schema_refuses_an_unknown_field_at_every_depth(stem: str) -> None:
    data = document(f"{stem}.example.json")["data"]
    assert faults(stem, {**data, "surprise": 1})
    found = list(objects(document(f"{stem}.schema.json")))
    assert found
    assert [part["description"] for part in found if part.get("additionalProperties") is not False] == []


@pytest.mark.parametrize("stem", OUTGOING)
def test_an_outgoing_schema_refuses_an_example_that_lacks_a_required_field(stem: str) -> None:
    data = document(f"{stem}.example.json")["data"]
    for name in document(f"{stem}.schema.json").get("required", []):
        assert faults(stem, {key: value for key, value in data.items() if key != name}), name


@pytest.mark.parametrize("stem", [stem for stem in OUTGOING if "date-time" in json.dumps(validator(stem).schema)])
def test_an_outgoing_schema_takes_times_in_one_form_only(stem: str) -> None:
    data = document(f"{stem}.example.json")["data"]
    times = [name for name, part in document(f"{stem}.schema.json")["properties"].items() if "format" in part]
    assert times
    for name in times:
        if data[name] is None:  # what has begun has not ended
            continue
        assert data[name].endswith("Z")
        assert faults(stem, data | {name: 1_772_366_400_000})
        assert faults(stem, data | {name: "2026-03-01 12:00"})


def test_every_schema_says_what_it_is_and_every_field_what_it_means() -> None:
    ids = set()
    for stem in MODELS:
        schema = document(f"{stem}.schema.json")
        ids.add(schema["$id"])
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert schema["title"] == type_of(stem.removesuffix(".stored").removesuffix(".v1"))
        for part in objects(schema):
            assert part["description"]
            wordless = [name for name, field in part["properties"].items() if not field.get("description")]
            assert set(wordless) <= {"cognitive_plan", "plan_data"}, wordless
    assert len(ids) == len(MODELS)


APPLIES_TO = {
    "minimum": {"number", "integer"},
    "maximum": {"number", "integer"},
    "exclusiveMinimum": {"number", "integer"},
    "exclusiveMaximum": {"number", "integer"},
    "multipleOf": {"number", "integer"},
    "minLength": {"string"},
    "maxLength": {"string"},
    "pattern": {"string"},
    "format": {"string", "number", "integer"},
    "items": {"array"},
    "maxItems": {"array"},
    "minItems": {"array"},
    "properties": {"object"},
    "propertyNames": {"object"},
    "maxProperties": {"object"},
    "additionalProperties": {"object"},
}


def typeless(schema: Any, path: str = "$", types: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield every keyword that stands where no type to which it applies is named: strict validators refuse it."""
    own = schema.get("type", ())
    types = frozenset([own] if isinstance(own, str) else own) or types
    yield from (f"{path}: {key}" for key in schema if not APPLIES_TO.get(key, types | {""}) & (types | {""}))
    for key in ("properties", "$defs"):
        for name, part in schema.get(key, {}).items():
            yield from typeless(part, f"{path}.{name}")
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(schema.get(key), dict):
            yield from typeless(schema[key], f"{path}.{key}")
    for key in ("anyOf", "allOf"):
        for number, part in enumerate(schema.get(key, ())):
            yield from typeless(part, f"{path}.{key}[{number}]", types)


@pytest.mark.parametrize("stem", MODELS)
def test_a_keyword_stands_beside_a_type_that_it_applies_to(stem: str) -> None:
    assert list(typeless(document(f"{stem}.schema.json"))) == []


def test_the_readme_names_every_type_and_links_to_files_that_are_there() -> None:
    text = (EVENTS / "README.md").read_text(encoding="utf-8")
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    files = [link for link in links if not link.startswith("https://")]
    assert len(files) == 2 * len(MODELS) + 1
    assert [link for link in files if not (EVENTS / link).is_file()] == []
    for entry in CATALOGUE:
        handlers = "all that act as time passes" if entry.event_type == "clock.ticked" else entry.handled_by
        assert f"| `{entry.event_type}` | {entry.sent_by} | {handlers} |" in text
    for path in (EVENTS / "envelopes").iterdir():
        assert f"`{path.name}`" in text


@pytest.mark.parametrize("value", [{}, [], {"a": [{}]}, {"long": ["x" * 60, "y" * 60], "short": [1, None]}, "é", 1.5])
def test_what_is_laid_out_to_be_read_is_still_the_same_json(value: Mapping[str, Any]) -> None:
    assert json.loads(pretty(value)) == value


def test_the_incoming_schemas_are_those_of_the_types_that_the_ingress_takes() -> None:
    assert set(INCOMING) == {
        "decision.consolidated.v1",
        *(f"{event_type}.v1" for event_type in ORDERS),
        "ticket.reported.v1",
        "worker.deregistered.v1",
        "worker.heartbeat.v1",
        "worker.registered.v1",
    }


def test_an_incident_has_exactly_the_fields_of_the_contract_that_it_follows(
    shared_folder: Callable[[str], Path],
) -> None:
    text = (shared_folder(".") / "contracts.md").read_text(encoding="utf-8")
    section = text.partition("### 1.6 ")[2].partition("### 1.7 ")[0]
    assert "OrchestrationIncident" in section
    wanted = set(re.findall(r"^\| (\w+) \| (?!Type)", section, re.MULTILINE))
    kinds = set(re.findall(r"`([A-Z_]+)`", section.partition("enum `IncidentType`: ")[2].partition("\n")[0]))
    assert kinds == {kind.value for kind in IncidentType}
    incidents = [
        event.data for events in courses().values() for event in events if event.event_type == "incident.raised"
    ]
    assert {data["cause"] for data in incidents} <= kinds
    for data in incidents:
        assert data["detail"].keys() == wanted
        assert (data["detail"]["incident_type"], data["detail"]["workflow_id"]) == (data["cause"], FLOW_ID)


def test_every_order_is_open_to_the_outside_and_says_who_gives_it_and_why() -> None:
    for event_type, model in ORDERS.items():
        assert BY_TYPE[event_type].outside, event_type
        assert BY_TYPE[event_type].subject == ("ticket id" if "ticket_id" in model.model_fields else "flow id"), (
            event_type
        )
        assert {"flow_id", "requested_by", "reason"} <= document(f"{event_type}.v1.example.json")["data"].keys(), (
            event_type
        )


ENDS = {
    "completed": "flow.completed",
    "failed": "flow.failed",
    "compensated": "flow.failed",
    "redriven": "flow.completed",
    "denied": "flow.rejected",
    "late": "flow.completed",
    "cancelled": "flow.cancelled",
    "timed_out": "flow.timed_out",
    "rejected": "flow.rejected",
}


@pytest.mark.parametrize(("name", "end"), ENDS.items())
def test_a_course_that_is_told_to_its_end_ends_as_it_says(name: str, end: str) -> None:
    sent = [event.event_type for event in courses()[name]]
    assert sent.index("telemetry.frame") < len(sent) - 1 - sent[::-1].index(end)


@pytest.mark.parametrize("name", [name for name, end in ENDS.items() if end == "flow.completed"])
def test_a_flow_that_was_troubled_and_completes_raises_no_incident_for_it(name: str) -> None:
    event_types = [event.event_type for event in courses()[name]]
    begun = event_types.index("flow.redriven") if "flow.redriven" in event_types else 0
    assert "incident.raised" not in event_types[begun:]


def test_what_was_done_is_undone_from_its_end_and_each_compensation_gets_what_it_needs() -> None:
    sent = courses()["compensated"]
    undone = [event.data["task_id"] for event in sent if event.event_type == "ticket.compensated"]
    assert undone == ["test", "build"]
    told = {
        e.data["task_id"]: e.data for e in sent if e.event_type == "ticket.assigned" and e.data["token"] is not None
    }
    assert told["compensate:test"]["parameters"]["action"] == "cleanup_test_env"
    assert told["compensate:build"]["parameters"]["image"] == IMAGE
    assert {told[f"compensate:{name}"]["task_type"] for name in undone} == {"COMPENSATE"}


def test_a_suspended_worker_gets_nothing_until_its_suspension_is_over() -> None:
    sent = courses()["worker_suspended"]
    place = next(place for place, event in enumerate(sent) if event.event_type == "worker.suspended")
    posted = [event for event in sent if event.event_type == "ticket.assigned" and event.data["token"] is not None]
    before = [event for event in sent[:place] if event in posted]
    assert len(before) == sent[place].data["failures"] == Rules().breaker_failures
    until = sent[place].data["until"]
    assert [format_time(event.time) >= until for event in posted[len(before) :]] == [True]


def test_a_dead_letter_names_the_function_that_an_event_is_for() -> None:
    due = make_event(1, DUE)
    assert receiver_of(due) == "enforce_sla"
    assert receiver_of(make_event(2, "decision.consolidated")) == "validate"
    assert receiver_of(make_event(3, DUE, source=TRANSITIONS)) == "subscriber"

"""Playbooks and runs without a store: which playbook heals, when a run stops, what counts as the same trouble."""

import pytest

from functions._core.events.healing import HealingDue
from functions._core.healing.playbooks import Playbook, chosen
from functions._core.healing.runs import (
    ActionState,
    HealingAction,
    HealingRun,
    HealingState,
    begun,
    ended_event,
    log_key,
    same_trouble,
    stop_of,
)
from tests.support.builders import T0, seconds
from tests.support.healing import form

FLOW = "0b5d9c5e-5f0c-5d1c-9a3b-7c1f0e2d3a05"


def due(**more: object) -> HealingDue:
    about = {"incident_id": "i", "flow_id": FLOW, "incident_type": "INCONSISTENCY", "severity": "WARNING"}
    return HealingDue.model_validate({**about, "raised_at": T0, **more})


def playbook(*steps: str, name: str = "p", **more: object) -> Playbook:
    given = form(*(steps or ("retry_ticket",)), **more)
    return Playbook.model_validate({**given, "name": name, "created_at": T0, "updated_at": T0})


def acted(run: HealingRun, number: int) -> HealingRun:
    actions = [
        HealingAction(number=one, action=run_step, at=T0, state=ActionState.DONE)  # type: ignore[arg-type]
        for one, run_step in enumerate(["retry_ticket"] * number, 1)
    ]
    return run.but(actions=tuple(actions))


WHOLE = due(
    ticket_id="t",
    error="disk_full",
    task_type="BUILD",
    capabilities=["build", "linux"],
    worker_id="w1",
    labels={"team": "red", "kind": "release"},
)


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({}, True),
        ({"incident_types": ["TICKET_TIMEOUT", "INCONSISTENCY"]}, True),
        ({"incident_types": ["TICKET_TIMEOUT"]}, False),
        ({"severities": ["WARNING"]}, True),
        ({"severities": ["CRITICAL"]}, False),
        ({"errors": ["disk_full"]}, True),
        ({"errors": ["other"]}, False),
        ({"task_types": ["BUILD"]}, True),
        ({"task_types": ["TEST"]}, False),
        ({"capabilities": ["linux", "build"]}, True),
        ({"capabilities": ["linux", "gpu"]}, False),
        ({"workers": ["w1"]}, True),
        ({"workers": ["w2"]}, False),
        ({"labels": {"team": "red"}}, True),
        ({"labels": {"team": "blue"}}, False),
        ({"labels": {"team": "red"}, "errors": ["other"]}, False),
    ],
)
def test_all_that_a_playbook_names_has_to_fit(match: dict[str, object], *, fits: bool) -> None:
    assert (chosen([playbook(match=match)], WHOLE) is not None) is fits


def test_what_an_incident_does_not_say_fits_only_those_who_do_not_ask() -> None:
    for asked in ({"errors": ["x"]}, {"task_types": ["BUILD"]}, {"workers": ["w"]}, {"capabilities": ["x"]}):
        assert chosen([playbook(match=asked)], due()) is None


def test_the_first_by_order_and_name_heals() -> None:
    known = [
        playbook(name="c", order=10),
        playbook(name="b", order=5),
        playbook(name="a", order=5),
        playbook(name="off", order=0, enabled=False),
        playbook(name="other", order=0, match={"severities": ["CRITICAL"]}),
    ]
    first = chosen(known, due())
    assert first is not None
    assert first.name == "a"


def test_a_run_stops_after_its_steps_or_its_limit_and_calls_a_person_beyond_it() -> None:
    four = playbook("retry_ticket", "retry_ticket", "retry_ticket", "retry_ticket")
    run = begun(due(), four, T0)
    assert [stop_of(acted(run, number), four) is None for number in range(5)] == [True, True, True, False, False]
    ends = playbook("retry_ticket", "escalate", limits={"per_incident": 1})
    assert [stop_of(acted(run, number), ends) is None for number in range(3)] == [True, True, False]
    assert "gone" in str(stop_of(run, None))
    assert "switched off" in str(stop_of(run, playbook(enabled=False)))


def test_a_playbook_on_trial_begins_nothing() -> None:
    run = begun(due(), playbook("pause_flow", "escalate", dry_run=True), T0)
    assert (run.state, run.ended_at, run.actions) == (HealingState.REHEARSED, T0, ())
    assert run.why == "the playbook is on trial; it would do: pause_flow, then escalate"


def test_the_same_trouble_is_about_the_same_ticket_or_about_the_flow() -> None:
    run = begun(due(ticket_id="t"), playbook(), T0)
    assert same_trouble(run, due(ticket_id="t"))
    assert same_trouble(run, due())
    assert not same_trouble(run, due(ticket_id="u"))
    assert not same_trouble(run, due(flow_id="another", ticket_id="t"))


def test_runs_are_listed_by_the_newest_incident() -> None:
    runs = [begun(due(incident_id=str(at), raised_at=T0 + seconds(at)), playbook(), T0) for at in (1, 3, 2)]
    assert [run.incident.incident_id for run in sorted(runs, key=log_key)] == ["3", "2", "1"]


def test_each_end_of_a_run_is_told_by_an_event_of_its_own() -> None:
    run = acted(begun(due(), playbook(), T0), 1)
    over = run.but(state=HealingState.RESOLVED, ended_at=T0)
    later = run.but(state=HealingState.ESCALATED, ended_at=T0 + seconds(1))
    first, again, other = ended_event(over, None), ended_event(over, None), ended_event(later, None)
    assert (first.id == again.id, first.id == other.id) == (True, False)
    assert (first.event_type, other.event_type) == ("incident.resolved", "incident.escalated")
    assert first.data["actions"][0]["done"] is True

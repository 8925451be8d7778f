"""The id of a transition's event: one of its own for each transition, and the same whenever it is told."""

from functions._core.events.subscribers import transition_event
from functions._core.records.history import HistoryEntry
from functions._core.records.record import as_json, from_json
from tests.support.builders import T0, make_flow, seconds

FLOW = make_flow()


def incident(**changes: object) -> HistoryEntry:
    line = {"flow_id": FLOW.flow_id, "at": T0, "type": "incident.raised", "cause": "worker_failure", **changes}
    return from_json(HistoryEntry, line)


def test_two_incidents_of_one_flow_are_two_events() -> None:
    first, second = incident(detail={"incident_id": "1"}), incident(detail={"incident_id": "2"})
    assert transition_event(first, FLOW).id != transition_event(second, FLOW).id


def test_a_flow_that_is_paused_twice_says_so_twice() -> None:
    paused = {"type": "flow.paused", "cause": "paused", "from_status": "EXECUTING", "to_status": "PAUSED"}
    once, again = incident(**paused), incident(**paused, at=T0 + seconds(60))
    assert transition_event(once, FLOW).id != transition_event(again, FLOW).id


def test_a_transition_says_which_event_led_to_it_beside_its_data() -> None:
    told = transition_event(incident(event_id="e-1"), FLOW)
    assert told.extensions["causationid"] == "e-1"
    assert "event_id" not in told.data
    assert "causationid" not in transition_event(incident(), FLOW).extensions


def test_a_transition_read_from_the_store_has_the_id_under_which_it_was_told() -> None:
    told = incident(detail={"b": 1, "a": {"y": 2, "x": [1]}})
    kept = from_json(HistoryEntry, {**as_json(told), "detail": {"a": {"x": [1], "y": 2}, "b": 1}})
    later = FLOW.but(redrives=1)
    assert transition_event(kept.but(seq=7), later).id == transition_event(told, FLOW).id

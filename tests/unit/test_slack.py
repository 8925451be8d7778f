"""How much time a flow is given, and from when on it is at risk, whatever pauses and redrives there were."""

from functions._core.planning.slack import at_risk_from, time_given
from functions._core.records.models import Phase
from functions._core.records.values import FlowStatus
from functions._core.rules import Rules
from tests.support.builders import T0, make_flow, seconds


def phases(*stays: tuple[FlowStatus, float]) -> tuple[Phase, ...]:
    """Return phases that begin so many seconds after T0."""
    return tuple(Phase(status=status, entered_at=T0 + seconds(at)) for status, at in stays)


def test_the_time_of_a_flow_is_what_lies_between_its_arrival_and_its_deadline() -> None:
    flow = make_flow(
        sla_deadline=T0 + seconds(100), phases=phases((FlowStatus.VALIDATING, 0), (FlowStatus.EXECUTING, 1))
    )
    assert time_given(flow) == seconds(100)
    assert at_risk_from(flow, Rules()) == T0 + seconds(80)


def test_what_people_were_waited_for_is_neither_given_nor_used_up() -> None:
    stays = (
        (FlowStatus.VALIDATING, 0),
        (FlowStatus.AWAITING_APPROVAL, 1),
        (FlowStatus.GENERATING, 501),
        (FlowStatus.EXECUTING, 502),
        (FlowStatus.PAUSED, 510),
        (FlowStatus.EXECUTING, 1010),
    )
    flow = make_flow(sla_deadline=T0 + seconds(1100), phases=phases(*stays))
    assert time_given(flow) == seconds(100)
    assert at_risk_from(flow, Rules()) == T0 + seconds(1080)


def test_a_wait_that_ended_the_flow_has_moved_no_deadline() -> None:
    stays = (
        (FlowStatus.VALIDATING, 0),
        (FlowStatus.AWAITING_APPROVAL, 1),
        (FlowStatus.PUBLISHING, 500),
        (FlowStatus.CANCELLED, 501),
    )
    assert time_given(make_flow(sla_deadline=T0 + seconds(100), phases=phases(*stays))) == seconds(100)


def test_a_redrive_begins_the_time_anew() -> None:
    stays = (
        (FlowStatus.VALIDATING, 0),
        (FlowStatus.EXECUTING, 2),
        (FlowStatus.PUBLISHING, 50),
        (FlowStatus.FAILED, 51),
        (FlowStatus.EXECUTING, 5000),
    )
    flow = make_flow(sla_deadline=T0 + seconds(5100), phases=phases(*stays))
    assert time_given(flow) == seconds(100)
    assert at_risk_from(flow, Rules()) == T0 + seconds(5080)
    ended = (*stays, (FlowStatus.PUBLISHING, 5010), (FlowStatus.FAILED, 5011))
    assert time_given(make_flow(sla_deadline=T0 + seconds(5100), phases=phases(*ended))) == seconds(100)

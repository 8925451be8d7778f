"""The statuses that clients may ask for, against the table of the machine and the transitions of the contract."""

from itertools import product

import pytest

from functions._core.machine.claim import ALLOWED, allowed
from functions._core.machine.tables import TICKET_TRANSITIONS
from functions._core.records.values import FlowStatus, TicketStatus, Waiting
from tests.support.builders import make_flow, make_ticket

S = TicketStatus
LIVE = (S.PENDING, S.ASSIGNED, S.RUNNING)

CONTRACT = {
    (S.PENDING, S.ASSIGNED),
    (S.PENDING, S.RUNNING),
    (S.ASSIGNED, S.RUNNING),
    (S.RUNNING, S.COMPLETED),
    *product(LIVE, (S.FAILED, S.CANCELLED)),
    (S.FAILED, S.PENDING),
    (S.COMPLETED, S.COMPENSATING),
    (S.COMPENSATING, S.COMPENSATED),
    (S.COMPENSATING, S.FAILED),
}
"""The transitions of the original ticket service; its TIMED_OUT and DEAD_LETTER are FAILED here."""

OURS = {
    *((status, status) for status in LIVE),  # a longer wait, an acknowledgement, a heartbeat
    (S.PENDING, S.COMPLETED),  # skipped by a person
    (S.ASSIGNED, S.COMPLETED),  # RUNNING may be left out
    *product((S.ASSIGNED, S.RUNNING), (S.PENDING,)),  # retried, or given to another worker
    (S.RUNNING, S.ASSIGNED),  # of two attempts the one that had begun is over
    (S.COMPENSATED, S.PENDING),  # redriven
    (S.CANCELLED, S.PENDING),
    (S.FAILED, S.COMPLETED),  # the work stands, as it could not be undone
    (S.PENDING, S.WAITING),  # needs no worker
    (S.PENDING, S.SKIPPED),
    *product((S.WAITING,), (S.WAITING, S.PENDING, S.COMPLETED, S.FAILED, S.CANCELLED)),
    *product((S.SKIPPED,), (S.PENDING, S.CANCELLED)),
    *product((S.FAILED, S.CANCELLED), (S.CANCELLED,)),  # left out by another plan, so it decides nothing any more
}
"""The transitions that this machine has beside them."""


@pytest.mark.parametrize(("start", "end"), list(product(S, S)))
def test_every_pair_of_statuses_is_a_transition_or_is_none(start: TicketStatus, end: TicketStatus) -> None:
    assert (end in TICKET_TRANSITIONS[start].values()) == ((start, end) in CONTRACT | OURS)


def test_clients_may_ask_only_for_what_the_machine_can_do() -> None:
    for start, ends in ALLOWED.items():
        assert {(start, end) for end in ends} <= CONTRACT | OURS


def test_a_ticket_that_is_not_ready_may_be_cancelled_and_nothing_else() -> None:
    flow = make_flow(1, status=FlowStatus.EXECUTING)
    ready = make_ticket(flow, waiting=Waiting.WORKER)
    assert allowed(ready, flow) == (S.RUNNING, S.CANCELLED)
    for changes in ({"open_dependencies": 1}, {"waiting": Waiting.RETRY}, {"waiting": Waiting.RESUME}):
        assert allowed(ready.but(**changes), flow) == (S.CANCELLED,)
    assert allowed(ready, flow.but(status=FlowStatus.PAUSED)) == (S.CANCELLED,)
    assert allowed(ready.but(status=S.COMPLETED), flow) == ()
    assert allowed(ready.but(compensates="t"), flow) == (S.RUNNING,)

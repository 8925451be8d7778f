"""The delivery table: every error and number of attempts, by limits of a host."""

import pytest

from functions._core.delivery import Done, GiveUp, RetryAfter, RetryLimits, next_delivery
from functions._core.errors import Conflict, IllegalTransition, Rejected, Unavailable, Unreadable

LIMITS = RetryLimits(unavailable=4, broken=3, first=0.5, longest=60.0)
BROKER = RetryLimits(first=0.5, longest=60.0)


def test_what_succeeds_is_done() -> None:
    assert next_delivery(None, 1, LIMITS) == Done()


@pytest.mark.parametrize("attempts", [1, 99])
@pytest.mark.parametrize("limits", [LIMITS, BROKER])
def test_what_is_rejected_is_given_up_at_once_and_breaks_its_flow(attempts: int, limits: RetryLimits) -> None:
    given_up = next_delivery(Rejected("wrong", code="invalid_data"), attempts, limits)
    assert isinstance(given_up, GiveUp)
    assert (given_up.reason.code, given_up.reason.message, given_up.breaks_flow) == ("invalid_data", "wrong", True)


@pytest.mark.parametrize("error", [Rejected("not mine", status=421), Unreadable("damaged")])
def test_a_reason_that_may_pass_or_is_anothers_does_not_break_the_flow(error: Rejected) -> None:
    given_up = next_delivery(error, 1, LIMITS)
    assert isinstance(given_up, GiveUp)
    assert not given_up.breaks_flow


@pytest.mark.parametrize(
    ("error", "limit", "code"),
    [
        (Unavailable("away"), 4, "unavailable"),
        (Conflict(), 4, "unavailable"),
        (ValueError("broken"), 3, "internal"),
        (IllegalTransition("no edge"), 3, "internal"),
    ],
)
def test_what_fails_is_delivered_again_up_to_its_limit(error: Exception, limit: int, code: str) -> None:
    broken = code == "internal"
    for attempts in range(1, limit):
        assert next_delivery(error, attempts, LIMITS) == RetryAfter(0.5 * 2**attempts, broken)
    given_up = next_delivery(error, limit, LIMITS)
    assert isinstance(given_up, GiveUp)
    assert (given_up.reason.code, given_up.breaks_flow) == (code, broken)
    assert given_up.reason.message == f"{type(error).__name__}: {error}"


def test_a_broker_that_counts_is_no_limit_and_no_pause_is_longer_than_the_longest() -> None:
    for error in (Unavailable("away"), ValueError("broken")):
        again = next_delivery(error, 1000, BROKER)
        assert isinstance(again, RetryAfter)
        assert again.seconds == 60.0

"""Who will be done in time goes first among workers that are as good; no prediction leaves a worker out."""

from hypothesis import given
from hypothesis import strategies as st

from functions._core.placement.foreseen import LateWith, late_with, nobody_late
from functions._core.placement.ranking import AS_GOOD, rank
from functions._core.records.prediction import Prediction
from functions._core.records.worker import Worker, WorkerTelemetry
from functions._core.rules import Rules
from tests.support.builders import T0, make_flow, make_ticket, make_worker, seconds
from tests.support.predicting import Told, guarded_by

RULES = Rules()
PREDICTED = Prediction(p50_ms=10_000, p90_ms=20_000, model="told:1", acts=True)
TICKET = make_ticket(make_flow(), required_capabilities=("build",), prediction=PREDICTED)
HURRY = TICKET.but(sla=TICKET.sla.but(deadline=T0 + seconds(30)))
MODEL = Told({"": (10_000, 20_000)}, {"worker-1": 2.5, "worker-2": 0.8})


def worker(number: int, rate: float | None = None) -> Worker:
    return make_worker(
        number, capabilities=("build",), slots=10, telemetry=WorkerTelemetry(success_rate=rate), last_seen=T0
    )


def order(late: LateWith, *workers: Worker, active: dict[str, int] | None = None) -> list[str]:
    return [one.worker_id for one in rank(HURRY, workers, active or {}, T0, RULES, late_with=late).candidates]


def test_a_worker_is_late_whose_p90_is_more_than_the_time_that_is_left() -> None:
    late = late_with(HURRY, guarded_by(MODEL), T0)
    assert [late(f"worker-{number}") for number in (1, 2, 3)] == [True, False, False]
    assert [late_with(TICKET, guarded_by(MODEL), T0)(f"worker-{number}") for number in (1, 2)] == [False, False]
    assert late_with(HURRY, guarded_by(MODEL), T0 + seconds(25))("worker-2")


def test_nobody_is_late_where_no_model_acts() -> None:
    advice = HURRY.but(prediction=PREDICTED.but(acts=False))
    for ticket, model in (
        (HURRY, None),
        (advice, guarded_by(MODEL)),
        (HURRY.but(prediction=None), guarded_by(MODEL)),
        (HURRY, guarded_by(MODEL, acts=False)),
    ):
        assert not late_with(ticket, model, T0)("worker-1")


def test_who_is_in_time_goes_before_who_has_less_to_do() -> None:
    late = late_with(HURRY, guarded_by(MODEL), T0)
    workers = worker(1), worker(2), worker(3)
    assert order(late, *workers, active={"worker-2": 5, "worker-3": 7}) == ["worker-2", "worker-3", "worker-1"]
    relaxed = late_with(TICKET, guarded_by(MODEL), T0)
    assert relaxed is nobody_late, "it has far more time than any worker needs: nobody is asked about"
    assert order(relaxed, *workers, active={"worker-2": 5, "worker-3": 7}) == ["worker-1", "worker-2", "worker-3"]


def test_a_worker_that_fails_is_not_preferred_for_being_fast() -> None:
    late = late_with(HURRY, guarded_by(Told({}, {"worker-1": 2.5, "worker-2": 0.1})), T0)
    assert order(late, worker(1, 1.0), worker(2, 0.1)) == ["worker-1", "worker-2"]
    assert order(late, worker(1, 1.0), worker(2, 0.7)) == ["worker-2", "worker-1"]
    assert 0.3 * (1.0 - 0.7) < AS_GOOD < 0.3 * (1.0 - 0.1)


@given(st.lists(st.booleans(), min_size=5, max_size=5), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_no_prediction_leaves_anybody_out(late: list[bool], rates: list[float]) -> None:
    workers = [worker(number, rate) for number, rate in enumerate(rates, 1)]
    foreseen = rank(HURRY, workers, {}, T0, RULES, late_with=lambda name: late[int(name.removeprefix("worker-")) - 1])
    usual = rank(HURRY, workers, {}, T0, RULES)
    assert {one.worker_id for one in foreseen.candidates} == {one.worker_id for one in usual.candidates}
    assert foreseen.refusals == usual.refusals
    if all(late) or not any(late):
        assert foreseen == usual

"""C1 says how likely a flow is in time; it warns, and refuses nothing."""

import asyncio
from typing import Any, cast

import pytest

from functions._cli.client import PlatformClient
from functions._cli.verdict import verdict_on
from functions._cli.words import circumstances
from functions._core.decision.model import Decision
from functions._core.explain.flow import explain_flow
from functions._core.explain.ticket import explain_ticket
from functions._core.learning.predictions import PlannedWork, Quantiles
from functions._core.planning.graph import schedule
from functions._core.planning.planned_work import bytes_of
from functions._core.planning.prospects import SLA_UNLIKELY, Times, prospects
from functions._core.records.json_text import json_size
from functions._core.records.models import Reason
from functions._core.records.prediction import FlowPrediction, Prediction
from functions._core.records.values import FlowStatus, Outcome, TicketStatus, Waiting
from functions._core.rules import Rules
from tests.support.builders import T0, make_flow, make_ticket, seconds
from tests.support.decisions import NOW, a_decision, a_task
from tests.support.predicting import Told, guarded_by

RULES = Rules()


def seen(
    decision: Decision, model: Told, *, acts: bool = True, waits: dict[str, int] | None = None, late: float = 0
) -> tuple[FlowPrediction | None, tuple[Reason, ...]]:
    """Return what C1 sees of a decision that arrived `late` seconds ago."""
    tasks, deadline, now = decision.cognitive_plan.tasks, decision.deadline(NOW), NOW + seconds(late)
    plan = schedule(tasks, now, deadline)
    return prospects(tasks, plan, decision, guarded_by(model, acts=acts, waits=waits), Times(NOW, now, deadline))


CHAIN = a_task("a", estimated_duration_ms=1), a_task("b", "a", estimated_duration_ms=1)
SURE = {"a": (20_000, 20_000), "b": (30_000, 30_000)}


@pytest.mark.parametrize(
    ("sla", "probability", "warned"), [(51, 1.0, False), (49, 0.0, True), (3_600, 1.0, False), (1, 0.0, True)]
)
def test_what_is_certain_is_in_time_or_not(sla: int, probability: float, *, warned: bool) -> None:
    prediction, warnings = seen(a_decision(*CHAIN, sla_deadline_seconds=sla), Told(SURE))
    assert prediction == FlowPrediction(probability=probability, p50_ms=50_000, p90_ms=50_000, model="told:1")
    assert [one.code for one in warnings] == [SLA_UNLIKELY] * warned


def test_it_is_as_likely_as_the_predicted_critical_path_is_short() -> None:
    tasks = (*CHAIN, a_task("long", estimated_duration_ms=500_000))
    model = Told({"a": (20_000, 40_000), "b": (30_000, 60_000), "long": (1_000, 2_000)})
    found = [seen(a_decision(*tasks, sla_deadline_seconds=sla), model)[0] for sla in (30, 55, 80, 300)]
    likely = [one.probability for one in found if one is not None]
    assert likely == sorted(likely)
    assert likely == pytest.approx([0.05, 0.5, 0.87, 1.0], abs=0.07)


def test_waits_for_workers_and_the_time_that_has_passed_count() -> None:
    decision = a_decision(*CHAIN, sla_deadline_seconds=55)
    in_time = seen(decision, Told(SURE))[0]
    waited = seen(decision, Told(SURE), waits={"": 3_000})[0]
    late = seen(decision, Told(SURE), late=6)[0]
    assert in_time is not None
    assert waited is not None
    assert late is not None
    assert (in_time.probability, in_time.p50_ms) == (1.0, 50_000)
    assert (waited.probability, waited.p50_ms) == (0.0, 56_000)
    assert (late.probability, late.p50_ms) == (0.0, 56_000)


def test_a_model_that_only_advises_does_not_warn() -> None:
    prediction, warnings = seen(a_decision(*CHAIN, sla_deadline_seconds=1), Told(SURE), acts=False)
    assert prediction is not None
    assert warnings == ()


def test_nothing_is_said_where_nothing_is_known() -> None:
    broken = Told({"a": (0, 0), "b": (5, 1)})
    assert seen(a_decision(*CHAIN), broken) == (None, ())


def test_a_task_of_which_nothing_is_known_takes_its_estimate() -> None:
    tasks = a_task("a", estimated_duration_ms=1), a_task("b", "a", estimated_duration_ms=70_000)
    prediction, _ = seen(a_decision(*tasks), Told({"a": (20_000, 20_000), "b": (0, 0)}))
    assert prediction is not None
    assert prediction.p50_ms == 90_000


def test_a_task_with_a_list_takes_its_rounds() -> None:
    foreach = {"items": list(range(9)), "limit": 3, "expected_items": 9}
    prediction, _ = seen(a_decision(a_task("a", foreach=foreach)), Told({"a": (10_000, 10_000)}))
    assert prediction is not None
    assert prediction.p50_ms == 30_000


LIKELY = FlowPrediction(probability=0.87, p50_ms=60_000, p90_ms=120_000, model="duration:7")


def words(**changes: Any) -> str:
    flow = make_flow(**{"status": FlowStatus.EXECUTING, "prediction": LIKELY, **changes})
    return " ".join(explain_flow(flow, [], T0 + seconds(43), RULES).sentences)


def test_why_says_how_likely_a_flow_is_in_time_and_beside_it_how_it_went() -> None:
    expected = "1 min (at most 2 min nine times of ten, by model duration:7) are predicted"
    assert f"It meets its SLA with a probability of 87%: {expected}." in words()
    assert "predicted" not in words(prediction=None)
    phases = ({"status": "EXECUTING", "entered_at": T0}, {"status": "COMPLETED", "entered_at": T0 + seconds(40)})
    ended = words(status="COMPLETED", outcome=Outcome.COMPLETED, phases=phases, ended_at=T0 + seconds(40))
    assert "It took 40 s; 1 min (at most 2 min nine times of ten, by model duration:7) were predicted, and 87%" in ended


PREDICTED = "1 min 30 s (at most 3 min nine times of ten, by model duration:7)"


@pytest.mark.parametrize(
    ("prediction", "changes", "sentence"),
    [
        (
            {"acts": True, "timeout_ms": 600_000},
            {},
            f"Its estimate is 1 min, the prediction {PREDICTED}: an attempt may take 10 min instead of 3 min.",
        ),
        ({"acts": False}, {}, "by model duration:7); it is shown only, the estimate counts."),
        (
            {"acts": True},
            {"status": TicketStatus.COMPLETED, "waiting": None, "actual_duration_ms": 80_000},
            f"It took 1 min 20 s, estimated were 1 min; {PREDICTED} were predicted.",
        ),
    ],
)
def test_why_says_what_was_predicted_of_a_ticket(
    prediction: dict[str, Any], changes: dict[str, Any], sentence: str
) -> None:
    flow = make_flow(status=FlowStatus.EXECUTING)
    predicted = Prediction(p50_ms=90_000, p90_ms=180_000, model="duration:7", **prediction)
    ticket = make_ticket(flow, **{"waiting": Waiting.SLOT, "waiting_since": T0, "prediction": predicted, **changes})
    assert sentence in " ".join(explain_ticket(ticket, flow, T0 + seconds(43), RULES).sentences)


def test_a_large_plan_asks_for_each_kind_of_its_work_once() -> None:
    class Counting(Told):
        asked = 0

        def quantiles(self, work: PlannedWork, worker_id: str | None = None) -> Quantiles:
            self.asked += 1
            return super().quantiles(work, worker_id)

    model = Counting()
    tasks = [
        a_task(f"t{n}", *([f"t{n - 4}"] if n > 3 else []), required_capabilities=[f"c{n % 4}"]) for n in range(3_000)
    ]
    prediction, _ = seen(a_decision(*tasks), model)
    assert prediction is not None
    assert model.asked == 4


@pytest.mark.parametrize("prediction", [{"probability": 0.874, "model": "duration:7"}, None])
def test_submit_says_how_likely_the_flow_is_in_time(
    prediction: dict[str, Any] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    flow: dict[str, Any] = {
        "status": "EXECUTING",
        "outcome": None,
        "warnings": [],
        "reasons": [],
        "prediction": prediction,
    }

    class Client:
        async def get(self, _path: str) -> dict[str, Any]:
            return flow

    assert asyncio.run(verdict_on(cast("PlatformClient", Client()), "f-1")) == 0
    said = "it meets its deadline with a probability of 87%, by model duration:7"
    assert (said in capsys.readouterr().err) == (prediction is not None)


def test_the_history_says_it_where_the_plan_was_validated() -> None:
    detail = {"tasks": 2, "levels": 2, "critical_path_ms": 1_000, "prediction": {"probability": 0.25}}
    told = circumstances({"type": "plan.validated", "detail": detail})
    assert "in time with a probability of 25%" in told


@pytest.mark.parametrize("parameters", [{"a": 1.5, "ü": ["\ud83d\ude00", None, True, 10**30]}, {"x": "\ud83d"}])
def test_the_size_of_parameters_is_that_of_history(parameters: dict[str, Any]) -> None:
    assert bytes_of(parameters) == json_size(parameters)

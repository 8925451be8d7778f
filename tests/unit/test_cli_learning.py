"""`flowc what-changed`, `predictions` and `insights` against a stand-in for the API."""

import json
from collections.abc import AsyncIterator

import pytest

from functions._core.insights.what_changed import what_changed
from functions._core.records.record import as_json
from tests.support.builders import T0
from tests.support.command_line import Api, problem
from tests.support.learnt_views import ATTACK, insight, insights, model, models, nothing, predictions
from tests.support.loopback import Answer, Loopback, Request
from tests.support.runs_of_plans import Task, base_of, run_of

SLOW, TICKETS = run_of(20, Task("load\x1b[31m", work=600), Task("fails", fails=True))
CHANGED = f"GET /api/v1/flows/{SLOW.flow_id}/what-changed"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with Loopback() as server:
        standin = Api(server, {})
        server.answer = standin.answer
        yield standin


def told() -> object:
    base = base_of([run_of(number, Task("load\x1b[31m", work=60), Task("fails")) for number in range(8)])
    return as_json(what_changed(SLOW, TICKETS, base, T0))


async def test_what_changed_tells_sentences_and_the_figures_below_them(api: Api) -> None:
    api.answers[CHANGED] = told()
    result = await api.flowc("what-changed", SLOW.flow_id)
    assert result.exit_code == 0, result.stderr
    assert "1. Task fails failed at worker worker-1: no space left (task_error)" in result.stdout
    assert "2. Work took longer: task load" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["2.", "work", "9", "min", "0", "s"][:2] in [line[:2] for line in lines]
    assert "\x1b[31m" not in result.stdout
    assert f"/console/flows/{SLOW.flow_id}" in result.stderr


async def test_what_changed_as_json_is_the_answer_of_the_api_and_takes_beginnings_of_ids(api: Api) -> None:
    api.answers[CHANGED] = told()
    api.answers["GET /api/v1/flows/resolve"] = {"flow_id": SLOW.flow_id}
    result = await api.flowc("what-changed", SLOW.flow_id[:8], "--json")
    assert json.loads(result.stdout) == json.loads(json.dumps(told()))
    api.answers["GET /api/v1/flows/resolve"] = problem(404, "there is no such flow", "unknown_flow")
    result = await api.flowc("what-changed", "nightly")
    assert (result.exit_code, "no such flow" in result.stderr) == (1, True)


async def test_predictions_stand_beside_what_happened(api: Api) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return Answer(200, json.dumps(predictions()).encode(), {"content-type": "application/json"})

    api.answers["GET /api/v1/predictions"] = answer
    result = await api.flowc("predictions", "--type", "transform", "--worker", "w-1", "--limit", "9999")
    assert result.exit_code == 0, result.stderr
    assert asked[0].query == {"task_type": "TRANSFORM", "worker": "w-1", "limit": "500"}
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith("20")]
    inside = [word for line in lines for word in line if word in {"p50", "p90", "no"}]
    assert inside == ["no", "p90", "p50"]
    assert "of 3 done tickets 33% took at most their p50, 67% at most their p90" in result.stdout
    assert {"SLOT", "EXPECTED"} <= {*result.stdout.split()}
    assert "of 3 flows 100% met their deadline, 80% was said" in result.stdout
    assert ATTACK in result.stdout  # text is text, and no markup of the terminal's either
    api.answers["GET /api/v1/predictions"] = nothing()
    assert "FLOWC_LEARNING=advise" in (await api.flowc("predictions")).stdout


async def test_insights_are_listed_and_one_is_shown(api: Api) -> None:
    one = insight(title="Flows\x1b[2J fail")
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return Answer(200, json.dumps(insights(one)).encode(), {"content-type": "application/json"})

    api.answers["GET /api/v1/insights"] = answer
    result = await api.flowc("insights", "list", "--type", "anomaly", "--priority", "high")
    assert result.exit_code == 0, result.stderr
    assert asked[0].query == {"insight_type": "ANOMALY", "priority": "HIGH", "limit": "20"}
    assert "Flows?[2J fail" in result.stdout
    assert one.insight_id in result.stdout
    api.answers[f"GET /api/v1/insights/{one.insight_id}"] = json.loads(one.model_dump_json())
    shown = (await api.flowc("insights", "show", one.insight_id)).stdout
    assert "OPERATIONAL, HIGH; confidence 0.80, impact 0.60" in shown
    assert f"worker {ATTACK} (cause)" in shown
    assert "may help 50%" in shown
    assert json.loads((await api.flowc("insights", "show", one.insight_id, "--json")).stdout)["hash"] == one.hash
    api.answers["GET /api/v1/insights"] = insights()
    assert "FLOWC_INSIGHTS=true" in (await api.flowc("insights", "list")).stderr


async def test_models_say_how_many_tickets_are_missing_and_when_a_training_begins(api: Api) -> None:
    api.answers["GET /api/v1/models"] = models()
    listed = (await api.flowc("models", "list")).stdout
    assert "no models; the estimates of plans count" in listed
    assert "12 tickets were taken in up to 2026-01-04 02:00:00; a model needs 200 that were done, and 10 were" in listed
    api.answers["POST /api/v1/models/train"] = {"requested_by": "ada", "requested_at": "2026-01-04T02:00:00.000Z"}
    assert "asked for by ada: it begins within a minute" in (await api.flowc("models", "train", "--by", "ada")).stdout


async def test_errors_of_quick_work_are_shown_in_milliseconds(api: Api) -> None:
    quick = {**model(1, "REFUSED", "its R² is 0.4"), "model_id": "duration:1"}
    quick["metrics"] = {"mae_ms": 16.3, "estimate_mae_ms": 4_200.0}
    api.answers["GET /api/v1/models"] = models(quick)
    listed = (await api.flowc("models", "list")).stdout
    assert "16 ms" in listed
    assert "4.2 s" in listed
    assert "a model needs" not in listed

"""A DEPLOY task of an executor is undone by the same executor, whatever its plan says of that, or not."""

from typing import Any, ClassVar

import pytest

from functions._core.executors import deploy, table
from functions._core.executors.deploy import DEPLOYING, DeployParameters
from functions._core.executors.table import ExecutorEntry
from functions._core.planning.children import item_tickets
from functions._core.planning.compensation import compensations
from functions._core.planning.tickets import UNDO_MS, generate_tickets, intact
from functions._core.records.models import Ticket
from functions._core.records.policies import Undo
from functions._core.records.values import TicketStatus
from functions._core.rules import Rules
from tests.support.decisions import NOW, a_decision, a_flow, a_task


class ShipParameters(DeployParameters):
    """Those of an executor of the test."""

    TARGET: ClassVar[frozenset[str]] = frozenset({"application"})
    application: str
    """What is deployed."""
    image: str = ""
    """Which one."""


@pytest.fixture(autouse=True)
def ship(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add two executors to the table: one that can go back, and one that cannot."""
    entry = ExecutorEntry(deploy.FAMILY, DEPLOYING)
    monkeypatch.setattr(table, "EXECUTORS", {**table.EXECUTORS, "ship": entry, "sink": entry})
    models = {"ship": ShipParameters, "sink": DeployParameters}
    known = table.model_of
    monkeypatch.setattr(table, "model_of", lambda name: models.get(name) or known(name))


SHIP = {"provider": "ship", "application": {"$output": "build", "path": "/name"}, "image": "shop:7"}
BACK = {"provider": "ship", "application": SHIP["application"], "action": "rollback"}


def ticket_of(compensation: Any = None, plan: dict[str, Any] | None = None, **changes: Any) -> Ticket:
    about: dict[str, Any] = {"task_type": "DEPLOY", "parameters": SHIP, **changes}
    if compensation is not None:
        about["compensation"] = compensation
    decision = a_decision(a_task("build"), a_task("out", "build", **about), plan=plan or {})
    return generate_tickets(a_flow(decision), decision, NOW, Rules())[1]


def undo_of(*args: Any, **changes: Any) -> Undo:
    undo = ticket_of(*args, **changes).undo
    assert undo is not None
    return undo


def to(task_id: str) -> dict[str, str]:
    return {"$output": task_id, "path": "/previous_revision"}


def test_a_task_without_a_word_goes_back_to_what_was_there_before() -> None:
    undo = undo_of(required_capabilities=["cluster-a"], timeout_ms=900_000)
    assert undo.parameters == {**BACK, "revision": to("out")}
    assert undo.required_capabilities == ("cluster-a", "deploy:ship")
    assert undo.timeout_ms == 900_000
    assert undo_of(estimated_duration_ms=1_000).timeout_ms == UNDO_MS


@pytest.mark.parametrize(
    "said", [True, {}, {"parameters": {"action": "rollback"}}, {"parameters": {"action": "rollback_deployment"}}]
)
def test_one_that_says_no_more_than_to_roll_back_means_the_same(said: Any) -> None:
    assert undo_of(said).parameters == {**BACK, "revision": to("out")}
    assert undo_of(said, {"compensate_by_type": True}).parameters == {**BACK, "revision": to("out")}


def test_it_keeps_its_own_time_capabilities_and_type() -> None:
    undo = undo_of({"task_type": "DEPLOY", "timeout_ms": 5_000, "required_capabilities": ["Night"]})
    assert (undo.timeout_ms, undo.required_capabilities) == (5_000, ("deploy:ship", "night"))
    assert undo.parameters == {**BACK, "revision": to("out"), "task_type": "DEPLOY"}


@pytest.mark.parametrize(
    "parameters",
    [
        {"provider": "command", "argv": ["echo"]},
        {"action": "page somebody"},
        {"action": {"$output": "build"}},
        {"action": "rollback", "revision": "v1"},
    ],
)
def test_one_that_says_otherwise_keeps_its_own(parameters: dict[str, Any]) -> None:
    assert undo_of({"parameters": parameters}).parameters == parameters


def test_no_means_no_and_so_does_an_executor_that_cannot_go_back() -> None:
    assert ticket_of(False, {"compensate_by_type": True}).undo is None
    assert ticket_of(parameters={"provider": "sink"}).undo is None
    assert undo_of(True, parameters={"provider": "sink"}).parameters == {}


@pytest.mark.parametrize(
    "changes", [{"task_type": "EXECUTE"}, {"parameters": {"provider": "command"}}, {"parameters": {"provider": "own"}}]
)
def test_other_tasks_are_as_they_were(changes: dict[str, Any]) -> None:
    assert ticket_of(**changes).undo is None
    assert undo_of(plan={"compensate_by_type": True}, **changes) == Undo()


def test_each_item_of_a_list_goes_back_to_what_was_there_before_itself() -> None:
    parameters = {**SHIP, "application": {"$item": ""}}
    parent = ticket_of(parameters=parameters, foreach={"items": ["a", "b"]})
    children = item_tickets(parent, ["a", "b"], 0, NOW, NOW)
    done = [one.but(status=TicketStatus.COMPLETED) for one in (parent, *children)]
    made, _ = compensations(a_flow(a_decision(a_task())), done, NOW, Rules().compensation)
    found = {one.parameters["compensates"]["task_id"]: one for one in made}
    assert {name: one.parameters["revision"] for name, one in found.items()} == {
        "out[0]": to("out[0]"),
        "out[1]": to("out[1]"),
    }
    assert [one.parameters["application"] for one in made] == [{"$item": ""}] * 2
    assert all(map(intact, [*children, *made]))
    assert {one.item for one in made} == {"a", "b"}

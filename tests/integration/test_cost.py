"""What a flow costs on AWS: what is counted is what an emulator is asked, and the price is the one that is told."""

import asyncio
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb.client import RequestRefused
from functions._core.decision.sample import Shape, sample_decision
from functions._cost import capacity, services
from functions._cost.bill import Bill
from functions._cost.ledger import FLOWS, INVOCATIONS, MESSAGES, PUBLISHED, READS, REQUESTS, WRITES, CostLedger
from functions._cost.prices import PRICES, Prices
from functions._cost.run import Broken, CountedRun, counted
from functions._cost.table import MemoryTable
from tests.support.world import decision, task

A_MONTH = 1_000_000
MINUTES = 5 * 60_000

Call = tuple[str, Mapping[str, Any], Any]


def plan(milliseconds: int) -> dict[str, Any]:
    """Return a decision about five tasks: one, three, one."""
    edges = {"a": "", "b": "a", "c": "a", "d": "a", "e": "bcd"}
    return decision(*(task(name, *after, estimated_duration_ms=milliseconds) for name, after in edges.items()))


def test_a_flow_of_five_tasks_costs_what_is_told_of_it() -> None:
    course = counted(sample_decision(5, Shape.FORK_JOIN, 1), 30, A_MONTH)
    bill = Bill.of(course, Prices.read(PRICES))
    assert bill.steps * A_MONTH <= 80
    assert bill.whole * A_MONTH <= 122
    assert course.tasks == 5


@pytest.mark.parametrize(("milliseconds", "writes", "reads"), [(1_000, 78, 70), (MINUTES, 94, 86)])
def test_what_the_steps_of_a_flow_take(milliseconds: int, writes: int, reads: int) -> None:
    """Short tasks leave their entries in the index of wake-ups where they are, long ones move them."""
    course = counted(plan(milliseconds), 10, A_MONTH)
    counts = {what: course.of(FLOWS, what) for what in (PUBLISHED, MESSAGES, INVOCATIONS, REQUESTS)}
    chain, telemetry, requests = 9, 7, 6
    assert counts == {PUBLISHED: telemetry, MESSAGES: 3 * chain, INVOCATIONS: chain + requests, REQUESTS: 6}
    assert course.of(FLOWS, WRITES) <= writes
    assert course.of(FLOWS, READS) <= reads


def test_flows_that_come_together_share_timers() -> None:
    def sweeps(course: CountedRun) -> float:
        return course.of("clock", INVOCATIONS)

    assert sweeps(counted(plan(1000), 12, 10 * A_MONTH)) < sweeps(counted(plan(1000), 12, A_MONTH // 10)) / 2.5


def test_a_flow_that_does_not_complete_is_told() -> None:
    with pytest.raises(Broken, match="REJECTED"):
        counted(decision(task("a", "b"), task("b", "a")), 1, A_MONTH)


class Recording(MemoryTable):
    """A table in memory that keeps what it was asked and what it said."""

    calls: Sequence[Call] = []

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = deepcopy(dict(arguments))
        answer = await answered(super(), operation, arguments)
        self.calls = [*self.calls, (operation, asked, deepcopy(answer))]
        if isinstance(answer, RequestRefused):
            raise answer
        found: Mapping[str, Any] = answer
        return found


async def test_the_table_in_memory_says_what_an_emulator_says(
    dynamodb_client: Client, dynamodb_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables: list[Recording] = []

    def made(ledger: CostLedger) -> Recording:
        tables.append(Recording(ledger))
        return tables[-1]

    monkeypatch.setattr(services, "MemoryTable", made)
    await asyncio.to_thread(counted, plan(1000), 2, 100 * A_MONTH)
    assert len(tables[0].calls) > 300
    for operation, arguments, said in tables[0].calls:
        answer = await answered(dynamodb_client, operation, renamed(arguments, dynamodb_table))
        assert shown(answer, dynamodb_table) == shown(said, "flowc"), (operation, arguments)


async def answered(client: Any, operation: str, arguments: Mapping[str, Any]) -> Any:
    """Return what a client answers, a refusal like any other answer."""
    try:
        return await client.call(operation, arguments)
    except RequestRefused as refusal:
        return refusal


def renamed(arguments: Mapping[str, Any], table: str) -> Any:
    """Return a request for another table."""
    if "TransactItems" in arguments:
        items = [
            {name: {**one, "TableName": table} for name, one in write.items()} for write in arguments["TransactItems"]
        ]
        return {**arguments, "TransactItems": items}
    if "RequestItems" in arguments:
        return {**arguments, "RequestItems": {table: arguments["RequestItems"]["flowc"]}}
    return {**arguments, "TableName": table}


def shown(answer: Any, table: str) -> Any:
    """Return what an answer shows of items, those of a batch in any order; of a refusal, why."""
    if isinstance(answer, RequestRefused):
        return [reason.get("Code") for reason in answer.reasons]
    batch = answer.get("Responses", {}).get(table, [])
    batch = sorted(batch, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))
    return answer.get("Item"), answer.get("Items"), answer.get("Attributes") or None, batch


ITEM = {"pk": {"S": "p"}, "sk": {"S": "s"}, "d": {"B": b"x" * 100}}
DUE = {"wp": {"S": "W#1"}, "ws": {"S": "2026"}}
LATER = {"wp": {"S": "W#1"}, "ws": {"S": "2027"}}
LARGE = {"d": {"B": b"x" * 3000}}


@pytest.mark.parametrize(
    ("before", "after", "units"),
    [
        (None, ITEM, {"table": 1}),
        (None, ITEM | DUE, {"table": 1, "due": 1}),
        (ITEM | DUE, ITEM | DUE | {"x": {"N": "1"}}, {"table": 1}),
        (ITEM | DUE, ITEM | LATER, {"table": 1, "due": 2}),
        (ITEM | DUE, ITEM, {"table": 1, "due": 1}),
        (ITEM | DUE, None, {"table": 1, "due": 1}),
        (ITEM | LARGE, ITEM, {"table": 3}),
        (ITEM, ITEM | LARGE, {"table": 3}),
    ],
)
def test_writes_are_billed_by_the_larger_image_and_by_what_an_index_keeps(
    before: Any, after: Any, units: Mapping[str, int]
) -> None:
    assert capacity.of_write(before, after, transaction=False) == units
    assert capacity.of_write(before, after, transaction=True) == {**units, "table": 2 * units["table"]}


def test_the_size_of_an_item_is_that_of_its_names_and_values() -> None:
    assert capacity.size({"pk": {"S": "ü"}, "n": {"N": "-1200"}, "b": {"BOOL": True}}) == 4 + 4 + 2
    assert capacity.size({"l": {"L": [{"S": "ab"}, {"N": "1"}]}, "m": {"M": {"a": {"S": "b"}}}}) == 10 + 7

"""The graph of what had to do with what: six queries, on a sample and on generated histories, as networkx has them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions._core.insights import sources
from functions._core.insights.sources import AnalysisScope, SourceAnswer, SourceKind, chosen, consolidated
from functions._core.insights.work_graph import WorkGraph
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.records.values import Outcome, Priority, RiskBand, SecurityLevel, TaskType, TicketStatus
from functions._core.rollups import WINDOWS, FlowBucket
from tests.support.histories import history

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def flow(name: str, outcome: Outcome = Outcome.COMPLETED, **more: Any) -> FlowRow:
    fields: dict[str, Any] = {
        "flow_id": name,
        "decision_id": f"d-{name}",
        "plan_id": "p-1",
        "correlation_id": f"c-{name}",
        "trace_id": "0" * 32,
        "outcome": outcome,
        "priority": Priority.NORMAL,
        "risk_band": RiskBand.LOW,
        "received_at": NOW - 60 * SECOND,
        "ended_at": NOW,
        "deadline": NOW + 60 * SECOND,
        "missed": False,
        "tickets": 2,
    }
    return FlowRow(**{**fields, **more})


def ticket(flow_id: str, name: str, worker_id: str | None = "w-1", **more: Any) -> TicketRow:
    fields: dict[str, Any] = {
        "flow_id": flow_id,
        "ticket_id": f"{flow_id}/{name}",
        "task_id": name,
        "task_type": TaskType.TRANSFORM,
        "capabilities": ("python",),
        "domain": "sales",
        "status": TicketStatus.COMPLETED,
        "worker_id": worker_id,
        "risk_band": RiskBand.LOW,
        "priority": Priority.NORMAL,
        "security_level": SecurityLevel.INTERNAL,
        "level": 0,
        "fan_in": 0,
        "fan_out": 0,
        "plan_tasks": 2,
        "parameters_bytes": 2,
        "output_bytes": 0,
        "estimate_ms": 1000,
        "timeout_ms": 1000,
        "sla_ms": 120_000,
        "created_at": NOW - 60 * SECOND,
        "ready_at": NOW - 50 * SECOND,
        "assigned_at": NOW - 40 * SECOND,
        "completed_at": NOW - 30 * SECOND,
        "deadline": NOW,
        "actual_ms": 10_000,
    }
    return TicketRow(**{**fields, **more})


def bad(flow_id: str, name: str, code: str, after: int, **more: Any) -> TicketRow:
    ended = NOW - (30 - after) * SECOND
    more = {"status": TicketStatus.FAILED, "reason_code": code, "completed_at": ended, "actual_ms": None, **more}
    return ticket(flow_id, name, **more)


FLOWS = [flow("f-1"), flow("f-2"), flow("f-3", Outcome.FAILED, plan_id="p-2", missed=True), flow("f-4", Outcome.FAILED)]
TICKETS = [
    ticket("f-1", "a"),
    ticket("f-1", "b", "w-2", level=1),
    ticket("f-2", "a"),
    ticket("f-2", "b", "w-2", level=1),
    bad("f-3", "x", "timeout", 1, capabilities=("gpu",), ready_at=NOW - 140 * SECOND, task_type=TaskType.QUERY),
    bad("f-3", "y", "dependency_failed", 2, worker_id=None, status=TicketStatus.CANCELLED, assigned_at=None),
    bad("f-4", "x", "timeout", 1, task_type=TaskType.QUERY),
    bad("f-4", "y", "dependency_failed", 2, worker_id=None, status=TicketStatus.CANCELLED, assigned_at=None),
]
SCOPE = AnalysisScope(NOW - timedelta(hours=1), NOW + SECOND)


class TestSampleGraph:
    graph = WorkGraph(FLOWS, TICKETS)

    def test_patterns(self) -> None:
        first, second = self.graph.patterns()[:2]
        assert (first.tasks, first.flows, first.completed, first.mean_ms) == (("a", "b"), 2, 2, 60_000)
        assert (second.tasks, second.flows, second.completed, second.missed) == (("x", "y"), 2, 0, 1)

    def test_related(self) -> None:
        found = self.graph.related(("worker", "w-2"), depth=1)
        assert [(one.entity_type, one.entity_id, one.weight) for one in found] == [
            ("task_type", "TRANSFORM", 2),
            ("flow", "f-1", 1),
            ("flow", "f-2", 1),
        ]
        further = {one.entity_id: one.distance for one in self.graph.related(("worker", "w-2"), depth=2)}
        assert (further["p-1"], further["python"], further["w-1"]) == (2, 2, 2)
        assert self.graph.related(("worker", "nobody")) == []

    def test_intent_flow(self) -> None:
        steps = self.graph.intent_flow("c-f-1")
        assert [one.entity_type for one in steps] == ["decision", "ticket", "ticket", "flow"]
        assert (steps[1].what, steps[1].took_ms) == ("a: COMPLETED by w-1", 10_000)
        assert (steps[-1].what, steps[-1].took_ms) == ("COMPLETED", 60_000)
        assert self.graph.intent_flow("nobody") == []

    def test_bottlenecks(self) -> None:
        found = {(one.entity_type, one.entity_id): one for one in self.graph.bottlenecks()}
        gpu, python = found["capability", "gpu"], found["capability", "python"]
        assert (gpu.waited_ms, gpu.waiting, gpu.worked_ms) == (100_000, 1, 0)
        assert (python.waited_ms, python.waiting, python.worked_ms) == (50_000, 5, 40_000)
        assert gpu.share + python.share == pytest.approx(1)
        assert self.graph.bottlenecks(1)[0].waited_ms == max(one.waited_ms for one in found.values())

    def test_causal_chains(self) -> None:
        (chain,) = self.graph.chains()
        assert chain.steps == ("QUERY: timeout", "TRANSFORM: dependency_failed", "FAILED")
        assert (chain.count, set(chain.flows)) == (2, {"f-3", "f-4"})

    def test_an_empty_graph_says_nothing(self) -> None:
        empty = WorkGraph([], [])
        assert [empty.patterns(), empty.central(), empty.bottlenecks(), empty.chains()] == [[], [], [], []]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_centrality_and_distances_are_those_of_networkx(seed: int) -> None:
    import networkx as nx

    made = history(seed, 40)
    graph = WorkGraph([one for one, _ in made], [row for _, some in made for row in some])
    theirs = nx.Graph()
    for one, others in graph.edges.items():
        for other, weight in others.items():
            theirs.add_edge(one, other, weight=weight)
    ranks = nx.pagerank(theirs, alpha=0.85, tol=1e-10)
    found = graph.central(limit=10_000)
    assert len(found) == theirs.number_of_nodes()
    for central in found:
        node = central.entity_type, central.entity_id
        assert central.score == pytest.approx(ranks[node], abs=1e-6)
        assert central.degree == theirs.degree[node]
    start = next(node for node in graph.nodes if node[0] == "worker")
    lengths = nx.single_source_shortest_path_length(theirs, start, cutoff=3)
    related = {(one.entity_type, one.entity_id): one.distance for one in graph.related(start, depth=3, limit=10_000)}
    assert related == {node: length for node, length in lengths.items() if length}


class TestSources:
    def test_a_scope_chooses_flows_and_tickets(self) -> None:
        assert [len(some) for some in chosen(FLOWS, TICKETS, SCOPE)] == [4, 8]
        flows, tickets = chosen(FLOWS, TICKETS, SCOPE._replace(worker_id="w-2"))
        assert ([one.flow_id for one in flows], [one.task_id for one in tickets]) == (["f-1", "f-2"], ["b", "b"])
        flows, tickets = chosen(FLOWS, TICKETS, SCOPE._replace(correlation_id="c-f-3", task_type="QUERY"))
        assert ([one.flow_id for one in flows], [one.task_id for one in tickets]) == (["f-3"], ["x"])
        assert chosen(FLOWS, TICKETS, SCOPE._replace(domain="nobody")) == ([], [])

    def test_execution_statistics(self) -> None:
        said = sources.historical(FLOWS, TICKETS, SCOPE)
        assert (said["flows"], said["tickets"], said["missed"]) == (4, 8, 1)
        assert (said["outcomes"]["COMPLETED"], said["outcomes"]["FAILED"]) == (2, 2)
        assert said["duration_ms"]["by_worker"]["w-2"] == {
            "count": 2,
            "sum": 20_000.0,
            "mean": 10_000.0,
            "p50": 10_000.0,
            "p95": 10_000.0,
        }
        assert said["waited_ms"]["by_capability"]["gpu"]["sum"] == 100_000

    def test_a_span_in_which_much_more_happens_is_an_anomaly(self) -> None:
        flows = [flow(f"f-{n}", ended_at=NOW - n * 75 * SECOND) for n in range(1, 48)]
        flows += [flow(f"burst-{n}", ended_at=NOW - 5 * SECOND) for n in range(40)]
        scope = AnalysisScope(NOW - timedelta(hours=1), NOW)
        highest = max(sources.historical(flows, [], scope)["anomalies"], key=lambda one: one["score"])
        assert (highest["metric"], highest["value"] >= 40) == ("ended", True)

    def test_telemetry_counts_what_is_within(self) -> None:
        window = WINDOWS["1h"]
        buckets = [
            FlowBucket(
                start=NOW - n * window.width, since=NOW, outcomes={"COMPLETED": n}, missed=1, durations={"50": n}
            )
            for n in range(3)
        ]
        said = sources.telemetry(buckets, SCOPE._replace(since=NOW - window.width))
        assert [one["ended"] for one in said["buckets"]] == [0, 1]
        assert (said["buckets"][1]["missed"], said["buckets"][0]["p50_ms"]) == (1, None)

    @pytest.mark.parametrize(
        ("hours", "name"), [(0.5, "1h"), (1, "1h"), (2, "24h"), (24, "24h"), (30, "7d"), (999, "7d")]
    )
    def test_the_narrowest_window_that_reaches_back(self, hours: float, name: str) -> None:
        assert sources.window_of(SCOPE._replace(since=NOW - timedelta(hours=hours)), NOW).name == name

    def test_logs_are_searched(self) -> None:
        said = sources.logs(FLOWS, TICKETS, SCOPE._replace(text="TIMEOUT"))
        assert [(one["code"], one["count"]) for one in said["patterns"]] == [("timeout", 2)]
        assert said["flows"] == []
        assert sources.logs(FLOWS, TICKETS, SCOPE._replace(correlation_id="c-f-3"))["flows"] == ["f-3"]

    def test_metrics(self) -> None:
        points = [(NOW, 1.0), (NOW + SECOND, None), (NOW + 2 * SECOND, 4.0)]
        said = sources.metric_statistics(points)
        assert (said["current"], said["minimum"], said["maximum"], said["mean"]) == (4, 1, 4, 2.5)
        assert sources.metric_statistics([])["mean"] is None

    def test_what_is_missing_is_said(self) -> None:
        fine = SourceAnswer(SourceKind.LOGS, "ok", {}, 0.1)
        late = SourceAnswer(SourceKind.GRAPH, "timeout", {}, 5.0, "late")
        assert consolidated([fine, late]) == (True, 0.5, ["LOGS"], ["GRAPH"])
        assert consolidated([fine]) == (False, 1.0, ["LOGS"], [])

"""The rules over a window: what is found, what is not by a hair's breadth, and that floods make few findings."""

import json
from collections.abc import Sequence
from time import process_time
from typing import Any

import pytest

from functions._core.insights.consensus_rules import consensus_problems
from functions._core.insights.findings import ProblemFound
from functions._core.insights.flow_rules import GROUPS, cause_of, flow_problems
from functions._core.insights.insight import InsightType
from functions._core.insights.trail_rules import domain_statistics, trail_problems
from functions._core.insights.window import HistoryWindow, consensus_of, window_before
from functions._core.insights.work_rules import chance_of, work_problems
from functions._core.learning.history import TicketRow
from functions._core.placement.pheromones import Trail
from tests.support.builders import T0, seconds
from tests.support.fleet_world import FleetWorld
from tests.support.histories import history_of
from tests.support.insight_rows import END, START, failed_row, flow_row, ticket_row, window_of


def decided(**said: Any) -> HistoryWindow:
    """Return a window with one decision that says this of how it came about."""
    flow = flow_row()
    figures = consensus_of(json.dumps({"cognitive_plan": {"tasks": []}, **said}).encode(), flow)
    return window_of((flow, []), consensus=[figures] if figures else [])


def rules_of(problems: Sequence[ProblemFound]) -> list[str]:
    return [one.rule for one in problems]


class TestConsensus:
    @pytest.mark.parametrize(("divergence", "found"), [(0.06, True), (0.05, False), (1.0, True), (0.0, False)])
    def test_divergence_over_five_percent_is_found(self, divergence: float, found: bool) -> None:
        window = decided(consensus_metrics={"divergence_score": divergence, "convergence_time_ms": 10})
        assert rules_of(list(consensus_problems(window))) == (["divergence"] if found else [])

    @pytest.mark.parametrize(("took", "found"), [(5001, True), (5000, False)])
    def test_convergence_over_five_seconds_is_found(self, took: int, found: bool) -> None:
        window = decided(consensus_metrics={"divergence_score": 0.01, "convergence_time_ms": took})
        assert rules_of(list(consensus_problems(window))) == (["slow-consensus"] if found else [])

    def test_the_figures_may_also_stand_beside_the_plan(self) -> None:
        window = decided(divergence=0.2, convergence_time_ms=9000)
        assert rules_of(list(consensus_problems(window))) == ["divergence", "slow-consensus"]

    @pytest.mark.parametrize("wrong", [None, True, "0.9", -1, 2, float("1e400"), [], {}])
    def test_what_is_no_divergence_is_none(self, wrong: object) -> None:
        assert list(consensus_problems(decided(consensus_metrics={"divergence_score": wrong}))) == []

    @pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b'{"consensus_metrics": 7}', b"\xff", b"[" * 100_000])
    def test_a_decision_that_cannot_be_read_says_nothing(self, text: bytes) -> None:
        assert consensus_of(text, flow_row()) is None

    def test_a_thousand_decisions_make_one_finding_with_the_worst_first(self) -> None:
        texts = [json.dumps({"divergence": 0.06 + number / 10_000}).encode() for number in range(1000)]
        figures = [consensus_of(text, flow_row(number)) for number, text in enumerate(texts)]
        [found] = consensus_problems(window_of(consensus=[one for one in figures if one]))
        assert found.insight_type is InsightType.OPERATIONAL
        assert found.entities[0].entity_id == "decision-999"
        assert len(found.entities) == 20
        assert found.figures["over"] == 1000


class TestFlows:
    def test_a_late_flow_is_found_with_its_cause(self) -> None:
        flow = flow_row(missed=True, ended_at=START + seconds(180))
        slow = ticket_row(flow, 1, actual_ms=170_000, task_id="compile", worker_id="forge-1")
        [found] = flow_problems(window_of((flow, [slow, ticket_row(flow, 2)])))
        assert (found.rule, found.insight_type) == ("sla-violation", InsightType.OPERATIONAL)
        assert found.title == (
            "1 flow missed its deadline: the BUILD task 'compile' took longer than planned at worker 'forge-1'"
        )
        assert [(one.entity_type, one.entity_id) for one in found.entities] == [
            ("worker", "forge-1"),
            ("task_type", "BUILD"),
            ("flow", "flow-1"),
        ]
        assert found.figures["late_ms"] == 60_000
        assert found.flow is flow

    def test_flows_that_are_fine_are_none(self) -> None:
        assert (
            list(flow_problems(window_of((flow_row(), [ticket_row()]), (flow_row(2, outcome="CANCELLED"), [])))) == []
        )

    def test_failures_are_grouped_by_worker_type_and_reason(self) -> None:
        flows = [flow_row(number, outcome="FAILED") for number in range(5)]
        ended = [
            (flow, [failed_row(flow, worker_id="bad" if number < 3 else "good")]) for number, flow in enumerate(flows)
        ]
        found = list(flow_problems(window_of(*ended)))
        assert [(one.rule, one.affected) for one in found] == [("flow-failure", 3), ("flow-failure", 2)]
        assert "BUILD work failed at worker 'bad' ('TASK_FAILED')" in found[0].title
        assert found[0].flow is None

    def test_the_first_failure_is_the_cause(self) -> None:
        flow = flow_row(outcome="FAILED")
        later = failed_row(flow, 2, worker_id="second", completed_at=START + seconds(20))
        first = failed_row(flow, 1, worker_id="first", completed_at=START + seconds(10))
        assert cause_of(flow, [later, first]).worker_id == "first"

    def test_a_ticket_that_never_got_a_worker_waited(self) -> None:
        flow = flow_row(outcome="TIMED_OUT", missed=True)
        never: dict[str, Any] = {
            "worker_id": None,
            "assigned_at": None,
            "attempts": 0,
            "actual_ms": None,
            "capabilities": ("gpu",),
        }
        waited = ticket_row(flow, status="CANCELLED", completed_at=START + seconds(120), **never)
        [found] = flow_problems(window_of((flow, [waited])))
        assert "BUILD work waited for a worker that offers 'gpu'" in found.title
        assert ("capability", "gpu") in {(one.entity_type, one.entity_id) for one in found.entities}

    def test_a_plan_that_never_fitted_is_strategic(self) -> None:
        flow = flow_row(missed=True, critical_path_ms=120_001)
        found = {one.rule: one for one in flow_problems(window_of((flow, [])))}
        assert found["impossible-deadline"].insight_type is InsightType.STRATEGIC
        fits = flow_row(missed=True, critical_path_ms=120_000)
        assert "impossible-deadline" not in rules_of(list(flow_problems(window_of((fits, [])))))

    def test_a_thousand_reasons_make_few_findings(self) -> None:
        flows = [flow_row(number, outcome="FAILED") for number in range(1000)]
        ended = [(flow, [failed_row(flow, reason_code=f"r{number}")]) for number, flow in enumerate(flows)]
        assert len(list(flow_problems(window_of(*ended)))) == GROUPS


def signals(good: int, bad: int, **fields: Any) -> list[TicketRow]:
    """Return tickets of one worker of which so many completed and failed."""
    done = [ticket_row(number=number, domain="infrastructure", **fields) for number in range(good)]
    return done + [failed_row(number=100 + number, domain="infrastructure", **fields) for number in range(bad)]


class TestTrails:
    @pytest.mark.parametrize(
        ("good", "bad", "found"), [(4, 6, True), (5, 5, False), (3, 6, False), (0, 10, True), (0, 9, False)]
    )
    def test_more_than_half_of_at_least_ten_signals_are_failures(self, good: int, bad: int, found: bool) -> None:
        problems = list(trail_problems(window_of((flow_row(), signals(good, bad)))))
        assert rules_of(problems) == (["failure-trail"] if found else [])

    def test_it_is_by_worker_and_domain(self) -> None:
        rows = [*signals(0, 9), *signals(0, 9, worker_id="w2")]
        assert list(trail_problems(window_of((flow_row(), rows)))) == []

    def test_a_trail_that_holds_ten_signals_counts_though_the_window_has_few(self) -> None:
        trail = Trail(pos=4.0, neg=8.0, updated_at=END)
        [found] = trail_problems(window_of((flow_row(), signals(0, 1)), trails={"infrastructure": {"w1": trail}}))
        assert found.figures["failures"] == 8
        assert found.agreement == 1.0

    def test_failures_that_are_not_the_workers_say_nothing_of_it(self) -> None:
        rows = [failed_row(number=number, reason_code="worker_lost") for number in range(20)]
        assert list(trail_problems(window_of((flow_row(), rows)))) == []

    def test_the_statistics_of_a_domain_count_what_there_was(self) -> None:
        rows = [*signals(7, 2), *signals(1, 0, worker_id="w2", retries=3), ticket_row(number=900)]
        trails = {"infrastructure": {"w1": Trail(pos=7.0, neg=2.0, updated_at=END)}}
        found = domain_statistics(window_of((flow_row(), rows), trails=trails))
        of = found["infrastructure"]
        assert (of.signals, of.successes, of.failures, of.warnings, of.workers) == (13, 8, 2, 3, 2)
        assert of.failure_share == pytest.approx(3.5 / 11.5)
        assert of.mean_score == pytest.approx(8 / 11)
        assert (found["BUILD"].signals, found["BUILD"].successes, found["BUILD"].mean_score) == (1, 1, None)


def took(worker_id: str, *durations: int, **fields: Any) -> list[TicketRow]:
    """Return tickets of the same work by a worker, each with its duration in milliseconds."""
    return [
        ticket_row(number=number, worker_id=worker_id, actual_ms=one, **fields) for number, one in enumerate(durations)
    ]


class TestWork:
    def test_a_worker_that_is_twice_as_slow_is_found(self) -> None:
        rows = [*took("slow", *[2000] * 8), *took("quick", *[1000] * 5)]
        [found] = work_problems(window_of((flow_row(), rows)))
        assert (found.rule, found.figures["ratio"], found.affected) == ("slow-worker", 2.0, 1)
        assert found.title == "Worker 'slow' is 2.0 times slower than others at BUILD 'a'"

    def test_a_worker_that_is_slow_at_one_thing_of_three_is_found_at_that(self) -> None:
        rows = [row for name in "abc" for row in took("w", *[3000 if name == "b" else 1000] * 12, task_id=name)]
        rows += [row for name in "abc" for row in took("quick", *[1000] * 12, task_id=name)]
        [found] = work_problems(window_of((flow_row(), rows)))
        assert found.title == "Worker 'w' is 3.0 times slower than others at BUILD 'b'"

    def test_a_worker_that_is_slow_at_all_it_does_is_one_finding(self) -> None:
        rows = [row for name in "abc" for row in took("slow", *[3000] * 5, task_id=name, estimate_ms=2000)]
        rows += [row for name in "abc" for row in took("quick", *[1000] * 5, task_id=name)]
        [found] = work_problems(window_of((flow_row(), rows)))
        assert found.title == "Worker 'slow' is 3.0 times slower than others at 3 kinds of work"

    @pytest.mark.parametrize("slow", [[1990] * 8, [2000] * 7, [2000] * 8 + [990] * 4])
    def test_one_that_is_hardly_slower_or_may_be_so_by_chance_is_not(self, slow: list[int]) -> None:
        assert list(work_problems(window_of((flow_row(), [*took("slow", *slow), *took("quick", *[1000] * 9)])))) == []

    def test_other_work_is_no_comparison(self) -> None:
        rows = [*took("slow", *[2000] * 9, task_id="b", estimate_ms=2000), *took("quick", *[1000] * 9)]
        assert list(work_problems(window_of((flow_row(), rows)))) == []

    @pytest.mark.parametrize(
        ("heads", "throws"), [(0, 1), (1, 1), (8, 8), (12, 20), (130, 200), (131, 201), (620, 1200)]
    )
    def test_the_chance_of_so_many_heads_is_that_of_the_binomial(self, heads: int, throws: int) -> None:
        from scipy.stats import binom

        assert chance_of(heads, throws) == pytest.approx(binom.sf(heads - 1, throws, 0.5), rel=0.02)

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_of_a_fleet_whose_truth_is_known_the_slow_worker_is_found_and_no_other(self, seed: int) -> None:
        world = FleetWorld(seed, recorded=False)
        found = list(work_problems(window_of(*history_of(world, 150))))
        assert [one.subject for one in found if one.rule == "slow-worker"] == ["worker-0"]
        for one in found:
            if one.rule == "wrong-estimate":
                factor = world.kinds[one.subject.split("/")[1]].factor
                assert factor < 0.8 if one.figures["factor"] < 1 else factor > 1.25, one.title

    def test_ten_thousand_workers_at_one_kind_of_work_cost_little(self) -> None:
        rows = [ticket_row(number=number, worker_id=f"w{number}") for number in range(10_000)]
        begun = process_time()
        assert list(work_problems(window_of((flow_row(), rows)))) == []
        assert process_time() - begun < 5, "each worker is compared with all others"

    def test_an_estimate_that_is_wrong_again_and_again_gets_a_better_number(self) -> None:
        rows = took("w", 2900, 3000, 3100, 3200, 3300, 3000, 3100, 2950, 3050, 9000)
        [found] = work_problems(window_of((flow_row(), rows)))
        assert (found.rule, found.figures["better_estimate_ms"]) == ("wrong-estimate", 3300)
        assert "Set estimated_duration_ms of 'a' to 3300." in [one.action for one in found.advice]

    def test_an_estimate_that_is_far_too_high_is_found_and_one_that_varies_is_not(self) -> None:
        [found] = work_problems(window_of((flow_row(), took("w", *[100] * 5))))
        assert "takes 10.0 times shorter" in found.title
        assert found.summary.endswith("it took 100 ms in the middle of 5 times; nine of ten were done after 100 ms.")
        assert found.summary.startswith("Its plans expect 1 s,")
        varied = took("w", 100, 120, 2500, 2600, 2700)
        assert list(work_problems(window_of((flow_row(), varied)))) == []

    def test_flows_before_the_window_count_for_work_that_comes_again(self) -> None:
        rows = [*took("slow", *[2000] * 8), *took("quick", *[1000] * 5)]
        before = (flow_row(2), tuple(rows[1:]))
        window = window_of((flow_row(), rows[:1]), before=[before])
        assert rules_of(list(work_problems(window))) == ["slow-worker"]

    def test_a_queue_for_what_few_workers_offer_is_strategic(self) -> None:
        flows = [flow_row(number) for number in range(5)]
        late: dict[str, Any] = {
            "assigned_at": START + seconds(45),
            "completed_at": START + seconds(46),
            "capabilities": ("gpu",),
        }
        [found] = work_problems(window_of(*((flow, [ticket_row(flow, **late)]) for flow in flows)))
        assert (found.rule, found.insight_type) == ("capacity-queue", InsightType.STRATEGIC)
        assert found.title == "Tickets wait 45 s for workers that offer 'gpu'"
        assert found.affected == 5

    def test_a_short_wait_is_no_queue(self) -> None:
        rows = [ticket_row(number=number, assigned_at=START + seconds(29)) for number in range(9)]
        assert list(work_problems(window_of((flow_row(), rows)))) == []


def test_windows_end_at_the_full_five_minutes() -> None:
    assert window_before(T0 + seconds(299.999)) == T0
    assert window_before(T0 + seconds(300)) == T0 + seconds(300)

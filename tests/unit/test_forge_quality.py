"""The quality of a project: scores of tools by kind and weight, what nobody has looked at, and what caps it."""

from datetime import UTC, datetime, timedelta

import pytest

from functions._core.executors.scan import ToolOutcome
from functions._core.forge.quality import TOOLS, WEIGHTS, ToolVerdict, quality_of, skipped, verdict_on
from functions._executors.forge.suite import is_code, score_of, sources_of

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def verdict(tool: str, *, denied: bool = False, **counts: int) -> ToolVerdict:
    found = {name.upper(): number for name, number in counts.items()}
    return verdict_on(ToolOutcome(tool=tool, status="run", counts=found, denied=denied, seconds=2), started_at=NOW)


def all_but(*without: str) -> list[ToolVerdict]:
    return [skipped(tool) if tool in without else verdict(tool) for tool in TOOLS]


def test_the_weights_are_those_of_the_specification() -> None:
    assert WEIGHTS == {"SAST": 0.30, "SECURITY": 0.30, "LINT": 0.20, "POLICY": 0.20}
    assert set(TOOLS.values()) == WEIGHTS.keys()
    assert quality_of(all_but()) == (1.0, "")


@pytest.mark.parametrize(("kind", "weight"), WEIGHTS.items())
def test_a_kind_that_no_tool_has_looked_at_counts_as_nothing(kind: str, weight: float) -> None:
    without = [tool for tool in TOOLS if TOOLS[tool] == kind]
    quality, capped_by = quality_of(all_but(*without))
    assert (quality, capped_by) == (round(1 - weight, 6), "")
    assert quality_of(all_but(*without[1:])) == (1.0, ""), "one of its tools is enough"


def test_nothing_at_all_is_no_quality() -> None:
    assert quality_of(all_but(*TOOLS)) == (0.0, "")


def test_a_kind_is_the_mean_of_its_tools_that_ran() -> None:
    bandit, semgrep = verdict("bandit", high=2), verdict("semgrep")  # 0.7 and 1
    others = [verdict("detect-secrets"), verdict("ruff", low=10), verdict("opa"), skipped("sonarqube")]
    assert quality_of([bandit, semgrep, *others])[0] == pytest.approx(0.3 * 0.85 + 0.3 + 0.2 * 0.9 + 0.2)


@pytest.mark.parametrize(
    ("grave", "why"),
    [
        (verdict("bandit", critical=1), "a critical finding of bandit"),
        (verdict("opa", high=1, denied=True), "denied by opa"),
        (verdict("opa", denied=True), "denied by opa"),
        (verdict("sonarqube", denied=True), "denied by sonarqube"),
    ],
)
def test_a_critical_finding_and_a_denial_leave_less_than_half(grave: ToolVerdict, why: str) -> None:
    others = [one for one in all_but() if one.result.tool_name != grave.result.tool_name]
    assert quality_of([*others, grave]) == (0.49, why)


def test_the_cap_is_no_floor_and_findings_that_are_less_than_critical_do_not_cap() -> None:
    worst = [verdict("bandit", critical=5), skipped("detect-secrets"), skipped("ruff"), verdict("opa")]
    assert quality_of(worst) == (0.2, "a critical finding of bandit")
    high = [verdict("bandit", high=6), verdict("detect-secrets"), verdict("ruff"), verdict("opa")]
    assert quality_of(high) == (0.73, "")


def test_sums_of_shares_miss_no_bound() -> None:
    half = [verdict("bandit"), skipped("snyk"), verdict("ruff"), skipped("opa")]
    assert quality_of(half)[0] == 0.5
    assert quality_of([*half, verdict("snyk")])[0] == 0.8


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, "PASSED"),
        ({"info": 3}, "PASSED"),
        ({"low": 1}, "WARNING"),
        ({"medium": 1}, "WARNING"),
        ({"high": 1}, "FAILED"),
        ({"critical": 1}, "FAILED"),
        ({"denied": True}, "FAILED"),
    ],
)
def test_a_result_says_what_came_of_a_tool(given: dict[str, int], status: str) -> None:
    counts = {name: number for name, number in given.items() if name != "denied"}
    result = verdict("opa", denied="denied" in given, **counts).result
    assert (result.status, result.validation_type) == (status, "POLICY")
    issues = {name: given.get(name, 0) for name in ("critical", "high", "medium", "low", "info")}
    assert result.issues == issues
    assert (result.started_at, result.completed_at) == (NOW, NOW + timedelta(seconds=2))
    assert (skipped("opa").result.status, skipped("opa").result.score) == ("SKIPPED", None)


@pytest.mark.parametrize(
    ("passed", "total", "coverage", "minimum", "score"),
    [
        (10, 10, 0.8, 0.8, 1.0),
        (10, 10, 0.9, 0.8, 1.0),
        (10, 10, 0.4, 0.8, 0.5),
        (9, 10, 0.8, 0.8, 0.9),
        (9, 10, 0.6, 0.8, 0.675),
        (10, 10, 0.0, 0.8, 0.0),
        (10, 10, None, 0.8, 1.0),
        (10, 10, 0.0, 0.0, 1.0),
        (0, 0, 1.0, 0.8, 0.0),
    ],
)
def test_the_score_of_tests(passed: int, total: int, coverage: float | None, minimum: float, score: float) -> None:
    assert score_of(passed, total, coverage, minimum) == pytest.approx(score)


def test_code_is_what_is_no_test_and_builds_nothing() -> None:
    files = ["src/shop/a.py", "src/shop/sub/b.py", "app.py", "setup.py", "test_a.py", "tests/helpers.py", "conftest.py"]
    files += ["src/shop/a_test.py", "main.tf", "src/attest/c.py", "odd name/d.py"]
    assert [file for file in files if is_code(file)] == [
        "src/shop/a.py",
        "src/shop/sub/b.py",
        "app.py",
        "src/attest/c.py",
        "odd name/d.py",
    ]
    assert sources_of(files) == [".", "src/attest", "src/shop", "src/shop/sub"]

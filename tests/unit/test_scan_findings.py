"""Findings of scans: parameters of a plan, one form, SARIF in and out, severities, order, masks, scores."""

import json
from time import thread_time
from typing import Any

import pytest
from pydantic import ValidationError

from functions._core.executors import findings, sarif
from functions._core.executors.findings import (
    MOST_BYTES,
    MOST_FINDINGS,
    bounded,
    counts_of,
    finding,
    path_of,
    score_of,
    severity_of,
    severity_of_score,
    worst_first,
)
from functions._core.executors.parameters import parameter_faults
from functions._core.executors.sarif import NoSarif, findings_in, sarif_of
from functions._core.executors.scan import ScanParameters, ScanSeverity
from functions._core.executors.table import EXECUTORS, capability_of, model_of
from functions._core.records.values import TaskType

HIGH = ScanSeverity.HIGH


def parsed(**given: Any) -> ScanParameters:
    return ScanParameters.model_validate(given)


def log_of(*results: Any, rules: Any = (), **run: Any) -> dict[str, Any]:
    return {
        "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "lint", "rules": [*rules]}}, "results": [*results], **run}],
    }


class TestParameters:
    def test_a_tool_is_a_name_or_an_object(self) -> None:
        given = parsed(tools=["bandit", {"tool": "trivy", "required": True}], target={"files": {"a.py": ""}})
        assert [(tool.tool, tool.required) for tool in given.tools] == [("bandit", False), ("trivy", True)]
        assert given.fail_on is HIGH
        assert parsed(tools=["sarif"], target={"folder": "a"}, fail_on="medium").fail_on is ScanSeverity.MEDIUM

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({}, "takes at least one tool or policy"),
            ({"tools": ["bandit"]}, "has no target for bandit"),
            ({"tools": ["opa"]}, "has the tool opa, and no policies"),
            ({"tools": ["nmap"], "target": {"folder": "a"}}, "should be 'bandit'"),
            ({"tools": [{"tool": "bandit", "project": "x"}], "target": {"folder": "a"}}, "has project, which the tool"),
            ({"tools": ["json_schema"], "target": {"folder": "a"}}, "lacks against, without which"),
            ({"tools": [{"tool": "snyk", "project": "x"}]}, "lacks organization"),
            ({"policies": [{"name": "a", "rego": "package a"}]}, "takes rego with query, or path"),
            ({"policies": [{"name": "a", "path": "../../v1/policies"}]}, "should match pattern"),
            ({"policies": [{"name": "a", "rego": "x", "query": "1 == 1"}]}, "should match pattern"),
            ({"policies": [{"name": "a", "path": "a/b"}, {"name": "a", "path": "c"}]}, "two policies of the same name"),
            ({"tools": ["bandit"], "target": {}}, "takes at least one of files, artifacts and folder"),
            ({"tools": ["bandit"], "target": {"folder": "../up"}}, "must be a path below"),
            ({"tools": ["bandit"], "target": {"files": {"/etc/passwd": ""}}}, "must be a path below"),
            ({"tools": ["bandit"], "target": {"artifacts": [{"uri": "http://x/", "sha256": "0" * 64}]}}, "pattern"),
        ],
    )
    def test_a_bad_plan_is_refused_before_anything_runs(self, given: dict[str, Any], said: str) -> None:
        faults = parameter_faults(model_of("scan"), {"provider": "scan", **given})
        assert any(said in text for _, text in faults), faults

    def test_a_reference_may_stand_anywhere(self) -> None:
        given = {
            "provider": "scan",
            "tools": ["bandit", {"tool": "json_schema", "against": {"$output": "schema"}}],
            "target": {"artifacts": [{"$output": "build", "path": "/artifacts/0"}], "folder": {"$output": "a"}},
            "input": {"$output": "build"},
        }
        assert parameter_faults(model_of("scan"), given) == ()

    def test_it_does_tasks_of_one_type(self) -> None:
        assert (capability_of("scan"), EXECUTORS["scan"].task_types) == (
            "validate:scan",
            frozenset({TaskType.VALIDATE}),
        )


class TestFinding:
    def test_whatever_a_tool_says_becomes_short_lines(self) -> None:
        one = finding("x" * 500, None, HIGH, "a\nb\x00c\x1b[31m" + "y" * 9_000, ["no", "path"], "7")
        assert (len(one.tool), one.rule, one.line) == (160, "", None)
        assert one.message.startswith("a b c [31myyy")
        assert len(one.message) == 400
        assert json.dumps(finding("t", "r", HIGH, "\ud800").model_dump(mode="json")).encode()

    @pytest.mark.parametrize(
        ("path", "read"),
        [
            ("./a/b.py", "a/b.py"),
            ("/main.tf", "main.tf"),
            ("file:///src/a.py", "src/a.py"),
            ("a\\b.cs", "a/b.cs"),
            ("././/a", "a"),
            (None, ""),
        ],
    )
    def test_a_path_is_one_below_the_target(self, path: object, read: str) -> None:
        assert path_of(path) == read

    @pytest.mark.parametrize(
        ("rule", "said", "kept"),
        [
            ("B105", "Possible hardcoded password: 'correct horse'", "Possible hardcoded password: ***"),
            ("generic-api-key", 'key "abc" of s3cr3tkeys9', "key *** of ***"),
            ("any", "token AKIAIOSFODNN7EXAMPLE in a file", "token *** in a file"),
            ("any", "see https://me:hunter2x@host/", "see https***host/"),
            ("any", "'x' is no number", "'x' is no number"),
        ],
    )
    def test_what_looks_like_a_secret_is_not_told(self, rule: str, said: str, kept: str) -> None:
        assert finding("t", rule, HIGH, said).message == kept

    @pytest.mark.parametrize("character", "a9'\"`")
    def test_a_long_word_is_looked_at_in_linear_time(self, monkeypatch: pytest.MonkeyPatch, character: str) -> None:
        monkeypatch.setattr(findings, "SAID", 50_000)
        begun = thread_time()
        finding("t", "secret", HIGH, character * 200_000)
        assert thread_time() - begun < 10  # hours, if each place in the word led to its end

    def test_severities_of_tools_have_one_scale(self) -> None:
        words = ["critical", "BLOCKER", "error", "High", "WARNING", "minor", "note", "none", "what", None]
        found = [severity_of(word, ScanSeverity.MEDIUM).value for word in words]
        assert found == ["CRITICAL", "CRITICAL", "HIGH", "HIGH", "MEDIUM", "LOW", "LOW", "INFO", "MEDIUM", "MEDIUM"]
        assert [severity_of_score(score).value for score in (9.0, 8.9, 4.0, 3.9, 0.0)] == [
            *("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"),
        ]

    def test_the_worst_come_first_and_an_output_has_a_bound(self) -> None:
        found = [finding("t", "r", severity, "m", f"{n}") for n in range(100) for severity in ScanSeverity]
        kept = bounded(worst_first(found))
        assert len(kept) == MOST_FINDINGS
        assert {one.severity for one in kept} == {"CRITICAL", "HIGH"}
        long = [finding("t", "\u00e9" * 160, HIGH, "\u00e9" * 400, "\u00e9" * 300)] * 200
        assert len(json.dumps([one.model_dump(mode="json") for one in bounded(long)])) < MOST_BYTES + 1_000

    def test_a_score_falls_with_findings_and_is_capped(self) -> None:
        assert score_of({}) == 1.0
        assert score_of({"HIGH": 1, "LOW": 5}) == 0.8
        assert score_of({"CRITICAL": 1}) == 0.49
        assert score_of({"MEDIUM": 100}) == 0.0
        assert score_of({}, denied=True) == 0.49


class TestSarif:
    def test_what_is_written_is_read_again(self) -> None:
        found = [
            finding("bandit", "B602", HIGH, "a shell", "src/a b.py", 3),
            finding("trivy", "CVE-1", ScanSeverity.CRITICAL, "lib 1.0"),
            finding("trivy", "CVE-2", ScanSeverity.INFO, "lib 2.0", "lock"),
        ]
        written = json.loads(json.dumps(sarif_of(found)))
        assert (written["version"], len(written["runs"])) == ("2.1.0", 2)
        assert findings_in(written) == found

    def test_severities_come_from_scores_levels_and_rules(self) -> None:
        rules = [
            {"id": "a", "properties": {"security-severity": "9.1"}},
            {"id": "b", "defaultConfiguration": {"level": "error"}, "shortDescription": {"text": "of the rule"}},
            {"id": "c", "messageStrings": {"m": {"text": "by name"}}},
        ]
        found = findings_in(
            log_of(
                {"ruleId": "a", "message": {"text": "1"}},
                {"ruleIndex": 1},
                {"rule": {"id": "c"}, "level": "note", "message": {"id": "m"}},
                {"ruleId": "unknown"},
                rules=rules,
            )
        )
        assert [(one.rule, one.severity.value, one.message) for one in found] == [
            ("a", "CRITICAL", "1"),
            ("b", "HIGH", "of the rule"),
            ("c", "LOW", "by name"),
            ("unknown", "MEDIUM", ""),
        ]

    @pytest.mark.parametrize(
        "result",
        [
            {"kind": "pass"},
            {"kind": "notApplicable"},
            {"ruleId": "a", "baselineState": "absent"},
            {"ruleId": "a", "suppressions": [{"kind": "inSource"}]},
            {},
            "no object",
        ],
    )
    def test_what_is_no_finding_is_left_out(self, result: Any) -> None:
        assert findings_in(log_of(result)) == []

    def test_a_suppression_that_was_refused_suppresses_nothing(self) -> None:
        assert len(findings_in(log_of({"ruleId": "a", "suppressions": [{"status": "rejected"}]}))) == 1

    @pytest.mark.parametrize(
        "document", [None, [], {}, {"runs": 7}, log_of(invocations=[{"executionSuccessful": False}])]
    )
    def test_what_is_no_sarif_or_of_a_run_that_failed_is_refused(self, document: Any) -> None:
        with pytest.raises(NoSarif):
            findings_in(document)

    def test_one_with_very_many_findings_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sarif, "MOST_READ", 10)
        assert len(findings_in(log_of(*[{"ruleId": "a"}] * 10))) == 10
        with pytest.raises(NoSarif, match="more than 10 findings"):
            findings_in(log_of(*[{"ruleId": "a"}] * 11))

    @pytest.mark.parametrize("wrong", [7, "x", None, [], {}, [[]], {"a": []}])
    def test_parts_of_a_wrong_type_count_as_absent(self, wrong: Any) -> None:
        whole = {
            "ruleId": "a",
            "locations": wrong,
            "message": wrong,
            "level": wrong,
            "properties": wrong,
            "rule": wrong,
        }
        found = findings_in(log_of(whole, rules=[wrong]))
        assert [(one.rule, one.file, one.line) for one in found] == [("a", "", None)]
        assert findings_in({"runs": [{"tool": wrong, "results": [{"ruleId": "a"}], "invocations": wrong}]})
        assert findings_in({"runs": [wrong]}) == []

    def test_counts_name_what_there_is(self) -> None:
        found = findings_in(log_of({"level": "error", "ruleId": "a"}, {"level": "note", "ruleId": "b"}))
        assert counts_of(found) == {"HIGH": 1, "LOW": 1}


def test_a_model_of_parameters_knows_no_other_members() -> None:
    with pytest.raises(ValidationError):
        parsed(tools=["bandit"], target={"folder": "a", "url": "http://x/"})

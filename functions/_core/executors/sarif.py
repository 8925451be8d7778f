"""SARIF 2.1.0: findings of other tools in it, and ours written as it. Pure.

What is read may come from anybody: parts of a wrong type count as absent, and only a text that is no SARIF at all, or
one whose tool says that it has failed, is refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote

from functions._core.executors.findings import finding, severity_of, severity_of_score
from functions._core.executors.scan import ScanFinding, ScanSeverity

VERSION = "2.1.0"
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

LEVELS = {
    ScanSeverity.CRITICAL: "error",
    ScanSeverity.HIGH: "error",
    ScanSeverity.MEDIUM: "warning",
    ScanSeverity.LOW: "note",
    ScanSeverity.INFO: "none",
}

SCORES = {
    ScanSeverity.CRITICAL: "9.5",
    ScanSeverity.HIGH: "8.0",
    ScanSeverity.MEDIUM: "5.5",
    ScanSeverity.LOW: "2.0",
    ScanSeverity.INFO: "0.0",
}
"""The property `security-severity`, by which readers of SARIF tell more than three severities."""

MOST_READ = 20_000
"""Findings of all logs of a target: little text can stand for many."""

FOUND = frozenset({"fail", "open", "review"})
"""Kinds of results that are findings; others say that all is well, or nothing."""


class NoSarif(ValueError):
    """A text is no SARIF that can be taken, or that of a tool that has failed."""


def findings_in(document: object, default: str = "sarif", known: int = 0) -> Sequence[ScanFinding]:
    """Return the findings of a SARIF log; raise `NoSarif`.

    `default` names a tool that does not say its name; `known` is how many were read of other logs.
    """
    runs = document.get("runs") if isinstance(document, Mapping) else None
    if not isinstance(runs, list):
        raise NoSarif("is no SARIF: it has no list of runs")
    every = (one for run in runs if isinstance(run, Mapping) for one in _of_run(run, default))
    most = MOST_READ - known
    found = [*islice(every, most + 1)]
    if len(found) > most:
        raise NoSarif(f"has more than {most} findings")
    return found


def sarif_of(findings: Iterable[ScanFinding]) -> Mapping[str, Any]:
    """Return findings as a SARIF log: one run for each tool."""
    by_tool: dict[str, list[ScanFinding]] = {}
    for one in findings:
        by_tool.setdefault(one.tool, []).append(one)
    runs = [_run(tool, found) for tool, found in by_tool.items()]
    return {"$schema": SCHEMA, "version": VERSION, "runs": runs}


def _of_run(run: Mapping[str, Any], default: str) -> Iterator[ScanFinding]:
    driver = _mapping(_mapping(run.get("tool")).get("driver"))
    name = driver.get("name") if isinstance(driver.get("name"), str) else default
    for invocation in _list(run.get("invocations")):
        if _mapping(invocation).get("executionSuccessful") is False:
            raise NoSarif(f"is of a run of {str(name)[:100]} that has failed")
    rules = [_mapping(rule) for rule in _list(driver.get("rules"))]
    by_id = {rule["id"]: rule for rule in rules if isinstance(rule.get("id"), str)}
    for result in map(_mapping, _list(run.get("results"))):
        if _counts(result):
            yield _finding(str(name or default), result, rules, by_id)


def _counts(result: Mapping[str, Any]) -> bool:
    """Whether a result is a finding that nobody has accepted and that is still there."""
    suppressed = any(_mapping(one).get("status", "accepted") == "accepted" for one in _list(result.get("suppressions")))
    there = bool(result) and result.get("baselineState") != "absent"
    return there and not suppressed and result.get("kind", "fail") in FOUND


def _finding(
    tool: str, result: Mapping[str, Any], rules: Sequence[Mapping[str, Any]], by_id: Mapping[str, Mapping[str, Any]]
) -> ScanFinding:
    pointed = _mapping(result.get("rule"))
    index = result.get("ruleIndex", pointed.get("index"))
    rule_id = result.get("ruleId", pointed.get("id"))
    rule = by_id.get(rule_id) if isinstance(rule_id, str) else None
    if rule is None and isinstance(index, int) and 0 <= index < len(rules):
        rule = rules[index]
    known = rule or {}
    place = _mapping(next(iter(_list(result.get("locations"))), None))
    physical = _mapping(place.get("physicalLocation"))
    uri = _mapping(physical.get("artifactLocation")).get("uri")
    return finding(
        tool,
        rule_id if rule_id is not None else known.get("id", "unknown"),
        _severity(result, known),
        _message(result, known),
        unquote(uri) if isinstance(uri, str) else "",
        _mapping(physical.get("region")).get("startLine"),
    )


def _severity(result: Mapping[str, Any], rule: Mapping[str, Any]) -> ScanSeverity:
    for properties in (result.get("properties"), rule.get("properties")):
        try:
            return severity_of_score(float(_mapping(properties)["security-severity"]))
        except (KeyError, TypeError, ValueError):
            continue
    level = result.get("level", _mapping(rule.get("defaultConfiguration")).get("level", "warning"))
    return severity_of(level, ScanSeverity.MEDIUM)


def _message(result: Mapping[str, Any], rule: Mapping[str, Any]) -> object:
    said = _mapping(result.get("message"))
    named = _mapping(_mapping(rule.get("messageStrings")).get(str(said.get("id"))))
    return said.get("text") or named.get("text") or _mapping(rule.get("shortDescription")).get("text")


def _run(tool: str, findings: Sequence[ScanFinding]) -> Mapping[str, Any]:
    rules = {one.rule: {"id": one.rule, "properties": {"security-severity": SCORES[one.severity]}} for one in findings}
    return {
        "tool": {"driver": {"name": tool, "rules": [*rules.values()]}},
        "results": [_result(one) for one in findings],
    }


def _result(one: ScanFinding) -> Mapping[str, Any]:
    result: dict[str, Any] = {
        "ruleId": one.rule,
        "level": LEVELS[one.severity],
        "message": {"text": one.message or one.rule},
        "properties": {"security-severity": SCORES[one.severity]},
    }
    if one.file:
        place: dict[str, Any] = {"artifactLocation": {"uri": quote(one.file)}}
        if one.line:
            place["region"] = {"startLine": one.line}
        result["locations"] = [{"physicalLocation": place}]
    return result


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()

"""Tools that read source code: Bandit, Ruff, Semgrep and detect-secrets."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from functions._core.executors.findings import finding, severity_of
from functions._core.executors.scan import ScanSeverity
from functions._executors.programs import ProgramEnd
from functions._executors.sandbox import INSIDE
from functions._executors.scanners.port import NotRun, ScanJob, Scanned, ToolFaulty
from functions._executors.scanners.programs import (
    REPORT,
    SOURCE,
    Programs,
    ProgramScanner,
    entries,
    json_in,
    report_of,
)

GRAVE = {
    "invalid-syntax": ScanSeverity.HIGH,
    "E9": ScanSeverity.HIGH,
    "F82": ScanSeverity.MEDIUM,
    "F70": ScanSeverity.MEDIUM,
    "PLE": ScanSeverity.MEDIUM,
}
"""Rules of Ruff, by how they begin, that find programs that cannot run; all others are LOW."""

TEST_FILE = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_test|conftest)\.py$")
"""Files in which pytest finds tests, and what these share."""

ASSERT = "B101"
"""Bandit's rule against `assert`, which says nothing about a test."""


class BanditScanner(ProgramScanner):
    """Common faults of Python programs."""

    name: ClassVar[str] = "bandit"
    configuration: ClassVar[frozenset[str]] = frozenset({".bandit"})

    def argv(self, job: ScanJob) -> Sequence[str]:  # noqa: ARG002 - the base's
        """See `ProgramScanner.argv`."""
        return "-r", ".", "-f", "json", "-q", "-o", f"../{REPORT}", "--exit-zero"

    def read(self, job: ScanJob, end: ProgramEnd) -> Scanned:  # noqa: ARG002 - the base's
        """See `ProgramScanner.read`."""
        report = report_of(job.folder)
        found = [
            finding(
                self.name,
                one["test_id"],
                severity_of(one["issue_severity"], ScanSeverity.MEDIUM),
                one["issue_text"],
                one["filename"],
                one.get("line_number"),
            )
            for one in entries(report["results"])
            if not (one["test_id"] == ASSERT and TEST_FILE.search(one["filename"]))
        ]
        unread = [
            finding(self.name, "not-read", ScanSeverity.INFO, one.get("reason"), one.get("filename"))
            for one in entries(report.get("errors"))
        ]
        return Scanned([*found, *unread])


class RuffScanner(ProgramScanner):
    """What is wrong, or likely to be, in Python programs; matters of taste are left to their authors."""

    name: ClassVar[str] = "ruff"
    rules: ClassVar[str] = "E4,E7,E9,F,B,PLE"

    def argv(self, job: ScanJob) -> Sequence[str]:  # noqa: ARG002 - the base's
        """See `ProgramScanner.argv`; no configuration of the target is read, and none of its folders left out."""
        quiet = ("--isolated", "--no-cache", "--quiet", "--exit-zero", "--no-respect-gitignore")
        chosen = ("--select", self.rules, "--config", "exclude = []")
        return "check", *quiet, *chosen, "--output-format", "json", "--output-file", f"../{REPORT}", "."

    def read(self, job: ScanJob, end: ProgramEnd) -> Scanned:  # noqa: ARG002 - the base's
        """See `ProgramScanner.read`. Files are named by whole paths, in the sandbox or outside of it."""
        bases = [f"{folder / SOURCE}/" for folder in (job.folder, job.folder.resolve(), INSIDE)]
        found = []
        for one in entries(report_of(job.folder)):
            rule, file = one["code"] or "invalid-syntax", one["filename"]
            base = next(filter(file.startswith, bases), "")
            severity = next((grave for start, grave in GRAVE.items() if rule.startswith(start)), ScanSeverity.LOW)
            line = one["location"]["row"]
            found.append(finding(self.name, rule, severity, one["message"], file.removeprefix(base), line))
        return Scanned(found)


class SemgrepScanner(ProgramScanner):
    """Patterns in code, by rules of the worker's owner: none are fetched."""

    name: ClassVar[str] = "semgrep"
    good_exits: ClassVar[frozenset[int]] = frozenset({0, 1})
    configuration: ClassVar[frozenset[str]] = frozenset({".semgrepignore", ".semgrep.yml", ".semgrepconfig"})
    ours: ClassVar[Mapping[str, str]] = {".semgrepignore": "# without this file it leaves tests and more out\n"}

    def __init__(self, programs: Programs, rules: Path | None) -> None:
        """Take the file or folder of rules; None where the owner has none."""
        super().__init__(programs)
        self._rules = rules

    def argv(self, job: ScanJob) -> Sequence[str]:  # noqa: ARG002 - the base's
        """See `ProgramScanner.argv`."""
        if self._rules is None:
            raise NotRun("the worker's owner has no rules for it (WORKER_SEMGREP_RULES)")
        quiet = ("--metrics", "off", "--disable-version-check", "--quiet", "--no-git-ignore", "--jobs", "1")
        return "scan", "--json", "--output", f"../{REPORT}", *quiet, "--config", str(self._rules), "."

    def read(self, job: ScanJob, end: ProgramEnd) -> Scanned:  # noqa: ARG002 - the base's
        """See `ProgramScanner.read`."""
        report = report_of(job.folder)
        found = [
            finding(
                self.name,
                one["check_id"],
                severity_of(one["extra"]["severity"], ScanSeverity.MEDIUM),
                one["extra"].get("message"),
                one["path"],
                one["start"].get("line"),
            )
            for one in entries(report["results"])
        ]
        unread = [
            finding(self.name, "not-read", ScanSeverity.INFO, one.get("message"), one.get("path"))
            for one in entries(report.get("errors"))
        ]
        return Scanned([*found, *unread])


class DetectSecretsScanner(ProgramScanner):
    """Secrets in any file. What it finds is told by its kind and place alone."""

    name: ClassVar[str] = "detect-secrets"

    def argv(self, job: ScanJob) -> Sequence[str]:  # noqa: ARG002 - the base's
        """See `ProgramScanner.argv`; no secret is tried out at its service."""
        return "scan", "--all-files", "--no-verify", "."

    def read(self, job: ScanJob, end: ProgramEnd) -> Scanned:  # noqa: ARG002 - the base's
        """See `ProgramScanner.read`."""
        results = json_in(end.value)["results"]
        if not isinstance(results, dict):
            raise ToolFaulty("its report has another form than it should")
        return Scanned(
            [
                finding(self.name, one["type"], ScanSeverity.HIGH, "a secret in a file", file, one.get("line_number"))
                for file, found in results.items()
                for one in entries(found)
            ]
        )

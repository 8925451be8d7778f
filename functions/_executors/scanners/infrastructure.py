"""Tools that read descriptions of infrastructure, packages and alert rules: Checkov, Trivy and promtool."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from functions._core.executors.findings import finding, severity_of
from functions._core.executors.scan import ScanFinding, ScanSeverity
from functions._executors.programs import ProgramEnd
from functions._executors.scanners.port import NotRun, ScanJob, Scanned, ToolFaulty
from functions._executors.scanners.programs import REPORT, Programs, ProgramScanner, entries, report_of

RULES = ("**/*.rules", "**/*.rules.yml", "**/*.rules.yaml")
"""Files of alert rules, unless the plan names others."""

PLACE = re.compile(r"^(?:(?P<first>[0-9]{1,9}):[0-9]{1,9}: |.{0,100}?line (?P<named>[0-9]{1,9}): )")
"""Where promtool says the line of a fault."""

MORE = re.compile(r"^\s+line (?P<line>[0-9]{1,9}): (?P<said>.*)$")
"""A further fault of the same file."""

HEADING = "yaml: unmarshal errors:"


class CheckovScanner(ProgramScanner):
    """Faults of Terraform, CloudFormation, Kubernetes, Dockerfiles and the like. Its own severities need a licence."""

    name: ClassVar[str] = "checkov"
    configuration: ClassVar[frozenset[str]] = frozenset({".checkov.yaml", ".checkov.yml"})
    report: ClassVar[str] = "checkov/results_json.json"

    def argv(self, job: ScanJob) -> Sequence[str]:  # noqa: ARG002 - the base's
        """See `ProgramScanner.argv`."""
        quiet = ("--quiet", "--compact", "--soft-fail", "--skip-download")
        return "-d", ".", "-o", "json", "--output-file-path", "../checkov", *quiet

    def read(self, job: ScanJob, end: ProgramEnd) -> Scanned:  # noqa: ARG002 - the base's
        """See `ProgramScanner.read`. A finding without a severity is of the middle one."""
        report = report_of(job.folder, self.report)
        if isinstance(report, dict) and "results" not in report and "failed" not in report:
            raise ToolFaulty("its report has another form than it should")
        kinds = entries(report if isinstance(report, list) else [report])
        return Scanned([one for kind in kinds for one in self._of(kind.get("results", {}))])

    def _of(self, results: Mapping[str, Any]) -> Iterator[ScanFinding]:
        for one in entries(results.get("failed_checks")):
            lines = one.get("file_line_range") or [None]
            yield finding(
                self.name,
                one["check_id"],
                severity_of(one.get("severity"), ScanSeverity.MEDIUM),
                f"{one.get('check_name')} ({one.get('resource')})",
                one.get("file_path"),
                lines[0],
            )
        for path in results.get("parsing_errors") or ():
            yield finding(self.name, "not-read", ScanSeverity.INFO, "it could not be read", str(path))


class TrivyScanner(ProgramScanner):
    """Vulnerable packages, misconfigurations and secrets in files, by a database that the owner has brought."""

    name: ClassVar[str] = "trivy"
    configuration: ClassVar[frozenset[str]] = frozenset(
        {".trivyignore", ".trivyignore.yaml", "trivy.yaml", "trivy-secret.yaml"}
    )

    def __init__(self, programs: Programs, cache: Path | None) -> None:
        """Take the folder with the database; None where the owner has none."""
        super().__init__(programs)
        self._cache = cache

    def argv(self, job: ScanJob) -> Sequence[str]:  # noqa: ARG002 - the base's
        """See `ProgramScanner.argv`; nothing is fetched."""
        if self._cache is None:
            raise NotRun("the worker's owner has no database for it (WORKER_TRIVY_CACHE)")
        offline = ("--offline-scan", "--skip-db-update", "--skip-java-db-update", "--skip-check-update")
        cached = ("--cache-dir", str(self._cache), "--cache-backend", "memory")
        kinds = ("--scanners", "vuln,misconfig,secret")
        return "fs", "--quiet", "--format", "json", "--output", f"../{REPORT}", *offline, *cached, *kinds, "."

    def read(self, job: ScanJob, end: ProgramEnd) -> Scanned:  # noqa: ARG002 - the base's
        """See `ProgramScanner.read`. A file in which all is well has no results."""
        report = report_of(job.folder)
        if "SchemaVersion" not in report:
            raise ToolFaulty("its report has another form than it should")
        return Scanned([one for result in entries(report.get("Results")) for one in self._of(result)])

    def _of(self, result: Mapping[str, Any]) -> Iterator[ScanFinding]:
        target = result["Target"]
        for one in entries(result.get("Vulnerabilities")):
            fixed = f", fixed in {one['FixedVersion']}" if one.get("FixedVersion") else ""
            said = f"{one.get('PkgName')} {one.get('InstalledVersion')}{fixed}: {one.get('Title') or ''}"
            yield self._found(one["VulnerabilityID"], one, said, target, None)
        for one in entries(result.get("Misconfigurations")):
            if one.get("Status", "FAIL") == "FAIL":
                line = (one.get("CauseMetadata") or {}).get("StartLine")
                said = f"{one.get('Title')}: {one.get('Message')}"
                yield self._found(one.get("ID") or one["AVDID"], one, said, target, line)
        for one in entries(result.get("Secrets")):
            yield self._found(
                one["RuleID"], one, f"a secret in a file: {one.get('Title')}", target, one.get("StartLine")
            )

    def _found(self, rule: object, one: Mapping[str, Any], said: str, file: object, line: object) -> ScanFinding:
        return finding(self.name, rule, severity_of(one.get("Severity"), ScanSeverity.MEDIUM), said, file, line)


class PromtoolScanner(ProgramScanner):
    """Faults of alert and recording rules of Prometheus."""

    name: ClassVar[str] = "promtool"
    good_exits: ClassVar[frozenset[int]] = frozenset({0, 1, 3})

    def argv(self, job: ScanJob) -> Sequence[str]:
        """See `ProgramScanner.argv`; no name of a file is read as an option."""
        chosen = job.chosen(RULES)
        if not chosen:
            raise ToolFaulty("the target has no files for it; `files` names them", retryable=False)
        return "check", "rules", "--lint", "all", "--lint-fatal", *(f"./{path}" for path in chosen)

    def read(self, job: ScanJob, end: ProgramEnd) -> Scanned:
        """See `ProgramScanner.read`: it writes lines about each fault, and none where all is well."""
        said = f"{end.stderr}\n{end.stdout}"
        found = [*dict.fromkeys(self._faults(said, frozenset(job.files)))]
        if end.exit_code != 0 and not found:
            found = [finding(self.name, "rules", ScanSeverity.HIGH, said.strip()[-1_000:])]
        return Scanned(found)

    def _faults(self, said: str, files: frozenset[str]) -> Iterator[ScanFinding]:
        file = ""
        for text in said.splitlines():
            name, _, rest = text.removeprefix("./").partition(": ")
            more = MORE.match(text)
            if name in files:
                file = name
                place = PLACE.match(rest)
                if rest != HEADING:
                    yield self._fault(rest, file, (place["first"] or place["named"]) if place else None)
            elif more:
                yield self._fault(more["said"], file, more["line"])
            elif text.startswith("lint error"):
                yield finding(self.name, "lint", ScanSeverity.MEDIUM, text.removeprefix("lint error "))

    def _fault(self, said: str, file: str, line: str | None) -> ScanFinding:
        return finding(self.name, "rules", ScanSeverity.HIGH, said, file, int(line) if line else None)

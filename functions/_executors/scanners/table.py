"""The tools of a worker, and what its owner has said of them: variables of the worker, never words of a plan.

WORKER_SCAN_FOLDER      a folder whose folders plans may have looked at
WORKER_SEMGREP_RULES    a file or folder of rules for Semgrep
WORKER_TRIVY_CACHE      the folder with Trivy's database
WORKER_OPA_URL …        servers, as `services.py` says
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from functions._executors.port import ToolCheck
from functions._executors.scanners.code import BanditScanner, DetectSecretsScanner, RuffScanner, SemgrepScanner
from functions._executors.scanners.documents import JsonSchemaScanner, Judge, SarifScanner
from functions._executors.scanners.infrastructure import CheckovScanner, PromtoolScanner, TrivyScanner
from functions._executors.scanners.patience import Patience
from functions._executors.scanners.policies import OpaScanner
from functions._executors.scanners.port import Scanner
from functions._executors.scanners.programs import Programs
from functions._executors.scanners.snyk import SnykScanner
from functions._executors.scanners.sonarqube import SonarQubeScanner
from functions._executors.settings import PREFIX, ExecutorSettings


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """What the owner of a worker says of tools and targets; None for what is not there."""

    folder: Path | None = None
    semgrep_rules: Path | None = None
    trivy_cache: Path | None = None

    @classmethod
    def from_settings(cls, settings: ExecutorSettings) -> "ScanSettings":
        """Read them from the worker's variables."""

        def path(name: str) -> Path | None:
            text = settings.environment.get(f"{PREFIX}{name}", "").strip()
            return Path(text).resolve() if text else None

        return cls(path("SCAN_FOLDER"), path("SEMGREP_RULES"), path("TRIVY_CACHE"))

    @property
    def shown(self) -> Sequence[Path]:
        """What programs must be able to read."""
        return [path for path in (self.semgrep_rules, self.trivy_cache) if path is not None and path.exists()]

    def checks(self) -> Iterator[ToolCheck]:
        """Yield whether what was named is there."""
        named = {"SCAN_FOLDER": self.folder, "SEMGREP_RULES": self.semgrep_rules, "TRIVY_CACHE": self.trivy_cache}
        for name, path in named.items():
            if path is not None:
                yield ToolCheck(f"{PREFIX}{name}", path.exists(), str(path))


def scanners_for(settings: ExecutorSettings, own: ScanSettings, pauses: Sequence[float]) -> Mapping[str, Scanner]:
    """Return all tools by name; raise `ValueError` for an address of a service that is none."""
    programs = Programs(settings, own.shown)
    judge, patience = Judge(programs), Patience(pauses)
    tools: Sequence[Scanner] = (
        BanditScanner(programs),
        RuffScanner(programs),
        SemgrepScanner(programs, own.semgrep_rules),
        DetectSecretsScanner(programs),
        CheckovScanner(programs),
        TrivyScanner(programs, own.trivy_cache),
        PromtoolScanner(programs),
        JsonSchemaScanner(judge),
        SarifScanner(),
        OpaScanner(judge, settings, patience),
        SonarQubeScanner(settings, patience),
        SnykScanner(settings, patience),
    )
    return {tool.name: tool for tool in tools}

"""The report of `flowc check`: twelve categories of checks, what each found, and the rate of those that passed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

CATEGORIES = (
    "prerequisites",
    "store",
    "broker",
    "clock",
    "ingress",
    "workflow",
    "tickets",
    "telemetry",
    "registry",
    "metrics",
    "logs",
    "health",
)
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class CheckFailed(Exception):
    """A check did not find what it looked for; the message says what it found."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `status` is passed, failed or skipped; `detail` says what was found."""

    name: str
    status: str
    detail: str
    seconds: float


@dataclass(slots=True)
class CheckReport:
    """What was checked, and what came out."""

    target: str
    version: str = ""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    checks: dict[str, list[Check]] = field(default_factory=lambda: {name: [] for name in CATEGORIES})

    async def check(self, category: str, name: str, work: Callable[[], Awaitable[str]]) -> bool:
        """Do one check, whose `work` returns what it found or raises; return whether it passed."""
        begun, status = perf_counter(), FAILED
        try:
            detail, status = await work(), PASSED
        except Exception as error:  # noqa: BLE001 - whatever stops a check is what it has found
            detail = str(error) or type(error).__name__
        self.checks[category].append(Check(name, status, detail, round(perf_counter() - begun, 3)))
        return status == PASSED

    def skip(self, category: str, name: str, why: str) -> None:
        """Note that a check was not made."""
        self.checks[category].append(Check(name, SKIPPED, why, 0))

    def status_of(self, category: str) -> str:
        """Return failed when a check of the category failed, skipped when none was made."""
        found = {check.status for check in self.checks[category]}
        return FAILED if FAILED in found else PASSED if PASSED in found else SKIPPED

    def count(self, status: str) -> int:
        """Return how many checks ended so."""
        return sum(check.status == status for checks in self.checks.values() for check in checks)

    @property
    def success_rate(self) -> float:
        """The share of the checks made that passed, 0..1."""
        made = self.count(PASSED) + self.count(FAILED)
        return round(self.count(PASSED) / made, 4) if made else 0.0

    @property
    def ok(self) -> bool:
        """Whether some check was made and none failed."""
        return self.count(PASSED) > 0 and not self.count(FAILED)

    def document(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "target": self.target,
            "version": self.version,
            "started_at": self.started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "ok": self.ok,
            "success_rate": self.success_rate,
            "passed": self.count(PASSED),
            "failed": self.count(FAILED),
            "skipped": self.count(SKIPPED),
            "categories": [
                {"name": name, "status": self.status_of(name), "checks": [asdict(check) for check in checks]}
                for name, checks in self.checks.items()
            ],
        }


async def within(seconds: float, probe: Callable[[], Awaitable[bool]]) -> bool:
    """Ask `probe` until it says yes; return False when `seconds` have passed without it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            pause = 0.05
            while not await probe():
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)
            return True
    return False

"""`flowc slo check`: whether SLOs, budgets and freezes of a platform work, in five groups, with a report."""

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import typer

from functions._cli.console import WRONG_USE, CommandFailed, print_json, run, say
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url

if TYPE_CHECKING:
    from functions._cli.check_report import CheckReport
    from functions._cli.client import PlatformClient

GROUPS = ("infrastructure", "components", "integrations", "functional", "metrics")

LISTS = {
    "SLOs": "/api/v1/slos",
    "budgets": "/api/v1/budgets/summary",
    "policies": "/api/v1/policies",
    "freezes": "/api/v1/policies/freezes/active",
    "documents": "/api/v1/resources",
}
"""What is read, by its name in the report."""

RESOURCES = "/api/v1/resources/SLODefinition"


def check_slos(
    *,
    skip_functional: Annotated[
        bool, typer.Option("--skip-functional", help="Change nothing: make no SLO to try things out with.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print every check, not only those that failed.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False, help="Write the report there, as JSON.")
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Check SLOs, budgets and freezes in five groups; the exit status is 0 when no check has failed, otherwise 1.

    An SLO of its own is made by a document, read, measured and deleted again.
    """
    run(_check(url, api_key, report, skip_functional=skip_functional, verbose=verbose, as_json=as_json))


async def _check(
    url: str, api_key: str, file: Path | None, *, skip_functional: bool, verbose: bool, as_json: bool
) -> int:
    from functions._cli.check_report import CheckReport
    from functions._cli.client import PlatformClient

    report = CheckReport(url, checks={name: [] for name in GROUPS})
    async with PlatformClient(url, api_key) as client:
        await SloChecks(client, report).run(functional=not skip_functional)
    document = document_of(report)
    if file is not None:
        _write(file, document)
    if as_json:
        print_json(document)
    else:
        _print(report, document, verbose=verbose)
    return 0 if report.ok else 1


def _write(file: Path, document: Mapping[str, Any]) -> None:
    try:
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{file}: cannot be written: {error.strerror}", exit_status=WRONG_USE) from error


def document_of(report: "CheckReport") -> Mapping[str, Any]:
    """Return the report as JSON: the four numbers of the whole, and every check by its group."""
    found = report.document()
    total = found["passed"] + found["failed"]
    groups = {one["name"]: one for one in found["categories"]}
    numbers = {"success_rate": found["success_rate"], "total_checks": total}
    return {**numbers, "passed": found["passed"], "failed": found["failed"], "target": report.target, "groups": groups}


class SloChecks:
    """The checks of one platform."""

    def __init__(self, client: "PlatformClient", report: "CheckReport") -> None:
        self._client, self._report = client, report
        self._name = f"flowc-check-{uuid4().hex[:12]}"
        self._made = ""

    async def run(self, *, functional: bool) -> None:
        """Make all checks, each by itself; without a platform none but the first."""
        check = self._report.check
        if not await check("infrastructure", "platform", lambda: self._read("/health")):
            for group in GROUPS[1:]:
                self._report.skip(group, "all", "no platform answers")
            return
        await check("infrastructure", "ready", lambda: self._read("/ready"))
        for name, path in LISTS.items():
            await check("components", name, self._reader(path))
        await check("components", "gate", self._gate)
        await check("integrations", "documents are synced", self._synced)
        await check("integrations", "budgets are calculated", self._calculated)
        if functional:
            await self._functional()
        else:
            self._report.skip("functional", "all", "left out")
        await check("metrics", "names", self._metrics)

    async def _functional(self) -> None:
        check = self._report.check
        try:
            if await check("functional", "a document makes an SLO", self._apply):
                await check("functional", "the SLO is measured", self._measure)
                await check("functional", "nothing is frozen by it", self._gate)
        finally:
            await check("functional", "a deleted document disables it", self._delete)

    def _reader(self, path: str) -> Callable[[], Awaitable[str]]:
        return lambda: self._read(path)

    async def _read(self, path: str) -> str:
        await self._client.get(path)
        return f"GET {path} answers"

    async def _gate(self) -> str:
        from functions._cli.check_report import CheckFailed

        found = await self._client.get(f"/api/v1/freeze-status/{quote(self._name)}")
        blocking = [one for one in found["events"] if one["scope"] != "GLOBAL"]
        if found["service"] != self._name or blocking:
            raise CheckFailed("a service that nobody has is frozen")
        return "the gate answers"

    async def _synced(self) -> str:
        from functions._cli.check_report import CheckFailed

        found = [one async for one in self._client.items(LISTS["documents"])]
        away = [f"{one['kind']}/{one['metadata']['name']}" for one in found if not one["status"]["synced"]]
        if away:
            raise CheckFailed(f"not as they say: {', '.join(away[:5])}")
        return f"{len(found)} documents"

    async def _calculated(self) -> str:
        found = await self._client.get(LISTS["budgets"])
        return f"{found['total']} budgets, {found['exhausted']} of them exhausted"

    async def _apply(self) -> str:
        document = {
            "apiVersion": "neural-hive.io/v1",
            "kind": "SLODefinition",
            "metadata": {"name": self._name},
            "spec": {
                "serviceName": self._name,
                "target": 0.5,
                "windowDays": 1,
                "sliQuery": {"history": {"measure": "flow_success", "planId": self._name}},
            },
        }
        applied = await self._client.put(f"{RESOURCES}/{self._name}", document)
        self._made = applied["status"]["sloId"]
        return f"SLO {self._made}"

    async def _measure(self) -> str:
        from functions._cli.client import CommandRefused

        try:
            await self._client.post(f"/api/v1/slos/{self._made}/test")
        except CommandRefused as refusal:
            if refusal.code != "counting":  # it is new, and the history may be long
                raise
        return "it was measured"

    async def _delete(self) -> str:
        from functions._cli.check_report import CheckFailed

        await self._client.delete(f"{RESOURCES}/{self._name}")
        if (await self._client.get(f"/api/v1/slos/{self._made}"))["enabled"]:
            raise CheckFailed("the SLO goes on")
        return "it is not calculated any more"

    async def _metrics(self) -> str:
        from functions._cli.check_report import CheckFailed
        from functions._observability.catalogue import CATALOGUE

        text = await self._client.text("/metrics")
        names = [metric.name for metric in CATALOGUE if metric.name.startswith("sla_")]
        missing = [name for name in names if f"# TYPE {name}" not in text]
        if missing:
            raise CheckFailed(f"not offered: {', '.join(missing[:5])}")
        return f"{len(names)} names"


def _print(report: "CheckReport", document: Mapping[str, Any], *, verbose: bool) -> None:
    from functions._cli.words import clean

    for group, checks in report.checks.items():
        typer.echo(f"{group}: {report.status_of(group)}")
        for one in checks:
            if verbose or one.status == "failed":
                typer.echo(f"  {one.status} {clean(one.name)}: {clean(one.detail)}")
    say(f"{document['passed']} of {document['total_checks']} checks passed")

"""The tool `opa`: policies in Rego that decide about an input, by regopy in a process of its own or by an OPA server.

A result is read as guards read one: true or false; messages, of which any denies; or an object with `allow`, `deny`,
`violations`. A policy that gives no result has not been asked: nothing passes because of a wrong name.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, ClassVar

from functions._adapters.http.opa import verdict_of
from functions._core.executors.findings import finding
from functions._core.executors.scan import ScanFinding, ScanPolicy, ScanSeverity
from functions._core.guards.gate import Finding, PolicyAway
from functions._executors.patterns import fits
from functions._executors.port import ToolCheck
from functions._executors.scanners.documents import DOCKERFILES, TEXTS, Judge
from functions._executors.scanners.patience import Patience
from functions._executors.scanners.port import NotRun, ScanJob, Scanned, ToolFaulty
from functions._executors.services import ServiceApi, ServiceConnection, json_of_reply, part
from functions._executors.settings import ExecutorSettings


class OpaScanner:
    """Asks policies of the plan and of the owner's server."""

    name: ClassVar[str] = "opa"

    def __init__(self, judge: Judge, settings: ExecutorSettings, patience: Patience) -> None:
        """Open nothing yet; raise `ValueError` for an address that is none."""
        self._judge = judge
        self._api = ServiceApi(ServiceConnection.from_settings(settings, "OPA"))
        self._patience = patience

    async def scan(self, job: ScanJob) -> Scanned:
        """See `Scanner.scan`."""
        given = job.context.parameters
        paths = job.chosen(TEXTS)
        written = [policy for policy in given.policies if policy.rego is not None]
        served = [policy for policy in given.policies if policy.path is not None]
        if served and not self._api.connection.url:
            raise NotRun("the worker's owner has no OPA server (WORKER_OPA_URL)")
        if written and find_spec("regopy") is None:
            raise NotRun("regopy is not installed")
        about: dict[str, Any] = {} if given.input is None else {"input": given.input}
        results: dict[str, object] = {}
        unread: Sequence[str] = ()
        if written:
            texts = [policy.model_dump(include={"name", "rego", "query"}) for policy in written]
            answer = await self._asked(job, () if about else paths, {"policies": texts, **about})
            results |= _results(written, answer)
            unread = answer["unread"]
        if served:
            documents = {} if about else await self._documents(job, paths)
            results |= await self._served(job, served, about or {"input": documents})
            unread = unread or documents.get("unread", ())
        denials = [one for name, result in results.items() for one in self._denials(name, result)]
        said = "it is neither JSON nor YAML that can be read"
        notes = [finding(self.name, "not-read", ScanSeverity.INFO, said, path) for path in unread]
        return Scanned([*denials, *notes], denied=bool(denials))

    async def check(self) -> ToolCheck:
        """See `Scanner.check`."""
        fault = await self._judge.fault() or ("" if find_spec("regopy") else "regopy is not installed")
        engines = [] if fault else [f"regopy {_version_of_regopy()}"]
        if self._api.connection.url:
            reached = await self._api.reached("/health", self.name)
            if not reached.ok:
                return reached._replace(required=False)
            engines.append(f"the server {self._api.connection.url}")
        return ToolCheck(self.name, bool(engines), " and ".join(engines) or f"no server, and {fault}", required=False)

    async def aclose(self) -> None:
        """See `Scanner.aclose`."""
        await self._api.aclose()

    async def _documents(self, job: ScanJob, paths: Sequence[str]) -> Mapping[str, Any]:
        return await self._asked(job, paths, {})

    async def _asked(self, job: ScanJob, paths: Sequence[str], about: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask about documents, and what else there is in the target, unless the plan has its own input."""
        if "input" in about:
            return await self._judge.ask(job, paths, **about)
        dockerfiles = [path for path in job.files if fits(path, DOCKERFILES)]
        return await self._judge.ask(job, paths, dockerfiles, names=list(job.files), **about)

    async def _served(
        self, job: ScanJob, policies: Sequence[ScanPolicy], about: Mapping[str, Any]
    ) -> Mapping[str, object]:
        """Ask the owner's server; an answer without a result is that of a policy that is not there."""
        results: dict[str, object] = {}
        for policy in policies:
            path = "/v1/data/" + "/".join(part(one) for one in str(policy.path).split("/"))
            reply = await self._patience.of(partial(self._api.good, "POST", path, body=about), job.context)
            answer = json_of_reply(reply)
            if not isinstance(answer, dict) or "result" not in answer:
                raise ToolFaulty(f"the policy {policy.name} gives no result: is its path right?", retryable=False)
            results[policy.name] = answer["result"]
        return results

    def _denials(self, name: str, result: object) -> Sequence[ScanFinding]:
        try:
            verdict = verdict_of(result, name)
        except PolicyAway as error:
            raise ToolFaulty(f"the policy {name} gives no verdict: {error}", retryable=False) from error
        if verdict.finding is Finding.ALLOW:
            return ()
        return [finding(self.name, name, ScanSeverity.HIGH, reason.message) for reason in verdict.reasons]


def _results(policies: Sequence[ScanPolicy], answer: Mapping[str, Any]) -> Mapping[str, object]:
    """Return the result of each policy; raise `ToolFaulty` where one has none."""
    found = answer.get("results")
    if not isinstance(found, list) or len(found) != len(policies):
        raise ToolFaulty("the answer about the policies has another form than it should")
    results: dict[str, object] = {}
    for policy, result in zip(policies, found, strict=True):
        if isinstance(result, str):
            raise ToolFaulty(f"the policy {policy.name} is no Rego that can be asked: {result}", retryable=False)
        if not result:
            raise ToolFaulty(f"the policy {policy.name} gives no result: is its query right?", retryable=False)
        results[policy.name] = result[0]
    return results


def _version_of_regopy() -> str:
    try:
        return version("regopy")
    except PackageNotFoundError:
        return "of an unknown version"

"""A worker of the code forge that asks for its tickets over real HTTP, and reports outputs made of the forge's models.

It stands for the executors alone: what it reports has the form of `functions/_core/forge/stages.py`, and what it is
given is checked by the models of the executors' parameters.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx

from functions._adapters.http.cloudevents import write_structured
from functions._core.events.pipelines import ForgeValidation
from functions._core.executors.execute import KeptFile
from functions._core.executors.forge import MODELS
from functions._core.executors.parameters import checked_parameters
from functions._core.forge.stages import (
    CodeArtifact,
    ComposedCode,
    ForgeArtifactType,
    GateOutcome,
    GateVerdict,
    MergeRequest,
    PackagedArtifact,
    PackagedCode,
    SbomRecord,
    SelectedTemplate,
    TestedCode,
    ValidatedCode,
)
from functions._core.records.values import Model
from tests.support.world import report_event

PIPELINES = "/api/v1/pipelines"
LEASE = "/api/v1/tasks/lease"
Assignment = Mapping[str, Any]


def kept(name: str) -> KeptFile:
    """Return a file of the worker's store, which nobody fetches."""
    return KeptFile(name=name, size=len(name), sha256=sha256(name.encode()).hexdigest(), uri=f"s3://forge/{name}")


SELECTED = SelectedTemplate(
    template_id="python-service",
    score=0.98,
    version="1.0.0",
    artifact_type="service",
    language="python",
    content=kept("template.tar.gz"),
)
COMPOSED = ComposedCode(
    content=kept("project.tar.gz"),
    artifacts=tuple(
        CodeArtifact(
            artifact_id=f"acme/shop:{kind.lower()}",
            artifact_type=kind,
            content_uri=f"s3://forge/{kind.lower()}",
            content_hash="a" * 64,
        )
        for kind in (ForgeArtifactType.CODE, ForgeArtifactType.IAC, ForgeArtifactType.TEST)
    ),
    confidence_score=0.9,
    template_id="python-service",
    artifact_type="service",
    language="python",
    files=12,
)
VALIDATED = ValidatedCode(
    validation_results=(ForgeValidation(validation_type="LINT", tool_name="ruff", status="PASSED", score=1.0),),
    quality=0.95,
)
TESTED = TestedCode(passed=14, coverage=0.92, score=1.0)
WHEEL = PackagedArtifact(
    artifact_id="acme/shop:wheel",
    artifact_type=ForgeArtifactType.CODE,
    name="shop-0.1.0-py3-none-any.whl",
    location="s3://forge/shop-0.1.0-py3-none-any.whl",
    checksum=f"sha256:{'b' * 64}",
    size=4_096,
    signature="MEUCIQ",
)
PACKAGED = PackagedCode(
    artifacts=(WHEEL,),
    sbom=SbomRecord(components=12, cyclonedx=kept("bom.json"), spdx=kept("bom.spdx.json")),
    provenance=kept("provenance.json"),
    signature="MEQCIB",
    key_id="forge-1",
    pushed=("registry.example/acme/shop@sha256:" + "c" * 64,),
)
GOOD = GateVerdict(outcome=GateOutcome.APPROVED, score=0.96, reason="0.96 is at least 0.9")
BY_PERSON = GateVerdict(outcome=GateOutcome.REVIEW, score=0.72, reason="0.72 is below 0.9", review="person")
BY_REQUEST = BY_PERSON.but(review="merge_request")
MERGED = MergeRequest(url="https://git.example/acme/shop/pulls/7", branch="forge/acme-shop", commit="d" * 40)

OUTPUTS: Mapping[str, Model] = {
    "select_template": SELECTED,
    "compose_code": COMPOSED,
    "validate_code": VALIDATED,
    "run_tests": TESTED,
    "package": PACKAGED,
    "approve/gate": GOOD,
    "approve/merge_request": MERGED,
}


@dataclass
class ForgeWorker:
    """Does what it is given at once; tasks in `held` are taken, and reported by whoever takes them out of `waiting`.

    `outputs` are reported by task, `failures` in their place, one for each attempt.
    """

    client: httpx.AsyncClient
    worker_id: str
    executors: Sequence[str] = tuple(MODELS)
    """Those that it offers."""
    outputs: dict[str, Model | Mapping[str, Any]] = field(default_factory=lambda: dict(OUTPUTS))
    failures: defaultdict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    held: set[str] = field(default_factory=set)
    waiting: dict[str, Assignment] = field(default_factory=dict)
    given: list[Assignment] = field(default_factory=list)
    """All assignments in their order."""

    def order(self, pipeline_id: str) -> list[str]:
        """Return the tasks of a pipeline in the order in which they were given."""
        return [one["task_id"] for one in self.given if one["flow_id"] == pipeline_id]

    def parameters(self, pipeline_id: str) -> dict[str, Mapping[str, Any]]:
        """Return the parameters of the tasks of a pipeline."""
        return {one["task_id"]: one["parameters"] for one in self.given if one["flow_id"] == pipeline_id}

    async def register(self) -> None:
        """Offer its executors."""
        about = {
            "worker_id": self.worker_id,
            "delivery": "pull",
            "capabilities": [f"forge:{name}" for name in self.executors],
            "slots": 20,
        }
        answer = await self.client.post("/api/v1/workers", json=about)
        assert answer.status_code in {200, 201}, answer.text

    async def work(self) -> None:
        """Ask for tickets and do them, until it is cancelled."""
        while True:
            running = [{"ticket_id": one["ticket_id"], "attempt": one["attempt"]} for one in self.waiting.values()]
            asked = {"worker_id": self.worker_id, "limit": 20, "wait_seconds": 1, "running": running}
            answer = await self.client.post(LEASE, json=asked, timeout=30)
            assert answer.status_code == 200, answer.text
            for event in answer.json()["assignments"]:
                await self._take(event["data"])

    async def _take(self, assignment: Assignment) -> None:
        task_id, parameters = assignment["task_id"], assignment["parameters"]
        checked_parameters(MODELS[parameters["provider"]], parameters)
        self.given.append(assignment)
        if task_id in self.held:
            self.waiting[task_id] = assignment
            await self.report(assignment, status="RUNNING")
        elif self.failures[task_id]:
            await self.report(assignment, status="FAILED", error=self.failures[task_id].pop(0))
        else:
            output = self.outputs.get(task_id)
            said = output.model_dump(mode="json", exclude_none=True) if isinstance(output, Model) else output or {}
            await self.report(assignment, status="COMPLETED", output=said)

    async def report(self, assignment: Assignment, **said: Any) -> None:
        """Report an attempt where its assignment says."""
        headers, body = write_structured(report_event(assignment, **said))
        bearer = {"authorization": f"Bearer {assignment['token']}"}
        answer = await self.client.post(assignment["callback_url"], content=body, headers=headers | bearer)
        assert answer.status_code == 200, answer.text


@asynccontextmanager
async def forge_worker(
    client: httpx.AsyncClient, executors: Sequence[str] = tuple(MODELS)
) -> AsyncIterator[ForgeWorker]:
    """Run a worker of the forge, with an id of its own, for as long as the context is open."""
    worker = ForgeWorker(client, f"forge-{uuid4().hex[:8]}", executors)
    await worker.register()
    running = asyncio.create_task(worker.work())
    try:
        yield worker
        if running.done():
            running.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.delete(f"/api/v1/workers/{worker.worker_id}")


async def seen(client: httpx.AsyncClient, pipeline_id: str) -> dict[str, Any]:
    """Return a pipeline as the platform shows it."""
    answer = await client.get(f"{PIPELINES}/{pipeline_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found

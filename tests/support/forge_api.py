"""A code forge's API of pipelines over real HTTP, after the contract of the specification; never recorded.

It begins one pipeline for an Idempotency-Key (202, and 200 for whoever asks again), shows how it stands, and cancels.
`python -m tests.support.forge_api FILE` writes the variables of a worker that reaches it to the file, and serves until
it is ended.
"""

import asyncio
import json
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.loopback import Answer, Loopback, Request

STAGES = ("select_template", "compose_code", "validate_code", "run_tests", "package", "approve")


@dataclass
class Pipeline:
    """A pipeline; `seen` is how often it was looked at."""

    pipeline_id: str
    key: str
    body: dict[str, Any]
    seen: int = 0
    cancelled: bool = False


@dataclass
class ForgeApi(Loopback):
    """Ends a pipeline after `looks` looks as `ends_as`, None: never; `faults` are answered first.

    `begun` is the status of the answer to a new one.
    """

    token: str = "forge-1"
    looks: int | None = 3
    ends_as: str = "COMPLETED"
    waits: bool = False
    begun: int = 202
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    faults: deque[Answer] = field(default_factory=deque)

    def __post_init__(self) -> None:
        super().__init__()
        self.answer = self.api

    async def api(self, request: Request) -> Answer:  # noqa: PLR0911 - one for each route
        """Answer a request."""
        if self.faults:
            return self.faults.popleft()
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _json(401, {"detail": "who are you?"})
        match request.method, request.path.strip("/").split("/")[2:]:
            case "POST", ["pipelines"]:
                return self._begun(request)
            case "GET", ["pipelines"]:
                return _json(200, {"items": []})
            case "GET", ["pipelines", name] if name in self.pipelines:
                return _json(200, self._shown(self.pipelines[name]))
            case "POST", ["pipelines", name, "cancel"] if name in self.pipelines:
                return self._cancelled(self.pipelines[name])
        return _json(404, {"detail": "no such pipeline"})

    def _begun(self, request: Request) -> Answer:
        if not request.json.get("artifact_id"):
            return _json(400, {"detail": "artifact_id is required"})
        key = request.headers.get("idempotency-key", "")
        known = next((one for one in self.pipelines.values() if one.key == key), None)
        if known is not None:
            return _json(200, {"pipeline_id": known.pipeline_id})
        made = Pipeline(f"p-{len(self.pipelines) + 1}", key, request.json)
        self.pipelines[made.pipeline_id] = made
        return _json(self.begun, {"pipeline_id": made.pipeline_id, "status": "PENDING"})

    def _cancelled(self, pipeline: Pipeline) -> Answer:
        if self._ended(pipeline):
            return _json(409, {"detail": "it has ended"})
        pipeline.cancelled = True
        return _json(202, {})

    def _ended(self, pipeline: Pipeline) -> bool:
        return pipeline.cancelled or (self.looks is not None and pipeline.seen >= self.looks)

    def _shown(self, pipeline: Pipeline) -> dict[str, Any]:
        pipeline.seen += 1
        shown: dict[str, Any] = {"pipeline_id": pipeline.pipeline_id, "status": "RUNNING"}
        if not self._ended(pipeline):
            if self.waits:
                return shown | {"status": "REQUIRES_REVIEW", "git_mr_url": "https://git.example.com/shop/1"}
            return shown | {"stage": STAGES[min(pipeline.seen, len(STAGES)) - 1]}
        if pipeline.cancelled or self.ends_as != "COMPLETED":
            return shown | {"status": "CANCELLED" if pipeline.cancelled else self.ends_as, "error": "4 tests failed"}
        made = {"artifact_id": pipeline.body["artifact_id"], "artifact_type": "CONTAINER"}
        where = {"location": "registry.example.com/acme/shop:1", "checksum": "sha256:" + "a" * 64}
        sbom = {"format": "CycloneDX", "version": "1.6", "components": 12}
        return shown | {"status": "COMPLETED", "artifacts": [made | where], "sbom": sbom, "signature": "MEUCIQ"}


def _json(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/json"})


async def serve(file: Path) -> None:
    """Serve a forge."""
    async with ForgeApi() as api:
        lines = (f"export WORKER_CODE_FORGE_URL={api.url}", f"export WORKER_CODE_FORGE_TOKEN={api.token}", "")
        await asyncio.to_thread(file.write_text, "\n".join(lines), encoding="utf-8")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))

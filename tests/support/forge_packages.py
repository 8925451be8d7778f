"""The stage package without a platform: projects, a worker with a store and a registry, and what comes of a job."""

import io
import json
import sys
import tarfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from functions._executors.file_store import FolderStore
from functions._executors.forge.package import PackageExecutor
from functions._executors.forge.projects import keep_bytes, packed
from functions._executors.settings import ExecutorSettings
from functions._worker.context import CONTEXT, TaskContext
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from functions._worker.written import Written
from tests.support.forge_projects import stored_context, written
from tests.support.jobs import assigned

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "shop"
version = "1.2.0"
description = "Sells things"
requires-python = ">=3.11"
dependencies = ["fastapi>=0.115"]

[project.scripts]
shop = "shop:main"
"""
LIBRARY = {"pyproject.toml": PYPROJECT, "src/shop/__init__.py": "def main() -> None:\n    print('sold')\n"}
DOCKERFILE = """
FROM python:3.12 AS build
CMD ["never"]
FROM python:3.12-slim
ENV COLOUR=green \\
    TASTE="very good"
EXPOSE 8080
RUN pip install .
CMD ["shop", "--port", "8080"]
"""
CHART = {
    "chart/Chart.yaml": "apiVersion: v2\nname: shop\nversion: 0.0.1\nappVersion: '1'\n",
    "chart/values.yaml": "replicas: 1\n",
    "chart/templates/service.yaml": "kind: Service\n",
}
SERVICE = {**LIBRARY, "Dockerfile": DOCKERFILE, **CHART}
SAM = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Seller:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: src/, Handler: shop.main, Role: !GetAtt Role.Arn}
"""
FUNCTION = {"template.yaml": SAM, "src/shop.py": "def main(event, context):\n    return 1\n", "tests/test_a.py": ""}
Output = dict[str, Any]


class PackageDesk:
    """Runs the stage in a folder; `log` is what the ticket of the last job has."""

    def __init__(self, folder: Path, sandbox: str = "off", **environment: str) -> None:
        self.folder = folder
        self.settings = ExecutorSettings.model_validate(
            {
                "sandbox": sandbox,
                "folder": folder / "work",
                "commands": ("build",) if sandbox == "off" else (),
                "logs": str(folder / "store"),
                "environment": environment,
            }
        )
        self.log = ""

    def code(self, files: Mapping[str, str], artifact_type: str = "") -> Output:
        """Return the output of compose_code for files."""
        place = written(self.folder / f"project-{sha256(repr(files).encode()).hexdigest()[:8]}", files)
        kept = keep_bytes(stored_context(self.folder / "store"), "project.tar.gz", packed(place))
        about = {"confidence_score": 1, "template_id": "t", "artifact_type": artifact_type, "language": "python"}
        return {"content": kept.model_dump(mode="json"), "artifacts": [], "files": len(files), **about}

    async def run(self, files: Mapping[str, str] | None = None, kind: str = "", **more: Any) -> Output:
        """Return the outputs, as they are after JSON; `more` are parameters, or parts of the assignment."""
        parts = {name: more.pop(name) for name in ("task_type", "attempt", "flow_id", "ticket_id") if name in more}
        given: Output = {"provider": "forge_package", "artifact_id": "acme/shop", **more}
        if files is not None:
            given["code"] = self.code(files, kind)
        jobs = JobsExecutor([PackageExecutor(self.settings, (0.0, 0.0))], pauses=(0.0,), settings=self.settings)
        assignment = assigned(given, **{"task_type": "BUILD", "flow_id": "flow-1", **parts})
        written_log = Written(assignment.mask)
        token = CONTEXT.set(TaskContext(assignment, written_log, lambda *_, **__: None))
        try:
            output = await jobs.run(assignment)
        finally:
            self.log = written_log.text()
            CONTEXT.reset(token)
            await jobs.aclose()
        assert isinstance(output, dict)
        return output

    async def failure(self, files: Mapping[str, str] | None = None, kind: str = "", **more: Any) -> TaskFailed:
        """Return how the task fails."""
        with pytest.raises(TaskFailed) as failed:
            await self.run(files, kind, **more)
        return failed.value

    def content(self, artifact: Output) -> bytes:
        """Return the bytes of an artifact out of the store, which have the hash that it says."""
        data = b"".join(FolderStore(self.folder / "store").read(artifact["file"]["uri"]))
        assert (sha256(data).hexdigest(), len(data)) == (artifact["file"]["sha256"], artifact["file"]["size"])
        return data

    @property
    def left(self) -> list[str]:
        """What is left in the folder of all jobs."""
        return sorted(path.name for path in self.settings.folder.iterdir())


def by_kind(output: Output) -> dict[str, Output]:
    """Return the artifacts of an output by what they are of the pipeline's artifact."""
    return {one["artifact_id"].partition(":")[2]: one for one in output["artifacts"]}


def in_archive(data: bytes) -> dict[str, bytes]:
    """Return the files of a tape archive, in whatever compression."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: content.read() for one in archive if (content := archive.extractfile(one)) is not None}


def read_layout(data: bytes) -> tuple[Output, Output, list[dict[str, bytes]]]:
    """Return manifest, configuration and the files of each layer of an image layout (image-spec, `image-layout.md`).

    It reads as any tool does: by index.json, and each blob by its digest and size, which have to hold.
    """
    files = in_archive(data)
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}

    def blob(about: Output) -> bytes:
        found = files[f"blobs/{about['digest'].replace(':', '/')}"]
        assert (len(found), f"sha256:{sha256(found).hexdigest()}") == (about["size"], about["digest"])
        return found

    (named,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(named))
    config = json.loads(blob(manifest["config"]))
    layers = [blob(one) for one in manifest["layers"]]
    assert len(config["rootfs"]["diff_ids"]) == len(layers)
    return manifest, config, [in_archive(layer) for layer in layers]


def main(store: Path, plan: Path) -> None:
    """Keep a project in a store, and write a plan that packages it."""
    desk = PackageDesk(store.parent.resolve())
    given = {"provider": "forge_package", "artifact_id": "acme/shop", "version": "1.2.0", "code": desk.code(SERVICE)}
    undo = {
        "provider": "forge_package",
        "artifact_id": "acme/shop",
        "pushed": {"$output": "package", "path": "/pushed"},
    }
    task = {
        "task_id": "package",
        "task_type": "BUILD",
        "description": "package the shop",
        "parameters": given,
        "compensation": {"parameters": undo},
    }
    plan.write_text(
        json.dumps(
            {
                "decision_id": "package-1",
                "plan_id": "package",
                "intent_id": "try-it",
                "final_decision": "approve",
                "cognitive_plan": {
                    "plan_id": "package",
                    "tasks": [task],
                    "result": {"$output": "package", "path": "/artifacts/3/location"},
                },
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

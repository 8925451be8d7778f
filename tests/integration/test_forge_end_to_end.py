"""A BUILD ticket becomes a signed wheel and an image while its worker is killed in each stage; others verify them."""

import asyncio
import json
import os
import subprocess
import sys
import tarfile
from base64 import b64decode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from functions._core.forge.stages import STAGES
from tests.conftest import ROOT
from tests.support.attested_build import new_key, openssl
from tests.support.command_line import flowc
from tests.support.documents import blocks
from tests.support.forge_packages import by_kind
from tests.support.processes import Platform, Process, running_platform, worker_process
from tests.support.registry_api import RegistryServer
from tests.support.world import decision, task, until

GUIDE = ROOT / "docs" / "guides" / "forge-signatures.md"
LAYOUT = next(one.text for one in blocks(GUIDE.read_text(encoding="utf-8")) if one.file == "layout.py")

BUILD = {
    "provider": "code_forge",
    "artifact_id": "acme/shop",
    "template_id": "python-service",
    "inputs": {"project_name": "shop"},
}
KILLED_IN = STAGES[:-1]
"""The last stage has nothing to wait for: the score is good enough."""


def hired(folder: Path, platform: Platform, registry: RegistryServer) -> Process:
    """Return a worker that begins pipelines and does their stages, not started yet."""
    worker = worker_process(folder, platform.url, "forge-1", "--executor", "code_forge,forge", slots=2)
    worker.environment = {
        "WORKER_SANDBOX": "off",
        "WORKER_COMMANDS": "bandit,build,detect-secrets,pytest,ruff,tar",
        "WORKER_CODE_FORGE_URL": platform.url,
        "WORKER_REPOSITORIES": "acme/*",
        "WORKER_POLL_SECONDS": "0.1",
        "WORKER_FOLDER": str(folder / "work"),
        "WORKER_LOGS": str(folder / "store"),
        "WORKER_FORGE_KEY_FILE": str(new_key(folder / "forge.key")),
        "WORKER_FORGE_REGISTRY_URL": registry.url,
    }
    platform.hired.append(worker)
    return worker


async def pipelines(platform: Platform) -> list[dict[str, Any]]:
    return list((await platform.get("/api/v1/pipelines"))["items"])


async def begun(platform: Platform, stage: str) -> None:
    """Wait until a worker does a stage, or has done it."""

    async def at_work() -> bool | None:
        found = await pipelines(platform)
        stages = {one["name"]: one["status"] for one in found[0]["stages"]} if found else {}
        return stages.get(stage) in {"RUNNING", "COMPLETED"} or None

    await until(at_work, f"{stage} to begin")


@pytest.mark.timeout(600)
async def test_a_build_ticket_becomes_what_others_verify_whoever_is_killed_when(tmp_path: Path) -> None:
    async with RegistryServer() as registry, running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
        worker = hired(tmp_path, platform, registry)
        worker.start()
        build = task("build", task_type="BUILD", parameters=BUILD, required_capabilities=[])
        flow_id = await platform.submit(decision(build))
        for stage in KILLED_IN:
            await begun(platform, stage)
            worker.kill()
            worker.start()
        flow = await platform.ended(flow_id)
        assert flow["status"] == "COMPLETED", flow["reasons"]
        (pipeline,) = await pipelines(platform)
        made = await platform.get(f"/api/v1/pipelines/{pipeline['pipeline_id']}/artifacts")
        tickets = await platform.tickets(flow_id)
    assert (pipeline["status"], pipeline["error"], pipeline["ticket_id"]) == (
        "COMPLETED",
        None,
        tickets["build"]["ticket_id"],
    )
    artifacts = by_kind({"artifacts": made["items"]})
    assert {"wheel", "sdist", "image", "chart"} <= artifacts.keys()
    output = tickets["build"]["output"]["artifacts"]
    assert {one["location"]: one["checksum"] for one in output} == {
        one["location"]: one["checksum"] for one in made["items"]
    }
    assert all(one["location"].startswith(registry.url.removeprefix("http://")) for one in made["items"])
    await asyncio.to_thread(verified, tmp_path, made, artifacts)


def verified(folder: Path, made: Mapping[str, Any], artifacts: Mapping[str, Mapping[str, Any]]) -> None:
    """Verify all that was made by tools that were not written here."""
    openssl("pkey", "-in", folder / "forge.key", "-pubout", "-out", folder / "forge.pub")
    wheel = file_of(artifacts["wheel"]["file"])
    (folder / "wheel.sig").write_bytes(b64decode(artifacts["wheel"]["signature"]))
    said = openssl("dgst", "-sha256", "-verify", folder / "forge.pub", "-signature", folder / "wheel.sig", wheel)
    assert said.strip() == b"Verified OK"
    check_image(folder / "image", artifacts["image"])
    cyclonedx = file_of(made["sbom"]["cyclonedx"]).read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(cyclonedx) is None
    assert "func-python" in {one["name"] for one in json.loads(cyclonedx)["components"]}
    spdx = folder / "sbom.spdx.json"
    spdx.write_bytes(file_of(made["sbom"]["spdx"]).read_bytes())
    assert validate_full_spdx_document(parse_file(str(spdx))) == []
    check_provenance(folder, made, artifacts)
    check_supply_chain(folder, made, wheel)


def file_of(kept: Mapping[str, Any]) -> Path:
    """Return a file of the store, whose content is the one that was named."""
    path = Path(kept["uri"].removeprefix("file://"))
    assert sha256(path.read_bytes()).hexdigest() == kept["sha256"]
    return path


def check_image(folder: Path, image: Mapping[str, Any]) -> None:
    """Read an image layout by the rules of the OCI: every blob has its digest."""
    with tarfile.open(file_of(image["file"])) as archive:
        archive.extractall(folder, filter="data")
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (named,) = json.loads((folder / "index.json").read_text())["manifests"]
    assert named["digest"] == image["checksum"]
    manifest = json.loads(blob(folder, named))
    config = json.loads(blob(folder, manifest["config"]))
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"])
    for layer in manifest["layers"]:
        blob(folder, layer)


def blob(folder: Path, described: Mapping[str, Any]) -> bytes:
    kind, _, digest = described["digest"].partition(":")
    data: bytes = (folder / "blobs" / kind / digest).read_bytes()
    assert (sha256(data).hexdigest(), len(data)) == (digest, described["size"])
    return data


def check_provenance(folder: Path, made: Mapping[str, Any], artifacts: Mapping[str, Mapping[str, Any]]) -> None:
    key = SSlibKey.from_crypto(load_pem_public_key((folder / "forge.pub").read_bytes()))
    document = json.loads(file_of(made["provenance"]).read_bytes())
    document["signatures"] = [{**one, "keyid": key.keyid} for one in document["signatures"]]
    Envelope.from_dict(document).verify([key], 1)
    statement = json.loads(b64decode(document["payload"]))
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    named = {one["digest"]["sha256"] for one in statement["subject"]}
    assert {one["checksum"].removeprefix("sha256:") for one in artifacts.values()} <= named
    (folder / "output.json").write_text(json.dumps({"log": made["log"]}), encoding="utf-8")
    logs = ("--log", str(folder / "output.json"), "--log", str(folder / "store"))
    logged = flowc("verify", str(file_of(made["provenance"])), "--key", str(folder / "forge.pub"), *logs)
    assert (logged.exit_code, logged.stdout.splitlines()[-1]) == (0, "in the log"), logged.output


def check_supply_chain(folder: Path, made: Mapping[str, Any], wheel: Path) -> None:
    """Let in-toto verify the steps of the forge by the layout of the guide, and find a wheel that was altered."""
    links = file_of(made["provenance"]).parent
    delivered = folder / "delivered"
    delivered.mkdir()
    (delivered / wheel.name).write_bytes(wheel.read_bytes())
    (folder / "layout.py").write_text(LAYOUT, encoding="utf-8")
    subprocess.run([sys.executable, "layout.py"], cwd=folder, check=True)
    program = Path(sys.executable).with_name("in-toto-verify")
    keys = ("--verification-keys", "../owner.pub")
    argv: Sequence[str | Path] = (program, "--layout", "../root.layout", "--link-dir", links, *keys)

    def verdict() -> int:
        run = subprocess.run(argv, cwd=delivered, capture_output=True, check=False, env={"PATH": os.environ["PATH"]})
        return run.returncode

    assert verdict() == 0
    with (delivered / wheel.name).open("ab") as file:
        file.write(b"!")
    assert verdict() != 0

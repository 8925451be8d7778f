"""A real container registry (distribution) as a process of a test, on 127.0.0.1 alone; `make registry` brings it."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from tests.conftest import ROOT, require
from tests.support.processes import free_port
from tests.support.world import PATIENCE_S, until

BROUGHT = ROOT / ".venv" / "registry" / "docker-registry"


@contextlib.asynccontextmanager
async def real_registry(folder: Path) -> AsyncIterator[str]:
    """Run a registry that keeps in a folder and lets manifests be deleted; give its URL."""
    found = str(BROUGHT) if BROUGHT.exists() else shutil.which("docker-registry")
    require(found is not None, "make registry")
    host = f"127.0.0.1:{free_port()}"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": host},
    }
    (folder / "registry.yml").write_text(json.dumps(config))  # JSON is YAML
    process = _start(str(found), folder)
    try:
        await until(lambda: _answers(f"http://{host}/v2/", process), f"the registry at {host}")
        yield f"http://{host}"
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def _start(program: str, folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / "registry.log").open("ab") as log:
        return subprocess.Popen([program, "serve", str(folder / "registry.yml")], stdout=log, stderr=log)


async def _answers(url: str, process: "subprocess.Popen[bytes]") -> bool | None:
    assert process.poll() is None, "it has ended"
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient() as client:
            return (await client.get(url)).is_success or None
    return None
